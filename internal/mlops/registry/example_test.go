package registry_test

import (
	"fmt"

	"kenkyo/internal/mlops/registry"
)

func ExampleInfer() {
	// What an Ultralytics export says of itself is enough for a manifest.
	io := registry.IO{
		Inputs:   []registry.TensorInfo{{Name: "images", Shape: []int64{1, 3, 640, 640}, Type: "float32"}},
		Outputs:  []registry.TensorInfo{{Name: "output0", Shape: []int64{1, 6, 8400}, Type: "float32"}},
		Metadata: map[string]string{"names": "{0: 'RBC', 1: 'WBC'}", "task": "detect", "imgsz": "[640, 640]"},
	}
	m, err := registry.Infer("cells", io, registry.Weights{
		File: "model.onnx", SHA256: "375876d689f42b5dd5ab5018fd817691d430bd979313e0fb37721807ee3bb8a9", Bytes: 12_345_678,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Task, m.Output.Layout, m.LabelNames(), m.Input.Width, m.NMS.IoU)
	// Output: detect yolov8 [RBC WBC] 640 0.7
}
