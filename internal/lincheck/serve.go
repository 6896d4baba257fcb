package lincheck

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache"
)

// errElsewhere stands for the error of a read in another process, which tells its own log.
var errElsewhere = errors.New("lincheck: in another process, whose log says why")

// Serve is what a process of a [Crew] calls: it does what it is told on the connection, until
// that is closed. Of the Config it takes Caches, of which there is one, Store, Options, and
// Logf, which is told of the first read that failed; the rest is that of the one who started
// the process.
func Serve(ctx context.Context, cfg Config, conn io.ReadWriter) error {
	cfg = cfg.withDefaults()
	h := &hand{cfg: &cfg, in: bufio.NewReader(conn), out: newWire(conn)}
	m, err := receive(h.in)
	if err != nil {
		return fmt.Errorf("lincheck: nobody says what to do: %w", err)
	}
	if m.take() != hire {
		return errors.New("lincheck: it is not said what to do")
	}
	check, number := m.take(), m.take()
	h.begin, cfg.Seed, cfg.Cells = m.take(), uint64(m.take()), int(m.take())
	h.first, cfg.Clients, cfg.RoundOperations = int(m.take()), int(m.take()), int(m.take())
	cfg.Writes, cfg.Stale = float64(m.take())/million, time.Duration(m.take())
	if h.world, err = openGraphs(ctx, &cfg); err != nil {
		return err
	}
	defer h.world.close(ctx)
	if check == soakRound {
		h.soak = newSoak(&cfg, h.world.sequences())
	} else {
		values := new(atomic.Int64) // that nobody else writes
		values.Store(number << 40)
		for n := range cfg.Cells {
			h.cells = append(h.cells, h.world.newCell(n, values))
		}
	}
	h.out.send(true, ready)
	return h.serve(ctx)
}

// hand is a process of a crew.
type hand struct {
	cfg   *Config
	in    *bufio.Reader
	out   *wire
	world *world
	begin int64 // of the check, on the shared clock
	first int   // the number of the first client
	tally tally // unused but for readError
	told  sync.Once

	cells []*cell // of a Run
	soak  *soak   // or of a Soak
}

func (h *hand) clock() int64 { return sharedClock() - h.begin }

// serve does one round after the other.
func (h *hand) serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	for {
		m, err := receive(h.in)
		if brokenOff(err) {
			return nil
		}
		if err != nil {
			return err
		}
		switch m.take() {
		case cellClosed:
			h.cells[m.take()].unclear.Store(true)
		case runRound:
			work.Go(func() { h.round(m, func(round int, over func() bool) { h.run(ctx, round, over, m) }) })
		case soakRound:
			work.Go(func() { h.round(m, func(round int, over func() bool) { h.watch(ctx, round, over, m) }) })
		}
	}
}

// round does a round and says that it is over.
func (h *hand) round(m *parcel, do func(round int, over func() bool)) {
	round, ends := int(m.take()), m.take()
	do(round, func() bool { return h.clock() >= ends })
	if err := h.tally.readError.Load(); err != nil {
		h.told.Do(func() { h.cfg.Logf("lincheck: a read has failed: %v", *err) })
	}
	h.out.send(true, append([]int64{roundOver}, countsOf(h.world.graphs)...)...)
}

// run is a round of a Run.
func (h *hand) run(ctx context.Context, round int, over func() bool, m *parcel) {
	var cells []*cell
	for _, n := range m.rest {
		cells = append(cells, h.cells[n])
		h.cells[n].unclear.Store(false)
	}
	var clients sync.WaitGroup
	for i := range h.cfg.Clients {
		c := &client{
			id: h.first + i, clock: h.clock, tally: &h.tally, fresh: h.cfg.fresh(0.05),
			rng: h.cfg.random(round, h.first+i), told: h.out,
		}
		clients.Go(func() { c.work(ctx, h.cfg, cells, over) })
	}
	clients.Wait()
}

// watch is a round of a Soak.
func (h *hand) watch(ctx context.Context, round int, over func() bool, m *parcel) {
	ctx, stop := context.WithCancel(ctx)
	var readers, writers sync.WaitGroup
	var mine []*sequence
	for len(m.rest) > 0 {
		i, n, clear := m.take(), m.take(), m.take()
		if h.clock() < clear {
			continue // in another round
		}
		mine = append(mine, h.soak.sequences[i])
		writers.Go(func() { h.write(ctx, i, n) })
	}
	for i := range h.cfg.Clients {
		readers.Go(func() { h.read(ctx, round, h.first+i, over, mine) })
	}
	readers.Wait()
	stop()
	writers.Wait()
}

// write makes states of a sequence from n on, until the round is over or it is not known
// whether there is such a state.
func (h *hand) write(ctx context.Context, sequence, n int64) {
	q := h.soak.sequences[sequence]
	for {
		select {
		case <-q.turns:
		case <-ctx.Done():
			return
		}
		for {
			h.out.send(true, writeBegun, sequence, n, h.clock())
			o := outcomeOf(q.write(context.WithoutCancel(ctx), h.first, n))
			h.out.send(false, writeEnded, sequence, n, int64(o), h.clock())
			if o == written {
				n++
				break
			}
			if o != refused {
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

// read reads until the round is over, and gives turns to those who write in this process.
func (h *hand) read(ctx context.Context, round, client int, over func() bool, mine []*sequence) {
	rng := h.cfg.random(round, client)
	for n := 0; n < h.cfg.RoundOperations && ctx.Err() == nil && !over(); n++ {
		if len(mine) > 0 && rng.Float64() < h.cfg.Writes {
			select {
			case mine[rng.IntN(len(mine))].turns <- struct{}{}:
			default:
			}
		}
		sequence := rng.IntN(len(h.soak.sequences))
		views := h.soak.sequences[sequence].views
		view := rng.IntN(len(views))
		fresh := graphcache.Cached
		if rng.Float64() < h.cfg.fresh(0.02) {
			fresh = graphcache.Fresh
		}
		called := h.clock()
		got, err := views[view].read(context.WithoutCancel(ctx), client, fresh)
		if err != nil {
			h.tally.failedRead(err)
			h.out.send(false, notSeen)
			continue
		}
		h.out.send(false, seen, int64(sequence), int64(view), called, h.clock(), got)
	}
}
