//go:build !windows

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // paths come from the agent's own folders
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// PrivateDir makes path if it is absent and refuses a folder that others than its owner can enter or that belongs to another user.
func PrivateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", path, fs.ErrInvalid)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s is open to other users (mode %04o): run chmod 700 on it, or choose another folder", path, perm)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user (uid %d)", path, owner.Uid)
	}
	return nil
}

// Lock takes an exclusive lock on the file at path, which ends with the process however it dies. With wait it blocks until the
// lock is free; without, a lock that is taken gives ErrLocked.
func Lock(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // paths come from the agent's own folders
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(err, f.Close())
}
