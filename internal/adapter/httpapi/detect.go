package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Bounds of synchronous detection in one process.
const (
	maxDetecting   = 16 // images in memory
	detectPatience = 5 * time.Second
)

// detectedBody answers POST /api/v1/detect.
type detectedBody struct {
	Assay           string               `json:"assay"`
	Condition       string               `json:"condition,omitempty"`
	Model           string               `json:"model" doc:"model:<name>@<digest12>"`
	NeedsReview     bool                 `json:"needs_review"`
	ReviewReason    lab.ReviewReason     `json:"review_reason,omitempty"`
	Classifications []lab.Classification `json:"classifications"`
	Lineage         lab.Lineage          `json:"lineage"`
	TookMS          float64              `json:"took_ms"`
}

func (s *Server) registerDetect(mux *http.ServeMux, api huma.API) {
	const path = "/api/v1/detect"
	mux.HandleFunc("POST "+path, s.postDetect)
	api.OpenAPI().AddOperation(detectOperation(api, path))
}

// postDetect answers for one image at once and stores nothing of it.
func (s *Server) postDetect(w http.ResponseWriter, r *http.Request) {
	body, err := s.detectNow(w, r)
	if err != nil {
		s.writeProblem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) detectNow(w http.ResponseWriter, r *http.Request) (*detectedBody, error) {
	const op = "httpapi.detectNow"
	dev, err := s.device(r.Context(), r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	if s.Detect == nil {
		return nil, fault.E(op, fault.Unavailable, errors.New("this process does not have the inference role"))
	}
	// The image is held in memory until its answer is ready: as many bodies are read at once as there is room for.
	select {
	case s.detecting <- struct{}{}:
		defer func() { <-s.detecting }()
	case <-time.After(detectPatience):
		return nil, fault.E(op, fault.Overloaded, errors.New("too many images are being examined; send it again after Retry-After"), fault.RetryAfter(time.Second))
	case <-r.Context().Done():
		return nil, fault.E(op, fault.Unavailable, r.Context().Err())
	}
	const textsBytes = 64 << 10
	parts, err := openForm(w, r, s.opt.MaxImageBytes+textsBytes, s.opt.StallTimeout)
	if err != nil {
		return nil, err
	}
	in, err := readDetectForm(parts, s.opt.MaxImageBytes)
	if err != nil {
		return nil, err
	}
	if in.assay == "" {
		in.assay = dev.Assay
	}
	start := time.Now()
	seen, err := s.Detect.Detect(r.Context(), in.assay, in.condition, in.image, in.pixelSizeUM)
	if err != nil {
		return nil, err
	}
	classes := result.Classify("img-001", seen.Detection.Findings)
	if classes == nil {
		classes = []lab.Classification{}
	}
	return &detectedBody{
		Assay: in.assay, Condition: in.condition, Model: seen.Detection.ClassifiedBy(),
		NeedsReview: seen.Routing.NeedsReview, ReviewReason: seen.Routing.Reason, Classifications: classes,
		Lineage: seen.Detection.Lineage, TookMS: float64(time.Since(start).Microseconds()) / 1000,
	}, nil
}

type detectForm struct {
	image            []byte
	assay, condition string
	pixelSizeUM      float64
}

func readDetectForm(parts intake.Parts, maxImage int64) (*detectForm, error) {
	f := &detectForm{}
	seen := make(map[string]bool)
	for {
		p, err := parts.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if seen[p.Name] {
			return nil, invalidField(p.Name, errors.New("given more than once; send one image a request"))
		}
		seen[p.Name] = true
		if err := f.take(p, maxImage); err != nil {
			return nil, err
		}
	}
	if len(f.image) == 0 {
		return nil, invalidField("image", errors.New("is missing: send one image"))
	}
	return f, nil
}

// take reads one part.
func (f *detectForm) take(p *intake.Part, maxImage int64) error {
	limit := int64(4 << 10)
	if p.Name == "image" {
		limit = maxImage
	}
	b, err := io.ReadAll(io.LimitReader(p.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(b)) > limit {
		return fault.E("httpapi.take", fault.TooLarge, fmt.Errorf("is larger than %d bytes", limit), fault.Field(p.Name))
	}
	switch p.Name {
	case "image":
		f.image = b
	case "assay":
		f.assay = string(b)
	case "condition":
		f.condition = string(b)
	case "pixel_size_um":
		if f.pixelSizeUM, err = strconv.ParseFloat(string(b), 64); err != nil || !(f.pixelSizeUM > 0 && f.pixelSizeUM <= 1000) {
			return invalidField(p.Name, errors.New("must be a number of micrometres above 0 and at most 1000"))
		}
	default:
		return invalidField(p.Name, errors.New("unknown field; valid: image, assay, condition, pixel_size_um"))
	}
	return nil
}

func invalidField(field string, err error) error {
	const longest = 64 // a hostile name must not fill the answer
	return fault.E("httpapi.detectForm", fault.Invalid, err, fault.Field(strings.ToValidUTF8(field[:min(len(field), longest)], "?")))
}
