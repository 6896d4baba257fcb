package graphcache

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/driver"
)

// predRecord has a field of every type that predicates compare.
type predRecord struct {
	ID     ID[predRecord] `json:"id"`
	Flag   bool           `json:"flag"`
	Maybe  *bool          `json:"maybe"`
	Int    int            `json:"int"`
	Small  int8           `json:"small"`
	Big    uint64         `json:"big"`
	Float  float64        `json:"float"`
	Single float32        `json:"single"`
	Name   string         `json:"name"`
	Raw    []byte         `json:"raw"`
	Hash   [2]byte        `json:"hash"`
	At     time.Time      `json:"at"`
	Addr   netip.Addr     `json:"addr"`
	Opt    *int           `json:"opt"`
	Real   *float64       `json:"real"`
	Nick   *string        `json:"nick"`
	Seen   *time.Time     `json:"seen"`
	Tags   []string       `json:"tags"`
	Sizes  []int          `json:"sizes"`
	In     struct {
		Depth int `json:"depth"`
	} `json:"in"`
}

// predEdge is the data of edges between them.
type predEdge struct {
	Note   string  `json:"note"`
	Weight float64 `json:"weight"`
	Rank   int     `json:"rank"`
}

var (
	predKind  = NewObjectKind[predRecord]("rec")
	predLinks = NewEdgeKind[predEdge]("link", predKind, predKind)
)

// predColumn is a field, the values that tests compare it with, and the predicates
// that its type has. A value is named by its place among the values.
type predColumn struct {
	name     string
	col      *column
	values   []driver.Value // of the domain
	elements []driver.Value // of a slice
	eq, ne   func(i int) Predicate[predRecord]
	in       func(is []int) Predicate[predRecord]
	isZero   func() Predicate[predRecord] // nil where the type has none
	isNil    func() Predicate[predRecord]
	compare  map[driver.FilterOp]func(i int) Predicate[predRecord]
	has      func(i int) Predicate[predRecord]
	asc      func(desc bool) Order[predRecord]
}

// predValues are the domain as documents have it.
func predValues[V any](c *column, domain []V) []driver.Value {
	values := make([]driver.Value, len(domain))
	for i := range domain {
		var err error
		if values[i], err = c.value(domain[i]); err != nil {
			panic(err)
		}
	}
	return values
}

func pick[V any](domain []V, is []int) []V {
	picked := make([]V, len(is))
	for n, i := range is {
		picked[n] = domain[i]
	}
	return picked
}

func predPlain[V any](f Field[predRecord, V], domain ...V) predColumn {
	c := predColumn{
		name: f.c.Name(), col: f.c, values: predValues(f.c, domain),
		eq:     func(i int) Predicate[predRecord] { return f.Eq(domain[i]) },
		ne:     func(i int) Predicate[predRecord] { return f.Ne(domain[i]) },
		in:     func(is []int) Predicate[predRecord] { return f.In(pick(domain, is)...) },
		isZero: f.IsZero,
	}
	if f.c.nilable {
		c.isNil = f.IsNil
	}
	return c
}

func predOrdered[V Ordered](f OrderedField[predRecord, V], domain ...V) predColumn {
	c := predPlain(f.Field, domain...)
	c.compare = map[driver.FilterOp]func(int) Predicate[predRecord]{
		driver.Less:         func(i int) Predicate[predRecord] { return f.Lt(domain[i]) },
		driver.LessEqual:    func(i int) Predicate[predRecord] { return f.Le(domain[i]) },
		driver.Greater:      func(i int) Predicate[predRecord] { return f.Gt(domain[i]) },
		driver.GreaterEqual: func(i int) Predicate[predRecord] { return f.Ge(domain[i]) },
	}
	c.asc = func(desc bool) Order[predRecord] {
		if desc {
			return f.Desc()
		}
		return f.Asc()
	}
	return c
}

func predString[V ~string](f StringField[predRecord, V], domain ...V) predColumn {
	c := predOrdered(f.OrderedField, domain...)
	c.compare[driver.HasPrefix] = func(i int) Predicate[predRecord] { return f.HasPrefix(domain[i]) }
	c.compare[driver.Contains] = func(i int) Predicate[predRecord] { return f.Contains(domain[i]) }
	return c
}

