package edge_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/edgetest"
)

// hospital is one computer at a hospital: its folders, and a platform it is enrolled at.
type hospital struct {
	platform         *edgetest.Platform
	data, watch, out string
	logs             *syncBuffer
}

// syncBuffer is a buffer several goroutines may write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newHospital(t *testing.T) *hospital {
	t.Helper()
	dir := t.TempDir()
	h := &hospital{
		platform: edgetest.New(t), data: filepath.Join(dir, "data"), watch: filepath.Join(dir, "watch"), out: filepath.Join(dir, "out"),
		logs: &syncBuffer{},
	}
	if err := os.Mkdir(h.watch, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := edge.Enroll(t.Context(), edge.Enrollment{DataDir: h.data, Server: h.platform.URL, Code: edgetest.Code, Name: "test", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// config is that of an agent in a hurry.
func (h *hospital) config() edge.Config {
	return edge.Config{
		DataDir: h.data, Watch: h.watch, Out: h.out, Once: true, Version: "1",
		Interval: 5 * time.Millisecond, Settle: 10 * time.Millisecond, LongPoll: 50 * time.Millisecond,
		BackoffBase: 5 * time.Millisecond, BackoffCap: 20 * time.Millisecond, TokenPause: 20 * time.Millisecond, Stall: 10 * time.Second,
		Log: slog.New(slog.NewTextHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
}

func (h *hospital) run(t *testing.T, c edge.Config) error {
	t.Helper()
	agent, err := edge.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	return agent.Run(t.Context())
}

// photograph puts an image with a patient's name in its metadata into the watched folder.
func (h *hospital) photograph(t *testing.T, rel string, shade uint8) {
	t.Helper()
	path := filepath.Join(h.watch, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, photo(t, shade), 0o600); err != nil {
		t.Fatal(err)
	}
}

func photo(t *testing.T, shade uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range img.Pix {
		img.Pix[i] = shade + uint8(i%7)
	}
	img.Set(3, 3, color.White)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	comment := "\xFF\xFE\x00\x0dYamada Taro"
	return slices.Concat(b.Bytes()[:2], []byte(comment), b.Bytes()[2:])
}

func (h *hospital) files(t *testing.T, dir string) []string {
	t.Helper()
	list := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		list = append(list, rel)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return list
}

// left gives the files of the watched folder that are not in .sent.
func (h *hospital) left(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(h.files(t, h.watch), func(f string) bool { return strings.HasPrefix(f, ".sent") })
}

func (h *hospital) report(t *testing.T) edge.Report {
	t.Helper()
	r, err := edge.ReadReport(h.data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// whole holds what must be true when everything is answered: one request for each specimen, its result delivered once, its files
// moved, no image left in the queue.
func (h *hospital) whole(t *testing.T, specimens ...string) {
	t.Helper()
	got, results := []string{}, []string{}
	for _, r := range h.platform.Requests() {
		got = append(got, r.Fields["specimen_id"])
		results = append(results, r.ID+".v1.json")
	}
	slices.Sort(got)
	slices.Sort(results)
	if diff := cmp.Diff(specimens, got); diff != "" {
		t.Errorf("specimens the platform accepted (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(results, h.files(t, h.out)); diff != "" {
		t.Errorf("files in the results folder (-want +got):\n%s", diff)
	}
	if left := h.left(t); len(left) != 0 {
		t.Errorf("left in the watched folder: %q, want nothing", left)
	}
	for _, f := range h.files(t, filepath.Join(h.data, "spool")) {
		if filepath.Ext(f) == ".jpg" || strings.Contains(f, "tmp") || strings.HasPrefix(f, "early") {
			t.Errorf("left in the queue: %s", f)
		}
	}
	r := h.report(t)
	if len(r.Waiting)+len(r.Held)+len(r.Sent) != 0 || r.Answered != len(specimens) {
		t.Errorf("queue: %d waiting, %d held, %d sent, %d answered; want %d answered only",
			len(r.Waiting), len(r.Held), len(r.Sent), r.Answered, len(specimens))
	}
}

// bigPNG is 4 MiB in the shape of a PNG: its pixels are noise nobody decodes.
func bigPNG() []byte {
	chunk := func(kind string, body []byte) []byte {
		b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
		b = append(b, body...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	noise := make([]byte, 4<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, chunk("IHDR", []byte("\x00\x00\x04\x00\x00\x00\x04\x00\x08\x06\x00\x00\x00"))...)
	b = append(b, chunk("IDAT", noise)...)
	return append(b, chunk("IEND", nil)...)
}
