package lab

import "time"

// Text is a user-facing text in the two languages of the platform.
type Text struct {
	EN string `json:"en" yaml:"en"`
	JA string `json:"ja" yaml:"ja"`
}

// Label is one category of a vocabulary: the name that models and results use, and what people and other systems call it.
type Label struct {
	Name   string `json:"name" yaml:"name"`
	EN     string `json:"en" yaml:"en"`
	JA     string `json:"ja" yaml:"ja"`
	LOINC  string `json:"loinc,omitempty" yaml:"loinc"`   // LOINC code, where one exists for the class in this material
	JLAC10 string `json:"jlac10,omitempty" yaml:"jlac10"` // JLAC10 analyte code, where one exists
}

// Vocabulary is a closed list of labels.
type Vocabulary struct {
	Name   string  `json:"name" yaml:"name"`
	Title  Text    `json:"title" yaml:"title"`
	Labels []Label `json:"labels" yaml:"labels"`
}

// Has reports whether the vocabulary holds a label of this name.
func (v *Vocabulary) Has(name string) bool {
	for i := range v.Labels {
		if v.Labels[i].Name == name {
			return true
		}
	}
	return false
}

// Route sends images of one condition to a model. An empty Condition is the route of requests that name none.
type Route struct {
	Condition string `json:"condition" yaml:"condition"`
	Model     string `json:"model" yaml:"model"` // model package name; the version in use is decided when the image is claimed
}

// Threshold is what one class's score means. Scores below Discard are no finding; from Release up the finding stands without
// a person; between them a person decides. 0 ≤ Discard ≤ Release ≤ 1.
type Threshold struct {
	Label   string  `json:"label" yaml:"label"`
	Discard float64 `json:"discard" yaml:"discard"`
	Release float64 `json:"release" yaml:"release"`
}

// ReviewPolicy says which images a person must see.
type ReviewPolicy struct {
	Mode string `json:"mode" yaml:"mode"` // "unsure": images with a finding between its thresholds; "always"; "never"
	// MaxUnsureShare is the share of an image's findings that may lie between their thresholds before a person must look,
	// 0..1. 0 sends an image with a single unsure finding.
	MaxUnsureShare float64 `json:"max_unsure_share" yaml:"max_unsure_share"`
	ReviewEmpty    bool    `json:"review_empty" yaml:"review_empty"` // an image without any finding goes to a person
}

// Turnaround is the time from receipt to release that the laboratory promises.
type Turnaround struct {
	Routine time.Duration `json:"routine" yaml:"routine"`
	STAT    time.Duration `json:"stat" yaml:"stat"`
}

// Assay is an examination that a facility orders: what it takes, which model answers, and when a person must decide.
type Assay struct {
	Name       string       `json:"name" yaml:"name"`
	Title      Text         `json:"title" yaml:"title"`
	LOINC      string       `json:"loinc,omitempty" yaml:"loinc"`
	Formats    []string     `json:"formats" yaml:"formats"` // image formats accepted: jpeg, png, bmp, tiff, webp
	Vocabulary string       `json:"vocabulary" yaml:"vocabulary"`
	Routes     []Route      `json:"routes" yaml:"routes"`
	Thresholds []Threshold  `json:"thresholds" yaml:"thresholds"`
	Review     ReviewPolicy `json:"review" yaml:"review"`
	Turnaround Turnaround   `json:"turnaround" yaml:"turnaround"`
}

// ModelFor gives the model name for a condition; false when the assay has no route for it.
func (a *Assay) ModelFor(condition string) (string, bool) {
	for _, r := range a.Routes {
		if r.Condition == condition {
			return r.Model, true
		}
	}
	return "", false
}

// Conditions lists the conditions that have a route, without the empty one, in the order of the routes.
func (a *Assay) Conditions() []string {
	var names []string
	for _, r := range a.Routes {
		if r.Condition != "" {
			names = append(names, r.Condition)
		}
	}
	return names
}

// ThresholdFor gives the thresholds of a label. A label without its own entry is always a person's to decide: it is discarded
// below 0.25, a detector's customary floor, and never released by score.
func (a *Assay) ThresholdFor(label string) Threshold {
	for _, t := range a.Thresholds {
		if t.Label == label {
			return t
		}
	}
	return Threshold{Label: label, Discard: 0.25, Release: 1.01}
}
