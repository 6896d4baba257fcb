package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

type txAccount struct {
	ID      graphcache.ID[txAccount]
	Owner   string `graph:"index"`
	Balance int
}

type txNoData struct{}

var (
	txAccounts = graphcache.NewObjectKind[txAccount]("account")
	txPaid     = graphcache.NewEdgeKind[txNoData]("paid", txAccounts, txAccounts)
	txSchema   = graphcache.NewSchema(txAccounts, txPaid)
)

// txGraphs opens graphs that share a store and a cache, like processes.
func txGraphs(t *testing.T, store driver.Store, n int) []*graphcache.Graph {
	t.Helper()
	cache := memory.NewCache(nil)
	graphs := make([]*graphcache.Graph, n)
	for i := range graphs {
		g, err := graphcache.Open(t.Context(), txSchema, store, &graphcache.Options{
			Cache: cache, Logger: slog.New(slog.DiscardHandler), MaxAttempts: 1000,
			LoadTimeout: 10 * time.Second, LeaseTTL: 15 * time.Second, WriteTimeout: 3 * time.Second, HoldTTL: 20 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close(context.WithoutCancel(t.Context())) })
		graphs[i] = g
	}
	return graphs
}

// transfer moves an amount and remembers it as an edge. It counts how often it was run.
func transfer(ctx context.Context, g *graphcache.Graph, from, to graphcache.ID[txAccount], amount int, runs *atomic.Int64) error {
	return g.Tx(ctx, func(tx *graphcache.Tx) error {
		runs.Add(1)
		for id, by := range map[graphcache.ID[txAccount]]int{from: -amount, to: amount} {
			a, err := txAccounts.Get(ctx, tx, id)
			if err != nil {
				return err
			}
			a.Balance += by
			if err := txAccounts.Put(ctx, tx, a); err != nil {
				return err
			}
		}
		return txPaid.Add(ctx, tx, from, to, txNoData{})
	})
}

func txAccountAt(i int) graphcache.ID[txAccount] { return graphcache.ID[txAccount](fmt.Sprint("a", i)) }

func createAccounts(t *testing.T, g *graphcache.Graph, n int) {
	t.Helper()
	for i := range n {
		if err := txAccounts.Create(t.Context(), g, &txAccount{ID: txAccountAt(i), Owner: "x", Balance: 1000}); err != nil {
			t.Fatal(err)
		}
	}
}

func balance(t *testing.T, g *graphcache.Graph, i int) int {
	t.Helper()
	a, err := txAccounts.Get(t.Context(), g, txAccountAt(i))
	if err != nil {
		t.Fatal(err)
	}
	return a.Balance
}

// TestGraphTransfers lets many transfer between few. Each transfer is made exactly once,
// however often it is run again, and the cache shows it.
func TestGraphTransfers(t *testing.T) {
	const workers, transfers, accounts = 20, 6, 4
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Need(t, mongotest.Transactions)
		graphs := txGraphs(t, open(t, s, mongo.Options{}), 2)
		createAccounts(t, graphs[0], accounts)
		var runs atomic.Int64
		var moved [accounts]atomic.Int64
		storm(t, workers, func(worker int) error {
			g := graphs[worker%2]
			for range transfers {
				from, amount := rand.IntN(accounts), 1+rand.IntN(9)
				to := (from + 1 + rand.IntN(accounts-1)) % accounts
				if err := transfer(t.Context(), g, txAccountAt(from), txAccountAt(to), amount, &runs); err != nil {
					return err
				}
				moved[from].Add(int64(-amount))
				moved[to].Add(int64(amount))
				if _, err := txAccounts.Get(t.Context(), g, txAccountAt(from)); err != nil { // to have it in the cache
					return err
				}
			}
			return nil
		})
		for i := range accounts {
			for n, g := range graphs {
				if got, want := balance(t, g, i), 1000+int(moved[i].Load()); got != want {
					t.Errorf("graph %d: the balance of %d is %d, want %d", n, i, got, want)
				}
			}
		}
		if n := runs.Load(); n <= workers*transfers {
			t.Errorf("%d transfers took %d runs: there was no conflict", workers*transfers, n)
		}
		t.Logf("%d transfers took %d runs", workers*transfers, runs.Load())
	})
}

