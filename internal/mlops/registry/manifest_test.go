package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/fault"
)

const validManifest = `schema: 1
name: blood-smear
version: 1.0.0
task: detect
summary:
  en: Finds cells.
  ja: 細胞を検出します。
weights:
  file: model.onnx
  sha256: 375876d689f42b5dd5ab5018fd817691d430bd979313e0fb37721807ee3bb8a9
  bytes: 4
input:
  width: 416
  height: 416
  colour: rgb
  scale: 0.00392156862745098
  mean: [0, 0, 0]
  std: [1, 1, 1]
  letterbox: true
  pad: 114
  dtype: float32
output:
  layout: yolov8
nms:
  iou: 0.6
  max_detections: 300
labels:
- name: RBC
  en: red cell
  ja: 赤血球
  operating_point:
    threshold: 0.4
    sensitivity: 0.9
    precision: 0.8
- name: WBC
  operating_point:
    threshold: 0.3
lineage:
  trainer:
    revision: abc
    framework: torch 1.13.1
    seed: 1
    epochs: 35
    parameters: 338772
    hyper_parameters:
      batch: 32
      rate: 0.002
      widths: [16, 32]
  data:
  - name: train
    source: somewhere
    licence: MIT
    images: 205
    sha256: 892606009db15b7222cf6fe7449cee3ef9320d7a409d81ffd30f97f3df316683
  metrics:
  - name: sensitivity
    label: RBC
    split: val
    value: 0.9
    low: 0.8
    high: 0.95
    images: 87
licence:
  code: Apache-2.0
  weights: research use
intended_use:
  en: Research.
limits:
- en: Not for diagnosis.
golden:
  image: golden.png
  expected: golden.json
  confidence_tolerance: 0.02
  box_tolerance_px: 2
`

// voteManifest is a valid crop-vote manifest.
var voteManifest = strings.NewReplacer("task: detect", "task: crop-vote", "layout: yolov8", "layout: softmax", "nms:\n  iou: 0.6\n  max_detections: 300\n",
	"crop_vote:\n  crop_px: 192\n  crop_um: 10\n  crops: 64\n  seed: 18446744073709551615\n  background: WBC\n  vote_threshold: 0.5\n  min_foreground_share: 0.1\n",
	"  box_tolerance_px: 2\n", "").Replace(validManifest)

func TestParseManifest(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"detect": validManifest, "crop-vote": voteManifest} {
		m, err := ParseManifest([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(b)
		if err != nil {
			t.Fatalf("%s: encoded manifest: %v\n%s", name, err, b)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Errorf("%s: encode and parse, -want +got:\n%s", name, diff)
		}
	}
	m, err := ParseManifest([]byte(voteManifest))
	if err != nil || m.CropVote.Seed != 18446744073709551615 || m.CropVote.CropUM != 10 {
		t.Errorf("crop_vote = %+v, %v, want the seed and size as written", m.CropVote, err)
	}
}

func TestManifestRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, to, key string }{
		{"schema: 1", "schema: 2", "schema"},
		{"name: blood-smear", "name: Blood Smear", "name"},
		{"name: blood-smear", "name: ../x", "name"},
		{"version: 1.0.0", "version: ''", "version"},
		{"version: 1.0.0", "version: a/b", "version"},
		{"task: detect", "task: segment", "task"},
		{"  en: Finds cells.\n", "", "summary.en"},
		{"file: model.onnx", "file: ../model.onnx", "weights.file"},
		{"file: model.onnx", "file: a\\\\b.onnx", "weights.file"},
		{"file: model.onnx", "file: model.pt", "weights.file"},
		{"file: model.onnx", "file: .hidden.onnx", "weights.file"},
		{"sha256: 3758", "sha256: X758", "weights.sha256"},
		{"bytes: 4", "bytes: 0", "weights.bytes"},
		{"width: 416", "width: 0", "input.width"},
		{"height: 416", "height: 99999", "input.height"},
		{"colour: rgb", "colour: grey", "input.colour"},
		{"scale: 0.00392156862745098", "scale: 255", "input.scale"},
		{"scale: 0.00392156862745098", "scale: .nan", "input.scale"},
		{"mean: [0, 0, 0]", "mean: [0, .inf, 0]", "input.mean[1]"},
		{"std: [1, 1, 1]", "std: [1, 1, 0]", "input.std[2]"},
		{"pad: 114", "pad: 256", "input.pad"},
		{"dtype: float32", "dtype: int8", "input.dtype"},
		{"layout: yolov8", "layout: softmax", "output.layout"},
		{"layout: yolov8", "layout: yolov9", "output.layout"},
		{"nms:\n  iou: 0.6\n  max_detections: 300\n", "", "nms"},
		{"iou: 0.6", "iou: 0", "nms.iou"},
		{"max_detections: 300", "max_detections: 0", "nms.max_detections"},
		{"- name: WBC", "- name: RBC", "labels[1].name"},
		{"- name: RBC", "- name: ' RBC'", "labels[0].name"},
		{"- name: RBC", "- name: \"R\\u0007BC\"", "labels[0].name"},
		{"threshold: 0.4", "threshold: 0", "labels[0].operating_point.threshold"},
		{"threshold: 0.3", "threshold: 1.5", "labels[1].operating_point.threshold"},
		{"sensitivity: 0.9", "sensitivity: 9", "labels[0].operating_point.sensitivity"},
		{"precision: 0.8", "precision: -1", "labels[0].operating_point.precision"},
		{"  - name: train", "  - name: ''", "lineage.data[0].name"},
		{"images: 205", "images: -1", "lineage.data[0].images"},
		{"sha256: 8926", "sha256: nope", "lineage.data[0].sha256"},
		{"value: 0.9", "value: .nan", "lineage.metrics[0].value"},
		{"low: 0.8", "low: 0.99", "lineage.metrics[0].low"},
		{"  weights: research use\n", "", "licence.weights"},
		{"  en: Research.\n", "  ja: 研究\n", "intended_use.en"},
		{"- en: Not for diagnosis.", "- ja: 診断用ではない", "limits[0].en"},
		{"image: golden.png", "image: /etc/passwd", "golden.image"},
		{"expected: golden.json", "expected: golden.png", "golden.image"},
		{"expected: golden.json", "expected: model.yaml", "golden.expected"},
		{"confidence_tolerance: 0.02", "confidence_tolerance: 0", "golden.confidence_tolerance"},
		{"box_tolerance_px: 2", "box_tolerance_px: 0", "golden.box_tolerance_px"},
		{"box_tolerance_px: 2", "image_sha256: zz", "golden.image_sha256"},
	} {
		checkRule(t, validManifest, tc.from, tc.to, tc.key)
	}
	for _, tc := range []struct{ from, to, key string }{
		{"crop_px: 192", "crop_px: 0", "crop_vote.crop_px"},
		{"crop_um: 10", "crop_um: -1", "crop_vote.crop_um"},
		{"crops: 64", "crops: 100000", "crop_vote.crops"},
		{"background: WBC", "background: nothing", "crop_vote.background"},
		{"vote_threshold: 0.5", "vote_threshold: 2", "crop_vote.vote_threshold"},
		{"min_foreground_share: 0.1", "min_foreground_share: -0.1", "crop_vote.min_foreground_share"},
		{"crop_vote:", "nms:\n  iou: 0.5\n  max_detections: 1\nlimit:", "unknown field"},
		{"layout: softmax", "layout: yolov5", "output.layout"},
	} {
		checkRule(t, voteManifest, tc.from, tc.to, tc.key)
	}
}

