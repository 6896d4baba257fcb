package model

import (
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Verb names a method of driver.Cache, or the deadline of a token.
type Verb uint8

// The verbs.
const (
	Lookup Verb = iota
	Claim
	Fill
	Hold
	Release
	Expire
)

var verbs = [...]string{"lookup", "claim", "fill", "hold", "release", "expire"}

// String returns the name of the method in lower case, or "expire".
func (v Verb) String() string { return verbs[v] }

// Operation is one call on one entry.
type Operation struct {
	Verb    Verb
	Field   Field
	Version uint8
	Value   Payload
	Token   uint8
	Stamp   uint8
	Replace bool // claim: with the corrupt bytes that were seen
	Passed  bool // claim: after the loading deadline, if there is one
}

// Reply is what the caller learns: an entry if the state is set, else an outcome.
type Reply struct {
	State   driver.State
	Version uint8
	Value   Payload
	Loading bool
	Claimed bool
	Stamp   uint8
	Corrupt bool
	Outcome driver.Outcome
}

// Transition is one thing that a cache may do. Several transitions with the same
// before and operation are alternatives.
type Transition struct {
	Before    Entry
	Operation Operation
	After     Entry
	Reply     Reply
}

// Seen returns what the caller learns from an entry.
func Seen(e driver.Entry) Reply {
	return Reply{
		State:   e.State,
		Version: uint8(e.Version),
		Value:   PayloadFrom(e.Value),
		Loading: e.Loading,
		Claimed: e.Claimed,
		Stamp:   StampFrom(e.Stamp),
		Corrupt: e.Corrupt != nil,
	}
}

// Canonical gives versions, values, stamps and tokens the smallest numbers, so that
// a transition is found once.
func (t Transition) Canonical() Transition {
	versions := renaming(t.Before.Version, t.Before.Hash.Version, t.Operation.Version)
	values := renaming(uint8(t.Before.Primary.Value), uint8(t.Before.Hash.Value), uint8(t.Operation.Value))
	low, high := min(t.Before.Stamp, t.Operation.Stamp), max(t.Before.Stamp, t.Operation.Stamp)
	stamps := renaming(low, high)
	tokens := t.tokenOrder()

	for _, e := range []*Entry{&t.Before, &t.After} {
		e.Version, e.Hash.Version = versions[e.Version], versions[e.Hash.Version]
		e.Primary.Value, e.Hash.Value = Payload(values[e.Primary.Value]), Payload(values[e.Hash.Value])
		e.Stamp = stamps[e.Stamp]
		set := uint8(0)
		for i, token := range tokens {
			set |= e.Tokens >> token & 1 << i
		}
		e.Tokens = set
	}
	op, r := &t.Operation, &t.Reply
	op.Version, op.Value, op.Stamp, op.Token = versions[op.Version], Payload(values[op.Value]), stamps[op.Stamp], 0
	r.Version, r.Value, r.Stamp = versions[r.Version], Payload(values[r.Value]), stamps[r.Stamp]
	return t
}

// renaming numbers the values that are not 0 in the order in which they come.
func renaming(order ...uint8) *[256]uint8 {
	var names [256]uint8
	next := uint8(1)
	for _, v := range order {
		if v != 0 && names[v] == 0 {
			names[v] = next
			next++
		}
	}
	return &names
}

// tokenOrder lists the tokens that occur, that of the operation first.
func (t Transition) tokenOrder() []uint8 {
	var order []uint8
	switch t.Operation.Verb {
	case Hold, Release, Expire:
		order = append(order, t.Operation.Token)
	}
	for token := range uint8(8) {
		if t.Before.Tokens&(1<<token) != 0 && !slices.Contains(order, token) {
			order = append(order, token)
		}
	}
	return order
}
