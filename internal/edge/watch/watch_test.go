package watch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/lab"
)

const settle = time.Second

var start = time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)

func none(File) bool { return false }

func write(t *testing.T, dir, rel, text string) {
	t.Helper()
	path := filepath.Join(dir, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func look(t *testing.T, w *Watcher, after time.Duration) Found {
	t.Helper()
	found, err := w.Look(start.Add(after), none)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// names gives each candidate as "specimen: files".
func names(found Found) []string {
	list := []string{}
	for _, c := range found.Candidates {
		text := string(c.Specimen) + ":"
		for _, f := range c.Images {
			text += " " + filepath.Base(f.Path)
		}
		list = append(list, text)
	}
	return list
}

func TestASubmissionIsCompleteWhenNothingChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := New(dir, settle)
	write(t, dir, "SP-1/b.jpg", "1")
	write(t, dir, "SP-2.png", "1")
	if found := look(t, w, 0); found.Unsettled != 2 || len(found.Candidates) != 0 {
		t.Errorf("at first sight: %+v, want two unsettled", found)
	}
	write(t, dir, "SP-1/a.jpg", "1")
	if found := look(t, w, settle); found.Unsettled != 1 || len(names(found)) != 1 {
		t.Errorf("after a new file: %+v, want SP-2 only", found)
	}
	write(t, dir, "SP-1/a.jpg", "12")
	if found := look(t, w, 3*settle/2); found.Unsettled != 1 {
		t.Errorf("after growth: %+v, want SP-1 unsettled", found)
	}
	want := []string{"SP-1: a.jpg b.jpg", "SP-2: SP-2.png"}
	if diff := cmp.Diff(want, names(look(t, w, 5*settle/2))); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func TestReadyMeansNow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "SP-1/a.jpg", "1")
	write(t, dir, "SP-1/.ready", "")
	write(t, dir, "SP-2/a.jpg", "1")
	write(t, dir, "SP-2/ready.json", `{"assay":"gram-stain","priority":"stat","pixel_size_um":0.2}`)
	found := look(t, New(dir, time.Hour), 0)
	if diff := cmp.Diff([]string{"SP-1: a.jpg", "SP-2: a.jpg"}, names(found)); diff != "" {
		t.Fatalf("candidates (-want +got):\n%s", diff)
	}
	want := Ready{Assay: "gram-stain", Priority: lab.PrioritySTAT, PixelSizeUM: 0.2}
	if diff := cmp.Diff(want, found.Candidates[1].Ready); diff != "" {
		t.Errorf("ready.json (-want +got):\n%s", diff)
	}
	if n := len(found.Candidates[0].Marks); n != 1 {
		t.Errorf("%d marks, want the ready file to be moved along", n)
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, rel := range []string{
		".sent/SP-0/x/a.jpg", "SP-1/Thumbs.db", "SP-1/~a.jpg", "SP-1/b.jpg.part", "SP-1/notes.txt", "SP-1/deep/a.jpg", "desktop.ini",
		".hidden.jpg", "SP-2/.DS_Store", "readme",
	} {
		write(t, dir, rel, "x")
	}
	write(t, dir, "SP-1/noextension", "\x89PNG\r\n\x1a\n0000")
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "SP-1", "link.jpg")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"SP-1: noextension"}, names(look(t, New(dir, 0), 0))); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func TestFilesInTheQueueAreSkipped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "SP-1/a.jpg", "1")
	write(t, dir, "SP-1/b.jpg", "1")
	found, err := New(dir, 0).Look(start, func(f File) bool { return filepath.Base(f.Path) == "a.jpg" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"SP-1: b.jpg"}, names(found)); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func TestProblemsNameTheirCause(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ ready, cause string }{
		"not JSON":         {`{"assay":`, "ready.json"},
		"unknown field":    {`{"essay":"x"}`, `unknown field "essay"`},
		"unknown priority": {`{"priority":"soon"}`, "routine or stat"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "SP-1/a.jpg", "1")
			write(t, dir, "SP-1/ready.json", c.ready)
			found := look(t, New(dir, 0), 0)
			if len(found.Problems) != 1 || !strings.Contains(found.Problems[0].Cause.Error(), c.cause) {
				t.Errorf("ready.json %s: %+v, want a problem with %q", c.ready, found, c.cause)
			}
		})
	}
	dir := t.TempDir()
	write(t, dir, "SP-1/.ready", "")
	if found := look(t, New(dir, 0), 0); len(found.Problems) != 1 || len(found.Candidates) != 0 {
		t.Errorf("a ready folder without images: %+v, want a problem", found)
	}
	if _, err := New(filepath.Join(dir, "absent"), 0).Look(start, none); err == nil {
		t.Error("Look at a folder that is not there succeeded")
	}
}
