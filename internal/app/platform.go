package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kenkyo/internal/adapter/httpapi"
	"kenkyo/internal/adapter/telemetry"
	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/clinic/result"
	"kenkyo/internal/clinic/review"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/audit"
)

// Intervals of what runs beside the requests.
const (
	idlePoll      = 250 * time.Millisecond // an idle worker's look at the queue, for images other processes accepted
	headPoll      = 200 * time.Millisecond // the long polls' look at releases of other processes
	modelPoll     = 5 * time.Second
	retryPause    = 5 * time.Second // before an image is tried again whose model or blob store was unavailable
	sweepInterval = 10 * time.Minute
	sweepAge      = time.Hour // how long bytes may wait for their transaction
	maxLostLeases = 2
)

// Version of the program, set by the linker.
var Version = "dev"

// Platform serves one installation in the roles of its configuration. Tests start the same struct that the command does.
type Platform struct {
	in       *Installation
	metrics  *telemetry.Metrics
	watcher  *result.Watcher
	models   *modelSet      // nil without the inference role
	worker   *detect.Worker // nil without the inference role
	api      *httpapi.Server
	stopping atomic.Bool
}

// NewPlatform wires an installation. With the inference role it opens ONNX Runtime and the models.
func NewPlatform(ctx context.Context, in *Installation) (*Platform, error) {
	const op = "app.NewPlatform"
	p := &Platform{in: in, watcher: result.NewWatcher(in.Store, headPoll)}
	p.metrics = telemetry.New(func(ctx context.Context) ([]telemetry.QueueDepth, error) {
		depths, err := in.Store.Depths(ctx)
		out := make([]telemetry.QueueDepth, len(depths))
		for i, d := range depths {
			out[i] = telemetry.QueueDepth(d)
		}
		return out, err
	}, in.Log)
	if in.Config.Has(RoleInference) {
		if err := p.openInference(ctx); err != nil {
			return nil, fault.E(op, fault.Internal, err)
		}
	}
	if in.Config.Has(RoleAPI) {
		p.openAPI()
	}
	return p, nil
}

func (p *Platform) openInference(ctx context.Context) error {
	in := p.in
	rt, err := in.Runtime()
	if err != nil {
		return err
	}
	p.models = newModelSet(in, rt)
	p.models.refresh(ctx)
	if len(p.models.Names()) == 0 {
		in.Log.LogAttrs(ctx, slog.LevelWarn, "no model in use: images wait until one is added with kenkyo model add")
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	p.worker = detect.NewWorker(in.Store, in.Blobs, in.Ring, p.models, in.Assays, review.Policy{}, p.metrics, in.Log, detect.Options{
		Parallel: in.Config.workers(), Batch: in.Config.Batch, Lease: in.Config.Lease, Idle: idlePoll, Pause: retryPause,
		Owner: fmt.Sprintf("%s/%d", host, os.Getpid()), MaxLostLeases: maxLostLeases, BlobKey: intake.BlobKey,
		OnRelease: func(r detect.ReleasedReport) { p.watcher.Notify(r.Facility, r.Sequence) },
	})
	return nil
}

func (p *Platform) openAPI() {
	in, c := p.in, p.in.Config
	limits := intake.DefaultLimits()
	limits.MaxImageBytes, limits.MaxPixels = c.MaxImageMiB<<20, c.MaxMegapixels*1_000_000
	deps := httpapi.Deps{
		Identity: in.Identity, Intake: intake.New(in.Store, in.Blobs, in.Ring, in.Assays, limits, time.Now),
		Results: result.New(in.Store, in.Ring, p.watcher), Assays: in.Assays, Observer: p.metrics, Log: in.Log,
		Metrics: p.metrics.Handler(), Ready: p.ready,
	}
	if p.worker != nil {
		deps.OnAccept = p.worker.Wake
		deps.Detect = detect.NewNow(p.models, in.Assays, review.Policy{}, c.workers())
	}
	const stall = 60 * time.Second
	p.api = httpapi.New(deps, httpapi.Options{
		MaxBodyBytes: c.MaxBodyMiB << 20, MaxImageBytes: c.MaxImageMiB << 20, MaxUploads: c.MaxUploads, StallTimeout: stall, Version: Version,
	})
}

// Handler gives the HTTP routes; nil without the api role.
func (p *Platform) Handler() http.Handler { return p.api }

// ready reports why this process cannot serve.
func (p *Platform) ready(ctx context.Context) error {
	if p.stopping.Load() {
		return errors.New("stopping")
	}
	return p.in.Store.Ping(ctx)
}

// Run serves on ln (nil without the api role) until ctx ends; then it answers what is under way, returns the images it holds and
// comes back. onReady, which may be nil, is called once requests are answered.
func (p *Platform) Run(ctx context.Context, ln net.Listener, onReady func()) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return p.watcher.Run(work) })
	g.Go(func() error { return p.sweep(work) })
	if p.worker != nil {
		g.Go(func() error { return p.worker.Run(work) })
		g.Go(func() error { return p.models.watch(work, modelPoll) })
	}
	var srv *http.Server
	if p.api != nil {
		srv = p.httpServer()
		g.Go(func() error { return p.serve(srv, ln) })
	}
	if onReady != nil {
		onReady()
	}
	select {
	case <-ctx.Done():
	case <-work.Done(): // something failed for good
	}
	p.stopping.Store(true)
	p.watcher.Stop()
	var err error
	if srv != nil {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.in.Config.Drain)
		defer cancel()
		if err = srv.Shutdown(drain); err != nil {
			err = errors.Join(err, srv.Close())
		}
	}
	stop()
	err = errors.Join(err, g.Wait())
	if p.models != nil {
		p.models.close()
	}
	return err
}

func (p *Platform) httpServer() *http.Server {
	return &http.Server{
		Handler: p.api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog:  slog.NewLogLogger(p.in.Log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

func (p *Platform) serve(srv *http.Server, ln net.Listener) error {
	var err error
	if p.in.Config.TLSCert != "" {
		err = srv.ServeTLS(ln, p.in.Config.TLSCert, p.in.Config.TLSKey)
	} else {
		err = srv.Serve(ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// sweep deletes blobs that nothing refers to: what was made durable for a submission that was then refused or cut off.
func (p *Platform) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		n, err := p.in.Sweep(ctx, time.Now().Add(-sweepAge))
		if err != nil && ctx.Err() == nil {
			p.in.Log.LogAttrs(ctx, slog.LevelError, "sweep failed", slog.Any("error", err))
		}
		if n > 0 {
			p.in.Log.LogAttrs(ctx, slog.LevelInfo, "unreferenced blobs deleted", slog.Int("blobs", n))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep deletes image blobs last written before the given time that no field image refers to, and forgotten temporary files. It
// gives the number of blobs deleted.
func (in *Installation) Sweep(ctx context.Context, before time.Time) (int, error) {
	deleted := 0
	err := in.walkImageBlobs(ctx, func(id lab.FieldImageID, modified time.Time) error {
		if !modified.Before(before) {
			return nil
		}
		owned, err := in.Store.OwnsBlob(ctx, id)
		if err != nil || owned {
			return err
		}
		if err := in.Blobs.Delete(ctx, intake.BlobKey(id)); err != nil {
			return err
		}
		deleted++
		return in.Store.Record(ctx, audit.Event{Actor: "system", Action: audit.BlobSweepDeleted, Object: string(id)})
	})
	return deleted, errors.Join(err, in.Blobs.CleanTemp(before))
}
