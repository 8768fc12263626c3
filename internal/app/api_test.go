package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestDetectStoresNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	ct, body := form(image("a.jpg", bloodImage(t, 0)))
	var got struct {
		Model           string           `json:"model"`
		NeedsReview     bool             `json:"needs_review"`
		Classifications []map[string]any `json:"classifications"`
	}
	s.do(s.request(http.MethodPost, "/api/v1/detect", token, ct, body), http.StatusOK, &got)
	if len(got.Classifications) != 2 || got.NeedsReview || !strings.HasPrefix(got.Model, "model:blood-smear@") {
		t.Errorf("detect: got %+v, want RBC and WBC without review", got)
	}
	p, err := s.in.Store.Progress(t.Context())
	if err != nil || len(p) != 0 {
		t.Errorf("after detect: got stored images %v (%v), want none", p, err)
	}
	s.do(s.request(http.MethodPost, "/api/v1/detect", "", ct, body), http.StatusUnauthorized, nil)
	ok := smallPNG(t, 1)
	for name, parts := range map[string][]part{
		"image": {image("a.jpg", []byte("no image"))}, "assay": {image("a.png", ok), field("assay", "liver")},
		"condtion": {image("a.png", ok), field("condtion", "aerobic")}, "pixel_size_um": {image("a.png", ok), field("pixel_size_um", "-1")},
	} {
		ct, body := form(parts...)
		var problem problemAnswer
		s.do(s.request(http.MethodPost, "/api/v1/detect", token, ct, body), http.StatusUnprocessableEntity, &problem)
		if len(problem.Errors) != 1 || problem.Errors[0].Location != "body."+name {
			t.Errorf("detect with a bad %s: got %+v", name, problem)
		}
	}
	for _, parts := range [][]part{{image("a.png", ok), image("b.png", ok)}, {image("a.png", ok), field("assay", "gram-stain"), field("assay", "blood-smear")}, {field("assay", "gram-stain")}} {
		ct, body := form(parts...)
		s.do(s.request(http.MethodPost, "/api/v1/detect", token, ct, body), http.StatusUnprocessableEntity, nil)
	}
}

func TestOpenAPIHealthAndMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`

		Components struct {
			Schemas map[string]struct {
				AdditionalProperties any `json:"additionalProperties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	s.do(s.request(http.MethodGet, "/openapi.json", "", "", nil), http.StatusOK, &doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi: got %q, want 3.1", doc.OpenAPI)
	}
	for name, schema := range doc.Components.Schemas {
		if isClosed := schema.AdditionalProperties == false; isClosed != (name == "EnrollInputBody") {
			t.Errorf("schema %s: additionalProperties is %v; answers may grow, requests may not", name, schema.AdditionalProperties)
		}
	}
	for path, method := range map[string]string{
		"/api/v1/images": "post", "/api/v1/results": "get", "/api/v1/detect": "post", "/api/v1/requests/{id}": "get", "/api/v1/devices:enroll": "post",
	} {
		if doc.Paths[path][method] == nil {
			t.Errorf("openapi: %s %s is missing", method, path)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		resp := s.do(s.request(http.MethodGet, path, "", "", nil), http.StatusOK, nil)
		if resp.Header.Get("X-Request-ID") == "" {
			t.Errorf("%s: no X-Request-ID", path)
		}
	}
	token, _ := s.device(s.facility("one"))
	s.submit(token, specimen("S"), image("a.png", smallPNG(t, 1)))
	s.await(token, "", 1)
	text := s.metrics()
	for _, want := range []string{
		`kenkyo_images_accepted_total{replay="false"} 1`, `kenkyo_reports_released_total 1`, `kenkyo_detection_seconds_count{model="blood-smear"} 1`,
		`kenkyo_images_completed_total{model="blood-smear",reason="",state="decided"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
}

func (s *site) metrics() string {
	s.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(s.request(http.MethodGet, "/metrics", "", "", nil))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func TestTraceIDGoesThrough(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	ct, body := form(specimen("SECRET-4711"), image("taro-yamada.jpg", bloodImage(t, 0)))
	req := s.request(http.MethodPost, "/api/v1/images", token, ct, body)
	req.Header.Set("X-Request-ID", "trace-42")
	if resp := s.do(req, http.StatusOK, nil); resp.Header.Get("X-Request-ID") != "trace-42" {
		t.Errorf("X-Request-ID: got %q, want the caller's", resp.Header.Get("X-Request-ID"))
	}
	s.await(token, "", 1)
	if !strings.Contains(s.log.String(), "trace-42") {
		t.Error("the log does not name the request's trace")
	}
	for _, secret := range []string{"SECRET-4711", "taro-yamada", token} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
		if file := s.findInData([]byte(secret)); file != "" {
			t.Errorf("%s holds %q in clear", file, secret)
		}
	}
	if _, err := json.Marshal(s.metrics()); err != nil || strings.Contains(s.metrics(), "SECRET") {
		t.Error("the metrics hold patient data")
	}
}
