//go:build linux

package soak_test

// reading is one read of one anchor while it is judged.
type reading struct {
	view  int
	fresh bool
	began int64
	lows  [maxMembers]int64
	seqs  []int
}

// maxMembers is how many sequences one read may depend on.
const maxMembers = 16

// start notes what the read must at least return. It is called right before it.
func (w *worker) start(r *reading, view int, fresh bool, seqs []int) {
	r.view, r.fresh, r.seqs = view, fresh, seqs
	for i, seq := range seqs {
		s := &w.shared.sequences[seq]
		r.lows[i] = max(s.acked.Load(), s.seen[view].Load())
	}
	r.began = clock()
}

// exactly judges a read that has returned state n of its member i.
func (w *worker) exactly(r *reading, i int, n int64) {
	s := &w.shared.sequences[r.seqs[i]]
	switch low, high := r.lows[i], s.begun.Load(); {
	case n > high || n < 0:
		w.stale(r, i, -1, low, high)
	case n < low:
		w.stale(r, i, n, low, high)
	case n > low:
		raise(&s.seen[r.view], n)
	}
}

// somehow judges a read of which only those states of member i explain what it has returned
// that match.
func (w *worker) somehow(r *reading, i int, match func(n int64) bool) {
	s := &w.shared.sequences[r.seqs[i]]
	low, high := r.lows[i], s.begun.Load()
	for n := low; n <= min(high, low+period); n++ {
		if match(n) {
			if n > low {
				raise(&s.seen[r.view], n)
			}
			return
		}
	}
	for n := low - 1; n >= max(0, low-recent/2); n-- {
		if match(n) {
			w.stale(r, i, n, low, high)
			return
		}
	}
	w.stale(r, i, -1, low, high)
}

// counted judges a read that has returned how many of its members are in the list, which in
// says of each in each of its states.
func (w *worker) counted(r *reading, count int, in func(i int, n int64) bool) {
	least, most := 0, 0
	var highs [maxMembers]int64
	for i, seq := range r.seqs {
		highs[i] = w.shared.sequences[seq].begun.Load()
		always, ever := inStates(i, r.lows[i], highs[i], in)
		if always {
			least++
		}
		if ever {
			most++
		}
	}
	if least <= count && count <= most {
		return
	}
	w.miscounted(r, count, highs, in)
}

// inStates reports whether a member is in the list in all states from low to high, and whether
// in any.
func inStates(i int, low, high int64, in func(i int, n int64) bool) (always, ever bool) {
	always = true
	for n := low; n <= min(high, low+period); n++ {
		if in(i, n) {
			ever = true
		} else {
			always = false
		}
	}
	return always, ever
}

// miscounted looks for the write without which the count would have been right: it takes back
// those writes of all members that were acknowledged before the read, the latest first.
func (w *worker) miscounted(r *reading, count int, highs [maxMembers]int64, in func(i int, n int64) bool) {
	lows := r.lows
	for range recent {
		latest, when := -1, int64(0)
		for i, seq := range r.seqs {
			if lows[i] == 0 {
				continue
			}
			acked := w.shared.sequences[seq].log[lows[i]%recent].acked.Load()
			if acked == 0 {
				acked = r.began // it was only seen
			}
			if acked > when {
				latest, when = i, acked
			}
		}
		if latest < 0 {
			break
		}
		lows[latest]--
		least, most := 0, 0
		for i := range r.seqs {
			always, ever := inStates(i, lows[i], highs[i], in)
			if always {
				least++
			}
			if ever {
				most++
			}
		}
		if least <= count && count <= most {
			r.view += counting
			w.stale(r, latest, lows[latest], r.lows[latest], highs[latest])
			return
		}
	}
	r.view += counting
	w.stale(r, 0, -1, r.lows[0], highs[0])
}

// counting is added to a view to say that it was counted.
const counting = 2

// staleKey tells stale reads apart.
type staleKey struct {
	seq, view   int
	state, over int64
	fresh, knew bool
}

// stale notes that a read returned what is no more: a state of its member i that is before
// low, or -1 for one that never was.
func (w *worker) stale(r *reading, i int, state, low, high int64) {
	p := &w.shared.places[w.plan.Place]
	p.counts[cStale].Add(1)
	seq := r.seqs[i]
	var by *write
	over := state
	if state >= 0 {
		over, by = w.shared.sequences[seq].replacedBy(state, low, seq, r.view%counting)
	}
	var owed int64
	var ower int
	if by != nil {
		owed, ower = by.debt()
	}
	look, failed := w.looks.before(r.began)
	key := staleKey{seq, r.view, state, over, r.fresh, owed != 0 && look >= owed}
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.known[key]
	if e == nil {
		n := p.used.Load()
		if n == maxStale {
			p.counts[cLost].Add(1)
			return
		}
		e = &p.stale[n]
		w.known[key] = e
		e.sequence.Store(int64(seq))
		e.view.Store(int64(r.view % counting))
		e.counted.Store(yes(r.view >= counting))
		e.state.Store(state)
		e.fresh.Store(yes(r.fresh))
		e.knew.Store(yes(key.knew))
		e.low.Store(low)
		e.high.Store(high)
		e.over.Store(over)
		if by != nil {
			e.begun.Store(by.begun.Load())
			e.by.Store(by.by.Load())
			e.acked.Store(by.acked.Load())
			e.owed.Store(owed)
			e.ower.Store(int64(ower))
		}
		e.first.Store(r.began)
		e.last.Store(r.began)
		e.look.Store(look)
		e.failed.Store(failed)
		e.count.Store(1)
		p.used.Store(n + 1)
		return
	}
	e.count.Add(1)
	if r.began >= e.last.Load() {
		e.last.Store(r.began)
		e.look.Store(look)
		e.failed.Store(failed)
	}
}

// replacedBy returns the write by which the view no longer shows a state: the first of those that
// touch it that was acknowledged, or the one that made the next state if that was only seen.
func (s *sequence) replacedBy(state, low int64, seq, view int) (int64, *write) {
	for n := state + 1; n <= low; n++ {
		if w := &s.log[n%recent]; touches(seq, view, n) && w.n.Load() == n && w.acked.Load() != 0 {
			return n, w
		}
	}
	n := state + 1
	if w := &s.log[n%recent]; w.n.Load() == n {
		return n, w
	}
	return n, nil
}

func yes(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
