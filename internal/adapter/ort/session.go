package ort

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"

	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
	"kenkyo/internal/mlops/registry"
)

// Options says how to run a graph.
type Options struct {
	Threads       int // cores that one Run may use; 0 means 1
	Width, Height int // px of the input where the graph leaves them open
}

// Session is one loaded graph. It implements predict.Session.
type Session struct {
	name    string
	s       *onnx.DynamicAdvancedSession
	in      onnx.InputOutputInfo
	out     onnx.InputOutputInfo
	inShape [3]int64 // channels, height, width
	batch   int64    // the graph's batch, 0 when open
	half    sync.Pool
	outs    sync.Map // batch → *values for reuse, where the graph fixes all of the output but the batch
}

var _ predict.Session = (*Session)(nil)

// OpenPackage loads the weights of a package with one thread a call. The caller has verified the package (registry.Get does).
// Errors: as NewSession.
func (rt *Runtime) OpenPackage(p *registry.Package) (predict.Session, error) {
	s, err := rt.NewSession(p.WeightsPath(), Options{Width: p.Input.Width, Height: p.Input.Height})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// NewSession loads a graph that takes one planar three-colour image tensor; its first output is what Run gives.
// Errors: fault.Invalid when the file is no model the runtime can load, or takes or gives something else.
func (rt *Runtime) NewSession(modelPath string, o Options) (*Session, error) {
	const op = "ort.NewSession"
	refuse := func(err error) (*Session, error) {
		return nil, fault.E(op, fault.Invalid, fmt.Errorf("%s: %s", filepath.Base(modelPath), plain(err, modelPath)))
	}
	quick, err := newOptions(o, onnx.GraphOptimizationLevelDisableAll)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	defer quick.Destroy() //nolint:errcheck // frees memory, cannot fail
	ins, outs, err := onnx.GetInputOutputInfoWithOptions(modelPath, quick)
	if err != nil {
		return refuse(err)
	}
	s := &Session{name: rt.name}
	if err := s.setEnds(ins, outs, o); err != nil {
		return refuse(err)
	}
	opts, err := newOptions(o, onnx.GraphOptimizationLevelEnableAll)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	defer opts.Destroy() //nolint:errcheck // frees memory, cannot fail
	if s.s, err = onnx.NewDynamicAdvancedSession(modelPath, []string{s.in.Name}, []string{s.out.Name}, opts); err != nil {
		return refuse(err)
	}
	return s, nil
}

// newOptions builds session options; the caller destroys them.
func newOptions(o Options, level onnx.GraphOptimizationLevel) (*onnx.SessionOptions, error) {
	opts, err := onnx.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		opts.SetIntraOpNumThreads(max(1, o.Threads)),
		opts.SetInterOpNumThreads(1),
		// One arena for all callers: as fast as malloc, and half the memory under sustained concurrent calls, because malloc keeps
		// one heap for each thread.
		opts.SetCpuMemArena(true),
		opts.SetExecutionMode(onnx.ExecutionModeSequential),
		opts.SetGraphOptimizationLevel(level),
		opts.SetLogSeverityLevel(onnx.LoggingLevelFatal), // failures come back as errors; the library's own lines go to stderr
	)
	if err != nil {
		return nil, errors.Join(err, opts.Destroy())
	}
	return opts, nil
}

// setEnds checks the graph's input and first output and fixes the input's size.
func (s *Session) setEnds(ins, outs []onnx.InputOutputInfo, o Options) error {
	if len(ins) != 1 || len(outs) < 1 {
		return fmt.Errorf("the graph has %d inputs and %d outputs, want 1 and at least 1", len(ins), len(outs))
	}
	s.in, s.out = ins[0], outs[0]
	for _, end := range []onnx.InputOutputInfo{s.in, s.out} {
		if t := typeName(end); t != string(registry.Float32) && t != string(registry.Float16) {
			return fmt.Errorf("%q holds %s, want float32 or float16", end.Name, t)
		}
	}
	d := s.in.Dimensions
	if len(d) != 4 || (d[1] != 3 && d[1] > 0) {
		return fmt.Errorf("the input has shape %v, want [batch,3,height,width]", d)
	}
	if len(s.out.Dimensions) == 0 {
		return errors.New("the first output is a single number")
	}
	s.batch = max(d[0], 0)
	s.inShape = [3]int64{3, d[2], d[3]}
	for i, given := range []int{o.Height, o.Width} {
		at := &s.inShape[i+1]
		if *at <= 0 {
			*at = int64(given)
		}
		if *at <= 0 || (given > 0 && int64(given) != *at) {
			return fmt.Errorf("the input has shape %v and %d×%d (height×width) is asked for", d, o.Height, o.Width)
		}
	}
	return nil
}

