package graphcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// watchStore is a store that reports what a test gives it, batch by batch, each until it
// has been dealt with.
type watchStore struct {
	*backendtest.FaultyStore
	begin   func(n int) error // of the n-th call of Watch; it may panic
	calls   atomic.Int64
	running atomic.Int64
	refused atomic.Int64 // batches that are to be passed again
	batches chan watchBatch

	turn chan struct{} // one Watch at a time; it protects next
	next *watchBatch
}

type watchBatch struct {
	changes []driver.ForeignChange
	done    chan struct{}
}

func (s *watchStore) Watch(ctx context.Context, f func(context.Context, []driver.ForeignChange) error) error {
	s.running.Add(1)
	defer s.running.Add(-1)
	n := int(s.calls.Add(1))
	if s.begin != nil {
		if err := s.begin(n); err == errWatchEnds {
			return nil
		} else if err != nil {
			return err
		}
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if s.next == nil {
			select {
			case b := <-s.batches:
				s.next = &b
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := f(ctx, s.next.changes); err != nil {
			s.refused.Add(1)
			return err
		}
		close(s.next.done)
		s.next = nil
	}
}

// watchWorld is a process that watches, and another one on the same store and cache.
type watchWorld struct {
	*graphcache.Graph
	store *watchStore
	cache *backendtest.FaultyCache
	other *fixtureEngine
	log   *watchLog
	ended chan struct{}
	err   error // of Watch, once it has ended
}

// watchLog is a log that may be read while it is written.
type watchLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *watchLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *watchLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func watchNew(t testing.TB, begin func(n int) error) *watchWorld {
	t.Helper()
	other := shopNew(t, func(o *graphcache.Options) { o.LookPeriod = time.Second })
	w := &watchWorld{
		store: &watchStore{FaultyStore: backendtest.NewFaultyStore(other.store, nil), begin: begin, batches: make(chan watchBatch, 16), turn: make(chan struct{}, 1)},
		cache: backendtest.NewFaultyCache(other.cache, nil), other: other, log: new(watchLog), ended: make(chan struct{}),
	}
	var err error
	w.Graph, err = graphcache.Open(t.Context(), shopSchema, w.store, &graphcache.Options{Cache: w.cache, Logger: slog.New(slog.NewTextHandler(w.log, nil))})
	fixtureMust(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(w.ended)
		w.err = w.Watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		fixtureAwait(t, w.ended, "Watch to end")
		fixtureMust(t, w.Close(context.Background()))
	})
	return w
}

// pass has the store report a batch.
func (w *watchWorld) pass(changes ...driver.ForeignChange) (done <-chan struct{}) {
	b := watchBatch{changes, make(chan struct{})}
	w.store.batches <- b
	return b.done
}

// view is what a process sees, in the cache or in the store.
func (w *watchWorld) view(t testing.TB, c graphcache.Conn, fresh graphcache.Freshness) (v []string) {
	t.Helper()
	ctx := t.Context()
	for _, city := range []string{"rome", "oslo", "kyiv"} {
		v = watchIDs(t, v, c, shopItems.Where(itemCity.Eq(city)), fresh)
	}
	v = watchIDs(t, v, c, shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()), fresh)
	v = watchIDs(t, v, c, shopFlags.Where(flagOn.Eq(true)), fresh)
	for _, id := range []shopItemID{"i01", "i02"} {
		v = watchIDs(t, v, c, shopBought.In(id), fresh)
		v = watchIDs(t, v, c, shopHome.In(id), fresh)
	}
	for _, id := range []shopBuyerID{"b0", "b1", "b2"} {
		v = watchIDs(t, v, c, shopBought.Out(id), fresh)
		v = watchIDs(t, v, c, shopHome.Out(id), fresh)
		v = watchIDs(t, v, c, shopPeers.Out(id), fresh)
	}
	items, err := shopItems.GetMany(ctx, c, []shopItemID{"i01", "i02"}, fresh)
	fixtureMust(t, err)
	for _, id := range []shopItemID{"i01", "i02"} {
		if i := items[id]; i != nil {
			v = append(v, fmt.Sprint(id, i.City, i.Stock))
		}
	}
	w.other.settle(t)
	return v
}

