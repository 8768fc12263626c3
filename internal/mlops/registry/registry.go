package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// addedFile holds the time a package was added, so that "newest" survives a backup and restore of the folder.
const addedFile = "added"

// stagePrefix begins the name of a folder whose package is not complete yet.
const stagePrefix = ".adding-"

// Registry is a folder of model packages: <dir>/<name>/<digest12>/. It holds no state in memory and may be used by several
// goroutines and processes at once; a package appears whole or not at all.
type Registry struct {
	dir string
	now func() time.Time
}

// Open uses the folder dir, creating it when missing, and removes what interrupted adds left in it.
// Errors: fault.Unavailable when the folder cannot be created or read.
func Open(dir string) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fault.E("registry.Open", fault.Unavailable, err)
	}
	r := &Registry{dir: dir, now: time.Now}
	return r, r.sweep()
}

// sweep removes what adds that were killed have left. An add that is still running is younger.
func (r *Registry) sweep() error {
	const op = "registry.sweep"
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), stagePrefix) {
			continue
		}
		if info, err := e.Info(); err != nil || r.now().Sub(info.ModTime()) < time.Hour {
			continue
		}
		if err := os.RemoveAll(filepath.Join(r.dir, e.Name())); err != nil {
			return fault.E(op, fault.Unavailable, err)
		}
	}
	return nil
}

// Add copies a model into the registry: a package folder (with model.yaml), or a bare .onnx file whose manifest is inferred and
// whose name is the file's. The graph is compared with the manifest and check runs the model before anything becomes visible.
// Adding the same package again changes nothing and gives the stored one.
// Errors: fault.NotFound (src), fault.Invalid (manifest, graph, or check says the model is wrong), fault.Corrupt (src differs
// from its own manifest, or the stored copy was changed), fault.Unavailable (disk, or the runtime is missing).
// Effect: one new folder, durable before Add returns.
func (r *Registry) Add(ctx context.Context, src string, inspect Inspector, check Check) (*Package, error) {
	return r.AddAs(ctx, "", src, inspect, check)
}

// AddAs is Add with the name to give to a bare .onnx file; "" takes the file's name. For a package folder a name that differs
// from its manifest is fault.Invalid.
func (r *Registry) AddAs(ctx context.Context, name, src string, inspect Inspector, check Check) (*Package, error) {
	const op = "registry.Add"
	info, err := os.Stat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E(op, fault.NotFound, fmt.Errorf("%s does not exist", src))
	}
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	stage, err := os.MkdirTemp(r.dir, stagePrefix)
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	defer os.RemoveAll(stage) //nolint:errcheck // what is left of a failed add is swept by name, never read
	if info.IsDir() {
		err = stageFolder(src, stage, name)
	} else {
		err = stageONNX(src, stage, name, inspect)
	}
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	p, err := Load(stage)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	if stored, err := r.find(p.Name, p.Digest); err == nil || !fault.Is(err, fault.NotFound) {
		return stored, err
	}
	if err := verify(ctx, p, inspect, check); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return r.publish(stage, p)
}

// verify compares the graph with the manifest, then runs the model.
func verify(ctx context.Context, p *Package, inspect Inspector, check Check) error {
	io, err := inspect.Inspect(p.WeightsPath())
	if err != nil {
		return err
	}
	if err := matchIO(&p.Manifest, io); err != nil {
		return err
	}
	if check == nil {
		return nil
	}
	return check(ctx, p)
}

// publish makes the staged folder durable and visible under its final name.
func (r *Registry) publish(stage string, p *Package) (*Package, error) {
	const op = "registry.publish"
	stamp := []byte(r.now().UTC().Format(time.RFC3339Nano) + "\n")
	if err := writeFile(filepath.Join(stage, addedFile), stamp); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	if err := syncDir(stage); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	parent := filepath.Join(r.dir, p.Name)
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	final := filepath.Join(parent, p.Digest.Short())
	if err := os.Rename(stage, final); err != nil {
		// Another process may have added the same package meanwhile: its copy is as good.
		if stored, ferr := r.find(p.Name, p.Digest); ferr == nil {
			return stored, nil
		}
		return nil, fault.E(op, fault.Unavailable, err)
	}
	for _, dir := range []string{parent, r.dir} {
		if err := syncDir(dir); err != nil {
			return nil, fault.E(op, fault.Unavailable, err)
		}
	}
	out := *p
	out.Dir = final
	return &out, nil
}

