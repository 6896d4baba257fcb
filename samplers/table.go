package samplers

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
)

// table is the set of keys that are throttled in this process, in memory that is
// allocated once. A key is known by a fingerprint of 64 bits under a seed of the
// process's own, and has its place in one of two buckets of four slots, a cache line
// each. That way a table that is nine tenths full still takes nearly every key (balanced
// allocations: Azar, Broder, Karlin and Upfal, 1994). When there is no place, the slot
// with the lowest count makes room: the key that it was of costs a call the next time.
//
// Look-ups and counts take no lock. Whoever changes which key a slot is of holds mu, and
// does it in this order: the state becomes 0, then the fingerprint changes, then the
// state is set, with another generation. So a look-up that finds its fingerprint before
// and after it has read the state has read its key's state; and its count, which compares
// the whole state, goes nowhere else:
//
//  1. A look-up of key a reads a's fingerprint, state and fingerprint.
//  2. The slot is given to key b.
//  3. The look-up replaces the state it has read by one with a count of one more. That
//     fails, because the generation has changed.
type table struct {
	seed    maphash.Seed
	firstN  uint64
	buckets uint64
	slots   []slot // slotsEach to a bucket

	mu        sync.Mutex // protects what follows, and which key a slot is of
	names     []name     // of the slots' keys, for what is owed of them
	texts     texts
	debts     ring
	evictions int64 // of keys whose window was not over
}

// slot is one key that is throttled. Its state is, from the top,
//
//	32 bits  the deadline: the reading of the clock at which the window is over
//	 1 bit   local: the count is of all requests, the first N of which were kept
//	 7 bits  the generation: a number that changes with the key
//	24 bits  the count of requests beyond the first N
type slot struct{ print, state atomic.Uint64 }

const (
	countMask = 1<<24 - 1
	countFull = 1 << 23 // the count is moved elsewhere from here on
	genOne    = 1 << 24
	genMask   = 127 << 24
	localBit  = 1 << 31
	endShift  = 32

	slotsEach  = 4
	slotBytes  = 16 + 8 + debtBytes/slotsADebt // with its name, and its share of the ring
	textsShare = 4                             // one byte in so many is for the texts of keys
)

// endOf returns the deadline of a state. That of no key has none: 0.
func endOf(state uint64) uint32 { return uint32(state >> endShift) }

// stateOf returns a state with the generation of another.
func stateOf(end uint32, local bool, gen, count uint64) uint64 {
	if end == 0 {
		end-- // which is a little earlier
	}
	state := uint64(end)<<endShift | gen&genMask | count
	if local {
		state |= localBit
	}
	return state
}

// newTable returns a table for the first n in so many bytes.
func newTable(n, bytes int) *table {
	forTexts := bytes / textsShare
	buckets := (bytes - forTexts) / (slotBytes * slotsEach)
	slots := buckets * slotsEach
	seed := maphash.MakeSeed()
	return &table{
		seed:    seed,
		firstN:  uint64(n),
		buckets: uint64(buckets),
		slots:   make([]slot, slots),
		names:   make([]name, slots),
		texts:   newTexts(seed, forTexts),
		debts:   newRing(slots / slotsADebt),
	}
}

// fingerprint returns what stands for the key: never 0, which marks an empty slot.
func (t *table) fingerprint(k Key) uint64 {
	tenant, op := maphash.String(t.seed, k.Tenant), maphash.String(t.seed, k.Op)
	return max(tenant+bits.RotateLeft64(op*0x9E3779B97F4A7C15, 32), 1)
}

// bucket is where a key may have its place: a cache line.
type bucket [slotsEach]slot

// places returns the indexes of the first slots of a key's two buckets.
func (t *table) places(print uint64) [2]int { return [2]int{t.place(print), t.place(print * spread)} }

// spread is odd, and makes another number of a fingerprint.
const spread = 0xD6E8FEB86659FD93

// place maps a number to the index of the first slot of a bucket.
func (t *table) place(number uint64) int {
	b, _ := bits.Mul64(number, t.buckets)
	return int(b) * slotsEach
}

// way returns which slot of a bucket has a fingerprint, or -1.
func (b *bucket) way(print uint64) int {
	for i := range b {
		if b[i].print.Load() == print {
			return i
		}
	}
	return -1
}

// find returns the index of a key's slot, or -1.
func (t *table) find(print uint64) int {
	for _, i := range t.places(print) {
		if w := (*bucket)(t.slots[i:]).way(print); w >= 0 {
			return i + w
		}
	}
	return -1
}

