package pixels_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"kenkyo/internal/adapter/pixels"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
)

type rgb [3]int

// The quadrants of the scene in testdata: red, green, blue, pale.
var (
	red, green, blue, pale = rgb{200, 40, 40}, rgb{40, 180, 60}, rgb{40, 60, 200}, rgb{230, 220, 210}
	white                  = rgb{255, 255, 255}
	scene                  = [4]rgb{red, green, blue, pale}
)

// grey gives the luminance of the scene's quadrants (ITU-R BT.601).
func grey() [4]rgb {
	var out [4]rgb
	for i, c := range scene {
		y := (299*c[0] + 587*c[1] + 114*c[2]) / 1000
		out[i] = rgb{y, y, y}
	}
	return out
}

func sample(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func decode(tb testing.TB, encoded []byte, minWidth, minHeight int) *predict.Raster {
	tb.Helper()
	r, err := pixels.New(pixels.Options{}).Decode(context.Background(), encoded, minWidth, minHeight)
	if err != nil {
		tb.Fatalf("Decode: %v", err)
	}
	return r
}

// quadrants gives the pixels in the middle of the four quadrants: upper left, upper right, lower left, lower right.
func quadrants(r *predict.Raster) [4]rgb {
	var out [4]rgb
	for i := range out {
		x, y := r.Width/4+r.Width/2*(i%2), r.Height/4+r.Height/2*(i/2)
		for c := range 3 {
			out[i][c] = int(r.Pix[3*(y*r.Width+x)+c])
		}
	}
	return out
}

func checkScene(t *testing.T, name string, r *predict.Raster, want [4]rgb, tolerance int) {
	t.Helper()
	got := quadrants(r)
	for i := range want {
		for c := range 3 {
			if d := got[i][c] - want[i][c]; d > tolerance || d < -tolerance {
				t.Errorf("%s: quadrants %v, want %v ± %d", name, got, want, tolerance)
				return
			}
		}
	}
}

func TestDecodeEveryFormat(t *testing.T) {
	t.Parallel()
	clear := [4]rgb{white, green, blue, pale}
	greyClear := grey()
	greyClear[0] = white
	for _, tc := range []struct {
		name      string
		want      [4]rgb
		tolerance int
	}{
		{"420.jpg", scene, 8},
		{"422.jpg", scene, 8},
		{"444.jpg", scene, 8},
		{"progressive.jpg", scene, 8},
		{"restart.jpg", scene, 8},
		{"separate.jpg", scene, 8},
		{"grey.jpg", grey(), 3},
		{"cmyk.jpg", scene, 8},
		{"rgb.png", scene, 0},
		{"grey.png", grey(), 1},
		{"palette.png", scene, 0},
		{"rgb16.png", scene, 0},
		{"grey16.png", grey(), 1},
		{"alpha.png", clear, 0},
		{"grey-alpha.png", greyClear, 1},
		{"rgb.bmp", scene, 0},
		{"palette.bmp", scene, 0},
		{"raw.tiff", scene, 0},
		{"lzw.tiff", scene, 0},
		{"deflate.tiff", scene, 0},
		{"grey.tiff", grey(), 1},
		{"lossy.webp", scene, 12},
		{"lossless.webp", scene, 0},
		{"alpha.webp", clear, 0},
	} {
		r := decode(t, sample(t, tc.name), 0, 0)
		if r.Width != 48 || r.Height != 32 || r.SourceWidth != 48 || r.SourceHeight != 32 || len(r.Pix) != 3*48*32 {
			t.Errorf("%s: %d×%d of %d×%d with %d bytes, want 48×32", tc.name, r.Width, r.Height, r.SourceWidth, r.SourceHeight, len(r.Pix))
			continue
		}
		checkScene(t, tc.name, r, tc.want, tc.tolerance)
		if r.Codec == "" {
			t.Errorf("%s: no codec is named", tc.name)
		}
		r.Release()
		r.Release() // a second time does nothing
	}
}

// TestArithmeticJPEG: decoded or refused, never guessed.
func TestArithmeticJPEG(t *testing.T) {
	t.Parallel()
	r, err := pixels.New(pixels.Options{}).Decode(context.Background(), sample(t, "arithmetic.jpg"), 0, 0)
	if err != nil {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("got %v, want Invalid", err)
		}
		return
	}
	checkScene(t, "arithmetic.jpg", r, scene, 8)
}

