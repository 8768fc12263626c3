package uplink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/fault"
)

func TestServerAddress(t *testing.T) {
	t.Parallel()
	cases := []struct {
		server   string
		insecure bool
		ok       bool
	}{
		{"https://kenkyo.example.jp", false, true},
		{"https://kenkyo.example.jp/lab/", false, true},
		{"http://localhost:8080", false, true},
		{"http://127.0.0.2:8080", false, true},
		{"http://[::1]:8080", false, true},
		{"http://kenkyo.example.jp", false, false},
		{"http://kenkyo.example.jp", true, true},
		{"http://localhost.example.jp", false, false},
		{"kenkyo.example.jp", false, false},
		{"ftp://kenkyo.example.jp", true, false},
		{"https://user:secret@kenkyo.example.jp", false, false},
		{"https://kenkyo.example.jp/?a=b", false, false},
		{"", false, false},
	}
	for _, c := range cases {
		if _, err := ParseServer(c.server, c.insecure); (err == nil) != c.ok {
			t.Errorf("ParseServer(%q, %v) = %v, want accepted: %v", c.server, c.insecure, err, c.ok)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
	cases := []struct {
		header, date string
		want         time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"-7", "", 0},
		{"soon", "", 0},
		{"999999", "", time.Hour},
		{"Wed, 15 Jan 2025 10:00:30 GMT", "", 30 * time.Second},
		{"Wed, 15 Jan 2025 09:00:00 GMT", "", 0},
		{"Wed, 15 Jan 2025 13:00:30 GMT", "Wed, 15 Jan 2025 13:00:00 GMT", 30 * time.Second}, // this clock is slow
	}
	for _, c := range cases {
		h := http.Header{"Retry-After": {c.header}, "Date": {c.date}}
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("retryAfter(%q, Date %q) = %v, want %v", c.header, c.date, got, c.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const ours, proxy = "application/problem+json", "text/html"
	cases := []struct {
		status     int
		kind       string
		retryAfter string
		want       Verdict
	}{
		{400, ours, "", Refused},
		{401, ours, "", TokenRefused},
		{401, proxy, "", TokenRefused},
		{403, ours, "", Refused},
		{403, proxy, "", WaitAll},
		{404, ours, "", Refused},
		{404, proxy, "", WaitAll},
		{407, proxy, "", WaitAll},
		{407, ours, "", WaitAll},
		{408, ours, "", Wait},
		{409, ours, "", Refused},
		{409, ours, "1", Wait},
		{413, proxy, "", Refused},
		{415, ours, "", Refused},
		{422, ours, "", Refused},
		{425, ours, "", Wait},
		{429, ours, "", WaitAll},
		{500, ours, "", Wait},
		{502, proxy, "", Wait},
		{503, ours, "5", WaitAll},
		{504, proxy, "", Wait},
		{302, proxy, "", WaitAll},
		{204, "", "", WaitAll},
	}
	for _, c := range cases {
		res := httptest.NewRecorder()
		res.Header().Set("Content-Type", c.kind)
		res.Header().Set("Retry-After", c.retryAfter)
		res.WriteHeader(c.status)
		_, _ = res.WriteString(`{"title":"T","detail":"D","errors":[{"field":"f","detail":"wrong\u0007"}]}`)
		p := answerProblem(res.Result()) //nolint:bodyclose // a recorder's body needs no closing
		if p.Verdict != c.want {
			t.Errorf("HTTP %d of type %q with Retry-After %q: verdict %d, want %d", c.status, c.kind, c.retryAfter, p.Verdict, c.want)
		}
		if c.want == Refused && c.kind == ours {
			if diff := cmp.Diff([]FieldError{{Location: "f", Message: "wrong"}}, p.Errors); diff != "" || p.Title != "T" || p.Detail != "D" {
				t.Errorf("HTTP %d: %+v; want title, detail and the field without control characters", c.status, p)
			}
		}
	}
}

func client(t *testing.T, c Config) *Client {
	t.Helper()
	cl, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestTLS(t *testing.T) {
	t.Parallel()
	results := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"results":[],"next":"c"}`)) })
	server := httptest.NewTLSServer(results)
	t.Cleanup(server.Close)
	old := httptest.NewUnstartedServer(results)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11} //nolint:gosec // an old server is what is tested
	old.StartTLS()
	t.Cleanup(old.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, Config{Server: server.URL}).Results(t.Context(), "", 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a server of an unknown authority: %v, want fault.Unavailable", err)
	}
	if _, err := client(t, Config{Server: server.URL, CAFile: ca}).Results(t.Context(), "", 0); err != nil {
		t.Errorf("with --ca-file: %v", err)
	}
	if _, err := client(t, Config{Server: old.URL, CAFile: ca}).Results(t.Context(), "", 0); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v, want it refused", err)
	}
	if _, err := New(Config{Server: server.URL, CAFile: filepath.Join(t.TempDir(), "absent")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an absent --ca-file: %v, want fault.Invalid", err)
	}
}

func TestARedirectCarriesNeitherTokenNorImages(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the stranger was asked for %s", r.URL.Path)
	}))
	t.Cleanup(stranger.Close)
	server := httptest.NewServer(http.RedirectHandler(stranger.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	_, err := client(t, Config{Server: server.URL, Token: "kdt_secret"}).Results(t.Context(), "", 0)
	if p := ProblemOf(err); p == nil || p.Verdict != WaitAll {
		t.Errorf("Results = %v, want trouble with the link", err)
	}
}

func TestResultsKeepEveryByteAndRefuseStrangers(t *testing.T) {
	t.Parallel()
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("wait"); got != "25s" || !r.URL.Query().Has("since") {
			t.Errorf("asked %q, want since and wait=25s", r.URL.RawQuery)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	c := client(t, Config{Server: server.URL})
	body = `{"results":[{"request_id":"r", "x": 1.50}],"next":"n","has_more":true}`
	got, err := c.Results(t.Context(), "", 25*time.Second)
	want := Page{Results: []json.RawMessage{json.RawMessage(`{"request_id":"r", "x": 1.50}`)}, Next: "n", HasMore: true}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Results: %v (-want +got):\n%s", err, diff)
	}
	for _, body = range []string{`{}`, `[]`, `<html>`, ``} {
		if _, err := c.Results(t.Context(), "", 25*time.Second); ProblemOf(err) == nil {
			t.Errorf("answer %q: %v, want a problem", body, err)
		}
	}
}

func TestACancelledCallSaysSo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client(t, Config{Server: "http://127.0.0.1:1"}).Results(ctx, "", 0)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Results = %v, want context.Canceled", err)
	}
}

func TestAStoredImageThatChangedIsNotSent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "001.jpg")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, Config{Server: "http://127.0.0.1:1"})
	for name, image := range map[string]File{"shorter": {Path: path, Bytes: 50}, "absent": {Path: path + "x", Bytes: 5}} {
		if _, err := c.Send(t.Context(), Upload{Key: "k", Images: []File{image}}); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v, want fault.Corrupt", name, err)
		}
	}
}
