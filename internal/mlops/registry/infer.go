package registry

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"kenkyo/internal/fault"
)

// What is assumed of a bare export that does not say.
const (
	defaultDetectSide    = 640
	defaultClassifySide  = 224
	defaultThreshold     = 0.25
	defaultIoUYOLOv5     = 0.45
	defaultIoUYOLOv8     = 0.70
	defaultMaxDetections = 300
	defaultPad           = 114
)

// Infer writes the manifest of a bare ONNX export from its shapes and metadata.
// In: the package name to give, the graph's ends, and the weights entry of the file.
// Out: a manifest that passes Validate: letterboxed RGB ÷ 255, every label at an operating point of 0.25, NMS by the
// convention of the layout.
// Errors: fault.Invalid when the graph is ambiguous, contradicts its metadata, or lacks what cannot be guessed; the text says
// what to do. Pure.
func Infer(name string, io IO, weights Weights) (*Manifest, error) {
	m, err := infer(name, io, weights)
	if err != nil {
		return nil, fault.E("registry.Infer", fault.Invalid, err)
	}
	if err := m.Validate(); err != nil {
		return nil, fault.E("registry.Infer", fault.Internal, err)
	}
	return m, nil
}

func infer(name string, io IO, weights Weights) (*Manifest, error) {
	in, err := imageInput(io)
	if err != nil {
		return nil, err
	}
	meta := io.Metadata
	if truthy(meta["end2end"]) || truthy(pythonArg(meta["args"], "nms")) {
		return nil, errors.New("the export holds its own box suppression: export it again with nms=False (end2end=False)")
	}
	if meta["names"] == "" {
		return nil, errors.New("the ONNX metadata holds no label names: write a model.yaml beside the file and add the folder")
	}
	labels, err := ParseNames(meta["names"])
	if err != nil {
		return nil, err
	}
	layout, err := inferLayout(io.Outputs, len(labels))
	if err != nil {
		return nil, err
	}
	task := TaskDetect
	if layout == LayoutSoftmax {
		task = TaskClassify
	}
	if said := meta["task"]; said != "" && said != string(task) {
		return nil, fmt.Errorf("the ONNX metadata says task %q and the output has the shape of a %s model: only detect and classify exports are understood", said, task)
	}
	height, width, err := inferSide(in, meta["imgsz"], task)
	if err != nil {
		return nil, err
	}
	m := &Manifest{
		Schema:  SchemaVersion,
		Name:    name,
		Version: weights.SHA256[:min(12, len(weights.SHA256))],
		Task:    task,
		Summary: Text{EN: summary(meta, task, len(labels))},
		Weights: weights,
		Input: Input{
			Width: width, Height: height, Colour: ColourRGB, Scale: 1.0 / 255, Std: [3]float64{1, 1, 1},
			Letterbox: task == TaskDetect, Pad: defaultPad, DType: DType(in.Type),
		},
		Output:      Output{Layout: layout},
		Licence:     Licence{Weights: licence(meta)},
		IntendedUse: Text{EN: "Not stated: this manifest was inferred from an ONNX export.", JA: "未記載(ONNX ファイルから推定した定義)"},
		Limits: []Text{{
			EN: "Thresholds are defaults, not measured operating points.",
			JA: "しきい値は既定値であり、実測した動作点ではない。",
		}},
	}
	if task == TaskDetect {
		m.NMS = &NMS{IoU: defaultIoUYOLOv8, MaxDetections: defaultMaxDetections}
		if layout == LayoutYOLOv5 {
			m.NMS.IoU = defaultIoUYOLOv5
		}
	} else {
		m.Limits = append(m.Limits, Text{
			EN: "The whole image is resized to the input; a centre crop made in training is not repeated.",
			JA: "画像全体を入力サイズに縮める。学習時の中央切り出しは再現しない。",
		})
	}
	for _, l := range labels {
		m.Labels = append(m.Labels, Label{Name: l, EN: l, JA: l, OperatingPoint: OperatingPoint{Threshold: defaultThreshold}})
	}
	return m, nil
}

// inferLayout tells the layouts apart by where the number of labels stands. Outputs after the first are the raw heads of older
// exports and are not read.
func inferLayout(outputs []TensorInfo, labels int) (Layout, error) {
	if len(outputs) == 0 {
		return "", errors.New("the graph has no output")
	}
	for _, o := range outputs[1:] {
		if len(o.Shape) != 5 {
			return "", fmt.Errorf("the graph has %d outputs; segmentation, pose and multi-head models are not understood", len(outputs))
		}
	}
	out, c := outputs[0], int64(labels)
	if out.Type != string(Float32) && out.Type != string(Float16) {
		return "", fmt.Errorf("the graph gives %s, want float32 or float16", out.Type)
	}
	shape := out.Shape
	switch len(shape) {
	case 2:
		if shape[1] > 0 && shape[1] != c {
			return "", fmt.Errorf("the output %v has %d scores and the metadata names %d labels", shape, shape[1], c)
		}
		return LayoutSoftmax, nil
	case 3:
		return inferBoxes(shape, c)
	}
	return "", fmt.Errorf("the output has shape %v; understood are [batch,4+labels,boxes], [batch,boxes,5+labels] and [batch,labels]", shape)
}

