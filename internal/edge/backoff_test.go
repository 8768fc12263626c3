package edge

import (
	"testing"
	"time"
)

func TestWaitsGrowUpToTheCapAndHonourWhatIsAsked(t *testing.T) {
	t.Parallel()
	b := backoff{base: time.Second, most: time.Minute}
	for failures := range 100 {
		bound := time.Minute
		if failures < 6 {
			bound = time.Second << failures
		}
		longest := time.Duration(0)
		for range 200 {
			got := b.next(failures, 0)
			if got <= 0 || got > bound+time.Millisecond {
				t.Fatalf("after %d failures: %v, want at most %v", failures, got, bound)
			}
			longest = max(longest, got)
		}
		if longest < bound/2 {
			t.Errorf("after %d failures: never above %v in 200 draws, want up to %v", failures, longest, bound)
		}
	}
	const asked = 10 * time.Minute
	for range 200 {
		if got := b.next(3, asked); got < asked || got > asked+asked/8 {
			t.Errorf("asked to wait %v: %v, want that and little more", asked, got)
		}
	}
}
