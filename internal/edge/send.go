package edge

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"kenkyo/internal/edge/spool"
	"kenkyo/internal/edge/uplink"
	"kenkyo/internal/fault"
)

// sendLoop uploads what waits, urgent items first, until ctx ends.
func (a *Agent) sendLoop(ctx context.Context, stop context.CancelCauseFunc) {
	s := a.sender()
	for {
		err := s.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && fault.Is(err, fault.Unauthenticated) && a.config.Once:
			stop(err)
			return
		case err != nil && !fault.Is(err, fault.Unauthenticated):
			a.config.Log.Error("the queue cannot be used", slog.String("cause", shortCause(err)))
		}
		a.checkDone(stop)
		if !pause(ctx, s.wait(a.config.Interval), a.kick) {
			return
		}
	}
}

// sender remembers when to try again. The memory is not durable: after a restart everything is tried at once, and that is what a
// person who restarts the agent wants.
type sender struct {
	agent    *Agent
	back     backoff
	due      map[spool.ItemID]time.Time // items that failed by themselves
	closed   time.Time                  // until then nothing is tried: the link or the platform is in trouble
	failures int                        // failures of the link in a row
}

func (a *Agent) sender() *sender {
	return &sender{agent: a, back: backoff{a.config.BackoffBase, a.config.BackoffCap}, due: map[spool.ItemID]time.Time{}}
}

// wait gives the time to the next round: the usual interval, or shorter when something falls due before.
func (s *sender) wait(interval time.Duration) time.Duration {
	now := time.Now()
	if left := s.closed.Sub(now); left > 0 {
		return min(left, s.agent.config.BackoffCap)
	}
	for _, at := range s.due {
		if left := at.Sub(now); left > 0 && left < interval {
			interval = left
		}
	}
	return interval
}

// round tries every item that is due. Errors: fault.Unauthenticated when the token is refused; otherwise those of the queue.
func (s *sender) round(ctx context.Context) error {
	now := time.Now()
	if now.Before(s.closed) {
		return s.agent.queue.Tidy()
	}
	ready := func(id spool.ItemID) bool { return !now.Before(s.due[id]) }
	err := s.agent.queue.Each(spool.Waiting, ready, func(it *spool.Item) error {
		if ctx.Err() != nil || time.Now().Before(s.closed) {
			return errRoundOver
		}
		return s.send(ctx, it)
	})
	if err != nil && !errors.Is(err, errRoundOver) {
		return err
	}
	return s.agent.queue.Tidy()
}

var errRoundOver = errors.New("the round is over")

// send tries one item and records what came of it.
func (s *sender) send(ctx context.Context, it *spool.Item) error {
	a := s.agent
	log := a.config.Log.With(slog.String("item", string(it.ID)))
	accepted, err := a.client.Send(ctx, upload(it))
	if err == nil {
		delete(s.due, it.ID)
		s.failures = 0
		a.board.contact()
		log.Info("accepted by the platform", slog.String("request", string(accepted.RequestID)))
		return a.queue.Accepted(it, accepted.RequestID, accepted.Clock)
	}
	if ctx.Err() != nil {
		return errRoundOver // the program ends; the item waits for the next run
	}
	p := uplink.ProblemOf(err)
	if p == nil {
		log.Error("held: the stored images cannot be read", slog.String("cause", shortCause(err)))
		return a.queue.Hold(it, spool.Reason{Title: "the stored images cannot be read", Detail: shortCause(err)})
	}
	switch p.Verdict {
	case uplink.Refused:
		delete(s.due, it.ID)
		a.board.contact()
		log.Warn("held: the platform refuses it", slog.Int("status", p.Status))
		return a.queue.Hold(it, reason(p))
	case uplink.TokenRefused:
		s.closed = time.Now().Add(a.config.TokenPause)
		a.board.trouble(StateTokenRefused, p.Error())
		log.Error("the platform refuses this device's token: enrol it again", slog.Int("status", p.Status))
		return err
	case uplink.WaitAll:
		wait := s.back.next(s.failures, p.RetryAfter)
		s.failures++
		s.closed = time.Now().Add(wait)
		a.board.trouble(StateOffline, p.Error())
		log.Warn("not sent: the platform cannot be reached", slog.String("cause", p.Error()), slog.Duration("next_try", wait))
	case uplink.Wait:
		wait := s.back.next(it.Status.Attempts, p.RetryAfter)
		s.due[it.ID] = time.Now().Add(wait)
		log.Warn("not sent: it is tried again", slog.String("cause", p.Error()), slog.Duration("next_try", wait))
	}
	return a.queue.Tried(it, p.Error())
}

func reason(p *uplink.Problem) spool.Reason {
	r := spool.Reason{Status: p.Status, Title: p.Title, Detail: p.Detail}
	for _, e := range p.Errors {
		r.Errors = append(r.Errors, spool.Field{Location: e.Location, Message: e.Message})
	}
	if r.Title == "" && r.Detail == "" {
		r.Title = p.Error()
	}
	return r
}

// upload gives an item the form of the platform's interface; fields without a value are left out.
func upload(it *spool.Item) uplink.Upload {
	u := uplink.Upload{Key: string(it.ID)}
	add := func(name, value string) {
		if value != "" {
			u.Fields = append(u.Fields, uplink.Field{Name: name, Value: value})
		}
	}
	add("specimen_id", string(it.SpecimenID))
	add("assay", it.Assay)
	add("condition", it.Condition)
	add("priority", string(it.Priority))
	if !it.CapturedAt.IsZero() {
		add("captured_at", it.CapturedAt.Format(time.RFC3339Nano))
	}
	if it.PixelSizeUM > 0 {
		add("pixel_size_um", strconv.FormatFloat(it.PixelSizeUM, 'g', -1, 64))
	}
	add("classification", string(it.Classification))
	for _, img := range it.Images {
		u.Images = append(u.Images, uplink.File{Path: it.Path(img), Bytes: img.Bytes, SHA256: img.SHA256})
	}
	return u
}

// backoff gives waits that grow: full jitter over an exponentially rising bound, so that a region's agents do not come back in step.
type backoff struct{ base, most time.Duration }

// next gives the wait after so many earlier failures in a row. What the platform asked for is the least, with a little on top.
func (b backoff) next(failures int, asked time.Duration) time.Duration {
	bound := b.most
	if failures < 20 {
		bound = min(b.most, b.base<<failures)
	}
	if asked > 0 {
		return asked + rand.N(min(bound, asked/8)+1) //nolint:gosec // a waiting time is no secret
	}
	return rand.N(bound) + time.Millisecond //nolint:gosec // a waiting time is no secret
}
