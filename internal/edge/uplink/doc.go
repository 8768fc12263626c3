// Package uplink speaks the platform's HTTP interface from the hospital's side: it enrols the device, sends one submission, asks
// for results, and says of every failure whether to wait, to hold the item, or to stop.
//
// It dials out only, keeps no state, and never retries by itself: the agent decides when. A submission is streamed from disk with a
// known length, its text fields in front, under a boundary made from its key, so that a repetition is the same request byte by byte.
package uplink

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kenkyo/internal/fault"
)

// Verdict says what to do after a call that did not succeed.
type Verdict int

// The verdicts.
const (
	Wait         Verdict = iota // passing trouble with this call: try it again later
	WaitAll                     // passing trouble with the link or the platform: every other call would meet it too
	Refused                     // the platform refuses this very request: a person must look at it
	TokenRefused                // the device's token is not accepted: nothing will be
)

// Problem is why a call did not succeed.
type Problem struct {
	Verdict    Verdict
	Status     int           // HTTP status; 0 when there was no answer
	RetryAfter time.Duration // what the platform asked for; 0 when it did not
	Title      string
	Detail     string
	Errors     []FieldError
	Err        error // the cause when there was no answer
}

// FieldError is one fault in one field of the request (RFC 9457 extension "errors").
type FieldError struct {
	Location string `json:"location"`
	Field    string `json:"field"`
	Message  string `json:"message"`
	Detail   string `json:"detail"`
}

// Error gives the problem in one line.
func (p *Problem) Error() string {
	switch {
	case p.Err != nil:
		return p.Err.Error()
	case p.Detail != "" && p.Title != "":
		return fmt.Sprintf("%s: %s (HTTP %d)", p.Title, p.Detail, p.Status)
	case p.Title != "" || p.Detail != "":
		return fmt.Sprintf("%s%s (HTTP %d)", p.Title, p.Detail, p.Status)
	}
	return fmt.Sprintf("the server answered with HTTP %d", p.Status)
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

// fail wraps a problem in the error type of the project.
func fail(op string, p *Problem) error {
	kind := fault.Unavailable
	switch p.Verdict {
	case Wait, WaitAll:
	case Refused:
		kind = fault.Invalid
	case TokenRefused:
		kind = fault.Unauthenticated
	}
	var attrs []slog.Attr
	if p.RetryAfter > 0 {
		attrs = append(attrs, fault.RetryAfter(p.RetryAfter))
	}
	return fault.E(op, kind, p, append(attrs, slog.Int("status", p.Status))...)
}

// ProblemOf gives the problem in err's chain, nil when there is none.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}
