package registry

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want []string // nil: refused
	}{
		{"{0: 'RBC', 1: 'WBC'}", []string{"RBC", "WBC"}},
		{"{1: 'WBC', 0: 'RBC',}", []string{"RBC", "WBC"}},
		{" { 0 :'a' } ", []string{"a"}},
		{`{0: "S. aureus", 1: 'E. coli (O157)', 2: 'a, b: {c}'}`, []string{"S. aureus", "E. coli (O157)", "a, b: {c}"}},
		{`{0: "it's", 1: 'say "x"', 2: 'it\'s'}`, nil}, // the third equals the first
		{`{0: "it's", 1: 'say "x"', 2: '\\'}`, []string{"it's", `say "x"`, `\`}},
		{`{0: '\x41\u00e9\U0001F52C', 1: '\q'}`, []string{"Aé🔬", `\q`}},
		{"{0: '赤血球', 1: '白血球'}", []string{"赤血球", "白血球"}},
		{"['RBC', 'WBC']", []string{"RBC", "WBC"}},
		{"('RBC', 'WBC')", []string{"RBC", "WBC"}},
		{`{"0": "RBC", "1": "WBC"}`, []string{"RBC", "WBC"}},
		{"", nil},
		{"{}", nil},
		{"[]", nil},
		{"RBC", nil},
		{"{0: 'a'", nil},
		{"{0 'a'}", nil},
		{"{0: a}", nil},
		{"{0: 'a}", nil},
		{"{1: 'a'}", nil},
		{"{0: 'a', 2: 'b'}", nil},
		{"{0: 'a', 0: 'b'}", nil},
		{"{0: 'a'} x", nil},
		{"{-1: 'a'}", nil},
		{"{99999999999999999999: 'a'}", nil},
		{"{0: 'a' 1: 'b'}", nil},
		{`{0: '\x4'}`, nil},
		{`{0: '\ud800'}`, nil},
		{"{0: 'a\nb'}", nil},
		{"{0: 'a', 1: 'a'}", nil},
		{"{0: '\xff'}", nil},
		{`{0: 'a\`, nil},
		{"['a'}", nil},
		{"{0: __import__('os')}", nil},
	} {
		got, err := ParseNames(tc.in)
		if (err == nil) != (tc.want != nil) {
			t.Errorf("ParseNames(%q) = %q, %v, want %q", tc.in, got, err, tc.want)
		} else if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("ParseNames(%q), -want +got:\n%s", tc.in, diff)
		}
	}
}

// pythonRepr writes labels as Python's repr() writes a dict of strings, for printable labels.
func pythonRepr(labels []string) string {
	var parts []string
	for i, l := range labels {
		quote := "'"
		if strings.Contains(l, "'") && !strings.Contains(l, `"`) {
			quote = `"`
		}
		l = strings.ReplaceAll(l, `\`, `\\`)
		if quote == "'" {
			l = strings.ReplaceAll(l, "'", `\'`)
		}
		parts = append(parts, fmt.Sprintf("%d: %s%s%s", i, quote, l, quote))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// FuzzNames: what is accepted has distinct labels in UTF-8, and printable labels survive Python's repr().
func FuzzNames(f *testing.F) {
	f.Add("{0: 'RBC', 1: 'WBC'}")
	f.Add(`['it\'s', "a\"b", 'c\\d', '\x41']`)
	f.Add("{0: '赤'}")
	f.Add("{0:")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseNames(text)
		if err != nil {
			return
		}
		if len(got) == 0 || len(got) > len(text) {
			t.Fatalf("ParseNames(%q) gave %d labels", text, len(got))
		}
		seen := map[string]bool{}
		for _, l := range got {
			if seen[l] || !utf8.ValidString(l) {
				t.Fatalf("ParseNames(%q) gave %q, twice or not UTF-8", text, l)
			}
			seen[l] = true
			if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) {
				return
			}
		}
		again, err := ParseNames(pythonRepr(got))
		if err != nil {
			t.Fatalf("ParseNames(%q) after %q: %v", pythonRepr(got), text, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("%q through %q, -want +got:\n%s", text, pythonRepr(got), diff)
		}
	})
}
