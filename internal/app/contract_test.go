package app_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	img "image"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/app"
)

// smallPNG gives a picture whose bytes depend on n.
func smallPNG(tb testing.TB, n int) []byte {
	tb.Helper()
	m := img.NewRGBA(img.Rect(0, 0, 64, 48))
	for i := range m.Pix {
		m.Pix[i] = 200
	}
	m.Set(n%64, n/64%48, color.RGBA{R: uint8(n), A: 255}) //nolint:gosec // any value will do
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestSubmitAndPoll(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	jpeg := bloodImage(t, 0)
	sum := sha256.Sum256(jpeg)

	// The image comes first and the identifier last, as the analyser sends them.
	ct, body := form(image("a.jpg", jpeg), image("b.jpg", bloodImage(t, 1)), field("captured_at", "2025-01-15T10:00:00+09:00"),
		field("classification", `[{"category":"RBC","confidence":0.4}]`), specimen("SP-20250115-001"))
	var raw map[string]any
	s.do(s.request(http.MethodPost, "/api/v1/images", token, ct, body), http.StatusOK, &raw)
	if raw["status"] != "accepted" {
		t.Errorf("status: got %v, want accepted", raw["status"])
	}
	images, _ := raw["images"].([]any)
	want := map[string]any{"image_id": "img-001", "sha256": hex.EncodeToString(sum[:])}
	if len(images) != 2 || !cmp.Equal(images[0], any(want)) {
		t.Errorf("images: got %v, want two, the first %v", images, want)
	}

	start := time.Now()
	got := s.await(token, "", 1)[0]
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the long poll took %v: it did not wake at the release", took)
	}
	if got.RequestID != raw["request_id"] || got.SpecimenID != "SP-20250115-001" || got.Status != "final" || got.Version != 1 {
		t.Errorf("result: got %+v", got)
	}
	if !strings.HasPrefix(got.ClassifiedBy, "model:blood-smear@") {
		t.Errorf("classified_by: got %q", got.ClassifiedBy)
	}
	var seen []string
	for _, c := range got.Classifications {
		seen = append(seen, fmt.Sprintf("%s %s %d", c.ImageID, c.Category, c.Count))
		if c.Confidence < 0.5 || c.Confidence > 1 || len(c.Boxes) != c.Count {
			t.Errorf("classification: got %+v", c)
		}
	}
	if diff := cmp.Diff([]string{"img-001 RBC 1", "img-001 WBC 1", "img-002 RBC 1", "img-002 WBC 1"}, seen); diff != "" {
		t.Errorf("classifications (-want +got):\n%s", diff)
	}
	if got.ReleasedAt.Before(got.ClassifiedAt) {
		t.Errorf("released_at %v lies before classified_at %v", got.ReleasedAt, got.ClassifiedAt)
	}
	s.clean()
}

