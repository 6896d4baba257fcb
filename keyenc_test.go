package graphcache

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/driver"
)

var updateKeys = flag.Bool("update.keys", false, "rewrite testdata/keys.golden")

var compareInternals = cmp.AllowUnexported(parsedQuery{}, parsedHop{}, parsedPred{}, parsedColumn{}, parsedOrder{}, bound{}, span{}, field{}, anchor{}, keyspace{}, edge{})

// sampleKeys are the keys whose encoding is frozen: a change of it is a change of
// what every cache holds.
func sampleKeys() []struct{ name, key string } {
	s := keyspace{database: "db", namespace: "t"}
	at := bound{ms: 1700000000000, set: true}
	q := source{kind: "user", ids: []string{"a", "b"}, hops: 2,
		prev: &link{hop: hop{edge: &edgeKind{name: "follows"}, direction: driver.Out, limitPer: 3}},
		last: hop{edge: &edgeKind{name: "wrote"}, direction: driver.In, high: at, low: bound{ms: -5, set: true}, offset: 7, limit: 300, distinct: true},
	}
	one := source{kind: "user", id: "a", hops: 1, last: hop{edge: &edgeKind{name: "follows"}}}
	return []struct{ name, key string }{
		{"object", s.key(anchor{objectAnchor, "user", "ann"})},
		{"out", s.key(anchor{outAnchor, "follows", "ann"})},
		{"in", s.key(anchor{inAnchor, "follows", "ann"})},
		{"in the store itself", keyspace{database: "db"}.key(anchor{inAnchor, "follows", "ann"})},
		{"long id", s.key(anchor{objectAnchor, "user", strings.Repeat("x", 300)})},
		{"count", field{typ: countField, fingerprint: 1 << 63}.key()},
		{"count in a time", field{typ: countField, fingerprint: 5, span: span{high: at, low: at}}.key()},
		{"span", field{typ: spanField, fingerprint: 5, span: span{offset: 1024, limit: 20}}.key()},
		{"end", field{typ: endField, fingerprint: 5, end: "bob"}.key()},
		{"foreign", field{typ: foreignField, fingerprint: 5}.key()},
		{"query", string(q.appendKey(nil))},
		{"query of one hop", string(one.appendKey(nil))},
	}
}

// searchKeys are the frozen keys of searches: their anchors, fields, conditions, orders.
func searchKeys() (keys []struct{ name, key string }) {
	s := keyspace{database: "db", namespace: "t"}
	add := func(name, key string) { keys = append(keys, struct{ name, key string }{name, key}) }
	flag, number, float, name, at := &predColumns[1], &predColumns[3], &predColumns[6], &predColumns[8], &predColumns[11]
	ix := NewIndex("x", predKind, predIndexed(name), predIndexed(number), predIndexed(float)).core
	for _, values := range [][]driver.Value{{""}, {"berlin"}, {"berlin", int64(-1)}, {"berlin", int64(7), 1.0}, {"berlin", int64(7), 1.5}} {
		add(fmt.Sprint("index anchor of ", values), s.key(anchor{indexAnchor, "rec", ix.anchorID(values)}))
	}
	add("kind anchor", s.key(anchor{typ: kindAnchor, kind: "rec"}))
	for i := range predColumns {
		c := &predColumns[i]
		if i != 1 { // a flag is always true or false
			add(c.name+" in the set", keyOf(panicking{}, predKind.Where(c.in([]int{1, 0}))))
		}
		if c.isNil != nil {
			add(c.name+" is nil", keyOf(panicking{}, predKind.Where(c.isNil())))
		}
		add(c.name+" not", keyOf(panicking{}, predKind.Where(c.ne(len(c.values)-1))))
		for op := driver.Less; op <= driver.Contains; op++ {
			if c.compare[op] != nil {
				add(fmt.Sprintf("%s %s", c.name, opSigns[op]), keyOf(panicking{}, predKind.Where(c.compare[op](1))))
			}
		}
		if c.has != nil {
			add(c.name+" has", keyOf(panicking{}, predKind.Where(c.has(1))))
		}
		if c.asc != nil {
			add(c.name+" descending", keyOf(panicking{}, predKind.Where().OrderBy(c.asc(true))))
		}
	}
	nested := Or(And(name.eq(1), number.compare[driver.Less](2)), Not(Or(flag.eq(1), at.compare[driver.Greater](1))))
	add("root", keyOf(panicking{}, predKind.Where()))
	add("nothing", keyOf(panicking{}, predKind.Where(Or[predRecord]())))
	add("root and hop", keyOf(panicking{}, predLinks.In(predKind.Where(nested).OrderBy(name.asc(true), number.asc(false)).Limit(3)).
		Where(nested).WhereEdge(predNote.Eq("x"), predTime.Lt(predDay(1))).OrderByEdge(predTime.Asc(), predWeight.Desc())))

	k := &boundKind{name: "rec", fingerprint: 5}
	q := predKind.Where(name.eq(1)).OrderBy(number.asc(true)).Limit(20).Offset(3)
	add("find", k.searchRequest(kindAnchor, "", &q.src.path()[0], false).field)
	add("found", k.searchRequest(kindAnchor, "", &q.src.path()[0], true).field)
	page := q.src.path()[0]
	page.after = []driver.Value{int64(7), "a"}
	add("find after a place", k.searchRequest(kindAnchor, "", &page, false).field)
	return keys
}

