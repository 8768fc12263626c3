package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
)

// acceptedBody answers POST /api/v1/images.
type acceptedBody struct {
	Status    string          `json:"status" enum:"accepted"`
	RequestID string          `json:"request_id"`
	Images    []acceptedImage `json:"images"`
	Flags     []string        `json:"flags,omitempty" doc:"what was accepted but is odd"`
}

type acceptedImage struct {
	ImageID string `json:"image_id"`
	SHA256  string `json:"sha256"`
}

func (s *Server) registerImages(mux *http.ServeMux, api huma.API) {
	const path = "/api/v1/images"
	mux.HandleFunc("POST "+path, s.postImages)
	api.OpenAPI().AddOperation(imagesOperation(api, path))
}

// postImages accepts one submission. It answers 200 only after everything is durable.
func (s *Server) postImages(w http.ResponseWriter, r *http.Request) {
	a, err := s.accept(w, r)
	if err != nil {
		s.Observer.Refused(fault.KindOf(err).String())
		if errors.Is(err, errNotMultipart) {
			p := problemOf(err)
			p.Status, p.Title = http.StatusUnsupportedMediaType, http.StatusText(http.StatusUnsupportedMediaType)
			p.write(w)
			return
		}
		s.writeProblem(w, r, err)
		return
	}
	body := acceptedBody{Status: "accepted", RequestID: string(a.RequestID), Flags: a.Flags}
	for _, im := range a.Images {
		body.Images = append(body.Images, acceptedImage{ImageID: string(im.ImageID), SHA256: im.SHA256})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the submission is durable; a caller who left sends again and gets the same answer
}

func (s *Server) accept(w http.ResponseWriter, r *http.Request) (*intake.Accepted, error) {
	const op = "httpapi.accept"
	dev, err := s.device(r.Context(), r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return nil, fault.E(op, fault.Overloaded, errors.New("too many uploads at once; send it again after Retry-After"), fault.RetryAfter(time.Second))
	}
	parts, err := openForm(w, r, s.opt.MaxBodyBytes, s.opt.StallTimeout)
	if err != nil {
		return nil, err
	}
	a, err := s.Intake.Accept(r.Context(), *dev, intake.Input{
		Parts: parts, IdempotencyKey: r.Header.Get("Idempotency-Key"), TraceID: traceID(r.Context()),
	})
	if err != nil {
		return nil, err
	}
	s.Observer.Accepted(len(a.Images), max(r.ContentLength, 0), a.Replayed)
	if s.OnAccept != nil && !a.Replayed {
		s.OnAccept()
	}
	return a, nil
}