func predOptional[V Ordered](f OptionalField[predRecord, V], domain ...V) predColumn {
	values := make([]driver.Value, len(domain))
	for i := range domain {
		values[i], _ = f.c.value(&domain[i])
	}
	return predColumn{
		name: f.c.Name(), col: f.c, values: values, isNil: f.IsNil,
		eq: func(i int) Predicate[predRecord] { return f.Eq(domain[i]) },
		ne: func(i int) Predicate[predRecord] { return f.Ne(domain[i]) },
		in: func(is []int) Predicate[predRecord] { return f.In(pick(domain, is)...) },
		compare: map[driver.FilterOp]func(int) Predicate[predRecord]{
			driver.Less:         func(i int) Predicate[predRecord] { return f.Lt(domain[i]) },
			driver.LessEqual:    func(i int) Predicate[predRecord] { return f.Le(domain[i]) },
			driver.Greater:      func(i int) Predicate[predRecord] { return f.Gt(domain[i]) },
			driver.GreaterEqual: func(i int) Predicate[predRecord] { return f.Ge(domain[i]) },
		},
		asc: func(desc bool) Order[predRecord] {
			if desc {
				return f.Desc()
			}
			return f.Asc()
		},
	}
}

func predSlice[S ~[]E, E any](f SliceField[predRecord, S, E], elements []E, domain ...S) predColumn {
	c := predPlain(f.Field, domain...)
	for _, e := range elements {
		x, err := f.c.plan.Element(e)
		if err != nil {
			panic(err)
		}
		c.elements = append(c.elements, x)
	}
	c.has = func(i int) Predicate[predRecord] { return f.Has(elements[i]) }
	return c
}

// predDay is a time of the domain.
func predDay(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

func addr[V any](v V) *V { return &v }

// predColumns are the fields of predRecord.
var predColumns = []predColumn{
	predString(StringFieldOf(predKind, func(r *predRecord) *ID[predRecord] { return &r.ID }), "a", "b", "ab"),
	predPlain(FieldOf(predKind, func(r *predRecord) *bool { return &r.Flag }), false, true),
	predPlain(FieldOf(predKind, func(r *predRecord) **bool { return &r.Maybe }), nil, addr(false), addr(true)),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *int { return &r.Int }), -1, 0, 1, 2, math.MaxInt64, math.MinInt64),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *int8 { return &r.Small }), -128, 0, 127),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *uint64 { return &r.Big }), 0, 1, math.MaxInt64, math.MaxInt64+1, math.MaxUint64),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *float64 { return &r.Float }), math.Copysign(0, -1), 0, 1, 1.5, math.Inf(1), math.Inf(-1)),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *float32 { return &r.Single }), 0, 0.1, 16777217),
	predString(StringFieldOf(predKind, func(r *predRecord) *string { return &r.Name }), "", "a", "ab", "b\x00", "ä"),
	predPlain(FieldOf(predKind, func(r *predRecord) *[]byte { return &r.Raw }), nil, []byte{}, []byte{0}, []byte{0xff}),
	predPlain(FieldOf(predKind, func(r *predRecord) *[2]byte { return &r.Hash }), [2]byte{}, [2]byte{1, 2}),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *time.Time { return &r.At }), time.Time{}, predDay(1), predDay(2), predDay(1).Add(time.Microsecond)),
	predPlain(FieldOf(predKind, func(r *predRecord) *netip.Addr { return &r.Addr }), netip.Addr{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("9.0.0.1")),
	predOptional(OptionalFieldOf(predKind, func(r *predRecord) **int { return &r.Opt }), -1, 0, 1),
	predOptional(OptionalFieldOf(predKind, func(r *predRecord) **float64 { return &r.Real }), 0, 1, 1.5),
	predOptional(OptionalFieldOf(predKind, func(r *predRecord) **string { return &r.Nick }), "", "a", "b"),
	predOptional(OptionalFieldOf(predKind, func(r *predRecord) **time.Time { return &r.Seen }), predDay(1), predDay(2)),
	predSlice(SliceFieldOf(predKind, func(r *predRecord) *[]string { return &r.Tags }), []string{"", "a", "b"}, nil, []string{}, []string{"a"}, []string{"a", "b"}, []string{"b", "a"}),
	predSlice(SliceFieldOf(predKind, func(r *predRecord) *[]int { return &r.Sizes }), []int{1, 2}, nil, []int{1}, []int{2, 1}),
	predOrdered(OrderedFieldOf(predKind, func(r *predRecord) *int { return &r.In.Depth }), 0, 1, 2),
}

