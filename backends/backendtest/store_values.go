package backendtest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// corpus has every dynamic type of driver.Value with its difficult values.
func corpus() []driver.Field {
	nested := driver.Value("leaf")
	for i := range 20 {
		nested = driver.Document{{Name: "below", Value: nested}, {Name: "level", Value: int64(i)}}
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return []driver.Field{
		{Name: "nil", Value: nil},
		{Name: "true", Value: true}, {Name: "false", Value: false},
		{Name: "zero", Value: int64(0)}, {Name: "one", Value: int64(1)}, {Name: "minus one", Value: int64(-1)},
		{Name: "int32 edge", Value: int64(math.MaxInt32)}, {Name: "beyond int32", Value: int64(math.MaxInt32 + 1)},
		{Name: "beyond float64", Value: int64(1<<53 + 1)},
		{Name: "max int64", Value: int64(math.MaxInt64)}, {Name: "min int64", Value: int64(math.MinInt64)},
		{Name: "uint64 above", Value: uint64(math.MaxInt64 + 1)}, {Name: "max uint64", Value: uint64(math.MaxUint64)},
		{Name: "float zero", Value: 0.0}, {Name: "float one", Value: 1.0}, {Name: "float", Value: 0.1}, {Name: "huge", Value: 1e300},
		{Name: "tiny", Value: math.SmallestNonzeroFloat64}, {Name: "2 to the 63", Value: float64(1 << 63)},
		{Name: "NaN", Value: math.NaN()}, {Name: "+Inf", Value: math.Inf(1)}, {Name: "-Inf", Value: math.Inf(-1)},
		{Name: "empty string", Value: ""}, {Name: "string", Value: "grüße, 世界 🌍"}, {Name: "NUL", Value: "a\x00b"},
		{Name: "dollar", Value: "$name"}, {Name: "long", Value: strings.Repeat("long ", 40_000)},
		{Name: "decomposed", Value: "e\u0301"}, {Name: "composed", Value: "\u00e9"},
		{Name: "no bytes", Value: []byte{}}, {Name: "nil bytes", Value: []byte(nil)}, {Name: "every byte", Value: every},
		{Name: "epoch", Value: time.UnixMilli(0).UTC()}, {Name: "now", Value: time.UnixMilli(1767323045123).UTC()},
		{Name: "before 1970", Value: time.UnixMilli(-1).UTC()}, {Name: "1850", Value: time.Date(1850, 2, 3, 4, 5, 6, 7e6, time.UTC)},
		{Name: "year 1", Value: time.Time{}}, {Name: "year 9999", Value: time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)},
		{Name: "no array", Value: []driver.Value{}}, {Name: "nil array", Value: []driver.Value(nil)},
		{Name: "array", Value: []driver.Value{nil, int64(1), 1.0, "x", []byte{1}, []driver.Value{}, driver.Document{}, true}},
		{Name: "no document", Value: driver.Document{}}, {Name: "nil document", Value: driver.Document(nil)},
		{Name: "document", Value: driver.Document{{Name: "z", Value: int64(1)}, {Name: "a", Value: nil}, {Name: "_id", Value: "x"}, {Name: "0", Value: "y"}}},
		{Name: "nested", Value: nested},
	}
}

// corpus is what of the corpus the database can hold.
func (r *storeRig) corpus() []driver.Field {
	return slices.DeleteFunc(corpus(), func(f driver.Field) bool { return !r.h.holds(f.Value) })
}

// values tests that a document comes back type for type and in order.
func (r *storeRig) values() {
	corpus := r.corpus()
	for _, s := range subjects() {
		for i, f := range corpus {
			id := fmt.Sprint("value ", i)
			doc := driver.Document{{Name: "before", Value: int64(1)}, f, {Name: "after", Value: "x"}}
			r.done(r.s, s.write(driver.Insert, id, 5, doc))
			_, got := s.read(r, id)
			r.sameDocument(s.name+": "+f.Name, got, doc)
		}
		whole := driver.Document(corpus)
		r.done(r.s, s.write(driver.Insert, "whole", 5, whole))
		_, got := s.read(r, "whole")
		r.sameDocument(s.name+": the whole corpus", got, whole)
	}
}

// sameDocument compares type for type, the order of fields included.
func (r *storeRig) sameDocument(what string, got, want driver.Document) {
	r.Helper()
	const rule = "a backend gives back what it was given, type for type"
	if !driver.Equal(got, want) {
		r.Errorf("%s: %s: got %.300v, want %.300v", what, rule, got, want)
		return
	}
	r.sameOrder(what, got, want)
}

