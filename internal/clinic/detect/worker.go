package detect

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// Options of a Worker.
type Options struct {
	Parallel int           // claims worked on at once; one a core
	Batch    int           // images a claim
	Lease    time.Duration // how long a claim stands without a heartbeat
	Idle     time.Duration // pause before looking again when nothing waits and nobody woke the worker
	Pause    time.Duration // before an image is tried again that could not be examined because something was unavailable
	Owner    string        // name of this process in the claim
	// MaxLostLeases is how often an image may take its process down before a person gets it without findings.
	MaxLostLeases int
	// BlobKey gives the object key of an image.
	BlobKey func(lab.FieldImageID) string
	// OnRelease hears of every report released; may be nil.
	OnRelease func(ReleasedReport)
}

// Worker detects until it is stopped.
type Worker struct {
	store    Store
	blobs    Blobs
	ring     *seal.Ring
	models   Models
	assays   Assays
	router   Router
	observer Observer
	log      *slog.Logger
	opt      Options
	wake     chan struct{}
}

// NewWorker gives a worker that does nothing until Run.
func NewWorker(store Store, blobs Blobs, ring *seal.Ring, models Models, assays Assays, router Router, obs Observer, log *slog.Logger, opt Options) *Worker {
	return &Worker{
		store: store, blobs: blobs, ring: ring, models: models, assays: assays, router: router,
		observer: obs, log: log, opt: opt, wake: make(chan struct{}, opt.Parallel),
	}
}

// Wake tells an idle worker that images wait. It never blocks.
func (w *Worker) Wake() {
	for range cap(w.wake) {
		select {
		case w.wake <- struct{}{}:
		default:
			return
		}
	}
}

// Run works until ctx ends, then finishes or returns what it holds, and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range w.opt.Parallel {
		wg.Go(func() { w.loop(ctx) })
	}
	wg.Wait()
	return nil
}

func (w *Worker) loop(ctx context.Context) {
	for ctx.Err() == nil {
		claim, err := w.store.Claim(ctx, w.models.Names(), w.opt.Batch, w.opt.Owner, w.opt.Lease)
		if err != nil && ctx.Err() == nil {
			w.log.LogAttrs(ctx, slog.LevelError, "claim failed", slog.Any("error", err))
		}
		if claim != nil {
			w.runClaim(ctx, claim)
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-time.After(w.opt.Idle):
		}
	}
}

// runClaim examines the images of one claim and completes them together. A claim that is lost meanwhile is dropped: whoever
// holds it now will answer.
func (w *Worker) runClaim(ctx context.Context, claim *Claim) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var beat sync.WaitGroup
	beat.Go(func() { w.heartbeat(work, claim, cancel) })
	var outcomes []Outcome
	var back []lab.FieldImageID
	for i := range claim.Images {
		if work.Err() != nil {
			back = append(back, claim.Images[i].ID)
			continue
		}
		out, ok := w.examine(work, claim.Model, &claim.Images[i])
		if !ok {
			back = append(back, claim.Images[i].ID)
			continue
		}
		outcomes = append(outcomes, out)
	}
	cancel(nil)
	beat.Wait()
	if fault.Is(context.Cause(work), fault.Conflict) {
		return // lost: whoever holds the images now will answer
	}
	// What was examined is kept even when the process is asked to stop: the images would only be examined again.
	finish, stop := context.WithTimeout(context.WithoutCancel(ctx), w.opt.Lease)
	defer stop()
	w.complete(finish, claim, outcomes)
	if len(back) > 0 {
		pause := w.opt.Pause
		if ctx.Err() != nil {
			pause = 0 // this process is stopping; nothing is wrong with the images
		}
		if err := w.store.Return(finish, claim.Token, back, pause); err != nil {
			w.log.LogAttrs(ctx, slog.LevelError, "images could not be returned; their lease will end", slog.Any("error", err))
		}
	}
}

func (w *Worker) complete(ctx context.Context, claim *Claim, outcomes []Outcome) {
	if len(outcomes) == 0 {
		return
	}
	done, err := w.store.Complete(ctx, claim.Token, outcomes)
	if err != nil {
		w.log.LogAttrs(ctx, slog.LevelError, "outcomes could not be stored; the images will be examined again",
			slog.Any("error", err), slog.Int("images", len(outcomes)))
		return
	}
	if lost := len(outcomes) - done.Applied; lost > 0 {
		w.observer.LeaseLost(claim.Model, lost)
	}
	for _, o := range outcomes {
		w.observer.Completed(claim.Model, o.State, string(o.Review)+string(o.Reject))
	}
	for _, r := range done.Released {
		w.observer.Released(r.Waited)
		if w.opt.OnRelease != nil {
			w.opt.OnRelease(r)
		}
	}
}

func (w *Worker) heartbeat(ctx context.Context, claim *Claim, lost context.CancelCauseFunc) {
	tick := time.NewTicker(w.opt.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w.store.Renew(ctx, claim.Token, w.opt.Lease)
		switch {
		case fault.Is(err, fault.Conflict):
			w.observer.LeaseLost(claim.Model, len(claim.Images))
			lost(err)
			return
		case err != nil && ctx.Err() == nil:
			w.log.LogAttrs(ctx, slog.LevelWarn, "lease not renewed", slog.Any("error", err))
		}
	}
}