// TestGraphTxFresh reads through the cache what a transaction has changed.
func TestGraphTxFresh(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Need(t, mongotest.Transactions)
		graphs := txGraphs(t, open(t, s, mongo.Options{}), 2)
		createAccounts(t, graphs[0], 2)
		owner := graphcache.StringFieldOf(txAccounts, func(a *txAccount) *string { return &a.Owner })
		var runs atomic.Int64
		for round := range 10 {
			for n, g := range graphs {
				if got := balance(t, g, 1); got != 1000+round {
					t.Errorf("round %d, graph %d: the balance is %d", round, n, got)
				}
				paid, err := txPaid.Out(txAccountAt(0)).Count(t.Context(), g)
				if err != nil || paid != min(round, 1) {
					t.Errorf("round %d, graph %d: %d edges, %v", round, n, paid, err)
				}
				owned, err := txAccounts.Where(owner.Eq("x")).Count(t.Context(), g)
				if err != nil || owned != 2+round {
					t.Errorf("round %d, graph %d: %d accounts, %v", round, n, owned, err)
				}
				if err := g.Settle(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := transfer(t.Context(), graphs[round%2], txAccountAt(0), txAccountAt(1), 1, &runs); err != nil {
				t.Fatal(err)
			}
			err := graphs[round%2].Tx(t.Context(), func(tx *graphcache.Tx) error {
				return txAccounts.Create(t.Context(), tx, &txAccount{ID: txAccountAt(10 + round), Owner: "x"})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestGraphTxUnknown loses the answers to commits. Nobody knows then what became of them,
// and the cache does not say that it does.
func TestGraphTxUnknown(t *testing.T) {
	for _, tt := range []struct {
		action mongotest.Action
		want   int
	}{{mongotest.CutAfter, 1005}, {mongotest.CutBefore, 1000}} {
		t.Run(fmt.Sprint(tt.want), func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, "")
			g := txGraphs(t, f.store, 1)[0]
			createAccounts(t, g, 2)
			if got := balance(t, g, 1); got != 1000 {
				t.Errorf("the balance is %d", got)
			}
			var runs atomic.Int64
			f.arm(tt.action, 1000, isCommit)
			err := transfer(t.Context(), g, txAccountAt(0), txAccountAt(1), 5, &runs)
			f.proxy.On(nil)
			if !errors.Is(err, graphcache.ErrUnknownOutcome) || runs.Load() != 1 {
				t.Errorf("after %d runs: %v, want ErrUnknownOutcome after one", runs.Load(), err)
			}
			if got := balance(t, g, 1); got != tt.want {
				t.Errorf("the balance is %d, want %d", got, tt.want)
			}
			if tt.action == mongotest.CutBefore {
				return // what has never been committed is in the way of others until the server gives it up
			}
			if err := transfer(t.Context(), g, txAccountAt(0), txAccountAt(1), 1, &runs); err != nil {
				t.Errorf("a transfer when all is well again: %v", err)
			}
			if got := balance(t, g, 1); got != tt.want+1 {
				t.Errorf("the balance is %d, want %d", got, tt.want+1)
			}
		})
	}
}

// TestGraphTxFaults lets transfers run while connections break. Those that were made, and
// those of which it is not known, add up.
func TestGraphTxFaults(t *testing.T) {
	f := newFaulty(t, "")
	graphs := txGraphs(t, f.store, 2)
	createAccounts(t, graphs[0], 3)
	f.proxy.On(func(cmd string) mongotest.Action {
		if cmd == "hello" || cmd == "isMaster" || rand.IntN(100) > 0 {
			return mongotest.Pass
		}
		return []mongotest.Action{mongotest.CutBefore, mongotest.CutAfter}[rand.IntN(2)]
	})
	var runs, made, unknown atomic.Int64
	storm(t, 6, func(worker int) error {
		for range 5 {
			err := transfer(t.Context(), graphs[worker%2], txAccountAt(worker%3), txAccountAt((worker+1)%3), 1, &runs)
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, graphcache.ErrUnknownOutcome):
				unknown.Add(1)
			case errors.Is(err, graphcache.ErrUnavailable), errors.Is(err, graphcache.ErrConflict), errors.Is(err, context.DeadlineExceeded):
			default:
				return err
			}
		}
		return nil
	})
	f.proxy.On(nil)
	sum := 0
	for i := range 3 {
		sum += balance(t, graphs[0], i)
	}
	if sum != 3000 {
		t.Errorf("the balances add up to %d, want 3000", sum)
	}
	t.Logf("%d transfers were made and %d are unknown, in %d runs", made.Load(), unknown.Load(), runs.Load())
	if made.Load() == 0 {
		t.Error("no transfer was made")
	}
}

// TestGraphTxUnsupported asks for a transaction where there are none.
func TestGraphTxUnsupported(t *testing.T) {
	s := mongotest.SharedFerretDB(t)
	g := txGraphs(t, open(t, s, mongo.Options{}), 1)[0]
	createAccounts(t, g, 1)
	err := g.Tx(t.Context(), func(tx *graphcache.Tx) error {
		t.Error("the function is run")
		return txAccounts.Put(t.Context(), tx, &txAccount{ID: txAccountAt(0)})
	})
	if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, graphcache.ErrUnknownOutcome) {
		t.Errorf("Tx: %v, want one that wraps errors.ErrUnsupported", err)
	}
	if got := balance(t, g, 0); got != 1000 {
		t.Errorf("the balance is %d, want 1000", got)
	}
}
