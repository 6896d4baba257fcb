package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// Connections break, answers get lost, and batches are refused: no change is left out, and what
// is passed again is passed from there on in order.
func TestWatchFaults(t *testing.T) {
	s := watchServer(t)
	w := newWatchWorld(t, s, mongo.Options{})
	proxy := mongotest.NewProxy(t, s.Addr)
	store := reopen(t, &mongotest.Server{URI: proxy.URI(), Name: s.Name, Lacks: s.Lacks}, w.opts)
	w.ensure(store)
	w.begin(store).stopped()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0)) // protected by mu
	proxy.On(func(cmd string) mongotest.Action {
		mu.Lock()
		defer mu.Unlock()
		if cmd == "hello" || cmd == "isMaster" || random.IntN(5) > 0 {
			return mongotest.Pass
		}
		return []mongotest.Action{mongotest.CutBefore, mongotest.CutAfter}[random.IntN(2)]
	})

	const n = 60
	last, faults := -1, 0 // the greatest of those that were passed; none before it is missing
	ctx, cancel := context.WithCancel(t.Context())
	refusal := errors.New("refused")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			err := store.WatchWithTTL(ctx, watchTTL, func(_ context.Context, changes []driver.ForeignChange) error {
				mu.Lock()
				defer mu.Unlock()
				if random.IntN(4) == 0 {
					return refusal
				}
				for i := range changes {
					c := &changes[i]
					if c.Kind != "note" || c.ID == "" {
						t.Errorf("%q was passed", changeText(c))
						continue
					}
					var number int
					if _, err := fmt.Sscanf(c.ID, "n%03d", &number); err != nil {
						t.Error(err)
					}
					if number > last+1 {
						t.Errorf("%d was passed after %d", number, last)
					}
					last = max(last, number)
				}
				return nil
			})
			mu.Lock()
			faults++
			mu.Unlock()
			if err == nil {
				t.Error("Watch ended without an error")
			}
		}
	}()
	for i := range n {
		w.do(foreignInsert("note", bson.D{el("_id", fmt.Sprintf("n%03d", i))}))
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
	w.until("everything was passed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return last == n-1
	})
	cancel()
	<-ended
	t.Logf("Watch ended %d times", faults)
}
