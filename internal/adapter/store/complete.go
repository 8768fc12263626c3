package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/audit"
)

// Complete implements detect.Store.
func (s *Store) Complete(ctx context.Context, token lab.ClaimToken, outcomes []detect.Outcome) (*detect.Completion, error) {
	const op = "store.Complete"
	for _, o := range outcomes {
		if o.State != lab.StateDecided && o.State != lab.StateInReview && o.State != lab.StateRejected {
			return nil, fault.E(op, fault.Conflict, fmt.Errorf("detection cannot end in state %q", o.State))
		}
	}
	var done *detect.Completion
	err := s.inTx(ctx, op, func(ctx context.Context, tx bun.Tx) error {
		done = &detect.Completion{}
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		settled := make(map[string]int) // request → images settled here
		for _, o := range outcomes {
			request, ok, err := applyOutcome(ctx, tx, token, o, now)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			done.Applied++
			if o.State.IsSettled() {
				settled[request]++
			}
		}
		ready, err := settle(ctx, tx, settled)
		if err != nil {
			return err
		}
		for _, set := range ready {
			r, err := s.release(ctx, tx, set, now)
			if err != nil {
				return err
			}
			done.Released = append(done.Released, *r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// applyOutcome moves one image under its fence. false when the claim no longer holds it.
func applyOutcome(ctx context.Context, tx bun.Tx, token lab.ClaimToken, o detect.Outcome, now time.Time) (request string, ok bool, err error) {
	q := tx.NewUpdate().Model((*fieldImageRow)(nil)).
		Set("state = ?", string(o.State)).Set("review_reason = ?", string(o.Review)).Set("reject_reason = ?", string(o.Reject)).
		Set("claim_token = NULL").Set("claim_owner = NULL").Set("lease_until = NULL").
		Where("id = ? AND claim_token = ? AND state = ?", string(o.Image), string(token), string(lab.StateClaimed))
	if o.State.IsSettled() {
		q = q.Set("settled_at = ?", now.UnixMicro())
	}
	res, err := q.Exec(ctx)
	if err != nil {
		return "", false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return "", false, err
	}
	if err := tx.NewRaw("SELECT request_id FROM field_image WHERE id = ?", string(o.Image)).Scan(ctx, &request); err != nil {
		return "", false, err
	}
	event := audit.Event{At: now, Facility: o.Facility, Actor: "system", Object: string(o.Image), TraceID: o.TraceID}
	if o.Detection != nil {
		row, err := newDetectionRow(o, now)
		if err != nil {
			return "", false, err
		}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return "", false, err
		}
		event.Actor = o.Detection.ClassifiedBy()
	}
	event.Action, event.Detail = audit.ImageDetected, fmt.Sprintf(`{"state":%q,"reason":%q}`, o.State, string(o.Review)+string(o.Reject))
	if o.State == lab.StateRejected {
		event.Action = audit.ImageRejected
		// The sender may send the same again: what was stored of it cannot answer.
		_, err := tx.NewUpdate().Model((*imageSetRow)(nil)).Set("identity_mac = NULL").Where("request_id = ?", request).Exec(ctx)
		if err != nil {
			return "", false, err
		}
	}
	return request, true, record(ctx, tx, event)
}

func newDetectionRow(o detect.Outcome, now time.Time) (*detectionRow, error) {
	findings := o.Detection.Findings
	if findings == nil {
		findings = []lab.Finding{}
	}
	f, err := json.Marshal(findings)
	if err != nil {
		return nil, err
	}
	l, err := json.Marshal(o.Detection.Lineage)
	if err != nil {
		return nil, err
	}
	return &detectionRow{
		FieldImageID: string(o.Image), Model: o.Detection.Model, ModelDigest: string(o.Detection.Digest),
		Findings: string(f), Lineage: string(l), DetectedAt: now.UnixMicro(),
	}, nil
}

// settle counts settled images off their sets and gives the sets that have none left, in the order in which their facilities'
// counters are to be locked.
func settle(ctx context.Context, tx bun.Tx, settled map[string]int) ([]imageSetRow, error) {
	requests := make([]string, 0, len(settled))
	for r := range settled {
		requests = append(requests, r)
	}
	slices.Sort(requests)
	var ready []imageSetRow
	for _, r := range requests {
		_, err := tx.NewUpdate().Model((*imageSetRow)(nil)).Set("open_images = open_images - ?", settled[r]).
			Where("request_id = ?", r).Exec(ctx)
		if err != nil {
			return nil, err
		}
		var set imageSetRow
		if err := tx.NewSelect().Model(&set).Where("request_id = ?", r).Scan(ctx); err != nil {
			return nil, err
		}
		if set.OpenImages == 0 {
			ready = append(ready, set)
		}
	}
	slices.SortStableFunc(ready, func(a, b imageSetRow) int { return cmp.Compare(a.FacilityID, b.FacilityID) })
	return ready, nil
}

// release gives the request's report its number and makes it visible. The facility's counter row stays locked until the
// transaction ends, so numbers follow commits and none is missing.
func (s *Store) release(ctx context.Context, tx bun.Tx, set imageSetRow, now time.Time) (*detect.ReleasedReport, error) {
	images, err := settledImages(ctx, tx, set.RequestID)
	if err != nil {
		return nil, err
	}
	rep := result.Compose(lab.RequestID(set.RequestID), images)
	var counter counterRow
	err = locked(tx.NewSelect().Model(&counter).Where("facility_id = ?", set.FacilityID), s.dialect.forUpdate).Scan(ctx)
	if err != nil {
		return nil, err
	}
	counter.Sequence++
	counter.ReleasedAt = max(now.UnixMicro(), counter.ReleasedAt, rep.ClassifiedAt.UnixMicro())
	if _, err := tx.NewUpdate().Model(&counter).WherePK().Exec(ctx); err != nil {
		return nil, err
	}
	body, err := json.Marshal(reportBody{Classifications: rep.Classifications, Rejected: rep.Rejected})
	if err != nil {
		return nil, err
	}
	row := &reportRow{
		FacilityID: set.FacilityID, Sequence: counter.Sequence, RequestID: set.RequestID, DeviceID: set.DeviceID,
		Version: rep.Version, Status: string(rep.Status), Body: string(body), ClassifiedBy: rep.ClassifiedBy,
		ClassifiedAt: rep.ClassifiedAt.UnixMicro(), ReleasedAt: counter.ReleasedAt,
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return nil, err
	}
	_, err = tx.NewUpdate().Model((*fieldImageRow)(nil)).Set("state = ?", string(lab.StateReleased)).
		Where("request_id = ? AND state = ?", set.RequestID, string(lab.StateDecided)).Exec(ctx)
	if err != nil {
		return nil, err
	}
	err = record(ctx, tx, audit.Event{
		At: now, Facility: lab.FacilityID(set.FacilityID), Actor: rep.ClassifiedBy, Action: audit.ReportReleased, Object: set.RequestID,
		Detail: fmt.Sprintf(`{"sequence":%d,"version":%d,"status":%q}`, row.Sequence, row.Version, row.Status), TraceID: set.TraceID,
	})
	return &detect.ReleasedReport{
		Facility: lab.FacilityID(set.FacilityID), Request: lab.RequestID(set.RequestID), Sequence: row.Sequence,
		Waited: time.Duration(counter.ReleasedAt-set.ReceivedAt) * time.Microsecond,
	}, err
}

// reportBody is the JSON of report.body.
type reportBody struct {
	Classifications []lab.Classification `json:"classifications"`
	Rejected        []lab.RejectedImage  `json:"rejected,omitempty"`
}

// settledRow is one image of a request with its detection, if any.
type settledRow struct {
	fieldImageRow `bun:",extend"`
	Detection     detectionColumns `bun:"embed:d_"`
}

// detectionColumns are the columns of a left-joined detection.
type detectionColumns struct {
	Model       *string
	ModelDigest *string
	Findings    *string
	Lineage     *string
	DetectedAt  sql.NullInt64
}

func (d *detectionColumns) detection() (*lab.Detection, error) {
	if d.Model == nil || d.ModelDigest == nil || d.Findings == nil || d.Lineage == nil {
		return nil, nil //nolint:nilnil // no detection is no error
	}
	det := &lab.Detection{Model: *d.Model, Digest: lab.ModelDigest(*d.ModelDigest)}
	err := errors.Join(json.Unmarshal([]byte(*d.Findings), &det.Findings), json.Unmarshal([]byte(*d.Lineage), &det.Lineage))
	return det, err
}

// imagesOf gives the images of a request in their order.
func imagesOf(ctx context.Context, db bun.IDB, request string) ([]settledRow, error) {
	var rows []settledRow
	err := db.NewSelect().TableExpr("field_image AS f").ColumnExpr("f.*").
		ColumnExpr("d.model AS d_model, d.model_digest AS d_model_digest, d.findings AS d_findings, d.lineage AS d_lineage, d.detected_at AS d_detected_at").
		Join("LEFT JOIN detection AS d ON d.field_image_id = f.id").
		Where("f.request_id = ?", request).Order("f.ordinal").Scan(ctx, &rows)
	return rows, err
}

func settledImages(ctx context.Context, tx bun.Tx, request string) ([]result.Settled, error) {
	rows, err := imagesOf(ctx, tx, request)
	if err != nil {
		return nil, err
	}
	out := make([]result.Settled, len(rows))
	for i := range rows {
		r := &rows[i]
		det, err := r.Detection.detection()
		if err != nil {
			return nil, err
		}
		out[i] = result.Settled{
			ImageID: lab.ImageID(r.ImageID), State: lab.ImageState(r.State), Reject: lab.RejectReason(r.RejectReason),
			DecidedAt: fromMicros(r.SettledAt), Detection: det,
		}
	}
	return out, nil
}
