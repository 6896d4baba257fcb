package streams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/bubble"
	"github.com/graphcache/graphcache/streams"
)

// meteredLog counts the calls of a log and their elements. It does not wake.
type meteredLog struct {
	driver.Log
	appends, heads, headKeys, afters, afterKeys, snapshots atomic.Int64
}

func newMeteredLog() *meteredLog { return &meteredLog{Log: memory.NewLog(nil)} }

func (l *meteredLog) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	l.appends.Add(1)
	return l.Log.Append(ctx, batches)
}

func (l *meteredLog) Heads(ctx context.Context, keys []string) ([]driver.LogHead, error) {
	l.heads.Add(1)
	l.headKeys.Add(int64(len(keys)))
	return l.Log.Heads(ctx, keys)
}

func (l *meteredLog) After(ctx context.Context, reads []driver.LogAfter) ([]driver.LogDelta, error) {
	l.afters.Add(1)
	l.afterKeys.Add(int64(len(reads)))
	return l.Log.After(ctx, reads)
}

func (l *meteredLog) Snapshot(ctx context.Context, keys []string) ([]driver.LogSnapshot, error) {
	l.snapshots.Add(1)
	return l.Log.Snapshot(ctx, keys)
}

// metered is what a meteredLog has counted.
type metered struct{ heads, headKeys, afters, afterKeys int64 }

// since returns what was counted meanwhile.
func (l *meteredLog) since(m metered) metered {
	return metered{l.heads.Load() - m.heads, l.headKeys.Load() - m.headKeys, l.afters.Load() - m.afters, l.afterKeys.Load() - m.afterKeys}
}

// withWaking returns the log with the wake-ups of the one below it, if it is to have them.
func (l *meteredLog) withWaking(wakes bool, calls *atomic.Int64) driver.Log {
	if !wakes {
		return l
	}
	return waking{Log: l, waker: l.Log.(driver.LogWaker), calls: calls}
}

// followAll has readers follow a key until ctx ends. It returns a function that waits for that.
func followAll(t *testing.T, ctx context.Context, s *streams.Stream[event], key string, readers int, told func(streams.Item[event])) (wait func()) {
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for it, err := range s.Tail(ctx, key, streams.Pos{}) {
				if err != nil {
					if !errors.Is(err, streams.ErrClosed) {
						t.Error(err)
					}
					return
				}
				told(it)
			}
		})
	}
	return wg.Wait
}

// TestHubIdle counts what keys cost on which nothing happens: a question for all of them a
// poll, or every tenth poll with wake-ups.
func TestHubIdle(t *testing.T) {
	for _, wakes := range []bool{false, true} {
		t.Run(fmt.Sprint("wakes ", wakes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const keys, polls = 100, 200
				l := newMeteredLog()
				o := options()
				o.Poll = 50 * time.Millisecond
				log := l.withWaking(wakes, nil)
				s := newStream(t, log, o)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				for k := range keys {
					if k%2 == 0 { // the others do not exist
						s.Append(fmt.Sprint("key", k), event{N: k})
					}
					followAll(t, ctx, s, fmt.Sprint("key", k), 3, func(streams.Item[event]) {})
				}
				time.Sleep(time.Second)
				synctest.Wait()
				before := l.since(metered{})
				time.Sleep(polls * o.Poll)
				synctest.Wait()
				got, want := l.since(before), int64(polls)
				if wakes {
					want /= 10
				}
				if got.heads < want-1 || got.heads > want+1 || got.headKeys != keys*got.heads || got.afters != 0 {
					t.Errorf("in %d polls: %+v, want %d times all %d keys and no other read", polls, got, want, keys)
				}
			})
		})
	}
}

