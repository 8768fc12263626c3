package result

import (
	"context"
	"sync"
	"time"

	"kenkyo/internal/lab"
)

// Heads reads the last sequence number of every facility that has one.
type Heads interface {
	Heads(ctx context.Context) (map[lab.FacilityID]int64, error)
}

var _ Waiter = (*Watcher)(nil)

// Watcher lets any number of long polls wait on one reader of the database. Releases of this process are heard at once by
// Notify, those of other processes within the interval. Nothing is read while nobody waits.
type Watcher struct {
	heads    Heads
	interval time.Duration

	mu      sync.Mutex
	known   map[lab.FacilityID]int64
	waiters map[lab.FacilityID]map[*waiter]struct{}
	kick    chan struct{}

	stopping chan struct{}
}

type waiter struct {
	after int64
	ready chan struct{}
}

// NewWatcher gives a watcher that needs Run to hear of other processes.
func NewWatcher(heads Heads, interval time.Duration) *Watcher {
	return &Watcher{
		heads: heads, interval: interval, kick: make(chan struct{}, 1), stopping: make(chan struct{}),
		known: make(map[lab.FacilityID]int64), waiters: make(map[lab.FacilityID]map[*waiter]struct{}),
	}
}

// Wait implements Waiter.
func (w *Watcher) Wait(ctx context.Context, facility lab.FacilityID, after int64) bool {
	me := &waiter{after: after, ready: make(chan struct{})}
	w.mu.Lock()
	if w.known[facility] > after {
		w.mu.Unlock()
		return ctx.Err() == nil
	}
	if w.waiters[facility] == nil {
		w.waiters[facility] = make(map[*waiter]struct{})
	}
	w.waiters[facility][me] = struct{}{}
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
	isReady := false
	select {
	case <-ctx.Done():
	case <-w.stopping:
	case <-me.ready:
		isReady = true
	}
	w.mu.Lock()
	delete(w.waiters[facility], me)
	if len(w.waiters[facility]) == 0 {
		delete(w.waiters, facility)
	}
	w.mu.Unlock()
	return isReady
}

// Stop ends all waiting, now and later, so that a stopping process answers its polls at once. Call it once.
func (w *Watcher) Stop() { close(w.stopping) }

// Notify says that the facility has released this number.
func (w *Watcher) Notify(facility lab.FacilityID, sequence int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if sequence <= w.known[facility] {
		return
	}
	w.known[facility] = sequence
	for me := range w.waiters[facility] {
		if sequence > me.after {
			close(me.ready)
			delete(w.waiters[facility], me)
		}
	}
}

// Run reads the heads at every interval while somebody waits, until ctx ends. A failed read is tried again at the next interval:
// the waiting polls time out by themselves and report what is wrong when they read.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		if !w.isWaitedFor() {
			select {
			case <-ctx.Done():
				return nil
			case <-w.kick:
			}
		}
		if heads, err := w.heads.Heads(ctx); err == nil {
			for f, n := range heads {
				w.Notify(f, n)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watcher) isWaitedFor() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiters) > 0
}
