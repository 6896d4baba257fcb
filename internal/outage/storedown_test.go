package outage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// TestStoreDown: cached values are served while the store is down, or are not if they are
// to be strictly right; writes fail and leave nothing.
func TestStoreDown(t *testing.T) {
	for _, how := range []backendtest.Action{backendtest.Fail, backendtest.Hang} {
		for _, strict := range []bool{false, true} {
			for _, owing := range []bool{false, true} {
				t.Run(fmt.Sprintf("action %d/strict %v/owing %v", how, strict, owing), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						w := newPopulated(t, 2, func(o *graphcache.Options) { o.Strict = strict })
						p, q := w.processes[0], w.processes[1]
						p.warm(t, "a")
						if owing { // something that is to be settled
							w.cacheDown(backendtest.Fail, p)
							must(t, p.set(t.Context(), "c", 3))
							time.Sleep(2 * period)
						}
						w.storeDown(how, p, q)
						down := time.Now()
						p.onCache(nil)
						var served, failed int
						for time.Since(down) < time.Minute {
							time.Sleep(130 * time.Millisecond)
							for _, r := range w.processes {
								begun := time.Now()
								a, err := accounts.Get(t.Context(), r, "a")
								switch late := begun.Sub(down) > 2*period; {
								case err == nil && strict && late:
									t.Errorf("after %v a strict read returned %d", begun.Sub(down), a.N)
								case err != nil && !strict:
									t.Errorf("after %v a read failed after %v: %v", begun.Sub(down), time.Since(begun), err)
								case err != nil && !errors.Is(err, graphcache.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded):
									t.Errorf("a read failed with %v", err)
								case err == nil:
									served++
								default:
									failed++
								}
								if t.Failed() {
									t.FailNow()
								}
							}
						}
						if served == 0 || strict && failed == 0 {
							t.Errorf("%d reads were served, %d failed", served, failed)
						}
						for _, write := range writes {
							begun := time.Now()
							if err := write.do(t.Context(), p); !errors.Is(err, graphcache.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
								t.Errorf("%s: %v after %v", write.name, err, time.Since(begun))
							}
						}
						if held := w.held(); !owing && len(held) > 0 {
							t.Errorf("held: %q", held)
						}
						w.well()
						time.Sleep(5 * period)
						synctest.Wait()
						if !owing {
							w.quiet()
						}
						time.Sleep(holdTTL + 5*time.Second)
						w.quiet()
						w.same()
					})
				})
			}
		}
	}
}

// TestStoreDownInTraffic: the store of all is away for a minute.
func TestStoreDownInTraffic(t *testing.T) {
	for _, how := range []backendtest.Action{backendtest.Fail, backendtest.Hang} {
		for _, mode := range []graphcache.WhenCacheDown{graphcache.Ack, graphcache.Wait, graphcache.Fail} {
			t.Run(fmt.Sprintf("action %d/%v", how, mode), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newPopulated(t, 3, withMode(mode))
					w.warmUp()
					end := time.Now().Add(2 * time.Minute)
					var wg sync.WaitGroup
					var down atomic.Bool
					for i, p := range w.processes {
						p.onStore(func(context.Context, backendtest.Call) backendtest.Fault {
							if down.Load() {
								return backendtest.Fault{Action: how}
							}
							return backendtest.Fault{}
						})
						wg.Go(func() {
							for n := 0; time.Now().Before(end); n++ {
								write := writes[1+(n+3*i)%4]
								_ = write.do(t.Context(), p)
								time.Sleep(time.Duration(100+37*i) * time.Millisecond)
							}
						})
						wg.Go(func() {
							for time.Now().Before(end) {
								begun, wasDown := time.Now(), down.Load()
								_, err := accounts.Get(t.Context(), p, "b") // which nobody writes
								if wasDown && err != nil {
									t.Errorf("at %v a cached read failed after %v: %v", begun.Format("04:05.000"), time.Since(begun), err)
									return
								}
								time.Sleep(91 * time.Millisecond)
							}
						})
					}
					time.Sleep(20 * time.Second)
					down.Store(true)
					time.Sleep(time.Minute)
					down.Store(false)
					wg.Wait()
					// What hung may have been applied for all that anybody knows.
					time.Sleep(ambiguous + 5*time.Second)
					w.quiet()
					w.same()
				})
			})
		}
	}
}

// deafStore is a store that can be made to answer no look, whatever its context says, or
// to panic.
type deafStore struct {
	*backendtest.FaultyStore
	mu     sync.Mutex
	until  chan struct{}
	panics bool
}

func (s *deafStore) Look(ctx context.Context) (driver.Look, error) {
	s.mu.Lock()
	until, panics := s.until, s.panics
	s.mu.Unlock()
	if until != nil {
		<-until
	}
	if panics {
		panic("no")
	}
	return s.FaultyStore.Look(ctx)
}

func (s *deafStore) set(until chan struct{}, panics bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.panics = until, panics
}

