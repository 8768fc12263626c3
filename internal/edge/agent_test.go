package edge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/edgetest"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/fault"
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

func TestRunSendsFoldersAndDeliversResults(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	h.photograph(t, "SP-001/b.jpg", 10)
	h.photograph(t, "SP-001/a.JPG", 20)
	h.photograph(t, "SP-002.jpg", 30)
	h.photograph(t, "SP-003/x.jpg", 40)
	ready := `{"assay":"gram-stain","condition":"aerobic","priority":"stat","captured_at":"2025-01-15T10:00:00+09:00","pixel_size_um":0.25,
		"classification":{"RBC":3}}`
	if err := os.WriteFile(filepath.Join(h.watch, "SP-003", "ready.json"), []byte(ready), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	h.whole(t, "SP-001", "SP-002", "SP-003")
	for _, r := range h.platform.Requests() {
		for _, img := range r.Images {
			if bytes.Contains(img.Bytes, []byte("Yamada")) {
				t.Errorf("%s: metadata left the hospital", r.Fields["specimen_id"])
			}
			if strings.ContainsAny(img.FileName, "abx") {
				t.Errorf("%s: file name %q left the hospital", r.Fields["specimen_id"], img.FileName)
			}
		}
		want := map[string]string{
			"specimen_id": "SP-003", "assay": "gram-stain", "condition": "aerobic", "priority": "stat",
			"captured_at": "2025-01-15T10:00:00+09:00", "pixel_size_um": "0.25", "classification": `{"RBC":3}`,
		}
		if r.Fields["specimen_id"] == "SP-003" {
			if diff := cmp.Diff(want, r.Fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		}
		b, err := os.ReadFile(filepath.Join(h.out, r.ID+".v1.json"))
		if err != nil || !bytes.Contains(b, []byte(`"unheard_of":{"kept":true}`)) {
			t.Errorf("result %s: %v; want fields unknown to the agent kept", b, err)
		}
	}
	if log := h.logs.String(); strings.Contains(log, "SP-00") || strings.Contains(log, ".jpg") {
		t.Errorf("a log names a specimen or a file:\n%s", log)
	}
}

func TestRunGetsThroughPassingTrouble(t *testing.T) {
	t.Parallel()
	faults := map[string]func(*edgetest.Platform) edgetest.Fault{
		"503":                 func(*edgetest.Platform) edgetest.Fault { return edgetest.Unavailable("") },
		"503 with seconds":    func(*edgetest.Platform) edgetest.Fault { return edgetest.Unavailable("1") },
		"503 with a past day": func(*edgetest.Platform) edgetest.Fault { return edgetest.Unavailable("Mon, 02 Jan 2006 15:04:05 GMT") },
		"408":                 func(*edgetest.Platform) edgetest.Fault { return edgetest.Refuse(http.StatusRequestTimeout) },
		"425":                 func(*edgetest.Platform) edgetest.Fault { return edgetest.Refuse(http.StatusTooEarly) },
		"429":                 func(*edgetest.Platform) edgetest.Fault { return edgetest.Refuse(http.StatusTooManyRequests) },
		"500":                 func(*edgetest.Platform) edgetest.Fault { return edgetest.Refuse(http.StatusInternalServerError) },
		"502 of a proxy":      func(*edgetest.Platform) edgetest.Fault { return edgetest.Status(http.StatusBadGateway) },
		"sign-in page":        func(*edgetest.Platform) edgetest.Fault { return edgetest.Status(http.StatusOK) },
		"redirect":            func(*edgetest.Platform) edgetest.Fault { return edgetest.Status(http.StatusFound) },
		"403 of a proxy":      func(*edgetest.Platform) edgetest.Fault { return edgetest.Status(http.StatusForbidden) },
		"407":                 func(*edgetest.Platform) edgetest.Fault { return edgetest.Status(http.StatusProxyAuthRequired) },
		"cut at the start":    func(*edgetest.Platform) edgetest.Fault { return edgetest.Cut(0) },
		"cut in the middle":   func(*edgetest.Platform) edgetest.Fault { return edgetest.Cut(700) },
		"lost answer":         func(p *edgetest.Platform) edgetest.Fault { return p.Lose() },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHospital(t)
			h.photograph(t, "SP-001/a.jpg", 10)
			h.photograph(t, "SP-002/a.jpg", 20)
			h.platform.Fail(fault(h.platform), fault(h.platform))
			if err := h.run(t, h.config()); err != nil {
				t.Fatal(err)
			}
			h.whole(t, "SP-001", "SP-002")
			if uploads, _ := h.platform.Counts(); uploads < 4 {
				t.Errorf("%d uploads, want at least 4: two failures and two repetitions", uploads)
			}
		})
	}
}

func TestRunGivesUpAnUploadThatStalls(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	h.photograph(t, "SP-001/a.jpg", 10)
	path := filepath.Join(h.watch, "SP-001", "big.png")
	if err := os.WriteFile(path, bigPNG(), 0o600); err != nil { // larger than the buffers on the way
		t.Fatal(err)
	}
	h.platform.Fail(h.platform.Stall())
	c := h.config()
	c.Stall = 200 * time.Millisecond
	if err := h.run(t, c); err != nil {
		t.Fatal(err)
	}
	h.whole(t, "SP-001")
	if log := h.logs.String(); !strings.Contains(log, "does not move") {
		t.Errorf("the log does not say that an upload stalled:\n%s", log)
	}
}

