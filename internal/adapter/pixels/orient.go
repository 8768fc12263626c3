package pixels

// orientation is the EXIF tag 0x0112: how the stored image must be turned to stand upright. Source: CIPA DC-008 §4.6.4.
type orientation int

const upright orientation = 1

// swaps reports whether turning exchanges width and height.
func (o orientation) swaps() bool { return o >= 5 && o <= 8 }

// apply writes the upright image into dst.
// In: src holds width×height RGB pixels as stored; dst is as long.
func (o orientation) apply(dst, src []byte, width, height int) {
	// For a stored pixel x, y the upright position is start + x·dx + y·dy, in pixels.
	var start, dx, dy int
	w, h := width, height
	switch o {
	case 2: // mirrored
		start, dx, dy = w-1, -1, w
	case 3: // turned by half
		start, dx, dy = w*h-1, -1, -w
	case 4: // upside down mirrored
		start, dx, dy = w*(h-1), 1, -w
	case 5: // mirrored, then turned left
		start, dx, dy = 0, h, 1
	case 6: // turned left: turn right
		start, dx, dy = h-1, h, -1
	case 7: // mirrored, then turned right
		start, dx, dy = w*h-1, -h, -1
	case 8: // turned right: turn left
		start, dx, dy = h*(w-1), -h, 1
	case upright:
		fallthrough
	default:
		copy(dst, src)
		return
	}
	for y := range h {
		to := 3 * (start + y*dy)
		row := src[3*y*w : 3*(y+1)*w]
		for len(row) >= 3 {
			d := dst[to : to+3 : to+3]
			d[0], d[1], d[2] = row[0], row[1], row[2]
			row = row[3:]
			to += 3 * dx
		}
	}
}
