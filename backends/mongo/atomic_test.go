package mongo_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// someSchema has a kind of every sort.
var someSchema = driver.Schema{
	Objects: []driver.ObjectKind{
		{Name: "user", Indexes: []driver.Index{
			{Name: "email", Columns: []driver.Column{{Path: []string{"email"}, Type: driver.StringType}}, Unique: true},
			{Name: "city", Columns: []driver.Column{{Path: []string{"city"}, Zero: "", Type: driver.StringType}}},
		}},
		{Name: "post"},
	},
	Edges: []driver.EdgeKind{
		{Name: "follows", From: "user", To: "user"},
		{Name: "friend", From: "user", To: "user", Symmetric: true},
		{Name: "home", From: "user", To: "post", ToOne: true},
		{Name: "likes", From: "user", To: "post", Family: "opinion"},
		{Name: "hates", From: "user", To: "post", Family: "opinion"},
	},
}

var countColumn = &driver.Column{Path: []string{"n"}, Zero: int64(0), Type: driver.IntType}

// numbered is an object with a number.
func numbered(id string, version, n int64) *driver.Object {
	return &driver.Object{ID: id, Version: version, Doc: driver.Document{{Name: "n", Value: n}}}
}

// plus is a write that adds to an object's number.
func plus(id string, n int64) driver.Write {
	return driver.Write{
		Op: driver.Modify, Kind: "user", Object: &driver.Object{ID: id},
		Changes: []driver.Change{{Column: countColumn, Add: n}},
	}
}

func ensure(t testing.TB, s driver.Store, schema driver.Schema) {
	t.Helper()
	if err := s.Ensure(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
}

// write makes one write, which must end with the outcome.
func write(t testing.TB, s driver.Store, w driver.Write, want driver.Outcome) driver.WriteResult {
	t.Helper()
	results, err := s.Write(t.Context(), []driver.Write{w})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Outcome != want {
		t.Fatalf("the write of %s %v %v: %v, want %v", w.Kind, w.Object, w.Edge, results[0].Outcome, want)
	}
	return results[0]
}

// read answers one step.
func read(t testing.TB, s driver.Store, step driver.Step) driver.Result {
	t.Helper()
	results, err := s.Read(t.Context(), []driver.Step{step}, "")
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func get(t testing.TB, s driver.Store, kind, id string) *driver.Object {
	t.Helper()
	return read(t, s, driver.Step{Op: driver.GetObjects, Kind: kind, IDs: []string{id}}).Objects[0]
}

// field returns a field of an object, nil if there is none.
func field(o *driver.Object, name string) driver.Value {
	if o == nil {
		return nil
	}
	v, _ := o.Doc.Get(name)
	return v
}

// storm calls f for each of n workers at once and reports their errors.
func storm(t testing.TB, n int, f func(worker int) error) {
	t.Helper()
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			if err := f(i); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	group.Wait()
}

// outcome makes one write and returns what became of it.
func outcome(t testing.TB, s driver.Store, w driver.Write) (driver.WriteResult, error) {
	results, err := s.Write(t.Context(), []driver.Write{w})
	return results[0], err
}

// size returns how many goroutines a storm has, and how many times each does it. FerretDB
// carries out one command at a time and judges only what the store makes of the answers.
func size(s *mongotest.Server, workers, times int) (int, int) {
	if s.Lacks[mongotest.ConcurrentUpdates] {
		return 8, 3
	}
	return workers, times
}

// Sums are made by the server: none is lost, and each has a version of its own.
func TestModifyStorm(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, 0)}, driver.Done)
		// An object without the field takes the way through a read.
		write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "b", Version: 1}}, driver.Done)
		workers, times := size(server, 50, 20)
		for _, id := range []string{"a", "b"} {
			if id == "b" {
				workers, times = min(workers, 16), min(times, 3)
			}
			seen := make([]sync.Map, 1)
			var total int64
			var mu sync.Mutex
			storm(t, workers, func(worker int) error {
				for range times {
					r, err := outcome(t, s, plus(id, int64(worker)))
					if err != nil || r.Outcome != driver.Done {
						return fmt.Errorf("a sum: %v, %w", r.Outcome, err)
					}
					if _, twice := seen[0].LoadOrStore(r.Object.Version, true); twice {
						return fmt.Errorf("version %d was given twice", r.Object.Version)
					}
					mu.Lock()
					total += int64(worker)
					mu.Unlock()
				}
				return nil
			})
			o := get(t, s, "user", id)
			if o.Version != int64(1+workers*times) || field(o, "n") != total {
				t.Errorf("%s has n %v in version %d, want %d in %d", id, field(o, "n"), o.Version, total, 1+workers*times)
			}
		}
	})
}

