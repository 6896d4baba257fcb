package memory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// TestTxSeesTheRecord that comes with an outcome: it is as good as read.
func TestTxSeesTheRecord(t *testing.T) {
	s := newStore(t, nil)
	if _, err := s.Write(t.Context(), []driver.Write{user(driver.Insert, "a", 1)}); err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	results, err := tx.Write(t.Context(), []driver.Write{user(driver.Insert, "a", 2)})
	if err != nil || results[0].Outcome != driver.Exists || results[0].Object.Version != 1 {
		t.Fatalf("Insert: %+v, %v", results, err)
	}
	if _, err := s.Write(t.Context(), []driver.Write{user(driver.Replace, "a", 3)}); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context()); !errors.Is(err, driver.ErrConflict) {
		t.Errorf("Commit: %v, want an error that wraps ErrConflict", err)
	}
}

// TestTxSeesTheOldRecord that comes with a write that is Done: it is as good as read.
func TestTxSeesTheOldRecord(t *testing.T) {
	s := newStore(t, nil)
	if _, err := s.Write(t.Context(), []driver.Write{user(driver.Insert, "a", 1)}); err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	results, err := tx.Write(t.Context(), []driver.Write{user(driver.Delete, "a", 0)})
	if err != nil || results[0].OldObject == nil || results[0].OldObject.Version != 1 {
		t.Fatalf("Delete: %+v, %v", results, err)
	}
	if _, err := s.Write(t.Context(), []driver.Write{user(driver.Replace, "a", 2)}); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context()); !errors.Is(err, driver.ErrConflict) {
		t.Errorf("Commit: %v, want an error that wraps ErrConflict", err)
	}
}

// TestUndo does random writes in transactions that come to nothing, and compares
// all that can be read before and after.
func TestUndo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const bound = 60
	s := newStore(t, &memory.StoreOptions{MaxRecords: bound})
	for round := range 60 {
		if _, err := s.Write(t.Context(), randomWrites(random, int64(1000*round))); err != nil {
			t.Fatal(err)
		}
		before := dump(t, s)
		tx, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := tx.Write(t.Context(), randomWrites(random, int64(1000*round+500))); err != nil {
				t.Fatal(err)
			}
			dump(t, tx)
		}
		if random.IntN(2) == 0 {
			err = tx.Rollback(t.Context())
		} else {
			err = failingCommit(t, s, tx)
			before = dump(t, s)
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Fatalf("round %d: the transaction left something (-before +after):\n%s", round, diff)
		}
	}
	checkCount(t, s, bound)
}

// failingCommit makes the transaction conflict.
func failingCommit(t *testing.T, s *memory.Store, tx driver.Tx) error {
	if _, err := tx.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"other"}}}, ""); err != nil {
		return err
	}
	results, err := s.Write(t.Context(), []driver.Write{user(driver.Insert, "other", 1), user(driver.Delete, "other", 0)})
	if results[0].Outcome == driver.Exists || err != nil {
		return fmt.Errorf("other: %v, %w", results[0].Outcome, err)
	}
	if _, err := s.Write(t.Context(), []driver.Write{user(driver.Insert, "other", 1)}); err != nil {
		return err
	}
	before := dump(t, s)
	if _, err := tx.Commit(t.Context()); !errors.Is(err, driver.ErrConflict) {
		return fmt.Errorf("Commit: %w, want one that wraps ErrConflict", err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		return errors.New("a commit that failed left something:\n" + diff)
	}
	_, err = s.Write(t.Context(), []driver.Write{user(driver.Delete, "other", 0)})
	return err
}

var ids = []string{"a", "b", "c"}

func randomWrites(random *rand.Rand, version int64) []driver.Write {
	writes := make([]driver.Write, 8)
	for i := range writes {
		from, to := ids[random.IntN(3)], ids[random.IntN(3)]
		version++
		op := driver.WriteOp(1 + random.IntN(3))
		kind := []string{"user", "follows", "blocks", "mentor", "friend"}[random.IntN(5)]
		switch {
		case kind == "user":
			writes[i] = user(op, from, version)
			writes[i].Object.Deleting = random.IntN(2) == 0
			writes[i].Object.Doc = driver.Document{{Name: "tag", Value: ids[random.IntN(3)]}, {Name: "n", Value: int64(random.IntN(2))}}
			if random.IntN(4) == 0 {
				writes[i].Op, writes[i].Changes = driver.Modify, []driver.Change{{Column: field("n"), Add: int64(1)}}
			}
			continue
		case kind == "friend" && to < from:
			from, to = to, from
		}
		writes[i] = edge(op, kind, from, to, version)
		writes[i].Edge.Time = time.UnixMilli(int64(random.IntN(4)))
		if kind == "follows" && random.IntN(3) == 0 {
			writes[i].Op, writes[i].NewKind = driver.Rekind, "blocks"
		}
	}
	return writes
}

// dump reads everything in every way.
func dump(t *testing.T, from interface {
	Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error)
},
) []driver.Result {
	t.Helper()
	steps := []driver.Step{
		{Op: driver.GetObjects, Kind: "user", IDs: append([]string{"other"}, ids...)},
		{Op: driver.ScanDeleting, Kind: "user"},
	}
	for _, c := range []*driver.Column{field("n"), field("tag")} {
		for _, v := range []driver.Value{nil, int64(0), int64(1), "a", "b", "c"} {
			steps = append(steps, driver.Step{Op: driver.FindObjects, Kind: "user", Filter: &driver.Filter{Op: driver.AnyOf, Column: c, Values: []driver.Value{v}}})
		}
	}
	for _, kind := range []string{"follows", "blocks", "mentor", "friend"} {
		steps = append(steps, driver.Step{Op: driver.ScanEdges, Kind: kind})
		for _, dir := range []driver.Direction{driver.Out, driver.In} {
			if kind == "friend" && dir == driver.In {
				continue
			}
			for _, op := range []driver.Op{driver.ListEdges, driver.CountEdges, driver.GetEdges} {
				steps = append(steps, driver.Step{Op: op, Kind: kind, Direction: dir, IDs: ids, Ends: ids})
			}
		}
	}
	results, err := from.Read(t.Context(), steps, "")
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// checkCount inserts until the store is full, which tells how many records it
// believes to have.
func checkCount(t *testing.T, s *memory.Store, bound int) {
	t.Helper()
	there := 0
	for _, result := range dump(t, s)[:1] {
		for _, o := range result.Objects {
			if o != nil {
				there++
			}
		}
	}
	for _, kind := range []string{"follows", "blocks", "mentor", "friend"} {
		results, err := s.Read(t.Context(), []driver.Step{{Op: driver.ScanEdges, Kind: kind}}, "")
		if err != nil {
			t.Fatal(err)
		}
		there += len(results[0].Lists[0])
	}
	for {
		if _, err := s.Write(t.Context(), []driver.Write{user(driver.Insert, fmt.Sprint("more ", there), 1)}); err != nil {
			break
		}
		there++
	}
	if there != bound {
		t.Errorf("the store is full with %d records, want %d: it has lost count", there, bound)
	}
}
