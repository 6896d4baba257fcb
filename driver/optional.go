package driver

import (
	"context"
	"time"
)

// The interfaces in this file are abilities that a [Store], or in the case of [Rewinder],
// [Notifier] and [Scanner] a [Cache], may have, and [Ledger] is another; graphcache finds them by
// type assertion, and a backend without them still works.

// Transactor is a [Store] that can apply several writes as one.
type Transactor interface {
	// Begin starts a transaction. Capabilities().Transactions says whether
	// the deployment supports it. The context is that of the call: the
	// transaction outlives it.
	Begin(ctx context.Context) (Tx, error)
}

// Tx is a transaction: serializable, or at the least snapshot-isolated with
// write conflicts detected. It is used by one goroutine, and ends with exactly
// one call of Commit or Rollback.
type Tx interface {
	// Read is [Store.Read], and sees the transaction's own writes.
	Read(ctx context.Context, steps []Step, atLeast Stamp) ([]Result, error)
	// Write is [Store.Write]. Nobody else sees the writes before Commit. An
	// outcome is judged against the state that the transaction sees; an error
	// that wraps ErrConflict means that the transaction cannot commit.
	Write(ctx context.Context, writes []Write) ([]WriteResult, error)
	// Commit applies the writes. An error that wraps ErrConflict or
	// ErrUnavailable means that nothing was applied and the transaction may be
	// run again from the start; any other, that the outcome is unknown.
	Commit(ctx context.Context) (Stamp, error)
	// Rollback ends the transaction without effect.
	Rollback(ctx context.Context) error
}

// Indexer is a [Store] that may go on building indexes after Ensure has returned.
type Indexer interface {
	// Ready reports whether the index of the kind is complete, in this namespace.
	// It does not wait, and once it has said so it does not change its mind.
	// Until then graphcache caches nothing under the index.
	Ready(kind, index string) bool
}

// Explainer is a [Store] that can say how it would answer a step.
type Explainer interface {
	// Explain returns what the step asks of the database and the index that serves
	// it, in words, without asking the database. It has no values of the records.
	Explain(step Step) string
}

// Feed is a [Store] that reports what has been written by other means than
// graphcache. It is a [Ledger], too.
type Feed interface {
	// Watch passes the changes that something else has made to f, those of all
	// namespaces, in commit order, until ctx ends or something fails. Of all the
	// processes that call it one at a time is given any; the others wait to take
	// over. It goes on where the last one was: changes for which f has not
	// returned nil are passed again. f is called by one goroutine. The error is
	// never nil.
	Watch(ctx context.Context, f func(ctx context.Context, changes []ForeignChange) error) error
}

// ForeignChange is a record that something else has written, or a kind of which more is
// not known.
type ForeignChange struct {
	Namespace string
	Kind      string
	// ID is the object's; From and To are the edge's ends. If all are empty, any
	// record of the kind, in any namespace, may have changed in any way.
	ID, From, To string
	// Objects and Edges are the states in which the record was or is, as far as
	// they are known.
	Objects []*Object
	Edges   []*Edge
}

// Rewinder is a [Cache] that can tell when it may have gone back in time: its server
// was started again with old data, or a replica was promoted that did not have all
// writes yet. Holds may be missing then, and values may be back that were invalidated.
type Rewinder interface {
	// OnRewind arranges for f to be called when that has happened, before any call
	// returns what the cache found afterwards, and as often as it happens. What was
	// cached before the moment since, by the clock of this process, may be old. f does
	// not wait, and does not call the cache. The result ends the arrangement.
	OnRewind(f func(since time.Time)) (stop func())
}

// Notifier is a [Cache] that tells those who keep copies of values in their own memory
// when the copies are worth nothing any more.
type Notifier interface {
	// Notify tells n what befalls the entries, whoever causes it, until ctx ends, whose
	// error it then returns. Other errors say that it can never succeed here, as when the
	// server refuses a subscription; an outage is none: Notify goes on trying. It makes
	// sure of what it has told about once every period, more often if it is so inclined.
	// Several calls may be under way at once.
	Notify(ctx context.Context, every time.Duration, n Notices) error
}

// Notices is told of by a [Notifier]. Its methods do not wait, do not call the cache, and
// may be called by several goroutines at once.
type Notices interface {
	// Held says that a token was added to the anchor's entry, or that a Release which did
	// not find its token has cleared the entry. It may be said late, and more than once.
	Held(anchor string)
	// Current says that Held has been said of whatever the cache confirmed before the
	// moment, which is one of this process's clock with a monotonic reading.
	Current(at time.Time)
	// Lost says that some of it may never be said. The next Current is about what was
	// copied after Lost.
	Lost()
}

// Scanner is a [Cache] that can be walked through, for tools that look at what is in it.
type Scanner interface {
	// Scan returns fragments of anchors that begin with the prefix, about count of them
	// or none, and where to go on: the cursor is empty at the start, and next is empty at
	// the end. Otherwise a cursor is what the call before has returned. A fragment that
	// has a value from the first call to the last is returned at least once, in no
	// particular order; one that is returned need not have one any more. Scan changes
	// nothing, and keeps the cache from nothing else for long.
	Scan(ctx context.Context, prefix, cursor string, count int) (found []Lookup, next string, err error)
}