func watchIDs[T, E any](t testing.TB, v []string, c graphcache.Conn, q graphcache.Query[T, E], fresh graphcache.Freshness) []string {
	t.Helper()
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	ids, err := q.IDs(t.Context(), c)
	fixtureMust(t, err)
	return append(v, strings.Join(hazardStrings(ids), " "))
}

// expect checks that what the other process has cached is what the store has, or not.
func (w *watchWorld) expect(t testing.TB, what string, c graphcache.Conn, stale bool) {
	t.Helper()
	diff := gocmp.Diff(w.view(t, c, graphcache.Fresh), w.view(t, c, graphcache.Cached))
	if (diff != "") != stale {
		t.Errorf("%s: stale %v, want %v (-store +cached):\n%s", what, diff != "", stale, diff)
	}
}

func watchItem(id, city string, stock int64) *driver.Object {
	return foreignItem(driver.Insert, id, city, stock).Object
}

// watchCases are writes of another program and what a store reports of them.
var watchCases = []struct {
	name    string
	writes  []driver.Write
	changes []driver.ForeignChange
	cold    bool // the objects are not cached
}{
	{"an object, its states", []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9)},
		[]driver.ForeignChange{{Kind: "item", ID: "i01", Objects: []*driver.Object{watchItem("i01", "rome", 1), watchItem("i01", "oslo", 9)}}}, true},
	{"an object, a state and the cache", []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9)},
		[]driver.ForeignChange{{Kind: "item", ID: "i01", Objects: []*driver.Object{watchItem("i01", "oslo", 9)}}}, false},
	{"an object, its ID alone", []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9)}, []driver.ForeignChange{{Kind: "item", ID: "i01"}}, false},
	{"an object that is deleted", []driver.Write{foreignItem(driver.Delete, "i01", "", 0)}, []driver.ForeignChange{{Kind: "item", ID: "i01"}}, false},
	{"an object that is created", []driver.Write{foreignItem(driver.Insert, "i02", "kyiv", 2)}, []driver.ForeignChange{{Kind: "item", ID: "i02"}}, true},
	{"an object that is marked", []driver.Write{{Op: driver.Replace, Kind: "item", Object: &driver.Object{ID: "i01", Version: 2, Deleting: true, Doc: watchItem("i01", "rome", 1).Doc}}},
		[]driver.ForeignChange{{Kind: "item", ID: "i01", Objects: []*driver.Object{watchItem("i01", "rome", 1), {ID: "i01", Version: 2, Deleting: true}}}}, true},
	{"a scan", []driver.Write{{Op: driver.Insert, Kind: "flag", Object: &driver.Object{ID: "f9", Version: 1, Doc: driver.Document{{Name: "on", Value: true}}}}},
		[]driver.ForeignChange{{Kind: "flag", ID: "f9"}}, true},
	{"edges", []driver.Write{foreignEdge(driver.Insert, "bought", "b0", "i02"), foreignEdge(driver.Delete, "bought", "b0", "i01")},
		[]driver.ForeignChange{{Kind: "bought", From: "b0", To: "i02"}, {Kind: "bought", Edges: []*driver.Edge{{From: "b0", To: "i01"}}}}, true},
	{"symmetric edges", []driver.Write{foreignEdge(driver.Insert, "peers", "b0", "b2"), foreignEdge(driver.Delete, "peers", "b0", "b1")},
		[]driver.ForeignChange{{Kind: "peers", From: "b0", To: "b2"}, {Kind: "peers", From: "b1", To: "b0"}}, true},
	{"a to-one edge, its states", []driver.Write{foreignEdge(driver.Replace, "home", "b0", "i02")},
		[]driver.ForeignChange{{Kind: "home", From: "b0", To: "i02", Edges: []*driver.Edge{{From: "b0", To: "i02"}, {From: "b0", To: "i01"}}}}, true},
	{"a to-one edge and the cache", []driver.Write{foreignEdge(driver.Replace, "home", "b0", "i02")}, []driver.ForeignChange{{Kind: "home", From: "b0", To: "i02"}}, false},
	{"a to-one edge, one state and the cache", []driver.Write{foreignEdge(driver.Replace, "home", "b0", "i02")},
		[]driver.ForeignChange{{Kind: "home", Edges: []*driver.Edge{{From: "b0", To: "i02"}}}}, false},
	{"several kinds at once", []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9), foreignEdge(driver.Insert, "bought", "b1", "i01")},
		[]driver.ForeignChange{{Kind: "nothing"}, {Kind: "item", ID: "i01"}, {Kind: "nothing", ID: "i01"}, {Kind: "bought", From: "b1", To: "i01"}}, false},
}

