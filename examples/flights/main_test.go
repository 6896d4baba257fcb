package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/internal/redistest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// output is what -json prints, as somebody else would declare it.
type output struct {
	Airports int `json:"airports"`
	Routes   int `json:"routes"`
	Store    *struct {
		Added  int `json:"records_added"`
		Writes int `json:"store_writes"`
		Reads  int `json:"store_reads"`
	} `json:"store"`
	Origin struct {
		IATA string `json:"iata"`
		Name string `json:"name"`
	} `json:"origin"`
	Direct      []route `json:"direct"`
	DirectCount int     `json:"direct_count"`
	Inbound     []route `json:"inbound"`
	WithinTwo   int     `json:"within_two"`
	Runs        []struct {
		Name        string `json:"name"`
		StoreReads  int    `json:"store_reads"`
		CacheHits   int    `json:"cache_hits"`
		CacheMisses int    `json:"cache_misses"`
	} `json:"runs"`
	Survey struct {
		State     string           `json:"state"`
		Pages     [][]string       `json:"pages"`
		Above     int              `json:"above"`
		Busy      []route          `json:"busy"`
		Renamed   string           `json:"renamed"`
		OldName   string           `json:"old_name"`
		NewName   string           `json:"new_name"`
		Questions []surveyQuestion `json:"questions"`
	} `json:"survey"`
}

type surveyQuestion struct {
	Text        string `json:"question"`
	First       int    `json:"store_reads_first"`
	Again       int    `json:"store_reads_again"`
	AfterRename int    `json:"store_reads_after_the_rename"`
	Access      string `json:"access"`
	Index       string `json:"index"`
	Source      string `json:"source"`
	Advice      string `json:"advice"`
}

type route struct {
	IATA    string `json:"iata"`
	Flights int    `json:"flights"`
}

// runJSON runs the program with -json and returns the one object that it prints.
func runJSON(t *testing.T, args ...string) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append(args, "-json"), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	d := json.NewDecoder(&stdout)
	var o output
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Errorf("the object is followed by something: %v", err)
	}
	return o
}

func TestJSON(t *testing.T) {
	tests := []struct {
		name               string
		args               []string
		origin, originName string
		direct, inbound    []route
		directCount        int
		withinTwo          int
	}{{
		name:   "the default airport",
		origin: "SEA", originName: "Seattle-Tacoma Intl",
		direct:      []route{{"LAX", 6865}, {"DEN", 6623}, {"ANC", 6256}, {"SFO", 5409}, {"OAK", 5095}},
		inbound:     []route{{"LAX", 6876}, {"DEN", 6414}, {"ANC", 6257}, {"SFO", 5414}, {"PHX", 5072}},
		directCount: 56, withinTwo: 303,
	}, {
		name:   "another, with a lower limit",
		args:   []string{"-from", "ABE", "-limit", "2"},
		origin: "ABE", originName: "Lehigh Valley International",
		direct:      []route{{"ORD", 1425}, {"DTW", 997}},
		inbound:     []route{{"ORD", 1426}, {"DTW", 997}},
		directCount: 10, withinTwo: 208,
	}, {
		name:   "a name with a comma",
		args:   []string{"-from", "BTR", "-limit", "1"},
		origin: "BTR", originName: "Baton Rouge Metropolitan, Ryan",
		direct:      []route{{"DFW", 2922}},
		inbound:     []route{{"DFW", 2919}},
		directCount: 9, withinTwo: 238,
	}, {
		name:   "no routes",
		args:   []string{"-from", "00M"},
		origin: "00M", originName: "Thigpen",
		direct: []route{}, inbound: []route{},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runJSON(t, tt.args...)
			if got.Airports != 3376 || got.Routes != 5366 {
				t.Errorf("%d airports and %d routes, want 3376 and 5366", got.Airports, got.Routes)
			}
			if got.Origin.IATA != tt.origin || got.Origin.Name != tt.originName {
				t.Errorf("the origin is %+v, want %s, %s", got.Origin, tt.origin, tt.originName)
			}
			if diff := cmp.Diff(tt.direct, got.Direct); diff != "" {
				t.Errorf("direct (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.inbound, got.Inbound); diff != "" {
				t.Errorf("inbound (-want +got):\n%s", diff)
			}
			if got.DirectCount != tt.directCount || got.WithinTwo != tt.withinTwo {
				t.Errorf("%d direct and %d within two flights, want %d and %d",
					got.DirectCount, got.WithinTwo, tt.directCount, tt.withinTwo)
			}
			checkRuns(t, got)
		})
	}
}

// checkRuns checks what the report says about the cache.
func checkRuns(t *testing.T, o output) {
	t.Helper()
	if len(o.Runs) != 3 {
		t.Fatalf("%d runs, want 3: %+v", len(o.Runs), o.Runs)
	}
	first, again, after := o.Runs[0], o.Runs[1], o.Runs[2]
	if first.Name != "first" || again.Name != "again" || after.Name != "after the write" {
		t.Errorf("the runs are called %q, %q and %q", first.Name, again.Name, after.Name)
	}
	if first.StoreReads == 0 || first.CacheMisses <= o.DirectCount {
		t.Errorf("the first run did not read the store for every list: %+v", first)
	}
	if again.StoreReads != 0 || again.CacheMisses != 0 || again.CacheHits <= o.DirectCount {
		t.Errorf("the second run was not answered by the cache alone: %+v", again)
	}
	if after.StoreReads == 0 || after.StoreReads > 4 || after.CacheMisses == 0 || after.CacheMisses > 4 {
		t.Errorf("the third run should read what the write touched, and little else: %+v", after)
	}
}

