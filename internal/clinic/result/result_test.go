package result_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

func box(x float64) *lab.Box { return &lab.Box{X: x, W: 1, H: 1} }

func TestClassify(t *testing.T) {
	t.Parallel()
	got := result.Classify("img-001", []lab.Finding{
		{Label: "RBC", Confidence: 0.6, Box: box(1)}, {Label: "WBC", Confidence: 0.9, Box: box(2)}, {Label: "RBC", Confidence: 0.8, Box: box(3)},
	})
	want := []lab.Classification{
		{ImageID: "img-001", Category: "WBC", Confidence: 0.9, Count: 1, Boxes: []lab.ScoredBox{{Box: *box(2), Confidence: 0.9}}},
		{ImageID: "img-001", Category: "RBC", Confidence: 0.8, Count: 2, Boxes: []lab.ScoredBox{{Box: *box(3), Confidence: 0.8}, {Box: *box(1), Confidence: 0.6}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("detector's findings (-want +got):\n%s", diff)
	}
	got = result.Classify("img-001", []lab.Finding{{Label: "GP cocci", Confidence: 0.7}})
	if diff := cmp.Diff([]lab.Classification{{ImageID: "img-001", Category: "GP cocci", Confidence: 0.7}}, got); diff != "" {
		t.Errorf("classifier's finding (-want +got):\n%s", diff)
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	t1, t2 := time.Unix(100, 0), time.Unix(200, 0)
	det := &lab.Detection{Model: "m", Digest: "0123456789abcdef", Findings: []lab.Finding{{Label: "RBC", Confidence: 0.9, Box: box(1)}}}
	seen := result.Settled{ImageID: "a", State: lab.StateDecided, DecidedAt: t1, Detection: det}
	lost := result.Settled{ImageID: "b", State: lab.StateRejected, Reject: lab.RejectCorrupt, DecidedAt: t2}
	for _, tt := range []struct {
		name   string
		images []result.Settled
		status lab.ReportStatus
		by     string
		n, bad int
	}{
		{"decided", []result.Settled{seen}, lab.ReportFinal, "model:m@0123456789ab", 1, 0},
		{"one of two lost", []result.Settled{seen, lost}, lab.ReportFinal, "model:m@0123456789ab", 1, 1},
		{"all lost", []result.Settled{lost}, lab.ReportCancelled, "system", 0, 1},
	} {
		r := result.Compose("req_1", tt.images)
		if r.Status != tt.status || r.ClassifiedBy != tt.by || len(r.Classifications) != tt.n || len(r.Rejected) != tt.bad || r.Version != 1 {
			t.Errorf("%s: got %+v", tt.name, r)
		}
		if want := tt.images[len(tt.images)-1].DecidedAt; !r.ClassifiedAt.Equal(want) {
			t.Errorf("%s: classified at %v, want the last decision %v", tt.name, r.ClassifiedAt, want)
		}
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	utc := time.Date(2025, 1, 15, 1, 0, 0, 0, time.UTC)
	for text, want := range map[string]result.Since{
		"": {}, "c1.0": {}, result.Cursor(12345): {Sequence: 12345}, "2025-01-15T01:00:00Z": {At: utc},
		"2025-01-15T10:00:00+09:00": {At: utc}, "2025-01-15T10:00:00 09:00": {At: utc}, "2025-01-15T01:00:00.000001Z": {At: utc.Add(time.Microsecond)},
	} {
		if got, err := result.ParseSince(text); err != nil || !got.At.Equal(want.At) || got.Sequence != want.Sequence {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "c1.", "c1.-1", "c1.01", "c1.zzzzzzzzzzzzzzzzz", "c2.5", "2025-01-15", "c1.A"} {
		if got, err := result.ParseSince(text); !fault.Is(err, fault.Invalid) || fault.FieldOf(err) != "since" {
			t.Errorf("%q: got %+v, %v, want Invalid naming since", text, got, err)
		}
	}
}

func FuzzParseSince(f *testing.F) {
	for _, s := range []string{"", "c1.0", "c1.9ix", "2025-01-15T10:00:00+09:00", "c1.-1", "c1.01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		since, err := result.ParseSince(s)
		if err != nil {
			return
		}
		if since.Sequence < 0 {
			t.Errorf("%q gave the negative number %d", s, since.Sequence)
		}
		if since.At.IsZero() && s != "" && since.Sequence != 0 && result.Cursor(since.Sequence) != s {
			t.Errorf("%q and %q are two cursors of one place", s, result.Cursor(since.Sequence))
		}
	})
}

// heads is a database whose sequence numbers a test moves.
type heads struct {
	mu    sync.Mutex
	n     map[lab.FacilityID]int64
	reads int
}

func (h *heads) Heads(context.Context) (map[lab.FacilityID]int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	out := make(map[lab.FacilityID]int64)
	for k, v := range h.n {
		out[k] = v
	}
	return out, nil
}

func (h *heads) set(f lab.FacilityID, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n[f] = n
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &heads{n: map[lab.FacilityID]int64{}}
		w := result.NewWatcher(h, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { _ = w.Run(ctx) })
		<-time.After(time.Hour)
		if h.reads != 0 {
			t.Errorf("with nobody waiting: got %d reads, want none", h.reads)
		}
		wait := func(f lab.FacilityID, after int64, timeout time.Duration) (bool, time.Duration) {
			c, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			start := time.Now()
			ok := w.Wait(c, f, after)
			return ok, time.Since(start)
		}
		if ok, took := wait("a", 0, 10*time.Second); ok || took != 10*time.Second {
			t.Errorf("nothing released: got %v after %v, want false after 10 s", ok, took)
		}
		time.AfterFunc(3*time.Second+time.Millisecond, func() { h.set("a", 1) }) // by another process
		if ok, took := wait("a", 0, 30*time.Second); !ok || took > 5*time.Second {
			t.Errorf("released elsewhere: got %v after %v", ok, took)
		}
		time.AfterFunc(3*time.Second, func() { w.Notify("b", 9) }) // by this process
		if ok, took := wait("b", 8, 30*time.Second); !ok || took != 3*time.Second {
			t.Errorf("released here: got %v after %v, want at once", ok, took)
		}
		if ok, took := wait("b", 8, 30*time.Second); !ok || took != 0 {
			t.Errorf("released before: got %v after %v, want at once", ok, took)
		}
		time.AfterFunc(time.Second, w.Stop)
		if ok, took := wait("b", 9, 30*time.Second); ok || took != time.Second {
			t.Errorf("stopping: got %v after %v, want false after 1 s", ok, took)
		}
		cancel()
		run.Wait()
	})
}

func ExampleCursor() {
	since, _ := result.ParseSince(result.Cursor(42))
	fmt.Println(since.Sequence)
	// Output: 42
}
