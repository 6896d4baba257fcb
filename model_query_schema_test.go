package graphcache_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
)

// The model of queries, whose names begin with mq, runs against a schema of its own: a
// kind of objects with an index of every sort, one whose scans are cached, one that has
// neither, and a kind of edges of each sort between them.

// mqLang marshals itself to text.
type mqLang uint8

func (l mqLang) MarshalText() ([]byte, error) { return []byte{'l', 'z' - byte(l)}, nil }

func (l *mqLang) UnmarshalText(b []byte) error {
	if len(b) != 2 || b[0] != 'l' {
		return fmt.Errorf("not a language: %q", b)
	}
	*l = mqLang('z' - b[1])
	return nil
}

type mqHome struct {
	Zip    uint16 `json:"zip"`
	Street string `json:"street"`
}

// mqUserBody is a user but for the ID. There are three versions of it, which convert
// into each other because they differ in the tags alone.
type mqUserBody struct {
	City   string     `json:"city" graph:"index"`
	Email  string     `json:"email" graph:"unique"`
	Alias  *string    `json:"alias" graph:"unique"`
	Title  string     `json:"title" graph:"was=name"`
	Level  int8       `json:"level" graph:"was=rank"`
	Age    int        `json:"age"`
	Points int32      `json:"points"`
	Visits uint64     `json:"visits" graph:"index"`
	Rate   float64    `json:"rate"`
	Worth  *float64   `json:"worth"`
	Tags   []string   `json:"tags" graph:"index"`
	Nums   []int      `json:"nums"`
	Born   time.Time  `json:"born"`
	Seen   *time.Time `json:"seen"`
	Active bool       `json:"active" graph:"index"`
	Photo  []byte     `json:"photo" graph:"index"`
	Lang   mqLang     `json:"lang" graph:"index"`
	Home   mqHome     `json:"home"`
}

// mqNewBody is that of the next version of the program, which has renamed the title.
type mqNewBody struct {
	City   string     `json:"city" graph:"index"`
	Email  string     `json:"email" graph:"unique"`
	Alias  *string    `json:"alias" graph:"unique"`
	Title  string     `json:"headline" graph:"was=title,was=name"`
	Level  int8       `json:"level" graph:"was=rank"`
	Age    int        `json:"age"`
	Points int32      `json:"points"`
	Visits uint64     `json:"visits" graph:"index"`
	Rate   float64    `json:"rate"`
	Worth  *float64   `json:"worth"`
	Tags   []string   `json:"tags" graph:"index"`
	Nums   []int      `json:"nums"`
	Born   time.Time  `json:"born"`
	Seen   *time.Time `json:"seen"`
	Active bool       `json:"active" graph:"index"`
	Photo  []byte     `json:"photo" graph:"index"`
	Lang   mqLang     `json:"lang" graph:"index"`
	Home   mqHome     `json:"home"`
}

// mqOldBody is that of a program which is older still: the title and the level have the
// names that they had then, there are no points, and it declares no index.
type mqOldBody struct {
	City   string     `json:"city"`
	Email  string     `json:"email"`
	Alias  *string    `json:"alias"`
	Title  string     `json:"name"`
	Level  int8       `json:"rank"`
	Age    int        `json:"age"`
	Points int32      `json:"none"`
	Visits uint64     `json:"visits"`
	Rate   float64    `json:"rate"`
	Worth  *float64   `json:"worth"`
	Tags   []string   `json:"tags"`
	Nums   []int      `json:"nums"`
	Born   time.Time  `json:"born"`
	Seen   *time.Time `json:"seen"`
	Active bool       `json:"active"`
	Photo  []byte     `json:"photo"`
	Lang   mqLang     `json:"lang"`
	Home   mqHome     `json:"home"`
}

type mqUser struct {
	ID graphcache.ID[mqUser]
	mqUserBody
	Near []mqNear `json:"-"`
}

type mqNewUser struct {
	ID graphcache.ID[mqNewUser]
	mqNewBody
	Near []mqNear `json:"-"`
}

