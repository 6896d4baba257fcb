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
	airports, routes int          // in the graph
	store            *storeReport // nil for one in memory
	warm             bool         // earlier starts may have left something in the cache
	runs             []runReport
	added            Leg // by the write before the last run
	survey           survey
}

// storeReport says how the data came to be in the store.
type storeReport struct {
	Added  int   `json:"records_added"`
	Writes int64 `json:"store_writes"`
	Reads  int64 `json:"store_reads"`
}

// runReport is one run of the queries: their answers, and what they cost.
type runReport struct {
	name string
	answers
	counts
}

// routeJSON is a leg as JSON has it: the airport is the one at its other end.
type routeJSON struct {
	ID      graphcache.ID[Airport] `json:"iata"`
	Flights int                    `json:"flights"`
}

// writeJSON writes the answers of the first run, the counts of all, and the survey.
func (r *report) writeJSON(w io.Writer) error {
	type run struct {
		Name string `json:"name"`
		counts
	}
	first := r.runs[0].answers
	direct, inbound, runs := []routeJSON{}, []routeJSON{}, []run{}
	for _, leg := range first.outbound {
		direct = append(direct, routeJSON{leg.To, leg.Data.Flights})
	}
	for _, leg := range first.inbound {
		inbound = append(inbound, routeJSON{leg.From, leg.Data.Flights})
	}
	for _, x := range r.runs {
		runs = append(runs, run{x.name, x.counts})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Airports    int          `json:"airports"`
		Routes      int          `json:"routes"`
		Store       *storeReport `json:"store,omitempty"`
		Origin      *Airport     `json:"origin"`
		Direct      []routeJSON  `json:"direct"`
		DirectCount int          `json:"direct_count"`
		Inbound     []routeJSON  `json:"inbound"`
		WithinTwo   int          `json:"within_two"`
		Runs        []run        `json:"runs"`
		Survey      surveyJSON   `json:"survey"`
	}{r.airports, r.routes, r.store, first.origin, direct, first.direct, inbound, len(first.withinTwo), runs, r.survey.json()})
}

type surveyJSON struct {
	State     string                     `json:"state"`
	Pages     [][]graphcache.ID[Airport] `json:"pages"`
	Above     int                        `json:"above"`
	Busy      []routeJSON                `json:"busy"`
	Renamed   graphcache.ID[Airport]     `json:"renamed"`
	OldName   string                     `json:"old_name"`
	NewName   string                     `json:"new_name"`
	Questions []questionJSON             `json:"questions"`
}

// questionJSON has the store reads of the three times that a question was asked, and
// what Explain said before the third, if it was asked to explain it.
type questionJSON struct {
	Text        string `json:"question"`
	First       int64  `json:"store_reads_first"`
	Again       int64  `json:"store_reads_again"`
	AfterRename int64  `json:"store_reads_after_the_rename"`
	Access      string `json:"access,omitempty"`
	Index       string `json:"index,omitempty"`
	Source      string `json:"source,omitempty"`
	Advice      string `json:"advice,omitempty"`
}

// json returns the answers of the first time, and what each time cost.
func (s *survey) json() surveyJSON {
	j := surveyJSON{State: s.state, Above: s.above, Busy: []routeJSON{}, Renamed: s.renamed.ID, OldName: s.oldName, NewName: s.renamed.Name}
	for _, page := range s.found[0].pages {
		var ids []graphcache.ID[Airport]
		for _, a := range page {
			ids = append(ids, a.ID)
		}
		j.Pages = append(j.Pages, ids)
	}
	for _, p := range s.found[0].busy {
		j.Busy = append(j.Busy, routeJSON{p.Edge.To, p.Edge.Data.Flights})
	}
	for _, q := range s.questions {
		x := questionJSON{Text: q.text, First: q.storeReads[0], Again: q.storeReads[1], AfterRename: q.storeReads[2]}
		if q.plan != nil {
			step := q.plan.Steps[0]
			x.Access, x.Index, x.Advice = step.Access.String(), step.Index, step.Advice
			x.Source = step.Fragments[0].Source.String()
		}
		j.Questions = append(j.Questions, x)
	}
	return j
}