func TestResultKeysAreTheContract(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	s.submit(token, specimen("A"), image("a.png", smallPNG(t, 1)))
	s.await(token, "", 1)
	var page map[string]any
	s.do(s.request(http.MethodGet, "/api/v1/results", token, "", nil), http.StatusOK, &page)
	if diff := cmp.Diff([]string{"has_more", "next", "results"}, keys(page)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	results, _ := page["results"].([]any)
	result, _ := results[0].(map[string]any)
	want := []string{"assay", "classifications", "classified_at", "classified_by", "released_at", "request_id", "specimen_id", "status", "version"}
	if diff := cmp.Diff(want, keys(result)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	classes, _ := result["classifications"].([]any)
	class, _ := classes[0].(map[string]any)
	if diff := cmp.Diff([]string{"boxes", "category", "confidence", "count", "image_id"}, keys(class)); diff != "" {
		t.Errorf("classification (-want +got):\n%s", diff)
	}
}

func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slicesSort(out)
	return out
}

func TestSinceByTimeRepeatsAndByCursorDoesNot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	s.submit(token, specimen("A"), image("a.png", smallPNG(t, 1)))
	first := s.await(token, "", 1)[0]
	s.submit(token, specimen("B"), image("b.png", smallPNG(t, 2)))
	page := s.results(token, "")
	for len(page.Results) < 2 {
		page = s.results(token, "")
	}
	since := first.ClassifiedAt.In(time.FixedZone("JST", 9*3600)).Format(time.RFC3339Nano)
	if got := s.results(token, "since="+url.QueryEscape(since)); len(got.Results) != 2 {
		t.Errorf("since=classified_at of the first: got %d results, want both", len(got.Results))
	}
	if got := s.results(token, "since="+since); len(got.Results) != 2 { // a careless client does not escape the plus sign
		t.Errorf("since with a bare plus sign: got %d results, want both", len(got.Results))
	}
	if got := s.results(token, "since="+page.Next); len(got.Results) != 0 || got.Next != page.Next {
		t.Errorf("since=cursor: got %d results and next %q, want none and %q", len(got.Results), got.Next, page.Next)
	}
	if got := s.results(token, "limit=1"); len(got.Results) != 1 || !got.HasMore {
		t.Errorf("limit=1: got %d results, has_more %v", len(got.Results), got.HasMore)
	} else if rest := s.results(token, "since="+got.Next); len(rest.Results) != 1 || rest.Results[0].SpecimenID != "B" {
		t.Errorf("the page after limit=1: got %+v, want B", rest.Results)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	fac := s.facility("one")
	token, _ := s.device(fac)
	other, _ := s.device(fac)
	a, b := smallPNG(t, 1), smallPNG(t, 2)

	first := s.submit(token, specimen("S"), image("a.png", a), image("b.png", b))
	if again := s.submit(token, image("b.png", b), specimen("S"), image("a.png", a)); again.RequestID != first.RequestID {
		t.Errorf("the same images in another order: got %s, want %s", again.RequestID, first.RequestID)
	}
	if again := s.submit(other, specimen("S"), image("a.png", a), image("b.png", b)); again.RequestID != first.RequestID {
		t.Errorf("the same from the facility's other device: got %s, want %s", again.RequestID, first.RequestID)
	}
	for name, parts := range map[string][]part{
		"another specimen": {specimen("T"), image("a.png", a), image("b.png", b)},
		"another assay":    {specimen("S"), field("assay", "urine-sediment"), image("a.png", a), image("b.png", b)},
		"fewer images":     {specimen("S"), image("a.png", a)},
	} {
		if got := s.submit(token, parts...); got.RequestID == first.RequestID {
			t.Errorf("%s: got the same request", name)
		}
	}
	keyed := s.submitKeyed(token, "k1", specimen("S"), image("a.png", a), image("b.png", b))
	if keyed.RequestID == first.RequestID {
		t.Errorf("a key of its own makes a request of its own; got the unkeyed one")
	}
	if again := s.submitKeyed(token, "k1", specimen("S"), image("a.png", a), image("b.png", b)); again.RequestID != keyed.RequestID {
		t.Errorf("the same key and body: got %s, want %s", again.RequestID, keyed.RequestID)
	}
	if got := s.submitKeyed(other, "k1", specimen("S"), image("a.png", a), image("b.png", b)); got.RequestID == keyed.RequestID {
		t.Errorf("a key counts per device; another device got the same request")
	}
	ct, body := form(specimen("S"), image("a.png", a))
	req := s.request(http.MethodPost, "/api/v1/images", token, ct, body)
	req.Header.Set("Idempotency-Key", "k1")
	var p problemAnswer
	s.do(req, http.StatusUnprocessableEntity, &p)
	if !strings.Contains(p.Detail, "Idempotency-Key") {
		t.Errorf("the same key with another body: got %+v", p)
	}
}

func TestOnceConcurrently(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	const senders = 24
	var mu sync.Mutex
	ids := make(map[string]int)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			a := s.submit(token, specimen("S"), image("a.jpg", bloodImage(t, 2)))
			mu.Lock()
			defer mu.Unlock()
			ids[a.RequestID]++
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("%d concurrent senders of one submission: got %d requests, want 1: %v", senders, len(ids), ids)
	}
	s.await(token, "", 1)
	s.clean()
}

