package protocol_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// TestReplayMemory puts the memory backend through every transition of the model.
func TestReplayMemory(t *testing.T) {
	now := time.Unix(1e9, 0)
	cache := memory.NewCache(&memory.CacheOptions{Now: func() time.Time { return now }})
	replayAll(t, backend{
		cache:   cache,
		advance: func(d time.Duration) { now = now.Add(d) },
	})
}

// backend is a cache that is put through the transitions.
type backend struct {
	cache driver.Cache
	// advance lets the cache's clock go on.
	advance func(time.Duration)
	// garble makes the entry unreadable. It is nil if the cache has no such
	// entries.
	garble func(anchor string)
}

// Deadlines that pass during a replay, and such that do not.
const (
	soon  = time.Second
	later = time.Hour
)

// replayAll builds the state before each transition, carries the operation out, and
// compares what it leads to.
func replayAll(t *testing.T, b backend) {
	replayed, skipped := 0, 0
	for i, alternatives := range groupTransitions(readGolden(t)) {
		before, op := alternatives[0].before, alternatives[0].operation
		if before.corrupt && b.garble == nil {
			skipped += len(alternatives)
			continue
		}
		x := replayer{t: t, backend: b, anchor: fmt.Sprintf("anchor %d", i)}
		x.build(before, op)
		if got, want := x.observe(), observed(before); got != want {
			t.Errorf("%v was built as %v", before, got)
			continue
		}
		x.check(alternatives)
		replayed += len(alternatives)
	}
	t.Logf("replayed: %d transitions, skipped: %d", replayed, skipped)
}

