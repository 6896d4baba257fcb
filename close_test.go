package graphcache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// TestCloseIsFinal: after Close no call reaches the backends, neither one for a
// namespace, whether its graph is there or not, nor a transaction.
func TestCloseIsFinal(t *testing.T) {
	e := fixtureNew(t)
	roundtripWorld(t, e)
	tenant, err := e.Namespace(t.Context(), "acme")
	fixtureMust(t, err)
	fixtureMust(t, tenant.Close(t.Context())) // that of all
	e.on(nil)
	for _, g := range []*graphcache.Graph{e.Graph, tenant} {
		for _, name := range []string{"", "acme", "another"} {
			if got, err := g.Namespace(t.Context(), name); got != nil || !errors.Is(err, graphcache.ErrUnavailable) {
				t.Errorf("Namespace(%q) after Close = %v, %v, want ErrUnavailable", name, got, err)
			}
		}
		if _, err := g.Namespace(t.Context(), "\xff"); !errors.Is(err, graphcache.ErrInvalid) {
			t.Errorf("Namespace of no name after Close: %v, want ErrInvalid", err)
		}
		err := g.Tx(t.Context(), func(*graphcache.Tx) error {
			t.Error("the function of a transaction ran after Close")
			return nil
		})
		if !errors.Is(err, graphcache.ErrUnavailable) || err.Error() != "graphcache: transaction: unavailable: the graph is closed" {
			t.Errorf("Tx after Close: %v, want ErrUnavailable", err)
		}
	}
	if s, c := e.fstore.Total(), e.fcache.Total(); s+c > 0 {
		t.Errorf("after Close %d calls of the store and %d of the cache were made", s, c)
	}
}

// TestCloseWaitsForTx: Close waits for a transaction that runs, until its context ends.
// The transaction ends as if nobody had called Close, and a further one is refused.
func TestCloseWaitsForTx(t *testing.T) {
	for _, commits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			e := fixtureNew(t)
			e.seed(t, []fixtureUserID{"ann"})
			e.on(nil)
			inside, goOn := make(chan struct{}), make(chan struct{})
			tx := fixtureGo(t, func() error {
				return e.Tx(t.Context(), func(tx *graphcache.Tx) error {
					_, err := fixtureUsers.Get(t.Context(), tx, "ann")
					fixtureMust(t, err)
					fixtureMust(t, fixtureUsers.Create(t.Context(), tx, &fixtureUser{ID: "bob"}))
					close(inside)
					<-goOn
					if !commits {
						return errWrite
					}
					return nil
				})
			})
			fixtureAwait(t, inside, "the transaction to begin")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close beside a transaction: %v, want its context's error", err)
			}
			closed := fixtureGo(t, func() error { return e.Close(t.Context()) })
			synctest.Wait()
			if n := e.fstore.Calls("Tx.Commit") + e.fstore.Calls("Tx.Rollback"); n > 0 {
				t.Errorf("Close has ended the transaction: %d calls", n)
			}
			if err := e.Tx(t.Context(), func(*graphcache.Tx) error { return nil }); !errors.Is(err, graphcache.ErrUnavailable) {
				t.Errorf("Tx while the graph is being closed: %v, want ErrUnavailable", err)
			}
			close(goOn)
			fixtureMust(t, closed())
			want := [2]int{0, 1}
			if commits {
				want = [2]int{1, 0}
			}
			if got := [2]int{e.fstore.Calls("Tx.Commit"), e.fstore.Calls("Tx.Rollback")}; got != want {
				t.Errorf("when Close returned %v commits and rollbacks had been made, want %v", got, want)
			}
			if err := tx(); commits && err != nil || !commits && !errors.Is(err, errWrite) {
				t.Errorf("the transaction, commits %v, returned %v", commits, err)
			}
			if _, err := fixtureUsers.Get(t.Context(), e.another(t), "bob"); commits != (err == nil) {
				t.Errorf("after the transaction, commits %v, the user it created: %v", commits, err)
			}
			if n := e.cache.Tokens(); n > 0 {
				t.Errorf("%d tokens were left behind", n)
			}
		})
	}
}

// TestCloseDuringBegin: Close also waits for a transaction that is about to begin, which
// does not take longer than a write may.
func TestCloseDuringBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t, fixtureDefaults)
		e.on(func(c fixtureCall) backendtest.Fault {
			return backendtest.HangOn(backendtest.On("Begin"))(c.ctx, c.Call)
		})
		start := time.Now()
		tx := fixtureGo(t, func() error {
			return e.Tx(t.Context(), func(*graphcache.Tx) error { return nil })
		})
		synctest.Wait()
		fixtureMust(t, e.Close(t.Context()))
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Close returned %v after a transaction began to hang, want a WriteTimeout of 5s", took)
		}
		if err := tx(); err == nil {
			t.Error("a transaction that did not begin returned nil")
		}
	})
}
