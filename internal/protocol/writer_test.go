package protocol_test

import (
	"github.com/graphcache/graphcache/internal/protocol"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

// writePhase is what a writer does next.
type writePhase uint8

const (
	// starting: the writer has not begun, or begins again after a conflict.
	starting writePhase = iota
	// holding: it has holds to place.
	holding
	// owing: it has anchors to put into the journal.
	owing
	// heeding: it waits until all processes know of that.
	heeding
	// writing: it is to write the store.
	writing
	// releasing: it has holds to release.
	releasing
	// finished: it has returned.
	finished
	// crashed: it has stopped for ever.
	crashed
)

// writer is how far a writer has come.
type writer struct {
	protocol.Writer
	phase    writePhase
	attempt  uint8 // 0, or 1 after a conflict
	before   uint8 // what the store said before the write
	todo     uint8 // the set of anchors that are still to be held or released
	missed   bool  // a reply to this batch was lost
	conflict bool  // the store did not apply the write
	inFlight bool  // the store may yet apply the write
	commit   uint8 // the commit that the write became

	// What follows is set only if there is a journal.

	wrote bool                 // the store has been asked to write
	long  bool                 // the journal has the anchors for as long as the write may be applied
	then  protocol.WriteAction // what follows heeding
}

// writerKey orders writers, for the canonical form. It leaves out what the protocol
// keeps to itself: writers that differ only in that may come in either order.
func (n *state) writerKey(i int) [7 + maxAnchors]uint8 {
	wr := &n.writers[i]
	key := [7 + maxAnchors]uint8{uint8(wr.phase), wr.attempt, wr.before, wr.todo, wr.commit}
	for k, set := range [...]bool{wr.missed, wr.conflict, wr.inFlight, wr.Failed, wr.Abandoned} {
		if set {
			key[5] |= 1 << k
		}
	}
	for _, v := range n.strays {
		if v != (stray{}) && int(v.token/2) == i {
			key[6]++
		}
	}
	for a := range n.entries {
		key[7+a] = n.entries[a].Tokens >> (2 * i) & 3
	}
	return key
}

// The names are made once because the search asks for them millions of times.
var (
	writerNames = [maxWriters]string{"writer 1", "writer 2", "writer 3"}
	applying    = [maxWriters]string{"applies the write of writer 1 late", "applies the write of writer 2 late", "applies the write of writer 3 late"}
	dropping    = [maxWriters]string{"drops the write of writer 1", "drops the write of writer 2", "drops the write of writer 3"}
)

// token is the writer's token. Each attempt has its own: a hold or a release of an
// earlier one may still be under way.
func (w *world) token(s *state, i int) uint8 {
	if w.reuseToken {
		return uint8(2 * i)
	}
	return uint8(2*i) + s.writers[i].attempt
}

// touches is the set of anchors that the writer must hold.
func (w *world) touches(s *state, i int) uint8 {
	before := s.writers[i].before
	set := w.layout.touches(before, i)
	if w.forgetOld {
		set &^= 1 << (1 + before)
	}
	return set
}

// stepWriter emits every step that writer i may take.
func (w *world) stepWriter(s *state, i int) {
	wr := &s.writers[i]
	switch wr.phase {
	case starting:
		w.start(s, i)
	case holding:
		w.placeHolds(s, i)
		w.outage(s, i, protocol.HoldsFailed)
		w.crash(s, i)
	case owing:
		w.owe(s, i)
		w.crash(s, i)
	case heeding:
		w.heed(s, i)
		w.crash(s, i)
	case writing:
		w.writeStore(s, i)
		w.stall(s, i)
		w.crash(s, i)
	case releasing:
		w.releaseHolds(s, i)
		w.outage(s, i, protocol.ReleaseFailed)
		w.crash(s, i)
	}
	if wr.inFlight {
		w.asEnvironment(func() { w.land(s, i) })
	}
}

// start finds out what there is to hold. If the writer knows, it holds at once.
func (w *world) start(s *state, i int) {
	n := *s
	wr := &n.writers[i]
	wr.phase, wr.before = holding, 0
	if w.layout.looksFirst() {
		wr.before = s.store
	}
	wr.todo = w.touches(&n, i)
	if !w.layout.looksFirst() {
		w.placeHolds(&n, i)
		w.outage(&n, i, protocol.HoldsFailed)
		return
	}
	w.emit(&n, writerNames[i], "reads what it is to change")
}

// event lets the protocol decide what follows.
func (w *world) event(n *state, i int, ev protocol.WriteEvent) {
	wr := &n.writers[i]
	var action protocol.WriteAction
	wr.Writer, action = wr.Step(ev)
	wr.missed, wr.todo = false, 0
	switch {
	case action == protocol.Owe && (w.journal == unjournalled || w.forgetRelease && ev == protocol.ReleaseFailed):
		w.event(n, i, protocol.OweFailed)
		return
	case ev == protocol.Owed && w.heeds(wr):
		wr.phase, wr.then = heeding, action
		return
	}
	switch action {
	case protocol.PlaceHolds:
		wr.phase, wr.todo = holding, w.touches(n, i)
	case protocol.Owe:
		wr.phase = owing
	case protocol.WriteStore:
		wr.phase = writing
	case protocol.ReleaseHolds:
		wr.phase, wr.todo = releasing, w.touches(n, i)
	case protocol.Finish:
		w.finish(n, i)
	}
}

// heeds reports whether a writer whose anchors have come into the journal waits until all
// processes know. One that is told nothing of its write acknowledges nothing.
func (w *world) heeds(wr *writer) bool {
	return w.journal == wait && !wr.Unknown && !w.heedless && (wr.wrote || !w.heedLate)
}

// finish returns to the caller, or begins again after a conflict.
func (w *world) finish(n *state, i int) {
	wr := n.writers[i]
	switch {
	case wr.conflict && wr.attempt == 0:
		n.writers[i] = writer{phase: starting, attempt: 1}
	case wr.inFlight:
		n.writers[i] = writer{phase: finished, attempt: wr.attempt, inFlight: true, before: wr.before, long: wr.long}
	default:
		n.writers[i] = writer{phase: finished, attempt: wr.attempt}
	}
	if w.check == acknowledged {
		n.floor = max(n.floor, wr.commit)
	}
}

// batchDone reports the fate of a batch once its last element is carried out.
func (w *world) batchDone(n *state, i int, all, some protocol.WriteEvent) {
	switch wr := &n.writers[i]; {
	case wr.todo != 0:
	case wr.missed:
		w.event(n, i, some)
	default:
		w.event(n, i, all)
	}
}

// placeHolds places one hold of the batch. Their order is open.
func (w *world) placeHolds(s *state, i int) {
	token := w.token(s, i)
	for a := range uint8(maxAnchors) {
		if s.writers[i].todo&(1<<a) == 0 {
			continue
		}
		carriedOut := *s
		w.hold(&carriedOut, a, token)
		n := carriedOut
		n.writers[i].todo &^= 1 << a
		w.batchDone(&n, i, protocol.HoldsPlaced, protocol.HoldsFailed)
		w.emit(&n, writerNames[i], "holds")

		v := stray{verb: model.Hold, anchor: a, token: token}
		w.lose(s, &carriedOut, i, v, func(n *state) {
			w.batchDone(n, i, protocol.HoldsPlaced, protocol.HoldsFailed)
		})
	}
}

// releaseHolds releases one hold of the batch.
func (w *world) releaseHolds(s *state, i int) {
	token, stamp := w.token(s, i), uint8(0)
	if w.lag || w.stamps {
		stamp = s.writers[i].commit
	}
	for a := range uint8(maxAnchors) {
		if s.writers[i].todo&(1<<a) == 0 {
			continue
		}
		carriedOut := *s
		w.release(&carriedOut, a, token, stamp)
		n := carriedOut
		n.writers[i].todo &^= 1 << a
		w.batchDone(&n, i, protocol.Released, protocol.ReleaseFailed)
		w.emit(&n, writerNames[i], "releases")

		v := stray{verb: model.Release, anchor: a, token: token, stamp: stamp}
		w.lose(s, &carriedOut, i, v, func(n *state) {
			w.batchDone(n, i, protocol.Released, protocol.ReleaseFailed)
		})
	}
}

// lose is a call that the cache does not answer: it has carried it out, or never
// will, or will later.
func (w *world) lose(s, carriedOut *state, i int, v stray, done func(*state)) {
	if s.left.lost == 0 {
		return
	}
	later := *s
	later.addStray(v)
	does := [...]string{"holds, and is not answered", "sends a hold that is lost", "gives up a hold that is under way"}
	if v.verb == model.Release {
		does = [...]string{"releases, and is not answered", "sends a release that is lost", "gives up a release that is under way"}
	}
	for k, n := range [...]state{*carriedOut, *s, later} {
		n.left.lost--
		n.writers[i].todo &^= 1 << v.anchor
		n.writers[i].missed = true
		done(&n)
		w.emit(&n, writerNames[i], does[k])
	}
}

// outage is a writer that the cache does not answer, neither at first nor when it tries
// again, because it is not reached.
func (w *world) outage(s *state, i int, ev protocol.WriteEvent) {
	if s.left.outages == 0 {
		return
	}
	n := *s
	n.left.outages--
	phase := s.writers[i].phase
	for n.writers[i].phase == phase {
		w.event(&n, i, ev)
	}
	w.emit(&n, writerNames[i], "does not reach the cache")
}

func (w *world) hold(n *state, a, token uint8) {
	before := n.entries[a]
	after, outcome := before.Hold(token, w.flaws)
	w.transitions.record(before, model.Operation{Verb: model.Hold, Token: token}, after, model.Reply{Outcome: outcome})
	n.entries[a] = after
}

func (w *world) release(n *state, a, token, stamp uint8) {
	before := n.entries[a]
	after, outcome := before.Release(token, stamp, w.flaws)
	op := model.Operation{Verb: model.Release, Token: token, Stamp: stamp}
	w.transitions.record(before, op, after, model.Reply{Outcome: outcome})
	n.entries[a] = after
}

// writeStore is the store's side of the write.
func (w *world) writeStore(s *state, i int) {
	n := *s
	n.writers[i].wrote = w.journal != unjournalled
	w.apply(&n, i)
	if wr := &n.writers[i]; w.heedLate && wr.Owed {
		wr.phase, wr.then = heeding, protocol.Finish
	} else {
		w.event(&n, i, protocol.Written)
	}
	w.emit(&n, writerNames[i], "writes the store")

	if s.left.ambiguous > 0 {
		n := *s
		n.left.ambiguous--
		n.writers[i].wrote = w.journal != unjournalled
		n.writers[i].inFlight = true
		w.event(&n, i, protocol.WriteUnknown)
		w.emit(&n, writerNames[i], "is not answered by the store")
	}
}

func (w *world) apply(n *state, i int) {
	wr := &n.writers[i]
	after, applied := w.layout.write(n.store, wr.before, i)
	if !applied {
		wr.conflict = true
		return
	}
	w.commit(n, after)
	if w.check == acknowledged || w.stamps {
		wr.commit = after
	}
}

// land ends a write that was left in flight: the store applies it after all, or
// cannot any more.
func (w *world) land(s *state, i int) {
	over := s.writers[i]
	over.inFlight = false
	if over.phase != owing {
		over = writer{phase: over.phase, attempt: over.attempt}
	}
	n := *s
	n.writers[i] = over
	w.emit(&n, "store", dropping[i])

	n = *s
	w.apply(&n, i)
	n.writers[i] = over // it is never acknowledged
	w.emit(&n, "store", applying[i])
}

// stall is a writer that finds its holds too old to write under them. They may have
// expired.
func (w *world) stall(s *state, i int) {
	if s.left.stalls == 0 {
		return
	}
	n := *s
	n.left.stalls--
	if s.writers[i].Owed {
		w.event(&n, i, protocol.OweFailed)
		w.emit(&n, writerNames[i], "finds its entries too old")
		return
	}
	expired := n
	w.event(&n, i, protocol.HoldsFailed)
	w.emit(&n, writerNames[i], "finds its holds too old")
	for a := range w.layout.anchors() {
		if token := w.token(s, i); s.entries[a].Tokens&(1<<token) != 0 {
			w.expire(&expired, a, token)
		}
	}
	w.event(&expired, i, protocol.HoldsFailed)
	w.emit(&expired, writerNames[i], "finds its holds too old, and they have expired")
}

// crash stops a writer for ever, perhaps with its write under way.
func (w *world) crash(s *state, i int) {
	if s.left.crashes == 0 {
		return
	}
	n := *s
	n.left.crashes--
	wr := s.writers[i]
	if w.journal != unjournalled {
		w.kill(&n, w.homes[i])
		w.emit(&n, writerNames[i], "crashes")
		return
	}
	n.writers[i] = writer{phase: crashed, attempt: wr.attempt}
	w.emit(&n, writerNames[i], "crashes")
	if wr.phase == writing {
		n.writers[i].before, n.writers[i].inFlight = wr.before, true
		w.emit(&n, writerNames[i], "crashes with its write under way")
	}
}
