package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-redis/cache/v9"
	"github.com/redis/rueidis"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
)

// peers compares graphcache with what else a program can read a graph with: hits, and two
// hops.
func peers(ctx context.Context, s settings) ([]table, error) {
	p := &peerSet{addr: s.addr}
	defer p.close()
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	return s.readPeers(ctx, p)
}

// peerSet has the peers that are read.
type peerSet struct {
	addr    string
	rows    []peerRow
	graphs  []graphPeer
	refuse  []*atomic.Bool // of the stores: whether they are not to be asked
	closers []func()
}

// peerRow is one of them, as a row of the tables.
type peerRow struct {
	users, feeds way
	stale        string // how long a read may return what another process has replaced
	copies       string // whether callers may change what they are given
}

func (p *peerSet) close() {
	for i := range p.closers {
		p.closers[len(p.closers)-1-i]()
	}
}

// newStore returns a store for a peer that brings none.
func (p *peerSet) newStore() *peerStore {
	s := newPeerStore()
	p.refuse = append(p.refuse, &s.refuses)
	return s
}

// add adds a peer, which is verified.
func (p *peerSet) add(ctx context.Context, name, stale, copies string, v peer, ways func(ctx context.Context, name string) (users, feeds way)) error {
	if err := verifyPeer(ctx, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	users, feeds := ways(ctx, name)
	p.rows = append(p.rows, peerRow{users, feeds, stale, copies})
	return nil
}

// addPlain adds a peer that has the types of the store.
func (p *peerSet) addPlain(ctx context.Context, name, stale, copies string, v peer) error {
	return p.add(ctx, name, stale, copies, v, func(ctx context.Context, name string) (users, feeds way) {
		return peerWays(ctx, name, v.user, keyOfPeerUser, v.feed)
	})
}

func (p *peerSet) open(ctx context.Context) error {
	if err := p.openGraphs(ctx); err != nil {
		return err
	}
	if err := p.openRedis(ctx); err != nil {
		return err
	}
	if err := p.openProcess(ctx); err != nil {
		return err
	}
	return p.openEnt(ctx)
}

// openGraph opens a graph with a store and a connection of its own.
func (p *peerSet) openGraph(ctx context.Context, opts graphcache.Options) (graphPeer, error) {
	s, err := newGraphStore(ctx)
	if err != nil {
		return graphPeer{}, err
	}
	b, err := redis.OpenUniversal(ctx, at(p.addr), &redis.Options{BatchTimeout: patience, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return graphPeer{}, err
	}
	p.closers = append(p.closers, func() { _ = b.Close(ctx) })
	opts.Cache, opts.Logger, opts.TTL = b.Cache(), slog.New(slog.DiscardHandler), time.Hour
	opts.ReadTimeout, opts.HoldTimeout, opts.LeaseTTL, opts.HoldTTL = patience, patience, 2*patience, 4*patience
	g, err := graphcache.Open(ctx, graphSchema, s, &opts)
	if err != nil {
		return graphPeer{}, err
	}
	p.closers = append(p.closers, func() { _ = g.Close(ctx) })
	p.graphs, p.refuse = append(p.graphs, graphPeer{g}), append(p.refuse, &s.refuses)
	return graphPeer{g}, nil
}

func (p *peerSet) openGraphs(ctx context.Context) error {
	shared, err := p.openGraph(ctx, graphcache.Options{})
	if err != nil {
		return err
	}
	if err := p.add(ctx, "graphcache, Redis", "not at all", "yes", shared, shared.ways); err != nil {
		return err
	}
	near, err := p.openGraph(ctx, graphcache.Options{NearCache: &graphcache.NearCache{MaxBytes: 256 << 20, TTL: time.Hour}})
	if err != nil {
		return err
	}
	into, _ := peerWays(ctx, "graphcache, near cache, GetInto", near.getUserInto, func(u graphUser) (id, about string) { return keyOfGraphUser(&u) }, near.getFeed)
	const stale = "ms; 1 s, if messages are late"
	if err := p.add(ctx, "graphcache, near cache", stale, "yes", near, near.ways); err != nil {
		return err
	}
	p.rows = append(p.rows, peerRow{users: into, stale: stale, copies: "yes"})
	return nil
}

// openRedis opens the peers that keep values in Redis, each in a database of its own.
func (p *peerSet) openRedis(ctx context.Context) error {
	inRedis, inBoth := newClientOf(p.addr, 1), newClientOf(p.addr, 2)
	p.closers = append(p.closers, func() { _ = inRedis.Close(); _ = inBoth.Close() })
	tracking, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{p.addr}, SelectDB: 3, ForceSingleClient: true})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, tracking.Close)
	boxed := cache.New(&cache.Options{Redis: inRedis})
	if err := p.addPlain(ctx, "go-redis/cache, Redis", "1 h, if a read overlaps the write", "yes", boxedPeer{p.newStore(), boxed}); err != nil {
		return err
	}
	boxed = cache.New(&cache.Options{Redis: inBoth, LocalCache: cache.NewTinyLFU(10_000, time.Hour)})
	if err := p.addPlain(ctx, "go-redis/cache, and its local cache", "1 h", "yes", boxedPeer{p.newStore(), boxed}); err != nil {
		return err
	}
	return p.addPlain(ctx, "rueidis, client-side caching", "ms; 1 h, if a read overlaps the write", "yes", trackedPeer{p.newStore(), tracking})
}

