// Package review decides which images a person must see. It applies an assay's thresholds and policy to a model's findings;
// it stores nothing and knows no model.
package review

import "kenkyo/internal/lab"

// Policy routes by the thresholds of the assay alone.
type Policy struct{}

// Route tells whether a person must decide an image with these findings. Findings below their discard threshold are not
// findings and must have been left out. Pure. Source: docs/data-path.md, step 7.
func (Policy) Route(a *lab.Assay, findings []lab.Finding) lab.Routing {
	switch a.Review.Mode {
	case "always":
		return lab.Routing{NeedsReview: true, Reason: lab.ReviewByPolicy}
	case "never":
		return lab.Routing{}
	}
	if len(findings) == 0 {
		if a.Review.ReviewEmpty {
			return lab.Routing{NeedsReview: true, Reason: lab.ReviewNoFindings}
		}
		return lab.Routing{}
	}
	unsure := 0
	for _, f := range findings {
		if f.Confidence < a.ThresholdFor(f.Label).Release {
			unsure++
		}
	}
	if float64(unsure) > a.Review.MaxUnsureShare*float64(len(findings)) {
		return lab.Routing{NeedsReview: true, Reason: lab.ReviewUnsure}
	}
	return lab.Routing{}
}
