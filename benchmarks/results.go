package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	price "github.com/graphcache/graphcache/benchmarks/internal/cost"
)

// section is a part of the report: some of the experiments, in so many rounds.
type section struct {
	title  string
	names  []string
	rounds int
	turn   time.Duration
}

// sections are those of the report. What they take in all is to stay below a quarter of an
// hour on two processors; the load of TAO and the builds are about half of it.
var sections = []section{
	{"Hits", []string{"hits"}, 5, 150 * time.Millisecond},
	{"Overhead", []string{"hop", "overhead", "costs", "processor", "memory"}, 5, 150 * time.Millisecond},
	{"Contention", []string{"writes"}, 3, 200 * time.Millisecond},
	{"Stampede", []string{"stampede"}, 3, 200 * time.Millisecond},
	{"Outage", []string{"outage"}, 1, 200 * time.Millisecond},
	{"Samplers", []string{"samplers"}, 5, 100 * time.Millisecond},
	{"Streams", []string{"streams"}, 3, 100 * time.Millisecond},
	{"Channels", []string{"channels"}, 3, 100 * time.Millisecond},
	{"Peers", []string{"peers", "peers-keys", "peers-lines", "peers-build"}, 5, 150 * time.Millisecond},
}

// notShown is what a table does not show, by the beginning of its title.
var notShown = []struct{ title, not string }{
	{"Reading an object that is in Redis", "a network: over one, a round trip outweighs all differences between ways that make as many of them."},
	{"Looking up the bytes of a value", "what a reader pays for decoding, or for waiting behind others in a busy server."},
	{"A list and the 100 objects", "lists that differ from caller to caller, or objects that are not there."},
	{"What a hit costs within the process", "how the ways behave with several callers, among whom automatic pipelining divides its work."},
	{"Misses and writes", "the time of a store that has a disk and a network, beside which these differences are small."},
	{"Processor time of the server for decisions", "how seldom a decision asks: that depends on the number of keys and on their skew."},
	{"Processor time of the server for events", "what a consumer pays that has to count the events itself."},
	{"Processor time of the server", "what a server does that is short of memory, persists, or replicates."},
	{"Memory of the server for counters", "counters whose keys are longer, or that live for less than a window."},
	{"Memory of the server", "values of other sizes: what is added to each is a fixed number of bytes."},
	{"An object that is read and written all the time", "objects that are written now and then, which is what most are: this is the worst of them."},
	{"A stampede", "a miss that few ask for, where waiting for others gains nothing."},
	{"An outage", "an outage that lasts for hours, after which most of what was cached has changed or expired."},
	{"Decisions that drop", "decisions that keep a request, or that ask the server."},
	{"Memory of the process for keys", "keys that come and go: all are asked for once."},
	{"Append in the process", "the flush, which encodes and sends what is kept."},
	{"Events that come at a rate", "readers: nobody follows the streams."},
	{"What it costs to tell of holds", "holds that processes do listen for, each of which costs every listener a message."},
	{"How late holds are told", "a network, or listeners that are short of processor time."},
	{"Peers: a user who is cached", "how often each is right: see under \"stale\" what a hit may be."},
	{"Peers: two hops", "the work at a write: one event that changes is one value of graphcache's, and a list for each place in the others."},
	{"Peers: the key of a query", "all keys that are wrong: the pairs were chosen with the separators of these three in mind."},
	{"Peers: lines that a program writes", "the lines of tests, of the store's queries, and of those who look for a stale value at night."},
	{"Peers: building programs", "an editor's speed, or kinds that are spread over several packages, of which only those that changed are compiled."},
	{"TAO's load", "a network, a store with a disk, or a working set that does not fit: items are counted, and times are those of a store that answers after a fixed delay."},
	{"A storm of writes", "a load that anybody has: half of the operations are writes, on 50 objects, to find stale reads."},
	{"The share of writes", "writes that are spread otherwise than TAO's, which prefer what is popular."},
	{"A cold start", "a start with millions of objects, which takes as much longer as the store is slower than this one."},
	{"What a billion reads cost", "your prices: they are round numbers, to be given to cmd/cost with what you pay."},
	{"Times cheaper than reading the store", "two assumptions that change together."},
}

// report is what becomes RESULTS.md.
type report struct {
	text   strings.Builder
	parts  []string // how long each took
	short  bool
	chosen *regexp.Regexp
	errs   []error
}

