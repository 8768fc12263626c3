package ort_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kenkyo/internal/adapter/pixels"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// greyPNG encodes an image of one grey level.
func greyPNG(tb testing.TB, width, height int, level uint8) []byte {
	tb.Helper()
	img := image.NewGray(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = level
	}
	img.Set(0, 0, color.Gray{Y: level})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// add puts a graph of testdata into a fresh registry, as `kenkyo model add` does.
func add(tb testing.TB, name string) (*registry.Package, error) {
	tb.Helper()
	rt := open(tb)
	reg, err := registry.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return reg.Add(context.Background(), graph(name), rt, predict.NewCheck(rt.OpenPackage, pixels.New(pixels.Options{})))
}

// model makes a graph of testdata ready to predict.
func model(tb testing.TB, name string) *predict.Model {
	tb.Helper()
	p, err := add(tb, name)
	if err != nil {
		tb.Fatalf("Add(%s): %v", name, err)
	}
	s, err := open(tb).OpenPackage(p)
	if err != nil {
		tb.Fatalf("OpenPackage(%s): %v", name, err)
	}
	m, err := predict.New(context.Background(), p, s, pixels.New(pixels.Options{}))
	if err != nil {
		tb.Fatalf("New(%s): %v", name, err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

func TestAddBareExport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		graph  string
		task   registry.Task
		layout registry.Layout
		width  int
		height int
		dtype  registry.DType
		iou    float64
	}{
		{"yolov8", registry.TaskDetect, registry.LayoutYOLOv8, 32, 32, registry.Float32, 0.7},
		{"yolov8_batch", registry.TaskDetect, registry.LayoutYOLOv8, 32, 32, registry.Float32, 0.7},
		{"yolov8_batch4", registry.TaskDetect, registry.LayoutYOLOv8, 32, 32, registry.Float32, 0.7},
		{"yolov8_dynamic", registry.TaskDetect, registry.LayoutYOLOv8, 32, 64, registry.Float32, 0.7},
		{"yolov8_fp16", registry.TaskDetect, registry.LayoutYOLOv8, 32, 32, registry.Float16, 0.7},
		{"yolov8_int8", registry.TaskDetect, registry.LayoutYOLOv8, 32, 32, registry.Float32, 0.7},
		{"yolov5", registry.TaskDetect, registry.LayoutYOLOv5, 32, 32, registry.Float32, 0.45},
		{"yolov5_heads", registry.TaskDetect, registry.LayoutYOLOv5, 32, 32, registry.Float32, 0.45},
		{"softmax", registry.TaskClassify, registry.LayoutSoftmax, 32, 32, registry.Float32, 0},
		{"logits", registry.TaskClassify, registry.LayoutSoftmax, 32, 32, registry.Float32, 0},
	} {
		t.Run(tc.graph, func(t *testing.T) {
			t.Parallel()
			p, err := add(t, tc.graph)
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != strings.ReplaceAll(tc.graph, "_", "-") || p.Task != tc.task || p.Output.Layout != tc.layout ||
				p.Input.Width != tc.width || p.Input.Height != tc.height || p.Input.DType != tc.dtype {
				t.Errorf("got %s %s %s %d×%d %s, want %+v", p.Name, p.Task, p.Output.Layout, p.Input.Width, p.Input.Height, p.Input.DType, tc)
			}
			if tc.iou != 0 && p.NMS.IoU != tc.iou {
				t.Errorf("nms.iou = %v, want %v", p.NMS.IoU, tc.iou)
			}
		})
	}
}

func TestAddRefusesWithAdvice(t *testing.T) {
	t.Parallel()
	for name, advice := range map[string]string{
		"yolov8_no_names":    "write a model.yaml",
		"yolov8_end2end":     "nms=False",
		"yolov8_nms":         "nms=False",
		"yolov8_segment":     "only detect and classify",
		"yolov8_three_names": "3 labels",
		"yolov8_wrong_imgsz": "imgsz",
		"yolov8_all_open":    "fixed sizes",
		"ambiguous":          "output.layout",
		"wrong_rank":         "understood are",
		"channels_last":      "channels first",
		"uint8_input":        "float input",
		"two_inputs":         "only input",
		"nan":                "not finite",
		"garbage":            "cannot load",
		"truncated":          "cannot load",
		"zero_outputs":       "",
	} {
		_, err := add(t, name)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), advice) {
			t.Errorf("Add(%s) gave %v (kind %v), want Invalid with %q", name, err, fault.KindOf(err), advice)
		}
	}
}

