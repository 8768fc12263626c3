package edge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/edgetest"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/fault"
)

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
