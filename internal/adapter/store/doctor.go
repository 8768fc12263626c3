package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// check is one rule that must hold on stored data: a query that gives the identifiers of the records that break it.
type check struct {
	invariant int
	rule      string
	query     string
}

// checks are the invariants of docs/ARCHITECTURE.md, as far as rows can tell.
var checks = []check{
	{1, "every accepted request has its audit event", `
		SELECT s.request_id FROM image_set s WHERE NOT EXISTS
		(SELECT 1 FROM audit_event a WHERE a.object = s.request_id AND a.action = 'request.accepted')`},
	{1, "every request has its images", `
		SELECT s.request_id FROM image_set s WHERE NOT EXISTS (SELECT 1 FROM field_image f WHERE f.request_id = s.request_id)`},
	{2, "every image is in a known state", `
		SELECT id FROM field_image WHERE state NOT IN
		('received', 'claimed', 'detected', 'in_review', 'decided', 'released', 'rejected', 'erased')`},
	{2, "claimed images, and only they, have a claim", `
		SELECT id FROM field_image WHERE (state = 'claimed') <> (claim_token IS NOT NULL) OR (state = 'claimed') <> (lease_until IS NOT NULL)`},
	{2, "rejected images have a reason", `SELECT id FROM field_image WHERE (state = 'rejected') <> (reject_reason <> '')`},
	{2, "images in review have a reason", `SELECT id FROM field_image WHERE state = 'in_review' AND review_reason = ''`},
	{2, "settled images have their time", `
		SELECT id FROM field_image WHERE (state IN ('decided', 'released', 'rejected')) <> (settled_at IS NOT NULL)`},
	{2, "requests count their open images rightly", `
		SELECT s.request_id FROM image_set s WHERE s.open_images <>
		(SELECT COUNT(*) FROM field_image f WHERE f.request_id = s.request_id AND f.state NOT IN ('decided', 'released', 'rejected', 'erased'))`},
	{2, "settled requests, and only they, have a report", `
		SELECT s.request_id FROM image_set s WHERE (s.open_images = 0) <>
		EXISTS (SELECT 1 FROM report r WHERE r.request_id = s.request_id)`},
	{2, "no image of a reported request is left behind", `
		SELECT f.id FROM field_image f JOIN report r ON r.request_id = f.request_id WHERE f.state NOT IN ('released', 'rejected', 'erased')`},
	{2, "released images have a report", `
		SELECT f.id FROM field_image f WHERE f.state = 'released' AND NOT EXISTS (SELECT 1 FROM report r WHERE r.request_id = f.request_id)`},
	{3, "no submission is stored twice", `
		SELECT MIN(request_id) FROM image_set WHERE identity_mac IS NOT NULL GROUP BY facility_id, identity_mac HAVING COUNT(*) > 1`},
	{4, "release numbers have no gap and end at the counter", `
		SELECT c.facility_id FROM release_counter c WHERE c.sequence <>
		(SELECT COUNT(*) FROM report r WHERE r.facility_id = c.facility_id AND r.sequence BETWEEN 1 AND c.sequence)
		OR c.sequence <> (SELECT COUNT(*) FROM report r WHERE r.facility_id = c.facility_id)`},
	{4, "times of release follow release numbers", `
		SELECT r.request_id FROM report r JOIN report n ON n.facility_id = r.facility_id AND n.sequence = r.sequence + 1
		WHERE n.released_at < r.released_at`},
	{4, "no report is released before it was decided", `SELECT request_id FROM report WHERE released_at < classified_at`},
	{4, "versions of a report are consecutive", `
		SELECT request_id FROM report GROUP BY request_id HAVING MIN(version) <> 1 OR MAX(version) <> COUNT(*)`},
	{7, "every report has its audit event", `
		SELECT r.request_id FROM report r WHERE NOT EXISTS
		(SELECT 1 FROM audit_event a WHERE a.object = r.request_id AND a.action = 'report.released')`},
	{9, "images decided by a model have a detection", `
		SELECT f.id FROM field_image f WHERE f.state IN ('decided', 'released')
		AND NOT EXISTS (SELECT 1 FROM detection d WHERE d.field_image_id = f.id)`},
	{9, "detections name model version, preprocessing, thresholds and runtime", `
		SELECT field_image_id FROM detection WHERE LENGTH(model_digest) <> 64 OR model = ''
		OR lineage NOT LIKE '%"preprocessing":"_%' OR lineage NOT LIKE '%"runtime":"_%' OR lineage NOT LIKE '%"thresholds":{%'`},
}

