package backendtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

func handlesColumn() *driver.Column { return &driver.Column{Path: []string{"handles"}, List: true} }

// seatColumn is 1 where it is missing.
func seatColumn() *driver.Column { return &driver.Column{Path: []string{"seat"}, Zero: int64(1)} }

func roomColumn() *driver.Column  { return typed(field("room"), driver.StringType) }
func scopeColumn() *driver.Column { return typed(field("scope"), driver.StringType) }

func keysColumn() *driver.Column {
	return &driver.Column{Path: []string{"keys"}, List: true, Type: driver.StringType}
}

func accountIndexes() []driver.Index {
	email, room, scope, seat, handles := *field("email"), *roomColumn(), *scopeColumn(), *seatColumn(), *handlesColumn()
	keys := *keysColumn()
	return []driver.Index{
		{Name: "by email", Columns: []driver.Column{email}, Unique: true},
		{Name: "by seat", Columns: []driver.Column{room, seat}, Unique: true},
		{Name: "by handle", Columns: []driver.Column{handles}, Unique: true},
		{Name: "by key", Columns: []driver.Column{scope, keys}, Unique: true},
		{Name: "renamed", Columns: []driver.Column{*renamedColumn(), *field("deep.down")}, Unique: true},
		{Name: "plain", Columns: []driver.Column{email, room}},
	}
}

// account makes a write of an account from names and values in turn.
func account(op driver.WriteOp, id string, version int64, fields ...any) driver.Write {
	var doc driver.Document
	for i := 0; i < len(fields); i += 2 {
		doc = append(doc, driver.Field{Name: fields[i].(string), Value: fields[i+1]})
	}
	return driver.Write{Op: op, Kind: accounts, Object: &driver.Object{ID: id, Version: version, Doc: doc}}
}

// marked sets the mark Deleting.
func marked(w driver.Write) driver.Write {
	w.Object.Deleting = true
	return w
}

// breaks does a write that must be Exists because of the index; of the key if the
// name is empty.
func (r *storeRig) breaks(rule string, to readWriter, w driver.Write, index string) {
	r.Helper()
	got := r.wants(rule, to, w, driver.Exists)
	if got.Outcome == driver.Exists && (got.Index != index || index != "" && got.Object != nil) {
		r.Errorf("%s: %s: Exists has the index's name and no Object, no name if it is because of the key: got %q, %+v, want %q",
			rule, describe(&w), got.Index, got.Object, index)
	}
}

// unique tests what a unique index forbids, and what not.
func (r *storeRig) unique() {
	r.uniqueOutcomes()
	r.uniqueValues()
	r.uniqueLists()
	r.uniqueMarks()
	r.uniqueApart()
}

// uniqueOutcomes tests which outcome goes before which.
func (r *storeRig) uniqueOutcomes() {
	r.done(r.s, account(driver.Insert, "a", 5, "email", "a@x", "n", int64(1)), account(driver.Insert, "b", 6, "email", "b@x"))
	r.breaks("an Insert that would break a unique index is Exists", r.s, account(driver.Insert, "c", 7, "email", "a@x"), "by email")
	r.breaks("a key that is taken goes before an index", r.s, account(driver.Insert, "a", 7, "email", "b@x"), "")
	r.breaks("a key that is taken goes before an index", r.s, account(driver.Insert, "a", 7, "email", "a@x"), "")
	r.breaks("a Replace that would break a unique index is Exists", r.s, account(driver.Replace, "b", 7, "email", "a@x"), "by email")
	r.wants("Missing goes before an index", r.s, account(driver.Replace, "c", 7, "email", "a@x"), driver.Missing)
	stale := account(driver.Replace, "b", 7, "email", "a@x")
	stale.Expect = 5
	r.wants("Conflict goes before an index", r.s, stale, driver.Conflict)
	stale.Expect, stale.Old = 6, driver.Document{{Name: "email", Value: "c@x"}}
	r.wants("Conflict goes before an index", r.s, stale, driver.Conflict)
	r.equal("a write that is not Done changes nothing", []any{r.get(r.s, accounts, "b").Version, r.get(r.s, accounts, "c")}, []any{int64(6), (*driver.Object)(nil)})

	r.wants("an object does not stand against itself", r.s, account(driver.Replace, "a", 8, "email", "a@x", "n", int64(2)), driver.Done)
	r.wants("a Replace may change an entry", r.s, account(driver.Replace, "a", 9, "email", "A@x"), driver.Done)
	r.wants("an entry that was given up is free", r.s, account(driver.Replace, "b", 9, "email", "a@x"), driver.Done)
	r.wants("an entry that was given up is free", r.s, account(driver.Insert, "c", 9, "email", "b@x"), driver.Done)
	r.done(r.s, driver.Write{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: "b"}})
	r.wants("the entry of an object that was deleted is free", r.s, account(driver.Insert, "d", 9, "email", "a@x"), driver.Done)

	results, err := r.s.Write(r.Context(), []driver.Write{
		account(driver.Insert, "m", 1, "email", "m@x"), account(driver.Insert, "n", 1, "email", "m@x"),
		{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: "m"}}, account(driver.Insert, "o", 1, "email", "m@x"),
	})
	r.must(err)
	var got []driver.Outcome
	for i := range results {
		got = append(got, results[i].Outcome)
	}
	r.equal("the writes of a batch are applied in order, in the indexes too", got, []driver.Outcome{driver.Done, driver.Exists, driver.Done, driver.Done})
}

