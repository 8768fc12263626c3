package registry

import (
	"fmt"
	"testing"

	"kenkyo/internal/fault"
)

// The place of the number of labels tells the layouts apart, also where an exporter left one of the two sizes open.
func TestInferLayout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		shape  []int64
		labels int
		want   Layout // "": refused
	}{
		{[]int64{1, 7, 2100}, 3, LayoutYOLOv8},
		{[]int64{1, 2100, 8}, 3, LayoutYOLOv5},
		{[]int64{-1, 7, -1}, 3, LayoutYOLOv8},
		{[]int64{-1, -1, 8}, 3, LayoutYOLOv5},
		{[]int64{-1, -1, 2100}, 3, LayoutYOLOv8}, // 2100 is not 5+labels: it counts boxes
		{[]int64{-1, 25200, -1}, 3, LayoutYOLOv5},
		{[]int64{-1, 3}, 3, LayoutSoftmax},
		{[]int64{-1, -1}, 3, LayoutSoftmax},
		{[]int64{-1, 4}, 3, ""},
		{[]int64{1, 7, 8}, 3, ""},     // fits both
		{[]int64{1, 84, 8400}, 3, ""}, // 80 labels in the graph, 3 in the metadata
		{[]int64{-1, -1, -1}, 3, ""},  // says nothing
		{[]int64{1, 3, 80, 80, 8}, 3, ""},
		{[]int64{7}, 3, ""},
	} {
		t.Run(fmt.Sprint(tt.shape), func(t *testing.T) {
			t.Parallel()
			m, err := Infer("m", IO{
				Inputs:   []TensorInfo{{Shape: []int64{-1, 3, 320, 320}, Type: "float32"}},
				Outputs:  []TensorInfo{{Shape: tt.shape, Type: "float32"}},
				Metadata: map[string]string{"names": "['a', 'b', 'c']"},
			}, Weights{File: "model.onnx", SHA256: fmt.Sprintf("%064x", 1), Bytes: 1})
			if tt.want == "" {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("output %v with %d labels: got %+v, %v, want Invalid", tt.shape, tt.labels, m, err)
				}
				return
			}
			if err != nil || m.Output.Layout != tt.want {
				t.Errorf("output %v with %d labels: got %+v, %v, want %s", tt.shape, tt.labels, m, err, tt.want)
			}
		})
	}
}
