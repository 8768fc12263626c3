package archtest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenkyo/internal/mlops/registry"
)

var update = flag.Bool("update", false, "write the models' figures into the READMEs")

const (
	figuresBegin = "<!-- figures: written from models/*/model.yaml by `go test ./internal/archtest -run TestFigures -update` -->"
	figuresEnd   = "<!-- end of figures -->"
)

// language is what differs between the tables.
type language struct {
	head    string
	overall string
	label   func(registry.Label) string
	measure string // of value, low, high
}

var languages = map[string]language{
	"README.md": {
		head: "| model | class | measure | value (95 % interval) | images |", overall: "all", measure: "%.3f (%.3f – %.3f)",
		label: func(l registry.Label) string { return l.Name },
	},
	"README.ja.md": {
		head: "| モデル | 分類 | 指標 | 値（95％信頼区間） | 画像数 |", overall: "全体", measure: "%.3f（%.3f – %.3f）",
		label: func(l registry.Label) string {
			if l.JA == "" {
				return l.Name
			}
			return l.Name + "（" + l.JA + "）"
		},
	},
}

// figures gives the table of a package's measured values.
func figures(lang language, name string, m *registry.Manifest) string {
	labels := map[string]string{"": lang.overall}
	for _, l := range m.Labels {
		labels[l.Name] = lang.label(l)
	}
	var b strings.Builder
	for _, x := range m.Lineage.Metrics {
		value := fmt.Sprintf("%.3f", x.Value)
		if x.Low != nil && x.High != nil {
			value = fmt.Sprintf(lang.measure, x.Value, *x.Low, *x.High)
		}
		fmt.Fprintf(&b, "| [%s](models/%s/CARD.md) | %s | %s | %s | %d |\n", m.Name, name, labels[x.Label], x.Name, value, x.Images)
	}
	return b.String()
}

// replaceFigures puts a table between the marks; false when the text has none.
func replaceFigures(text, table string) (string, bool) {
	before, rest, ok := strings.Cut(text, figuresBegin)
	if !ok {
		return text, false
	}
	_, after, ok := strings.Cut(rest, figuresEnd)
	return before + figuresBegin + "\n" + table + figuresEnd + after, ok
}

// TestFigures holds the figures in the READMEs against those of the shipped model packages.
func TestFigures(t *testing.T) {
	t.Parallel()
	manifests, err := filepath.Glob(filepath.Join(root, "models", "*", "model.yaml"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no shipped models: %v", err)
	}
	for doc, lang := range languages {
		table := lang.head + "\n|---|---|---|---|---|\n"
		for _, path := range manifests {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := registry.ParseManifest(b)
			if err != nil {
				t.Fatal(err)
			}
			table += figures(lang, filepath.Base(filepath.Dir(path)), m)
		}
		text := document(t, doc)
		want, ok := replaceFigures(text, table)
		switch {
		case !ok:
			t.Errorf("%s: has no place for the models' figures", doc)
		case want == text:
		case *update:
			if err := os.WriteFile(filepath.Join(root, doc), []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s: the figures are not those of the shipped models: run go test ./internal/archtest -run TestFigures -update", doc)
		}
	}
}

// TestFiguresTable shows how one value is written.
func TestFiguresTable(t *testing.T) {
	t.Parallel()
	low, high := 0.5, 0.7
	m := &registry.Manifest{
		Name: "m", Labels: []registry.Label{{Name: "RBC", JA: "赤血球"}},
		Lineage: registry.Lineage{Metrics: []registry.Metric{
			{Name: "mAP50", Value: 0.6, Low: &low, High: &high, Images: 9}, {Name: "AP50", Label: "RBC", Value: 0.25, Images: 9},
		}},
	}
	got := figures(languages["README.ja.md"], "m", m)
	want := "| [m](models/m/CARD.md) | 全体 | mAP50 | 0.600（0.500 – 0.700） | 9 |\n| [m](models/m/CARD.md) | RBC（赤血球） | AP50 | 0.250 | 9 |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if text, ok := replaceFigures("a\n"+figuresBegin+"\nold\n"+figuresEnd+"\nb", "new\n"); !ok || text != "a\n"+figuresBegin+"\nnew\n"+figuresEnd+"\nb" {
		t.Errorf("got %q, %v", text, ok)
	}
	if _, ok := replaceFigures("a", "new"); ok {
		t.Error("a text without marks has no place for figures")
	}
}
