package archtest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Names of the code in the documents have one of these forms, each in backticks on its own:
//
//	internal/clinic/intake/accept.go:Service.Accept   a function, method or type in the file that declares it
//	intake.Submission.SpecimenMAC                     a package of ours and what it exports: a name, a method or a field
//	TestOnce                                          a test
//	internal/clinic/                                  a file or folder
//
// Decision records are exempt: they tell how things stood on their day.
var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	inFile   = regexp.MustCompile(`^((?:cmd|internal)/[\w/.-]+\.go):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)$`)
	inPkg    = regexp.MustCompile(`^([a-z][a-z0-9]*)\.([A-Z]\w*)(?:\.([A-Za-z_]\w*))?$`)
	aTest    = regexp.MustCompile(`^(?:Test|Fuzz)[A-Z]\w*$`)
	inRepo   = regexp.MustCompile(`^(?:cmd|internal|docs|tools|training|models|examples|deploy)/[\w/.{}*<>…-]*$`)
	mdLink   = regexp.MustCompile(`\]\(([^)\s#]+)(#[^)\s]*)?\)`)
	imgSrc   = regexp.MustCompile(`<img[^>]*\ssrc="([^"]+)"`)
)

// namesChecked are the documents whose names of the code are resolved.
var namesChecked = []string{
	"README.md", "README.ja.md", "CONTRIBUTING.md", "AGENTS.md", "docs/ARCHITECTURE.md", "docs/data-path.md", "docs/glossary.md",
}

// names is what the module declares, to be looked up as the documents name it.
type names struct {
	byFile map[string]map[string]bool // file → Name, Type.Method
	byPkg  map[string]map[string]bool // package → Name, Type.Method, Type.Field
	tests  map[string]bool            // names declared in tests
}

func declared(all []source) names {
	n := names{byFile: map[string]map[string]bool{}, byPkg: map[string]map[string]bool{}, tests: map[string]bool{}}
	for _, s := range all {
		if n.byPkg[s.name] == nil {
			n.byPkg[s.name] = map[string]bool{}
		}
		for _, f := range slices.Concat(s.files, s.tests) {
			here := map[string]bool{}
			n.byFile[f.name] = here
			for _, d := range f.tree.Decls {
				for _, name := range declares(d) {
					here[name] = true
					if isTest := strings.HasSuffix(f.name, "_test.go"); isTest {
						n.tests[name] = true
					} else {
						n.byPkg[s.name][name] = true
					}
				}
			}
		}
	}
	return n
}

// declares gives the names that a declaration brings: functions, types with their methods and fields, constants, variables.
func declares(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || len(d.Recv.List) == 0 {
			return []string{d.Name.Name}
		}
		recv := d.Recv.List[0].Type
		if star, ok := recv.(*ast.StarExpr); ok {
			recv = star.X
		}
		if id, ok := recv.(*ast.Ident); ok {
			return []string{id.Name + "." + d.Name.Name}
		}
	case *ast.GenDecl:
		var out []string
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, id := range spec.Names {
					out = append(out, id.Name)
				}
			case *ast.TypeSpec:
				out = append(out, spec.Name.Name)
				var members *ast.FieldList
				switch typ := spec.Type.(type) {
				case *ast.StructType:
					members = typ.Fields
				case *ast.InterfaceType:
					members = typ.Methods
				}
				if members == nil {
					continue
				}
				for _, m := range members.List {
					for _, id := range m.Names {
						out = append(out, spec.Name.Name+"."+id.Name)
					}
				}
			}
		}
		return out
	}
	return nil
}

// checkNamesOf gives the names of the code in a document that do not exist.
func checkNamesOf(doc, text string, known names, exists func(string) bool) []string {
	var out []string
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		span := m[1]
		if f := inFile.FindStringSubmatch(span); f != nil {
			switch {
			case known.byFile[f[1]] == nil:
				out = append(out, fmt.Sprintf("%s: there is no file %s", doc, f[1]))
			case !known.byFile[f[1]][f[2]]:
				out = append(out, fmt.Sprintf("%s: %s declares no %s", doc, f[1], f[2]))
			}
			continue
		}
		if p := inPkg.FindStringSubmatch(span); p != nil && known.byPkg[p[1]] != nil {
			if name := strings.TrimPrefix(span, p[1]+"."); !known.byPkg[p[1]][name] {
				out = append(out, fmt.Sprintf("%s: no package %s of ours declares %s", doc, p[1], name))
			}
			continue
		}
		if aTest.MatchString(span) && !known.tests[span] {
			out = append(out, fmt.Sprintf("%s: there is no test %s", doc, span))
		}
		if inRepo.MatchString(span) && !strings.ContainsAny(span, "{}*<>…") && !exists(strings.TrimSuffix(span, "/")) {
			out = append(out, fmt.Sprintf("%s: there is no %s", doc, span))
		}
	}
	return out
}

