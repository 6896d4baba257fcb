package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache"
)

const (
	instances = 4  // graphs, each as if in a process of its own
	readers   = 64 // goroutines, of all graphs together
)

// contention reads one object as fast as it goes while it is written.
func contention(ctx context.Context, s settings) ([]table, error) {
	st, err := newStore(ctx, 1)
	if err != nil {
		return nil, err
	}
	graphs, closeAll, err := openMany(ctx, st, s.addr, instances+1) // the last one writes
	if err != nil {
		return nil, err
	}
	defer closeAll()
	rates := []int{1, 10, 100, 1000}
	found := make([][]contended, len(rates))
	for range (s.rounds + 2) / 3 {
		for i, rate := range rates {
			c, err := contend(ctx, graphs, rate, 4*s.turn)
			if err != nil {
				return nil, err
			}
			found[i] = append(found[i], c)
		}
	}
	t := table{
		Title:   "An object that is read and written all the time",
		Columns: []string{"writes a second, wanted", "done", "reads a second", "store reads a second", "store reads a write", "hits"},
		Note:    fmt.Sprintf("%d goroutines in %d graphs read, one of another graph writes. The store is in memory; its reads are those of the readers.", readers, instances),
	}
	for i, rate := range rates {
		figure := func(f func(c contended) float64) float64 {
			v := make([]float64, len(found[i]))
			for n, c := range found[i] {
				v[n] = f(c)
			}
			return spreadOf(v).median
		}
		second := func(n func(c contended) int64) string {
			return fmt.Sprintf("%.0f", figure(func(c contended) float64 { return float64(n(c)) / c.took.Seconds() }))
		}
		t.add(fmt.Sprint(rate), second(func(c contended) int64 { return c.writes }), second(func(c contended) int64 { return c.reads }),
			second(func(c contended) int64 { return c.storeReads }),
			fmt.Sprintf("%.2f", figure(func(c contended) float64 { return float64(c.storeReads) / float64(c.writes) })),
			fmt.Sprintf("%.2f %%", figure(func(c contended) float64 { return 100 * float64(c.hits) / float64(c.hits+c.misses) })))
	}
	return []table{t}, nil
}

// openMany opens graphs on the same store, each with a connection of its own.
func openMany(ctx context.Context, st *store, addr string, n int) (graphs []*graphcache.Graph, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for _, f := range closers {
			f()
		}
	}
	for range n {
		g, closeGraph, err := open(ctx, st, at(addr), nil)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		graphs, closers = append(graphs, g), append(closers, closeGraph)
	}
	return graphs, closeAll, nil
}

// contended is what was counted while one object was read and written.
type contended struct {
	took                                    time.Duration
	reads, writes, storeReads, hits, misses int64
}

// minus returns what was counted since an earlier moment.
func (c contended) minus(b contended) contended {
	return contended{c.took, c.reads, c.writes, c.storeReads - b.storeReads, c.hits - b.hits, c.misses - b.misses}
}

// countReads adds up the counts of the readers' graphs.
func countReads(graphs []*graphcache.Graph) (c contended) {
	for _, g := range graphs {
		s := g.Stats()
		c.storeReads += s.StoreReads
		c.hits += s.Kinds[users.Name()].Hits
		c.misses += s.Kinds[users.Name()].Misses
	}
	return c
}

func contend(ctx context.Context, graphs []*graphcache.Graph, rate int, d time.Duration) (c contended, err error) {
	reading, writer := graphs[:len(graphs)-1], graphs[len(graphs)-1]
	before := countReads(reading)
	var reads atomic.Int64
	var over atomic.Bool
	errs := make([]error, readers)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			g := reading[i%len(reading)]
			for errs[i] == nil && !over.Load() {
				u, err := users.Get(ctx, g, userID(0))
				errs[i] = check(u, userID(0), err)
				reads.Add(1)
			}
		})
	}
	begin := time.Now()
	writes := int64(0)
	for time.Since(begin) < d && err == nil {
		_, err = users.Apply(ctx, writer, userID(0), score.Add(1))
		writes++
		due := begin.Add(time.Duration(writes) * time.Second / time.Duration(rate))
		time.Sleep(min(time.Until(due), time.Until(begin.Add(d))))
	}
	over.Store(true)
	wg.Wait()
	for _, e := range errs {
		if e != nil {
			return c, e
		}
	}
	c = countReads(reading)
	c.took, c.reads, c.writes = time.Since(begin), reads.Load(), writes
	return c.minus(before), err
}
