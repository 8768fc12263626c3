package predict

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// goldenFile is golden.json: for a detector its findings, for the others the one label with its confidence and votes.
type goldenFile struct {
	Findings   []goldenFinding `json:"findings"`
	Label      string          `json:"label"`
	Confidence float64         `json:"confidence"`
	Votes      map[string]int  `json:"votes"`
}

type goldenFinding struct {
	Label      string     `json:"label"`
	Confidence float64    `json:"confidence"`
	Box        [4]float64 `json:"box"` // x, y, width, height in source pixels
}

// NewCheck builds the check that a registry runs before it accepts a package: New's run on a grey image, then the golden image
// when the package has one.
func NewCheck(open func(*registry.Package) (Session, error), decoder Decoder) registry.Check {
	return func(ctx context.Context, p *registry.Package) error {
		session, err := open(p)
		if err != nil {
			return err
		}
		m, err := New(ctx, p, session, decoder)
		if err == nil && p.Golden != nil {
			err = CheckGolden(ctx, m, p)
		}
		return errors.Join(err, session.Close())
	}
}

// CheckGolden runs the package's golden image at the manifest's operating points and compares with what is expected.
// A finding within the confidence tolerance of its threshold may be there or not.
// Errors: fault.NotFound when the package has no golden image; fault.Corrupt when its files are damaged; fault.Invalid when
// the model does not give what is expected.
func CheckGolden(ctx context.Context, m *Model, p *registry.Package) error {
	const op = "predict.CheckGolden"
	image, expected, err := p.ReadGolden()
	if err != nil {
		return fault.E(op, fault.Internal, err)
	}
	var want goldenFile
	dec := json.NewDecoder(bytes.NewReader(expected))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		return fault.E(op, fault.Invalid, fmt.Errorf("model package %s: %s: %w", p.Ref(), p.Golden.Expected, err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fault.E(op, fault.Invalid, fmt.Errorf("model package %s: %s holds more than one value", p.Ref(), p.Golden.Expected))
	}
	got, err := m.Predict(ctx, image, 0, nil)
	if err != nil {
		return fault.E(op, fault.Internal, err)
	}
	if p.Task == registry.TaskDetect {
		err = compareFindings(got.Findings, want.Findings, p)
	} else {
		err = compareVerdict(got, want, p)
	}
	if err != nil {
		return fault.E(op, fault.Invalid, fmt.Errorf("model package %s on its golden image: %w", p.Ref(), err))
	}
	return nil
}

// compareFindings pairs every expected finding with one given finding.
func compareFindings(got []lab.Finding, want []goldenFinding, p *registry.Package) error {
	tol := p.Golden.ConfidenceTolerance
	threshold := make(map[string]float64, len(p.Labels))
	for _, l := range p.Labels {
		threshold[l.Name] = l.OperatingPoint.Threshold
	}
	used := make([]bool, len(got))
	for i, w := range want {
		hit := -1
		for j, g := range got {
			if !used[j] && g.Label == w.Label && g.Box != nil && math.Abs(g.Confidence-w.Confidence) <= tol &&
				boxDistance(*g.Box, w.Box) <= p.Golden.BoxTolerancePx {
				hit = j
				break
			}
		}
		if hit >= 0 {
			used[hit] = true
		} else if w.Confidence > threshold[w.Label]+tol {
			return fmt.Errorf("expected finding %d (%s %.3f at %v) is not among the %d given%s", i, w.Label, w.Confidence, w.Box, len(got), nearest(got, w))
		}
	}
	for j, g := range got {
		if !used[j] && g.Confidence > threshold[g.Label]+tol {
			return fmt.Errorf("finding %d (%s %.3f at %+v) is not expected", j, g.Label, g.Confidence, *g.Box)
		}
	}
	return nil
}

// boxDistance is the largest difference between the edges of two boxes, in px.
func boxDistance(g lab.Box, w [4]float64) float64 {
	return max(math.Abs(g.X-w[0]), math.Abs(g.Y-w[1]), math.Abs(g.X+g.W-w[0]-w[2]), math.Abs(g.Y+g.H-w[1]-w[3]))
}

// nearest names the given finding that comes closest, for the reader of a failure.
func nearest(got []lab.Finding, w goldenFinding) string {
	best, text := math.Inf(1), ""
	for _, g := range got {
		if g.Label != w.Label || g.Box == nil {
			continue
		}
		if d := boxDistance(*g.Box, w.Box); d < best {
			best, text = d, fmt.Sprintf("; nearest: %.3f, %.2f px away", g.Confidence, d)
		}
	}
	return text
}

// compareVerdict compares the one finding of a classifier or a vote.
func compareVerdict(got lab.Detection, want goldenFile, p *registry.Package) error {
	g := got.Findings[0]
	if g.Label != want.Label {
		return fmt.Errorf("got %s %.3f, want %s %.3f", g.Label, g.Confidence, want.Label, want.Confidence)
	}
	if d := math.Abs(g.Confidence - want.Confidence); d > p.Golden.ConfidenceTolerance {
		return fmt.Errorf("%s: got confidence %.4f, want %.4f ± %g", g.Label, g.Confidence, want.Confidence, p.Golden.ConfidenceTolerance)
	}
	if p.Task != registry.TaskCropVote || want.Votes == nil {
		return nil
	}
	// A crop on the edge of the vote threshold may fall either way with another CPU's rounding.
	slack := math.Max(1, p.Golden.ConfidenceTolerance*float64(p.CropVote.Crops))
	for _, l := range p.Labels {
		if d := got.Lineage.Votes[l.Name] - want.Votes[l.Name]; math.Abs(float64(d)) > slack {
			return fmt.Errorf("%s: got %d votes, want %d ± %g", l.Name, got.Lineage.Votes[l.Name], want.Votes[l.Name], slack)
		}
	}
	return nil
}
