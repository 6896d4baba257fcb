package samplers

import (
	"sync/atomic"
	"time"
)

// Stats says what a sampler has done since it was made. Where it counts requests, each is
// counted in one of First, Tail, Local and Throttled. While requests are decided the numbers are
// not of one moment: those that are being reported may be missing, or be counted twice.
type Stats struct {
	First     int64 // requests kept as one of the first N of the fleet
	Tail      int64 // requests kept by chance
	Local     int64 // requests kept while the counters did not answer
	Throttled int64 // requests dropped, for whatever reason

	Other       int64 // calls for operations beyond Options.MaxOps
	Calls       int64 // calls of the counters for decisions, repetitions included
	Reports     int64 // reports to the totals
	Reported    int64 // requests in them that were confirmed
	Unconfirmed int64 // requests in those that were not: they may be missing in the totals
	Lost        int64 // requests that could not be reported, for want of memory

	Outages int64 // times that the counters stopped answering
	Outage  bool  // whether they do not answer now, or the sampler is closed

	Keys      int           // keys that have a place in the local memory
	Evictions int64         // keys that lost it although their window was not over
	ClockLag  time.Duration // the most by which a reading of the clock came late
}

// counts are those that decisions change.
type counts struct{ first, tail, local, other, calls atomic.Int64 }

// Stats returns the counts so far. It goes through the local memory, which takes a few
// milliseconds for a million keys.
func (s *Sampler) Stats() Stats {
	tail := s.stats.tail.Load() // first, as the others count its requests as well
	keys, pending := s.table.pending()
	s.table.mu.Lock()
	evictions, lost, waiting := s.table.evictions, s.table.debts.lost, uint64(0)
	for d := range s.table.debts.all() {
		waiting += uint64(d.count)
	}
	s.table.mu.Unlock()
	st := Stats{
		First:       s.stats.first.Load(),
		Tail:        tail,
		Local:       s.stats.local.Load(),
		Other:       s.stats.other.Load(),
		Calls:       s.stats.calls.Load(),
		Reports:     s.totals.reports.Load(),
		Reported:    s.totals.reported.Load(),
		Unconfirmed: s.totals.unconfirmed.Load(),
		Lost:        int64(lost),
		Outages:     s.outage.count.Load(),
		Outage:      s.outage.is.Load(),
		Keys:        keys,
		Evictions:   evictions,
		ClockLag:    time.Duration(s.clock.lag.Load()),
	}
	st.Throttled = max(0, int64(pending+waiting+lost)+st.Reported+st.Unconfirmed+s.totals.ignored.Load()-st.Tail)
	return st
}
