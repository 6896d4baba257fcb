package lincheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// Run lets clients read and write until there are enough operations, and checks that
// there is an order that explains what they returned. It stops at the first violation,
// or when the context ends.
func Run(ctx context.Context, cfg Config) *Report {
	cfg = cfg.withDefaults()
	w, err := openWorld(ctx, &cfg)
	if err != nil {
		return &Report{failure: err}
	}
	defer w.close(ctx)
	values := new(atomic.Int64)
	var cells []*cell
	for n := range cfg.Cells {
		cells = append(cells, w.newCell(n, values))
	}
	r := newRun(&cfg, cells)
	report := r.run(ctx)
	report.count(w.graphs)
	return report
}

// run is the state of a Run. It knows cells, and nothing of graphs.
type run struct {
	cfg    *Config
	cells  []*cell
	tally  tally
	begin  time.Time
	clock  func() int64 // of the operations
	crew   *crew        // of the processes in which the clients are, if not in this one
	rounds int
	stop   context.CancelFunc
	jobs   chan *segment // to be checked

	mu     sync.Mutex
	report *Report // protected by mu while searches run
}

func newRun(cfg *Config, cells []*cell) *run {
	return &run{cfg: cfg, cells: cells, report: new(Report), jobs: make(chan *segment, 1024)}
}

func (r *run) run(ctx context.Context) *Report {
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	r.begin = time.Now()
	if r.clock == nil {
		r.clock = func() int64 { return int64(time.Since(r.begin)) }
	}
	calm := r.cfg.disturb(ctx, r.report)
	var searches sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		searches.Go(r.search)
	}
	err := r.repeat(ctx)
	r.report.Elapsed = time.Since(r.begin)
	disturbed := calm()
	close(r.jobs)
	searches.Wait()
	r.tally.report(r.report)
	for _, c := range r.cells {
		r.report.Partitions += len(c.partitions)
	}
	switch {
	case disturbed != nil:
		r.report.fail(fmt.Errorf("disturb: %w", disturbed))
	case err != nil && r.report.Violations == 0:
		r.report.fail(err)
	}
	return r.report
}

// disturb starts Config.Disturb. The function that it returns stops it and waits.
func (c *Config) disturb(ctx context.Context, report *Report) (calm func() error) {
	if c.Disturb == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	faults := new(atomic.Int64)
	go func() { done <- c.Disturb(ctx, faults) }()
	return func() error {
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			err = nil // it was told to
		}
		report.Faults = faults.Load()
		return err
	}
}

// repeat does one round after the other.
func (r *run) repeat(ctx context.Context) error {
	logged := time.Now()
	for !r.cfg.enough(r.tally.operations(), time.Since(r.begin)) {
		cells, err := r.ready(ctx)
		if err != nil {
			return err
		}
		r.rounds++
		records, err := r.round(ctx, cells)
		if err != nil {
			return err
		}
		if err := r.finish(ctx, cells, records); err != nil {
			return err
		}
		if time.Since(logged) > 5*time.Second {
			logged = time.Now()
			r.cfg.Logf("lincheck: %v: %d reads, %d writes, %d of unknown outcome, %d refused; %d rounds",
				time.Since(r.begin).Round(time.Second), r.tally.reads.Load(), r.tally.writes.Load(),
				r.tally.ambiguous.Load(), r.tally.refusedWrites.Load(), r.rounds)
		}
	}
	return nil
}

