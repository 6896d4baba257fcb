package nearproof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// world is a run: the graphs, and what is known of the records.
type world struct {
	t      testing.TB
	users  []*sequence
	links  [][fanOut]*sequence
	counts []*sequence
	graphs [instances]*graphcache.Graph
	lines  [instances]*line

	phase  atomic.Pointer[phase]
	all    []*phase
	tokens chan struct{} // each allows one write
	failed sync.Once
}

// settings of a run.
type settings struct {
	addrs  []string
	down   graphcache.WhenCacheDown
	period time.Duration                            // LookPeriod
	rate   int                                      // writes per second
	pause  time.Duration                            // after each twenty reads of a reader
	wrap   func(i int, c *redis.Cache) driver.Cache // nil for none
}

// readers and writers of an instance.
const (
	readers = 2
	writers = 24
)

// start starts the instances, their readers and their writers. They work until the test
// ends.
func start(t *testing.T, s settings) *world {
	t.Helper()
	w := &world{t: t, tokens: make(chan struct{}, max(s.rate/20, 1))}
	memories := memory.NewStore(nil)
	w.fill(memories)
	store := backendtest.NewFaultyStore(memories, slowly)
	quiet := slog.New(slog.DiscardHandler)
	for i := range instances {
		w.lines[i] = newLine()
		b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{Addrs: s.addrs, Dialer: w.lines[i].dial}, &redis.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close(context.Background()) })
		var c driver.Cache = b.Cache()
		if s.wrap != nil {
			c = s.wrap(i, b.Cache())
		}
		g, err := graphcache.Open(t.Context(), schema, store, &graphcache.Options{
			Cache: c, Logger: quiet, WhenCacheDown: s.down, LookPeriod: s.period, NearCache: &graphcache.NearCache{},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close(context.Background()) })
		w.graphs[i] = g
	}
	w.recovered()
	w.phase.Store(&phase{name: "start"})
	ctx, stop := context.WithCancel(context.Background())
	var crew sync.WaitGroup
	crew.Go(func() { w.allow(ctx, s.rate) })
	crew.Go(func() { w.gauge(ctx) })
	for i := range instances {
		for range writers {
			crew.Go(func() { w.write(ctx, i) })
		}
		for range readers {
			crew.Go(func() { w.read(ctx, i, s.pause) })
		}
	}
	t.Cleanup(func() {
		stop()
		crew.Wait()
	})
	return w
}

// slowly has writes take as long as a database needs for them, so that something can happen
// meanwhile.
func slowly(_ context.Context, c backendtest.Call) (f backendtest.Fault) {
	if c.Method == "Write" {
		f.Delay = rand.N(4 * time.Millisecond)
	}
	return f
}

// fill makes the records.
func (w *world) fill(store driver.Store) {
	ctx := w.t.Context()
	g, err := graphcache.Open(ctx, schema, store, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer g.Close(ctx)
	for i := range objects {
		if err := users.Create(ctx, g, &user{ID: userID(i)}); err != nil {
			w.t.Fatal(err)
		}
		w.users = append(w.users, new(sequence))
	}
	for hub := range hubs {
		var links [fanOut]*sequence
		for e := range fanOut {
			if err := follows.Add(ctx, g, userID(hub), userID(followed(hub, e)), link{}); err != nil {
				w.t.Fatal(err)
			}
			links[e] = new(sequence)
		}
		w.links = append(w.links, links)
		w.counts = append(w.counts, new(sequence))
	}
}

// failf reports what makes all the rest worthless.
func (w *world) failf(format string, args ...any) {
	w.failed.Do(func() { w.t.Errorf(format, args...) })
}

// recovered waits until all near caches are served.
func (w *world) recovered() {
	w.t.Helper()
	for i, g := range w.graphs {
		await(w.t, fmt.Sprintf("the near cache of instance %d is served", i), func() bool { return g.Stats().Near.Serving })
	}
}

// during measures while do works, and from then on until it is called again. It returns when
// all near caches are served.
func (w *world) during(name string, do func()) *phase {
	w.t.Helper()
	p := &phase{name: name, before: w.phase.Load()}
	hits := w.nearHits()
	began := clock()
	w.phase.Store(p)
	do()
	w.recovered()
	time.Sleep(rest)
	p.took = clock() - began
	p.nearHits = w.nearHits() - hits
	w.all = append(w.all, p)
	return p
}

// rest is how long is measured after a fault has ended.
const rest = 100 * time.Millisecond

func (w *world) nearHits() (n int64) {
	for _, g := range w.graphs {
		for _, k := range g.Stats().Kinds {
			n += k.NearHits
		}
	}
	return n
}

// gauge notes how long this process is not scheduled.
func (w *world) gauge(ctx context.Context) {
	for ctx.Err() == nil {
		before := clock()
		time.Sleep(time.Millisecond)
		raise(&w.phase.Load().delay, int64(clock()-before-time.Millisecond))
	}
}

// allow lets so many writes begin each second.
func (w *world) allow(ctx context.Context, rate int) {
	began, allowed := clock(), 0
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		for due := int((clock() - began).Seconds() * float64(rate)); allowed < due; allowed++ {
			select {
			case w.tokens <- struct{}{}:
			default: // all writers wait
			}
		}
	}
}

