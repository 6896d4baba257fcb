//go:build linux

package soak_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The exceptions to consistency, as the documentation of graphcache lists them.
const (
	cacheDown = "acknowledged with the cache down (Ack)"
	lostHold  = "lost hold of a writer at work"
	deadOwner = "lost hold of a dead writer"
	lostOwed  = "lost hold, release owed"
	noStore   = "the reader reaches the cache and not the store"
	wentBack  = "the cache went back in time, and the reader may reach a server that is no master"
	unnoticed = "the cache went back in time, and nobody was left who could tell"
)

// promotedBound is for how long a process may still reach a server that is no longer a master.
const promotedBound = 10 * time.Second

// slack is for the moments between what is noted and what was done.
const slack = 100 * time.Millisecond

// exception returns the name of the exception that a stale read in a place is, or nothing.
func (f *faults) exception(place int, s *staleRead) string {
	if s.state.Load() < 0 || s.fresh.Load() == 1 {
		return ""
	}
	last, acked, owed, begun := s.last.Load(), s.acked.Load(), s.owed.Load(), s.begun.Load()
	knew := s.knew.Load() == 1
	if owed != 0 && !knew {
		periods := int64(2*f.crew.plan.settings().lookPeriod + slack)
		looked := owed + periods
		own := s.ower.Load() == int64(place) && !f.met(ends, place, owed, last)
		switch {
		case own: // it knew at once
		case last > looked && !f.crew.plan.Strict && s.failed.Load()+periods > last:
			return noStore
		case last > looked:
		case f.crew.plan.WhenCacheDown == "ack":
			return cacheDown
		case f.met(losesHolds, -1, begun, last):
			return lostOwed
		}
	}
	switch {
	case f.met(promotes, -1, s.first.Load()-int64(promotedBound), last):
		return wentBack
	case f.unnoticed(last):
		return unnoticed
	case knew || acked != 0 && acked <= last || !f.met(losesHolds, -1, begun, last):
	case f.died(s.by.Load(), begun):
		return deadOwner
	default:
		return lostHold
	}
	return ""
}

// toNotice is how long a process must go on, and reach the cache and the store, until it has
// noticed that the cache has gone back and the others have learned of it.
const toNotice = 4 * time.Second

// unnoticed reports whether the cache had gone back before a moment and no process that had known
// it before was left to tell.
func (f *faults) unnoticed(moment int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.all, func(x *fault) bool {
		if x.effect&restores == 0 || x.from > moment {
			return false
		}
		for place := range f.crew.plan.Places {
			if f.noticesLocked(place, x, moment) {
				return false
			}
		}
		return true
	})
}

// noticesLocked reports whether the process that a place had before the cache went back has had
// the time since to tell.
func (f *faults) noticesLocked(place int, back *fault, moment int64) bool {
	end := moment
	for _, x := range f.all {
		if x.effect&ends != 0 && x.place == place && x.to >= back.from {
			end = min(end, x.from)
		}
	}
	had, since := int64(0), back.to // until since
	for _, x := range f.all {       // in the order in which they began
		if x.effect&(pauses|cuts) != 0 && (x.place == place || x.place < 0) && x.to > since && x.from < end {
			had += max(0, x.from-since)
			since = x.to
		}
	}
	return had+max(0, end-since) > int64(toNotice)
}

// died reports whether one of the places, as bits, has lost its process since.
func (f *faults) died(by, since int64) bool {
	for place := range maxPlaces {
		if by>>place&1 == 1 && f.met(ends, place, since, since+int64(f.crew.plan.settings().holdTTL)) {
			return true
		}
	}
	return false
}

// staleness is what there was of one exception, or of none.
type staleness struct {
	reads   int64
	longest time.Duration // after the write was acknowledged
	example string
}

// stale returns what was stale by exception.
func (f *faults) stale(c *crew) map[string]*staleness {
	all := map[string]*staleness{}
	for place := range c.plan.Places {
		p := &c.shared.places[place]
		for i := range p.used.Load() {
			s := &p.stale[i]
			name := f.exception(place, s)
			e := all[name]
			if e == nil {
				e = new(staleness)
				all[name] = e
			}
			e.reads += s.count.Load()
			var age time.Duration
			if acked := s.acked.Load(); acked != 0 {
				age = time.Duration(s.last.Load() - acked)
			}
			if e.example == "" || age > e.longest || name == "" && len(e.example) < 20_000 {
				if name == "" {
					e.example += f.tell(place, s) + "\n"
				} else {
					e.example = f.tell(place, s)
				}
			}
			e.longest = max(e.longest, age)
		}
		if n := p.counts[cLost].Load(); n > 0 {
			if all[""] == nil {
				all[""] = new(staleness)
			}
			all[""].reads += n
		}
	}
	return all
}

// tell describes stale reads and what happened meanwhile.
func (f *faults) tell(place int, s *staleRead) string {
	var b strings.Builder
	last := s.last.Load()
	at := func(t int64) string {
		if t == 0 {
			return "never"
		}
		return time.Duration(t - last).Round(10 * time.Microsecond).String()
	}
	seq, view := int(s.sequence.Load()), int(s.view.Load())
	fmt.Fprintf(&b, "%d reads in process %d of %s (counted %d, fresh %d) returned state %d, possible were %d to %d;", s.count.Load(), place,
		describe(seq, view), s.counted.Load(), s.fresh.Load(), s.state.Load(), s.low.Load(), s.high.Load())
	fmt.Fprintf(&b, " before the last read began: the first %s, its look %s, that failed %s (knew %d);", at(s.first.Load()), at(s.look.Load()), at(s.failed.Load()), s.knew.Load())
	fmt.Fprintf(&b, " write %d by places %b begun %s, owed %s, acknowledged %s;", s.over.Load(), s.by.Load(), at(s.begun.Load()), at(s.owed.Load()), at(s.acked.Load()))
	f.mu.Lock()
	defer f.mu.Unlock()
	from := cmp.Or(s.begun.Load(), s.first.Load()) - int64(2*time.Second)
	for _, x := range slices.SortedFunc(slices.Values(f.all), func(a, b *fault) int { return cmp.Compare(a.from, b.from) }) {
		if x.from <= last && x.to >= from {
			to := "now"
			if x.to < last {
				to = at(x.to)
			}
			fmt.Fprintf(&b, "\n    %s to %s: %s (place %d)", at(x.from), to, x.kind, x.place)
		}
	}
	return b.String()
}
