package detect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/review"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// bench is a worker between fakes of its store, its blobs and one model; keys and seals are real.
type bench struct {
	t       *testing.T
	ring    *seal.Ring
	fac     *seal.Facility
	mu      sync.Mutex
	queue   []*detect.Claim
	done    map[lab.FieldImageID]detect.Outcome
	back    map[lab.FieldImageID]int
	blobs   map[string][]byte
	blobErr error
	renew   func() error
	renews  int
	predict func(ctx context.Context, encoded []byte) (lab.Detection, error)
	lost    int
	pause   time.Duration
}

type facilityKeys seal.WrappedFacility

func (k facilityKeys) FacilityKeys(context.Context, lab.FacilityID) (seal.WrappedFacility, error) {
	return seal.WrappedFacility(k), nil
}

func newBench(t *testing.T) *bench {
	t.Helper()
	path := t.TempDir() + "/root.key"
	if err := seal.CreateRoot(path); err != nil {
		t.Fatal(err)
	}
	root, err := seal.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := root.NewFacility("fac_1")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t: t, ring: seal.NewRing(root, facilityKeys(w)), done: map[lab.FieldImageID]detect.Outcome{}, back: map[lab.FieldImageID]int{},
		blobs: map[string][]byte{}, renew: func() error { return nil },
	}
	if b.fac, err = b.ring.Facility(t.Context(), "fac_1"); err != nil {
		t.Fatal(err)
	}
	b.predict = func(context.Context, []byte) (lab.Detection, error) { return found("RBC", 0.9), nil }
	return b
}

func found(label string, score float64) lab.Detection {
	return lab.Detection{Model: "m", Digest: "d", Findings: []lab.Finding{{Label: label, Confidence: score}}}
}

// image seals an image and gives it as a claim carries it.
func (b *bench) image(id lab.FieldImageID, plain string) detect.ClaimedImage {
	b.t.Helper()
	key := seal.NewImageKey()
	var blob bytes.Buffer
	w, err := key.SealingWriter(&blob, "fac_1", id)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = io.WriteString(w, plain)
	specimen, wrapped, err2 := b.fac.NewSpecimenKey([]byte("mac"))
	wrappedKey, err3 := specimen.WrapImageKey(id, key)
	if err := errors.Join(err, err2, err3, w.Close()); err != nil {
		b.t.Fatal(err)
	}
	b.blobs[string(id)] = blob.Bytes()
	return detect.ClaimedImage{
		ID: id, Facility: "fac_1", Assay: "blood-smear", Bytes: int64(len(plain)), SpecimenMAC: []byte("mac"), SpecimenKey: wrapped, WrappedKey: wrappedKey,
	}
}

func (b *bench) claim(images ...detect.ClaimedImage) {
	b.queue = append(b.queue, &detect.Claim{Token: lab.NewClaimToken(), Model: "m", Images: images})
}

func (b *bench) Claim(context.Context, []string, int, string, time.Duration) (*detect.Claim, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil, nil //nolint:nilnil // nothing waits
	}
	c := b.queue[0]
	b.queue = b.queue[1:]
	return c, nil
}

func (b *bench) Renew(context.Context, lab.ClaimToken, time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.renews++
	return b.renew()
}

func (b *bench) Complete(_ context.Context, _ lab.ClaimToken, outcomes []detect.Outcome) (*detect.Completion, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range outcomes {
		b.done[o.Image] = o
	}
	return &detect.Completion{Applied: len(outcomes)}, nil
}

func (b *bench) Return(_ context.Context, _ lab.ClaimToken, images []lab.FieldImageID, pause time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pause = pause
	for _, id := range images {
		b.back[id]++
	}
	return nil
}

func (b *bench) Open(_ context.Context, key string) (io.ReadCloser, error) {
	if b.blobErr != nil {
		return nil, b.blobErr
	}
	blob, ok := b.blobs[key]
	if !ok {
		return nil, fault.E("blobs", fault.NotFound, errors.New("no such object"))
	}
	return io.NopCloser(bytes.NewReader(blob)), nil
}

func (b *bench) Names() []string { return []string{"m"} }

func (b *bench) Predictor(string) (detect.Predictor, error) { return b, nil }

func (b *bench) Predict(ctx context.Context, encoded []byte, _ float64, _ func(string) float64) (lab.Detection, error) {
	return b.predict(ctx, encoded)
}

func (b *bench) Get(string) (*lab.Assay, error) {
	return &lab.Assay{
		Thresholds: []lab.Threshold{{Label: "RBC", Discard: 0.3, Release: 0.5}},
		Review:     lab.ReviewPolicy{Mode: "unsure", ReviewEmpty: true},
	}, nil
}

func (b *bench) Detected(string, time.Duration)           {}
func (b *bench) Completed(string, lab.ImageState, string) {}
func (b *bench) Released(time.Duration)                   {}
func (b *bench) LeaseLost(_ string, n int)                { b.mu.Lock(); defer b.mu.Unlock(); b.lost += n }

