// Package mongo keeps graphcache's data in MongoDB: a [Store] over the official driver
// library, for MongoDB 4.4 and later.
//
//	store, err := mongo.Open(ctx, "mongodb://localhost:27017/app?replicaSet=rs0", nil)
//	if err != nil { … }
//	defer store.Close(ctx)
//	g, err := graphcache.Open(ctx, Schema, store, &graphcache.Options{Cache: cache})
//
// # Collections
//
// The objects of a kind are documents of a collection with the kind's name, their fields at
// the top, the ID in _id, and a version in the field _v. The edges of a kind are documents of
// a collection with the kind's name, with the IDs at their ends, their time, and what they
// carry in the field data; the kinds of a family share one. [Options] gives other names, and
// says how collections that another program has made are read: their IDs can be ObjectIDs,
// integers or UUIDs, their documents need no version, and fields that graphcache does not
// know are kept. A namespace has collections of its own, with its name in front.
//
// Ensure, which graphcache.Open calls, creates the indexes: those of the schema, one for the
// lists of each direction of an edge kind, and what keeps an edge from being there twice. It
// drops nothing. Indexes of large collections are built in the background, and nothing is
// cached under them until they are complete; see [IndexMode], [Store.IndexPlan] and
// [Store.Ready].
//
// A unique index judges fields as they are stored: it may not see one that a document lacks or
// has under an older name, for which there is Backfill, and takes a nil in a list for a value.
//
// # Guarantees
//
// A write of one record is one command whose filter has the record's version and the values of
// its indexed fields, and so is applied whole, once, or not at all. Where it is not known
// whether it was applied, because the connection broke or a majority has not confirmed it, the
// error wraps driver.ErrUnknownOutcome. The store never sends a write again; the driver
// library does, with a number by which the server knows it, unless the client has been told
// not to.
//
// Writes wait for a majority, and reads are of the primary and of what a majority has,
// whatever the client's options say. On a replica set or a sharded cluster each write has a
// stamp, the server's operationTime, and each read that follows asks for a state not before
// it: a primary that was deposed and does not know it yet cannot answer with an old one.
// Reads that have no stamp to go by, because they do not ask the cache or it does not answer,
// are not before anything that this process has written or was told of; they can miss what
// another process has written in the seconds after an election. So can, until it is
// acknowledged, a write be seen by one process and not by another that asks the old primary.
//
// A read sees each document as it is at one moment, but not all of them at the same one. While a
// write of the same list is under way, an edge whose time it changes may be found where it
// was, where it is, or not at all. Such a read is never cached.
//
// Transactions take a replica set or a sharded cluster. They are snapshots with write
// conflicts detected, not serializable: two of which each writes what the other reads may both
// commit.
//
// # Other programs
//
// What other programs write is stale in the cache until its values expire, unless
// graphcache's Watch runs, which reads the change stream; see [Store.Watch]. Set
// Options.PreImages for it: without them, what a change stream does not say costs whole kinds,
// which a kind of to-one edges that are often removed would pay with each removal. They must leave
// the version field alone, or copy it. A change that they make to an indexed field is a
// conflict to a write of graphcache that has not seen it, and not lost.
//
// # What it was tested on
//
// The tests run on FerretDB v1.24.2 with its SQLite handler, one command at a time, and on the
// query and update semantics of lungo 0.4.0 over a front of this project's own, which has the
// wire protocol, storage, transactions and change streams. They run on a real deployment
// where GRAPHCACHE_MONGO_URI names one; none has been, so far. Of what MongoDB does these show nothing: that the planner
// chooses the indexes that are created, elections and rollbacks, sharded clusters, signed
// cluster times, aggregations with $documents and $lookup (the front's own are by the same
// authors as the store), pre-images, the building of indexes in the background, and
// comparisons of integers above the range of int64 with other numbers.
package mongo
