package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/internal/redistest"
)

// output is a line that -json prints, as somebody else would declare it.
type output struct {
	Scheme         string   `json:"scheme"`
	Requests       int      `json:"requests"`
	Keys           int      `json:"keys"`
	Kept           int      `json:"kept"`
	KeptLines      int      `json:"kept_lines"`
	KeptBytes      int      `json:"kept_bytes"`
	Covered        float64  `json:"covered"`
	Shown          float64  `json:"shown"`
	RedisCalls     int      `json:"redis_calls"`
	WriteBackCalls int      `json:"write_back_calls"`
	P              *float64 `json:"p"`
	Processes      int      `json:"processes"`
	Ratio          float64  `json:"ratio"`
}

// replayed runs the program with -json and returns what it prints of each scheme.
func replayed(t *testing.T, stdin string, args ...string) map[string]output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), slices.Concat(args, []string{"-json"}), strings.NewReader(stdin), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	found := map[string]output{}
	for line := range strings.Lines(stdout.String()) {
		var o output
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		found[o.Scheme] = o
	}
	if len(found) != 5 || strings.Count(stdout.String(), "\n") != 5 {
		t.Fatalf("want five schemes, each on a line:\n%s", &stdout)
	}
	return found
}

// three keys with 9, 4 and 1 requests.
const fewKeys = "a,x\na,x\nb,x\na,x\na,y\na,x\nb,x\na,x\na,x\na,x\nb,x\na,x\na,x\nb,x\n"

// The first N of the fleet are exactly that, whatever the processes are.
func TestShared(t *testing.T) {
	for _, tt := range []struct {
		n, kept int
	}{{1, 3}, {3, 7}, {5, 10}, {9, 14}, {1000, 14}} {
		for _, processes := range []int{1, 2, 7} {
			got := replayed(t, fewKeys, "-trace", "-", "-n", fmt.Sprint(tt.n), "-processes", fmt.Sprint(processes))[shared]
			if got.Kept != tt.kept || got.Covered != 1 || got.Shown != 1 || got.Requests != 14 || got.Keys != 3 {
				t.Errorf("the first %d in %d processes: got %+v, want %d of 14 requests and all 3 keys covered", tt.n, processes, got, tt.kept)
			}
			if got.RedisCalls < got.Kept || got.RedisCalls > got.Kept+3*(processes-1) {
				t.Errorf("the first %d in %d processes: %d calls; want one for each that is kept, and at most one more for a key and process",
					tt.n, processes, got.RedisCalls)
			}
			if dropped := tt.kept < 14; dropped != (got.WriteBackCalls > 0) {
				t.Errorf("the first %d in %d processes: %d calls report what was dropped", tt.n, processes, got.WriteBackCalls)
			}
		}
	}
}

func TestSharedOfZipf(t *testing.T) {
	s := settings{seed: 3, requests: 20_000, tenants: 100, ops: 10, zipf: 1.3, processes: 4}
	made, err := s.openTrace()
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, n := range made.counts {
		want += min(n, 4)
	}
	got := replayed(t, "", "-seed", "3", "-requests", "20000", "-tenants", "100", "-ops", "10", "-zipf", "1.3", "-processes", "4", "-n", "4")
	x := got[shared]
	if x.Kept != want || x.Covered != 1 || x.Ratio != 1 || x.Keys != len(made.keys) || x.Processes != 4 {
		t.Errorf("got %+v, want %d kept of %d keys, all covered", x, want, len(made.keys))
	}
	if p := got[perProcess]; p.Covered != 1 || p.Kept <= want || p.Kept > 4*want {
		t.Errorf("per process: got %+v, want all keys covered by up to four times %d requests", p, want)
	}
	if p := got[static]; p.P == nil || !near(float64(p.Kept), float64(want), .05) || p.Covered > .8 {
		t.Errorf("static: got %+v, want about %d kept and fewer keys covered", p, want)
	}
	if p := got[staticEqualCoverage]; p.P == nil || math.Abs(p.Shown-.99) > .02 || p.Ratio < 2 {
		t.Errorf("static with equal coverage: got %+v, want 99 %% of the keys shown by several times as many", p)
	}
	if p := got[ema]; p.P != nil || p.Kept <= 0 || p.Kept >= 20_000 || p.RedisCalls != 0 {
		t.Errorf("moving average: got %+v", p)
	}
}

