package outage_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// writes are all sorts of writes. Each is one call of the store that changes something,
// but for the deletion.
var writes = []struct {
	name   string
	do     func(ctx context.Context, c *process) error
	fenced bool // another write of the same record ends the doubt
}{
	{"create", func(ctx context.Context, p *process) error {
		return items.Create(ctx, p, &item{ID: "i9", Shelf: "s"})
	}, false},
	{"put", func(ctx context.Context, p *process) error {
		return accounts.Put(ctx, p, &account{ID: "a", N: 9, City: "city 2"})
	}, true},
	{"update", func(ctx context.Context, p *process) error {
		_, err := accounts.Update(ctx, p, "a", func(a *account) error { a.N, a.City = 9, "city 2"; return nil })
		return err
	}, true},
	{"apply in place", func(ctx context.Context, p *process) error {
		_, err := accounts.Apply(ctx, p, "a", accountN.Add(8))
		return err
	}, false},
	{"apply to an index", func(ctx context.Context, p *process) error {
		_, err := accounts.Apply(ctx, p, "a", accountCity.Set("city 2"))
		return err
	}, true},
	{"delete", func(ctx context.Context, p *process) error { return accounts.Delete(ctx, p, "a") }, true},
	{"add an edge", func(ctx context.Context, p *process) error {
		return follows.Add(ctx, p, "a", "b", graphcache.NoData{})
	}, false},
	{"remove an edge", func(ctx context.Context, p *process) error { return likes.Remove(ctx, p, "a", "b") }, false},
	{"change a kind", func(ctx context.Context, p *process) error {
		return likes.ChangeKind(ctx, p, "a", "b", loves)
	}, false},
	{"transaction", func(ctx context.Context, p *process) error {
		return p.Tx(ctx, func(tx *graphcache.Tx) error {
			if _, err := accounts.Apply(ctx, tx, "b", accountN.Add(1)); err != nil {
				return err
			}
			_, err := accounts.Update(ctx, tx, "a", func(a *account) error { a.N, a.City = 9, "city 2"; return nil })
			return err
		})
	}, false},
	{"bulk", func(ctx context.Context, p *process) error {
		_, err := accounts.Where(accountCity.Eq("city 1")).UpdateAll(ctx, p, func(a *account) error { a.N, a.City = 9, "city 2"; return nil })
		return err
	}, false},
}

// newPopulated is newWorld with something in it.
func newPopulated(t *testing.T, n int, set ...func(*graphcache.Options)) *world {
	t.Helper()
	w := newWorld(t, n, set...)
	w.seedAccounts()
	must(t, likes.Add(t.Context(), w.truth, "a", "b", graphcache.NoData{}))
	must(t, items.Create(t.Context(), w.truth, &item{ID: "i0", Shelf: "s"}))
	return w
}

// warmUp has everything in the cache.
func (w *world) warmUp() {
	w.t.Helper()
	w.agree("at first")
	for _, p := range w.processes {
		must(w.t, p.Settle(w.t.Context()))
	}
}

// unanswered makes the next write of the process's store that changes something one whose
// outcome it does not learn: it is applied after late, or never if that is negative.
func (p *process) unanswered(late time.Duration) {
	var done atomic.Bool
	p.onStore(func(_ context.Context, c backendtest.Call) backendtest.Fault {
		if c.Method != "Write" && c.Method != "Tx.Commit" || done.Swap(true) {
			return backendtest.Fault{}
		}
		switch {
		case late < 0:
			return backendtest.Fault{Action: backendtest.Hang}
		case late == 0:
			return backendtest.Fault{Action: backendtest.DropReply}
		}
		until := make(chan struct{})
		time.AfterFunc(late, func() { close(until) })
		return backendtest.Fault{Action: backendtest.Late, Until: until}
	})
}

// TestUnanswered: nobody reads what is not in the store before, while, and after a write
// is applied whose reply was lost, whenever that is, and whether or not its process lives.
func TestUnanswered(t *testing.T) {
	for _, write := range writes {
		for _, late := range []time.Duration{-1, 0, 20 * time.Second, 118 * time.Second} {
			for _, cache := range []string{"well", "down", "down for all"} {
				for _, dies := range []bool{false, true} {
					if testing.Short() && (dies || cache == "down") {
						continue
					}
					t.Run(fmt.Sprintf("%s/%v/the cache is %s/dies %v", write.name, late, cache, dies), func(t *testing.T) {
						bubble(t, func(t *testing.T) {
							w := newPopulated(t, 3, func(o *graphcache.Options) { o.WhenCacheDown, o.Strict = graphcache.Wait, true })
							w.warmUp()
							p := w.processes[0]
							switch cache {
							case "down":
								w.cacheDown(backendtest.Fail, p)
							case "down for all":
								w.cacheDown(backendtest.Fail, w.processes...)
							}
							p.unanswered(late)
							err := write.do(t.Context(), p)
							if !errors.Is(err, graphcache.ErrUnknownOutcome) && write.name != "bulk" || err == nil {
								t.Fatalf("an unanswered write returned %v", err)
							}
							reads := w.processes
							if dies {
								w.storeDown(backendtest.Fail, p)
								w.cacheDown(backendtest.Fail, p)
								reads = w.processes[1:]
							}
							for i := range 37 {
								time.Sleep(3*time.Second + 337*time.Millisecond)
								if i == 5 {
									for _, p := range reads {
										p.onCache(nil)
									}
								}
								if i < 5 || i > 33 || i%3 == 0 {
									w.agree(fmt.Sprint("after ", time.Duration(i+1)*3337*time.Millisecond), reads...)
								}
								if t.Failed() {
									t.FailNow()
								}
							}
							time.Sleep(20 * time.Second)
							w.well()
							time.Sleep(5 * time.Second)
							p.store.WaitLate()
							synctest.Wait()
							w.quiet()
							w.same()
						})
					})
				}
			}
		}
	}
}

