// Package otelgraphcache tells OpenTelemetry what a graph does: its counts as metrics,
// its operations as traces.
//
//	g, err := graphcache.Open(ctx, schema, store, &graphcache.Options{
//		Cache:  cache,
//		Tracer: otelgraphcache.NewTracer(nil),
//	})
//	…
//	stop, err := otelgraphcache.Register(g, nil)
//	defer stop()
//
// # Metrics
//
// There is one for each field of [graphcache.Stats], and for each of
// [graphcache.KindStats] one with the attribute graphcache.kind. They are read when the
// provider collects them, and cost nothing between.
//
// # Traces
//
// Every query, get, write and transaction is one span of kind internal, named
// graphcache.OPERATION KIND, such as "graphcache.query post", with the attributes
// graphcache.operation and graphcache.kind. Its steps are events:
//
//	graphcache.fetch    fragments were looked up, and those that were missed were loaded
//	graphcache.read     a write read the store
//	graphcache.hold     the anchors of a write were marked in the cache
//	graphcache.journal  the anchors of a write were put into the store's journal
//	graphcache.store    the store was written, or a transaction committed
//	graphcache.release  the marks were taken off
//
// Their attributes are graphcache.duration, in seconds, graphcache.outcome, which is
// "done", "failed" or "unknown", graphcache.kind, and of a fetch graphcache.access,
// graphcache.fragments, .hits, .misses, .joins, .waits and .loads: see
// [graphcache.Step]. The spans of a client of the store are children of the operation's.
//
// A span that ends with an error has the attribute error.type, and, unless it is an
// answer like "not found", the status Error. No attribute has an ID, a value or the text
// of an error in it, so there are as many different ones as kinds.
package otelgraphcache
