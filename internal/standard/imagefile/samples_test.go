package imagefile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// sample is one acceptable image with what is true of it.
type sample struct {
	name   string
	data   []byte
	format Format
	width  int
	height int
	orient int
	secret bool   // it carries the marks that dirty writes, none of which may survive stripping
	clean  []byte // the same pixels in a file that decodes, where data does not by the decoder the test uses
}

func (s sample) decodable() []byte {
	if s.clean != nil {
		return s.clean
	}
	return s.data
}

// secrets are texts planted in metadata; finding one after stripping is a leak.
var secrets = []string{"Yamada", "patient 12345", "Secret Software", "2026:01:02", "35N139E", "trailing notes", "/home/ward"}

func testImage() image.Image {
	img := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for y := range 30 {
		for x := range 40 {
			img.Set(x, y, color.RGBA{uint8(x * 6), uint8(y * 8), uint8(x * y), 255})
		}
	}
	return img
}

func must[T any](tb testing.TB) func(T, error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func file(tb testing.TB, name string) []byte {
	tb.Helper()
	return must[[]byte](tb)(os.ReadFile(filepath.Join("testdata", name)))
}

func encodeJPEG(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, testImage(), nil); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func encodePNG(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, testImage()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func encodeBMP(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := bmp.Encode(&b, testImage()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// exifBlock is an EXIF block with an orientation, an artist, and a GPS directory.
func exifBlock(orientation int) []byte {
	le := binary.LittleEndian
	b := []byte("II*\x00\x08\x00\x00\x00\x03\x00")
	entry := func(tag, typ uint16, count, value uint32) {
		b = le.AppendUint16(b, tag)
		b = le.AppendUint16(b, typ)
		b = le.AppendUint32(b, count)
		b = le.AppendUint32(b, value)
	}
	entry(274, 3, 1, uint32(orientation))
	entry(315, 2, 12, 50)
	entry(0x8825, 4, 1, 62)
	b = le.AppendUint32(b, 0)
	b = append(b, "Yamada Taro\x00"...)
	return append(b, "35N139E\x00"...)
}

func segment(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xFF, kind}, uint16(len(body)+2)), body...)
}

// dirtyJPEG puts metadata of every kind behind SOI and between the scans' tables, and text behind EOI.
func dirtyJPEG(clean []byte, orientation int) []byte {
	b := []byte{0xFF, 0xD8, 0xFF} // and one byte of fill
	b = append(b, segment(mAPP0, "JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x01\x01Yam")...)
	b = append(b, segment(mAPP0, "JFXX\x00\x13 Yamada")...)
	b = append(b, segment(mAPP1, exifPrefix+string(exifBlock(orientation)))...)
	b = append(b, segment(mAPP1, exifPrefix+string(exifBlock(3)))...)
	b = append(b, segment(mAPP1, "http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta>patient 12345</x:xmpmeta>")...)
	b = append(b, segment(mAPP2, "ICC_PROFILE\x00\x01\x01profile")...)
	b = append(b, segment(mAPP2, "MPF\x00Yamada")...)
	b = append(b, segment(0xED, "Photoshop 3.0\x008BIM patient 12345")...)
	b = append(b, segment(mCOM, "Secret Software")...)
	b = append(b, segment(0xEC, "Ducky Yamada")...)
	b = append(b, clean[2:]...)
	return append(b, "trailing notes"...)
}

func chunk(kind, body string) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind+body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func dirtyPNG(clean []byte, orientation int) []byte {
	const afterHeader = 8 + 25
	b := bytes.Clone(clean[:afterHeader])
	b = append(b, chunk("tEXt", "Author\x00Yamada")...)
	b = append(b, chunk("zTXt", "Comment\x00\x00patient 12345")...)
	b = append(b, chunk("iTXt", "XML:com.adobe.xmp\x00\x00\x00\x00\x00patient 12345")...)
	b = append(b, chunk("tIME", "2026:01")...)
	b = append(b, chunk("eXIf", string(exifBlock(orientation)))...)
	b = append(b, chunk("pHYs", "\x00\x00\x0b\x13\x00\x00\x0b\x13\x01")...)
	b = append(b, chunk("prIv", "Yamada")...)
	b = append(b, clean[afterHeader:]...)
	return append(b, "trailing notes"...)
}

func riffChunk(kind, body string) []byte {
	b := append(binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body))), body...)
	if len(body)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// dirtyWebP wraps a simple WebP in an extended one.
