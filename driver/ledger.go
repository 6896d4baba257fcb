package driver

import (
	"context"
	"time"
)

// Ledger is a [Store] that keeps the little that the processes of a deployment have to
// tell each other, the same in all its namespaces:
//
//   - the journal: anchors whose invalidation is owed to the cache;
//   - the registry: what live program versions cache under, so that each of them
//     invalidates for all;
//   - the generations: a counter for each kind. Raising it drops every cached value of
//     the kind.
//
// Every process reads all of it each second or so, and writes it rarely. Calls are
// linearizable like those of a Store, whatever the namespace.
type Ledger interface {
	// Look returns everything. Its parts may be of different moments, the journal's being
	// the first: a Look that does not show an entry which was there shows what was raised
	// before the call of Settle that removed it, and, unless that has been removed as well,
	// the entry for all anchors if it was added before. The caller owns the result.
	Look(ctx context.Context) (Look, error)

	// Owe adds the entries to the journal, each in the place of the one with the same
	// anchor and owner. After an error some may have been added.
	Owe(ctx context.Context, entries []JournalEntry) error
	// Settle removes the entries whose anchor, owner and token are those given. Others
	// are passed over. After an error some may have been removed.
	Settle(ctx context.Context, entries []JournalEntry) error

	// Register adds the entries to the registry, and renews those that are there. What
	// is Ready stays so. An entry of a kind of which nothing is registered is Ready from
	// the start, also if it comes in one call with others of the kind; what is registered
	// of a kind is changed atomically. An entry that nobody has renewed for seven days is
	// removed when others of the kind are registered.
	Register(ctx context.Context, entries []RegistryEntry) error

	// Raise adds one to the generations of the kinds, which need not be declared, and
	// sets those that are then less than atLeast to that: a database that was restored
	// has forgotten how far it had counted. After an error some may have been raised.
	Raise(ctx context.Context, kinds []string, atLeast uint64) error
}

// Look is what a [Ledger] has, in no particular order.
type Look struct {
	Journal  []JournalEntry
	Registry []RegistryEntry
	// Generations are the counters that are not 0, by kind.
	Generations map[string]uint64
	// Stamp is a moment that is not before any write which was acknowledged before the
	// call of Look began, where the store has a logical clock.
	Stamp Stamp
}

// JournalEntry says that an anchor is to be cleared in the cache.
type JournalEntry struct {
	// Anchor is the key in the cache, at most 32 KiB of any bytes; empty for all anchors.
	Anchor string
	// Owner is the process that owes it, at most 64 bytes. It has one entry for an anchor.
	Owner string
	// Token is new with every change of the entry, at most 64 bytes.
	Token string
	// Window is how long the write for which the entry stands may yet be applied, counted
	// from when the entry is first seen. Whole milliseconds.
	Window time.Duration
	// Record names the record that an unanswered write was to change, if any other write
	// of it, made after the entry was seen, says that it no longer can. At most 32 KiB of
	// any bytes; mostly empty.
	Record string
}

// RegistryEntry is something of a kind that a program version caches under.
type RegistryEntry struct {
	Kind string
	// Spec says what it is, in a form that graphcache knows: at most 64 KiB of any bytes,
	// distinct within the kind.
	Spec string
	// Ready: every process knows of it.
	Ready bool
}

// RegistryTTL is for how long an entry of a [Ledger]'s registry stays that nobody renews.
const RegistryTTL = 7 * 24 * time.Hour
