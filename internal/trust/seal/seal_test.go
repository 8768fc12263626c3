package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/seal"
)

// keys is a store of wrapped facility keys.
type keys map[lab.FacilityID]seal.WrappedFacility

func (k keys) FacilityKeys(_ context.Context, id lab.FacilityID) (seal.WrappedFacility, error) {
	w, ok := k[id]
	if !ok {
		return w, fault.E("keys", fault.NotFound, errors.New("no such facility"))
	}
	return w, nil
}

func newRoot(t *testing.T) *seal.Root {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	if err := seal.CreateRoot(path); err != nil {
		t.Fatal(err)
	}
	root, err := seal.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func newFacility(t *testing.T, root *seal.Root, id lab.FacilityID) *seal.Facility {
	t.Helper()
	w, err := root.NewFacility(id)
	if err != nil {
		t.Fatal(err)
	}
	f, err := seal.NewRing(root, keys{id: w}).Facility(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantKind(t *testing.T, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: got %v, want kind %v", what, err, kind)
	}
}

func TestRootFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root.key")
	_, err := seal.OpenRoot(path)
	wantKind(t, "missing file", err, fault.NotFound)
	if err := seal.CreateRoot(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of a new root key: got %v, %v, want 0600", info.Mode(), err)
	}
	wantKind(t, "creating it again", seal.CreateRoot(path), fault.Conflict)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = seal.OpenRoot(path)
	wantKind(t, "readable by the group", err, fault.Denied)
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = seal.OpenRoot(path)
	wantKind(t, "without a keyset", err, fault.Corrupt)
}

func TestFacilityKeysBelongToRootAndFacility(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	w, err := root.NewFacility("fac_a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = seal.NewRing(newRoot(t), keys{"fac_a": w}).Facility(t.Context(), "fac_a")
	wantKind(t, "another root", err, fault.Corrupt)
	_, err = seal.NewRing(root, keys{"fac_b": w}).Facility(t.Context(), "fac_b")
	wantKind(t, "another facility's keys", err, fault.Corrupt)
	_, err = seal.NewRing(root, keys{}).Facility(t.Context(), "fac_a")
	wantKind(t, "unknown facility", err, fault.NotFound)
}

func TestMACSeparatesPurposesAndParts(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a, b := newFacility(t, root, "fac_a"), newFacility(t, root, "fac_b")
	seen := map[string]string{}
	for name, mac := range map[string][]byte{
		"a/p(ab,c)": a.MAC("p", "ab", "c"), "a/p(a,bc)": a.MAC("p", "a", "bc"), "a/p(abc)": a.MAC("p", "abc"),
		"a/q(ab,c)": a.MAC("q", "ab", "c"), "b/p(ab,c)": b.MAC("p", "ab", "c"), "a/p()": a.MAC("p"), "a/p('')": a.MAC("p", ""),
	} {
		if other, ok := seen[string(mac)]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[string(mac)] = name
	}
	if !bytes.Equal(a.MAC("p", "x"), a.MAC("p", "x")) {
		t.Error("the same value gave two digests: it could not be found again")
	}
}

func TestSpecimenKeys(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a, b := newFacility(t, root, "fac_a"), newFacility(t, root, "fac_b")
	key, wrapped, err := a.NewSpecimenKey([]byte("mac"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.SealField("specimen_id", []byte("検体-1"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.OpenSpecimenKey([]byte("mac"), wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.OpenField("specimen_id", sealed); err != nil || string(plain) != "検体-1" {
		t.Errorf("opened field: got %q, %v", plain, err)
	}
	_, err = again.OpenField("file_name", sealed)
	wantKind(t, "another field", err, fault.Corrupt)
	_, err = a.OpenSpecimenKey([]byte("other"), wrapped)
	wantKind(t, "another specimen", err, fault.Corrupt)
	_, err = b.OpenSpecimenKey([]byte("mac"), wrapped)
	wantKind(t, "another facility", err, fault.Corrupt)

	image := seal.NewImageKey()
	w, err := key.WrapImageKey("fld_1", image)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.UnwrapImageKey("fld_1", w); err != nil || got != image {
		t.Errorf("unwrapped image key differs (%v)", err)
	}
	_, err = key.UnwrapImageKey("fld_2", w)
	wantKind(t, "another image", err, fault.Corrupt)
}

// sealImage seals plain in one piece.
func sealImage(t *testing.T, k seal.ImageKey, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := k.SealingWriter(&b, "fac_a", "fld_1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImageRoundTrip(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 100, 64<<10 - 16, 64 << 10, 64<<10 + 1, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			k := seal.NewImageKey()
			plain := bytes.Repeat([]byte{0xab}, size)
			sealed := sealImage(t, k, plain)
			if size >= 100 && bytes.Contains(sealed, plain[:16]) {
				t.Error("the sealed stream holds plaintext")
			}
			got, err := k.OpenImage(iotest.HalfReader(bytes.NewReader(sealed)), "fac_a", "fld_1", int64(size))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opened %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestTamperedImagesDoNotOpen(t *testing.T) {
	t.Parallel()
	k := seal.NewImageKey()
	plain := bytes.Repeat([]byte("image "), 20_000)
	sealed := sealImage(t, k, plain)
	size := int64(len(plain))
	flip := func(i int) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		return b
	}
	for name, stream := range map[string][]byte{
		"empty": {}, "header only": sealed[:40], "cut at a segment": sealed[:64<<10], "cut by a byte": sealed[:len(sealed)-1],
		"a byte more": append(bytes.Clone(sealed), 0), "first byte": flip(0), "salt": flip(5), "middle": flip(len(sealed) / 2), "last": flip(len(sealed) - 1),
	} {
		_, err := k.OpenImage(bytes.NewReader(stream), "fac_a", "fld_1", size)
		wantKind(t, name, err, fault.Corrupt)
	}
	_, err := k.OpenImage(bytes.NewReader(sealed), "fac_b", "fld_1", size)
	wantKind(t, "another facility", err, fault.Corrupt)
	_, err = k.OpenImage(bytes.NewReader(sealed), "fac_a", "fld_2", size)
	wantKind(t, "another image", err, fault.Corrupt)
	_, err = k.OpenImage(bytes.NewReader(sealed), "fac_a", "fld_1", size-1)
	wantKind(t, "longer than recorded", err, fault.Corrupt)
	_, err = seal.NewImageKey().OpenImage(bytes.NewReader(sealed), "fac_a", "fld_1", size)
	wantKind(t, "another key", err, fault.Corrupt)
	// A store that fails in the middle has lost nothing: that must not read as tampering.
	broken := io.MultiReader(bytes.NewReader(sealed[:70<<10]), iotest.ErrReader(errors.New("input/output error")))
	_, err = k.OpenImage(broken, "fac_a", "fld_1", size)
	wantKind(t, "a failing store", err, fault.Unavailable)
}
