package protocol_test

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/graphcache/graphcache/internal/protocol"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

const (
	maxProcesses = 3
	maxPlaces    = 4 // in the journal: one for each anchor and owner
)

// journalling says whether writers may put their anchors into the journal, and what
// they wait for.
type journalling uint8

const (
	// unjournalled: the store takes no entries.
	unjournalled journalling = iota
	// ack: a write is made as soon as the journal has the anchors. A process that has
	// not looked since may read old values.
	ack
	// wait: it is made when all processes have looked.
	wait
)

// owed is an entry of the journal: its token, the set of its owner's writers that it
// stands for, and whether it stands for one that the store did not answer, so that
// its window is the longer one. It is 0 if there is none.
type owed uint8

const (
	owedLong owed = 1 << 6
	owedSet  owed = 1 << 7
)

func (e owed) token() uint8   { return uint8(e & 7) }
func (e owed) writers() uint8 { return uint8(e >> 3 & 7) }
func (e owed) long() bool     { return e&owedLong != 0 }

// writer is the one whose token the entry has.
func (e owed) writer() int { return int(e.token() % 4 / 2) }

func (e owed) String() string {
	s := fmt.Sprintf("token%d", e.token())
	if e.long() {
		s += " long"
	}
	return s
}

// drain is what a process knows of a place in the journal, and how far it has come
// with clearing the anchor. What it owes itself it knows before the store does, and
// until it has settled it or finds it gone; what others owe, from its looks.
type drain struct {
	known   owed
	stored  bool  // the store has confirmed the entry
	held    bool  // the cache has confirmed a hold with the entry's token
	cleared bool  // the cache has confirmed the release
	left    uint8 // the token, counted from 1, of a confirmed hold for an entry that is gone
}

// The names are made once because the search asks for them millions of times.
var processNames = [maxProcesses]string{"process 1", "process 2", "process 3"}

// members are the elements of a set of anchors.
func members(set uint8) iter.Seq[uint8] {
	return func(yield func(uint8) bool) {
		for ; set != 0; set &= set - 1 {
			if !yield(uint8(bits.TrailingZeros8(set))) {
				return
			}
		}
	}
}

// owners is how many processes write.
func (c *config) owners() int {
	n := uint8(0)
	for _, home := range c.homes[:c.writers] {
		n = max(n, home)
	}
	return int(n) + 1
}

// place is where the journal has what the process owes for the anchor.
func (w *world) place(anchor, process uint8) int {
	if w.oneOwner {
		process = 0
	}
	return int(anchor)*w.owners() + int(process)
}

// anchorAt is the anchor of a place.
func (w *world) anchorAt(k int) uint8 { return uint8(k / w.owners()) }

// honours reports whether the process knows that the anchor is to be read from the
// store.
func (w *world) honours(s *state, process, anchor uint8) bool {
	for k, d := range s.drains[process] {
		if d.known != 0 && w.anchorAt(k) == anchor {
			return true
		}
	}
	return false
}

// journalled reports whether the journal has an entry for the anchor.
func (w *world) journalled(s *state, anchor uint8) bool {
	for k, e := range s.journal {
		if e != 0 && w.anchorAt(k) == anchor {
			return true
		}
	}
	return false
}

// excused reports whether nothing is promised to a read of the process that begins now:
// another process owes the anchor, and this one has not seen it in the journal.
func (w *world) excused(s *state, process, anchor uint8) bool {
	if w.journal != ack || w.honours(s, process, anchor) {
		return false
	}
	for k, e := range s.journal {
		if e != 0 && w.anchorAt(k) == anchor && w.homes[e.writer()] != process {
			return true
		}
	}
	return false
}

