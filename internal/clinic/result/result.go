package result

import (
	"context"
	"fmt"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// Limits of one poll.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	MaxWait      = 60 * time.Second
)

// Sealed is a released report with the sealed identifier of its specimen.
type Sealed struct {
	Report         lab.Report
	Assay          string
	SpecimenMAC    []byte
	SpecimenKey    []byte // wrapped
	SpecimenSealed []byte
}

// Page is what a store finds for a poll.
type Page struct {
	Reports []Sealed // by ascending sequence
	Head    int64    // the facility's last sequence number in the same snapshot
	HasMore bool
}

// RequestView is everything known of one request.
type RequestView struct {
	RequestID      lab.RequestID
	Device         lab.DeviceID
	Assay          string
	Condition      string
	Priority       lab.Priority
	ReceivedAt     time.Time
	CapturedAt     time.Time // zero: not sent
	Flags          []string
	SpecimenMAC    []byte
	SpecimenKey    []byte // wrapped
	SpecimenSealed []byte
	Images         []ImageView
	Reports        []lab.Report // versions, oldest first
}

// ImageView is one image of a RequestView.
type ImageView struct {
	ImageID   lab.ImageID
	State     lab.ImageState
	Review    lab.ReviewReason
	Reject    lab.RejectReason
	SHA256    string
	Detection *lab.Detection
	DoneAt    time.Time // when the model had spoken, or the image was rejected; zero before
}

// Store reads reports and requests. Every read of patient data is recorded in the audit trail by the same call.
type Store interface {
	// Released gives the reports that the device may see, from since on, at most limit. A non-empty page is recorded as read.
	Released(ctx context.Context, dev lab.Device, since Since, limit int, traceID string) (*Page, error)
	// Request gives one request that the device uploaded; fault.NotFound otherwise. It is recorded as read.
	Request(ctx context.Context, dev lab.Device, id lab.RequestID, traceID string) (*RequestView, error)
}

// Waiter tells when a facility may have new releases.
type Waiter interface {
	// Wait gives true when a release after the given sequence number may exist, false when ctx ended or the process is stopping.
	Wait(ctx context.Context, facility lab.FacilityID, after int64) bool
}

// Result is one released report as its hospital reads it.
type Result struct {
	lab.Report
	SpecimenID lab.SpecimenID
	Assay      string
}

// Answer is the answer to one poll.
type Answer struct {
	Results []Result
	Next    string // cursor: everything up to here is in this answer or in an earlier one
	HasMore bool
}

// Request is one request as its sender reads it.
type Request struct {
	RequestView
	SpecimenID lab.SpecimenID
}

// Service answers polls. Safe for concurrent use.
type Service struct {
	store  Store
	ring   *seal.Ring
	waiter Waiter
}

// New gives a service.
func New(store Store, ring *seal.Ring, waiter Waiter) *Service {
	return &Service{store: store, ring: ring, waiter: waiter}
}

// Poll gives the device's results from since on, waiting up to wait for the first one. Results by cursor never repeat; results
// by time may, and miss nothing when the time is any classified_at received earlier. limit is 1 to MaxLimit.
// Errors: Corrupt when a specimen's identifier does not open. State: a non-empty answer is an audit event.
func (s *Service) Poll(ctx context.Context, dev lab.Device, since Since, limit int, wait time.Duration, traceID string) (*Answer, error) {
	const op = "result.Poll"
	deadline, cancel := context.WithTimeout(ctx, min(wait, MaxWait))
	defer cancel()
	for {
		page, err := s.store.Released(ctx, dev, since, limit, traceID)
		if err != nil {
			return nil, fault.E(op, fault.Internal, err)
		}
		if len(page.Reports) > 0 || wait <= 0 || !s.waiter.Wait(deadline, dev.Facility, page.Head) {
			return s.answer(ctx, dev, since, page)
		}
	}
}

func (s *Service) answer(ctx context.Context, dev lab.Device, since Since, page *Page) (*Answer, error) {
	const op = "result.answer"
	a := &Answer{Results: make([]Result, 0, len(page.Reports)), HasMore: page.HasMore}
	// Without more to fetch the cursor moves to the head, past reports of other devices, so that they are not scanned again.
	// A cursor ahead of the head belongs to a longer past (a restored backup); it must not move back.
	a.Next = Cursor(max(page.Head, since.Sequence))
	if page.HasMore {
		a.Next = Cursor(page.Reports[len(page.Reports)-1].Report.Sequence)
	}
	if len(page.Reports) == 0 {
		return a, nil
	}
	fac, err := s.ring.Facility(ctx, dev.Facility)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	for i := range page.Reports {
		r := &page.Reports[i]
		id, err := openSpecimenID(fac, r.SpecimenMAC, r.SpecimenKey, r.SpecimenSealed)
		if err != nil {
			return nil, fault.E(op, fault.Internal, fmt.Errorf("report %d: %w", r.Report.Sequence, err))
		}
		a.Results = append(a.Results, Result{Report: r.Report, SpecimenID: id, Assay: r.Assay})
	}
	return a, nil
}

// Request gives one request that the device uploaded. fault.NotFound when there is none.
func (s *Service) Request(ctx context.Context, dev lab.Device, id lab.RequestID, traceID string) (*Request, error) {
	const op = "result.Request"
	v, err := s.store.Request(ctx, dev, id, traceID)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	fac, err := s.ring.Facility(ctx, dev.Facility)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	specimen, err := openSpecimenID(fac, v.SpecimenMAC, v.SpecimenKey, v.SpecimenSealed)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return &Request{RequestView: *v, SpecimenID: specimen}, nil
}

func openSpecimenID(fac *seal.Facility, mac, wrapped, sealed []byte) (lab.SpecimenID, error) {
	key, err := fac.OpenSpecimenKey(mac, wrapped)
	if err != nil {
		return "", err
	}
	b, err := key.OpenField("specimen_id", sealed)
	return lab.SpecimenID(b), err
}
