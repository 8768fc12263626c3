package predict_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// fakeSession answers with a function of the batch; it counts what was not released.
type fakeSession struct {
	answer func(batch int, in []float32) ([]predict.Tensor, error)

	mu     sync.Mutex
	held   int
	closed bool
}

func (s *fakeSession) Run(ctx context.Context, batch int, in []float32) ([]predict.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.E("fake.Run", fault.Unavailable, err)
	}
	outs, err := s.answer(batch, in)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range outs {
		s.held++
		outs[i].Release = func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.held--
		}
	}
	return outs, err
}

func (s *fakeSession) Runtime() string { return "fake 1" }

func (s *fakeSession) Close() error {
	s.closed = true
	return nil
}

// fakeDecoder reads "WxH" as an image of that size, all bytes 255 in the left half and 0 in the right half, and refuses others.
type fakeDecoder struct{ released atomic.Int64 }

func (d *fakeDecoder) Decode(_ context.Context, encoded []byte, _, _ int) (*predict.Raster, error) {
	var w, h int
	if _, err := fmt.Sscanf(string(encoded), "%dx%d", &w, &h); err != nil {
		return nil, fault.E("fake.Decode", fault.Invalid, errors.New("unreadable"))
	}
	if w*h > 1e6 {
		return nil, fault.E("fake.Decode", fault.TooLarge, errors.New("too many pixels"))
	}
	pix := make([]byte, 3*w*h)
	for i := range pix {
		if i/3%w < w/2 {
			pix[i] = 255
		}
	}
	return predict.NewRaster(pix, w, h, w, h, func() { d.released.Add(1) }), nil
}

func (d *fakeDecoder) Name() string { return "fake 2" }

func detectPackage() *registry.Package {
	return &registry.Package{
		Manifest: registry.Manifest{
			Name: "cells", Task: registry.TaskDetect, Output: registry.Output{Layout: registry.LayoutYOLOv8},
			Input: registry.Input{
				Width: 16, Height: 16, Colour: registry.ColourRGB, Scale: 1.0 / 255, Std: [3]float64{1, 1, 1}, Letterbox: true, Pad: 114,
			},
			NMS:    &registry.NMS{IoU: 0.5, MaxDetections: 10},
			Labels: []registry.Label{{Name: "RBC", OperatingPoint: registry.OperatingPoint{Threshold: 0.4}}, {Name: "WBC", OperatingPoint: registry.OperatingPoint{Threshold: 0.6}}},
		},
		Digest: "0123456789abcdef",
	}
}

func votePackage() *registry.Package {
	p := detectPackage()
	p.Task, p.Output.Layout, p.NMS = registry.TaskCropVote, registry.LayoutSoftmax, nil
	p.Input.Letterbox = false
	p.CropVote = &registry.CropVote{CropPx: 10, CropUM: 5, Crops: 40, Seed: 3, Background: "WBC", VoteThreshold: 0.6, MinForegroundShare: 0.1}
	return p
}

// oneBox answers with one box whose RBC score is the mean of the input.
func oneBox(batch int, in []float32) ([]predict.Tensor, error) {
	var sum float64
	for _, v := range in {
		sum += float64(v)
	}
	return []predict.Tensor{{Shape: []int64{int64(batch), 6, 1}, Data: []float32{8, 8, 4, 4, float32(sum / float64(len(in))), 0.1}}}, nil
}

// byBrightness answers for each image with the probability of RBC equal to its mean.
func byBrightness(batch int, in []float32) ([]predict.Tensor, error) {
	per := len(in) / batch
	out := predict.Tensor{Shape: []int64{int64(batch), 2}}
	for i := range batch {
		var sum float64
		for _, v := range in[i*per : (i+1)*per] {
			sum += float64(v)
		}
		p := float32(sum / float64(per))
		out.Data = append(out.Data, p, 1-p)
	}
	return []predict.Tensor{out}, nil
}

func newModel(t *testing.T, p *registry.Package, answer func(int, []float32) ([]predict.Tensor, error)) (*predict.Model, *fakeSession, *fakeDecoder) {
	t.Helper()
	s, d := &fakeSession{answer: answer}, &fakeDecoder{}
	m, err := predict.New(context.Background(), p, s, d)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return m, s, d
}

