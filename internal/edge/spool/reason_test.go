package spool

import "testing"

func TestReasonInOneLine(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]*Reason{
		"":                        nil,
		"Refused: assay: unknown": {Title: "Refused", Detail: "assay: unknown", Errors: []Field{{Location: "body.assay", Message: "unknown"}}},
		"Refused: validation failed: body.assay unknown: image missing": {
			Title: "Refused", Detail: "validation failed", Errors: []Field{{Location: "body.assay", Message: "unknown"}, {Message: "image missing"}},
		},
	} {
		if got := r.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