// uniqueValues tests which entries are the same.
func (r *storeRig) uniqueValues() {
	long := strings.Repeat("long ", 1000)
	same := [][2]driver.Value{
		{"x", "x"}, {"", ""}, {int64(1), 1.0}, {uint64(1 << 63), float64(1 << 63)}, {[]byte{1}, []byte{1}}, {true, true}, {long, long},
		{driver.Document{{Name: "a", Value: int64(1)}}, driver.Document{{Name: "a", Value: 1.0}}},
	}
	other := [][2]driver.Value{
		{nil, nil}, {"x", "X"}, {"x", "x "}, {"\u00e9", "e\u0301"}, {"1", int64(1)}, {"x", []byte("x")}, {int64(1<<53 + 1), float64(1 << 53)},
		{int64(0), false}, {long + "a", long + "b"}, {"", nil}, {"a\x00", "a"},
	}
	for i, pair := range append(slices.Clone(same), other...) {
		if !r.h.holds(pair[0]) || !r.h.holds(pair[1]) {
			continue
		}
		first, second := fmt.Sprint("first ", i), fmt.Sprint("second ", i)
		r.done(r.s, account(driver.Insert, first, 1, "email", pair[0]))
		w := account(driver.Insert, second, 1, "email", pair[1])
		if i < len(same) {
			r.breaks(fmt.Sprintf("entries are the same: %T %.20v and %T %.20v", pair[0], pair[0], pair[1], pair[1]), r.s, w, "by email")
		} else {
			r.wants(fmt.Sprintf("entries differ, or have a nil: %T %.20v and %T %.20v", pair[0], pair[0], pair[1], pair[1]), r.s, w, driver.Done)
			r.done(r.s, driver.Write{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: second}})
		}
		r.done(r.s, driver.Write{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: first}})
	}
	if !r.h.StoredUnique {
		r.uniqueMissing()
	}
}

// uniqueMissing tests entries of fields that are missing or have an older name.
func (r *storeRig) uniqueMissing() {
	const rule = "an entry is the values of the columns, a field that is missing or null its column's Zero"
	r.done(r.s, account(driver.Insert, "s1", 1, "room", "r"), account(driver.Insert, "s2", 1, "room", "r", "seat", int64(2)), account(driver.Insert, "s3", 1, "room", "q"))
	r.breaks(rule, r.s, account(driver.Insert, "s4", 1, "room", "r", "seat", int64(1)), "by seat")
	r.breaks(rule, r.s, account(driver.Insert, "s4", 1, "seat", nil, "room", "r"), "by seat")
	r.breaks(rule, r.s, account(driver.Insert, "s4", 1, "seat", 2.0, "room", "r"), "by seat")
	r.wants(rule, r.s, account(driver.Insert, "s4", 1, "room", "q", "seat", int64(2)), driver.Done)
	r.wants("an entry with a nil in it may be there more than once", r.s, account(driver.Insert, "s5", 1, "seat", int64(2)), driver.Done)
	r.wants("an entry with a nil in it may be there more than once", r.s, account(driver.Insert, "s6", 1, "seat", int64(2), "room", nil), driver.Done)
	deep := driver.Document{{Name: "down", Value: int64(1)}}
	r.done(r.s, account(driver.Insert, "o1", 1, "renamed", "x", "deep", deep))
	r.breaks("a column is found under its older names too", r.s, account(driver.Insert, "o2", 1, "deep", deep, "older", "x"), "renamed")
	r.wants("older names count only where the document lacks the name", r.s, account(driver.Insert, "o2", 1, "deep", deep, "renamed", nil, "older", "x"), driver.Done)
	r.wants("older names are tried in order", r.s, account(driver.Insert, "o3", 1, "deep", deep, "older", "x", "old", "y"), driver.Done)
}

