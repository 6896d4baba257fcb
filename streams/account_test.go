package streams_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// TestAccountFaults has a log's calls go wrong in all ways while producers append, and a reader
// that stays, a slow one and one that comes and goes follow.
func TestAccountFaults(t *testing.T) {
	most := func(f ...fault) []fault { return append(f, works, works, works) }
	for _, test := range []struct {
		name   string
		faults []fault
		wakes  bool
	}{
		{"none", nil, false},
		{"none, with wake-ups", nil, true},
		{"failures", most(fails), false},
		{"lost replies", most(loses), false},
		{"nothing but lost replies", []fault{loses}, true},
		{"delays", []fault{delays}, true},
		{"hanging", most(hangs), true},
		{"coming late", most(comeLate), false},
		{"all", []fault{works, fails, loses, delays, hangs, comeLate}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range longer(1) {
				synctest.Test(t, func(t *testing.T) { testAccountFaults(t, test.faults, test.wakes, uint64(seed)) })
			}
		})
	}
}

func testAccountFaults(t *testing.T, faults []fault, wakes bool, seed uint64) {
	const key = "k"
	w := newWorld(t)
	under := memory.NewLog(nil)
	var logs []*faultyLog
	for i := range 5 {
		l := newFaultyLog(under, seed*10+uint64(i), faults...)
		logs = append(logs, l)
		var log driver.Log = auditedLog{l, w.audit}
		if wakes {
			log = waking{Log: log, waker: under}
		}
		w.add(log, time.Hour)
	}
	w.follow(key)
	w.produce(key, longer(150), seed, 30*time.Millisecond)
	for _, l := range logs {
		l.off.Store(true)
	}
	w.settle()
	time.Sleep(10 * time.Second) // what comes late has come
	w.check(key, 1, len(faults) == 0)
}

// TestAccountLoss has keys expire, or a log lose everything, now and then.
func TestAccountLoss(t *testing.T) {
	const key, phases = "k", 4
	for _, test := range []struct {
		name string
		ttl  time.Duration
		lose func(l *faultyLog)
	}{
		{"expiry", time.Second, func(*faultyLog) { time.Sleep(3 * time.Second) }},
		{"loss", time.Hour, func(l *faultyLog) {
			var empty driver.Log = memory.NewLog(nil)
			l.log.Store(&empty)
		}},
		{"expiry with readers away", time.Second, func(*faultyLog) { time.Sleep(20 * time.Second) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				under := newFaultyLog(memory.NewLog(nil), 1)
				for range 5 {
					w.add(auditedLog{under, w.audit}, test.ttl)
				}
				w.follow(key)
				for phase := range phases {
					if phase > 0 {
						test.lose(under)
					}
					w.produce(key, 30, uint64(phase), 20*time.Millisecond)
					w.flush()
				}
				w.settle()
				w.check(key, phases, true)
				for _, r := range w.readers {
					if r.resets < 1 {
						t.Errorf("%s: no reset", r.name)
					}
					if r.name != w.readers[0].name || test.ttl > time.Second {
						continue
					}
					for epoch, s := range r.sums { // which it has followed to the end
						if acked := w.audit.answeredIn(key, epoch); s.delivered+s.missed != acked {
							t.Errorf("%s: %+v of %d in an epoch", r.name, *s, acked)
						}
					}
				}
			})
		})
	}
}

// world has the streams of some processes in one log. The first four produce, and readers
// use them all.
type world struct {
	t       *testing.T
	audit   *audit
	book    *book
	streams []*streams.Stream[event]
	readers []*reader
	numbers map[string]int // of the last event, by producer

	stop      context.CancelFunc
	following sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	return &world{t: t, audit: newAudit(t), book: newBook(t), numbers: make(map[string]int)}
}

func (w *world) add(log driver.Log, ttl time.Duration) {
	o := options()
	o.TTL, o.FlushEvery, o.Poll, o.FlushEvents = ttl, 20*time.Millisecond, 15*time.Millisecond, 300
	w.streams = append(w.streams, newStream(w.t, log, o))
}

// follow has readers follow a key until the world settles.
func (w *world) follow(key string) {
	ctx, stop := context.WithCancel(w.t.Context())
	w.stop = stop
	for i, kind := range []string{"steady", "slow", "visiting"} {
		r := w.book.reader(fmt.Sprintf("the %s reader of %s", kind, key), key)
		w.readers = append(w.readers, r)
		w.following.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			switch kind {
			case "steady":
				r.visit(ctx, w.streams[len(w.streams)-1], func() {})
			case "slow":
				r.visit(ctx, w.streams[0], func() { time.Sleep(time.Duration(random.IntN(9)) * time.Millisecond) })
			default:
				for n := 0; ctx.Err() == nil; n++ {
					visit, leave := context.WithTimeout(ctx, time.Duration(random.IntN(400))*time.Millisecond)
					r.visit(visit, w.streams[n%len(w.streams)], func() {})
					leave()
					time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
				}
			}
		})
	}
}

