package registry

import (
	"context"
	"errors"
	"fmt"

	"kenkyo/internal/fault"
)

// Inspector reads the ends of an ONNX graph; adapter/ort implements it.
type Inspector interface {
	// Inspect loads the file and gives its inputs, outputs and metadata. Errors: fault.Invalid when the runtime cannot load the
	// file as a model, fault.Unavailable when the runtime itself is missing.
	Inspect(path string) (IO, error)
}

// Check tells whether a package works: the golden image gives the expected findings, or, without one, a grey image gives
// finite numbers of the right shape. predict.NewCheck builds one.
type Check func(ctx context.Context, p *Package) error

// IO is what a graph says about itself.
type IO struct {
	Inputs, Outputs []TensorInfo
	Metadata        map[string]string // custom metadata as the exporter wrote it
}

// TensorInfo is one input or output. A dimension the graph leaves open is -1. Type is the ONNX name in lower case: "float32",
// "float16", "uint8", …
type TensorInfo struct {
	Name  string
	Shape []int64
	Type  string
}

// matchIO checks that the graph has the ends its manifest describes.
// Errors: fault.Invalid naming the manifest key that the graph contradicts.
func matchIO(m *Manifest, io IO) error {
	const op = "registry.matchIO"
	refuse := func(key, format string, args ...any) error {
		return fault.E(op, fault.Invalid, errors.New(key+": "+fmt.Sprintf(format, args...)), fault.Field(key))
	}
	in, err := imageInput(io)
	if err != nil {
		return fault.E(op, fault.Invalid, err)
	}
	if in.Type != string(m.Input.DType) {
		return refuse("input.dtype", "the manifest says %s, the graph takes %s", m.Input.DType, in.Type)
	}
	if !fits(in.Shape, []int64{-1, 3, int64(m.Input.Height), int64(m.Input.Width)}) {
		return refuse("input", "the manifest says 3×%d×%d, the graph takes %v", m.Input.Height, m.Input.Width, in.Shape)
	}
	if len(io.Outputs) == 0 {
		return refuse("output.layout", "the graph has no output")
	}
	c := int64(len(m.Labels))
	var want []int64
	switch m.Output.Layout {
	case LayoutYOLOv5:
		want = []int64{-1, -1, 5 + c}
	case LayoutYOLOv8:
		want = []int64{-1, 4 + c, -1}
	case LayoutSoftmax:
		want = []int64{-1, c}
	}
	if out := io.Outputs[0].Shape; !fits(out, want) {
		return refuse("output.layout", "%s with %d labels needs an output of shape %v, the graph gives %v", m.Output.Layout, c, want, out)
	}
	return nil
}

// fits reports whether two shapes agree where both are known.
func fits(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] > 0 && b[i] > 0 && a[i] != b[i] {
			return false
		}
	}
	return true
}

// imageInput gives the graph's only input and checks that it takes planar three-colour images as floats.
func imageInput(io IO) (TensorInfo, error) {
	if len(io.Inputs) != 1 {
		return TensorInfo{}, fmt.Errorf("the graph has %d inputs, want 1: export the model with the image as its only input", len(io.Inputs))
	}
	in := io.Inputs[0]
	if in.Type != string(Float32) && in.Type != string(Float16) {
		return in, fmt.Errorf("the graph takes %s, want float32 or float16: export it with float input (an integer-quantised graph keeps float ends)", in.Type)
	}
	if len(in.Shape) != 4 {
		return in, fmt.Errorf("the graph takes an input of shape %v, want [batch,3,height,width]", in.Shape)
	}
	if in.Shape[1] != 3 && in.Shape[1] > 0 {
		if in.Shape[3] == 3 {
			return in, fmt.Errorf("the graph takes %v, channels last: export it with channels first ([batch,3,height,width])", in.Shape)
		}
		return in, fmt.Errorf("the graph takes %d channels (%v), want 3", in.Shape[1], in.Shape)
	}
	return in, nil
}
