package replay

import (
	"fmt"
	"testing"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

// anchor is an anchor of the cache, and translates the model's operations into calls.
type anchor struct {
	*Backend
	t    testing.TB
	name string
}

// build brings the entry into a state, by the methods of the cache alone. What has to
// pass before the operation is left to setDeadline.
func (a anchor) build(e model.Entry, op model.Operation) {
	a.t.Helper()
	const stranger = 7 // a token that no transition has
	stale := e.Hash.Version != 0 && e.Hash.Version != e.Version
	if stale {
		old := model.Entry{Version: e.Hash.Version, Hash: e.Hash}
		a.buildFragment(old, model.Primary)
		a.buildFragment(old, model.Secondary)
	}
	if stale || e.Stamp != 0 {
		a.hold(stranger, later)
		a.release(stranger, e.Stamp)
	}
	if e.State == driver.Versioned {
		for _, f := range []model.Field{model.Primary, model.Secondary} {
			if !op.Passed || op.Field != f {
				a.buildFragment(e, f)
			}
		}
	}
	for token := range uint8(8) {
		if e.Tokens&(1<<token) != 0 && (op.Verb != model.Expire || op.Token != token) {
			a.hold(token, later)
		}
	}
	if e.Corrupt {
		a.Garble(a.name)
	}
}

// setDeadline adds to the entry what has to pass before the operation: the claim of its
// fragment, or its token.
func (a anchor) setDeadline(e model.Entry, op model.Operation, soon time.Duration) {
	a.t.Helper()
	if op.Verb == model.Expire {
		a.hold(op.Token, soon)
		return
	}
	a.claim(model.Operation{Field: op.Field, Version: e.Version}, soon)
}

// buildFragment makes the fragment what it is in the entry, whose version it brings
// along if the entry has none. A hash of another version is left as it is.
func (a anchor) buildFragment(e model.Entry, f model.Field) {
	a.t.Helper()
	content := e.Primary
	if f == model.Secondary {
		if e.Hash.Version != e.Version {
			return
		}
		content = e.Hash.Fragment
	}
	op := model.Operation{Field: f, Version: e.Version, Value: content.Value}
	a.claim(op, later)
	if !content.Loading {
		a.fill(op)
	}
}

// carryOut calls the method that the operation names.
func (a anchor) carryOut(op model.Operation) model.Reply {
	a.t.Helper()
	switch op.Verb {
	case model.Lookup:
		return a.lookup(op.Field)
	case model.Claim:
		return a.claim(op, later)
	case model.Fill:
		return a.fill(op)
	case model.Hold:
		return a.hold(op.Token, later)
	case model.Release:
		return a.release(op.Token, op.Stamp)
	}
	return model.Reply{} // expire: it has passed already
}

func (a anchor) lookup(f model.Field) model.Reply {
	a.t.Helper()
	answers, err := a.Cache.Lookup(a.t.Context(), []driver.Lookup{{Anchor: a.name, Field: fieldName(f)}})
	return model.Seen(one(a.t, answers, err))
}

func (a anchor) claim(op model.Operation, lease time.Duration) model.Reply {
	a.t.Helper()
	c := driver.Claim{Anchor: a.name, Field: fieldName(op.Field), Version: uint64(op.Version), Lease: lease, TTL: later}
	if op.Replace {
		answers, err := a.Cache.Lookup(a.t.Context(), []driver.Lookup{{Anchor: a.name}})
		c.Replace = one(a.t, answers, err).Corrupt
	}
	answers, err := a.Cache.Claim(a.t.Context(), []driver.Claim{c})
	return model.Seen(one(a.t, answers, err))
}

func (a anchor) fill(op model.Operation) model.Reply {
	a.t.Helper()
	outcomes, err := a.Cache.Fill(a.t.Context(), []driver.Fill{{
		Anchor: a.name, Field: fieldName(op.Field), Version: uint64(op.Version),
		Value: op.Value.Bytes(), TTL: later, Limit: 10,
	}})
	return model.Reply{Outcome: one(a.t, outcomes, err)}
}

func (a anchor) hold(token uint8, ttl time.Duration) model.Reply {
	a.t.Helper()
	outcomes, err := a.Cache.Hold(a.t.Context(), []driver.Hold{{Anchor: a.name, Token: tokenName(token), TTL: ttl}})
	return model.Reply{Outcome: one(a.t, outcomes, err)}
}

func (a anchor) release(token, stamp uint8) model.Reply {
	a.t.Helper()
	outcomes, err := a.Cache.Release(a.t.Context(), []driver.Release{{
		Anchor: a.name, Token: tokenName(token), Stamp: model.StampOf(stamp), KeepStamp: later,
	}})
	return model.Reply{Outcome: one(a.t, outcomes, err)}
}

func fieldName(f model.Field) string {
	if f == model.Primary {
		return ""
	}
	return "field"
}

func tokenName(token uint8) string { return fmt.Sprintf("token %d", token) }

// one returns the answer to a batch of one.
func one[T any](t testing.TB, answers []T, err error) T {
	t.Helper()
	if err != nil || len(answers) != 1 {
		t.Fatalf("%d answers, want 1: %v", len(answers), err)
	}
	return answers[0]
}
