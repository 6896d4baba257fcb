package main

import (
	"context"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// builder makes and builds programs of one peer.
type builder struct {
	name     string
	files    map[string]string // templates of the files that there is one of, by name
	perKind  map[string]string // templates of those that there is one of for each kind
	goMod    func() (string, error)
	goSum    string
	generate bool
}

// program is what a template is filled in with.
type program struct {
	Module string
	Kinds  []buildKind
}

// buildKind is one of a program's kinds.
type buildKind struct {
	Module, Name, Next string
	More               bool // it has one more field
}

// built is what was measured of a program.
type built struct {
	generate, build, again time.Duration // again: to generate and build after one more field
	cpu                    time.Duration // of generate and build
	memory                 int64         // of the largest process, most often the compiler
	written, generated     int           // lines
	size                   int64
}

var builders = []builder{
	{
		name: "graphcache", goSum: "go.sum",
		goMod: func() (string, error) {
			b, err := os.ReadFile("go.mod")
			if err != nil {
				return "", err
			}
			root, err := filepath.Abs("..")
			return strings.Replace(string(b), "=> ../", "=> "+root, 1), err
		},
		files: map[string]string{"main.go": `package main

import (
	"context"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

var schema = graphcache.NewSchema({{range .Kinds}}{{.Name}}s, next{{.Name}}s, {{end}})

func main() {
	ctx := context.Background()
	g, err := graphcache.Open(ctx, schema, memory.NewStore(nil), &graphcache.Options{Cache: memory.NewCache(nil)})
	if err != nil {
		panic(err)
	}
	for _, use := range []func(context.Context, *graphcache.Graph) error{ {{range .Kinds}}use{{.Name}}, {{end}} } {
		if err := use(ctx, g); err != nil {
			panic(err)
		}
	}
}
`},
		perKind: map[string]string{"{{.Name}}.go": `package main

import (
	"context"
	"time"

	"github.com/graphcache/graphcache"
)

type {{.Name}} struct {
	ID      graphcache.ID[{{.Name}}]
	Name    string
	Email   string
	City    string
	About   string
	Score   int
	Active  bool
	Created time.Time
	{{if .More}}More string{{end}}
}

var (
	{{.Name}}s       = graphcache.NewObjectKind[{{.Name}}]("{{.Name}}")
	next{{.Name}}s   = graphcache.NewEdgeKind[graphcache.NoData]("next{{.Name}}", {{.Name}}s, {{.Next}}s)
	name{{.Name}}    = graphcache.StringFieldOf({{.Name}}s, func(k *{{.Name}}) *string { return &k.Name })
	email{{.Name}}   = graphcache.StringFieldOf({{.Name}}s, func(k *{{.Name}}) *string { return &k.Email })
	city{{.Name}}    = graphcache.StringFieldOf({{.Name}}s, func(k *{{.Name}}) *string { return &k.City })
	about{{.Name}}   = graphcache.StringFieldOf({{.Name}}s, func(k *{{.Name}}) *string { return &k.About })
	score{{.Name}}   = graphcache.OrderedFieldOf({{.Name}}s, func(k *{{.Name}}) *int { return &k.Score })
	active{{.Name}}  = graphcache.FieldOf({{.Name}}s, func(k *{{.Name}}) *bool { return &k.Active })
	created{{.Name}} = graphcache.OrderedFieldOf({{.Name}}s, func(k *{{.Name}}) *time.Time { return &k.Created })
)

func use{{.Name}}(ctx context.Context, g *graphcache.Graph) error {
	a := &{{.Name}}{Name: "a", Email: "a@example.com", City: "oslo", About: "a", Score: 1, Active: true, Created: time.Now()}
	if err := {{.Name}}s.Create(ctx, g, a); err != nil {
		return err
	}
	b := &{{.Next}}{Name: "b", Email: "b@example.com", City: "rome", About: "b", Score: 2, Active: true, Created: time.Now()}
	if err := {{.Next}}s.Create(ctx, g, b); err != nil {
		return err
	}
	if err := next{{.Name}}s.Add(ctx, g, a.ID, b.ID, graphcache.NoData{}); err != nil {
		return err
	}
	if _, err := {{.Name}}s.Update(ctx, g, a.ID, func(k *{{.Name}}) error { k.Score++; return nil }); err != nil {
		return err
	}
	if _, err := {{.Name}}s.Get(ctx, g, a.ID); err != nil {
		return err
	}
	_, err := next{{.Name}}s.Out({{.Name}}s.Where(name{{.Name}}.Eq("a"), score{{.Name}}.Ge(1))).OrderBy(created{{.Next}}.Desc()).Limit(10).All(ctx, g)
	return err
}
`},
	},
	{
		name: "ent", goSum: entDir + "/go.sum", generate: true,
		goMod: func() (string, error) {
			b, err := os.ReadFile(entDir + "/go.mod")
			return string(b), err
		},
		files: map[string]string{
			"ent/generate.go": "package ent\n\n//go:generate go tool ent generate ./schema\n",
			"main.go": `package main

import (
	"context"
	"database/sql"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"{{.Module}}/ent"
)

func main() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "")
	if err != nil {
		panic(err)
	}
	c := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.SQLite, db)))
	if err := c.Schema.Create(ctx); err != nil {
		panic(err)
	}
	for _, use := range []func(context.Context, *ent.Client) error{ {{range .Kinds}}use{{.Name}}, {{end}} } {
		if err := use(ctx, c); err != nil {
			panic(err)
		}
	}
}
`},
		perKind: map[string]string{
			"ent/schema/{{.Name}}.go": `package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
)

type {{.Name}} struct{ ent.Schema }

func ({{.Name}}) Fields() []ent.Field {
	return []ent.Field{
		field.String("name"),
		field.String("email"),
		field.String("city"),
		field.String("about"),
		field.Int("score"),
		field.Bool("active"),
		field.Time("created"),
		{{if .More}}field.String("more").Optional(),{{end}}
	}
}

func ({{.Name}}) Edges() []ent.Edge { return []ent.Edge{edge.To("next", {{.Next}}.Type)} }
`,
			"use_{{.Name}}.go": `package main

import (
	"context"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"{{.Module}}/ent"
	"{{.Module}}/ent/{{.Name | lower}}"
	{{if ne .Name .Next}}"{{.Module}}/ent/{{.Next | lower}}"{{end}}
)

func use{{.Name}}(ctx context.Context, c *ent.Client) error {
	b, err := c.{{.Next}}.Create().SetName("b").SetEmail("b@example.com").SetCity("rome").SetAbout("b").SetScore(2).SetActive(true).SetCreated(time.Now()).Save(ctx)
	if err != nil {
		return err
	}
	a, err := c.{{.Name}}.Create().SetName("a").SetEmail("a@example.com").SetCity("oslo").SetAbout("a").SetScore(1).SetActive(true).SetCreated(time.Now()).AddNext(b).Save(ctx)
	if err != nil {
		return err
	}
	if err := c.{{.Name}}.UpdateOneID(a.ID).AddScore(1).Exec(ctx); err != nil {
		return err
	}
	if _, err := c.{{.Name}}.Get(ctx, a.ID); err != nil {
		return err
	}
	_, err = c.{{.Name}}.Query().Where({{.Name | lower}}.Name("a"), {{.Name | lower}}.ScoreGTE(1)).QueryNext().Order({{.Next | lower}}.ByCreated(entsql.OrderDesc())).Limit(10).All(ctx)
	return err
}
`},
	},
}

// peerBuilds compares how long programs take to build, and their size.
func peerBuilds(ctx context.Context, s settings) ([]table, error) {
	counts := s.buildKinds()
	t := table{
		Title: "Peers: building programs of many kinds",
		Columns: []string{"kinds, way", "lines written", "lines generated", "generating, s", "building, s", "both, times graphcache", "processor time, s", "times graphcache",
			"compiler, GB", "one more field: both, s", "times graphcache", "binary, MB", "KB a kind"},
		Note: fmt.Sprintf("Kinds of seven fields, each with an edge to the next, that are created, updated, read and queried over it, in one package; no driver of a database is "+
			"linked in. The module has a new name in every round: all of the program is compiled, but of what it imports nothing is, and of ent's generator neither. %d rounds with %d "+
			"kinds, and one with %d, to which no field is added. KB a kind is what the binary has more than one with a single kind.",
			s.buildRounds(), counts[0], counts[1]),
	}
	dir, err := os.MkdirTemp("", "graphcache-benchmarks")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	single, err := measureBuilds(ctx, dir, 1, 1, false) // which compiles what is imported
	if err != nil {
		return nil, err
	}
	for i, kinds := range counts {
		rounds, more := s.buildRounds(), true
		if i > 0 {
			rounds, more = 1, false
		}
		all, err := measureBuilds(ctx, dir, kinds, rounds, more)
		if err != nil {
			return nil, err
		}
		for i, b := range builders {
			seconds := func(f func(built) time.Duration) string {
				return fmt.Sprintf("%.1f", builtSpread(all[i], all[i], func(a, _ built) float64 { return f(a).Seconds() }).median)
			}
			times := func(f func(built) time.Duration) string {
				return builtSpread(all[i], all[0], func(a, b built) float64 { return float64(f(a)) / float64(f(b)) }).String()
			}
			again, timesAgain := "", ""
			if more {
				again, timesAgain = seconds(func(b built) time.Duration { return b.again }), times(func(b built) time.Duration { return b.again })
			}
			first := all[i][0]
			t.add(fmt.Sprintf("%d, %s", kinds, b.name), fmt.Sprint(first.written), fmt.Sprint(first.generated),
				seconds(func(b built) time.Duration { return b.generate }), seconds(func(b built) time.Duration { return b.build }),
				times(func(b built) time.Duration { return b.generate + b.build }),
				seconds(func(b built) time.Duration { return b.cpu }), times(func(b built) time.Duration { return b.cpu }),
				fmt.Sprintf("%.1f", float64(first.memory)/1e9), again, timesAgain,
				fmt.Sprintf("%.1f", float64(first.size)/1e6), fmt.Sprintf("%.0f", float64(first.size-single[i][0].size)/1e3/float64(kinds-1)))
		}
	}
	return []table{t}, nil
}

func (s settings) buildRounds() int { return (s.rounds + 2) / 3 }

// buildKinds returns how many kinds the programs have, each with seven fields and an edge to
// the next one.
func (s settings) buildKinds() []int {
	if s.short {
		return []int{2, 4}
	}
	return []int{10, 100}
}

// measureBuilds makes and builds programs with so many kinds, in rounds, and again with one
// more field. The result has what was measured of each builder, by round.
func measureBuilds(ctx context.Context, dir string, kinds, rounds int, more bool) ([][]built, error) {
	all := make([][]built, len(builders))
	for r := range rounds {
		for n := range builders {
			i := (n + r) % len(builders)
			program := filepath.Join(dir, "program")
			got, err := builders[i].measure(ctx, program, kinds, more)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", builders[i].name, err)
			}
			all[i] = append(all[i], got)
			if err := os.RemoveAll(program); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func builtSpread(a, b []built, f func(a, b built) float64) spread {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = f(a[i], b[i])
	}
	return spreadOf(v)
}

// measure makes a program in the directory and builds it, and again if there is to be one
// more field.
func (b *builder) measure(ctx context.Context, dir string, kinds int, more bool) (m built, err error) {
	p := program{Module: fmt.Sprintf("example.com/kinds%d", time.Now().UnixNano())}
	for i := range kinds {
		name := func(i int) string { return fmt.Sprintf("Kind%03d", i%kinds) }
		p.Kinds = append(p.Kinds, buildKind{Module: p.Module, Name: name(i), Next: name(i + 1)})
	}
	if m.written, err = b.write(dir, &p); err != nil {
		return m, err
	}
	first, err := b.build(ctx, dir)
	if err != nil {
		return m, err
	}
	m.generate, m.build, m.cpu, m.memory = first.generate, first.build, first.cpu, first.memory
	lines, err := countLines(dir)
	if err != nil {
		return m, err
	}
	m.generated = lines - m.written
	file, err := os.Stat(filepath.Join(dir, "program"))
	if err != nil {
		return m, err
	}
	m.size = file.Size()
	if !more {
		return m, nil
	}
	p.Kinds[kinds/2].More = true
	if _, err := b.write(dir, &p); err != nil {
		return m, err
	}
	again, err := b.build(ctx, dir)
	m.again = again.generate + again.build
	return m, err
}

// build generates what is to be generated, and builds the program.
func (b *builder) build(ctx context.Context, dir string) (m built, err error) {
	if b.generate {
		made, err := timeGo(ctx, dir, "generate", "./...")
		if err != nil {
			return m, err
		}
		m.generate, m.cpu, m.memory = made.took, made.cpu, made.memory
	}
	compiled, err := timeGo(ctx, dir, "build", "-o", "program", ".")
	m.build, m.cpu, m.memory = compiled.took, m.cpu+compiled.cpu, max(m.memory, compiled.memory)
	return m, err
}

// write writes the program and returns how many lines of Go it has.
func (b *builder) write(dir string, p *program) (lines int, err error) {
	mod, err := b.goMod()
	if err != nil {
		return 0, err
	}
	_, requirements, _ := strings.Cut(mod, "\n")
	sum, err := os.ReadFile(b.goSum)
	if err != nil {
		return 0, err
	}
	files := map[string][]byte{"go.mod": []byte("module " + p.Module + "\n" + requirements), "go.sum": sum}
	fill := func(name, text string, data any) error {
		var filled [2]strings.Builder
		for i, s := range []string{name, text} {
			t, err := template.New("").Funcs(template.FuncMap{"lower": strings.ToLower}).Parse(s)
			if err != nil {
				return err
			}
			if err := t.Execute(&filled[i], data); err != nil {
				return err
			}
		}
		source, err := format.Source([]byte(filled[1].String()))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		files[filled[0].String()] = source
		lines += strings.Count(string(source), "\n")
		return nil
	}
	for name, text := range b.files {
		if err := fill(name, text, p); err != nil {
			return 0, err
		}
	}
	for name, text := range b.perKind {
		for _, k := range p.Kinds {
			if err := fill(name, text, k); err != nil {
				return 0, err
			}
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return 0, err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return 0, err
		}
	}
	return lines, nil
}

// countLines returns how many lines of Go there are in a directory.
func countLines(dir string) (lines int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		lines += strings.Count(string(text), "\n")
		return err
	})
	return lines, err
}

// goRun is what the go command took, and what it started.
type goRun struct {
	took, cpu time.Duration
	memory    int64 // of the largest process
}

// timeGo runs the go command in a directory.
func timeGo(ctx context.Context, dir string, args ...string) (goRun, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	r := goRun{took: time.Since(began)}
	if err != nil {
		return r, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = u.Maxrss << 10
	}
	return r, nil
}
