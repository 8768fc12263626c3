//go:build !cgo || !turbo

package pixels

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"

	"github.com/gen2brain/jpegn"

	"kenkyo/internal/standard/imagefile"
)

// jpegCodec is what decodes JPEG in this build.
var jpegCodec = "jpegn 0.4.0"

// jpegSize gives the stored size of a JPEG image from its header.
func jpegSize(encoded []byte) (width, height int, err error) {
	c, err := jpegn.DecodeConfig(bytes.NewReader(encoded))
	if err != nil {
		return 0, 0, err
	}
	return c.Width, c.Height, nil
}

// jpegDecode decodes a JPEG image reduced by k (1, 2, 4 or 8) into dst, which holds exactly its RGB pixels.
func jpegDecode(encoded []byte, k int, dst []byte) error {
	// The decoder below accepts what it has read when the data ends early, so the ends are checked around it.
	check := imagefile.NewChecker(imagefile.Limits{})
	if _, err := check.Write(encoded); err != nil {
		return err
	}
	if _, err := check.Finish(); err != nil {
		return err
	}
	img, err := jpegn.Decode(bytes.NewReader(encoded), &jpegn.Options{ScaleDenom: k})
	if err != nil {
		return err
	}
	if mayBeCut(img) {
		if _, err := jpeg.Decode(bytes.NewReader(encoded)); err != nil {
			return err
		}
	}
	if b := img.Bounds(); 3*b.Dx()*b.Dy() != len(dst) {
		return fmt.Errorf("%d×%d px do not fit the buffer", b.Dx(), b.Dy())
	}
	toRGB(img, dst)
	return nil
}

// mayBeCut reports whether the last block of an image looks as if nothing had been decoded there: all zero (sequential) or all
// middle grey (progressive). A real image may look so too; a strict decoder then has the last word.
func mayBeCut(img image.Image) bool {
	b := img.Bounds()
	if b.Empty() {
		return true
	}
	var planes [][]byte // the last pixel rows of each plane
	switch m := img.(type) {
	case *image.YCbCr:
		y, c := m.YOffset(b.Max.X-1, b.Max.Y-1), m.COffset(b.Max.X-1, b.Max.Y-1)
		planes = [][]byte{m.Y[y : y+1], m.Cb[c : c+1], m.Cr[c : c+1]}
	case *image.Gray:
		y := m.PixOffset(b.Max.X-1, b.Max.Y-1)
		planes = [][]byte{m.Pix[y : y+1]}
	default:
		return true
	}
	for _, level := range []byte{0, 128} {
		same := true
		for _, p := range planes {
			same = same && p[0] == level
		}
		if same {
			return true
		}
	}
	return false
}
