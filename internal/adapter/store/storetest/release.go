package storetest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"kenkyo/internal/adapter/store"
	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/result"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

func (b *bench) released(since result.Since, limit int) *result.Page {
	b.t.Helper()
	p, err := b.Released(b.t.Context(), b.device, since, limit, "trace")
	b.must(err)
	return p
}

func testRelease(t *testing.T, b *bench) {
	s := b.accept(3)
	if done := b.complete(b.claim(2), decided); done.Applied != 2 || len(done.Released) != 0 {
		t.Errorf("two of three images: got %+v, want no release", done)
	}
	if p := b.released(result.Since{}, 10); len(p.Reports) != 0 || p.Head != 0 {
		t.Errorf("before the last image: got %+v", p)
	}
	b.clock.Add(time.Second)
	done := b.complete(b.claim(1), decided)
	if len(done.Released) != 1 || done.Released[0].Sequence != 1 || done.Released[0].Request != s.RequestID || done.Released[0].Waited != time.Second {
		t.Errorf("the last image: got %+v, want release 1 after 1 s", done)
	}
	p := b.released(result.Since{}, 10)
	if len(p.Reports) != 1 || p.Head != 1 || p.HasMore {
		t.Fatalf("after the release: got %+v", p)
	}
	r := p.Reports[0].Report
	if r.RequestID != s.RequestID || r.Status != lab.ReportFinal || r.Version != 1 || len(r.Classifications) != 3 || !r.ClassifiedAt.Equal(b.clock.Now()) {
		t.Errorf("report: got %+v", r)
	}
	other := b.enrol("PC-2")
	if p, err := b.Released(t.Context(), other, result.Since{}, 10, ""); err != nil || len(p.Reports) != 0 {
		t.Errorf("another device: got %+v, %v, want nothing", p, err)
	}
	_, err := b.Request(t.Context(), other, s.RequestID, "")
	b.wantKind(err, fault.NotFound)
	if p := b.released(result.Since{At: b.clock.Now()}, 10); len(p.Reports) != 1 {
		t.Errorf("since the time of release: got %d reports, want 1", len(p.Reports))
	}
	if p := b.released(result.Since{At: b.clock.Now().Add(time.Microsecond)}, 10); len(p.Reports) != 0 {
		t.Errorf("a microsecond later: got %d reports, want none", len(p.Reports))
	}
}

func testDesignated(t *testing.T, b *bench) {
	b.accept(1)
	b.must(b.answerAll(t.Context()))
	successor := b.enrol("PC-2")
	count := func() int {
		p, err := b.Released(t.Context(), successor, result.Since{}, 10, "")
		b.must(err)
		return len(p.Reports)
	}
	if n := count(); n != 0 {
		t.Errorf("an ordinary device: got %d reports of another, want none", n)
	}
	successor.IsDesignated = true
	if n := count(); n != 0 {
		t.Errorf("the designated device while the other is in use: got %d reports, want none", n)
	}
	b.must(b.Revoke(t.Context(), b.device.ID, b.clock.Now()))
	if n := count(); n != 1 {
		t.Errorf("the designated device after the other was revoked: got %d reports, want its one", n)
	}
	successor.IsDesignated = false
	if n := count(); n != 0 {
		t.Errorf("an ordinary device after the other was revoked: got %d reports, want none", n)
	}
}

func testReleaseConcurrently(t *testing.T, b *bench) {
	const requests, workers = 30, 6
	for range requests {
		b.accept(2)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			if err := b.answerAll(ctx); err != nil {
				t.Errorf("answer: %v", err)
			}
		})
	}
	// A reader beside the writers sees numbers without a gap, whatever has been committed so far.
	next := int64(0)
	for ctx.Err() == nil && next < requests {
		for _, r := range b.released(result.Since{Sequence: next}, 7).Reports {
			if r.Report.Sequence != next+1 {
				t.Errorf("after %d came %d", next, r.Report.Sequence)
			}
			next = r.Report.Sequence
		}
	}
	wg.Wait()
	found, err := b.CheckRows(t.Context(), 10)
	if err != nil || len(found) > 0 {
		t.Errorf("doctor: got %v, %v", found, err)
	}
}

func testReleaseClockBack(t *testing.T, b *bench) {
	var last time.Time
	for range 4 {
		b.accept(1)
		b.must(b.answerAll(t.Context()))
		p := b.released(result.Since{}, 100)
		at := p.Reports[len(p.Reports)-1].Report.ReleasedAt
		if at.Before(last) {
			t.Errorf("released at %v after %v", at, last)
		}
		last = at
		b.clock.Add(-10 * time.Minute)
	}
	found, err := b.CheckRows(t.Context(), 10)
	if err != nil || len(found) > 0 {
		t.Errorf("doctor: got %v, %v", found, err)
	}
}