// withEXIF inserts an APP1 segment with the orientation after a JPEG's start.
func withEXIF(jpg []byte, orientation uint16, order binary.AppendByteOrder) []byte {
	tiff := []byte("MM\x00*")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		tiff = []byte("II*\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 1)
	tiff = order.AppendUint16(tiff, 0x0112)
	tiff = order.AppendUint16(tiff, 3)
	tiff = order.AppendUint32(tiff, 1)
	tiff = order.AppendUint16(tiff, orientation)
	tiff = order.AppendUint16(tiff, 0)
	tiff = order.AppendUint32(tiff, 0)
	payload := append([]byte("Exif\x00\x00"), tiff...)
	out := append([]byte{}, jpg[:2]...)
	out = append(out, 0xFF, 0xE1)
	out = binary.BigEndian.AppendUint16(out, uint16(len(payload)+2))
	out = append(out, payload...)
	return append(out, jpg[2:]...)
}

func TestOrientation(t *testing.T) {
	t.Parallel()
	// What stands upper left, upper right, lower left, lower right once the stored scene is turned.
	turned := map[uint16][4]rgb{
		1: {red, green, blue, pale}, 2: {green, red, pale, blue}, 3: {pale, blue, green, red}, 4: {blue, pale, red, green},
		5: {red, blue, green, pale}, 6: {blue, red, pale, green}, 7: {pale, green, blue, red}, 8: {green, pale, red, blue},
		0: {red, green, blue, pale}, 9: {red, green, blue, pale},
	}
	for o, want := range turned {
		for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
			encoded := withEXIF(sample(t, "444.jpg"), o, order)
			for _, k := range []int{1, 2} {
				w, h := 48, 32
				if o >= 5 && o <= 8 {
					w, h = 32, 48
				}
				r := decode(t, encoded, w/k, h/k)
				if r.Width != w/k || r.Height != h/k || r.SourceWidth != w || r.SourceHeight != h {
					t.Errorf("orientation %d ÷%d: %d×%d of %d×%d, want %d×%d of %d×%d", o, k, r.Width, r.Height, r.SourceWidth, r.SourceHeight, w/k, h/k, w, h)
				}
				checkScene(t, "orientation "+string('0'+rune(o)), r, want, 8)
			}
		}
	}
	for _, name := range []string{"turned.png", "turned.tiff", "turned.webp"} {
		r := decode(t, sample(t, name), 0, 0)
		if r.Width != 32 || r.Height != 48 {
			t.Errorf("%s: %d×%d, want 32×48", name, r.Width, r.Height)
		}
		checkScene(t, name, r, turned[6], 0)
	}
}

func TestReduce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"420.jpg", "444.jpg", "progressive.jpg", "separate.jpg", "grey.jpg", "cmyk.jpg", "rgb.png", "palette.png", "rgb.bmp", "raw.tiff", "lossless.webp"} {
		want := scene
		if strings.HasPrefix(name, "grey") {
			want = grey()
		}
		for _, k := range []int{2, 4, 8} {
			r := decode(t, sample(t, name), 48/k, 32/k)
			if r.Width != 48/k || r.Height != 32/k || r.SourceWidth != 48 || r.SourceHeight != 32 {
				t.Errorf("%s ÷%d: %d×%d of %d×%d, want %d×%d of 48×32", name, k, r.Width, r.Height, r.SourceWidth, r.SourceHeight, 48/k, 32/k)
				continue
			}
			checkScene(t, name, r, want, 10)
		}
	}
}

// TestReduceRaggedEdge: sizes round up and the last block averages what there is of it.
func TestReduceRaggedEdge(t *testing.T) {
	t.Parallel()
	img := image.NewGray(image.Rect(0, 0, 5, 3))
	copy(img.Pix, []byte{0, 10, 20, 30, 100, 20, 30, 40, 51, 200, 1, 2, 3, 4, 5})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	r := decode(t, b.Bytes(), 2, 1)
	var got []byte
	for i := 0; i < len(r.Pix); i += 3 {
		got = append(got, r.Pix[i])
	}
	// 15 = (0+10+20+30)/4; 35 = (20+30+40+51)/4; 150 = (100+200)/2; 2 = (1+2)/2 rounded up; 4 = (3+4)/2 rounded up; 5
	if want := []byte{15, 35, 150, 2, 4, 5}; r.Width != 3 || r.Height != 2 || !bytes.Equal(got, want) {
		t.Errorf("got %d×%d %v, want 3×2 %v", r.Width, r.Height, got, want)
	}
}

