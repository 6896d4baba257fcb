// Package memory keeps graphcache's data in the process: a [Store] and a [Cache],
// [Counters] and a [Log], for unit tests and quick starts. They are the reference
// implementations of the interfaces in package driver: where another backend's
// behaviour is in doubt, this one's is right.
//
// # Special considerations
//
// Nothing is durable, and nothing is seen by another process. The store takes one
// lock for each call, so that a transaction that conflicts costs its work again;
// its memory is bounded by a number of records, not of bytes. An index finds objects
// by the values of its first columns; what it finds is sorted each time, and a search
// that no index helps looks at every object of the kind. The cache forgets
// values under memory pressure, and a hold only when its deadline has passed or a
// test asks for it with [Cache.Evict] or [Cache.Flush]. Counters and the log are
// bounded as well, and when full give up first what would end next.
package memory