// TestPaused: a process that did not run for long does not serve what was written
// meanwhile by one that could not reach the cache, drained or not.
func TestPaused(t *testing.T) {
	for _, drained := range []bool{false, true} {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("drained %v/strict %v", drained, strict), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newPopulated(t, 1)
					p := w.processes[0]
					var deaf *deafStore
					q := w.openOn(func(s *backendtest.FaultyStore) driver.Store {
						deaf = &deafStore{FaultyStore: s}
						return deaf
					}, func(o *graphcache.Options) { o.Strict = strict })
					w.warmUp()
					until := make(chan struct{})
					deaf.set(until, false)
					time.Sleep(period) // it is in a look, and sees nothing
					w.cacheDown(backendtest.Fail, p)
					must(t, p.set(t.Context(), "a", 7))
					time.Sleep(5 * time.Second)
					w.agree("while it is paused")
					if drained {
						p.well()
					}
					time.Sleep(14 * time.Second)
					w.agree("after its pause, before it has looked")
					close(until)
					deaf.set(nil, false)
					synctest.Wait()
					w.agree("when it has looked")
					time.Sleep(2 * period)
					w.agree("when it has looked again")
					p.well()
					time.Sleep(3 * period)
					w.quiet()
					w.same()
					_ = q
				})
			})
		}
	}
}

// TestLookPanics: a panic of the store in a look is like one that fails.
func TestLookPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 1)
		var deaf *deafStore
		q := w.openOn(func(s *backendtest.FaultyStore) driver.Store {
			deaf = &deafStore{FaultyStore: s}
			return deaf
		})
		w.warmUp()
		deaf.set(nil, true)
		time.Sleep(5 * period)
		w.agree("while the looks panic")
		if err := q.set(t.Context(), "a", 7); !errors.Is(err, graphcache.ErrUnavailable) {
			t.Errorf("a write returned %v", err)
		}
		w.cacheDown(backendtest.Fail, w.processes[0])
		must(t, w.processes[0].set(t.Context(), "b", 7))
		if q.Stats().FailedLooks == 0 {
			t.Error("no look has failed")
		}
		deaf.set(nil, false)
		time.Sleep(2 * period)
		w.agree("when they do not")
		w.well()
		time.Sleep(3 * period)
		w.quiet()
		w.same()
	})
}

// plainStore is a store that has no ledger.
type plainStore struct{ s *backendtest.FaultyStore }

func (p plainStore) ID(ctx context.Context) (string, error) { return p.s.ID(ctx) }
func (p plainStore) Ensure(ctx context.Context, schema driver.Schema) error {
	return p.s.Ensure(ctx, schema)
}
func (p plainStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	return p.s.Read(ctx, steps, atLeast)
}
func (p plainStore) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	return p.s.Write(ctx, writes)
}
func (p plainStore) Namespace(name string) driver.Store {
	return plainStore{p.s.Namespace(name).(*backendtest.FaultyStore)}
}
func (p plainStore) Capabilities() driver.Capabilities { return p.s.Capabilities() }
func (p plainStore) Close(ctx context.Context) error   { return p.s.Close(ctx) }
func (p plainStore) Begin(ctx context.Context) (driver.Tx, error) {
	return p.s.Begin(ctx)
}

// TestNoLedger: without a ledger a write that the cache does not take fails, whatever the
// options say; one in doubt, and one whose marks were not taken off, is kept in mind.
func TestNoLedger(t *testing.T) {
	for _, mode := range []graphcache.WhenCacheDown{graphcache.Ack, graphcache.Wait, graphcache.Fail} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newPopulated(t, 0)
				plain := func(s *backendtest.FaultyStore) driver.Store { return plainStore{s} }
				p := w.openOn(plain, withMode(mode))
				q := w.openOn(plain, withMode(mode))
				w.warmUp()
				for _, write := range writes {
					w.cacheDown(backendtest.Fail, p)
					if err := write.do(t.Context(), p); !errors.Is(err, graphcache.ErrUnavailable) {
						t.Errorf("%s while the cache is down: %v", write.name, err)
					}
					p.well()
				}
				time.Sleep(5 * period)
				w.quiet()
				w.same()

				// A release is not confirmed.
				p.onCache(backendtest.FailOn(backendtest.On("Release"), nil))
				must(t, p.set(t.Context(), "a", 5))
				w.agree("a release was not confirmed")
				time.Sleep(10 * period)
				w.agree("and later")
				p.well()
				time.Sleep(2 * period)
				w.quiet()
				w.same()

				// An unanswered write.
				p.unanswered(100 * time.Second)
				if err := p.set(t.Context(), "a", 9); !errors.Is(err, graphcache.ErrUnknownOutcome) {
					t.Error(err)
				}
				for range 34 {
					time.Sleep(3 * time.Second)
					w.agree("in doubt")
				}
				if a := q.n(t, "a"); a != 9 {
					t.Errorf("the late write is not there: %d", a)
				}
				time.Sleep(25 * time.Second)
				w.quiet()
				w.same()
			})
		})
	}
}

// TestWritePanics: a store that panics in a write whose anchors are in the journal leaves
// nothing for ever.
func TestWritePanics(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("applied %v/the cache is down %v", applied, down), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newPopulated(t, 2)
					w.warmUp()
					p := w.processes[0]
					if down {
						w.cacheDown(backendtest.Fail, p)
					}
					p.onStore(func(_ context.Context, c backendtest.Call) backendtest.Fault {
						boom := func(context.Context) { panic("boom") }
						if c.Method == "Write" && !applied {
							boom(nil)
						}
						if c.Method == "Write" {
							return backendtest.Fault{After: boom}
						}
						return backendtest.Fault{}
					})
					func() {
						defer func() {
							if recover() == nil {
								t.Error("no panic")
							}
						}()
						_ = p.set(t.Context(), "a", 7)
					}()
					w.agree("at once", p)
					time.Sleep(2 * period)
					w.agree("two periods later")
					w.well()
					time.Sleep(holdTTL)
					w.agree("when the cache is back")
					time.Sleep(ambiguous + 20*time.Second)
					w.quiet()
					w.same()
				})
			})
		}
	}
}
