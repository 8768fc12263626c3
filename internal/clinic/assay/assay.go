// Package assay holds the catalogue of assays and vocabularies: data, not code, so that a laboratory can change a threshold or
// add an examination without a new program. The shipped catalogue is embedded; a folder of YAML files adds to it or replaces
// entries by name. It reads files once, at start; it stores nothing.
package assay

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

//go:embed catalogue/*.yaml
var shipped embed.FS

// Catalogue is the set of assays and vocabularies in force. It does not change after Load.
type Catalogue struct {
	assays       map[string]*lab.Assay
	vocabularies map[string]*lab.Vocabulary
}

// file is one YAML document: an assay or a vocabulary.
type file struct {
	Kind       string          `yaml:"kind"`
	Assay      *lab.Assay      `yaml:"assay"`
	Vocabulary *lab.Vocabulary `yaml:"vocabulary"`
}

// Load reads the shipped catalogue and then extra, whose entries replace shipped ones of the same name; extra may be nil.
// fault.Invalid names the file and the rule that it breaks.
func Load(extra fs.FS) (*Catalogue, error) {
	c := &Catalogue{assays: make(map[string]*lab.Assay), vocabularies: make(map[string]*lab.Vocabulary)}
	sub, err := fs.Sub(shipped, "catalogue")
	if err != nil {
		return nil, fault.E("assay.Load", fault.Internal, err)
	}
	if err := c.read(sub); err != nil {
		return nil, err
	}
	if extra != nil {
		if err := c.read(extra); err != nil {
			return nil, err
		}
	}
	for _, name := range c.Names() {
		if err := c.check(c.assays[name]); err != nil {
			return nil, fault.E("assay.Load", fault.Invalid, fmt.Errorf("assay %q: %w", name, err))
		}
	}
	return c, nil
}

// Get gives an assay by name; fault.Invalid names the valid ones.
func (c *Catalogue) Get(name string) (*lab.Assay, error) {
	if a := c.assays[name]; a != nil {
		return a, nil
	}
	return nil, fault.E("assay.Get", fault.Invalid,
		fmt.Errorf("unknown assay; valid: %s", strings.Join(c.Names(), ", ")), fault.Field("assay"))
}

// Route gives the model name for an assay and condition; fault.Invalid names the valid conditions.
func (c *Catalogue) Route(a *lab.Assay, condition string) (string, error) {
	if m, ok := a.ModelFor(condition); ok {
		return m, nil
	}
	valid := strings.Join(a.Conditions(), ", ")
	if valid == "" {
		valid = "none (leave it out)"
	}
	return "", fault.E("assay.Route", fault.Invalid,
		fmt.Errorf("unknown condition for assay %s; valid: %s", a.Name, valid), fault.Field("condition"))
}

// Names lists the assays in alphabetical order.
func (c *Catalogue) Names() []string {
	names := make([]string, 0, len(c.assays))
	for n := range c.assays {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Vocabulary gives a vocabulary by name, nil when there is none.
func (c *Catalogue) Vocabulary(name string) *lab.Vocabulary { return c.vocabularies[name] }

// Vocabularies lists the vocabularies' names in alphabetical order.
func (c *Catalogue) Vocabularies() []string {
	names := make([]string, 0, len(c.vocabularies))
	for n := range c.vocabularies {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (c *Catalogue) read(fsys fs.FS) error {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return fault.E("assay.read", fault.Internal, err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fault.E("assay.read", fault.Unavailable, err)
		}
		var f file
		if err := yaml.UnmarshalWithOptions(b, &f, yaml.Strict()); err != nil {
			return fault.E("assay.read", fault.Invalid, fmt.Errorf("%s: %s", path.Base(name), yaml.FormatError(err, false, false)))
		}
		switch {
		case f.Kind == "assay" && f.Assay != nil && f.Assay.Name != "":
			c.assays[f.Assay.Name] = f.Assay
		case f.Kind == "vocabulary" && f.Vocabulary != nil && f.Vocabulary.Name != "":
			c.vocabularies[f.Vocabulary.Name] = f.Vocabulary
		default:
			return fault.E("assay.read", fault.Invalid,
				fmt.Errorf("%s: kind must be assay or vocabulary, with an entry of that kind and a name", path.Base(name)))
		}
	}
	return nil
}

func (c *Catalogue) check(a *lab.Assay) error {
	v := c.vocabularies[a.Vocabulary]
	if v == nil {
		return fmt.Errorf("vocabulary %q does not exist", a.Vocabulary)
	}
	if len(a.Routes) == 0 {
		return errors.New("no routes")
	}
	if len(a.Formats) == 0 {
		return errors.New("no formats")
	}
	seen := make(map[string]bool)
	for _, r := range a.Routes {
		if seen[r.Condition] || r.Model == "" {
			return fmt.Errorf("route %q: one route with a model for each condition", r.Condition)
		}
		seen[r.Condition] = true
	}
	for _, t := range a.Thresholds {
		if !v.Has(t.Label) {
			return fmt.Errorf("threshold of %q: not in vocabulary %q", t.Label, v.Name)
		}
		if t.Discard < 0 || t.Discard > t.Release || t.Release > 1.01 {
			return fmt.Errorf("threshold of %q: 0 <= discard <= release <= 1 does not hold", t.Label)
		}
	}
	switch a.Review.Mode {
	case "unsure", "always", "never":
	default:
		return fmt.Errorf("review mode %q: unsure, always or never", a.Review.Mode)
	}
	if a.Review.MaxUnsureShare < 0 || a.Review.MaxUnsureShare > 1 {
		return errors.New("review max_unsure_share: 0 to 1")
	}
	if a.Turnaround.Routine <= 0 || a.Turnaround.STAT <= 0 {
		return errors.New("turnaround: routine and stat must be above 0")
	}
	return nil
}
