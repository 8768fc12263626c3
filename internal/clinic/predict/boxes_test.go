package predict

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// detector is a model without a session, for the code that reads outputs.
func detector(layout registry.Layout, labels ...string) *Model {
	p := &registry.Package{Manifest: registry.Manifest{
		Task: registry.TaskDetect, Output: registry.Output{Layout: layout}, NMS: &registry.NMS{IoU: 0.5, MaxDetections: 10},
	}}
	return &Model{pkg: p, labels: labels}
}

func box(x, y, w, h float64) *lab.Box { return &lab.Box{X: x, Y: y, W: w, H: h} }

// TestReadBoxes: a 200×100 image in a 100×100 input lies at half size under 25 rows of padding.
func TestReadBoxes(t *testing.T) {
	t.Parallel()
	f := fit(200, 100, 100, 100, true)
	v8 := Tensor{Shape: []int64{1, 6, 5}, Data: []float32{
		50, 51, 10, 50, 50, // cx
		50, 50, 30, 50, 10, // cy
		20, 20, 40, 0, 20, // w
		10, 10, 20, 10, 4, // h
		0.9, 0.8, 0.1, 0.9, 0.7, // A
		0.2, 0.3, 0.6, 0.0, 0.1, // B
	}}
	v5 := Tensor{Shape: []int64{1, 5, 7}, Data: []float32{
		50, 50, 20, 10, 1.0, 0.9, 0.2,
		51, 50, 20, 10, 0.8, 1.0, 0.375,
		10, 30, 40, 20, 0.6, 0.1, 1.0,
		50, 50, 0, 10, 1.0, 0.9, 0.0,
		50, 10, 20, 4, 0.7, 1.0, 0.1,
	}}
	// Second: overlaps the first by 19/21. Third: reaches out at the left and is clipped. Fourth: no width. Fifth: in the padding.
	want := []lab.Finding{
		{Label: "A", Confidence: 0.9, Box: box(80, 40, 40, 20)},
		{Label: "B", Confidence: 0.6, Box: box(0, 0, 60, 30)},
	}
	for layout, out := range map[registry.Layout]Tensor{registry.LayoutYOLOv8: v8, registry.LayoutYOLOv5: v5} {
		got, err := detector(layout, "A", "B").readBoxes(out, f, []float64{0.25, 0.25})
		if err != nil {
			t.Fatalf("%s: %v", layout, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-5)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", layout, diff)
		}
		got, err = detector(layout, "A", "B").readBoxes(out, f, []float64{0.25, 0.61})
		if err != nil || len(got) != 1 || got[0].Label != "A" {
			t.Errorf("%s with floor B 0.61: got %v, %v, want one A", layout, got, err)
		}
	}
}

func TestReadBoxesRefusesWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	v8 := func(v float32) Tensor { return Tensor{Shape: []int64{1, 5, 1}, Data: []float32{5, 5, 2, 2, v}} }
	for name, out := range map[string]Tensor{
		"NaN score":        v8(nan),
		"infinite score":   v8(inf),
		"NaN box":          {Shape: []int64{1, 5, 1}, Data: []float32{nan, 5, 2, 2, 0.1}},
		"score above 1":    v8(7),
		"wrong label rows": {Shape: []int64{1, 6, 1}, Data: make([]float32, 6)},
		"batch of 2":       {Shape: []int64{2, 5, 1}, Data: make([]float32, 10)},
		"no boxes":         {Shape: []int64{1, 5, 0}},
		"rank 2":           {Shape: []int64{5, 1}, Data: make([]float32, 5)},
		"too few values":   {Shape: []int64{1, 5, 2}, Data: make([]float32, 9)},
		"huge shape":       {Shape: []int64{1, 5, math.MaxInt64}, Data: make([]float32, 5)},
		"negative shape":   {Shape: []int64{1, 5, -1}, Data: make([]float32, 5)},
		"nothing":          {},
	} {
		if got, err := detector(registry.LayoutYOLOv8, "A").readBoxes(out, fit(10, 10, 10, 10, true), []float64{0.25}); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
	raw := Tensor{Shape: []int64{1, 1, 6}, Data: []float32{5, 5, 2, 2, 9, 9}}
	if got, err := detector(registry.LayoutYOLOv5, "A").readBoxes(raw, fit(10, 10, 10, 10, true), []float64{0.25}); err == nil {
		t.Errorf("yolov5 without sigmoid: got %v, want an error", got)
	}
}

