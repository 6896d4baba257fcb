package backendtest

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

func modifyUser(id string, changes ...driver.Change) driver.Write {
	return driver.Write{Op: driver.Modify, Kind: users, Object: &driver.Object{ID: id}, Changes: changes}
}

func set(name string, v driver.Value) driver.Change {
	return driver.Change{Column: field(name), Set: v}
}

// add adds to a number that is 0 where it is missing.
func add(name string, n, low, high driver.Value) driver.Change {
	c := driver.Change{Column: &driver.Column{Path: []string{name}, Zero: int64(0)}, Add: n, Low: low, High: high}
	if _, ok := n.(float64); ok {
		c.Column.Zero = 0.0
	}
	return c
}

// modify tests the outcomes of Modify, and what it leaves alone.
func (r *storeRig) modify() {
	doc := driver.Document{{Name: "z", Value: "z"}, {Name: "n", Value: int64(5)}, {Name: "a", Value: driver.Document{{Name: "n", Value: int64(1)}}}}
	r.done(r.s, insertObject(users, "a", 7, doc), marked(insertObject(users, "m", 1, doc)))
	before := r.get(r.s, users, "a")
	got := r.wants("Modify applies its changes", r.s, modifyUser("a", set("new", true), add("n", int64(2), nil, nil), set("z", nil)), driver.Done)
	want := &driver.Object{ID: "a", Version: 8, Doc: driver.Document{{Name: "z", Value: nil}, {Name: "n", Value: int64(7)}, doc[2], {Name: "new", Value: true}}}
	r.equal("Modify adds 1 to the version, and returns the record written", got.Object, want)
	r.oldObject("Modify", got, before)
	r.equal("Modify leaves the other fields alone", r.get(r.s, users, "a"), want)
	r.sameOrder("Modify", r.get(r.s, users, "a").Doc[:3], want.Doc[:3])
	r.equal("what was returned is never modified", before.Doc, doc)

	r.wants("Modify of an object that is not there", r.s, modifyUser("none", set("x", nil)), driver.Missing)
	r.wants("Modify of an object that is Deleting is Missing", r.s, modifyUser("m", set("x", nil)), driver.Missing)
	r.equal("a write that is not Done changes nothing", []int64{r.get(r.s, users, "m").Version}, []int64{1})
	stale := modifyUser("a", add("n", int64(1), nil, nil))
	stale.Expect = 7
	r.wants("Modify of an object that has another version", r.s, stale, driver.Conflict)
	stale.Expect, stale.Old = 8, driver.Document{{Name: "n", Value: int64(5)}}
	r.wants("Modify of an object whose document differs from Old", r.s, stale, driver.Conflict)
	stale.Old[0].Value = int64(7)
	stale.Object.Version, stale.Object.Deleting, stale.Object.Doc = 99, true, driver.Document{{Name: "n", Value: int64(99)}}
	want.Doc[1].Value, want.Version = int64(8), 9
	r.equal("of Object only the ID counts", r.wants("Modify of an object that is as expected", r.s, stale, driver.Done).Object, want)

	r.wants("Modify applies all changes or none", r.s, modifyUser("a", set("z", "changed"), add("n", int64(1), nil, int64(8))), driver.Conflict)
	r.wants("Modify applies all changes or none", r.s, modifyUser("a", add("n", int64(1), nil, int64(8)), set("z", "changed")), driver.Conflict)
	r.equal("Modify applies all changes or none", r.get(r.s, users, "a"), want)
	results := r.done(r.s, modifyUser("a", add("n", int64(1), nil, nil)), modifyUser("a", add("n", int64(1), nil, int64(10))))
	r.equal("the second Modify of a batch sees the first", []int64{results[0].Object.Version, results[1].Object.Version}, []int64{10, 11})
	r.modifyValues()
}

