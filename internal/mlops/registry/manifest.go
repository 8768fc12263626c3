package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"kenkyo/internal/fault"
)

// SchemaVersion is the value of a manifest's schema key that this package reads and writes.
const SchemaVersion = 1

// maxManifestBytes bounds model.yaml: manifests with long lineage are a few kilobytes.
const maxManifestBytes = 1 << 20

// Task says what a model answers.
type Task string

// The tasks.
const (
	TaskDetect   Task = "detect"    // boxes with labels
	TaskClassify Task = "classify"  // one label for the image
	TaskCropVote Task = "crop-vote" // one label for the image, voted by many small crops
)

// Layout says how to read a model's output tensor.
type Layout string

// The layouts; N is the number of candidate boxes, C of labels.
const (
	LayoutYOLOv5  Layout = "yolov5"  // [B,N,5+C]: cx, cy, w, h, objectness, C label scores
	LayoutYOLOv8  Layout = "yolov8"  // [B,4+C,N]: cx, cy, w, h, C label scores
	LayoutSoftmax Layout = "softmax" // [B,C]: probabilities, or logits
)

// Colour is the order of an input tensor's three planes.
type Colour string

// The colour orders.
const (
	ColourRGB Colour = "rgb"
	ColourBGR Colour = "bgr"
)

// DType is the element type of a model's input tensor.
type DType string

// The element types a model's input may have. Integer-quantised graphs keep floats at their ends.
const (
	Float32 DType = "float32"
	Float16 DType = "float16"
)

// Manifest is model.yaml: what a model is, how to prepare its input, how to read its output, where it came from and what it is
// for. Keys are snake_case; a key that is not listed here is refused.
type Manifest struct {
	Schema      int       `yaml:"schema"`
	Name        string    `yaml:"name"`    // lowercase letters, digits and hyphens
	Version     string    `yaml:"version"` // for people; the digest identifies
	Task        Task      `yaml:"task"`
	Summary     Text      `yaml:"summary"`
	Weights     Weights   `yaml:"weights"`
	Input       Input     `yaml:"input"`
	Output      Output    `yaml:"output"`
	NMS         *NMS      `yaml:"nms,omitempty"`       // detect only
	CropVote    *CropVote `yaml:"crop_vote,omitempty"` // crop-vote only
	Labels      []Label   `yaml:"labels"`              // in the order of the output's classes
	Lineage     Lineage   `yaml:"lineage"`
	Licence     Licence   `yaml:"licence"`
	IntendedUse Text      `yaml:"intended_use"`
	Limits      []Text    `yaml:"limits,omitempty"`
	Golden      *Golden   `yaml:"golden,omitempty"`
}

// Text is one sentence or more in the languages of the console. EN is always there, JA may be empty.
type Text struct {
	EN string `yaml:"en"`
	JA string `yaml:"ja,omitempty"`
}

// Weights names the ONNX file beside model.yaml and what its bytes must be.
type Weights struct {
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"` // 64 lowercase hexadecimal digits
	Bytes  int64  `yaml:"bytes"`
}

// Input says how pixels become the input tensor: value = (pixel × Scale − Mean) ÷ Std per plane, planes in the order of Colour.
type Input struct {
	Width     int        `yaml:"width"`  // px
	Height    int        `yaml:"height"` // px
	Colour    Colour     `yaml:"colour"`
	Scale     float64    `yaml:"scale"` // usually 1/255
	Mean      [3]float64 `yaml:"mean"`
	Std       [3]float64 `yaml:"std"`
	Letterbox bool       `yaml:"letterbox"` // keep the aspect and pad; false stretches
	Pad       int        `yaml:"pad"`       // grey level of the padding, 0..255
	DType     DType      `yaml:"dtype"`
}

// Output says how to read the output tensor.
type Output struct {
	Layout Layout `yaml:"layout"`
}

// NMS bounds overlapping boxes of one label.
type NMS struct {
	IoU           float64 `yaml:"iou"`            // overlap above which the lower score is dropped, 0..1
	MaxDetections int     `yaml:"max_detections"` // per image
}

// CropVote says how crops of one field vote.
type CropVote struct {
	CropPx             int     `yaml:"crop_px"`           // side in source pixels when the calibration is unknown
	CropUM             float64 `yaml:"crop_um,omitempty"` // side in micrometres; used when the image's calibration is known
	Crops              int     `yaml:"crops"`
	Seed               uint64  `yaml:"seed"`                 // of the crop positions
	Background         string  `yaml:"background"`           // the label that means "nothing here"
	VoteThreshold      float64 `yaml:"vote_threshold"`       // probability below which a crop abstains
	MinForegroundShare float64 `yaml:"min_foreground_share"` // share of crops that must vote for something, else background
}

// Label is one class the model can name.
type Label struct {
	Name           string         `yaml:"name"` // as findings carry it
	EN             string         `yaml:"en,omitempty"`
	JA             string         `yaml:"ja,omitempty"`
	OperatingPoint OperatingPoint `yaml:"operating_point,omitempty"`
}

