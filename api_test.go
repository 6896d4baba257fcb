package graphcache_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/format"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateAPI = flag.Bool("update.api", false, "rewrite testdata/api.golden")

// apiPackages are the packages whose exported API is frozen, by their directories.
var apiPackages = []string{".", "driver", "backends/memory", "backends/backendtest", "graphtest", "samplers", "streams", "streams/console"}

// TestAPI makes every change of the exported API visible as a change of a file.
func TestAPI(t *testing.T) {
	var got bytes.Buffer
	for _, dir := range apiPackages {
		if err := writeAPI(&got, dir); err != nil {
			t.Fatal(err)
		}
	}
	golden := filepath.Join("testdata", "api.golden")
	if *updateAPI {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v\nwrite it with: go test -run '^TestAPI$' . -update.api", err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the exported API has changed. If that is meant, say so in CHANGELOG.md and run: "+
			"go test -run '^TestAPI$' . -update.api\n(-frozen +now)\n%s", diff)
	}
}

// TestDocumented checks that whatever is exported says what it is.
func TestDocumented(t *testing.T) {
	for _, dir := range apiPackages {
		p, _, err := parseAPI(dir)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what, text string) {
			if text == "" {
				t.Errorf("%s: %s has no doc comment", p.ImportPath, what)
			}
		}
		check("the package", p.Doc)
		checkFuncs := func(prefix string, funcs []*doc.Func) {
			for _, f := range funcs {
				check(prefix+f.Name, f.Doc)
			}
		}
		checkFuncs("", p.Funcs)
		for _, typ := range p.Types {
			check(typ.Name, typ.Doc)
			checkFuncs("", typ.Funcs)
			checkFuncs(typ.Name+".", typ.Methods)
		}
	}
}

// parseAPI returns the exported part of the package in the directory, leaving out
// the files that are not built here.
func parseAPI(dir string) (*doc.Package, *token.FileSet, error) {
	built, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range built.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, f)
	}
	path := module
	if dir != "." {
		path += "/" + dir
	}
	p, err := doc.NewFromFiles(fset, files, path)
	return p, fset, err
}

// writeAPI writes the declarations without their comments, sorted by name.
func writeAPI(w *bytes.Buffer, dir string) error {
	p, fset, err := parseAPI(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "package %s // import %q\n", p.Name, p.ImportPath)
	var decls []ast.Decl
	addValues := func(values []*doc.Value) {
		for _, v := range values {
			decls = append(decls, v.Decl)
		}
	}
	addFuncs := func(funcs []*doc.Func) {
		for _, f := range funcs {
			decls = append(decls, f.Decl)
		}
	}
	addValues(p.Consts)
	addValues(p.Vars)
	addFuncs(p.Funcs)
	for _, t := range p.Types {
		decls = append(decls, t.Decl)
		addValues(t.Consts)
		addValues(t.Vars)
		addFuncs(t.Funcs)
		addFuncs(t.Methods)
	}
	for _, d := range decls {
		text, err := declaration(fset, d)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "\n%s\n", text)
	}
	w.WriteByte('\n')
	return nil
}

// blankLines are left where comments were, and part what gofmt would align.
var blankLines = regexp.MustCompile(`\n\s*\n`)

// declaration returns the bare declaration as gofmt would write it.
func declaration(fset *token.FileSet, d ast.Decl) ([]byte, error) {
	dropComments(d)
	var b bytes.Buffer
	if err := printer.Fprint(&b, fset, d); err != nil {
		return nil, err
	}
	return format.Source(blankLines.ReplaceAll(b.Bytes(), []byte("\n")))
}

// dropComments removes comments and function bodies.
func dropComments(d ast.Decl) {
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			n.Doc, n.Body = nil, nil
		case *ast.GenDecl:
			n.Doc = nil
		case *ast.TypeSpec:
			n.Doc, n.Comment = nil, nil
		case *ast.ValueSpec:
			n.Doc, n.Comment = nil, nil
		case *ast.Field:
			n.Doc, n.Comment = nil, nil
		}
		return true
	})
}