// failed notes that a part has failed.
func (r *report) failed(name string, err error) {
	fmt.Fprintf(&r.text, "**%s failed:** %v.\n\n", name, err)
	r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
}

// writeResults runs everything and writes the report to a file, and the lines of the load of
// TAO beside it. A short run only shows that everything works. An experiment that fails is
// noted in its place, and the others go on. Only what the expression matches is run: experiments by
// name, and tao.
func writeResults(ctx context.Context, file, only string, short bool) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	r := &report{short: short, chosen: chosen}
	r.head(ctx)
	began := time.Now()
	err = withServer(func(addr string) error {
		for _, s := range sections {
			r.section(ctx, s, addr)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if chosen.MatchString("tao") {
		if err := r.tao(ctx, strings.TrimSuffix(file, ".md")+".jsonl"); err != nil {
			r.failed("tao", err)
		}
	}
	fmt.Fprintf(&r.text, "## Time\n\nIn all %.0f s: %s.\n", time.Since(began).Seconds(), strings.Join(r.parts, ", "))
	if err := os.WriteFile(file, []byte(r.text.String()), 0o644); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	return errors.Join(r.errs...)
}

// head writes what the figures were made with.
func (r *report) head(ctx context.Context) {
	fmt.Fprintf(&r.text, "# Results\n\nWritten by `make bench`, on %s.", time.Now().UTC().Format("2 January 2006"))
	if r.short {
		r.text.WriteString(" **A short run, which shows that it works: its figures mean nothing.**")
	}
	r.text.WriteString(" Ways that are compared take turns within one run; ratios are formed within a round, " +
		"and cells of the form a (b–c) are the median, the least and the most of the rounds. Absolute figures are for orientation.\n\n")
	output := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(out))
	}
	load, _, _ := strings.Cut(fileText("/proc/loadavg"), " ")
	fmt.Fprintf(&r.text, "Machine: %s, %d processors, %s of memory, %s, load %s at the start.\n\n", fieldOf("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		fieldOf("/proc/meminfo", "MemTotal"), strings.TrimSpace(fileText("/proc/sys/kernel/ostype")+" "+fileText("/proc/sys/kernel/osrelease")), cmp.Or(load, "unknown"))
	commit := output("git", "rev-parse", "--short", "HEAD")
	if output("git", "status", "--porcelain", "--untracked-files=no", "--", "..", ":!RESULTS.*") != "" {
		commit += " with changes"
	}
	_, server, _ := strings.Cut(output("redis-server", "--version"), "v=")
	server, _, _ = strings.Cut(server, " ")
	versions := []string{"graphcache " + commit, runtime.Version(), "Redis " + server}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(comparedModules, m.Path) {
				versions = append(versions, m.Path+" "+m.Version)
			}
		}
	}
	for _, m := range []string{"entgo.io/ent", "modernc.org/sqlite"} {
		versions = append(versions, m+" "+requiredVersion(entDir+"/go.mod", m))
	}
	fmt.Fprintf(&r.text, "Versions: %s.\n\n", strings.Join(versions, ", "))
}

// comparedModules are those whose versions matter.
var comparedModules = []string{
	"github.com/go-redis/cache/v9", "github.com/go-redis/redis_rate/v10", "github.com/honeycombio/dynsampler-go", "github.com/maypok86/otter/v2",
	"github.com/redis/go-redis/v9", "github.com/redis/rueidis", "github.com/rs/zerolog", "github.com/samber/slog-sampling",
	"github.com/sethvargo/go-limiter", "github.com/viccon/sturdyc", "go.uber.org/zap",
}

