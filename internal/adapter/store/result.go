package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/clinic/result"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/audit"
)

var (
	_ result.Store = (*Store)(nil)
	_ result.Heads = (*Store)(nil)
)

// sealedRow is a report joined with its request's assay and its specimen's sealed identifier.
type sealedRow struct {
	reportRow      `bun:",extend"`
	Assay          string
	SpecimenMAC    []byte `bun:"specimen_mac"`
	SpecimenKey    []byte
	SpecimenSealed []byte
}

// Released implements result.Store.
func (s *Store) Released(ctx context.Context, dev lab.Device, since result.Since, limit int, traceID string) (*result.Page, error) {
	const op = "store.Released"
	page := &result.Page{}
	// Most polls find nothing new: they cost one read of one row.
	if err := head(ctx, s.read, dev.Facility, &page.Head); err != nil {
		return nil, s.wrap(op, err)
	}
	if since.At.IsZero() && page.Head <= since.Sequence {
		return page, nil
	}
	var rows []sealedRow
	err := s.read.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		rows = rows[:0]
		if err := head(ctx, tx, dev.Facility, &page.Head); err != nil {
			return err
		}
		q := tx.NewSelect().TableExpr("report AS r").ColumnExpr("r.*").
			ColumnExpr("s.assay, s.specimen_mac, p.wrapped_key AS specimen_key, p.specimen_sealed").
			Join("JOIN image_set AS s ON s.request_id = r.request_id").
			Join("JOIN specimen AS p ON p.facility_id = s.facility_id AND p.specimen_mac = s.specimen_mac").
			Where("r.facility_id = ? AND r.sequence <= ?", string(dev.Facility), page.Head).
			Order("r.sequence").Limit(int64(limit) + 1)
		if since.At.IsZero() {
			q = q.Where("r.sequence > ?", since.Sequence)
		} else {
			q = q.Where("r.released_at >= ?", since.At.UnixMicro())
		}
		if dev.IsDesignated {
			// The rest: requests that no device uploaded, and those of devices that were revoked since.
			q = q.Where("(r.device_id = ? OR r.device_id NOT IN (SELECT id FROM device WHERE facility_id = ? AND revoked_at IS NULL))",
				string(dev.ID), string(dev.Facility))
		} else {
			q = q.Where("r.device_id = ?", string(dev.ID))
		}
		return q.Scan(ctx, &rows)
	})
	if err != nil {
		return nil, s.wrap(op, err)
	}
	if page.HasMore = len(rows) > limit; page.HasMore {
		rows = rows[:limit]
	}
	for i := range rows {
		rep, err := rows[i].report()
		if err != nil {
			return nil, s.wrap(op, err)
		}
		page.Reports = append(page.Reports, result.Sealed{
			Report: *rep, Assay: rows[i].Assay, SpecimenMAC: rows[i].SpecimenMAC,
			SpecimenKey: rows[i].SpecimenKey, SpecimenSealed: rows[i].SpecimenSealed,
		})
	}
	return page, s.recordRead(ctx, dev, page, traceID)
}

func (s *Store) recordRead(ctx context.Context, dev lab.Device, page *result.Page, traceID string) error {
	if len(page.Reports) == 0 {
		return nil
	}
	return s.inTx(ctx, "store.recordRead", func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		return record(ctx, tx, audit.Event{
			At: now, Facility: dev.Facility, Actor: "device:" + string(dev.ID), Action: audit.ResultsRead, Object: string(dev.Facility),
			Detail: fmt.Sprintf(`{"first":%d,"last":%d,"reports":%d}`,
				page.Reports[0].Report.Sequence, page.Reports[len(page.Reports)-1].Report.Sequence, len(page.Reports)),
			TraceID: traceID,
		})
	})
}

func head(ctx context.Context, db bun.IDB, facility lab.FacilityID, n *int64) error {
	return db.NewRaw("SELECT sequence FROM release_counter WHERE facility_id = ?", string(facility)).Scan(ctx, n)
}

