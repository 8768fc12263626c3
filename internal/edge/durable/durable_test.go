package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kenkyo/internal/edge/durable"
)

var errDisk = errors.New("no space left")

// failing fails its n-th operation that writes.
type failing struct {
	durable.OS

	left int
}

func (f *failing) step() error {
	if f.left--; f.left == 0 {
		return errDisk
	}
	return nil
}

func (f *failing) Create(path string) (durable.File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	return f.OS.Create(path)
}

func (f *failing) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func TestWriteFileLeavesTheOldFileOrTheNew(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if err := durable.WriteFile(durable.OS{}, path, []byte("old")); err != nil {
			t.Fatal(err)
		}
		err := durable.WriteFile(&failing{left: n}, path, []byte("new"))
		want := "old"
		if err == nil {
			want = "new"
		}
		if n <= 2 && !errors.Is(err, errDisk) {
			t.Errorf("failure at operation %d: %v, want %v", n, err, errDisk)
		}
		got, readErr := os.ReadFile(path)
		if readErr != nil || string(got) != want {
			t.Errorf("failure at operation %d: file %q, %v; want %q", n, got, readErr, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("failure at operation %d: folder holds %v, %v; want the file alone", n, entries, err)
		}
	}
}

func TestLockExcludesUntilClosed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	held, err := durable.Lock(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Lock(path, false); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second Lock = %v, want ErrLocked", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := durable.Lock(path, true)
	if err != nil {
		t.Fatalf("Lock after Close = %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestRemoveTempsRemovesNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"kept.json", durable.TempPrefix + "left.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.RemoveTemps(durable.OS{}, dir); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "kept.json" {
		t.Errorf("folder holds %v, %v; want kept.json", entries, err)
	}
}