func TestPredictDetect(t *testing.T) {
	t.Parallel()
	m, s, d := newModel(t, detectPackage(), oneBox)
	got, err := m.Predict(context.Background(), []byte("32x32"), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := lab.Detection{
		Model: "cells", Digest: "0123456789abcdef",
		Findings: []lab.Finding{{Label: "RBC", Confidence: 0.5, Box: &lab.Box{X: 12, Y: 12, W: 8, H: 8}}},
		Lineage: lab.Lineage{
			Preprocessing: "letterbox 16x16 rgb /255", Decoder: "fake 2", Runtime: "fake 1",
			Thresholds: map[string]float64{"RBC": 0.4, "WBC": 0.6}, SourceWidth: 32, SourceHeight: 32,
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err = m.Predict(context.Background(), []byte("32x32"), 0, func(label string) float64 { return map[string]float64{"RBC": 0.51}[label] })
	if err != nil || len(got.Findings) != 0 || got.Lineage.Thresholds["RBC"] != 0.51 {
		t.Errorf("with floor 0.51: got %v, %v, want no findings under that threshold", got.Findings, err)
	}
	if got, err = m.Predict(context.Background(), []byte("32x32"), 0, func(string) float64 { return math.NaN() }); err != nil || got.Lineage.Thresholds["RBC"] != 0.4 {
		t.Errorf("with a NaN floor: thresholds %v, %v, want the manifest's", got.Lineage.Thresholds, err)
	}
	if s.held != 0 || d.released.Load() != 3 {
		t.Errorf("%d tensors kept and %d rasters released, want 0 and 3", s.held, d.released.Load())
	}
}

func TestPredictVote(t *testing.T) {
	t.Parallel()
	m, s, _ := newModel(t, votePackage(), byBrightness)
	for _, tc := range []struct {
		image     string
		pixelSize float64
		crops     string
	}{
		{"100x20", 0, "40 crops of 10 px"}, {"100x20", 0.5, "40 crops of 10 px"}, {"100x20", 1, "40 crops of 5 px"}, {"100x8", 0, "40 crops of 8 px"},
	} {
		got, err := m.Predict(context.Background(), []byte(tc.image), tc.pixelSize, nil)
		if err != nil {
			t.Fatalf("%+v: %v", tc, err)
		}
		f, votes := got.Findings[0], got.Lineage.Votes
		// Crops in the bright half vote RBC, in the dark half WBC (background); those across the middle may abstain.
		if len(got.Findings) != 1 || f.Label != "RBC" || f.Confidence != 1 || f.Box != nil || votes["RBC"] < 8 || votes["WBC"] < 8 || votes["RBC"]+votes["WBC"] > 40 {
			t.Errorf("%+v: got %+v with votes %v, want RBC by about half of 40 votes", tc, f, votes)
		}
		if want := tc.crops + " seed 3 vote 0.6, resize 16x16 rgb /255"; got.Lineage.Preprocessing != want {
			t.Errorf("%+v: preprocessing %q, want %q", tc, got.Lineage.Preprocessing, want)
		}
		if got.Lineage.Thresholds["vote"] != 0.6 || len(got.Lineage.Thresholds) != 2 {
			t.Errorf("%+v: thresholds %v, want those of the vote", tc, got.Lineage.Thresholds)
		}
	}
	if s.held != 0 {
		t.Errorf("%d tensors kept, want 0", s.held)
	}
}

func TestPredictErrors(t *testing.T) {
	t.Parallel()
	broken := map[string]func(int, []float32) ([]predict.Tensor, error){
		"no output": func(int, []float32) ([]predict.Tensor, error) { return nil, nil },
		"session fails": func(int, []float32) ([]predict.Tensor, error) {
			return nil, fault.E("fake", fault.Invalid, errors.New("x"))
		},
		"wrong shape": func(int, []float32) ([]predict.Tensor, error) {
			return []predict.Tensor{{Shape: []int64{1, 1}, Data: []float32{1}}}, nil
		},
		"not finite": func(int, []float32) ([]predict.Tensor, error) {
			return []predict.Tensor{{Shape: []int64{1, 6, 1}, Data: []float32{8, 8, 4, 4, float32(math.Inf(1)), 0}}}, nil
		},
	}
	for name, answer := range broken {
		now := oneBox
		m, s, _ := newModel(t, detectPackage(), func(b int, in []float32) ([]predict.Tensor, error) { return now(b, in) })
		now = answer
		if _, err := m.Predict(context.Background(), []byte("32x32"), 0, nil); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: got %v (kind %v), want Internal: the image is not to blame", name, err, fault.KindOf(err))
		}
		if s.held != 0 {
			t.Errorf("%s: %d tensors kept, want 0", name, s.held)
		}
		if _, err := predict.New(context.Background(), detectPackage(), &fakeSession{answer: answer}, &fakeDecoder{}); err == nil {
			t.Errorf("%s: New accepts the session", name)
		}
	}
	m, _, _ := newModel(t, detectPackage(), oneBox)
	for image, want := range map[string]fault.Kind{"junk": fault.Invalid, "2000x2000": fault.TooLarge} {
		if _, err := m.Predict(context.Background(), []byte(image), 0, nil); !fault.Is(err, want) {
			t.Errorf("Predict(%s) gave %v, want %v", image, err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Predict(ctx, []byte("32x32"), 0, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Predict under an ended context gave %v, want Unavailable", err)
	}
}

// TestPredictConcurrently: one model serves many callers, whose pooled buffers do not mix.
func TestPredictConcurrently(t *testing.T) {
	t.Parallel()
	m, _, _ := newModel(t, votePackage(), byBrightness)
	images := []string{"100x20", "60x60", "31x200"}
	var wants []lab.Detection
	for _, image := range images {
		want, err := m.Predict(context.Background(), []byte(image), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		wants = append(wants, want)
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 20 {
				n := (g + i) % len(images)
				got, err := m.Predict(context.Background(), []byte(images[n]), 0, nil)
				if diff := cmp.Diff(wants[n], got); diff != "" || err != nil {
					t.Errorf("%s: %v, -want +got:\n%s", images[n], err, diff)
				}
			}
		})
	}
	wg.Wait()
}

// withGolden stores a golden image and what is expected of it beside a package.
func withGolden(t *testing.T, p *registry.Package, image, expected string) *registry.Package {
	t.Helper()
	p.Dir = t.TempDir()
	p.Golden = &registry.Golden{Image: "golden.png", Expected: "golden.json", ConfidenceTolerance: 0.02, BoxTolerancePx: 1}
	for name, text := range map[string]string{"golden.png": image, "golden.json": expected} {
		if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestCheckGolden(t *testing.T) {
	t.Parallel()
	const good = `{"findings":[{"label":"RBC","confidence":0.51,"box":[12.5,11.5,8,8.4]}]}`
	for _, tc := range []struct {
		name     string
		pkg      *registry.Package
		answer   func(int, []float32) ([]predict.Tensor, error)
		expected string
		fails    string // part of the text, "" passes
	}{
		{"detect", detectPackage(), oneBox, good, ""},
		{"other score", detectPackage(), oneBox, strings.Replace(good, "0.51", "0.55", 1), "is not among"},
		{"other label", detectPackage(), oneBox, strings.Replace(good, "RBC", "WBC", 1), "is not expected"},
		{"other box", detectPackage(), oneBox, strings.Replace(good, "12.5", "13.5", 1), "px away"},
		{"missing", detectPackage(), oneBox, `{"findings":[]}`, "is not expected"},
		{"surplus", detectPackage(), oneBox, strings.Replace(good, "[{", `[{"label":"RBC","confidence":0.9,"box":[0,0,1,1]},{`, 1), "is not among"},
		{"near its threshold", detectPackage(), oneBox, strings.Replace(good, "[{", `[{"label":"RBC","confidence":0.41,"box":[0,0,1,1]},{`, 1), ""},
		{"unknown key", detectPackage(), oneBox, `{"finding":[]}`, "unknown field"},
		{"not JSON", detectPackage(), oneBox, `{`, "golden.json"},
		{"trailing", detectPackage(), oneBox, good + "{}", "more than one value"},
		{"vote", votePackage(), byBrightness, `{"label":"RBC","confidence":1}`, ""},
		{"vote for another", votePackage(), byBrightness, `{"label":"WBC","confidence":1}`, "want WBC"},
		{"vote of other confidence", votePackage(), byBrightness, `{"label":"RBC","confidence":0.9}`, "confidence"},
		{"other votes", votePackage(), byBrightness, `{"label":"RBC","confidence":1,"votes":{"RBC":40}}`, "votes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := withGolden(t, tc.pkg, "32x32", tc.expected)
			if p.Task == registry.TaskCropVote {
				p = withGolden(t, tc.pkg, "100x20", tc.expected)
			}
			m, _, _ := newModel(t, p, tc.answer)
			err := predict.CheckGolden(context.Background(), m, p)
			switch {
			case tc.fails == "" && err != nil:
				t.Errorf("got %v, want success", err)
			case tc.fails != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tc.fails)):
				t.Errorf("got %v, want Invalid with %q", err, tc.fails)
			}
		})
	}
	m, _, _ := newModel(t, detectPackage(), oneBox)
	if err := predict.CheckGolden(context.Background(), m, detectPackage()); !fault.Is(err, fault.NotFound) {
		t.Errorf("without a golden image: got %v, want NotFound", err)
	}
}

func TestNewCheckClosesItsSession(t *testing.T) {
	t.Parallel()
	s := &fakeSession{answer: oneBox}
	check := predict.NewCheck(func(*registry.Package) (predict.Session, error) { return s, nil }, &fakeDecoder{})
	if err := check(context.Background(), detectPackage()); err != nil || !s.closed {
		t.Errorf("check gave %v, session closed: %v, want success and true", err, s.closed)
	}
	refused := errors.New("no")
	check = predict.NewCheck(func(*registry.Package) (predict.Session, error) { return nil, refused }, &fakeDecoder{})
	if err := check(context.Background(), detectPackage()); !errors.Is(err, refused) {
		t.Errorf("check gave %v, want the opener's error", err)
	}
}