func inferBoxes(shape []int64, c int64) (Layout, error) {
	v8, v5 := shape[1] == 4+c, shape[2] == 5+c
	switch {
	case v8 && v5:
		return "", fmt.Errorf("the output %v fits both yolov8 and yolov5 with %d labels: write a model.yaml that states output.layout", shape, c)
	case v8:
		return LayoutYOLOv8, nil
	case v5:
		return LayoutYOLOv5, nil
	case shape[1] <= 0 && shape[2] > 0: // the known size is not 5+labels, so it counts boxes; the trial run proves it
		return LayoutYOLOv8, nil
	case shape[2] <= 0 && shape[1] > 0: // the known size is not 4+labels, so it counts boxes
		return LayoutYOLOv5, nil
	case shape[1] <= 0 && shape[2] <= 0:
		return "", fmt.Errorf("the output %v leaves both sizes open: export with fixed sizes, or write a model.yaml that states output.layout", shape)
	}
	return "", fmt.Errorf("the output %v fits neither yolov8 [batch,%d,boxes] nor yolov5 [batch,boxes,%d] with the %d labels of the metadata: %s",
		shape, 4+c, 5+c, c, "export it again with its own names, or write a model.yaml")
}

// inferSide gives the input's height and width: the graph's where fixed, else the exporter's imgsz, else the usual size.
func inferSide(in TensorInfo, imgsz string, task Task) (height, width int, err error) {
	h, w := in.Shape[2], in.Shape[3]
	var said [2]int64
	if imgsz != "" {
		if said, err = parseSize(imgsz); err != nil {
			return 0, 0, err
		}
		if (h > 0 && h != said[0]) || (w > 0 && w != said[1]) {
			return 0, 0, fmt.Errorf("the graph takes %d×%d (height×width) and its metadata says imgsz %v: export it again, or write a model.yaml", h, w, said)
		}
	} else {
		said = [2]int64{defaultDetectSide, defaultDetectSide}
		if task == TaskClassify {
			said = [2]int64{defaultClassifySide, defaultClassifySide}
		}
	}
	if h <= 0 {
		h = said[0]
	}
	if w <= 0 {
		w = said[1]
	}
	if h > maxInputSide || w > maxInputSide {
		return 0, 0, fmt.Errorf("the graph takes %d×%d px, at most %d are allowed", h, w, maxInputSide)
	}
	return int(h), int(w), nil
}

var sizePattern = regexp.MustCompile(`^\s*[\[(]?\s*(\d{1,5})\s*(?:,\s*(\d{1,5}))?\s*,?\s*[\])]?\s*$`)

// parseSize reads imgsz: 640, [640] or [height, width].
func parseSize(text string) ([2]int64, error) {
	g := sizePattern.FindStringSubmatch(text)
	if g == nil {
		return [2]int64{}, fmt.Errorf("the ONNX metadata says imgsz %.40q, want [height, width]", text)
	}
	h, _ := strconv.ParseInt(g[1], 10, 64)
	w := h
	if g[2] != "" {
		w, _ = strconv.ParseInt(g[2], 10, 64)
	}
	if h == 0 || w == 0 {
		return [2]int64{}, fmt.Errorf("the ONNX metadata says imgsz %.40q, want sizes above 0", text)
	}
	return [2]int64{h, w}, nil
}

// pythonArg finds 'key': value in the dict literal an exporter wrote; enough for flags, which hold no brackets or commas.
func pythonArg(literal, key string) string {
	_, rest, ok := strings.Cut(literal, "'"+key+"':")
	if !ok {
		return ""
	}
	return strings.TrimSpace(rest[:strings.IndexAny(rest+",", ",}")])
}

func truthy(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "true") }

func summary(meta map[string]string, task Task, labels int) string {
	if d := printable(meta["description"]); d != "" {
		return d
	}
	return fmt.Sprintf("A %s model with %d labels, added from an ONNX file.", task, labels)
}

func licence(meta map[string]string) string {
	if l := printable(meta["license"]); l != "" {
		return l
	}
	return "not stated"
}

// printable keeps foreign metadata to one short line.
func printable(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200])
	}
	return s
}
