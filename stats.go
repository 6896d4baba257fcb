package graphcache

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// Stats counts what a graph has done since it was opened, its namespaces
// included. A batch counts one for each element, except in StoreReads, StoreWrites
// and CacheErrors.
type Stats struct {
	// StoreReads and StoreWrites are the calls of the store that read and write,
	// those of writes and transactions included.
	StoreReads, StoreWrites int64
	// CacheErrors are cache calls that failed or were not answered in time.
	CacheErrors int64
	// CacheRewinds are the times that the cache may have gone back in time, as after a
	// failover, so that all cached values were dropped.
	CacheRewinds int64
	// Looks are successful reads of the store's ledger, FailedLooks those that failed.
	Looks, FailedLooks int64
	// LookAge is how long ago the last successful one began.
	LookAge time.Duration
	// Owed are the entries that this process has put into the journal, each change of one
	// included, Drained those of any
	// process that it has cleared and removed. Journal is how many it knows of now.
	Owed, Drained, Journal int64
	// ForeignChanges are changes made by something else than graphcache that [Graph.Watch]
	// has dealt with.
	ForeignChanges int64
	// Near is the near cache's part; zero without one.
	Near NearStats
	// Kinds has the counts of each kind by its name.
	Kinds map[string]KindStats
}

// NearStats counts what a near cache has done, and says how it stands.
type NearStats struct {
	// Entries are the anchors of which it has something, Bytes their estimated size.
	Entries, Bytes int64
	// Notices are anchors that it was told had changed, by the shared cache, by writes of
	// this process and by looks. Losses are the times that some may not have been told, so
	// that everything was dropped, also when the caches first hear of each other.
	Notices, Losses int64
	// Serving says whether it is sure enough of the way of the notices to be served.
	Serving bool
}

// KindStats counts what was done for one kind.
type KindStats struct {
	// Hits and Misses are look-ups that the cache answered, and those it did
	// not. A read of a list that needs more than the cached prefix looks twice.
	// Fresh reads, and those in a transaction, do not look.
	Hits, Misses int64
	// NearHits are reads that the near cache answered. They are neither hits nor misses.
	NearHits int64
	// Bypasses are reads that went to the store because their anchor is in the journal, or
	// because the process had not looked for two periods. They are neither hits nor misses.
	Bypasses int64
	// Joins are misses that took the result of a load under way in this process.
	Joins int64
	// Loads are fragments read from the store; Items, the objects and edges in
	// them.
	Loads, Items int64
	// Fills are values stored in the cache. Refusals are values that were not
	// stored: a write came in between, or they were too large or too many.
	Fills, Refusals int64
	// Corrupt are cached values that could not be read, and were replaced.
	Corrupt int64
	// Drops are the times that everything cached of the kind was dropped: by InvalidateKind
	// in any process, by Watch, or because the cache may have gone back in time.
	Drops int64
	// Writes are records written; Conflicts, attempts at a write that were lost
	// to another writer.
	Writes, Conflicts int64
	// RefusedWrites are writes that were not made because neither the cache nor the journal
	// took their anchors, each under the kind of one of them.
	RefusedWrites int64
	// LostHolds are marks that the cache lost before their write ended: until
	// the write was acknowledged its anchor may have been served stale.
	LostHolds int64
	// AbandonedHolds are marks that were left standing, because the write's outcome is
	// unknown or the cache did not confirm their release in time. The journal has them.
	AbandonedHolds int64
	// Unheld are writes that met a record whose index entries, or whose end in a to-one
	// kind, were not those that were expected: something writes the store that graphcache
	// does not know of. What they touch besides is cleared before they are acknowledged; if
	// the cache does not confirm that, it goes to the journal, and AbandonedHolds has it too.
	Unheld int64
}

// kindCounters are the live counts behind a KindStats.
type kindCounters struct {
	kind   string
	logger *slog.Logger

	hits, misses, bypasses, joins, loads, items, fills, refusals, corrupt, drops,
	writes, conflicts, refusedWrites, lostHolds, abandonedHolds, unheld atomic.Int64

	nearHits stripedCounter

	corruptNotice, refusalNotice, refusedNotice, lostNotice, unheldNotice notice
}

func (c *kindCounters) stats() KindStats {
	return KindStats{
		NearHits: c.nearHits.load(), Hits: c.hits.Load(), Misses: c.misses.Load(), Bypasses: c.bypasses.Load(), Joins: c.joins.Load(),
		Loads: c.loads.Load(), Items: c.items.Load(),
		Fills: c.fills.Load(), Refusals: c.refusals.Load(), Corrupt: c.corrupt.Load(), Drops: c.drops.Load(),
		Writes: c.writes.Load(), Conflicts: c.conflicts.Load(), RefusedWrites: c.refusedWrites.Load(),
		LostHolds: c.lostHolds.Load(), AbandonedHolds: c.abandonedHolds.Load(),
		Unheld: c.unheld.Load(),
	}
}

// Stats returns the counts so far. Counts that change meanwhile may be a little
// apart from each other.
func (g *Graph) Stats() Stats {
	s := Stats{
		StoreReads:  g.shared.storeReads.Load(),
		StoreWrites: g.shared.storeWrites.Load(),
		CacheErrors: g.shared.cacheErrors.Load(), CacheRewinds: g.shared.cacheRewinds.Load(),
		Looks: g.shared.looks.done.Load(), FailedLooks: g.shared.looks.failed.Load(),
		Owed: g.shared.journal.owed.Load(), Drained: g.shared.journal.drained.Load(),
		Journal:        int64(g.shared.journal.size()),
		ForeignChanges: g.shared.foreignChanges.Load(),
		Kinds:          make(map[string]KindStats, len(g.shared.counters)),
	}
	if g.shared.looks.done.Load() > 0 {
		s.LookAge = g.shared.looks.age()
	}
	if n := g.shared.near; n != nil {
		s.Near = n.stats()
	}
	for name, c := range g.shared.counters {
		s.Kinds[name] = c.stats()
	}
	return s
}
