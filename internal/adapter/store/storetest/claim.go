package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

func testClaimOrder(t *testing.T, b *bench) {
	var want []lab.FieldImageID
	for range 2 {
		want = append(want, b.accept(1).Images[0].ID)
		b.clock.Add(time.Second)
	}
	urgent := b.accept(1, stat).Images[0].ID
	want = append([]lab.FieldImageID{urgent}, want...)
	var got []lab.FieldImageID
	for _, im := range b.claim(10).Images {
		got = append(got, im.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of the claim (-want +got):\n%s", diff)
	}
}

func testClaimModels(t *testing.T, b *bench) {
	b.accept(1, model("urine-sediment"))
	b.accept(2)
	if c := b.claim(10, "gram-stain"); c != nil {
		t.Errorf("a claim of a model without images: got %+v", c)
	}
	first := b.claim(10, "blood-smear", "urine-sediment")
	second := b.claim(10, "blood-smear", "urine-sediment")
	if first.Model != "urine-sediment" || len(first.Images) != 1 || second.Model != "blood-smear" || len(second.Images) != 2 {
		t.Errorf("claims: got %s with %d, then %s with %d", first.Model, len(first.Images), second.Model, len(second.Images))
	}
	if c := b.claim(10, "blood-smear", "urine-sediment"); c != nil {
		t.Errorf("a third claim: got %+v, want none", c)
	}
}

func testClaimExclusive(t *testing.T, b *bench) {
	const images, workers = 40, 8
	for range images / 2 {
		b.accept(2)
	}
	var mu sync.Mutex
	seen := make(map[lab.FieldImageID]int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				c, err := b.Claim(t.Context(), []string{"blood-smear"}, 3, "test", lease)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if c == nil {
					return
				}
				mu.Lock()
				for _, im := range c.Images {
					seen[im.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != images {
		t.Errorf("got %d images claimed, want %d", len(seen), images)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
}

func testLeaseExpiry(t *testing.T, b *bench) {
	b.accept(3)
	b.claim(3)
	if c := b.claim(3); c != nil {
		t.Fatalf("a claim while the lease holds: got %+v", c)
	}
	b.clock.Add(lease + time.Second)
	for i := range 3 {
		c := b.claim(3)
		if c == nil || len(c.Images) != 1 || c.Images[0].LostLeases != 1 {
			t.Fatalf("claim %d after the lease ran out: got %+v, want one image with one lost lease", i, c)
		}
	}
}

func testRenew(t *testing.T, b *bench) {
	b.accept(1)
	c := b.claim(1)
	for range 3 {
		b.clock.Add(lease - time.Second)
		b.must(b.Renew(t.Context(), c.Token, lease))
	}
	if other := b.claim(1); other != nil {
		t.Errorf("a claim while the lease is renewed: got %+v", other)
	}
	b.clock.Add(lease + time.Second)
	b.claim(1)
	b.wantKind(b.Renew(t.Context(), c.Token, lease), fault.Conflict)
}

func testFence(t *testing.T, b *bench) {
	s := b.accept(1)
	slow := b.claim(1)
	b.clock.Add(lease + time.Second)
	fast := b.claim(1)
	if done := b.complete(slow, decided); done.Applied != 0 || len(done.Released) != 0 {
		t.Errorf("completing a lost claim: got %+v, want nothing applied", done)
	}
	b.must(b.Return(t.Context(), slow.Token, []lab.FieldImageID{s.Images[0].ID}, 0))
	if done := b.complete(fast, decided); done.Applied != 1 || len(done.Released) != 1 {
		t.Errorf("completing the valid claim: got %+v, want one applied and released", done)
	}
	if done := b.complete(fast, decided); done.Applied != 0 {
		t.Errorf("completing twice: got %+v, want nothing applied", done)
	}
	for _, state := range []lab.ImageState{lab.StateReceived, lab.StateClaimed, lab.StateDetected, lab.StateReleased, lab.StateErased} {
		_, err := b.Complete(t.Context(), fast.Token, []detect.Outcome{{Image: s.Images[0].ID, State: state}})
		b.wantKind(err, fault.Conflict)
	}
}

func testReturn(t *testing.T, b *bench) {
	s := b.accept(2)
	c := b.claim(2)
	b.must(b.Return(t.Context(), c.Token, []lab.FieldImageID{s.Images[0].ID}, time.Minute))
	if early := b.claim(2); early != nil {
		t.Errorf("a claim within the pause: got %+v", early)
	}
	// The other image's lease runs out meanwhile; the returned one has lost none.
	b.clock.Add(time.Minute + time.Second)
	lost := make(map[lab.FieldImageID]int)
	for c := b.claim(2); c != nil; c = b.claim(2) {
		for _, im := range c.Images {
			lost[im.ID] = im.LostLeases
		}
	}
	if want := map[lab.FieldImageID]int{s.Images[0].ID: 0, s.Images[1].ID: 1}; !cmp.Equal(want, lost) {
		t.Errorf("lost leases: got %v, want %v", lost, want)
	}
}
