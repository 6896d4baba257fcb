package protocol_test

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/internal/protocol/model"
)

// result is what a search found.
type result struct {
	states      int
	took        time.Duration
	transitions map[model.Transition]struct{}
	// violation says what went wrong, if anything did, and trace is a shortest
	// run that leads to it, one step a line.
	violation string
	trace     []string
}

// search looks at every state that can be reached, those that take fewer steps
// first, until one is wrong.
func search(c *config) result {
	began := time.Now()
	x := newSearcher(c)
	violation := x.run()
	r := result{
		states:      len(x.states),
		transitions: x.world.transitions.found,
		violation:   violation,
	}
	if violation != "" {
		r.trace = x.trace()
	}
	r.took = time.Since(began)
	return r
}

// searcher is a breadth-first search.
type searcher struct {
	world
	states  []state // in canonical form, in the order in which they were found
	parents []int32 // from where
	slots   []slot  // a hash table of states
	seed    maphash.Seed
	wrong   string
	idle    bool // nobody has taken a step from the state that changes it
}

// slot is a place in the hash table: the index of a state, counted from 1, and the
// other half of its hash, which spares most of the comparisons.
type slot struct {
	index int32
	tag   uint32
}

func newSearcher(c *config) *searcher {
	x := &searcher{slots: make([]slot, 1<<12), seed: maphash.MakeSeed()}
	x.world = world{config: c, pairs: c.interchangeable(), transitions: newRecorder()}
	return x
}

// run returns what is wrong with the last state found, or nothing.
func (x *searcher) run() string {
	from := int32(-1)
	x.emit = func(next *state, _, _ string) {
		if x.wrong != "" {
			return
		}
		n := x.canonical(next)
		if x.idle && !x.environment && from >= 0 && n != x.states[from] {
			x.idle = false
		}
		x.wrong, x.violation = x.violation, ""
		if x.wrong == "" {
			x.wrong = x.inspect(&n)
		}
		x.add(&n, from)
	}
	initial := x.initial()
	x.emit(&initial, "", "")
	for i := 0; i < len(x.states) && x.wrong == ""; i++ {
		from = int32(i)
		s := x.states[i]
		x.idle = true
		x.successors(&s)
		if x.idle && x.wrong == "" {
			if x.wrong = x.unsettled(&s); x.wrong != "" {
				x.add(&s, x.parents[i])
			}
		}
	}
	return x.wrong
}

// add adds a state unless it is there. The one that is wrong is always added, so
// that it is the last.
func (x *searcher) add(n *state, from int32) {
	at, tag := x.find(n)
	if x.slots[at].index != 0 && x.wrong == "" {
		return
	}
	x.states = append(x.states, *n)
	x.parents = append(x.parents, from)
	x.slots[at] = slot{int32(len(x.states)), tag}
	if 2*len(x.states) > len(x.slots) {
		x.grow()
	}
}

// find returns the place in the table where that state is, or should be.
func (x *searcher) find(n *state) (at int, tag uint32) {
	h := maphash.Comparable(x.seed, *n)
	mask := len(x.slots) - 1
	at, tag = int(h)&mask, uint32(h>>32)
	for x.slots[at].index != 0 && (x.slots[at].tag != tag || x.states[x.slots[at].index-1] != *n) {
		at = (at + 1) & mask
	}
	return at, tag
}

func (x *searcher) grow() {
	x.slots = make([]slot, 2*len(x.slots))
	for i := range x.states {
		at, tag := x.find(&x.states[i])
		x.slots[at] = slot{int32(i + 1), tag}
	}
}

// trace takes the steps that lead to the last state again, this time without the
// canonical form, in which actors and versions change their names.
func (x *searcher) trace() []string {
	var path []int32
	for i := int32(len(x.states) - 1); i > 0; i = x.parents[i] {
		path = append(path, i)
	}
	var lines []string
	s := x.initial()
	for k, i := range slices.Backward(path) {
		next, line := x.retake(&s, i, k == 0)
		if line == "" {
			// Two canonical forms of what is the same state: go on from the one
			// that the search had.
			lines = append(lines, "    (from here on, actors that do the same may have changed their names)")
			next, line = x.retake(&x.states[x.parents[i]], i, k == 0)
		}
		s = next
		lines = append(lines, fmt.Sprintf("%2d  %s", len(path)-k, line))
	}
	return lines
}

// retake takes the step from s that leads to state i, and tells it.
func (x *searcher) retake(s *state, i int32, last bool) (reached state, line string) {
	x.emit = func(next *state, actor, does string) {
		wrong := x.violation != "" || x.inspect(next) != "" || last && x.idle
		x.violation = ""
		if line == "" && wrong == last && x.canonical(next) == x.states[i] {
			reached, line = *next, x.describe(next, actor, does)
		}
	}
	x.successors(s)
	return reached, line
}

// describe tells a step, and in what state the entries and the store are then.
func (x *searcher) describe(n *state, actor, does string) string {
	if i := slices.Index(readerNames[:], actor); i >= 0 {
		does += n.readers[i].afterwards()
	}
	if x.journal != unjournalled {
		return fmt.Sprintf("%-9s %-52s %s", actor, does, x.overview(n))
	}
	var entries []string
	for a := range x.layout.anchors() {
		entries = append(entries, n.entries[a].String())
	}
	return fmt.Sprintf("%-9s %-42s store: %s  cache: %s", actor, does,
		x.layout.describe(n.store), strings.Join(entries, " / "))
}

// overview tells the whole state but for the readers, where there is a journal.
func (x *searcher) overview(n *state) string {
	var w strings.Builder
	fmt.Fprintf(&w, "store: %s  cache:", x.layout.describe(n.store))
	for a := range x.layout.anchors() {
		fmt.Fprintf(&w, " %v", n.entries[a])
	}
	w.WriteString("  journal:")
	for _, e := range n.journal {
		if e != 0 {
			fmt.Fprintf(&w, " %v", e)
		}
	}
	for p := range x.processes {
		fmt.Fprintf(&w, "  %d knows:", p+1)
		for _, d := range n.drains[p] {
			if d.known != 0 {
				fmt.Fprintf(&w, " %v", d.known)
			}
		}
	}
	return w.String()
}

// afterwards says what a reader goes on to do.
func (r *reader) afterwards() string {
	switch r.phase {
	case claiming:
		return ", will claim"
	case loading:
		return ", will load"
	case waiting:
		return ", waits"
	}
	return ""
}
