package intake

import (
	"bytes"
	"context"
	"errors"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// keyLifetime is how long an Idempotency-Key counts.
const keyLifetime = 30 * 24 * time.Hour

// acceptAttempts bounds how often a submission that lost a race is looked up again. A race is lost to a committed submission,
// so the second look finds it; the third covers a holder that was erased in between.
const acceptAttempts = 3

// Accept takes one submission from an enrolled device.
//
// Errors: Invalid (with the field's name) for a rule broken, TooLarge for a size limit, Unavailable when blobs or database
// cannot take it, Corrupt when the facility's keys do not open. After any error nothing of the submission is visible; bytes
// that were already durable are swept later.
// State: blobs first, then one transaction with specimen, image set, field images and audit event.
// Source: docs/data-path.md, steps 2 to 5; docs/adr/0005-same-submission.md.
func (s *Service) Accept(ctx context.Context, dev lab.Device, in Input) (*Accepted, error) {
	const op = "intake.Accept"
	fac, err := s.ring.Facility(ctx, dev.Facility)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	f, err := s.readForm(ctx, dev, in.Parts)
	defer f.abort()
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	sub, err := s.compose(f, dev, fac, in)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if prior, err := s.find(ctx, sub, in.IdempotencyKey); prior != nil || err != nil {
		return prior, err
	}
	if err := f.commit(ctx); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	for range acceptAttempts {
		if err = s.sealSubmission(ctx, fac, f, sub); err != nil {
			return nil, fault.E(op, fault.Internal, err)
		}
		err = s.store.Accept(ctx, sub)
		if err == nil {
			return sub.accepted(), nil
		}
		if !fault.Is(err, fault.Conflict) {
			return nil, fault.E(op, fault.Internal, err)
		}
		if prior, err := s.find(ctx, sub, in.IdempotencyKey); prior != nil || err != nil {
			return prior, err
		}
	}
	return nil, fault.E(op, fault.Overloaded, err, fault.RetryAfter(time.Second))
}

// find looks for the same submission accepted earlier; nil, nil when there is none.
func (s *Service) find(ctx context.Context, sub *Submission, key string) (*Accepted, error) {
	const op = "intake.find"
	prior, body, err := s.store.FindSubmission(ctx, sub.Device.Facility, sub.Identity, sub.IdentityNotBefore)
	if fault.Is(err, fault.NotFound) {
		return nil, nil //nolint:nilnil // documented: no such submission is no error here
	}
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if key != "" && !bytes.Equal(body, sub.Body) {
		return nil, fault.E(op, fault.Invalid,
			errors.New("this Idempotency-Key was used with another submission; use a new key for new content"),
			fault.Field("Idempotency-Key"))
	}
	prior.Replayed = true
	return prior, nil
}

// compose turns a valid form into a submission without its sealed parts.
func (s *Service) compose(f *form, dev lab.Device, fac *seal.Facility, in Input) (*Submission, error) {
	now := s.now().UTC()
	if err := f.validate(s.assays, dev, now); err != nil {
		return nil, err
	}
	sub := &Submission{
		RequestID: lab.NewRequestID(), Device: dev, ReceivedAt: now,
		SpecimenMAC: fac.MAC("specimen", string(f.specimen)),
		Assay:       f.assay.Name, Condition: f.condition, Model: f.model, Priority: f.priority,
		CapturedAt: f.capturedAt, PixelSizeUM: f.pixelSizeUM, Flags: f.flags, TraceID: in.TraceID,
	}
	sub.Identity, sub.Body = f.identity(fac), f.body(fac)
	if in.IdempotencyKey != "" {
		if len(in.IdempotencyKey) > maxIdempotencyKey || !printable(in.IdempotencyKey) {
			return nil, fault.E("intake.compose", fault.Invalid,
				errors.New("must be 1 to 255 printable characters"), fault.Field("Idempotency-Key"))
		}
		sub.Identity = fac.MAC("idempotency-key", string(dev.ID), in.IdempotencyKey)
		sub.IdentityNotBefore = now.Add(-keyLifetime)
	}
	return sub, nil
}

// sealSubmission seals the patient fields and wraps the image keys by the specimen's key, which it opens or makes. It runs
// again when another submission of the same specimen was first.
func (s *Service) sealSubmission(ctx context.Context, fac *seal.Facility, f *form, sub *Submission) error {
	wrapped, err := s.store.SpecimenKey(ctx, fac.ID(), sub.SpecimenMAC)
	var key *seal.SpecimenKey
	switch {
	case err == nil:
		key, err = fac.OpenSpecimenKey(sub.SpecimenMAC, wrapped)
		sub.SpecimenIsNew = false
	case fault.Is(err, fault.NotFound):
		key, wrapped, err = fac.NewSpecimenKey(sub.SpecimenMAC)
		sub.SpecimenIsNew = true
	}
	if err != nil {
		return err
	}
	sub.SpecimenKey = wrapped
	if sub.SpecimenSealed, err = key.SealField("specimen_id", []byte(f.specimen)); err != nil {
		return err
	}
	if f.firstPass != nil {
		if sub.FirstPassSealed, err = key.SealField("classification", f.firstPass); err != nil {
			return err
		}
	}
	sub.Images = make([]StoredImage, len(f.images))
	for i, im := range f.images {
		st := StoredImage{
			ID: im.id, ImageID: f.imageIDs[i], SHA256: im.sha256, Bytes: im.info.Bytes,
			Format: string(im.info.Format), Width: im.info.Width, Height: im.info.Height,
		}
		if st.WrappedKey, err = key.WrapImageKey(im.id, im.key); err != nil {
			return err
		}
		if im.fileName != "" {
			if st.FileNameSealed, err = key.SealField("file_name", []byte(im.fileName)); err != nil {
				return err
			}
		}
		sub.Images[i] = st
	}
	return nil
}

func (sub *Submission) accepted() *Accepted {
	a := &Accepted{RequestID: sub.RequestID, Flags: sub.Flags}
	for _, im := range sub.Images {
		a.Images = append(a.Images, AcceptedImage{ImageID: im.ImageID, SHA256: im.SHA256})
	}
	return a
}
