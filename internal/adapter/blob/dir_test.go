package blob_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kenkyo/internal/adapter/blob"
	"kenkyo/internal/fault"
)

func open(t *testing.T) (*blob.Dir, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "blobs")
	d, err := blob.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	return d, root
}

func put(t *testing.T, d *blob.Dir, key, value string) {
	t.Helper()
	w, err := d.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, value); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Abort() // after Commit it does nothing
}

func get(t *testing.T, d *blob.Dir, key string) (string, error) {
	t.Helper()
	r, err := d.Open(t.Context(), key)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	return string(b), err
}

func TestObjects(t *testing.T) {
	t.Parallel()
	d, root := open(t)
	if _, err := get(t, d, "image/fld_1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("before it was put: got %v, want NotFound", err)
	}
	w, err := d.Create(t.Context(), "image/fld_1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "half"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, d, "image/fld_1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("before Commit: got %v, want NotFound", err)
	}
	w.Abort()
	put(t, d, "image/fld_1", "sealed")
	put(t, d, "image/fld_2", "")
	if got, err := get(t, d, "image/fld_1"); err != nil || got != "sealed" {
		t.Errorf("got %q, %v", got, err)
	}
	var keys []string
	err = d.Walk(t.Context(), "image", func(o blob.Object) error { keys = append(keys, o.Key); return nil })
	if err != nil || len(keys) != 2 {
		t.Errorf("walk: got %v, %v, want both objects", keys, err)
	}
	if err := d.Walk(t.Context(), "video", func(blob.Object) error { return io.EOF }); err != nil {
		t.Errorf("walk of a kind without objects: got %v", err)
	}
	for range 2 {
		if err := d.Delete(t.Context(), "image/fld_1"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(root, "tmp")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestPrivateModes(t *testing.T) {
	t.Parallel()
	d, root := open(t)
	put(t, d, "image/fld_1", "x")
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMalformedKeys(t *testing.T) {
	t.Parallel()
	d, _ := open(t)
	for _, key := range []string{"", "image", "image/", "image/..", "image/../../etc/passwd", "../x/y", "image/a/b", "Image/a", "image/a\x00b", "image/" + strings.Repeat("a", 101)} {
		if _, err := d.Open(t.Context(), key); !fault.Is(err, fault.Invalid) {
			t.Errorf("open %q: got %v, want Invalid", key, err)
		}
		if _, err := d.Create(t.Context(), key); !fault.Is(err, fault.Invalid) {
			t.Errorf("create %q: got %v, want Invalid", key, err)
		}
	}
}

func TestForgottenTemporaryFiles(t *testing.T) {
	t.Parallel()
	d, root := open(t)
	w, err := d.Create(t.Context(), "image/fld_1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte{1}, 10)); err != nil {
		t.Fatal(err)
	}
	if err := d.CleanTemp(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(root, "tmp")); len(left) != 1 {
		t.Errorf("a file being written: got %d files, want it left alone", len(left))
	}
	if err := d.CleanTemp(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(root, "tmp")); len(left) != 0 {
		t.Errorf("a forgotten file: got %d files, want none", len(left))
	}
}

// A store that cannot write says Unavailable, and its message names no path of this machine.
func TestUnwritableStore(t *testing.T) {
	t.Parallel()
	d, root := open(t)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	_, err := d.Create(t.Context(), "image/fld_1")
	if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), root) {
		t.Errorf("got %v, want Unavailable without the path", err)
	}
}