// predIndexed is the column as a field that an index can be made of.
func predIndexed(c *predColumn) Field[predRecord, int] { return Field[predRecord, int]{c.col} }

// sampleCursors are frozen cursors, each with its query's key.
func sampleCursors() (cursors []struct{ name, cursor, key string }) {
	add := func(name string, q predQuery, r row) {
		cursor, err := q.cursor(&r)
		if err != nil {
			panic(err)
		}
		cursors = append(cursors, struct{ name, cursor, key string }{name, cursor, keyOf(panicking{}, q)})
	}
	q := predLinks.Out(ID[predRecord]("a")).Limit(10)
	r := row{edge: edge{far: "b", ms: 1700000000000}, near: "a"}
	add("list", q, r)
	add("the same place of another query", q.Offset(1), r)
	add("by time and ID", q.OrderByEdge(predTime.Asc()).OrderBy(predColumns[0].asc(true)), r)
	add("by time", q.OrderByEdge(predTime.Asc()), r)
	return cursors
}

// panicking is a test for what is made outside of one.
type panicking struct{}

func (panicking) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func TestKeysGolden(t *testing.T) {
	var got bytes.Buffer
	for _, k := range append(sampleKeys(), searchKeys()...) {
		fmt.Fprintf(&got, "%s\t%s\n", k.name, hex.EncodeToString([]byte(k.key)))
	}
	for _, c := range sampleCursors() {
		fmt.Fprintf(&got, "cursor %s\t%s\n", c.name, c.cursor)
	}
	file := filepath.Join("testdata", "keys.golden")
	if *updateKeys {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the encoding of keys has changed (-want +got; -update.keys accepts it):\n%s", diff)
	}
}

// TestSampleKeysDiffer: no two of the sample keys are the same, and each is read as
// what it is and as nothing else.
func TestSampleKeysDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, k := range append(sampleKeys(), searchKeys()...) {
		if other, ok := seen[k.key]; ok {
			t.Errorf("%s and %s have the same key", k.name, other)
		}
		seen[k.key] = k.name
		read := 0
		if _, _, err := parseAnchor(k.key); err == nil {
			read++
		}
		if _, err := parseField(k.key); err == nil {
			read++
		}
		if _, err := parseQuery(k.key); err == nil {
			read++
		}
		if read != 1 {
			t.Errorf("%s: read as %d types of keys, want 1", k.name, read)
		}
	}
}

// parsed is what a key says of the predicate.
func (p *pred) parsed() parsedPred {
	q := parsedPred{op: p.op}
	if !p.isLeaf() {
		q.of = parsedPreds(p.of)
		return q
	}
	q.neg, q.column, q.values = p.neg, parsedColumn{p.col.Of, p.col.Path}, p.values()
	return q
}

