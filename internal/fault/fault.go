// Package fault holds the one error type of Kenkyo and its closed list of kinds.
//
// A function that can fail in a way its caller must tell apart returns an *Error built by E. Only the HTTP adapter and the
// commands turn a Kind into a status or an exit code. The text of an error may reach a client and a log: it never holds
// patient data (no specimen ID, no file name, no image content).
package fault

import (
	"errors"
	"log/slog"
	"strings"
	"time"
)

// Kind says what went wrong in terms the caller can act on. New kinds are appended, never inserted.
type Kind uint8

// The kinds, each with what the caller should do.
const (
	Internal        Kind = iota // a defect or an unforeseen failure: report it
	Invalid                     // the input breaks a rule: change it, then send again
	NotFound                    // no such thing, or not visible to the caller
	Conflict                    // the thing is in a state that forbids this: read it again
	Denied                      // the caller is known and may not
	Unauthenticated             // the caller is not known: present valid credentials
	Overloaded                  // too much work at the moment: wait RetryAfter, then send again unchanged
	Unavailable                 // something this needs is down or full: wait, then send again unchanged
	Corrupt                     // stored bytes are not what was stored
	TooLarge                    // the input exceeds a size limit: send less
)

// String gives the kind as the word used in logs and metrics.
func (k Kind) String() string {
	switch k {
	case Internal:
		return "internal"
	case Invalid:
		return "invalid"
	case NotFound:
		return "not_found"
	case Conflict:
		return "conflict"
	case Denied:
		return "denied"
	case Unauthenticated:
		return "unauthenticated"
	case Overloaded:
		return "overloaded"
	case Unavailable:
		return "unavailable"
	case Corrupt:
		return "corrupt"
	case TooLarge:
		return "too_large"
	}
	return "internal"
}

// Error is the one error type. Build it with E.
type Error struct {
	Op    string // package and operation, e.g. "intake.Accept"
	Kind  Kind
	Err   error       // the cause; its text may be shown to the caller
	Attrs []slog.Attr // structured detail for logs; never patient data
}

// E builds an error. The kind of a wrapped *Error is kept when kind is Internal, so that a middle layer that only adds its
// operation does not hide what its caller must know.
func E(op string, kind Kind, err error, attrs ...slog.Attr) error {
	if kind == Internal {
		var inner *Error
		if errors.As(err, &inner) {
			kind = inner.Kind
		}
	}
	return &Error{Op: op, Kind: kind, Err: err, Attrs: attrs}
}

// Field marks the input field an Invalid error is about; the HTTP adapter names it in the problem document.
func Field(name string) slog.Attr { return slog.String("field", name) }

// RetryAfter marks how long the caller should wait before it sends the same request again.
func RetryAfter(d time.Duration) slog.Attr { return slog.Duration("retry_after", d) }

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	b.WriteString(": ")
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(e.Kind.String())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of the outermost *Error in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err carries the kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// FieldOf gives the field named by Field anywhere in err's chain, "" when none is.
func FieldOf(err error) string {
	v, _ := attrOf(err, "field")
	return v.String()
}

// RetryAfterOf gives the wait named by RetryAfter anywhere in err's chain, 0 when none is.
func RetryAfterOf(err error) time.Duration {
	v, ok := attrOf(err, "retry_after")
	if !ok {
		return 0
	}
	return v.Duration()
}

// Message gives the text for the caller: the innermost cause without the operations that wrap it.
func Message(err error) string {
	for {
		var e *Error
		if !errors.As(err, &e) {
			return err.Error()
		}
		if e.Err == nil {
			return e.Kind.String()
		}
		err = e.Err
	}
}

func attrOf(err error, key string) (slog.Value, bool) {
	for {
		var e *Error
		if !errors.As(err, &e) {
			return slog.StringValue(""), false
		}
		for _, a := range e.Attrs {
			if a.Key == key {
				return a.Value, true
			}
		}
		err = e.Err
	}
}