// run works until the queue is empty and every claim is finished.
func (b *bench) run(ctx context.Context) {
	w := detect.NewWorker(b, b, b.ring, b, b, review.Policy{}, b, slog.New(slog.DiscardHandler), detect.Options{
		Parallel: 1, Batch: 4, Lease: 30 * time.Second, Idle: time.Second, Pause: 5 * time.Second, Owner: "test", MaxLostLeases: 2,
		BlobKey: func(id lab.FieldImageID) string { return string(id) },
	})
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })
	synctest.Wait() // idle, or inside a prediction that waits for time
	<-time.After(10 * time.Minute)
	cancel()
	wg.Wait()
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	kind := func(k fault.Kind) func(context.Context, []byte) (lab.Detection, error) {
		return func(context.Context, []byte) (lab.Detection, error) {
			return lab.Detection{}, fault.E("predict", k, errors.New("x"))
		}
	}
	answer := func(d lab.Detection) func(context.Context, []byte) (lab.Detection, error) {
		return func(_ context.Context, encoded []byte) (lab.Detection, error) {
			if string(encoded) != "pixels" {
				return lab.Detection{}, errors.New("the model got other bytes than were sealed")
			}
			return d, nil
		}
	}
	for _, tt := range []struct {
		name    string
		predict func(context.Context, []byte) (lab.Detection, error)
		damage  func(b *bench, im *detect.ClaimedImage)
		state   lab.ImageState // "": goes back to the queue
		reason  string
	}{
		{"confident", answer(found("RBC", 0.9)), nil, lab.StateDecided, ""},
		{"unsure", answer(found("RBC", 0.4)), nil, lab.StateInReview, "unsure"},
		{"nothing found", answer(lab.Detection{}), nil, lab.StateInReview, "no_findings"},
		{"model fails", kind(fault.Internal), nil, lab.StateInReview, "model_failed"},
		{"unreadable", kind(fault.Invalid), nil, lab.StateRejected, "unreadable"},
		{"too many pixels", kind(fault.TooLarge), nil, lab.StateRejected, "too_many_pixels"},
		{"version taken out of use", kind(fault.Unavailable), nil, "", ""},
		{"blob missing", nil, func(b *bench, im *detect.ClaimedImage) { delete(b.blobs, string(im.ID)) }, lab.StateRejected, "corrupt"},
		{"blob tampered with", nil, func(b *bench, im *detect.ClaimedImage) { b.blobs[string(im.ID)][50] ^= 1 }, lab.StateRejected, "corrupt"},
		{"key of another image", nil, func(b *bench, im *detect.ClaimedImage) { im.WrappedKey = b.image("fld_x", "other").WrappedKey }, lab.StateRejected, "corrupt"},
		{"blob store down", nil, func(b *bench, _ *detect.ClaimedImage) {
			b.blobErr = fault.E("blobs", fault.Unavailable, errors.New("down"))
		}, "", ""},
		{"took its process down before", nil, func(_ *bench, im *detect.ClaimedImage) { im.LostLeases = 3 }, lab.StateInReview, "model_failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				if tt.predict != nil {
					b.predict = tt.predict
				}
				im := b.image("fld_1", "pixels")
				if tt.damage != nil {
					tt.damage(b, &im)
				}
				b.claim(im)
				b.run(t.Context())
				o, ok := b.done["fld_1"]
				if tt.state == "" {
					if ok || b.back["fld_1"] != 1 || b.pause != 5*time.Second {
						t.Errorf("got outcome %+v and %d returns for %v, want one for 5 s", o, b.back["fld_1"], b.pause)
					}
					return
				}
				if o.State != tt.state || string(o.Review)+string(o.Reject) != tt.reason {
					t.Errorf("got %+v, want state %s for reason %q", o, tt.state, tt.reason)
				}
				if wantFindings := tt.state == lab.StateDecided || tt.reason == "unsure" || tt.reason == "no_findings"; (o.Detection != nil) != wantFindings {
					t.Errorf("detection kept: got %v, want %v", o.Detection != nil, wantFindings)
				}
			})
		})
	}
}

// slow waits as a model that takes its time, and gives up with its context.
func slow(d time.Duration) func(context.Context, []byte) (lab.Detection, error) {
	return func(ctx context.Context, _ []byte) (lab.Detection, error) {
		select {
		case <-time.After(d):
			return found("RBC", 0.9), nil
		case <-ctx.Done():
			return lab.Detection{}, fault.E("predict", fault.Unavailable, ctx.Err())
		}
	}
}

func TestHeartbeatKeepsASlowClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.predict = slow(95 * time.Second) // more than three leases
		b.claim(b.image("fld_1", "pixels"))
		b.run(t.Context())
		if b.renews != 9 || b.done["fld_1"].State != lab.StateDecided {
			t.Errorf("got %d renewals and outcome %+v, want 9 and decided", b.renews, b.done["fld_1"])
		}
	})
}

func TestLostClaimIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.predict = slow(time.Minute)
		b.renew = func() error { return fault.E("store", fault.Conflict, errors.New("lost")) }
		b.claim(b.image("fld_1", "pixels"), b.image("fld_2", "pixels"))
		b.run(t.Context())
		if len(b.done) != 0 || b.lost != 2 {
			t.Errorf("got outcomes %v and %d images lost, want none and 2", b.done, b.lost)
		}
	})
}

func TestFailedHeartbeatIsNotALostClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.predict = slow(25 * time.Second)
		b.renew = func() error { return fault.E("store", fault.Unavailable, errors.New("database is restarting")) }
		b.claim(b.image("fld_1", "pixels"))
		b.run(t.Context())
		if b.done["fld_1"].State != lab.StateDecided {
			t.Errorf("got %+v, want decided: the store's fence says whether the claim holds", b.done["fld_1"])
		}
	})
}

func TestStoppingReturnsWhatIsNotExamined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		b.predict = func(c context.Context, _ []byte) (lab.Detection, error) {
			if calls++; calls == 2 {
				cancel() // SIGTERM during the second image
			}
			return slow(time.Second)(c, nil)
		}
		b.claim(b.image("fld_1", "pixels"), b.image("fld_2", "pixels"), b.image("fld_3", "pixels"))
		b.run(ctx)
		if len(b.done) != 1 || b.done["fld_1"].State != lab.StateDecided || b.back["fld_2"] != 1 || b.back["fld_3"] != 1 {
			t.Errorf("got outcomes %v and returns %v, want the first kept and the others returned", b.done, b.back)
		}
	})
}