type mqOldUser struct {
	ID graphcache.ID[mqOldUser]
	mqOldBody
	Near []mqNear `json:"-"`
}

type mqPostBody struct {
	Topic string    `json:"topic" graph:"index"`
	Slot  *int      `json:"slot"`
	Score int       `json:"score"`
	At    time.Time `json:"at"`
	Hot   bool      `json:"hot"`
}

type mqPost struct {
	mqPostBody
	Key  graphcache.ID[mqPost] `graph:"id"`
	Near []mqNear              `json:"-"`
}

type mqPlaceBody struct {
	Name string
	Size float64
}

type mqPlace struct {
	ID graphcache.ID[mqPlace]
	mqPlaceBody
	Near []mqNear `json:"-"`
}

// mqNote is the data of all edges.
type mqNote struct {
	Note   string   `json:"note"`
	Weight int      `json:"weight"`
	Gain   *float64 `json:"gain"`
}

// mqNewNote is that of the next version.
type mqNewNote struct {
	Note   string   `json:"remark" graph:"was=note"`
	Weight int      `json:"weight"`
	Gain   *float64 `json:"gain"`
}

// mqNear are the neighbours that one attachment has loaded.
type mqNear struct {
	kind    *mqObjects
	objects []*mqObject
}

// mqObject is an object without its type parameter.
type mqObject struct {
	ID   string
	Body any // a pointer to one of the bodies
	near []mqNear
}

// mqEdge is an edge without its type parameters.
type mqEdge struct {
	From, To string
	Time     time.Time
	Note     mqNote
}

// mqColumn is a field of a kind: as the naive evaluation sees it, in an *mqObject or an
// *mqEdge, and as the graph has it. Values and arguments are numbered.
type mqColumn struct {
	name                 string
	ops, changes         []string
	values, args, deltas int // how many there are

	show    func(rec any) string
	set     func(rec any, i int)
	tidy    func(rec any) // makes the value what it is when it comes back
	match   func(rec any, op string, args []int) bool
	compare func(a, b any) int // also tells equal values where there is no order
	isNil   func(rec any) bool
	ordered bool
	change  func(rec any, op string, i int) error

	field    any // the graphcache.AnyField
	pred     func(op string, args []int) any
	order    func(desc bool) any
	changing func(op string, i int) any
}

// mqDomain says which values a field may have, and how they compare.
type mqDomain[V any] struct {
	values  []V
	args    []V // those that a predicate may have; all if it is nil
	deltas  []V
	compare func(a, b V) int
	tidy    func(V) V // as it is stored
	isNil   func(V) bool
	isNaN   func(V) bool
	show    func(V) string
	sum     func(a, b V) (V, bool)
	prefix  func(a, b V) bool
	part    func(a, b V) bool
}

func (d mqDomain[V]) complete() mqDomain[V] {
	if d.args == nil {
		d.args = d.values
	}
	if d.tidy == nil {
		d.tidy = func(v V) V { return v }
	}
	if d.isNil == nil {
		d.isNil = func(V) bool { return false }
	}
	if d.isNaN == nil {
		d.isNaN = func(V) bool { return false }
	}
	if d.show == nil {
		d.show = func(v V) string { return fmt.Sprintf("%#v", v) }
	}
	return d
}

func mqSimple[V cmp.Ordered](values ...V) mqDomain[V] {
	return mqDomain[V]{values: values, compare: cmp.Compare[V]}
}

func mqText[V ~string](values ...V) mqDomain[V] {
	d := mqSimple(values...)
	d.prefix = func(a, b V) bool { return len(a) >= len(b) && a[:len(b)] == b }
	d.part = func(a, b V) bool { return strings.Contains(string(a), string(b)) }
	return d
}

func mqNumber[V ~int | ~int8 | ~int32](low, high int64, deltas []V, values ...V) mqDomain[V] {
	d := mqSimple(values...)
	d.deltas = deltas
	d.sum = func(a, b V) (V, bool) {
		x, y := int64(a), int64(b)
		if y > 0 && x > high-y || y < 0 && x < low-y {
			return 0, false
		}
		return V(x + y), true
	}
	return d
}

