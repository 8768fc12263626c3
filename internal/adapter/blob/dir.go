// Package blob keeps sealed objects. Dir keeps them as files of one folder on a local disk; every object is durable, its folder
// entries included, before it becomes visible. Keys are "<kind>/<identifier>"; values are ciphertext only.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"kenkyo/internal/clinic/detect"
	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
)

var (
	_ intake.Blobs = (*Dir)(nil)
	_ detect.Blobs = (*Dir)(nil)
)

// Dir is a folder of objects: <root>/<kind>/<2 hexadecimal digits>/<identifier>, and <root>/tmp for objects being written.
type Dir struct {
	root string

	durable sync.Map // folders whose own entries this process has made durable
}

var keyForm = regexp.MustCompile(`^[a-z]{1,20}/[A-Za-z0-9_]{1,100}$`)

// OpenDir opens or creates the folder with mode 0700.
func OpenDir(root string) (*Dir, error) {
	const op = "blob.OpenDir"
	if err := os.MkdirAll(filepath.Join(root, "tmp"), 0o700); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	if err := syncDir(root); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	return &Dir{root: root}, nil
}

// path gives the file of a key. Objects are spread over 256 folders by digest, since identifiers made together begin alike.
func (d *Dir) path(key string) (string, error) {
	if !keyForm.MatchString(key) {
		return "", fault.E("blob.path", fault.Invalid, errors.New("malformed object key"))
	}
	kind, id, _ := strings.Cut(key, "/")
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(d.root, kind, hex.EncodeToString(sum[:1]), id), nil
}

// Create implements intake.Blobs.
func (d *Dir) Create(_ context.Context, key string) (intake.BlobWriter, error) {
	const op = "blob.Create"
	path, err := d.path(key)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Join(d.root, "tmp"), "blob-*") // mode 0600
	if err != nil {
		return nil, unavailable(op, err)
	}
	return &writer{dir: d, file: f, path: path}, nil
}

type writer struct {
	dir  *Dir
	file *os.File // nil after Commit or Abort
	path string
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		return n, unavailable("blob.Write", err)
	}
	return n, nil
}

// Commit: fsync the file, move it into place, fsync the folder that gained the entry.
func (w *writer) Commit(context.Context) error {
	const op = "blob.Commit"
	f := w.file
	w.file = nil
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = w.dir.ensureFolder(filepath.Dir(w.path))
	}
	if err == nil {
		err = os.Rename(f.Name(), w.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(w.path))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return unavailable(op, err)
	}
	return nil
}

// Abort implements intake.BlobWriter.
func (w *writer) Abort() {
	if w.file == nil {
		return
	}
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
	w.file = nil
}

// ensureFolder creates the folder of an object and makes its entry durable. That a folder exists does not show that its entry would
// survive a power cut: another process may have made it a moment ago. So each process syncs the parents once for each folder.
func (d *Dir) ensureFolder(folder string) error {
	if _, ok := d.durable.Load(folder); ok {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := errors.Join(syncDir(filepath.Dir(folder)), syncDir(d.root)); err != nil {
		return err
	}
	d.durable.Store(folder, struct{}{})
	return nil
}

// Open implements detect.Blobs.
func (d *Dir) Open(_ context.Context, key string) (io.ReadCloser, error) {
	const op = "blob.Open"
	path, err := d.path(key)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // path is made from a checked key
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E(op, fault.NotFound, errors.New("object does not exist"))
	}
	if err != nil {
		return nil, unavailable(op, err)
	}
	return f, nil
}

// Delete removes an object; a missing one is no error.
func (d *Dir) Delete(_ context.Context, key string) error {
	const op = "blob.Delete"
	path, err := d.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(op, err)
	}
	return nil
}

// Object is one stored object.
type Object struct {
	Key      string
	Bytes    int64
	Modified time.Time
}

// Walk calls fn for every object of a kind, in no particular order, and stops at its first error.
func (d *Dir) Walk(ctx context.Context, kind string, fn func(Object) error) error {
	const op = "blob.Walk"
	err := filepath.WalkDir(filepath.Join(d.root, kind), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing of this kind yet, or removed meanwhile
		}
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(Object{Key: kind + "/" + filepath.Base(path), Bytes: info.Size(), Modified: info.ModTime()})
	})
	if err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return nil
}

// CleanTemp removes temporary files last written before the given time: what an earlier process left when it died.
func (d *Dir) CleanTemp(before time.Time) error {
	const op = "blob.CleanTemp"
	tmp := filepath.Join(d.root, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return unavailable(op, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(filepath.Join(tmp, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unavailable(op, err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // a folder of this store
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// unavailable keeps paths out of the message: a caller outside must not learn them.
func unavailable(op string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = errors.New("object store: " + pe.Op + ": " + pe.Err.Error())
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		err = errors.New("object store: " + le.Op + ": " + le.Err.Error())
	}
	return fault.E(op, fault.Unavailable, err)
}
