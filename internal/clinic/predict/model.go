package predict

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// Model is a package ready to run. It is safe for concurrent use; on a CPU, throughput comes from calling Predict from as many
// goroutines as there are cores.
type Model struct {
	pkg     *registry.Package
	session Session
	decoder Decoder
	labels  []string
	norm    *normaliser
	inputs  *tensorPool
	logits  bool // the softmax layout gives logits, not probabilities
	summary string
}

// Timings is where the time of predictions went.
type Timings struct {
	Decode, Prepare, Run, Read time.Duration

	since time.Time
}

func (t *Timings) start() { t.since = time.Now() }

func (t *Timings) stop(into *time.Duration) { *into += time.Since(t.since) }

// New makes a model of a package, the session of its weights and a decoder, and runs a grey image through it once: that proves
// the output's shape, tells logits from probabilities, and warms the session.
// Errors: fault.Invalid when the graph does not answer as the manifest says; fault.Internal or fault.Unavailable from the
// session. The model owns the session only when New succeeds.
func New(ctx context.Context, pkg *registry.Package, session Session, decoder Decoder) (*Model, error) {
	in := pkg.Input
	batch := 1
	if pkg.Task == registry.TaskCropVote {
		batch = min(cropBatch, pkg.CropVote.Crops)
	}
	m := &Model{
		pkg: pkg, session: session, decoder: decoder, labels: pkg.LabelNames(), norm: newNormaliser(in),
		inputs: newTensorPool(batch * 3 * in.Width * in.Height),
	}
	m.summary = m.describe()
	if err := m.probe(ctx); err != nil {
		return nil, fault.E("predict.New", fault.Internal, err)
	}
	return m, nil
}

// Package gives the package the model was made of.
func (m *Model) Package() *registry.Package { return m.pkg }

// Close frees the session. No Predict may be under way or follow.
func (m *Model) Close() error { return m.session.Close() }

// probe runs a grey image.
func (m *Model) probe(ctx context.Context) error {
	const op = "predict.probe"
	buf := m.inputs.get()
	defer m.inputs.put(buf)
	in := (*buf)[:3*m.pkg.Input.Width*m.pkg.Input.Height]
	area := len(in) / 3
	for c, p := range m.norm.plane {
		fill(in[p*area:(p+1)*area], m.norm.pad[c])
	}
	outs, err := m.run(ctx, 1, in, &Timings{})
	if err != nil {
		return err
	}
	defer releaseAll(outs)
	if m.pkg.Task == registry.TaskDetect {
		_, err = m.readBoxes(outs[0], fit(1, 1, m.pkg.Input.Width, m.pkg.Input.Height, false), m.floors(nil))
	} else if err = checkTensor(outs[0], 1, int64(len(m.labels))); err == nil {
		m.logits = !isDistribution(outs[0].Data)
	}
	if err != nil {
		return fault.E(op, fault.Invalid, fmt.Errorf("model package %s: on a grey image %w", m.pkg.Ref(), err))
	}
	return nil
}

// Predict gives what the model says about one encoded image.
// In: the bytes of a JPEG, PNG, BMP, TIFF or WebP file. pixelSizeUM is the calibration in micrometres a source pixel, 0 when
// unknown; only crop-vote models use it. floor gives, for a detector's label, the score below which findings are dropped; nil
// takes the manifest's operating points. Classifiers and crop-vote models give exactly one finding whatever its score.
// Out: findings best first, boxes in source pixels after EXIF orientation, clipped to the image.
// Errors: fault.Invalid when the image is unreadable, fault.TooLarge when it has too many pixels, fault.Unavailable when ctx
// ended, fault.Internal when the model failed. Pure.
func (m *Model) Predict(ctx context.Context, encoded []byte, pixelSizeUM float64, floor func(label string) float64) (lab.Detection, error) {
	return m.PredictTimed(ctx, encoded, pixelSizeUM, floor, new(Timings))
}

// PredictTimed is Predict that adds the time spent in each step to tm, which must not be shared by concurrent calls.
func (m *Model) PredictTimed(ctx context.Context, encoded []byte, pixelSizeUM float64, floor func(label string) float64,
	tm *Timings,
) (lab.Detection, error) {
	const op = "predict.Predict"
	minWidth, minHeight := m.pkg.Input.Width, m.pkg.Input.Height
	if m.pkg.Task == registry.TaskCropVote {
		minWidth, minHeight = 0, 0 // crops are cut at full size
	}
	tm.start()
	r, err := m.decoder.Decode(ctx, encoded, minWidth, minHeight)
	tm.stop(&tm.Decode)
	if err != nil {
		return lab.Detection{}, fault.E(op, fault.Internal, err)
	}
	defer r.Release()
	if r.Width < 1 || r.Height < 1 || len(r.Pix) < 3*r.Width*r.Height || r.SourceWidth < r.Width || r.SourceHeight < r.Height {
		return lab.Detection{}, failed(op, fmt.Errorf("the decoder gave %d bytes for %d×%d px", len(r.Pix), r.Width, r.Height))
	}
	d := m.detection(r)
	if m.pkg.Task == registry.TaskCropVote {
		err = m.predictVote(ctx, r, pixelSizeUM, tm, &d)
	} else {
		err = m.predictWhole(ctx, r, floor, tm, &d)
	}
	if err != nil {
		return lab.Detection{}, failed(op, err)
	}
	return d, nil
}

