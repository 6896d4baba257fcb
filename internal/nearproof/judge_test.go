package nearproof_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock returns the time since the program began.
func clock() time.Duration { return time.Since(epoch) }

var epoch = time.Now()

const (
	instances = 8
	// remembered is how many states of a record are remembered: more than are replaced
	// while a read may be stale.
	remembered = 256
)

// sequence is the states of one record or count, in the order in which they were made.
type sequence struct {
	begun atomic.Int64            // the latest that may be visible
	acked atomic.Int64            // the latest that was acknowledged
	own   [instances]atomic.Int64 // the latest that each instance has made
	acks  [remembered]ack         // by state

	writing sync.Mutex // held by the writer of a record whose states are not numbered by the store
	unknown bool       // under writing: it may or may not be in the state that was begun
}

// ack is the moment when a write was acknowledged.
type ack struct {
	n, at atomic.Int64
}

func raise(a *atomic.Int64, n int64) {
	for {
		old := a.Load()
		if old >= n || a.CompareAndSwap(old, n) {
			return
		}
	}
}

// acknowledged notes that an instance has made state n.
func (s *sequence) acknowledged(n int64, instance int) {
	a := &s.acks[n%remembered]
	a.n.Store(-1)
	a.at.Store(int64(clock()))
	a.n.Store(n)
	raise(&s.own[instance], n)
	raise(&s.acked, n)
}

// firstMissed returns when the first write after state n was acknowledged, up to state low
// and before a moment.
func (s *sequence) firstMissed(n, low int64, before time.Duration) time.Duration {
	first := before
	for n = max(n, low-remembered) + 1; n <= low; n++ {
		a := &s.acks[n%remembered]
		if a.n.Load() != n {
			continue
		}
		at := time.Duration(a.at.Load())
		if a.n.Load() == n {
			first = min(first, at)
		}
	}
	return first
}

// reading is a read while it is judged: the least state of each record on which it depends
// that it may return.
type reading struct {
	w         *world
	instance  int
	phase     *phase // in which it began
	shared    bool
	began     time.Duration
	seqs      []*sequence
	lows, own []int64
}

// begin notes what a read must return, right before it.
func (r *reading) begin(shared bool, seqs ...*sequence) {
	r.phase, r.shared, r.seqs = r.w.phase.Load(), shared, seqs
	r.lows, r.own = r.lows[:0], r.own[:0]
	for _, s := range seqs {
		own := s.own[r.instance].Load()
		r.own = append(r.own, own)
		r.lows = append(r.lows, max(own, s.acked.Load()))
	}
	r.began = clock()
}

// found judges that the read has returned state n of record i.
func (r *reading) found(i int, n int64) { r.matched(i, func(m int64) bool { return m == n }) }

// matched judges that the read has returned one of the states of record i that match.
func (r *reading) matched(i int, match func(int64) bool) {
	s := r.seqs[i]
	low := r.lows[i]
	p := r.phase
	for n := low; n <= s.begun.Load(); n++ {
		if match(n) {
			p.count(r.shared, 0)
			return
		}
	}
	for n := low - 1; n >= 0; n-- {
		if !match(n) {
			continue
		}
		if n < low-remembered {
			r.w.failf("%s: a read has returned state %d when %d was acknowledged: more than are remembered", p.name, n, low)
		}
		if n < r.own[i] {
			p.own.Add(1)
			p.note("instance %d has returned state %d when it had itself made %d, %v before", r.instance, n, r.own[i],
				r.began-s.firstMissed(r.own[i]-1, r.own[i], r.began))
		}
		p.count(r.shared, r.began-s.firstMissed(n, low, r.began))
		return
	}
	r.w.failf("%s: a read has returned a state that never was, when %d was acknowledged", p.name, low)
}

// phase is a part of a run, and what was measured while it lasted.
type phase struct {
	name     string
	before   *phase
	reads    [2]atomic.Int64 // cached, and shared
	own      atomic.Int64    // reads that missed a write of their own instance
	writes   atomic.Int64    // that were acknowledged
	refused  atomic.Int64    // that were not
	delay    atomic.Int64    // the worst for which this process was not scheduled
	took     time.Duration
	nearHits int64

	mu    sync.Mutex // protects what follows
	stale [2][]time.Duration
	notes []string
}

// count counts a read, which is stale if its age is not 0.
func (p *phase) count(shared bool, age time.Duration) {
	which := 0
	if shared {
		which = 1
	}
	p.reads[which].Add(1)
	if age > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stale[which] = append(p.stale[which], age)
	}
}

// note keeps some of what should not have happened.
func (p *phase) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.notes) < 5 {
		p.notes = append(p.notes, fmt.Sprintf(format, args...))
	}
}

// worst returns the age of the oldest read.
func (p *phase) worst(shared int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stale[shared]) == 0 {
		return 0
	}
	return slices.Max(p.stale[shared])
}

// slack is what may come on top of a bound: what is read now may have been missed before.
func (p *phase) slack() time.Duration {
	d := p.delay.Load()
	if p.before != nil {
		d = max(d, p.before.delay.Load())
	}
	return time.Duration(d)
}

// bounds are what a run must keep to.
type bounds struct {
	cached, shared time.Duration
}

// check reports what exceeds the bounds.
func (p *phase) check(t testing.TB, b bounds) {
	t.Helper()
	p.mu.Lock()
	for _, note := range p.notes {
		t.Errorf("%s: %s", p.name, note)
	}
	p.mu.Unlock()
	if n := p.own.Load(); n > 0 {
		t.Errorf("%s: %d reads have missed writes of their own process", p.name, n)
	}
	if worst := p.worst(0); worst > b.cached+p.slack() {
		t.Errorf("%s: a read was stale by %v, more than %v and the %v for which the process was not scheduled", p.name, worst, b.cached, p.slack())
	}
	if worst := p.worst(1); worst > 0 && (b.shared == 0 || worst > b.shared+p.slack()) {
		t.Errorf("%s: Shared reads were stale, by up to %v", p.name, worst)
	}
}

// table shows what was measured.
func table(all []*phase) string {
	text := fmt.Sprintf("\n%-34s %7s %6s %8s %9s | %7s %9s %9s %9s %9s %9s | %8s %6s %5s | %8s", "", "writes", "per s", "reads", "near hits",
		"stale", "p99.9 all", "p50 stale", "p99", "p99.9", "max", "Shared", "stale", "own", "delay")
	for _, p := range all {
		p.mu.Lock()
		reads := p.reads[0].Load()
		stale := slices.Sorted(slices.Values(p.stale[0]))
		quantile := func(of int64, q float64) string { // the others are not stale
			i := int64(math.Ceil(float64(of)*q)) - 1 - (of - int64(len(stale)))
			if len(stale) == 0 || i < 0 {
				return "0"
			}
			return short(stale[i])
		}
		sharedStale := len(p.stale[1])
		p.mu.Unlock()
		n := int64(len(stale))
		text += fmt.Sprintf("\n%-34s %7d %6.0f %8d %9d | %7d %9s %9s %9s %9s %9s | %8d %6d %5d | %8s", p.name, p.writes.Load(), float64(p.writes.Load())/p.took.Seconds(),
			reads, p.nearHits, n, quantile(reads, 0.999),
			quantile(n, 0.5), quantile(n, 0.99), quantile(n, 0.999), short(p.worst(0)),
			p.reads[1].Load(), sharedStale, p.own.Load(), short(p.slack()))
	}
	return text
}

// short returns a duration in three digits or so.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	default:
		d = d.Round(time.Microsecond)
	}
	return d.String()
}