// sameOrder walks two equal values and compares what Equal does not.
func (r *storeRig) sameOrder(what string, got, want driver.Value) {
	r.Helper()
	switch want := want.(type) {
	case driver.Document:
		for i, f := range got.(driver.Document) {
			if f.Name != want[i].Name {
				r.Errorf("%s: a document has its fields in the order in which they were written: field %d is %q, want %q", what, i, f.Name, want[i].Name)
				return
			}
			r.sameOrder(what, f.Value, want[i].Value)
		}
	case []driver.Value:
		for i, v := range got.([]driver.Value) {
			r.sameOrder(what, v, want[i])
		}
	case time.Time:
		if got := got.(time.Time); got.Location() != time.UTC || !got.Equal(got.Truncate(time.Millisecond)) {
			r.Errorf("%s: times are UTC, whole milliseconds: got %v", what, got)
		}
	}
}

// old tests that Old compares as driver.Equal does: it holds for every value
// itself and for no other that a database may take for the same.
func (r *storeRig) old() {
	for _, s := range subjects() {
		for i, f := range r.corpus() {
			id := fmt.Sprint("old ", i)
			doc := driver.Document{{Name: "f", Value: f.Value}}
			r.done(r.s, s.write(driver.Insert, id, 5, doc))
			w := s.write(driver.Replace, id, 6, doc)
			w.Old = doc
			r.wants("Old holds for the value that is there: "+f.Name, r.s, w, driver.Done)
		}
	}
	for i, test := range lookalikes() {
		if !r.h.holds(test.there) || !r.h.holds(test.old) {
			continue
		}
		id := fmt.Sprint("alike ", i)
		for _, s := range subjects()[:2] {
			r.done(r.s, s.write(driver.Insert, id, 5, driver.Document{{Name: "f", Value: test.there}}))
			w := s.write(driver.Delete, id, 6, nil)
			w.Old = driver.Document{{Name: "f", Value: test.old}}
			want := driver.Conflict
			if driver.Equal(test.there, test.old) {
				want = driver.Done
			}
			r.wants(fmt.Sprintf("Old is compared with the value by driver.Equal: there %T %v, Old %T %v", test.there, test.there, test.old, test.old),
				r.s, w, want)
		}
	}
}

// lookalikes are pairs of values that are easily mistaken for each other.
func lookalikes() []struct{ there, old driver.Value } {
	ab := driver.Document{{Name: "a", Value: int64(1)}, {Name: "b", Value: int64(2)}}
	ba := driver.Document{ab[1], ab[0]}
	return []struct{ there, old driver.Value }{
		{int64(1), 1.0}, {1.0, int64(1)}, {int64(0), nil}, {nil, int64(0)}, {int64(0), false}, {int64(1), true},
		{uint64(math.MaxInt64 + 1), float64(1 << 63)}, {uint64(math.MaxUint64), int64(-1)}, {int64(math.MinInt64), uint64(math.MaxInt64 + 1)},
		{int64(1<<53 + 1), float64(1 << 53)},
		{"", nil}, {nil, ""}, {"1", int64(1)}, {"a", []byte("a")}, {[]byte("a"), "a"}, {"a", "A"}, {"\u00e9", "e\u0301"}, {"a", "a "},
		{[]driver.Value{"x"}, "x"}, {"x", []driver.Value{"x"}}, {[]driver.Value{}, nil}, {nil, []driver.Value{}},
		{[]driver.Value{nil}, nil}, {[]driver.Value{"x", "y"}, []driver.Value{"y", "x"}}, {[]driver.Value{"x"}, []driver.Value{"x", "x"}},
		{[]driver.Value{[]driver.Value{"x"}}, []driver.Value{"x"}},
		{driver.Document{}, nil}, {nil, driver.Document{}}, {driver.Document{}, []driver.Value{}}, {[]byte{}, nil}, {[]byte(nil), []byte{}},
		{ab, ba}, {ab, ab[:1]}, {ab[:1], ab}, {driver.Document{{Name: "a", Value: nil}}, driver.Document{}},
		{math.NaN(), math.NaN()}, {math.NaN(), nil}, {math.NaN(), 0.0}, {0.0, math.Copysign(0, -1)},
		{time.UnixMilli(5).UTC(), int64(5)}, {time.UnixMilli(5).UTC(), time.UnixMilli(6).UTC()},
		{time.UnixMilli(5).UTC(), time.UnixMilli(5).In(time.FixedZone("", 3600))},
		{"x", driver.Document{{Name: "$ne", Value: "y"}}}, {int64(5), driver.Document{{Name: "$gt", Value: int64(1)}}},
	}
}

