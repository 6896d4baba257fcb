package lincheck

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache"
)

// Soak lets one writer take each set of records from one numbered state to the next, and
// clients read them, until there are enough reads. A read must have returned a state that
// was possible while it ran: none before the last one that was acknowledged, or seen by
// another read of the same, before it began; and none that no write had begun. It goes on
// after a violation, to find out for how long reads are stale.
func Soak(ctx context.Context, cfg Config) *Report {
	cfg = cfg.withDefaults()
	w, err := openWorld(ctx, &cfg)
	if err != nil {
		return &Report{failure: err}
	}
	defer w.close(ctx)
	s := newSoak(&cfg, w.sequences())
	report := s.run(ctx)
	report.count(w.graphs)
	return report
}

// sequence is a set of records with one writer. State n is what its write number n makes
// of state n-1.
type sequence struct {
	name  string
	first int64 // the first state that is read
	views []*view
	// write makes state n. It may be called again for the same n.
	write func(ctx context.Context, client int, n int64) error

	begun atomic.Int64 // the number of the last write that was begun
	acked atomic.Int64 // that of the last one that was acknowledged
	times [recent]atomic.Int64
	turns chan struct{} // to write, given out by the readers

	// With writers in other processes:
	open  bool  // the last write of the round has not ended, or nobody knows how
	clear int64 // when such a write can no longer be applied
}

// recent is for how many of the last writes it is known when they were acknowledged.
const recent = 1024

// view is something that is read of a sequence, and depends on one anchor.
type view struct {
	name  string
	shows func(n int64) int64 // what a read returns in state n
	read  func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error)
	seen  atomic.Int64 // the state that the latest read must have returned
}

// soak is the state of a Soak. It knows sequences, and nothing of graphs.
type soak struct {
	cfg       *Config
	sequences []*sequence
	tally     tally
	begin     time.Time
	clock     func() int64 // of the operations
	rounds    int64        // with clients in other processes

	mu     sync.Mutex
	report *Report // protected by mu while clients run
}

func newSoak(cfg *Config, sequences []*sequence) *soak {
	for _, q := range sequences {
		q.turns = make(chan struct{}, 1)
	}
	return &soak{cfg: cfg, sequences: sequences, report: new(Report)}
}

// start makes the first states.
func (s *soak) start(ctx context.Context) {
	s.begin = time.Now()
	if s.clock == nil {
		s.clock = func() int64 { return int64(time.Since(s.begin)) }
	}
	for _, q := range s.sequences {
		s.report.Partitions += len(q.views)
		for q.acked.Load() < q.first && ctx.Err() == nil {
			s.next(ctx, 0, q)
		}
	}
}

func (s *soak) run(ctx context.Context) *Report {
	s.start(ctx)
	calm := s.cfg.disturb(ctx, s.report)
	working, stop := context.WithCancel(ctx)
	var writers, readers sync.WaitGroup
	for i, q := range s.sequences {
		writers.Go(func() { s.write(working, i, q) })
	}
	for i := range s.cfg.Clients {
		readers.Go(func() { s.read(working, i) })
	}
	s.tell(&readers)
	stop()
	writers.Wait()
	return s.finish(ctx, calm)
}

// finish stops what disturbs and returns the report.
func (s *soak) finish(ctx context.Context, calm func() error) *Report {
	s.report.Elapsed = time.Since(s.begin)
	s.tally.report(s.report)
	s.report.Checked = s.report.Reads
	if err := calm(); err != nil {
		s.report.fail(fmt.Errorf("disturb: %w", err))
	}
	if !s.cfg.enough(s.tally.reads.Load(), s.report.Elapsed) {
		s.report.fail(ctx.Err())
	}
	return s.report
}

// tell logs progress until the readers have ended.
func (s *soak) tell(readers *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { readers.Wait(); close(done) }()
	for tick := time.Tick(5 * time.Second); ; {
		select {
		case <-tick:
			s.progress()
		case <-done:
			return
		}
	}
}

func (s *soak) progress() {
	s.cfg.Logf("lincheck: %v: %d reads, %d writes, %d of unknown outcome, %d refused",
		time.Since(s.begin).Round(time.Second), s.tally.reads.Load(), s.tally.writes.Load(),
		s.tally.ambiguous.Load(), s.tally.refusedWrites.Load())
}

