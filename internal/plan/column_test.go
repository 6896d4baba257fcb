package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// columnAt asks for the column of a field as a program selects it.
func columnAt[T, F any](p *plan.Plan, selected func(*T) *F) (*plan.Column, error) {
	v := new(T)
	offset := uintptr(unsafe.Pointer(selected(v))) - uintptr(unsafe.Pointer(v))
	return p.ColumnAt(offset, reflect.TypeFor[F]())
}

// goField is a Go field that has an offset in a struct.
type goField struct {
	selector string
	offset   uintptr
	typ      reflect.Type
}

// in returns the field of the struct v.
func (f *goField) in(v reflect.Value) reflect.Value {
	for name := range strings.SplitSeq(f.selector, ".") {
		v = v.FieldByName(name)
	}
	return v
}

// goFieldsOf returns the fields of a struct and of the structs in it.
func goFieldsOf(t reflect.Type) (fields []goField) {
	for i := range t.NumField() {
		sf := t.Field(i)
		fields = append(fields, goField{sf.Name, sf.Offset, sf.Type})
		if sf.Type.Kind() == reflect.Struct {
			for _, f := range goFieldsOf(sf.Type) {
				fields = append(fields, goField{sf.Name + "." + f.selector, sf.Offset + f.offset, f.typ})
			}
		}
	}
	return fields
}

// columnOf is a column and its Go field.
type columnOf struct {
	*plan.Column
	field goField
}

func columnsOf(p *plan.Plan, t reflect.Type) (columns []columnOf) {
	for _, f := range goFieldsOf(t) {
		if c, err := p.ColumnAt(f.offset, f.typ); err == nil {
			columns = append(columns, columnOf{c, f})
		}
	}
	return columns
}

// columnTypes are the types of the corpus and those of other tests, once each.
func columnTypes() []any {
	seen := map[reflect.Type]bool{}
	var values []any
	for _, s := range corpus() {
		if typ := reflect.TypeOf(s.value); !seen[typ] {
			seen[typ] = true
			values = append(values, s.value)
		}
	}
	return append(values, Article{}, Ledger{})
}

// What is a column and what is said of it, or why a field is none, for every Go
// field of every type.
func TestColumnGolden(t *testing.T) {
	path := filepath.Join("testdata", "column.golden")
	var got bytes.Buffer
	for _, value := range columnTypes() {
		typ, p := reflect.TypeOf(value), planOf(t, value)
		for _, f := range goFieldsOf(typ) {
			if strings.Contains(f.selector, ".") && isPrivate(f.selector) {
				continue // the insides of types from elsewhere
			}
			fmt.Fprintf(&got, "%v.%s\t%s\n", typ, f.selector, describe(p.ColumnAt(f.offset, f.typ)))
		}
	}
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func isPrivate(selector string) bool {
	last := selector[strings.LastIndexByte(selector, '.')+1:]
	return strings.ToLower(last[:1]) == last[:1]
}

func describe(c *plan.Column, err error) string {
	if err != nil {
		return strings.TrimPrefix(err.Error(), no)
	}
	d := c.Driver()
	var text strings.Builder
	fmt.Fprintf(&text, "%s zero %T %q", d.Name(), d.Zero, fmt.Sprint(d.Zero))
	if d.Was != nil {
		fmt.Fprintf(&text, " was %q", d.Was)
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"list", c.List()}, {"nilable", c.Nilable()}, {"string", c.IsString()}, {"top", c.Top()}, {"ordered", c.Ordered() == nil}} {
		if flag.set {
			text.WriteString(" " + flag.name)
		}
	}
	if low, high, ok := c.Bounds(); ok {
		fmt.Fprintf(&text, " %T %v..%v", low, low, high)
	}
	return text.String()
}