// throttled counts a request if its key is throttled by the whole fleet, and reports
// whether it is.
func (t *table) throttled(print uint64, c *clock) bool {
	b := (*bucket)(t.slots[t.place(print):])
	w := b.way(print)
	if w < 0 {
		b = (*bucket)(t.slots[t.place(print*spread):])
		if w = b.way(print); w < 0 {
			return false
		}
	}
	for s := &b[w]; ; {
		state := s.state.Load()
		if s.print.Load() != print || state&(localBit|countFull) != 0 || !c.before(c.read(), endOf(state)) {
			return false
		}
		if s.state.CompareAndSwap(state, state+1) {
			return true
		}
	}
}

// countLocally counts a request that this process decides by itself, and returns its
// place in a window that began here and ends at the given time, or in the one before
// if that is not over. If another key's window would have to make room, it does so only if
// must is set: else every key would be among its first for ever when there are too many.
func (t *table) countLocally(print uint64, k Key, now, end uint32, must bool) (place uint64, ok bool) {
	if i := t.find(print); i >= 0 {
		s := &t.slots[i]
		for {
			state := s.state.Load()
			if s.print.Load() != print || state&localBit == 0 || state&countFull != 0 || int32(endOf(state)-now) <= 0 {
				break
			}
			if s.state.CompareAndSwap(state, state+1) {
				return state&countMask + 1, true
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(print)
	if i < 0 && !must && t.crowded(print, now) {
		return 0, false
	}
	if i < 0 || int32(endOf(t.slots[i].state.Load())-now) <= 0 {
		t.setLocked(i, print, k, now, end, true, 1)
		return 1, true
	}
	t.spillLocked(i)
	state := t.slots[i].state.Add(1)
	if state&localBit == 0 { // meanwhile it is throttled
		return t.firstN + 1, true
	}
	return state & countMask, true
}

// isLocal reports whether a key has a window of this process's own.
func (t *table) isLocal(print uint64, now uint32) bool {
	i := t.find(print)
	if i < 0 {
		return false
	}
	state := t.slots[i].state.Load()
	return state&localBit != 0 && int32(endOf(state)-now) > 0 && t.slots[i].print.Load() == print
}

// crowded reports whether all slots that a key may have are of windows of this process's own.
func (t *table) crowded(print uint64, now uint32) bool {
	for _, from := range t.places(print) {
		for i := from; i < from+slotsEach; i++ {
			state := t.slots[i].state.Load()
			if t.slots[i].print.Load() == 0 || state&localBit == 0 || int32(endOf(state)-now) <= 0 {
				return false
			}
		}
	}
	return true
}

// throttle makes a key one that is throttled by the whole fleet until the given time,
// and adds to its count what has come beyond the first n.
func (t *table) throttle(print uint64, k Key, now, end uint32, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLocked(t.find(print), print, k, now, end, false, count)
}

// setLocked sets the slot of a key, which is i, or a new one if i is -1. What the slot has
// counted is kept.
func (t *table) setLocked(i int, print uint64, k Key, now, end uint32, local bool, count uint64) {
	if i < 0 {
		i = t.evictLocked(print, now)
		s := &t.slots[i]
		t.names[i] = t.nameLocked(k, now)
		s.print.Store(print)
		s.state.Store(stateOf(end, local, s.state.Load()+genOne, count))
		return
	}
	n := t.nameLocked(k, now)
	s := &t.slots[i]
	for {
		state := s.state.Load()
		before, kept := t.beyond(state), uint64(0)
		later := end
		if !local {
			if state&localBit == 0 && int32(endOf(state)-end) > 0 {
				later = endOf(state) // an answer that was overtaken by another
			}
			if n == t.names[i] && before+count < countFull {
				kept, before = before, 0
			}
		}
		if s.state.CompareAndSwap(state, stateOf(later, local, state, kept+count)) {
			t.debts.push(debt{name: t.names[i], end: endOf(state), count: uint32(before)})
			t.names[i] = n
			return
		}
	}
}

// evictLocked returns a slot for a new key, empty but for its generation: one of the bucket
// that has more of them, so that both fill alike.
func (t *table) evictLocked(print uint64, now uint32) int {
	empty, most := -1, 0
	victim, least := -1, uint64(1)<<63
	for _, from := range t.places(print) {
		n := 0
		for i := from; i < from+slotsEach; i++ {
			if t.slots[i].print.Load() == 0 {
				if n++; n > most {
					empty, most = i, n
				}
				continue
			}
			state := t.slots[i].state.Load()
			rank := t.beyond(state)
			if int32(endOf(state)-now) > 0 {
				rank |= 1 << 61 // which is worse than any that is over
				if state&localBit != 0 {
					rank |= 1 << 62 // of which nobody else knows
				}
			}
			if rank < least {
				victim, least = i, rank
			}
		}
	}
	if empty >= 0 {
		return empty
	}
	if least >= 1<<61 {
		t.evictions++
	}
	t.clearLocked(victim)
	return victim
}

// clearLocked makes a slot empty. What it has counted is owed.
func (t *table) clearLocked(i int) {
	s := &t.slots[i]
	for {
		state := s.state.Load()
		if s.state.CompareAndSwap(state, state&genMask) {
			t.debts.push(debt{name: t.names[i], end: endOf(state), count: uint32(t.beyond(state))})
			break
		}
	}
	s.print.Store(0)
	t.names[i] = name{}
}

// spill moves a count that is full out of its slot, and reports whether it was.
func (t *table) spill(i int, print uint64) bool {
	if t.slots[i].state.Load()&countFull == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots[i].print.Load() == print {
		t.spillLocked(i)
	}
	return true
}

func (t *table) spillLocked(i int) {
	if state := t.slots[i].state.Load(); state&countFull != 0 {
		t.debts.push(debt{name: t.names[i], end: endOf(state), count: uint32(t.take(i, state))})
	}
}

// beyond returns how many of the requests that a state counts were beyond the first n.
func (t *table) beyond(state uint64) uint64 {
	count := state & countMask
	if state&localBit == 0 {
		return count
	}
	return count - min(count, t.firstN)
}

// take takes out of a slot what its state counts, and returns it: 0 if the state has
// changed in anything but the count.
func (t *table) take(i int, state uint64) uint64 {
	s := &t.slots[i]
	for was := state; (state^was)&^countMask == 0; state = s.state.Load() {
		count := t.beyond(state)
		if count == 0 || s.state.CompareAndSwap(state, state-count) {
			return count
		}
	}
	return 0
}

// takeEnded takes what a window that is over has counted of a key, which is k unless its
// slot has another name.
func (t *table) takeEnded(i int, print uint64, k Key, c *clock) report {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.slots[i]
	state := s.state.Load()
	if s.print.Load() != print || state&localBit != 0 || c.before(c.read(), endOf(state)) {
		return report{}
	}
	if named, ok := t.texts.key(t.names[i]); ok {
		k = named
	}
	return report{k, endOf(state), t.take(i, state)}
}

// report is a debt with the key that it is of.
type report struct {
	key   Key
	end   uint32
	count uint64
}

// collect goes through some slots, from one on, and returns what is owed of windows that
// are over, or of all, some reports at the most, and where to go on: -1 when it has been
// through the table, and the ring of debts is empty. Slots of windows that are over become
// free.
func (t *table) collect(from int, all bool, now uint32, some int) (owed []report, next int) {
	const slots = 4096 // for which the lock is held
	t.mu.Lock()
	defer t.mu.Unlock()
	next = min(from+slots, len(t.slots))
	for i := from; i < next; i++ {
		if len(owed) == some {
			return owed, i
		}
		if t.slots[i].print.Load() == 0 {
			continue
		}
		state := t.slots[i].state.Load()
		over := int32(endOf(state)-now) <= 0
		if over || all {
			owed = t.appendLocked(owed, debt{t.names[i], endOf(state), uint32(t.take(i, state))})
		}
		if over {
			t.clearLocked(i)
		}
	}
	if next < len(t.slots) {
		return owed, next
	}
	for len(owed) < some {
		d, ok := t.debts.pop()
		if !ok {
			return owed, -1
		}
		owed = t.appendLocked(owed, d)
	}
	return owed, next
}

// longOver is how long a window may be over, in milliseconds, before its slot becomes free
// although nothing can be reported: a clock of 32 bits cannot tell for longer than 24 days.
const longOver = 24 * 60 * 60 * 1000

// sweep frees the slots of windows that have been over for long, and has their counts in the
// ring of debts as far as there is room.
func (t *table) sweep(now uint32) {
	for i := range t.slots {
		if t.slots[i].print.Load() == 0 || int32(endOf(t.slots[i].state.Load())-now) > -longOver {
			continue
		}
		t.mu.Lock()
		if state := t.slots[i].state.Load(); t.slots[i].print.Load() != 0 && int32(endOf(state)-now) <= -longOver {
			t.clearLocked(i)
		}
		t.mu.Unlock()
	}
}

// appendLocked adds the report of a debt, if its key is known.
func (t *table) appendLocked(owed []report, d debt) []report {
	k, ok := t.texts.key(d.name)
	switch {
	case d.count == 0:
		return owed
	case !ok:
		t.debts.lost += uint64(d.count)
		return owed
	}
	return append(owed, report{k, d.end, uint64(d.count)})
}

// pending returns the number of keys, and of the requests beyond the first n that have
// not been taken.
func (t *table) pending() (keys int, count uint64) {
	for i := range t.slots {
		if t.slots[i].print.Load() != 0 {
			keys++
			count += t.beyond(t.slots[i].state.Load())
		}
	}
	return keys, count
}
