package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/audit"
)

var _ intake.Store = (*Store)(nil)

// SpecimenKey implements intake.Store.
func (s *Store) SpecimenKey(ctx context.Context, facility lab.FacilityID, specimenMAC []byte) ([]byte, error) {
	var row specimenRow
	err := s.read.NewSelect().Model(&row).Column("wrapped_key").
		Where("facility_id = ? AND specimen_mac = ?", string(facility), specimenMAC).Scan(ctx)
	if err != nil {
		return nil, s.wrap("store.SpecimenKey", err)
	}
	return row.WrappedKey, nil
}

// FindSubmission implements intake.Store.
func (s *Store) FindSubmission(ctx context.Context, facility lab.FacilityID, identity []byte, notBefore time.Time) (*intake.Accepted, []byte, error) {
	const op = "store.FindSubmission"
	var set imageSetRow
	err := s.read.NewSelect().Model(&set).Column("request_id", "flags", "body_mac").
		Where("facility_id = ? AND identity_mac = ? AND received_at >= ?", string(facility), identity, notBeforeMicros(notBefore)).Scan(ctx)
	if err != nil {
		return nil, nil, s.wrap(op, err)
	}
	var images []fieldImageRow
	err = s.read.NewSelect().Model(&images).Column("image_id", "sha256").
		Where("request_id = ?", set.RequestID).Order("ordinal").Scan(ctx)
	if err != nil {
		return nil, nil, s.wrap(op, err)
	}
	a := &intake.Accepted{RequestID: lab.RequestID(set.RequestID), Flags: splitFlags(set.Flags)}
	for _, im := range images {
		a.Images = append(a.Images, intake.AcceptedImage{ImageID: lab.ImageID(im.ImageID), SHA256: im.SHA256})
	}
	return a, set.BodyMAC, nil
}

// Accept implements intake.Store: one transaction, durable when it returns.
func (s *Store) Accept(ctx context.Context, sub *intake.Submission) error {
	return s.inTx(ctx, "store.Accept", func(ctx context.Context, tx bun.Tx) error { return accept(ctx, tx, sub) })
}

func accept(ctx context.Context, tx bun.Tx, sub *intake.Submission) error {
	received := sub.ReceivedAt.UnixMicro()
	if !sub.IdentityNotBefore.IsZero() {
		_, err := tx.NewUpdate().Model((*imageSetRow)(nil)).Set("identity_mac = NULL").
			Where("facility_id = ? AND identity_mac = ? AND received_at < ?",
				string(sub.Device.Facility), sub.Identity, sub.IdentityNotBefore.UnixMicro()).Exec(ctx)
		if err != nil {
			return err
		}
	}
	if sub.SpecimenIsNew {
		_, err := tx.NewInsert().Model(&specimenRow{
			FacilityID: string(sub.Device.Facility), SpecimenMAC: sub.SpecimenMAC, SpecimenSealed: sub.SpecimenSealed,
			WrappedKey: sub.SpecimenKey, CreatedAt: received,
		}).Exec(ctx)
		if err != nil {
			return err
		}
	}
	set, images := submissionRows(sub)
	if _, err := tx.NewInsert().Model(set).Exec(ctx); err != nil {
		return err
	}
	if _, err := tx.NewInsert().Model(&images).Exec(ctx); err != nil {
		return err
	}
	return record(ctx, tx, audit.Event{
		At: sub.ReceivedAt, Facility: sub.Device.Facility, Actor: "device:" + string(sub.Device.ID), Action: audit.RequestAccepted,
		Object: string(sub.RequestID), Detail: fmt.Sprintf(`{"images":%d,"assay":%q}`, len(images), sub.Assay), TraceID: sub.TraceID,
	})
}

func submissionRows(sub *intake.Submission) (*imageSetRow, []fieldImageRow) {
	received := sub.ReceivedAt.UnixMicro()
	set := &imageSetRow{
		RequestID: string(sub.RequestID), FacilityID: string(sub.Device.Facility), DeviceID: string(sub.Device.ID),
		SpecimenMAC: sub.SpecimenMAC, Assay: sub.Assay, ConditionName: sub.Condition, Priority: string(sub.Priority),
		CapturedAt: micros(sub.CapturedAt), PixelSizeUM: sub.PixelSizeUM, FirstPassSealed: sub.FirstPassSealed,
		Flags: joinFlags(sub.Flags), IdentityMAC: sub.Identity, BodyMAC: sub.Body, OpenImages: len(sub.Images),
		TraceID: sub.TraceID, ReceivedAt: received,
	}
	urgency := 1
	if sub.Priority == lab.PrioritySTAT {
		urgency = 0
	}
	images := make([]fieldImageRow, len(sub.Images))
	for i, im := range sub.Images {
		images[i] = fieldImageRow{
			ID: string(im.ID), RequestID: set.RequestID, FacilityID: set.FacilityID, Ordinal: i, ImageID: string(im.ImageID),
			FileNameSealed: im.FileNameSealed, SHA256: im.SHA256, Bytes: im.Bytes, Format: im.Format, WidthPx: im.Width,
			HeightPx: im.Height, WrappedKey: im.WrappedKey, Model: sub.Model, State: string(lab.StateReceived), Urgency: urgency,
			ReceivedAt: received, AvailableAt: received,
		}
	}
	return set, images
}

func notBeforeMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// OwnsBlob reports whether a field image of this ID is stored: a blob without one is swept.
func (s *Store) OwnsBlob(ctx context.Context, id lab.FieldImageID) (bool, error) {
	var one int
	err := s.read.NewRaw("SELECT 1 FROM field_image WHERE id = ?", string(id)).Scan(ctx, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fault.E("store.OwnsBlob", fault.Unavailable, err)
	}
	return true, nil
}