// raw is a predicate as a caller writes it, before anything has been made of it.
type raw struct {
	op     driver.FilterOp // And, Or, Not, or that of a leaf
	column int             // of a leaf: in predColumns
	is     []int           // values, by their places; of AnyOf any number of them
	nils   bool            // AnyOf: IsNil
	zero   bool            // AnyOf: IsZero
	of     []raw
}

// build makes the predicate with the functions of the package.
func (r *raw) build() Predicate[predRecord] {
	c := &predColumns[r.column]
	switch {
	case r.op == driver.Not:
		return Not(r.of[0].build())
	case r.op == driver.And, r.op == driver.Or:
		of := make([]Predicate[predRecord], len(r.of))
		for i := range r.of {
			of[i] = r.of[i].build()
		}
		if r.op == driver.And {
			return And(of...)
		}
		return Or(of...)
	case r.op == driver.Has:
		return c.has(r.is[0])
	case r.op != driver.AnyOf:
		return c.compare[r.op](r.is[0])
	case r.nils:
		return c.isNil()
	case r.zero:
		return c.isZero()
	case len(r.is) == 1:
		return c.eq(r.is[0])
	}
	return c.in(r.is)
}

// matches says whether the predicate matches a record with the values, by its meaning
// alone.
func (r *raw) matches(values []driver.Value) bool {
	switch r.op {
	case driver.And:
		return !slices.ContainsFunc(r.of, func(q raw) bool { return !q.matches(values) })
	case driver.Or:
		return slices.ContainsFunc(r.of, func(q raw) bool { return q.matches(values) })
	case driver.Not:
		return !r.of[0].matches(values)
	}
	c, v := &predColumns[r.column], values[r.column]
	switch r.op {
	case driver.AnyOf:
		switch {
		case r.nils:
			return v == nil
		case r.zero:
			return sameValue(v, c.col.Zero)
		}
		return slices.ContainsFunc(r.is, func(i int) bool { return sameValue(v, c.values[i]) })
	case driver.Has:
		list, _ := v.([]driver.Value)
		return slices.ContainsFunc(list, func(x driver.Value) bool { return sameValue(x, c.elements[r.is[0]]) })
	case driver.HasPrefix:
		s, ok := v.(string)
		return ok && strings.HasPrefix(s, c.values[r.is[0]].(string))
	case driver.Contains:
		s, ok := v.(string)
		return ok && strings.Contains(s, c.values[r.is[0]].(string))
	}
	f, float := v.(float64)
	if v == nil || float && math.IsNaN(f) {
		return false
	}
	switch n := valueOrder(v, c.values[r.is[0]]); r.op {
	case driver.Less:
		return n < 0
	case driver.LessEqual:
		return n <= 0
	case driver.Greater:
		return n > 0
	}
	return valueOrder(v, c.values[r.is[0]]) >= 0
}

// sameValue is equality without driver.Compare.
func sameValue(a, b driver.Value) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	la, isList := a.([]driver.Value)
	lb, _ := b.([]driver.Value)
	if isList {
		return slices.EqualFunc(la, lb, sameValue)
	}
	if f, ok := a.(float64); ok && math.IsNaN(f) {
		return false
	}
	return valueOrder(a, b) == 0
}

// valueOrder is the order of two values of one column, neither nil nor NaN.
func valueOrder(a, b driver.Value) int {
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case time.Time:
		return a.Compare(b.(time.Time))
	case bool:
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	}
	return bigNumber(a).Cmp(bigNumber(b))
}

func bigNumber(v driver.Value) *big.Float {
	f := new(big.Float).SetPrec(128)
	switch v := v.(type) {
	case int64:
		return f.SetInt64(v)
	case uint64:
		return f.SetUint64(v)
	}
	return f.SetFloat64(v.(float64))
}

// genRaw draws a predicate. The columns are few, so that conditions meet.
func genRaw(columns []int, depth int) *rapid.Generator[raw] {
	return rapid.Custom(func(t *rapid.T) raw {
		if depth == 0 || rapid.IntRange(0, 9).Draw(t, "shape") < 4 {
			return genLeaf(columns).Draw(t, "leaf")
		}
		op := rapid.SampledFrom([]driver.FilterOp{driver.And, driver.And, driver.Or, driver.Or, driver.Not}).Draw(t, "op")
		least, most := 0, 4
		if op == driver.Not {
			least, most = 1, 1
		}
		return raw{op: op, of: rapid.SliceOfN(genRaw(columns, depth-1), least, most).Draw(t, "of")}
	})
}

