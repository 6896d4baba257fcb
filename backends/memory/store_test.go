package memory_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

func TestStore(t *testing.T) {
	backendtest.Store(t, backendtest.StoreHarness{
		New:          func(*testing.T) driver.Store { return memory.NewStore(nil) },
		Serializable: true,
	})
}

// schema has one kind of each sort.
func schema() driver.Schema {
	return driver.Schema{
		Objects: []driver.ObjectKind{{Name: "user"}},
		Edges: []driver.EdgeKind{
			{Name: "follows", From: "user", To: "user", Family: "f"},
			{Name: "blocks", From: "user", To: "user", Family: "f"},
			{Name: "mentor", From: "user", To: "user", ToOne: true},
			{Name: "friend", From: "user", To: "user", Symmetric: true},
		},
	}
}

func newStore(t *testing.T, options *memory.StoreOptions) *memory.Store {
	t.Helper()
	s := memory.NewStore(options)
	if err := s.Ensure(t.Context(), schema()); err != nil {
		t.Fatal(err)
	}
	return s
}

func user(op driver.WriteOp, id string, version int64) driver.Write {
	return driver.Write{Op: op, Kind: "user", Object: &driver.Object{ID: id, Version: version}}
}

func edge(op driver.WriteOp, kind, from, to string, version int64) driver.Write {
	return driver.Write{Op: op, Kind: kind, Edge: &driver.Edge{From: from, To: to, Version: version}}
}

