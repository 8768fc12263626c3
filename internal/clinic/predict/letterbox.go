package predict

import (
	"math"
	"sync"

	"kenkyo/internal/mlops/registry"
)

// frame says where the resized image lies inside the input, and maps input pixels back to source pixels.
type frame struct {
	width, height             int // of the input, px
	newWidth, newHeight       int // of the resized image inside it
	left, top                 int
	sourceWidth, sourceHeight int
}

// fit computes the frame of a source image. Rounding follows Python's round (half to even), with which the models were trained.
func fit(sourceWidth, sourceHeight, width, height int, letterbox bool) frame {
	f := frame{width: width, height: height, newWidth: width, newHeight: height, sourceWidth: sourceWidth, sourceHeight: sourceHeight}
	if !letterbox {
		return f
	}
	r := math.Min(float64(width)/float64(sourceWidth), float64(height)/float64(sourceHeight))
	f.newWidth = clamp(int(math.RoundToEven(float64(sourceWidth)*r)), 1, width)
	f.newHeight = clamp(int(math.RoundToEven(float64(sourceHeight)*r)), 1, height)
	f.left = int(math.RoundToEven(float64(width-f.newWidth)/2 - 0.1))
	f.top = int(math.RoundToEven(float64(height-f.newHeight)/2 - 0.1))
	return f
}

// toSourceX maps a horizontal position in the input to the source image.
func (f frame) toSourceX(x float64) float64 {
	return (x - float64(f.left)) * float64(f.sourceWidth) / float64(f.newWidth)
}

// toSourceY maps a vertical position in the input to the source image.
func (f frame) toSourceY(y float64) float64 {
	return (y - float64(f.top)) * float64(f.sourceHeight) / float64(f.newHeight)
}

func clamp(v, low, high int) int { return max(low, min(v, high)) }

// normaliser holds, for each byte of a source channel, the input value and the plane it goes to.
type normaliser struct {
	value [3][256]float32 // by source channel R, G, B
	plane [3]int
	pad   [3]float32 // by source channel
}

func newNormaliser(in registry.Input) *normaliser {
	n := &normaliser{plane: [3]int{0, 1, 2}}
	if in.Colour == registry.ColourBGR {
		n.plane = [3]int{2, 1, 0}
	}
	for c := range n.value {
		p := n.plane[c]
		for v := range n.value[c] {
			n.value[c][v] = float32((float64(v)*in.Scale - in.Mean[p]) / in.Std[p])
		}
		n.pad[c] = n.value[c][clamp(in.Pad, 0, 255)]
	}
	return n
}

// window is the part of a raster that is resized: the whole image, or one crop.
type window struct{ x, y, width, height int }

// resizeBits is the precision of the interpolation weights: 1 is 1<<11, as in OpenCV, whose results are met bit by bit.
const resizeBits = 11

