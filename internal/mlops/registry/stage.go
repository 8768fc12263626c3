package registry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"kenkyo/internal/fault"
)

// weightsFile is what a bare export is called inside its package.
const weightsFile = "model.onnx"

// stageFolder copies the files that a package's manifest names, and nothing else, into stage.
func stageFolder(src, stage, name string) error {
	const op = "registry.stageFolder"
	p, err := loadManifest(src)
	if err != nil {
		return err
	}
	if name != "" && name != p.Name {
		return fault.E(op, fault.Invalid, fmt.Errorf("the package calls itself %q, not %q: change its model.yaml to rename it", p.Name, name))
	}
	files := []string{manifestFile, p.Weights.File}
	if p.Golden != nil {
		files = append(files, p.Golden.Image, p.Golden.Expected)
	}
	for _, f := range files {
		if err := copyFile(filepath.Join(src, f), filepath.Join(stage, f)); err != nil {
			return err
		}
	}
	return nil
}

// stageONNX copies a bare export and writes the manifest inferred from it.
func stageONNX(src, stage, name string, inspect Inspector) error {
	const op = "registry.stageONNX"
	if !strings.EqualFold(filepath.Ext(src), ".onnx") {
		return fault.E(op, fault.Invalid, fmt.Errorf("%s is neither a package folder nor an .onnx file", filepath.Base(src)))
	}
	if name == "" {
		name = packageName(strings.TrimSuffix(filepath.Base(src), filepath.Ext(src)))
	}
	dst := filepath.Join(stage, weightsFile)
	if err := copyFile(src, dst); err != nil {
		return err
	}
	sum, size, err := digestFile(dst)
	if err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	io, err := inspect.Inspect(dst)
	if err != nil {
		return err
	}
	m, err := Infer(name, io, Weights{File: weightsFile, SHA256: sum, Bytes: size})
	if err != nil {
		return err
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(stage, manifestFile), b); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return nil
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// packageName makes a valid package name of a file name: "YOLOv8n best(2)" becomes "yolov8n-best-2".
func packageName(s string) string {
	s = strings.Trim(notName.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if len(s) > 63 {
		s = strings.TrimRight(s[:63], "-")
	}
	if s == "" {
		s = "model"
	}
	return s
}

// copyFile copies a regular file and makes the copy durable.
// Errors: fault.Corrupt when src is missing or no regular file, fault.Unavailable when the disk refuses.
func copyFile(src, dst string) error {
	const op = "registry.copyFile"
	in, err := os.Open(src) //nolint:gosec // G304: the caller names the file
	if err != nil {
		return fault.E(op, fault.Corrupt, err)
	}
	defer in.Close() //nolint:errcheck // opened for reading only
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return fault.E(op, fault.Corrupt, fmt.Errorf("%s is not a regular file", filepath.Base(src)))
	}
	if err := writeAll(dst, in); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return nil
}

func writeFile(path string, b []byte) error {
	return writeAll(path, strings.NewReader(string(b)))
}

// writeAll creates path with everything r gives and fsyncs it.
func writeAll(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // G304: a name in the staging folder
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the names inside a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // G304: a folder of the registry
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