// uniqueLists tests columns that are lists.
func (r *storeRig) uniqueLists() {
	list := func(values ...driver.Value) driver.Value { return values }
	const rule = "a column that is a List gives an entry for each of its distinct elements"
	r.wants(rule, r.s, account(driver.Insert, "l1", 1, "handles", list("a", "b", "a")), driver.Done)
	r.breaks(rule, r.s, account(driver.Insert, "l2", 1, "handles", list("c", "b")), "by handle")
	r.wants(rule, r.s, account(driver.Insert, "l2", 1, "handles", list("c", int64(1), 1.0)), driver.Done)
	r.breaks(rule, r.s, account(driver.Replace, "l1", 2, "handles", list("b", "c")), "by handle")
	r.wants("a list does not stand against itself", r.s, account(driver.Replace, "l1", 2, "handles", list("b", "d")), driver.Done)
	r.wants("an element that was taken out is free", r.s, account(driver.Insert, "l3", 1, "handles", list("a")), driver.Done)
	empty := []driver.Value{nil, list(), list()}
	if !r.h.StoredUnique {
		empty = append(empty, list(nil), list(nil, nil))
	}
	for i, none := range empty {
		r.wants("a list gives no entry if it is empty, and nil may be there more than once", r.s, account(driver.Insert, fmt.Sprint("none ", i), 1, "handles", none), driver.Done)
	}
	r.done(r.s, account(driver.Insert, "k1", 1, "scope", "s", "keys", list("a", "b")), account(driver.Insert, "k2", 1, "scope", "t", "keys", list("a", "b")),
		account(driver.Insert, "k3", 1, "keys", list("a")), account(driver.Insert, "k4", 1, "keys", list("a")), account(driver.Insert, "k5", 1, "scope", "s"))
	r.breaks(rule, r.s, account(driver.Insert, "k6", 1, "scope", "s", "keys", list("x", "b")), "by key")
	r.wants(rule, r.s, account(driver.Insert, "k6", 1, "scope", "s", "keys", list("x")), driver.Done)
}

// uniqueMarks tests objects that are marked Deleting.
func (r *storeRig) uniqueMarks() {
	const rule = "an object that is marked Deleting has no entry"
	r.done(r.s, account(driver.Insert, "d1", 1, "email", "d@x"))
	r.wants(rule, r.s, marked(account(driver.Insert, "d2", 1, "email", "d@x")), driver.Done)
	r.breaks("an object has its entries again without the mark", r.s, account(driver.Replace, "d2", 2, "email", "d@x"), "by email")
	r.done(r.s, marked(account(driver.Replace, "d1", 2, "email", "d@x")))
	r.wants(rule, r.s, account(driver.Replace, "d2", 2, "email", "d@x"), driver.Done)
	r.breaks("an object has its entries again without the mark", r.s, account(driver.Replace, "d1", 3, "email", "d@x"), "by email")
}

// uniqueApart tests that kinds and namespaces have indexes of their own.
func (r *storeRig) uniqueApart() {
	view := r.s.Namespace("apart")
	r.must(view.Ensure(r.Context(), suiteSchema()))
	r.done(r.s, account(driver.Insert, "apart", 1, "email", "apart@x"), insertObject(users, "apart", 1, driver.Document{{Name: "email", Value: "apart@x"}}))
	r.wants("the indexes of a namespace are apart from those of every other", view, account(driver.Insert, "other", 1, "email", "apart@x"), driver.Done)
	r.breaks("a unique index holds in a namespace", view, account(driver.Insert, "third", 1, "email", "apart@x"), "by email")
}