// TestHubBusy counts what a key costs to which events come all the time and which a thousand
// readers follow: a read a poll.
func TestHubBusy(t *testing.T) {
	for _, wakes := range []bool{false, true} {
		t.Run(fmt.Sprint("wakes ", wakes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const readers, polls = 1000, 40
				l := newMeteredLog()
				o := options()
				o.Poll, o.FlushEvery = 50*time.Millisecond, 5*time.Millisecond
				s := newStream(t, l.withWaking(wakes, nil), o)
				producer := newStream(t, l.withWaking(wakes, nil), o)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var delivered, missed atomic.Int64
				wait := followAll(t, ctx, s, "busy", readers, func(it streams.Item[event]) {
					if it.Gap != nil {
						missed.Add(it.Gap.Missed)
					} else {
						delivered.Add(1)
					}
				})
				followAll(t, ctx, s, "idle", 1, func(streams.Item[event]) {})
				time.Sleep(time.Second)
				synctest.Wait()
				before, n := l.since(metered{}), 0
				for range polls * 10 {
					n = burst(producer, "busy", "p", n, 10)
					time.Sleep(o.Poll / 10)
				}
				synctest.Wait()
				got := l.since(before)
				if got.afters < polls-2 || got.afters > polls+2 || got.afterKeys != got.afters {
					t.Errorf("in %d polls: %+v, want one read a poll of one key", polls, got)
				}
				if got.heads > polls+2 {
					t.Errorf("in %d polls: %+v, want no more questions", polls, got)
				}
				time.Sleep(time.Second)
				stop()
				wait()
				if all := int64(n) * readers; delivered.Load()+missed.Load() != all || delivered.Load() < all/10 {
					t.Errorf("%d delivered and %d missed of %d", delivered.Load(), missed.Load(), all)
				}
			})
		})
	}
}

// TestHubWakes counts the messages that wake others: one a flush, however many keys it has and
// calls it takes.
func TestHubWakes(t *testing.T) {
	for _, keys := range []int{1, 100, 1100} {
		l := newMeteredLog()
		var calls atomic.Int64
		o := options()
		o.FlushEvery = time.Minute
		s := newStream(t, l.withWaking(true, &calls), o)
		mustFlush(t, s)
		if n := calls.Load(); n != 0 {
			t.Errorf("%d messages for nothing", n)
		}
		for round := range 3 {
			for k := range keys {
				burst(s, fmt.Sprint("key", k), "p", 0, 1+k%80)
			}
			mustFlush(t, s)
			if n, most := calls.Load(), int64(round+1); n != most {
				t.Errorf("%d messages for %d flushes of %d keys, in %d calls", n, most, keys, l.appends.Load())
			}
		}
	}
}

// TestHubWoken has readers poll seldom: with wake-ups they are told at once all the same, as are
// those who come to another key.
func TestHubWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog(nil)
		o := options()
		o.Poll = time.Minute
		s, producer := newStream(t, log, o), newStream(t, log, options())
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var told atomic.Int64
		waitA := followAll(t, ctx, s, "a", 1, func(streams.Item[event]) { told.Add(1) })
		burst(producer, "b", "p", 0, 1)
		time.Sleep(5*time.Minute + 13*time.Second)
		check := func(what string, want int64) {
			t.Helper()
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			if got := told.Load(); got != want {
				t.Errorf("%s: %d events were told soon, want %d", what, got, want)
			}
			time.Sleep(2*time.Minute + 7*time.Second)
		}
		burst(producer, "a", "p", 0, 1)
		check("woken", 1)
		burst(producer, "a", "p", 1, 1)
		check("woken again", 2)
		waitB := followAll(t, ctx, s, "b", 1, func(streams.Item[event]) { told.Add(1) })
		check("another key", 3)
		stop()
		waitA()
		waitB()
	})
}