// checkLinks gives the links of a document, to files of this repository, that lead nowhere.
func checkLinks(doc, text string, exists func(string) bool) []string {
	var out []string
	for _, m := range slices.Concat(mdLink.FindAllStringSubmatch(text, -1), imgSrc.FindAllStringSubmatch(text, -1)) {
		target := m[1]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		if !exists(path.Join(path.Dir(doc), target)) {
			out = append(out, fmt.Sprintf("%s: links to %s, which is not there", doc, target))
		}
	}
	return out
}

// pathRow is one numbered row of the table in docs/data-path.md.
var pathRow = regexp.MustCompile("(?m)^\\| *(\\d+|[A-Z]) *\\| *`([^`]+)` *\\|")

// checkDataPath: the main path is numbered from 1, names a function in a file on every row, and is short.
func checkDataPath(doc, text string) []string {
	var out []string
	count := 0
	for _, m := range pathRow.FindAllStringSubmatch(text, -1) {
		if !inFile.MatchString(m[2]) {
			out = append(out, fmt.Sprintf("%s: row %s: %q is not of the form file.go:Function", doc, m[1], m[2]))
		}
		if m[1][0] > '9' {
			continue // what the agent does before and after
		}
		if count++; fmt.Sprint(count) != m[1] {
			out = append(out, fmt.Sprintf("%s: row %s should be number %d", doc, m[1], count))
		}
	}
	if count == 0 {
		out = append(out, doc+": has no numbered rows")
	}
	if count > maxPathFunctions {
		out = append(out, fmt.Sprintf("%s: the main path has %d functions, at most %d are allowed", doc, count, maxPathFunctions))
	}
	return out
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDocuments resolves the names of the code and the links in the documents.
func TestDocuments(t *testing.T) {
	t.Parallel()
	known := declared(sources(t))
	for _, doc := range namesChecked {
		check(t, checkNamesOf(doc, document(t, doc), known, exists))
	}
	check(t, checkDataPath("docs/data-path.md", document(t, "docs/data-path.md")))
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a folder that vanished while other tests run is not ours
		}
		if e.IsDir() && name != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" || e.Name() == "bin") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".md") {
			check(t, checkLinks(name, document(t, name), exists))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocumentRules shows what a document must not say, on made-up ones.
func TestDocumentRules(t *testing.T) {
	t.Parallel()
	withTest := made(t, "internal/clinic/intake", "package intake\nfunc TestThere() {}")
	withTest.files[0].name = "internal/clinic/intake/x_test.go"
	withTest.files, withTest.tests = nil, withTest.files
	known := declared([]source{withTest, made(t, "internal/clinic/intake", `package intake
type Service struct { Store Store; limits int }
type Store interface { Accept() }
func (s *Service) Accept() {}
func New() *Service { return nil }
const FlagOdd = "odd"
`)})
	file := "internal/clinic/intake/x.go"
	isThere := func(name string) bool {
		return name == "docs/glossary.md" || name == "internal/clinic" || name == "docs/adr/0001.md"
	}
	for text, wants := range map[string]string{
		"`" + file + ":Service.Accept`": "", "`" + file + ":New`": "", "`" + file + ":Store`": "",
		"`" + file + ":Service.Refuse`": "declares no Service.Refuse", "`" + file + ":Accept`": "declares no Accept",
		"`internal/clinic/intake/gone.go:New`": "no file internal/clinic/intake/gone.go",
		"`intake.Service`":                     "", "`intake.Service.Accept`": "", "`intake.Store.Accept`": "", "`intake.Service.Store`": "", "`intake.FlagOdd`": "",
		"`intake.Gone`": "declares Gone", "`intake.Service.Gone`": "declares Service.Gone",
		"`TestThere`": "", "`TestGone`": "no test TestGone",
		"`http.Server`": "", "`POST /api/v1/images`": "", "`model.yaml`": "",
		"`internal/clinic/`": "", "`internal/nowhere/`": "there is no internal/nowhere/", "`models/<name>/model.yaml`": "",
	} {
		judge(t, checkNamesOf("doc.md", text, known, isThere), wants)
	}
	for text, wants := range map[string]string{
		"[a](glossary.md)": "", "[a](./adr/0001.md#context)": "", "[a](../internal/clinic)": "", "[a](https://example.org/x)": "", "[a](#here)": "",
		"[a](gone.md)": "links to gone.md", `<img width="50" src="gone.png">`: "links to gone.png",
	} {
		judge(t, checkLinks("docs/x.md", text, isThere), wants)
	}
	row := func(number any, name string) string {
		return fmt.Sprintf("| %v | `%s` | does things |\n", number, name)
	}
	var ten strings.Builder
	for i := range maxPathFunctions {
		ten.WriteString(row(i+1, file+":New"))
	}
	for text, wants := range map[string]string{
		ten.String(): "", row("A", file+":New") + ten.String() + row("B", file+":New"): "",
		ten.String() + row(maxPathFunctions+1, file+":New"): "11 functions",
		row(1, file+":New") + row(3, file+":New"):           "row 3 should be number 2",
		row(1, "Service.Accept"):                            "not of the form",
		"no table":                                          "no numbered rows",
	} {
		judge(t, checkDataPath("doc.md", text), wants)
	}
}