// write writes whenever it is its turn.
func (s *soak) write(ctx context.Context, client int, q *sequence) {
	for {
		select {
		case <-q.turns:
			s.next(ctx, client, q)
		case <-ctx.Done():
			return
		}
	}
}

// next makes the next state, trying until it is there. After a write of unknown outcome
// it first waits until that cannot be applied any more, lest it follows a later one.
func (s *soak) next(ctx context.Context, client int, q *sequence) {
	for n := q.begun.Add(1); ; {
		err := q.write(context.WithoutCancel(ctx), client, n)
		pause := 10 * time.Millisecond
		switch {
		case err == nil:
			q.times[n%recent].Store(s.clock())
			q.acked.Store(n)
			s.tally.writes.Add(1)
			return
		case hadNoEffect(err):
			s.tally.refusedWrites.Add(1)
		default:
			s.tally.ambiguous.Add(1)
			pause = s.cfg.settle()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// read reads until there are enough reads.
func (s *soak) read(ctx context.Context, client int) {
	rng := rand.New(rand.NewPCG(s.cfg.Seed, uint64(client)))
	for ctx.Err() == nil && !s.cfg.enough(s.tally.reads.Load(), time.Since(s.begin)) {
		q := s.sequences[rng.IntN(len(s.sequences))]
		if rng.Float64() < s.cfg.Writes {
			select {
			case q.turns <- struct{}{}:
			default:
			}
		}
		fresh := graphcache.Cached
		if rng.Float64() < s.cfg.fresh(0.02) {
			fresh = graphcache.Fresh
		}
		s.readOnce(context.WithoutCancel(ctx), client, q, q.views[rng.IntN(len(q.views))], fresh)
	}
}

// readOnce does one read and judges it.
func (s *soak) readOnce(ctx context.Context, client int, q *sequence, v *view, fresh graphcache.Freshness) {
	low := max(q.acked.Load(), v.seen.Load())
	began := s.clock()
	got, err := v.read(ctx, client, fresh)
	if err != nil {
		s.tally.failedRead(err)
		return
	}
	s.tally.count(wasRead)
	s.judge(q, v, got, low, time.Duration(began))
}

// judge judges a read that is over. No state before low was possible when it began.
func (s *soak) judge(q *sequence, v *view, got, low int64, began time.Duration) {
	high := q.begun.Load()
	for n := low; n <= high; n++ {
		if v.shows(n) == got {
			raise(&v.seen, n)
			return
		}
	}
	s.violation(q, v, got, low, high, began)
}

// raise raises n to at least x.
func raise(n *atomic.Int64, x int64) {
	for old := n.Load(); old < x && !n.CompareAndSwap(old, x); {
		old = n.Load()
	}
}

// violation records a read that returned what no state from low to high shows.
func (s *soak) violation(q *sequence, v *view, got, low, high int64, began time.Duration) {
	detail := fmt.Sprintf("%s, %s: a read that began at %v returned %d, but states %d to %d show", q.name, v.name, began, got, low, high)
	for n := low; n <= high; n++ {
		detail += fmt.Sprintf(" %d", v.shows(n))
	}
	stale, since := q.overwritten(v, got, low, began)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case stale < 0:
		detail += "; nor does an earlier one"
	case since == 0:
		detail += fmt.Sprintf("; state %d does, and a later one had been read", stale)
		s.report.StaleReads++
		s.report.BackwardReads++
	default:
		detail += fmt.Sprintf("; state %d does, and had been overwritten for %v", stale, began-since)
		s.report.StaleReads++
		s.report.LongestStale = max(s.report.LongestStale, began-since)
	}
	s.report.violation(detail)
}

// overwritten returns the last state before low that shows what was read, -1 if there is
// none among the recent ones, and when the write was acknowledged that overwrote it, 0
// if it was not when the read began.
func (q *sequence) overwritten(v *view, got, low int64, began time.Duration) (stale int64, since time.Duration) {
	for n := low - 1; n >= max(q.first, low-recent/2); n-- {
		if v.shows(n) != got {
			continue
		}
		if q.acked.Load() > n {
			since = time.Duration(q.times[(n+1)%recent].Load())
		}
		if since > began {
			since = 0
		}
		return n, since
	}
	return -1, 0
}
