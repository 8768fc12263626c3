package ort

import (
	"math"
	"testing"
)

func TestHalf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   float32
		want uint16
	}{
		{0, 0},
		{float32(math.Copysign(0, -1)), 0x8000},
		{1, 0x3c00},
		{-2, 0xc000},
		{65504, 0x7bff},
		{65519, 0x7bff},
		{65520, 0x7c00},
		{float32(math.Inf(-1)), 0xfc00},
		{6.103515625e-05, 0x0400},
		{5.9604645e-08, 0x0001},
		{2.9802322e-08, 0},
		{2.99e-08, 1},
		{1 + 1.0/2048, 0x3c00},
		{1 + 3.0/2048, 0x3c02},
		{1e-30, 0},
		{0.333251953125, 0x3555},
	} {
		if got := toHalf(tc.in); got != tc.want {
			t.Errorf("toHalf(%v) = %#04x, want %#04x", tc.in, got, tc.want)
		}
	}
	if got := toHalf(float32(math.NaN())); got&0x7c00 != 0x7c00 || got&0x3ff == 0 {
		t.Errorf("toHalf(NaN) = %#04x, want a NaN", got)
	}
	// Every finite half-precision number survives the way there and back.
	for h := range uint16(0xffff) {
		f := fromHalf(h)
		if f != f {
			continue
		}
		if got := toHalf(f); got != h {
			t.Fatalf("toHalf(fromHalf(%#04x) = %v) = %#04x", h, f, got)
		}
	}
}
