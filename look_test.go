package graphcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// lookReads are reads of one kind of item each, with which InvalidateKind(shopItems,
// shopBought, shopFlags) has to do.
var lookReads = []struct {
	name string
	read func(context.Context, graphcache.Conn) (string, error)
}{
	{"an object", func(ctx context.Context, c graphcache.Conn) (string, error) {
		i, err := shopItems.Get(ctx, c, "i01")
		if err != nil {
			return "", err
		}
		return map[string]string{"rome": "old", "oslo": "new"}[i.City], nil
	}},
	{"an index", lookOld(shopItems.Where(itemCity.Eq("rome")), 1)},
	{"an index and the objects", lookOld(shopItems.Where(itemCity.Eq("rome"), itemStock.Ge(0)), 1)},
	{"an index, several values", lookOld(shopItems.Where(itemCity.In("rome", "kyiv")), 1)},
	{"an order", lookOld(shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()), 1)},
	{"a search", lookOld(shopItems.Where(itemStock.Eq(1)), 1)},
	{"a list", lookOld(shopBought.Out(shopBuyerID("b0")), 1)},
	{"a list and the objects", lookOld(shopBought.Out(shopBuyerID("b0")).Where(itemStock.Ge(0)), 1)},
	{"a scan", lookOld(shopFlags.Where(flagOn.Eq(true)), 1)},
}

// lookOld reads a query by its count and by its IDs, and says which world they are of: in
// the old one there are n.
func lookOld[T, E any](q graphcache.Query[T, E], n int) func(context.Context, graphcache.Conn) (string, error) {
	return func(ctx context.Context, c graphcache.Conn) (string, error) {
		ids, err := q.IDs(ctx, c)
		if err != nil {
			return "", err
		}
		return map[bool]string{true: "old", false: "new"}[len(ids) == n], nil
	}
}

// lookWorld makes the old world, in all namespaces given.
func lookWorld(t testing.TB, e *fixtureEngine, namespaces ...string) {
	t.Helper()
	for _, name := range append(namespaces, "") {
		lookWrite(t, e, name,
			foreignItem(driver.Insert, "i01", "rome", 1),
			driver.Write{Op: driver.Insert, Kind: "buyer", Object: &driver.Object{ID: "b0", Version: 1, Doc: driver.Document{{Name: "name", Value: "old"}}}},
			foreignEdge(driver.Insert, "bought", "b0", "i01"),
			driver.Write{Op: driver.Insert, Kind: "flag", Object: &driver.Object{ID: "f0", Version: 1, Doc: driver.Document{{Name: "on", Value: true}}}})
	}
}

// lookChange makes it new, as something else than graphcache does.
func lookChange(t testing.TB, e *fixtureEngine, namespaces ...string) {
	t.Helper()
	for _, name := range append(namespaces, "") {
		moved, added := foreignItem(driver.Replace, "i01", "oslo", 7), foreignItem(driver.Insert, "i02", "oslo", 8)
		for _, w := range []driver.Write{moved, added} {
			w.Object.Doc[2].Value = "low" // the shelf
		}
		lookWrite(t, e, name, moved, added,
			foreignEdge(driver.Insert, "bought", "b0", "i02"),
			driver.Write{Op: driver.Replace, Kind: "buyer", Object: &driver.Object{ID: "b0", Version: 1, Doc: driver.Document{{Name: "name", Value: "new"}}}},
			driver.Write{Op: driver.Replace, Kind: "flag", Object: &driver.Object{ID: "f0", Version: 1}})
	}
}

func lookWrite(t testing.TB, e *fixtureEngine, namespace string, writes ...driver.Write) {
	t.Helper()
	results, err := e.store.Namespace(namespace).Write(t.Context(), writes)
	fixtureMust(t, err)
	for i, r := range results {
		if r.Outcome != driver.Done {
			t.Fatalf("write %d of another program: %v", i, r.Outcome)
		}
	}
}

// lookExpect checks that every read is of the world.
func lookExpect(t testing.TB, what, world string, e *fixtureEngine, c graphcache.Conn) {
	t.Helper()
	for _, r := range lookReads {
		want := world
		if r.name == "a search" && world == "old" {
			continue // it is never cached
		}
		got, err := r.read(t.Context(), c)
		if got != want || err != nil {
			t.Errorf("%s: %s is %q, %v, want %q", what, r.name, got, err, want)
		}
	}
	e.settle(t)
}