// checkValue checks that Value makes of a field what the document has.
func checkValue(t testing.TB, c columnOf, v reflect.Value, doc driver.Document) {
	d := c.Driver()
	want := d.Value(doc)
	x := c.field.in(v)
	if !x.CanInterface() { // through an unexported struct: a copy of it will do
		x = exported(v, c.field)
	}
	got, err := c.Value(x.Interface())
	if hasNaN(want) {
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: Value of NaN: %v, want ErrInvalid", c.field.selector, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: Value: %v", c.field.selector, err)
	} else if !driver.Equal(want, got) || driver.Compare(want, got) != 0 {
		t.Errorf("%s: Value returned %T %v, want %T %v", c.field.selector, got, got, want, want)
	}
	if list, ok := want.([]driver.Value); ok && c.List() {
		for i := range list {
			got, err := c.Element(x.Index(i).Interface())
			if err != nil || !driver.Equal(list[i], got) {
				t.Errorf("%s[%d]: Element returned %v, %v, want %v", c.field.selector, i, got, err, list[i])
			}
		}
	}
}

func exported(v reflect.Value, f goField) reflect.Value {
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return reflect.NewAt(f.typ, unsafe.Add(c.UnsafePointer(), f.offset)).Elem()
}

func hasNaN(v driver.Value) bool {
	if list, ok := v.([]driver.Value); ok {
		return slices.ContainsFunc(list, hasNaN)
	}
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

// Value, Read and the column that stores get agree on every value of the corpus.
func TestColumnsAgree(t *testing.T) {
	for _, s := range corpus() {
		t.Run(s.name, func(t *testing.T) {
			p := planOf(t, s.value)
			doc, body, _ := throughAll(t, p, s.value)
			for _, c := range columnsOf(p, reflect.TypeOf(s.value)) {
				checkRead(t, c, doc, body)
				checkValue(t, c, reflect.ValueOf(s.value), doc)
			}
		})
	}
}

// The zero value and no document at all are the same to a column, and so are null
// and nothing.
func TestColumnZero(t *testing.T) {
	for _, value := range columnTypes() {
		p := planOf(t, value)
		zero := reflect.Zero(reflect.TypeOf(value))
		doc, _, _ := throughAll(t, p, zero.Interface())
		empty, err := p.Encode(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		nulls := slices.Clone(doc)
		for i := range nulls {
			nulls[i].Value = nil
		}
		null, err := p.Encode(nil, nulls)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range columnsOf(p, reflect.TypeOf(value)) {
			checkRead(t, c, nil, empty)
			checkRead(t, c, nulls, null)
			checkRead(t, c, doc, empty)
			checkValue(t, c, zero, nil)
		}
	}
}

func TestColumnRefusals(t *testing.T) {
	type Inside struct {
		Kept string `json:"kept"`
		Left string `json:"-"`
	}
	type Record struct {
		Secret
		Left
		ID     string
		Name   int `json:"name"`
		Other  bool
		Point  Point `json:"point"`
		Ptr    *Point
		Boxed  **int
		BoxedL *[]string
		PtrArr *[2]int
		Array  [3]int
		Points [2]Point
		Hash   [4]byte
		Map    map[string]int
		Lists  [][]int
		Blobs  [][]byte
		Ptrs   []*int
		Recs   []Point
		Raws   []json.RawMessage
		Tiny   [0]byte
		At     time.Time
		Money  money
		In     Inside `json:"in"`
		Gone   Inside `json:"-"`
		*Audit
		Day   weekday
		Days  []weekday
		Chain Chain
		Void  caused
		Panic fickleJSON
	}
	p, err := plan.Of(owner, reflect.TypeFor[Record](), func(sf reflect.StructField) bool { return sf.Name == "ID" })
	if err != nil {
		t.Fatal(err)
	}
	refusal := func(c *plan.Column, err error) error {
		if c != nil {
			t.Errorf("a column %s", c.Driver().Path)
		}
		return err
	}
	const elements = ` is not compared: it must be one of bools, numbers, strings, times, byte arrays or types that marshal themselves, which have no nil`
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"struct", refusal(columnAt(p, func(r *Record) *Point { return &r.Point })), `field "point": the struct plan_test.Point is not compared as a whole: select a field inside it`},
		{"embedded struct", refusal(columnAt(p, func(r *Record) *Left { return &r.Left })), `field "Left": the embedded struct plan_test.Left is not compared as a whole: select a field inside it`},
		{"embedded struct first", refusal(columnAt(p, func(r *Record) *Secret { return &r.Secret })), `field "Secret": the embedded struct plan_test.Secret is not compared as a whole: select a field inside it`},
		{"all", refusal(p.ColumnAt(0, reflect.TypeFor[Record]())), `plan_test.Record has no field of type plan_test.Record at the offset 0`},
		{"pointer to a struct", refusal(columnAt(p, func(r *Record) **Point { return &r.Ptr })), `field "Ptr": the struct behind the pointer *plan_test.Point is not compared: make the field a plan_test.Point, and select a field inside it`},
		{"embedded pointer", refusal(columnAt(p, func(r *Record) **Audit { return &r.Audit })), `field "Audit": the struct behind the embedded pointer *plan_test.Audit is not compared: embed the struct itself`},
		{"boxed", refusal(columnAt(p, func(r *Record) ***int { return &r.Boxed })), `field "Boxed": the pointer **int leads to a type that has a nil of its own and is not compared: use *int itself`},
		{"boxed list", refusal(columnAt(p, func(r *Record) **[]string { return &r.BoxedL })), `field "BoxedL": the pointer *[]string leads to a type that has a nil of its own and is not compared: use []string itself`},
		{"boxed itself", refusal(columnAt(p, func(r *Record) *Chain { return &r.Chain })), `field "Chain": the pointer plan_test.Chain leads to a type that has a nil of its own and is not compared: use plan_test.Chain itself`},
		{"pointer to an array", refusal(columnAt(p, func(r *Record) **[2]int { return &r.PtrArr })), `field "PtrArr": the array [2]int is not compared: use a slice`},
		{"array", refusal(columnAt(p, func(r *Record) *[3]int { return &r.Array })), `field "Array": the array [3]int is not compared: use a slice`},
		{"in an array", refusal(columnAt(p, func(r *Record) *int { return &r.Array[1] })), `field "Array": what is inside the array [3]int is not compared: use a slice, or a field of its own`},
		{"first in an array", refusal(columnAt(p, func(r *Record) *int { return &r.Array[0] })), `field "Array": what is inside the array [3]int is not compared: use a slice, or a field of its own`},
		{"in a struct in an array", refusal(columnAt(p, func(r *Record) *int { return &r.Points[1].X })), `field "Points": what is inside the array [2]plan_test.Point is not compared: use a slice, or a field of its own`},
		{"in a byte array", refusal(columnAt(p, func(r *Record) *byte { return &r.Hash[2] })), `field "Hash": what is inside the array [4]uint8 is not compared: use a slice, or a field of its own`},
		{"map", refusal(columnAt(p, func(r *Record) *map[string]int { return &r.Map })), `field "Map": a map is not compared: keep what is to be compared in a field of its own`},
		{"lists of lists", refusal(columnAt(p, func(r *Record) *[][]int { return &r.Lists })), `field "Lists": the slice [][]int` + elements},
		{"lists of bytes", refusal(columnAt(p, func(r *Record) *[][]byte { return &r.Blobs })), `field "Blobs": the slice [][]uint8` + elements},
		{"lists of pointers", refusal(columnAt(p, func(r *Record) *[]*int { return &r.Ptrs })), `field "Ptrs": the slice []*int` + elements},
		{"lists of structs", refusal(columnAt(p, func(r *Record) *[]Point { return &r.Recs })), `field "Recs": the slice []plan_test.Point` + elements},
		{"lists of marshaled nils", refusal(columnAt(p, func(r *Record) *[]json.RawMessage { return &r.Raws })), `field "Raws": the slice []json.RawMessage` + elements},
		{"empty array", refusal(columnAt(p, func(r *Record) *[0]byte { return &r.Tiny })), `field "Tiny": [0]uint8 has only one value, there is nothing to compare`},
		{"empty marshaler", refusal(columnAt(p, func(r *Record) *caused { return &r.Void })), `field "Void": plan_test.caused has only one value, there is nothing to compare`},
		{"in a marshaler", refusal(columnAt(p, func(r *Record) *string { return &r.Money.Currency })), `field "Money": what is inside plan_test.money is not compared, because it is kept as one value: select the field itself`},
		{"in a time", refusal(columnAt(p, func(r *Record) *uint64 { return (*uint64)(unsafe.Pointer(&r.At)) })), `field "At": what is inside time.Time is not compared, because it is kept as one value: select the field itself`},
		{"zero without a text", refusal(columnAt(p, func(r *Record) *weekday { return &r.Day })), `field "Day": the zero value of plan_test.weekday cannot be written, use a pointer: MarshalText: no day 0`},
		{"zero that panics", refusal(columnAt(p, func(r *Record) *fickleJSON { return &r.Panic })), `field "Panic": the zero value of plan_test.fickleJSON cannot be written, use a pointer: MarshalJSON panicked: fickle`},
		{"left out", refusal(columnAt(p, func(r *Record) *string { return &r.In.Left })), `field "In.Left": it is not stored, because of the tag json:"-": give it a name`},
		{"in what is left out", refusal(columnAt(p, func(r *Record) *string { return &r.Gone.Kept })), `field "Gone.Kept": it is not stored, because of the tag json:"-": give it a name`},
		{"promoted and left out", refusal(columnAt(p, func(r *Record) *string { return &r.Hidden })), `field "Secret.Hidden": it is not stored, because of the tag json:"-": give it a name`},
		{"not exported", refusal(columnAt(p, func(r *Record) *string { return &r.note })), `field "Secret.note": it is not stored, because it is not exported: export it`},
		{"skipped", refusal(columnAt(p, func(r *Record) *string { return &r.ID })), `field "ID": it is not stored in the document: select another field`},
		{"of another type", refusal(columnAt(p, func(r *Record) *int8 { return (*int8)(unsafe.Pointer(&r.Name)) })), `plan_test.Record has no field of type int8 at the offset 96`},
		{"in a number", refusal(p.ColumnAt(99, reflect.TypeFor[int8]())), `plan_test.Record has no field of type int8 at the offset 99`},
		{"in the padding", refusal(p.ColumnAt(105, reflect.TypeFor[bool]())), `plan_test.Record has no field of type bool at the offset 105`},
		{"beyond the end", refusal(p.ColumnAt(1<<40, reflect.TypeFor[bool]())), `plan_test.Record has no field of type bool at the offset 1099511627776`},
		{"no type", refusal(p.ColumnAt(0, nil)), `plan_test.Record has no field of type <nil> at the offset 0`},
		{"of nothing", refusal(plan.Empty(owner).ColumnAt(0, reflect.TypeFor[int]())), `struct {} has no field of type int at the offset 0`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !errors.Is(test.err, driver.ErrSchema) {
				t.Fatalf("%v, want an ErrSchema", test.err)
			}
			if want := no + test.want; test.err.Error() != want {
				t.Errorf("got  %v\nwant %v", test.err, want)
			}
		})
	}
	if c, err := columnAt(p, func(r *Record) *[]weekday { return &r.Days }); err != nil || !c.List() {
		t.Errorf("Days: %v, want a list", err)
	}
}