func dirtyWebP(clean []byte, orientation int) []byte {
	b := []byte("WEBP")
	b = append(b, riffChunk("VP8X", "\x2c\x00\x00\x00\x27\x00\x00\x1d\x00\x00")...)
	b = append(b, riffChunk("ICCP", "profile")...)
	b = append(b, clean[12:]...)
	b = append(b, riffChunk("EXIF", string(exifBlock(orientation)))...)
	b = append(b, riffChunk("XMP ", "<x>patient 12345</x>")...)
	b = append(b, riffChunk("note", "Yamada")...)
	b = append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(b))), b...)
	return append(b, "trailing notes"...)
}

// dirtyBMP widens the gap between headers and pixels, fills it, and adds bytes behind the pixels.
func dirtyBMP(clean []byte) []byte {
	at := binary.LittleEndian.Uint32(clean[10:])
	const gap = "/home/ward/Yamada.bmp "
	b := append(bytes.Clone(clean[:at]), gap...)
	binary.LittleEndian.PutUint32(b[10:], at+uint32(len(gap)))
	copy(b[6:10], "Yama")
	b = append(b, clean[at:]...)
	return append(b, "trailing notes"...)
}

func samples(tb testing.TB) []sample {
	tb.Helper()
	jpg, pngs, bmps := encodeJPEG(tb), encodePNG(tb), encodeBMP(tb)
	list := []sample{
		{"jpeg", jpg, JPEG, 40, 30, 1, false, nil},
		{"jpeg progressive", file(tb, "progressive.jpg"), JPEG, 40, 30, 1, false, nil},
		{"jpeg grey with restarts", file(tb, "grey-restart.jpg"), JPEG, 40, 30, 1, false, nil},
		{"jpeg dirty", dirtyJPEG(jpg, 1), JPEG, 40, 30, 1, true, nil},
		{"jpeg dirty turned", dirtyJPEG(file(tb, "progressive.jpg"), 6), JPEG, 40, 30, 6, true, nil},
		{"png", pngs, PNG, 40, 30, 1, false, nil},
		{"png dirty", dirtyPNG(pngs, 8), PNG, 40, 30, 8, true, nil},
		{"bmp", bmps, BMP, 40, 30, 1, false, nil},
		{"bmp dirty", dirtyBMP(bmps), BMP, 40, 30, 1, true, bmps},
		{"webp lossy", file(tb, "lossy.webp"), WebP, 40, 30, 1, false, nil},
		{"webp lossless", file(tb, "lossless.webp"), WebP, 40, 30, 1, false, nil},
		{"webp with alpha", file(tb, "alpha.webp"), WebP, 40, 30, 1, false, nil},
		{"webp dirty", dirtyWebP(file(tb, "lossy.webp"), 5), WebP, 40, 30, 5, true, nil},
		{"webp dirty lossless", dirtyWebP(file(tb, "lossless.webp"), 1), WebP, 40, 30, 1, true, nil},
		{"tiff strips", file(tb, "strips-lzw.tiff"), TIFF, 40, 30, 1, true, nil},
		{"tiff tiles big-endian", file(tb, "tiles-be.tiff"), TIFF, 40, 30, 6, true, nil},
		{"tiff one strip", file(tb, "one-strip.tiff"), TIFF, 40, 30, 1, true, nil},
	}
	return list
}

// decode gives the pixels as NRGBA, so that images of different colour models compare.
func decode(tb testing.TB, format Format, data []byte) [][4]uint32 {
	tb.Helper()
	read := map[Format]func(*bytes.Reader) (image.Image, error){
		JPEG: func(r *bytes.Reader) (image.Image, error) { return jpeg.Decode(r) },
		PNG:  func(r *bytes.Reader) (image.Image, error) { return png.Decode(r) },
		BMP:  func(r *bytes.Reader) (image.Image, error) { return bmp.Decode(r) },
		WebP: func(r *bytes.Reader) (image.Image, error) { return webp.Decode(r) },
		TIFF: func(r *bytes.Reader) (image.Image, error) { return tiff.Decode(r) },
	}
	img := must[image.Image](tb)(read[format](bytes.NewReader(data)))
	var pixels [][4]uint32
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, a := img.At(x, y).RGBA()
			pixels = append(pixels, [4]uint32{r, g, b, a})
		}
	}
	return pixels
}