func mqFloat(values ...float64) mqDomain[float64] {
	d := mqSimple(values...)
	d.args = slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	d.deltas = []float64{0.5, -1}
	d.isNaN = math.IsNaN
	d.sum = func(a, b float64) (float64, bool) {
		c := a + b
		return c, !math.IsNaN(c) && !math.IsInf(c, 0)
	}
	return d
}

func mqUnsigned(values ...uint64) mqDomain[uint64] {
	d := mqSimple(values...)
	d.deltas = []uint64{0, 1}
	d.sum = func(a, b uint64) (uint64, bool) { return a + b, a <= math.MaxInt64-b }
	return d
}

func mqMoments(values ...time.Time) mqDomain[time.Time] {
	tidy := func(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
	return mqDomain[time.Time]{
		values: values, tidy: tidy,
		compare: func(a, b time.Time) int { return tidy(a).Compare(tidy(b)) },
		show:    func(t time.Time) string { return t.Format(time.RFC3339Nano) },
	}
}

// mqBase has what all fields have.
func mqBase[T, V any](name string, f graphcache.Field[T, V], at func(any) *V, d mqDomain[V]) *mqColumn {
	c := &mqColumn{
		name: name, ops: []string{"eq", "eq", "ne", "in", "in", "zero"}, changes: []string{"set"},
		values: len(d.values), args: len(d.args), deltas: len(d.deltas), field: f,
		show:    func(rec any) string { return d.show(*at(rec)) },
		set:     func(rec any, i int) { *at(rec) = d.values[i] },
		tidy:    func(rec any) { *at(rec) = d.tidy(*at(rec)) },
		compare: func(a, b any) int { return d.compare(*at(a), *at(b)) },
		isNil:   func(rec any) bool { return d.isNil(*at(rec)) },
	}
	c.match = func(rec any, op string, args []int) bool {
		x := *at(rec)
		equal := func(i int) bool { return d.compare(x, d.args[i]) == 0 }
		switch op {
		case "eq":
			return equal(args[0])
		case "ne":
			return !equal(args[0])
		case "in":
			return slices.ContainsFunc(args, equal)
		case "zero":
			var zero V
			return d.compare(x, zero) == 0
		case "nil":
			return d.isNil(x)
		case "prefix":
			return d.prefix(x, d.args[args[0]])
		case "contains":
			return d.part(x, d.args[args[0]])
		}
		return !d.isNaN(x) && mqHolds(op, d.compare(x, d.args[args[0]]))
	}
	c.change = func(rec any, op string, i int) error {
		if op == "set" {
			*at(rec) = d.tidy(d.args[i])
			return nil
		}
		sum, ok := d.sum(*at(rec), d.deltas[i])
		if !ok {
			return graphcache.ErrInvalid
		}
		*at(rec) = sum
		return nil
	}
	c.pred = func(op string, args []int) any {
		switch op {
		case "eq":
			return f.Eq(d.args[args[0]])
		case "ne":
			return f.Ne(d.args[args[0]])
		case "in":
			return f.In(mqPick(d.args, args)...)
		case "zero":
			return f.IsZero()
		case "nil":
			return f.IsNil()
		}
		panic("no operator " + op)
	}
	c.changing = func(_ string, i int) any { return f.Set(d.args[i]) }
	return c
}

// mqHolds says what an operator makes of a comparison.
func mqHolds(op string, c int) bool {
	switch op {
	case "lt":
		return c < 0
	case "le":
		return c <= 0
	case "gt":
		return c > 0
	case "ge":
		return c >= 0
	}
	panic("no operator " + op)
}

func mqPick[V any](from []V, which []int) []V {
	picked := make([]V, len(which))
	for i, n := range which {
		picked[i] = from[n]
	}
	return picked
}

// mqTable is a kind to whose records columns are added: typed leads to the body in a
// record of the graph, plain in one of the model.
type mqTable[T, B any] struct {
	kind  graphcache.Record[T]
	typed func(*T) *B
	plain func(any) *B
}

func mqPlain[T, B, V any](t mqTable[T, B], name string, at func(*B) *V, d mqDomain[V]) *mqColumn {
	f := graphcache.FieldOf(t.kind, func(r *T) *V { return at(t.typed(r)) })
	return mqBase(name, f, func(rec any) *V { return at(t.plain(rec)) }, d.complete())
}

func mqOrdered[T, B any, V graphcache.Ordered](t mqTable[T, B], name string, at func(*B) *V, d mqDomain[V]) *mqColumn {
	f := graphcache.OrderedFieldOf(t.kind, func(r *T) *V { return at(t.typed(r)) })
	return mqOrderedBase(name, f, func(rec any) *V { return at(t.plain(rec)) }, d.complete())
}

var mqComparisons = []string{"lt", "le", "gt", "ge"}

func mqOrderedBase[T any, V graphcache.Ordered](name string, f graphcache.OrderedField[T, V], at func(any) *V, d mqDomain[V]) *mqColumn {
	c := mqBase(name, f.Field, at, d)
	c.field, c.ordered = f, true
	c.ops = append(c.ops, mqComparisons...)
	if d.sum != nil {
		c.changes = append(c.changes, "add", "add")
	}
	pred, change := c.pred, c.changing
	c.pred = func(op string, args []int) any {
		switch op {
		case "lt":
			return f.Lt(d.args[args[0]])
		case "le":
			return f.Le(d.args[args[0]])
		case "gt":
			return f.Gt(d.args[args[0]])
		case "ge":
			return f.Ge(d.args[args[0]])
		}
		return pred(op, args)
	}
	c.order = func(desc bool) any {
		if desc {
			return f.Desc()
		}
		return f.Asc()
	}
	c.changing = func(op string, i int) any {
		if op == "add" {
			return f.Add(d.deltas[i])
		}
		return change(op, i)
	}
	return c
}

func mqString[T, B any, V ~string](t mqTable[T, B], name string, at func(*B) *V, d mqDomain[V]) *mqColumn {
	d = d.complete()
	f := graphcache.StringFieldOf(t.kind, func(r *T) *V { return at(t.typed(r)) })
	c := mqOrderedBase(name, f.OrderedField, func(rec any) *V { return at(t.plain(rec)) }, d)
	c.field = f
	c.ops = append(c.ops, "prefix", "prefix", "contains")
	pred := c.pred
	c.pred = func(op string, args []int) any {
		switch op {
		case "prefix":
			return f.HasPrefix(d.args[args[0]])
		case "contains":
			return f.Contains(d.args[args[0]])
		}
		return pred(op, args)
	}
	return c
}

// mqOptional adds a pointer, whose values are nil and those of the domain.
func mqOptional[T, B any, V graphcache.Ordered](t mqTable[T, B], name string, at func(*B) **V, d mqDomain[V]) *mqColumn {
	d = d.complete()
	f := graphcache.OptionalFieldOf(t.kind, func(r *T) **V { return at(t.typed(r)) })
	get := func(rec any) *V { return *at(t.plain(rec)) }
	c := &mqColumn{
		name: name, ops: append([]string{"eq", "eq", "ne", "in", "nil"}, mqComparisons...), changes: []string{"set", "clear"},
		values: 2 * len(d.values), args: len(d.args), field: f, ordered: true,
		isNil: func(rec any) bool { return get(rec) == nil },
		set: func(rec any, i int) {
			*at(t.plain(rec)) = nil // every other one
			if i%2 == 1 {
				*at(t.plain(rec)) = &d.values[i/2]
			}
		},
		show: func(rec any) string {
			if get(rec) == nil {
				return "nil"
			}
			return d.show(*get(rec))
		},
		tidy: func(rec any) {
			if v := get(rec); v != nil {
				tidied := d.tidy(*v)
				*at(t.plain(rec)) = &tidied
			}
		},
	}
	c.compare = func(a, b any) int {
		x, y := get(a), get(b)
		switch {
		case x == nil && y == nil:
			return 0
		case x == nil:
			return -1
		case y == nil:
			return 1
		}
		return d.compare(*x, *y)
	}
	c.match = func(rec any, op string, args []int) bool {
		x := get(rec)
		equal := func(i int) bool { return x != nil && d.compare(*x, d.args[i]) == 0 }
		switch op {
		case "nil":
			return x == nil
		case "eq":
			return equal(args[0])
		case "ne":
			return !equal(args[0])
		case "in":
			return slices.ContainsFunc(args, equal)
		}
		return x != nil && !d.isNaN(*x) && mqHolds(op, d.compare(*x, d.args[args[0]]))
	}
	c.change = func(rec any, op string, i int) error {
		*at(t.plain(rec)) = nil
		if op == "set" {
			v := d.tidy(d.args[i])
			*at(t.plain(rec)) = &v
		}
		return nil
	}
	c.pred = func(op string, args []int) any {
		switch op {
		case "nil":
			return f.IsNil()
		case "eq":
			return f.Eq(d.args[args[0]])
		case "ne":
			return f.Ne(d.args[args[0]])
		case "in":
			return f.In(mqPick(d.args, args)...)
		case "lt":
			return f.Lt(d.args[args[0]])
		case "le":
			return f.Le(d.args[args[0]])
		case "gt":
			return f.Gt(d.args[args[0]])
		case "ge":
			return f.Ge(d.args[args[0]])
		}
		panic("no operator " + op)
	}
	c.order = func(desc bool) any {
		if desc {
			return f.Desc()
		}
		return f.Asc()
	}
	c.changing = func(op string, i int) any {
		if op == "clear" {
			return f.Clear()
		}
		return f.Set(d.args[i])
	}
	return c
}

// mqSlice adds a slice. Its has takes the elements as arguments.
func mqSlice[T, B any, E cmp.Ordered](t mqTable[T, B], name string, at func(*B) *[]E, elements []E, values ...[]E) *mqColumn {
	d := mqDomain[[]E]{
		values: values, isNil: func(s []E) bool { return s == nil },
	}
	d.compare = func(a, b []E) int {
		switch {
		case a == nil && b == nil:
			return 0
		case a == nil:
			return -1
		case b == nil:
			return 1
		}
		return slices.Compare(a, b)
	}
	f := graphcache.SliceFieldOf(t.kind, func(r *T) *[]E { return at(t.typed(r)) })
	c := mqBase(name, f.Field, func(rec any) *[]E { return at(t.plain(rec)) }, d.complete())
	c.field = f
	c.ops = append(c.ops, "nil", "has", "has", "has", "has", "has")
	pred, match := c.pred, c.match
	c.pred = func(op string, args []int) any {
		if op == "has" {
			return f.Has(elements[args[0]%len(elements)])
		}
		return pred(op, args)
	}
	c.match = func(rec any, op string, args []int) bool {
		if op == "has" {
			return slices.Contains(*at(t.plain(rec)), elements[args[0]%len(elements)])
		}
		return match(rec, op, args)
	}
	return c
}

// mqBytes are compared byte by byte; nil is not empty.
func mqBytes(values ...[]byte) mqDomain[[]byte] {
	return mqDomain[[]byte]{
		values: values, isNil: func(b []byte) bool { return b == nil },
		compare: func(a, b []byte) int {
			switch {
			case a == nil && b == nil:
				return 0
			case a == nil:
				return -1
			case b == nil:
				return 1
			}
			return bytes.Compare(a, b)
		},
	}
}

// mqBools orders false before true.
func mqBools() mqDomain[bool] {
	return mqDomain[bool]{values: []bool{false, true}, compare: func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case b:
			return -1
		}
		return 1
	}}
}

