package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// A batch that was not dealt with is passed again, and nothing is lost while nobody watches.
func TestWatchResume(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	x := w.begin(w.store)
	if err := x.stop(); err == nil {
		t.Error("Watch ended without an error")
	}
	w.do(foreignInsert("note", bson.D{el("_id", "n1")}))
	refusal := errors.New("not now")
	var refused []string
	err := w.store.WatchWithTTL(t.Context(), watchTTL, func(_ context.Context, changes []driver.ForeignChange) error {
		for i := range changes {
			refused = append(refused, changeText(&changes[i]))
		}
		return refusal
	})
	if want := []string{"note n1 [<nil>]"}; !errors.Is(err, refusal) || !slices.Equal(refused, want) {
		t.Errorf("refused %q, want %q; %v", refused, want, err)
	}
	w.do(foreignInsert("note", bson.D{el("_id", "n2")}))
	x = w.watch(w.store)
	x.want("note n1 [<nil>]", "note n2 [<nil>]")
	x.want()
}

// The server is killed and started again while a watcher watches.
func TestWatchServerRestart(t *testing.T) {
	s := mongotest.Lungo(t, "-file", filepath.Join(t.TempDir(), "data"))
	w := newWatchWorld(t, s, mongo.Options{})
	x := w.begin(w.store)
	w.do(foreignInsert("note", bson.D{el("_id", "n1")}))
	x.want("note n1 [<nil>]")
	s.Kill()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	w.do(foreignInsert("note", bson.D{el("_id", "n2")}))
	got := x.stopped()
	if !slices.Contains(got, "note n2 [<nil>]") { // it had not come so far
		got = append(got, w.watch(w.store).changes()...)
	}
	if !slices.Contains(got, "note n2 [<nil>]") {
		t.Errorf("after the restart %q was passed", got)
	}
}

// A server that hangs does not keep a caller that wants to end.
func TestWatchSuspended(t *testing.T) {
	s := mongotest.Lungo(t)
	w := newWatchWorld(t, s, mongo.Options{})
	x := w.begin(w.store)
	s.Suspend()
	defer s.Resume()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	_ = x.stop()
	if after := time.Since(began); after > 5*time.Second {
		t.Errorf("Watch ended after %v", after)
	}
	t.Logf("Watch ended after %v", time.Since(began))
}

// What the server has forgotten counts as a change of everything.
func TestWatchHistoryLost(t *testing.T) {
	w := newWatchWorld(t, mongotest.Lungo(t, "-oplog", "20"), mongo.Options{})
	x := w.begin(w.store)
	x.want()
	_ = x.stop()
	for i := range 50 {
		w.do(foreignInsert("note", bson.D{el("_id", fmt.Sprint("lost", i))}))
	}
	x = w.watch(w.store)
	all := []string{"author", "follows", "friend", "hates", "likes", "note", "owns", "pays", "rents", "user"}
	w.until("everything has changed", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.seen) >= len(all)
	})
	x.want(all...)
	w.do(foreignInsert("note", bson.D{el("_id", "n1")}))
	x.want("note n1 [<nil>]")

	// A token that is none.
	_ = x.stop()
	w.do(func(ctx context.Context, db *mongodriver.Database) error {
		return oneChanged(db.Collection("graphcache").UpdateOne(ctx, bson.D{{Key: "_id", Value: "watch"}}, setting(el("token", bson.D{el("_data", "zz")}))))
	})
	x = w.watch(w.store)
	w.until("everything has changed", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.seen) >= len(all)
	})
	x.want(all...)
}

// The lease and the place are gone with the database, and the watcher goes on.
func TestWatchDropDatabase(t *testing.T) {
	w := newWatchWorld(t, mongotest.Lungo(t), mongo.Options{})
	x := w.begin(w.store)
	w.do(foreignInsert("note", bson.D{el("_id", "n1")}))
	x.want("note n1 [<nil>]")
	w.do(foreignDropDatabase, foreignInsert("follows", bson.D{el("_id", keyOf(el("from", "a"), el("to", "b")))}))
	got := x.changes()
	for _, kind := range []string{"author", "follows", "friend", "hates", "likes", "note", "owns", "pays", "rents", "user"} {
		if !slices.Contains(got, kind) {
			t.Errorf("%q is not among the changes %q", kind, got)
		}
	}
	if !slices.Contains(got, "follows a>b [a>b]") {
		t.Errorf("what came after is not among the changes %q", got)
	}
	w.until("the lease is there again", func() bool {
		n, err := w.other.Collection("graphcache").CountDocuments(t.Context(), bson.D{{Key: "_id", Value: "watch"}, {Key: "token", Value: bson.D{{Key: "$exists", Value: true}}}})
		return err == nil && n == 1
	})
}