// Bounds hold under contention: of 100 who want one, as many get one as there are.
func TestModifyBounds(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		const stock = 7
		write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, stock)}, driver.Done)
		workers, _ := size(server, 100, 1)
		var sold atomic.Int64
		storm(t, max(workers, stock+3), func(int) error {
			w := plus("a", -1)
			w.Changes[0].Low = int64(0)
			r, err := outcome(t, s, w)
			switch {
			case err != nil:
				return err
			case r.Outcome == driver.Done:
				sold.Add(1)
			case r.Outcome != driver.Conflict:
				return fmt.Errorf("outcome %v", r.Outcome)
			}
			return nil
		})
		if o := get(t, s, "user", "a"); sold.Load() != stock || field(o, "n") != int64(0) {
			t.Errorf("%d of %d were sold, and %v are left", sold.Load(), stock, field(o, "n"))
		}
	})
}

// Of those who replace one version exactly one succeeds, and no update is lost.
func TestCompareAndSetStorm(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		for _, gone := range []bool{false, true} { // replaced as a whole, and in place
			id := fmt.Sprint("cas", gone)
			write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered(id, 1, 0)}, driver.Done)
			workers, rounds := size(server, 20, 10)
			var winners sync.Map // by version
			var won atomic.Int64
			storm(t, workers, func(worker int) error {
				for range rounds {
					now := get(t, s, "user", id)
					next := numbered(id, now.Version+1, field(now, "n").(int64)+1)
					w := driver.Write{Op: driver.Replace, Kind: "user", Object: next, Expect: now.Version}
					if gone {
						w.Old = now.Doc
					}
					r, err := outcome(t, s, w)
					switch {
					case err != nil:
						return err
					case r.Outcome == driver.Conflict:
						continue
					case r.Outcome != driver.Done:
						return fmt.Errorf("outcome %v", r.Outcome)
					}
					won.Add(1)
					if other, twice := winners.LoadOrStore(now.Version, worker); twice {
						return fmt.Errorf("version %d was replaced by %d and %v", now.Version, worker, other)
					}
				}
				return nil
			})
			o := get(t, s, "user", id)
			if field(o, "n") != won.Load() || o.Version != won.Load()+1 {
				t.Errorf("after %d successes n is %v in version %d", won.Load(), field(o, "n"), o.Version)
			}
			if won.Load() == 0 {
				t.Error("nobody has won")
			}
		}
	})
}

// tally counts the outcomes of one write by each worker.
func tally(t testing.TB, workers int, f func(worker int) (driver.WriteResult, error)) map[driver.Outcome]int {
	t.Helper()
	var mu sync.Mutex
	count := make(map[driver.Outcome]int)
	storm(t, workers, func(worker int) error {
		r, err := f(worker)
		mu.Lock()
		defer mu.Unlock()
		count[r.Outcome]++
		return err
	})
	return count
}

