package lab

// Box is a rectangle in pixels of the source image after its EXIF orientation was applied: X, Y is the upper left corner.
type Box struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
	W float64 `json:"w"`
	H float64 `json:"h"`
}

// Finding is what a model version says about an image: a label with its score and, from a detector, where. It never changes;
// what a person says is an Annotation.
type Finding struct {
	Label      string  `json:"label"`
	Confidence float64 `json:"confidence"` // 0..1
	Box        *Box    `json:"box,omitempty"`
}

// Detection is everything a model version said about one image, with what is needed to say it again.
type Detection struct {
	Model    string      `json:"model"` // package name
	Digest   ModelDigest `json:"digest"`
	Findings []Finding   `json:"findings"`
	Lineage  Lineage     `json:"lineage"`
}

// ClassifiedBy is the name under which a model version appears in a result: "model:<name>@<digest12>".
func (d Detection) ClassifiedBy() string { return "model:" + d.Model + "@" + d.Digest.Short() }

// Lineage says how findings came about, beyond the model's digest.
type Lineage struct {
	Preprocessing string `json:"preprocessing"` // e.g. "letterbox 416x416 rgb /255"
	Decoder       string `json:"decoder"`       // e.g. "libjpeg-turbo 2.1.5"
	Runtime       string `json:"runtime"`       // e.g. "onnxruntime 1.30.0 cpu"
	// Thresholds applied: of a detector, for each label the score below which a finding was dropped; of a vote, "vote" and
	// "foreground"; empty for a classifier, whose best class stands whatever its score.
	Thresholds   map[string]float64 `json:"thresholds"`
	SourceWidth  int                `json:"source_width"`  // px, after orientation
	SourceHeight int                `json:"source_height"` // px, after orientation
	Votes        map[string]int     `json:"votes,omitempty"`
}