// keys chooses records, some far more often than others.
type keys struct {
	rng  *rand.Rand
	zipf *rand.Zipf
}

func newKeys() *keys {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	return &keys{rng, rand.NewZipf(rng, 1.1, 8, objects-1)}
}

func (k *keys) user() int { return int(k.zipf.Uint64()) }
func (k *keys) hub() int  { return k.user() % hubs }

// write writes until ctx ends.
func (w *world) write(ctx context.Context, instance int) {
	k := newKeys()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.tokens:
		}
		var err error
		switch k.rng.IntN(4) {
		case 0, 1:
			err = w.writeUser(instance, k.user())
		case 2:
			err = w.writeLink(instance, k.hub(), k.rng.IntN(fanOut))
		default:
			err = w.writeMember(instance, k.hub())
		}
		p := w.phase.Load()
		switch {
		case err == nil:
			p.writes.Add(1)
		case errors.Is(err, graphcache.ErrUnavailable), errors.Is(err, graphcache.ErrConflict), errors.Is(err, graphcache.ErrUnknownOutcome):
			p.refused.Add(1)
		default:
			w.failf("%s: a write: %v", p.name, err)
		}
	}
}

func (w *world) writeUser(instance, i int) error {
	s := w.users[i]
	u, err := users.Update(context.Background(), w.graphs[instance], userID(i), func(u *user) error {
		u.N++
		raise(&s.begun, u.N)
		return nil
	})
	if err == nil {
		s.acknowledged(u.N, instance)
	}
	return err
}

func (w *world) writeLink(instance, hub, edge int) error {
	return w.links[hub][edge].next(instance, func(n int64) error {
		return follows.Add(context.Background(), w.graphs[instance], userID(hub), userID(followed(hub, edge)), link{N: n})
	})
}

func (w *world) writeMember(instance, hub int) error {
	return w.counts[hub].next(instance, func(n int64) error {
		g, before, after := w.graphs[instance], membersIn(n-1), membersIn(n)
		end := userID(hubs + min(before, after))
		if after > before {
			return members.Add(context.Background(), g, userID(hub), end, graphcache.NoData{})
		}
		return members.Remove(context.Background(), g, userID(hub), end)
	})
}

// next makes the next state, unless another writer is just doing so. A write that is
// refused makes none, and after one of unknown outcome there are no more.
func (s *sequence) next(instance int, write func(n int64) error) error {
	if !s.writing.TryLock() {
		return graphcache.ErrConflict
	}
	defer s.writing.Unlock()
	if s.unknown {
		return graphcache.ErrConflict
	}
	n := s.acked.Load() + 1
	raise(&s.begun, n)
	err := write(n)
	if err == nil {
		s.acknowledged(n, instance)
	}
	s.unknown = errors.Is(err, graphcache.ErrUnknownOutcome)
	return err
}

// read reads until ctx ends.
func (w *world) read(ctx context.Context, instance int, pause time.Duration) {
	k := newKeys()
	r := &reading{w: w, instance: instance}
	for ctx.Err() == nil {
		for range 20 {
			shared := k.rng.IntN(20) == 0
			err := w.readSome(ctx, r, k, shared)
			if err != nil && ctx.Err() == nil && !errors.Is(err, graphcache.ErrUnavailable) {
				w.failf("%s: a read: %v", w.phase.Load().name, err)
			}
		}
		time.Sleep(pause)
	}
}