func genLeaf(columns []int) *rapid.Generator[raw] {
	return rapid.Custom(func(t *rapid.T) raw {
		r := raw{column: rapid.SampledFrom(columns).Draw(t, "column")}
		c := &predColumns[r.column]
		ops := []driver.FilterOp{driver.AnyOf, driver.AnyOf, driver.AnyOf}
		for op := range c.compare {
			ops = append(ops, op)
		}
		slices.Sort(ops)
		if c.has != nil {
			ops = append(ops, driver.Has, driver.Has)
		}
		r.op = rapid.SampledFrom(ops).Draw(t, "op")
		n := len(c.values)
		if r.op == driver.Has {
			n = len(c.elements)
		}
		if r.op != driver.AnyOf {
			r.is = []int{rapid.IntRange(0, n-1).Draw(t, "value")}
			return r
		}
		switch rapid.IntRange(0, 5).Draw(t, "of the set") {
		case 0:
			r.nils = c.isNil != nil
		case 1:
			r.zero = c.isZero != nil
		}
		if !r.nils && !r.zero {
			r.is = rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 4).Draw(t, "values")
		}
		return r
	})
}

// genColumns draws a few columns.
func genColumns(t *rapid.T) []int {
	return rapid.SliceOfNDistinct(rapid.IntRange(0, len(predColumns)-1), 1, 3, rapid.ID).Draw(t, "columns")
}

// genRow draws a value for each column: mostly of its domain, so that conditions on it
// match, else nil, NaN, minus zero or something between.
func genRow(t *rapid.T, columns []int) []driver.Value {
	row := make([]driver.Value, len(predColumns))
	for _, i := range columns {
		row[i] = rapid.SampledFrom(predSpecials(&predColumns[i])).Draw(t, predColumns[i].name)
	}
	return row
}

// predSpecials are the values that a record may have in the column.
func predSpecials(c *predColumn) []driver.Value {
	values := slices.Clone(c.values)
	switch c.col.Zero.(type) {
	case float64:
		values = append(values, math.NaN(), math.Copysign(0, -1), 0.5)
	case int64:
		values = append(values, int64(5))
		if c.name != "big" {
			values = append(values, int64(-7))
		}
	case string:
		if c.col.Of != driver.ObjectID {
			values = append(values, "zz", "xax")
		}
	}
	if c.name == "real" {
		values = append(values, math.NaN(), math.Copysign(0, -1))
	}
	if c.col.nilable {
		values = append(values, nil)
	}
	if c.has != nil {
		values = append(values, []driver.Value{}, []driver.Value{c.elements[0], c.elements[1], c.elements[1]})
	}
	return values
}

// matchesRow is how the canonical form is evaluated, as in row.matches.
func (p *pred) matchesRow(get func(*column) driver.Value) bool {
	if p.isLeaf() {
		return p.matches(get(p.col))
	}
	for i := range p.of {
		if p.of[i].matchesRow(get) != (p.op == driver.And) {
			return p.op == driver.Or
		}
	}
	return p.op == driver.And
}

// TestCanonicalMeaning: whatever is made of a predicate, it matches what the caller
// wrote, in the engine and as a store's filter.
func TestCanonicalMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := genColumns(t)
		r := genRaw(columns, 4).Draw(t, "predicate")
		p := r.build()
		if p.err != nil {
			t.Fatalf("%+v: %v", r, p.err)
		}
		filter := driverFilter(p.p.conjunction())
		for range 8 {
			row := genRow(t, columns)
			want := r.matches(row)
			place := func(d *driver.Column) int {
				return slices.IndexFunc(predColumns, func(c predColumn) bool { return c.name == d.Name() })
			}
			if got := p.p.matchesRow(func(c *column) driver.Value { return row[place(&c.Column)] }); got != want {
				t.Fatalf("%v matches %v: %t, and before it was made canonical: %t", &p.p, row, got, want)
			}
			if got := filter.Matches(func(c *driver.Column) driver.Value { return row[place(c)] }); got != want {
				t.Fatalf("the filter of %v matches %v: %t, want %t", &p.p, row, got, want)
			}
		}
	})
}

