package driver

import (
	"context"
	"time"
)

// The interfaces in this file are abilities that a [Store], or in the case of [Rewinder]
// a [Cache], may have; graphcache finds them by type assertion, and a backend without
// them still works. [Journal] and [Registry] are for what is to come:
// nothing calls them yet, and they may change.

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

// Journal is a [Store] that remembers anchors whose invalidation is owed to the
// cache. Not used yet.
type Journal interface {
	// Owe adds or replaces the entries, one for each anchor.
	Owe(ctx context.Context, entries []JournalEntry) error
	// Owed returns all entries.
	Owed(ctx context.Context) ([]JournalEntry, error)
	// Settle removes the entries whose token is still the one given.
	Settle(ctx context.Context, entries []JournalEntry) error
}

// JournalEntry is one anchor in a [Journal].
type JournalEntry struct {
	Anchor string
	Token  string
}

// Registry is a [Store] that remembers every index that a live program version
// has opened, so that each version holds the anchors of all of them. Not used yet.
type Registry interface {
	// Register adds the indexes and renews those that are there.
	Register(ctx context.Context, indexes []IndexEntry) error
	// Registered returns all of them.
	Registered(ctx context.Context) ([]IndexEntry, error)
}

// IndexEntry is an index in a [Registry]: a kind and the names of its fields.
type IndexEntry struct {
	Kind   string
	Fields []string
}

// Generations is a [Store] that keeps a counter for each kind, the same in all its
// namespaces. Raising it drops every cached value of the kind.
type Generations interface {
	// Generations returns the counters that are not 0, by kind. It is
	// linearizable like a Read. The caller owns the map.
	Generations(ctx context.Context) (map[string]uint64, error)
	// Raise adds one to the counters of the kinds, which need not be declared, and
	// sets those that are then less than atLeast to that: a database that was
	// restored has forgotten how far it had counted. After an error some may have
	// been raised.
	Raise(ctx context.Context, kinds []string, atLeast uint64) error
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
// graphcache. It keeps [Generations], too.
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