// Heads implements result.Heads.
func (s *Store) Heads(ctx context.Context) (map[lab.FacilityID]int64, error) {
	var rows []counterRow
	if err := s.read.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, s.wrap("store.Heads", err)
	}
	heads := make(map[lab.FacilityID]int64, len(rows))
	for _, r := range rows {
		heads[lab.FacilityID(r.FacilityID)] = r.Sequence
	}
	return heads, nil
}

// Request implements result.Store.
func (s *Store) Request(ctx context.Context, dev lab.Device, id lab.RequestID, traceID string) (*result.RequestView, error) {
	const op = "store.Request"
	var v *result.RequestView
	err := s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		if v, err = requestView(ctx, tx, dev, id); err != nil {
			return err
		}
		return record(ctx, tx, audit.Event{
			At: now, Facility: dev.Facility, Actor: "device:" + string(dev.ID), Action: audit.RequestRead, Object: string(id), TraceID: traceID,
		})
	})
	return v, err
}

func requestView(ctx context.Context, db bun.IDB, dev lab.Device, id lab.RequestID) (*result.RequestView, error) {
	var set imageSetRow
	err := db.NewSelect().Model(&set).
		Where("request_id = ? AND facility_id = ? AND device_id = ?", string(id), string(dev.Facility), string(dev.ID)).Scan(ctx)
	if err != nil {
		return nil, err
	}
	var specimen specimenRow
	err = db.NewSelect().Model(&specimen).Where("facility_id = ? AND specimen_mac = ?", set.FacilityID, set.SpecimenMAC).Scan(ctx)
	if err != nil {
		return nil, err
	}
	v := &result.RequestView{
		RequestID: lab.RequestID(set.RequestID), Device: lab.DeviceID(set.DeviceID), Assay: set.Assay, Condition: set.ConditionName,
		Priority: lab.Priority(set.Priority), ReceivedAt: time.UnixMicro(set.ReceivedAt).UTC(), CapturedAt: fromMicros(set.CapturedAt),
		Flags: splitFlags(set.Flags), SpecimenMAC: set.SpecimenMAC, SpecimenKey: specimen.WrappedKey, SpecimenSealed: specimen.SpecimenSealed,
	}
	images, err := imagesOf(ctx, db, set.RequestID)
	if err != nil {
		return nil, err
	}
	for i := range images {
		im := &images[i]
		det, err := im.Detection.detection()
		if err != nil {
			return nil, err
		}
		v.Images = append(v.Images, result.ImageView{
			ImageID: lab.ImageID(im.ImageID), State: lab.ImageState(im.State), Review: lab.ReviewReason(im.ReviewReason),
			Reject: lab.RejectReason(im.RejectReason), SHA256: im.SHA256, Detection: det,
			DoneAt: fromMicros(cmp.Or(im.Detection.DetectedAt, im.SettledAt)),
		})
	}
	var reports []reportRow
	if err := db.NewSelect().Model(&reports).Where("request_id = ?", set.RequestID).Order("version").Scan(ctx); err != nil {
		return nil, err
	}
	for i := range reports {
		rep, err := reports[i].report()
		if err != nil {
			return nil, err
		}
		v.Reports = append(v.Reports, *rep)
	}
	return v, nil
}

func (r *reportRow) report() (*lab.Report, error) {
	var body reportBody
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		return nil, fmt.Errorf("report %s/%d: %w", r.FacilityID, r.Sequence, err)
	}
	return &lab.Report{
		RequestID: lab.RequestID(r.RequestID), Version: r.Version, Status: lab.ReportStatus(r.Status),
		Classifications: body.Classifications, Rejected: body.Rejected, ClassifiedBy: r.ClassifiedBy,
		ClassifiedAt: time.UnixMicro(r.ClassifiedAt).UTC(), ReleasedAt: time.UnixMicro(r.ReleasedAt).UTC(), Sequence: r.Sequence,
	}, nil
}