// TestCanonicalForm: what the doc of pred promises of its form holds everywhere in it.
func TestCanonicalForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRaw(genColumns(t), 4).Draw(t, "predicate")
		p := r.build().p
		if p.isAll() || p.isNone() {
			return
		}
		checkForm(t, &p)
		if again := (pred{op: driver.And, of: []pred{p}}).canonical(); comparePreds(again, p) != 0 {
			t.Fatalf("%v made canonical again is %v", &p, &again)
		}
		if twice := p.negate().negate(); comparePreds(twice, p) != 0 {
			t.Fatalf("not not %v is %v", &p, &twice)
		}
	})
}

func checkForm(t *rapid.T, p *pred) {
	if p.isLeaf() {
		if !slices.IsSortedFunc(p.values(), driver.Compare) || p.vs != nil && len(p.vs) < 2 {
			t.Fatalf("%v: the values are not sorted, or not two", p)
		}
		if _, ok := opposites[p.op]; ok && p.neg && p.col.total() {
			t.Fatalf("%v: a Not that another operator says", p)
		}
		return
	}
	if len(p.of) < 2 {
		t.Fatalf("%v: an operator with %d operands", p, len(p.of))
	}
	type sets struct{ in, out, others int }
	seen := map[string]*sets{}
	for i := range p.of {
		q := &p.of[i]
		checkForm(t, q)
		if q.op == p.op {
			t.Fatalf("%v: an operator within its like", p)
		}
		if i > 0 && comparePreds(p.of[i-1], *q) >= 0 {
			t.Fatalf("%v: the operands are not sorted, or one is there twice", p)
		}
		if !q.isLeaf() || q.col.List {
			continue
		}
		s := seen[q.col.key]
		if s == nil {
			s = new(sets)
			seen[q.col.key] = s
		}
		switch {
		case q.op != driver.AnyOf:
			s.others++
		case q.neg:
			s.out++
		default:
			s.in++
		}
	}
	for _, s := range seen {
		if s.in > 1 || s.out > 1 || s.in+s.out > 1 && p.op == driver.And || s.in > 0 && s.others > 0 && p.op == driver.And {
			t.Fatalf("%v: %+v sets and other conditions on one column", p, *s)
		}
	}
}

// rewrite changes a predicate in a way that does not change its meaning, somewhere in
// it, and that the canonical form is said to undo.
func rewrite(t *rapid.T, r raw) raw {
	if len(r.of) > 0 && rapid.IntRange(0, 2).Draw(t, "deeper") > 0 {
		i := rapid.IntRange(0, len(r.of)-1).Draw(t, "operand")
		r.of = slices.Clone(r.of)
		r.of[i] = rewrite(t, r.of[i])
		return r
	}
	rules := []func(*rapid.T, raw) raw{doubleNot, wrapped, neutral}
	switch {
	case r.op == driver.And || r.op == driver.Or:
		rules = append(rules, permuted, nested, duplicated, deMorgan)
	case r.op == driver.AnyOf && len(r.is) > 0:
		rules = append(rules, permutedIn, splitIn)
	case r.op == driver.AnyOf && r.zero:
		rules = append(rules, zeroAsEq)
	case r.op == driver.Not && r.of[0].op == driver.AnyOf && len(r.of[0].is) == 1:
		rules = append(rules, permutedNot)
	case opposites[r.op] != 0 && predColumns[r.column].col.total():
		rules = append(rules, opposite)
	}
	return rapid.SampledFrom(rules).Draw(t, "rule")(t, r)
}

func not(r raw) raw { return raw{op: driver.Not, of: []raw{r}} }

func doubleNot(_ *rapid.T, r raw) raw { return not(not(r)) }

func wrapped(t *rapid.T, r raw) raw {
	return raw{op: rapid.SampledFrom([]driver.FilterOp{driver.And, driver.Or}).Draw(t, "around"), of: []raw{r}}
}

// neutral adds what is always true to an And, or never to an Or.
func neutral(t *rapid.T, r raw) raw {
	around, within := driver.And, driver.Or
	if rapid.Bool().Draw(t, "or") {
		around, within = driver.Or, driver.And
	}
	nothing := raw{op: around}
	if rapid.Bool().Draw(t, "x and not x") {
		leaf := genLeaf([]int{rapid.IntRange(0, len(predColumns)-1).Draw(t, "column")}).Draw(t, "x")
		nothing = raw{op: within, of: []raw{leaf, not(leaf)}}
	}
	return raw{op: around, of: permutation(t, []raw{r, nothing})}
}