// writeText writes the report for people.
func (r *report) writeText(w io.Writer) error {
	var b bytes.Buffer
	first := r.runs[0].answers
	from := first.origin.ID
	fmt.Fprintf(&b, "%d airports and %d routes are in the graph.\n\n", r.airports, r.routes)
	r.store.writeText(&b)
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
	if r.warm {
		fmt.Fprintf(&b, `
The first run found in the cache what earlier starts had left there and nobody
had changed, and read the rest from the store, in batches. The second
`)
	} else {
		fmt.Fprintf(&b, `
The first run found the cache empty and read the store, in batches. The second
`)
	}
	fmt.Fprintf(&b, `asked the same and was answered by the cache alone. Then a route from %s to %s
was added. The third run sees it, and read only the routes from %[1]s, which the
write had changed, and what it met at %[2]s, where it had not been before.
`, r.added.From, r.added.To)
	if err := r.survey.writeText(&b); err != nil {
		return err
	}
	if r.store != nil {
		fmt.Fprintf(&b, `
The route was removed again. The name stays in the store until the next start
changes it back; processes that share the cache see it at once.
`)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// writeText writes where the data come from, unless it is the program itself.
func (s *storeReport) writeText(b *bytes.Buffer) {
	switch {
	case s == nil:
	case s.Added == 0:
		fmt.Fprintf(b, "They were found in the database: %d store reads, %d store writes.\n\n", s.Reads, s.Writes)
	default:
		fmt.Fprintf(b, "%d records were missing in the database and have been loaded: %d store reads, %d store writes.\n\n", s.Added, s.Reads, s.Writes)
	}
}

// writeText writes the second part of the report.
func (s *survey) writeText(b *bytes.Buffer) error {
	found, last := s.found[0], s.found[len(s.found)-1]
	n := 0
	for _, page := range found.pages {
		n += len(page)
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s has %d airports, %d pages of them by name. The first page:\n", placeName(s.state), n, len(found.pages))
	for _, a := range found.pages[0] {
		fmt.Fprintf(t, "  %s\t%s\n", a.ID, a)
	}
	fmt.Fprintf(t, "\nRoutes from %s with more than %d flights: %d, those with the fewest first.\n", s.origin.ID, s.above, len(found.busy))
	for _, p := range found.busy[:min(s.size, len(found.busy))] {
		fmt.Fprintf(t, "  %s\t%s\t%6d flights\n", p.Edge.To, p.Object, p.Edge.Data.Flights)
	}
	fmt.Fprintf(t, "\nstore reads for\tfirst\tagain\tafter the rename\n")
	for _, q := range s.questions {
		fmt.Fprintf(t, "%s\t%5d\t%5d\t%16d\n", q.text, q.storeReads[0], q.storeReads[1], q.storeReads[2])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(b, "\nExplain says how these are answered:\n")
	for _, q := range s.questions {
		q.writePlan(b)
	}
	fmt.Fprintf(b, `
Before the last time %s, %s, was renamed %s. It was on page %d
and is on page %d. The pages of %s were read again, because any of them may have
changed, and so was the airport. Other answers stayed cached.
`, s.renamed.ID, s.oldName, s.renamed.Name, pageOf(found.pages, s.renamed.ID), pageOf(last.pages, s.renamed.ID), placeName(s.state))
	return nil
}

// writePlan writes what Explain has said about the question, if it was asked. A
// plan's String has all of it; these are the main points.
func (q *question) writePlan(b *bytes.Buffer) {
	if q.plan == nil {
		return
	}
	step := q.plan.Steps[0]
	fmt.Fprintf(b, "  %s: %s, %v\n", q.text, strings.TrimSpace(step.Access.String()+" "+step.Index), step.Fragments[0].Source)
	if step.Reason != "" {
		fmt.Fprintf(b, "    because %s\n", step.Reason)
	}
	if step.Advice != "" {
		fmt.Fprintf(b, "    what would help: %s\n", step.Advice)
	}
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