// TestUnansweredFenced: a later write of the same record ends the doubt, if it was made by
// somebody who knew of it.
func TestUnansweredFenced(t *testing.T) {
	for _, write := range writes {
		if write.name == "delete" {
			continue // the next write of the record is its rest
		}
		for _, by := range []int{0, 1} {
			for _, knows := range []bool{true, false} {
				if by == 0 && !knows {
					continue
				}
				t.Run(fmt.Sprintf("%s/by process %d/knows %v", write.name, by, knows), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						w := newPopulated(t, 2)
						w.warmUp()
						p := w.processes[0]
						p.unanswered(time.Minute)
						_ = write.do(t.Context(), p)
						if len(w.journal()) == 0 {
							t.Fatal("nothing in the journal")
						}
						if knows {
							time.Sleep(2 * period)
						}
						must(t, w.processes[by].set(t.Context(), "a", 20))
						time.Sleep(3 * period)
						w.agree("after the other write")
						if left := len(w.journal()); (left == 0) != (write.fenced && knows) {
							t.Errorf("%d entries in the journal, fenced %v", left, write.fenced)
						}
						if write.fenced && by == 0 {
							time.Sleep(holdTTL)
							w.quiet()
						}
						time.Sleep(time.Minute)
						w.agree("after the late write")
						time.Sleep(time.Minute + 20*time.Second)
						w.quiet()
						w.same()
					})
				})
			}
		}
	}
}

// TestUnansweredUnderWay: a write that was sent before the other one was known to be in
// doubt does not end the doubt.
func TestUnansweredUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 2)
		w.warmUp()
		p, q := w.processes[0], w.processes[1]
		gate := backendtest.NewGate(backendtest.On("Write"))
		q.onStore(gate.Hook)
		done := make(chan error)
		go func() { done <- q.set(t.Context(), "a", 20) }()
		must(t, gate.Await(t.Context()))
		p.unanswered(time.Minute)
		_ = p.set(t.Context(), "a", 9)
		time.Sleep(2 * period)
		gate.Open()
		must(t, <-done)
		time.Sleep(3 * period)
		if len(w.journal()) == 0 {
			t.Error("the doubt has ended")
		}
		w.agree("after the other write")
	})
}

// TestUnansweredMark: the mark of a write in doubt never ends.
func TestUnansweredMark(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 2)
		w.warmUp()
		p := w.processes[0]
		p.unanswered(-1)
		_ = p.set(t.Context(), "a", 9)
		for range 112 {
			time.Sleep(period)
			if n := w.cache.Tokens(); n == 0 {
				t.Fatal("no mark is left")
			}
		}
	})
}

// TestLateOwe: a call that puts an older entry into the journal, and comes when the newer
// one is there, does not take its place for long.
func TestLateOwe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 2)
		w.warmUp()
		p := w.processes[0]
		// 1. The cache is down; the call of the journal for a write is delayed.
		w.cacheDown(backendtest.Fail, p)
		arrive := make(chan struct{})
		late := false
		p.onStore(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			if c.Method == "Owe" && !late {
				late = true
				return backendtest.Fault{Action: backendtest.Late, Until: arrive}
			}
			return backendtest.Fault{}
		})
		if err := p.set(t.Context(), "a", 5); !errors.Is(err, graphcache.ErrUnavailable) {
			t.Fatalf("a write that could not be journalled returned %v", err)
		}
		// 2. Another write is not answered, and applied 100 s later.
		p.unanswered(100 * time.Second)
		if err := p.set(t.Context(), "a", 9); !errors.Is(err, graphcache.ErrUnknownOutcome) {
			t.Fatal(err)
		}
		// 3. The older call comes.
		time.Sleep(50 * time.Millisecond)
		close(arrive)
		for range 36 {
			time.Sleep(3337 * time.Millisecond)
			w.agree("at " + time.Now().Format("04:05"))
			if t.Failed() {
				t.FailNow()
			}
		}
	})
}

// TestLateOweTwice: an entry that was drained, and is put back by a call that comes late,
// is drained again.
func TestLateOweTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 1)
		w.warmUp()
		entries := []driver.JournalEntry{{Anchor: "x", Owner: "nobody", Token: "t"}}
		must(t, w.store.Owe(t.Context(), entries))
		var back atomic.Bool
		w.processes[0].onStore(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			if c.Method != "Settle" || back.Swap(true) {
				return backendtest.Fault{}
			}
			return backendtest.Fault{After: func(ctx context.Context) { must(t, w.store.Owe(ctx, entries)) }}
		})
		time.Sleep(10 * period)
		if !back.Load() {
			t.Error("the entry was not drained")
		}
		w.quiet()
	})
}
