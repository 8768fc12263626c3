package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/audit"
	"kenkyo/internal/trust/identity"
	"kenkyo/internal/trust/seal"
)

var (
	_ identity.Store    = (*Store)(nil)
	_ seal.FacilityKeys = (*Store)(nil)
)

// Facility is one row of the list of facilities.
type Facility struct {
	ID   lab.FacilityID
	Name string
}

// Device is one row of the list of devices.
type Device struct {
	lab.Device
	EnrolledAt time.Time
	RevokedAt  time.Time // zero: not revoked
}

// CreateFacility stores a facility with its wrapped keys and its release counter. fault.Conflict when the name is taken.
func (s *Store) CreateFacility(ctx context.Context, id lab.FacilityID, name string, keys seal.WrappedFacility) error {
	const op = "store.CreateFacility"
	return s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		row := &facilityRow{ID: string(id), Name: name, WrappedKeyset: keys.Keyset, WrappedIndex: keys.IndexKey, CreatedAt: now.UnixMicro()}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&counterRow{FacilityID: string(id)}).Exec(ctx); err != nil {
			return err
		}
		return record(ctx, tx, audit.Event{At: now, Facility: id, Actor: "operator", Action: audit.FacilityCreated, Object: string(id)})
	})
}

// Facilities lists all facilities by name.
func (s *Store) Facilities(ctx context.Context) ([]Facility, error) {
	var rows []facilityRow
	if err := s.read.NewSelect().Model(&rows).Column("id", "name").Order("name").Scan(ctx); err != nil {
		return nil, s.wrap("store.Facilities", err)
	}
	out := make([]Facility, len(rows))
	for i, r := range rows {
		out[i] = Facility{ID: lab.FacilityID(r.ID), Name: r.Name}
	}
	return out, nil
}

// FacilityKeys implements seal.FacilityKeys.
func (s *Store) FacilityKeys(ctx context.Context, id lab.FacilityID) (seal.WrappedFacility, error) {
	var row facilityRow
	err := s.read.NewSelect().Model(&row).Column("wrapped_keyset", "wrapped_index").Where("id = ?", string(id)).Scan(ctx)
	if err != nil {
		return seal.WrappedFacility{}, s.wrap("store.FacilityKeys", err)
	}
	return seal.WrappedFacility{Keyset: row.WrappedKeyset, IndexKey: row.WrappedIndex}, nil
}

// Invite implements identity.Store.
func (s *Store) Invite(ctx context.Context, inv identity.Invitation) error {
	const op = "store.Invite"
	return s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		known, err := tx.NewSelect().Model((*facilityRow)(nil)).Where("id = ?", string(inv.Facility)).Exists(ctx)
		if err != nil {
			return err
		}
		if !known {
			return fault.E(op, fault.NotFound, errors.New("no such facility"))
		}
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		row := &invitationRow{
			CodeHash: inv.CodeHash, FacilityID: string(inv.Facility), DeviceName: inv.DeviceName, Assay: inv.Assay,
			IsDesignated: inv.IsDesignated, ExpiresAt: inv.ExpiresAt.UnixMicro(),
		}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		return record(ctx, tx, audit.Event{At: now, Facility: inv.Facility, Actor: "operator", Action: audit.DeviceInvited, Object: string(inv.Facility)})
	})
}

// Enroll implements identity.Store.
func (s *Store) Enroll(ctx context.Context, codeHash []byte, id lab.DeviceID, name string, tokenHash []byte, now time.Time) (*lab.Device, error) {
	const op = "store.Enroll"
	var dev *lab.Device
	err := s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		var inv invitationRow
		if err := tx.NewSelect().Model(&inv).Where("code_hash = ?", codeHash).Scan(ctx); err != nil {
			return err
		}
		used, err := tx.NewUpdate().Model((*invitationRow)(nil)).Set("used_at = ?", now.UnixMicro()).
			Where("code_hash = ? AND used_at IS NULL AND expires_at > ?", codeHash, now.UnixMicro()).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := used.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, sql.ErrNoRows)
		}
		if name == "" {
			name = inv.DeviceName
		}
		row := &deviceRow{
			ID: string(id), FacilityID: inv.FacilityID, Name: name, Assay: inv.Assay, IsDesignated: inv.IsDesignated,
			TokenHash: tokenHash, EnrolledAt: now.UnixMicro(),
		}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		dev = row.device()
		return record(ctx, tx, audit.Event{
			At: now, Facility: dev.Facility, Actor: "device:" + string(id), Action: audit.DeviceEnrolled, Object: string(id),
		})
	})
	return dev, err
}

// DeviceByToken implements identity.Store.
func (s *Store) DeviceByToken(ctx context.Context, tokenHash []byte) (*lab.Device, error) {
	var row deviceRow
	err := s.read.NewSelect().Model(&row).Where("token_hash = ? AND revoked_at IS NULL", tokenHash).Scan(ctx)
	if err != nil {
		return nil, s.wrap("store.DeviceByToken", err)
	}
	return row.device(), nil
}

// Devices lists all devices, oldest enrolment first.
func (s *Store) Devices(ctx context.Context) ([]Device, error) {
	var rows []deviceRow
	if err := s.read.NewSelect().Model(&rows).Order("enrolled_at", "id").Scan(ctx); err != nil {
		return nil, s.wrap("store.Devices", err)
	}
	out := make([]Device, len(rows))
	for i := range rows {
		out[i] = Device{Device: *rows[i].device(), EnrolledAt: time.UnixMicro(rows[i].EnrolledAt).UTC(), RevokedAt: fromMicros(rows[i].RevokedAt)}
	}
	return out, nil
}

// Revoke implements identity.Store.
func (s *Store) Revoke(ctx context.Context, id lab.DeviceID, now time.Time) error {
	const op = "store.Revoke"
	return s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		var row deviceRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", string(id)).Scan(ctx); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return fault.E(op, fault.NotFound, fmt.Errorf("no device %s", id))
			}
			return err
		}
		if row.RevokedAt.Valid {
			return nil
		}
		if _, err := tx.NewUpdate().Model(&row).Set("revoked_at = ?", now.UnixMicro()).WherePK().Exec(ctx); err != nil {
			return err
		}
		return record(ctx, tx, audit.Event{
			At: now, Facility: lab.FacilityID(row.FacilityID), Actor: "operator", Action: audit.DeviceRevoked, Object: string(id),
		})
	})
}

func (r *deviceRow) device() *lab.Device {
	return &lab.Device{
		ID: lab.DeviceID(r.ID), Facility: lab.FacilityID(r.FacilityID), Name: r.Name, Assay: r.Assay, IsDesignated: r.IsDesignated,
	}
}
