package deliver_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/edge/deliver"
	"kenkyo/internal/edge/durable"
	"kenkyo/internal/lab"
)

// stream is a source of one page, and what delivery told of it.
type stream struct {
	page  []string
	since []string
	done  []lab.RequestID
	fail  error
}

func (s *stream) source(_ context.Context, since string, _ time.Duration) ([]json.RawMessage, string, bool, error) {
	s.since = append(s.since, since)
	var raw []json.RawMessage
	for _, text := range s.page {
		raw = append(raw, json.RawMessage(text))
	}
	return raw, "next", false, nil
}

func open(t *testing.T, dir string, s *stream, fsys durable.FS) *deliver.Delivery {
	t.Helper()
	d, err := deliver.Open(deliver.Config{
		Out: filepath.Join(dir, "out"), Cursor: filepath.Join(dir, "cursor"), FS: fsys, Source: s.source,
		Done: func(r deliver.Result) error { s.done = append(s.done, r.RequestID); return s.fail },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// content gives the results folder: text by name.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, "out", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	return got
}

func TestResultsAreKeptAsReceived(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := `{ "request_id":"req_1","version":2, "confidence":0.950, "new":[1e3] }`
	s := &stream{page: []string{text}}
	if n, _, err := open(t, dir, s, durable.OS{}).Poll(t.Context(), 0); n != 1 || err != nil {
		t.Fatalf("Poll = %d, %v", n, err)
	}
	if diff := cmp.Diff(map[string]string{"req_1.v2.json": text}, content(t, dir)); diff != "" {
		t.Errorf("folder (-want +got):\n%s", diff)
	}
	if _, _, err := open(t, dir, s, durable.OS{}).Poll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "next"}, s.since); diff != "" {
		t.Errorf("cursors asked with (-want +got):\n%s", diff)
	}
}

func TestARepeatedResultIsWrittenOnceAndADifferentOneBesideIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &stream{page: []string{
		`{"request_id":"req_1","version":1,"a":1.10}`,
		`{"a":1.10,  "version":1,"request_id":"req_1"}`,
		`{"request_id":"req_1","version":1,"a":2}`,
	}}
	if _, _, err := open(t, dir, s, durable.OS{}).Poll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	got := content(t, dir)
	if len(got) != 2 || got["req_1.v1.json"] != s.page[0] {
		t.Errorf("folder %q, want the first under its name and the third beside it", got)
	}
}

func TestNamesStayInsideTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &stream{page: []string{`{"request_id":"../../etc/passwd","version":1}`, `"text"`, `{"request_id":""}`, `{"request_id":".hidden"}`}}
	if _, _, err := open(t, dir, s, durable.OS{}).Poll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	got := content(t, dir)
	for name := range got {
		if !strings.HasPrefix(name, "unnamed-") {
			t.Errorf("file %q, want names with a digest only", name)
		}
	}
	if len(got) != len(s.page) {
		t.Errorf("%d files %q, want %d: nothing may be lost", len(got), got, len(s.page))
	}
	if diff := cmp.Diff([]lab.RequestID{"", "", "", ""}, s.done); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
}

func TestTheCursorWaitsForEverythingBeforeIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &stream{page: []string{`{"request_id":"req_1","version":1}`}, fail: errors.New("not now")}
	d := open(t, dir, s, durable.OS{})
	if _, _, err := d.Poll(t.Context(), 0); !errors.Is(err, s.fail) {
		t.Fatalf("Poll = %v, want %v", err, s.fail)
	}
	if _, err := os.Stat(filepath.Join(dir, "cursor")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cursor: %v, want none yet", err)
	}
	s.fail = nil
	if _, _, err := d.Poll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", ""}, s.since); diff != "" {
		t.Errorf("cursors asked with (-want +got):\n%s", diff)
	}
}

// full fails every write to a file.
type full struct{ durable.OS }

func (full) Create(string) (durable.File, error) { return nil, os.ErrPermission }

func TestAFullDiskMovesNoCursor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &stream{page: []string{`{"request_id":"req_1","version":1}`}}
	if _, _, err := open(t, dir, s, full{}).Poll(t.Context(), 0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Poll = %v, want %v", err, os.ErrPermission)
	}
	if got := content(t, dir); len(got) != 0 || len(s.done) != 0 {
		t.Errorf("folder %q, told of %q; want neither", got, s.done)
	}
}
