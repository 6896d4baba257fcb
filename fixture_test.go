package graphcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// The schema of the tests of single hazards, faults and figures.

type fixtureUser struct {
	ID      graphcache.ID[fixtureUser] `json:"id"`
	Version graphcache.Version         `json:"version"`
	Name    string                     `json:"name"`
	Age     int                        `json:"age"`
	Secret  string                     `json:"-"`
}

type fixturePost struct {
	ID    graphcache.ID[fixturePost] `json:"id"`
	Title string                     `json:"title" graph:"was=headline"`
}

type fixtureFollow struct {
	Note string `json:"note"`
}

type (
	fixtureUserID = graphcache.ID[fixtureUser]
	fixturePostID = graphcache.ID[fixturePost]
	fixtureEdge   = graphcache.Edge[fixtureUser, fixtureUser, fixtureFollow]
)

var (
	fixtureUsers   = graphcache.NewObjectKind[fixtureUser]("user")
	fixturePosts   = graphcache.NewObjectKind[fixturePost]("post")
	fixtureFollows = graphcache.NewEdgeKind[fixtureFollow]("follows", fixtureUsers, fixtureUsers)
	fixtureWrote   = graphcache.NewEdgeKind[graphcache.NoData]("wrote", fixtureUsers, fixturePosts)
	fixtureBoss    = graphcache.NewEdgeKind[graphcache.NoData]("boss", fixtureUsers, fixtureUsers).ToOne()
	fixtureFriends = graphcache.NewEdgeKind[graphcache.NoData]("friends", fixtureUsers, fixtureUsers).Symmetric()
	fixtureLikes   = graphcache.NewEdgeKind[graphcache.NoData]("likes", fixtureUsers, fixtureUsers).Family("feelings")
	fixtureLoves   = graphcache.NewEdgeKind[graphcache.NoData]("loves", fixtureUsers, fixtureUsers).Family("feelings")
	fixtureSchema  = graphcache.NewSchema(fixtureUsers, fixturePosts, fixtureFollows, fixtureWrote,
		fixtureBoss, fixtureFriends, fixtureLikes, fixtureLoves)
)

// fixtureEngine is one process: a graph on backends that fail on demand.
type fixtureEngine struct {
	*graphcache.Graph
	store  *memory.Store
	cache  *memory.Cache
	fstore *backendtest.FaultyStore // in front of store
	fcache *backendtest.FaultyCache // in front of cache
}

// fixtureNew returns a process on a new store and a new cache.
func fixtureNew(t testing.TB, set ...func(*graphcache.Options)) *fixtureEngine {
	t.Helper()
	e := &fixtureEngine{store: memory.NewStore(nil), cache: memory.NewCache(nil)}
	return e.another(t, set...)
}

// fixtureTimed returns a process whose cache has a clock that only the test moves.
func fixtureTimed(t testing.TB, set ...func(*graphcache.Options)) (*fixtureEngine, *fixtureClock) {
	t.Helper()
	clock := new(fixtureClock)
	e := &fixtureEngine{store: memory.NewStore(nil), cache: memory.NewCache(&memory.CacheOptions{Now: clock.Now})}
	return e.another(t, set...), clock
}

// another returns one more process on the same store and the same cache.
func (e *fixtureEngine) another(t testing.TB, set ...func(*graphcache.Options)) *fixtureEngine {
	t.Helper()
	return e.withSchema(t, fixtureSchema, set...)
}