func parsedPreds(of []pred) (parsed []parsedPred) {
	for i := range of {
		parsed = append(parsed, of[i].parsed())
	}
	return parsed
}

// parsed is what a key says of the query.
func (s *source) parsed() parsedQuery {
	q := parsedQuery{kind: s.kind}
	if ids := s.start(); len(ids) > 0 {
		q.ids = ids
	}
	for _, h := range s.path() {
		p := parsedHop{
			edge: h.edgeName(), direction: h.direction, high: h.high, low: h.low,
			limitPer: h.limitPer, offset: h.offset, limit: h.limit, distinct: h.distinct,
			whereEdge: parsedPreds(h.whereEdge), where: parsedPreds(h.where),
		}
		for _, k := range h.order {
			p.order = append(p.order, parsedOrder{parsedColumn{k.col.Of, k.col.Path}, k.desc})
		}
		q.hops = append(q.hops, p)
	}
	return q
}

// sameContent compares what two keys say, value by value and type by type.
var sameContent = cmp.Options{compareInternals, cmp.Comparer(func(a, b []driver.Value) bool {
	return slices.EqualFunc(a, b, func(a, b driver.Value) bool { return driver.Equal(a, b) })
})}

var (
	predNote   = StringFieldOf(predLinks, func(e *Edge[predRecord, predRecord, predEdge]) *string { return &e.Data.Note })
	predWeight = OrderedFieldOf(predLinks, func(e *Edge[predRecord, predRecord, predEdge]) *float64 { return &e.Data.Weight })
	predTime   = OrderedFieldOf(predLinks, func(e *Edge[predRecord, predRecord, predEdge]) *time.Time { return &e.Time })
)

type predQuery = Query[predRecord, Edge[predRecord, predRecord, predEdge]]

// genRefined draws a query of one or two hops with everything that a query can have.
func genRefined(t *rapid.T) predQuery {
	q := predLinks.Out(IDs[predRecord](rapid.SliceOfN(rapid.SampledFrom([]ID[predRecord]{"a", "b", "c"}), 0, 3).Draw(t, "starts")))
	if rapid.Bool().Draw(t, "root") {
		q = predLinks.In(refineObjects(t, predKind.Where()))
	}
	if rapid.Bool().Draw(t, "two hops") {
		q = predLinks.In(refineEdges(t, refineObjects(t, q)))
	}
	return refineEdges(t, refineObjects(t, q))
}

func refineObjects[E any](t *rapid.T, q Query[predRecord, E]) Query[predRecord, E] {
	columns := genColumns(t)
	q = q.Where(rapid.Map(genRaw(columns, 2), func(r raw) Predicate[predRecord] { return r.build() }).Draw(t, "where"))
	q = q.Limit(rapid.IntRange(0, 2).Draw(t, "limit")).Offset(rapid.IntRange(0, 2).Draw(t, "offset"))
	var order []Order[predRecord]
	for _, i := range columns {
		if c := &predColumns[i]; c.asc != nil && rapid.Bool().Draw(t, "sorted") {
			order = append(order, c.asc(rapid.Bool().Draw(t, "descending")))
		}
	}
	return q.OrderBy(order...)
}

func refineEdges(t *rapid.T, q predQuery) predQuery {
	if rapid.Bool().Draw(t, "distinct") {
		q = q.Distinct()
	}
	if rapid.Bool().Draw(t, "order by edges") {
		q = q.OrderByEdge(predTime.Desc(), predWeight.Asc())
	}
	return q.LimitPer(rapid.IntRange(0, 2).Draw(t, "per")).
		Since(rapid.SampledFrom([]time.Time{{}, predDay(1)}).Draw(t, "since")).
		Until(rapid.SampledFrom([]time.Time{{}, predDay(2)}).Draw(t, "until")).
		WhereEdge(rapid.SampledFrom([]Predicate[Edge[predRecord, predRecord, predEdge]]{
			And[Edge[predRecord, predRecord, predEdge]](), predNote.Contains("x"), predWeight.Ne(0), predTime.Lt(predDay(3)),
		}).Draw(t, "edges"))
}

