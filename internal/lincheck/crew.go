package lincheck

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Crew says in which processes the clients of a check work.
type Crew struct {
	// Processes is how many there are at a time.
	Processes int
	// Start starts one and returns a connection to it, on which the process calls
	// [Serve]. The places of processes are numbered from 0. One that ends in the middle of
	// its work is replaced, in the same place. Closing the connection ends the process.
	Start func(ctx context.Context, place int) (io.ReadWriteCloser, error)
}

// RunCrew is [Run] with clients in several processes on one machine. Config.Caches has one
// cache, that of the graph with which this process fills the store and reads from it what
// there is. Processes may be killed meanwhile: what they had not finished has an unknown
// outcome.
func RunCrew(ctx context.Context, cfg Config, who Crew) *Report {
	cfg = cfg.withDefaults()
	w, k, err := openCrew(ctx, &cfg, who, runRound)
	if err != nil {
		return &Report{failure: err}
	}
	defer w.close(ctx)
	values := new(atomic.Int64)
	var cells []*cell
	for n := range cfg.Cells {
		cells = append(cells, w.newCell(n, values))
		k.partitions = append(k.partitions, cells[n].partitions...)
	}
	k.cells = cells
	r := newRun(&cfg, cells)
	r.crew, r.clock = k, k.clock
	report := r.run(ctx)
	k.dismiss(report)
	return report
}

// SoakCrew is [Soak] with clients in several processes, as in [RunCrew]. They work in rounds,
// after which their reads are judged by the times at which they were called and returned.
func SoakCrew(ctx context.Context, cfg Config, who Crew) *Report {
	cfg = cfg.withDefaults()
	w, k, err := openCrew(ctx, &cfg, who, soakRound)
	if err != nil {
		return &Report{failure: err}
	}
	defer w.close(ctx)
	s := newSoak(&cfg, w.sequences())
	s.clock = k.clock
	report := s.runCrew(ctx, k)
	k.dismiss(report)
	return report
}

// crew is the processes in which clients work.
type crew struct {
	Crew
	cfg    *Config
	check  int64 // runRound or soakRound
	begin  int64
	places []*process // nil if there is none
	hired  int64
	deaths int64
	counts []int64 // of the graphs of processes that are no more

	// Of a Run:
	cells      []*cell
	partitions []*partition
}

