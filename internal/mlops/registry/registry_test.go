package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/fault"
)

// fakeInspector describes every file as the same graph.
type fakeInspector struct {
	io  IO
	err error
}

func (f fakeInspector) Inspect(string) (IO, error) { return f.io, f.err }

// twoLabels is a yolov8 graph that fits validManifest.
var twoLabels = IO{
	Inputs:   []TensorInfo{{Name: "images", Shape: []int64{1, 3, 416, 416}, Type: "float32"}},
	Outputs:  []TensorInfo{{Name: "output0", Shape: []int64{1, 6, 3549}, Type: "float32"}},
	Metadata: map[string]string{"names": "{0: 'RBC', 1: 'WBC'}", "task": "detect", "imgsz": "[416, 416]", "license": "AGPL-3.0"},
}

var works = Check(func(context.Context, *Package) error { return nil })

// writePackage writes a package folder whose weights are the given text; edit may change the manifest.
func writePackage(t *testing.T, weights string, edit func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.NewReplacer(
		"sha256: 375876d689f42b5dd5ab5018fd817691d430bd979313e0fb37721807ee3bb8a9", fmt.Sprintf("sha256: %x", sha256.Sum256([]byte(weights))),
		"bytes: 4", fmt.Sprintf("bytes: %d", len(weights))).Replace(validManifest)
	if edit != nil {
		text = edit(text)
	}
	for name, content := range map[string]string{"model.yaml": text, "model.onnx": weights, "golden.png": "png", "golden.json": "{}", "README": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := Open(filepath.Join(t.TempDir(), "models"))
	if err != nil {
		t.Fatal(err)
	}
	// Each look at the clock is a second later, so that additions are in order.
	var mu sync.Mutex
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	}
	return r
}

func mustAdd(t *testing.T, r *Registry, src string) *Package {
	t.Helper()
	p, err := r.Add(context.Background(), src, fakeInspector{io: twoLabels}, works)
	if err != nil {
		t.Fatalf("Add: %v", err)
	}
	return p
}

func refs(ps []*Package) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.Ref())
	}
	return out
}