// modifyValues sets every sort of value.
func (r *storeRig) modifyValues() {
	for i, f := range r.corpus() {
		id := fmt.Sprint("set ", i)
		r.done(r.s, insertObject(users, id, 1, driver.Document{{Name: "before", Value: "x"}, {Name: "f", Value: "old"}, {Name: "after", Value: 1.5}}))
		r.done(r.s, modifyUser(id, set("f", f.Value), set("new", f.Value)))
		want := driver.Document{{Name: "before", Value: "x"}, {Name: "f", Value: f.Value}, {Name: "after", Value: 1.5}, {Name: "new", Value: f.Value}}
		r.sameDocument("Modify sets "+f.Name, r.get(r.s, users, id).Doc, want)
	}
	bytes := []byte("bytes")
	w := modifyUser("set 0", set("f", bytes))
	r.done(r.s, w)
	bytes[0], w.Changes[0].Set = 'X', "theirs"
	got, _ := r.get(r.s, users, "set 0").Doc.Get("f")
	r.equal("what is passed in belongs to the caller again when the call returns", got, driver.Value([]byte("bytes")))
	r.done(r.s, marked(insertObject(users, "found", 1, nil)), insertObject(users, "lost", 1, driver.Document{{Name: "f", Value: "x"}}))
	r.done(r.s, modifyUser("lost", set("f", "y")))
	filter := all(on(byID, driver.AnyOf, "lost"), on(field("f"), driver.AnyOf, "y"))
	r.finds("a filter sees what Modify set", users, &filter, []string{"lost"})
}

// modifySums tests Add with every sort of number, and its bounds.
func (r *storeRig) modifySums() {
	const most, least = int64(math.MaxInt64), int64(math.MinInt64)
	missing := struct{}{}
	tests := []struct {
		there          any // missing if there is no field
		add, low, high driver.Value
		want           driver.Value // nil if it is a Conflict
	}{
		{int64(5), int64(3), nil, nil, int64(8)},
		{int64(5), int64(-7), nil, nil, int64(-2)},
		{int64(5), int64(0), nil, nil, int64(5)},
		{missing, int64(3), nil, nil, int64(3)},
		{nil, int64(3), nil, nil, int64(3)},
		{int64(5), int64(1), nil, int64(6), int64(6)},
		{int64(5), int64(1), nil, int64(5), nil},
		{int64(5), int64(-1), int64(4), nil, int64(4)},
		{int64(5), int64(-1), int64(5), nil, nil},
		{int64(5), int64(-5), int64(0), int64(0), int64(0)},
		{int64(9), int64(-1), int64(0), int64(5), nil}, // the sum counts, not the way there
		{int64(-9), int64(1), int64(0), int64(5), nil},
		{missing, int64(-1), int64(0), nil, nil},
		{most, int64(0), nil, nil, most},
		{most - 1, int64(1), nil, nil, most},
		{most, int64(1), nil, nil, nil},
		{most, most, nil, nil, nil},
		{most, int64(1), int64(0), nil, nil},
		{most, int64(1), nil, int64(0), nil}, // around the end it would be within
		{least + 1, int64(-1), nil, nil, least},
		{least, int64(-1), nil, nil, nil},
		{least, least, nil, nil, nil},
		{least, least, nil, most, nil},
		{int64(-1), least, nil, nil, nil},
		{least, most, nil, nil, int64(-1)},
		{int64(1 << 53), int64(1), nil, nil, int64(1<<53 + 1)},
		{int64(1 << 53), int64(1), nil, int64(1 << 53), nil},
		{0.5, 0.25, nil, nil, 0.75},
		{missing, 0.5, nil, nil, 0.5},
		{nil, -0.5, -0.5, 0.0, -0.5},
		{0.5, 0.5, 0.0, 1.0, 1.0},
		{0.5, 0.75, 0.0, 1.0, nil},
		{0.5, -0.75, 0.0, nil, nil},
		{1e308, 1e308, nil, nil, math.Inf(1)},
		{1e308, 1e308, nil, math.MaxFloat64, nil},
		{1.0, math.NaN(), nil, nil, math.NaN()},
		{1.0, math.NaN(), 0.0, nil, nil},
		{math.NaN(), 1.0, nil, 9.0, nil},
		{1.0, int64(1), nil, nil, nil},
		{int64(1), 1.0, nil, nil, nil},
		{"1", int64(1), nil, nil, nil},
		{uint64(1 << 63), int64(1), nil, nil, nil},
	}
	for i, test := range tests {
		if !r.h.holds(test.add) || !r.h.holds(test.want) || test.there != missing && !r.h.holds(test.there) {
			continue
		}
		rule := fmt.Sprintf("Add: %T %v and %T %v from %v to %v", test.there, test.there, test.add, test.add, test.low, test.high)
		id := fmt.Sprint("sum ", i)
		doc := driver.Document{{Name: "other", Value: "x"}}
		if test.there != missing {
			doc = append(doc, driver.Field{Name: "n", Value: test.there})
		}
		r.done(r.s, insertObject(users, id, 1, doc))
		want, outcome := driver.Document{doc[0], {Name: "n", Value: test.want}}, driver.Done
		if test.want == nil {
			want, outcome = doc, driver.Conflict
		}
		got := r.wants(rule, r.s, modifyUser(id, add("n", test.add, test.low, test.high)), outcome)
		r.sameDocument(rule, r.get(r.s, users, id).Doc, want)
		if got.Object != nil {
			r.sameDocument(rule+": the record as it stands now", got.Object.Doc, want)
		}
	}
	c := add("n", int64(1), nil, nil)
	c.Column.Zero = int64(10)
	r.done(r.s, insertObject(users, "zero", 1, nil), modifyUser("zero", c))
	r.equal("a field that is missing counts as the column's Zero", r.get(r.s, users, "zero").Doc, driver.Document{{Name: "n", Value: int64(11)}})
	c.Column.Zero = nil
	r.done(r.s, insertObject(users, "nothing", 1, nil))
	r.wants("what is no number cannot be added to", r.s, modifyUser("nothing", c), driver.Conflict)
}