func near(got, want, share float64) bool { return math.Abs(got-want) <= share*want }

// Each process keeps its own first N.
func TestPerProcess(t *testing.T) {
	made, err := readTrace(strings.NewReader(fewKeys), "test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range made.requests {
		made.requests[i].process = int32(i % 2)
	}
	// Of a,x come 5 to one process and 4 to the other, and of b,x 3 and 1.
	if got := replayPerProcess(made, 2); got.kept != 4+3+1 || got.covered(2) != 1 {
		t.Errorf("%d kept and %v covered, want 8 and 1", got.kept, got.covered(2))
	}
}

// A trace says what its requests log, and the program what was kept of it.
func TestLinesAndBytes(t *testing.T) {
	got := replayed(t, "a,x,3,100\r\na,x,5\na,x,1000,50000\nb,x\n", "-trace", "-", "-n", "2")[shared]
	if got.Kept != 3 || got.KeptLines != 3+5+1 || got.KeptBytes != 100 {
		t.Errorf("got %+v, want 3 requests of 9 lines and 100 bytes", got)
	}
}

// The same seed gives the same figures, and another one others.
func TestSeed(t *testing.T) {
	figures := func(args ...string) map[string]output {
		found := replayed(t, "", slices.Concat(args, []string{"-requests", "5000", "-tenants", "50"})...)
		for scheme, o := range found {
			o.RedisCalls, o.WriteBackCalls = 0, 0 // what a process forgets is up to chance
			found[scheme] = o
		}
		return found
	}
	first := figures("-seed", "1")
	if diff := cmp.Diff(first, figures("-seed", "1")); diff != "" {
		t.Errorf("the same seed: %s", diff)
	}
	if cmp.Equal(first, figures("-seed", "2")) {
		t.Error("another seed gives the same figures")
	}
}

