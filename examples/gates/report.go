package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/graphcache/graphcache"
)

// report is what the program has found out.
type report struct {
	User        graphcache.ID[User] `json:"user"`
	Before      []Decision          `json:"before"` // the user's gates before the changes
	After       []Decision          `json:"after"`
	Evaluations []evaluation        `json:"evaluations"`
	Ended       int                 `json:"ended"` // experiments
	// How many rules there were before and after a gate was refused.
	RulesBefore int `json:"rules_before"`
	RulesAfter  int `json:"rules_after"`
}

// evaluation is one of all gates for all users, and what it cost.
type evaluation struct {
	What       string `json:"what"` // happened before
	Decisions  int    `json:"decisions"`
	On         int    `json:"on"`
	StoreReads int64  `json:"store_reads"`
	CacheHits  int64  `json:"cache_hits"`
}

func (e *evaluation) add(d Decision) {
	e.Decisions++
	if d.On {
		e.On++
	}
}

// count sets what was counted between two moments.
func (e *evaluation) count(before, after graphcache.Stats) {
	e.StoreReads = after.StoreReads - before.StoreReads
	for kind, k := range after.Kinds {
		e.CacheHits += k.Hits - before.Kinds[kind].Hits
	}
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeText writes the report for people.
func (r *report) writeText(w io.Writer) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "The gates of %s, before the changes below and after them:\n", r.User)
	before := map[string]Decision{}
	for _, d := range r.Before {
		before[d.Gate] = d
	}
	for _, d := range r.After {
		was := "not there"
		if old, ok := before[d.Gate]; ok {
			was = old.String()
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", d.Gate, was, d)
	}
	fmt.Fprintf(t, "\nEvery gate for %d users\tdecisions\ton\tstore reads\tcache hits\n", users)
	for _, e := range r.Evaluations {
		fmt.Fprintf(t, "%s\t%9d\t%4d\t%11d\t%10d\n", e.What, e.Decisions, e.On, e.StoreReads, e.CacheHits)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, `
The last five lines each follow a change. The evaluations see it, and read what it
touched again and nothing else. Growth had %d experiments. The second gift-cards was
refused, since the name of a gate is unique, and its rules with it, since they were
in one transaction: %d rules were there before and %d after it.
`, r.Ended, r.RulesBefore, r.RulesAfter)
	_, err := w.Write(b.Bytes())
	return err
}

// String returns the decision in words.
func (d Decision) String() string {
	if d.On {
		return "on: " + d.Why
	}
	return "off: " + d.Why
}