func TestRunHoldsWhatIsRefusedAndGoesOn(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	h.photograph(t, "SP-001/a.jpg", 10)
	h.platform.Fail(edgetest.Refuse(http.StatusUnprocessableEntity))
	if err := h.run(t, h.config()); !errors.Is(err, edge.ErrHeld) {
		t.Fatalf("Run = %v, want ErrHeld", err)
	}
	h.photograph(t, "SP-002/a.jpg", 20)
	h.platform.Fail(h.platform.WrongDigest())
	if err := h.run(t, h.config()); !errors.Is(err, edge.ErrHeld) {
		t.Fatalf("Run = %v, want ErrHeld", err)
	}
	r := h.report(t)
	if len(r.Held) != 2 {
		t.Fatalf("held %+v, want two", r.Held)
	}
	want := &spool.Reason{
		Status: 422, Title: "Unprocessable Entity", Detail: "the assay is not known",
		Errors: []spool.Field{{Location: "body.assay", Message: "no such assay"}},
	}
	if diff := cmp.Diff(want, r.Held[0].Reason); diff != "" {
		t.Errorf("reason (-want +got):\n%s", diff)
	}
	if got := r.Held[1].Reason.Title; !strings.Contains(got, "other images than were sent") {
		t.Errorf("reason for another digest: %q", got)
	}
	queue, err := spool.Attach(filepath.Join(h.data, "spool"), durable.OS{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Held {
		if err := queue.Retry(e.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	h.whole(t, "SP-001", "SP-002")
}

func TestRunStopsWhileTheTokenIsRefused(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	for _, name := range []string{"SP-001.jpg", "SP-002.jpg", "SP-003.jpg"} {
		h.photograph(t, name, 10)
	}
	h.platform.RefuseToken(true)
	if err := h.run(t, h.config()); !fault.Is(err, fault.Unauthenticated) {
		t.Fatalf("Run = %v, want fault.Unauthenticated", err)
	}
	r := h.report(t)
	if r.Link != edge.StateTokenRefused || len(r.Held) != 0 {
		t.Errorf("link %q with %d held, want token_refused and nothing held", r.Link, len(r.Held))
	}
	h.platform.RefuseToken(false)
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	h.whole(t, "SP-001", "SP-002", "SP-003")
}

func TestRunAgainAfterALostCursorRepeatsNothing(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	for _, name := range []string{"SP-001.jpg", "SP-002.jpg", "SP-003.jpg"} {
		h.photograph(t, name, 10)
	}
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(h.data, "cursor")); err != nil {
		t.Fatal(err)
	}
	h.photograph(t, "SP-004.jpg", 40)
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	h.whole(t, "SP-001", "SP-002", "SP-003", "SP-004")
}

func TestRunDeliversEveryVersion(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	h.platform.Manual()
	h.photograph(t, "SP-001.jpg", 10)
	c := h.config()
	c.Out = "" // sends only
	if err := h.run(t, c); err != nil {
		t.Fatal(err)
	}
	request := h.platform.Requests()[0]
	h.platform.Release(request, "preliminary", 1)
	h.platform.Release(request, "final", 2)
	h.platform.Release(request, "amended", 3)
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	want := []string{request.ID + ".v1.json", request.ID + ".v2.json", request.ID + ".v3.json"}
	got := h.files(t, h.out)
	if len(got) == 2 {
		want = want[:2] // the final version ends the run, and the page ended with it
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestRunReportsWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	h.photograph(t, "SP-001/a.jpg", 10)
	bad := filepath.Join(h.watch, "SP-001", "b.jpg")
	if err := os.WriteFile(bad, photo(t, 20)[:300], 0o600); err != nil {
		t.Fatal(err)
	}
	h.photograph(t, "SP-002/a.jpg", 30)
	if err := h.run(t, h.config()); !errors.Is(err, edge.ErrHeld) {
		t.Fatalf("Run = %v, want ErrHeld", err)
	}
	want := []edge.Problem{{Path: "SP-001", Cause: "image 2: truncated jpeg image: the data ends before the image does"}}
	if diff := cmp.Diff(want, h.report(t).Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(bad, photo(t, 20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.run(t, h.config()); err != nil {
		t.Fatal(err)
	}
	h.whole(t, "SP-001", "SP-002")
}

func TestSecondAgentIsRefused(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	queue, err := spool.Open(filepath.Join(h.data, "spool"), durable.OS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.run(t, h.config()); !fault.Is(err, fault.Conflict) {
		t.Errorf("Run = %v, want fault.Conflict", err)
	}
	if err := queue.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.run(t, h.config()); err != nil {
		t.Errorf("Run after the other ended = %v", err)
	}
}

func TestStatusIsJSONWithListsNeverNull(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(edge.Report{})
	if err != nil || bytes.Contains(b, []byte("last_contact")) {
		t.Errorf("%s, %v; want no time that means nothing", b, err)
	}
	h := newHospital(t)
	if b, err = json.Marshal(h.report(t)); err != nil || bytes.Contains(b, []byte("null")) {
		t.Errorf("%s, %v; want empty lists", b, err)
	}
}
