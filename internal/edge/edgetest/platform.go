// Package edgetest holds a platform for tests of the agent: it keeps the wire contract strictly, counts what it is sent, and can be told
// to misbehave the way networks and servers do. It is not used outside tests.
package edgetest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kenkyo/internal/standard/imagefile"
)

// Token is the device token the platform accepts.
const Token = "kdt_0123456789abcdef"

// Code is the enrolment code it accepts once.
const Code = "4F7K-9QXD-2M"

// Request is one accepted submission.
type Request struct {
	ID     string
	Key    string
	Fields map[string]string
	Images []Image
	body   string
}

// Image is one received image.
type Image struct {
	FileName string
	SHA256   string
	Bytes    []byte
}

// Fault decides, before a request is looked at, whether the platform misbehaves: it answers and returns true, or returns false.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// Platform is the fake. Its zero value is not usable; see New.
type Platform struct {
	URL string

	tb      testing.TB
	server  *httptest.Server
	closing chan struct{}

	mu       sync.Mutex
	change   chan struct{} // closed and replaced at every release and acceptance
	requests []*Request
	byKey    map[string]*Request
	released []json.RawMessage
	codeUsed bool
	refuse   bool // 401 for everything
	faults   []Fault
	uploads  int
	polls    int
	manual   bool // results are released by Release only
	problems []string
}

// New starts a platform that answers every submission with a final result at once. It stops with the test, which fails if the agent
// broke the contract.
func New(tb testing.TB) *Platform {
	tb.Helper()
	p := &Platform{tb: tb, closing: make(chan struct{}), change: make(chan struct{}), byKey: map[string]*Request{}}
	p.server = httptest.NewServer(p)
	p.URL = p.server.URL
	tb.Cleanup(func() {
		close(p.closing)
		p.server.CloseClientConnections()
		p.server.Close()
		for _, text := range p.problems {
			tb.Errorf("the agent broke the contract: %s", text)
		}
	})
	return p
}

// Fail adds faults: each request for images is offered to the first, which is used up once it answers.
func (p *Platform) Fail(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, faults...)
}

// RefuseToken makes every call with a token fail with 401, or stops that.
func (p *Platform) RefuseToken(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Manual leaves the release of results to Release.
func (p *Platform) Manual() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manual = true
}

// Requests gives what was accepted, in order.
func (p *Platform) Requests() []*Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// AwaitRequests waits until so many submissions are accepted.
func (p *Platform) AwaitRequests(tb testing.TB, count int) {
	tb.Helper()
	for {
		p.mu.Lock()
		got, change := len(p.requests), p.change
		p.mu.Unlock()
		if got >= count {
			return
		}
		select {
		case <-change:
		case <-time.After(30 * time.Second):
			tb.Fatalf("%d submissions after 30 s without one, want %d", got, count)
		}
	}
}

// Counts gives how many uploads began and how many polls came.
func (p *Platform) Counts() (uploads, polls int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.uploads, p.polls
}

// Release publishes a result for a request, with fields no agent knows.
func (p *Platform) Release(r *Request, status string, version int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(r, status, version)
}

func (p *Platform) release(r *Request, status string, version int) {
	classes := []map[string]any{}
	for i := range r.Images {
		classes = append(classes, map[string]any{"image_id": fmt.Sprintf("img-%03d", i+1), "category": "RBC", "confidence": 0.95, "count": 3})
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	raw, err := json.Marshal(map[string]any{
		"request_id": r.ID, "specimen_id": r.Fields["specimen_id"], "classifications": classes, "classified_by": "model:test@0123456789ab",
		"classified_at": now, "released_at": now, "status": status, "version": version, "unheard_of": map[string]any{"kept": true},
	})
	if err != nil {
		p.tb.Error(err)
	}
	p.released = append(p.released, raw)
	p.changed()
}

// changed wakes who waits; p.mu is held.
func (p *Platform) changed() {
	close(p.change)
	p.change = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.UserAgent(), "kenkyo-edge/") {
		p.broken("User-Agent %q", r.UserAgent())
	}
	switch r.Method + " " + r.URL.Path {
	case "POST /api/v1/devices:enroll":
		p.enroll(w, r)
	case "POST /api/v1/images":
		if p.signedIn(w, r) && !p.faulty(w, r) {
			p.accept(w, r)
		}
	case "GET /api/v1/results":
		if p.signedIn(w, r) {
			p.results(w, r)
		}
	default:
		p.broken("%s %s", r.Method, r.URL.Path)
		Problem(w, http.StatusNotFound, "Not Found", "no such path")
	}
}

