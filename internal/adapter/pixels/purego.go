//go:build !cgo || !turbo

package pixels

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"runtime"
)

// jpegCodec is what decodes JPEG in this build.
var jpegCodec = "image/jpeg " + runtime.Version()

// jpegSize gives the stored size of a JPEG image from its header.
func jpegSize(encoded []byte) (width, height int, err error) {
	c, err := jpeg.DecodeConfig(bytes.NewReader(encoded))
	return c.Width, c.Height, err
}

// jpegDecode decodes a JPEG image into dst, which holds exactly its RGB pixels at 1/k of the size. The standard library has no
// scaled decoding: blocks are averaged after a full decode, which comes within a grey level or two of libjpeg's.
func jpegDecode(encoded []byte, k int, dst []byte) error {
	img, err := guarded(func() (image.Image, error) { return jpeg.Decode(bytes.NewReader(encoded)) })
	if err != nil {
		return err
	}
	if b := img.Bounds(); 3*ceilDiv(b.Dx(), k)*ceilDiv(b.Dy(), k) != len(dst) {
		return errors.New("the header gives another size")
	}
	shrink(img, k, dst)
	return nil
}