func lookBuyer(t testing.TB, c graphcache.Conn) string {
	t.Helper()
	b, err := shopBuyers.Get(t.Context(), c, "b0")
	fixtureMust(t, err)
	return b.Name
}

// TestInvalidateKind: everything that is cached of the kinds is dropped at once in the
// process that says so, in all namespaces, and of other kinds nothing.
func TestInvalidateKind(t *testing.T) {
	for _, from := range []string{"", "tenant"} {
		t.Run("from "+from, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			tenant, err := e.Namespace(ctx, "tenant")
			fixtureMust(t, err)
			lookWorld(t, e, "tenant")
			warm := func(world string) {
				for range 2 {
					lookExpect(t, "the root", world, e, e)
					lookExpect(t, "the tenant", world, e, tenant)
				}
			}
			warm("old")
			lookBuyer(t, e)
			e.settle(t)
			lookChange(t, e, "tenant")
			warm("old")
			by, err := e.Namespace(ctx, from)
			fixtureMust(t, err)
			fixtureMust(t, by.InvalidateKind(ctx, shopItems, shopBought, shopFlags))
			warm("new")
			if got := lookBuyer(t, e); got != "old" {
				t.Errorf("an object of another kind was dropped: %q", got)
			}
			e.on(nil)
			for _, r := range lookReads {
				if _, err := r.read(ctx, e); err != nil {
					t.Fatal(err)
				}
			}
			if n := e.fstore.Calls("Read"); n != 1 { // that of the search
				t.Errorf("%d store reads after all was loaded anew, want 1", n)
			}
		})
	}
}

// TestInvalidateKindElsewhere: another process drops the values within LookPeriod, also
// if it had loaded them itself; one that is opened afterwards at once.
func TestInvalidateKindElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		period := func(o *graphcache.Options) { o.LookPeriod = 3 * time.Second }
		e := shopNew(t, period)
		other := shopAnother(t, e, period)
		lookWorld(t, e)
		lookExpect(t, "at first", "old", other, other)
		lookChange(t, e)
		fixtureMust(t, e.InvalidateKind(t.Context(), shopItems, shopBought, shopFlags))
		lookExpect(t, "another process, at once", "old", other, other)
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		for range 2 {
			lookExpect(t, "another process, after LookPeriod", "new", other, other)
			lookExpect(t, "this process", "new", e, e)
		}
		third := shopAnother(t, e, period)
		lookExpect(t, "a process opened then", "new", third, third)
		if got := other.fstore.Calls("Look"); got != 1 {
			t.Errorf("%d looks in one period, want 1", got)
		}
	})
}

// TestInvalidateKindLateLoad: a load whose store read was answered before the other
// program's write is not served to whoever begins after InvalidateKind, neither from the
// flight nor from the cache.
func TestInvalidateKindLateLoad(t *testing.T) {
	for _, r := range lookReads {
		for _, processes := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d processes", r.name, processes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, e := t.Context(), shopNew(t)
					late := []*fixtureEngine{e, shopAnother(t, e)}[processes-1]
					lookWorld(t, e)
					first := backendtest.NewGate(backendtest.Nth("Read", 1))
					late.on(func(c fixtureCall) backendtest.Fault { return first.ReplyHook(c.ctx, c.Call) })
					begun := fixtureGo(t, func() string { got, _ := r.read(ctx, late); return got })
					fixtureMust(t, first.Await(ctx))
					lookChange(t, e)
					fixtureMust(t, e.InvalidateKind(ctx, shopItems, shopBought, shopFlags))
					var after []func() string
					for range 3 {
						after = append(after, fixtureGo(t, func() string { got, _ := r.read(ctx, e); return got }))
						synctest.Wait()
					}
					first.Open()
					begun() // it began before
					for _, wait := range after {
						if got := wait(); got != "new" {
							t.Errorf("a read that began after InvalidateKind, beside an older load, is %q", got)
						}
					}
					e.settle(t)
					late.settle(t)
					for range 2 {
						if got, err := r.read(ctx, e); got != "new" || err != nil {
							t.Errorf("after the late load was done a read is %q, %v", got, err)
						}
						e.settle(t)
					}
				})
			})
		}
	}
}

