package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// Ledger has a field of each form at the top and in a nested record, older names
// at both levels, and things in between that an encoding must be skipped over.
type Ledger struct {
	Empty  struct{}
	None   [0]int
	Name   string         `json:"name" graph:"was=title,was=label"`
	Before map[string]int `json:"before"`
	Count  int            `json:"count" graph:"index"`
	Page   Page           `json:"page" graph:"was=sheet"`
	*Audit
	Heat  Celsius `json:"heat"`
	Pair  Pair    `json:"pair"`
	Raw   json.RawMessage
	Heats []Celsius `json:"heats" graph:"was=temperatures,index"`
	Last  *float32  `json:"last"`
	End   struct{}
}

type Page struct {
	Trees []Tree         `json:"trees"`
	Flag  bool           `json:"flag"`
	Small int8           `json:"small" graph:"was=tiny,unique"`
	Huge  uint64         `json:"huge"`
	Ratio float32        `json:"ratio"`
	Text  string         `json:"text"`
	Data  []byte         `json:"data"`
	Sum   [3]byte        `json:"sum"`
	At    time.Time      `json:"at"`
	Addr  netip.Addr     `json:"addr"`
	Spot  *Point         `json:"spot"`
	Tags  []string       `json:"tags"`
	Times []time.Time    `json:"times"`
	Words *string        `json:"words"`
	When  *time.Time     `json:"when"`
	Big   *big.Int       `json:"big"`
	Votes map[string]int `json:"votes"`
	Inner struct {
		Deep float64 `json:"deep" graph:"was=shallow"`
	} `json:"inner"`
}

// checkRead checks that the column has one value in a document and its encoding.
func checkRead(t testing.TB, c columnOf, doc driver.Document, body []byte) {
	d := c.Driver()
	want := d.Value(doc)
	got, err := c.Read(body)
	if err != nil {
		t.Errorf("%s: Read: %v", c.field.selector, err)
		return
	}
	if !driver.Equal(want, got) || driver.Compare(want, got) != 0 {
		t.Errorf("%s: Read returned %T %v, want %T %v", c.field.selector, got, got, want, want)
	}
}

var ledgerOld = map[string][]string{
	"name": {"title", "label"}, "page": {"sheet"}, "small": {"tiny"}, "deep": {"shallow"}, "heats": {"temperatures"},
}

// age returns a document as other versions of the program may have left it: fields
// that are missing, null, unknown, under an older name or several, or elsewhere.
func age(doc driver.Document, choose func(int) int) driver.Document {
	var aged driver.Document
	insert := func(name string, v driver.Value) {
		aged = slices.Insert(aged, choose(len(aged)+1), driver.Field{Name: name, Value: v})
	}
	for _, f := range doc {
		if inner, ok := f.Value.(driver.Document); ok && (f.Name == "page" || f.Name == "inner") {
			f.Value = age(inner, choose)
		}
		old := ledgerOld[f.Name]
		switch k := choose(6); {
		case k == 0: // missing
		case k == 1:
			insert(f.Name, nil)
		case k == 2 && old != nil:
			insert(old[choose(len(old))], f.Value)
		case k == 3 && old != nil:
			insert(f.Name, f.Value)
			insert(old[choose(len(old))], nil)
		default:
			insert(f.Name, f.Value)
		}
	}
	for range choose(3) {
		insert(fmt.Sprintf("unknown%d", len(aged)), driver.Document{{Name: "x", Value: int64(1)}})
	}
	return aged
}

// ledger makes a value from the choices.
func ledger(choose func(int) int) Ledger {
	s := make(stream, 4000)
	for i := range s {
		s[i] = byte(choose(256))
	}
	var v Ledger
	for i := range reflect.TypeFor[Ledger]().NumField() {
		switch f := reflect.ValueOf(&v).Elem().Field(i); f.Type() {
		case reflect.TypeFor[Page]():
			s.fillPage(f)
		default:
			s.fillField(f)
		}
	}
	return v
}

func (s *stream) fillPage(v reflect.Value) {
	for i := range v.NumField() {
		s.fillField(v.Field(i))
	}
}

// fillField fills what stream fills, strings made valid, and the others by hand.
func (s *stream) fillField(v reflect.Value) {
	at := func() time.Time { return time.UnixMilli(int64(s.bits())%6e13 + int64(s.choose(1000))).UTC() }
	switch x := v.Addr().Interface().(type) {
	case *string:
		*x = strings.ToValidUTF8(string(s.next(s.choose(300))), "?")
	case **string:
		if s.choose(2) == 1 {
			*x = ptr(strings.ToValidUTF8(string(s.next(s.choose(300))), "?"))
		}
	case *[]string:
		for range s.choose(4) {
			*x = append(*x, strings.ToValidUTF8(string(s.next(s.choose(40))), "?"))
		}
	case *time.Time:
		*x = at()
	case **time.Time:
		if s.choose(2) == 1 {
			*x = ptr(at())
		}
	case *[]time.Time:
		for range s.choose(4) {
			*x = append(*x, at())
		}
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte(s.next(4)))
	case **big.Int:
		if s.choose(2) == 1 {
			*x = big.NewInt(int64(s.bits()))
		}
	case *Celsius:
		x.degrees = s.choose(256)
	case *[]Celsius:
		for range s.choose(4) {
			*x = append(*x, Celsius{s.choose(256)})
		}
	case *Pair:
		*x = Pair{s.choose(256), s.choose(256)}
	case *json.RawMessage:
		if s.choose(2) == 1 {
			*x = json.RawMessage(`{"a": 1}`)
		}
	case *[]Tree:
		for range s.choose(3) {
			*x = append(*x, Tree{Name: "t", Kids: []*Tree{nil, {Name: "k"}}})
		}
	case *map[string]int:
		if s.choose(2) == 1 {
			*x = map[string]int{"a": 1, "b": int(s.bits())}
		}
	case **Audit:
		if s.choose(2) == 1 {
			*x = &Audit{By: "me", Tags: []string{"x"}}
		}
	default:
		s.fill(v)
	}
}

