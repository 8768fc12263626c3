package intake

import (
	"context"
	"io"
	"time"

	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// Limits bound what one submission may ask of the platform.
type Limits struct {
	MaxImages     int   // images in one submission
	MaxImageBytes int64 // bytes of one image
	MaxPixels     int64 // pixels of one image, by its header
}

// DefaultLimits are generous for a microscope camera: 100 images, 32 MiB and 100 megapixels each.
func DefaultLimits() Limits {
	return Limits{MaxImages: 100, MaxImageBytes: 32 << 20, MaxPixels: 100_000_000}
}

// Part is one part of a multipart form. Body is read at most once and its errors carry a fault kind.
type Part struct {
	Name     string
	FileName string
	Body     io.Reader
}

// Parts walks a form in the order in which it arrives. Next gives io.EOF after the last part; every other error carries a fault
// kind: Invalid for a malformed form, TooLarge when the body exceeds its limit.
type Parts interface {
	Next() (*Part, error)
}

// Input is one submission as it arrives.
type Input struct {
	Parts          Parts
	IdempotencyKey string // "" for none
	TraceID        string
}

// Accepted answers a submission.
type Accepted struct {
	RequestID lab.RequestID
	Images    []AcceptedImage // in the order of submission
	Flags     []string        // what was accepted but is odd, e.g. FlagCapturedAhead
	Replayed  bool            // the same submission had been accepted before
}

// AcceptedImage tells the sender what arrived, so that it can compare.
type AcceptedImage struct {
	ImageID lab.ImageID
	SHA256  string // lowercase hexadecimal, of the image as sent
}

// Flags of a submission.
const (
	FlagCapturedAhead   = "captured_at_ahead"   // captured_at lies up to 24 h ahead of the platform's clock
	FlagCapturedMissing = "captured_at_missing" // no captured_at was sent; none is made up
)

// BlobWriter takes one object. Nothing is visible before Commit; after Commit it is durable.
type BlobWriter interface {
	io.Writer
	// Commit makes the object durable under its key. fault.Unavailable when it cannot, e.g. a full disk.
	Commit(ctx context.Context) error
	// Abort forgets the object. After Commit it does nothing.
	Abort()
}

// Blobs is where sealed images go.
type Blobs interface {
	// Create starts an object. fault.Unavailable when the store cannot take it.
	Create(ctx context.Context, key string) (BlobWriter, error)
}

// Assays is the catalogue in force.
type Assays interface {
	// Get gives an assay; fault.Invalid names the valid ones.
	Get(name string) (*lab.Assay, error)
	// Route gives the model name for a condition; fault.Invalid names the valid ones.
	Route(a *lab.Assay, condition string) (string, error)
}

// Store keeps submissions.
type Store interface {
	// SpecimenKey gives the wrapped key of a known specimen; fault.NotFound otherwise.
	SpecimenKey(ctx context.Context, facility lab.FacilityID, specimenMAC []byte) ([]byte, error)
	// FindSubmission gives the accepted submission of this identity together with its body digest, when it was received at or
	// after notBefore; fault.NotFound otherwise.
	FindSubmission(ctx context.Context, facility lab.FacilityID, identity []byte, notBefore time.Time) (*Accepted, []byte, error)
	// Accept commits specimen (when new), image set, field images and audit event in one durable transaction. fault.Conflict when
	// the identity or the specimen came into being meanwhile: look again. An older holder of the identity, received before
	// sub.IdentityNotBefore, gives it up.
	Accept(ctx context.Context, sub *Submission) error
}

// Submission is what Store.Accept commits. All patient fields are sealed.
type Submission struct {
	RequestID         lab.RequestID
	Device            lab.Device
	ReceivedAt        time.Time
	SpecimenMAC       []byte
	SpecimenSealed    []byte // the specimen ID, sealed by the specimen's key
	SpecimenKey       []byte // wrapped
	SpecimenIsNew     bool
	Assay             string
	Condition         string
	Model             string // model name of the route
	Priority          lab.Priority
	CapturedAt        time.Time // zero: not sent
	PixelSizeUM       float64   // micrometres a pixel; 0: not sent
	FirstPassSealed   []byte    // the analyser's own classification, sealed JSON; nil: not sent
	Flags             []string
	Identity          []byte
	IdentityNotBefore time.Time
	Body              []byte // keyed digest over everything submitted
	Images            []StoredImage
	TraceID           string
}

// StoredImage is one sealed image of a submission.
type StoredImage struct {
	ID             lab.FieldImageID
	ImageID        lab.ImageID
	FileNameSealed []byte // nil: the part had no file name
	SHA256         string
	Bytes          int64 // of the image as sent
	Format         string
	Width, Height  int // px before orientation, by the header; 0 when only decoding can tell
	WrappedKey     []byte
}

// BlobKey is the object key of a field image.
func BlobKey(id lab.FieldImageID) string { return "image/" + string(id) }

// Service accepts submissions. Safe for concurrent use.
type Service struct {
	store  Store
	blobs  Blobs
	ring   *seal.Ring
	assays Assays
	limits Limits
	now    func() time.Time
}

// New gives a service.
func New(store Store, blobs Blobs, ring *seal.Ring, assays Assays, limits Limits, now func() time.Time) *Service {
	return &Service{store: store, blobs: blobs, ring: ring, assays: assays, limits: limits, now: now}
}