// scratch is what one resize needs beside its ends; pooled because its slices are as long as an image row.
type scratch struct {
	left, right []int32 // byte offsets of the two source pixels of each output column, from the row's start
	weightL     []int32
	weightR     []int32
	row         [2][]int32 // two source rows, resized across
	rowIndex    [2]int
	top, bottom []int32 // source rows of each output row
	weightT     []int32
	weightB     []int32
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// prepare resizes a window of the raster bilinearly (half-pixel centres, no antialiasing, 8-bit result) to the frame,
// normalises and transposes it to planes, in one pass.
// In: dst holds 3·height·width values of the frame and is overwritten whole. Pure.
func prepare(dst []float32, r *Raster, w window, f frame, n *normaliser) {
	area := f.width * f.height
	var planes [3][]float32 // by source channel
	for c := range planes {
		planes[c] = dst[n.plane[c]*area : (n.plane[c]+1)*area]
	}
	padOutside(planes, f, n)
	switch {
	case w.width == f.newWidth && w.height == f.newHeight:
		lay(planes, r, w, f, n)
	case w.width == 2*f.newWidth && w.height == 2*f.newHeight:
		halve(planes, r, w, f, n)
	default:
		interpolate(planes, r, w, f, n)
	}
}

// interpolate is prepare's general case: two source rows are resized across and then mixed down.
func interpolate(planes [3][]float32, r *Raster, w window, f frame, n *normaliser) {
	s := scratchPool.Get().(*scratch) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer scratchPool.Put(s)
	s.left, s.right, s.weightL, s.weightR = weigh(s.left, s.right, s.weightL, s.weightR, w.width, f.newWidth, true)
	for i := range s.left {
		s.left[i] = 3 * (s.left[i] + int32(w.x))   //nolint:gosec // G115: sides are far below 2^29 px
		s.right[i] = 3 * (s.right[i] + int32(w.x)) //nolint:gosec // G115: as above
	}
	s.top, s.bottom, s.weightT, s.weightB = weigh(s.top, s.bottom, s.weightT, s.weightB, w.height, f.newHeight, false)
	for i := range s.row {
		s.row[i] = grow(s.row[i], 3*f.newWidth)
		s.rowIndex[i] = -1
	}
	for y := range f.newHeight {
		a := s.across(r, w, int(s.top[y]), int(s.bottom[y]))
		b := s.across(r, w, int(s.bottom[y]), int(s.top[y]))
		at := (f.top+y)*f.width + f.left
		blend(a, b, s.weightT[y], s.weightB[y], n,
			planes[0][at:at+f.newWidth], planes[1][at:at+f.newWidth], planes[2][at:at+f.newWidth])
	}
}

// lay writes a window that has its final size already, as it is after a reduction by the decoder that fits.
func lay(planes [3][]float32, r *Raster, w window, f frame, n *normaliser) {
	for y := range w.height {
		start := 3 * ((w.y+y)*r.Width + w.x)
		line := r.Pix[start : start+3*w.width]
		at := (f.top+y)*f.width + f.left
		p0, p1, p2 := planes[0][at:at+w.width], planes[1][at:at+w.width], planes[2][at:at+w.width]
		for i := range p0 {
			p := line[3*i : 3*i+3 : 3*i+3]
			p0[i], p1[i], p2[i] = n.value[0][p[0]], n.value[1][p[1]], n.value[2][p[2]]
		}
	}
}

// halve resizes to exactly half, where all weights are equal and interpolation is the rounded mean of four pixels.
func halve(planes [3][]float32, r *Raster, w window, f frame, n *normaliser) {
	for y := range f.newHeight {
		start := 3 * ((w.y+2*y)*r.Width + w.x)
		a, b := r.Pix[start:start+3*w.width], r.Pix[start+3*r.Width:start+3*(r.Width+w.width)]
		at := (f.top+y)*f.width + f.left
		p0, p1, p2 := planes[0][at:at+f.newWidth], planes[1][at:at+f.newWidth], planes[2][at:at+f.newWidth]
		for i := range p0 {
			u, v := a[6*i:6*i+6:6*i+6], b[6*i:6*i+6:6*i+6]
			p0[i] = n.value[0][mean4(u[0], u[3], v[0], v[3])]
			p1[i] = n.value[1][mean4(u[1], u[4], v[1], v[4])]
			p2[i] = n.value[2][mean4(u[2], u[5], v[2], v[5])]
		}
	}
}

func mean4(a, b, c, d byte) byte {
	return byte((uint16(a) + uint16(b) + uint16(c) + uint16(d) + 2) >> 2) //nolint:gosec // G115: a mean of bytes
}

// weigh gives, for each of out positions along an axis of in source pixels, the two neighbours and their weights. Beyond the
// edge both neighbours are the edge pixel; whole says to put all weight on one of them then. OpenCV does so across but not down,
// which decides the last bit.
func weigh(lo, hi, wlo, whi []int32, in, out int, whole bool) (l, h, wl, wh []int32) {
	lo, hi, wlo, whi = grow(lo, out), grow(hi, out), grow(wlo, out), grow(whi, out)
	scale := 1 / (float64(out) / float64(in))
	for i := range out {
		at := float32((float64(i)+0.5)*scale - 0.5)
		i0 := int(math.Floor(float64(at)))
		t := at - float32(i0)
		if whole && (i0 < 0 || i0 >= in-1) {
			t = 0
		}
		lo[i], hi[i] = int32(clamp(i0, 0, in-1)), int32(clamp(i0+1, 0, in-1)) //nolint:gosec // G115: below the side of an image
		wlo[i] = int32(math.RoundToEven(float64((1 - t) * (1 << resizeBits))))
		whi[i] = int32(math.RoundToEven(float64(t * (1 << resizeBits))))
	}
	return lo, hi, wlo, whi
}

// across gives source row y of the window resized across, from the two kept rows when it is there. keep is the row that must
// stay.
func (s *scratch) across(r *Raster, w window, y, keep int) []int32 {
	slot := 0
	switch {
	case s.rowIndex[0] == y:
		return s.row[0]
	case s.rowIndex[1] == y:
		return s.row[1]
	case s.rowIndex[0] == keep:
		slot = 1
	}
	s.rowIndex[slot] = y
	row := s.row[slot]
	start := (w.y + y) * r.Width * 3
	line := r.Pix[start : start+r.Width*3]
	left, right := s.left, s.right[:len(s.left)]
	wl, wr := s.weightL[:len(left)], s.weightR[:len(left)]
	o := 0
	for i, l := range left {
		p, q := line[l:l+3:l+3], line[right[i]:right[i]+3:right[i]+3]
		a, b := wl[i], wr[i]
		d := row[o : o+3 : o+3]
		d[0] = int32(p[0])*a + int32(q[0])*b
		d[1] = int32(p[1])*a + int32(q[1])*b
		d[2] = int32(p[2])*a + int32(q[2])*b
		o += 3
	}
	return row
}

// blend mixes two resized rows and writes the normalised planes. The shifts are OpenCV's: they keep 32 bits from overflowing.
func blend(a, b []int32, wa, wb int32, n *normaliser, p0, p1, p2 []float32) {
	a, b = a[:3*len(p0)], b[:3*len(p0)]
	p1, p2 = p1[:len(p0)], p2[:len(p0)]
	o := 0
	for i := range p0 {
		x, y := a[o:o+3:o+3], b[o:o+3:o+3]
		p0[i] = n.value[0][uint8(((wa*(x[0]>>4))>>16+(wb*(y[0]>>4))>>16+2)>>2)] //nolint:gosec // G115: at most 255 by the weights
		p1[i] = n.value[1][uint8(((wa*(x[1]>>4))>>16+(wb*(y[1]>>4))>>16+2)>>2)] //nolint:gosec // G115: as above
		p2[i] = n.value[2][uint8(((wa*(x[2]>>4))>>16+(wb*(y[2]>>4))>>16+2)>>2)] //nolint:gosec // G115: as above
		o += 3
	}
}

// padOutside fills what the image does not cover.
func padOutside(planes [3][]float32, f frame, n *normaliser) {
	for c, plane := range planes {
		v := n.pad[c]
		fill(plane[:f.top*f.width], v)
		fill(plane[(f.top+f.newHeight)*f.width:], v)
		if f.newWidth == f.width {
			continue
		}
		for y := f.top; y < f.top+f.newHeight; y++ {
			row := plane[y*f.width : (y+1)*f.width]
			fill(row[:f.left], v)
			fill(row[f.left+f.newWidth:], v)
		}
	}
}

func fill(s []float32, v float32) {
	for i := range s {
		s[i] = v
	}
}

func grow(s []int32, n int) []int32 {
	if cap(s) < n {
		return make([]int32, n)
	}
	return s[:n]
}