// openProcess opens the peers that keep values in the process.
func (p *peerSet) openProcess(ctx context.Context) error {
	if err := p.addPlain(ctx, "sturdyc", "1 h", "no", newSturdyPeer(p.newStore())); err != nil {
		return err
	}
	inOtter := newOtterPeer(p.newStore())
	raw, _ := peerWays(ctx, "otter GetIfPresent", func(_ context.Context, id string) (*peerUser, error) {
		u, ok := inOtter.users.GetIfPresent(id)
		if !ok {
			return nil, fmt.Errorf("user %s is not in otter", id)
		}
		return u, nil
	}, keyOfPeerUser, inOtter.feed)
	if err := p.addPlain(ctx, "otter Get", "1 h", "no", inOtter); err != nil {
		return err
	}
	p.rows = append(p.rows, peerRow{users: raw, stale: "1 h", copies: "no"})
	return nil
}

// readPeers compares what a hit and a feed cost, for one goroutine and for two.
func (s settings) readPeers(ctx context.Context, p *peerSet) ([]table, error) {
	if err := p.warm(ctx); err != nil {
		return nil, err
	}
	users := table{
		Title: "Peers: a user who is cached",
		Note: fmt.Sprintf("%d users of 7 fields and some 300 bytes, one after the other, from stores that fail when they are asked; ent asks SQLite each time. "+
			"\"Stale\" is how long a read may return what another process has replaced, with a TTL of 1 h. Otter and sturdyc hand out the pointer that they hold, which all callers "+
			"share and none may change; the others decode, or copy.", peerUsers),
	}
	feeds := table{
		Title: "Peers: two hops, user to teams to newest events",
		Note: fmt.Sprintf("The newest %d events of each of the %d teams of a user. graphcache reads the list of teams, their lists of events, and %d events, each of which is cached once; "+
			"those that cache by key read the list of teams, and one value with its events for each of them, so that an event that changes is stale in them; ent asks SQLite for the "+
			"newest %[3]d in one query.", peerEventsNew, peerTeamsEach, peerEventsNew*peerTeamsEach),
	}
	var reading, following []way
	for _, r := range p.rows {
		reading = append(reading, r.users)
		if r.feeds.name != "" {
			following = append(following, r.feeds)
		}
	}
	if err := s.fillPeers(&users, "ns", "%.0f", 1, reading); err != nil {
		return nil, err
	}
	users.Columns = append(users.Columns, "stale", "own copy")
	for i, r := range p.rows {
		users.Rows[i] = append(users.Rows[i], r.stale, r.copies)
	}
	err := s.fillPeers(&feeds, "µs", "%.1f", 1e3, following)
	return []table{users, feeds}, err
}

// fillPeers measures the ways with one goroutine and with two. The first one is graphcache.
func (s settings) fillPeers(t *table, unit, format string, nanos float64, ways []way) error {
	t.Columns = []string{"way", unit, "times otter Get", "times graphcache over Redis", "own processor time, otter Get = 1", "allocations", "bytes",
		unit + ", 2 goroutines", "times otter Get", "times graphcache over Redis"}
	otter := slices.IndexFunc(ways, func(w way) bool { return w.name == "otter Get" })
	one, err := s.compare(ways, 1)
	if err != nil {
		return err
	}
	two, err := s.compare(ways, 2)
	if err != nil {
		return err
	}
	each := func(turns []turn) string { return fmt.Sprintf(format, median(turns, turn.each)/nanos) }
	for i, w := range ways {
		t.add(w.name, each(one[i]), cost(one[i], one[otter]).String(), cost(one[i], one[0]).String(), work(one[i], one[otter]).String(), allocs(one[i]), bytes(one[i]),
			each(two[i]), cost(two[i], two[otter]).String(), cost(two[i], two[0]).String())
	}
	return nil
}

// warm reads everything. From then on the stores are not to be asked.
func (p *peerSet) warm(ctx context.Context) error {
	for range 2 { // from the store to Redis, and from there to the process
		for _, r := range p.rows {
			for _, w := range []way{r.users, r.feeds} {
				for i := range peerUsers {
					if w.op == nil {
						continue
					}
					if err := w.op(i); err != nil {
						return fmt.Errorf("%s: %w", w.name, err)
					}
				}
			}
		}
		for _, g := range p.graphs {
			if err := g.g.Settle(ctx); err != nil {
				return err
			}
		}
	}
	for _, b := range p.refuse {
		b.Store(true)
	}
	return nil
}
