// Package graphcache is a typed graph data layer for services: objects and edges,
// kept in a store, cached, and invalidated exactly when a write touches them.
//
// There are only a few types. An [ObjectKind] and an [EdgeKind] are declared once,
// as package variables, from Go structs, and so are a [Field] of one that queries ask
// about, and an [Index]. A [Schema] is a set of kinds and indexes. A [Graph] is a schema
// on a store and a cache. A [Query] follows edges from objects to objects. A [Conn] is
// where a call goes to: a Graph, or a [Tx] for one that is part of a transaction.
//
//	type User struct {
//		ID    graphcache.ID[User] `json:"id"`
//		Name  string              `json:"name"`
//		Email *string             `json:"email" graph:"unique"`
//		City  string              `json:"city" graph:"index"`
//	}
//	type Post struct {
//		ID    graphcache.ID[Post] `json:"id"`
//		Title string              `json:"title"`
//		Score int                 `json:"score"`
//	}
//	type Follow struct {
//		Note string `json:"note"`
//	}
//
//	var (
//		Users   = graphcache.NewObjectKind[User]("user")
//		Posts   = graphcache.NewObjectKind[Post]("post")
//		Follows = graphcache.NewEdgeKind[Follow]("follows", Users, Users)
//		Wrote   = graphcache.NewEdgeKind[graphcache.NoData]("wrote", Users, Posts)
//		City    = graphcache.StringFieldOf(Users, func(u *User) *string { return &u.City })
//		Score   = graphcache.OrderedFieldOf(Posts, func(p *Post) *int { return &p.Score })
//		Schema  = graphcache.NewSchema(Users, Posts, Follows, Wrote)
//	)
//
//	g, err := graphcache.Open(ctx, Schema, store, &graphcache.Options{Cache: cache})
//	u, err := Users.Get(ctx, g, id)
//	locals, err := Users.Where(City.Eq("Oslo")).All(ctx, g)
//	posts, err := Wrote.Out(Follows.Out(id)).Where(Score.Ge(10)).OrderBy(Score.Desc()).Limit(20).All(ctx, g)
//
// Package backends/memory has a store and a cache for tests and first steps, and
// package graphtest opens a graph for a unit test in one line.
//
// # Objects and edges
//
// An object is a record with an ID, of one kind. [ObjectKind.Create], Get, GetMany,
// Update, Put and Delete do what their names say; Update reads the object from the
// store, lets a function change it, and writes it only if nobody else has, or starts
// again. [ObjectKind.Apply] sets fields and adds to numbers, in one operation of the
// store where it can. Deleting an object deletes its edges.
//
// An edge is a directed link between two objects with a time and data of its own (an
// association, in Facebook's TAO). There is at most one of a kind between two objects,
// and both must exist. It is one record, listed at both its ends: what Follows.Add(ctx,
// g, a, b, data) adds is in Follows.Out(a) and in Follows.In(b). Lists are newest
// first, and edges of the same time are in the order of the other end's ID. Adding an
// edge that exists replaces its data and time.
//
// A kind can be [EdgeKind.ToOne]: an object has at most one such edge, and a second
// one takes the place of the first. It can be [EdgeKind.Symmetric]: its edges have no
// direction. And it can be in an [EdgeKind.Family], between whose kinds an edge can
// be moved in one step.
//
// # Structs
//
// A struct's exported fields are kept under their JSON names, and read back as they
// were. A field may have any type that encoding/json encodes, except interfaces:
// numbers, strings, booleans, []byte, [time.Time], structs, pointers, slices, arrays,
// maps with keys that are integers, strings that are not empty, or types that marshal
// themselves to text and back, and types that marshal themselves to text or JSON and
// back. Strings are UTF-8. A name must not begin with '_' or '$' or contain a dot. A
// field tagged `json:"-"` is kept neither in the store nor in the cache: that is where
// secrets belong. omitempty has no meaning: zero is a value, and a nil slice, map or
// pointer is not an empty one. Times are cut to whole milliseconds in UTC, of the years
// 0 to 9999, on every backend. A type that would not come back as it was is refused by
// [Open], which tries.
//
// A field that has been renamed is tagged `graph:"was=old"` and reads old records, which
// [Graph.Backfill] rewrites; so it does with those of a field that has become a float32,
// before it is compared with anything. A record's fields that a program does not know,
// because another version of it wrote them, are kept by Update and Put, though not those
// inside arrays and maps. Adding an edge that exists replaces all of its data.
//
// # Queries
//
// [EdgeKind.Out] and [EdgeKind.In] start a query at an [ID] or several [IDs], or go on
// from another query, over any number of hops; [ObjectKind.Where] starts one at the
// objects of a kind that match, and [ObjectKind.ByID] at those with some IDs. Where and
// WhereEdge, OrderBy and OrderByEdge, Limit, Offset, LimitPer, Distinct, Since and
// Until refine the last hop. A query does nothing until it is asked for All, Iter,
// First, Only, IDs, Edges, WithObjects, Count, Exists or a Page, or told to UpdateAll,
// ApplyAll or DeleteAll. It is a value: refining it returns a new one, and it may be
// kept in a variable and used by many goroutines.
//
// [FieldOf] makes a field from a function that points to it. [StringFieldOf],
// [OrderedFieldOf], [OptionalFieldOf] and [SliceFieldOf] make fields with more methods:
// what a field's type has no order for, it cannot be compared by. Predicates are
// combined with [And], [Or] and [Not]. They have one meaning everywhere, in the engine
// and in every store: a predicate matches or does not, there is no unknown; what is
// compared is what is stored; numbers are compared by value, strings byte by byte,
// times by their millisecond; nil is equal to nil alone and comes before all other
// values (last under Desc), and like NaN it is neither less nor greater than anything;
// a field that a record lacks has its zero value. Orders are total: what is equal in
// all keys is ordered by ID.
//
// [Query.Page] goes through results with cursors, which are places in the order: pages
// neither skip nor repeat a result because others come or go. [Query.With] loads
// neighbours along with the objects, all of a level in one batch.
//
// However many objects a hop starts from, their lists are looked up in one call of the
// cache. What is not there is read in one call of the store, with one call of the cache
// before it and one after it. If some of the lists are needed beyond what is cached of
// them, that happens once more. Objects, those at the end and those that a Where or
// OrderBy needs, are read in the same way, 1,024 at a time.
//
// # Indexes
//
// A field tagged `graph:"index"` or `graph:"unique"`, or an [Index] of several fields
// in the schema, makes [ObjectKind.Where] fast and cached for predicates that set its
// first fields equal to a value. What else the predicates ask is checked on the
// candidates if these are at most 1,024. What no index covers is asked of the store
// every time, unless the kind has [ObjectKind.CacheScans]; so are conditions and orders
// on the objects behind edge lists of more than 1,024. [Query.Explain] says what a
// query does, why, and what would help. A write that would break a unique index returns
// [ErrExists].
//
// # Caching and invalidation
//
// What is cached is not the result of a query but its parts: each object; of each
// object's list of edges the newest (up to 1,024, or 64 KiB), with their times and
// data; and of each combination of values in an index the IDs of the objects that have
// it. Ranges, counts and ordered pages beyond that are cached beside these. "Not found"
// and empty lists are cached like anything else. Every cached value belongs to one
// anchor: an object; one object's list of one kind in one direction; some values of an
// index; or, if it has CacheScans, a kind. It depends on nothing that writes to its
// anchor do not touch.
//
// A write marks the anchors that it touches in the cache, each with a hold, before it
// writes the store, and takes the marks off afterwards. While an anchor is marked, reads
// of it go to the store and leave the cache alone. A value that was read before the mark
// cannot enter the cache after it. Adding an edge touches two lists, in a to-one kind
// three if it takes another's place, and nothing else: all other values stay cached.
// Writing an object touches the object, and only if a field of an index changes what it
// was and what it will be in that index.
//
// Misses are collapsed: in a process, readers that miss the same value at the same
// time read the store once; between processes, one of them loads and the others wait
// for it, though not for one that has died.
//
// # Consistency
//
// A read of one anchor, that is of one object, one list, or the IDs under one
// combination of values of an index, sees every write that was acknowledged before it
// began, by whichever process, and never a value that was not the committed one at some
// moment of the read: reads are linearizable with respect to the writes made through
// graphcache. With a near cache that is true of reads that are [Shared]; see below. A query over several anchors may combine states from before and after a
// write that happens meanwhile, and so may [EdgeKind.GetMany] on a list that is longer
// than its cached prefix; a [Tx] that commits does not. An object that a query returns
// has matched its last Where in the state in which it is returned.
//
// All graphs on one store must use one cache, or none of them any. The exceptions, each
// bounded by the life of a cached value, Options.TTL:
//
//   - A write was acknowledged although its anchors could not be marked in the cache, as
//     Options.WhenCacheDown allows unless it is Wait or Fail: another process that
//     reaches the cache may serve the value before it until it has looked, for two
//     LookPeriods. Stats counts such anchors as Owed.
//   - The cache loses the mark of a writer that is still at work, by eviction or a
//     failover. Until that write is acknowledged, readers may see the value before
//     it; if its marks cannot be taken off then, others may for two LookPeriods more. If
//     the writer dies before it has put the anchors into the journal, they may until the
//     value expires. Stats counts lost marks.
//   - A process reaches the cache and not the store, while a writer reaches the store and
//     not the cache: it does not learn of the journal. With Options.Strict it does not use
//     the cache then. A store that answers a look with an old state, as a database may for
//     some seconds after a failover, is as one that is not reached.
//   - The cache goes back to an earlier state, by a failover to a replica that lags or a
//     restart from a dump, unnoticed. The cache of backends/redis notices when it meets
//     the server again: graphs then take no value from before, and Stats counts it. There
//     remain a process that still reaches a server which is no longer the master, whose
//     reads and whose writes' invalidations are apart from those of the others, and
//     processes that start when no other is there that has noticed and could tell the
//     store.
//   - A write whose outcome is unknown ([ErrUnknownOutcome]) is applied by the store more
//     than two minutes later. Or its process has died, or reached neither store nor cache,
//     before it could say so in the journal, and the write is applied later than
//     Options.HoldTTL after it began: until then its marks stand.
//   - A machine is suspended, and its monotonic clock with it: its processes take no notice
//     of how long their marks and their looks have been there.
//   - The store answers reads with an old state unless it is told what it must have
//     seen, as a database may for some seconds after a failover, and the reader could
//     not know: the cache did not answer it or has lost the moment of the last write,
//     the anchor is in the journal, the read was [Fresh] or is one that is never cached, or there is no cache. The store
//     of backends/memory never does this.
//   - Records are changed by something else than graphcache, or by a graph that does
//     not use this cache: see below.
//
// # Near cache
//
// With Options.NearCache a process keeps what it has read from the cache in its own memory,
// objects decoded, and answers reads that are [Cached] from there. [ObjectKind.GetInto] then
// costs a map look-up and a copy. Such reads are not linearizable:
//
//   - They see every write made through the same graph as soon as it is acknowledged.
//   - They see every other write NearCache.MaxStale after it was acknowledged,
//     1 second by default, at the latest. Mostly it takes as long as a message takes through
//     Redis, less than a millisecond. Redis tells every process of what is marked; the process
//     makes sure of that way eight times in MaxStale, and serves nothing from the near cache
//     when it could not.
//   - To that come two LookPeriods if the writer could not reach the cache (the first of the
//     exceptions above), and the time for which the reading process itself was stopped or
//     not scheduled, since no clock is read for a hit.
//   - Two reads may be answered by different caches, so one may see less than another did a
//     moment before, within the same bound.
//
// A read that must see what has just happened elsewhere is [Shared], or [Query.Shared]; one
// in a transaction reads the store as ever. What a writer decides does not depend on the near
// cache: [ObjectKind.Update] and conditional writes compare with the store. All processes that
// share a cache must be of a version that has the near cache before one of them uses it.
// Stats counts NearHits and, in Near, the notices and the times that they may have been lost.
//
// # Outages
//
// No read fails because of the cache: it goes to the store, at most Options.MaxLoads at a
// time. Nor does a write, unless Options.WhenCacheDown is Fail: anchors that the cache does
// not take, after one HoldTimeout or two, go to the journal, which is in the store. Each process
// looks at it every LookPeriod, and reads what is in it from the store; its own entries it
// knows at once. Any process that reaches both sides clears the anchors in the cache and
// removes the entries. More than 10,000 entries are one for all anchors: nobody uses the
// cache as long as such writes go on, and it begins anew after them. Writes of unknown outcome are in the journal as well, for two
// minutes, or until another write of the record shows that they will not come any more;
// and so are those whose marks the cache does not confirm to be gone.
//
// While the store is down, cached values are served, and everything else fails with
// [ErrUnavailable]; writes leave no mark behind that does not go by itself. With
// Options.Strict reads ask the store, and so fail too, once the last look is two periods
// old.
//
// The journal needs a store that is a driver.Ledger, as those of backends/memory and
// backends/mongo are; with another one such writes are refused. [Graph.Check] looks for what should not be in the cache.
//
// # Rolling deploys
//
// Versions of a program with different schemas may run side by side, in any order. They
// invalidate each other: indexes, by the names of their fields, and CacheScans are
// registered in the store, and every version marks the anchors of all that are. What is new is
// used for caching when every writer knows of it, which takes four LookPeriods and three
// HoldTTL; queries are answered without until then, and [Query.Explain] says so. A kind that nobody has
// registered before need not wait. What no version has registered for seven days is
// forgotten. Records in two layouts are cached beside each other, at the price of a load
// each.
//
// # Writes by other programs
//
// A store that can report what something else than graphcache has written, such as a
// migration or a person at its console, keeps the cache right with [Graph.Watch], which
// runs in the background of every process:
//
//	go func() { log.Print(g.Watch(ctx)) }()
//
// A foreign write is then seen as soon as it has been reported and invalidated: after a
// moment, not at once. With any store, the other program's side can call [Graph.Invalidate]
// for records that it knows, and whoever knows nothing, [Graph.InvalidateKind]; both have
// taken effect when they return, though the latter not yet in all processes.
//
// A write through graphcache to a record that was written behind its back invalidates all
// that it touches, what nobody expected included, before it is acknowledged. Stats counts
// such writes as Unheld.
//
// # Contexts
//
// Reads end when their context does; a load that others wait for goes on without the
// one that started it. A write honours its context until it has marked its first
// anchor. From there it runs to its end under the deadlines in [Options], because one
// that was dropped half-way would have an outcome that nobody knows. A deletion is
// several writes, and honours its context between them: it may end with the object
// absent and some of its edges there.
//
// What is cached must not depend on who asks, so loads are not given the caller's
// deadline, and stores must not let a value in the context change what they return.
//
// # Errors
//
// Errors wrap one of the package's sentinels, such as [ErrNotFound], what the backend
// or a function of the caller returned, or the error of the context; errors.Is finds
// them. Their text names the operation, the kind and the ID. A mistake in a schema is
// reported by [Open], with kind and field.
//
// # Caveats
//
// Authorisation, validation and hooks are not part of graphcache: a query returns what
// is there, whoever asks. Tenants are kept apart by [Graph.Namespace].
//
// Deleting an object with very many edges takes time: they are removed in chunks, and
// the object reads as absent meanwhile. An Add that dies half-way can leave an edge
// whose end does not exist; queries for objects do not show it, though they do follow
// it to the next hop, and [Graph.Repair] removes it. A deletion that dies half-way can
// leave one too, if a program whose schema lacks the edge's kind finishes it. An object
// that is created under the ID before the repair has the edge. It also has an edge that
// [EdgeKind.ChangeKind] was moving, if the object before it was deleted and it was
// created between two steps of that one call.
//
// A list that is longer than its cached prefix is read from the store when a query
// asks for all of it. Give queries a limit.
//
// Bulk writes are not transactions, unless they are given a [Tx]: their report says what
// was done. An index on a field that all objects share a few values of is held by many
// writes and lists many objects: it is of little use.
package graphcache
