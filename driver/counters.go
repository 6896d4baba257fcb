package driver

import (
	"context"
	"fmt"
	"time"
)

// Counters are shared by all processes of a fleet. A sampler counts in them what
// every process sees of a key, so that the first N events of a window are found
// once in the fleet and not once a process, and they bound how many counters a
// group of keys may bring forth.
//
// # Windows
//
// A counter has no schedule. Its window opens with the first increment that finds
// no counter, and ends Window later; then the counter is gone, and the next
// increment opens another. Later increments never prolong a window, whatever
// Window they carry. The same holds for a group and its members. Times are set and
// judged by the backend's clock, in milliseconds: a Window is rounded up to the
// next one, and a window of w opened at t is over at t+w, not after it.
//
// A backend may find a counter or a group whose end was lost: a server that counts
// and expires in two commands can fail between them. The next increment that finds
// one, unless it is a read, sets its end anew; nothing lives for ever.
//
// # Groups
//
// An increment with Members opens a counter only if its group has room: if fewer
// than Members counters were opened in the window of the group, which opens with
// the first of them and is as long as that one's. Otherwise the increment is
// counted by the member Other of the group, and its answer says so. A counter that
// is open is counted in, however full the group; that of Other takes no room; and
// increments without Members neither ask for room nor take any. So names that
// clients invent cannot fill the backend.
//
// # What may be lost, and what may be counted twice
//
// A backend may lose a counter at any time, to eviction or to a failover, and with
// it the tokens; a failover may also take back the latest increments. Counts are
// then too low and a sampler keeps more than N. That is the side on which it may
// err. It must not drop one of the first N, so a count must never be too high
// where it decides, and this is what Token and Exact are for.
//
// A caller that got no answer repeats the increment with the same Token. It is
// counted once, and answered with the same Count and Epoch, in the window in which
// it was counted first, if fewer than Exact had been counted before it. So a
// backend remembers at most Exact tokens a counter, each with its answer, until
// the window ends: the price of a first-five sampler is five tokens a key, and
// nothing for the thousands of increments that follow.
//
// An increment that found Exact or more before it is not remembered, and repeating
// it may count it again. The answer is above Exact both times, so what a sampler
// decides is the same; only the total is then too high, by N for each repetition.
// Who prefers a total that is too low does not repeat such increments.
//
// # Batches
//
// The elements of a batch are applied in order, each atomically, the batch as a
// whole not: others may count in between. A key may occur more than once.
//
// A batch with an element that does not pass its Validate is refused as a whole
// with an error that wraps ErrInvalid, before anything is applied. So is a call
// whose context has ended already, with the context's error, and every call after
// Close, with one that wraps ErrUnavailable. An empty batch does nothing and gives
// an empty result.
//
// Otherwise a batch may fail in parts. The error then says why, and the elements
// that were not confirmed have Outcome Unknown; if the result is nil, that is all
// of them. An element that is Unknown may have been applied, or be applied later.
//
// For a server with scripts: every element touches the counter, that of Other, and
// the group, all of one Group. The count and the tokens fit in one hash or string,
// the number of a group's counters in another, and the moment at which the key
// expires will do for an epoch.
type Counters interface {
	// Increment adds to counters and tells where that brought them.
	Increment(ctx context.Context, increments []Increment) ([]Count, error)

	// Close releases the resources; a second Close does nothing. Calls that are
	// under way may fail.
	Close(ctx context.Context) error
}

// The limits of the parts of an [Increment]. A backend need not serve more, and
// bounds its memory by them.
const (
	// MaxCounterKey is the greatest length of a Group, a Member and Other, in bytes.
	MaxCounterKey = 1 << 10
	// MaxCounterWindow is the longest Window.
	MaxCounterWindow = 366 * 24 * time.Hour
	// MaxIncrement is the greatest N. Counts are exact up to 2^53, the integers
	// that a script in floating point can hold.
	MaxIncrement = 1 << 32
	// MaxToken is the greatest length of a Token, in bytes.
	MaxToken = 64
	// MaxExact is the greatest Exact.
	MaxExact = 1_000
	// MaxMembers is the greatest Members.
	MaxMembers = 10_000
)