func (p *Platform) broken(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

func (p *Platform) signedIn(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse || r.Header.Get("Authorization") != "Bearer "+Token {
		Problem(w, http.StatusUnauthorized, "Unauthorized", "the token is not known")
		return false
	}
	return true
}

func (p *Platform) faulty(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	p.uploads++
	var f Fault
	if len(p.faults) > 0 {
		f, p.faults = p.faults[0], p.faults[1:]
	}
	p.mu.Unlock()
	return f != nil && f(w, r)
}

func (p *Platform) enroll(w http.ResponseWriter, r *http.Request) {
	var in struct{ Code, Name string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Name == "" {
		p.broken("enrolment without a name: %v", err)
	}
	p.mu.Lock()
	used := p.codeUsed || in.Code != Code
	p.codeUsed = p.codeUsed || in.Code == Code
	p.mu.Unlock()
	if used {
		Problem(w, http.StatusGone, "Gone", "the code is used")
		return
	}
	answer(w, map[string]string{"device_id": "dev_test", "facility_id": "fac_test", "token": Token, "assay": "blood-smear"})
}

// accept keeps the contract of POST /api/v1/images: text fields in front, an Idempotency-Key that means one body, whole images.
func (p *Platform) accept(w http.ResponseWriter, r *http.Request) {
	req, err := p.readForm(r)
	if err != nil {
		Problem(w, http.StatusBadRequest, "Bad Request", err.Error())
		return
	}
	req.Key = r.Header.Get("Idempotency-Key")
	if req.Key == "" || r.Header.Get("X-Request-ID") != req.Key || r.ContentLength <= 0 {
		p.broken("Idempotency-Key %q, X-Request-ID %q, length %d", req.Key, r.Header.Get("X-Request-ID"), r.ContentLength)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old, replay := p.byKey[req.Key]
	switch {
	case replay && old.body != req.body:
		Problem(w, http.StatusUnprocessableEntity, "Unprocessable", "the key was used with another body")
		return
	case !replay:
		req.ID = fmt.Sprintf("req_%032x", len(p.requests)+1)
		p.requests = append(p.requests, req)
		p.byKey[req.Key] = req
		if !p.manual {
			p.release(req, "final", 1)
		}
		p.changed()
	default:
		req = old
	}
	images := []map[string]string{}
	for i, img := range req.Images {
		images = append(images, map[string]string{"image_id": fmt.Sprintf("img-%03d", i+1), "sha256": img.SHA256})
	}
	answer(w, map[string]any{"status": "accepted", "request_id": req.ID, "images": images})
}

func (p *Platform) readForm(r *http.Request) (*Request, error) {
	form, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	req := &Request{Fields: map[string]string{}}
	whole := sha256.New()
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		fmt.Fprintf(whole, "%s %x\n", part.FormName(), sum)
		if part.FormName() != "image" {
			if len(req.Images) > 0 {
				p.broken("field %q behind an image", part.FormName())
			}
			req.Fields[part.FormName()] = string(b)
			continue
		}
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil {
			return nil, err
		}
		check := imagefile.NewChecker(imagefile.Limits{})
		_, _ = check.Write(b)
		if _, err := check.Finish(); err != nil {
			return nil, err
		}
		req.Images = append(req.Images, Image{params["filename"], hex.EncodeToString(sum[:]), b})
	}
	if req.Fields["specimen_id"] == "" || req.Fields["captured_at"] == "" || len(req.Images) == 0 {
		p.broken("fields %v with %d images", req.Fields, len(req.Images))
	}
	req.body = hex.EncodeToString(whole.Sum(nil))
	return req, nil
}

// page is how many results one answer holds: few, so that has_more is used.
const page = 2

// results answers from a cursor, which is the count of results before it, from a time, or from the beginning.
func (p *Platform) results(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, err := strconv.Atoi(strings.TrimPrefix(q.Get("since"), "c"))
	if err != nil {
		from = 0
	}
	wait, err := time.ParseDuration(q.Get("wait"))
	if err != nil && q.Has("wait") {
		p.broken("wait=%q", q.Get("wait"))
	}
	p.mu.Lock()
	p.polls++
	p.mu.Unlock()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		list, change := p.released[min(from, len(p.released)):], p.change
		p.mu.Unlock()
		if len(list) == 0 && wait > 0 {
			select {
			case <-change:
				continue
			case <-r.Context().Done():
				return
			case <-timeout.C:
			}
		}
		n := min(page, len(list))
		answer(w, map[string]any{"results": append([]json.RawMessage{}, list[:n]...), "next": fmt.Sprintf("c%d", from+n), "has_more": len(list) > n})
		return
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a caller that left is part of some tests
}

// Problem answers with an RFC 9457 document.
func Problem(w http.ResponseWriter, status int, title, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a caller that left is part of some tests
		"title": title, "detail": detail, "status": status,
		"errors": []map[string]string{{"location": "body.assay", "message": "no such assay"}},
	})
}