// photograph is a JPEG with detail everywhere, as a microscope field has it.
func photograph(tb testing.TB, width, height, quality int) []byte {
	tb.Helper()
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	state := uint32(1)
	for y := range height {
		for x := range width {
			state = state*1664525 + 1013904223
			n := uint8(state >> 28)
			img.SetRGBA(x, y, color.RGBA{uint8(x*255/width) + n, uint8(y*200/height) + n, 120 + n, 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// TestTruncated: every format, cut anywhere, is refused; a JPEG also when its end marker is put back on.
func TestTruncated(t *testing.T) {
	t.Parallel()
	d := pixels.New(pixels.Options{})
	refuse := func(what string, encoded []byte) {
		t.Helper()
		for _, size := range []int{0, 24} {
			if _, err := d.Decode(context.Background(), encoded, size, size); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s (reduced to %d): got %v, want Invalid", what, size, err)
			}
		}
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".py") {
			continue
		}
		whole := sample(t, f.Name())
		for _, share := range []int{0, 1, 10, 30, 50, 60} {
			refuse(f.Name(), whole[:len(whole)*share/100])
		}
	}
	jpg := photograph(t, 320, 240, 85)
	for cut := len(jpg) - 2; cut > 0; cut -= 997 {
		refuse("photograph cut", jpg[:cut])
		if cut > 1000 && cut < len(jpg)-100 {
			refuse("photograph cut with an end marker", append(append([]byte{}, jpg[:cut]...), 0xFF, 0xD9))
		}
	}
	refuse("nothing", nil)
	refuse("text", []byte("not an image, but long enough to be looked at"))
	refuse("JPEG start only", []byte{0xFF, 0xD8, 0xFF})
}

// TestDamaged: bytes lost in the middle, with a proper end.
func TestDamaged(t *testing.T) {
	t.Parallel()
	jpg := photograph(t, 320, 240, 85)
	for _, lost := range []int{500, 3000} {
		b := append(append([]byte{}, jpg[:len(jpg)/2]...), jpg[len(jpg)/2+lost:]...)
		if _, err := pixels.New(pixels.Options{}).Decode(context.Background(), b, 0, 0); !fault.Is(err, fault.Invalid) {
			t.Errorf("%d bytes lost in the middle: got %v, want Invalid", lost, err)
		}
	}
}

// pngHeader is a PNG that claims a size and holds no pixels.
func pngHeader(width, height uint32) []byte {
	chunk := func(kind string, data []byte) []byte {
		out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		body := append([]byte(kind), data...)
		return binary.BigEndian.AppendUint32(append(out, body...), crc32.ChecksumIEEE(body))
	}
	ihdr := binary.BigEndian.AppendUint32(nil, width)
	ihdr = append(binary.BigEndian.AppendUint32(ihdr, height), 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", ihdr)...)
	return append(append(out, chunk("IDAT", nil)...), chunk("IEND", nil)...)
}

// TestPixelLimit: the size is refused from the header, before memory is taken for pixels.
func TestPixelLimit(t *testing.T) { //nolint:paralleltest // it watches the memory of the process
	giantJPEG := sample(t, "444.jpg")
	at := bytes.Index(giantJPEG, []byte{0xFF, 0xC0})
	binary.BigEndian.PutUint16(giantJPEG[at+5:], 60000)
	binary.BigEndian.PutUint16(giantJPEG[at+7:], 60000)
	for name, encoded := range map[string][]byte{"30,000×30,000 px PNG": pngHeader(30000, 30000), "60,000×60,000 px JPEG": giantJPEG} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := pixels.New(pixels.Options{}).Decode(context.Background(), encoded, 0, 0)
		runtime.ReadMemStats(&after)
		if !fault.Is(err, fault.TooLarge) {
			t.Errorf("%s: got %v, want TooLarge", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: %d bytes taken before the refusal", name, got)
		}
	}
	small := pixels.New(pixels.Options{MaxPixels: 48*32 - 1})
	for _, name := range []string{"444.jpg", "rgb.png", "rgb.bmp", "raw.tiff", "lossless.webp"} {
		if _, err := small.Decode(context.Background(), sample(t, name), 0, 0); !fault.Is(err, fault.TooLarge) {
			t.Errorf("%s over a limit of %d px: got %v, want TooLarge", name, 48*32-1, err)
		}
	}
	if _, err := pixels.New(pixels.Options{MaxPixels: 48 * 32}).Decode(context.Background(), sample(t, "444.jpg"), 0, 0); err != nil {
		t.Errorf("444.jpg at its limit: %v", err)
	}
}

func TestDecodeConcurrently(t *testing.T) {
	t.Parallel()
	d := pixels.New(pixels.Options{})
	var wg sync.WaitGroup
	for _, name := range []string{"420.jpg", "rgb.png", "cmyk.jpg", "lossy.webp"} {
		encoded := sample(t, name)
		for range 2 {
			wg.Go(func() {
				for range 50 {
					r, err := d.Decode(context.Background(), encoded, 0, 0)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					checkScene(t, name, r, scene, 12)
					r.Release()
				}
			})
		}
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Decode(ctx, sample(t, "rgb.png"), 0, 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("under an ended context: got %v, want Unavailable", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	d := pixels.New(pixels.Options{})
	big := photograph(b, 1280, 720, 90)
	for name, c := range map[string]struct {
		encoded []byte
		min     int
	}{"1280x720_full": {big, 0}, "1280x720_half": {big, 640}, "640x480_full": {photograph(b, 640, 480, 90), 0}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := d.Decode(context.Background(), c.encoded, c.min, c.min)
				if err != nil {
					b.Fatal(err)
				}
				r.Release()
			}
		})
	}
}
