// Package protocol holds the decisions of graphcache's coherence protocol as pure
// functions: given what a reader or a writer of one anchor has just seen, what it
// does next. The engine carries them out in batches against real backends; the
// search in this package's tests carries them out one at a time, in every order,
// against a model. Nothing here waits, sends or remembers.
//
// The protocol in one paragraph. An anchor's cache entry carries a random version
// from the first read that found nothing until the next write. A reader that finds
// no value claims the entry, reads the store after the claim was answered, and
// fills under the version it saw, which the cache refuses if the version has
// changed. A writer puts its token on the entry before it writes the store, which
// drops the version and all values, and takes the token off afterwards. While a
// token stands, readers go to the store and fill nothing. Where the cache cannot be
// told of a write, a journal in the store is: see [Writer].
package protocol

import "github.com/graphcache/graphcache/driver"

// ReadAction is what a reader does next.
type ReadAction uint8

const (
	// Hit: the value that was found answers the read.
	Hit ReadAction = iota + 1
	// Claim: ask the cache for the right to load, offering a fresh version for an
	// entry that has none. Next.Version is the one that was seen: it must not come
	// back if the entry has lost it meanwhile.
	Claim
	// Load: read the store, at least at Next.Stamp, and fill under Next.Version,
	// or not at all if that is 0. The read is sent after the answer that led
	// here, never before.
	Load
	// Wait: somebody else loads. Look again a little later.
	Wait
)

// Found says what the value in an entry is worth to the reader that looks at it.
type Found uint8

const (
	// Nothing: there is no value.
	Nothing Found = iota
	// Short: there is a value, but it does not answer this read: a prefix that
	// is too short, or bytes that do not decode.
	Short
	// Whole: the value answers the read.
	Whole
)

// Next is a reader's next action and what it needs. A reader keeps the latest stamp
// that it has seen: if a claim is not answered, the load that follows must still see
// what the look-up said it must.
type Next struct {
	Action  ReadAction
	Version uint64
	Stamp   driver.Stamp
	Replace []byte
}

// Looked decides what follows an entry returned by a look-up. impatient says that
// the reader has waited for somebody else's load for longer than a lease lasts.
func Looked(e driver.Entry, found Found, impatient bool) Next {
	switch e.State {
	case driver.Empty:
		return Next{Action: Claim, Stamp: e.Stamp, Replace: e.Corrupt}
	case driver.Versioned:
		return versioned(e, found, impatient)
	}
	// Held, or the cache did not answer: the store is asked, and what it says
	// must not be filled, because no version ties it to this moment.
	return Next{Action: Load, Stamp: e.Stamp}
}

func versioned(e driver.Entry, found Found, impatient bool) Next {
	n := Next{Version: e.Version, Stamp: e.Stamp}
	switch {
	case found == Whole:
		n.Action = Hit
	case found == Short:
		// The version is as good as a claim: whatever is loaded from here on is
		// refused if a write comes in between.
		n.Action = Load
	case e.Loading && !impatient:
		n.Action = Wait
	default:
		n.Action = Claim
	}
	return n
}

// Answered decides what follows an entry returned by a claim.
func Answered(e driver.Entry, found Found) Next {
	if e.Claimed {
		return Next{Action: Load, Version: e.Version, Stamp: e.Stamp}
	}
	n := Looked(e, found, false)
	if n.Action == Claim {
		// The cache neither granted the claim nor says why. Asking again at
		// once could go on for ever.
		if e.State == driver.Empty {
			return Next{Action: Load, Stamp: e.Stamp}
		}
		n.Action = Wait
	}
	return n
}

// Joins reports whether a reader may take the result of a load that its process
// runs already. version is what the reader's own look-up showed, 0 if it has none;
// flight is the version under which the load runs, 0 if under none; sent says
// whether the load's store read may have been sent.
//
// With a version: as long as the entry shows the same version, no write has begun
// since before the load's store read, so its result is current. Without one:
//
//  1. the load reads the store and gets the old value
//  2. a write begins and is acknowledged
//  3. a reader arrives and joins the load
//
// would return a value older than the reader, so only a load that is still to be
// sent can be joined.
func Joins(version, flight uint64, sent bool) bool {
	if version != 0 {
		return flight == version
	}
	return flight == 0 && !sent
}