// debt is the entry that the writer has to make at that place. It stands also for what
// its process owes there already.
func (w *world) debt(s *state, i, k int) owed {
	wr := &s.writers[i]
	token := w.token(s, i)
	if wr.Owed && wr.Unknown && !w.keepToken {
		token += 4 // it is another entry: its window is longer
	}
	e := owedSet | owed(token) | owed(1)<<(3+i)
	if wr.Unknown {
		e |= owedLong
	}
	before := s.drains[w.homes[i]][k].known
	if before != 0 && w.homes[before.writer()] == w.homes[i] {
		e |= before & (7 << 3)
		if !w.shorten {
			e |= before & owedLong
		}
	}
	return e
}

// owe puts the writer's anchors into the journal. If the store does not confirm it,
// some may be there.
func (w *world) owe(s *state, i int) {
	home, set := w.homes[i], w.touches(s, i)
	n := *s
	for a := range members(set) {
		if k := w.place(a, home); !w.ownLate {
			n.drains[home][k] = drain{known: w.debt(s, i, k), left: n.drains[home][k].left}
		}
	}
	unsaved := n
	w.save(s, &n, i, set)
	for a := range members(set) {
		if d := &n.drains[home][w.place(a, home)]; d.known != 0 {
			d.stored = true
		}
	}
	n.writers[i].long = n.writers[i].Unknown
	w.event(&n, i, protocol.Owed)
	w.emit(&n, writerNames[i], "owes")

	if s.left.unsaved == 0 {
		return
	}
	unsaved.left.unsaved--
	for some := range set + 1 {
		if some&^set != 0 {
			continue
		}
		n = unsaved
		w.save(s, &n, i, some)
		w.event(&n, i, protocol.OweFailed)
		w.emit(&n, writerNames[i], "owes, and is not answered")
	}
}

// save puts anchors into the journal for a writer that is in state s.
func (w *world) save(s, n *state, i int, anchors uint8) {
	if w.noEntry {
		return
	}
	for a := range members(anchors) {
		k := w.place(a, w.homes[i])
		n.journal[k] = w.debt(s, i, k)
	}
}

// heed is a writer that waits until all other processes know of its entries. One that
// has been drained is none to wait for.
func (w *world) heed(s *state, i int) {
	if !w.heeded(s, i) {
		return
	}
	n := *s
	wr := &n.writers[i]
	if wr.then == protocol.Finish {
		w.finish(&n, i)
	} else {
		wr.phase, wr.then = writing, 0
	}
	w.emit(&n, writerNames[i], "has waited")
}

// heeded reports whether all other processes have looked since the journal has had the
// writer's entries, or need not any more.
func (w *world) heeded(s *state, i int) bool {
	home := w.homes[i]
	for a := range members(w.touches(s, i)) {
		k := w.place(a, home)
		e := s.journal[k]
		for p := range w.processes {
			known := s.drains[p][k].known
			if e != 0 && known != e && p != home && !s.isDead(p) && !s.writers[i].in(known, i) {
				return false
			}
		}
	}
	return true
}

// in reports whether an entry was made for writer i as it stands.
func (wr *writer) in(e owed, i int) bool {
	earlier := e.writer() == i && e.token()%2 < wr.attempt
	return e.writers()&(1<<i) != 0 && !earlier && (e.long() || !wr.long)
}

// over reports whether no write for which the entry stands can be applied any more. The
// shorter window lasts for as long as a write is under way, and for one whose outcome is
// unknown until the journal has the longer one.
func (w *world) over(s *state, e owed) bool {
	if w.hasty {
		return true
	}
	for i := range w.writers {
		wr := &s.writers[i]
		switch {
		case e.writers()&(1<<i) == 0:
		case e.writer() == i && wr.attempt > e.token()%2: // it has begun again since
		case wr.open():
			return false
		case wr.inFlight && (e.long() || !wr.long && !(w.tight && wr.phase == owing)):
			return false
		}
	}
	return true
}

// open reports whether the writer has put its anchors into the journal and is yet to write.
func (wr *writer) open() bool {
	return wr.phase == writing || wr.phase == heeding && wr.then != protocol.Finish
}

