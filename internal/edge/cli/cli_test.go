package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"image"
	"image/jpeg"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/cli"
	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/edgetest"
	"kenkyo/internal/edge/spool"
)

var update = flag.Bool("update", false, "rewrite golden files")

// said is what one call of the program printed, and its exit code.
type said struct {
	code     int
	out, err string
}

// call runs the program with a data folder.
func call(t *testing.T, data string, args ...string) said {
	t.Helper()
	var out, errs bytes.Buffer
	p := &cli.Program{Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "en_GB.UTF-8" }, Version: "1.2.3"}
	code := p.Main(t.Context(), append(args, "--data", data))
	return said{code, out.String(), errs.String()}
}

func enrolled(t *testing.T) (*edgetest.Platform, string) {
	t.Helper()
	p := edgetest.New(t)
	data := filepath.Join(t.TempDir(), "data")
	got := call(t, data, "enroll", "--server", p.URL, "--code", edgetest.Code)
	if got.code != 0 || !strings.Contains(got.out, "dev_test") {
		t.Fatalf("enroll = %+v, want code 0 and the device's ID", got)
	}
	return p, data
}

func photo(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 20, 20)), nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "field.jpg")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "enroll", "send", "run", "status", "retry", "discard"} {
		t.Run("help "+name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := &cli.Program{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }, Version: "1.2.3"}
			args := []string{"--help"}
			if name != "" {
				args = []string{name, "--help"}
			}
			if code := p.Main(t.Context(), args); code != 0 {
				t.Fatalf("code %d, want 0", code)
			}
			path := filepath.Join("testdata", "help-"+strings.TrimSuffix(name+".golden", " "))
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("help changed (-want +got); run with -update when that is meant:\n%s", diff)
			}
		})
	}
}

func TestSendWaitsForTheResult(t *testing.T) {
	t.Parallel()
	_, data := enrolled(t)
	file := photo(t)
	got := call(t, data, "send", file, "--specimen", "SP-001", "--wait", "--json")
	var out struct {
		State  string
		Result struct {
			SpecimenID string `json:"specimen_id"`
			Status     string
		}
	}
	if err := json.Unmarshal([]byte(got.out), &out); err != nil || got.code != 0 || out.State != "answered" || out.Result.SpecimenID != "SP-001" {
		t.Fatalf("send --wait = %+v, %v; want the final result of SP-001", got, err)
	}
	if plain := call(t, data, "send", file, "--specimen", "SP-002"); plain.code != 0 || !strings.HasPrefix(plain.out, "req_") {
		t.Errorf("send = %+v, want a request ID", plain)
	}
}

func TestSendKeepsWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	p, data := enrolled(t)
	p.Fail(edgetest.Unavailable("60"))
	got := call(t, data, "send", photo(t), "--specimen", "SP-001")
	if got.code != 3 || !strings.Contains(got.err, "Stored safely as itm_") {
		t.Errorf("send = %+v, want code 3 and where it is stored", got)
	}
	if status := call(t, data, "status"); status.code != 0 || !strings.Contains(status.out, "Waiting: 1") || !strings.Contains(status.out, "field.jpg") {
		t.Errorf("status = %+v, want one waiting item with its file's name", status)
	}
	if again := call(t, data, "send", photo(t), "--specimen", "SP-002"); again.code != 0 || len(p.Requests()) != 2 {
		t.Errorf("send = %+v with %d requests, want both sent", again, len(p.Requests()))
	}
}

func TestHeldItemsAreShownRetriedAndDiscarded(t *testing.T) {
	t.Parallel()
	p, data := enrolled(t)
	file := photo(t)
	p.Fail(edgetest.Refuse(http.StatusUnprocessableEntity), edgetest.Refuse(http.StatusUnprocessableEntity))
	for range 2 {
		if got := call(t, data, "send", file, "--specimen", "SP-001"); got.code != 4 || !strings.Contains(got.err, "the assay is not known") {
			t.Fatalf("send = %+v, want code 4 and the platform's reason", got)
		}
	}
	var r edge.Report
	status := call(t, data, "status", "--json")
	if err := json.Unmarshal([]byte(status.out), &r); err != nil || status.code != 4 || len(r.Held) != 2 {
		t.Fatalf("status --json = %+v, %v; want code 4 and two held items", status, err)
	}
	japanese := call(t, data, "status", "--lang", "ja")
	for _, text := range []string{"保留: 2", "理由: Unprocessable Entity: the assay is not known", "対応: 原因を修正して"} {
		if !strings.Contains(japanese.out, text) {
			t.Errorf("status --lang ja lacks %q:\n%s", text, japanese.out)
		}
	}
	if got := call(t, data, "discard", string(r.Held[0].ID)); got.code != 0 {
		t.Errorf("discard = %+v", got)
	}
	if got := call(t, data, "discard", string(r.Held[0].ID)); got.code != 2 {
		t.Errorf("discard again = %+v, want code 2", got)
	}
	if got := call(t, data, "retry", "--all"); got.code != 0 || !strings.Contains(got.out, string(r.Held[1].ID)) {
		t.Errorf("retry --all = %+v, want the other item", got)
	}
	if got := call(t, data, "send", file, "--specimen", "SP-002"); got.code != 0 || len(p.Requests()) != 2 {
		t.Errorf("send = %+v with %d requests, want the retried one and this", got, len(p.Requests()))
	}
}

