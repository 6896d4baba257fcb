package outage_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// The tests in this file are schedules by which values were once stale, or marks stood for
// ever. Two versions of a program have one kind.

type person struct {
	ID   graphcache.ID[person] `json:"id"`
	Name string                `json:"name"`
}

// ranked has a field and an index that person lacks.
type ranked struct {
	ID   graphcache.ID[ranked] `json:"id"`
	Name string                `json:"name"`
	Rank int                   `json:"rank" graph:"index"`
}

// named has an index that person lacks.
type named struct {
	ID   graphcache.ID[named] `json:"id"`
	Name string               `json:"name" graph:"index"`
}

var (
	persons    = graphcache.NewObjectKind[person]("person")
	personName = graphcache.StringFieldOf(persons, func(p *person) *string { return &p.Name })
)

func anyCall(backendtest.Call) bool { return true }

// open opens a graph that is closed when the test ends.
func open(t *testing.T, schema *graphcache.Schema, store driver.Store, o graphcache.Options) *graphcache.Graph {
	t.Helper()
	g, err := graphcache.Open(t.Context(), schema, store, &o)
	must(t, err)
	t.Cleanup(func() { must(t, g.Close(context.Background())) })
	return g
}

// TestInvalidateAlien: a version that lacks the field of another's index cannot know what
// the index had an object under. It drops the kind, and the object at once.
func TestInvalidateAlien(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := graphcache.NewObjectKind[ranked]("person")
		store, o := memory.NewStore(nil), graphcache.Options{Cache: memory.NewCache(nil)}
		q := open(t, graphcache.NewSchema(kind), store, o)
		p := open(t, graphcache.NewSchema(persons), store, o)
		must(t, kind.Create(t.Context(), q, &ranked{ID: "x", Name: "a", Rank: 1}))
		time.Sleep(100 * time.Second)
		_, err := kind.Get(t.Context(), q, "x")
		must(t, err)
		must(t, q.Settle(t.Context()))
		_, err = store.Write(t.Context(), []driver.Write{{
			Op: driver.Replace, Kind: "person",
			Object: &driver.Object{ID: "x", Version: 7, Doc: driver.Document{{Name: "name", Value: "b"}, {Name: "rank", Value: int64(2)}}},
		}})
		must(t, err)
		must(t, p.Invalidate(t.Context(), persons.Ref("x", &person{ID: "x", Name: "a"})))
		v, err := kind.Get(t.Context(), q, "x")
		must(t, err)
		if v.Name != "b" {
			t.Errorf("after Invalidate another process reads %+v", v)
		}
	})
}

// TestOwePanics: a store that panics when it is told of the journal leaves nothing in it
// for ever.
func TestOwePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, cache := backendtest.NewFaultyStore(memory.NewStore(nil), nil), backendtest.NewFaultyCache(memory.NewCache(nil), nil)
		g := open(t, graphcache.NewSchema(persons), store, graphcache.Options{Cache: cache})
		must(t, persons.Create(t.Context(), g, &person{ID: "x", Name: "a"}))
		cache.SetHook(backendtest.FailOn(anyCall, nil))
		first := true
		store.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			if c.Method == "Owe" && first {
				first = false
				panic("a bug")
			}
			return backendtest.Fault{}
		})
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller")
				}
			}()
			_ = persons.Put(t.Context(), g, &person{ID: "x", Name: "b"})
		}()
		cache.SetHook(nil)
		time.Sleep(10 * time.Minute)
		if n := g.Stats().Journal; n > 0 {
			t.Errorf("%d entries after 10 minutes", n)
		}
	})
}

