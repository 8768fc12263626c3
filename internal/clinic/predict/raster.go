package predict

import "context"

// Raster is a decoded image: 8-bit RGB, three bytes a pixel, rows from the top without padding, EXIF orientation applied.
type Raster struct {
	Pix           []byte // len = 3·Width·Height
	Width, Height int    // px of Pix

	// SourceWidth and SourceHeight are the size of the stored image after orientation. They exceed Width and Height when the
	// decoder reduced the image.
	SourceWidth, SourceHeight int

	Codec string // what decoded it, e.g. "libjpeg-turbo 2.1.5"; "" means the decoder's own name

	release func()
}

// NewRaster builds a Raster whose buffer goes back to its owner by release, which may be nil.
func NewRaster(pix []byte, width, height, sourceWidth, sourceHeight int, release func()) *Raster {
	return &Raster{Pix: pix, Width: width, Height: height, SourceWidth: sourceWidth, SourceHeight: sourceHeight, release: release}
}

// Release gives the buffer back. Pix must not be used afterwards. Calling it again, or on nil, does nothing.
func (r *Raster) Release() {
	if r == nil {
		return
	}
	f := r.release
	r.release, r.Pix = nil, nil
	if f != nil {
		f()
	}
}

// Decoder reads encoded images. It must be safe for concurrent use.
type Decoder interface {
	// Decode gives the whole image, or the image reduced by the largest k of 2, 4, 8 with k ≤ max(width/minWidth,
	// height/minHeight), sizes rounded up. minWidth or minHeight 0 means full size. The caller must Release the raster.
	// Errors: fault.Invalid when the bytes are no readable image or end early; fault.TooLarge when the image has more pixels than
	// the decoder's limit; fault.Unavailable when ctx ended first.
	Decode(ctx context.Context, encoded []byte, minWidth, minHeight int) (*Raster, error)

	// Name is the decoder and its version, for the lineage of findings.
	Name() string
}

// Reduction gives the factor 1, 2, 4 or 8 by which a decoder reduces a width×height image for a model that takes
// minWidth×minHeight. It is the largest that keeps the side which decides the letterbox at least as long as the model's.
func Reduction(width, height, minWidth, minHeight int) int {
	if minWidth <= 0 || minHeight <= 0 {
		return 1
	}
	k := 1
	for _, next := range []int{2, 4, 8} {
		if width >= next*minWidth || height >= next*minHeight {
			k = next
		}
	}
	return k
}