// uniqueEnsure tests how indexes come to be.
func (r *storeRig) uniqueEnsure() {
	r.done(r.s, insertObject(users, "a", 1, driver.Document{{Name: "nick", Value: "x"}}), insertObject(users, "b", 1, driver.Document{{Name: "nick", Value: "x"}}),
		insertObject(users, "c", 1, nil), insertObject(users, "d", 1, nil), marked(insertObject(users, "e", 1, driver.Document{{Name: "nick", Value: "y"}})),
		insertObject(users, "f", 1, driver.Document{{Name: "nick", Value: "y"}}))
	with := driver.Schema{Objects: []driver.ObjectKind{{Name: users, Indexes: []driver.Index{
		{Name: "by nick", Columns: []driver.Column{*field("nick")}, Unique: true},
	}}}}
	if err := r.s.Ensure(r.Context(), with); !errors.Is(err, driver.ErrExists) || !strings.Contains(err.Error(), "by nick") {
		r.Errorf("Ensure returns an error that wraps ErrExists and names the index if the objects that are there break it: %v", err)
	}
	r.wants("an index that could not be made does not hold", r.s, insertObject(users, "g", 1, driver.Document{{Name: "nick", Value: "x"}}), driver.Done)
	r.done(r.s, driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "g"}},
		driver.Write{Op: driver.Replace, Kind: users, Object: &driver.Object{ID: "b", Version: 2, Doc: driver.Document{{Name: "nick", Value: "z"}}}})
	errs := make(chan error, 6)
	for range cap(errs) {
		go func() { errs <- r.s.Ensure(r.Context(), with) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			r.Errorf("Ensure is idempotent, may be called by many at once, and makes an index that nothing breaks: %v", err)
		}
	}
	for _, nick := range []string{"x", "y", "z"} {
		r.breaks("an index has the objects that were there before it", r.s, insertObject(users, "h", 1, driver.Document{{Name: "nick", Value: nick}}), "by nick")
	}
	filter := on(field("nick"), driver.AnyOf, "x", "z")
	r.finds("an index has the objects that were there before it", users, &filter, []string{"a", "b"})
	r.must(r.s.Ensure(r.Context(), suiteSchema()))
	r.breaks("Ensure drops nothing: an index that the schema has not is left alone", r.s, insertObject(users, "h", 1, driver.Document{{Name: "nick", Value: "x"}}), "by nick")
}

// uniqueOneWins lets many take the same entry at once.
func (r *storeRig) uniqueOneWins() {
	const writers = 12
	list := func(values ...driver.Value) driver.Value { return values }
	for round := range 4 {
		entry := fmt.Sprint("entry ", round)
		won := r.contend(writers, func(i int) driver.Write {
			return account(driver.Insert, fmt.Sprint(entry, i), 1, "email", entry, "handles", list(fmt.Sprint(entry, i)))
		})
		if won != 1 {
			r.Errorf("of %d writers that insert objects with the same entry exactly one is Done: %d were", writers, won)
		}
		for i := range writers {
			r.wants("the writers that lost left nothing", r.s, account(driver.Insert, fmt.Sprint(entry, "free", i), 1, "room", fmt.Sprint(entry, i)), driver.Done)
		}
		won = r.contend(writers, func(i int) driver.Write {
			return account(driver.Replace, fmt.Sprint(entry, "free", i), 2, "handles", list(fmt.Sprint("own ", i), entry))
		})
		if won != 1 {
			r.Errorf("of %d writers that replace objects by ones with the same entry exactly one is Done: %d were", writers, won)
		}
		filter := on(field("email"), driver.AnyOf, entry)
		if got := r.read(r.s, driver.Step{Op: driver.FindObjects, Kind: accounts, Filter: &filter}).IDs; len(got) != 1 {
			r.Errorf("no two objects have the same entry in a unique index: %q", got)
		}
	}
}

