package graphcache_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/graphcache/graphcache"

// pkg is a package as go list describes it. Deps are all the packages that it is
// built from.
type pkg struct {
	ImportPath                               string
	Imports, Deps, TestImports, XTestImports []string
}

// listPackages returns the packages of the module.
func listPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within reports whether a package is the one at the path, or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func isBackend(p string) bool {
	return within(p, module+"/backends") && !within(p, suite)
}

func isAddOn(p string) bool { return within(p, module+"/samplers") || within(p, module+"/streams") }

// The packages that only tests import: the conformance suite, which is no backend, and
// the replay of the protocol's transitions.
const (
	suite     = module + "/backends/backendtest"
	replay    = module + "/internal/protocol/replay"
	servers   = module + "/internal/redistest"
	databases = module + "/internal/mongotest"
	lincheck  = module + "/internal/lincheck"
)

// forTests reports whether only tests may import the package.
func forTests(p string) bool {
	return forBackends(p) || within(p, servers) || within(p, databases) || within(p, lincheck)
}

// forBackends reports whether the package is for the tests of any backend.
func forBackends(p string) bool { return within(p, suite) || within(p, replay) }

// importRules say which package must never see which other. A rule about Deps also
// forbids the ways around it.
var importRules = []struct {
	name   string
	from   func(path string) bool
	edges  func(p pkg) []string
	forbid func(from, to string) bool
}{{
	name:   "the driver package imports nothing but the standard library, and not testing",
	from:   func(p string) bool { return p == module+"/driver" },
	edges:  func(p pkg) []string { return p.Deps },
	forbid: func(_, to string) bool { return to == "testing" || strings.Contains(firstElement(to), ".") },
}, {
	name:  "the façade imports no backend, add-on, database client or testing",
	from:  func(p string) bool { return p == module || within(p, module+"/internal") && !forTests(p) },
	edges: func(p pkg) []string { return p.Deps },
	forbid: func(_, to string) bool {
		return slices.ContainsFunc([]string{
			module + "/backends", module + "/graphtest", module + "/samplers", module + "/streams",
			"go.mongodb.org", "github.com/redis", "testing",
		}, func(root string) bool { return within(to, root) })
	},
}, {
	name:  "a backend imports neither the façade nor another backend nor testing",
	from:  isBackend,
	edges: func(p pkg) []string { return p.Deps },
	forbid: func(from, to string) bool {
		return to == module || to == "testing" || isBackend(to) && !within(to, backendRoot(from))
	},
}, {
	name:  "an add-on knows the driver package only, and not testing",
	from:  isAddOn,
	edges: func(p pkg) []string { return p.Deps },
	forbid: func(from, to string) bool {
		return to == module || to == "testing" || within(to, module+"/backends") || isAddOn(to) && to != from
	},
}, {
	name:   "only tests import the packages that are for them",
	from:   func(p string) bool { return !forTests(p) },
	edges:  func(p pkg) []string { return p.Deps },
	forbid: func(_, to string) bool { return forTests(to) },
}, {
	name:   "the conformance suite and the replay know no concrete backend, and not the façade",
	from:   forBackends,
	edges:  func(p pkg) []string { return p.Deps },
	forbid: func(_, to string) bool { return to == module || isBackend(to) },
}, {
	name:  "nothing imports examples, benchmarks and commands",
	from:  func(p string) bool { return true },
	edges: func(p pkg) []string { return slices.Concat(p.Imports, p.TestImports, p.XTestImports) },
	forbid: func(from, to string) bool {
		return within(to, module+"/cmd") && !within(from, module+"/cmd") ||
			within(to, module+"/examples") && !within(from, module+"/examples") ||
			within(to, module+"/benchmarks") && !within(from, module+"/benchmarks")
	},
}, {
	name:   "the façade's internal tests import no backend: those are tests of package graphcache_test",
	from:   func(p string) bool { return p == module },
	edges:  func(p pkg) []string { return p.TestImports },
	forbid: func(_, to string) bool { return isBackend(to) },
}}

func firstElement(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// backendRoot returns the path of the backend that a package belongs to.
func backendRoot(path string) string {
	name := firstElement(strings.TrimPrefix(path, module+"/backends/"))
	return module + "/backends/" + name
}

// TestImports checks the import rules. What go list reads is hidden from the test
// cache: run it with -count=1 or -shuffle=on, as make test does.
func TestImports(t *testing.T) {
	packages := listPackages(t)
	for _, rule := range importRules {
		applied := false
		for _, p := range packages {
			if !rule.from(p.ImportPath) {
				continue
			}
			applied = true
			for _, to := range rule.edges(p) {
				if rule.forbid(p.ImportPath, to) {
					t.Errorf("%s: %s sees %s", rule.name, p.ImportPath, to)
				}
			}
		}
		if !applied {
			t.Errorf("%s: the rule applies to no package", rule.name)
		}
	}
}