func TestSuppress(t *testing.T) {
	t.Parallel()
	at := func(x, y, side, score float32, label int) candidate {
		return candidate{x1: x, y1: y, x2: x + side, y2: y + side, score: score, label: label}
	}
	for _, tc := range []struct {
		name  string
		in    []candidate
		iou   float64
		limit int
		want  []candidate
	}{
		{"none", nil, 0.5, 10, nil},
		{
			"overlap above the bound goes",
			[]candidate{at(0, 0, 10, 0.8, 0), at(0, 0, 10, 0.9, 0)},
			0.5, 10,
			[]candidate{at(0, 0, 10, 0.9, 0)},
		},
		{
			"overlap equal to the bound stays",
			[]candidate{at(0, 0, 10, 0.9, 0), {0, 0, 10, 5, 0.8, 0}},
			0.5, 10,
			[]candidate{at(0, 0, 10, 0.9, 0), {0, 0, 10, 5, 0.8, 0}},
		},
		{
			"labels do not suppress each other",
			[]candidate{at(0, 0, 10, 0.9, 0), at(0, 0, 10, 0.8, 1)},
			0.5, 10,
			[]candidate{at(0, 0, 10, 0.9, 0), at(0, 0, 10, 0.8, 1)},
		},
		{
			"a dropped box drops nothing",
			[]candidate{at(0, 0, 10, 0.9, 0), at(3, 0, 10, 0.8, 0), at(6, 0, 10, 0.7, 0)},
			0.4, 10,
			[]candidate{at(0, 0, 10, 0.9, 0), at(6, 0, 10, 0.7, 0)},
		},
		{
			"the best ones within the limit",
			[]candidate{at(0, 0, 1, 0.1, 0), at(9, 0, 1, 0.3, 0), at(5, 0, 1, 0.2, 0)},
			0.5, 2,
			[]candidate{at(9, 0, 1, 0.3, 0), at(5, 0, 1, 0.2, 0)},
		},
	} {
		got := suppress(tc.in, tc.iou, tc.limit)
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(candidate{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tc.name, diff)
		}
	}
}

// FuzzYOLODecode: whatever numbers a model gives, findings lie inside the image, have an area, a known label and a score from
// their floor to 1, stand best first, and no two of a label overlap beyond the bound.
func FuzzYOLODecode(f *testing.F) {
	seed := func(values ...float32) []byte {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		return b
	}
	f.Add(true, uint8(2), 640, 480, seed(5, 5, 2, 2, 0.9, 0.1, 6, 6, 2, 2, 0.8, 0.2))
	f.Add(false, uint8(1), 10, 4000, seed(5, 5, 2, 2, 1, 0.9, 1e30, -1e30, 3e38, 3e38, 1, 1))
	f.Add(true, uint8(1), 1, 1, seed(float32(math.NaN()), 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, v8 bool, labels uint8, w, h int, raw []byte) {
		c := int(labels%4) + 1
		if w < 1 || h < 1 || w > 65535 || h > 65535 {
			t.Skip("no size that an image can have")
		}
		width, layout := 5+c, registry.LayoutYOLOv5
		if v8 {
			width, layout = 4+c, registry.LayoutYOLOv8
		}
		n := len(raw) / 4 / width
		data := make([]float32, n*width)
		for i := range data {
			data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		out := Tensor{Shape: []int64{1, int64(n), int64(width)}, Data: data}
		if v8 {
			out.Shape = []int64{1, int64(width), int64(n)}
		}
		m := detector(layout, []string{"a", "b", "c", "d"}[:c]...)
		floors := []float64{0.25, 0.5, 0.001, 0.9}[:c]
		floorOf := map[string]float64{"a": 0.25, "b": 0.5, "c": 0.001, "d": 0.9}
		got, err := m.readBoxes(out, fit(w, h, 640, 640, true), floors)
		if err != nil {
			return
		}
		for i, g := range got {
			b := g.Box
			if floor, ok := floorOf[g.Label]; !ok || g.Confidence < floor || g.Confidence > 1 {
				t.Errorf("finding %d: %s %v under its floor %v or above 1", i, g.Label, g.Confidence, floor)
			}
			if !(b.X >= 0 && b.Y >= 0 && b.W > 0 && b.H > 0 && b.X+b.W <= float64(w)+1e-6 && b.Y+b.H <= float64(h)+1e-6) {
				t.Errorf("finding %d: box %+v is not inside %d×%d", i, *b, w, h)
			}
			if i > 0 && g.Confidence > got[i-1].Confidence {
				t.Errorf("finding %d: %v after %v", i, g.Confidence, got[i-1].Confidence)
			}
		}
		if len(got) > m.pkg.NMS.MaxDetections {
			t.Errorf("%d findings, at most %d are allowed", len(got), m.pkg.NMS.MaxDetections)
		}
	})
}

func BenchmarkReadBoxes(b *testing.B) {
	const n = 8400
	out := Tensor{Shape: []int64{1, 7, n}, Data: make([]float32, 7*n)}
	for i := range n {
		out.Data[i], out.Data[n+i], out.Data[2*n+i], out.Data[3*n+i] = float32(i%640), float32(i/14), 20, 20
		if i%80 == 0 {
			out.Data[4*n+i] = 0.9
		}
	}
	m := detector(registry.LayoutYOLOv8, "a", "b", "c")
	m.pkg.NMS.MaxDetections = 300
	f := fit(640, 480, 640, 640, true)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.readBoxes(out, f, []float64{0.25, 0.25, 0.25}); err != nil {
			b.Fatal(err)
		}
	}
}
