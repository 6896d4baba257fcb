// Package redis keeps graphcache's cache, counters and logs in Redis: one server, a
// Sentinel group, or a Cluster, of Redis 7.0 or later.
//
//	backend, err := redis.Open(ctx, "redis://localhost:6379", nil)
//	defer backend.Close(ctx) // after the graphs
//	g, err := graphcache.Open(ctx, Schema, store, &graphcache.Options{Cache: backend.Cache()})
//	defer g.Close(ctx)
//
// [Open] takes a URL, [OpenUniversal] the options of go-redis, [New] a client that you
// have. A [Backend] is opened once and shared by all graphs of a process, which use its
// Cache; its Counters and its Log are for add-ons.
//
// # How to run the server
//
// The cache needs no persistence, and is better off without: set
//
//	save ""
//	appendonly no
//	maxmemory 2gb
//	maxmemory-policy allkeys-lfu
//
// A server that comes back with old data is noticed (see below), and then everything
// that is cached is dropped, so loading a dump gains nothing. Without maxmemory a server
// grows until the system ends it; values take about 1.4 times their size. Under memory
// pressure values are evicted, and now and then the mark of a write that is under way:
// Stats of the graph counts these as LostHolds. Policies that prefer keys with a short
// life, or any key at random, evict marks first: do not use volatile-ttl,
// volatile-random and allkeys-random. With noeviction nothing is lost, and once the
// memory is full nothing new is cached; writes still work. [Open] logs a warning of
// persistence and of these policies.
//
// The backend's keys start with Options.Prefix, "gc:" by default, and all of them
// expire. A user of its own needs these permissions:
//
//	the cache        +info +get +getrange +hget +eval +evalsha
//	                 +time +set +del +unlink +pexpire +hset +hdel +publish
//	near caches      +subscribe +pubsub|numsub as well
//	counters         +pttl +hmget as well
//	logs             +hmget +hkeys +hlen +pfadd +pfcount +subscribe +ping as well
//	walks, checks    +scan +hkeys +hlen +hscan as well
//	in a Cluster     +cluster|slots +command as well
//	with a database other than 0     +select as well
//
// on the keys ~gc:* and the channels &gc:*; for instance
//
//	ACL SETUSER app reset on >password ~gc:* &gc:* +info +get …
//
// Every process that writes publishes what it holds, whether or not somebody has a near
// cache: a user who must not publish cannot write. Redis gives new users no channels.
//
// If the user may run config|get too, Open warns of unwise settings.
//
// A process has up to ten connections to each node for its pipelines, more for a moment
// when values are large, one for the wake-ups of logs, and for a near cache one to each
// master.
//
// # When Redis is down
//
// Reads go to the store, at most graphcache.Options.MaxLoads calls at once; a read waits
// for Redis no longer than Options.ReadTimeout, and not at all once some have failed.
// Writes fail with ErrUnavailable: at once if the server refuses connections, after
// twice Options.HoldTimeout if it hangs. When the server answers again so do they; there
// is nothing to restart. Restarting, upgrading, failing over and FLUSHALL are safe at any
// time, and cost what it takes to load the values again. Whoever cannot do without
// writes for a minute needs Sentinel or a Cluster.
//
// Watch [Stats] for Outages and Rewinds, and the Stats of the graph for CacheErrors and
// LostHolds. AbandonedHolds rise with the writes that are refused in an outage.
//
// # What is promised
//
// Each step of the cache's protocol is one command or one script on one key, so that nothing
// depends on several keys changing together, and a Cluster can be resized under load. A
// hit is a GET, without a script; the look-ups of a hop are one pipeline, in a Cluster
// one for each node. A miss is a look-up, a claim, and a fill, for which nobody waits. A
// write is two round trips.
//
// Concurrent callers share pipelines, and each waits no longer than its context lets
// it, whatever becomes of the others. After five pipelines in a row that a node did not
// answer, calls to it fail at once for about half a second, until one has come through;
// only releases of writes are tried all the same. Nothing that changes anything is sent
// twice, except scripts that the server did not know.
//
// A hold is published by the script that places it, at no cost of another round trip, and
// whoever has a near cache is subscribed at every master. What is in a near cache is used
// only as long as messages that take the way of holds come back over these subscriptions:
// one that breaks, falls silent, or is at a server that was deposed counts for nothing.
// Processes of versions that do not publish must be gone before a near cache is used. In
// a Cluster each hold is published to all servers, whether or not somebody listens. A
// master that is given its first slot is subscribed up to a second later; of holds that
// it takes before, the other servers tell, which takes milliseconds, but is not made
// sure of.
//
// The server is asked who it is when a connection is made, and once a second. When it
// was started again with what it had, or a replica was promoted, it may have values that
// were invalidated, so the graphs on this backend accept no value from before, and the
// other processes learn of it through the store. A single server that was away for less
// than about three seconds counts as one of these even if it is empty: it cannot be told
// from another. What cannot be noticed this way, and is bounded by the life of a value:
//
//   - A write whose mark was lost with a server or evicted, by a process that then dies
//     before its write has ended.
//   - A deposed master that a process still reaches, and others do not: until it learns
//     that it is a replica, or the connection ends, that process may read what others
//     have overwritten, and what it writes is not invalidated for the others.
//   - A server that was promoted or came back while no process was there that knew it
//     before.
//
// The server must be one that INFO tells of: a proxy that spreads commands over several
// servers will not do. It was tested with Redis 7.0.15.
//
// A key that has been overwritten by something else is a miss, and is replaced by the
// next fill if it still has the same bytes; the mark of a write is never among them.
//
// # Special considerations
//
// A stamp (driver.Stamp) of up to 255 bytes is kept for 30 seconds after a write; a
// value that is cached with a TTL shorter than what is left of that lives as long as the
// stamp does.
package redis
