package registry

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"kenkyo/internal/fault"
)

// Bounds that catch a slip of the pen before it becomes an allocation.
const (
	maxInputSide  = 8192
	maxLabels     = 10_000
	maxCrops      = 4096
	maxDetections = 10_000
)

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	versionPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$`)
	sha256Pattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// rules collects the first broken rule, so that the checks below read as a list.
type rules struct{ err error }

// must records that the value of key breaks a rule; only the first one is kept.
func (r *rules) must(ok bool, key, format string, args ...any) {
	if ok || r.err != nil {
		return
	}
	r.err = fault.E("registry.Validate", fault.Invalid, errors.New(key+": "+fmt.Sprintf(format, args...)), fault.Field(key))
}

func (r *rules) fraction(v float64, key string) {
	r.must(v >= 0 && v <= 1, key, "got %v, want 0 to 1", v)
}

func (r *rules) optionalFraction(v *float64, key string) {
	if v != nil {
		r.fraction(*v, key)
	}
}

func (r *rules) file(name, key string) {
	r.must(isFileName(name), key, "got %q, want the name of a file beside model.yaml, without folders", name)
}

func (r *rules) digest(v, key string) {
	r.must(sha256Pattern.MatchString(v), key, "got %q, want 64 lowercase hexadecimal digits", v)
}

func (r *rules) optionalDigest(v, key string) {
	if v != "" {
		r.digest(v, key)
	}
}

// Validate checks every rule of the schema. Sections that belong to another task are not looked at.
// Errors: fault.Invalid with fault.Field naming the first key that breaks a rule. Pure.
func (m *Manifest) Validate() error {
	var r rules
	r.must(m.Schema == SchemaVersion, "schema", "got %d, want %d", m.Schema, SchemaVersion)
	r.must(namePattern.MatchString(m.Name), "name", "got %q, want 1 to 63 lowercase letters, digits or hyphens", m.Name)
	r.must(versionPattern.MatchString(m.Version), "version", "got %q, want 1 to 64 letters, digits or .+_-", m.Version)
	r.must(m.Summary.EN != "", "summary.en", "missing")
	r.file(m.Weights.File, "weights.file")
	r.must(strings.HasSuffix(m.Weights.File, ".onnx"), "weights.file", "got %q, want a name ending in .onnx", m.Weights.File)
	r.digest(m.Weights.SHA256, "weights.sha256")
	r.must(m.Weights.Bytes > 0, "weights.bytes", "got %d, want the size of the file", m.Weights.Bytes)
	m.Input.validate(&r)
	m.validateTask(&r)
	m.validateLabels(&r)
	m.Lineage.validate(&r)
	r.must(m.Licence.Weights != "", "licence.weights", "missing: name the licence under which the weights may be used")
	r.must(m.IntendedUse.EN != "", "intended_use.en", "missing")
	for i, l := range m.Limits {
		r.must(l.EN != "", fmt.Sprintf("limits[%d].en", i), "missing")
	}
	if m.Golden != nil {
		m.Golden.validate(&r, m.Task)
	}
	return r.err
}

func (in *Input) validate(r *rules) {
	r.must(in.Width >= 1 && in.Width <= maxInputSide, "input.width", "got %d, want 1 to %d px", in.Width, maxInputSide)
	r.must(in.Height >= 1 && in.Height <= maxInputSide, "input.height", "got %d, want 1 to %d px", in.Height, maxInputSide)
	r.must(in.Colour == ColourRGB || in.Colour == ColourBGR, "input.colour", "got %q, want rgb or bgr", in.Colour)
	r.must(in.Scale > 0 && in.Scale <= 1, "input.scale", "got %v, want a factor above 0 and up to 1 (1/255 is 0.00392156862745098)", in.Scale)
	for i := range in.Mean {
		r.must(isFinite(in.Mean[i]), fmt.Sprintf("input.mean[%d]", i), "got %v, want a finite number", in.Mean[i])
		r.must(isFinite(in.Std[i]) && in.Std[i] > 0, fmt.Sprintf("input.std[%d]", i), "got %v, want a number above 0", in.Std[i])
	}
	r.must(in.Pad >= 0 && in.Pad <= 255, "input.pad", "got %d, want 0 to 255", in.Pad)
	r.must(in.DType == Float32 || in.DType == Float16, "input.dtype", "got %q, want float32 or float16", in.DType)
}

// validateTask checks that the sections the task needs are there and fit it.
func (m *Manifest) validateTask(r *rules) {
	layout := m.Output.Layout
	switch m.Task {
	case TaskDetect:
		r.must(layout == LayoutYOLOv5 || layout == LayoutYOLOv8, "output.layout", "got %q, want yolov5 or yolov8 for task detect", layout)
		r.must(m.NMS != nil, "nms", "missing: task detect needs it")
		if m.NMS != nil {
			r.must(m.NMS.IoU > 0 && m.NMS.IoU <= 1, "nms.iou", "got %v, want above 0 and up to 1", m.NMS.IoU)
			n := m.NMS.MaxDetections
			r.must(n >= 1 && n <= maxDetections, "nms.max_detections", "got %d, want 1 to %d", n, maxDetections)
		}
	case TaskClassify:
		r.must(layout == LayoutSoftmax, "output.layout", "got %q, want softmax for task classify", layout)
	case TaskCropVote:
		r.must(layout == LayoutSoftmax, "output.layout", "got %q, want softmax for task crop-vote", layout)
		r.must(m.CropVote != nil, "crop_vote", "missing: task crop-vote needs it")
		if m.CropVote != nil {
			m.validateCropVote(r)
		}
	default:
		r.must(false, "task", "got %q, want detect, classify or crop-vote", m.Task)
	}
}

func (m *Manifest) validateCropVote(r *rules) {
	c := m.CropVote
	r.must(c.CropPx >= 1 && c.CropPx <= maxInputSide, "crop_vote.crop_px", "got %d, want 1 to %d px", c.CropPx, maxInputSide)
	r.must(c.CropUM >= 0 && isFinite(c.CropUM), "crop_vote.crop_um", "got %v, want micrometres, or 0 when unknown", c.CropUM)
	r.must(c.Crops >= 1 && c.Crops <= maxCrops, "crop_vote.crops", "got %d, want 1 to %d", c.Crops, maxCrops)
	r.fraction(c.VoteThreshold, "crop_vote.vote_threshold")
	r.fraction(c.MinForegroundShare, "crop_vote.min_foreground_share")
	found := false
	for _, l := range m.Labels {
		found = found || l.Name == c.Background
	}
	r.must(found, "crop_vote.background", "got %q, want one of the labels", c.Background)
}

func (m *Manifest) validateLabels(r *rules) {
	r.must(len(m.Labels) >= 1 && len(m.Labels) <= maxLabels, "labels", "got %d, want 1 to %d", len(m.Labels), maxLabels)
	seen := make(map[string]bool, len(m.Labels))
	for i, l := range m.Labels {
		key := fmt.Sprintf("labels[%d]", i)
		r.must(isLabelName(l.Name), key+".name", "got %q, want 1 to 64 printable characters without blanks at the ends", l.Name)
		r.must(!seen[l.Name], key+".name", "%q stands twice", l.Name)
		seen[l.Name] = true
		p := l.OperatingPoint
		r.fraction(p.Threshold, key+".operating_point.threshold")
		r.must(m.Task != TaskDetect || p.Threshold > 0, key+".operating_point.threshold",
			"missing or 0: a detector needs the score below which a finding is dropped")
		r.optionalFraction(p.Sensitivity, key+".operating_point.sensitivity")
		r.optionalFraction(p.Precision, key+".operating_point.precision")
	}
}

func (l *Lineage) validate(r *rules) {
	for i, d := range l.Data {
		key := fmt.Sprintf("lineage.data[%d]", i)
		r.must(d.Name != "", key+".name", "missing")
		r.must(d.Images >= 0, key+".images", "got %d, want 0 or more", d.Images)
		r.optionalDigest(d.SHA256, key+".sha256")
	}
	for i, v := range l.Metrics {
		key := fmt.Sprintf("lineage.metrics[%d]", i)
		r.must(v.Name != "", key+".name", "missing")
		r.must(isFinite(v.Value), key+".value", "got %v, want a finite number", v.Value)
		if v.Low != nil && v.High != nil {
			r.must(*v.Low <= *v.High, key+".low", "got %v above high %v", *v.Low, *v.High)
		}
		r.must(v.Images >= 0, key+".images", "got %d, want 0 or more", v.Images)
	}
}

func (g *Golden) validate(r *rules, task Task) {
	r.file(g.Image, "golden.image")
	r.file(g.Expected, "golden.expected")
	r.must(g.Image != g.Expected && g.Image != manifestFile, "golden.image", "got %q, which is another file of the package", g.Image)
	r.must(g.Expected != manifestFile, "golden.expected", "got %q, which is another file of the package", g.Expected)
	r.optionalDigest(g.ImageSHA256, "golden.image_sha256")
	r.optionalDigest(g.ExpectedSHA256, "golden.expected_sha256")
	r.must(g.ConfidenceTolerance > 0 && g.ConfidenceTolerance < 1, "golden.confidence_tolerance",
		"got %v, want above 0 and below 1", g.ConfidenceTolerance)
	if task == TaskDetect {
		r.must(g.BoxTolerancePx > 0 && isFinite(g.BoxTolerancePx), "golden.box_tolerance_px", "got %v, want px above 0", g.BoxTolerancePx)
	}
}

// isFileName refuses everything that could reach outside the package folder, on any operating system.
func isFileName(s string) bool {
	return s != "" && len(s) <= 128 && s != "." && s != ".." && !strings.ContainsAny(s, "/\\:\x00") && filepath.Base(s) == s &&
		!strings.HasPrefix(s, ".") && s != addedFile
}

func isLabelName(s string) bool {
	if s == "" || len(s) > 64 || strings.TrimSpace(s) != s {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			return false
		}
	}
	return true
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
