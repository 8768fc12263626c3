package detect

import (
	"context"
	"io"
	"time"

	"kenkyo/internal/lab"
)

// ClaimedImage is one image of a claim with what is needed to open it.
type ClaimedImage struct {
	ID           lab.FieldImageID
	Request      lab.RequestID
	Facility     lab.FacilityID
	Assay        string
	Bytes        int64
	PixelSizeUM  float64 // 0: unknown
	SpecimenMAC  []byte
	SpecimenKey  []byte // wrapped
	WrappedKey   []byte
	LostLeases   int // how often a claim of this image ran out without an answer
	TraceID      string
	WaitingSince time.Time
}

// Claim is a set of images of one model, held by one process until its lease ends.
type Claim struct {
	Token  lab.ClaimToken
	Model  string
	Images []ClaimedImage
}

// Outcome is what became of one image.
type Outcome struct {
	Image     lab.FieldImageID
	State     lab.ImageState   // decided, in_review or rejected
	Detection *lab.Detection   // nil when there are no findings to keep
	Review    lab.ReviewReason // when in_review
	Reject    lab.RejectReason // when rejected
	Facility  lab.FacilityID   // for the audit event
	TraceID   string           // for the audit event
}

// Completion tells what Store.Complete did.
type Completion struct {
	Applied  int // outcomes that took effect; the others had lost their claim
	Released []ReleasedReport
}

// ReleasedReport names a report that became visible with a completion.
type ReleasedReport struct {
	Facility lab.FacilityID
	Request  lab.RequestID
	Sequence int64
	Waited   time.Duration // from receipt to release
}

// Store hands out images and takes outcomes. All times are the database's.
type Store interface {
	// Claim takes up to limit waiting images of one of the models, STAT before routine and oldest first, and returns leases that
	// ran out to the queue on the way. An image whose lease was lost before comes alone. nil when nothing waits.
	Claim(ctx context.Context, models []string, limit int, owner string, lease time.Duration) (*Claim, error)
	// Renew extends the lease of a claim. fault.Conflict when the claim is lost.
	Renew(ctx context.Context, token lab.ClaimToken, lease time.Duration) error
	// Complete records outcomes and releases every report whose last image this was, in one durable transaction. An image that
	// the claim no longer holds is left alone and not counted in Applied.
	Complete(ctx context.Context, token lab.ClaimToken, outcomes []Outcome) (*Completion, error)
	// Return puts images back in the queue, to be claimed again after a pause.
	Return(ctx context.Context, token lab.ClaimToken, images []lab.FieldImageID, pause time.Duration) error
}

// Blobs gives sealed images back. Open gives fault.NotFound when the object does not exist and fault.Unavailable when the store
// cannot answer.
type Blobs interface {
	Open(ctx context.Context, key string) (io.ReadCloser, error)
}

// Predictor is one model version in memory.
type Predictor interface {
	// Predict gives the findings in one encoded image. pixelSizeUM is 0 when unknown; floor gives the score below which a label's
	// finding is dropped. fault.Invalid: no decoder reads the image to its end; fault.TooLarge: too many pixels;
	// fault.Unavailable: the version was closed meanwhile; any other kind: the model failed.
	Predict(ctx context.Context, encoded []byte, pixelSizeUM float64, floor func(label string) float64) (lab.Detection, error)
}

// Models gives the model versions in use.
type Models interface {
	// Names lists the models that this process can run.
	Names() []string
	// Predictor gives the version in use of a model; fault.NotFound when this process has none.
	Predictor(name string) (Predictor, error)
}

// Assays gives assays by name.
type Assays interface {
	Get(name string) (*lab.Assay, error)
}

// Router applies an assay's review policy.
type Router interface {
	Route(a *lab.Assay, findings []lab.Finding) lab.Routing
}

// Observer hears what happened, for metrics. Its methods must return at once.
type Observer interface {
	Detected(model string, took time.Duration)
	Completed(model string, state lab.ImageState, reason string)
	Released(waited time.Duration)
	LeaseLost(model string, images int)
}
