package lincheck

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
)

// Report says what was checked and what was found.
type Report struct {
	// Reads are those that returned something. Writes are those that were
	// acknowledged, and AmbiguousWrites those whose outcome is unknown.
	Reads, Writes, AmbiguousWrites int64
	// FailedReads returned an error, and RefusedWrites one that says that they had no
	// effect. Neither are checked. ReadError is the first of the reads' errors.
	FailedReads, RefusedWrites int64
	ReadError                  error

	// Partitions is how many there were. Segments are their histories, one for each
	// round, and Checked is how many operations, each counted once for each of the
	// partitions that it touched, these contained.
	Partitions, Segments int
	Checked              int64
	// Unknown are segments that could not be searched in time.
	Unknown int
	// Violations are segments that are not linearizable, or in Soak reads that
	// returned what they must not; StaleReads are those of them that returned a state
	// that had been overwritten, the longest of them for LongestStale. BackwardReads are
	// those of the stale ones that no acknowledged write had overwritten: another read
	// had returned a later state, of a write that was still at work. While the mark of a
	// write may be lost they are no mistake.
	Violations    int64
	StaleReads    int64
	BackwardReads int64
	LongestStale  time.Duration
	// Details describe the first of the violations.
	Details []string

	// Faults is what Config.Disturb counted.
	Faults int64
	// Hits, Misses, Joins, LostHolds and AbandonedHolds are the sums of the graphs'
	// counts of these names.
	Hits, Misses, Joins, LostHolds, AbandonedHolds int64
	// CacheErrors are calls of the cache that failed, and StoreReads calls of the store
	// that read, those of writes included.
	CacheErrors, StoreReads int64
	// Deaths are processes of clients that ended in the middle of their work. Their
	// share of the counts of the graphs is that of the rounds before.
	Deaths int64
	// Elapsed is how long the clients worked, Checking how long the searches took,
	// which run beside them.
	Elapsed, Checking time.Duration

	failure error // what kept the run from being finished
}

// mostDetails is how many violations are described.
const mostDetails = 4

// Operations is how many operations were checked, each counted once.
func (r *Report) Operations() int64 { return r.Reads + r.Writes + r.AmbiguousWrites }

// Failure returns what kept the run from being finished, whatever was found until then.
func (r *Report) Failure() error { return r.failure }

// Err returns an error that describes the violations; or says that something was not
// checked, which is no pass either.
func (r *Report) Err() error {
	var errs []error
	if r.Violations > 0 {
		errs = append(errs, fmt.Errorf("lincheck: %d violations, %d of them stale reads, the longest for %v:\n%s",
			r.Violations, r.StaleReads, r.LongestStale, strings.Join(r.Details, "\n")))
	}
	if r.Unknown > 0 {
		errs = append(errs, fmt.Errorf("lincheck: %d of %d histories were not searched to the end in time", r.Unknown, r.Segments))
	}
	if r.failure != nil {
		errs = append(errs, fmt.Errorf("lincheck: %w", r.failure))
	}
	return errors.Join(errs...)
}

// String returns all counts.
func (r *Report) String() string {
	seconds := max(r.Elapsed.Seconds(), 1e-9)
	return fmt.Sprintf(`%d operations in %v (%.0f/s): %d reads, %d writes, %d writes of unknown outcome; failed: %d reads, %d writes
checked: %d operations in %d segments of %d partitions, searched for %v in all; %d unknown
violations: %d; stale reads: %d, %d of them backward, the longest for %v
cache: %d hits, %d misses, %d joins, %d errors, %d holds lost, %d abandoned; %d faults, %d deaths
store: %d reads, %.2f for each read or write`,
		r.Operations(), r.Elapsed.Round(time.Millisecond), float64(r.Operations())/seconds, r.Reads, r.Writes, r.AmbiguousWrites, r.FailedReads, r.RefusedWrites,
		r.Checked, r.Segments, r.Partitions, r.Checking.Round(time.Millisecond), r.Unknown,
		r.Violations, r.StaleReads, r.BackwardReads, r.LongestStale,
		r.Hits, r.Misses, r.Joins, r.CacheErrors, r.LostHolds, r.AbandonedHolds, r.Faults, r.Deaths,
		r.StoreReads, float64(r.StoreReads)/float64(max(r.Operations(), 1)))
}

// violation adds a violation.
func (r *Report) violation(detail string) {
	r.Violations++
	if len(r.Details) < mostDetails {
		r.Details = append(r.Details, detail)
	}
}

// fail notes the first thing that kept the run from being finished.
func (r *Report) fail(err error) {
	if r.failure == nil {
		r.failure = err
	}
}

// report sets the counts of the clients.
func (t *tally) report(r *Report) {
	r.Reads, r.Writes, r.AmbiguousWrites = t.reads.Load(), t.writes.Load(), t.ambiguous.Load()
	r.FailedReads, r.RefusedWrites = t.failedReads.Load(), t.refusedWrites.Load()
	if err := t.readError.Load(); err != nil {
		r.ReadError = *err
	}
}

// count adds the counts of the graphs.
func (r *Report) count(graphs []*graphcache.Graph) {
	for i, n := range countsOf(graphs) {
		*r.counts()[i] += n
	}
}

// counts are those that come from graphs.
func (r *Report) counts() []*int64 {
	return []*int64{&r.CacheErrors, &r.StoreReads, &r.Hits, &r.Misses, &r.Joins, &r.LostHolds, &r.AbandonedHolds}
}

// countsOf returns the sums of the graphs' counts, in the order of [Report.counts].
func countsOf(graphs []*graphcache.Graph) []int64 {
	var r Report
	for _, g := range graphs {
		stats := g.Stats()
		r.CacheErrors += stats.CacheErrors
		r.StoreReads += stats.StoreReads
		for _, k := range stats.Kinds {
			r.Hits += k.Hits
			r.Misses += k.Misses
			r.Joins += k.Joins
			r.LostHolds += k.LostHolds
			r.AbandonedHolds += k.AbandonedHolds
		}
	}
	var sums []int64
	for _, n := range r.counts() {
		sums = append(sums, *n)
	}
	return sums
}
