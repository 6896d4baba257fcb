package memory_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// indexed is a schema with indexes on users.
func indexed(indexes ...driver.Index) driver.Schema {
	return driver.Schema{Objects: []driver.ObjectKind{{Name: "user", Indexes: indexes}}}
}

func tagged(op driver.WriteOp, id string, fields ...driver.Field) driver.Write {
	return driver.Write{Op: op, Kind: "user", Object: &driver.Object{ID: id, Version: 1, Doc: fields}}
}

// write does one write and compares its outcome and the index that is named.
func write(t *testing.T, s *memory.Store, w driver.Write, want driver.Outcome, index string) {
	t.Helper()
	results, err := s.Write(t.Context(), []driver.Write{w})
	if err != nil || results[0].Outcome != want || results[0].Index != index {
		t.Errorf("%s: %v, index %q, %v; want %v, %q", w.Object.ID, results[0].Outcome, results[0].Index, err, want, index)
	}
}

func find(t *testing.T, s *memory.Store, f *driver.Filter) []string {
	t.Helper()
	results, err := s.Read(t.Context(), []driver.Step{{Op: driver.FindObjects, Kind: "user", Filter: f}}, "")
	if err != nil {
		t.Fatal(err)
	}
	return results[0].IDs
}

func TestMalformedIndexes(t *testing.T) {
	list := driver.Column{Path: []string{"a"}, List: true}
	other := driver.Column{Path: []string{"b"}, List: true}
	good := driver.Index{Name: "index", Columns: []driver.Column{*field("a")}}
	tests := []struct {
		name    string
		indexes []driver.Index
	}{
		{"no name", []driver.Index{{Columns: good.Columns}}},
		{"no columns", []driver.Index{{Name: "index"}}},
		{"one name twice", []driver.Index{good, good}},
		{"two lists", []driver.Index{{Name: "index", Columns: []driver.Column{list, other}}}},
		{"a column without a path", []driver.Index{{Name: "index", Columns: make([]driver.Column, 1)}}},
		{"a column of edges", []driver.Index{{Name: "index", Columns: []driver.Column{{Of: driver.EdgeTime}}}}},
		{"a Zero that is no value", []driver.Index{{Name: "index", Columns: []driver.Column{{Path: []string{"a"}, Zero: 1}}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := memory.NewStore(nil)
			schema := indexed(test.indexes...)
			schema.Objects = append(schema.Objects, driver.ObjectKind{Name: "post"})
			if err := s.Ensure(t.Context(), schema); !errors.Is(err, driver.ErrSchema) {
				t.Errorf("error %v, want one that wraps ErrSchema", err)
			}
			if _, err := s.Read(t.Context(), []driver.Step{{Op: driver.FindObjects, Kind: "post"}}, ""); !errors.Is(err, driver.ErrSchema) {
				t.Errorf("a schema with a mistake was taken over in part: error %v", err)
			}
		})
	}
}

// TestIndexChanges declares an index anew under its name.
func TestIndexChanges(t *testing.T) {
	s := newStore(t, nil)
	a, b := driver.Field{Name: "a", Value: "x"}, driver.Field{Name: "b", Value: "x"}
	unique := driver.Index{Name: "index", Columns: []driver.Column{*field("a")}, Unique: true}
	ensure := func(want error, indexes ...driver.Index) {
		t.Helper()
		err := s.Ensure(t.Context(), indexed(indexes...))
		if !errors.Is(err, want) {
			t.Errorf("Ensure: %v, want %v", err, want)
		}
		if want != nil && (!strings.Contains(err.Error(), "index") || !strings.Contains(err.Error(), "user")) {
			t.Errorf("the error does not name index and kind: %v", err)
		}
	}
	ensure(nil, unique)
	write(t, s, tagged(driver.Insert, "1", a, b), driver.Done, "")
	write(t, s, tagged(driver.Insert, "2", a), driver.Exists, "index")
	write(t, s, tagged(driver.Insert, "2", b), driver.Done, "")
	onB := driver.Index{Name: "index", Columns: []driver.Column{*field("b")}, Unique: true}
	second := driver.Index{Name: "second", Columns: []driver.Column{*field("a")}, Unique: true}
	ensure(driver.ErrExists, second, onB)
	write(t, s, tagged(driver.Insert, "3", a), driver.Exists, "index") // neither replaced nor joined by another
	write(t, s, tagged(driver.Insert, "3", b), driver.Done, "")
	onB.Unique = false
	ensure(nil, onB)
	write(t, s, tagged(driver.Insert, "4", a, b), driver.Done, "")
	ensure(driver.ErrExists, unique)
	write(t, s, tagged(driver.Delete, "4"), driver.Done, "")
	ensure(nil, unique)
	write(t, s, tagged(driver.Insert, "4", a), driver.Exists, "index")
	list := unique
	list.Columns = []driver.Column{{Path: []string{"a"}, List: true}}
	ensure(nil, list)
	write(t, s, tagged(driver.Insert, "4", a), driver.Done, "") // what is no list has no entry
	x, y := driver.Value([]driver.Value{"x", "y"}), driver.Value([]driver.Value{"y", "z"})
	write(t, s, tagged(driver.Insert, "5", driver.Field{Name: "a", Value: x}), driver.Done, "")
	write(t, s, tagged(driver.Insert, "6", driver.Field{Name: "a", Value: y}), driver.Exists, "index")
	// A kind that is there twice in a schema has the indexes of both.
	if err := s.Ensure(t.Context(), driver.Schema{Objects: []driver.ObjectKind{{Name: "new", Indexes: []driver.Index{unique}}, {Name: "new"}}}); err != nil {
		t.Error(err)
	}
}

// TestIndexOwnership changes a schema after the call.
func TestIndexOwnership(t *testing.T) {
	s := newStore(t, nil)
	columns := []driver.Column{{Path: []string{"a"}, Was: [][]string{{"b"}}, Zero: []byte("z")}}
	schema := indexed(driver.Index{Name: "index", Columns: columns, Unique: true})
	if err := s.Ensure(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	columns[0].Path[0], columns[0].Was[0][0], columns[0].Zero.([]byte)[0] = "c", "d", 'y'
	write(t, s, tagged(driver.Insert, "1", driver.Field{Name: "a", Value: "x"}), driver.Done, "")
	write(t, s, tagged(driver.Insert, "2", driver.Field{Name: "b", Value: "x"}), driver.Exists, "index")
	write(t, s, tagged(driver.Insert, "3"), driver.Done, "")
	write(t, s, tagged(driver.Insert, "4", driver.Field{Name: "a", Value: []byte("z")}), driver.Exists, "index")
	columns[0] = driver.Column{}
	write(t, s, tagged(driver.Insert, "5", driver.Field{Name: "a", Value: "x"}), driver.Exists, "index")
}

// TestIndexOfOthers looks for values by columns that are those of an index but for
// what a missing field is, or what it was called: the index cannot answer.
func TestIndexOfOthers(t *testing.T) {
	s := newStore(t, nil)
	if err := s.Ensure(t.Context(), indexed(driver.Index{Name: "index", Columns: []driver.Column{{Path: []string{"a"}, Zero: int64(0)}}},
		driver.Index{Name: "list", Columns: []driver.Column{{Path: []string{"l"}, List: true}}})); err != nil {
		t.Fatal(err)
	}
	write(t, s, tagged(driver.Insert, "1"), driver.Done, "")
	write(t, s, tagged(driver.Insert, "2", driver.Field{Name: "was", Value: "x"}), driver.Done, "")
	write(t, s, tagged(driver.Insert, "3", driver.Field{Name: "l", Value: []driver.Value{"x"}}), driver.Done, "")
	tests := []struct {
		column driver.Column
		value  driver.Value
		want   []string
	}{
		{driver.Column{Path: []string{"a"}, Zero: int64(0)}, int64(0), []string{"1", "2", "3"}},
		{driver.Column{Path: []string{"a"}, Zero: int64(1)}, int64(1), []string{"1", "2", "3"}},
		{driver.Column{Path: []string{"a"}}, nil, []string{"1", "2", "3"}},
		{driver.Column{Path: []string{"a"}, Zero: int64(0), Was: [][]string{{"was"}}}, "x", []string{"2"}},
		{driver.Column{Path: []string{"l"}, List: true}, []driver.Value{"x"}, []string{"3"}},
		{driver.Column{Path: []string{"l"}}, []driver.Value{"x"}, []string{"3"}},
	}
	for _, test := range tests {
		got := find(t, s, &driver.Filter{Op: driver.AnyOf, Column: &test.column, Values: []driver.Value{test.value}})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v, %v (-want +got):\n%s", test.column, test.value, diff)
		}
	}
}

// TestIndexIsUsed compares the time of finding by an index with that of a scan, which
// is thousands of times as long.
func TestIndexIsUsed(t *testing.T) {
	const n = 20_000
	s := newStore(t, nil)
	a, tags, small := field("a"), &driver.Column{Path: []string{"tags"}, List: true}, field("small")
	if err := s.Ensure(t.Context(), indexed(driver.Index{Name: "small", Columns: []driver.Column{*small, *a}},
		driver.Index{Name: "a", Columns: []driver.Column{*a, *small}}, driver.Index{Name: "tags", Columns: []driver.Column{*tags}})); err != nil {
		t.Fatal(err)
	}
	var writes []driver.Write
	for i := range n {
		text := fmt.Sprint(i)
		writes = append(writes, tagged(driver.Insert, text, driver.Field{Name: "a", Value: text}, driver.Field{Name: "free", Value: text},
			driver.Field{Name: "tags", Value: []driver.Value{text, "all"}}, driver.Field{Name: "small", Value: i < 2}))
	}
	if _, err := s.Write(t.Context(), writes); err != nil {
		t.Fatal(err)
	}
	equal := func(c *driver.Column, v driver.Value) driver.Filter {
		return driver.Filter{Op: driver.AnyOf, Column: c, Values: []driver.Value{v}}
	}
	and := func(of ...driver.Filter) driver.Filter { return driver.Filter{Op: driver.And, Of: of} }
	elapsed := func(f driver.Filter) time.Duration {
		start := time.Now()
		for range 20 {
			if got := find(t, s, &f); len(got) != 1 {
				t.Fatalf("found %q", got)
			}
		}
		return time.Since(start)
	}
	scan := elapsed(equal(field("free"), "7"))
	has := driver.Filter{Op: driver.Has, Column: tags, Values: []driver.Value{"7"}}
	for i, f := range []driver.Filter{
		equal(a, "7"), and(equal(a, "7")), and(equal(field("free"), "7"), and(has)), has,
		and(equal(small, false), equal(a, "7")), and(equal(a, "1"), equal(small, true)), and(equal(small, false), has),
	} {
		if got := elapsed(f); got > scan/10 {
			t.Errorf("filter %d takes %v, a scan %v: it does not use an index", i, got, scan)
		}
	}
}

// TestIndexOfArrays has values with parts, the keys of which would be the same if
// they were only joined.
func TestIndexOfArrays(t *testing.T) {
	s := newStore(t, nil)
	for i, v := range []driver.Value{
		[]driver.Value{"a", "b"}, []driver.Value{"asb"}, []driver.Value{}, []driver.Value{nil}, []driver.Value{nil, nil}, []driver.Value{[]driver.Value{}},
		driver.Document{}, driver.Document{{Name: "a", Value: "b"}}, driver.Document{{Name: "asb", Value: nil}}, driver.Document{{Name: "a", Value: nil}, {Name: "b", Value: nil}},
	} {
		field := driver.Field{Name: "tag", Value: v}
		write(t, s, tagged(driver.Insert, fmt.Sprint("first ", i), field), driver.Done, "")
		write(t, s, tagged(driver.Insert, fmt.Sprint("second ", i), field), driver.Exists, "by tag")
	}
}

// TestIndexOfNaN has two of the many forms of NaN.
func TestIndexOfNaN(t *testing.T) {
	s := newStore(t, nil)
	write(t, s, tagged(driver.Insert, "1", driver.Field{Name: "tag", Value: math.NaN()}), driver.Done, "")
	other := math.Float64frombits(math.Float64bits(math.NaN()) + 1)
	write(t, s, tagged(driver.Insert, "2", driver.Field{Name: "tag", Value: other}), driver.Exists, "by tag")
}

// TestModifyOfAnIndex is not what Modify is for, but must not break an index.
func TestModifyOfAnIndex(t *testing.T) {
	s := newStore(t, nil)
	x := driver.Field{Name: "tag", Value: "x"}
	write(t, s, tagged(driver.Insert, "1", x), driver.Done, "")
	write(t, s, tagged(driver.Insert, "2"), driver.Done, "")
	set := func(id, tag string) driver.Write {
		w := tagged(driver.Modify, id)
		w.Changes = []driver.Change{{Column: field("tag"), Set: tag}}
		return w
	}
	write(t, s, set("2", "x"), driver.Exists, "by tag")
	write(t, s, set("1", "x"), driver.Done, "")
	write(t, s, set("1", "y"), driver.Done, "")
	write(t, s, set("2", "x"), driver.Done, "")
	got := find(t, s, &driver.Filter{Op: driver.AnyOf, Column: field("tag"), Values: []driver.Value{"x"}})
	if diff := cmp.Diff([]string{"2"}, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// TestTxKeepsSteps changes the order and the place of a search after the call.
func TestTxKeepsSteps(t *testing.T) {
	s := newStore(t, nil)
	for i, id := range []string{"1", "2", "3"} {
		write(t, s, tagged(driver.Insert, id, driver.Field{Name: "n", Value: int64(i)}), driver.Done, "")
	}
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	order, after := []driver.Order{{Column: field("n")}}, []driver.Value{int64(0), "1"}
	if _, err := tx.Read(t.Context(), []driver.Step{{Op: driver.FindObjects, Kind: "user", Order: order, After: after}}, ""); err != nil {
		t.Fatal(err)
	}
	order[0].Desc, after[0] = true, int64(9)
	if _, err := tx.Commit(t.Context()); err != nil {
		t.Errorf("Commit: %v", err)
	}
}
