package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

func levelOf(path string) (int, bool) {
	for _, l := range levels {
		if under(path, l.prefix) {
			return l.number, true
		}
	}
	return 0, false
}

// checkLevels: a package imports lower levels only, or sideways where the table allows it.
func checkLevels(all []source) []string {
	var out []string
	for _, s := range all {
		from, ok := levelOf(s.path)
		if !ok {
			out = append(out, s.path+": has no level; add it to the table and to docs/ARCHITECTURE.md")
			continue
		}
		s.eachImport(func(f file, i imported) {
			path, ours := local(i.path)
			if !ours {
				return
			}
			to, ok := levelOf(path)
			switch {
			case !ok:
				out = append(out, fmt.Sprintf("%s: imports %s, which has no level", f.name, path))
			case to < from || to == from && isSideways(s.path, path):
			default:
				out = append(out, fmt.Sprintf("%s: level %d imports %s of level %d; declare an interface where it is used and wire it in internal/app",
					f.name, from, path, to))
			}
		})
	}
	return out
}

func isSideways(from, to string) bool {
	if from == to+to[strings.LastIndex(to, "/"):]+"test" {
		return true // a package's conformance suite
	}
	return slices.ContainsFunc(sideways, func(e edge) bool { return under(from, e.from) && under(to, e.to) })
}

// checkClosed: packages that nothing may depend on, except where they are wired.
func checkClosed(all []source) []string {
	var out []string
	for _, s := range all {
		s.eachImport(func(f file, i imported) {
			path, _ := local(i.path)
			isClosed, isAllowed := false, false
			for _, e := range closed {
				isClosed = isClosed || under(path, e.to)
				isAllowed = isAllowed || under(path, e.to) && under(s.path, e.from)
			}
			if isClosed && !isAllowed {
				out = append(out, fmt.Sprintf("%s: nothing may depend on %s", f.name, path))
			}
		})
	}
	return out
}

// checkDomain: levels 0 to 2 reach no database, transport, process or cgo, and no third-party module that is not in the table.
func checkDomain(all []source) []string {
	var out []string
	for _, s := range all {
		if n, ok := levelOf(s.path); !ok || n > domain {
			continue
		}
		s.eachImport(func(f file, i imported) {
			for bad, where := range forbidden {
				if within(i.path, bad) {
					out = append(out, fmt.Sprintf("%s: imports %s; %s", f.name, i.path, where))
				}
			}
			if isStandard(i.path) || within(i.path, module) {
				return
			}
			if !slices.ContainsFunc(libraries, func(l outside) bool { return l.pkg == s.path && within(i.path, l.module) }) {
				out = append(out, fmt.Sprintf("%s: imports %s; a third-party module in the domain needs a row with its reason", f.name, i.path))
			}
		})
	}
	return out
}

// checkLibraries: every row of the table is used and says why.
func checkLibraries(all []source, table []outside) []string {
	var out []string
	for _, l := range table {
		isUsed := false
		for _, s := range all {
			if s.path != l.pkg {
				continue
			}
			s.eachImport(func(_ file, i imported) { isUsed = isUsed || within(i.path, l.module) })
		}
		if !isUsed {
			out = append(out, fmt.Sprintf("the table allows %s in %s, which does not import it: remove the row", l.module, l.pkg))
		}
		if l.reason == "" {
			out = append(out, fmt.Sprintf("the table gives no reason for %s in %s", l.module, l.pkg))
		}
	}
	return out
}

// checkDrivers: a database driver is blank-imported where a program is put together, and nowhere else.
func checkDrivers(all []source) []string {
	var out []string
	for _, s := range all {
		isHome := slices.ContainsFunc(driverHomes, func(h string) bool { return under(s.path, h) })
		s.eachImport(func(f file, i imported) {
			isDriver := slices.ContainsFunc(drivers, func(d string) bool { return within(i.path, d) })
			if isDriver && (!isHome || !i.isBlank) {
				out = append(out, fmt.Sprintf("%s: imports the driver %s; blank-import it in cmd or internal/app", f.name, i.path))
			}
		})
	}
	return out
}

// checkTestPackages: what exists for tests, by the ending of its name, is linked into no program.
func checkTestPackages(all []source) []string {
	var out []string
	for _, s := range all {
		s.eachImport(func(f file, i imported) {
			path, ours := local(i.path)
			if ours && strings.HasSuffix(path, "test") && !strings.HasSuffix(s.path, "test") {
				out = append(out, fmt.Sprintf("%s: imports %s, which is for tests", f.name, path))
			}
		})
	}
	return out
}

// checkNames: a package's name says what it holds.
func checkNames(all []source) []string {
	var out []string
	for _, s := range all {
		if slices.Contains(vague, s.name) || slices.Contains(vague, s.path[strings.LastIndex(s.path, "/")+1:]) {
			out = append(out, fmt.Sprintf("%s: the name %q says nothing; name what it holds", s.path, s.name))
		}
	}
	return out
}

