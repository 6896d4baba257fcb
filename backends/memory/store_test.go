package memory_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		Objects: []driver.ObjectKind{{Name: "user", Indexes: []driver.Index{
			{Name: "by tag", Columns: []driver.Column{*field("tag")}, Unique: true},
			{Name: "by number", Columns: []driver.Column{*field("n"), *field("tag")}},
		}}},
		Edges: []driver.EdgeKind{
			{Name: "follows", From: "user", To: "user", Family: "f"},
			{Name: "blocks", From: "user", To: "user", Family: "f"},
			{Name: "mentor", From: "user", To: "user", ToOne: true},
			{Name: "friend", From: "user", To: "user", Symmetric: true},
		},
	}
}

func field(name string) *driver.Column { return &driver.Column{Path: []string{name}} }

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

// TestOldRecords: every write that is Done says which record it has replaced, deleted,
// moved or modified, in a transaction too.
func TestOldRecords(t *testing.T) {
	s := newStore(t, nil)
	insert := []driver.Write{user(driver.Insert, "a", 1), edge(driver.Insert, "mentor", "a", "b", 2), edge(driver.Insert, "follows", "a", "b", 3)}
	modify := user(driver.Modify, "a", 0)
	modify.Changes = []driver.Change{{Column: field("x"), Set: "y"}}
	rekind := edge(driver.Rekind, "follows", "a", "b", 4)
	rekind.NewKind = "blocks"
	writes := append(insert, user(driver.Replace, "a", 5), modify, user(driver.Delete, "a", 0),
		edge(driver.Replace, "mentor", "a", "c", 6), edge(driver.Delete, "mentor", "a", "", 0), rekind)
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []interface {
		Write(context.Context, []driver.Write) ([]driver.WriteResult, error)
	}{tx, s} {
		results, err := to.Write(t.Context(), writes)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range results {
			switch {
			case r.OldObject != nil:
				got = append(got, fmt.Sprint(r.OldObject.Version))
			case r.OldEdge != nil:
				got = append(got, fmt.Sprint(r.OldEdge.To, r.OldEdge.Version))
			default:
				got = append(got, "")
			}
		}
		if diff := cmp.Diff([]string{"", "", "", "1", "5", "6", "b2", "c6", "b3"}, got); diff != "" {
			t.Errorf("%T: the old records (-want +got):\n%s", to, diff)
		}
		if to == driver.Tx(tx) {
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
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
	modify := func(changes ...driver.Change) driver.Write {
		return driver.Write{Op: driver.Modify, Kind: "user", Object: &driver.Object{ID: "key"}, Changes: changes}
	}
	tests := []struct {
		name  string
		write driver.Write
		err   error
	}{
		{"no record", driver.Write{Op: driver.Delete, Kind: "user key"}, driver.ErrInvalid},
		{"two records", with(user(driver.Insert, "key", 1), func(w *driver.Write) { w.Edge = &driver.Edge{From: "a", To: "b", Version: 1} }), driver.ErrInvalid},
		{"no operation", user(0, "key", 1), driver.ErrInvalid},
		{"an unknown operation", user(driver.Modify+1, "key", 1), driver.ErrInvalid},
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
		{"a change of an edge", driver.Write{Op: driver.Modify, Kind: "follows", Edge: &driver.Edge{From: "key", To: "b", Version: 1}}, driver.ErrInvalid},
		{"a change of nothing", modify(driver.Change{Set: "x"}), driver.ErrInvalid},
		{"a change of the ID", modify(driver.Change{Column: &driver.Column{Of: driver.ObjectID}}), driver.ErrInvalid},
		{"a change of an edge's field", modify(driver.Change{Column: &driver.Column{Of: driver.EdgeField, Path: []string{"f"}}}), driver.ErrInvalid},
		{"a change deep inside", modify(driver.Change{Column: &driver.Column{Path: []string{"f", "g"}}}), driver.ErrInvalid},
		{"a change under older names", modify(driver.Change{Column: &driver.Column{Path: []string{"f"}, Was: [][]string{{"g"}}}}), driver.ErrInvalid},
		{"two changes of a field", modify(driver.Change{Column: field("f")}, driver.Change{Column: field("g")}, driver.Change{Column: field("f")}), driver.ErrInvalid},
		{"a change of a field with a leading _", modify(driver.Change{Column: field("_f")}), driver.ErrInvalid},
		{"an int is set", modify(driver.Change{Column: field("f"), Set: 1}), driver.ErrInvalid},
		{"an int is added", modify(driver.Change{Column: field("f"), Add: 1}), driver.ErrInvalid},
		{"a string is added", modify(driver.Change{Column: field("f"), Add: "x"}), driver.ErrInvalid},
		{"a bound of another type", modify(driver.Change{Column: field("f"), Add: 1.0, High: int64(1)}), driver.ErrInvalid},
		{"a bound that is no number", modify(driver.Change{Column: field("f"), Add: int64(1), Low: "x"}), driver.ErrInvalid},
		{"a change in a kind that was not declared", with(modify(), func(w *driver.Write) { w.Kind = "nothing key" }), driver.ErrSchema},
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
	find := func(f driver.Filter) driver.Step {
		return driver.Step{Op: driver.FindObjects, Kind: "user", Filter: &f}
	}
	findBy := func(c *driver.Column, after ...driver.Value) driver.Step {
		return driver.Step{Op: driver.FindObjects, Kind: "user", Order: []driver.Order{{Column: c}}, After: after}
	}
	edges := func(change func(*driver.Step)) driver.Step {
		s := driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: []string{"a"}}
		change(&s)
		return s
	}
	n, weight, when := field("n"), &driver.Column{Of: driver.EdgeField, Path: []string{"n"}}, time.UnixMilli(1).UTC()
	tests := []struct {
		name string
		step driver.Step
		err  error
	}{
		{"an unknown filter", find(driver.Filter{Op: driver.Has + 1, Column: n}), driver.ErrInvalid},
		{"a filter without an operation", find(driver.Filter{}), driver.ErrInvalid},
		{"a filter without a column", find(driver.Filter{Op: driver.AnyOf}), driver.ErrInvalid},
		{"a filter with an unknown column", find(driver.Filter{Op: driver.AnyOf, Column: &driver.Column{Of: 9}}), driver.ErrInvalid},
		{"a filter with a column without a path", find(driver.Filter{Op: driver.AnyOf, Column: &driver.Column{}}), driver.ErrInvalid},
		{"a filter with older names for nothing", find(driver.Filter{Op: driver.AnyOf, Column: &driver.Column{Path: []string{"a", "b"}, Was: [][]string{{"c"}}}}), driver.ErrInvalid},
		{"a filter on edges for objects", find(driver.Filter{Op: driver.AnyOf, Column: weight}), driver.ErrInvalid},
		{"a filter on the time for objects", find(driver.Filter{Op: driver.AnyOf, Column: &driver.Column{Of: driver.EdgeTime}}), driver.ErrInvalid},
		{"a Not of nothing", find(driver.Filter{Op: driver.Not}), driver.ErrInvalid},
		{"a bad filter deep inside", find(driver.Filter{Op: driver.And, Of: []driver.Filter{{Op: driver.Or}, {Op: driver.Not, Of: make([]driver.Filter, 2)}}}), driver.ErrInvalid},
		{"a comparison with nothing", find(driver.Filter{Op: driver.Less, Column: n}), driver.ErrInvalid},
		{"a comparison with two values", find(driver.Filter{Op: driver.Less, Column: n, Values: []driver.Value{"a", "b"}}), driver.ErrInvalid},
		{"a comparison with nil", find(driver.Filter{Op: driver.GreaterEqual, Column: n, Values: []driver.Value{nil}}), driver.ErrInvalid},
		{"a comparison with NaN", find(driver.Filter{Op: driver.AnyOf, Column: n, Values: []driver.Value{math.NaN()}}), driver.ErrInvalid},
		{"a comparison with an int", find(driver.Filter{Op: driver.AnyOf, Column: n, Values: []driver.Value{nil, 1}}), driver.ErrInvalid},
		{"a prefix that is no string", find(driver.Filter{Op: driver.HasPrefix, Column: n, Values: []driver.Value{int64(1)}}), driver.ErrInvalid},
		{"a part that is no string", find(driver.Filter{Op: driver.Contains, Column: n, Values: []driver.Value{[]byte("x")}}), driver.ErrInvalid},
		{"an order by nothing", findBy(nil), driver.ErrInvalid},
		{"an order of objects by an edge", findBy(weight), driver.ErrInvalid},
		{"a place that is too short", findBy(n, "a"), driver.ErrInvalid},
		{"a place that is too long", findBy(n, "a", "b", "c"), driver.ErrInvalid},
		{"a place without values", driver.Step{Op: driver.FindObjects, Kind: "user", After: []driver.Value{}}, driver.ErrInvalid},
		{"a place without an ID", findBy(n, "a", int64(1)), driver.ErrInvalid},
		{"a search with a negative offset", driver.Step{Op: driver.FindObjects, Kind: "user", Range: driver.Range{Offset: -1}}, driver.ErrInvalid},
		{"a search in an object kind that was not declared", driver.Step{Op: driver.FindObjects, Kind: "follows"}, driver.ErrSchema},
		{"a search in an edge kind that was not declared", edges(func(s *driver.Step) { s.Kind = "user" }), driver.ErrSchema},
		{"a far kind that was not declared", edges(func(s *driver.Step) { s.Far = "follows" }), driver.ErrInvalid},
		{"the lists In of a symmetric kind", edges(func(s *driver.Step) { s.Kind, s.Direction = "friend", driver.In }), driver.ErrInvalid},
		{"a negative LimitPer", edges(func(s *driver.Step) { s.LimitPer = -1 }), driver.ErrInvalid},
		{"a filter on objects without Far", edges(func(s *driver.Step) { s.Filter = &driver.Filter{Op: driver.AnyOf, Column: n} }), driver.ErrInvalid},
		{"a filter on the ID without Far", edges(func(s *driver.Step) {
			s.Filter = &driver.Filter{Op: driver.AnyOf, Column: &driver.Column{Of: driver.ObjectID}}
		}), driver.ErrInvalid},
		{"an order by objects without Far", edges(func(s *driver.Step) { s.Order = []driver.Order{{Column: n}} }), driver.ErrInvalid},
		{"a place of rows that is too short", edges(func(s *driver.Step) { s.After = []driver.Value{"a", when} }), driver.ErrInvalid},
		{"a place of rows without a time", edges(func(s *driver.Step) { s.After = []driver.Value{"a", int64(1), "b"} }), driver.ErrInvalid},
		{"a place of rows without a near end", edges(func(s *driver.Step) { s.After = []driver.Value{nil, when, "b"} }), driver.ErrInvalid},
		{"a place of rows without a far end", edges(func(s *driver.Step) { s.After = []driver.Value{"a", when, nil} }), driver.ErrInvalid},
		{"a place in another's list", edges(func(s *driver.Step) { s.After = []driver.Value{"b", when, "c"} }), driver.ErrInvalid},
		{"a place in an order without a far end", edges(func(s *driver.Step) {
			s.Order, s.After = []driver.Order{{Column: weight}}, []driver.Value{nil, nil, "a"}
		}), driver.ErrInvalid},
		{"a place in an order without a near end", edges(func(s *driver.Step) {
			s.Order, s.After = []driver.Order{{Column: weight}}, []driver.Value{nil, "a", nil}
		}), driver.ErrInvalid},
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