// Of concurrent inserts of one record one is Done, whether alone or in a batch.
func TestInsertRace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		workers, _ := size(server, 30, 1)
		object := tally(t, workers, func(n int) (driver.WriteResult, error) {
			return outcome(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("x", int64(n+1), int64(n))})
		})
		if object[driver.Done] != 1 || object[driver.Exists] != workers-1 {
			t.Errorf("inserts of one object: %v", object)
		}
		for _, kind := range []string{"follows", "friend", "home", "likes"} {
			edge := tally(t, workers, func(n int) (driver.WriteResult, error) {
				return outcome(t, s, driver.Write{Op: driver.Insert, Kind: kind, Edge: &driver.Edge{From: "a", To: "b", Version: int64(n + 1)}})
			})
			if edge[driver.Done] != 1 || edge[driver.Exists] != workers-1 {
				t.Errorf("inserts of one edge of %s: %v", kind, edge)
			}
		}
		var mu sync.Mutex
		done := make(map[string]int)
		storm(t, min(workers, 8), func(worker int) error {
			var writes []driver.Write
			for i := range 10 {
				writes = append(writes, driver.Write{Op: driver.Insert, Kind: "post", Object: numbered(fmt.Sprint("p", i), int64(worker+1), 0)})
			}
			results, err := s.Write(t.Context(), writes)
			mu.Lock()
			defer mu.Unlock()
			for i, r := range results {
				if r.Outcome == driver.Done {
					done[writes[i].Object.ID]++
				} else if r.Outcome != driver.Exists {
					err = errors.Join(err, fmt.Errorf("%v", r.Outcome))
				}
			}
			return err
		})
		for i := range 10 {
			if n := done[fmt.Sprint("p", i)]; n != 1 {
				t.Errorf("p%d was inserted %d times", i, n)
			}
		}
	})
}

// A value of a unique index goes to one of those who want it, and the others learn the
// index's name.
func TestUniqueRace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		workers, _ := size(server, 30, 1)
		email := driver.Document{{Name: "email", Value: "a@b"}}
		count := tally(t, workers, func(n int) (driver.WriteResult, error) {
			r, err := outcome(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: fmt.Sprint(n), Version: 1, Doc: email}})
			if r.Outcome == driver.Exists && r.Index != "email" {
				return r, fmt.Errorf("the index is %q", r.Index)
			}
			return r, err
		})
		if count[driver.Done] != 1 || count[driver.Exists] != workers-1 {
			t.Errorf("inserts with one email: %v", count)
		}
		server.Need(t, mongotest.UniqueOnUpdate)
		for i := range workers {
			write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered(fmt.Sprint("u", i), 1, 0)}, driver.Done)
		}
		other := driver.Document{{Name: "email", Value: "c@d"}}
		count = tally(t, workers, func(n int) (driver.WriteResult, error) {
			return outcome(t, s, driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: fmt.Sprint("u", n), Version: 2, Doc: other}, Expect: 1})
		})
		if count[driver.Done] != 1 || count[driver.Exists] != workers-1 {
			t.Errorf("replacements with one email: %v", count)
		}
	})
}

// An edge that many add and delete is there once or not at all, as the outcomes say.
func TestEdgeRace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		workers, times := size(server, 16, 15)
		for _, kind := range []string{"follows", "friend", "home", "likes"} {
			var balance atomic.Int64
			storm(t, workers, func(worker int) error {
				for i := range times {
					op, other, sign := driver.Insert, driver.Exists, int64(1)
					if (worker+i)%2 == 1 {
						op, other, sign = driver.Delete, driver.Missing, -1
					}
					r, err := outcome(t, s, driver.Write{Op: op, Kind: kind, Edge: &driver.Edge{From: "a", To: "b", Version: int64(worker + 1)}})
					switch {
					case err != nil:
						return err
					case r.Outcome == driver.Done:
						balance.Add(sign)
					case r.Outcome != other:
						return fmt.Errorf("%v: %v", op, r.Outcome)
					}
				}
				return nil
			})
			if n := balance.Load(); n != 0 && n != 1 {
				t.Errorf("%s: %d more inserts than deletes", kind, n)
			}
			out := read(t, s, driver.Step{Op: driver.CountEdges, Kind: kind, IDs: []string{"a"}}).Counts[0]
			list := read(t, s, driver.Step{Op: driver.ListEdges, Kind: kind, IDs: []string{"a"}}).Lists[0]
			if int64(out) != balance.Load() || len(list) != out {
				t.Errorf("%s: %d edges by the outcomes, %d counted, %d listed", kind, balance.Load(), out, len(list))
			}
		}
	})
}

