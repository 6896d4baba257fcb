package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// watched counts the rewinds that a cache reports.
func watched(t *testing.T, c *redis.Cache) *atomic.Int64 {
	n := new(atomic.Int64)
	t.Cleanup(c.OnRewind(func(time.Time) { n.Add(1) }))
	return n
}

// do sends one command to a server.
func do(t *testing.T, addr string, args ...any) string {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	defer c.Close()
	v, err := c.Do(patient(t), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return fmt.Sprint(v)
}

// until calls f until it reports true.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx := patient(t)
	for !f() {
		if ctx.Err() != nil {
			t.Fatalf("in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// saved makes a server save what it has, which it loads when it is started again.
func saved(t *testing.T, s *redistest.Server) {
	t.Helper()
	do(t, s.Addr, "save")
	if _, err := os.Stat(filepath.Join(s.Dir, "dump.rdb")); err != nil {
		t.Fatal(err)
	}
}

func restart(t *testing.T, s *redistest.Server) {
	t.Helper()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

// TestRewindRestart: a server comes back with what it had before some writes. Nobody is
// told a value of those without a warning first.
func TestRewindRestart(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(t *testing.T, addr string) *redis.Backend
	}{
		{"own client", func(t *testing.T, addr string) *redis.Backend {
			return openURL(t, "redis://"+addr, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
		}},
		{"brought client with a standing connection", func(t *testing.T, addr string) *redis.Backend {
			client := goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: 1, PipelinePoolSize: -1})
			t.Cleanup(func() { client.Close() })
			if err := client.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			b, err := redis.New(t.Context(), client, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t)
			b := tt.open(t, s.Addr)
			ctx, c := patient(t), b.Cache()
			rewinds := watched(t, c)
			if err := keep(ctx, c, "a", "old"); err != nil {
				t.Fatal(err)
			}
			saved(t, s)
			if err := errors.Join(write(ctx, c, "a"), keep(ctx, c, "a", "new")); err != nil {
				t.Fatal(err)
			}
			if rewinds.Load() != 0 || b.Stats().Rewinds != 0 {
				t.Fatalf("%d rewinds before anything happened", rewinds.Load())
			}
			var readers sync.WaitGroup
			for range 8 {
				readers.Go(func() {
					for ctx.Err() == nil {
						got, err := find(ctx, c, "a")
						if err != nil || got == [2]string{"new", "new"} {
							continue
						}
						if rewinds.Load() == 0 {
							t.Errorf("%q without a warning", got)
						}
						return
					}
				})
			}
			s.Kill()
			restart(t, s)
			readers.Wait()
			if got, err := find(ctx, c, "a"); err != nil || got != [2]string{"old", "old"} {
				t.Errorf("the server has %q, error %v: the test is worth nothing", got, err)
			}
			if rewinds.Load() != 1 || b.Stats().Rewinds != 1 {
				t.Errorf("%d rewinds, and %+v", rewinds.Load(), b.Stats())
			}
		})
	}
}

// TestRewindStop: whoever has had enough is not told any more.
func TestRewindStop(t *testing.T) {
	s := redistest.Start(t)
	b := openURL(t, "redis://"+s.Addr, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	stay, gone := watched(t, b.Cache()), new(atomic.Int64)
	stop := b.Cache().OnRewind(func(time.Time) { gone.Add(1) })
	for i := range int64(2) {
		if err := write(patient(t), b.Cache(), "a"); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		restart(t, s)
		until(t, "an answer", func() bool { return write(t.Context(), b.Cache(), "a") == nil })
		if stay.Load() != i+1 || gone.Load() != 1 {
			t.Errorf("after %d restarts they were told %d and %d times", i+1, stay.Load(), gone.Load())
		}
		stop()
	}
}

// TestRewindOtherServer: an address leads to another server for a while, and then to the
// first one again, which has missed what was written to the other.
func TestRewindOtherServer(t *testing.T) {
	first, second := redistest.Start(t), redistest.Start(t)
	var mu sync.Mutex // protects what follows
	target := first.Addr
	var conns []net.Conn
	lead := func(addr string) {
		mu.Lock()
		defer mu.Unlock()
		target = addr
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{
		Addrs: []string{"127.0.0.1:1"},
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			c, err := new(net.Dialer).DialContext(ctx, network, target)
			conns = append(conns, c)
			return c, err
		},
	}, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	ctx, c := patient(t), b.Cache()
	rewinds := watched(t, c)
	if err := keep(ctx, c, "a", "old"); err != nil {
		t.Fatal(err)
	}
	for i, addr := range []string{second.Addr, first.Addr} {
		lead(addr)
		until(t, "a write to "+addr, func() bool {
			_, err := find(ctx, c, "a")
			return err == nil
		})
		if n := rewinds.Load(); n != int64(i+1) {
			t.Errorf("after %d moves, %d rewinds", i+1, n)
		}
		if i == 0 {
			if err := write(ctx, c, "a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := find(ctx, c, "a"); err != nil || got != [2]string{"old", "old"} {
		t.Errorf("the first server has %q, error %v: the test is worth nothing", got, err)
	}
}

// TestRewindDemoted: a server becomes the replica of another, to which its address leads
// from then on. Connections to it are left standing.
func TestRewindDemoted(t *testing.T) {
	old, master := redistest.Start(t), redistest.Start(t)
	var target atomic.Pointer[string]
	target.Store(&old.Addr)
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{
		Addrs: []string{"127.0.0.1:1"},
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, *target.Load())
		},
	}, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	ctx, c := patient(t), b.Cache()
	rewinds := watched(t, c)
	var readers sync.WaitGroup
	for range 8 { // and so, several connections
		readers.Go(func() {
			for range 50 {
				if _, err := find(ctx, c, "a"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	if err := keep(ctx, c, "a", "old"); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(master.Addr, ":")
	do(t, old.Addr, "replicaof", host, port)
	target.Store(&master.Addr)
	// Looking is enough: nobody has to write to find out.
	until(t, "an answer of the master", func() bool {
		_, err := find(ctx, c, "a")
		return err == nil && rewinds.Load() > 0
	})
	works(t, c)
	if do(t, master.Addr, "dbsize") == "0" {
		t.Error("nothing came to the master")
	}
}

// TestReplicaRefused: what a replica says may be of the past.
func TestReplicaRefused(t *testing.T) {
	master := redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	until(t, "replication", func() bool {
		return strings.Contains(do(t, replica.Addr, "info", "replication"), "master_link_status:up")
	})
	b := openURL(t, "redis://"+replica.Addr, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	ctx, c := patient(t), b.Cache()
	for range 3 {
		if e, err := c.Lookup(ctx, []driver.Lookup{{Anchor: "a"}}); e != nil && e[0].State != driver.StateUnknown ||
			!errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "replica") {
			t.Fatalf("look-up: %+v, error %v, want that it is a replica", e, err)
		}
	}
	if b.Stats().FailedBatches != 3 {
		t.Errorf("%+v", b.Stats())
	}
	do(t, replica.Addr, "replicaof", "no", "one")
	until(t, "an answer", func() bool { return write(ctx, c, "a") == nil })
	works(t, c)
}

// The schema of the tests with a graph.

type watchUser struct {
	ID      graphcache.ID[watchUser] `json:"id"`
	Version graphcache.Version       `json:"version"`
	Name    string                   `json:"name"`
}

var (
	watchUsers   = graphcache.NewObjectKind[watchUser]("user")
	watchFollows = graphcache.NewEdgeKind[graphcache.NoData]("follows", watchUsers, watchUsers)
	watchSchema  = graphcache.NewSchema(watchUsers, watchFollows)
)

// openGraph returns a process on the store and the cache.
func openGraph(t *testing.T, store driver.Store, cache driver.Cache, set ...func(*graphcache.Options)) *graphcache.Graph {
	t.Helper()
	opts := &graphcache.Options{
		Cache: cache, Logger: slog.New(slog.DiscardHandler), LookPeriod: 50 * time.Millisecond, WhenCacheDown: graphcache.Fail,
		ReadTimeout: time.Second, HoldTimeout: 2 * time.Second, // a busy machine is slow
	}
	for _, f := range set {
		f(opts)
	}
	g, err := graphcache.Open(t.Context(), watchSchema, store, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(context.Background()) })
	return g
}

// userName returns the name of a user as the graph has it.
func userName(t *testing.T, g *graphcache.Graph, id graphcache.ID[watchUser]) string {
	t.Helper()
	u, err := watchUsers.Get(patient(t), g, id)
	if err != nil {
		t.Fatal(err)
	}
	return u.Name
}

// rename gives a user another name, as soon as the cache lets it.
func rename(t *testing.T, g *graphcache.Graph, id graphcache.ID[watchUser], name string) {
	t.Helper()
	var err error
	until(t, "a write", func() bool {
		_, err = watchUsers.Update(patient(t), g, id, func(u *watchUser) error {
			u.Name = name
			return nil
		})
		return !errors.Is(err, graphcache.ErrUnavailable)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// warm reads a user until it is in the cache.
func warm(t *testing.T, g *graphcache.Graph, id graphcache.ID[watchUser]) {
	t.Helper()
	until(t, "a hit", func() bool {
		hits := g.Stats().Kinds["user"].Hits
		userName(t, g, id)
		return g.Stats().Kinds["user"].Hits > hits
	})
}

// blind is a cache that cannot tell when it goes back in time.
type blind struct{ driver.Cache }

// TestRewindGraph: a graph never reads what a server has brought back. One that cannot
// know learns of it from the store.
func TestRewindGraph(t *testing.T) {
	s := redistest.Start(t)
	quiet := &redis.Options{Logger: slog.New(slog.DiscardHandler)}
	store := memory.NewStore(nil)
	g := openGraph(t, store, openURL(t, "redis://"+s.Addr, quiet).Cache())
	other := openGraph(t, store, blind{openURL(t, "redis://"+s.Addr, quiet).Cache()})
	if err := watchUsers.Create(patient(t), g, &watchUser{ID: "ann", Name: "old"}); err != nil {
		t.Fatal(err)
	}
	warm(t, g, "ann")
	warm(t, other, "ann")
	saved(t, s)
	rename(t, g, "ann", "new")
	var readers sync.WaitGroup
	ctx, cancel := context.WithCancel(patient(t))
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if u, err := watchUsers.Get(ctx, g, "ann"); err == nil && u.Name != "new" {
					t.Errorf("the name is %q", u.Name)
					return
				}
			}
		})
	}
	s.Kill()
	restart(t, s)
	until(t, "a rewind", func() bool { return g.Stats().CacheRewinds > 0 })
	warm(t, g, "ann")
	cancel()
	readers.Wait()
	if got := userName(t, g, "ann"); got != "new" || g.Stats().CacheRewinds != 1 {
		t.Errorf("the name is %q, %+v", got, g.Stats())
	}
	until(t, "the news in the other process", func() bool { return userName(t, other, "ann") == "new" })
}

// detach keeps a replica from its master: it has wrong credentials from now on.
func detach(t *testing.T, master, replica *redistest.Server) {
	t.Helper()
	config(t, replica.Addr, "masteruser", "nobody", "masterauth", "wrong")
	do(t, master.Addr, "client", "kill", "type", "replica")
	until(t, "the replica's loss of its master", func() bool {
		return strings.Contains(do(t, replica.Addr, "info", "replication"), "master_link_status:down")
	})
}

// TestRewindSentinel: a replica is promoted that does not have the last writes.
func TestRewindSentinel(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	master, replica := sentinel.Data[0], sentinel.Data[1]
	quiet := &redis.Options{Logger: slog.New(slog.DiscardHandler)}
	addrs := sentinel.Addrs()
	url := "redis://" + addrs[0] + "?master_name=" + sentinel.MasterName + "&addr=" + addrs[1] + "&addr=" + addrs[2]
	b := openURL(t, url, quiet)
	works(t, b.Cache())
	g := openGraph(t, memory.NewStore(nil), b.Cache())
	rewinds := watched(t, b.Cache())
	if err := watchUsers.Create(patient(t), g, &watchUser{ID: "ann", Name: "old"}); err != nil {
		t.Fatal(err)
	}
	warm(t, g, "ann")
	if err := keep(patient(t), b.Cache(), "a", "old"); err != nil {
		t.Fatal(err)
	}
	do(t, master.Addr, "wait", 1, 10_000) // for the replica to have it
	until(t, "replication", func() bool { return do(t, replica.Addr, "dbsize") == do(t, master.Addr, "dbsize") })
	detach(t, master, replica)
	rename(t, g, "ann", "new")
	if err := write(patient(t), b.Cache(), "a"); err != nil {
		t.Fatal(err)
	}
	if rewinds.Load() != 0 {
		t.Fatalf("%d rewinds before anything happened", rewinds.Load())
	}
	master.Kill()
	var first string
	until(t, "an answer of the new master", func() bool {
		if got := userName(t, g, "ann"); got != "new" {
			t.Fatalf("the name is %q", got)
		}
		got, err := find(t.Context(), b.Cache(), "a")
		first = got[0]
		return err == nil
	})
	if rewinds.Load() == 0 || g.Stats().CacheRewinds == 0 {
		t.Errorf("an answer without a warning: %d, %+v", rewinds.Load(), g.Stats())
	}
	if first != "old" {
		t.Errorf("the new master has %q: the test is worth nothing", first)
	}
	warm(t, g, "ann")
	if got := userName(t, g, "ann"); got != "new" {
		t.Errorf("the name is %q", got)
	}
	works(t, b.Cache())
}

// TestRewindCluster: the same in a Cluster, behind a connection that stands already.
func TestRewindCluster(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 1)
	client := goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: cluster.Addrs()[:3], ContextTimeoutEnabled: true, DialTimeout: 500 * time.Millisecond, ReadTimeout: 500 * time.Millisecond,
	})
	defer client.Close()
	brought, err := redis.New(t.Context(), client, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	owned := openURL(t, "redis://"+cluster.Servers[0].Addr, &redis.Options{Logger: slog.New(slog.DiscardHandler), Prefix: "own:"})
	backends := []*redis.Backend{brought, owned}
	anchors, rewinds := make([]string, len(backends)), make([]*atomic.Int64, len(backends))
	master, replica := cluster.Servers[0], cluster.Servers[3]
	ctx := patient(t)
	for n, b := range backends {
		works(t, b.Cache())
		rewinds[n] = watched(t, b.Cache())
		for i := 0; anchors[n] == ""; i++ {
			if name := fmt.Sprint("anchor ", i); slot(b.EntryKey(name)) < 16384/3 { // of the first master
				anchors[n] = name
			}
		}
		if err := keep(ctx, b.Cache(), anchors[n], "old"); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "replication", func() bool { return do(t, replica.Addr, "dbsize") == do(t, master.Addr, "dbsize") })
	// A replica is listed when the others have heard that it has something.
	_, port, _ := strings.Cut(replica.Addr, ":")
	for _, addr := range cluster.Addrs() {
		until(t, "a replica in the list of "+addr, func() bool { return strings.Contains(do(t, addr, "cluster", "slots"), " "+port+" ") })
	}
	detach(t, master, replica)
	for n, b := range backends {
		if err := write(ctx, b.Cache(), anchors[n]); err != nil {
			t.Fatal(err)
		}
		// Connections to every server, the replica too, which is known as one: to ask a
		// server who it is takes a connection more.
		for range 3 {
			err = b.Client().(*goredis.ClusterClient).ForEachShard(ctx, func(ctx context.Context, c *goredis.Client) error {
				_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error { return p.Ping(ctx).Err() })
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if rewinds[n].Load() != 0 {
			t.Fatalf("%d rewinds before anything happened", rewinds[n].Load())
		}
	}
	master.Kill()
	for n, b := range backends {
		var got [2]string
		until(t, "an answer of the new master", func() bool {
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			got, err = find(short, b.Cache(), anchors[n])
			return err == nil
		})
		if rewinds[n].Load() == 0 {
			t.Error("an answer without a warning")
		}
		if got != [2]string{"old", "old"} {
			t.Errorf("the new master has %q: the test is worth nothing", got)
		}
		if err := cluster.WaitOK(ctx); err != nil {
			t.Fatal(err)
		}
		works(t, b.Cache())
		if rewinds[n].Load() != 1 {
			t.Errorf("%d rewinds", rewinds[n].Load())
		}
	}
}
