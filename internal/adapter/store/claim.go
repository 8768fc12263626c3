package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

var _ detect.Store = (*Store)(nil)

// claimable is one image of the queue with what its claim carries.
type claimable struct {
	ID          string
	RequestID   string
	FacilityID  string
	Bytes       int64
	WrappedKey  []byte
	Model       string
	LostLeases  int
	ReceivedAt  int64
	Assay       string
	PixelSizeUM float64 `bun:"pixel_size_um"`
	TraceID     string
	SpecimenMAC []byte `bun:"specimen_mac"`
	SpecimenKey []byte
}

// Claim implements detect.Store.
func (s *Store) Claim(ctx context.Context, models []string, limit int, owner string, lease time.Duration) (*detect.Claim, error) {
	const op = "store.Claim"
	if len(models) == 0 {
		return nil, nil //nolint:nilnil // documented: nothing waits
	}
	// An idle process asks often: it must not take the write lock only to learn that there is nothing to do.
	if waiting, err := s.hasWork(ctx, models); err != nil || !waiting {
		return nil, s.wrap(op, err)
	}
	var claim *detect.Claim
	err := s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		if err := reclaim(ctx, tx, now); err != nil {
			return err
		}
		images, err := s.pick(ctx, tx, models, limit, now)
		if err != nil || len(images) == 0 {
			claim = nil
			return err
		}
		claim = newClaim(images)
		ids := make([]string, len(images))
		for i := range images {
			ids[i] = images[i].ID
		}
		_, err = tx.NewUpdate().Model((*fieldImageRow)(nil)).
			Set("state = ?", string(lab.StateClaimed)).Set("claim_token = ?", string(claim.Token)).Set("claim_owner = ?", owner).
			Set("lease_until = ?", now.Add(lease).UnixMicro()).
			Where("id IN (?)", bun.List(ids)).Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claim, nil
}

func (s *Store) hasWork(ctx context.Context, models []string) (bool, error) {
	now, err := s.now(ctx, s.read)
	if err != nil {
		return false, err
	}
	return s.read.NewSelect().Model((*fieldImageRow)(nil)).
		WhereGroup(" OR ", func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("state = ? AND model IN (?) AND available_at <= ?", string(lab.StateReceived), bun.List(models), now.UnixMicro())
		}).
		WhereGroup(" OR ", func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("state = ? AND model IN (?) AND lease_until < ?", string(lab.StateClaimed), bun.List(models), now.UnixMicro())
		}).Exists(ctx)
}

// reclaim returns images whose lease ran out to the queue.
func reclaim(ctx context.Context, tx bun.Tx, now time.Time) error {
	_, err := tx.NewUpdate().Model((*fieldImageRow)(nil)).
		Set("state = ?", string(lab.StateReceived)).Set("claim_token = NULL").Set("claim_owner = NULL").Set("lease_until = NULL").
		Set("lost_leases = lost_leases + 1").
		Where("state = ? AND lease_until < ?", string(lab.StateClaimed), now.UnixMicro()).Exec(ctx)
	return err
}

// pick chooses the images of one claim: the model of the most urgent image, and with it further images of that model. An image
// that lost a lease goes alone, in case it was what took its process down.
func (s *Store) pick(ctx context.Context, tx bun.Tx, models []string, limit int, now time.Time) ([]claimable, error) {
	var first fieldImageRow
	err := locked(tx.NewSelect().Model(&first).Column("id", "model", "lost_leases").
		Where("state = ? AND model IN (?) AND available_at <= ?", string(lab.StateReceived), bun.List(models), now.UnixMicro()).
		Order("urgency", "received_at", "id").Limit(1), s.dialect.skipLocked).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	q := tx.NewSelect().TableExpr("field_image AS f").
		ColumnExpr("f.id, f.request_id, f.facility_id, f.bytes, f.wrapped_key, f.model, f.lost_leases, f.received_at").
		ColumnExpr("s.assay, s.pixel_size_um, s.trace_id, s.specimen_mac, p.wrapped_key AS specimen_key").
		Join("JOIN image_set AS s ON s.request_id = f.request_id").
		Join("JOIN specimen AS p ON p.facility_id = s.facility_id AND p.specimen_mac = s.specimen_mac")
	if first.LostLeases > 0 {
		q = q.Where("f.id = ?", first.ID)
	} else {
		q = q.Where("f.state = ? AND f.model = ? AND f.available_at <= ? AND f.lost_leases = 0",
			string(lab.StateReceived), first.Model, now.UnixMicro()).Order("f.urgency", "f.received_at", "f.id").Limit(int64(limit))
	}
	var images []claimable
	err = locked(q, s.dialect.skipLocked).Scan(ctx, &images)
	return images, err
}

func newClaim(images []claimable) *detect.Claim {
	c := &detect.Claim{Token: lab.NewClaimToken(), Model: images[0].Model}
	for _, im := range images {
		c.Images = append(c.Images, detect.ClaimedImage{
			ID: lab.FieldImageID(im.ID), Request: lab.RequestID(im.RequestID), Facility: lab.FacilityID(im.FacilityID),
			Assay: im.Assay, Bytes: im.Bytes, PixelSizeUM: im.PixelSizeUM, SpecimenMAC: im.SpecimenMAC, SpecimenKey: im.SpecimenKey,
			WrappedKey: im.WrappedKey, LostLeases: im.LostLeases, TraceID: im.TraceID, WaitingSince: time.UnixMicro(im.ReceivedAt).UTC(),
		})
	}
	return c
}

// Renew implements detect.Store.
func (s *Store) Renew(ctx context.Context, token lab.ClaimToken, lease time.Duration) error {
	const op = "store.Renew"
	return s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		res, err := tx.NewUpdate().Model((*fieldImageRow)(nil)).Set("lease_until = ?", now.Add(lease).UnixMicro()).
			Where("claim_token = ? AND state = ?", string(token), string(lab.StateClaimed)).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(fault.E(op, fault.Conflict, errors.New("the claim is lost")), err)
		}
		return nil
	})
}

// Return implements detect.Store.
func (s *Store) Return(ctx context.Context, token lab.ClaimToken, images []lab.FieldImageID, pause time.Duration) error {
	return s.inTx(ctx, "store.Return", func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*fieldImageRow)(nil)).
			Set("state = ?", string(lab.StateReceived)).Set("claim_token = NULL").Set("claim_owner = NULL").Set("lease_until = NULL").
			Set("available_at = ?", now.Add(pause).UnixMicro()).
			Where("claim_token = ? AND state = ? AND id IN (?)", string(token), string(lab.StateClaimed), bun.List(images)).Exec(ctx)
		return err
	})
}