func checkLedger(t rapid.TB, p *plan.Plan, columns []columnOf, choose func(int) int) {
	v := ledger(choose)
	doc, err := p.Document(reflect.ValueOf(v))
	if err != nil {
		t.Fatal(err)
	}
	aged := age(doc, choose)
	body, err := p.Encode(nil, aged)
	if err != nil {
		t.Fatal(err)
	}
	own, err := p.Encode(nil, doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		d := c.Driver()
		for _, pair := range []struct {
			doc  driver.Document
			body []byte
		}{{doc, own}, {aged, body}} {
			want := d.Value(pair.doc)
			got, err := c.Read(pair.body)
			if err != nil || !driver.Equal(want, got) || driver.Compare(want, got) != 0 {
				t.Errorf("%s: Read returned %T %v, %v, want %T %v", d.Name(), got, got, err, want, want)
			}
		}
		want := d.Value(doc)
		got, err := c.Value(c.field.in(reflect.ValueOf(v)).Interface())
		if hasNaN(want) != (err != nil) || err == nil && (!driver.Equal(want, got) || driver.Compare(want, got) != 0) {
			t.Errorf("%s: Value returned %T %v, %v, want %T %v", d.Name(), got, got, err, want, want)
		}
	}
}

// Documents of any age and their encodings have the same values.
func TestColumnsOfAgedDocuments(t *testing.T) {
	p := planOf(t, Ledger{})
	columns := columnsOf(p, reflect.TypeFor[Ledger]())
	if want := 22; len(columns) != want {
		t.Errorf("%d columns, want %d", len(columns), want)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := stream(rapid.SliceOfN(rapid.Byte(), 200, 400).Draw(t, "seed"))
		state := uint32(len(s)) + 1
		checkLedger(t, p, columns, func(n int) int { // the stream, then what follows from it
			state = state*1664525 + 1013904223 + uint32(s.next(1)[0])
			return int(state>>8) % n
		})
	})
}

// A list of texts may have had no text for an element.
func TestReadBlank(t *testing.T) {
	p := planOf(t, struct {
		A []Celsius
		B []weekday
	}{})
	body, err := p.Encode(nil, doc{{"A", list{nil, "1°C"}}, {"B", list{nil, "Monday"}}}.document())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []driver.Value{valueOf(list{"0°C", "1°C"}), valueOf(list{nil, "Monday"})} {
		c := columnsOf(p, reflect.TypeFor[struct {
			A []Celsius
			B []weekday
		}]())[i]
		if got, err := c.Read(body); err != nil || !driver.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", c.field.selector, got, err, want)
		}
	}
}

// What is read stays as it is when the body is used for something else.
func TestReadShares(t *testing.T) {
	v := Ledger{Name: "name", Page: Page{Data: []byte("data"), Tags: []string{"tag"}}}
	p := planOf(t, v)
	doc, body, _ := throughAll(t, p, v)
	columns := columnsOf(p, reflect.TypeFor[Ledger]())
	var got []driver.Value
	for _, c := range columns {
		x, err := c.Read(body)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x)
	}
	clear(body)
	for i, c := range columns {
		d := c.Driver()
		if want := d.Value(doc); !driver.Equal(want, got[i]) {
			t.Errorf("%s has become %v, want %v", d.Name(), got[i], want)
		}
	}
}

