package app

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"kenkyo/internal/adapter/ort"
	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

var _ detect.Models = (*modelSet)(nil)

// modelSet holds the newest version of every model in the registry, open. A version that was added while the process runs takes
// over between two predictions.
type modelSet struct {
	in  *Installation
	rt  *ort.Runtime
	log *slog.Logger

	mu     sync.RWMutex
	active map[string]*activeModel
	// refused remembers packages that do not load, so that a broken one is reported once and not at every look.
	refused   map[lab.ModelDigest]bool
	complaint string // last error of the registry
}

// activeModel is one version in use. Predict holds the lock for reading, close for writing.
type activeModel struct {
	digest lab.ModelDigest

	mu    sync.RWMutex
	model *predict.Model // nil once closed
}

func newModelSet(in *Installation, rt *ort.Runtime) *modelSet {
	return &modelSet{in: in, rt: rt, log: in.Log, active: make(map[string]*activeModel), refused: make(map[lab.ModelDigest]bool)}
}

// refresh opens versions that are new in the registry. A newest version that does not load (changed on disk, broken) is logged and
// left out: the version that this process has in use stays, and an older one does not take its place unasked.
func (s *modelSet) refresh(ctx context.Context) {
	packages, err := s.in.Registry.Newest() // what is readable comes with the error
	s.complain(ctx, err)
	for _, p := range packages {
		if cur := s.get(p.Name); s.refused[p.Digest] || cur != nil && cur.digest == p.Digest {
			continue
		}
		m, err := s.open(ctx, p.Dir)
		if err != nil {
			s.refused[p.Digest] = true
			s.log.LogAttrs(ctx, slog.LevelError, "model package refused", slog.String("model", p.Ref()), slog.Any("error", err))
			continue
		}
		s.put(p.Name, &activeModel{model: m, digest: p.Digest})
		s.log.LogAttrs(ctx, slog.LevelInfo, "model in use", slog.String("model", p.Ref()), slog.String("version", p.Version))
	}
}

// complain logs what is wrong with the registry, once until it changes: refresh runs every few seconds.
func (s *modelSet) complain(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != s.complaint {
		s.log.LogAttrs(ctx, slog.LevelError, "model packages are damaged and refused", slog.Any("error", err))
	}
	s.complaint = text
}

// open loads a package in full: digests, graph, golden image.
func (s *modelSet) open(ctx context.Context, dir string) (*predict.Model, error) {
	p, err := registry.Load(dir)
	if err != nil {
		return nil, err
	}
	m, err := s.in.OpenModel(ctx, s.rt, p)
	if err != nil {
		return nil, err
	}
	if p.Golden != nil {
		if err := predict.CheckGolden(ctx, m, p); err != nil {
			_ = m.Close() // the reason for refusal is what counts
			return nil, err
		}
	}
	return m, nil
}

func (s *modelSet) get(name string) *activeModel {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.active[name]
}

func (s *modelSet) put(name string, a *activeModel) {
	s.mu.Lock()
	old := s.active[name]
	s.active[name] = a
	s.mu.Unlock()
	if old != nil {
		old.close(s.log)
	}
}

// watch refreshes until ctx ends, then closes all models.
func (s *modelSet) watch(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.refresh(ctx)
		}
	}
}

func (s *modelSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.active {
		a.close(s.log)
	}
	s.active = map[string]*activeModel{}
}

// Names implements detect.Models.
func (s *modelSet) Names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.active))
	for n := range s.active {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Predictor implements detect.Models.
func (s *modelSet) Predictor(name string) (detect.Predictor, error) {
	if a := s.get(name); a != nil {
		return a, nil
	}
	return nil, fault.E("app.Predictor", fault.NotFound, noModelError(name))
}

// Predict implements detect.Predictor.
func (a *activeModel) Predict(ctx context.Context, encoded []byte, pixelSizeUM float64, floor func(string) float64) (lab.Detection, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.model == nil {
		return lab.Detection{}, fault.E("app.Predict", fault.Unavailable, noModelError("this version"))
	}
	return a.model.Predict(ctx, encoded, pixelSizeUM, floor)
}

func (a *activeModel) close(log *slog.Logger) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.model == nil {
		return
	}
	if err := a.model.Close(); err != nil {
		log.Warn("model not closed cleanly", slog.Any("error", err))
	}
	a.model = nil
}

type noModelError string

func (e noModelError) Error() string {
	return "model " + string(e) + " is not in use here; add it with kenkyo model add"
}