// An edge that many move between two kinds is always in exactly one of them.
func TestRekindRace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		write(t, s, driver.Write{Op: driver.Insert, Kind: "likes", Edge: &driver.Edge{From: "a", To: "b", Version: 1}}, driver.Done)
		workers, times := size(server, 12, 10)
		var moves [2]atomic.Int64
		storm(t, workers, func(worker int) error {
			for range times {
				kinds := []string{"likes", "hates"}
				if worker%2 == 1 {
					slices.Reverse(kinds)
				}
				r, err := outcome(t, s, driver.Write{
					Op: driver.Rekind, Kind: kinds[0], NewKind: kinds[1], Edge: &driver.Edge{From: "a", To: "b", Version: int64(worker + 1)},
				})
				switch {
				case err != nil:
					return err
				case r.Outcome == driver.Done:
					moves[worker%2].Add(1)
				case r.Outcome != driver.Missing:
					return fmt.Errorf("outcome %v", r.Outcome)
				}
			}
			return nil
		})
		count := func(kind string) int {
			return read(t, s, driver.Step{Op: driver.CountEdges, Kind: kind, IDs: []string{"a"}}).Counts[0]
		}
		likes, hates := count("likes"), count("hates")
		if there := moves[0].Load() - moves[1].Load(); int64(hates) != there || likes+hates != 1 {
			t.Errorf("likes %d and hates %d after %d moves there and %d back", likes, hates, moves[0].Load(), moves[1].Load())
		}
	})
}

// All who open a database get one identity for it, and it stays.
func TestIdentityRace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		o := mongo.Options{Database: server.Database(t)}
		var stores []*mongo.Store
		for range 6 {
			stores = append(stores, reopen(t, server, o))
		}
		ids := make([]string, 12)
		storm(t, len(ids), func(i int) (err error) {
			ids[i], err = stores[i%len(stores)].ID(t.Context())
			return err
		})
		ids = append(ids, "")
		ids[len(ids)-1], _ = reopen(t, server, o).Namespace("other").ID(t.Context())
		if slices.Sort(ids); len(slices.Compact(ids)) != 1 || ids[0] == "" {
			t.Errorf("identities %q", slices.Compact(ids))
		}
	})
}

// Every raise counts, those of kinds that are new as well.
func TestRaiseRace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		workers, times := size(server, 20, 5)
		storm(t, workers, func(int) error {
			for range times {
				if err := s.Raise(t.Context(), []string{"user", "post"}, 0); err != nil {
					return err
				}
			}
			return nil
		})
		n := uint64(workers * times)
		if now, err := s.Look(t.Context()); err != nil || now.Generations["user"] != n || now.Generations["post"] != n {
			t.Errorf("generations %v, %v, want %d", now.Generations, err, n)
		}
		storm(t, workers, func(i int) error { return s.Raise(t.Context(), []string{"user"}, n+uint64(i)*10) })
		now, err := s.Look(t.Context())
		if least := n + uint64(workers-1)*10; err != nil || now.Generations["user"] < least || now.Generations["post"] != n {
			t.Errorf("generations %v, %v, want at least %d", now.Generations, err, least)
		}
	})
}

// IDs that look like paths of fields are none, also where many lists are read by one command.
func TestDollarIDs(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := reopen(t, server, mongo.Options{Database: server.Database(t)})
		ensure(t, s, someSchema)
		ids := []string{"$_id", "$$ROOT", "b"}
		for _, id := range ids {
			write(t, s, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: id, To: "$to", Version: 1}}, driver.Done)
		}
		lists := read(t, s, driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: ids, Range: driver.Range{Limit: 1}}).Lists
		for i, list := range lists {
			if len(list) != 1 || list[0].From != ids[i] || list[0].To != "$to" {
				t.Errorf("the list of %q is %v", ids[i], list)
			}
		}
	})
}