// open reports whether the entry stands for a writer that is yet to write.
func (w *world) open(s *state, e owed) bool {
	for i := range w.writers {
		if e.writers()&(1<<i) != 0 && s.writers[i].open() {
			return true
		}
	}
	return false
}

// stepProcess emits what a process does besides reading and writing: it looks at the
// journal, and drains it.
func (w *world) stepProcess(s *state, p uint8) {
	if s.isDead(p) {
		return
	}
	w.lookAtJournal(s, p)
	for k := range maxPlaces {
		d := &s.drains[p][k]
		if d.left != 0 {
			n := *s
			n.drains[p][k].left = 0
			w.release(&n, w.anchorAt(k), d.left-1, 0)
			w.emit(&n, processNames[p], "takes the hold for an entry off that is gone")
		}
		if d.known == 0 || w.undrained {
			continue
		}
		// The owner knows when its writes have ended. The others' clocks may be late.
		over := w.over(s, d.known)
		if mine := w.homes[d.known.writer()] == p; !d.cleared && !(mine && over) {
			w.mark(s, p, k)
		}
		if over && !d.cleared {
			w.clear(s, p, k)
		}
		if d.cleared || over && w.settleFirst {
			w.settle(s, p, k)
		}
		w.saveAgain(s, p, k)
	}
	w.die(s, p)
}

// lookAtJournal brings what the process knows of others' entries up to date, and of its
// own those that others have settled, and those that it has forgotten.
func (w *world) lookAtJournal(s *state, p uint8) {
	n := *s
	for k, e := range s.journal {
		d := &n.drains[p][k]
		switch {
		case d.known == e:
		case d.known != 0 && w.homes[d.known.writer()] == p && !w.ownLate:
			if e == 0 && d.stored && !w.open(s, d.known) {
				*d = drain{left: d.left} // somebody else has settled it
			}
		case d.known.token() == e.token() && e != 0 && d.known != 0:
			// To the process it is the entry that it knows.
		default:
			next := drain{known: e, stored: true, left: d.left}
			if d.held && (e == 0 || w.dropReplaced) && !w.forgetHolds {
				next.left = d.known.token() + 1
			}
			*d = next
		}
	}
	w.emit(&n, processNames[p], "looks at the journal")
}

// mark holds the anchor for the entry.
func (w *world) mark(s *state, p uint8, k int) {
	a, token := w.anchorAt(k), s.drains[p][k].known.token()
	if s.drains[p][k].held && s.entries[a].Tokens&(1<<token) != 0 {
		return
	}
	n := *s
	w.hold(&n, a, token)
	unconfirmed := n
	n.drains[p][k].held = true
	w.emit(&n, processNames[p], "holds for an entry")
	w.loseDrain(s, &unconfirmed, p, stray{verb: model.Hold, anchor: a, token: token})
}

// clear takes the hold for the entry off, which clears the anchor.
func (w *world) clear(s *state, p uint8, k int) {
	a, token := w.anchorAt(k), s.drains[p][k].known.token()
	n := *s
	w.release(&n, a, token, 0)
	unconfirmed := n
	n.drains[p][k].held, n.drains[p][k].cleared = false, true
	w.emit(&n, processNames[p], "clears for an entry")
	w.loseDrain(s, &unconfirmed, p, stray{verb: model.Release, anchor: a, token: token})
}

// loseDrain is a call for an entry that the cache does not answer.
func (w *world) loseDrain(s, carriedOut *state, p uint8, v stray) {
	if s.left.lost == 0 {
		return
	}
	later := *s
	later.addStray(v)
	for _, n := range [...]state{*carriedOut, later} { // and if it is lost, nothing has happened
		n.left.lost--
		w.emit(&n, processNames[p], "drains, and is not answered")
	}
}