// produce has four producers append bursts, with pauses up to a time between them, each of
// which may flush them itself.
func (w *world) produce(key string, bursts int, seed uint64, pause time.Duration) {
	var producing sync.WaitGroup
	var mu sync.Mutex
	for p := range 4 {
		producing.Go(func() {
			name := fmt.Sprint("producer", p)
			mu.Lock()
			n := w.numbers[name]
			mu.Unlock()
			random := rand.New(rand.NewPCG(seed, uint64(p)))
			for range bursts {
				n = burst(w.streams[p], key, name, n, 1+random.IntN(maxBurst))
				if random.IntN(2) == 0 {
					ctx, cancel := context.WithTimeout(w.t.Context(), 300*time.Millisecond)
					_ = w.streams[p].Flush(ctx) // else the next one does
					cancel()
				}
				time.Sleep(time.Duration(random.Int64N(int64(pause))))
			}
			mu.Lock()
			w.numbers[name] = n
			mu.Unlock()
		})
	}
	producing.Wait()
}

// flush has all that was appended acknowledged.
func (w *world) flush() {
	w.t.Helper()
	for _, s := range w.streams {
		becomes(w.t, "everything is sent", func() bool {
			ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
			defer cancel()
			return s.Flush(ctx) == nil
		})
	}
	if n := w.audit.unanswered(); n > 0 {
		w.t.Errorf("%d batches are not answered", n)
	}
}

// settle flushes everything, and returns when the readers know of all of it.
func (w *world) settle() {
	w.t.Helper()
	w.flush()
	for _, r := range w.readers {
		sn := recent(w.t, w.streams[0], r.key)
		becomes(w.t, fmt.Sprintf("%s comes from %v to %v", r.name, r.at(), sn.Pos), func() bool { return r.at() == sn.Pos })
	}
	w.stop()
	w.following.Wait()
}

// check checks the accounts of a key of so many epochs. once says that no event can be in
// two of them.
func (w *world) check(key string, epochs int, once bool) {
	w.t.Helper()
	sn := recent(w.t, w.streams[0], key)
	checkSnapshot(w.t, w.audit, key, sn)
	for _, r := range w.readers {
		if r.key == key {
			r.check(w.audit, 0)
			w.t.Log(r)
		}
	}
	if n := w.audit.epochs(key); n != epochs {
		w.t.Errorf("%d epochs, want %d", n, epochs)
	}
	if once && w.book.twice > 0 {
		w.t.Errorf("%d events were seen in two epochs", w.book.twice)
	}
	appended, sent := 0, int64(0)
	for _, n := range w.numbers {
		appended += n
	}
	for _, s := range w.streams {
		sent += s.Stats().Sent
	}
	if w.readersOf(key) == len(w.readers) && int64(appended) != sent {
		w.t.Errorf("%d events were sent, want %d", sent, appended)
	}
}

func (w *world) readersOf(key string) (n int) {
	for _, r := range w.readers {
		if r.key == key {
			n++
		}
	}
	return n
}

// TestAccountCrash ends processes at any time, with a call under way that is carried out or is
// not. What is lost is what was appended since the last flush, and a batch that nobody
// answered.
func TestAccountCrash(t *testing.T) {
	const key, every = "k", 100 // events come one a millisecond
	worst := int64(0)
	for seed := range longer(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(seed), 3))
			under := memory.NewLog(nil)
			l := &crashingLog{Log: under, slow: time.Duration(random.IntN(30)) * time.Millisecond, applies: seed%2 == 0}
			a := newAudit(t)
			o := options()
			o.FlushEvery = every * time.Millisecond
			s := newStream(t, auditedLog{l, a}, o)
			appended := int64(0)
			for range 1 + random.IntN(1000) {
				time.Sleep(time.Millisecond)
				appended++
				s.Append(key, event{N: int(appended), Type: "p"})
			}
			time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
			l.crash()
			synctest.Wait()
			other := newStream(t, under, options())
			sn := recent(t, other, key)
			acked := a.answeredIn(key, sn.Pos.Epoch)
			a.mu.Lock()
			unknown := int64(0)
			for _, n := range a.open {
				unknown += n
			}
			a.mu.Unlock()
			if sn.Pos.Seq < acked || sn.Pos.Seq > acked+unknown {
				t.Errorf("%d events are there: %d were acknowledged, and of %d it is unknown", sn.Pos.Seq, acked, unknown)
			}
			lost := appended - sn.Pos.Seq
			if most := int64(every) + l.slow.Milliseconds() + 1; lost > most {
				t.Errorf("%d events of %d are lost, want at most %d", lost, appended, most)
			}
			worst = max(worst, lost)
			done, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Close(done); err == nil && lost > 0 {
				t.Errorf("Close returned no error, and %d events are lost", lost)
			}
		})
	}
	if worst < every/2 {
		t.Errorf("at most %d events were lost: the test is of no use", worst)
	}
	t.Logf("at a flush every %d events, up to %d events were lost", every, worst)
}

// crashingLog is a log that a process loses.
type crashingLog struct {
	driver.Log
	slow    time.Duration
	applies bool // a call that is under way

	mu   sync.Mutex
	dead bool // protects: the process is no more
}

func (l *crashingLog) crash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

func (l *crashingLog) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	l.mu.Lock()
	began := !l.dead
	l.mu.Unlock()
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.dead:
		return l.Log.Append(ctx, batches)
	case began && l.applies:
		_, _ = l.Log.Append(context.WithoutCancel(ctx), batches)
	}
	return nil, errFault
}