// TestKeyInjective: a query's key is read back as everything that the query asks for, so
// that no two queries that differ in it have the same key.
func TestKeyInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := genRefined(t)
		got, err := parseQuery(keyOf(t, q))
		if err != nil {
			t.Fatalf("the key cannot be read: %v", err)
		}
		if diff := cmp.Diff(q.src.parsed(), got, sameContent); diff != "" {
			t.Fatalf("the key says something else (-query +key):\n%s", diff)
		}
	})
}

// TestSearchKeyInjective: the field of a search is read back as all that is searched
// for, and the anchor of an index as the index's fields and the values.
func TestSearchKeyInjective(t *testing.T) {
	k := &boundKind{name: "rec", fingerprint: 5}
	rapid.Check(t, func(t *rapid.T) {
		q := refineObjects(t, predKind.Where())
		h := &q.src.path()[0]
		h.after = rapid.SampledFrom([][]driver.Value{nil, {"a"}, {int64(1), "a"}, {nil, predDay(1), "b"}}).Draw(t, "after")
		want := q.src.parsed().hops[0]
		r := k.searchRequest(kindAnchor, "", h, false)
		f, err := parseField(r.field)
		if err != nil || f.typ != findField || f.fingerprint != 5 || f.span.offset != h.offset || f.span.limit < h.limit || (f.span.limit > 0) != (h.limit > 0) {
			t.Fatalf("the field says %+v, %v", f, err)
		}
		got, after, err := parseSearch(f.end)
		want.offset, want.limit = 0, 0 // they are in the field's span
		if diff := cmp.Diff(want, got, sameContent); diff != "" || err != nil || !slices.EqualFunc(after, h.after, func(a, b driver.Value) bool { return driver.Equal(a, b) }) {
			t.Fatalf("the field says something else, after %v, %v (-query +field):\n%s", after, err, diff)
		}

		columns := rapid.SliceOfNDistinct(rapid.IntRange(1, len(predColumns)-1), 1, 3, rapid.ID).Draw(t, "indexed")
		ix := &index{kind: predKind.core}
		var values []driver.Value
		for _, i := range columns {
			c := &predColumns[i]
			ix.columns = append(ix.columns, c.col)
			values = append(values, plainNumber(rapid.SampledFrom(append(c.elements, c.values...)).Draw(t, "value")))
		}
		ix.prefix = ix.makePrefix()
		fields, found, err := parseIndexID(ix.anchorID(values))
		if err != nil || len(fields) != len(columns) || !slices.EqualFunc(found, values, func(a, b driver.Value) bool { return driver.Equal(a, b) }) {
			t.Fatalf("the anchor says %v, %v, %v, not %v", fields, found, err, values)
		}
		for i, f := range fields {
			if c := ix.columns[i]; f.of != c.Of || !slices.Equal(f.path, c.Path) {
				t.Fatalf("the anchor's field %d is %v, not %v", i, f, c.Path)
			}
		}
	})
}