func fileText(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// fieldOf returns the value of a line "name: value" of a file.
func fieldOf(file, name string) string {
	for line := range strings.Lines(fileText(file)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// requiredVersion returns the version of a module in a go.mod file.
func requiredVersion(file, module string) string {
	for line := range strings.Lines(fileText(file)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == module {
			return f[1]
		}
	}
	return "unknown"
}

// timed runs a part and notes how long it took.
func (r *report) timed(name string, f func() error) error {
	began := time.Now()
	err := f()
	took := fmt.Sprintf("%s %.0f s", name, time.Since(began).Seconds())
	fmt.Fprintln(os.Stderr, took)
	r.parts = append(r.parts, took)
	return err
}

func (r *report) section(ctx context.Context, sec section, addr string) {
	if !slices.ContainsFunc(sec.names, r.chosen.MatchString) {
		return
	}
	fmt.Fprintf(&r.text, "## %s\n\n", sec.title)
	s := settings{rounds: sec.rounds, turn: sec.turn, addr: addr}
	if r.short {
		s.rounds, s.turn, s.short = 1, 20*time.Millisecond, true
	}
	for _, e := range experiments {
		if !slices.Contains(sec.names, e.name) || !r.chosen.MatchString(e.name) {
			continue
		}
		err := r.timed(e.name, func() error {
			tables, err := e.run(ctx, s)
			for i := range tables {
				r.table(&tables[i])
			}
			return err
		})
		if err != nil {
			r.failed(e.name, err)
		}
	}
	fmt.Fprintf(&r.text, "%d rounds, %v a turn.\n\n", s.rounds, s.turn)
}

// table writes a table, with what it does not show.
func (r *report) table(t *table) {
	r.text.WriteString(strings.Replace(t.markdown(), "## ", "### ", 1))
	for _, n := range notShown {
		if strings.HasPrefix(t.Title, n.title) {
			fmt.Fprintf(&r.text, "\nNot shown: %s\n\n", n.not)
			return
		}
	}
	r.errs = append(r.errs, fmt.Errorf("nothing is said about what the table %q does not show", t.Title))
}

// taoRun is a run of cmd/tao, and how its lines become a table.
type taoRun struct {
	title string
	args  []string
	times int // how often it is run
	note  string
}

var taoRuns = []taoRun{
	{"TAO's load", []string{"-objects", "50000", "-seconds", "5"}, 3,
		"64 callers ask what TAO is asked for, of a graph of LinkBench's shape, with 0.2 % writes. \"Store items\" are objects, lists, counts and edges that were asked of " +
			"the store for 1,000 reads. cacheaside is written by hand with care, in pipelines; cacheaside-plain as it is commonly done. Figures are medians, ratios are by round."},
	{"The share of writes", []string{"-objects", "10000", "-seconds", "3", "-sweep", "writes", "-variants", "cacheaside,graphcache,graphcache+near"}, 1, "10,000 objects."},
	{"A storm of writes", []string{"-objects", "10000", "-seconds", "4", "-mix", "storm"}, 1,
		"Half of the operations write, and what is read from the store arrives 5 ms late. All is one process, in which the near cache is never behind."},
	{"A cold start", []string{"-objects", "10000", "-seconds", "5", "-cold", "-variants", "cacheaside,graphcache,graphcache+near"}, 1,
		"From an empty cache, second by second."},
}

// shortened are the flags of a short run.
func (t taoRun) shortened() taoRun {
	t.args = append(slices.Clone(t.args), "-objects", "2000", "-seconds", "1", "-warmup", "0.2")
	t.times = 1
	return t
}

// taoLine is what is shown of a line of cmd/tao.
type taoLine struct {
	price.Measured
	OpsPerS    float64 `json:"ops_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	WriteP50   float64 `json:"write_p50_us"`
	StoreCalls int64   `json:"store_calls"`
	HitRate    float64 `json:"hit_rate"`
	NearRate   float64 `json:"near_rate"`
	Checked    int64   `json:"checked_reads"`
	Stale      int64   `json:"stale_reads"`
	StaleMaxMS float64 `json:"stale_max_ms"`
	Errors     int64   `json:"errors"`
	Allocs     float64 `json:"allocs_per_op"`
}

func (l taoLine) name() string {
	name := l.Variant
	switch {
	case l.Second > 0:
		name = fmt.Sprintf("%s, second %d", l.Variant, l.Second)
	case l.Setting != "":
		name = l.Setting + ", " + l.Variant
	}
	return name
}

// tao runs the load of TAO, and reckons what it costs.
func (r *report) tao(ctx context.Context, file string) error {
	r.text.WriteString("## TAO\n\n")
	var all strings.Builder
	for _, t := range taoRuns {
		if r.short {
			t = t.shortened()
		}
		var rounds [][]taoLine
		err := r.timed(t.title, func() error {
			for range t.times {
				lines, text, err := t.run(ctx)
				if err != nil {
					return err
				}
				all.WriteString(text)
				rounds = append(rounds, lines)
			}
			return nil
		})
		if err != nil {
			return err
		}
		table, err := taoTable(t, rounds)
		if err != nil {
			return err
		}
		r.table(&table)
		fmt.Fprintf(&r.text, "`go run ./cmd/tao %s`, %d times.\n\n", strings.Join(t.args, " "), t.times)
	}
	if err := os.WriteFile(file, []byte(all.String()), 0o644); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	measured, err := price.Read(strings.NewReader(all.String()))
	if err != nil {
		return err
	}
	r.text.WriteString("## Cost\n\nBy `go run ./cmd/cost` of the above, with its defaults; [cost.md](../docs/cost.md) says what they are.\n\n")
	bills := table{Title: "What a billion reads cost"}
	bills.Columns, bills.Rows = price.Default.Table(measured)
	r.table(&bills)
	other := table{Title: "Times cheaper than reading the store"}
	other.Columns, other.Rows = price.Default.Sensitivity(measured)
	r.table(&other)
	return nil
}

// run runs the command once.
func (t taoRun) run(ctx context.Context) (lines []taoLine, text string, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./cmd/tao", "-json"}, t.args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, "", err
	}
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		var l taoLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, "", err
		}
		lines = append(lines, l)
	}
	return lines, string(out), nil
}

// taoTable makes a table of the lines of each round. Ratios are to the way cacheaside of the
// same setting and second.
func taoTable(t taoRun, rounds [][]taoLine) (table, error) {
	out := table{
		Title: t.title, Note: t.note,
		Columns: []string{"way", "operations/s", "times cacheaside", "p50, µs", "p99, µs", "write p50, µs", "store items", "store calls", "hits, %", "near, %",
			"stale reads", "at most by, ms", "errors", "Redis, MB", "own processor time, µs", "cacheaside = 1", "Redis's, µs", "cacheaside = 1", "allocations"},
	}
	for i, l := range rounds[0] {
		base := slices.IndexFunc(rounds[0], func(b taoLine) bool {
			return b.Variant == "cacheaside" && b.Setting == l.Setting && b.Second == l.Second
		})
		if base < 0 {
			return out, fmt.Errorf("%s: there is no cacheaside beside %s", t.title, l.name())
		}
		of := func(f func(l taoLine) float64) float64 {
			return beside(rounds, i, i, func(a, _ taoLine) float64 { return f(a) }).median
		}
		sum := func(f func(l taoLine) int64) (n int64) {
			for _, r := range rounds {
				n += f(r[i])
			}
			return n
		}
		times := func(f func(l taoLine) float64) string {
			if s := beside(rounds, i, base, func(a, b taoLine) float64 { return f(a) / f(b) }); s.most < 1e6 { // not of nothing
				return s.String()
			}
			return ""
		}
		round := func(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
		out.add(l.name(), round(of(func(l taoLine) float64 { return l.OpsPerS }), 0), times(func(l taoLine) float64 { return l.OpsPerS }),
			round(of(func(l taoLine) float64 { return l.P50 }), 1), round(of(func(l taoLine) float64 { return l.P99 }), 0), round(of(func(l taoLine) float64 { return l.WriteP50 }), 0),
			round(of(func(l taoLine) float64 { return l.ItemsPer1000 }), 2),
			round(of(func(l taoLine) float64 { return 1000 * float64(l.StoreCalls) / float64(max(1, l.Ops)) }), 2),
			round(100*of(func(l taoLine) float64 { return l.HitRate }), 2), round(100*of(func(l taoLine) float64 { return l.NearRate }), 1),
			fmt.Sprint(sum(func(l taoLine) int64 { return l.Stale })),
			round(beside(rounds, i, i, func(a, _ taoLine) float64 { return a.StaleMaxMS }).most, 0), fmt.Sprint(sum(func(l taoLine) int64 { return l.Errors })),
			round(of(func(l taoLine) float64 { return float64(l.RedisBytes) / 1e6 }), 1),
			round(of(func(l taoLine) float64 { return l.CPU / 1e3 }), 2), times(func(l taoLine) float64 { return l.CPU }),
			round(of(func(l taoLine) float64 { return l.RedisCPU / 1e3 }), 2), times(func(l taoLine) float64 { return l.RedisCPU }),
			round(of(func(l taoLine) float64 { return l.Allocs }), 1))
	}
	return out, nil
}

// beside returns the spread of what f makes of two lines of the same round.
func beside(rounds [][]taoLine, i, j int, f func(a, b taoLine) float64) spread {
	var v []float64
	for _, r := range rounds {
		if i < len(r) && j < len(r) {
			v = append(v, f(r[i], r[j]))
		}
	}
	return spreadOf(v)
}
