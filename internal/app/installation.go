// Package app puts the program together: one Config, one Installation that opens its data, one Platform that serves. It is the
// only place where adapters meet.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	_ "modernc.org/sqlite" // the embedded database's driver

	"kenkyo/internal/adapter/blob"
	"kenkyo/internal/adapter/ort"
	"kenkyo/internal/adapter/pixels"
	"kenkyo/internal/adapter/store"
	"kenkyo/internal/clinic/assay"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
	"kenkyo/internal/trust/audit"
	"kenkyo/internal/trust/identity"
	"kenkyo/internal/trust/seal"
)

// Installation is the opened data of a platform: what the commands and the server work on.
type Installation struct {
	Config   Config
	Log      *slog.Logger
	Store    *store.Store
	Blobs    *blob.Dir
	Root     *seal.Root
	Ring     *seal.Ring
	Identity *identity.Service
	Assays   *assay.Catalogue
	Registry *registry.Registry
	Decoder  *pixels.Decoder
}

// Open opens the installation, and makes it when the data folder is new: folder, database, root key. fault.NotFound when an
// installation with patient data has lost its root key: making another would only hide that.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Installation, error) {
	const op = "app.Open"
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	in := &Installation{Config: cfg, Log: log, Decoder: pixels.New(pixels.Options{MaxPixels: cfg.MaxMegapixels * 1_000_000})}
	var err error
	if in.Assays, err = LoadAssays(&cfg); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if in.Registry, err = registry.Open(cfg.modelsDir()); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if in.Blobs, err = blob.OpenDir(cfg.blobsDir()); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if in.Store, err = store.Open(ctx, cfg.databaseURL()); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if err := in.openRoot(ctx); err != nil {
		return nil, errors.Join(fault.E(op, fault.Internal, err), in.Store.Close())
	}
	in.Ring = seal.NewRing(in.Root, in.Store)
	in.Identity = identity.New(in.Store, time.Now)
	return in, nil
}

// Close closes the database.
func (in *Installation) Close() error { return in.Store.Close() }

func (in *Installation) openRoot(ctx context.Context) error {
	path := in.Config.rootKey()
	root, err := seal.OpenRoot(path)
	if fault.Is(err, fault.NotFound) {
		facilities, ferr := in.Store.Facilities(ctx)
		if ferr != nil {
			return ferr
		}
		if len(facilities) > 0 {
			return err
		}
		// Two processes may start on a new folder at once: whoever comes second opens the first one's key.
		if err := seal.CreateRoot(path); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
		root, err = seal.OpenRoot(path)
	}
	in.Root = root
	return err
}

// CreateFacility makes a facility with fresh keys.
func (in *Installation) CreateFacility(ctx context.Context, name string) (lab.FacilityID, error) {
	const op = "app.CreateFacility"
	id := lab.NewFacilityID()
	keys, err := in.Root.NewFacility(id)
	if err != nil {
		return "", fault.E(op, fault.Internal, err)
	}
	if err := in.Store.CreateFacility(ctx, id, name, keys); err != nil {
		return "", fault.E(op, fault.Internal, err)
	}
	return id, nil
}

// Runtime opens ONNX Runtime. fault.Unavailable says how to get it.
func (in *Installation) Runtime() (*ort.Runtime, error) {
	path, err := ort.Locate(in.Config.ONNXRuntime)
	if err != nil {
		return nil, err
	}
	return ort.Open(path)
}

// AddModel adds a model package folder or a bare ONNX file to the registry after it has proved that it runs, and records it.
func (in *Installation) AddModel(ctx context.Context, name, src string) (*registry.Package, error) {
	rt, err := in.Runtime()
	if err != nil {
		return nil, err
	}
	p, err := in.Registry.AddAs(ctx, name, src, rt, predict.NewCheck(rt.OpenPackage, in.Decoder))
	if err != nil {
		return nil, err
	}
	return p, in.Store.Record(ctx, audit.Event{
		Actor: "operator", Action: audit.ModelAdded, Object: p.Ref(), Detail: fmt.Sprintf(`{"digest":%q}`, p.Digest),
	})
}

// OpenModel opens a package for predictions.
func (in *Installation) OpenModel(ctx context.Context, rt *ort.Runtime, p *registry.Package) (*predict.Model, error) {
	session, err := rt.OpenPackage(p)
	if err != nil {
		return nil, err
	}
	m, err := predict.New(ctx, p, session, in.Decoder)
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return m, nil
}