// TestKeyOfRefinements: neither the order in which refinements are called nor how often
// matters, where the last call counts.
func TestKeyOfRefinements(t *testing.T) {
	city, age := predColumns[8], predColumns[3]
	calls := []func(predQuery) predQuery{
		func(q predQuery) predQuery { return q.Limit(5) },
		func(q predQuery) predQuery { return q.Offset(3) },
		func(q predQuery) predQuery { return q.LimitPer(2) },
		func(q predQuery) predQuery { return q.Distinct() },
		func(q predQuery) predQuery { return q.Since(predDay(1)) },
		func(q predQuery) predQuery { return q.Until(predDay(2)) },
		func(q predQuery) predQuery { return q.Where(city.eq(1)) },
		func(q predQuery) predQuery {
			return q.Where(age.compare[driver.Less](2), age.compare[driver.Greater](0))
		},
		func(q predQuery) predQuery { return q.WhereEdge(predNote.Eq("x")) },
		func(q predQuery) predQuery { return q.WhereEdge(Or(predWeight.Ge(1), predNote.Eq("y"))) },
		func(q predQuery) predQuery { return q.OrderBy(age.asc(true)) },
	}
	first := []func(predQuery) predQuery{
		func(q predQuery) predQuery { return q.Limit(7) },
		func(q predQuery) predQuery {
			return q.Limit(7).Offset(9).LimitPer(9).Since(predDay(5)).Until(time.Time{})
		},
		func(q predQuery) predQuery { return q.OrderBy(city.asc(false)).OrderByEdge(predTime.Asc()) },
		func(q predQuery) predQuery { return q.Where(age.compare[driver.Less](2)).Fresh() },
		func(q predQuery) predQuery { return q.Where().WhereEdge().Where(And[predRecord]()) },
	}
	one := predLinks.Out(ID[predRecord]("a"))
	want := one
	for _, call := range calls {
		want = call(want)
	}
	rapid.Check(t, func(t *rapid.T) {
		q := one
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(first)-1), 0, 3).Draw(t, "before") {
			q = first[i](q)
		}
		for _, call := range rapid.Permutation(calls).Draw(t, "calls") {
			q = call(q)
		}
		if keyOf(t, q) != keyOf(t, want) {
			t.Fatal("the key depends on the order of the calls")
		}
	})
	together := one.Limit(5).Offset(3).LimitPer(2).Distinct().Since(predDay(1)).Until(predDay(2)).
		Where(age.compare[driver.Greater](0), And(city.eq(1), age.compare[driver.Less](2))).
		WhereEdge(Or(predNote.Eq("y"), predWeight.Ge(1)), predNote.Eq("x")).OrderBy(age.asc(true))
	if keyOf(t, together) != keyOf(t, want) {
		t.Error("one Where with several predicates and several with one have different keys")
	}
}

// TestKeysOfEqualOrders: keys of an order that decide nothing are no part of it.
func TestKeysOfEqualOrders(t *testing.T) {
	id, name, age := predColumns[0], predColumns[8], predColumns[3]
	root, one := predKind.Where(), predLinks.Out(ID[predRecord]("a"))
	for _, tt := range []struct {
		name  string
		a, b  string
		equal bool
	}{
		{"a field twice", keyOf(t, root.OrderBy(name.asc(false), name.asc(true))), keyOf(t, root.OrderBy(name.asc(false))), true},
		{"what follows the ID", keyOf(t, root.OrderBy(id.asc(true), name.asc(true))), keyOf(t, root.OrderBy(id.asc(true))), true},
		{"the ID at the end", keyOf(t, root.OrderBy(name.asc(true), id.asc(false))), keyOf(t, root.OrderBy(name.asc(true))), true},
		{"the ID alone", keyOf(t, root.OrderBy(id.asc(false))), keyOf(t, root), true},
		{"the ID descending", keyOf(t, root.OrderBy(id.asc(true))), keyOf(t, root), false},
		{"the order of one list", keyOf(t, one.OrderByEdge(predTime.Desc())), keyOf(t, one), true},
		{"the other order of one list", keyOf(t, one.OrderByEdge(predTime.Asc())), keyOf(t, one), false},
		{"the order of several lists", keyOf(t, predLinks.Out(one).OrderByEdge(predTime.Desc())), keyOf(t, predLinks.Out(one)), false},
		{"another sequence", keyOf(t, root.OrderBy(name.asc(false), age.asc(false))), keyOf(t, root.OrderBy(age.asc(false), name.asc(false))), false},
		{"OrderBy replaced by OrderByEdge", keyOf(t, one.OrderBy(name.asc(false)).OrderByEdge(predWeight.Asc())), keyOf(t, one.OrderByEdge(predWeight.Asc())), true},
	} {
		if (tt.a == tt.b) != tt.equal {
			t.Errorf("%s: equal keys: %t, want %t", tt.name, tt.a == tt.b, tt.equal)
		}
	}
}

