package result

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"kenkyo/internal/fault"
)

// Since is where a poll starts: after a sequence number, or at a time of release.
type Since struct {
	Sequence int64     // results with a greater number; used when At is zero
	At       time.Time // results released at this time or later
}

const cursorPrefix = "c1."

// Cursor gives the opaque token that stands for "everything up to this sequence number has been delivered".
func Cursor(sequence int64) string { return cursorPrefix + strconv.FormatInt(sequence, 36) }

// ParseSince reads the since parameter: "" for the beginning, a cursor of an earlier answer, or a time by RFC 3339. A plus sign
// that a careless client left unescaped, and which therefore arrives as a space, is understood. fault.Invalid otherwise.
func ParseSince(s string) (Since, error) {
	if s == "" {
		return Since{}, nil
	}
	if digits, ok := strings.CutPrefix(s, cursorPrefix); ok {
		n, err := strconv.ParseInt(digits, 36, 64)
		if err == nil && n >= 0 && Cursor(n) == s {
			return Since{Sequence: n}, nil
		}
	} else if t, err := time.Parse(time.RFC3339Nano, strings.Replace(s, " ", "+", 1)); err == nil {
		return Since{At: t.UTC()}, nil
	}
	return Since{}, fault.E("result.ParseSince", fault.Invalid,
		errors.New("must be the cursor of an earlier answer (its next) or a time by RFC 3339, such as 2025-01-15T10:00:00Z"),
		fault.Field("since"))
}
