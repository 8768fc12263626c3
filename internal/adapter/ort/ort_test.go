package ort_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kenkyo/internal/adapter/ort"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/mlops/registry"
)

// open loads the runtime; its absence fails the test, since a skipped test would pass for a working one.
func open(tb testing.TB) *ort.Runtime {
	tb.Helper()
	rt, err := ort.Open(os.Getenv("KENKYO_ORT_LIB"))
	if err != nil {
		tb.Fatalf("ONNX Runtime is needed by this test: run `make ort` or set KENKYO_ORT_LIB: %v", err)
	}
	return rt
}

func graph(name string) string { return filepath.Join("testdata", name+".onnx") }

// session opens a graph of testdata.
func session(tb testing.TB, name string, o ort.Options) *ort.Session {
	tb.Helper()
	s, err := open(tb).NewSession(graph(name), o)
	if err != nil {
		tb.Fatalf("NewSession(%s): %v", name, err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close(%s): %v", name, err)
		}
	})
	return s
}

// images gives n images of 3×32×32 values, image i filled with levels[i].
func images(levels ...float32) []float32 {
	const per = 3 * 32 * 32
	out := make([]float32, 0, per*len(levels))
	for _, l := range levels {
		for range per {
			out = append(out, l)
		}
	}
	return out
}

func run(tb testing.TB, s *ort.Session, batch int, in []float32) predict.Tensor {
	tb.Helper()
	outs, err := s.Run(context.Background(), batch, in)
	if err != nil {
		tb.Fatalf("Run(batch %d): %v", batch, err)
	}
	if len(outs) != 1 {
		tb.Fatalf("Run(batch %d) gave %d outputs, want 1", batch, len(outs))
	}
	return outs[0]
}