// TestInvalidateKindErrors: what InvalidateKind returns for what it cannot do, and that
// it has done nothing then.
func TestInvalidateKindErrors(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	lookWorld(t, e)
	lookExpect(t, "at first", "old", e, e)
	lookChange(t, e)
	for name, tt := range map[string]struct {
		kinds []graphcache.Kind
		is    error
	}{
		"an index":                {[]graphcache.Kind{shopItems, graphcache.NewIndex("x", shopItems, itemName)}, graphcache.ErrInvalid},
		"nil":                     {[]graphcache.Kind{shopItems, nil}, graphcache.ErrInvalid},
		"a kind of another graph": {[]graphcache.Kind{shopItems, fixtureUsers}, graphcache.ErrSchema},
		"edges of another graph":  {[]graphcache.Kind{shopItems, fixtureFollows}, graphcache.ErrSchema},
	} {
		if err := e.InvalidateKind(ctx, tt.kinds...); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %v", name, err, tt.is)
		}
	}
	e.on(func(c fixtureCall) backendtest.Fault {
		return backendtest.Fault{Action: changeFault(c, "Raise", backendtest.Fail)}
	})
	if err := e.InvalidateKind(ctx, shopItems); !errors.Is(err, graphcache.ErrUnavailable) {
		t.Errorf("the store does not answer: %v, want ErrUnavailable", err)
	}
	e.on(nil)
	lookExpect(t, "after calls that failed", "old", e, e)

	plain := hazardPlain(t, e)
	e.on(nil)
	err := plain.InvalidateKind(ctx, shopItems)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "plain") || e.fstore.Total() != 0 {
		t.Errorf("a store without generations: %v after %d calls, want errors.ErrUnsupported and none", err, e.fstore.Total())
	}

	// The kinds are raised, and then the look fails: it is safe to try again.
	e.on(func(c fixtureCall) backendtest.Fault {
		return backendtest.Fault{Action: changeFault(c, "Look", backendtest.Fail)}
	})
	if err := e.InvalidateKind(ctx, shopItems, shopBought, shopFlags); !errors.Is(err, graphcache.ErrUnavailable) {
		t.Errorf("the look fails: %v, want ErrUnavailable", err)
	}
	e.on(nil)
	fixtureMust(t, e.InvalidateKind(ctx, shopItems, shopBought, shopFlags))
	lookExpect(t, "at last", "new", e, e)

	closed := shopAnother(t, e)
	fixtureMust(t, closed.Close(ctx))
	if err := closed.InvalidateKind(ctx, shopItems); !errors.Is(err, graphcache.ErrUnavailable) {
		t.Errorf("a closed graph: %v, want ErrUnavailable", err)
	}
	uncached := shopAnother(t, e, func(o *graphcache.Options) { o.Cache = nil })
	if err := uncached.InvalidateKind(ctx, shopItems); err != nil {
		t.Errorf("without a cache: %v", err)
	}
}

// lookLog is a log that many goroutines write.
type lookLog struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (l *lookLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lookLog) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), what)
}

// TestLookFails: a process whose looks fail, by errors or panics, says so once, and
// learns of what it has missed when they succeed again.
func TestLookFails(t *testing.T) {
	for _, panics := range []bool{false, true} {
		t.Run(fmt.Sprint("panics ", panics), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(lookLog)
				period := func(o *graphcache.Options) {
					o.LookPeriod, o.Logger = time.Second, slog.New(slog.NewTextHandler(log, nil))
				}
				e := shopNew(t)
				other := shopAnother(t, e, period)
				lookWorld(t, e)
				lookExpect(t, "at first", "old", other, other)
				lookChange(t, e)
				for round := range 2 {
					other.on(func(c fixtureCall) backendtest.Fault {
						if panics && c.is("Look") {
							panic("no")
						}
						return backendtest.Fault{Action: changeFault(c, "Look", backendtest.Fail)}
					})
					if round == 0 {
						fixtureMust(t, e.InvalidateKind(t.Context(), shopItems, shopBought, shopFlags))
						time.Sleep(10 * time.Second)
						lookExpect(t, "while the looks fail", "old", other, other)
					} else {
						time.Sleep(10 * time.Second)
					}
					if n := log.count("does not answer a look"); n != round+1 {
						t.Errorf("in round %d of failures there are %d lines about them in the log, want %d", round, n, round+1)
					}
					other.on(nil)
					time.Sleep(time.Second + time.Millisecond)
					synctest.Wait()
					lookExpect(t, "when they succeed again", "new", other, other)
				}
			})
		})
	}
}