// TestSlowOwe: calls that take as long as they may do not outlast the window of an entry.
func TestSlowOwe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, memc := memory.NewStore(nil), memory.NewCache(nil)
		ws, wc := backendtest.NewFaultyStore(mem, nil), backendtest.NewFaultyCache(memc, nil)
		w := open(t, graphcache.NewSchema(persons), ws, graphcache.Options{HoldTimeout: 3 * time.Second, Cache: wc})
		q := open(t, graphcache.NewSchema(persons), mem, graphcache.Options{HoldTimeout: 3 * time.Second, Cache: memc})
		must(t, persons.Create(t.Context(), w, &person{ID: "x", Name: "a"}))
		time.Sleep(10950 * time.Millisecond)
		wc.SetHook(backendtest.FailOn(anyCall, nil))
		var owes atomic.Int64
		applied := make(chan struct{})
		start := time.Now()
		ws.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			switch c.Method {
			case "Owe":
				if owes.Add(1) == 1 {
					return backendtest.Fault{After: func(context.Context) { time.Sleep(6900 * time.Millisecond) }}
				}
				if time.Since(start) > 11*time.Second {
					return backendtest.Fault{Delay: 6800 * time.Millisecond}
				}
			case "Write":
				return backendtest.Fault{Delay: 4900 * time.Millisecond, Action: backendtest.Late, Until: applied}
			}
			return backendtest.Fault{}
		})
		go func() { _ = persons.Put(t.Context(), w, &person{ID: "x", Name: "b"}) }()
		time.AfterFunc(18300*time.Millisecond, func() { close(applied) })
		seen := false
		for time.Since(start) < 25*time.Second {
			a, err := persons.Get(t.Context(), w, "x")
			must(t, err)
			b, err := persons.Get(t.Context(), q, "x")
			must(t, err)
			if seen && b.Name == "a" {
				t.Errorf("%v: a process has read b, and another reads a after it", time.Since(start))
			}
			seen = seen || a.Name == "b" || b.Name == "b"
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// TestDoubtOwedAgain: an entry of a write of unknown outcome that is changed near its end
// still delays a new index.
func TestDoubtOwedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := graphcache.NewObjectKind[named]("person")
		name := graphcache.StringFieldOf(kind, func(p *named) *string { return &p.Name })
		mem, memc := memory.NewStore(nil), memory.NewCache(nil)
		ws, wc := backendtest.NewFaultyStore(mem, nil), backendtest.NewFaultyCache(memc, nil)
		w := open(t, graphcache.NewSchema(persons), ws, graphcache.Options{Cache: wc})
		must(t, persons.Create(t.Context(), w, &person{ID: "x", Name: "a"}))
		time.Sleep(10300 * time.Millisecond)
		applied := make(chan struct{})
		ws.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			if c.Method == "Write" {
				return backendtest.Fault{Action: backendtest.Late, Until: applied}
			}
			return backendtest.Fault{}
		})
		if _, err := persons.Apply(t.Context(), w, "x", personName.Set("b")); err == nil {
			t.Fatal("the write was answered")
		}
		ws.SetHook(nil)
		time.Sleep(time.Second)
		q := open(t, graphcache.NewSchema(kind), mem, graphcache.Options{Cache: memc})
		time.Sleep(109 * time.Second)
		wc.SetHook(backendtest.FailOn(anyCall, nil))
		ws.SetHook(backendtest.FailOn(backendtest.On("Write"), nil))
		if _, err := persons.Apply(t.Context(), w, "x", personName.Set("c")); err == nil {
			t.Fatal("the write was not refused")
		}
		wc.SetHook(nil)
		time.Sleep(4 * time.Second)
		if ids, err := kind.Where(name.Eq("a")).IDs(t.Context(), q); len(ids) != 1 || err != nil {
			t.Fatalf("before the write: %v, %v", ids, err)
		}
		must(t, q.Settle(t.Context()))
		close(applied)
		time.Sleep(time.Minute)
		if ids, err := kind.Where(name.Eq("a")).IDs(t.Context(), q); len(ids) != 0 || err != nil {
			t.Errorf("a minute after the write: %v, %v", ids, err)
		}
	})
}