// modifyConcurrent lets many change one object at once.
func (r *storeRig) modifyConcurrent() {
	const writers, rounds = 8, 20
	r.done(r.s, insertObject(users, "a", 1, driver.Document{{Name: "stock", Value: int64(50)}}))
	var group sync.WaitGroup
	var mu sync.Mutex
	sold, sets := 0, 0
	for i := range writers {
		group.Go(func() {
			for round := range rounds {
				results, err := r.s.Write(r.Context(), []driver.Write{
					modifyUser("a", add("n", int64(1), nil, nil), set(fmt.Sprint("writer ", i), int64(round))),
					modifyUser("a", add("stock", int64(-1), int64(0), nil)),
				})
				if err != nil || len(results) != 2 {
					r.Errorf("Modify under contention: %d results, %v", len(results), err)
					return
				}
				mu.Lock()
				if results[0].Outcome == driver.Done {
					sets++
				}
				if results[1].Outcome == driver.Done {
					sold++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	got := r.get(r.s, users, "a")
	n, _ := got.Doc.Get("n")
	stock, _ := got.Doc.Get("stock")
	r.equal("no change of a Modify is lost, and none is applied beyond its bounds: n, stock, Done, sold, version",
		[]any{n, stock, sets, sold, got.Version}, []any{int64(writers * rounds), int64(0), writers * rounds, 50, int64(1 + writers*rounds + 50)})
	for i := range writers {
		if last, _ := got.Doc.Get(fmt.Sprint("writer ", i)); last != int64(rounds-1) {
			r.Errorf("no change of a Modify is lost: writer %d set %v last", i, last)
		}
	}
	if !r.Failed() && r.s.Capabilities().Stamps {
		first := r.done(r.s, modifyUser("a", set("t", time.UnixMilli(1).UTC())))[0].Stamp
		if second := r.done(r.s, modifyUser("a", set("t", nil)))[0].Stamp; first == "" || second <= first {
			r.Errorf("Modify returns the moment of the write: %q, then %q", first, second)
		}
	}
}