// mqIDColumn is the object's ID.
func mqIDColumn[T any](k *graphcache.ObjectKind[T], id func(*T) *graphcache.ID[T], ids []string) *mqColumn {
	d := mqText[graphcache.ID[T]]()
	for _, s := range append([]string{"nobody"}, ids...) {
		d.args = append(d.args, graphcache.ID[T](s))
	}
	f := graphcache.StringFieldOf(k, id)
	c := mqOrderedBase("id", f.OrderedField, func(rec any) *graphcache.ID[T] {
		return (*graphcache.ID[T])(&rec.(*mqObject).ID)
	}, d.complete())
	c.changes = nil
	c.ops = []string{"eq", "in", "in", "ne", "lt", "ge"}
	return c
}

var (
	mqCities = mqText("", "b", "berlin", "bern", "é", "ber\x00")
	mqMails  = mqText("", "a@x", "a@y", "ab@x", "B@x", "b@x", "b@y", "c@x", "d@x", "e@x", "f@x", "g@x", "h@x", "i@x", "j@x", "k@x")
	mqTimes  = mqMoments(
		time.Time{}, modelBase, modelBase.Add(time.Millisecond), modelBase.Add(2*time.Millisecond+600*time.Microsecond),
		time.Date(1931, 7, 1, 0, 0, 0, int(time.Millisecond+500*time.Microsecond), time.UTC),
		modelBase.Add(time.Hour).In(time.FixedZone("east", 3600)),
	)
	mqRates  = mqFloat(math.NaN(), math.Copysign(0, -1), 0, 0.5, -2.5, 1, math.Inf(1))
	mqVisits = mqUnsigned(0, 1, 1<<63, math.MaxUint64, math.MaxInt64)
)