func TestAddGetList(t *testing.T) {
	t.Parallel()
	r := openRegistry(t)
	first := mustAdd(t, r, writePackage(t, "one", nil))
	second := mustAdd(t, r, writePackage(t, "two!", nil))
	other := mustAdd(t, r, writePackage(t, "one", func(s string) string { return strings.Replace(s, "name: blood-smear", "name: another", 1) }))
	if again := mustAdd(t, r, writePackage(t, "one", nil)); again.Dir != first.Dir {
		t.Errorf("adding again gave %s, want the stored %s", again.Dir, first.Dir)
	}
	got, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{other.Ref(), second.Ref(), first.Ref()}, refs(got)); diff != "" {
		t.Errorf("List, -want +got:\n%s", diff)
	}
	for ref, want := range map[string]*Package{
		"blood-smear": second, first.Ref(): first, "blood-smear@" + string(first.Digest): first, "another": other,
		"blood-smear@" + string(second.Digest[:8]): second,
	} {
		p, err := r.Get(ref)
		if err != nil || p.Digest != want.Digest {
			t.Errorf("Get(%s) = %v, %v, want %s", ref, p, err, want.Ref())
		}
	}
	for ref, want := range map[string]fault.Kind{
		"nothing": fault.NotFound, "blood-smear@ffffffffffff": fault.NotFound, "": fault.Invalid, "../x": fault.Invalid,
		"blood-smear@": fault.Invalid, "blood-smear@XYZ": fault.Invalid, "blood-smear@../..": fault.Invalid,
	} {
		if p, err := r.Get(ref); !fault.Is(err, want) {
			t.Errorf("Get(%q) = %v, %v, want %v", ref, p, err, want)
		}
	}
	files, err := os.ReadDir(second.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if diff := cmp.Diff([]string{"added", "golden.json", "golden.png", "model.onnx", "model.yaml"}, names); diff != "" {
		t.Errorf("stored files, -want +got:\n%s", diff)
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	good := fakeInspector{io: twoLabels}
	swap := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	io := func(edit func(*IO)) fakeInspector {
		c := IO{Inputs: []TensorInfo{twoLabels.Inputs[0]}, Outputs: []TensorInfo{twoLabels.Outputs[0]}, Metadata: twoLabels.Metadata}
		edit(&c)
		return fakeInspector{io: c}
	}
	boom := errors.New("boom")
	for _, tc := range []struct {
		name    string
		src     string
		inspect Inspector
		check   Check
		want    fault.Kind
	}{
		{"no such path", filepath.Join(t.TempDir(), "none"), good, works, fault.NotFound},
		{"a folder without manifest", t.TempDir(), good, works, fault.NotFound},
		{"a broken rule", writePackage(t, "w", swap("schema: 1", "schema: 9")), good, works, fault.Invalid},
		{"weights of another digest", writePackage(t, "w", swap("  bytes: 1", "  bytes: 2")), good, works, fault.Corrupt},
		{"weights missing", writePackage(t, "w", swap("file: model.onnx", "file: gone.onnx")), good, works, fault.Corrupt},
		{"golden digest", writePackage(t, "w", swap("  image: golden.png", "  image: golden.png\n  image_sha256: "+strings.Repeat("a", 64))), good, works, fault.Corrupt},
		{"graph of another type", writePackage(t, "w", nil), io(func(c *IO) { c.Inputs[0].Type = "float16" }), works, fault.Invalid},
		{"graph of another size", writePackage(t, "w", nil), io(func(c *IO) { c.Inputs[0].Shape = []int64{1, 3, 640, 640} }), works, fault.Invalid},
		{"graph of more labels", writePackage(t, "w", nil), io(func(c *IO) { c.Outputs[0].Shape = []int64{1, 7, 3549} }), works, fault.Invalid},
		{"graph without output", writePackage(t, "w", nil), io(func(c *IO) { c.Outputs = nil }), works, fault.Invalid},
		{"runtime missing", writePackage(t, "w", nil), fakeInspector{err: fault.E("fake", fault.Unavailable, boom)}, works, fault.Unavailable},
		{
			"check fails", writePackage(t, "w", nil), good,
			func(context.Context, *Package) error { return fault.E("fake", fault.Invalid, boom) }, fault.Invalid,
		},
		{"a file that is no model", filepath.Join(writePackage(t, "w", nil), "README"), good, works, fault.Invalid},
	} {
		r := openRegistry(t)
		if _, err := r.Add(context.Background(), tc.src, tc.inspect, tc.check); !fault.Is(err, tc.want) {
			t.Errorf("%s: got %v (kind %v), want %v", tc.name, err, fault.KindOf(err), tc.want)
		}
		if left, err := os.ReadDir(r.dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v, %v in the registry, want nothing", tc.name, left, err)
		}
	}
}

func TestAddBareFile(t *testing.T) {
	t.Parallel()
	r := openRegistry(t)
	src := filepath.Join(t.TempDir(), "YOLOv8n best(2).ONNX")
	if err := os.WriteFile(src, []byte("graph"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := mustAdd(t, r, src)
	if p.Name != "yolov8n-best-2" || p.Licence.Weights != "AGPL-3.0" || p.Input.Width != 416 || p.NMS.IoU != 0.7 {
		t.Errorf("inferred %+v", p.Manifest)
	}
	if again := mustAdd(t, r, src); again.Digest != p.Digest {
		t.Errorf("adding again gave %s, want %s", again.Ref(), p.Ref())
	}
	named, err := r.AddAs(context.Background(), "cells", src, fakeInspector{io: twoLabels}, works)
	if err != nil || named.Name != "cells" {
		t.Errorf("AddAs(cells) = %v, %v", named, err)
	}
	if _, err := r.AddAs(context.Background(), "other", writePackage(t, "w", nil), fakeInspector{io: twoLabels}, works); !fault.Is(err, fault.Invalid) {
		t.Errorf("AddAs with another name than the package's: got %v, want Invalid", err)
	}
}

// TestStoredPackageChanged: what is on disk is checked whenever it is handed out, and one damaged package does not hide others.
func TestStoredPackageChanged(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"model.onnx", "model.yaml"} {
		r := openRegistry(t)
		src := writePackage(t, "weights!", nil)
		p := mustAdd(t, r, src)
		fine := mustAdd(t, r, writePackage(t, "w", func(s string) string { return strings.Replace(s, "name: blood-smear", "name: fine", 1) }))
		path := filepath.Join(p.Dir, file)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("weights!", "Weights!", "Finds cells", "Finds Cells").Replace(string(b))
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Get("blood-smear"); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s changed: Get gave %v, want Corrupt", file, err)
		}
		if _, err := r.Get("fine"); err != nil {
			t.Errorf("%s of another package changed: Get(fine) gave %v", file, err)
		}
		if _, err := r.Add(context.Background(), src, fakeInspector{io: twoLabels}, works); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s changed: adding again gave %v, want Corrupt", file, err)
		}
		if file == "model.yaml" {
			got, err := r.List()
			if diff := cmp.Diff([]string{fine.Ref()}, refs(got)); diff != "" || !fault.Is(err, fault.Corrupt) {
				t.Errorf("List gave error %v, want Corrupt; -want +got:\n%s", err, diff)
			}
		}
	}
}

