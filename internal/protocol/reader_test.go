package protocol_test

import (
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

// readerSpec is what a reader is after. It does not change during a run.
type readerSpec struct {
	process uint8 // readers of one process may join each other's loads
	anchor  uint8
	field   model.Field
	short   bool // a prefix of the value will do
}

// readPhase is what a reader does next. A decision is made as soon as the reply on
// which it depends exists, because it depends on nothing else; what the decision
// leads to is a step of its own, before which anything may happen. So the time that
// a reply takes is in the time between two steps.
//
// A reader that crashes needs no step: the search also looks at all the runs in
// which a reader never takes another one.
type readPhase uint8

const (
	// idle: the reader has not begun. It begins with its first look.
	idle readPhase = iota
	// headerSeen: it has read the entry, and is to read the hash.
	headerSeen
	// claiming: it is to claim the entry.
	claiming
	// leasing: its claim found or made a version, and is to reach the hash.
	leasing
	// loading: it is to read the store.
	loading
	// loaded: the store has answered.
	loaded
	// joined: it waits for the load of another reader of its process.
	joined
	// waiting: it is to look again.
	waiting
	// answered: it has returned a value or an error. Its fill may be under way.
	answered
)

func (p readPhase) underWay() bool { return p != idle && p != answered }

// reader is how far a reader has come.
type reader struct {
	phase   readPhase
	version uint8 // what it saw, or what its load runs under
	stamp   uint8
	replace bool          // its claim names the corrupt bytes that it saw
	leader  uint8         // whose load it has joined, counted from 1
	value   model.Payload // what the store answered
	valid   uint8         // the set of contents that it may return
	floor   uint8         // the last commit that was acknowledged before it began
	fill    pendingFill
}

// pendingFill is a fill that has been sent. It may reach the cache at any later
// time, more than once, or never. Without a value it gives the claim back.
type pendingFill struct {
	version uint8
	value   model.Payload
}

// less orders readers, for the canonical form.
func (r *reader) less(o *reader, names *[256]uint8) bool {
	a, b := r.key(names), o.key(names)
	return slices.Compare(a[:], b[:]) < 0
}

func (r *reader) key(names *[256]uint8) [12]uint8 {
	known := func(version uint8) uint8 {
		if version != 0 && names[version] == 0 {
			return 255 // a version of the past, which has no name yet
		}
		return names[version]
	}
	replace := uint8(0)
	if r.replace {
		replace = 1
	}
	return [...]uint8{
		uint8(r.phase), known(r.version), r.stamp, replace, r.leader, uint8(r.value), r.valid, r.floor,
		known(r.fill.version), uint8(r.fill.value), r.version, r.fill.version,
	}
}

// The names are made once because the search asks for them millions of times.
var (
	readerNames = [maxReaders]string{"reader A", "reader B", "reader C", "reader D"}
	joining     = [maxReaders]string{"joins reader A", "joins reader B", "joins reader C", "joins reader D"}
)

// stepReader emits every step that reader i may take.
func (w *world) stepReader(s *state, i int) {
	switch phase := s.readers[i].phase; {
	case s.isDead(w.readers[i].process):
	case phase == idle && !w.ignores && w.honours(s, w.readers[i].process, w.readers[i].anchor):
		w.avoid(s, i)
	default:
		w.stepLive(s, i)
	}
	if s.readers[i].fill.version != 0 {
		w.asEnvironment(func() { w.fill(s, i) })
	}
}

// avoid is the begin of a read of an anchor that its process knows to be in the journal:
// the cache is not asked.
func (w *world) avoid(s *state, i int) {
	n := *s
	w.begin(&n, i).phase = loading
	w.emit(&n, readerNames[i], "finds the anchor in the journal")
}

func (w *world) stepLive(s *state, i int) {
	switch s.readers[i].phase {
	case idle:
		w.look(s, i)
	case headerSeen:
		w.readHash(s, i)
	case claiming:
		w.join(s, i)
		w.claim(s, i)
	case leasing:
		w.lease(s, i)
	case loading:
		w.join(s, i)
		w.load(s, i)
		w.fail(s, i)
	case loaded:
		w.deliver(s, i)
	case waiting:
		w.join(s, i)
		w.look(s, i)
	}
}

// found is what a value is worth to the reader.
func (spec readerSpec) found(e driver.Entry) protocol.Found {
	switch p := model.PayloadFrom(e.Value); {
	case p == 0:
		return protocol.Nothing
	case p.Short() && !spec.short:
		return protocol.Short
	}
	return protocol.Whole
}

// begin starts the interval in which the reader's value must have been committed.
// In the model it starts with the first look, which makes it as short as it can be.
func (w *world) begin(n *state, i int) *reader {
	r := &n.readers[i]
	if r.phase == idle {
		r.floor = n.floor
		r.valid = 1 << w.content(n, w.readers[i].anchor)
		if w.excused(n, w.readers[i].process, w.readers[i].anchor) {
			r.floor, r.valid = 0, 0xff
		}
	}
	return r
}

// look is a look-up, or the first half of one.
func (w *world) look(s *state, i int) {
	spec := w.readers[i]
	e := s.entries[spec.anchor]
	answer := e.Lookup(spec.field)
	w.transitions.record(e, model.Operation{Verb: model.Lookup, Field: spec.field}, e, model.Seen(answer))

	if spec.field == secondary && e.State == driver.Versioned {
		n := *s
		r := w.begin(&n, i)
		r.phase, r.version, r.stamp = headerSeen, e.Version, e.Stamp
		w.emit(&n, readerNames[i], "reads the entry's header")
	} else {
		w.looked(s, i, answer, "looks")
	}
	w.loseLook(s, i)
}

// readHash is the second half of a look-up of the secondary fragment.
func (w *world) readHash(s *state, i int) {
	r, spec := &s.readers[i], w.readers[i]
	header := driver.Entry{State: driver.Versioned, Version: uint64(r.version), Stamp: model.StampOf(r.stamp)}
	answer := model.With(header, s.entries[spec.anchor].Hash.Under(r.version))
	w.looked(s, i, answer, "reads the hash")
	w.loseLook(s, i)
}

// looked follows the answer to a look. Patience may end at any time.
func (w *world) looked(s *state, i int, answer driver.Entry, does string) {
	if w.dropStamp && answer.State == driver.Held {
		answer.Stamp = ""
	}
	for _, impatient := range []bool{false, true} {
		n := *s
		w.begin(&n, i)
		next := protocol.Looked(answer, w.readers[i].found(answer), impatient)
		w.follow(&n, i, next, answer)
		if impatient {
			does = "looks, and has lost patience"
		}
		if !impatient || answer.Loading {
			w.emit(&n, readerNames[i], does)
		}
	}
}

// loseLook is a look-up that the cache does not answer. If the store lags, nothing
// tells the reader by how much, and nothing can be promised.
func (w *world) loseLook(s *state, i int) {
	if s.left.lost == 0 || w.lag {
		return
	}
	n := *s
	n.left.lost--
	w.begin(&n, i)
	w.follow(&n, i, protocol.Looked(driver.Entry{}, protocol.Nothing, false), driver.Entry{})
	w.emit(&n, readerNames[i], "looks, and the cache does not answer")
}

// follow takes the decision over into the reader's state. A stamp that was seen once
// is not forgotten, whatever the cache answers later.
func (w *world) follow(n *state, i int, next protocol.Next, answer driver.Entry) {
	r := &n.readers[i]
	r.version, r.replace = uint8(next.Version), next.Replace != nil
	r.stamp = max(r.stamp, model.StampFrom(next.Stamp))
	switch next.Action {
	case protocol.Hit:
		w.answer(n, i, model.PayloadFrom(answer.Value).Content())
	case protocol.Claim:
		r.phase = claiming
	case protocol.Load:
		r.phase = loading
		if r.value != 0 {
			r.phase = loaded // readEarly: the store has answered already
		}
	case protocol.Wait:
		r.phase, r.value = waiting, 0
	}
}

// claim is a claim, or the first half of one.
func (w *world) claim(s *state, i int) {
	if w.readEarly && s.readers[i].value == 0 {
		n := *s
		n.readers[i].value = model.PayloadOf(w.content(s, w.readers[i].anchor), false)
		w.emit(&n, readerNames[i], "reads the store before the claim is answered")
	}
	for _, passed := range []bool{false, true} {
		if passed && !w.isLoading(s, i) {
			continue
		}
		n := *s
		answer := w.claimEntry(&n, i, passed)
		does := "claims"
		if passed {
			does = "claims, as the loading deadline has passed,"
		}
		w.loseClaim(n, i)
		if w.readers[i].field == secondary && n.entries[w.readers[i].anchor].State == driver.Versioned {
			if passed {
				continue // the deadline is judged in the second half
			}
			r := &n.readers[i]
			r.phase, r.version, r.stamp = leasing, uint8(answer.Version), model.StampFrom(answer.Stamp)
			w.emit(&n, readerNames[i], "opens the entry")
			continue
		}
		w.follow(&n, i, protocol.Answered(answer, w.readers[i].found(answer)), answer)
		w.emit(&n, readerNames[i], does)
	}
	w.loseClaim(*s, i)
}

// isLoading reports whether the fragment of reader i has a loading deadline.
func (w *world) isLoading(s *state, i int) bool {
	spec := w.readers[i]
	return s.entries[spec.anchor].Lookup(spec.field).Loading
}

// claimEntry carries out the claim of reader i as far as one step goes.
func (w *world) claimEntry(n *state, i int, passed bool) driver.Entry {
	spec := w.readers[i]
	before := n.entries[spec.anchor]
	op := model.Operation{Verb: model.Claim, Field: spec.field, Version: n.fresh(), Replace: n.readers[i].replace, Passed: passed}
	if seen := n.readers[i].version; w.bringBack && seen != 0 {
		op.Version = seen
	}
	after, answer := before.Claim(op.Field, op.Version, op.Replace, op.Passed)
	w.transitions.record(before, op, after, model.Seen(answer))
	if spec.field == secondary {
		after.Hash = before.Hash
	}
	n.entries[spec.anchor] = after
	return answer
}

// lease is the second half of a claim of the secondary fragment.
func (w *world) lease(s *state, i int) {
	r, spec := &s.readers[i], w.readers[i]
	header := driver.Entry{State: driver.Versioned, Version: uint64(r.version), Stamp: model.StampOf(r.stamp)}
	for _, passed := range []bool{false, true} {
		n := *s
		h := &n.entries[spec.anchor].Hash
		var answer driver.Entry
		*h, answer = h.Lease(header, passed)
		w.loseClaim(n, i)
		w.follow(&n, i, protocol.Answered(answer, spec.found(answer)), answer)
		w.emit(&n, readerNames[i], "claims in the hash")
	}
}

// loseClaim is a claim that is not answered, in a state in which it was carried out
// or not.
func (w *world) loseClaim(n state, i int) {
	if n.left.lost == 0 {
		return
	}
	n.left.lost--
	w.follow(&n, i, protocol.Answered(driver.Entry{}, protocol.Nothing), driver.Entry{})
	w.emit(&n, readerNames[i], "claims, and the cache does not answer")
}

// join takes the result of a load that another reader of the process is about to
// make, or is making.
//
// A claim cannot be joined, only the load that follows from it: the answer to a
// claim may be a value, as it was when the cache answered, and a reader that came
// later must not have it.
func (w *world) join(s *state, i int) {
	if s.leads(i) {
		return
	}
	r := &s.readers[i]
	for j := range w.readers {
		other := &s.readers[j]
		if i == j || w.readers[i] != w.readers[j] || other.phase != loading && other.phase != loaded {
			continue
		}
		joins := protocol.Joins
		if w.joins != nil {
			joins = w.joins
		}
		if !joins(uint64(r.version), uint64(other.version), other.phase == loaded) {
			continue
		}
		n := *s
		n.readers[i] = reader{phase: joined, leader: uint8(j + 1), valid: r.valid, floor: r.floor}
		if other.phase == loading && !w.deafLoad {
			// The load is yet to be sent, and is made to suit both.
			n.readers[j].stamp = max(other.stamp, r.stamp)
		}
		w.emit(&n, readerNames[i], joining[j])
	}
}

// leads reports whether another reader waits for the load of reader i.
func (s *state) leads(i int) bool {
	for j := range s.readers {
		if int(s.readers[j].leader) == i+1 {
			return true
		}
	}
	return false
}

// load is the store's side of a read.
func (w *world) load(s *state, i int) {
	spec := w.readers[i]
	oldest := s.store
	if w.lag {
		oldest = s.readers[i].stamp
	}
	for store := oldest; store <= s.store; store++ {
		n := *s
		r := &n.readers[i]
		r.phase, r.stamp, r.value = loaded, 0, model.PayloadOf(w.layout.content(store, spec.anchor), spec.short)
		w.emit(&n, readerNames[i], "is answered by the store")
	}
}

// fail is a load that the store does not answer.
func (w *world) fail(s *state, i int) {
	if s.left.failures == 0 {
		return
	}
	n := *s
	n.left.failures--
	version := n.readers[i].version
	for j := range n.readers {
		if r := &n.readers[j]; j == i || int(r.leader) == i+1 {
			*r = reader{phase: answered}
		}
	}
	n.readers[i].fill.version = version
	w.emit(&n, readerNames[i], "fails to read the store")
}

// deliver hands what was loaded to the reader and all that have joined it, at once,
// which is the hardest case, and sends the fill.
func (w *world) deliver(s *state, i int) {
	n := *s
	loaded := n.readers[i]
	for j := range n.readers {
		if j == i || int(n.readers[j].leader) == i+1 {
			w.answer(&n, j, loaded.value.Content())
		}
	}
	if loaded.version != 0 {
		n.readers[i].fill = pendingFill{loaded.version, loaded.value}
	}
	w.emit(&n, readerNames[i], "returns what it loaded")
}

// answer ends a read, and checks it.
func (w *world) answer(n *state, i int, content uint8) {
	r := n.readers[i]
	n.readers[i] = reader{phase: answered}
	switch {
	case w.check == current && r.valid&(1<<content) == 0:
		w.violation = fmt.Sprintf("%s returned %s, which was not committed at any moment of the read", readerNames[i], letter(content))
	case w.check == acknowledged && content < r.floor:
		w.violation = fmt.Sprintf("%s returned %s, but %s was acknowledged before it began", readerNames[i], letter(content), letter(r.floor))
	}
}

// fill is the cache's side of a fill.
func (w *world) fill(s *state, i int) {
	spec, f := w.readers[i], s.readers[i].fill
	op := model.Operation{Verb: model.Fill, Field: spec.field, Version: f.version, Value: f.value}
	n := *s
	e := &n.entries[spec.anchor]
	w.transitions.recordFill(*e, op)
	*e, _ = e.Fill(op.Field, op.Version, op.Value, w.flaws)
	w.emit(&n, readerNames[i], "has its fill carried out")
}