// watchFill makes what the cases change.
func watchFill(t testing.TB, w *watchWorld, namespace string) {
	t.Helper()
	lookWrite(t, w.other, namespace, foreignItem(driver.Insert, "i01", "rome", 1), foreignItem(driver.Insert, "i03", "rome", 3),
		foreignEdge(driver.Insert, "bought", "b0", "i01"), foreignEdge(driver.Insert, "home", "b0", "i01"), foreignEdge(driver.Insert, "peers", "b0", "b1"))
}

// TestWatch: what the store reports is not stale any more, in this and in other processes,
// in every namespace, whether or not the process that watches has opened it.
func TestWatch(t *testing.T) {
	for _, namespace := range []string{"", "acme", "acme, not opened"} {
		for _, tt := range watchCases {
			t.Run(tt.name+" in "+namespace, func(t *testing.T) {
				ctx, w := t.Context(), watchNew(t, nil)
				name, _, unopened := strings.Cut(namespace, ",")
				c, err := w.other.Namespace(ctx, name)
				fixtureMust(t, err)
				if !unopened {
					_, err = w.Namespace(ctx, name)
					fixtureMust(t, err)
				}
				watchFill(t, w, name)
				for i := range 2 {
					w.expect(t, "at first", c, false)
					if tt.cold && i == 0 { // the values that are cached have no objects beside them
						fixtureMust(t, w.other.Invalidate(ctx, shopItems.Ref("i01"), shopItems.Ref("i02")))
					}
				}
				lookWrite(t, w.other, name, tt.writes...)
				w.expect(t, "before the store reports it", c, true)
				var changes []driver.ForeignChange
				for _, change := range tt.changes {
					change.Namespace = name
					changes = append(changes, change)
				}
				fixtureAwait(t, w.pass(changes...), "the batch")
				if unopened { // kinds that are dropped as a whole: others learn of it when they look
					fixtureEventually(t, "the other process sees the change", func() bool {
						return gocmp.Diff(w.view(t, c, graphcache.Fresh), w.view(t, c, graphcache.Cached)) == ""
					})
				}
				w.expect(t, "when it has", c, false)
				w.expect(t, "and again", c, false)
				if n := w.Stats().ForeignChanges; n != int64(len(changes)) {
					t.Errorf("%d changes were counted, want %d", n, len(changes))
				}
				if n := w.other.cache.Tokens(); n != 0 {
					t.Errorf("%d marks are left", n)
				}
				if calls := w.store.Calls("Ensure"); unopened && calls != 1 {
					t.Errorf("the store was prepared %d times, want once, at Open", calls)
				}
				if s := w.log.String(); strings.Contains(s, "level=WARN") || strings.Contains(s, "level=ERROR") {
					t.Errorf("there was something to warn of: %s", s)
				}
			})
		}
	}
}

// TestWatchKind: a change of which nothing is known drops the kind, in all namespaces; so
// does one of an edge without its ends, or of an object under the name of an edge kind.
func TestWatchKind(t *testing.T) {
	for name, change := range map[string]driver.ForeignChange{
		"the kind":           {Kind: "bought"},
		"from one end":       {Kind: "bought", From: "b0"},
		"an object, it says": {Kind: "bought", ID: "b0"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, w := t.Context(), watchNew(t, nil)
			tenant, err := w.Namespace(ctx, "acme")
			fixtureMust(t, err)
			conns := []graphcache.Conn{w.Graph, tenant}
			for i, c := range conns {
				watchFill(t, w, []string{"", "acme"}[i])
				w.expect(t, "at first", c, false)
				fixtureMust(t, w.Settle(ctx))
				lookWrite(t, w.other, []string{"", "acme"}[i], foreignEdge(driver.Insert, "bought", "b1", "i01"))
				w.expect(t, "before", c, true)
			}
			w.store.Reset()
			fixtureAwait(t, w.pass(change, change, driver.ForeignChange{Kind: "bought"}), "the batch")
			for _, c := range conns {
				w.expect(t, "after", c, false)
			}
			if calls, kinds := w.store.Calls("Raise"), w.store.Items("Raise"); calls != 1 || kinds != 1 {
				t.Errorf("%d calls raised the generations of %d kinds, want 1 of 1", calls, kinds)
			}
		})
	}
}

