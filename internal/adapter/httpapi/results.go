package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// resultBody is one result of GET /api/v1/results. Its names are the wire contract.
type resultBody struct {
	RequestID       string               `json:"request_id"`
	SpecimenID      string               `json:"specimen_id"`
	Assay           string               `json:"assay"`
	Classifications []lab.Classification `json:"classifications"`
	Rejected        []lab.RejectedImage  `json:"rejected,omitempty" doc:"images without an answer"`
	ClassifiedBy    string               `json:"classified_by"`
	ClassifiedAt    time.Time            `json:"classified_at"`
	ReleasedAt      time.Time            `json:"released_at"`
	Status          string               `json:"status" enum:"preliminary,final,amended,cancelled"`
	Version         int                  `json:"version"`
}

type resultsBody struct {
	Results []resultBody `json:"results"`
	Next    string       `json:"next" doc:"cursor to send as since"`
	HasMore bool         `json:"has_more"`
}

type resultsInput struct {
	Authorization string        `header:"Authorization" hidden:"true"`
	Since         string        `query:"since" doc:"cursor of the last answer, or a time by RFC 3339; absent: from the beginning"`
	Wait          string        `query:"wait" doc:"how long to wait for the first result, such as 30s; at most 60s" example:"30s"`
	Limit         int           `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	wait          time.Duration // parsed by Resolve
}

// Resolve parses wait; huma calls it before the handler.
func (in *resultsInput) Resolve(huma.Context) []error {
	if in.Wait == "" {
		return nil
	}
	d, err := time.ParseDuration(in.Wait)
	if err != nil || d < 0 || d > result.MaxWait {
		return []error{&huma.ErrorDetail{Location: "query.wait", Message: "must be a duration from 0s to 60s, such as 30s"}}
	}
	in.wait = d
	return nil
}

type requestInput struct {
	Authorization string `header:"Authorization" hidden:"true"`
	ID            string `path:"id"`
}

// requestBody answers GET /api/v1/requests/{id}.
type requestBody struct {
	RequestID  string        `json:"request_id"`
	SpecimenID string        `json:"specimen_id"`
	Assay      string        `json:"assay"`
	Condition  string        `json:"condition,omitempty"`
	Priority   string        `json:"priority"`
	ReceivedAt time.Time     `json:"received_at"`
	CapturedAt *time.Time    `json:"captured_at,omitempty"`
	Flags      []string      `json:"flags,omitempty"`
	State      string        `json:"state" enum:"in_progress,in_review,released" doc:"in_review: at least one image waits for a person"`
	Images     []requestView `json:"images"`
	Reports    []resultBody  `json:"reports" doc:"released versions, oldest first"`
}

type requestView struct {
	ImageID         string               `json:"image_id"`
	State           string               `json:"state" enum:"received,claimed,detected,in_review,decided,released,rejected,erased"`
	Reason          string               `json:"reason,omitempty" doc:"why a person must look, or why the image was rejected"`
	SHA256          string               `json:"sha256"`
	DoneAt          *time.Time           `json:"done_at,omitempty" doc:"when the model had spoken, or the image was rejected"`
	Model           string               `json:"model,omitempty"`
	Classifications []lab.Classification `json:"classifications,omitempty" doc:"what the model found; not a result while in_review"`
}

func (s *Server) registerResults(api huma.API) {
	security := []map[string][]string{{"device": {}}}
	huma.Register(api, huma.Operation{
		OperationID: "list-results", Method: http.MethodGet, Path: "/api/v1/results", Security: security,
		Summary: "Results released since a cursor or a time", Tags: []string{"hospital"},
		Errors: []int{http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusServiceUnavailable},
	}, s.listResults)
	huma.Register(api, huma.Operation{
		OperationID: "get-request", Method: http.MethodGet, Path: "/api/v1/requests/{id}", Security: security,
		Summary: "Where one request stands", Tags: []string{"hospital"},
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.getRequest)
}

type bodyOf[T any] struct{ Body T }

func (s *Server) listResults(ctx context.Context, in *resultsInput) (*bodyOf[resultsBody], error) {
	dev, err := s.device(ctx, in.Authorization)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	since, err := result.ParseSince(in.Since)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	a, err := s.Results.Poll(ctx, *dev, since, in.Limit, in.wait, traceID(ctx))
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := &bodyOf[resultsBody]{Body: resultsBody{Results: make([]resultBody, 0, len(a.Results)), Next: a.Next, HasMore: a.HasMore}}
	for i := range a.Results {
		r := &a.Results[i]
		out.Body.Results = append(out.Body.Results, newResultBody(&r.Report, r.SpecimenID, r.Assay))
	}
	return out, nil
}

func newResultBody(r *lab.Report, specimen lab.SpecimenID, assay string) resultBody {
	classes := r.Classifications
	if classes == nil {
		classes = []lab.Classification{}
	}
	return resultBody{
		RequestID: string(r.RequestID), SpecimenID: string(specimen), Assay: assay, Classifications: classes, Rejected: r.Rejected,
		ClassifiedBy: r.ClassifiedBy, ClassifiedAt: r.ClassifiedAt, ReleasedAt: r.ReleasedAt, Status: string(r.Status), Version: r.Version,
	}
}

func (s *Server) getRequest(ctx context.Context, in *requestInput) (*bodyOf[requestBody], error) {
	dev, err := s.device(ctx, in.Authorization)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	v, err := s.Results.Request(ctx, *dev, lab.RequestID(in.ID), traceID(ctx))
	if fault.Is(err, fault.NotFound) {
		return nil, s.fail(ctx, fault.E("httpapi.getRequest", fault.NotFound, errors.New("no such request of this device")))
	}
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := requestBody{
		RequestID: string(v.RequestID), SpecimenID: string(v.SpecimenID), Assay: v.Assay, Condition: v.Condition,
		Priority: string(v.Priority), ReceivedAt: v.ReceivedAt, Flags: v.Flags, State: "in_progress", Reports: []resultBody{},
	}
	if !v.CapturedAt.IsZero() {
		out.CapturedAt = &v.CapturedAt
	}
	for _, im := range v.Images {
		view := requestView{
			ImageID: string(im.ImageID), State: string(im.State), Reason: string(im.Review) + string(im.Reject), SHA256: im.SHA256,
		}
		if !im.DoneAt.IsZero() {
			view.DoneAt = &im.DoneAt
		}
		if im.Detection != nil {
			view.Model = im.Detection.ClassifiedBy()
			view.Classifications = result.Classify(im.ImageID, im.Detection.Findings)
		}
		if im.State == lab.StateInReview {
			out.State = "in_review"
		}
		out.Images = append(out.Images, view)
	}
	for i := range v.Reports {
		out.State = "released"
		out.Reports = append(out.Reports, newResultBody(&v.Reports[i], v.SpecimenID, v.Assay))
	}
	return &bodyOf[requestBody]{Body: out}, nil
}
