package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"kenkyo/internal/adapter/ort"
	"kenkyo/internal/adapter/pixels"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// Local is one model open for predictions without a platform. Nothing is stored.
type Local struct {
	*predict.Model

	decoder *pixels.Decoder
	cleanup func() error
}

// OpenLocal opens a model: ref is a package folder, a bare ONNX file, or the name (with @digest) of a model in the configuration's
// registry. Errors: fault.NotFound when there is no such model, fault.Invalid or fault.Corrupt when it does not load,
// fault.Unavailable when ONNX Runtime is missing.
func OpenLocal(ctx context.Context, cfg *Config, ref string) (*Local, error) {
	in := &Installation{Config: *cfg, Decoder: pixels.New(pixels.Options{MaxPixels: cfg.MaxMegapixels * 1_000_000})}
	rt, err := in.Runtime()
	if err != nil {
		return nil, err
	}
	pkg, cleanup, err := in.findPackage(ctx, rt, ref)
	if err != nil {
		return nil, err
	}
	m, err := in.OpenModel(ctx, rt, pkg)
	if err != nil {
		return nil, errors.Join(err, cleanup())
	}
	return &Local{Model: m, decoder: in.Decoder, cleanup: cleanup}, nil
}

// Annotate draws findings on an encoded image and gives a PNG.
func (l *Local) Annotate(ctx context.Context, encoded []byte, findings []lab.Finding) ([]byte, error) {
	return l.decoder.Annotate(ctx, encoded, findings, l.Package().LabelNames())
}

// Close frees the model.
func (l *Local) Close() error { return errors.Join(l.Model.Close(), l.cleanup()) }

// findPackage resolves a reference. A bare ONNX file passes through a registry that lives as long as cleanup is not called.
func (in *Installation) findPackage(ctx context.Context, rt *ort.Runtime, ref string) (*registry.Package, func() error, error) {
	nothing := func() error { return nil }
	info, err := os.Stat(ref)
	switch {
	case err == nil && info.IsDir():
		p, err := registry.Load(ref)
		return p, nothing, err
	case err == nil:
		dir, err := os.MkdirTemp("", "kenkyo-model-")
		if err != nil {
			return nil, nil, err
		}
		cleanup := func() error { return os.RemoveAll(dir) }
		r, err := registry.Open(filepath.Join(dir, "models"))
		if err != nil {
			return nil, nil, errors.Join(err, cleanup())
		}
		p, err := r.Add(ctx, ref, rt, predict.NewCheck(rt.OpenPackage, in.Decoder))
		if err != nil {
			return nil, nil, errors.Join(err, cleanup())
		}
		return p, cleanup, nil
	}
	r, err := registry.Open(in.Config.modelsDir())
	if err != nil {
		return nil, nil, err
	}
	p, err := r.Get(ref)
	return p, nothing, err
}
