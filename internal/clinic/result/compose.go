package result

import (
	"math"
	"slices"
	"time"

	"kenkyo/internal/lab"
)

// Settled is one image of a request whose images are all settled.
type Settled struct {
	ImageID   lab.ImageID
	State     lab.ImageState // decided or rejected
	Reject    lab.RejectReason
	DecidedAt time.Time
	Detection *lab.Detection // nil when there are no findings
}

// Compose makes the report of a request from its images, in their order. Its status is final, or cancelled when no image could
// be read. ClassifiedBy is the model version that spoke last; Sequence and ReleasedAt are left to the release. Pure.
// Source: docs/data-path.md, step 9.
func Compose(request lab.RequestID, images []Settled) lab.Report {
	r := lab.Report{RequestID: request, Version: 1, Status: lab.ReportCancelled, ClassifiedBy: "system"}
	for _, im := range images {
		if im.DecidedAt.After(r.ClassifiedAt) {
			r.ClassifiedAt = im.DecidedAt
		}
		if im.State == lab.StateRejected {
			r.Rejected = append(r.Rejected, lab.RejectedImage{ImageID: im.ImageID, Reason: im.Reject})
			continue
		}
		r.Status = lab.ReportFinal
		if im.Detection != nil {
			r.ClassifiedBy = im.Detection.ClassifiedBy()
			r.Classifications = append(r.Classifications, Classify(im.ImageID, im.Detection.Findings)...)
		}
	}
	return r
}

// Classify gives one entry per category of an image's findings, highest confidence first. Boxes of a category are ordered the
// same way. Findings without a box are whole-image classes and carry no count. Scores are given to four decimals and boxes to a
// hundredth of a pixel, which is finer than either means. Pure.
func Classify(image lab.ImageID, findings []lab.Finding) []lab.Classification {
	var out []lab.Classification
	index := make(map[string]int)
	for _, f := range findings {
		i, ok := index[f.Label]
		if !ok {
			i = len(out)
			index[f.Label] = i
			out = append(out, lab.Classification{ImageID: image, Category: f.Label})
		}
		c := &out[i]
		score := round(f.Confidence, 1e4)
		c.Confidence = max(c.Confidence, score)
		if f.Box != nil {
			c.Count++
			box := lab.Box{X: round(f.Box.X, 100), Y: round(f.Box.Y, 100), W: round(f.Box.W, 100), H: round(f.Box.H, 100)}
			c.Boxes = append(c.Boxes, lab.ScoredBox{Box: box, Confidence: score})
		}
	}
	for i := range out {
		slices.SortStableFunc(out[i].Boxes, func(a, b lab.ScoredBox) int { return descending(a.Confidence, b.Confidence) })
	}
	slices.SortStableFunc(out, func(a, b lab.Classification) int { return descending(a.Confidence, b.Confidence) })
	return out
}

func round(v, steps float64) float64 { return math.Round(v*steps) / steps }

func descending(a, b float64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}