// checkComments: every package says what it is for.
func checkComments(all []source) []string {
	var out []string
	for _, s := range all {
		want := "Package " + s.name + " "
		if s.name == "main" {
			want = "Command " + s.path[strings.LastIndex(s.path, "/")+1:] + " "
		}
		if len(s.files) > 0 && !strings.HasPrefix(s.comment, want) {
			out = append(out, fmt.Sprintf("%s: has no package comment that begins with %q", s.path, want))
		}
	}
	return out
}

// checkSizes gives the files over the limit, and apart from them those that are long.
func checkSizes(all []source) (over, long []string) {
	for _, s := range all {
		for _, f := range slices.Concat(s.files, s.tests) {
			switch {
			case f.isMade:
			case f.lines > maxFileLines:
				over = append(over, fmt.Sprintf("%s: %d lines, at most %d are allowed; split it by what changes together", f.name, f.lines, maxFileLines))
			case f.lines > longFileLines:
				long = append(long, fmt.Sprintf("%s: %d lines", f.name, f.lines))
			}
		}
	}
	return over, long
}

// checkInterfaces: an interface of the domain is small enough to be implemented for a test.
func checkInterfaces(all []source) []string {
	var out []string
	for _, s := range all {
		if n, ok := levelOf(s.path); !ok || n > domain {
			continue
		}
		for _, f := range s.files {
			ast.Inspect(f.tree, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				if i, ok := spec.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
					out = append(out, fmt.Sprintf("%s: interface %s has %d methods, at most %d are allowed; split it by its callers",
						f.name, spec.Name.Name, i.Methods.NumFields(), maxMethods))
				}
				return true
			})
		}
	}
	return out
}

// listening are the names by which Go code opens a listening socket.
var listening = map[string][]string{
	"net": {"Listen", "ListenTCP", "ListenUDP", "ListenUnix", "ListenUnixgram", "ListenIP", "ListenMulticastUDP", "ListenPacket", "ListenConfig", "FileListener"},
	"net/http": {
		"ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS", "Server",
	},
	"net/http/httptest": {"NewServer", "NewTLSServer", "NewUnstartedServer", "Server"},
	"net/rpc":           {"Accept", "HandleHTTP"},
}

// checkListening: the hospital's agent opens no listening socket.
func checkListening(all []source) []string {
	var out []string
	for _, s := range all {
		isAgent := under(s.path, "internal/edge") || under(s.path, "internal/edge/") || s.path == "cmd/kenkyo-edge"
		if !isAgent || strings.HasSuffix(s.path, "test") {
			continue
		}
		for _, f := range s.files {
			names := map[string]string{} // local name → import path
			for _, i := range f.tree.Imports {
				path := strings.Trim(i.Path.Value, `"`)
				name := path[strings.LastIndex(path, "/")+1:]
				if i.Name != nil {
					name = i.Name.Name
				}
				names[name] = path
			}
			ast.Inspect(f.tree, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if id, ok := sel.X.(*ast.Ident); ok && slices.Contains(listening[names[id.Name]], sel.Sel.Name) {
					out = append(out, fmt.Sprintf("%s: uses %s.%s; the agent dials out and never listens", f.name, id.Name, sel.Sel.Name))
				}
				return true
			})
		}
	}
	return out
}

// linked is one package that a program links.
type linked struct {
	path  string
	isCgo bool
}

// checkAgent: kenkyo-edge links what its tables allow.
func checkAgent(deps []linked) []string {
	var out []string
	for _, d := range deps {
		path, ours := local(d.path)
		switch {
		case ours && d.isCgo:
			out = append(out, path+": is linked into kenkyo-edge and uses cgo")
		case ours && !slices.ContainsFunc(agentOurs, func(p string) bool { return under(path, p) }):
			out = append(out, path+": is linked into kenkyo-edge, which needs nothing of the platform")
		case ours || isVendored(d.path):
		case isStandard(d.path):
			for bad, why := range agentForbidden {
				if d.path == bad {
					out = append(out, fmt.Sprintf("%s: is linked into kenkyo-edge; %s", d.path, why))
				}
			}
		default:
			isKnown := false
			for m := range agentLibraries {
				isKnown = isKnown || within(d.path, m)
			}
			if !isKnown {
				out = append(out, fmt.Sprintf("%s: is linked into kenkyo-edge; a library there needs a row with its reason", d.path))
			}
		}
	}
	return out
}

// isVendored reports whether a path is a module that the standard library carries with it.
func isVendored(path string) bool { return strings.HasPrefix(path, "vendor/") }

func (s *source) eachImport(do func(file, imported)) {
	for _, f := range s.files {
		for _, i := range f.imports {
			do(f, i)
		}
	}
}