// OperatingPoint is a threshold with what it was measured to give on held-out data; nil when it was not measured.
type OperatingPoint struct {
	Threshold   float64  `yaml:"threshold"`
	Sensitivity *float64 `yaml:"sensitivity,omitempty"`
	Precision   *float64 `yaml:"precision,omitempty"`
}

// Lineage says what produced the weights.
type Lineage struct {
	Trainer Trainer  `yaml:"trainer,omitempty"`
	Data    []Data   `yaml:"data,omitempty"`
	Metrics []Metric `yaml:"metrics,omitempty"`
}

// Trainer is the program and its settings.
type Trainer struct {
	Revision        string         `yaml:"revision,omitempty"`
	Framework       string         `yaml:"framework,omitempty"`
	Seed            int64          `yaml:"seed,omitempty"`
	Epochs          int            `yaml:"epochs,omitempty"`
	Parameters      int64          `yaml:"parameters,omitempty"` // count of trained weights
	HyperParameters map[string]any `yaml:"hyper_parameters,omitempty"`
}

// Data is one source of training or test images.
type Data struct {
	Name    string `yaml:"name"`
	Source  string `yaml:"source,omitempty"`
	Licence string `yaml:"licence,omitempty"`
	Images  int    `yaml:"images,omitempty"`
	SHA256  string `yaml:"sha256,omitempty"`
}

// Metric is one measured value with its interval; Label is empty when it is over all labels.
type Metric struct {
	Name   string   `yaml:"name"`
	Label  string   `yaml:"label,omitempty"`
	Split  string   `yaml:"split,omitempty"`
	Value  float64  `yaml:"value"`
	Low    *float64 `yaml:"low,omitempty"`
	High   *float64 `yaml:"high,omitempty"`
	Images int      `yaml:"images,omitempty"`
}

// Licence holds the licence of the training code and of the weights, which may differ.
type Licence struct {
	Code    string `yaml:"code,omitempty"`
	Weights string `yaml:"weights"`
}

// Golden names an image beside model.yaml and the findings the model must give for it.
type Golden struct {
	Image               string  `yaml:"image"`
	ImageSHA256         string  `yaml:"image_sha256,omitempty"`
	Expected            string  `yaml:"expected"`
	ExpectedSHA256      string  `yaml:"expected_sha256,omitempty"`
	ConfidenceTolerance float64 `yaml:"confidence_tolerance"`
	BoxTolerancePx      float64 `yaml:"box_tolerance_px,omitempty"`
}

// ParseManifest reads model.yaml and checks every rule.
// In: UTF-8 YAML of at most 1 MiB, one document, no anchors or aliases.
// Errors: fault.Invalid naming the offending key. Pure.
func ParseManifest(b []byte) (*Manifest, error) {
	const op = "registry.ParseManifest"
	if len(b) > maxManifestBytes {
		return nil, fault.E(op, fault.Invalid, fmt.Errorf("model.yaml has %d bytes, at most %d are allowed", len(b), maxManifestBytes))
	}
	if err := refuseAliases(b); err != nil {
		return nil, fault.E(op, fault.Invalid, err)
	}
	var m Manifest
	if err := decodeYAML(b, &m); err != nil {
		return nil, fault.E(op, fault.Invalid, err)
	}
	if err := m.Validate(); err != nil {
		return nil, fault.E(op, fault.Invalid, err)
	}
	return &m, nil
}

// Encode gives the YAML that ParseManifest reads back to the same manifest. Keys stand in the order of the struct, so equal
// manifests give equal bytes and therefore equal digests.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := yaml.Marshal(m)
	if err != nil {
		return nil, fault.E("registry.Encode", fault.Internal, err)
	}
	return b, nil
}

// LabelNames gives the labels in class order.
func (m *Manifest) LabelNames() []string {
	names := make([]string, len(m.Labels))
	for i, l := range m.Labels {
		names[i] = l.Name
	}
	return names
}

// decodeYAML decodes one strict document. The library reports some malformed input by panicking, which must not take the
// process down with it.
func decodeYAML(b []byte, m *Manifest) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("model.yaml: not valid YAML")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	err = dec.Decode(m)
	if err == nil {
		var more any
		if !errors.Is(dec.Decode(&more), io.EOF) {
			return errors.New("model.yaml: more than one document")
		}
	}
	if err != nil {
		text := yaml.FormatError(err, false, false)
		if first, _, ok := strings.Cut(strings.TrimSpace(text), "\n"); ok {
			text = first
		}
		return fmt.Errorf("model.yaml: %s", text)
	}
	return nil
}

// refuseAliases keeps a few lines of YAML from expanding into gigabytes.
func refuseAliases(b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("model.yaml: not valid YAML")
		}
	}()
	for _, t := range lexer.Tokenize(string(b)) {
		if t.Type == token.AnchorType || t.Type == token.AliasType || t.Type == token.MergeKeyType {
			return fmt.Errorf("model.yaml: line %d: anchors and aliases are not allowed", t.Position.Line)
		}
	}
	return nil
}