func TestReadRefusals(t *testing.T) {
	tests := []struct {
		name  string
		value any
		body  string
		want  string
	}{
		{"nothing", struct{ A int }{}, "", `field "A": the encoding is corrupt: msgp: too few bytes left to read object`},
		{"no record", struct{ A int }{}, "\x00", `field "A": the encoding is corrupt: msgp: attempted to decode type "int" with method for "array"`},
		{"another record", struct{ A int }{}, "\x92\x00\x00", `field "A": the encoding is corrupt: an array has the wrong length`},
		{"ends before", struct {
			B []struct{}
			A int
		}{}, "\x92\x92\x00", `field "A": the encoding is corrupt: it is shorter than it claims`},
		{"int8", struct{ A int8 }{}, "\x91\xcc\x80", `field "A": the encoding is corrupt: a number is out of range`},
		{"uint8", struct{ A uint8 }{}, "\x91\xcd\x01\x00", `field "A": the encoding is corrupt: a number is out of range`},
		{"float32", struct{ A float32 }{}, "\x91\xcb\x7f\xe0\x00\x00\x00\x00\x00\x00", `field "A": the encoding is corrupt: a number is out of range`},
		{"bool", struct{ A bool }{}, "\x91\xc0", `field "A": the encoding is corrupt: msgp: attempted to decode type "nil" with method for "bool"`},
		{"string", struct{ A string }{}, "\x91\xa1\xff", `field "A": the encoding is corrupt: the string is not valid UTF-8`},
		{"byte array", struct{ A [2]byte }{}, "\x91\xc4\x01\x00", `field "A": the encoding is corrupt: an array has the wrong length`},
		{"time", struct{ A time.Time }{}, "\x91\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", `field "A": the encoding is corrupt: a number is out of range`},
		{"list", struct{ A []int }{}, "\x91\x00", `field "A": the encoding is corrupt: msgp: attempted to decode type "int" with method for "array"`},
		{"long list", struct{ A []int }{}, "\x91\xdd\xff\xff\xff\xff\x00", `field "A": the encoding is corrupt: msgp: too few bytes left to read object`},
		{"element", struct{ A []int }{}, "\x91\x92\x00\xc0", `field "A[1]": the encoding is corrupt: msgp: attempted to decode type "nil" with method for "int"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			columns := columnsOf(planOf(t, test.value), reflect.TypeOf(test.value))
			v, err := columns[len(columns)-1].Read([]byte(test.body))
			checkInvalid(t, err, test.want)
			if v != nil {
				t.Errorf("%v with the error", v)
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	p, body := planOfPost(b)
	first := mustColumn(b, p, func(p *Post) *string { return &p.Title })
	last := mustColumn(b, p, func(p *Post) *[]string { return &p.Tags })
	for name, c := range map[string]*plan.Column{"first": first, "last": last} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Read(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// readTargets are the types into whose columns arbitrary bytes are read, as plans
// with their columns.
type readTarget struct {
	typ     reflect.Type
	plan    *plan.Plan
	columns []columnOf
}

func readTargets(t testing.TB) (list []readTarget) {
	for _, value := range columnTypes() {
		typ, p := reflect.TypeOf(value), planOf(t, value)
		if columns := columnsOf(p, typ); len(columns) > 0 {
			list = append(list, readTarget{typ, p, columns})
		}
	}
	return list
}

// Reading costs no more than what is there, whatever a header says: for an element
// of one byte the value, and 8 bytes for what is in it.
func TestReadBombs(t *testing.T) {
	for _, target := range readTargets(t) {
		zero, err := target.plan.Encode(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, bomb := range bombs() {
			for i := 0; i <= len(zero); i += 1 + len(zero)/8 {
				target.checkSafe(t, append(bytes.Clone(zero[:i]), bomb...))
			}
		}
	}
}

func (r *readTarget) checkSafe(t *testing.T, body []byte) {
	for _, c := range r.columns {
		allocated := allocatedBy(func() { _, _ = c.Read(body) })
		if limit := uint64(32*len(body) + slack); allocated > limit {
			t.Errorf("%v.%s: %d bytes allocated %d, want at most %d", r.typ, c.field.selector, len(body), allocated, limit)
		}
	}
}

// FuzzRead reads columns from what may be no encoding. Where Decode accepts it,
// they are those of the document of what it has decoded.
func FuzzRead(f *testing.F) {
	targets := readTargets(f)
	for i, target := range targets {
		for _, s := range corpus() {
			if reflect.TypeOf(s.value) == target.typ {
				if _, body, _ := throughAll(f, target.plan, s.value); len(body) < 1000 {
					f.Add(byte(i), body)
				}
			}
		}
		if body, err := target.plan.Encode(nil, nil); err == nil {
			f.Add(byte(i), body)
		}
	}
	for _, b := range bombs() {
		if len(b) < 1000 {
			f.Add(byte(0), append([]byte{0x98}, b...))
		}
	}
	f.Fuzz(func(t *testing.T, i byte, body []byte) {
		target := targets[int(i)%len(targets)]
		target.checkSafe(t, body)
		v := reflect.New(target.typ).Elem()
		rest, err := target.plan.Decode(body, v)
		if err != nil {
			return
		}
		doc, err := target.plan.Document(v)
		if err != nil {
			return // it has strings that no document can have
		}
		again, err := target.plan.Encode(nil, doc)
		if err != nil {
			t.Fatal(err)
		}
		// A type that marshals itself may have more texts than one for a value.
		canonical := bytes.Equal(again, body[:len(body)-len(rest)])
		for _, c := range target.columns {
			if canonical || !marshals(c.field.typ) {
				checkRead(t, c, doc, body)
			}
		}
	})
}

// marshals reports whether the type, or that of its elements, marshals itself.
func marshals(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if marshals(t.Elem()) {
			return true
		}
	}
	p := reflect.PointerTo(t)
	return t != reflect.TypeFor[time.Time]() &&
		(p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()))
}