// names tests field names that databases may take for something else.
func (r *storeRig) names() {
	odd := []string{"a.b", "a", "$set", "$", ".", "a.", "0", "id", "ID", "version", "time", "from", "to", "kind", "data", "doc", "deleting", " ", "ü", "x_y", "é\n"}
	var doc driver.Document
	odd = slices.DeleteFunc(odd, func(name string) bool { return !r.h.holds(driver.Document{{Name: name}}) })
	for i, name := range odd {
		doc = append(doc, driver.Field{Name: name, Value: int64(i)})
	}
	doc = append(doc, driver.Field{Name: "inner", Value: append(driver.Document{{Name: "_v", Value: "x"}}, doc...)})
	for _, s := range subjects() {
		r.done(r.s, s.write(driver.Insert, "names", 5, doc))
		_, got := s.read(r, "names")
		r.sameDocument(s.name+": any name without NUL or leading '_' is a field's", got, doc)
		for i, name := range odd {
			w := s.write(driver.Replace, "names", 5, doc)
			w.Old = driver.Document{{Name: name, Value: int64(i)}}
			r.wants(fmt.Sprintf("Old finds the field %q", name), r.s, w, driver.Done)
			w.Old[0].Value = int64(i + 1)
			r.wants(fmt.Sprintf("Old compares the field %q", name), r.s, w, driver.Conflict)
		}
		w := s.write(driver.Replace, "names", 5, doc)
		w.Old = driver.Document{{Name: "inner.a", Value: nil}}
		r.wants("a dot in a name is no path: there is no field \"inner.a\"", r.s, w, driver.Done)
	}
}

// keys tests IDs that databases may take for something else.
func (r *storeRig) keys() {
	ids := []string{
		"a", "A", "ab", "a b", "a:b", "a/b", "a\x00b", "a\x00", "$a", ".", "..", "_", "-1", "1", "01", "1.0", "null", "ü", "u\u0308", "世界",
		strings.Repeat("k", 512), strings.Repeat("k", 511), "\U0010ffff", "\uffff", "{\"$gt\":\"\"}", "\n", " ", "a,b", "a|b",
	}
	for i, id := range ids {
		r.done(r.s, insertObject(users, id, int64(i+1), nil))
		for j, to := range ids[:8] {
			r.done(r.s, insertEdge(wrote, id, to, int64(100*i+j+1), int64(j)))
		}
	}
	for i, id := range ids {
		if o := r.get(r.s, users, id); o == nil || o.ID != id || o.Version != int64(i+1) {
			r.Errorf("an ID is any UTF-8 string: %q gives %+v", id, o)
		}
		if edges := r.list(r.s, wrote, driver.Out, id, driver.Range{}); len(edges) != 8 || edges[0].From != id || edges[0].Version != int64(100*i+8) {
			r.Errorf("an ID is any UTF-8 string: the list of %q is %v", id, edges)
		}
	}
	equal := r.list(r.s, wrote, driver.In, "a", driver.Range{})
	for i := 1; i < len(equal); i++ {
		if equal[i-1].From >= equal[i].From {
			r.Errorf("far ends are compared as bytes: %q before %q", equal[i-1].From, equal[i].From)
		}
	}
}

// ownership tests that what the caller does to its records after the call does
// not change the store.
func (r *storeRig) ownership() {
	for _, s := range subjects() {
		for _, op := range []driver.WriteOp{driver.Insert, driver.Replace} {
			bytes := []byte("bytes")
			array := []driver.Value{"array"}
			inner := driver.Document{{Name: "x", Value: "inner"}}
			doc := driver.Document{{Name: "bytes", Value: bytes}, {Name: "array", Value: array}, {Name: "inner", Value: inner}}
			w := s.write(op, "mine", 5, doc)
			r.done(r.s, w)
			_, before := s.read(r, "mine")
			bytes[0], array[0], inner[0].Value, doc[0].Name = 'X', "X", "X", "X"
			if w.Object != nil {
				w.Object.Version, w.Object.ID = 77, "theirs"
			} else {
				w.Edge.Version, w.Edge.From = 77, "theirs"
			}
			version, after := s.read(r, "mine")
			want := driver.Document{
				{Name: "bytes", Value: []byte("bytes")}, {Name: "array", Value: []driver.Value{"array"}},
				{Name: "inner", Value: driver.Document{{Name: "x", Value: "inner"}}},
			}
			r.equal(s.name+": what is passed in belongs to the caller again when the call returns", after, want)
			r.equal(s.name+": what was returned is never modified", before, want)
			r.equal(s.name+": what is passed in belongs to the caller again when the call returns", version, int64(5))
		}
	}
}