func reject(im detect.ClaimedImage) detect.Outcome {
	return detect.Outcome{Image: im.ID, State: lab.StateRejected, Reject: lab.RejectCorrupt, Facility: im.Facility}
}

func testRejection(t *testing.T, b *bench) {
	s := b.accept(1, specimenMAC("s", true), identityMAC("i"))
	b.complete(b.claim(1), reject)
	r := b.released(result.Since{}, 10).Reports[0].Report
	if r.Status != lab.ReportCancelled || len(r.Rejected) != 1 || r.Rejected[0].Reason != lab.RejectCorrupt {
		t.Errorf("report: got %+v, want cancelled with the image", r)
	}
	_, _, err := b.FindSubmission(t.Context(), b.facility, s.Identity, time.Time{})
	b.wantKind(err, fault.NotFound)
	b.accept(1, specimenMAC("s", false), identityMAC("i"))
}

// damage runs SQL that no method of the store would.
func (b *bench) damage(query string) error {
	_, err := b.SQL().ExecContext(b.t.Context(), query)
	return err
}

// testDoctor damages one row at a time and expects the rule that it breaks.
func testDoctor(t *testing.T, b *bench) {
	for range 3 {
		b.accept(2)
		b.clock.Add(time.Second)
	}
	b.must(b.answerAll(t.Context()))
	b.accept(1)
	b.complete(b.claim(1), func(im detect.ClaimedImage) detect.Outcome {
		return detect.Outcome{Image: im.ID, State: lab.StateInReview, Review: lab.ReviewUnsure, Facility: im.Facility}
	})
	b.accept(1)
	check := func() []store.Violation {
		found, err := b.CheckRows(t.Context(), 10)
		b.must(err)
		return found
	}
	if found := check(); len(found) != 0 {
		t.Fatalf("before any damage: got %v", found)
	}
	for _, damage := range []struct {
		invariant   int
		apply, mend string
	}{
		{2, "UPDATE field_image SET state = 'lost' WHERE state = 'received'", "UPDATE field_image SET state = 'received' WHERE state = 'lost'"},
		{2, "UPDATE field_image SET claim_token = 'x' WHERE state = 'received'", "UPDATE field_image SET claim_token = NULL WHERE state = 'received'"},
		{2, "UPDATE image_set SET open_images = open_images + 1", "UPDATE image_set SET open_images = open_images - 1"},
		{2, "UPDATE field_image SET review_reason = '' WHERE state = 'in_review'", "UPDATE field_image SET review_reason = 'unsure' WHERE state = 'in_review'"},
		{4, "UPDATE release_counter SET sequence = sequence + 1", "UPDATE release_counter SET sequence = sequence - 1"},
		{4, "UPDATE report SET released_at = released_at + 60000000 WHERE sequence = 1", "UPDATE report SET released_at = released_at - 60000000 WHERE sequence = 1"},
		{4, "UPDATE report SET version = 2 WHERE sequence = 1", "UPDATE report SET version = 1 WHERE sequence = 1"},
		{7, "UPDATE audit_event SET action = 'x' WHERE action = 'report.released'", "UPDATE audit_event SET action = 'report.released' WHERE action = 'x'"},
		{9, "UPDATE detection SET lineage = '{}' ", `UPDATE detection SET lineage = '{"preprocessing":"a","runtime":"b","thresholds":{"RBC":0.4}}'`},
		{9, "UPDATE detection SET model_digest = 'short'", "UPDATE detection SET model_digest = '" + strings.Repeat("a", 64) + "'"},
	} {
		b.must(b.damage(damage.apply))
		if found := check(); !names(found, damage.invariant) {
			t.Errorf("after %q: got %v, want a violation of invariant %d", damage.apply, found, damage.invariant)
		}
		b.must(b.damage(damage.mend))
		if found := check(); len(found) != 0 {
			t.Fatalf("after %q: got %v, want none", damage.mend, found)
		}
	}
	b.must(b.damage("DELETE FROM audit_event WHERE action = 'request.accepted'"))
	if found := check(); !names(found, 1) {
		t.Errorf("without audit events: got %v, want invariant 1", found)
	}
	b.must(b.damage("DELETE FROM report WHERE sequence = 2"))
	if found := check(); !names(found, 4) || !names(found, 2) {
		t.Errorf("with a report deleted: got %v, want invariants 2 and 4", found)
	}
}

func names(found []store.Violation, invariant int) bool {
	for _, v := range found {
		if v.Invariant == invariant {
			return true
		}
	}
	return false
}