func permutation(t *rapid.T, of []raw) []raw { return rapid.Permutation(of).Draw(t, "permutation") }

func permuted(t *rapid.T, r raw) raw {
	r.of = permutation(t, r.of)
	return r
}

func nested(t *rapid.T, r raw) raw {
	n := rapid.IntRange(0, len(r.of)).Draw(t, "nested")
	inner := raw{op: r.op, of: slices.Clone(r.of[:n])}
	r.of = append(slices.Clone(r.of[n:]), inner)
	return r
}

func duplicated(t *rapid.T, r raw) raw {
	if len(r.of) > 0 {
		r.of = append(slices.Clone(r.of), rapid.SampledFrom(r.of).Draw(t, "duplicate"))
	}
	return r
}

func deMorgan(_ *rapid.T, r raw) raw {
	inner := raw{op: driver.And + driver.Or - r.op}
	for _, q := range r.of {
		inner.of = append(inner.of, not(q))
	}
	return not(inner)
}

func permutedIn(t *rapid.T, r raw) raw {
	r.is = rapid.Permutation(r.is).Draw(t, "values")
	r.is = append(slices.Clone(r.is), r.is[0])
	return r
}

func splitIn(_ *rapid.T, r raw) raw {
	if predColumns[r.column].has != nil {
		return r // the sets of a slice are not united
	}
	split := raw{op: driver.Or}
	for _, i := range r.is {
		split.of = append(split.of, raw{op: driver.AnyOf, column: r.column, is: []int{i}})
	}
	return split
}

func zeroAsEq(_ *rapid.T, r raw) raw {
	c := &predColumns[r.column]
	i := slices.IndexFunc(c.values, func(v driver.Value) bool { return driver.Compare(v, c.col.Zero) == 0 })
	if i >= 0 {
		r.zero, r.is = false, []int{i}
	}
	return r
}

// permutedNot swaps Not around an equality: Ne is Not of Eq, of In, and of an Or.
func permutedNot(t *rapid.T, r raw) raw {
	return not(splitIn(t, r.of[0]))
}

func opposite(_ *rapid.T, r raw) raw {
	r.op = opposites[r.op]
	return not(r)
}

// TestEqualMeaningEqualKey: predicates that the doc of Query.Key says are the same have
// the same key.
func TestEqualMeaningEqualKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRaw(genColumns(t), 3).Draw(t, "predicate")
		other := r
		for range rapid.IntRange(1, 6).Draw(t, "rewrites") {
			other = rewrite(t, other)
		}
		want, got := keyOf(t, predKind.Where(r.build())), keyOf(t, predKind.Where(other.build()))
		if want != got {
			p, q := r.build().p, other.build().p
			t.Fatalf("two forms of one predicate have different keys: %v and %v", &p, &q)
		}
	})
}

func keyOf[T, E any](t interface{ Fatalf(string, ...any) }, q Query[T, E]) string {
	key, err := q.Key()
	if err != nil {
		t.Fatalf("key: %v", err)
	}
	return key
}

// TestNe: Ne is Not of Eq in every type.
func TestNe(t *testing.T) {
	for _, c := range predColumns {
		for i := range c.values {
			if a, b := keyOf(t, predKind.Where(c.ne(i))), keyOf(t, predKind.Where(Not(c.eq(i)))); a != b {
				t.Errorf("%s: Ne(%v) and Not(Eq) differ", c.name, c.values[i])
			}
		}
		if c.isZero == nil {
			continue
		}
		if i := slices.IndexFunc(c.values, func(v driver.Value) bool { return driver.Compare(v, c.col.Zero) == 0 }); i >= 0 {
			if a, b := keyOf(t, predKind.Where(c.isZero())), keyOf(t, predKind.Where(c.eq(i))); a != b {
				t.Errorf("%s: IsZero and Eq of the zero value differ", c.name)
			}
		}
	}
}

// TestPredicateDepth: what is nested too deep is refused, not run.
func TestPredicateDepth(t *testing.T) {
	p := predColumns[3].eq(0)
	for i := range 3 * maxPredicateDepth {
		q := predColumns[8].ne(i % 5)
		if i%2 == 0 {
			p = And(p, q, predColumns[3].ne(i%6))
		} else {
			p = Or(p, q, predColumns[13].eq(i%3))
		}
	}
	if _, err := predKind.Where(p).Key(); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("a predicate of %d levels: %v", 3*maxPredicateDepth, err)
	}
}