// ready returns the cells in which no write of unknown outcome can be under way, at
// least one, with the states that their partitions have.
func (r *run) ready(ctx context.Context) (cells []*cell, err error) {
	for {
		wait := r.cfg.settle()
		for _, c := range r.cells {
			wait = min(wait, time.Until(c.clear))
			if time.Until(c.clear) > 0 {
				continue
			}
			if err := r.load(ctx, c); err != nil {
				return nil, err
			}
			cells = append(cells, c)
		}
		if len(cells) > 0 {
			return cells, ctx.Err()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// load reads the states of a cell's partitions, unless they are known.
func (r *run) load(ctx context.Context, c *cell) error {
	if c.loaded {
		return nil
	}
	states, err := readStates(ctx, c)
	if err != nil {
		return err
	}
	for i, p := range c.partitions {
		p.state = states[i]
	}
	c.loaded = true
	return nil
}

// readStates reads the states from a store that may be disturbed.
func readStates(ctx context.Context, c *cell) (states []any, err error) {
	for range 100 {
		if states, err = c.states(ctx); err == nil {
			return states, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("read the state of %s: %w", c.name, err)
}

// round lets the clients work for a while and returns what they have recorded.
func (r *run) round(ctx context.Context, cells []*cell) (records []record, err error) {
	if r.crew != nil {
		return r.crew.run(ctx, r, cells)
	}
	end := time.Now().Add(r.cfg.RoundTime)
	clients := make([]*client, r.cfg.Clients)
	var wg sync.WaitGroup
	for i := range clients {
		c := &client{id: i, clock: r.clock, tally: &r.tally, fresh: r.cfg.fresh(0.05), rng: r.cfg.random(r.rounds, i)}
		clients[i] = c
		wg.Go(func() { c.work(ctx, r.cfg, cells, func() bool { return time.Now().After(end) }) })
	}
	wg.Wait()
	for _, c := range clients {
		records = append(records, c.records...)
	}
	return records, nil
}

// random returns the random numbers of a client in a round.
func (c *Config) random(round, client int) *rand.Rand {
	return rand.New(rand.NewPCG(c.Seed, uint64(round)<<16|uint64(client)))
}

// work reads and writes until the round is over.
func (c *client) work(ctx context.Context, cfg *Config, cells []*cell, over func() bool) {
	for n := 0; n < cfg.RoundOperations && ctx.Err() == nil && !over(); n++ {
		c.cell = cells[c.rng.IntN(len(cells))]
		// What has begun is left to end: it has deadlines of its own.
		c.operate(context.WithoutCancel(ctx), cfg.Writes)
	}
}

// operate does a read or a write.
func (c *client) operate(ctx context.Context, writes float64) {
	if c.chance(writes) && !c.cell.unclear.Load() {
		c.cell.write(ctx, c)
	} else {
		c.cell.read(ctx, c)
	}
}

// finish hands the histories of a round to the search, each with the state that the
// store has at its end, which begins the next one.
func (r *run) finish(ctx context.Context, cells []*cell, records []record) error {
	time.Sleep(r.cfg.Stale)
	histories := map[*partition][]porcupine.Operation{}
	for _, rec := range records {
		histories[rec.partition] = append(histories[rec.partition], rec.operation)
	}
	for _, c := range cells {
		before := make([]any, len(c.partitions))
		for i, p := range c.partitions {
			before[i] = p.state
		}
		c.loaded = false
		c.unclear.Store(false)
		called := r.clock()
		if c.late.Swap(false) {
			c.clear = time.Now().Add(r.cfg.settle())
		} else if err := r.load(ctx, c); err != nil {
			return err
		}
		for i, p := range c.partitions {
			history := histories[p]
			if c.loaded {
				history = append(history, porcupine.Operation{
					ClientId: r.cfg.Clients, Input: storeState{}, Output: p.state, Call: called, Return: r.clock(),
				})
			}
			r.jobs <- &segment{p.name, r.rounds, p.model, before[i], history}
		}
	}
	return nil
}

// search checks segments until there are no more.
func (r *run) search() {
	for s := range r.jobs {
		began := time.Now()
		result := s.check(r.cfg.CheckTime)
		took := time.Since(began)
		detail := ""
		if result == porcupine.Illegal {
			r.stop()
			detail = s.explain(r.cfg.CheckTime, r.cfg.Dir)
		}
		r.mu.Lock()
		r.report.Segments++
		r.report.Checked += int64(len(s.history))
		r.report.Checking += took
		switch result {
		case porcupine.Illegal:
			r.report.violation(detail)
		case porcupine.Unknown:
			r.report.Unknown++
		}
		r.mu.Unlock()
	}
}