// TestHubStalled has a reader that does not come back from its loop, and others who are told
// everything, and in time.
func TestHubStalled(t *testing.T) {
	for _, wakes := range []bool{false, true} {
		t.Run(fmt.Sprint("wakes ", wakes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const events, others = 1000, 20
				l := newMeteredLog()
				log := l.withWaking(wakes, nil)
				o := options()
				o.FlushEvery, o.Poll = 20*time.Millisecond, 30*time.Millisecond
				s, producer := newStream(t, log, o), newStream(t, log, o)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				release := make(chan struct{})
				var late account
				waitLate := followAll(t, ctx, s, "k", 1, func(it streams.Item[event]) {
					late.add(t, it)
					<-release
				})
				var mu sync.Mutex
				var latencies []time.Duration
				sent := make([]time.Time, events+1)
				wait := followAll(t, ctx, s, "k", others, func(it streams.Item[event]) {
					if it.Gap != nil {
						t.Errorf("a reader that is in time has a gap of %d", it.Gap.Missed)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					latencies = append(latencies, time.Since(sent[it.Event.Data.N]))
				})
				for n := range events {
					mu.Lock()
					sent[n+1] = time.Now()
					mu.Unlock()
					burst(producer, "k", "p", n, 1)
					time.Sleep(3 * time.Millisecond)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				mu.Lock()
				slices.Sort(latencies)
				if len(latencies) != events*others {
					t.Errorf("%d events were delivered, want %d", len(latencies), events*others)
				}
				n := len(latencies)
				t.Logf("latency: median %v, 99 %% %v, most %v; a flush and a poll take %v", latencies[n/2], latencies[n*99/100], latencies[n-1], o.FlushEvery+o.Poll)
				if most := 2*(o.FlushEvery+o.Poll) + time.Millisecond; latencies[n-1] > most {
					t.Errorf("an event took %v, want at most %v", latencies[n-1], most)
				}
				mu.Unlock()
				if late.delivered != 1 {
					t.Errorf("the reader that does not come back: %d delivered", late.delivered)
				}
				close(release)
				synctest.Wait()
				if late.delivered+late.missed != events || late.last.Seq != events {
					t.Errorf("the reader that was stalled: %d delivered, %d missed of %d", late.delivered, late.missed, events)
				}
				stop()
				wait()
				waitLate()
			})
		})
	}
}

// TestHubEnds has readers leave, and a stream closed under a thousand of them: nothing goes on
// after that.
func TestHubEnds(t *testing.T) {
	for _, wakes := range []bool{false, true} {
		t.Run(fmt.Sprint("wakes ", wakes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a goroutine that is left fails it
				l := newMeteredLog()
				s := newStream(t, l.withWaking(wakes, nil), options())
				before := bubble.Goroutines()
				for round := range 3 {
					ctx, stop := context.WithCancel(t.Context())
					var waits []func()
					for k := range 10 {
						waits = append(waits, followAll(t, ctx, s, fmt.Sprint("key", k), 10, func(streams.Item[event]) {}))
					}
					time.Sleep(time.Second)
					if st := s.Stats(); st.Readers != 100 {
						t.Errorf("%d readers, want 100", st.Readers)
					}
					stop()
					for _, wait := range waits {
						wait()
					}
					synctest.Wait()
					idle := l.since(metered{})
					if idle.heads == 0 {
						t.Error("nothing was asked")
					}
					time.Sleep(time.Minute)
					if got := l.since(idle); got != (metered{}) || s.Stats().Readers != 0 {
						t.Errorf("round %d: without readers, %+v", round, got)
					}
					if n := bubble.Goroutines(); n > before {
						t.Errorf("round %d: %d goroutines, %d before", round, n, before)
					}
				}
				wait := followAll(t, t.Context(), s, "k", 1000, func(streams.Item[event]) {})
				s.Append("k", event{})
				time.Sleep(time.Second)
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
				wait()
				synctest.Wait()
				if n := bubble.Goroutines(); n >= before {
					t.Errorf("after Close: %d goroutines, %d with the stream open", n, before)
				}
				after := l.since(metered{})
				time.Sleep(time.Minute)
				if got := l.since(after); got != (metered{}) {
					t.Errorf("after Close: %+v", got)
				}
			})
		})
	}
}

// TestHubComesAndGoes has readers of a few keys come and go all the time, so that the hub
// starts and ends.
func TestHubComesAndGoes(t *testing.T) {
	under := memory.NewLog(nil)
	o := options()
	o.Poll, o.FlushEvery = time.Millisecond, time.Millisecond
	s := newStream(t, under, o)
	rounds := longer(100)
	var wg sync.WaitGroup
	for g := range 4 {
		key := fmt.Sprint("key", g%2)
		wg.Go(func() {
			for n := range rounds {
				if err := s.AppendSync(t.Context(), key, event{N: n}); err != nil {
					t.Error(err)
				}
				for it, err := range s.Tail(t.Context(), key, streams.Pos{}) {
					if err != nil || it.Event == nil && it.Gap.Reset {
						t.Error(it, err)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	if st := s.Stats(); st.Readers != 0 || st.Sent != int64(4*rounds) {
		t.Errorf("%+v", st)
	}
}