// settle removes the entry if it is the one that the process knows. It forgets its own.
// Another's may have been replaced: it forgets that when a look tells it to.
func (w *world) settle(s *state, p uint8, k int) {
	n := *s
	d := &n.drains[p][k]
	if d.known.token() == n.journal[k].token() || w.blindSettle {
		n.journal[k] = 0
	}
	unconfirmed := n
	if mine := w.homes[d.known.writer()] == p; d.cleared && (mine || w.forgetSettled) {
		*d = drain{left: d.left}
	}
	w.emit(&n, processNames[p], "settles")
	if s.left.unsaved > 0 {
		unconfirmed.left.unsaved--
		w.emit(&unconfirmed, processNames[p], "settles, and is not answered")
	}
}

// saveAgain puts what the process owes into the journal that the store has not confirmed.
func (w *world) saveAgain(s *state, p uint8, k int) {
	d := &s.drains[p][k]
	if d.stored || d.cleared {
		return
	}
	n := *s
	n.journal[k], n.drains[p][k].stored = d.known, true
	for i := range w.writers {
		wr := &n.writers[i]
		if d.known.long() && d.known.writers()&(1<<i) != 0 && wr.inFlight && wr.phase == finished {
			wr.long = true
		}
	}
	w.emit(&n, processNames[p], "owes what was not confirmed")
}

// die stops a process for ever, when none of its writers is at work.
func (w *world) die(s *state, p uint8) {
	if s.left.deaths == 0 {
		return
	}
	for i := range w.writers {
		if wr := &s.writers[i]; w.homes[i] == p && wr.phase != finished {
			return
		}
	}
	n := *s
	n.left.deaths--
	w.kill(&n, p)
	w.asEnvironment(func() { w.emit(&n, processNames[p], "dies") })
}

// kill ends a process with all that it knows. Writes that are under way may yet be
// applied.
func (w *world) kill(n *state, p uint8) {
	n.dead |= 1 << p
	n.drains[p] = [maxPlaces]drain{}
	for i := range w.writers {
		wr := &n.writers[i]
		if w.homes[i] != p {
			continue
		}
		*wr = writer{phase: crashed, attempt: wr.attempt, before: wr.before, long: wr.long, inFlight: wr.inFlight || wr.phase == writing}
		if !wr.inFlight {
			wr.before, wr.long = 0, false
		}
	}
}

func (s *state) isDead(p uint8) bool { return s.dead&(1<<p) != 0 }

// unsettled says what is wrong with a state in which nobody has anything left to do, if
// anything is. The cache has been inspected. Besides:
//
//   - all writers have returned, but for those that crashed;
//   - the journal is empty, and nobody takes an anchor for journalled, unless all
//     processes have died;
//   - holds that are left end with their deadlines. There are some only if a writer or a
//     process crashed, if a call was lost, if a write of unknown outcome is in no journal,
//     or if an entry was replaced by another one of its owner, with another token.
func (w *world) unsettled(s *state) string {
	for i := range w.writers {
		if wr := &s.writers[i]; wr.inFlight {
			return "" // the store has something left to do
		} else if wr.phase != finished && wr.phase != crashed {
			return writerNames[i] + " is stuck"
		}
	}
	alive := bits.OnesCount8(s.dead) < int(w.processes)
	for k := range maxPlaces {
		if s.journal[k] != 0 && alive {
			return "the journal has an entry that nobody drains"
		}
		for p := range w.processes {
			if d := s.drains[p][k]; d.known != 0 || d.left != 0 {
				return processNames[p] + " does not come to an end"
			}
		}
	}
	for a := range w.layout.anchors() {
		for token := range uint8(8) {
			if s.entries[a].Tokens&(1<<token) != 0 && (w.leavesNothing() || !w.mayExpire(s, token)) {
				return fmt.Sprintf("token%d is left", token)
			}
		}
	}
	return ""
}

// leavesNothing reports whether all holds must have been taken off in the end.
func (c *config) leavesNothing() bool {
	b := c.budget
	if c.journal == unjournalled {
		return b.lost+b.crashes+b.ambiguous == 0
	}
	replaced := c.owners() < c.writers || b.ambiguous > 0 && b.outages > 0
	return b.lost+b.crashes+b.deaths == 0 && !replaced
}