// TestWatchBatch: a batch holds every anchor once, in one call, and asks for the objects of
// a kind at once.
func TestWatchBatch(t *testing.T) {
	w := watchNew(t, nil)
	watchFill(t, w, "")
	w.expect(t, "at first", w.other, false)
	w.cache.Reset()
	w.store.Reset()
	change := driver.ForeignChange{Kind: "item", ID: "i01", Objects: []*driver.Object{watchItem("i01", "rome", 1)}}
	edge := driver.ForeignChange{Kind: "bought", From: "b0", To: "i01"}
	fixtureAwait(t, w.pass(change, edge, change, driver.ForeignChange{Kind: "item", ID: "i03"}, edge, driver.ForeignChange{Kind: "home", From: "b0", To: "i01"}), "the batch")
	// Two objects; rome; two codes; red and rome, in two indexes; a shelf with two ranks; a
	// hall with two slots; two lists of each of two kinds of edges.
	if holds, items := w.cache.Calls("Hold"), w.cache.Items("Hold"); holds != 1 || items != 2+1+2+2*2+3+3+2*2 {
		t.Errorf("%d calls of Hold with %d anchors", holds, items)
	}
	if reads, lookups := w.store.Calls("Read"), w.cache.Calls("Lookup"); reads != 1 || lookups != 2 {
		t.Errorf("%d reads of the store and %d look-ups, want 1 and 2", reads, lookups)
	}
}

// TestWatchFails: a batch is passed again until all of it has been dealt with, whatever
// fails; the log says so once; and other reads and writes do not mind.
func TestWatchFails(t *testing.T) {
	for _, tt := range []struct {
		method string
		change driver.ForeignChange
	}{
		{"Hold", driver.ForeignChange{Kind: "item", ID: "i01"}},
		{"Release", driver.ForeignChange{Kind: "item", ID: "i01"}},
		{"Lookup", driver.ForeignChange{Kind: "item", ID: "i01"}},
		{"Lookup", driver.ForeignChange{Kind: "home", From: "b0", To: "i02"}},
		{"Read", driver.ForeignChange{Kind: "item", ID: "i01"}},
		{"Raise", driver.ForeignChange{Kind: "item"}},
		{"Look", driver.ForeignChange{Kind: "item"}},
	} {
		for _, how := range []string{"fails", "panics"} {
			t.Run(tt.method+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := watchNew(t, nil)
					watchFill(t, w, "")
					w.expect(t, "at first", w.other, false)
					lookWrite(t, w.other, "", foreignItem(driver.Replace, "i01", "oslo", 9), foreignEdge(driver.Replace, "home", "b0", "i02"))
					hook := func(_ context.Context, c backendtest.Call) backendtest.Fault {
						if c.Method != tt.method {
							return backendtest.Fault{}
						}
						if how == "panics" {
							panic("a bug")
						}
						return backendtest.Fault{Action: backendtest.Fail}
					}
					w.cache.SetHook(hook)
					w.store.SetHook(hook)
					done := w.pass(tt.change)
					time.Sleep(30 * time.Second)
					select {
					case <-done:
						t.Fatal("the batch was accepted")
					default:
					}
					if how == "fails" && w.store.refused.Load() < 2 {
						t.Errorf("the batch was refused %d times", w.store.refused.Load())
					}
					if w.Stats().ForeignChanges != 0 {
						t.Error("the change was counted")
					}
					if n := strings.Count(w.log.String(), "graphcache: watch:"); n != 1 {
						t.Errorf("the log has %d lines about it:\n%s", n, w.log)
					}
					w.cache.SetHook(nil)
					w.store.SetHook(nil)
					time.Sleep(12 * time.Second)
					fixtureAwait(t, done, "the batch")
					items, err := shopItems.GetMany(t.Context(), w.Graph, []shopItemID{"i01"})
					fixtureMust(t, err)
					if tt.change.Kind == "item" && items["i01"].City != "oslo" {
						t.Error("the change is not seen")
					}
				})
			})
		}
	}
}

