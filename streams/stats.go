package streams

import "sync/atomic"

// Stats says what a stream has done since it was made.
type Stats struct {
	Sent       int64 // events that were sent and confirmed, whether kept or only counted
	Entries    int64 // those of them that were sent as such
	Dropped    int64 // events that Append could not take
	Lost       int64 // events that Close could not send
	Flushes    int64 // calls that send
	Unanswered int64 // batches in them that were not confirmed, and are sent again
	Keys       int64 // keys of which there are, or lately were, events to send
	Reads      int64 // reads of a key's events
	Polls      int64 // questions how far a key is
	Readers    int   // those who tail now
}

type counts struct{ sent, entries, dropped, lost, flushes, unanswered, reads, polls atomic.Int64 }

// Stats returns the counts so far.
func (s *Stream[E]) Stats() Stats {
	c := &s.stats
	st := Stats{
		Sent:       c.sent.Load(),
		Entries:    c.entries.Load(),
		Dropped:    c.dropped.Load(),
		Lost:       c.lost.Load(),
		Flushes:    c.flushes.Load(),
		Unanswered: c.unanswered.Load(),
		Keys:       s.keys.Load(),
		Reads:      c.reads.Load(),
		Polls:      c.polls.Load(),
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for _, f := range s.hub.feeds {
		st.Readers += f.readers
	}
	return st
}
