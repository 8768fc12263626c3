package ort

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"

	"kenkyo/internal/clinic/predict"
)

// input wraps the caller's values, without a copy for float32 graphs, as half precision in a pooled buffer otherwise.
func (s *Session) input(batch int, in []float32) (v onnx.Value, done func(), err error) {
	shape := onnx.NewShape(int64(batch), s.inShape[0], s.inShape[1], s.inShape[2])
	if s.in.DataType == onnx.TensorElementDataTypeFloat {
		t, err := onnx.NewTensor(shape, in)
		if err != nil {
			return nil, nil, err
		}
		return t, func() { _ = t.Destroy() }, nil // frees memory, cannot fail
	}
	buf, ok := s.half.Get().(*[]byte)
	if !ok || len(*buf) != 2*len(in) {
		b := make([]byte, 2*len(in))
		buf = &b
	}
	for i, x := range in {
		binary.NativeEndian.PutUint16((*buf)[2*i:], toHalf(x))
	}
	t, err := onnx.NewCustomDataTensor(shape, *buf, onnx.TensorElementDataTypeFloat16)
	if err != nil {
		return nil, nil, err
	}
	return t, func() {
		_ = t.Destroy() // frees memory, cannot fail
		s.half.Put(buf)
	}, nil
}

// values keeps output values for reuse. A sync.Pool would not do: what it drops, nobody frees in C.
type values struct {
	sync.Mutex
	free []onnx.Value
}

// take gives a kept value, nil when there is none.
func (f *values) take() onnx.Value {
	f.Lock()
	defer f.Unlock()
	n := len(f.free)
	if n == 0 {
		return nil
	}
	v := f.free[n-1]
	f.free = f.free[:n-1]
	return v
}

// put keeps a value. There are never more than the most calls that ever ran at once.
func (f *values) put(v onnx.Value) {
	f.Lock()
	defer f.Unlock()
	f.free = append(f.free, v)
}

func (f *values) destroy() {
	f.Lock()
	defer f.Unlock()
	for _, v := range f.free {
		_ = v.Destroy() // frees memory, cannot fail
	}
	f.free = nil
}

// outputs gives the reusable output values for a batch, nil when the graph leaves the output's size open.
func (s *Session) outputs(batch int) *values {
	for _, d := range s.out.Dimensions[1:] {
		if d <= 0 {
			return nil
		}
	}
	free, ok := s.outs.Load(batch)
	if !ok {
		free, _ = s.outs.LoadOrStore(batch, new(values))
	}
	return free.(*values) //nolint:errcheck,forcetypeassert // the map holds nothing else
}

// takeOutput gives a kept output value or a new one.
func (s *Session) takeOutput(free *values, batch int) (onnx.Value, error) {
	if v := free.take(); v != nil {
		return v, nil
	}
	shape := s.out.Dimensions.Clone()
	if shape[0] <= 0 {
		shape[0] = int64(batch)
	}
	if s.out.DataType == onnx.TensorElementDataTypeFloat {
		return onnx.NewEmptyTensor[float32](shape)
	}
	return onnx.NewCustomDataTensor(shape, make([]byte, 2*shape.FlattenedSize()), onnx.TensorElementDataTypeFloat16)
}

// read gives an output as float32 and arranges for its value to be kept, or to be freed.
func read(v onnx.Value, free *values) (predict.Tensor, error) {
	back := func() { _ = v.Destroy() } // frees memory, cannot fail
	if free != nil {
		back = func() { free.put(v) }
	}
	switch t := v.(type) {
	case *onnx.Tensor[float32]:
		return predict.Tensor{Shape: t.GetShape(), Data: t.GetData(), Release: back}, nil
	case *onnx.CustomDataTensor:
		raw := t.GetData()
		data := make([]float32, len(raw)/2)
		for i := range data {
			data[i] = fromHalf(binary.NativeEndian.Uint16(raw[2*i:]))
		}
		shape := t.GetShape()
		back()
		return predict.Tensor{Shape: shape, Data: data}, nil
	}
	back()
	return predict.Tensor{}, fmt.Errorf("the graph gave a %T, want numbers", v)
}

// toHalf rounds to the nearest IEEE 754 half-precision number, ties to even.
func toHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	exp := int(b>>23&0xff) - 127
	man := b & 0x7fffff
	switch {
	case exp == 128 && man != 0:
		return sign | 0x7e00
	case exp > 15:
		return sign | 0x7c00
	case exp >= -14:
		h := uint32(exp+15)<<10 | man>>13
		return sign | uint16(h+roundUp(man&0x1fff, 0x1000, h)) //nolint:gosec // G115: at most 0x7c00, a carry becomes infinity
	case exp >= -25:
		man |= 0x800000
		shift := uint(-exp - 1)
		h := man >> shift
		return sign | uint16(h+roundUp(man&(1<<shift-1), 1<<(shift-1), h)) //nolint:gosec // G115: at most 0x400
	}
	return sign
}

// roundUp gives 1 when the cut-off rest is more than half, or half of an odd number.
func roundUp(rest, half, kept uint32) uint32 {
	if rest > half || (rest == half && kept&1 == 1) {
		return 1
	}
	return 0
}

// fromHalf widens an IEEE 754 half-precision number exactly.
func fromHalf(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h >> 10 & 0x1f)
	man := uint32(h & 0x3ff)
	switch exp {
	case 0:
		f := float32(man) / (1 << 24)
		if sign != 0 {
			f = -f
		}
		return f
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}
