// Package durable writes files that are either whole or absent after kill -9 and power loss, and holds the one seam through which
// the agent changes the file system, so that tests can fail any single operation.
//
// It does not read: reads go to package os directly. Every change follows one path: temporary file, fsync, rename, fsync of the
// folder.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file being written.
type File interface {
	io.Writer
	Sync() error
	Close() error
}

// FS is every operation by which the agent changes the file system. Paths are the operating system's.
type FS interface {
	// Mkdir makes a folder only its owner can enter; one that exists is no error.
	Mkdir(path string) error
	// Create makes or empties a file only its owner can read.
	Create(path string) (File, error)
	// Rename moves a file or folder within one volume, replacing a file.
	Rename(from, to string) error
	// Remove deletes a file or an empty folder; one that is absent is no error.
	Remove(path string) error
	// RemoveAll deletes a folder with everything in it; one that is absent is no error.
	RemoveAll(path string) error
	// SyncDir makes the names in a folder durable. Windows has no such call, and its journal keeps the order of renames.
	SyncDir(path string) error
}

// OS is the real file system.
type OS struct{}

// Mkdir implements FS.
func (OS) Mkdir(path string) error { return os.MkdirAll(path, 0o700) }

// Create implements FS.
func (OS) Create(path string) (File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // paths come from the agent's own folders
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(path string) error { return absent(os.Remove(path)) }

// RemoveAll implements FS.
func (OS) RemoveAll(path string) error { return os.RemoveAll(path) }

// SyncDir implements FS.
func (OS) SyncDir(path string) error { return syncDir(path) }

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// TempPrefix begins the name of every temporary file, so that leftovers of a crash can be told apart and removed.
const TempPrefix = ".kenkyo-tmp-"

// WriteFile replaces path by a file of these bytes. After it returns nil the file survives power loss; after an error the old file,
// or none, is there. Not for two writers of one path at once.
func WriteFile(fsys FS, path string, data []byte) error {
	dir, name := filepath.Split(path)
	temp := filepath.Join(dir, TempPrefix+name)
	if err := WriteSynced(fsys, temp, data); err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	if err := fsys.Rename(temp, path); err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// WriteSynced writes a file in place and makes its content durable, but not yet its name.
func WriteSynced(fsys FS, path string, data []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// Move renames a file or folder and makes both folders' names durable.
func Move(fsys FS, from, to string) error {
	if err := fsys.Rename(from, to); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return fsys.SyncDir(filepath.Dir(from))
}

// RemoveTemps deletes the temporary files a crash left in dir.
func RemoveTemps(fsys FS, dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, TempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := fsys.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")
