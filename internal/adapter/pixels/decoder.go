package pixels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"runtime"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/standard/imagefile"
)

// DefaultMaxPixels is the pixel limit when Options names none: 100 megapixels, 300 MB decoded.
const DefaultMaxPixels = 100_000_000

// Options bounds a Decoder.
type Options struct {
	MaxPixels int64 // width × height; 0 means DefaultMaxPixels
}

// Decoder decodes images. It is safe for concurrent use.
type Decoder struct {
	maxPixels int64
	buffers   bufferPool
}

var _ predict.Decoder = (*Decoder)(nil)

// New makes a Decoder.
func New(o Options) *Decoder {
	if o.MaxPixels <= 0 {
		o.MaxPixels = DefaultMaxPixels
	}
	return &Decoder{maxPixels: o.MaxPixels}
}

// Name is the JPEG decoder of this build and its version, e.g. "libjpeg-turbo 2.1.5". A raster of another format says in Codec
// what decoded it.
func (d *Decoder) Name() string { return jpegCodec }

// Decode implements predict.Decoder. Sizes and the pixel limit are checked from the header before pixels are allocated.
func (d *Decoder) Decode(ctx context.Context, encoded []byte, minWidth, minHeight int) (*predict.Raster, error) {
	const op = "pixels.Decode"
	if err := ctx.Err(); err != nil {
		return nil, fault.E(op, fault.Unavailable, context.Cause(ctx))
	}
	format := imagefile.Sniff(encoded)
	width, height, err := d.size(format, encoded)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	turn := orientation(imagefile.Orientation(encoded))
	if turn.swaps() {
		minWidth, minHeight = minHeight, minWidth
	}
	k := predict.Reduction(width, height, minWidth, minHeight)
	pix := d.buffers.get(3 * ceilDiv(width, k) * ceilDiv(height, k))
	codec := jpegCodec
	if format == imagefile.JPEG {
		err = jpegDecode(encoded, k, *pix)
	} else {
		codec = string(format) + " " + runtime.Version()
		err = decodeOther(format, encoded, width, height, k, *pix)
	}
	if err != nil {
		d.buffers.put(pix)
		return nil, fault.E(op, fault.Invalid, fmt.Errorf("unreadable %s image: %w", format, err))
	}
	w, h := ceilDiv(width, k), ceilDiv(height, k)
	if turn != upright {
		turned := d.buffers.get(len(*pix))
		turn.apply(*turned, *pix, w, h)
		d.buffers.put(pix)
		pix = turned
		if turn.swaps() {
			w, h, width, height = h, w, height, width
		}
	}
	r := predict.NewRaster(*pix, w, h, width, height, func() { d.buffers.put(pix) })
	r.Codec = codec
	return r, nil
}

var errUnknown = errors.New("not a JPEG, PNG, BMP, TIFF or WebP image")

// size reads the stored size from the header and applies the limit.
// Errors: fault.TooLarge over the limit; fault.Invalid when the header is unreadable.
func (d *Decoder) size(format imagefile.Format, encoded []byte) (width, height int, err error) {
	const op = "pixels.size"
	c, err := config(format, encoded)
	if err != nil {
		return 0, 0, fault.E(op, fault.Invalid, err)
	}
	if c.Width < 1 || c.Height < 1 {
		return 0, 0, fault.E(op, fault.Invalid, fmt.Errorf("%s image of %d×%d px", format, c.Width, c.Height))
	}
	if c.Width > math.MaxInt32 || c.Height > math.MaxInt32 || int64(c.Width)*int64(c.Height) > d.maxPixels {
		return 0, 0, fault.E(op, fault.TooLarge,
			fmt.Errorf("the image has %d×%d px, at most %d px are allowed", c.Width, c.Height, d.maxPixels))
	}
	return c.Width, c.Height, nil
}

// config reads the header of any format.
func config(format imagefile.Format, encoded []byte) (image.Config, error) {
	c, err := guarded(func() (c image.Config, err error) {
		r := bytes.NewReader(encoded)
		switch format {
		case imagefile.JPEG:
			c.Width, c.Height, err = jpegSize(encoded)
		case imagefile.PNG:
			c, err = png.DecodeConfig(r)
		case imagefile.BMP:
			c, err = bmp.DecodeConfig(r)
		case imagefile.TIFF:
			c, err = tiff.DecodeConfig(r)
		case imagefile.WebP:
			c, err = webp.DecodeConfig(r)
		default:
			err = errUnknown
		}
		return c, err
	})
	if err != nil && format != "" {
		err = fmt.Errorf("unreadable %s header: %w", format, err)
	}
	return c, err
}

// decodeOther decodes a format other than JPEG and averages blocks of k×k px into dst.
func decodeOther(format imagefile.Format, encoded []byte, width, height, k int, dst []byte) error {
	img, err := guarded(func() (image.Image, error) {
		r := bytes.NewReader(encoded)
		switch format {
		case imagefile.PNG:
			return png.Decode(r)
		case imagefile.BMP:
			return bmp.Decode(r)
		case imagefile.TIFF:
			return tiff.Decode(r)
		case imagefile.WebP:
			return webp.Decode(r)
		case imagefile.JPEG: // jpegDecode reads it
			fallthrough
		default:
			return nil, errUnknown
		}
	})
	if err != nil {
		return err
	}
	if b := img.Bounds(); b.Dx() != width || b.Dy() != height {
		return fmt.Errorf("the header says %d×%d px, the data %d×%d", width, height, b.Dx(), b.Dy())
	}
	if format == imagefile.WebP {
		img = fromWebP(img)
	}
	shrink(img, k, dst)
	return nil
}

// guarded turns a panic of a decoder on malformed input into an error.
func guarded[T any](decode func() (T, error)) (out T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("malformed data")
		}
	}()
	return decode()
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
