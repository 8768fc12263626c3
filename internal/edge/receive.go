package edge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"kenkyo/internal/edge/deliver"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/edge/uplink"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// receiveLoop delivers results as they are released, until ctx ends.
func (a *Agent) receiveLoop(ctx context.Context, stop context.CancelCauseFunc, d *deliver.Delivery) {
	back := backoff{a.config.BackoffBase, a.config.BackoffCap}
	failures := 0
	for {
		began := time.Now()
		count, more, err := d.Poll(ctx, a.config.LongPoll)
		if ctx.Err() != nil {
			return
		}
		wait := time.Duration(0)
		switch {
		case err == nil:
			failures = 0
			a.board.contact()
			a.checkDone(stop)
			if count == 0 && !more {
				// A platform that does not hold the request open must not be asked in a tight loop.
				wait = max(0, min(a.config.Interval, a.config.LongPoll)-time.Since(began))
			}
		default:
			wait = a.receiveTrouble(err, back, failures)
			failures++
			if fault.Is(err, fault.Unauthenticated) && a.config.Once {
				stop(err)
				return
			}
		}
		if !pause(ctx, wait, nil) {
			return
		}
	}
}

// receiveTrouble reports a failed poll and gives the time to the next.
func (a *Agent) receiveTrouble(err error, back backoff, failures int) time.Duration {
	p := uplink.ProblemOf(err)
	if p == nil {
		a.config.Log.Error("results cannot be delivered", slog.String("cause", shortCause(err)))
		a.board.trouble(StateCannotDeliver, shortCause(err))
		return back.next(failures, 0)
	}
	switch p.Verdict {
	case uplink.TokenRefused:
		a.board.trouble(StateTokenRefused, p.Error())
		a.config.Log.Error("the platform refuses this device's token: enrol it again", slog.Int("status", p.Status))
		return a.config.TokenPause
	case uplink.Refused:
		a.board.trouble(StateCannotDeliver, p.Error())
		a.config.Log.Error("the platform refuses to give results", slog.Int("status", p.Status), slog.String("cause", p.Error()))
		return a.config.TokenPause
	case uplink.Wait, uplink.WaitAll:
		a.board.trouble(StateOffline, p.Error())
		a.config.Log.Warn("no results: the platform cannot be reached", slog.String("cause", p.Error()))
	}
	return back.next(failures, p.RetryAfter)
}

// delivered hears of each result that is durable in the folder.
func (a *Agent) delivered(r deliver.Result) error {
	a.config.Log.Info("result delivered", slog.String("request", string(r.RequestID)), slog.String("status", string(r.Status)),
		slog.Int("version", r.Version))
	if r.RequestID == "" || !r.Final() {
		return nil
	}
	return a.queue.Answer(r.RequestID)
}

// Submit strips and stores images as one submission, beside a running agent or without one.
// Errors: fault.Invalid for an image this platform does not read; fault.Unavailable when the disk fails.
func (a *Agent) Submit(sub spool.Submission, sources []spool.Source) (*spool.Item, error) {
	queue, err := spool.Attach(spoolDir(a.config.DataDir), a.config.FS)
	if err != nil {
		return nil, err
	}
	return queue.Add(sub, sources, nil)
}

// Drain uploads what waits: every item once, and the item id until the platform has accepted or refused it when patient is set.
// Errors: fault.Conflict when a running agent owns the queue and will do it; fault.Unauthenticated when the token is refused;
// the error of ctx when it ends first. Whether id was sent is seen by Item.
func (a *Agent) Drain(ctx context.Context, id spool.ItemID, patient bool) (err error) {
	if err := a.own(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.queue.Close()) }()
	s := a.sender()
	for {
		if err := s.round(ctx); err != nil {
			return err
		}
		it, err := a.queue.Get(id)
		if err != nil || !patient || it.State != spool.Waiting {
			return err
		}
		if !pause(ctx, s.wait(a.config.Interval), nil) {
			return ctx.Err()
		}
	}
}

// Item gives an item as it stands. Errors: fault.NotFound.
func (a *Agent) Item(id spool.ItemID) (*spool.Item, error) {
	queue, err := spool.Attach(spoolDir(a.config.DataDir), a.config.FS)
	if err != nil {
		return nil, err
	}
	return queue.Get(id)
}

// Await waits for the final result of an item and gives it as received, whoever uploads the item and delivers the result.
// Errors: fault.Invalid with the platform's reason when the item is held; fault.Unauthenticated when the token is refused; the error
// of ctx when it ends first.
func (a *Agent) Await(ctx context.Context, id spool.ItemID) (json.RawMessage, error) {
	for {
		it, err := a.Item(id)
		if err != nil {
			return nil, err
		}
		switch it.State {
		case spool.Held:
			return nil, fault.E("edge.Await", fault.Invalid, errors.New(it.Status.Reason.String()))
		case spool.Sent, spool.Answered:
			return a.awaitResult(ctx, it)
		case spool.Waiting:
		}
		if !pause(ctx, a.config.Interval, nil) {
			return nil, ctx.Err()
		}
	}
}

// slack widens the time from which Await looks for a result, against clocks that were set in between.
const slack = 10 * time.Minute

// awaitResult follows the stream of results from before the item was made, by the platform's clock, without touching the cursor of
// the delivery.
func (a *Agent) awaitResult(ctx context.Context, it *spool.Item) (json.RawMessage, error) {
	clock := it.Status.Clock
	if clock.IsZero() {
		clock = it.Status.SentAt
	}
	since := clock.Add(-it.Status.SentAt.Sub(it.CreatedAt) - slack).UTC().Format(time.RFC3339)
	back := backoff{a.config.BackoffBase, a.config.BackoffCap}
	for failures := 0; ; {
		page, err := a.client.Results(ctx, since, a.config.LongPoll)
		wait := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			failures = 0
			if raw := pick(page.Results, it.Status.RequestID); raw != nil {
				return raw, nil
			}
			if page.Next != "" {
				since = page.Next
			}
			if len(page.Results) == 0 {
				wait = min(a.config.Interval, a.config.LongPoll) / 4
			}
		case fault.Is(err, fault.Unavailable):
			wait = back.next(failures, fault.RetryAfterOf(err))
			failures++
		default:
			return nil, err
		}
		if !pause(ctx, wait, nil) {
			return nil, ctx.Err()
		}
	}
}

// pick gives the newest final result for the request.
func pick(results []json.RawMessage, request lab.RequestID) json.RawMessage {
	var found json.RawMessage
	for _, raw := range results {
		var r deliver.Result
		if json.Unmarshal(raw, &r) == nil && r.RequestID == request && r.Final() {
			found = raw
		}
	}
	return found
}

// Answered records that the final result of an item has been shown, so that it is not listed as unanswered. When a running agent
// owns the queue, that agent will see the result itself.
func (a *Agent) Answered(id spool.ItemID) error {
	if err := a.own(); err != nil {
		if fault.Is(err, fault.Conflict) {
			return nil
		}
		return err
	}
	it, err := a.queue.Get(id)
	if err == nil && it.State == spool.Sent {
		err = a.queue.Answer(it.Status.RequestID)
	}
	return errors.Join(err, a.queue.Close())
}