func TestPredictThroughTheRuntime(t *testing.T) {
	t.Parallel()
	// A 64×48 image at level 255 lies in the 32×32 input as 32×24 under a pad of 4 rows of grey 114, so that a box in the input is
	// twice as large in the image and 8 px lower.
	mean := (32*24 + 32*8*114.0/255) / (32 * 32)
	box := func(x, y, w, h float64) *lab.Box { return &lab.Box{X: x, Y: y, W: w, H: h} }
	v8 := []lab.Finding{
		{Label: "RBC", Confidence: 0.9, Box: box(8, 0, 16, 16)},
		{Label: "RBC", Confidence: 0.8, Box: box(10, 0, 16, 16)},
		{Label: "WBC", Confidence: 0.7, Box: box(8, 0, 16, 16)},
		{Label: "RBC", Confidence: 0.2 + 0.5*mean, Box: box(44, 34, 8, 12)},
	}
	v5Score := 0.5 + 0.5*mean
	for _, tc := range []struct {
		graph     string
		floor     func(string) float64
		want      []lab.Finding
		tolerance float64
	}{
		{"yolov8", nil, []lab.Finding{v8[0], v8[2], v8[3]}, 1e-4}, // the second box overlaps the first by 7/9
		{"yolov8_batch", nil, []lab.Finding{v8[0], v8[2], v8[3]}, 1e-4},
		{"yolov8_fp16", nil, []lab.Finding{v8[0], v8[2], v8[3]}, 2e-3},
		{"yolov8", func(string) float64 { return 0.75 }, []lab.Finding{v8[0]}, 1e-4},
		{"yolov5", nil, []lab.Finding{
			{Label: "RBC", Confidence: 0.9 * v5Score, Box: v8[0].Box},
			{Label: "WBC", Confidence: 0.7 * v5Score, Box: v8[2].Box},
		}, 1e-4},
	} {
		m := model(t, tc.graph)
		got, err := m.Predict(context.Background(), greyPNG(t, 64, 48, 255), 0, tc.floor)
		if err != nil {
			t.Fatalf("%s: %v", tc.graph, err)
		}
		if diff := cmp.Diff(tc.want, got.Findings, cmpopts.EquateApprox(0, tc.tolerance)); diff != "" {
			t.Errorf("%s: findings, -want +got:\n%s", tc.graph, diff)
		}
		if got.Model != m.Package().Name || got.Digest != m.Package().Digest || got.Lineage.SourceWidth != 64 ||
			got.Lineage.SourceHeight != 48 || got.Lineage.Preprocessing != "letterbox 32x32 rgb /255" ||
			!strings.HasPrefix(got.Lineage.Runtime, "onnxruntime ") || !strings.HasPrefix(got.Lineage.Decoder, "png ") {
			t.Errorf("%s: detection %+v does not name what produced it", tc.graph, got)
		}
	}
}

// TestPredictTellsLogitsFromProbabilities: the two graphs differ in a final softmax only.
func TestPredictTellsLogitsFromProbabilities(t *testing.T) {
	t.Parallel()
	sum := math.Exp(1-6) + math.Exp(0+3) + math.Exp(-1)
	for _, name := range []string{"softmax", "logits"} {
		got, err := model(t, name).Predict(context.Background(), greyPNG(t, 50, 40, 255), 0, func(string) float64 { return 1 })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := []lab.Finding{{Label: "GP rod", Confidence: math.Exp(3) / sum}}
		if diff := cmp.Diff(want, got.Findings, cmpopts.EquateApprox(0, 1e-5)); diff != "" {
			t.Errorf("%s: findings, -want +got:\n%s", name, diff)
		}
	}
}

