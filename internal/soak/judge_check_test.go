//go:build linux

package soak_test

import "testing"

// TestJudge checks that a read is stale that returns what was replaced when it began, and no
// other.
func TestJudge(t *testing.T) {
	w := &worker{shared: new(shared), known: make(map[staleKey]*staleRead)}
	s := &w.shared.sequences[accountAt(0, 3)]
	for n := range int64(6) {
		s.begin(n+1, 0)
		s.ack(n+1, 0)
	}
	s.begin(7, 0) // and nobody knows how it ends
	ids := newIDSet(1)
	stale := func(what string, want int64, read func(r *reading)) {
		t.Helper()
		before := w.shared.places[0].counts[cStale].Load()
		var r reading
		w.start(&r, itself, false, ids.accountsS[0])
		read(&r)
		if got := w.shared.places[0].counts[cStale].Load() - before; got != want {
			t.Errorf("%s: %d reads are stale, want %d", what, got, want)
		}
	}
	in := func(n int64) bool { return accountGroupOf(3, n) == accountGroupOf(3, 7) }
	stale("the last state", 0, func(r *reading) { w.exactly(r, 3, 6) })
	stale("an older one", 1, func(r *reading) { w.exactly(r, 3, 5) })
	stale("one that nobody wrote", 1, func(r *reading) { w.exactly(r, 3, 8) })
	stale("the group of the last state", 0, func(r *reading) { w.somehow(r, 3, in) })
	stale("not in that group", 1, func(r *reading) { w.somehow(r, 3, func(n int64) bool { return !in(n) }) })
	count := func(_ int, n int64) bool { return n >= 6 }
	stale("one of six", 0, func(r *reading) { w.counted(r, 1, count) })
	stale("none of them", 1, func(r *reading) { w.counted(r, 0, count) })
	stale("what a write of unknown outcome makes", 0, func(r *reading) { w.exactly(r, 3, 7) })
	stale("what was before, after that was seen", 1, func(r *reading) { w.exactly(r, 3, 6) })
	e := &w.shared.places[0].stale[0]
	if e.state.Load() != 5 || e.over.Load() != 6 || e.acked.Load() == 0 {
		t.Errorf("state %d is noted, replaced by write %d, acknowledged at %d", e.state.Load(), e.over.Load(), e.acked.Load())
	}
	e = &w.shared.places[0].stale[w.shared.places[0].used.Load()-1]
	if e.state.Load() != 6 || e.over.Load() != 7 || e.acked.Load() != 0 {
		t.Errorf("state %d is noted, replaced by write %d, acknowledged at %d", e.state.Load(), e.over.Load(), e.acked.Load())
	}
}

// TestExceptions checks what a stale read may be.
func TestExceptions(t *testing.T) {
	const second = int64(1e9)
	f := &faults{crew: &crew{plan: plan{WhenCacheDown: "ack", Places: 2}}}
	f.all = []*fault{
		{kind: "flush", place: -1, from: 100 * second, to: 101 * second, effect: losesHolds},
		{kind: "restart", place: -1, from: 300 * second, to: 301 * second, effect: restores},
		{kind: "pause", place: 1, from: 290 * second, to: 330 * second, effect: pauses},
		{kind: "kill", place: 0, from: 303 * second, to: 304 * second, effect: ends},
		{kind: "restart", place: -1, from: 400 * second, to: 401 * second, effect: restores},
		{kind: "pause", place: 1, from: 390 * second, to: 430 * second, effect: pauses},
		{kind: "kill", place: 0, from: 407 * second, to: 408 * second, effect: ends},
	}
	for _, tt := range []struct {
		name                           string
		place                          int
		begun, owed, acked, look, last int64
		failed                         int64
		knew, fresh                    int64
		want                           string
	}{
		{name: "nothing excuses it", begun: 1, acked: 2, last: 3},
		{name: "in the journal", begun: 1000, owed: 1100, acked: 1200, look: 900, last: 1900, want: cacheDown},
		{name: "in the journal for too long", begun: 1000, owed: 1100, acked: 1200, look: 900, last: 2900},
		{name: "in the journal that was read", begun: 1000, owed: 1100, acked: 1200, look: 1150, last: 1900, knew: 1},
		{name: "but did not ask the cache", begun: 1000, owed: 1100, acked: 1200, look: 900, last: 1900, fresh: 1},
		{name: "no look", place: 1, begun: 201_000, owed: 201_100, acked: 201_200, look: 200_500, failed: 204_500, last: 205_000, want: noStore},
		{name: "no look since", place: 1, begun: 201_000, owed: 201_100, acked: 201_200, look: 200_500, failed: 203_500, last: 205_000},
		{name: "a lost hold", begun: 99_000, last: 100_500, want: lostHold},
		{name: "a hold that was lost before", begun: 102_000, last: 103_000},
		{name: "a lost hold of what was acknowledged", begun: 99_000, acked: 100_200, last: 100_500},
		{name: "an old dump that nobody notices", begun: 299_000, acked: 299_500, last: 310_000, want: unnoticed},
		{name: "an old dump that somebody notices", begun: 299_000, acked: 299_500, last: 336_000},
		{name: "an old dump that one had the time to notice", begun: 399_000, acked: 399_500, last: 410_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const ms = int64(1e6)
			var s staleRead
			s.begun.Store(tt.begun * ms)
			s.owed.Store(tt.owed * ms)
			s.acked.Store(tt.acked * ms)
			s.look.Store(tt.look * ms)
			s.failed.Store(tt.failed * ms)
			s.first.Store(tt.last * ms)
			s.last.Store(tt.last * ms)
			s.knew.Store(tt.knew)
			s.fresh.Store(tt.fresh)
			s.ower.Store(3)
			if got := f.exception(tt.place, &s); got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
		})
	}
}