// predictWhole runs the image once, for detect and classify.
func (m *Model) predictWhole(ctx context.Context, r *Raster, floor func(string) float64, tm *Timings, d *lab.Detection) error {
	in := m.pkg.Input
	f := fit(r.SourceWidth, r.SourceHeight, in.Width, in.Height, in.Letterbox)
	buf := m.inputs.get()
	defer m.inputs.put(buf)
	tm.start()
	prepare(*buf, r, window{width: r.Width, height: r.Height}, f, m.norm)
	tm.stop(&tm.Prepare)
	outs, err := m.run(ctx, 1, *buf, tm)
	if err != nil {
		return err
	}
	defer releaseAll(outs)
	tm.start()
	defer tm.stop(&tm.Read)
	if m.pkg.Task == registry.TaskClassify {
		d.Lineage.Thresholds = map[string]float64{} // the best class stands, whatever its score
		if err := checkTensor(outs[0], 1, int64(len(m.labels))); err != nil {
			return err
		}
		label, p, err := m.best(outs[0].Data)
		if err != nil {
			return err
		}
		d.Findings = []lab.Finding{{Label: m.labels[label], Confidence: p}}
		return nil
	}
	floors := m.floors(floor)
	d.Lineage.Thresholds = make(map[string]float64, len(floors))
	for i, l := range m.labels {
		d.Lineage.Thresholds[l] = floors[i]
	}
	d.Findings, err = m.readBoxes(outs[0], f, floors)
	return err
}

// predictVote runs the crops of a crop-vote model.
func (m *Model) predictVote(ctx context.Context, r *Raster, pixelSizeUM float64, tm *Timings, d *lab.Detection) error {
	side := cropSide(m.pkg.CropVote, pixelSizeUM, r.Width, r.Height)
	votes, err := m.vote(ctx, r, side, tm)
	if err != nil {
		return err
	}
	d.Findings = []lab.Finding{m.decide(votes)}
	d.Lineage.Preprocessing = fmt.Sprintf("%d crops of %d px seed %d vote %g, %s", m.pkg.CropVote.Crops, side, m.pkg.CropVote.Seed,
		m.pkg.CropVote.VoteThreshold, m.summary)
	d.Lineage.Thresholds = map[string]float64{"vote": m.pkg.CropVote.VoteThreshold, "foreground": m.pkg.CropVote.MinForegroundShare}
	d.Lineage.Votes = make(map[string]int)
	for i, n := range votes {
		if n > 0 {
			d.Lineage.Votes[m.labels[i]] = n
		}
	}
	return nil
}

// run calls the session and makes sure there is an output to look at.
func (m *Model) run(ctx context.Context, batch int, in []float32, tm *Timings) ([]Tensor, error) {
	tm.start()
	outs, err := m.session.Run(ctx, batch, in)
	tm.stop(&tm.Run)
	if err == nil && len(outs) == 0 {
		err = errors.New("the model gave no output")
	}
	return outs, err
}

// failed marks a failure that is the model's, whatever kind a lower layer gave it, so that it is never taken for an unreadable
// image. Only an end of the context and a missing runtime keep their kind.
func failed(op string, err error) error {
	if fault.Is(err, fault.Unavailable) {
		return fault.E(op, fault.Unavailable, err)
	}
	return &fault.Error{Op: op, Kind: fault.Internal, Err: err}
}

// floors gives the threshold of each label in class order.
func (m *Model) floors(floor func(string) float64) []float64 {
	out := make([]float64, len(m.labels))
	for i, l := range m.pkg.Labels {
		out[i] = l.OperatingPoint.Threshold
		if floor == nil {
			continue
		}
		if f := floor(l.Name); !math.IsNaN(f) {
			out[i] = f
		}
	}
	return out
}

// detection starts the answer for one image with everything but the findings.
func (m *Model) detection(r *Raster) lab.Detection {
	codec := r.Codec
	if codec == "" {
		codec = m.decoder.Name()
	}
	return lab.Detection{
		Model: m.pkg.Name, Digest: m.pkg.Digest,
		Lineage: lab.Lineage{
			Preprocessing: m.summary, Decoder: codec, Runtime: m.session.Runtime(),
			SourceWidth: r.SourceWidth, SourceHeight: r.SourceHeight,
		},
	}
}

// describe names the preprocessing, e.g. "letterbox 416x416 rgb /255".
func (m *Model) describe() string {
	in := m.pkg.Input
	how := "resize"
	if in.Letterbox {
		how = "letterbox"
	}
	s := fmt.Sprintf("%s %dx%d %s", how, in.Width, in.Height, in.Colour)
	if math.Abs(in.Scale*255-1) < 1e-6 {
		s += " /255"
	} else if in.Scale != 1 {
		s += " *" + number(in.Scale)
	}
	if in.Mean != [3]float64{} {
		s += " mean " + numbers(in.Mean)
	}
	if in.Std != [3]float64{1, 1, 1} {
		s += " std " + numbers(in.Std)
	}
	return s
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func numbers(v [3]float64) string {
	return strings.Join([]string{number(v[0]), number(v[1]), number(v[2])}, ",")
}

// tensorPool reuses input tensors of one size.
type tensorPool struct{ pool sync.Pool }

func newTensorPool(size int) *tensorPool {
	p := new(tensorPool)
	p.pool.New = func() any { s := make([]float32, size); return &s }
	return p
}

func (p *tensorPool) get() *[]float32 { return p.pool.Get().(*[]float32) } //nolint:errcheck,forcetypeassert // nothing else is put

func (p *tensorPool) put(s *[]float32) { p.pool.Put(s) }