// All that the report should tell.
func TestText(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "chart.svg")
	var stdout, stderr bytes.Buffer
	args := []string{"-requests", "3000", "-tenants", "20", "-zipf", "1.4", "-svg", svg}
	if code := run(t.Context(), args, nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	for _, want := range []string{
		"s = 1.4", static, staticEqualCoverage, perProcess, shared, ema, "redis calls", "P=8", "q=0.99", "is in " + svg,
		"requests/key", "limit", "40x", "400x", "0.9x", "37x", "246x",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
	drawn, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	circles := 0
	for d := xml.NewDecoder(bytes.NewReader(drawn)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, drawn)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 10 || strings.Contains(string(drawn), "NaN") {
		t.Errorf("%d circles, want one for each scheme and one in its legend:\n%s", circles, drawn)
	}
}

func TestUsage(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	tests := []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"unknown flag", "", []string{"-colour"}, "-colour"},
		{"argument", "", []string{"x"}, `unexpected argument "x"`},
		{"no requests", "", []string{"-requests", "0"}, "-requests 0: from 1"},
		{"many keys", "", []string{"-tenants", "1000000", "-ops", "1000"}, "-tenants 1000000 -ops 1000"},
		{"no tenants", "", []string{"-tenants", "0"}, "-tenants 0"},
		{"no operations", "", []string{"-ops", "-1"}, "-ops -1"},
		{"exponent", "", []string{"-zipf", "NaN"}, "-zipf NaN"},
		{"processes", "", []string{"-processes", "0"}, "-processes 0"},
		{"n", "", []string{"-n", "1001"}, "-n 1001"},
		{"m above n", "", []string{"-m", "6"}, "-m 6: from 1 to -n, which is 5"},
		{"q", "", []string{"-q", "1"}, "-q 1: between 0 and 1"},
		{"window", "", []string{"-window", "10ms"}, "-window 10ms"},
		{"interval", "", []string{"-ema-interval", "0"}, "-ema-interval 0s"},
		{"goal", "", []string{"-ema-goal", "-1"}, "-ema-goal -1"},
		{"URL", "", []string{"-requests", "10", "-redis", "http://x"}, "-redis: "},
		{"no file", "", []string{"-trace", "/nowhere/at/all"}, "-trace: open /nowhere/at/all"},
		{"empty trace", "", []string{"-trace", "-"}, "standard input: a trace without requests"},
		{"no comma", "a,b\nab\n", []string{"-trace", "-"}, `standard input: line 2: "ab": want tenant,operation[,lines[,bytes]]`},
		{"empty line", "a,b\n\na,b\n", []string{"-trace", "-"}, `line 2: ""`},
		{"many fields", "a,b,1,2,3\n", []string{"-trace", "-"}, "line 1: "},
		{"no tenant", "a,b\na,b\n,b\n", []string{"-trace", "-"}, `line 3: ",b": no tenant or no operation`},
		{"no operation", "a,\n", []string{"-trace", "-"}, `line 1: "a,": no tenant or no operation`},
		{"lines", "a,b,some\n", []string{"-trace", "-"}, `line 1: "a,b,some": lines are "some"`},
		{"no lines", "a,b,0\n", []string{"-trace", "-"}, "want a number from 1"},
		{"bytes", "a,b,1,-1\n", []string{"-trace", "-"}, `bytes are "-1": want a number from 0`},
		{"long line", "a,b\n" + long, []string{"-trace", "-"}, "line 2: longer than"},
		{"m above all", "a,b\na,b\na,c\n", []string{"-trace", "-", "-m", "3"}, "-m 3: the busiest key of the trace has 2 requests"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tt.args, strings.NewReader(tt.stdin), &stdout, &stderr); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			if !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("%q, want %q in it", &stderr, tt.want)
			}
			if stdout.Len() > 0 {
				t.Errorf("printed %q", &stdout)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"-requests", "100"}, nil, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "canceled") {
		t.Errorf("exit code %d, %q", code, &stderr)
	}
}

// A server counts as memory does, and run after run starts anew.
func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	args := []string{"-requests", "3000", "-tenants", "30", "-redis", "redis://" + server.Addr}
	inMemory := replayed(t, "", args[:4]...)[shared]
	for range 2 {
		got := replayed(t, "", args...)[shared]
		if got.Kept != inMemory.Kept || got.Covered != 1 || got.RedisCalls < got.Kept || got.WriteBackCalls == 0 {
			t.Errorf("got %+v, in memory %+v", got, inMemory)
		}
	}
	server.Kill()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, nil, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "-redis: the server does not answer") {
		t.Errorf("without a server: exit code %d, %q", code, &stderr)
	}
}

// The tails against the sum of all terms, and the least p against its definition.
func TestOdds(t *testing.T) {
	for n := range 12 {
		for m := range n + 2 {
			for _, p := range []float64{0, 1e-9, .1, .5, .97, 1} {
				want, ways := 0.0, 1.0
				for k := range n + 1 {
					if k >= m {
						want += ways * math.Pow(p, float64(k)) * math.Pow(1-p, float64(n-k))
					}
					ways *= float64(n-k) / float64(k+1)
				}
				if got := atLeast(n, m, p); !near(got, want, 1e-9) {
					t.Errorf("%d of %d with p = %v: got %v, want %v", m, n, p, got, want)
				}
			}
		}
	}
	o := newOdds([]int{1, 2, 5, 5, 40, 10_000_000})
	for _, q := range []float64{.1, .5, .99} {
		p := o.needed(2, q)
		if got := o.shown(2, p); !near(got, q, 1e-6) {
			t.Errorf("p = %v shows %v, want %v", p, got, q)
		}
	}
	if got := o.covered(5, 1); got != 1 {
		t.Errorf("with p = 1 %v are covered", got)
	}
}