// TestLookOpen: Open looks once, and cannot do without; without a cache nobody looks
// again.
func TestLookOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		e.fstore.SetHook(backendtest.FailOn(backendtest.On("Look"), nil))
		_, err := graphcache.Open(t.Context(), shopSchema, e.fstore, &graphcache.Options{Cache: e.fcache})
		if !errors.Is(err, graphcache.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "generations") {
			t.Errorf("Open with a store that does not tell the generations: %v", err)
		}
		plain := shopAnother(t, e, func(o *graphcache.Options) { o.Cache = nil })
		time.Sleep(time.Minute)
		if n := plain.fstore.Calls("Look"); n != 0 {
			t.Errorf("a graph without a cache looked %d times", n)
		}
	})
}

// lookDeafStore is a store whose Generations, once it is closed, returns only when the
// test lets it, whatever its context says.
type lookDeafStore struct {
	*backendtest.FaultyStore
	mu    sync.Mutex    // protects until
	until chan struct{} // nil: answer at once
}

func (s *lookDeafStore) Look(ctx context.Context) (driver.Look, error) {
	s.mu.Lock()
	until := s.until
	s.mu.Unlock()
	if until != nil {
		<-until
	}
	return s.FaultyStore.Look(ctx)
}

// TestLookClose: Close ends the looks, and waits for one that hangs as long as its
// context lasts and no longer.
func TestLookClose(t *testing.T) {
	t.Run("between looks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := shopNew(t)
			fixtureMust(t, e.Close(t.Context()))
			time.Sleep(time.Minute)
			if n := e.fstore.Calls("Look"); n != 0 {
				t.Errorf("%d looks after Close", n)
			}
		})
	})
	t.Run("a look that hangs until its context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := shopNew(t)
			e.on(func(c fixtureCall) backendtest.Fault {
				return backendtest.Fault{Action: changeFault(c, "Look", backendtest.Hang)}
			})
			time.Sleep(2 * time.Second)
			start := time.Now()
			if err := e.Close(t.Context()); err != nil || time.Since(start) != 0 {
				t.Errorf("Close took %v and returned %v", time.Since(start), err)
			}
		})
	})
	t.Run("a look that hears nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := shopNew(t)
			deaf := &lookDeafStore{FaultyStore: e.fstore}
			g, err := graphcache.Open(t.Context(), shopSchema, deaf, &graphcache.Options{Cache: e.fcache})
			fixtureMust(t, err)
			deaf.mu.Lock()
			deaf.until = make(chan struct{})
			deaf.mu.Unlock()
			time.Sleep(2 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			if err := g.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
				t.Errorf("Close took %v and returned %v, want 5 s and the context's error", time.Since(start), err)
			}
			close(deaf.until)
			if err := g.Close(t.Context()); err != nil {
				t.Errorf("Close once the look has ended: %v", err)
			}
		})
	})
	t.Run("work that outlasts Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := shopNew(t)
			lookWorld(t, e)
			gate := e.stopAt(backendtest.On("Write"))
			done := fixtureGo(t, func() error { return hazardApply("i01", itemStock.Add(1))(t.Context(), e) })
			gate.await(t)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // between two looks
			defer cancel()
			if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close beside a write returned %v, want the context's error", err)
			}
			looks := e.fstore.Calls("Look")
			time.Sleep(10 * time.Second)
			if n := e.fstore.Calls("Look") - looks; n != 0 {
				t.Errorf("%d looks after Close has returned", n)
			}
			gate.Open()
			fixtureMust(t, done())
		})
	})
}