// CounterKey names a counter. Both parts are arbitrary bytes and may be empty.
// Two keys that differ in a part never share a counter, although their parts may
// be the same bytes when put together: a backend that joins them encodes their
// lengths, and does not rely on a separator or on a hash.
type CounterKey struct {
	// Group is what is limited as a whole: a tenant, together with the name of
	// the sampler where several share a backend.
	Group string
	// Member is one of the things that are counted in the group: an operation.
	Member string
}

// Increment is one addition to one counter.
type Increment struct {
	Key CounterKey
	// N is what is added, up to MaxIncrement. 0 reads the counter: if no window is
	// open the increment is Refused and opens none.
	N int64
	// Window is how long the counter lives if this increment opens it, from
	// one millisecond to MaxCounterWindow.
	Window time.Duration
	// Token makes a repetition count once, as explained at [Counters]. It is
	// unique among the increments of its counter in a window; increments of
	// different counters may have the same, also if Other counts them. At most
	// MaxToken bytes. With the empty Token every delivery counts.
	Token string
	// Exact is the number of counts that must be right: an increment that found
	// fewer before it is remembered by its Token. It is the N of "first N", at
	// most MaxExact; 0 remembers nothing.
	Exact int64
	// Epoch, if it is not 0, is the only window in which the increment may be
	// counted: in any other, and if no window is open, it is Refused and opens
	// none. It is for reporting late what was seen in a window, such as the
	// number of events dropped; without it a late report could open a window
	// whose first N are already used up.
	Epoch uint64
	// Members, if it is not 0, is the number of counters that the group may open in
	// its window, at most MaxMembers; Other is the member that counts instead of
	// those beyond it, as explained at [Counters].
	Members int
	Other   string
}

// Validate returns an error that wraps ErrInvalid if a part of the increment is
// beyond its limit.
func (i Increment) Validate() error {
	switch {
	case len(i.Key.Group) > MaxCounterKey || len(i.Key.Member) > MaxCounterKey || len(i.Other) > MaxCounterKey:
		return fmt.Errorf("%w: counter key over %d bytes", ErrInvalid, MaxCounterKey)
	case i.N < 0 || i.N > MaxIncrement:
		return fmt.Errorf("%w: increment by %d", ErrInvalid, i.N)
	case i.Window < time.Millisecond || i.Window > MaxCounterWindow:
		return fmt.Errorf("%w: window of %v", ErrInvalid, i.Window)
	case len(i.Token) > MaxToken:
		return fmt.Errorf("%w: token over %d bytes", ErrInvalid, MaxToken)
	case i.Exact < 0 || i.Exact > MaxExact:
		return fmt.Errorf("%w: exact up to %d", ErrInvalid, i.Exact)
	case i.Members < 0 || i.Members > MaxMembers:
		return fmt.Errorf("%w: group of %d members", ErrInvalid, i.Members)
	}
	return nil
}

// Count answers an [Increment].
type Count struct {
	// Outcome is Done, Unknown, or Refused because the window was not that of
	// the Epoch, or because N is 0 and there is none. The other fields are zero unless it is Done.
	Outcome Outcome
	// Count is the counter just after the increment, which thus has the places
	// Count-N+1 to Count in its window.
	Count int64
	// Remaining is how long the window was still open when the backend
	// answered, always positive. Counted from before the call was sent it ends
	// a little early, which costs a call; counted from after the answer it
	// would end late, which costs a wrong decision.
	Remaining time.Duration
	// Epoch tells the windows of a counter apart. It is never 0 and has no
	// order. Two windows may share one only if the counter was lost within a
	// millisecond of its opening.
	Epoch uint64
	// Other: the group was full, and this is the counter of the member Other.
	Other bool
}