func TestRunOnce(t *testing.T) {
	t.Parallel()
	_, data := enrolled(t)
	dir := t.TempDir()
	watch, out := filepath.Join(dir, "watch"), filepath.Join(dir, "out")
	if err := os.MkdirAll(filepath.Join(watch, "SP-001"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(photo(t), filepath.Join(watch, "SP-001", "a.jpg")); err != nil {
		t.Fatal(err)
	}
	got := call(t, data, "run", "--watch", watch, "--out", out, "--once", "--settle", "10ms", "--interval", "10ms")
	if files, err := filepath.Glob(filepath.Join(out, "req_*.v1.json")); got.code != 0 || err != nil || len(files) != 1 {
		t.Errorf("run --once = %+v, files %q; want code 0 and one result", got, files)
	}
	if inside := call(t, data, "run", "--watch", watch, "--out", filepath.Join(watch, "out")); inside.code != 2 {
		t.Errorf("run with --out inside --watch = %+v, want code 2", inside)
	}
}

func TestEnrollLeavesARunningAgentAlone(t *testing.T) {
	t.Parallel()
	p, data := enrolled(t)
	queue, err := spool.Open(filepath.Join(data, "spool"), durable.OS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = queue.Close() }) // only its lock matters
	if got := call(t, data, "enroll", "--server", p.URL, "--code", "x", "--replace"); got.code != 6 || !strings.Contains(got.err, "stop it") {
		t.Errorf("enroll beside a running agent = %+v, want code 6 and what to do", got)
	}
}

func TestExitCodesAndTexts(t *testing.T) {
	t.Parallel()
	p, data := enrolled(t)
	file := photo(t)
	text := filepath.Join(t.TempDir(), "text.jpg")
	if err := os.WriteFile(text, []byte("not an image at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil { //nolint:gosec // a folder others can read is what is tested
		t.Fatal(err)
	}
	cases := []struct {
		name string
		data string
		args []string
		code int
		text string
	}{
		{"unknown command", data, []string{"fly"}, 2, "unknown command"},
		{"unknown flag", data, []string{"send", "--fly"}, 2, "unknown flag"},
		{"no specimen", data, []string{"send", file}, 2, "--specimen is needed"},
		{"no file", data, []string{"send", "--specimen", "S"}, 2, "at least 1"},
		{"missing file", data, []string{"send", "absent.jpg", "--specimen", "S"}, 2, "absent.jpg"},
		{"not an image", data, []string{"send", text, "--specimen", "S"}, 2, "not an image this platform reads"},
		{"bad priority", data, []string{"send", file, "--specimen", "S", "--priority", "soon"}, 2, "routine or stat"},
		{"bad time", data, []string{"send", file, "--specimen", "S", "--captured-at", "yesterday"}, 2, "2025-01-15T10:00:00+09:00"},
		{"bad language", data, []string{"status", "--lang", "fr"}, 2, "en or ja"},
		{"bad item", data, []string{"retry", "../../etc"}, 2, "itm_"},
		{"no item", data, []string{"retry"}, 2, "--all"},
		{"unknown item", data, []string{"retry", "itm_00000000000000000000000000000000"}, 2, "no item"},
		{"not enrolled", filepath.Join(t.TempDir(), "d"), []string{"send", file, "--specimen", "S"}, 5, "not enrolled"},
		{"not enrolled, in Japanese", filepath.Join(t.TempDir(), "d"), []string{"status", "--lang", "ja"}, 5, "未登録"},
		{"enrolled twice", data, []string{"enroll", "--server", p.URL, "--code", "x"}, 2, "already enrolled"},
		{"used code", filepath.Join(t.TempDir(), "d"), []string{"enroll", "--server", p.URL, "--code", edgetest.Code}, 5, "already used, or expired"},
		{"http to another computer", filepath.Join(t.TempDir(), "d"), []string{"enroll", "--server", "http://192.0.2.1", "--code", "x"}, 2, "https://"},
		{"folder open to others", open, []string{"enroll", "--server", p.URL, "--code", "x"}, 2, "chmod 700"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, c.data, c.args...)
			if got.code != c.code || !strings.Contains(got.out+got.err, c.text) {
				t.Errorf("%q = %+v, want code %d and %q", c.args, got, c.code, c.text)
			}
		})
	}
}