// A key that can be read back is injective: two inputs with the same key would both
// be what is read.
func FuzzAnchorKey(f *testing.F) {
	f.Add("db", "", uint8(1), "user", "a")
	f.Add("db\x00", "t:{x}", uint8(2), "use", "r\xffa")
	f.Fuzz(func(t *testing.T, database, namespace string, typ uint8, kind, id string) {
		s, a := keyspace{database, namespace}, anchor{anchorType(typ%3) + 1, kind, id}
		s2, a2, err := parseAnchor(s.key(a))
		if err != nil || s2 != s || a2 != a {
			t.Errorf("%v %v came back as %v %v, %v", s, a, s2, a2, err)
		}
	})
}

func FuzzFieldKey(f *testing.F) {
	f.Add(uint8(1), uint64(1), int64(-1), true, int64(1), false, 1, 1<<40, "x")
	f.Fuzz(func(t *testing.T, typ uint8, fp uint64, high int64, hasHigh bool, low int64, hasLow bool, offset, limit int, end string) {
		want := field{
			typ: fieldType(typ%4) + 1, fingerprint: fp, end: end,
			span: span{high: someBound(high, hasHigh), low: someBound(low, hasLow), offset: offset, limit: limit},
		}
		got, err := parseField(want.key())
		if err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	})
}

func someBound(ms int64, set bool) bound {
	if !set {
		return bound{}
	}
	return bound{ms: ms, set: true}
}

func FuzzQueryKey(f *testing.F) {
	f.Add("user", "a\x00b", "follows", "wrote", 3, 0, 20, int64(5), uint8(0b1011))
	f.Fuzz(func(t *testing.T, kind, ids, first, second string, per, offset, limit int, ms int64, bits uint8) {
		query, want := source{kind: kind, hops: 2}, parsedQuery{kind: kind}
		if ids != "" {
			want.ids = strings.Split("i"+strings.ReplaceAll(ids, "\x00", "\x00i"), "\x00")
		}
		query.ids = append([]string{}, want.ids...)
		for i, name := range []string{first, second} {
			h := hop{
				edge: &edgeKind{name: "k" + name}, direction: driver.Direction(bits >> i & 1),
				high: someBound(ms, bits>>2&1 != 0), low: someBound(ms+1, bits>>3&1 != 0),
				limitPer: per, offset: offset, limit: limit, distinct: bits>>4&1 != 0,
			}
			query.prev, query.last = &link{hop: query.last}, h
			h = query.canonical(&h, i)
			want.hops = append(want.hops, parsedHop{
				edge: h.edge.name, direction: h.direction, high: h.high, low: h.low,
				limitPer: h.limitPer, offset: h.offset, limit: h.limit, distinct: h.distinct,
			})
		}
		query.prev.prev = nil
		got, err := parseQuery(string(query.appendKey(nil)))
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if diff := cmp.Diff(want, got, compareInternals); diff != "" {
			t.Errorf("the query came back changed (-want +got):\n%s", diff)
		}
	})
}

// FuzzDecoders: what came from a cache never makes a decoder panic, nor allocate
// much more than it is long.
func FuzzDecoders(f *testing.F) {
	for _, k := range append(sampleKeys(), searchKeys()...) {
		f.Add([]byte(k.key))
	}
	for _, c := range sampleCursors() {
		f.Add([]byte(c.cursor))
	}
	for _, b := range greedy() {
		f.Add(b)
	}
	list, _ := appendList(nil, []edge{{"b", 2, []byte{0x90}}, {"a", 1, nil}}, flagComplete, 0)
	f.Add(list)
	f.Add(envelope{fingerprint: 1, body: list}.seal("anchor", "field"))
	f.Add([]byte{0xdd, 0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{0x94, 0x01, 0xa1, 'u', 0xdd, 0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(checkDecoders)
}

// checkDecoders decodes the bytes as everything that they could be.
func checkDecoders(t *testing.T, b []byte) {
	for name, decode := range decoders {
		// What else runs in the process allocates too: the least of a few runs is
		// that of the decoder.
		least := uint64(math.MaxUint64)
		for range 5 {
			least = min(least, allocated(func() { decode(b) }))
		}
		factor := uint64(10)
		if fine[name] {
			factor = 64
		}
		if least > factor*uint64(len(b))+1024 {
			t.Errorf("%s: %d bytes allocated for an input of %d: %.60x", name, least, len(b), b)
		}
	}
}

// fine are the decoders of what is made of many small parts: a value that takes a byte
// takes sixteen in memory, and more while a list of them grows.
var fine = map[string]bool{
	"values": true, "cursor": true, "cursor of the query": true, "query": true, "conditions": true, "index anchor": true,
}

// greedy are inputs that promise more than they hold, at every level.
func greedy() (inputs [][]byte) {
	for _, n := range []int{300, 2000} {
		var b []byte
		for len(b)+5 < n {
			b = binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n-len(b)-5))
		}
		b = append(b, make([]byte, n-len(b))...)
		inputs = append(inputs, b, append([]byte{0xdd, 0, 0, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xc0}, n)...))
	}
	return inputs
}

