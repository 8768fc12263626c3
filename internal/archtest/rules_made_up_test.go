package archtest

import (
	"fmt"
	"strings"
	"testing"
)

// made gives a package of one file, for rules to judge.
func made(t *testing.T, path, text string) source {
	t.Helper()
	f, err := parse(path+"/x.go", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := source{path: path, name: f.tree.Name.Name, files: []file{f}}
	if f.tree.Doc != nil {
		s.comment = f.tree.Doc.Text()
	}
	return s
}

func importing(t *testing.T, path string, imports ...string) source {
	t.Helper()
	return made(t, path, "package x\nimport (\n"+strings.Join(imports, "\n")+"\n)\n")
}

// TestRules shows for every rule what breaks it and what does not, on made-up packages.
func TestRules(t *testing.T) {
	t.Parallel()
	sizes := func(all []source) []string { over, _ := checkSizes(all); return over }
	lines := func(n int) string { return "package x\n" + strings.Repeat("// a line\n", n) }
	methods := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "M%d()\n", i)
		}
		return "package x\ntype Store interface {\n" + b.String() + "}\n"
	}
	cases := []struct {
		name  string
		rule  func([]source) []string
		in    source
		wants string // part of the one violation; "" for none
	}{
		{"downward", checkLevels, importing(t, "internal/clinic/intake", `"kenkyo/internal/lab"`), ""},
		{"upward", checkLevels, importing(t, "internal/lab", `"kenkyo/internal/clinic/intake"`), "level 0 imports internal/clinic/intake of level 2"},
		{"ground to ground", checkLevels, importing(t, "internal/lab", `"kenkyo/internal/fault"`), "level 0 imports internal/fault of level 0"},
		{"clinic to clinic", checkLevels, importing(t, "internal/clinic/detect", `"kenkyo/internal/clinic/intake"`), "level 2 imports"},
		{"clinic to audit", checkLevels, importing(t, "internal/clinic/detect", `"kenkyo/internal/trust/audit"`), ""},
		{"clinic to identity", checkLevels, importing(t, "internal/clinic/detect", `"kenkyo/internal/trust/identity"`), "level 2 imports"},
		{"trust to clinic", checkLevels, importing(t, "internal/trust/audit", `"kenkyo/internal/clinic/intake"`), "level 2 imports"},
		{"adapter to adapter", checkLevels, importing(t, "internal/adapter/httpapi", `"kenkyo/internal/adapter/store"`), "level 3 imports"},
		{"adapter to its own suite", checkLevels, importing(t, "internal/adapter/store", `"kenkyo/internal/adapter/store/storetest"`), "level 3 imports"},
		{"suite to its adapter", checkLevels, importing(t, "internal/adapter/store/storetest", `"kenkyo/internal/adapter/store"`), ""},
		{"suite to another adapter", checkLevels, importing(t, "internal/adapter/blob/storetest", `"kenkyo/internal/adapter/store"`), "level 3 imports"},
		{"edge to edge", checkLevels, importing(t, "internal/edge/cli", `"kenkyo/internal/edge"`), ""},
		{"edge to lis", checkLevels, importing(t, "internal/edge/deliver", `"kenkyo/internal/adapter/lis"`), ""},
		{"edge to store", checkLevels, importing(t, "internal/edge/deliver", `"kenkyo/internal/adapter/store"`), "level 3 imports"},
		{"adapter to edge", checkLevels, importing(t, "internal/adapter/lis", `"kenkyo/internal/edge/spool"`), "level 3 imports"},
		{"command to app", checkLevels, importing(t, "cmd/kenkyo", `"kenkyo/internal/app"`), ""},
		{"app to command", checkLevels, importing(t, "internal/app", `"kenkyo/cmd/kenkyo"`), "level 4 imports cmd/kenkyo of level 4"},
		{"outside the table", checkLevels, importing(t, "internal/other"), "has no level"},
		{"to outside the table", checkLevels, importing(t, "internal/app", `"kenkyo/internal/other"`), "has no level"},
		{"assistants wired", checkClosed, importing(t, "internal/app", `"kenkyo/internal/assist/flow"`), ""},
		{"assistants depended on", checkClosed, importing(t, "internal/adapter/httpapi", `"kenkyo/internal/assist/flow"`), "nothing may depend on"},

		{"database in the domain", checkDomain, importing(t, "internal/clinic/intake", `"database/sql"`), "imports database/sql;"},
		{"transport below", checkDomain, importing(t, "internal/standard/fhir", `"net/http/httputil"`), "imports net/http/httputil;"},
		{"process in the domain", checkDomain, importing(t, "internal/mlops/pipeline", `"os/exec"`), "imports os/exec;"},
		{"cgo in the domain", checkDomain, importing(t, "internal/clinic/predict", `"C"`), "imports C;"},
		{"cgo in an adapter", checkDomain, importing(t, "internal/adapter/pixels", `"C"`), ""},
		{"net alone is no transport", checkDomain, importing(t, "internal/standard/hl7v2", `"net/netip"`), ""},
		{"library of the table", checkDomain, importing(t, "internal/lab", `"github.com/google/uuid"`), ""},
		{"library of another's row", checkDomain, importing(t, "internal/fault", `"github.com/google/uuid"`), "needs a row"},
		{"library with a like name", checkDomain, importing(t, "internal/lab", `"github.com/google/uuid-like"`), "needs a row"},

		{"driver at home", checkDrivers, importing(t, "internal/app", `_ "modernc.org/sqlite"`), ""},
		{"driver by name", checkDrivers, importing(t, "internal/app", `"modernc.org/sqlite"`), "imports the driver"},
		{"driver elsewhere", checkDrivers, importing(t, "internal/adapter/store", `_ "github.com/jackc/pgx/v5/stdlib"`), "imports the driver"},

		{"suite in a program", checkTestPackages, importing(t, "internal/app", `"kenkyo/internal/adapter/store/storetest"`), "is for tests"},
		{"suite in a suite", checkTestPackages, importing(t, "internal/edge/edgetest", `"kenkyo/internal/adapter/store/storetest"`), ""},

		{"telling name", checkNames, made(t, "internal/clinic/review", "package review"), ""},
		{"empty name", checkNames, made(t, "internal/clinic/util", "package util"), "says nothing"},
		{"empty folder", checkNames, made(t, "internal/clinic/common", "package review"), "says nothing"},

		{"comment", checkComments, made(t, "internal/lab", "// Package lab holds nouns.\npackage lab"), ""},
		{"command's comment", checkComments, made(t, "cmd/kenkyo", "// Command kenkyo serves.\npackage main"), ""},
		{"no comment", checkComments, made(t, "internal/lab", "package lab"), "no package comment"},
		{"comment of something else", checkComments, made(t, "internal/lab", "// Nouns.\npackage lab"), "no package comment"},

		{"limit of lines", sizes, made(t, "internal/lab", lines(maxFileLines-1)), ""},
		{"a line too many", sizes, made(t, "internal/lab", lines(maxFileLines)), "601 lines"},
		{"generated", sizes, made(t, "internal/lab", "// Code generated by hand. DO NOT EDIT.\n"+lines(maxFileLines)), ""},

		{"small interface", checkInterfaces, made(t, "internal/clinic/review", methods(maxMethods)), ""},
		{"large interface", checkInterfaces, made(t, "internal/clinic/review", methods(maxMethods+1)), "interface Store has 9 methods"},
		{"large interface of an adapter", checkInterfaces, made(t, "internal/adapter/store", methods(maxMethods+1)), ""},

		{"agent dials", checkListening, made(t, "internal/edge/uplink", "package x\nimport \"net\"\nvar d net.Dialer"), ""},
		{"agent listens", checkListening, made(t, "internal/edge/uplink", "package x\nimport \"net\"\nvar l = net.Listen"), "net.Listen"},
		{"agent listens by another name", checkListening, made(t, "cmd/kenkyo-edge", "package x\nimport w \"net/http\"\nvar s w.Server"), "w.Server"},
		{"platform listens", checkListening, made(t, "internal/app", "package x\nimport \"net\"\nvar l = net.Listen"), ""},
		{"agent's test platform listens", checkListening, made(t, "internal/edge/edgetest", "package x\nimport \"net\"\nvar l = net.Listen"), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			judge(t, c.rule([]source{c.in}), c.wants)
		})
	}
}