// checkRule changes one place of a manifest and expects it to be refused under the key.
func checkRule(t *testing.T, text, from, to, key string) {
	t.Helper()
	if strings.Count(text, from) == 0 {
		t.Fatalf("%q is not in the manifest", from)
	}
	_, err := ParseManifest([]byte(strings.Replace(text, from, to, 1)))
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), key) {
		t.Errorf("%q for %q: got %v, want Invalid naming %s", to, from, err, key)
	}
	if key != "unknown field" && fault.FieldOf(err) != key {
		t.Errorf("%q for %q: field %q, want %q", to, from, fault.FieldOf(err), key)
	}
}

func TestParseManifestRefusesOddYAML(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":         "",
		"not a map":     "- 1\n",
		"unknown key":   validManifest + "extra: 1\n",
		"key twice":     validManifest + "schema: 1\n",
		"deep unknown":  strings.Replace(validManifest, "  iou: 0.6", "  iou: 0.6\n  agnostic: true", 1),
		"alias":         strings.Replace(validManifest, "batch: 32", "batch: &a 32\n      more: *a", 1),
		"type":          strings.Replace(validManifest, "width: 416", "width: wide", 1),
		"broken":        "schema: [1\n",
		"binary":        "\x00\xff\xfe",
		"too long":      validManifest + "# " + strings.Repeat("x", maxManifestBytes),
		"short mean":    strings.Replace(validManifest, "mean: [0, 0, 0]", "mean: [0, 0, 0, 0]", 1),
		"two documents": validManifest + "---\nschema: 1\n",
	} {
		if _, err := ParseManifest([]byte(text)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

// FuzzManifest: what is accepted passes Validate and survives being written and read again.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(validManifest))
	f.Add([]byte(voteManifest))
	f.Add([]byte("schema: 1\nlabels: [{name: 'a', operating_point: {threshold: 1e400}}]"))
	f.Add([]byte("a: &x [*x, *x]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("got %v, want Invalid", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("accepted manifest breaks a rule: %v", err)
		}
		out, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(out)
		if err != nil {
			t.Fatalf("written manifest is refused: %v\n%s", err, out)
		}
		if a, b := fmt.Sprintf("%+v", m.Labels), fmt.Sprintf("%+v", again.Labels); len(m.Labels) != len(again.Labels) {
			t.Fatalf("labels %s became %s", a, b)
		}
		for i := range m.Labels {
			if m.Labels[i].Name != again.Labels[i].Name {
				t.Fatalf("label %q became %q", m.Labels[i].Name, again.Labels[i].Name)
			}
		}
		if m.Input != again.Input || m.Weights != again.Weights || m.Name != again.Name || m.Version != again.Version {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}
