package outage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// withMode sets what becomes of writes while the cache is down.
func withMode(m graphcache.WhenCacheDown) func(*graphcache.Options) {
	return func(o *graphcache.Options) { o.WhenCacheDown = m }
}

// TestCacheDown: what a write returns whose process cannot reach the cache, how long it
// takes, and who reads it when.
func TestCacheDown(t *testing.T) {
	for _, mode := range []graphcache.WhenCacheDown{graphcache.Ack, graphcache.Wait} {
		for _, how := range []backendtest.Action{backendtest.Fail, backendtest.Hang, backendtest.DropReply} {
			for _, all := range []bool{false, true} {
				for _, write := range writes {
					if all && how != backendtest.Fail {
						continue // every look-up of the test would take time
					}
					t.Run(fmt.Sprintf("%v/action %d/all %v/%s", mode, how, all, write.name), func(t *testing.T) {
						bubble(t, func(t *testing.T) { testCacheDown(t, mode, how, all, write.name, write.do) })
					})
				}
			}
		}
	}
}

func testCacheDown(t *testing.T, mode graphcache.WhenCacheDown, how backendtest.Action, all bool, name string, do func(context.Context, *process) error) {
	w := newPopulated(t, 3, withMode(mode))
	w.warmUp()
	p, others := w.processes[0], w.processes[1:]
	down := []*process{p}
	if all {
		down = w.processes
	}
	w.cacheDown(how, down...)
	time.Sleep(10 * time.Millisecond)
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- do(t.Context(), p) }()
	var took time.Duration
	for took == 0 {
		select {
		case err := <-done:
			must(t, err)
			took = time.Since(begun) + 1
		case <-time.After(97 * time.Millisecond):
			if mode == graphcache.Wait {
				w.agree("while the write is under way", others...)
			}
		}
	}
	least := time.Duration(0)
	if mode == graphcache.Wait {
		least = 2 * period
		w.agree("at the acknowledgement", others...)
	}
	most := least
	if how != backendtest.Fail {
		most += holdTimeout
	}
	if name == "delete" { // several
		most = 20 * most
	}
	if took-1 < least || took-1 > most+97*time.Millisecond {
		t.Errorf("the write took %v, want %v to %v", took-1, least, most)
	}
	if n := p.Stats(); n.Owed == 0 || n.Journal == 0 {
		t.Errorf("Stats: %d owed, %d in the journal", n.Owed, n.Journal)
	}
	if how != backendtest.Hang {
		w.agree("at once", p)
	}
	time.Sleep(2 * period)
	w.agree("two periods later")
	time.Sleep(10 * time.Second)
	w.agree("when the cache was down for long")
	// The cache is back: what this process has written is right before, while, and after
	// the journal is drained.
	before := slices.Clone(w.journal())
	if how == backendtest.Fail && len(before) == 0 {
		t.Error("the journal was drained although the cache is down")
	}
	gate := backendtest.NewGate(backendtest.On("Release"))
	w.well()
	p.onCache(gate.Hook)
	for range 4 {
		time.Sleep(500 * time.Millisecond)
		w.agree("before the journal is drained")
	}
	gate.Open()
	for range 6 {
		time.Sleep(300 * time.Millisecond)
		w.agree("while the journal is drained")
	}
	time.Sleep(2 * period)
	synctest.Wait()
	w.quiet()
	w.same()
	var drained int64
	for _, p := range w.processes {
		drained += p.Stats().Drained
	}
	if owed := p.Stats().Owed; drained < owed && name != "delete" {
		t.Errorf("%d entries were owed, and %d drained", owed, drained)
	}
}

// TestCacheDownFail: a write that is not to be made without the cache leaves nothing.
func TestCacheDownFail(t *testing.T) {
	for _, how := range []backendtest.Action{backendtest.Fail, backendtest.Hang, backendtest.DropReply} {
		for _, write := range writes {
			t.Run(fmt.Sprintf("action %d/%s", how, write.name), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newPopulated(t, 2, withMode(graphcache.Fail))
					w.warmUp()
					before := w.view(w.truth)
					p := w.processes[0]
					w.cacheDown(how, p)
					p.store.Reset()
					begun := time.Now()
					if err := write.do(t.Context(), p); !errors.Is(err, graphcache.ErrUnavailable) || errors.Is(err, graphcache.ErrUnknownOutcome) {
						t.Errorf("the write returned %v", err)
					}
					if took := time.Since(begun); took > 2*holdTimeout {
						t.Errorf("the write took %v", took)
					}
					if n := p.store.Calls("Write") + p.store.Calls("Tx.Commit") + p.store.Calls("Owe"); n != 0 {
						t.Errorf("%d calls that change the store", n)
					}
					if fmt.Sprint(before) != fmt.Sprint(w.view(w.truth)) {
						t.Error("the store has changed")
					}
					time.Sleep(10 * time.Second)
					w.well()
					time.Sleep(holdTTL + 5*time.Second)
					w.quiet()
					w.same()
				})
			})
		}
	}
}

