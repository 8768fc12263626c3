package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kenkyo/internal/app"
	"kenkyo/internal/lab"
)

// site is a running platform with real HTTP, database, blobs and inference, over tiny graphs whose answers are known: every image
// has one RBC at about 0.9 and one WBC at about 0.7.
type site struct {
	t    testing.TB
	in   *app.Installation
	url  string
	log  *syncBuffer
	stop func()
}

type siteOption func(*app.Config)

func withRoles(roles ...string) siteOption { return func(c *app.Config) { c.Roles = roles } }

func repositoryRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// newSite starts a platform in a fresh folder and adds the graph as the models of the shipped assays.
func newSite(tb testing.TB, opts ...siteOption) *site {
	tb.Helper()
	cfg := app.Default()
	cfg.Data = tb.TempDir()
	assays := filepath.Join(cfg.Data, "assays")
	if err := os.MkdirAll(assays, 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, text := range map[string]string{"seen.yaml": assaySeen, "failing.yaml": assayFailing} {
		if err := os.WriteFile(filepath.Join(assays, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	for _, o := range opts {
		o(&cfg)
	}
	return openSite(tb, cfg, "blood-smear", "urine-sediment")
}

// openSite starts a platform on a data folder, adding graphs under the given model names.
func openSite(tb testing.TB, cfg app.Config, models ...string) *site {
	tb.Helper()
	log := &syncBuffer{}
	in, err := app.Open(tb.Context(), cfg, slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		tb.Fatalf("open installation: %v", err)
	}
	graph := filepath.Join("testdata", "cells.onnx")
	for _, name := range models {
		if _, err := in.AddModel(tb.Context(), name, graph); err != nil {
			tb.Fatalf("add model %s: %v", name, err)
		}
	}
	p, err := app.NewPlatform(tb.Context(), in)
	if err != nil {
		tb.Fatalf("new platform: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if !cfg.Has(app.RoleAPI) {
		_ = ln.Close() // nothing is to listen there
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- p.Run(ctx, ln, func() { close(ready) }) }()
	<-ready
	s := &site{t: tb, in: in, url: "http://" + ln.Addr().String(), log: log}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("platform stopped with: %v", err)
		}
		if err := in.Close(); err != nil {
			tb.Errorf("close installation: %v", err)
		}
	})
	tb.Cleanup(s.stop)
	return s
}

const assaySeen = `
kind: assay
assay:
  name: always-seen
  title: {en: Seen by a person, ja: 目視}
  formats: [jpeg, png]
  vocabulary: blood-cell
  routes: [{condition: "", model: blood-smear}, {condition: aerobic, model: urine-sediment}]
  thresholds: []
  review: {mode: always}
  turnaround: {routine: 1h, stat: 10m}
`

const assayFailing = `
kind: assay
assay:
  name: no-model
  title: {en: Without a model, ja: モデルなし}
  formats: [png]
  vocabulary: blood-cell
  routes: [{condition: "", model: absent}]
  thresholds: []
  review: {mode: unsure}
  turnaround: {routine: 1h, stat: 10m}
`

// device enrols a device over HTTP and gives its token and ID.
func (s *site) device(facility lab.FacilityID) (token string, id lab.DeviceID) {
	s.t.Helper()
	code, err := s.in.Identity.Invite(s.t.Context(), facility, "test", "blood-smear", false, time.Hour)
	if err != nil {
		s.t.Fatalf("invite: %v", err)
	}
	var e struct {
		Token    string `json:"token"`
		DeviceID string `json:"device_id"`
	}
	body := strings.NewReader(fmt.Sprintf(`{"code":%q,"name":"PC"}`, code))
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/api/v1/devices:enroll", body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	s.do(req, http.StatusOK, &e)
	return e.Token, lab.DeviceID(e.DeviceID)
}

// facility makes a facility.
func (s *site) facility(name string) lab.FacilityID {
	s.t.Helper()
	id, err := s.in.CreateFacility(s.t.Context(), name)
	if err != nil {
		s.t.Fatalf("create facility: %v", err)
	}
	return id
}

// part is one part of a form.
type part struct{ name, file, value string }

func field(name, value string) part       { return part{name: name, value: value} }
func image(file string, b []byte) part    { return part{name: "image", file: file, value: string(b)} }
func specimen(id string) part             { return field("specimen_id", id) }
func form(parts ...part) (string, []byte) { return formWithBoundary("", parts...) }

func formWithBoundary(boundary string, parts ...part) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if boundary != "" {
		_ = w.SetBoundary(boundary)
	}
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name=%q`, p.name)
		if p.file != "" {
			disposition += fmt.Sprintf(`; filename=%q`, p.file)
			h.Set("Content-Type", "application/octet-stream")
		}
		h.Set("Content-Disposition", disposition)
		pw, _ := w.CreatePart(h)
		_, _ = io.WriteString(pw, p.value)
	}
	_ = w.Close()
	return w.FormDataContentType(), b.Bytes()
}

// request builds a request with a token.
func (s *site) request(method, path, token, contentType string, body []byte) *http.Request {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req
}

// do sends a request, checks its status and decodes the answer.
func (s *site) do(req *http.Request, status int, into any) *http.Response {
	s.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: read answer: %v", req.Method, req.URL.Path, err)
	}
	if resp.StatusCode != status {
		s.t.Fatalf("%s %s: got status %d, want %d: %s", req.Method, req.URL.Path, resp.StatusCode, status, b)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			s.t.Fatalf("%s %s: answer is no JSON: %v: %s", req.Method, req.URL.Path, err, b)
		}
	}
	return resp
}

type acceptedAnswer struct {
	Status    string `json:"status"`
	RequestID string `json:"request_id"`
	Images    []struct {
		ImageID string `json:"image_id"`
		SHA256  string `json:"sha256"`
	} `json:"images"`
	Flags []string `json:"flags"`
}

func (s *site) submit(token string, parts ...part) acceptedAnswer {
	s.t.Helper()
	return s.submitKeyed(token, "", parts...)
}

func (s *site) submitKeyed(token, key string, parts ...part) acceptedAnswer {
	s.t.Helper()
	ct, body := form(parts...)
	req := s.request(http.MethodPost, "/api/v1/images", token, ct, body)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	var a acceptedAnswer
	s.do(req, http.StatusOK, &a)
	return a
}

type resultAnswer struct {
	RequestID       string               `json:"request_id"`
	SpecimenID      string               `json:"specimen_id"`
	Classifications []lab.Classification `json:"classifications"`
	Rejected        []lab.RejectedImage  `json:"rejected"`
	ClassifiedBy    string               `json:"classified_by"`
	ClassifiedAt    time.Time            `json:"classified_at"`
	ReleasedAt      time.Time            `json:"released_at"`
	Status          string               `json:"status"`
	Version         int                  `json:"version"`
}

type resultsAnswer struct {
	Results []resultAnswer `json:"results"`
	Next    string         `json:"next"`
	HasMore bool           `json:"has_more"`
}

func (s *site) results(token, query string) resultsAnswer {
	s.t.Helper()
	var a resultsAnswer
	s.do(s.request(http.MethodGet, "/api/v1/results?"+query, token, "", nil), http.StatusOK, &a)
	return a
}

// await polls until n results after the cursor are there.
func (s *site) await(token, since string, n int) []resultAnswer {
	s.t.Helper()
	var all []resultAnswer
	deadline := time.Now().Add(30 * time.Second)
	for len(all) < n {
		a := s.results(token, "wait=5s&since="+since)
		all, since = append(all, a.Results...), a.Next
		if time.Now().After(deadline) {
			s.t.Fatalf("got %d results in 30 s, want %d; log:\n%s", len(all), n, s.log.String())
		}
	}
	return all
}

type problemAnswer struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

// clean fails the test when doctor finds anything.
func (s *site) clean() {
	s.t.Helper()
	d, err := s.in.Doctor(s.t.Context(), false)
	if err != nil {
		s.t.Fatalf("doctor: %v", err)
	}
	for _, line := range d.Lines() {
		s.t.Errorf("doctor: %s", line)
	}
}

func bloodImage(tb testing.TB, n int) []byte {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(repositoryRoot(), "examples", "images", "blood-smear", "*.jpg"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no example images: %v", err)
	}
	b, err := os.ReadFile(files[n%len(files)])
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// syncBuffer collects a log.
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
