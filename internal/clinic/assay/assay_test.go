package assay_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"kenkyo/internal/clinic/assay"
	"kenkyo/internal/fault"
)

func TestShippedCatalogue(t *testing.T) {
	t.Parallel()
	c, err := assay.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Names(), " "); got != "blood-smear gram-stain urine-sediment" {
		t.Errorf("assays: got %s", got)
	}
	for name, want := range map[string]int{"gram-17": 17, "fabry-urine": 9, "blood-cell": 3, "urine-sediment-cell": 3, "gram-group": 5} {
		v := c.Vocabulary(name)
		if v == nil || len(v.Labels) != want {
			t.Errorf("vocabulary %s: got %+v, want %d labels", name, v, want)
			continue
		}
		seen := map[string]bool{}
		for _, l := range v.Labels {
			if l.Name == "" || l.EN == "" || l.JA == "" || seen[l.Name] {
				t.Errorf("vocabulary %s: label %+v is incomplete or twice", name, l)
			}
			seen[l.Name] = true
		}
	}
	a, err := c.Get("gram-stain")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := c.Route(a, "anaerobic"); err != nil || m != "gram-stain" {
		t.Errorf("route of anaerobic: got %q, %v", m, err)
	}
	_, err = c.Route(a, "wet")
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "aerobic, anaerobic") {
		t.Errorf("unknown condition: got %v, want Invalid naming the valid ones", err)
	}
	if th := a.ThresholdFor("GN cocci"); th.Release <= 1 {
		t.Errorf("a label without thresholds is released by score: %+v", th)
	}
}

const valid = `
kind: assay
assay:
  name: mine
  title: {en: a, ja: b}
  formats: [png]
  vocabulary: blood-cell
  routes: [{condition: "", model: m}]
  thresholds: [{label: RBC, discard: 0.1, release: 0.2}]
  review: {mode: unsure}
  turnaround: {routine: 1h, stat: 5m}
`

func TestAddedAssays(t *testing.T) {
	t.Parallel()
	load := func(text string) error {
		_, err := assay.Load(fstest.MapFS{"mine.yaml": {Data: []byte(text)}})
		return err
	}
	if err := load(valid); err != nil {
		t.Errorf("a valid assay: got %v", err)
	}
	for name, change := range map[string][2]string{
		"unknown key":         {"formats:", "formatz:"},
		"unknown vocabulary":  {"vocabulary: blood-cell", "vocabulary: none"},
		"label not in it":     {"label: RBC", "label: blast"},
		"thresholds reversed": {"discard: 0.1", "discard: 0.9"},
		"unknown mode":        {"mode: unsure", "mode: maybe"},
		"no routes":           {`[{condition: "", model: m}]`, "[]"},
		"two routes":          {`[{condition: "", model: m}]`, `[{condition: "", model: m}, {condition: "", model: n}]`},
		"no turnaround":       {"routine: 1h", "routine: 0s"},
		"share above one":     {"mode: unsure", "mode: unsure, max_unsure_share: 2"},
		"no kind":             {"kind: assay", "kind: essay"},
	} {
		text := strings.Replace(valid, change[0], change[1], 1)
		if text == valid {
			t.Fatalf("%s: the change does not apply", name)
		}
		if err := load(text); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "mine") {
			t.Errorf("%s: got %v, want Invalid naming it", name, err)
		}
	}
}

func ExampleLoad() {
	c, _ := assay.Load(nil)
	a, _ := c.Get("blood-smear")
	fmt.Println(a.Title.JA, a.ThresholdFor("WBC").Discard < a.ThresholdFor("WBC").Release)
	// Output: 末梢血塗抹標本 true
}