// Violation is one record that breaks a rule.
type Violation struct {
	Invariant int    // number in docs/ARCHITECTURE.md, Invariants
	Rule      string // what must hold
	Object    string // identifier of the record
}

// CheckRows holds all rows against the invariants, in one snapshot, and gives at most limit violations a rule.
func (s *Store) CheckRows(ctx context.Context, limit int) ([]Violation, error) {
	const op = "store.CheckRows"
	var out []Violation
	err := s.read.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		out = out[:0]
		for _, c := range checks {
			var ids []string
			if err := tx.NewRaw(c.query+fmt.Sprintf(" LIMIT %d", limit)).Scan(ctx, &ids); err != nil {
				return fmt.Errorf("%s: %w", c.rule, err)
			}
			for _, id := range ids {
				out = append(out, Violation{Invariant: c.invariant, Rule: c.rule, Object: id})
			}
		}
		return nil
	})
	return out, s.wrap(op, err)
}

// StoredBlob is what the rows say of one sealed image.
type StoredBlob struct {
	ID             lab.FieldImageID
	Facility       lab.FacilityID
	State          lab.ImageState
	Reject         lab.RejectReason
	SHA256         string
	Bytes          int64
	WrappedKey     []byte
	SpecimenMAC    []byte
	SpecimenKey    []byte
	SpecimenSealed []byte
}

// WalkBlobs calls fn for every image that should have a blob, in the order of their identifiers.
func (s *Store) WalkBlobs(ctx context.Context, fn func(StoredBlob) error) error {
	const op, page = "store.WalkBlobs", 500
	after := ""
	for {
		var rows []struct {
			fieldImageRow  `bun:",extend"`
			SpecimenMAC    []byte `bun:"specimen_mac"`
			SpecimenKey    []byte
			SpecimenSealed []byte
		}
		err := s.read.NewSelect().TableExpr("field_image AS f").ColumnExpr("f.*").
			ColumnExpr("s.specimen_mac, p.wrapped_key AS specimen_key, p.specimen_sealed").
			Join("JOIN image_set AS s ON s.request_id = f.request_id").
			Join("JOIN specimen AS p ON p.facility_id = s.facility_id AND p.specimen_mac = s.specimen_mac").
			Where("f.id > ? AND f.state <> ?", after, string(lab.StateErased)).Order("f.id").Limit(page).Scan(ctx, &rows)
		if err != nil {
			return s.wrap(op, err)
		}
		for i := range rows {
			r := &rows[i]
			err := fn(StoredBlob{
				ID: lab.FieldImageID(r.ID), Facility: lab.FacilityID(r.FacilityID), State: lab.ImageState(r.State),
				Reject: lab.RejectReason(r.RejectReason), SHA256: r.SHA256, Bytes: r.Bytes, WrappedKey: r.WrappedKey,
				SpecimenMAC: r.SpecimenMAC, SpecimenKey: r.SpecimenKey, SpecimenSealed: r.SpecimenSealed,
			})
			if err != nil {
				return fault.E(op, fault.Internal, err)
			}
		}
		if len(rows) < page {
			return nil
		}
		after = rows[len(rows)-1].ID
	}
}

// Depth is how many images of a model stand in a state that is not final.
type Depth struct {
	Model  string
	State  lab.ImageState
	Images int
	Oldest time.Duration
}

// Depths reads the queue.
func (s *Store) Depths(ctx context.Context) ([]Depth, error) {
	const op = "store.Depths"
	now, err := s.now(ctx, s.read)
	if err != nil {
		return nil, s.wrap(op, err)
	}
	var rows []struct {
		Model  string
		State  string
		Images int
		Oldest int64
	}
	err = s.read.NewRaw(`SELECT model, state, COUNT(*) AS images, MIN(received_at) AS oldest FROM field_image
		WHERE state IN ('received', 'claimed', 'detected', 'in_review', 'decided') GROUP BY model, state ORDER BY model, state`).Scan(ctx, &rows)
	if err != nil {
		return nil, s.wrap(op, err)
	}
	out := make([]Depth, len(rows))
	for i, r := range rows {
		out[i] = Depth{Model: r.Model, State: lab.ImageState(r.State), Images: r.Images, Oldest: now.Sub(time.UnixMicro(r.Oldest))}
	}
	return out, nil
}