func TestWatchLease(t *testing.T) {
	s := watchServer(t)
	w := newWatchWorld(t, s, mongo.Options{})
	proxy := mongotest.NewProxy(t, s.Addr)
	far := mongotest.Server{URI: proxy.URI() + "&serverSelectionTimeoutMS=2000", Name: s.Name, Lacks: s.Lacks}
	first := reopen(t, &far, w.opts)
	w.ensure(first)
	x := w.begin(first)
	y := w.watch(w.store)
	x.want()
	time.Sleep(2 * watchTTL)
	w.do(foreignInsert("note", bson.D{el("_id", "n1")}))
	x.want("note n1 [<nil>]")
	if y.calls > 0 {
		t.Fatalf("two watch at once")
	}

	// The first one cannot be heard any more. It ends before the second takes over.
	time.Sleep(100 * time.Millisecond) // it has stored the place
	proxy.On(func(string) mongotest.Action { return mongotest.HangBefore })
	began := time.Now()
	w.do(foreignInsert("note", bson.D{el("_id", "n2")}))
	y.want("note n2 [<nil>]")
	if after := time.Since(began); after < watchTTL*2/3 {
		t.Errorf("the second took over after %v", after)
	}
	x.mu.Lock()
	x.seen = nil
	x.mu.Unlock()
	proxy.On(nil)
	proxy.Release() // its late renewals arrive now
	w.do(foreignInsert("note", bson.D{el("_id", "n3")}))
	y.want("note n3 [<nil>]")
	if err := x.stop(); err == nil || len(x.seen) > 0 {
		t.Errorf("the first one has gone on: %q, %v", x.seen, err)
	}

	// One that ends gives the lease back.
	third := w.watch(w.store)
	began = time.Now()
	_ = y.stop()
	t.Logf("stopped in %v", time.Since(began))
	w.do(foreignInsert("note", bson.D{el("_id", "n4")}))
	third.want("note n4 [<nil>]")
	if after := time.Since(began); after > watchTTL {
		t.Errorf("the lease was free after %v", after)
	}
}

// The document with the lease vanishes while somebody waits for it: nobody knows what was missed.
func TestWatchPlaceRemoved(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	w.do(foreignInsert("graphcache", bson.D{el("_id", "watch"), el("owner", "somebody"), el("n", int64(7))}))
	x := w.watch(w.store)
	time.Sleep(watchTTL / 3) // it has seen that
	w.do(foreignRemove("graphcache", "watch"))
	w.until("everything has changed", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.seen) > 0
	})
	x.want("author", "follows", "friend", "hates", "likes", "note", "owns", "pays", "rents", "user")
}

// Several watchers come and go, and every change is passed at least once.
func TestWatchConcurrent(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	var mu sync.Mutex
	seen := map[string]bool{}
	var working atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var watchers sync.WaitGroup
	_ = w.begin(w.store).stop()
	for range 3 {
		watchers.Go(func() {
			batches := 0
			for ctx.Err() == nil {
				stopped := errors.New("stopped")
				err := w.store.WatchWithTTL(ctx, watchTTL, func(_ context.Context, changes []driver.ForeignChange) error {
					if working.Add(1) > 1 {
						t.Error("two watch at once")
					}
					defer working.Add(-1)
					if batches++; batches%2 == 1 {
						return stopped
					}
					mu.Lock()
					defer mu.Unlock()
					for i := range changes {
						seen[changes[i].ID] = true
					}
					return nil
				})
				if ctx.Err() == nil && !errors.Is(err, stopped) {
					t.Errorf("Watch ended with %v", err)
				}
			}
		})
	}
	const n = 100
	for i := range n {
		w.do(foreignInsert("note", bson.D{el("_id", fmt.Sprint(i))}))
	}
	w.until("all was passed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == n
	})
	cancel()
	watchers.Wait()
}

// Watch ends with the store.
func TestWatchClose(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	store := reopen(t, w.server, w.opts)
	w.ensure(store)
	done := make(chan error, 1)
	go func() {
		done <- store.Watch(t.Context(), func(context.Context, []driver.ForeignChange) error { return nil })
	}()
	time.Sleep(100 * time.Millisecond)
	if err := store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Watch ended with %v", err)
	}
}

// The place moves on where there is nothing to pass, so that the server does not forget it.
func TestWatchIdle(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	x := w.begin(w.store)
	place := func() string {
		raw, err := w.other.Collection("graphcache").FindOne(t.Context(), bson.D{el("_id", "watch")}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return raw.Lookup("token").String()
	}
	for i := range 2 {
		before := place()
		w.write(driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser(fmt.Sprint(i), "rome", 1)})
		w.until("the place has moved", func() bool { return place() != before })
	}
	if got := x.stopped(); got != nil || x.calls > 0 {
		t.Errorf("%q was passed in %d calls", got, x.calls)
	}
}
