package imagefile

import (
	"errors"
	"fmt"

	"kenkyo/internal/fault"
)

// Limits bounds what a Checker lets pass. A zero field is no limit.
type Limits struct {
	MaxPixels int64 // width × height
}

// Info is what the structure of an image tells without decoding it.
type Info struct {
	Format      Format
	Width       int   // stored columns in pixels, before Orientation is applied
	Height      int   // stored rows in pixels, before Orientation is applied
	Orientation int   // EXIF orientation 1 to 8; 1 when the image names none
	Bytes       int64 // length of the stream, with any bytes after the end of the image
}

// maxCollect bounds the bytes a Checker holds: longer segments are read in part and skipped in part.
const maxCollect = 60 << 10

// Checker is an io.Writer that watches one image pass by and tells at the end whether it was a whole one. It keeps at most
// 64 KiB whatever the image's size, and its answer does not depend on how the stream was cut into writes.
//
// Checked: JPEG: segments, frame header (baseline, extended, progressive Huffman), every scan up to EOI. PNG: chunk lengths up
// to IEND and the checksum of IHDR. BMP: headers against the stream's length. WebP: chunk lengths and the frame header. TIFF: the
// first directory, and that strips or tiles named in it lie inside the stream when there is one of them.
// Not checked: entropy-coded data, checksums of PNG pixel chunks, TIFF pages after the first.
type Checker struct {
	limits     Limits
	headerOnly bool // stop at the pixel data: only the orientation is asked for
	info       Info
	err        error
	done       bool // the image's end was seen; what follows is tolerated

	buf  []byte // bytes collected for the pending take
	want int
	next func(b []byte) error // called with exactly want bytes, which it must not keep
	skip int64                // bytes to pass over before collecting

	scan   func(p []byte) (int, error) // when set, takes bytes as they come instead
	atEnd  func() error                // when set, judges a stream that has no end marker of its own
	jpeg   jpegState
	png    pngState
	webp   webpState
	tiff   tiffState
	bmpEnd int64
}

// NewChecker makes a Checker for one image.
func NewChecker(limits Limits) *Checker {
	c := &Checker{limits: limits, info: Info{Orientation: 1}}
	c.take(2, c.start2)
	return c
}

// Write takes the next bytes of the image. Errors: fault.Invalid as soon as the bytes cannot be an acceptable image (wrong magic
// bytes, more pixels than the limit, damaged structure); every later call repeats it. Bytes after the image's end are counted only.
func (c *Checker) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	written := len(p)
	c.info.Bytes += int64(len(p))
	for len(p) > 0 && !c.done {
		n, err := c.step(p)
		p = p[n:]
		if err != nil {
			c.err = err
			return written - len(p), err
		}
	}
	return written, nil
}

// Finish tells what passed by. Errors: fault.Invalid: empty, not an image of a known format, truncated, damaged, or beyond a limit.
// Call it once, after the last Write.
func (c *Checker) Finish() (Info, error) {
	switch {
	case c.err != nil:
	case c.info.Bytes == 0:
		c.err = invalid(errors.New("the image is empty"), "")
	case c.info.Format == "":
		c.err = invalid(errUnknown, "")
	case c.done:
	case c.atEnd != nil:
		c.err = c.atEnd()
	default:
		c.err = truncated(c.info.Format)
	}
	return c.info, c.err
}

// step consumes at least one byte of p.
func (c *Checker) step(p []byte) (int, error) {
	if c.skip > 0 {
		n := min(c.skip, int64(len(p)))
		c.skip -= n
		return int(n), nil
	}
	if c.scan != nil {
		return c.scan(p)
	}
	n := min(c.want-len(c.buf), len(p))
	c.buf = append(c.buf, p[:n]...)
	if len(c.buf) < c.want {
		return n, nil
	}
	b := c.buf
	c.buf = c.buf[:0]
	return n, c.next(b)
}

// take asks for n bytes, at most maxCollect, to be handed to next in one piece.
func (c *Checker) take(n int, next func([]byte) error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, 0, n)
	}
	c.want, c.next, c.scan = n, next, nil
}

// passOver skips n bytes, then takes.
func (c *Checker) passOver(n int64, take int, next func([]byte) error) {
	c.skip = n
	c.take(take, next)
}

// start2 decides by two bytes as far as two can: BMP has no more of a signature.
func (c *Checker) start2(b []byte) error {
	switch string(b) {
	case "\xFF\xD8":
		c.info.Format = JPEG
		c.take(2, c.jpegMarker)
	case "\x89P":
		c.take(len(pngSignature)-2, c.pngSignature)
	case "BM":
		c.info.Format = BMP
		c.take(bmpFirst, c.bmpHeader)
	case "II", "MM":
		c.tiff.order = tiffOrder(b)
		c.take(6, c.tiffHeader)
	case "RI":
		c.take(10, c.riffHeader)
	default:
		return invalid(errUnknown, "")
	}
	return nil
}

// size records the dimensions and holds them against the limit.
func (c *Checker) size(width, height int64) error {
	if width <= 0 || height <= 0 {
		return damaged(c.info.Format, "width %d, height %d", width, height)
	}
	if width > maxSide || height > maxSide {
		return damaged(c.info.Format, "a side of more than %d pixels", maxSide)
	}
	c.info.Width, c.info.Height = int(width), int(height)
	if limit := c.limits.MaxPixels; limit > 0 && width*height > limit {
		return fault.E("imagefile", fault.Invalid, fmt.Errorf("the image has %d × %d = %d pixels, more than the limit of %d",
			width, height, width*height, limit))
	}
	return nil
}

// maxSide keeps width × height inside int64; no format here stores more than 31 bits a side.
const maxSide = 1<<31 - 1
