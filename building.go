package graphcache

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// An index that the store is still building (driver.Indexer) does not exist for plans, so
// nothing is cached under it. Writes hold its anchors all the same, in every process and
// from the first one on. That is why it does not matter that processes learn at different
// times that it is ready, or that a plan is older than that: whatever is cached under it,
// and by whom, all writes are covered.

// building knows which indexes of a kind the store has built. The store is asked when a
// plan is made, at most once in a period, and no more when it has built all of them.
type building struct {
	store  driver.Indexer
	kind   string
	period time.Duration
	first  sync.Once // the first question, for whose answer all wait who plan meanwhile
	last   atomic.Pointer[built]
}

// built is what was known at a moment. It is never modified.
type built struct {
	ready, unready []*index
	asked          time.Time
}

// newBuilding returns nil if there is nothing to ask: the kind has no indexes, or the store
// has built them when Ensure returns.
func newBuilding(store driver.Store, k *boundKind, period time.Duration) *building {
	indexer, ok := store.(driver.Indexer)
	if !ok || len(k.indexes) == 0 {
		return nil
	}
	b := &building{store: indexer, kind: k.name, period: period}
	b.last.Store(&built{unready: k.indexes})
	return b
}

// usable returns the indexes of the kind that plans may use, and those that they may not
// use yet.
func (k *boundKind) usable() (ready, unready []*index) {
	ready = k.indexes
	if k.building != nil {
		now := k.building.now(k.indexes)
		ready, unready = now.ready, now.unready
	}
	reg := k.registered.Load()
	if len(reg.unready) == 0 {
		return ready, unready
	}
	built := ready
	ready, unready = nil, slices.Clone(unready)
	for _, ix := range built {
		if reg.isReady(ix) {
			ready = append(ready, ix)
		} else {
			unready = append(unready, ix)
		}
	}
	return ready, unready
}

// built reports whether the store has built the index, as far as is known.
func (k *boundKind) built(ix *index) bool {
	return k.building == nil || slices.Contains(k.building.last.Load().ready, ix)
}

func (b *building) now(indexes []*index) *built {
	b.first.Do(func() { b.ask(b.last.Load(), indexes) })
	last := b.last.Load()
	if len(last.unready) == 0 || time.Since(last.asked) < b.period {
		return last
	}
	return b.ask(last, indexes)
}

// ask asks the store, unless somebody else does.
func (b *building) ask(last *built, indexes []*index) *built {
	asking := &built{last.ready, last.unready, time.Now()}
	if !b.last.CompareAndSwap(last, asking) {
		return b.last.Load()
	}
	now := &built{asked: asking.asked}
	for _, ix := range indexes {
		if slices.Contains(last.ready, ix) || b.store.Ready(b.kind, ix.name) {
			now.ready = append(now.ready, ix)
		} else {
			now.unready = append(now.unready, ix)
		}
	}
	b.last.CompareAndSwap(asking, now)
	return now
}
