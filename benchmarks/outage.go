package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// The load during an outage: so many goroutines in each process, which pause between their
// operations, so that the machine has time to spare.
const (
	outageProcesses = 2
	outageReaders   = 24
	outageWriters   = 2
	outageKeys      = 2000
	outagePause     = 4 * time.Millisecond
	outagePhase     = 4 * time.Second
	outageStore     = 2 * time.Millisecond // a read or a write of the store
)

// busyStore is a store of which every call takes a while, and that knows how many of
// them were under way at most.
type busyStore struct {
	*store
	now, most atomic.Int64
}

func (s *busyStore) busy() func() {
	n := s.now.Add(1)
	for {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	time.Sleep(outageStore)
	return func() { s.now.Add(-1) }
}

func (s *busyStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	defer s.busy()()
	return s.store.Store.Read(ctx, steps, atLeast)
}

func (s *busyStore) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	defer s.busy()()
	return s.store.Store.Write(ctx, writes)
}

// sample is what one phase was like.
type sample struct {
	mu            sync.Mutex
	reads, writes []time.Duration
	errs          int
}

func (s *sample) note(write bool, took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.errs++
	case write:
		s.writes = append(s.writes, took)
	default:
		s.reads = append(s.reads, took)
	}
}

// p99 returns the time that one in a hundred takes, or more.
func p99(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// outage takes the cache away from graphs with the default settings, and gives it back.
func outage(ctx context.Context, _ settings) ([]table, error) {
	t := table{
		Title: "An outage of the cache",
		Columns: []string{"outage", "failed reads and writes", "p99 of reads during, before = 1", "after", "p99 of writes during, before = 1", "after",
			"calls of the store at once: before, during", "journal entries", "back to 90 % of the hits after"},
		Note: fmt.Sprintf("%d processes with default settings, %d readers and %d writers each, over %d objects; a call of the store takes %v. Each phase takes %v; "+
			"\"after\" is the phase that follows the outage.", outageProcesses, outageReaders, outageWriters, outageKeys, outageStore, outagePhase),
	}
	for _, o := range []struct {
		name       string
		begin, end func(*redistest.Server, *redistest.Proxy) error
	}{
		{"connections are refused",
			func(_ *redistest.Server, p *redistest.Proxy) error { p.Refuse(true); return nil },
			func(_ *redistest.Server, p *redistest.Proxy) error { p.Refuse(false); return nil }},
		{"the server hangs",
			func(_ *redistest.Server, p *redistest.Proxy) error { p.Hang(true); return nil },
			func(_ *redistest.Server, p *redistest.Proxy) error { p.Hang(false); return nil }},
		{"kill -9, and an empty start",
			func(s *redistest.Server, _ *redistest.Proxy) error { s.Kill(); return nil },
			func(s *redistest.Server, _ *redistest.Proxy) error { return s.Restart() }},
	} {
		err := withHost(func(h *host) error {
			server := redistest.Start(h)
			proxy := redistest.NewProxy(h, server.Addr)
			row, err := endure(ctx, proxy.Addr, func() error { return o.begin(server, proxy) }, func() error { return o.end(server, proxy) })
			if err != nil {
				return err
			}
			t.add(append([]string{o.name}, row...)...)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
	}
	return []table{t}, nil
}

// endure measures one outage.
func endure(ctx context.Context, addr string, begin, end func() error) ([]string, error) {
	plain, err := newStore(ctx, outageKeys)
	if err != nil {
		return nil, err
	}
	s := &busyStore{store: plain}
	var graphs []*graphcache.Graph
	for range outageProcesses {
		logger := slog.New(slog.DiscardHandler)
		b, err := redis.OpenUniversal(ctx, &goredis.UniversalOptions{Addrs: []string{addr}}, &redis.Options{Logger: logger})
		if err != nil {
			return nil, err
		}
		defer b.Close(ctx)
		g, err := graphcache.Open(ctx, schema, s, &graphcache.Options{Cache: b.Cache(), Logger: logger})
		if err != nil {
			return nil, err
		}
		defer g.Close(ctx)
		graphs = append(graphs, g)
	}
	for _, g := range graphs { // what is read first is cached
		for at := 0; at < outageKeys; at += 500 {
			ids := make([]graphcache.ID[User], 500)
			for i := range ids {
				ids[i] = userID(at + i)
			}
			if _, err := users.GetMany(ctx, g, ids); err != nil {
				return nil, err
			}
		}
		if err := g.Settle(ctx); err != nil {
			return nil, err
		}
	}
	var now atomic.Pointer[sample]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	work := func(write bool, do func(key int) error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(outagePause/2 + rand.N(outagePause)):
				}
				in, began := now.Load(), time.Now()
				err := do(rand.IntN(outageKeys))
				in.note(write, time.Since(began), err)
			}
		})
	}
	phases := [3]*sample{{}, {}, {}}
	now.Store(phases[0])
	for _, g := range graphs {
		for range outageReaders {
			work(false, func(key int) error {
				u, err := users.Get(ctx, g, userID(key))
				return check(u, userID(key), err)
			})
		}
		for range outageWriters {
			work(true, func(key int) error {
				_, err := users.Apply(ctx, g, userID(key), score.Add(1))
				return err
			})
		}
	}
	hits := func() (hits, all int64) {
		for _, g := range graphs {
			k := g.Stats().Kinds[users.Name()]
			hits, all = hits+k.Hits, all+k.Hits+k.Misses+k.Bypasses
		}
		return hits, all
	}
	share := func(d time.Duration) float64 {
		h, a := hits()
		time.Sleep(d)
		h2, a2 := hits()
		return float64(h2-h) / max(1, float64(a2-a))
	}
	time.Sleep(time.Second)
	s.most.Store(0)
	phases[0] = new(sample)
	now.Store(phases[0])
	before := share(outagePhase)
	most := s.most.Swap(0)
	now.Store(phases[1])
	if err := begin(); err != nil {
		return nil, err
	}
	time.Sleep(outagePhase)
	mostDuring := s.most.Load()
	if err := end(); err != nil {
		return nil, err
	}
	now.Store(phases[2])
	back, again := time.Now(), time.Duration(0)
	for time.Since(back) < 30*time.Second {
		if share(100*time.Millisecond) >= 0.9*before && again == 0 {
			again = time.Since(back)
		}
		if again != 0 && time.Since(back) > outagePhase {
			break
		}
	}
	close(stop)
	wg.Wait()
	failed, owed := 0, int64(0)
	for _, p := range phases {
		failed += p.errs
	}
	for _, g := range graphs {
		owed += g.Stats().Owed
	}
	ratio := func(a, b []time.Duration) string {
		return fmt.Sprintf("%.1f", float64(p99(a))/float64(max(1, p99(b))))
	}
	comeback := "not within 30 s"
	if again != 0 {
		comeback = fmt.Sprintf("%.1f s", again.Seconds())
	}
	return []string{
		fmt.Sprint(failed),
		ratio(phases[1].reads, phases[0].reads), ratio(phases[2].reads, phases[0].reads),
		ratio(phases[1].writes, phases[0].writes), ratio(phases[2].writes, phases[0].writes),
		fmt.Sprintf("%d, %d", most, mostDuring), fmt.Sprint(owed), comeback,
	}, nil
}