// TestDecodersAllocate: what promises more than it holds is not believed.
func TestDecodersAllocate(t *testing.T) {
	head := append([]byte{0x93, cursorVersion, 0xc4, 16}, digest("another key")...)
	for _, b := range greedy() {
		checkDecoders(t, b)
		checkDecoders(t, append(head[:len(head):len(head)], b...))
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// decoders are those of everything that comes from a cache, but for the bodies of
// objects and edges, which package plan decodes.
var decoders = map[string]func(b []byte){
	"anchor": func(b []byte) { _, _, _ = parseAnchor(string(b)) },
	"field":  func(b []byte) { _, _ = parseField(string(b)) },
	"query":  func(b []byte) { _, _ = parseQuery(string(b)) },
	"values": func(b []byte) {
		r := keyReader{b: b}
		_ = r.values()
	},
	"conditions": func(b []byte) {
		r := keyReader{b: b}
		_ = r.preds()
	},
	"cursor": func(b []byte) {
		_, _ = parseCursor(string(b), "key")
		_, _ = parseCursor(base64.RawURLEncoding.EncodeToString(b), "key")
	},
	"cursor of the query": func(b []byte) {
		r := keyReader{b: b}
		q := predKind.Where().OrderBy(predColumns[8].asc(true))
		_ = q.src.path()[0].checkCursor(r.values(), nil)
	},
	"index anchor": func(b []byte) { _, _, _ = parseIndexID(string(b)) },
	"envelope":     func(b []byte) { _, _ = unseal(b, "anchor", "field") },
	"list": func(b []byte) {
		l, err := parseList(b)
		if err != nil {
			return
		}
		for i := range l.len() {
			l.bytes(i)
		}
		l.answer(span{limit: 3, offset: 1})
		l.find("x")
	},
}

func TestUnsealRefuses(t *testing.T) {
	whole := envelope{flags: 3, fingerprint: 9, body: []byte("body")}.seal("anchor", "field")
	if e, err := unseal(whole, "anchor", "field"); err != nil || e.flags != 3 || e.fingerprint != 9 || string(e.body) != "body" {
		t.Fatalf("unseal = %+v, %v", e, err)
	}
	for n := range whole {
		if _, err := unseal(whole[:n], "anchor", "field"); err == nil {
			t.Errorf("a value cut to %d bytes is accepted", n)
		}
		flipped := bytes.Clone(whole)
		flipped[n] ^= 4
		if _, err := unseal(flipped, "anchor", "field"); err == nil {
			t.Errorf("a value with a bit of byte %d flipped is accepted", n)
		}
	}
	for _, other := range [][2]string{{"anchoR", "field"}, {"anchor", "fielD"}, {"anchorf", "ield"}, {"", "anchorfield"}, {"anchor", ""}} {
		if _, err := unseal(whole, other[0], other[1]); err == nil {
			t.Errorf("the value is accepted under %q, %q", other[0], other[1])
		}
	}
	whole[0]++
	binary.BigEndian.PutUint32(whole[2:], checksum(whole))
	if _, err := unseal(whole, "anchor", "field"); err == nil {
		t.Error("another format is accepted")
	}
}