// TestDamagedNewestHidesOlder: a damaged newest version stops its name; the older one must not take over by itself.
func TestDamagedNewestHidesOlder(t *testing.T) {
	t.Parallel()
	r := openRegistry(t)
	old := mustAdd(t, r, writePackage(t, "w", nil))
	newer := mustAdd(t, r, writePackage(t, "w", func(s string) string { return strings.Replace(s, "Finds cells", "Finds more cells", 1) }))
	if got, err := r.Newest(); err != nil || len(got) != 1 || got[0].Digest != newer.Digest {
		t.Fatalf("Newest before the damage: got %v, %v, want %s", refs(got), err, newer.Ref())
	}
	path := filepath.Join(newer.Dir, "model.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, "\n# changed\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Newest(); !fault.Is(err, fault.Corrupt) || len(got) != 0 {
		t.Errorf("Newest: got %v, %v, want nothing and Corrupt", refs(got), err)
	}
	if got, err := r.Get("blood-smear"); !fault.Is(err, fault.Corrupt) {
		t.Errorf("Get by name: got %v, %v, want Corrupt", got, err)
	}
	if got, err := r.Get(old.Ref()); err != nil || got.Digest != old.Digest {
		t.Errorf("Get of the older by its digest: got %v, %v, want it", got, err)
	}
	if _, err := r.Get(newer.Ref()); !fault.Is(err, fault.Corrupt) {
		t.Errorf("Get of the damaged by its digest: got %v, want Corrupt", err)
	}
	if got, err := r.List(); !fault.Is(err, fault.Corrupt) || len(got) != 1 {
		t.Errorf("List: got %v, %v, want the older and Corrupt", refs(got), err)
	}
}

func TestAddTwiceAtOnce(t *testing.T) {
	t.Parallel()
	r := openRegistry(t)
	src := writePackage(t, "weights", nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := r.Add(context.Background(), src, fakeInspector{io: twoLabels}, works); err != nil {
				t.Errorf("Add: %v", err)
			}
		})
	}
	wg.Wait()
	got, err := r.List()
	if err != nil || len(got) != 1 {
		t.Errorf("List = %v, %v, want one package", refs(got), err)
	}
}

// TestOpenSweeps: an add that was killed leaves a folder behind, which goes after an hour and is never listed.
func TestOpenSweeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, young := filepath.Join(dir, stagePrefix+"old"), filepath.Join(dir, stagePrefix+"young")
	for _, d := range []string{old, young} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != filepath.Base(young) {
		t.Errorf("left %v, %v, want %s alone", left, err, filepath.Base(young))
	}
	if got, err := r.List(); err != nil || len(got) != 0 {
		t.Errorf("List = %v, %v, want nothing", refs(got), err)
	}
}

func TestInferDefaults(t *testing.T) {
	t.Parallel()
	weights := Weights{File: "model.onnx", SHA256: strings.Repeat("a", 64), Bytes: 1}
	io := IO{
		Inputs:   []TensorInfo{{Shape: []int64{-1, 3, -1, -1}, Type: "float32"}},
		Outputs:  []TensorInfo{{Shape: []int64{-1, -1, 7}, Type: "float32"}},
		Metadata: map[string]string{"names": "['a', 'b']"},
	}
	m, err := Infer("m", io, weights)
	if err != nil || m.Input.Width != 640 || m.Input.Height != 640 || m.Output.Layout != LayoutYOLOv5 || m.NMS.IoU != 0.45 {
		t.Errorf("Infer(open yolov5) = %+v, %v, want 640×640 yolov5 at IoU 0.45", m, err)
	}
	for imgsz, want := range map[string][2]int{"[320, 640]": {320, 640}, "320": {320, 320}, "(96,)": {96, 96}} {
		io.Metadata["imgsz"] = imgsz
		m, err := Infer("m", io, weights)
		if err != nil || [2]int{m.Input.Height, m.Input.Width} != want {
			t.Errorf("imgsz %s: got %v, %v, want height and width %v", imgsz, m, err, want)
		}
	}
	for _, imgsz := range []string{"big", "[1,2,3]", "[0, 640]", "[-1]", "[99999, 1]"} {
		io.Metadata["imgsz"] = imgsz
		if m, err := Infer("m", io, weights); !fault.Is(err, fault.Invalid) {
			t.Errorf("imgsz %s: got %v, %v, want Invalid", imgsz, m, err)
		}
	}
}
