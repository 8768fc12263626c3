package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"kenkyo/internal/adapter/store"
	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/identity"
	"kenkyo/internal/trust/seal"
)

// Clock is a clock that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at a fixed time.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 4, 1, 9, 0, 0, 123456000, time.UTC)} }

// Now gives the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock, backwards too.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Open gives a fresh, empty database on the given clock. It closes it when the test ends.
type Open func(t *testing.T, clock *Clock) *store.Store

// Run holds a database against every rule.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, b *bench)
	}{
		{"an accepted submission is found by its identity", testAcceptAndFind},
		{"an identity is taken once", testIdentityConflict},
		{"an expired identity is given up", testIdentityExpiry},
		{"a specimen is created once", testSpecimenConflict},
		{"a failed submission leaves nothing", testAcceptIsAtomic},
		{"STAT goes first, then the oldest", testClaimOrder},
		{"a claim takes one model", testClaimModels},
		{"no image is in two claims", testClaimExclusive},
		{"a lease that ran out frees its images, one by one", testLeaseExpiry},
		{"a renewed lease holds", testRenew},
		{"a lost claim changes nothing", testFence},
		{"returned images come back after the pause", testReturn},
		{"the last image releases the report", testRelease},
		{"the designated device sees the rest", testDesignated},
		{"release numbers have no gap under concurrency", testReleaseConcurrently},
		{"times of release never go back", testReleaseClockBack},
		{"a rejected image frees the identity", testRejection},
		{"an invitation is used once", testInvitation},
		{"a revoked device is unknown", testRevocation},
		{"Japanese text and exact times survive", testText},
		{"doctor is content, and finds each kind of damage", testDoctor},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newBench(t, open))
		})
	}
}

// bench is a database with one facility and one device.
type bench struct {
	*store.Store

	t        *testing.T
	clock    *Clock
	facility lab.FacilityID
	device   lab.Device
	n        int
}

func newBench(t *testing.T, open Open) *bench {
	t.Helper()
	clock := NewClock()
	b := &bench{Store: open(t, clock), t: t, clock: clock, facility: lab.NewFacilityID()}
	b.must(b.CreateFacility(t.Context(), b.facility, "総合病院", seal.WrappedFacility{Keyset: []byte{1}, IndexKey: []byte{2}}))
	b.device = b.enrol("PC-1")
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("unexpected error: %v", err)
	}
}

// wantKind fails the test unless err is of the kind.
func (b *bench) wantKind(err error, kind fault.Kind) {
	b.t.Helper()
	if !fault.Is(err, kind) {
		b.t.Errorf("got error %v, want kind %v", err, kind)
	}
}

func (b *bench) enrol(name string) lab.Device {
	b.t.Helper()
	code, token := sum("code-"+name), sum("token-"+name)
	b.must(b.Invite(b.t.Context(), identity.Invitation{
		CodeHash: code, Facility: b.facility, DeviceName: name, ExpiresAt: b.clock.Now().Add(time.Hour),
	}))
	dev, err := b.Enroll(b.t.Context(), code, lab.NewDeviceID(), "", token, b.clock.Now())
	b.must(err)
	return *dev
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// change alters a submission before it is accepted.
type change func(*intake.Submission)

func stat(s *intake.Submission) { s.Priority = lab.PrioritySTAT }
func model(name string) change  { return func(s *intake.Submission) { s.Model = name } }
func specimenMAC(name string, n bool) change {
	return func(s *intake.Submission) { s.SpecimenMAC, s.SpecimenIsNew = sum(name), n }
}

func identityMAC(name string) change { return func(s *intake.Submission) { s.Identity = sum(name) } }

func notBefore(t time.Time) change { return func(s *intake.Submission) { s.IdentityNotBefore = t } }

// submission makes a submission of n images that differs from every other one.
func (b *bench) submission(n int, changes ...change) *intake.Submission {
	b.n++
	name := fmt.Sprintf("specimen-%d", b.n)
	s := &intake.Submission{
		RequestID: lab.NewRequestID(), Device: b.device, ReceivedAt: b.clock.Now(), SpecimenMAC: sum(name), SpecimenSealed: []byte("sealed"),
		SpecimenKey: []byte("wrapped"), SpecimenIsNew: true, Assay: "blood-smear", Model: "blood-smear", Priority: lab.PriorityRoutine,
		Identity: sum("identity-" + name), Body: sum("body-" + name), TraceID: "trace",
	}
	for i := range n {
		s.Images = append(s.Images, intake.StoredImage{
			ID: lab.NewFieldImageID(), ImageID: lab.ImageID(fmt.Sprintf("img-%03d", i+1)), SHA256: fmt.Sprintf("%064x", i), Bytes: 10,
			Format: "png", WrappedKey: []byte("key"),
		})
	}
	for _, c := range changes {
		c(s)
	}
	return s
}

func (b *bench) accept(n int, changes ...change) *intake.Submission {
	b.t.Helper()
	s := b.submission(n, changes...)
	b.must(b.Accept(b.t.Context(), s))
	return s
}

const lease = 30 * time.Second

func (b *bench) claim(limit int, models ...string) *detect.Claim {
	b.t.Helper()
	if len(models) == 0 {
		models = []string{"blood-smear"}
	}
	c, err := b.Claim(b.t.Context(), models, limit, "test", lease)
	b.must(err)
	return c
}

// decided is an outcome with one finding.
func decided(im detect.ClaimedImage) detect.Outcome {
	return detect.Outcome{Image: im.ID, State: lab.StateDecided, Facility: im.Facility, Detection: &lab.Detection{
		Model: "blood-smear", Digest: lab.ModelDigest(fmt.Sprintf("%064x", 7)),
		Findings: []lab.Finding{{Label: "RBC", Confidence: 0.9, Box: &lab.Box{X: 1, Y: 2, W: 3, H: 4}}},
		Lineage:  lab.Lineage{Preprocessing: "letterbox", Runtime: "test", Thresholds: map[string]float64{"RBC": 0.4}},
	}}
}

func outcomes(c *detect.Claim, of func(detect.ClaimedImage) detect.Outcome) []detect.Outcome {
	out := make([]detect.Outcome, len(c.Images))
	for i, im := range c.Images {
		out[i] = of(im)
	}
	return out
}

func (b *bench) complete(c *detect.Claim, of func(detect.ClaimedImage) detect.Outcome) *detect.Completion {
	b.t.Helper()
	done, err := b.Complete(b.t.Context(), c.Token, outcomes(c, of))
	b.must(err)
	return done
}

// answerAll claims and decides until nothing waits.
func (b *bench) answerAll(ctx context.Context) error {
	for {
		c, err := b.Claim(ctx, []string{"blood-smear"}, 3, "test", lease)
		if err != nil || c == nil {
			return err
		}
		if _, err := b.Complete(ctx, c.Token, outcomes(c, decided)); err != nil {
			return err
		}
	}
}