func openCrew(ctx context.Context, cfg *Config, who Crew, check int64) (*world, *crew, error) {
	if sharedClock == nil {
		return nil, nil, errors.New("lincheck: it is not known which clock the processes of this system share")
	}
	w, err := openWorld(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	k := &crew{
		Crew: who, cfg: cfg, check: check, begin: sharedClock(),
		places: make([]*process, who.Processes), counts: make([]int64, len(new(Report).counts())),
	}
	return w, k, nil
}

func (k *crew) clock() int64 { return sharedClock() - k.begin }

// share is how many clients a process has.
func (k *crew) share() int { return (k.cfg.Clients + k.Processes - 1) / k.Processes }

// process is one of them.
type process struct {
	place  int
	conn   io.ReadWriteCloser
	in     *bufio.Reader
	out    *wire
	counts []int64

	// Of a Run, in this round:
	clients map[int64]*client
	pending map[int64]pending // by client
}

// pending is a write that has begun.
type pending struct {
	cell    int64
	called  int64
	effects []effect
}

// complete starts processes where there are none.
func (k *crew) complete(ctx context.Context) error {
	errs := make([]error, len(k.places))
	var wg sync.WaitGroup
	for place, p := range k.places {
		if p == nil {
			k.hired++
			number := k.hired
			wg.Go(func() { k.places[place], errs[place] = k.hire(ctx, place, number) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// hire starts a process. Its number is in what its clients write.
func (k *crew) hire(ctx context.Context, place int, number int64) (*process, error) {
	conn, err := k.Start(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("start process %d: %w", place, err)
	}
	p := &process{place: place, conn: conn, in: bufio.NewReader(conn), out: newWire(conn)}
	p.out.send(true, hire, k.check, number, k.begin, int64(k.cfg.Seed), int64(k.cfg.Cells),
		int64(place*k.share()), int64(k.share()), int64(k.cfg.RoundOperations),
		int64(k.cfg.Writes*million), int64(k.cfg.Stale))
	if m, err := receive(p.in); err != nil || m.take() != ready {
		return nil, errors.Join(fmt.Errorf("process %d does not begin: %v", place, err), conn.Close())
	}
	return p, nil
}

// round gives every process the order for a round and waits until it is over. It calls handle
// with each message, in one goroutine for each of the processes, and lost for one that has ended.
func (k *crew) round(order func(p *process) []int64, handle func(p *process, kind int64, m *parcel), lost func(p *process)) error {
	errs := make([]error, len(k.places))
	var wg sync.WaitGroup
	for place, p := range k.places {
		p.out.send(true, order(p)...)
		wg.Go(func() {
			over, err := p.follow(handle)
			if over {
				return
			}
			if !brokenOff(err) {
				errs[place] = err
			}
			lost(p)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// follow handles what a process says until its round is over, or it has ended.
func (p *process) follow(handle func(p *process, kind int64, m *parcel)) (over bool, err error) {
	for {
		m, err := receive(p.in)
		if err != nil {
			return false, err
		}
		kind := m.take()
		if kind == roundOver {
			p.counts = m.rest
			return true, nil
		}
		handle(p, kind, m)
	}
}

// brokenOff reports whether the other end is no more.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
}

// bury notes that a process has ended in the middle of a round.
func (k *crew) bury(p *process) {
	k.deaths++
	k.leave(p)
}

// leave ends the connection to a process.
func (k *crew) leave(p *process) {
	_ = p.conn.Close() // says how the process ended
	k.places[p.place] = nil
	for i, n := range p.counts {
		k.counts[i] += n
	}
}

// dismiss ends the processes, and adds the counts of their graphs to the report.
func (k *crew) dismiss(r *Report) {
	for _, p := range k.places {
		if p != nil {
			k.leave(p)
		}
	}
	for i, n := range k.counts {
		*r.counts()[i] += n
	}
	r.Deaths = k.deaths
}

// ends is when a round ends that begins now.
func (k *crew) ends() int64 { return k.clock() + int64(k.cfg.RoundTime) }

// run is a round of a Run.
func (k *crew) run(ctx context.Context, r *run, cells []*cell) (records []record, err error) {
	if err := k.complete(ctx); err != nil {
		return nil, err
	}
	order := []int64{runRound, int64(r.rounds), k.ends()}
	for _, c := range cells {
		order = append(order, int64(c.n))
	}
	for _, p := range k.places {
		p.clients, p.pending = make(map[int64]*client), make(map[int64]pending)
	}
	all := slices.Clone(k.places)
	var mu sync.Mutex // of deaths
	err = k.round(func(*process) []int64 { return order },
		func(p *process, kind int64, m *parcel) { k.recorded(p, r, all, kind, m) },
		func(p *process) {
			mu.Lock()
			defer mu.Unlock()
			// It had told of these before it made them, if it has.
			for id, w := range p.pending {
				k.finished(p, r, all, id, w.cell, unknown, w.called, never, w.effects)
			}
			k.bury(p)
		})
	for _, p := range all {
		for _, c := range p.clients {
			records = append(records, c.records...)
		}
	}
	return records, err
}

// recorded takes down what a process says in a Run.
func (k *crew) recorded(p *process, r *run, all []*process, kind int64, m *parcel) {
	id, cell := m.take(), m.take()
	switch kind {
	case begun:
		p.pending[id] = pending{cell, m.take(), m.effects(k.partitions)}
	case ended:
		delete(p.pending, id)
		o, called, returned := outcome(m.take()), m.take(), m.take()
		if o == readFailed {
			r.tally.readError.CompareAndSwap(nil, &errElsewhere)
		}
		k.finished(p, r, all, id, cell, o, called, returned, m.effects(k.partitions))
	}
}

// finished takes down an operation, and tells all not to write its cell if it is an unclear one.
func (k *crew) finished(p *process, r *run, all []*process, id, cell int64, o outcome, called, returned int64, effects []effect) {
	c := p.clients[id]
	if c == nil {
		c = &client{id: int(id), clock: k.clock, tally: &r.tally}
		p.clients[id] = c
	}
	c.cell = k.cells[cell]
	c.end(o, called, returned, effects)
	if o == unknown || o == halfWay {
		for _, other := range all {
			other.out.send(true, cellClosed, cell)
		}
	}
}

// runCrew is run with clients in other processes.
func (s *soak) runCrew(ctx context.Context, k *crew) *Report {
	s.start(ctx)
	time.Sleep(s.cfg.Stale)
	calm := s.cfg.disturb(ctx, s.report)
	logged := time.Now()
	for ctx.Err() == nil && s.report.failure == nil && !s.cfg.enough(s.tally.reads.Load(), time.Since(s.begin)) {
		if err := s.roundCrew(ctx, k); err != nil {
			s.report.fail(err)
		}
		if time.Since(logged) > 5*time.Second {
			logged = time.Now()
			s.progress()
		}
	}
	return s.finish(ctx, calm)
}

// roundCrew is a round of a Soak. Process i writes the sequences whose number is i, but for a
// multiple of the number of processes.
func (s *soak) roundCrew(ctx context.Context, k *crew) error {
	if err := k.complete(ctx); err != nil {
		return err
	}
	s.rounds++
	var mu sync.Mutex
	var moments []moment // protected by mu
	ends := k.ends()
	order := func(p *process) []int64 {
		m := []int64{soakRound, s.rounds, ends}
		for i := p.place; i < len(s.sequences); i += k.Processes {
			q := s.sequences[i]
			m = append(m, int64(i), q.acked.Load()+1, q.clear)
		}
		return m
	}
	err := k.round(order, func(_ *process, kind int64, m *parcel) {
		mu.Lock()
		defer mu.Unlock()
		moments = s.tellsOf(moments, kind, m)
	}, func(p *process) {
		mu.Lock()
		defer mu.Unlock()
		k.bury(p)
	})
	s.replay(moments)
	return err
}