// TestCacheDownInvalidate: what something else has written can be invalidated while the
// cache is down, unless only the cache knows what the record was.
func TestCacheDownInvalidate(t *testing.T) {
	for _, mode := range []graphcache.WhenCacheDown{graphcache.Ack, graphcache.Wait, graphcache.Fail} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newPopulated(t, 2, withMode(mode))
				w.warmUp()
				p := w.processes[0]
				w.cacheDown(backendtest.Fail, p)
				must(t, follows.Add(t.Context(), w.truth, "a", "b", graphcache.NoData{}))
				err := p.Invalidate(t.Context(), follows.Ref("a", "b"))
				if mode == graphcache.Fail {
					if !errors.Is(err, graphcache.ErrUnavailable) {
						t.Errorf("Invalidate: %v", err)
					}
					return
				}
				must(t, err)
				w.agree("at once", p)
				time.Sleep(2 * period)
				w.agree("two periods later")
				_, err = accounts.Update(t.Context(), w.truth, "a", func(a *account) error { a.City = "city 3"; return nil })
				must(t, err)
				err = p.Invalidate(t.Context(), accounts.Ref("a", &account{ID: "a", City: "city 1"}))
				t.Logf("Invalidate of an object with an index: %v", err)
				if err == nil {
					time.Sleep(2 * period)
					w.agree("after an object was invalidated")
				}
				must(t, p.InvalidateKind(t.Context(), accounts))
				time.Sleep(2 * period)
				w.agree("after the kind was invalidated")
				w.well()
				time.Sleep(5 * time.Second)
				w.quiet()
				w.same()
			})
		})
	}
}

// TestDrainByOwner: the owner drains within a second of when the cache answers again.
func TestDrainByOwner(t *testing.T) {
	for _, down := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second, 10 * time.Minute} {
		t.Run(fmt.Sprint(down), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newPopulated(t, 2)
				w.warmUp()
				p := w.processes[0]
				w.cacheDown(backendtest.Fail, p)
				must(t, p.set(t.Context(), "a", 7))
				time.Sleep(down)
				p.well()
				time.Sleep(time.Second + 20*time.Millisecond) // the longest pause
				synctest.Wait()
				if left := w.journal(); len(left) > 0 {
					t.Errorf("%d entries are left after %v", len(left), down)
				}
				time.Sleep(2 * period)
				w.quiet()
				w.same()
			})
		})
	}
}

// TestDrainByAnother: when the owner is gone another process drains, and not before the
// write can no longer be applied.
func TestDrainByAnother(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprint("closed ", closed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newPopulated(t, 3)
				w.warmUp()
				p, others := w.processes[0], w.processes[1:]
				w.cacheDown(backendtest.Fail, p)
				must(t, p.set(t.Context(), "a", 7))
				if closed {
					must(t, p.Close(t.Context()))
				} else {
					w.storeDown(backendtest.Fail, p)
				}
				written := time.Now()
				for len(w.journal()) > 0 {
					if time.Since(written) > time.Minute {
						t.Fatal("nobody drains")
					}
					if time.Since(written) > 2*period {
						w.agree("while nobody drains", others...)
					}
					time.Sleep(50 * time.Millisecond)
				}
				if took := time.Since(written); took < holdTTL+2*period || took > holdTTL+6*period {
					t.Errorf("drained after %v", took)
				}
				w.processes = others
				w.agree("right after it was drained", others...)
				time.Sleep(2 * period)
				w.quiet()
				w.same()
				var drained int64
				for _, q := range others {
					drained += q.Stats().Drained
				}
				if drained < p.Stats().Owed {
					t.Errorf("%d entries were drained, %d owed", drained, p.Stats().Owed)
				}
			})
		})
	}
}

