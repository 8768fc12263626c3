package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kenkyo/internal/edge/deliver"
	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/edge/uplink"
	"kenkyo/internal/edge/watch"
	"kenkyo/internal/fault"
)

// Agent is the whole program behind the commands. One at a time may Run or Drain on a data folder; others may Submit beside it.
type Agent struct {
	config Config
	device Device
	client *uplink.Client
	queue  *spool.Spool // set by own
	board  *board

	kick chan struct{} // tells the sender that there is something to send

	mu      sync.Mutex
	settled bool // the last look at the watched folder left nothing to take
	blocked int  // problems that look found
}

// New reads the identity in the data folder and prepares the client; it dials nothing and locks nothing. Release it with Close.
// Errors: those of LoadDevice; fault.Invalid for a folder or address that cannot be used.
func New(c Config) (*Agent, error) {
	c = c.withDefaults()
	device, err := LoadDevice(c.DataDir)
	if err != nil {
		return nil, err
	}
	client, err := uplink.New(uplink.Config{
		Server: device.Server, Token: device.Token, Version: c.Version, CAFile: device.CAFile, InsecureHTTP: device.InsecureHTTP,
		Stall: c.Stall,
	})
	if err != nil {
		return nil, err
	}
	return &Agent{config: c, device: device, client: client, kick: make(chan struct{}, 1)}, nil
}

// Close drops connections. Call it after Run has returned.
func (a *Agent) Close() { a.client.Close() }

// own takes the queue for this process.
func (a *Agent) own() error {
	queue, err := spool.Open(spoolDir(a.config.DataDir), a.config.FS)
	if err != nil {
		return err
	}
	if err := durable.RemoveTemps(a.config.FS, a.config.DataDir); err != nil {
		return errors.Join(fault.E("edge.own", fault.Unavailable, err), queue.Close())
	}
	a.queue = queue
	a.board = newBoard(a.config)
	return nil
}

// Run does all the agent's work until ctx ends, which is no error, or, with Once, until everything is answered or held.
// Errors: fault.Conflict when another agent owns the data folder; fault.Unavailable when a folder cannot be used; with Once also
// fault.Unauthenticated when the platform refuses the device's token, and ErrHeld when something needs a person.
func (a *Agent) Run(ctx context.Context) (err error) {
	if err := a.own(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.queue.Close()) }()
	delivery, err := a.openDelivery()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a.config.Log.Info("agent started", slog.String("device", string(a.device.DeviceID)), slog.String("version", a.config.Version))
	var work sync.WaitGroup
	if a.config.Watch != "" {
		work.Go(func() { a.takeLoop(ctx, stop) })
	} else {
		a.setSettled(true, 0)
	}
	work.Go(func() { a.sendLoop(ctx, stop) })
	if delivery != nil {
		work.Go(func() { a.receiveLoop(ctx, stop, delivery) })
	}
	work.Wait()
	a.board.stopped()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errAllDone):
		return a.outcome()
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		return nil
	default:
		return cause
	}
}

func (a *Agent) openDelivery() (*deliver.Delivery, error) {
	if a.config.Out == "" {
		return nil, nil //nolint:nilnil // no folder, no delivery
	}
	return deliver.Open(deliver.Config{
		Out: a.config.Out, Cursor: cursorFile(a.config.DataDir), FS: a.config.FS, Done: a.delivered,
		Source: func(ctx context.Context, since string, wait time.Duration) ([]json.RawMessage, string, bool, error) {
			page, err := a.client.Results(ctx, since, wait)
			return page.Results, page.Next, page.HasMore, err
		},
	})
}

// errAllDone ends the loops of a run with Once.
var errAllDone = errors.New("everything is answered or held")

// ErrHeld says that a run with Once ended with items or files that need a person.
var ErrHeld = errors.New("some items need attention")

func (a *Agent) outcome() error {
	held, err := a.queue.Count(spool.Held)
	if err != nil {
		return err
	}
	a.mu.Lock()
	blocked := a.blocked
	a.mu.Unlock()
	if held+blocked > 0 {
		return fault.E("edge.Run", fault.Conflict, fmt.Errorf("%w: %d held, %d not readable", ErrHeld, held, blocked))
	}
	return nil
}

// checkDone ends a run with Once when nothing is left to wait for.
func (a *Agent) checkDone(stop context.CancelCauseFunc) {
	if !a.config.Once {
		return
	}
	a.mu.Lock()
	settled := a.settled
	a.mu.Unlock()
	if !settled {
		return
	}
	for _, state := range []spool.State{spool.Waiting, spool.Sent} {
		if state == spool.Sent && a.config.Out == "" {
			continue
		}
		if n, err := a.queue.Count(state); err != nil || n > 0 {
			return
		}
	}
	stop(errAllDone)
}

func (a *Agent) setSettled(settled bool, blocked int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled, a.blocked = settled, blocked
}

// pause waits, and tells whether to go on.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-early:
	}
	return ctx.Err() == nil
}

// watcher makes the watcher of this run.
func (a *Agent) watcher() *watch.Watcher { return watch.New(a.config.Watch, a.config.Settle) }
