package imagefile

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/fault"
)

// check runs data through a Checker in pieces whose sizes cut gives.
func check(data []byte, limits Limits, cut func() int) (Info, error) {
	c := NewChecker(limits)
	for len(data) > 0 {
		n := min(cut(), len(data))
		if _, err := c.Write(data[:n]); err != nil {
			break
		}
		data = data[n:]
	}
	return c.Finish()
}

func whole() int { return 1 << 30 }

func TestSniffNamesTheFormatByTwelveBytes(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		if got := Sniff(s.data[:12]); got != s.format {
			t.Errorf("Sniff(%s) = %q, want %q", s.name, got, s.format)
		}
	}
	for _, other := range []string{"", "%PDF-1.7 and so on", "GIF89a.........", "RIFF....WAVEfmt ", "II+\x00\x08\x00\x00\x00\x00\x00\x00\x00"} {
		if got := Sniff([]byte(other)); got != "" {
			t.Errorf("Sniff(%q) = %q, want none", other, got)
		}
	}
}

func TestCheckerTellsDimensionsInAnyChunking(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			want := Info{Format: s.format, Width: s.width, Height: s.height, Orientation: s.orient, Bytes: int64(len(s.data))}
			random := rand.New(rand.NewPCG(1, 2))
			for name, cut := range map[string]func() int{
				"whole": whole, "single bytes": func() int { return 1 }, "random": func() int { return 1 + random.IntN(40) },
			} {
				got, err := check(s.data, Limits{MaxPixels: 1200}, cut)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if got := Orientation(s.data); got != s.orient {
				t.Errorf("Orientation = %d, want %d", got, s.orient)
			}
		})
	}
}

func TestCheckerRefusesEveryStrictPrefix(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			end := len(s.data)
			if s.secret {
				end = len(bytes.TrimSuffix(s.data, []byte("trailing notes")))
			}
			for n := range end {
				info, err := check(s.data[:n], Limits{}, whole)
				if s.format == TIFF && err == nil {
					continue // a TIFF's last value may lie behind everything that is checked
				}
				if !fault.Is(err, fault.Invalid) {
					t.Fatalf("prefix of %d of %d bytes: got %+v, %v; want fault.Invalid", n, end, info, err)
				}
			}
		})
	}
}

func TestCheckerRefusesEarlyAndClearly(t *testing.T) {
	t.Parallel()
	jpg := encodeJPEG(t)
	sof := bytes.Index(jpg, []byte{0xFF, mSOF0})
	edit := func(at int, b ...byte) []byte {
		out := bytes.Clone(jpg)
		copy(out[at:], b)
		return out
	}
	cases := []struct {
		name, text string
		data       []byte
	}{
		{"nothing", "empty", nil},
		{"a text", "not an image this platform reads (JPEG, PNG, BMP, TIFF, WebP)", []byte("hello, world")},
		{"one byte", "not an image", []byte{0xFF}},
		{"another RIFF", "not an image", []byte("RIFF\x10\x00\x00\x00WAVEfmt ")},
		{"BigTIFF", "BigTIFF", []byte("II+\x00\x08\x00\x00\x00")},
		{"arithmetic JPEG", "arithmetic", file(t, "arithmetic.jpg")},
		{"lossless JPEG", "lossless", edit(sof+1, 0xC3)},
		{"height left to DNL", "DNL", edit(sof+5, 0, 0)},
		{"no width", "width 0", edit(sof+7, 0, 0)},
		{"too many pixels", "40 × 30 = 1200 pixels, more than the limit of 1199", jpg},
		{"PNG with a changed header", "checksum", bytes.Replace(encodePNG(t), []byte("\x00\x28"), []byte("\x00\x29"), 1)},
		{"truncated PNG", "truncated", encodePNG(t)[:20]},
		{"animated WebP", "animation", []byte("RIFF\x20\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x27\x00\x00\x1d\x00\x00")},
		{"BMP with an unknown header", "header of", []byte("BM" + strings.Repeat("\x00", 30))},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := check(c.data, Limits{MaxPixels: 1199}, func() int { return 7 })
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want fault.Invalid with %q", err, c.text)
			}
		})
	}
}

func TestCheckerStopsIntakeAtTheHeader(t *testing.T) {
	t.Parallel()
	jpg := encodeJPEG(t)
	c := NewChecker(Limits{MaxPixels: 10})
	n, err := c.Write(jpg)
	if err == nil || n == len(jpg) {
		t.Fatalf("Write = %d of %d, %v; want it to stop at the frame header", n, len(jpg), err)
	}
	if _, again := c.Write([]byte("x")); !errors.Is(again, err) {
		t.Errorf("second Write = %v, want the same error %v", again, err)
	}
	if _, last := c.Finish(); !errors.Is(last, err) {
		t.Errorf("Finish = %v, want the same error %v", last, err)
	}
}

func TestCheckerHoldsAtMost64KiB(t *testing.T) {
	t.Parallel()
	jpg := encodeJPEG(t)
	pngs := encodePNG(t)
	big := strings.Repeat("\x01", 65533)
	for name, data := range map[string][]byte{
		"jpeg with long segments": append(append([]byte{0xFF, mSOI}, bytes.Repeat(segment(mAPP1, big), 40)...), jpg[2:]...),
		"png with a long eXIf":    append(append(bytes.Clone(pngs[:33]), chunk("eXIf", strings.Repeat(big, 40))...), pngs[33:]...),
	} {
		c := NewChecker(Limits{})
		most := 0
		for len(data) > 0 {
			n := min(4096, len(data))
			if _, err := c.Write(data[:n]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			data = data[n:]
			most = max(most, cap(c.buf))
		}
		if _, err := c.Finish(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if most > 64<<10 {
			t.Errorf("%s: held %d bytes, want at most 65536", name, most)
		}
	}
}