// shipped gives the folder of model packages of this repository.
func shipped(tb testing.TB) []string {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join("..", "..", "..", "models", "*", "model.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	var dirs []string
	for _, f := range found {
		dirs = append(dirs, filepath.Dir(f))
	}
	return dirs
}

// TestShippedPackages adds every package of this repository as an operator would: manifest, graph and golden image.
func TestShippedPackages(t *testing.T) {
	t.Parallel()
	dirs := shipped(t)
	if len(dirs) == 0 {
		t.Fatal("models/ holds no package")
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			rt := open(t)
			reg, err := registry.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			check := predict.NewCheck(rt.OpenPackage, pixels.New(pixels.Options{}))
			p, err := reg.Add(context.Background(), dir, rt, check)
			if err != nil {
				t.Fatalf("Add(%s): %v", dir, err)
			}
			if p.Golden == nil {
				t.Errorf("%s has no golden image", dir)
			}
			if again, err := reg.Get(p.Name); err != nil || again.Digest != p.Digest {
				t.Errorf("Get(%s) = %v, %v, want the package just added", p.Name, again, err)
			}
		})
	}
}

// TestExamples: the shipped Gram model names the example fields as their attribution does, and the blood model finds cells on
// every example, through the JPEG decoder of this build.
func TestExamples(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	predictAll := func(name string) map[string][]lab.Finding {
		dir := filepath.Join(root, "models", name)
		p, err := registry.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := open(t).OpenPackage(p)
		if err != nil {
			t.Fatal(err)
		}
		m, err := predict.New(context.Background(), p, s, pixels.New(pixels.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close() //nolint:errcheck // the test ends
		files, err := filepath.Glob(filepath.Join(root, "examples", "images", name, "*.jpg"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples of %s: %v", name, err)
		}
		out := make(map[string][]lab.Finding)
		for _, f := range files {
			encoded, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			d, err := m.Predict(context.Background(), encoded, 0, nil)
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			out[filepath.Base(f)] = d.Findings
		}
		return out
	}
	gram := predictAll("gram-stain")
	for file, want := range map[string]string{"cocci.jpg": "GP cocci", "rods-violet.jpg": "GP rods", "rods-red.jpg": "GN rods"} {
		if got := gram[file]; len(got) != 1 || got[0].Label != want {
			t.Errorf("gram-stain %s: got %v, want %s", file, got, want)
		}
	}
	for file, got := range predictAll("blood-smear") {
		if len(got) < 3 {
			t.Errorf("blood-smear %s: got %d findings, want a field of cells", file, len(got))
		}
	}
}

// BenchmarkPredict runs every shipped package on the images of examples/, one at a time.
func BenchmarkPredict(b *testing.B) {
	for _, dir := range shipped(b) {
		pattern := filepath.Join("..", "..", "..", "examples", "images", filepath.Base(dir), "*.jpg")
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			continue
		}
		b.Run(filepath.Base(dir), func(b *testing.B) {
			p, err := registry.Load(dir)
			if err != nil {
				b.Fatal(err)
			}
			s, err := open(b).OpenPackage(p)
			if err != nil {
				b.Fatal(err)
			}
			m, err := predict.New(context.Background(), p, s, pixels.New(pixels.Options{}))
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close() //nolint:errcheck // the process ends
			var encoded [][]byte
			for _, f := range files {
				e, err := os.ReadFile(f)
				if err != nil {
					b.Fatal(err)
				}
				encoded = append(encoded, e)
			}
			var tm predict.Timings
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := m.PredictTimed(context.Background(), encoded[n%len(encoded)], 0, nil, &tm); err != nil {
					b.Fatal(err)
				}
				n++
			}
			perImage := func(seconds float64) float64 { return 1000 * seconds / float64(n) }
			b.ReportMetric(perImage(tm.Decode.Seconds()), "decode-ms")
			b.ReportMetric(perImage(tm.Prepare.Seconds()), "prepare-ms")
			b.ReportMetric(perImage(tm.Run.Seconds()), "run-ms")
			b.ReportMetric(perImage(tm.Read.Seconds()), "read-ms")
		})
	}
}