// withSchema is another with a schema of its own.
func (e *fixtureEngine) withSchema(t testing.TB, s *graphcache.Schema, set ...func(*graphcache.Options)) *fixtureEngine {
	t.Helper()
	n := &fixtureEngine{
		store: e.store, fstore: backendtest.NewFaultyStore(e.store, nil),
		cache: e.cache, fcache: backendtest.NewFaultyCache(e.cache, nil),
	}
	// Long enough for a gate that is closed on a busy machine.
	opts := &graphcache.Options{
		Cache: n.fcache, Logger: slog.New(slog.DiscardHandler), TTL: 10 * time.Minute,
		ReadTimeout: fixturePatience, LoadTimeout: fixturePatience, LeaseTTL: 3 * fixturePatience,
		HoldTimeout: fixturePatience, WriteTimeout: fixturePatience, HoldTTL: 4 * fixturePatience,
		// No look disturbs a test that counts calls or stops them.
		LookPeriod: fixturePatience / 2, WhenCacheDown: graphcache.Fail,
	}
	for _, f := range set {
		f(opts)
	}
	if opts.TTL > 0 {
		opts.LookPeriod = min(opts.LookPeriod, opts.TTL/10)
	}
	var err error
	if n.Graph, err = graphcache.Open(t.Context(), s, n.fstore, opts); err != nil {
		t.Fatalf("Open: %v", err)
	}
	n.on(nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

// seed creates users and posts with the IDs.
func (e *fixtureEngine) seed(t testing.TB, users []fixtureUserID, posts ...fixturePostID) {
	t.Helper()
	for _, id := range users {
		fixtureMust(t, fixtureUsers.Create(t.Context(), e, &fixtureUser{ID: id, Name: "v1 of " + string(id)}))
	}
	for _, id := range posts {
		fixtureMust(t, fixturePosts.Create(t.Context(), e, &fixturePost{ID: id, Title: "v1 of " + string(id)}))
	}
}

// settle waits for the fills under way.
func (e *fixtureEngine) settle(t testing.TB) {
	t.Helper()
	fixtureMust(t, e.Settle(t.Context()))
}

func fixtureMust(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// name returns a user's name as the cache or the store gives it, "" for none.
func (e *fixtureEngine) name(t testing.TB, id fixtureUserID, fresh ...graphcache.Freshness) string {
	t.Helper()
	m, err := fixtureUsers.GetMany(t.Context(), e, []fixtureUserID{id}, fresh...)
	fixtureMust(t, err)
	if m[id] == nil {
		return ""
	}
	return m[id].Name
}

// rename changes a user's name.
func (e *fixtureEngine) rename(ctx context.Context, id fixtureUserID, name string) error {
	_, err := fixtureUsers.Update(ctx, e, id, func(u *fixtureUser) error { u.Name = name; return nil })
	return err
}

// anchors returns the keys of the anchors that read looks up, in that order.
func (e *fixtureEngine) anchors(t testing.TB, read func()) []string {
	t.Helper()
	var mu sync.Mutex
	var keys []string
	e.on(func(c fixtureCall) backendtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		lookups, _ := c.Batch.([]driver.Lookup)
		for _, l := range lookups {
			if !slices.Contains(keys, l.Anchor) {
				keys = append(keys, l.Anchor)
			}
		}
		return backendtest.Fault{}
	})
	defer e.on(nil)
	read()
	e.settle(t)
	mu.Lock()
	defer mu.Unlock()
	return keys
}

// fixtureCall is one call of a process's store or cache, as a hook sees it.
type fixtureCall struct {
	backendtest.Call
	total int // the running number of the call, of all methods of both
	ctx   context.Context
}

// is reports whether the call is of one of the methods.
func (c fixtureCall) is(methods ...string) bool { return slices.Contains(methods, c.Method) }

// ofCache reports whether the call is one of the cache.
func (c fixtureCall) ofCache() bool { return c.is("Lookup", "Claim", "Fill", "Hold", "Release") }

// on installs a hook in front of the store and the cache, or takes it away, and
// starts counting anew.
func (e *fixtureEngine) on(hook func(fixtureCall) backendtest.Fault) {
	var total atomic.Int64
	both := func(ctx context.Context, c backendtest.Call) backendtest.Fault {
		return hook(fixtureCall{c, int(total.Add(1)), ctx})
	}
	if hook == nil {
		both = nil
	}
	for _, f := range []*backendtest.Faults{e.fstore.Faults, e.fcache.Faults} {
		f.Reset()
		f.SetHook(both)
	}
}

// stopAt installs a gate that stops the calls that match.
func (e *fixtureEngine) stopAt(match backendtest.Match) *fixtureGate {
	g := &fixtureGate{backendtest.NewGate(match)}
	e.on(func(c fixtureCall) backendtest.Fault { return g.Hook(c.ctx, c.Call) })
	return g
}

// stopReplyAt installs a gate that makes the calls that match, and stops their
// replies.
func (e *fixtureEngine) stopReplyAt(match backendtest.Match) *fixtureGate {
	g := &fixtureGate{backendtest.NewGate(match)}
	e.on(func(c fixtureCall) backendtest.Fault { return g.ReplyHook(c.ctx, c.Call) })
	return g
}

// fixtureGate stops calls until the test opens it.
type fixtureGate struct{ *backendtest.Gate }

// await waits until a call has been stopped.
func (g *fixtureGate) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fixturePatience)
	defer cancel()
	if err := g.Await(ctx); err != nil {
		t.Fatalf("no call has come to the gate: %v", err)
	}
}