func TestOpen(t *testing.T) {
	t.Parallel()
	rt := open(t)
	if got, want := rt.Name(), "onnxruntime 1.30.0 cpu"; got != want && os.Getenv("KENKYO_ORT_LIB") == "" {
		t.Errorf("Name() = %q, want %q", got, want)
	}
	open(t) // a second call shares the library
	_, err := ort.Open(filepath.Join(t.TempDir(), "libonnxruntime.so.1"))
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "make ort") {
		t.Errorf("Open(missing file) gave %v, want Unavailable naming `make ort`", err)
	}
	other := filepath.Join(t.TempDir(), "other.so")
	if err := os.WriteFile(other, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ort.Open(other); !fault.Is(err, fault.Conflict) {
		t.Errorf("Open(another file) gave %v, want Conflict", err)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	rt := open(t)
	got, err := rt.Inspect(graph("yolov8_dynamic"))
	if err != nil {
		t.Fatal(err)
	}
	want := registry.IO{
		Inputs:  []registry.TensorInfo{{Name: "images", Shape: []int64{-1, -1, -1, -1}, Type: "float32"}},
		Outputs: []registry.TensorInfo{{Name: "output", Shape: []int64{-1, 6, -1}, Type: "float32"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(registry.IO{}, "Metadata")); diff != "" {
		t.Errorf("Inspect(yolov8_dynamic), -want +got:\n%s", diff)
	}
	for key, want := range map[string]string{"names": "{0: 'RBC', 1: 'WBC'}", "imgsz": "[64, 32]", "task": "detect"} {
		if got := got.Metadata[key]; got != want {
			t.Errorf("metadata %s = %q, want %q", key, got, want)
		}
	}
	for name, want := range map[string]string{"yolov8_fp16": "float16", "yolov8_int8": "float32", "uint8_input": "uint8"} {
		got, err := rt.Inspect(graph(name))
		if err != nil {
			t.Fatalf("Inspect(%s): %v", name, err)
		}
		if got.Inputs[0].Type != want {
			t.Errorf("Inspect(%s) input type = %q, want %q", name, got.Inputs[0].Type, want)
		}
	}
	if got, err := rt.Inspect(graph("yolov8_no_names")); err != nil || len(got.Metadata) != 0 {
		t.Errorf("Inspect(yolov8_no_names) metadata = %v, %v, want none", got.Metadata, err)
	}
}

func TestUnloadable(t *testing.T) {
	t.Parallel()
	rt := open(t)
	for _, name := range []string{"garbage", "truncated", "zero_outputs", "two_inputs", "uint8_input", "channels_last", "no_such_file"} {
		_, err := rt.NewSession(graph(name), ort.Options{Width: 32, Height: 32})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("NewSession(%s) gave %v, want Invalid", name, err)
		}
	}
	for _, name := range []string{"garbage", "truncated", "no_such_file"} {
		if _, err := rt.Inspect(graph(name)); !fault.Is(err, fault.Invalid) {
			t.Errorf("Inspect(%s) gave %v, want Invalid", name, err)
		}
	}
	if _, err := rt.NewSession(graph("yolov8"), ort.Options{Width: 64, Height: 64}); !fault.Is(err, fault.Invalid) {
		t.Errorf("NewSession(32 px graph for 64 px) gave %v, want Invalid", err)
	}
	if _, err := rt.NewSession(graph("yolov8_dynamic"), ort.Options{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("NewSession(open size, none given) gave %v, want Invalid", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	// The weak fourth box of every yolov8 graph scores 0.2 + 0.5·mean as RBC.
	for _, tc := range []struct {
		graph     string
		levels    []float32
		tolerance float64
	}{
		{"yolov8", []float32{0.5}, 1e-6},
		{"yolov8", []float32{0, 0.5, 1}, 1e-6}, // fixed batch of 1: image by image
		{"yolov8_batch", []float32{0, 0.25, 0.5, 1}, 1e-6},
		{"yolov8_batch4", []float32{0, 0.25, 0.5, 1}, 1e-6},
		{"yolov8_batch4", []float32{0.75}, 1e-6}, // padded to the fixed batch
		{"yolov8_batch4", []float32{0, 0.2, 0.4, 0.6, 0.8}, 1e-6},
		{"yolov8_fp16", []float32{0.5}, 1e-3},
		{"yolov8_int8", []float32{0.5}, 3e-3},
		{"yolov8_dynamic", []float32{0.5, 0.25}, 1e-6},
	} {
		s := session(t, tc.graph, ort.Options{Width: 32, Height: 32})
		for range 3 { // the second and third run reuse the first one's buffers
			out := run(t, s, len(tc.levels), images(tc.levels...))
			want := []int64{int64(len(tc.levels)), 6, 4}
			if diff := cmp.Diff(want, out.Shape); diff != "" {
				t.Fatalf("%s levels %v: shape, -want +got:\n%s", tc.graph, tc.levels, diff)
			}
			for i, l := range tc.levels {
				got, want := float64(out.Data[i*24+4*4+3]), 0.2+0.5*float64(l)
				if math.Abs(got-want) > tc.tolerance {
					t.Errorf("%s image %d of level %v: score %v, want %v ± %v", tc.graph, i, l, got, want, tc.tolerance)
				}
			}
			if out.Release != nil {
				out.Release()
			}
		}
	}
}

func TestRunTakesOtherSize(t *testing.T) {
	t.Parallel()
	s := session(t, "yolov8_dynamic", ort.Options{Width: 64, Height: 16})
	in := make([]float32, 3*64*16)
	out := run(t, s, 1, in)
	if diff := cmp.Diff([]int64{1, 6, 4}, out.Shape); diff != "" {
		t.Errorf("shape, -want +got:\n%s", diff)
	}
}

func TestRunRefusesWrongLength(t *testing.T) {
	t.Parallel()
	s := session(t, "yolov8", ort.Options{})
	for _, tc := range []struct{ batch, values int }{{1, 0}, {1, 3*32*32 - 1}, {2, 3 * 32 * 32}, {0, 0}, {-1, 3 * 32 * 32}} {
		if _, err := s.Run(context.Background(), tc.batch, make([]float32, tc.values)); !fault.Is(err, fault.Internal) || err == nil {
			t.Errorf("Run(batch %d, %d values) gave %v, want Internal", tc.batch, tc.values, err)
		}
	}
}

func TestRunEndsWithContext(t *testing.T) {
	t.Parallel()
	s := session(t, "yolov8", ort.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := s.Run(ctx, 1, images(0)); err != nil {
		t.Fatalf("Run under a live context: %v", err)
	}
	cancel()
	if _, err := s.Run(ctx, 1, images(0)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Run under an ended context gave %v, want Unavailable", err)
	}
}

// TestRunConcurrently proves that one session serves many callers at once without mixing their images.
func TestRunConcurrently(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"yolov8_batch", "yolov8_fp16", "yolov8_dynamic"} {
		s := session(t, name, ort.Options{Width: 32, Height: 32})
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				level := float32(g) / 8
				for range 50 {
					outs, err := s.Run(context.Background(), 1, images(level))
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					got, want := float64(outs[0].Data[4*4+3]), 0.2+0.5*float64(level)
					if math.Abs(got-want) > 2e-3 {
						t.Errorf("%s: caller %d got %v, want %v", name, g, got, want)
					}
					if outs[0].Release != nil {
						outs[0].Release()
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestLocate(t *testing.T) {
	if os.Getenv("KENKYO_ORT_LIB") != "" {
		t.Skip("a library of another place is under test")
	}
	got, err := ort.Locate("")
	if err != nil {
		t.Fatalf("run `make ort`: %v", err)
	}
	if want := filepath.Join(".cache", "onnxruntime", ort.Version, "libonnxruntime.so.1"); !strings.HasSuffix(got, want) {
		t.Errorf("Locate(\"\") = %s, want a path ending in %s", got, want)
	}
	t.Chdir(t.TempDir())
	if _, err := ort.Locate(""); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "make ort") {
		t.Errorf("Locate(\"\") with none installed gave %v, want Unavailable naming `make ort`", err)
	}
}