// find loads one stored version in full. Errors: fault.NotFound, or those of Load.
func (r *Registry) find(name string, digest lab.ModelDigest) (*Package, error) {
	dir := filepath.Join(r.dir, name, digest.Short())
	if _, err := os.Stat(filepath.Join(dir, manifestFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E("registry.find", fault.NotFound, fmt.Errorf("no model package %s@%s", name, digest.Short()))
	}
	return loadStored(dir)
}

// loadStored loads a folder of the registry and checks that its manifest is the one it was stored under.
func loadStored(dir string) (*Package, error) {
	p, err := Load(dir)
	if err != nil {
		return nil, err
	}
	return p, checkPlace(p)
}

func checkPlace(p *Package) error {
	if filepath.Base(p.Dir) != p.Digest.Short() || filepath.Base(filepath.Dir(p.Dir)) != p.Name {
		return fault.E("registry.checkPlace", fault.Corrupt, fmt.Errorf("the manifest stored as %s/%s is now that of %s",
			filepath.Base(filepath.Dir(p.Dir)), filepath.Base(p.Dir), p.Ref()))
	}
	return nil
}

// List gives every stored package, by name and then newest first. Manifests are checked, weights are not read.
// Errors: fault.Corrupt when folders cannot be read as packages; the packages that can be are given beside it.
func (r *Registry) List() ([]*Package, error) {
	return r.collect("registry.List", func(versions []version) []version { return versions })
}

// Newest gives the newest package of every name, as List does. A name whose newest package cannot be read is left out and named
// in the error: an older version must not take its place because the newer one was damaged.
func (r *Registry) Newest() ([]*Package, error) {
	return r.collect("registry.Newest", func(versions []version) []version { return versions[:min(1, len(versions))] })
}

// collect gives the chosen versions of every name.
func (r *Registry) collect(op string, choose func([]version) []version) ([]*Package, error) {
	names, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	var out []*Package
	var bad []error
	for _, n := range names {
		if !n.IsDir() || strings.HasPrefix(n.Name(), ".") {
			continue
		}
		versions, err := r.versions(n.Name())
		if err != nil {
			bad = append(bad, err)
		}
		for _, v := range choose(versions) {
			if v.err != nil {
				bad = append(bad, v.err)
				continue
			}
			out = append(out, v.p)
		}
	}
	if len(bad) > 0 {
		return out, fault.E(op, fault.Corrupt, errors.Join(bad...))
	}
	return out, nil
}

// version is one stored folder of a name: a package, or the reason why it cannot be read as one.
type version struct {
	digest string // first digits, the folder's name
	at     time.Time
	p      *Package
	err    error
}

// versions gives the stored versions of one name, damaged ones included, newest first.
func (r *Registry) versions(name string) ([]version, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	var found []version
	for _, e := range entries {
		dir := filepath.Join(r.dir, name, e.Name())
		v := version{digest: e.Name(), at: addedAt(dir)}
		if v.p, v.err = loadManifest(dir); v.err == nil {
			v.err = checkPlace(v.p)
		}
		found = append(found, v)
	}
	slices.SortFunc(found, func(a, b version) int {
		if c := b.at.Compare(a.at); c != 0 {
			return c
		}
		return strings.Compare(a.digest, b.digest)
	})
	return found, nil
}

// addedAt gives when a package was added; the zero time, hence oldest, when the note is missing or unreadable.
func addedAt(dir string) time.Time {
	b, err := os.ReadFile(filepath.Join(dir, addedFile)) //nolint:gosec // G304: a folder of the registry
	if err != nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}
	}
	return at
}

// Get gives one package, with its weights verified. ref is a name (its newest version) or name@digest-prefix.
// Errors: fault.NotFound; fault.Invalid when a prefix fits several versions; fault.Corrupt when the stored bytes changed.
func (r *Registry) Get(ref string) (*Package, error) {
	const op = "registry.Get"
	name, prefix, exact := strings.Cut(ref, "@")
	if !namePattern.MatchString(name) || (exact && !isHex(prefix)) {
		return nil, fault.E(op, fault.Invalid, fmt.Errorf("model %q: want name or name@digest", ref))
	}
	found, err := r.versions(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E(op, fault.NotFound, fmt.Errorf("no model %q is registered", name))
	}
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	var hits []version
	for _, v := range found {
		digest := v.digest // of a damaged version, the folder's name is all there is
		if v.err == nil {
			digest = string(v.p.Digest)
		}
		if strings.HasPrefix(digest, prefix) {
			hits = append(hits, v)
		}
	}
	switch {
	case len(hits) == 0:
		return nil, fault.E(op, fault.NotFound, fmt.Errorf("no model %q is registered", ref))
	case exact && len(hits) > 1:
		return nil, fault.E(op, fault.Invalid, fmt.Errorf("model %q: %d versions begin with this digest, give more digits", ref, len(hits)))
	case hits[0].err != nil:
		return nil, fault.E(op, fault.Corrupt, hits[0].err)
	}
	p, err := loadStored(hits[0].p.Dir)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return p, nil
}

func isHex(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}
