package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"kenkyo/internal/fault"
)

// defaultRetryAfter is what a caller is told to wait when the cause names no time.
const defaultRetryAfter = 5 * time.Second

// statusOf is the one table from kinds to HTTP statuses.
func statusOf(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Denied:
		return http.StatusForbidden
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Overloaded, fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Corrupt, fault.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// problem is an RFC 9457 document; it is also a huma.StatusError.
type problem struct {
	huma.ErrorModel

	retryAfter time.Duration
}

// GetHeaders adds the headers that belong to the status.
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="kenkyo"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	return h
}

// problemOf turns an error into the document that the caller sees. What failed inside is not told: it goes to the log.
func problemOf(err error) *problem {
	kind := fault.KindOf(err)
	status := statusOf(kind)
	p := &problem{ErrorModel: huma.ErrorModel{Status: status, Title: http.StatusText(status)}, retryAfter: fault.RetryAfterOf(err)}
	if p.retryAfter <= 0 {
		p.retryAfter = defaultRetryAfter
	}
	switch kind { //nolint:exhaustive // the other kinds tell their cause
	case fault.Internal, fault.Corrupt:
		p.Detail = "the platform failed; the operator finds the cause in the log under this answer's X-Request-ID"
		return p
	case fault.Unavailable:
		p.Detail = "the platform cannot take this at the moment; send it again later, unchanged"
		return p
	}
	p.Detail = fault.Message(err)
	if field := fault.FieldOf(err); field != "" {
		p.Detail = field + ": " + p.Detail
		p.Errors = []*huma.ErrorDetail{{Location: location(field), Message: fault.Message(err)}}
	}
	return p
}

// location names where a field stands in the request, as OpenAPI tools expect.
func location(field string) string {
	switch field {
	case "Idempotency-Key", "Content-Type":
		return "header." + field
	case "since", "limit", "wait":
		return "query." + field
	}
	return "body." + field
}

// writeProblem answers with err.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	s.refuse(r.Context(), err).write(w)
}

// fail turns an error into what huma answers, and logs it.
func (s *Server) fail(ctx context.Context, err error) error { return s.refuse(ctx, err) }

func (p *problem) write(w http.ResponseWriter) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p.ErrorModel) // the status is sent; a caller who left cannot be told more
}

// refuse makes the document for the caller and logs what the caller is not told.
func (s *Server) refuse(ctx context.Context, err error) *problem {
	p := problemOf(err)
	level := slog.LevelInfo
	if p.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.log.LogAttrs(ctx, level, "request refused", slog.String("trace", traceID(ctx)), slog.Int("status", p.Status),
		slog.String("kind", fault.KindOf(err).String()), slog.String("field", fault.FieldOf(err)),
		slog.Any("error", err))
	return p
}
