// Package replay puts a driver.Cache through every transition of its entries that the
// search of the protocol's interleavings has met, and compares what it does with the
// model. So what the search has proved of the model holds for the cache. The tests of
// a cache call [All]; package protocol's tests write the list.
package replay

import (
	_ "embed"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

//go:embed testdata/transitions.golden
var golden string

// Backend is a cache that is put through the transitions.
type Backend struct {
	Cache driver.Cache
	// Pass lets the cache's clock go on by d or more. It is called once, so a
	// cache with a clock of its own can sleep.
	Pass func(d time.Duration)
	// Garble makes the entry of the anchor one that the cache cannot parse.
	// Transitions of such entries are left out if it is nil.
	Garble func(anchor string)
	// Prefix is what the names of all anchors begin with. Anchors under it must be
	// empty.
	Prefix string
	// Soon is how far ahead a deadline lies that is to pass. On a clock that goes
	// on by itself it should outlast a few calls; where it did not, a longer one
	// is tried. Defaults to 1 s.
	Soon time.Duration
}

// Deadlines that are not to pass lie later ahead. Those that are, at most latest.
const (
	later  = time.Hour
	latest = 10 * time.Second
)

// All builds the state before each transition, carries the operation out, and compares
// what it leads to.
func All(t testing.TB, b Backend) {
	t.Helper()
	all, err := model.Parse(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.Soon == 0 {
		b.Soon = time.Second
	}
	r := run{Backend: b, t: t}
	for _, alternatives := range group(all) {
		r.begin(alternatives)
	}
	r.finish()
	t.Logf("replayed: %d transitions, left out: %d", r.replayed, r.skipped)
}

// group puts alternatives together.
func group(all []model.Transition) [][]model.Transition {
	type situation struct {
		before    model.Entry
		operation model.Operation
	}
	index := make(map[situation]int)
	var groups [][]model.Transition
	for _, tr := range all {
		s := situation{tr.Before, tr.Operation}
		i, ok := index[s]
		if !ok {
			i = len(groups)
			index[s] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], tr)
	}
	return groups
}

// run is one replay of all transitions.
//
// Only some of them wait for a deadline. These are built one by one as the others are,
// but checked at the end, so that the time for all of them passes at once.
type run struct {
	Backend
	t       testing.TB
	anchors int // that have been used
	waiting []waiting
	longest time.Duration // the longest of the deadlines that are waited for

	replayed, skipped int
}

// waiting is a state that has been built, of which something is to pass.
type waiting struct {
	anchor
	alternatives []model.Transition
}

// begin builds a state and, unless it has to wait, checks what follows from it.
func (r *run) begin(alternatives []model.Transition) {
	r.t.Helper()
	before, op := alternatives[0].Before, alternatives[0].Operation
	if before.Corrupt && r.Garble == nil {
		r.skipped += len(alternatives)
		return
	}
	a, ok := r.build(before, op)
	switch {
	case !ok:
	case waits(op):
		r.waiting = append(r.waiting, waiting{a, alternatives})
	default:
		a.check(alternatives)
		r.replayed += len(alternatives)
	}
}

// finish lets the time pass, and checks what has waited for it.
func (r *run) finish() {
	r.t.Helper()
	r.Pass(2 * r.longest)
	for _, w := range r.waiting {
		w.check(w.alternatives)
		r.replayed += len(w.alternatives)
	}
}

// waits reports whether the operation comes after a deadline.
func waits(op model.Operation) bool { return op.Passed || op.Verb == model.Expire }

// build brings a fresh anchor into a state, and reports whether it is there.
//
// If the operation waits, the state holds only until the deadline. So the deadline is
// set by the last call, and the state observed before anything else is built. On a
// slow machine the deadline may be reached even so. A state that is not the one that
// was wanted is a mistake of the cache only if there was time left; otherwise it is
// built again with a later deadline.
func (r *run) build(before model.Entry, op model.Operation) (a anchor, ok bool) {
	r.t.Helper()
	for soon := r.Soon; ; soon *= 2 {
		a = r.anchor()
		a.build(before, op)
		began := time.Now()
		if waits(op) {
			a.setDeadline(before, op, soon)
			r.longest = max(r.longest, soon)
		}
		got, want := a.observe(), observed(before)
		if got == want {
			return a, true
		}
		inTime := !waits(op) || time.Since(began) < soon
		if inTime || 2*soon > latest {
			r.t.Errorf("%v was built as %v", before, got)
			return a, false
		}
	}
}

// anchor returns one that has not been used.
func (r *run) anchor() anchor {
	r.anchors++
	return anchor{Backend: &r.Backend, t: r.t, name: fmt.Sprintf("%s%d", r.Prefix, r.anchors)}
}

// observation is what can be seen of an entry without changing it.
type observation struct {
	primary, secondary model.Reply
}

func (o observation) String() string {
	return fmt.Sprintf("{%v} with secondary {%v}", o.primary, o.secondary)
}

func observed(e model.Entry) observation {
	return observation{model.Seen(e.Lookup(model.Primary)), model.Seen(e.Lookup(model.Secondary))}
}

func (a anchor) observe() observation {
	return observation{a.lookup(model.Primary), a.lookup(model.Secondary)}
}

// check carries the operation out and finds the alternative that it follows.
func (a anchor) check(alternatives []model.Transition) {
	a.t.Helper()
	got := a.carryOut(alternatives[0].Operation)
	after := a.observe()
	i := slices.IndexFunc(alternatives, func(tr model.Transition) bool {
		return got == tr.Reply && after == observed(tr.After)
	})
	if i < 0 {
		a.t.Errorf("%v | %v\n got %v | %v", alternatives[0].Before, alternatives[0].Operation, after, got)
		for _, tr := range alternatives {
			a.t.Errorf("want %v | %v", observed(tr.After), tr.Reply)
		}
		return
	}
	a.checkTokens(alternatives[i])
}

// checkTokens finds out which tokens stand by releasing them, first those that must
// not be there.
func (a anchor) checkTokens(tr model.Transition) {
	a.t.Helper()
	if tr.After.State != driver.Held {
		return
	}
	for _, want := range []driver.Outcome{driver.Refused, driver.Done} {
		for token := range uint8(8) {
			stands := tr.After.Tokens&(1<<token) != 0
			if stands != (want == driver.Done) {
				continue
			}
			if got := a.release(token, 0).Outcome; got != want {
				a.t.Errorf("after %v: release of token%d: %v, want %v", tr, token, got, want)
			}
		}
	}
	if got := a.observe().primary.State; got != driver.Empty {
		a.t.Errorf("after %v, and after all its tokens were released: %v", tr, got)
	}
}