// A field that another one hides is not that one.
func TestHiddenColumn(t *testing.T) {
	type Whole struct {
		Left
		Name string
	}
	p := planOf(t, Whole{})
	if c, err := columnAt(p, func(w *Whole) *string { return &w.Name }); err != nil || !c.Top() {
		t.Errorf("Name: %v", err)
	}
	_, err := columnAt(p, func(w *Whole) *string { return &w.Left.Name })
	if want := no + `field "Left.Name": it is not stored, because another field is named "Name": give it a name of its own`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// A struct, its first field and the empty fields before them are all at one offset.
func TestColumnsAtOneOffset(t *testing.T) {
	type Inner struct {
		None  [0]string
		First string
	}
	type Whole struct {
		None  struct{}
		Void  [0]int
		Gone  [0]int8 `json:"-"`
		Inner Inner
		Last  string
		End   struct{}
	}
	p := planOf(t, Whole{})
	if _, err := columnAt(p, func(w *Whole) *[0]int8 { return &w.Gone }); err == nil || !strings.HasSuffix(err.Error(), `give it a name`) {
		t.Errorf("a column of what is left out: %v", err)
	}
	for selector, want := range map[string]func(*Whole) *string{
		"Inner.First": func(w *Whole) *string { return &w.Inner.First },
		"Last":        func(w *Whole) *string { return &w.Last },
	} {
		c, err := columnAt(p, want)
		if err != nil {
			t.Fatal(err)
		}
		if d := c.Driver(); d.Name() != selector {
			t.Errorf("%s is the column %s", selector, d.Name())
		}
	}
}

func TestOrdered(t *testing.T) {
	p := planOf(t, Ledger{})
	tests := []struct {
		column *plan.Column
		want   string
	}{
		{mustColumn(t, p, func(l *Ledger) *bool { return &l.Page.Flag }), `field "page.flag": bool has no order: ask whether it is true`},
		{mustColumn(t, p, func(l *Ledger) *Celsius { return &l.Heat }), `field "heat": plan_test.Celsius is kept as text, the order of which need not be that of its values`},
		{mustColumn(t, p, func(l *Ledger) **big.Int { return &l.Page.Big }), `field "page.big": big.Int is kept as text, the order of which need not be that of its values`},
		{mustColumn(t, p, func(l *Ledger) *Pair { return &l.Pair }), `field "pair": plan_test.Pair is kept as text, the order of which need not be that of its values`},
		{mustColumn(t, p, func(l *Ledger) *[]string { return &l.Page.Tags }), `field "page.tags": []string is a list, and lists have no order`},
		{mustColumn(t, p, func(l *Ledger) *[]byte { return &l.Page.Data }), `field "page.data": []uint8 is kept as bytes, which have no order`},
		{mustColumn(t, p, func(l *Ledger) *[3]byte { return &l.Page.Sum }), `field "page.sum": [3]uint8 is kept as bytes, which have no order`},
	}
	for _, test := range tests {
		err := test.column.Ordered()
		if want := no + test.want; err == nil || err.Error() != want || !errors.Is(err, driver.ErrSchema) {
			t.Errorf("got  %v\nwant %v", err, want)
		}
	}
}

func mustColumn[T, F any](t testing.TB, p *plan.Plan, selected func(*T) *F) *plan.Column {
	t.Helper()
	c, err := columnAt(p, selected)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// operands has a field for each way in which a value can be wrong.
type operands struct {
	S  string
	N  Named
	F  float64
	G  float32
	P  *float64
	I  int
	B  []byte
	At time.Time
	T  fickle
	L  []string
	Fs []float64
	Ts []time.Time
	PS *string
}

func TestColumnValues(t *testing.T) {
	p := planOf(t, struct{ A operands }{})
	of := func(name string) *plan.Column {
		sf, _ := reflect.TypeFor[operands]().FieldByName(name)
		c, err := p.ColumnAt(sf.Offset, sf.Type)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	minus := math.Copysign(0, -1)
	tests := []struct {
		field   string
		x       any
		element bool
		want    driver.Value
		err     string
	}{
		{field: "S", x: "a", want: "a"},
		{field: "S", x: "\xff", err: `field "A.S": the string is not valid UTF-8`},
		{field: "S", x: Named("a"), err: `field "A.S": found a value of type plan_test.Named, wanted one of type string`},
		{field: "S", x: nil, err: `field "A.S": found a value of type <nil>, wanted one of type string`},
		{field: "S", x: ptr("a"), err: `field "A.S": found a value of type *string, wanted one of type string`},
		{field: "S", x: "a", element: true, err: `field "A.S": string is not a slice that has elements to compare`},
		{field: "N", x: Named("a"), want: "a"},
		{field: "N", x: Named("\xff"), err: `field "A.N": the string is not valid UTF-8`},
		{field: "F", x: 1.5, want: 1.5},
		{field: "F", x: math.Inf(1), want: math.Inf(1)},
		{field: "F", x: minus, want: 0.0},
		{field: "F", x: math.NaN(), err: `field "A.F": NaN is equal to nothing and has no place in an order`},
		{field: "F", x: 1, err: `field "A.F": found a value of type int, wanted one of type float64`},
		{field: "G", x: float32(0.1), want: float64(float32(0.1))},
		{field: "G", x: float32(minus), want: 0.0},
		{field: "G", x: float32(math.NaN()), err: `field "A.G": NaN is equal to nothing and has no place in an order`},
		{field: "P", x: ptr(minus), want: 0.0},
		{field: "P", x: (*float64)(nil), want: nil},
		{field: "P", x: nil, want: nil},
		{field: "P", x: ptr(math.NaN()), err: `field "A.P": NaN is equal to nothing and has no place in an order`},
		{field: "I", x: math.MinInt, want: int64(math.MinInt64)},
		{field: "B", x: []byte(nil), want: nil},
		{field: "B", x: []byte{}, want: []byte{}},
		{field: "At", x: inRome, want: noon},
		{field: "At", x: time.Unix(1<<60, 0), err: `field "A.At": the year 36534630048 of the time is not between 0 and 9999`},
		{field: "T", x: fickle("a"), want: "a"},
		{field: "T", x: fickle("error"), err: `field "A.T": MarshalText: fickle`},
		{field: "T", x: fickle("panic"), err: `field "A.T": MarshalText panicked: fickle`},
		{field: "T", x: fickle("\xff"), err: `field "A.T": MarshalText: the text is not valid UTF-8`},
		{field: "L", x: []string{"a", ""}, want: []driver.Value{"a", ""}},
		{field: "L", x: []string(nil), want: nil},
		{field: "L", x: []string{"a", "\xff"}, err: `field "A.L[1]": the string is not valid UTF-8`},
		{field: "L", x: "a", element: true, want: "a"},
		{field: "L", x: "\xff", element: true, err: `field "A.L": the string is not valid UTF-8`},
		{field: "L", x: nil, element: true, err: `field "A.L": found a value of type <nil>, wanted one of type string`},
		{field: "Fs", x: []float64{minus, 1}, want: []driver.Value{0.0, 1.0}},
		{field: "Fs", x: []float64{1, math.NaN()}, err: `field "A.Fs[1]": NaN is equal to nothing and has no place in an order`},
		{field: "Fs", x: minus, element: true, want: 0.0},
		{field: "Ts", x: inRome, element: true, want: noon},
		{field: "PS", x: ptr("\xff"), err: `field "A.PS": the string is not valid UTF-8`},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %v", test.field, test.x), func(t *testing.T) {
			c := of(test.field)
			value := c.Value
			if test.element {
				value = c.Element
			}
			got, err := value(test.x)
			if test.err != "" {
				checkInvalid(t, err, test.err)
			} else if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, got, same); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestColumnAllocations(t *testing.T) {
	p := planOf(t, operands{})
	s := mustColumn(t, p, func(o *operands) *string { return &o.S })
	i := mustColumn(t, p, func(o *operands) *int { return &o.I })
	f := mustColumn(t, p, func(o *operands) *float64 { return &o.F })
	l := mustColumn(t, p, func(o *operands) *[]string { return &o.L })
	_, body, _ := throughAll(t, p, operands{S: "a string", I: 1 << 40, T: "t"})
	text, number, float := any("a string"), any(1<<40), any(1.5)
	tests := []struct {
		name string
		call func() (driver.Value, error)
		want float64
	}{
		{"string", func() (driver.Value, error) { return s.Value(text) }, 0},
		{"element", func() (driver.Value, error) { return l.Element(text) }, 0},
		{"int", func() (driver.Value, error) { return i.Value(number) }, 1},
		{"float", func() (driver.Value, error) { return f.Value(float) }, 0},
		{"read int", func() (driver.Value, error) { return i.Read(body) }, 1},
		{"read string", func() (driver.Value, error) { return s.Read(body) }, 2},
	}
	for _, test := range tests {
		got := testing.AllocsPerRun(100, func() {
			if _, err := test.call(); err != nil {
				t.Error(err)
			}
		})
		if got > test.want {
			t.Errorf("%s: %v allocations, want at most %v", test.name, got, test.want)
		}
	}
}
