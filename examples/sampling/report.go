package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// report is what the program has found out.
type report struct {
	settings *settings
	trace    *trace
	results  []*result
	emaGoal  int
}

// of returns the result of a scheme.
func (r *report) of(scheme string) *result {
	for _, x := range r.results {
		if x.scheme == scheme {
			return x
		}
	}
	panic("no such scheme: " + scheme)
}

// perKey returns the number of requests for each key that had any.
func (r *report) perKey() float64 {
	return float64(len(r.trace.requests)) / float64(len(r.trace.keys))
}

// schemeJSON is a scheme as JSON has it.
type schemeJSON struct {
	Scheme         string   `json:"scheme"`
	Requests       int      `json:"requests"`
	Keys           int      `json:"keys"`
	Kept           int      `json:"kept"`
	KeptLines      int64    `json:"kept_lines"`
	KeptBytes      int64    `json:"kept_bytes"`
	Covered        float64  `json:"covered"` // share of the keys with the first n kept, or all of theirs
	Shown          float64  `json:"shown"`   // share of the keys with m requests of which m were kept
	RedisCalls     int64    `json:"redis_calls"`
	WriteBackCalls int64    `json:"write_back_calls"`
	Ratio          float64  `json:"ratio"` // of the requests kept to those that shared keeps
	P              *float64 `json:"p"`
	N              int      `json:"n"`
	M              int      `json:"m"`
	Q              float64  `json:"q"`
	PerKey         float64  `json:"requests_per_key"`
	Zipf           *float64 `json:"zipf"`
	Processes      int      `json:"processes"`
}

// writeJSON writes an object a scheme, each on a line.
func (r *report) writeJSON(w io.Writer) error {
	known := func(x float64) *float64 {
		if math.IsNaN(x) {
			return nil
		}
		return &x
	}
	e := json.NewEncoder(w)
	for _, x := range r.results {
		err := e.Encode(schemeJSON{
			Scheme: x.scheme, Requests: len(r.trace.requests), Keys: len(r.trace.keys),
			Kept: x.kept, KeptLines: x.lines, KeptBytes: x.bytes,
			Covered: x.covered(r.settings.n), Shown: x.shown(r.settings.m),
			RedisCalls: x.redisCalls, WriteBackCalls: x.writeBackCalls,
			Ratio: float64(x.kept) / float64(r.of(shared).kept), P: known(x.p),
			N: r.settings.n, M: r.settings.m, Q: r.settings.q, PerKey: r.perKey(),
			Zipf: known(r.trace.zipf), Processes: r.settings.processes,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeText writes the tables.
func (r *report) writeText(w io.Writer) error {
	b := bufio.NewWriter(w)
	s, all := r.settings, r.trace
	first := r.of(shared)
	fmt.Fprintf(b, "A trace of %d requests in %v, %s.\n", len(all.requests), s.window, all.about)
	fmt.Fprintf(b, "It has %d keys, with %.1f requests each, and is served by %d processes.\n\n", len(all.keys), r.perKey(), s.processes)

	where := "here in memory; -redis asks a server"
	if s.redis != "" {
		where = "in the server"
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tkept\tlines\tbytes\tcovered\tshown\tredis calls\twrite-back\t\n")
	for _, x := range r.results {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.2f %%\t%.2f %%\t%d\t%d\t\n", x.scheme, x.kept, x.lines, r.bytes(x),
			100*x.covered(s.n), 100*x.shown(s.m), x.redisCalls, x.writeBackCalls)
	}
	t.Flush()
	fmt.Fprintf(b, `
covered: the keys with %d requests kept, or all of theirs if they had fewer
shown:   of the keys with %d requests or more, those with so many kept
%s has the volume of the first %d; %s has p*, the least p that
shows %g %%; %s is a moving average in each process that aims at one in %d, and keeps
all of the keys that its process has not seen of late
redis calls: the counters that decisions asked for, %s
write-back: those told of what was dropped, which was %d requests, and they were told %d

Kept in comparison with %s:
`, s.n, s.m, static, s.n, staticEqualCoverage, 100*s.q, ema, r.emaGoal, where,
		len(all.requests)-first.kept, first.reported, shared)
	for _, x := range r.results {
		fmt.Fprintf(t, "%s\t%.2fx requests\t%.2fx lines\t  p=%s %s\n", x.scheme,
			float64(x.kept)/float64(first.kept), float64(x.lines)/float64(first.lines), orDash("%.4g", x.p), r.terms())
	}
	t.Flush()
	if s.svg != "" {
		fmt.Fprintf(b, "\nThe chart of coverage against volume is in %s.\n", s.svg)
	} else {
		fmt.Fprintf(b, "\n-svg draws a chart of coverage against volume.\n")
	}
	return b.Flush()
}

// bytes returns what was kept, if the trace tells.
func (r *report) bytes(x *result) string {
	if !r.trace.hasBytes {
		return "-"
	}
	return fmt.Sprint(x.bytes)
}

// terms returns what a ratio means nothing without.
func (r *report) terms() string {
	s := r.settings
	return fmt.Sprintf("(p*=%.4g m=%d q=%g requests/key=%.1f s=%s P=%d)",
		r.of(staticEqualCoverage).p, s.m, s.q, r.perKey(), orDash("%g", r.trace.zipf), s.processes)
}

// orDash formats a number, or its absence.
func orDash(format string, x float64) string {
	if math.IsNaN(x) {
		return "-"
	}
	return fmt.Sprintf(format, x)
}
