package imagefile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func strip(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := StripMetadata(&out, bytes.NewReader(data)); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestStripKeepsPixelsAndOrientationOnly(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			out := strip(t, s.data)
			for _, text := range append(secrets, "prIv", "xmp", "Photoshop", "trailing") {
				if bytes.Contains(out, []byte(text)) {
					t.Errorf("%q survived stripping", text)
				}
			}
			if diff := cmp.Diff(decode(t, s.format, s.decodable()), decode(t, s.format, out)); diff != "" {
				t.Errorf("pixels changed (-before +after):\n%.400s", diff)
			}
			want := Info{Format: s.format, Width: s.width, Height: s.height, Orientation: s.orient, Bytes: int64(len(out))}
			got, err := check(out, Limits{}, whole)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("info after stripping (-want +got):\n%s", diff)
			}
			if again := strip(t, out); !bytes.Equal(again, out) {
				t.Errorf("stripping twice changed %d bytes into %d", len(out), len(again))
			}
		})
	}
}

func TestStripKeepsTheColourProfile(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		if bytes.Contains(s.data, []byte("profile")) && !bytes.Contains(strip(t, s.data), []byte("profile")) {
			t.Errorf("%s: the colour profile was dropped", s.name)
		}
	}
}

// oneWay hides every method but Read, as a network stream does.
type oneWay struct{ io.Reader }

func TestStripReadsAStream(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		var out bytes.Buffer
		if err := StripMetadata(&out, oneWay{bytes.NewReader(s.data)}); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if want := strip(t, s.data); !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: got %d bytes, want the %d that a file gives", s.name, out.Len(), len(want))
		}
	}
}

func TestStripRefusesWhatItCannotParse(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		end := len(s.data)
		if s.secret {
			end = len(bytes.TrimSuffix(s.data, []byte("trailing notes")))
		}
		for n := range end {
			if s.format == TIFF && n > 1000 {
				break // what lies behind the pixels of a TIFF is dropped, so its loss is not noticed
			}
			if err := StripMetadata(io.Discard, bytes.NewReader(s.data[:n])); err == nil {
				t.Fatalf("%s: a prefix of %d of %d bytes was accepted", s.name, n, end)
			}
		}
	}
	if err := StripMetadata(io.Discard, bytes.NewReader(file(t, "arithmetic.jpg"))); err == nil {
		t.Error("an arithmetic JPEG was accepted")
	}
}

var errFull = errors.New("disk full")

type fullAfter struct{ left int }

func (f *fullAfter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestStripPassesOnAFailureToWrite(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		size := len(strip(t, s.data))
		for left := range size {
			if err := StripMetadata(&fullAfter{left}, bytes.NewReader(s.data)); !errors.Is(err, errFull) {
				t.Fatalf("%s, room for %d of %d bytes: got %v, want %v", s.name, left, size, err, errFull)
			}
		}
	}
}

// allowedByExiftool are the groups that describe the file, the pixels or the colour profile.
var allowedByExiftool = regexp.MustCompile(`^\[(ExifTool|File|System|Composite|JFIF|PNG-pHYs|PNG|RIFF|ICC_Profile|ICC-header|IFD0|EXIF)\]`)

func TestExiftoolFindsNothingPersonal(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("exiftool")
	if err != nil {
		t.Skip("exiftool (Debian: libimage-exiftool-perl) is not installed; it is a second opinion on what StripMetadata leaves")
	}
	forbidden := regexp.MustCompile(`(?i)artist|author|comment|gps|software|description|history|document|date.?time(original)?\s+:|xmp|iptc`)
	dir := t.TempDir()
	for i, s := range samples(t) {
		path := filepath.Join(dir, string(rune('a'+i))+"."+string(s.format))
		if err := os.WriteFile(path, strip(t, s.data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), tool, "-q", "-a", "-u", "-G1", "--System:all", "-r", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := 0
	for line := range bytes.Lines(out) {
		lines++
		if bytes.HasPrefix(line, []byte("====")) {
			continue
		}
		if !allowedByExiftool.Match(line) || forbidden.Match(line) {
			t.Errorf("exiftool still finds %s", line)
		}
	}
	if lines < 10*len(samples(t)) {
		t.Errorf("exiftool said %d lines about %d images:\n%s", lines, len(samples(t)), out)
	}
}
