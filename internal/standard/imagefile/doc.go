// Package imagefile reads the containers of still images – JPEG, PNG, BMP, TIFF, WebP – without decoding a pixel: it tells
// formats apart, checks a stream's structure while the stream passes by, finds the orientation, and removes metadata.
//
// It does not judge what a picture shows and does not prove that its pixels decode; the decoder does that later, once.
// The hospital agent strips a file with StripMetadata before it enters the spool; intake runs the same bytes through a Checker
// on their way to the sealed store, so that a truncated or oversized upload is refused before it is stored.
package imagefile

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"kenkyo/internal/fault"
)

// Format is a container format, named as in the API: jpeg, png, bmp, tiff, webp. The empty Format is none of these.
type Format string

// The formats this platform reads.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	BMP  Format = "bmp"
	TIFF Format = "tiff"
	WebP Format = "webp"
)

// sniffLen is the number of leading bytes that decides every format.
const sniffLen = 12

const pngSignature = "\x89PNG\r\n\x1a\n"

// Sniff tells the format by the leading bytes; 12 are enough. "" when it is none that this platform reads. Pure.
func Sniff(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, []byte{0xFF, 0xD8, 0xFF}):
		return JPEG
	case bytes.HasPrefix(head, []byte(pngSignature)):
		return PNG
	case bytes.HasPrefix(head, []byte("BM")):
		return BMP
	case bytes.HasPrefix(head, []byte("II*\x00")), bytes.HasPrefix(head, []byte("MM\x00*")):
		return TIFF
	case len(head) >= sniffLen && string(head[:4]) == "RIFF" && string(head[8:12]) == "WEBP":
		return WebP
	}
	return ""
}

// Orientation gives the EXIF orientation (tag 0x0112, 1 to 8) of a whole or partial encoded image: JPEG APP1, PNG eXIf, WebP
// EXIF chunk, TIFF tag. 1, upright, when there is none or when the bytes are no image this package reads. Pure.
// Source: CIPA DC-008 (EXIF) §4.6.4; TIFF 6.0 p. 36.
func Orientation(encoded []byte) int {
	c := NewChecker(Limits{})
	c.headerOnly = true
	_, _ = c.Write(encoded) // what cannot be parsed has no orientation to tell
	return c.info.Orientation
}

var errUnknown = errors.New("not an image this platform reads (JPEG, PNG, BMP, TIFF, WebP)")

func damaged(format Format, what string, args ...any) error {
	text := fmt.Sprintf(what, args...)
	return invalid(fmt.Errorf("damaged %s image: %s", format, text), format)
}

func truncated(format Format) error {
	return invalid(fmt.Errorf("truncated %s image: the data ends before the image does", format), format)
}

func unsupported(format Format, what string, args ...any) error {
	text := fmt.Sprintf(what, args...)
	return invalid(fmt.Errorf("unsupported %s image: %s", format, text), format)
}

func invalid(err error, format Format) error {
	return fault.E("imagefile", fault.Invalid, err, slog.String("format", string(format)))
}