func judge(t *testing.T, got []string, wants string) {
	t.Helper()
	switch {
	case wants == "" && len(got) > 0:
		t.Errorf("got %q, want no violation", got)
	case wants != "" && (len(got) != 1 || !strings.Contains(got[0], wants)):
		t.Errorf("got %q, want one violation with %q", got, wants)
	}
}

// TestLibraryTable shows that the table of libraries cannot go stale.
func TestLibraryTable(t *testing.T) {
	t.Parallel()
	all := []source{importing(t, "internal/lab", `"github.com/google/uuid"`)}
	row := outside{"internal/lab", "github.com/google/uuid", "identifiers"}
	judge(t, checkLibraries(all, []outside{row}), "")
	unused, silent := row, row
	unused.module, silent.reason = "example.org/unused", ""
	judge(t, checkLibraries(all, []outside{unused}), "does not import it")
	judge(t, checkLibraries(all, []outside{silent}), "gives no reason")
}

// TestLongFiles shows that a long file is reported before it fails.
func TestLongFiles(t *testing.T) {
	t.Parallel()
	over, long := checkSizes([]source{made(t, "internal/lab", "package x\n"+strings.Repeat("\n", longFileLines))})
	judge(t, over, "")
	judge(t, long, "401 lines")
}

// TestAgentRules shows what kenkyo-edge may not link.
func TestAgentRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dep   linked
		wants string
	}{
		{linked{path: "net/http"}, ""},
		{linked{path: "runtime/cgo", isCgo: true}, ""},
		{linked{path: "vendor/golang.org/x/net/idna"}, ""},
		{linked{path: "github.com/spf13/cobra"}, ""},
		{linked{path: "kenkyo/internal/edge/spool"}, ""},
		{linked{path: "database/sql/driver"}, ""},
		{linked{path: "database/sql"}, "keeps files"},
		{linked{path: "github.com/yalue/onnxruntime_go", isCgo: true}, "needs a row"},
		{linked{path: "modernc.org/sqlite"}, "needs a row"},
		{linked{path: "github.com/cloudwego/eino/compose"}, "needs a row"},
		{linked{path: "kenkyo/internal/adapter/ort"}, "nothing of the platform"},
		{linked{path: "kenkyo/internal/app"}, "nothing of the platform"},
		{linked{path: "kenkyo/internal/edge/durable", isCgo: true}, "uses cgo"},
	} {
		t.Run(c.dep.path, func(t *testing.T) {
			t.Parallel()
			judge(t, checkAgent([]linked{c.dep}), c.wants)
		})
	}
}