func TestReleaseIsOrderedAndGapFree(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	const requests, senders = 60, 6
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := i; n < requests; n += senders {
				s.submit(token, specimen(fmt.Sprintf("S%03d", n)), image("a.png", smallPNG(t, n)))
			}
		})
	}
	// A poller beside the senders: it must see every result once, in order, whatever is released meanwhile.
	var got []resultAnswer
	since := ""
	for deadline := time.Now().Add(60 * time.Second); len(got) < requests && time.Now().Before(deadline); {
		a := s.results(token, "wait=1s&limit=7&since="+since)
		got, since = append(got, a.Results...), a.Next
	}
	wg.Wait()
	seen := make(map[string]bool)
	for i, r := range got {
		if seen[r.SpecimenID] {
			t.Errorf("result of %s came twice", r.SpecimenID)
		}
		seen[r.SpecimenID] = true
		if i > 0 && r.ReleasedAt.Before(got[i-1].ReleasedAt) {
			t.Errorf("result %d was released at %v, before its predecessor at %v", i, r.ReleasedAt, got[i-1].ReleasedAt)
		}
	}
	if len(seen) != requests {
		t.Errorf("got %d results, want %d", len(seen), requests)
	}
	s.clean()
}

func TestDevicesAndFacilitiesAreApart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := s.facility("one"), s.facility("two")
	mine, _ := s.device(one)
	sibling, _ := s.device(one)
	stranger, _ := s.device(two)
	a := s.submit(mine, specimen("S"), image("a.png", smallPNG(t, 1)))
	s.await(mine, "", 1)
	for name, token := range map[string]string{"another device of the facility": sibling, "another facility": stranger} {
		if got := s.results(token, ""); len(got.Results) != 0 {
			t.Errorf("%s: got %d results of the first device", name, len(got.Results))
		}
		s.do(s.request(http.MethodGet, "/api/v1/requests/"+a.RequestID, token, "", nil), http.StatusNotFound, nil)
	}
	if b := s.submit(stranger, specimen("S"), image("a.png", smallPNG(t, 1))); b.RequestID == a.RequestID {
		t.Error("the same content in another facility: got the first facility's request")
	}
}

func TestUnsureImagesWaitVisibly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	a := s.submit(token, specimen("S"), field("assay", "always-seen"), field("condition", "aerobic"), image("a.png", smallPNG(t, 1)))
	var view struct {
		State  string `json:"state"`
		Images []struct {
			State           string           `json:"state"`
			Reason          string           `json:"reason"`
			Model           string           `json:"model"`
			Classifications []map[string]any `json:"classifications"`
		} `json:"images"`
		Reports []any `json:"reports"`
	}
	for deadline := time.Now().Add(20 * time.Second); view.State != "in_review" && time.Now().Before(deadline); {
		view.Images = nil
		s.do(s.request(http.MethodGet, "/api/v1/requests/"+a.RequestID, token, "", nil), http.StatusOK, &view)
	}
	if len(view.Images) != 1 || view.Images[0].State != "in_review" || view.Images[0].Reason != "policy" {
		t.Fatalf("request: got %+v, want one image in_review by policy", view)
	}
	if !strings.HasPrefix(view.Images[0].Model, "model:urine-sediment@") {
		t.Errorf("model: got %q, want the one routed by condition aerobic", view.Images[0].Model)
	}
	if len(view.Images[0].Classifications) == 0 || len(view.Reports) != 0 {
		t.Errorf("got %d classifications and %d reports, want findings and no report", len(view.Images[0].Classifications), len(view.Reports))
	}
	if got := s.results(token, ""); len(got.Results) != 0 {
		t.Errorf("an image in review was released: %+v", got.Results)
	}
	s.clean()
}

// API and inference as two processes would run them, on one data folder: a long poll at the one hears what the other releases.
func TestRolesApart(t *testing.T) {
	t.Parallel()
	api := newSite(t, withRoles(app.RoleAPI))
	cfg := api.in.Config
	cfg.Roles = []string{app.RoleInference}
	inference := openSite(t, cfg)
	if resp, err := http.DefaultTransport.RoundTrip(inference.request(http.MethodGet, "/readyz", "", "", nil)); err == nil {
		_ = resp.Body.Close()
		t.Error("a process without the api role answers HTTP")
	}
	token, _ := api.device(api.facility("one"))
	for i := range 5 {
		api.submit(token, specimen(fmt.Sprintf("S%d", i)), image("a.png", smallPNG(t, i)))
	}
	api.await(token, "", 5)
	ct, body := form(image("a.png", smallPNG(t, 1)))
	api.do(api.request(http.MethodPost, "/api/v1/detect", token, ct, body), http.StatusServiceUnavailable, nil)
	api.clean()
}
