package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/graphcache/graphcache"
)

// report is what the program has found out.
type report struct {
	airports, routes int // in the graph
	runs             []runReport
	added            Leg // by the write before the last run
}

// runReport is one run of the queries: their answers, and what they cost.
type runReport struct {
	name string
	answers
	counts
}

// writeJSON writes the answers of the first run and the counts of all.
func (r *report) writeJSON(w io.Writer) error {
	type route struct {
		ID      graphcache.ID[Airport] `json:"iata"`
		Flights int                    `json:"flights"`
	}
	type run struct {
		Name string `json:"name"`
		counts
	}
	first := r.runs[0].answers
	direct, inbound, runs := []route{}, []route{}, []run{}
	for _, leg := range first.outbound {
		direct = append(direct, route{leg.To, leg.Data.Flights})
	}
	for _, leg := range first.inbound {
		inbound = append(inbound, route{leg.From, leg.Data.Flights})
	}
	for _, x := range r.runs {
		runs = append(runs, run{x.name, x.counts})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Airports    int      `json:"airports"`
		Routes      int      `json:"routes"`
		Origin      *Airport `json:"origin"`
		Direct      []route  `json:"direct"`
		DirectCount int      `json:"direct_count"`
		Inbound     []route  `json:"inbound"`
		WithinTwo   int      `json:"within_two"`
		Runs        []run    `json:"runs"`
	}{r.airports, r.routes, first.origin, direct, first.direct, inbound, len(first.withinTwo), runs})
}

// writeText writes the report for people.
func (r *report) writeText(w io.Writer) error {
	var b bytes.Buffer
	first := r.runs[0].answers
	from := first.origin.ID
	fmt.Fprintf(&b, "%d airports and %d routes are in the graph.\n\n", r.airports, r.routes)
	fmt.Fprintf(&b, "%s is %s.\n\n", from, first.origin)

	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(id graphcache.ID[Airport], r Route) {
		fmt.Fprintf(t, "  %s\t%s\t%6d flights\n", id, first.ends[id], r.Flights)
	}
	fmt.Fprintf(t, "Direct flights from %s lead to %d airports. The busiest routes:\n", from, first.direct)
	for _, leg := range first.outbound {
		row(leg.To, leg.Data)
	}
	fmt.Fprintf(t, "\nThe busiest routes to %s:\n", from)
	for _, leg := range first.inbound {
		row(leg.From, leg.Data)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\nOne or two flights from %s lead to %d airports.\n\n", from, len(first.withinTwo))

	fmt.Fprintf(&b, "%-15s  %6s  %10s  %11s  %10s  %12s\n", "run", "direct", "within two", "store reads", "cache hits", "cache misses")
	for _, x := range r.runs {
		fmt.Fprintf(&b, "%-15s  %6d  %10d  %11d  %10d  %12d\n",
			x.name, x.direct, len(x.withinTwo), x.StoreReads, x.CacheHits, x.CacheMisses)
	}
	fmt.Fprintf(&b, `
The first run found the cache empty and read the store, in batches. The second
asked the same and was answered by the cache alone. Then a route from %s to %s
was added. The third run sees it, and read only the routes from %[1]s, which the
write had changed, and what it met at %[2]s, where it had not been before.
`, r.added.From, r.added.To)
	_, err := w.Write(b.Bytes())
	return err
}

// String returns the airport's name and place. A nil airport has none.
func (a *Airport) String() string {
	if a == nil {
		return "?"
	}
	parts := []string{a.Name}
	for _, p := range []string{a.City, a.State, a.Country} {
		if p != "" && p != "USA" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}