// TestDrainReplaced: an entry that was replaced while another process was about to drain
// it stays.
func TestDrainReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 2)
		w.warmUp()
		p, q := w.processes[0], w.processes[1]
		w.cacheDown(backendtest.Fail, p)
		must(t, p.set(t.Context(), "a", 7))
		old := w.journal()
		gate := backendtest.NewGate(backendtest.On("Settle"))
		q.onStore(gate.Hook)
		must(t, gate.Await(t.Context())) // it has cleared the anchors
		must(t, p.set(t.Context(), "a", 8))
		gate.Open()
		synctest.Wait()
		if now := w.journal(); len(now) != len(old) || now[0].Token == old[0].Token {
			t.Errorf("the journal is %v", now)
		}
		w.agree("with the new entry")
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			w.agree("later")
		}
		p.well()
		time.Sleep(3 * period)
		w.quiet()
		w.same()
	})
}

// TestDrainFills: a load under way when the cache was written around fills nothing that
// stays.
func TestDrainFills(t *testing.T) {
	for _, filler := range []int{0, 1} {
		for _, method := range []string{"Read", "Fill"} {
			for _, drained := range []bool{false, true} {
				t.Run(fmt.Sprintf("process %d/%s/drained %v", filler, method, drained), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						w := newPopulated(t, 3)
						p, q := w.processes[0], w.processes[filler]
						gate := backendtest.NewGate(backendtest.On(method))
						if method == "Read" {
							q.onStore(gate.ReplyHook)
						} else {
							q.onCache(gate.Hook)
						}
						done := make(chan int, 1)
						go func() { done <- q.n(t, "a") }()
						must(t, gate.Await(t.Context()))
						hold := backendtest.FailOn(backendtest.On("Hold", "Release"), nil)
						if filler == 0 && method == "Fill" {
							p.onCache(backendtest.Chain(gate.Hook, hold))
						} else {
							p.onCache(hold)
						}
						if filler == 0 && method == "Read" {
							// The update reads as well.
							p.onStore(nil)
						}
						must(t, p.set(t.Context(), "a", 7))
						if drained {
							p.onCache(nil)
							time.Sleep(100 * time.Millisecond)
						}
						gate.Open()
						<-done
						synctest.Wait()
						w.agree("at once", p)
						time.Sleep(2 * period)
						w.agree("later")
						p.onCache(nil)
						time.Sleep(4 * period)
						w.quiet()
						w.same()
					})
				})
			}
		}
	}
}

// TestReleaseFails: a write whose marks may not have been taken off is in the journal
// before it is acknowledged.
func TestReleaseFails(t *testing.T) {
	for _, mode := range []graphcache.WhenCacheDown{graphcache.Ack, graphcache.Wait, graphcache.Fail} {
		for _, how := range []backendtest.Action{backendtest.Fail, backendtest.Hang, backendtest.DropReply} {
			for _, lost := range []bool{false, true} {
				for _, write := range writes {
					t.Run(fmt.Sprintf("%v/action %d/lost %v/%s", mode, how, lost, write.name), func(t *testing.T) {
						bubble(t, func(t *testing.T) {
							w := newPopulated(t, 2, withMode(mode))
							w.warmUp()
							p, q := w.processes[0], w.processes[1]
							p.onCache(func(_ context.Context, c backendtest.Call) backendtest.Fault {
								if c.Method == "Release" {
									return backendtest.Fault{Action: how}
								}
								return backendtest.Fault{}
							})
							p.onStore(func(ctx context.Context, c backendtest.Call) backendtest.Fault {
								if lost && (c.Method == "Write" || c.Method == "Tx.Commit") {
									for _, a := range w.held() {
										w.cache.Evict(a)
									}
									w.view(q) // fills
									must(t, q.Settle(ctx))
								}
								return backendtest.Fault{}
							})
							begun := time.Now()
							must(t, write.do(t.Context(), p))
							if n := len(w.journal()); n == 0 {
								t.Error("acknowledged, and not in the journal")
							}
							if took := time.Since(begun); how == backendtest.Hang && write.name != "delete" && mode != graphcache.Wait && took > 2*holdTimeout {
								t.Errorf("the write took %v", took)
							}
							w.agree("at once", p)
							if !lost || mode == graphcache.Wait {
								w.agree("at the acknowledgement")
							}
							for range 10 {
								time.Sleep(2*period + 3*time.Millisecond)
								w.agree("two periods later")
							}
							w.well()
							time.Sleep(4 * period)
							w.quiet()
							w.same()
						})
					})
				}
			}
		}
	}
}
