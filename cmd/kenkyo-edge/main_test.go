package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxSize is what the stripped program may weigh on disk.
const maxSize = 20 << 20

// allowed are the modules the agent may link besides the standard library and its own packages.
var allowed = []string{
	"kenkyo/internal/edge", "kenkyo/internal/fault", "kenkyo/internal/lab", "kenkyo/internal/standard/imagefile", "kenkyo/cmd/kenkyo-edge",
	"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/inconshreveable/mousetrap", // commands
	"github.com/google/uuid", // identifiers of package lab
	"golang.org/x/sys",       // Windows: locks and access rules
}

// forbidden are packages that would make the agent another program.
var forbidden = []string{"database/sql", "os/exec", "net/http/httptest", "testing", "plugin", "runtime/cgo"}

type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
}

// dependencies lists what the agent links on a platform.
func dependencies(t *testing.T, goos, goarch string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,Standard,GoFiles,CgoFiles", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF { //nolint:errorlint // a decoder gives io.EOF itself
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestLinksOnlyWhatAnAgentNeeds(t *testing.T) {
	t.Parallel()
	for _, target := range [][2]string{{"linux", "amd64"}, {"windows", "amd64"}} {
		for _, p := range dependencies(t, target[0], target[1]) {
			if len(p.CgoFiles) > 0 {
				t.Errorf("%s: %s needs cgo", target[0], p.ImportPath)
			}
			for _, name := range forbidden {
				if p.ImportPath == name {
					t.Errorf("%s: links %s", target[0], p.ImportPath)
				}
			}
			if !p.Standard && !isAllowed(p.ImportPath) {
				t.Errorf("%s: links %s, which is not on the list of this test", target[0], p.ImportPath)
			}
		}
	}
}

func isAllowed(path string) bool {
	for _, prefix := range allowed {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return true
		}
	}
	return false
}

// TestNoSourceOpensAListener reads the agent's own packages and the modules they use.
func TestNoSourceOpensAListener(t *testing.T) {
	t.Parallel()
	read := 0
	for _, p := range dependencies(t, "linux", "amd64") {
		if p.Standard {
			continue
		}
		for _, name := range p.GoFiles {
			read++
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && (strings.HasPrefix(s.Sel.Name, "Listen") || s.Sel.Name == "Serve") {
					t.Errorf("%s/%s calls %s", p.ImportPath, name, s.Sel.Name)
				}
				return true
			})
		}
	}
	if read < 20 {
		t.Errorf("only %d files were read", read)
	}
}

// build makes the program as it is released and gives its path.
func build(t *testing.T, goos, goarch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kenkyo-edge")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build for %s/%s: %v\n%s", goos, goarch, err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s/%s: %.1f MB", goos, goarch, float64(info.Size())/1e6)
	if info.Size() > maxSize {
		t.Errorf("%s/%s: %d bytes, want at most %d", goos, goarch, info.Size(), maxSize)
	}
	return path
}

func TestBuildsForOtherPlatforms(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles the standard library for two more platforms, which takes a minute when nothing is cached")
	}
	build(t, "windows", "amd64")
	build(t, "linux", "arm64")
}