func TestMaxRecords(t *testing.T) {
	s := newStore(t, &memory.StoreOptions{MaxRecords: 3})
	view := s.Namespace("tenant")
	if err := view.Ensure(t.Context(), schema()); err != nil {
		t.Fatal(err)
	}
	write := func(to driver.Store, want driver.Outcome, wantErr error, writes ...driver.Write) {
		t.Helper()
		results, err := to.Write(t.Context(), writes)
		if got := results[len(results)-1].Outcome; got != want || !errors.Is(err, wantErr) {
			t.Errorf("outcome %v, error %v; want %v, %v", got, err, want, wantErr)
		}
		if err != nil && !strings.Contains(err.Error(), "MaxRecords") {
			t.Errorf("the error does not name the bound: %v", err)
		}
	}
	write(s, driver.Done, nil, user(driver.Insert, "a", 1), edge(driver.Insert, "friend", "a", "b", 1))
	write(view, driver.Done, nil, user(driver.Insert, "a", 1))
	write(s, driver.Refused, driver.ErrUnavailable, edge(driver.Insert, "follows", "a", "b", 1))
	write(s, driver.Exists, nil, user(driver.Insert, "a", 2))
	write(s, driver.Done, nil, user(driver.Replace, "a", 2))
	write(s, driver.Done, driver.ErrUnavailable, user(driver.Insert, "b", 1), user(driver.Delete, "a", 0))
	write(view, driver.Done, nil, user(driver.Insert, "b", 1))
	write(view, driver.Refused, driver.ErrUnavailable, user(driver.Insert, "c", 1))
	if err := newStore(t, &memory.StoreOptions{MaxRecords: -1}).Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMalformedWrites(t *testing.T) {
	s := newStore(t, nil)
	with := func(w driver.Write, change func(*driver.Write)) driver.Write {
		change(&w)
		return w
	}
	doc := func(doc ...driver.Field) driver.Write {
		return with(user(driver.Insert, "key", 1), func(w *driver.Write) { w.Object.Doc = doc })
	}
	tests := []struct {
		name  string
		write driver.Write
		err   error
	}{
		{"no record", driver.Write{Op: driver.Delete, Kind: "user key"}, driver.ErrInvalid},
		{"two records", with(user(driver.Insert, "key", 1), func(w *driver.Write) { w.Edge = &driver.Edge{From: "a", To: "b", Version: 1} }), driver.ErrInvalid},
		{"no operation", user(0, "key", 1), driver.ErrInvalid},
		{"an unknown operation", user(driver.Rekind+1, "key", 1), driver.ErrInvalid},
		{"no version", user(driver.Insert, "key", 0), driver.ErrInvalid},
		{"no version to replace", edge(driver.Replace, "follows", "key", "b", 0), driver.ErrInvalid},
		{"no version to rekind", with(edge(driver.Rekind, "follows", "key", "b", 0), func(w *driver.Write) { w.NewKind = "blocks" }), driver.ErrInvalid},
		{"no ID", with(user(driver.Insert, "", 1), func(w *driver.Write) { w.Kind = "user key" }), driver.ErrInvalid},
		{"an ID that is not UTF-8", user(driver.Insert, "key\xff", 1), driver.ErrInvalid},
		{"no From", edge(driver.Insert, "follows", "", "key", 1), driver.ErrInvalid},
		{"no To", edge(driver.Insert, "follows", "key", "", 1), driver.ErrInvalid},
		{"no To in a kind that is ToOne", edge(driver.Insert, "mentor", "key", "", 1), driver.ErrInvalid},
		{"symmetric ends in the wrong order", edge(driver.Insert, "friend", "key", "a", 1), driver.ErrInvalid},
		{"an object is moved", with(user(driver.Rekind, "key", 1), func(w *driver.Write) { w.NewKind = "user" }), driver.ErrInvalid},
		{"moved to its own kind", with(edge(driver.Rekind, "follows", "key", "b", 1), func(w *driver.Write) { w.NewKind = "follows" }), driver.ErrInvalid},
		{"moved out of its family", with(edge(driver.Rekind, "follows", "key", "b", 1), func(w *driver.Write) { w.NewKind = "mentor" }), driver.ErrInvalid},
		{"moved to no kind", with(edge(driver.Rekind, "follows", "key", "b", 1), func(w *driver.Write) { w.NewKind = "nothing key" }), driver.ErrSchema},
		{"an object kind that was not declared", with(user(driver.Insert, "a", 1), func(w *driver.Write) { w.Kind = "nothing key" }), driver.ErrSchema},
		{"an edge kind that was not declared", edge(driver.Insert, "key", "a", "b", 1), driver.ErrSchema},
		{"an int", doc(driver.Field{Name: "f", Value: 1}), driver.ErrInvalid},
		{"a pointer deep inside", doc(driver.Field{Name: "f", Value: []driver.Value{driver.Document{{Name: "g", Value: new(string)}}}}), driver.ErrInvalid},
		{"a small uint64", doc(driver.Field{Name: "f", Value: uint64(1)}), driver.ErrInvalid},
		{"a string that is not UTF-8", doc(driver.Field{Name: "f", Value: "\xff"}), driver.ErrInvalid},
		{"a field without a name", doc(driver.Field{}), driver.ErrInvalid},
		{"a field name with NUL", doc(driver.Field{Name: "a\x00b"}), driver.ErrInvalid},
		{"a field name with a leading _", doc(driver.Field{Name: "_id"}), driver.ErrInvalid},
		{"a field twice", doc(driver.Field{Name: "f"}, driver.Field{Name: "g"}, driver.Field{Name: "f"}), driver.ErrInvalid},
		{"a field twice among many", doc(append(manyFields(20), driver.Field{Name: "f7"})...), driver.ErrInvalid},
		{"an Old that is not a value", with(user(driver.Delete, "key", 1), func(w *driver.Write) { w.Old = driver.Document{{Name: "f", Value: 1}} }), driver.ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			good := "good " + test.name
			results, err := s.Write(t.Context(), []driver.Write{test.write, user(driver.Insert, good, 1)})
			if !errors.Is(err, test.err) || !strings.Contains(fmt.Sprint(err), "key") {
				t.Errorf("error %v, want one that wraps %v and names kind and key", err, test.err)
			}
			if results[0].Outcome != driver.Refused || results[1].Outcome != driver.Done {
				t.Errorf("outcomes %v and %v, want the malformed write refused and the next one done", results[0].Outcome, results[1].Outcome)
			}
		})
	}
}

func manyFields(n int) driver.Document {
	var doc driver.Document
	for i := range n {
		doc = append(doc, driver.Field{Name: fmt.Sprint("f", i), Value: int64(i)})
	}
	return doc
}

