package lab

import "time"

// Classification is what a report says of one category in one image.
type Classification struct {
	ImageID    ImageID     `json:"image_id"`
	Category   string      `json:"category"`
	Confidence float64     `json:"confidence"`      // of the highest finding of the category
	Count      int         `json:"count,omitempty"` // findings of the category; absent for a whole-image class
	Boxes      []ScoredBox `json:"boxes,omitempty"` // highest confidence first; absent for a whole-image class
}

// ScoredBox is one finding of a classification.
type ScoredBox struct {
	Box
	Confidence float64 `json:"confidence"`
}

// RejectedImage is an image that a report has no answer for, with the reason.
type RejectedImage struct {
	ImageID ImageID      `json:"image_id"`
	Reason  RejectReason `json:"reason"`
}

// Report is one version of the answer to one request.
type Report struct {
	RequestID       RequestID
	Version         int // 1, 2, …
	Status          ReportStatus
	Classifications []Classification
	Rejected        []RejectedImage
	ClassifiedBy    string // signer, or "model:<name>@<digest12>"
	ClassifiedAt    time.Time
	ReleasedAt      time.Time
	Sequence        int64 // gap-free within the facility
}

// Routing is the outcome of an assay's review policy for one image.
type Routing struct {
	NeedsReview bool
	Reason      ReviewReason // "" when no person is needed
}

// ReviewReason says why a person must look at an image.
type ReviewReason string

// The reasons.
const (
	ReviewUnsure      ReviewReason = "unsure"       // too many findings lie between their thresholds
	ReviewNoFindings  ReviewReason = "no_findings"  // nothing was found
	ReviewModelFailed ReviewReason = "model_failed" // the image decodes but the model gave no usable answer
	ReviewByPolicy    ReviewReason = "policy"       // the assay has every image seen by a person
)
