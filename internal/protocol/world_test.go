package protocol_test

import (
	"slices"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

const (
	maxAnchors = 4
	maxReaders = 4
	maxWriters = 3
	maxStrays  = 2
)

// state is everything that there is at one moment: the store, the cache, and how
// far every actor has come. It is comparable and holds no pointers.
type state struct {
	store   uint8 // see layout
	entries [maxAnchors]model.Entry
	readers [maxReaders]reader
	writers [maxWriters]writer
	strays  [maxStrays]stray
	journal [maxPlaces]owed
	drains  [maxProcesses][maxPlaces]drain
	dead    uint8 // the set of processes that have crashed; only if there is a journal
	left    budget
	floor   uint8 // the last commit that was acknowledged; only if that is checked
	last    uint8 // the highest version in use
}

// budget bounds what goes wrong in a run, so that the search ends.
type budget struct {
	lost      uint8 // replies of the cache that do not arrive
	stalls    uint8 // writers that find their holds too old to write
	crashes   uint8 // writers that stop for ever
	ambiguous uint8 // writes that the store does not answer
	evictions uint8 // entries or hashes that vanish
	corrupted uint8 // entries that become unreadable
	failures  uint8 // loads that fail
	outages   uint8 // writers that the cache does not answer at all, twice
	unsaved   uint8 // changes of the journal that the store does not confirm
	deaths    uint8 // processes that stop for ever, apart from crashes of writers
}

// stray is a call whose caller has given up on it and that the cache has yet to
// carry out. It may be carried out at any time, or never.
type stray struct {
	verb   model.Verb // hold or release; lookup if there is none
	anchor uint8
	token  uint8
	stamp  uint8
}

// config is what a search searches.
type config struct {
	name    string
	layout  layout
	readers []readerSpec
	writers int
	// homes are the processes of the writers.
	homes  [maxWriters]uint8
	budget budget
	check  property
	// journal says whether there is one. Then there are that many processes.
	journal   journalling
	processes uint8
	// lag: a deposed primary may answer reads with an old state, though not with
	// one before the stamp that is asked for.
	lag bool
	// stamps: writers leave stamps. They do if the store lags.
	stamps bool
	// expireEarly: a token may expire before its writer has released it, though
	// not before the store write is over.
	expireEarly bool
	// loseHolds: an entry may be evicted although it is held.
	loseHolds bool
	// full: the search takes long and is left out by default.
	full bool

	// What follows breaks the protocol, for the controls.

	flaws      model.Flaws
	joins      func(version, flight uint64, sent bool) bool
	readEarly  bool // the store read is sent along with the claim
	forgetOld  bool // a writer does not hold what it takes away
	reuseToken bool // a writer that tries again keeps its token
	dropStamp  bool // a look at a held entry ignores its stamp
	deafLoad   bool // a load ignores the stamp of a reader that joins it
	bringBack  bool // a claim offers the version that its reader has looked up
	expireSoon bool // a token expires although the write is under way

	noEntry       bool // what is owed does not come into the journal
	forgetRelease bool // releases that were not confirmed are not journalled
	hasty         bool // entries are drained before their windows are over
	tight         bool // a window is over before the journal has a longer one
	shorten       bool // a later entry of the owner shortens the window
	keepToken     bool // an entry with a longer window keeps its token
	settleFirst   bool // an entry may be removed before the anchor is cleared
	blindSettle   bool // an entry is removed whatever its token
	oneOwner      bool // there is one entry for an anchor, whoever owes it
	ownLate       bool // a process knows its own entries from its looks
	ignores       bool // a process reads what others owe as if nobody did
	heedless      bool // a writer waits for nobody
	heedLate      bool // a writer waits for others after the write instead of before
	expireUnknown bool // the holds of an unanswered write expire before all processes know of it
	forgetSettled bool // a process forgets others' entries when it has settled them
	forgetHolds   bool // a process leaves the holds that it placed for entries that are gone
	undrained     bool // nobody drains
	dropReplaced  bool // the hold for an entry is taken off as soon as another entry replaces it
}

// property is what is checked of every value that a reader returns.
type property uint8

const (
	// current: it was the committed value at some moment of the read.
	current property = iota
	// acknowledged: it is not older than the last write that was acknowledged
	// before the read began.
	acknowledged
)

// layout is what the store holds, coded in one number, and how the anchors depend
// on it.
type layout interface {
	// anchors returns how many there are.
	anchors() int
	// content is what the store says of the anchor.
	content(store uint8, anchor uint8) uint8
	// touches returns the set of anchors that a write changes. The writer has
	// read before from the store.
	touches(before uint8, writer int) uint8
	// write is the writer's write. It is not applied if it finds a state that is
	// in conflict with before.
	write(store, before uint8, writer int) (after uint8, applied bool)
	// looksFirst: a writer reads the store before it knows what to hold.
	looksFirst() bool
	// alike: all writers do the same.
	alike() bool
	describe(store uint8) string
}

// counter is one anchor, whose content is the number of writes so far: writes differ
// in nothing but their order.
type counter struct{}

func (counter) anchors() int                          { return 1 }
func (counter) content(store, _ uint8) uint8          { return store }
func (counter) touches(uint8, int) uint8              { return 1 }
func (counter) write(s, _ uint8, _ int) (uint8, bool) { return s + 1, true }
func (counter) looksFirst() bool                      { return false }
func (counter) alike() bool                           { return true }
func (counter) describe(store uint8) string           { return letter(store) }

// pair is a counter that two anchors show.
type pair struct{ counter }

func (pair) anchors() int             { return 2 }
func (pair) touches(uint8, int) uint8 { return 3 }

// compared is a counter whose writers read it first. A write is in conflict if another
// one has come in between.
type compared struct{ counter }

func (compared) looksFirst() bool { return true }

func (compared) write(s, before uint8, _ int) (uint8, bool) {
	if s != before {
		return s, false
	}
	return s + 1, true
}

// toOne is an edge from one object to one of three: anchor 0 is the list out of the
// object, anchor 1+t the list into target t. Writer i moves the edge to target i+1.
type toOne struct{}

func (toOne) anchors() int { return 4 }

func (toOne) content(target, anchor uint8) uint8 {
	switch {
	case anchor == 0:
		return target
	case anchor == 1+target:
		return 1
	}
	return 0
}

func (toOne) touches(before uint8, writer int) uint8 {
	return 1 | 1<<(1+before) | 1<<(1+goal(writer))
}

func (toOne) write(target, before uint8, writer int) (uint8, bool) {
	if target != before {
		return target, false
	}
	return goal(writer), true
}

func (toOne) looksFirst() bool             { return true }
func (toOne) alike() bool                  { return false }
func (toOne) describe(target uint8) string { return "edge to " + letter(target) }

// letter names what the store says of an anchor.
func letter(content uint8) string { return model.PayloadOf(content, false).String() }

func goal(writer int) uint8 { return uint8(writer) + 1 }

// initial is the state in which nothing has happened.
func (c *config) initial() state {
	s := state{left: c.budget}
	for a := range c.layout.anchors() {
		s.entries[a].State = driver.Empty
	}
	return s
}

// fresh is a version that nobody has used. The canonical form keeps it small.
func (s *state) fresh() uint8 {
	s.last++
	return s.last
}

// world knows what may happen next. Every method that takes a step works on a copy of
// the state, and hands each copy to emit that is one step on.
type world struct {
	*config
	pairs       [][2]int // of interchangeable readers
	transitions *recorder
	emit        func(next *state, actor, does string)
	// violation says what is wrong with the state that is emitted next.
	violation string
	// environment: what is emitted is done by nobody who is to come to an end.
	environment bool
}

func (w *world) asEnvironment(step func()) {
	w.environment = true
	step()
	w.environment = false
}

// successors emits every state to which one step leads.
func (w *world) successors(s *state) {
	for i := range w.readers {
		w.stepReader(s, i)
	}
	for i := range w.writers {
		w.stepWriter(s, i)
	}
	for p := range w.processes {
		w.stepProcess(s, p)
	}
	w.asEnvironment(func() {
		for i := range s.strays {
			w.deliverStray(s, i)
		}
		for a := range w.layout.anchors() {
			w.expireTokens(s, a)
			w.evict(s, a)
			w.corrupt(s, a)
		}
	})
}

// content is what the store says of the anchor.
func (w *world) content(s *state, anchor uint8) uint8 {
	return w.layout.content(s.store, anchor)
}

// commit changes the store, and lets every reader under way know that what it
// returns may be that.
func (w *world) commit(n *state, after uint8) {
	n.store = after
	for i, spec := range w.readers {
		if r := &n.readers[i]; r.phase.underWay() {
			r.valid |= 1 << w.content(n, spec.anchor)
		}
	}
}

func (n *state) addStray(v stray) {
	for i := range n.strays {
		if n.strays[i] == (stray{}) {
			n.strays[i] = v
			return
		}
	}
	panic("more strays than lost replies")
}

func (w *world) deliverStray(s *state, i int) {
	v := s.strays[i]
	if v == (stray{}) {
		return
	}
	n := *s
	n.strays[i] = stray{}
	if v.verb == model.Hold {
		w.hold(&n, v.anchor, v.token)
		w.emit(&n, "cache", "carries out a hold that was given up")
		return
	}
	w.release(&n, v.anchor, v.token, v.stamp)
	w.emit(&n, "cache", "carries out a release that was given up")
}

// expireTokens ends the tokens whose store write is over.
func (w *world) expireTokens(s *state, a int) {
	for token := range uint8(2 * maxWriters) {
		if s.entries[a].Tokens&(1<<token) == 0 || !w.mayExpire(s, token) {
			continue
		}
		n := *s
		w.expire(&n, a, token)
		w.emit(&n, "cache", "lets a token expire")
	}
}

// mayExpire reports whether a token may have come to its deadline.
//
// A hold outlasts its write. If the store did not answer, it lasts until all processes
// know of the entry in the journal, and if that was not made, until the write can no
// longer be applied. Where the journal has stood in for holds, nothing depends on them.
func (w *world) mayExpire(s *state, token uint8) bool {
	if w.expireSoon || w.journal != unjournalled && token >= 4 {
		return true
	}
	wr := &s.writers[token/2]
	switch {
	case token%2 < wr.attempt && !w.reuseToken:
		return true
	case wr.inFlight:
		return wr.long && (w.expireUnknown || w.heeded(s, int(token/2)))
	case wr.phase == releasing, wr.wrote && (wr.phase == owing || wr.phase == heeding):
		return w.expireEarly
	case wr.phase == owing, wr.Owed:
		return true
	}
	return wr.phase == finished || wr.phase == crashed
}

func (w *world) expire(n *state, a int, token uint8) {
	before := n.entries[a]
	n.entries[a] = before.Expire(token)
	w.transitions.record(before, model.Operation{Verb: model.Expire, Token: token}, n.entries[a], model.Reply{})
}

// evict lets an entry vanish, or its hash.
func (w *world) evict(s *state, a int) {
	if s.left.evictions == 0 {
		return
	}
	e := s.entries[a]
	if e.State == driver.Versioned || e.State == driver.Held && w.loseHolds {
		n := *s
		n.left.evictions--
		n.entries[a] = model.Entry{State: driver.Empty, Hash: e.Hash}
		w.emit(&n, "cache", "evicts the entry")
	}
	if e.Hash.Version != 0 {
		n := *s
		n.left.evictions--
		n.entries[a].Hash = model.Hash{}
		w.emit(&n, "cache", "evicts the hash")
	}
}

func (w *world) corrupt(s *state, a int) {
	if s.left.corrupted == 0 || s.entries[a].State != driver.Versioned {
		return
	}
	n := *s
	n.left.corrupted--
	n.entries[a] = model.Entry{State: driver.Empty, Corrupt: true, Hash: s.entries[a].Hash}
	w.emit(&n, "cache", "garbles the entry")
}

// inspect says what is wrong with the cache in that state, if anything is.
//
// As long as no hold is lost, a value that can be had from the cache is what the
// store says: whoever changes the store holds the entry. Where only the weaker
// property is asked for, that need be so only once no writer is at work. While the journal
// has an anchor, it need not be so.
func (w *world) inspect(s *state) string {
	if w.check == acknowledged && s.busy() {
		return ""
	}
	for a := range w.layout.anchors() {
		if w.journalled(s, uint8(a)) {
			continue
		}
		e := s.entries[a]
		for f := primary; f <= secondary; f++ {
			value := model.PayloadFrom(e.Lookup(f).Value)
			if value != 0 && value.Content() != w.content(s, uint8(a)) {
				return "whoever looks is told " + value.String() + ", but the store has " + letter(w.content(s, uint8(a)))
			}
		}
	}
	return ""
}

// busy reports whether a writer has begun and not finished.
func (s *state) busy() bool {
	for _, wr := range s.writers {
		if wr.phase != starting && wr.phase != finished || wr.inFlight {
			return true
		}
	}
	return false
}

// canonical returns the representative of the states that differ from s in nothing
// that matters: in the names of the versions, in which of several equal readers has
// come how far, and in fills that will be refused.
func (w *world) canonical(s *state) state {
	n := *s
	w.dropDeadFills(&n)
	w.sortWriters(&n)
	var names [256]uint8
	count := uint8(0)
	name := func(version uint8) {
		if version != 0 && names[version] == 0 {
			count++
			names[version] = count
		}
	}
	for a := range w.layout.anchors() {
		name(n.entries[a].Version)
		name(n.entries[a].Hash.Version)
	}
	w.sortReaders(&n, &names)
	for i := range n.readers {
		name(n.readers[i].version)
		name(n.readers[i].fill.version)
	}
	for a := range w.layout.anchors() {
		e := &n.entries[a]
		e.Version, e.Hash.Version = names[e.Version], names[e.Hash.Version]
	}
	for i := range n.readers {
		r := &n.readers[i]
		r.version, r.fill.version = names[r.version], names[r.fill.version]
	}
	n.last = count
	if n.strays[0] == (stray{}) {
		slices.Reverse(n.strays[:])
	}
	return n
}

// dropDeadFills forgets the fills under a version that the entry no longer has. No
// entry gets a version back.
func (w *world) dropDeadFills(n *state) {
	if w.flaws.FillAnyVersion {
		return
	}
	for i, spec := range w.readers {
		r := &n.readers[i]
		e := n.entries[spec.anchor]
		if r.fill.version == 0 || spec.field != primary || e.Version == r.fill.version {
			continue
		}
		w.transitions.recordFill(e, model.Operation{Verb: model.Fill, Version: r.fill.version, Value: r.fill.value})
		r.fill = pendingFill{}
	}
}

// sortWriters does for writers what sortReaders does for readers. They take their
// tokens along.
func (w *world) sortWriters(n *state) {
	if !w.layout.alike() || w.journal != unjournalled {
		return
	}
	for i := range w.writers {
		for j := i + 1; j < w.writers; j++ {
			if a, b := n.writerKey(i), n.writerKey(j); slices.Compare(b[:], a[:]) < 0 {
				n.swapWriters(i, j)
			}
		}
	}
}

func (n *state) swapWriters(i, j int) {
	n.writers[i], n.writers[j] = n.writers[j], n.writers[i]
	for a := range n.entries {
		tokens := n.entries[a].Tokens
		both := (tokens>>(2*i) ^ tokens>>(2*j)) & 3
		n.entries[a].Tokens = tokens ^ both<<(2*i) ^ both<<(2*j)
	}
	for k := range n.strays {
		switch v := &n.strays[k]; {
		case *v == (stray{}):
		case int(v.token/2) == i:
			v.token = uint8(2*j) + v.token%2
		case int(v.token/2) == j:
			v.token = uint8(2*i) + v.token%2
		}
	}
}

// sortReaders puts readers that are interchangeable into one order. It need not be
// the same for all equivalent states: then the search only takes longer.
func (w *world) sortReaders(n *state, names *[256]uint8) {
	for _, pair := range w.pairs {
		if i, j := pair[0], pair[1]; n.readers[j].less(&n.readers[i], names) {
			n.swapReaders(i, j)
		}
	}
}

func (n *state) swapReaders(i, j int) {
	n.readers[i], n.readers[j] = n.readers[j], n.readers[i]
	for k := range n.readers {
		switch r := &n.readers[k]; int(r.leader) {
		case i + 1:
			r.leader = uint8(j + 1)
		case j + 1:
			r.leader = uint8(i + 1)
		}
	}
}

// interchangeable lists the pairs of readers that do the same, both for the same
// process or each for one of its own.
func (c *config) interchangeable() [][2]int {
	var pairs [][2]int
	for i, a := range c.readers {
		for j, b := range c.readers[:i] {
			if c.journal == unjournalled && c.alone(i) && c.alone(j) {
				b.process = a.process
			}
			if a == b {
				pairs = append(pairs, [2]int{j, i})
			}
		}
	}
	return pairs
}

func (c *config) alone(i int) bool {
	n := 0
	for _, spec := range c.readers {
		if spec.process == c.readers[i].process {
			n++
		}
	}
	return n == 1
}