func TestMalformedReads(t *testing.T) {
	s := newStore(t, nil)
	tests := []struct {
		name string
		step driver.Step
		err  error
	}{
		{"no operation", driver.Step{Kind: "user"}, driver.ErrInvalid},
		{"an unknown direction", driver.Step{Op: driver.ListEdges, Kind: "follows", Direction: 2}, driver.ErrInvalid},
		{"a negative offset", driver.Step{Op: driver.ListEdges, Kind: "follows", Range: driver.Range{Offset: -1}}, driver.ErrInvalid},
		{"a negative limit", driver.Step{Op: driver.ScanEdges, Kind: "follows", Range: driver.Range{Limit: -1}}, driver.ErrInvalid},
		{"a scan after one end", driver.Step{Op: driver.ScanEdges, Kind: "follows", IDs: []string{"a"}}, driver.ErrInvalid},
		{"a scan after two objects", driver.Step{Op: driver.ScanDeleting, Kind: "user", IDs: []string{"a", "b"}}, driver.ErrInvalid},
		{"the direction In of a symmetric kind", driver.Step{Op: driver.ListEdges, Kind: "friend", Direction: driver.In}, driver.ErrInvalid},
		{"an object kind that was not declared", driver.Step{Op: driver.GetObjects, Kind: "follows"}, driver.ErrSchema},
		{"an edge kind that was not declared", driver.Step{Op: driver.ListEdges, Kind: "user"}, driver.ErrSchema},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			results, err := s.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user"}, test.step}, "")
			if results != nil || !errors.Is(err, test.err) {
				t.Errorf("got %v, error %v, want nothing and one that wraps %v", results, err, test.err)
			}
		})
	}
	if _, err := s.Namespace("tenant").Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user"}}, ""); !errors.Is(err, driver.ErrSchema) {
		t.Errorf("kinds are declared for each namespace: error %v", err)
	}
}

func TestEnsureKeepsKeys(t *testing.T) {
	s := newStore(t, nil)
	changed := driver.Schema{Edges: []driver.EdgeKind{{Name: "follows", From: "user", To: "user", ToOne: true}}}
	if err := s.Ensure(t.Context(), changed); err != nil {
		t.Errorf("a kind without edges may become ToOne: %v", err)
	}
	if _, err := s.Write(t.Context(), []driver.Write{edge(driver.Insert, "follows", "a", "b", 1)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Ensure(t.Context(), schema()); !errors.Is(err, driver.ErrSchema) {
		t.Errorf("a kind with edges may not: error %v", err)
	}
}

func TestStoreClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6_789_999, time.FixedZone("", 3600))
	s := newStore(t, &memory.StoreOptions{Now: func() time.Time { return now }})
	results, err := s.Write(t.Context(), []driver.Write{edge(driver.Insert, "follows", "a", "b", 1)})
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 2, 2, 4, 5, 6_000_000, time.UTC); results[0].Edge.Time != want {
		t.Errorf("time %v, want %v", results[0].Edge.Time, want)
	}
}

func TestStoreClosed(t *testing.T) {
	s := newStore(t, nil)
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	view := s.Namespace("tenant")
	_, idErr := view.ID(t.Context())
	_, readErr := s.Read(t.Context(), nil, "")
	results, writeErr := s.Write(t.Context(), []driver.Write{user(driver.Insert, "a", 1)})
	_, beginErr := s.Begin(t.Context())
	_, commitErr := tx.Commit(t.Context())
	for i, err := range []error{idErr, view.Ensure(t.Context(), schema()), readErr, writeErr, beginErr, commitErr} {
		if !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("call %d after Close: error %v, want one that wraps ErrUnavailable", i, err)
		}
	}
	if results[0].Outcome != driver.Refused {
		t.Errorf("Write after Close: outcome %v, want refused", results[0].Outcome)
	}
}

// TestReadIsASnapshot moves one object's worth of versions through two records and
// looks at both in one batch.
func TestReadIsASnapshot(t *testing.T) {
	s := newStore(t, nil)
	write := func(version int64) {
		op := driver.Replace
		if version == 1 {
			op = driver.Insert
		}
		if _, err := s.Write(t.Context(), []driver.Write{user(op, "a", version), user(op, "b", version)}); err != nil {
			t.Error(err)
		}
	}
	write(1)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 300 {
				results, err := s.Read(t.Context(), []driver.Step{
					{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}, {Op: driver.GetObjects, Kind: "user", IDs: []string{"b"}},
				}, "")
				if err != nil {
					t.Error(err)
					return
				}
				if a, b := results[0].Objects[0].Version, results[1].Objects[0].Version; a != b {
					t.Errorf("a batch saw versions %d and %d, which were written together", a, b)
					return
				}
			}
		})
	}
	for version := range int64(300) {
		write(version + 2)
	}
	group.Wait()
}
