package predict

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// TestSplitmix64: the reference implementation's first numbers for seed 1234567.
func TestSplitmix64(t *testing.T) {
	t.Parallel()
	rng := splitmix64(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := rng.next(); got != want {
			t.Errorf("number %d = %d, want %d", i, got, want)
		}
	}
}

func TestCropSide(t *testing.T) {
	t.Parallel()
	c := &registry.CropVote{CropPx: 192, CropUM: 10}
	for _, tc := range []struct {
		pixelSize float64
		w, h      int
		want      int
	}{
		{0, 500, 500, 192},
		{0.1, 500, 500, 100},
		{0.065, 500, 500, 154},
		{0.01, 500, 400, 400},
		{0, 100, 500, 100},
		{50, 500, 500, 1},
		{math.NaN(), 500, 500, 192},
		{-1, 500, 500, 192},
		{math.Inf(1), 500, 500, 1},
		{1e-300, 500, 400, 400},
	} {
		if got := cropSide(c, tc.pixelSize, tc.w, tc.h); got != tc.want {
			t.Errorf("cropSide(%v µm/px, %d×%d) = %d, want %d", tc.pixelSize, tc.w, tc.h, got, tc.want)
		}
	}
	if got := cropSide(&registry.CropVote{CropPx: 192}, 0.1, 500, 500); got != 192 {
		t.Errorf("cropSide without crop_um = %d, want 192", got)
	}
}

func TestCropWindows(t *testing.T) {
	t.Parallel()
	// splitmix64(1234567): 6457827717110365317 mod 11 = 6 and 3203168211198807973 mod 6 = 1, and so on.
	got := cropWindows(&registry.CropVote{Crops: 2, Seed: 1234567}, 10, 20, 15)
	want := []window{
		{x: int(uint64(6457827717110365317) % 11), y: int(uint64(3203168211198807973) % 6), width: 10, height: 10},
		{x: int(uint64(9817491932198370423) % 11), y: int(uint64(4593380528125082431) % 6), width: 10, height: 10},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(window{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, w := range cropWindows(&registry.CropVote{Crops: 500, Seed: 9}, 20, 20, 33) {
		if w.x != 0 || w.y < 0 || w.y > 13 {
			t.Fatalf("window %+v leaves the 20×33 image", w)
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	m := &Model{
		pkg: &registry.Package{Manifest: registry.Manifest{
			CropVote: &registry.CropVote{Crops: 10, Background: "none", MinForegroundShare: 0.3},
		}},
		labels: []string{"cocci", "rods", "none"},
	}
	for _, tc := range []struct {
		name  string
		votes []int
		want  lab.Finding
	}{
		{"majority of the foreground", []int{3, 1, 6}, lab.Finding{Label: "cocci", Confidence: 0.75}},
		{"share met exactly", []int{0, 3, 7}, lab.Finding{Label: "rods", Confidence: 1}},
		{"too little foreground", []int{2, 0, 8}, lab.Finding{Label: "none", Confidence: 0.8}},
		{"abstentions count against the share", []int{2, 0, 0}, lab.Finding{Label: "none", Confidence: 0}},
		{"nobody votes", []int{0, 0, 0}, lab.Finding{Label: "none", Confidence: 0}},
		{"a tie goes to the first label", []int{4, 4, 2}, lab.Finding{Label: "cocci", Confidence: 0.5}},
	} {
		if diff := cmp.Diff(tc.want, m.decide(tc.votes), cmpopts.EquateApprox(0, 1e-12)); diff != "" {
			t.Errorf("%s, votes %v: -want +got:\n%s", tc.name, tc.votes, diff)
		}
	}
	m.pkg.CropVote.MinForegroundShare = 0
	if got := m.decide([]int{0, 0, 5}); got.Label != "none" || got.Confidence != 1 {
		t.Errorf("only background votes: got %+v, want none 1", got)
	}
}

func TestBest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		logits bool
		row    []float32
		label  int
		p      float64
		fails  bool
	}{
		{"probabilities", false, []float32{0.1, 0.7, 0.2}, 1, 0.7, false},
		{"equal probabilities", false, []float32{0.5, 0.5}, 0, 0.5, false},
		{"not a distribution", false, []float32{0.1, 0.2}, 0, 0, true},
		{"logits", true, []float32{0, float32(math.Log(3))}, 1, 0.75, false},
		{"large logits", true, []float32{1e30, -1e30}, 0, 1, false},
		{"equal logits", true, []float32{7, 7, 7, 7}, 0, 0.25, false},
	} {
		label, p, err := (&Model{logits: tc.logits}).best(tc.row)
		if (err != nil) != tc.fails {
			t.Errorf("%s %v: error %v, want one: %v", tc.name, tc.row, err, tc.fails)
		}
		if !tc.fails && (label != tc.label || math.Abs(p-tc.p) > 1e-6) {
			t.Errorf("%s %v = %d %v, want %d %v", tc.name, tc.row, label, p, tc.label, tc.p)
		}
	}
}
