package lincheck

import (
	"cmp"
	"slices"
	"time"
)

// moment is when an operation in another process was called or returned.
type moment struct {
	at    int64
	begin bool // first of those at one time, so that all can have been before all that ended
	read  *distantRead
	q     *sequence
	n     int64 // of a write; 0 of one that was not acknowledged
}

// distantRead is a read in another process.
type distantRead struct {
	view     *view
	low, got int64
	called   int64
}

// tellsOf appends the moments that a message of a process tells of.
func (s *soak) tellsOf(moments []moment, kind int64, m *parcel) []moment {
	if kind == notSeen {
		s.tally.failedRead(errElsewhere)
		return moments
	}
	q := s.sequences[m.take()]
	switch kind {
	case writeBegun:
		q.open = true
		return append(moments, moment{n: m.take(), at: m.take(), begin: true, q: q})
	case writeEnded:
		n, o, at := m.take(), outcome(m.take()), m.take()
		s.tally.count(o)
		q.open = o == unknown
		if o != written {
			n = 0
		}
		return append(moments, moment{n: n, at: at, q: q})
	case seen:
		s.tally.count(wasRead)
		r := &distantRead{view: q.views[m.take()], called: m.take()}
		returned := m.take()
		r.got = m.take()
		return append(moments, moment{at: r.called, begin: true, read: r, q: q}, moment{at: returned, read: r, q: q})
	}
	return moments
}

// replay judges the reads of a round in the order in which everything happened.
func (s *soak) replay(moments []moment) {
	slices.SortStableFunc(moments, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(number(b.begin), number(a.begin)))
	})
	for _, m := range moments {
		switch r := m.read; {
		case r == nil && m.begin:
			raise(&m.q.begun, m.n)
		case r == nil && m.n > 0:
			m.q.times[m.n%recent].Store(m.at)
			m.q.acked.Store(m.n)
		case r != nil && m.begin:
			r.low = max(m.q.acked.Load(), r.view.seen.Load())
		case r != nil:
			s.judge(m.q, r.view, r.got, r.low, time.Duration(r.called))
		}
	}
	// What was not finished, because it is not known or whoever wrote it is no more, may be
	// applied for a while, and must not follow what is written next.
	for _, q := range s.sequences {
		if q.open {
			q.open, q.clear = false, s.clock()+int64(s.cfg.settle())
		}
	}
}
