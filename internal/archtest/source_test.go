package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// source is one package of the module as its files say it is, under every build tag.
type source struct {
	path    string // relative to the module, e.g. internal/lab
	name    string
	comment string
	files   []file // not tests
	tests   []file
}

// file is one parsed Go file.
type file struct {
	name    string // relative to the module's root
	lines   int
	isMade  bool // generated
	imports []imported
	tree    *ast.File
}

type imported struct {
	path    string
	isBlank bool
}

const root = "../.."

// read parses the module once for all tests.
var read = sync.OnceValues(func() ([]source, error) {
	out, err := run("go", "list", "-e", "-json=ImportPath,Name,Dir,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	if err != nil {
		return nil, err
	}
	var all []source
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name, Dir                                        string
			GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		s := source{path: strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/"), name: p.Name}
		for _, names := range [][]string{p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles} {
			for _, n := range names {
				if err := s.add(n); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, s)
	}
})

func (s *source) add(name string) error {
	rel := filepath.ToSlash(filepath.Join(s.path, name))
	text, err := os.ReadFile(filepath.Join(root, rel))
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed since it was listed
	}
	if err != nil {
		return err
	}
	f, err := parse(rel, text)
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, "_test.go") {
		s.tests = append(s.tests, f)
		return nil
	}
	if f.tree.Doc != nil && len(f.tree.Doc.Text()) > len(s.comment) {
		s.comment = f.tree.Doc.Text()
	}
	s.files = append(s.files, f)
	return nil
}

// parse reads one Go file.
func parse(name string, text []byte) (file, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	f := file{name: name, lines: bytes.Count(text, []byte("\n")), isMade: ast.IsGenerated(tree), tree: tree}
	for _, i := range tree.Imports {
		f.imports = append(f.imports, imported{path: strings.Trim(i.Path.Value, `"`), isBlank: i.Name != nil && i.Name.Name == "_"})
	}
	return f, nil
}

func run(name string, args ...string) ([]byte, error) { return runEnv(nil, name, args...) }

// runEnv runs a command in the module's root with further environment variables.
func runEnv(env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), append([]string{"GOFLAGS="}, env...)...) // a -mod or -tags from outside would change what is listed
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

func sources(t *testing.T) []source {
	t.Helper()
	all, err := read()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d packages of the module; the list is not whole", len(all))
	}
	return all
}

// check fails the test with every violation.
func check(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

// under reports whether a package path is prefix or, when prefix ends in a slash, lies below it.
func under(path, prefix string) bool {
	return path == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix)
}

// within reports whether an import path is of the module or package given, or below it.
func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

// local gives the path of one of our packages relative to the module.
func local(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// isStandard reports whether an import path is of the standard library.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !within(path, module)
}
