package pixels

import (
	"image"
	"image/color"
)

// shrink writes img as RGB at 1/k of its size into dst, which holds exactly as many pixels.
func shrink(img image.Image, k int, dst []byte) {
	if k == 1 {
		toRGB(img, dst)
		return
	}
	reduce(img, k, dst)
}

// toRGB writes the pixels of img as RGB into dst, which holds exactly as many.
func toRGB(img image.Image, dst []byte) {
	b := img.Bounds()
	row := 3 * b.Dx()
	for y := range b.Dy() {
		rgbRow(img, b.Min.Y+y, dst[y*row:(y+1)*row])
	}
}

// reduce averages blocks of k×k pixels into dst. Blocks at the right and lower edges average what there is of them.
func reduce(img image.Image, k int, dst []byte) {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	outW := ceilDiv(w, k)
	line := make([]byte, 3*w)
	sums := make([]uint32, 3*outW)
	for top := 0; top < h; top += k {
		clear(sums)
		rows := min(k, h-top)
		for y := top; y < top+rows; y++ {
			rgbRow(img, b.Min.Y+y, line)
			for x := range w {
				at := 3 * (x / k)
				sums[at] += uint32(line[3*x])
				sums[at+1] += uint32(line[3*x+1])
				sums[at+2] += uint32(line[3*x+2])
			}
		}
		out := dst[3*outW*(top/k) : 3*outW*(top/k+1)]
		for x := range outW {
			n := uint32(rows * min(k, w-x*k)) //nolint:gosec // G115: at most 64
			for c := range 3 {
				out[3*x+c] = byte((sums[3*x+c] + n/2) / n) //nolint:gosec // G115: a mean of bytes
			}
		}
	}
}

// rgbRow writes one row of img, y in its own coordinates, as RGB.
func rgbRow(img image.Image, y int, out []byte) {
	b := img.Bounds()
	switch m := img.(type) {
	case *image.Gray:
		for x, v := range m.Pix[m.PixOffset(b.Min.X, y):][:b.Dx()] {
			out[3*x], out[3*x+1], out[3*x+2] = v, v, v
		}
	case *image.NRGBA:
		p := m.Pix[m.PixOffset(b.Min.X, y):][:4*b.Dx()]
		for x := range b.Dx() {
			onWhite(p[4*x:4*x+4:4*x+4], out[3*x:3*x+3:3*x+3])
		}
	case *image.RGBA:
		p := m.Pix[m.PixOffset(b.Min.X, y):][:4*b.Dx()]
		for x := range b.Dx() {
			white := 255 - p[4*x+3] // premultiplied: what the colour leaves of the ground
			out[3*x], out[3*x+1], out[3*x+2] = p[4*x]+white, p[4*x+1]+white, p[4*x+2]+white
		}
	case *image.Paletted:
		paletteRow(m, y, out)
	case *image.YCbCr:
		ycbcrRow(m, y, out)
	case videoRange:
		m.row(y, out)
	case *image.CMYK:
		p := m.Pix[m.PixOffset(b.Min.X, y):][:4*b.Dx()]
		for x := range b.Dx() {
			k := 255 - uint32(p[4*x+3])
			for c := range 3 {
				out[3*x+c] = byte(((255-uint32(p[4*x+c]))*k + 127) / 255) //nolint:gosec // G115: at most 255
			}
		}
	default:
		for x := range b.Dx() {
			c, _ := color.NRGBAModel.Convert(img.At(b.Min.X+x, y)).(color.NRGBA)
			onWhite([]byte{c.R, c.G, c.B, c.A}, out[3*x:3*x+3])
		}
	}
}

// ycbcrRow writes a row of full-range YCbCr, each chroma sample for the pixels it covers.
func ycbcrRow(m *image.YCbCr, y int, out []byte) {
	b := m.Rect
	shift := 0
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		shift = 1
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		shift = 2
	case image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio440:
	}
	luma := m.Y[m.YOffset(b.Min.X, y):][:b.Dx()]
	first := m.COffset(b.Min.X, y)
	cb, cr := m.Cb[first:], m.Cr[first:]
	for x, v := range luma {
		c := (b.Min.X+x)>>shift - b.Min.X>>shift
		out[3*x], out[3*x+1], out[3*x+2] = color.YCbCrToRGB(v, cb[c], cr[c])
	}
}

// paletteRow writes a row of palette indices; an index beyond the palette is white.
func paletteRow(m *image.Paletted, y int, out []byte) {
	var table [256][3]byte
	for i := range table {
		table[i] = [3]byte{255, 255, 255}
		if i < len(m.Palette) {
			c, _ := color.NRGBAModel.Convert(m.Palette[i]).(color.NRGBA)
			onWhite([]byte{c.R, c.G, c.B, c.A}, table[i][:])
		}
	}
	b := m.Bounds()
	for x, i := range m.Pix[m.PixOffset(b.Min.X, y):][:b.Dx()] {
		copy(out[3*x:3*x+3], table[i][:])
	}
}

// onWhite lays a colour with straight alpha on white.
func onWhite(p, out []byte) {
	if p[3] == 255 {
		out[0], out[1], out[2] = p[0], p[1], p[2]
		return
	}
	a := uint32(p[3])
	for c := range 3 {
		out[c] = byte((uint32(p[c])*a + 255*(255-a) + 127) / 255) //nolint:gosec // G115: at most 255
	}
}
