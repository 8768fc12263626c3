package pixels

import "image"

// videoRange is a lossy WebP image. Its luminance runs from 16 to 235 (BT.601, as in video; RFC 6386 §9.2), while Go's YCbCr
// runs from 0 to 255 and would show it pale.
type videoRange struct {
	*image.YCbCr
	alpha func(x, y int) byte // nil: opaque
}

// fromWebP marks lossy pictures as what they are.
func fromWebP(img image.Image) image.Image {
	switch m := img.(type) {
	case *image.YCbCr:
		return videoRange{YCbCr: m}
	case *image.NYCbCrA:
		return videoRange{YCbCr: &m.YCbCr, alpha: func(x, y int) byte { return m.A[m.AOffset(x, y)] }}
	}
	return img
}

// row writes one row as RGB on white.
func (v videoRange) row(y int, out []byte) {
	b := v.Rect
	for x := range b.Dx() {
		yi, ci := v.YOffset(b.Min.X+x, y), v.COffset(b.Min.X+x, y)
		p := [4]byte{0, 0, 0, 255}
		p[0], p[1], p[2] = videoToRGB(int32(v.Y[yi]), int32(v.Cb[ci]), int32(v.Cr[ci]))
		if v.alpha != nil {
			p[3] = v.alpha(b.Min.X+x, y)
		}
		onWhite(p[:], out[3*x:3*x+3])
	}
}

// videoToRGB converts one pixel in 14-bit fixed point.
func videoToRGB(y, cb, cr int32) (r, g, b byte) {
	const half = 1 << 13
	y = 19077*(y-16) + half // 255/219
	cb, cr = cb-128, cr-128
	return byte8(y + 26149*cr), byte8(y - 6419*cb - 13320*cr), byte8(y + 33050*cb)
}

func byte8(v int32) byte {
	return byte(max(0, min(v>>14, 255)))
}