func (w *world) readSome(ctx context.Context, r *reading, k *keys, shared bool) error {
	g := w.graphs[r.instance]
	var fresh []graphcache.Freshness
	if shared {
		fresh = append(fresh, graphcache.Shared)
	}
	switch k.rng.IntN(10) {
	case 0, 1, 2:
		i := k.user()
		r.begin(shared, w.users[i])
		u, err := users.Get(ctx, g, userID(i), fresh...)
		if err != nil {
			return err
		}
		r.found(0, u.N)
	case 3, 4, 5:
		i := k.user()
		var u user
		r.begin(shared, w.users[i])
		if err := users.GetInto(ctx, g, userID(i), &u, fresh...); err != nil {
			return err
		}
		r.found(0, u.N)
	case 6:
		return w.readMany(ctx, r, k, fresh)
	case 7:
		return w.readLinks(ctx, r, k.hub(), shared)
	case 8:
		hub := k.hub()
		r.begin(shared, w.counts[hub])
		n, err := w.countMembers(ctx, g, hub, shared)
		if err != nil {
			return err
		}
		r.matched(0, func(m int64) bool { return membersIn(m) == n })
	default:
		return w.readHops(ctx, r, k.hub(), shared)
	}
	return nil
}

func (w *world) readMany(ctx context.Context, r *reading, k *keys, fresh []graphcache.Freshness) error {
	places := map[graphcache.ID[user]]int{}
	var ids []graphcache.ID[user]
	var seqs []*sequence
	for range 5 {
		i := k.user()
		if _, ok := places[userID(i)]; !ok {
			places[userID(i)] = len(ids)
			ids, seqs = append(ids, userID(i)), append(seqs, w.users[i])
		}
	}
	r.begin(len(fresh) > 0, seqs...)
	found, err := users.GetMany(ctx, w.graphs[r.instance], ids, fresh...)
	if err != nil {
		return err
	}
	if len(found) != len(ids) {
		return fmt.Errorf("%d of %d objects found", len(found), len(ids))
	}
	for id, u := range found {
		r.found(places[id], u.N)
	}
	return nil
}

func (w *world) readLinks(ctx context.Context, r *reading, hub int, shared bool) error {
	g := w.graphs[r.instance]
	r.begin(shared, w.links[hub][:]...)
	var edges []graphcache.Edge[user, user, link]
	var err error
	if shared {
		edges, err = follows.Out(userID(hub)).Shared().Edges(ctx, g)
	} else {
		edges, err = follows.Range(ctx, g, userID(hub), 0, 100)
	}
	if err != nil {
		return err
	}
	if len(edges) != fanOut {
		return fmt.Errorf("%d of %d edges found", len(edges), fanOut)
	}
	for _, e := range edges {
		for i := range fanOut {
			if e.To == userID(followed(hub, i)) {
				r.found(i, e.Data.N)
			}
		}
	}
	return nil
}

func (w *world) countMembers(ctx context.Context, g *graphcache.Graph, hub int, shared bool) (int, error) {
	if shared {
		return members.Out(userID(hub)).Shared().Count(ctx, g)
	}
	return members.Count(ctx, g, userID(hub))
}

// readHops reads the users at the ends of two hops.
func (w *world) readHops(ctx context.Context, r *reading, hub int, shared bool) error {
	places := map[graphcache.ID[user]]int{}
	var seqs []*sequence
	for e := range fanOut {
		for f := range fanOut {
			i := followed(followed(hub, e), f)
			if _, ok := places[userID(i)]; !ok {
				places[userID(i)] = len(seqs)
				seqs = append(seqs, w.users[i])
			}
		}
	}
	q := follows.Out(follows.Out(userID(hub)))
	if shared {
		q = follows.Out(follows.Out(userID(hub)).Shared()).Shared()
	}
	r.begin(shared, seqs...)
	found, err := q.All(ctx, w.graphs[r.instance])
	if err != nil {
		return err
	}
	if len(found) != len(seqs) {
		return fmt.Errorf("%d of %d objects found after two hops", len(found), len(seqs))
	}
	for _, u := range found {
		i, ok := places[u.ID]
		if !ok {
			return fmt.Errorf("%s found after two hops", u.ID)
		}
		r.found(i, u.N)
	}
	return nil
}
