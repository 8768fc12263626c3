package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// manifestFile is the name of the manifest inside a package folder.
const manifestFile = "model.yaml"

// Package is a model package on disk whose manifest was checked.
type Package struct {
	Manifest
	Digest lab.ModelDigest // SHA-256 of the bytes of model.yaml
	Dir    string
}

// WeightsPath is where the ONNX file is.
func (p *Package) WeightsPath() string { return filepath.Join(p.Dir, p.Weights.File) }

// Ref names exactly this version: name@digest12.
func (p *Package) Ref() string { return p.Name + "@" + p.Digest.Short() }

// ReadGolden gives the encoded golden image and the expected findings as stored.
// Errors: fault.NotFound when the package has none; fault.Corrupt when a file is missing or not what the manifest says.
func (p *Package) ReadGolden() (image, expected []byte, err error) {
	const op = "registry.ReadGolden"
	if p.Golden == nil {
		return nil, nil, fault.E(op, fault.NotFound, fmt.Errorf("model package %s has no golden image", p.Ref()))
	}
	if image, err = p.readChecked(p.Golden.Image, p.Golden.ImageSHA256); err != nil {
		return nil, nil, fault.E(op, fault.Internal, err)
	}
	if expected, err = p.readChecked(p.Golden.Expected, p.Golden.ExpectedSHA256); err != nil {
		return nil, nil, fault.E(op, fault.Internal, err)
	}
	return image, expected, nil
}

// readChecked reads one file of the package and compares its digest when one is stated.
func (p *Package) readChecked(name, digest string) ([]byte, error) {
	const op = "registry.readChecked"
	b, err := os.ReadFile(filepath.Join(p.Dir, name)) //nolint:gosec // G304: a checked name in the package's own folder
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, fmt.Errorf("model package %s: %w", p.Ref(), err))
	}
	if sum := sha256.Sum256(b); digest != "" && hex.EncodeToString(sum[:]) != digest {
		return nil, fault.E(op, fault.Corrupt, fmt.Errorf("model package %s: %s has SHA-256 %x, the manifest says %s", p.Ref(), name, sum, digest))
	}
	return b, nil
}

// Load reads the package in dir and checks that its files are what its manifest says.
// Errors: fault.NotFound when dir has no model.yaml; fault.Invalid when the manifest breaks a rule; fault.Corrupt when the
// weights, or a golden file whose digest is stated, are missing or differ from the manifest. Reads only.
func Load(dir string) (*Package, error) {
	const op = "registry.Load"
	p, err := loadManifest(dir)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	sum, size, err := digestFile(p.WeightsPath())
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, fmt.Errorf("model package %s: %w", p.Ref(), err))
	}
	if size != p.Weights.Bytes || sum != p.Weights.SHA256 {
		return nil, fault.E(op, fault.Corrupt, fmt.Errorf("model package %s: %s has %d bytes and SHA-256 %s, the manifest says %d and %s",
			p.Ref(), p.Weights.File, size, sum, p.Weights.Bytes, p.Weights.SHA256))
	}
	if p.Golden != nil {
		if _, _, err := p.ReadGolden(); err != nil {
			return nil, fault.E(op, fault.Internal, err)
		}
	}
	return p, nil
}

// loadManifest reads and checks model.yaml alone, without touching the weights.
func loadManifest(dir string) (*Package, error) {
	const op = "registry.loadManifest"
	b, err := os.ReadFile(filepath.Join(dir, manifestFile)) //nolint:gosec // G304: the caller names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E(op, fault.NotFound, fmt.Errorf("%s holds no %s", filepath.Base(dir), manifestFile))
	}
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	m, err := ParseManifest(b)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return &Package{Manifest: *m, Digest: lab.ModelDigest(hex.EncodeToString(sum[:])), Dir: dir}, nil
}

// digestFile gives the SHA-256 and the size of a file, reading it in pieces.
func digestFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path) //nolint:gosec // G304: the caller names the file
	if err != nil {
		return "", 0, err
	}
	defer f.Close() //nolint:errcheck // opened for reading only
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
