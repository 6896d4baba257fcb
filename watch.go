package graphcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// Watch invalidates what something else than graphcache writes, as the store reports it,
// in all namespaces, until ctx ends, whose error it returns, or the graph is closed
// ([ErrUnavailable]). Run it in a goroutine of every process: they share the work and take
// over from each other. A store that does not report such writes says so at once: the error
// wraps [errors.ErrUnsupported].
//
// It bounds how long a foreign write is not seen: until the store has reported it and
// Watch has invalidated it, mostly a fraction of a second. It makes no read linearizable
// with foreign writes. What was cached is then dropped of
//
//   - the object, and searches of its kind if it has CacheScans;
//   - the lists of both ends of an edge;
//   - the entries in indexes that the object has now, has as the cache knows it, and had
//     in the states that the store reports; and so the lists at the ends that the edge of
//     a to-one kind has had.
//
// If a store reports no earlier states, and the cache does not have the record either,
// IDs and Count under the values that it has left may go on having it, and the list of the
// end that it has left, until they expire; objects that a query returns always match. Of
// what a store cannot tell apart the whole kind is dropped, as by [Graph.InvalidateKind].
//
// Changes of kinds and indexes that the schema lacks are passed over, also for processes
// that have them: if schemas differ, let those with the most call Watch. What fails is
// tried again until it succeeds, after pauses of up to 10 s, and logged once for each time
// that it begins to fail; the store keeps what was not dealt with.
func (g *Graph) Watch(ctx context.Context) error {
	s := g.shared
	store := s.root().store
	feed, reports := store.(driver.Feed)
	if _, keeps := store.(driver.Ledger); !reports || !keeps {
		return fmt.Errorf("graphcache: watch: the store (%s) does not report what others write: %w", store.Capabilities().Name, errors.ErrUnsupported)
	}
	if !s.beginWatch() {
		return fmt.Errorf("graphcache: watch: %w", errClosed)
	}
	defer s.watches.Done()
	open, cancel := s.untilClosed(ctx)
	defer cancel()
	if s.opts.Cache == nil { // there is nothing to invalidate
		<-open.Done()
	} else {
		w := &watcher{shared: s, feed: feed, views: map[string]*Graph{}}
		if err := w.run(open); err != nil {
			return fmt.Errorf("graphcache: watch: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("graphcache: watch: %w", errClosed)
}

// beginWatch registers a call of Watch that Close waits for, but Settle does not.
func (s *shared) beginWatch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.watches.Add(1)
	return true
}

// waitForWatches returns when no call of Watch is under way, or with ctx's error.
func (s *shared) waitForWatches(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.watches.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watcher is one call of Watch.
type watcher struct {
	shared *shared
	feed   driver.Feed
	views  map[string]*Graph // of namespaces that this process has not opened
	passed atomic.Bool       // a batch was dealt with since the feed was last asked
}

// The pauses after a failure are random: at first from half of minWatchPause to all of it.
const (
	minWatchPause = 200 * time.Millisecond
	maxWatchPause = 10 * time.Second
)

// run watches until ctx ends. An error is that the store cannot report anything.
func (w *watcher) run(ctx context.Context) error {
	failing := false
	for pause := minWatchPause; ; pause = min(2*pause, maxWatchPause) {
		w.passed.Store(false)
		began := time.Now()
		err := w.watch(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errors.ErrUnsupported):
			return err
		}
		if w.passed.Load() || time.Since(began) > maxWatchPause {
			pause, failing = minWatchPause, false
		}
		if !failing {
			failing = true
			w.shared.opts.Logger.WarnContext(ctx, "graphcache: watch: what others have written may be served as it was until this succeeds", "error", err)
		}
		if sleep(ctx, pause/2+rand.N(pause/2)) != nil {
			return nil
		}
	}
}

// watch asks the feed once. A panic of a backend is an error.
func (w *watcher) watch(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return w.feed.Watch(ctx, func(ctx context.Context, changes []driver.ForeignChange) error {
		if err := w.apply(ctx, changes); err != nil {
			return err
		}
		w.passed.Store(true)
		w.shared.foreignChanges.Add(int64(len(changes)))
		return nil
	})
}

// foreign is what a batch of changes has touched.
type foreign struct {
	kinds   []string // all of their records
	anchors map[*Graph][]anchor
	objects map[*boundKind][]string // IDs, whose entries in indexes are to be looked for
	ends    map[*boundKind][]string // the same for edges of to-one kinds
}

// apply invalidates what the changes touch. With a nil error all of it is confirmed.
func (w *watcher) apply(ctx context.Context, changes []driver.ForeignChange) error {
	if err := w.shared.lookFirst(ctx); err != nil {
		return err
	}
	f := foreign{anchors: map[*Graph][]anchor{}, objects: map[*boundKind][]string{}, ends: map[*boundKind][]string{}}
	for i := range changes {
		if c := &changes[i]; w.shared.counters[c.Kind] != nil { // else it is of another schema
			w.collect(&f, c)
		}
	}
	if len(f.kinds) > 0 {
		if err := w.shared.raiseKinds(ctx, distinct(f.kinds)); err != nil {
			return err
		}
	}
	for g, anchors := range f.anchors {
		more, err := f.look(ctx, w, g)
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(distinctAnchors(append(anchors, more...)), maxBulkAnchors) {
			if err := g.clear(ctx, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect adds what a change has touched, as far as it tells.
func (w *watcher) collect(f *foreign, c *driver.ForeignChange) {
	g, opened := w.graph(c.Namespace)
	k := g.kinds[c.Kind]
	anchors, edges := f.anchors[g], c.Edges
	if c.From != "" && c.To != "" {
		edges = append(slices.Clip(edges), &driver.Edge{From: c.From, To: c.To})
	}
	switch {
	case k.object != nil && c.ID != "" && !k.registered.Load().alien && (opened || len(c.Objects) > 0 || !k.hasIndexes()):
		for _, o := range c.Objects {
			anchors = append(anchors, k.touched(c.ID, present(o), nil)...)
		}
		f.objects[k] = append(f.objects[k], c.ID)
	case k.edge != nil && len(edges) > 0:
		for _, e := range edges {
			anchors = append(anchors, k.edge.touched(e.From, e.To)...)
			if k.edge.toOne {
				f.ends[k] = append(f.ends[k], e.From)
			}
		}
	default:
		f.kinds = append(f.kinds, c.Kind)
		return
	}
	f.anchors[g] = anchors
}

// graph returns the graph of a namespace. If this process has not opened it, its store
// may not be prepared, and only its keys are of use.
func (w *watcher) graph(name string) (g *Graph, opened bool) {
	s := w.shared
	s.mu.Lock()
	g, root := s.namespaces[name], s.namespaces[""]
	s.mu.Unlock()
	if g != nil {
		return g, true
	}
	if g = w.views[name]; g == nil {
		g = s.bind(root.store.Namespace(name), keyspace{database: root.space.database, namespace: name})
		w.views[name] = g
	}
	return g, false
}

// look returns the anchors of the graph's records that were written which the changes do
// not tell: by what the cache still has of them, and the store.
func (f *foreign) look(ctx context.Context, w *watcher, g *Graph) (anchors []anchor, err error) {
	for _, k := range g.kinds {
		if ids := distinct(f.objects[k]); len(ids) > 0 {
			cached, err := g.cachedEntries(ctx, k, ids)
			if err != nil {
				return nil, err
			}
			anchors = append(anchors, cached...)
			if _, opened := w.graph(g.space.namespace); opened {
				now, err := g.storedEntries(ctx, k, ids)
				if err != nil {
					return nil, err
				}
				anchors = append(anchors, now...)
			}
		}
		if ids := distinct(f.ends[k]); len(ids) > 0 {
			cached, err := g.cachedEnds(ctx, k, ids)
			if err != nil {
				return nil, err
			}
			anchors = append(anchors, cached...)
		}
	}
	return anchors, nil
}

// cachedEnds returns the anchors of the lists to which the edges of a to-one kind lead
// that start at the objects, as far as the cache knows.
func (g *Graph) cachedEnds(ctx context.Context, k *boundKind, ids []string) (anchors []anchor, err error) {
	reqs := make([]request, len(ids))
	for i, id := range ids {
		reqs[i] = k.probeRequest(driver.Out, id)
	}
	if err := g.lookup(ctx, reqs); err != nil {
		return nil, err
	}
	for i := range reqs {
		if r := &reqs[i]; r.next.Action == protocol.Hit {
			for _, e := range r.list.slice(0, r.list.len()) {
				anchors = append(anchors, anchor{inAnchor, k.name, e.far})
			}
		}
	}
	return anchors, nil
}

// distinctAnchors returns the anchors without repetitions.
func distinctAnchors(anchors []anchor) []anchor {
	seen := make(map[anchor]bool, len(anchors))
	return slices.DeleteFunc(anchors, func(a anchor) bool {
		again := seen[a]
		seen[a] = true
		return again
	})
}

// clear invalidates the anchors. With a nil error the cache has confirmed that none of
// them is marked any more.
func (g *Graph) clear(ctx context.Context, anchors []anchor) error {
	var s *session
	err := g.mutate(ctx, exactly(anchors...), func(_ context.Context, in *session) error { s = in; return nil })
	if err == nil && s.abandoned {
		err = fmt.Errorf("%w: the cache did not confirm an invalidation", ErrUnavailable)
	}
	return err
}