// fixturePatience is how long a test waits for what must happen.
const fixturePatience = 20 * time.Second

// fixtureAwait waits for the channel to be closed.
func fixtureAwait(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(fixturePatience):
		t.Fatalf("waited %v for %s", fixturePatience, what)
	}
}

// fixtureGo runs f in a goroutine, and returns a function that waits for its result.
func fixtureGo[R any](t testing.TB, f func() R) (wait func() R) {
	t.Helper()
	done := make(chan struct{})
	var r R
	go func() {
		defer close(done)
		r = f()
	}()
	return func() R {
		t.Helper()
		fixtureAwait(t, done, "a concurrent call")
		return r
	}
}

// fixtureEventually polls until ok, for things that happen in the background.
func fixtureEventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(fixturePatience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", fixturePatience, what)
		}
	}
}

// fixtureClock is a clock that only the test moves.
type fixtureClock struct{ elapsed atomic.Int64 }

func (c *fixtureClock) Now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(c.elapsed.Load()))
}

func (c *fixtureClock) advance(d time.Duration) { c.elapsed.Add(int64(d)) }

// fixtureView is everything that the users and posts look like from outside.
func (e *fixtureEngine) view(t testing.TB, users []fixtureUserID, posts []fixturePostID, fresh graphcache.Freshness) map[string]any {
	t.Helper()
	ctx, v := t.Context(), map[string]any{}
	var err error
	v["users"], err = fixtureUsers.GetMany(ctx, e, users, fresh)
	fixtureMust(t, err)
	v["posts"], err = fixturePosts.GetMany(ctx, e, posts, fresh)
	fixtureMust(t, err)
	for _, u := range users {
		fixtureList(t, e, v, fmt.Sprint("wrote from ", u), fixtureWrote.Out(u), fresh)
		for _, k := range []*graphcache.EdgeKind[fixtureUser, fixtureUser, graphcache.NoData]{
			fixtureBoss, fixtureFriends, fixtureLikes, fixtureLoves} {
			fixtureList(t, e, v, fmt.Sprint(k.Name(), " from ", u), k.Out(u), fresh)
			fixtureList(t, e, v, fmt.Sprint(k.Name(), " to ", u), k.In(u), fresh)
		}
		fixtureList(t, e, v, fmt.Sprint("follows from ", u), fixtureFollows.Out(u), fresh)
		fixtureList(t, e, v, fmt.Sprint("follows to ", u), fixtureFollows.In(u), fresh)
	}
	for _, p := range posts {
		fixtureList(t, e, v, fmt.Sprint("wrote to ", p), fixtureWrote.In(p), fresh)
	}
	return v
}

// fixtureList adds a list to the view, and checks that it is as long as its count.
func fixtureList[T, E any](t testing.TB, e *fixtureEngine, v map[string]any, name string, q graphcache.Query[T, E], fresh graphcache.Freshness) {
	t.Helper()
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	edges, err := q.Edges(t.Context(), e)
	fixtureMust(t, err)
	n, err := q.Count(t.Context(), e)
	fixtureMust(t, err)
	if n != len(edges) {
		t.Errorf("the list %s has %d edges and its count is %d", name, len(edges), n)
	}
	if len(edges) > 0 {
		v[name] = edges
	}
}

// consistent checks that what the cache says, once filled, is what the store has.
func (e *fixtureEngine) consistent(t testing.TB, users []fixtureUserID, posts ...fixturePostID) {
	t.Helper()
	want := e.view(t, users, posts, graphcache.Fresh)
	for _, pass := range []string{"a read that fills", "a read that hits"} {
		if diff := cmp.Diff(want, e.view(t, users, posts, graphcache.Cached)); diff != "" {
			t.Errorf("%s differs from the store (-store +cached):\n%s", pass, diff)
		}
		e.settle(t)
	}
}

// fixtureDefaults sets every option but the cache and the logger to its default, for
// tests whose time is that of a bubble.
func fixtureDefaults(o *graphcache.Options) {
	*o = graphcache.Options{Cache: o.Cache, Logger: o.Logger, WhenCacheDown: graphcache.Fail}
}
