package streams

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// pending is what a process has not sent of a key: the newest events, and counts of all.
// It is protected by the lock of its shard, but for what only the flush uses.
type pending[E any] struct {
	name    string      // the caller's
	other   *pending[E] // another key with the same hash
	n       int64       // events added
	next    int         // the place of the next one
	events  []stamped[E]
	types   []driver.LogCount
	members members
	times   []bucketCount
	last    int64 // milliseconds since 1970, for which the last of times counts
	sending bool  // batch has not been answered; changed by the flush only

	// Only the flush uses these.
	shard *sync.Mutex  // of the key's shard
	place int          // of the shard
	key   string       // the log's
	spare []stamped[E] // for events to come, when those that are there are taken
	batch driver.LogBatch
	size  int // bytes of its entries
	idle  int // flushes in a row without events
}

// bucketCount is a number of events in a bucket of the sparkline, by its start in
// milliseconds since 1970.
type bucketCount struct{ start, n int64 }

// stamped is an event with the time when it was appended, in milliseconds since 1970.
type stamped[E any] struct {
	event E
	ms    int64
}

// maxAdded is how many events of a key can wait to be sent.
const maxAdded = driver.MaxLogCount

// admit reports whether an event can be added, and counts the key if it had none.
func (p *pending[E]) admit(s *Stream[E]) error {
	switch {
	case p.n == maxAdded:
		return errTooManyEvents
	case p.n > 0 || p.sending:
	case s.busy.Add(1) > int64(s.opts.MaxKeys):
		s.busy.Add(-1)
		return errTooManyKeys
	}
	return nil
}

// add adds an event. It divides nothing: that would take a good part of its time.
func (p *pending[E]) add(s *Stream[E], e E, ms int64) {
	o, i := &s.opts, p.next
	if i == len(p.events) {
		p.events = append(p.events, stamped[E]{e, ms})
	} else {
		p.events[i] = stamped[E]{e, ms}
	}
	if p.next++; p.next == o.Cap {
		p.next = 0
	}
	p.n++
	in := &p.events[i].event
	if o.Type != nil {
		p.addType(clipName(o.Type(in)))
	}
	if o.Member != nil {
		if m := o.Member(in); m != "" {
			p.members.add(s.seed, clipName(m))
		}
	}
	if ms == p.last && len(p.times) > 0 {
		p.times[len(p.times)-1].n++
	} else {
		p.addTime(ms, o.Bucket.Milliseconds())
	}
}

func clipName(name string) string { return name[:min(len(name), driver.MaxLogName)] }

// addType counts a type. Those beyond what a log counts apart have no name.
func (p *pending[E]) addType(name string) {
	for i := range p.types {
		if p.types[i].Type == name {
			p.types[i].Count++
			if i > 0 && p.types[i].Count > p.types[i-1].Count {
				p.types[i], p.types[i-1] = p.types[i-1], p.types[i] // the next search is shorter
			}
			return
		}
	}
	if len(p.types) > driver.LogTypes && name != "" {
		p.addType("")
		return
	}
	p.types = append(p.types, driver.LogCount{Type: name, Count: 1})
}

// addTime counts an event in its bucket, which is the last one from now on.
func (p *pending[E]) addTime(ms, bucket int64) {
	p.last = ms
	start := ms - ms%bucket
	if last := len(p.times) - 1; last >= 0 && p.times[last].start == start {
		p.times[last].n++
		return
	}
	if len(p.times) == driver.LogBuckets { // nothing was sent for so long
		p.times = p.times[:copy(p.times, p.times[1:])]
	}
	p.times = append(p.times, bucketCount{start, 1})
}

// usualMembers is up to how many members the memory for them is kept.
const usualMembers = 1024

// members are the members that were seen since the last flush. Of those that come again and
// again only the hash is looked at: that two have the same one is not to be expected.
type members struct {
	seen *[256]uint64
	all  map[string]struct{}
}

func (m *members) add(seed maphash.Seed, name string) {
	hash := maphash.String(seed, name)
	if m.seen == nil {
		m.seen, m.all = new([256]uint64), make(map[string]struct{})
	}
	if place := &m.seen[hash%256]; *place != hash {
		*place = hash
		if len(m.all) < driver.MaxLogParts {
			m.all[name] = struct{}{}
		}
	}
}

// take returns the members, and forgets them.
func (m *members) take() (names []string) {
	if len(m.all) == 0 {
		return nil
	}
	names = slices.Collect(maps.Keys(m.all))
	if clear(m.all); len(names) > usualMembers {
		m.all = make(map[string]struct{})
	}
	clear(m.seen[:])
	return names
}

// take moves what there is into a batch, whose entries are still to be encoded: it returns
// the events for that.
func (p *pending[E]) take(b *driver.LogBatch) []stamped[E] {
	events := p.events
	p.events, p.spare = p.spare[:0], nil
	b.Added = p.n
	b.Types = append([]driver.LogCount(nil), p.types...)
	b.Times = nil
	for _, t := range p.times {
		b.Times = append(b.Times, driver.LogTime{Time: time.UnixMilli(t.start), Count: t.n})
	}
	b.Members = p.members.take()
	p.n, p.next, p.types, p.times = 0, 0, p.types[:0], p.times[:0]
	return events
}