// uniqueRandom compares the outcomes of random writes with those that follow from
// the entries of all objects.
func (r *storeRig) uniqueRandom() {
	seed := rand.Uint64()
	r.Logf("seed %d", seed)
	f := &finder{Rand: rand.New(rand.NewPCG(seed, 0)), h: &r.h, model: &findModel{objects: make(map[string]*driver.Object)}}
	for range 300 {
		w := f.account()
		_, there := f.model.objects[w.Object.ID]
		want := wantOutcome(w.Op, there, true)
		var broken []string
		if want == driver.Done && w.Op != driver.Delete {
			broken = brokenIndexes(f.model.objects, w.Object)
		}
		if len(broken) > 0 {
			want = driver.Exists
		}
		got := r.wants("random writes", r.s, w, want)
		if got.Outcome == driver.Exists && len(broken) > 0 && !slices.Contains(broken, got.Index) {
			r.Errorf("Exists has the index's name: got %q, broken are %q", got.Index, broken)
		}
		if r.Failed() {
			r.Fatalf("the write was of %+v", w.Object)
		}
		if want == driver.Done {
			f.model.apply([]driver.Write{w})
		}
	}
}

// account makes a random write of one of a few accounts.
func (f *finder) account() driver.Write {
	list := func(values ...driver.Value) driver.Value { return values }
	op := []driver.WriteOp{driver.Insert, driver.Insert, driver.Replace, driver.Replace, driver.Delete}[f.IntN(5)]
	choices := []sort{
		{field("email"), []driver.Value{nil, "a", "b", "c", int64(1), 1.0}},
		{roomColumn(), []driver.Value{nil, "a", "b"}},
		{seatColumn(), []driver.Value{nil, int64(1), int64(2), 2.0}},
		{handlesColumn(), []driver.Value{nil, list(), list("a", "b"), list("b", "b"), list("c", nil), list("d"), list(nil)}},
		{scopeColumn(), []driver.Value{nil, "a", "b"}},
		{keysColumn(), []driver.Value{nil, list("a"), list("b", "c"), list("c", "d")}},
		{field("old"), []driver.Value{nil, "a", "b"}},
	}
	if f.h.StoredUnique {
		choices[3].values, choices = choices[3].values[:4], choices[:6]
	}
	var fields []any
	for _, s := range choices {
		stored := f.h.StoredUnique && s.column.Zero != nil
		if stored {
			s.values = slices.DeleteFunc(s.values, func(v driver.Value) bool { return v == nil })
		}
		if stored || f.IntN(2) == 0 {
			fields = append(fields, s.column.Path[0], f.value(s))
		}
	}
	w := account(op, pick(f, findIDs), f.next(), fields...)
	w.Object.Deleting = f.IntN(6) == 0
	return w
}

// brokenIndexes returns the unique indexes in which another object has an entry of
// this one.
func brokenIndexes(objects map[string]*driver.Object, o *driver.Object) []string {
	var broken []string
	for _, ix := range accountIndexes() {
		for _, other := range objects {
			if ix.Unique && other.ID != o.ID && meet(entriesOf(&ix, o), entriesOf(&ix, other)) {
				broken = append(broken, ix.Name)
				break
			}
		}
	}
	return broken
}

// entriesOf returns the entries of an object without those that have a nil.
func entriesOf(ix *driver.Index, o *driver.Object) [][]driver.Value {
	if o.Deleting {
		return nil
	}
	entries := [][]driver.Value{nil}
	for i := range ix.Columns {
		values := []driver.Value{ix.Columns[i].Value(o.Doc)}
		if ix.Columns[i].List {
			values, _ = values[0].([]driver.Value)
		}
		var longer [][]driver.Value
		for _, entry := range entries {
			for _, v := range values {
				if v != nil {
					longer = append(longer, append(slices.Clip(entry), v))
				}
			}
		}
		entries = longer
	}
	return entries
}

// meet reports whether two objects have an entry in common.
func meet(a, b [][]driver.Value) bool {
	return slices.ContainsFunc(a, func(x []driver.Value) bool {
		return slices.ContainsFunc(b, func(y []driver.Value) bool { return slices.CompareFunc(x, y, driver.Compare) == 0 })
	})
}