// WriteAction is what a writer does next.
type WriteAction uint8

const (
	// PlaceHolds: put the token on every anchor that the write touches.
	PlaceHolds WriteAction = iota + 1
	// Owe: put the anchors in the journal, which is in the store. Readers who know of
	// that go to the store for them, until somebody has cleared them in the cache.
	Owe
	// WriteStore: send the write, under its deadline.
	WriteStore
	// ReleaseHolds: take the token off every anchor.
	ReleaseHolds
	// Finish: report to the caller.
	Finish
)

// WriteEvent is what a writer has just seen.
type WriteEvent uint8

const (
	// HoldsPlaced: the cache confirmed every hold, and the oldest of them is
	// young enough to outlive the write.
	HoldsPlaced WriteEvent = iota + 1
	// HoldsFailed: a hold was not confirmed, or is too old.
	HoldsFailed
	// Owed: the store confirmed the entries in the journal, and they are young enough
	// to outlive the write. If no other process may read old values, all of them have
	// looked at the journal since: to wait for that after the write would be too late,
	// for some would read the new value and others, later, the old one.
	Owed
	// OweFailed: it did not, or the writer must not rely on them.
	OweFailed
	// Written: the store answered, whether or not it applied the write.
	Written
	// WriteUnknown: the write was sent and the store did not answer.
	WriteUnknown
	// Released: the cache confirmed every release.
	Released
	// ReleaseFailed: a release was not confirmed.
	ReleaseFailed
)

// Writer is the state of one write. The zero Writer is about to place its holds.
//
// A write whose holds cannot be placed is made all the same if its anchors are in the
// journal first. Whoever reaches both sides drains the journal: it holds the anchors
// until the write can no longer be applied, clears them, and removes the entries. A
// write of unknown outcome leaves its holds standing, and an entry with a longer
// window; one whose holds may not have been taken off, an entry that can be drained at
// once.
//
// What the journal must keep to, as the search shows:
//
//   - A process has one entry for an anchor, which stands for all its writes that owe
//     it. The window is the longest that any of them needs. When it grows, the token is
//     a new one, since others wait for the window of the token that they have seen.
//   - The window outlasts the write, and, should the store not answer, lasts until the
//     journal has the longer one. The holds of such a write last until all processes have
//     looked at that.
//   - A process honours what it owes from before the store is told until it has settled
//     it, and what others owe until a look tells it that the entry is gone: what it
//     settles may have been replaced.
//   - When an entry is replaced, the hold with its old token may be that of a write which
//     the new one stands for too. It is left to its deadline.
type Writer struct {
	retried bool // the step under way is a second attempt
	written bool // the store has been asked to write
	// Owed: the journal has the anchors, and the cache is cleared after the write by
	// whoever drains it.
	Owed bool
	// Failed: neither the cache nor the journal took the anchors, and the store was not
	// written.
	Failed bool
	// Unknown: the write may yet be applied.
	Unknown bool
	// Abandoned: nobody but this process knows that the anchors are to be cleared.
	Abandoned bool
}

// Step returns the state after the event, and what to do in it.
func (w Writer) Step(ev WriteEvent) (Writer, WriteAction) {
	switch ev {
	case HoldsPlaced:
		return Writer{}, WriteStore
	case HoldsFailed:
		if !w.retried {
			return Writer{retried: true}, PlaceHolds
		}
		return Writer{}, Owe
	case Owed:
		w.Owed = true
		if !w.written {
			return w, WriteStore
		}
	case OweFailed:
		if !w.written {
			// Some of the holds may stand: they are taken off as after a write.
			return Writer{Failed: true}, ReleaseHolds
		}
		w.Abandoned = true
	case Written:
		w.written = true
		if !w.Owed {
			return w, ReleaseHolds
		}
	case WriteUnknown:
		// Also if they are there: the window is longer from here on.
		w.written, w.Unknown = true, true
		return w, Owe
	case ReleaseFailed:
		switch {
		case !w.retried:
			w.retried = true
			return w, ReleaseHolds
		case !w.Failed:
			return w, Owe
		}
		w.Abandoned = true
	}
	return w, Finish
}
