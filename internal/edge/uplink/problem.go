package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds the wait the platform can ask for: a slip of its clock must not silence a hospital for a day.
const maxRetryAfter = time.Hour

// networkProblem describes a call that got no answer. The text leaves out the address with its query, which logs need not repeat.
func networkProblem(ctx context.Context, err error) *Problem {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Problem{Verdict: WaitAll, Title: "no answer from the server", Err: err}
}

// answerProblem judges an answer other than 200.
func answerProblem(res *http.Response) *Problem {
	p := &Problem{Status: res.StatusCode, RetryAfter: retryAfter(res.Header, time.Now())}
	ours := p.read(res)
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized:
		p.Verdict = TokenRefused
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		p.Verdict = WaitAll
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code >= 500:
		p.Verdict = Wait
	case code == http.StatusBadRequest || code == http.StatusRequestEntityTooLarge || code == http.StatusUnprocessableEntity:
		p.Verdict = Refused // also when a load balancer says it: the request itself is at fault
	case p.RetryAfter > 0:
		p.Verdict = Wait
	case code >= 400 && code != http.StatusProxyAuthRequired && ours:
		p.Verdict = Refused
	default:
		// A redirect, a login page, a proxy's refusal: holding every item for a fault of the link would help nobody.
		return foreign(res)
	}
	return p
}

// foreign describes an answer that the platform cannot have given.
func foreign(res *http.Response) *Problem {
	return &Problem{
		Verdict: WaitAll, Status: res.StatusCode, RetryAfter: retryAfter(res.Header, time.Now()),
		Title: "the answer does not come from the platform", Detail: "a proxy answers in its place, or the server address is wrong",
	}
}

// read takes title, detail and errors of a problem document, and tells whether there was one.
func (p *Problem) read(res *http.Response) bool {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" && kind != "application/json" {
		return false
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return false
	}
	var doc struct {
		Title  string       `json:"title"`
		Detail string       `json:"detail"`
		Errors []FieldError `json:"errors"`
	}
	if json.Unmarshal(b, &doc) != nil {
		return false
	}
	p.Title, p.Detail, p.Errors = line(doc.Title), line(doc.Detail), doc.Errors
	for i, e := range p.Errors {
		if e.Location == "" {
			e.Location = e.Field
		}
		if e.Message == "" {
			e.Message = e.Detail
		}
		p.Errors[i] = FieldError{Location: line(e.Location), Message: line(e.Message)}
	}
	return true
}

// line makes a stranger's text fit for one line of a terminal: no control characters, not endless.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || 0x80 <= r && r < 0xA0 {
			return ' '
		}
		return r
	}, text)
	const most = 500
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strings.TrimSpace(text)
}

// retryAfter reads the header in both its forms, seconds and date (RFC 9110 §10.2.3). A date counts from the server's own clock.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		if server, err := http.ParseTime(h.Get("Date")); err == nil {
			now = server
		}
		wait = at.Sub(now)
	}
	return max(0, min(wait, maxRetryAfter))
}