// mqOrdinary takes from the model the numbers that MongoDB has and servers like it may not
// have, until the test ends: those that are not finite, the zero with a sign, and those
// beyond an int64.
func mqOrdinary(t *testing.T) {
	for _, rates := range [][]float64{mqRates.values, mqRates.args} {
		kept := slices.Clone(rates)
		t.Cleanup(func() { copy(rates, kept) })
		for i, v := range rates {
			if math.IsNaN(v) || math.IsInf(v, 0) || v == 0 {
				rates[i] = 0
			}
		}
	}
	kept := slices.Clone(mqVisits.values)
	t.Cleanup(func() { copy(mqVisits.values, kept) })
	for i, v := range kept {
		mqVisits.values[i] = min(v, math.MaxInt64)
	}
}

// mqUserColumns returns the columns of a user but for the ID.
func mqUserColumns[T any](t mqTable[T, mqUserBody]) []*mqColumn {
	bytes := mqPlain(t, "photo", func(b *mqUserBody) *[]byte { return &b.Photo }, mqBytes(nil, []byte{}, []byte{0}, []byte{0, 1}, []byte{255}))
	bytes.ops = append(bytes.ops, "nil")
	return []*mqColumn{
		mqString(t, "city", func(b *mqUserBody) *string { return &b.City }, mqCities),
		mqString(t, "email", func(b *mqUserBody) *string { return &b.Email }, mqMails),
		mqOptional(t, "alias", func(b *mqUserBody) **string { return &b.Alias }, mqText("", "x", "xy", "y", "é")),
		mqString(t, "title", func(b *mqUserBody) *string { return &b.Title }, mqText("", "t", "tt", "u")),
		mqOrdered(t, "level", func(b *mqUserBody) *int8 { return &b.Level }, mqNumber(math.MinInt8, math.MaxInt8, []int8{1, -1, 100}, 0, 1, -128, 127)),
		mqOrdered(t, "age", func(b *mqUserBody) *int { return &b.Age }, mqNumber(math.MinInt64, math.MaxInt64, []int{1, -2}, 0, 1, 2, -1, math.MaxInt64)),
		mqOrdered(t, "points", func(b *mqUserBody) *int32 { return &b.Points }, mqNumber(math.MinInt32, math.MaxInt32, []int32{1, -1, math.MaxInt32}, 0, 1, -1, 5)),
		mqOrdered(t, "visits", func(b *mqUserBody) *uint64 { return &b.Visits }, mqVisits),
		mqOrdered(t, "rate", func(b *mqUserBody) *float64 { return &b.Rate }, mqRates),
		mqOptional(t, "worth", func(b *mqUserBody) **float64 { return &b.Worth }, mqRates),
		mqSlice(t, "tags", func(b *mqUserBody) *[]string { return &b.Tags }, []string{"a", "b", "ab", ""},
			nil, []string{}, []string{"a"}, []string{"a", "b"}, []string{"b", "a"}, []string{"a", "a"}, []string{"ab", ""}),
		mqSlice(t, "nums", func(b *mqUserBody) *[]int { return &b.Nums }, []int{0, 1, 7},
			nil, []int{}, []int{0}, []int{1, 0}, []int{7, 7, 1}),
		mqOrdered(t, "born", func(b *mqUserBody) *time.Time { return &b.Born }, mqTimes),
		mqOptional(t, "seen", func(b *mqUserBody) **time.Time { return &b.Seen }, mqTimes),
		mqPlain(t, "active", func(b *mqUserBody) *bool { return &b.Active }, mqBools()),
		bytes,
		mqPlain(t, "lang", func(b *mqUserBody) *mqLang { return &b.Lang }, mqSimple[mqLang](0, 1, 2)),
		mqOrdered(t, "zip", func(b *mqUserBody) *uint16 { return &b.Home.Zip }, mqSimple[uint16](0, 1, 65535)),
		mqString(t, "street", func(b *mqUserBody) *string { return &b.Home.Street }, mqText("", "s", "st")),
	}
}