// TestWatchFeedFails: after a failure the feed is asked again, after pauses that grow to
// 10 s; the log has a line for each outage, not for each failure.
func TestWatchFeedFails(t *testing.T) {
	for how, fail := range map[string]func() error{
		"fails":  func() error { return errors.New("no feed") },
		"panics": func() error { panic("no feed") },
		"ends":   func() error { return errWatchEnds },
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var works atomic.Bool
				w := watchNew(t, func(int) error {
					if works.Load() {
						return nil
					}
					return fail()
				})
				time.Sleep(time.Second)
				if n := w.store.calls.Load(); n < 3 || n > 8 {
					t.Errorf("the feed was asked %d times in the first second", n)
				}
				time.Sleep(10 * time.Minute)
				if n := w.store.calls.Load(); n < 60 || n > 150 {
					t.Errorf("the feed was asked %d times in 10 minutes", n)
				}
				if n := strings.Count(w.log.String(), "graphcache: watch:"); n != 1 {
					t.Errorf("the log has %d lines about it:\n%s", n, w.log)
				}
				works.Store(true)
				fixtureAwait(t, w.pass(driver.ForeignChange{Kind: "bought", From: "b0", To: "i01"}), "the batch")
				works.Store(false)
				w.cache.SetHook(func(context.Context, backendtest.Call) backendtest.Fault {
					return backendtest.Fault{Action: backendtest.Fail}
				})
				w.pass(driver.ForeignChange{Kind: "bought", From: "b0", To: "i01"})
				time.Sleep(10 * time.Minute)
				if n := strings.Count(w.log.String(), "graphcache: watch:"); n != 2 {
					t.Errorf("after the second outage the log has %d lines about it:\n%s", n, w.log)
				}
			})
		})
	}
}

// errWatchEnds has the feed of a test end without an error.
var errWatchEnds = errors.New("the feed ends without an error")

// TestWatchEnds: Watch ends with its context, whose error it returns, or when the graph is
// closed, which waits for it; Settle does not.
func TestWatchEnds(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		w := watchNew(t, nil)
		fixtureAwait(t, w.pass(), "the batch")
		fixtureMust(t, w.Settle(t.Context()))
		fixtureMust(t, w.Close(t.Context()))
		if n := w.store.running.Load(); n != 0 {
			t.Error("Close has returned, and the store is still asked")
		}
		fixtureAwait(t, w.ended, "Watch to end")
		if !errors.Is(w.err, graphcache.ErrUnavailable) {
			t.Errorf("Watch: %v, want ErrUnavailable", w.err)
		}
		if err := w.Watch(t.Context()); !errors.Is(err, graphcache.ErrUnavailable) {
			t.Errorf("Watch after Close: %v, want ErrUnavailable", err)
		}
		if s := w.log.String(); s != "" {
			t.Errorf("there was something to be logged: %s", s)
		}
	})
	t.Run("closed inside a batch", func(t *testing.T) {
		w := watchNew(t, nil)
		gate := backendtest.NewGate(backendtest.On("Hold"))
		w.cache.SetHook(gate.Hook)
		done := w.pass(driver.ForeignChange{Kind: "bought", From: "b0", To: "i01"})
		g := &fixtureGate{gate}
		g.await(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close beside a batch: %v, want its context's error", err)
		}
		gate.Open()
		fixtureMust(t, w.Close(t.Context()))
		fixtureAwait(t, done, "the batch")
	})
	t.Run("context", func(t *testing.T) {
		w := watchNew(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		wait := fixtureGo(t, func() error { return w.Watch(ctx) }) // a second call waits like another process
		cancel()
		if err := wait(); err != context.Canceled {
			t.Errorf("Watch: %v, want the context's error", err)
		}
	})
	t.Run("without a cache", func(t *testing.T) {
		store := &watchStore{FaultyStore: backendtest.NewFaultyStore(memory.NewStore(nil), nil)}
		g, err := graphcache.Open(t.Context(), shopSchema, store, nil)
		fixtureMust(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := g.Watch(ctx); err != context.DeadlineExceeded || store.calls.Load() != 0 {
			t.Errorf("Watch: %v and %d calls, want the context's error and none", err, store.calls.Load())
		}
		fixtureMust(t, g.Close(t.Context()))
	})
	t.Run("unsupported", func(t *testing.T) {
		e := shopNew(t)
		want := "graphcache: watch: the store (memory) does not report what others write: unsupported operation"
		if err := e.Watch(t.Context()); !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
			t.Errorf("Watch: %v, want %s", err, want)
		}
	})
}