// Runtime implements predict.Session.
func (s *Session) Runtime() string { return s.name }

// Close implements predict.Session.
func (s *Session) Close() error {
	s.outs.Range(func(_, free any) bool {
		free.(*values).destroy() //nolint:errcheck,forcetypeassert // the map holds nothing else
		return true
	})
	if err := s.s.Destroy(); err != nil {
		return fault.E("ort.Close", fault.Internal, err)
	}
	return nil
}

// Run implements predict.Session. A graph with a fixed batch runs as often as it takes.
func (s *Session) Run(ctx context.Context, batch int, in []float32) ([]predict.Tensor, error) {
	const op = "ort.Run"
	per := int(s.inShape[0] * s.inShape[1] * s.inShape[2])
	if batch < 1 || len(in) != batch*per {
		return nil, fault.E(op, fault.Internal, fmt.Errorf("%d values for a batch of %d, want %d", len(in), batch, batch*per))
	}
	var t predict.Tensor
	var err error
	if s.batch == 0 || int64(batch) == s.batch {
		t, err = s.runOnce(ctx, batch, in)
	} else {
		t, err = s.runParts(ctx, batch, in, per)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, fault.E(op, fault.Unavailable, context.Cause(ctx))
		}
		return nil, fault.E(op, fault.Internal, err)
	}
	return []predict.Tensor{t}, nil
}

// runParts cuts a batch into the graph's fixed batches, the last one filled with zeros, and joins the outputs.
func (s *Session) runParts(ctx context.Context, batch int, in []float32, per int) (predict.Tensor, error) {
	fixed := int(s.batch)
	var joined predict.Tensor
	for at := 0; at < batch; at += fixed {
		n := min(fixed, batch-at)
		part := in[at*per : (at+n)*per]
		if n < fixed {
			part = append(make([]float32, 0, fixed*per), part...)[:fixed*per]
		}
		t, err := s.runOnce(ctx, fixed, part)
		if err != nil {
			return predict.Tensor{}, err
		}
		if len(t.Shape) == 0 || t.Shape[0] != int64(fixed) {
			return predict.Tensor{}, fmt.Errorf("the graph takes batches of %d and gives an output of shape %v", fixed, t.Shape)
		}
		if joined.Shape == nil {
			joined.Shape = append([]int64{int64(batch)}, t.Shape[1:]...)
			joined.Data = make([]float32, 0, len(t.Data)/fixed*batch)
		}
		joined.Data = append(joined.Data, t.Data[:len(t.Data)/fixed*n]...)
		if t.Release != nil {
			t.Release()
		}
	}
	return joined, nil
}

// runOnce runs the graph once with a batch it takes.
func (s *Session) runOnce(ctx context.Context, batch int, in []float32) (predict.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return predict.Tensor{}, err
	}
	input, done, err := s.input(batch, in)
	if err != nil {
		return predict.Tensor{}, err
	}
	defer done()
	free := s.outputs(batch)
	outputs := []onnx.Value{nil}
	if free != nil {
		if outputs[0], err = s.takeOutput(free, batch); err != nil {
			return predict.Tensor{}, err
		}
	}
	if err := s.runCancellable(ctx, []onnx.Value{input}, outputs); err != nil {
		if outputs[0] != nil {
			_ = outputs[0].Destroy() // frees memory, cannot fail
		}
		return predict.Tensor{}, err
	}
	return read(outputs[0], free)
}

// runCancellable runs the graph and stops it between operators when ctx ends.
func (s *Session) runCancellable(ctx context.Context, in, out []onnx.Value) error {
	if ctx.Done() == nil {
		return s.s.Run(in, out)
	}
	opts, err := onnx.NewRunOptions()
	if err != nil {
		return err
	}
	defer opts.Destroy() //nolint:errcheck // frees memory, cannot fail
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = opts.Terminate() // sets a flag, cannot fail
		close(fired)
	})
	err = s.s.RunWithOptions(in, out, opts)
	if !stop() {
		<-fired // opts must outlive Terminate
	}
	return err
}