func mqPostColumns(t mqTable[mqPost, mqPostBody]) []*mqColumn {
	return []*mqColumn{
		mqString(t, "topic", func(b *mqPostBody) *string { return &b.Topic }, mqText("", "go", "gopher")),
		mqOptional(t, "slot", func(b *mqPostBody) **int { return &b.Slot }, mqSimple(0, 1, 2)),
		mqOrdered(t, "score", func(b *mqPostBody) *int { return &b.Score }, mqNumber(math.MinInt64, math.MaxInt64, []int{1, -1}, 0, 1, 2, 3)),
		mqOrdered(t, "at", func(b *mqPostBody) *time.Time { return &b.At }, mqTimes),
		mqPlain(t, "hot", func(b *mqPostBody) *bool { return &b.Hot }, mqBools()),
	}
}

func mqPlaceColumns(t mqTable[mqPlace, mqPlaceBody]) []*mqColumn {
	return []*mqColumn{
		mqString(t, "name", func(b *mqPlaceBody) *string { return &b.Name }, mqCities),
		mqOrdered(t, "size", func(b *mqPlaceBody) *float64 { return &b.Size }, mqRates),
	}
}

// mqEdgeColumns returns the columns of an edge; data leads to its data.
func mqEdgeColumns[A, B, D any](k *graphcache.EdgeKind[A, B, D], data func(*D) *mqNote) []*mqColumn {
	t := mqTable[graphcache.Edge[A, B, D], mqNote]{
		kind: k, typed: func(e *graphcache.Edge[A, B, D]) *mqNote { return data(&e.Data) },
		plain: func(rec any) *mqNote { return &rec.(*mqEdge).Note },
	}
	d := mqTimes
	d.values, d.args = d.values[1:], d.values[1:]
	when := mqOrderedBase("time", graphcache.OrderedFieldOf(k, func(e *graphcache.Edge[A, B, D]) *time.Time { return &e.Time }),
		func(rec any) *time.Time { return &rec.(*mqEdge).Time }, d.complete())
	when.ops = slices.DeleteFunc(when.ops, func(op string) bool { return op == "zero" })
	return []*mqColumn{
		when,
		mqString(t, "note", func(n *mqNote) *string { return &n.Note }, mqText("", "n", "no")),
		mqOrdered(t, "weight", func(n *mqNote) *int { return &n.Weight }, mqSimple(0, 1, 2)),
		mqOptional(t, "gain", func(n *mqNote) **float64 { return &n.Gain }, mqRates),
	}
}
