package review_test

import (
	"fmt"
	"testing"

	"kenkyo/internal/clinic/review"
	"kenkyo/internal/lab"
)

func assay(mode string, share float64, reviewEmpty bool) *lab.Assay {
	return &lab.Assay{
		Thresholds: []lab.Threshold{{Label: "RBC", Discard: 0.3, Release: 0.5}, {Label: "WBC", Discard: 0.3, Release: 0.8}},
		Review:     lab.ReviewPolicy{Mode: mode, MaxUnsureShare: share, ReviewEmpty: reviewEmpty},
	}
}

func findings(scores ...any) []lab.Finding {
	var out []lab.Finding
	for i := 0; i < len(scores); i += 2 {
		out = append(out, lab.Finding{Label: scores[i].(string), Confidence: scores[i+1].(float64)}) //nolint:errcheck,forcetypeassert // the test says so
	}
	return out
}

func TestRoute(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		assay *lab.Assay
		found []lab.Finding
		want  lab.ReviewReason
	}{
		{"all confident", assay("unsure", 0, true), findings("RBC", 0.5, "WBC", 0.8), ""},
		{"one below its own class's threshold", assay("unsure", 0, true), findings("RBC", 0.7, "WBC", 0.79), lab.ReviewUnsure},
		{"one of four within a share of a quarter", assay("unsure", 0.25, true), findings("RBC", 0.9, "RBC", 0.9, "RBC", 0.9, "RBC", 0.4), ""},
		{"two of four beyond a share of a quarter", assay("unsure", 0.25, true), findings("RBC", 0.9, "RBC", 0.9, "RBC", 0.4, "RBC", 0.4), lab.ReviewUnsure},
		{"a label without thresholds", assay("unsure", 0, true), findings("blast", 1.0), lab.ReviewUnsure},
		{"nothing found", assay("unsure", 0, true), nil, lab.ReviewNoFindings},
		{"nothing found, and that is an answer", assay("unsure", 0, false), nil, ""},
		{"always", assay("always", 1, false), findings("RBC", 1.0), lab.ReviewByPolicy},
		{"never", assay("never", 0, true), findings("RBC", 0.31), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := review.Policy{}.Route(tt.assay, tt.found)
			if got.Reason != tt.want || got.NeedsReview != (tt.want != "") {
				t.Errorf("got %+v, want reason %q for %v", got, tt.want, tt.found)
			}
		})
	}
}

func ExamplePolicy_Route() {
	a := assay("unsure", 0, true)
	fmt.Println(review.Policy{}.Route(a, findings("RBC", 0.95)).NeedsReview)
	fmt.Println(review.Policy{}.Route(a, findings("RBC", 0.95, "WBC", 0.6)))
	// Output:
	// false
	// {true unsure}
}