// TestSurvey checks the answers of the survey, and what the cache saved: the second
// time nothing is read that an index or an edge list answers, and after the rename
// only what it touched.
func TestSurvey(t *testing.T) {
	got := runJSON(t, "-limit", "20", "-above", "1000").Survey
	if got.State != "WA" || len(got.Pages) != 4 || len(got.Pages[0]) != 20 || len(got.Pages[3]) != 5 {
		t.Fatalf("pages of %s: %v, want the 65 airports of WA on 4 pages of 20", got.State, got.Pages)
	}
	seen := map[string]bool{}
	for _, page := range got.Pages {
		for _, id := range page {
			if seen[id] {
				t.Errorf("%s is listed twice", id)
			}
			seen[id] = true
		}
	}
	if diff := cmp.Diff([]string{"74S", "S97", "AWO"}, got.Pages[0][:3]); diff != "" {
		t.Errorf("first airports by name (-want +got):\n%s", diff)
	}
	busiest := got.Busy[max(0, len(got.Busy)-3):]
	if diff := cmp.Diff([]route{{"ANC", 6256}, {"DEN", 6623}, {"LAX", 6865}}, busiest); diff != "" || len(got.Busy) != 31 {
		t.Errorf("%d routes above 1000, want 31, fewest first; the last three (-want +got):\n%s", len(got.Busy), diff)
	}
	if got.Renamed != "74S" || got.OldName != "Anacortes" || got.NewName != "New Anacortes" {
		t.Errorf("%s was renamed from %q to %q", got.Renamed, got.OldName, got.NewName)
	}
	want := []surveyQuestion{
		{Text: "the airports of WA by name", First: 8, AfterRename: 5, Access: "index in its order", Index: "by_state", Source: "cached"},
		{Text: "the airports of OR by name", First: 6},
		{Text: "the routes from SEA with more than 1000 flights", First: 1},
		{Text: "the airports in Seattle", First: 1, Again: 1, AfterRename: 1, Access: "store", Source: "loaded every time", Advice: "an index on airport(city)"},
	}
	if diff := cmp.Diff(want, got.Questions); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

func TestSurveyOfAnotherState(t *testing.T) {
	got := runJSON(t, "-from", "ABE", "-state", "OR", "-above", "100000").Survey
	if got.State != "OR" || len(got.Pages) != 12 || len(got.Busy) != 0 {
		t.Errorf("%d pages of %s and %d routes, want 12 of OR and none", len(got.Pages), got.State, len(got.Busy))
	}
	if q := got.Questions[1]; q.Text != "the airports of WA by name" || q.Again+q.AfterRename != 0 {
		t.Errorf("the state that nothing was renamed in should be read once: %+v", q)
	}
}

// counted matches how often the cache was asked in the runs that fill it: whether a
// query finds the value of the one before it already there is a matter of timing.
var counted = regexp.MustCompile(`(?m)^((?:first|after the write) .*?) +\d+ +\d+$`)

func TestText(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	got := counted.ReplaceAllString(stdout.String(), "$1  <hits>  <misses>")
	golden := filepath.Join("testdata", "sea.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the report has changed; go test ./examples/flights -update accepts it (-want +got):\n%s", diff)
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string // must contain
	}{
		{"unknown airport", []string{"-from", "QQQ"}, 2, `no such airport: "QQQ"`},
		{"unknown airport, for a program", []string{"-from", "QQQ", "-json"}, 2, `no such airport: "QQQ"`},
		{"no airport", []string{"-from", ""}, 2, `no such airport: ""`},
		{"no such flag", []string{"-to", "SEA"}, 2, "-to"},
		{"limit too low", []string{"-limit", "0"}, 2, "-limit 0"},
		{"limit is not a number", []string{"-limit", "few"}, 2, "few"},
		{"unknown state", []string{"-state", "XX"}, 2, `no airport is in the state: "XX"`},
		{"no state", []string{"-state", "wa", "-json"}, 2, "upper case"},
		{"negative bound", []string{"-above", "-1"}, 2, "-above -1"},
		{"argument", []string{"SEA"}, 2, `unexpected argument "SEA"`},
		{"help", []string{"-h"}, 0, "-from"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stderr does not say %q:\n%s", tt.stderr, &stderr)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout should be empty:\n%s", &stdout)
			}
		})
	}
}

// TestRedis runs the program on a Redis server: no answer depends on where the cache is.
// The figures do not either, but for what a busy machine answers too late.
func TestRedis(t *testing.T) {
	want := runJSON(t)
	got := runJSON(t, "-cache", "redis://"+redistest.Start(t).Addr)
	for _, o := range []*output{&want, &got} {
		o.Runs, o.Survey.Questions = nil, nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with Redis in place of memory (-memory +redis):\n%s", diff)
	}
}

func TestBadCacheURL(t *testing.T) {
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-cache", "http://:secret@localhost"}, io.Discard, &stderr); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if s := stderr.String(); !strings.Contains(s, "-cache") || strings.Contains(s, "secret") {
		t.Errorf("the error output is %q: it should name the flag and not the password", s)
	}
}