// groupTransitions puts alternatives together.
func groupTransitions(all []transition) [][]transition {
	type situation struct {
		before    entry
		operation operation
	}
	index := make(map[situation]int)
	var groups [][]transition
	for _, tr := range all {
		s := situation{tr.before, tr.operation}
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

// replayer replays one transition on one anchor.
type replayer struct {
	backend
	t      *testing.T
	anchor string
}

// observation is what can be seen of an entry without changing it.
type observation struct {
	primary, secondary reply
}

func (o observation) String() string {
	return fmt.Sprintf("{%v} with secondary {%v}", o.primary, o.secondary)
}

func observed(e entry) observation {
	return observation{seen(e.lookup(primary)), seen(e.lookup(secondary))}
}

func (x *replayer) observe() observation {
	return observation{
		x.carryOut(operation{verb: lookup, field: primary}),
		x.carryOut(operation{verb: lookup, field: secondary}),
	}
}

// check carries the operation out and finds the alternative that it follows.
func (x *replayer) check(alternatives []transition) {
	x.t.Helper()
	if alternatives[0].operation.passed {
		x.advance(2 * soon)
	}
	got := x.carryOut(alternatives[0].operation)
	after := x.observe()
	i := slices.IndexFunc(alternatives, func(tr transition) bool {
		return got == tr.reply && after == observed(tr.after)
	})
	if i < 0 {
		x.t.Errorf("%v | %v\n got %v | %v", alternatives[0].before, alternatives[0].operation, after, got)
		for _, tr := range alternatives {
			x.t.Errorf("want %v | %v", observed(tr.after), tr.reply)
		}
		return
	}
	x.checkTokens(alternatives[i])
}

// checkTokens finds out which tokens stand by releasing them, first those that must
// not be there.
func (x *replayer) checkTokens(tr transition) {
	x.t.Helper()
	if tr.after.state != driver.Held {
		return
	}
	for _, want := range []driver.Outcome{driver.Refused, driver.Done} {
		for token := range uint8(8) {
			stands := tr.after.tokens&(1<<token) != 0
			if stands != (want == driver.Done) {
				continue
			}
			if got := x.carryOut(operation{verb: release, token: token}).outcome; got != want {
				x.t.Errorf("after %v: release of token%d: %v, want %v", tr, token, got, want)
			}
		}
	}
	if got := x.observe().primary.state; got != driver.Empty {
		x.t.Errorf("after %v, and after all its tokens were released: %v", tr, got)
	}
}

// build brings the anchor into a state, by the methods of the cache alone. What has
// to pass before the operation passes soon.
func (x *replayer) build(e entry, op operation) {
	const stranger = 7 // a token that no transition has
	stale := e.hash.version != 0 && e.hash.version != e.version
	if stale {
		x.buildVersion(entry{state: driver.Versioned, version: e.hash.version, hash: e.hash}, op)
	}
	if stale || e.stamp != 0 {
		x.carryOut(operation{verb: hold, token: stranger})
		x.carryOut(operation{verb: release, token: stranger, stamp: e.stamp})
	}
	if e.state == driver.Versioned {
		x.buildVersion(e, op)
	}
	for token := range uint8(8) {
		if e.tokens&(1<<token) != 0 {
			ttl := later
			if op.verb == expire && token == op.token {
				ttl = soon
			}
			x.hold(token, ttl)
		}
	}
	if e.corrupt {
		x.garble(x.anchor)
	}
}

func (x *replayer) buildVersion(e entry, op operation) {
	x.buildFragment(e.version, primary, e.primary, op)
	if e.hash.version == e.version {
		x.buildFragment(e.version, secondary, e.hash.fragment, op)
	}
}

func (x *replayer) buildFragment(version uint8, f field, content fragment, op operation) {
	lease := later
	if op.passed && op.field == f {
		lease = soon
	}
	x.claim(operation{verb: claim, field: f, version: version}, lease)
	if !content.loading {
		x.carryOut(operation{verb: fill, field: f, version: version, value: content.value})
	}
}

// carryOut calls the method that the operation names.
func (x *replayer) carryOut(op operation) reply {
	x.t.Helper()
	switch op.verb {
	case lookup:
		answers, err := x.cache.Lookup(x.t.Context(), []driver.Lookup{{Anchor: x.anchor, Field: op.field.name()}})
		return seen(one(x.t, answers, err))
	case claim:
		return x.claim(op, later)
	case fill:
		return x.fill(op)
	case hold:
		return x.hold(op.token, later)
	case release:
		outcomes, err := x.cache.Release(x.t.Context(), []driver.Release{{
			Anchor: x.anchor, Token: tokenName(op.token), Stamp: stamps[op.stamp], KeepStamp: later,
		}})
		return reply{outcome: one(x.t, outcomes, err)}
	}
	x.advance(2 * soon) // expire
	return reply{}
}

func (x *replayer) claim(op operation, lease time.Duration) reply {
	x.t.Helper()
	c := driver.Claim{Anchor: x.anchor, Field: op.field.name(), Version: uint64(op.version), Lease: lease, TTL: later}
	if op.replace {
		answers, err := x.cache.Lookup(x.t.Context(), []driver.Lookup{{Anchor: x.anchor}})
		c.Replace = one(x.t, answers, err).Corrupt
	}
	answers, err := x.cache.Claim(x.t.Context(), []driver.Claim{c})
	return seen(one(x.t, answers, err))
}

func (x *replayer) fill(op operation) reply {
	x.t.Helper()
	outcomes, err := x.cache.Fill(x.t.Context(), []driver.Fill{{
		Anchor: x.anchor, Field: op.field.name(), Version: uint64(op.version),
		Value: payloadBytes[op.value], TTL: later, Limit: 10,
	}})
	return reply{outcome: one(x.t, outcomes, err)}
}

func (x *replayer) hold(token uint8, ttl time.Duration) reply {
	x.t.Helper()
	outcomes, err := x.cache.Hold(x.t.Context(), []driver.Hold{{Anchor: x.anchor, Token: tokenName(token), TTL: ttl}})
	return reply{outcome: one(x.t, outcomes, err)}
}

func (f field) name() string {
	if f == primary {
		return ""
	}
	return "field"
}

func tokenName(token uint8) string { return fmt.Sprintf("token %d", token) }

// one returns the answer to a batch of one.
func one[T any](t *testing.T, answers []T, err error) T {
	t.Helper()
	if err != nil || len(answers) != 1 {
		t.Fatalf("%d answers, want 1: %v", len(answers), err)
	}
	return answers[0]
}
