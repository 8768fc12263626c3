package archtest

import (
	"strings"
	"testing"
)

// TestHouse holds the module against every rule of the house.
func TestHouse(t *testing.T) {
	t.Parallel()
	all := sources(t)
	rules := map[string]func([]source) []string{
		"levels import only downward":                    checkLevels,
		"nothing depends on assistants":                  checkClosed,
		"the domain stays free of technology":            checkDomain,
		"database drivers are chosen where a program is": checkDrivers,
		"programs link nothing made for tests":           checkTestPackages,
		"packages have telling names":                    checkNames,
		"packages have a comment":                        checkComments,
		"interfaces are small":                           checkInterfaces,
		"the hospital's agent never listens":             checkListening,
		"the table of libraries is true":                 func(all []source) []string { return checkLibraries(all, libraries) },
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, rule(all))
		})
	}
	t.Run("files are short", func(t *testing.T) {
		t.Parallel()
		over, long := checkSizes(all)
		check(t, over)
		for _, l := range long {
			t.Logf("long: %s", l)
		}
	})
}

// TestAgentLinks lists what the hospital's agent links, on both systems it is built for.
func TestAgentLinks(t *testing.T) {
	t.Parallel()
	for _, system := range []string{"linux", "windows"} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			out, err := runEnv([]string{"GOOS=" + system, "GOARCH=amd64", "CGO_ENABLED=1"},
				"go", "list", "-deps", "-f", "{{.ImportPath}} {{len .CgoFiles}}", "./cmd/kenkyo-edge")
			if err != nil {
				t.Fatal(err)
			}
			var deps []linked
			for line := range strings.Lines(string(out)) {
				path, cgo, _ := strings.Cut(strings.TrimSpace(line), " ")
				deps = append(deps, linked{path: path, isCgo: cgo != "0"})
			}
			if len(deps) < 50 {
				t.Fatalf("kenkyo-edge links %d packages; the list is not whole", len(deps))
			}
			check(t, checkAgent(deps))
		})
	}
}
