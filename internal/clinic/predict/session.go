package predict

import (
	"context"
	"fmt"
	"math"
)

// Tensor is one output of a run.
type Tensor struct {
	Shape []int64
	Data  []float32 // row-major, as many as the product of Shape

	Release func() // gives Data back to the session for reuse; may be nil
}

// Session is one loaded graph. It must be safe for concurrent use.
type Session interface {
	// Run computes the outputs for a batch of images. in holds batch × 3 × height × width values and is not kept after the call.
	// Every output's first dimension is batch. The caller calls each Tensor's Release once it has read it.
	// Errors: fault.Internal when the runtime fails, fault.Unavailable when ctx ended first.
	Run(ctx context.Context, batch int, in []float32) ([]Tensor, error)

	// Runtime is the runtime, its version and device, for the lineage of findings.
	Runtime() string

	// Close frees the graph. No Run may be under way or follow.
	Close() error
}

func releaseAll(ts []Tensor) {
	for _, t := range ts {
		if t.Release != nil {
			t.Release()
		}
	}
}

// checkTensor compares an output with the shape it must have (-1 matches any size above 0) and refuses numbers that are not
// finite, so that the decoders below may index without looking.
func checkTensor(t Tensor, want ...int64) error {
	ok := len(t.Shape) == len(want)
	n := int64(1)
	for i := 0; ok && i < len(want); i++ {
		d := t.Shape[i]
		ok = d > 0 && (want[i] < 0 || d == want[i]) && d <= math.MaxInt32
		n *= d
	}
	if !ok || n != int64(len(t.Data)) {
		return fmt.Errorf("the model gave an output of shape %v with %d values, want %v", t.Shape, len(t.Data), want)
	}
	if !allFinite(t.Data) {
		return fmt.Errorf("the model gave numbers that are not finite")
	}
	return nil
}

// allFinite multiplies by zero instead of testing each value: only NaN and infinities leave something, and sums pipeline.
func allFinite(v []float32) bool {
	var a, b, c, d float32
	for len(v) >= 4 {
		a += v[0] * 0
		b += v[1] * 0
		c += v[2] * 0
		d += v[3] * 0
		v = v[4:]
	}
	for _, x := range v {
		a += x * 0
	}
	return a+b+c+d == 0
}
