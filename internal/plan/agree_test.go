package plan_test

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// checkAgree decodes b by the layout and by reflection and checks that nothing is
// different: the value, also what there is of it when there is an error, the rest,
// and the error. The values are what was in the structs before.
func checkAgree(t testing.TB, p *plan.Plan, b []byte, got, want reflect.Value) {
	t.Helper()
	original := bytes.Clone(b)
	rest, err := p.DecodeTo(b, got.Addr().UnsafePointer())
	wantRest, wantErr := p.DecodeByReflection(b, want)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || errors.Is(err, driver.ErrInvalid) != (wantErr != nil) {
		t.Fatalf("%v: %x: error\n%v, by reflection\n%v", got.Type(), b, err, wantErr)
	}
	if !bytes.Equal(rest, wantRest) || len(rest) > 0 && &rest[0] != &wantRest[0] {
		t.Fatalf("%v: %x: rest %x, by reflection %x", got.Type(), b, rest, wantRest)
	}
	if !bytes.Equal(b, original) {
		t.Fatalf("%v: %x became %x", got.Type(), original, b)
	}
	if reflect.DeepEqual(got.Interface(), want.Interface()) {
		return
	}
	if diff := cmp.Diff(want.Interface(), got.Interface(), same, cmpopts.EquateComparable()); diff != "" {
		t.Fatalf("%v: %x, error %v (-by reflection +got):\n%s", got.Type(), b, err, diff)
	}
}

// agree is checkAgree for new structs.
func agree(t testing.TB, p *plan.Plan, typ reflect.Type, b []byte) {
	t.Helper()
	checkAgree(t, p, b, reflect.New(typ).Elem(), reflect.New(typ).Elem())
}

// mutations calls use with every beginning of b, with b without its i-th byte, and
// with the first byte of every sort of object in the place of it.
func mutations(b []byte, use func([]byte)) {
	for i := range b {
		use(b[:i])
		use(slices.Delete(bytes.Clone(b), i, i+1))
		for _, c := range leads() {
			m := bytes.Clone(b)
			m[i] = c
			use(m)
		}
	}
}

// leads are the first bytes of all sorts of objects.
func leads() []byte {
	list := []byte{0x00, 0x7f, 0x80, 0x82, 0x90, 0x91, 0x92, 0x9f, 0xa0, 0xa1, 0xbf, 0xe0, 0xff}
	for c := byte(0xc0); c < 0xe0; c++ {
		list = append(list, c)
	}
	return list
}

// longer than what is decoded at one go.
type longer struct {
	A []int
	B []string
	C [10]bool
	D []time.Time
	E [9]float64
	F []uint64
	G map[string]string
}

// Both decoders do the same with every type, also with encodings that are wrong.
func TestDecodersAgree(t *testing.T) {
	some := longer{C: [10]bool{9: true}, E: [9]float64{8: 0.5}, G: map[string]string{}}
	for i := range 10 {
		some.A, some.B = append(some.A, (i-5)<<(4*i)), append(some.B, strings.Repeat("b", i*2))
		some.D, some.F = append(some.D, noon.AddDate(i, 0, 0)), append(some.F, 1<<(7*i))
		some.G[strings.Repeat("g", i+1)] = strings.Repeat("x", i/8*35)
	}
	for _, s := range append(corpus(), sample{name: "longer", value: some}) {
		t.Run(s.name, func(t *testing.T) {
			p, typ := planOf(t, s.value), reflect.TypeOf(s.value)
			_, b, _ := throughAll(t, p, s.value)
			agree(t, p, typ, b)
			agree(t, p, typ, append(bytes.Clone(b), "what follows"...))
			if len(b) > 2000 {
				return
			}
			mutations(b, func(m []byte) { agree(t, p, typ, m) })
		})
	}
}

// Containers beside each other are not inside each other.
func TestManyContainers(t *testing.T) {
	const many = 150
	type wide struct {
		Records []Point
		Lists   [][]int
		Arrays  [many][1]string
		Maps    []map[string]int
		Others  []map[int]Point
		Boxes   [many]**int
		Ptrs    []*Audit
	}
	v := wide{
		Records: make([]Point, many), Lists: slices.Repeat([][]int{{1}}, many),
		Maps: slices.Repeat([]map[string]int{{"a": 1}}, many), Others: slices.Repeat([]map[int]Point{{1: {}}}, many),
		Ptrs: slices.Repeat([]*Audit{{By: "b"}}, many),
	}
	for i := range v.Boxes {
		v.Boxes[i] = ptr(ptr(i))
	}
	p := planOf(t, v)
	_, b, got := throughAll(t, p, v)
	if diff := cmp.Diff(v, got); diff != "" {
		t.Errorf("came back different (-want +got):\n%s", diff)
	}
	agree(t, p, reflect.TypeOf(v), b)
}

// They overwrite the same of a struct that is in use, also when there is an error.
func TestDecodersOverwriteAlike(t *testing.T) {
	for _, s := range corpus() {
		t.Run(s.name, func(t *testing.T) {
			p, typ := planOf(t, s.value), reflect.TypeOf(s.value)
			_, b, _ := throughAll(t, p, s.value)
			for _, other := range corpus() {
				if reflect.TypeOf(other.value) != typ {
					continue
				}
				for _, size := range []int{len(b), len(b) * 3 / 4, len(b) / 2, len(b) / 4} {
					got, want := reflect.New(typ).Elem(), reflect.New(typ).Elem()
					got.Set(reflect.ValueOf(other.value))
					want.Set(reflect.ValueOf(other.value))
					checkAgree(t, p, b[:size], got, want)
				}
			}
		})
	}
}

// They agree on every sort of number in every type of number, in the range or out of
// it, with and without bytes behind it.
func TestDecodersAgreeOnNumbers(t *testing.T) {
	types := []struct {
		value  any
		before string
	}{
		{struct{ A bool }{}, "\x91"}, {struct{ A int }{}, "\x91"}, {struct{ A int8 }{}, "\x91"}, {struct{ A int16 }{}, "\x91"},
		{struct{ A int32 }{}, "\x91"}, {struct{ A int64 }{}, "\x91"}, {struct{ A uint }{}, "\x91"}, {struct{ A uint8 }{}, "\x91"},
		{struct{ A uint16 }{}, "\x91"}, {struct{ A uint32 }{}, "\x91"}, {struct{ A uint64 }{}, "\x91"}, {struct{ A uintptr }{}, "\x91"},
		{struct{ A float64 }{}, "\x91"}, {struct{ A float32 }{}, "\x91"}, {struct{ A time.Time }{}, "\x91"}, {struct{ A time.Duration }{}, "\x91"},
		{struct{ A []int64 }{}, "\x91\x91"}, {struct{ A []uint64 }{}, "\x91\x91"}, {struct{ A []float64 }{}, "\x91\x91"},
		{struct{ A []bool }{}, "\x91\x91"}, {struct{ A []time.Time }{}, "\x91\x91"}, {struct{ A [2]int8 }{}, "\x91\x92"},
		{struct{ A *uint16 }{}, "\x91"}, {struct{ A map[string]int }{}, "\x91\x81\xa1k"}, {struct{ A map[string]int64 }{}, "\x91\x81\xa1k"},
		{struct{ A map[string]float64 }{}, "\x91\x81\xa1k"}, {struct{ A map[string]bool }{}, "\x91\x81\xa1k"},
		{struct{ A map[string]uint8 }{}, "\x91\x81\xa1k"},
	}
	contents := [][]byte{
		{0, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 1}, {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x80, 0, 0, 0, 0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0, 0x80, 0, 0, 0},
		{0, 0, 0, 0, 0, 0, 0x7f, 0xff}, {0, 0, 0, 0, 0, 0, 0x80, 0}, {0, 0, 0, 0, 0, 0, 0, 0x80}, {0, 0, 0, 0, 0, 0, 0, 0xff},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff},
		{0x47, 0xef, 0xff, 0xff, 0xe0, 0, 0, 0}, {0x47, 0xef, 0xff, 0xff, 0xf0, 0, 0, 0}, {0xc7, 0xf0, 0, 0, 0, 0, 0, 0}, // the greatest float32 and beyond
		{0x7f, 0xf0, 0, 0, 0, 0, 0, 0}, {0xff, 0xf8, 0, 0, 0, 0, 0, 1}, {0, 0, 0xe6, 0x77, 0xd2, 0x1f, 0xdb, 0xff}, // infinite, NaN, the last millisecond
		{0, 0, 0xe6, 0x77, 0xd2, 0x1f, 0xdc, 0}, {0xff, 0xff, 0xc7, 0x73, 0x10, 0x22, 0xa8, 0}, // beyond it
	}
	for _, test := range types {
		p, typ := planOf(t, test.value), reflect.TypeOf(test.value)
		for _, lead := range leads() {
			for _, content := range contents {
				for _, from := range []int{0, 4, 6, 7} {
					b := append(append([]byte(test.before), lead), content[from:]...)
					agree(t, p, typ, b)
					agree(t, p, typ, append(b, "something behind it"...))
				}
			}
		}
	}
}

func FuzzDecodersAgree(f *testing.F) {
	var types []reflect.Type
	var plans []*plan.Plan
	for _, value := range columnTypes() {
		types, plans = append(types, reflect.TypeOf(value)), append(plans, planOf(f, value))
	}
	for _, target := range targets {
		types, plans = append(types, reflect.TypeOf(target.value)), append(plans, planOf(f, target.value))
	}
	for _, s := range corpus() {
		i := slices.Index(types, reflect.TypeOf(s.value))
		if _, b, _ := throughAll(f, plans[i], s.value); len(b) < 1000 {
			f.Add(byte(i), b)
		}
	}
	for i := range types {
		for _, b := range bombs() {
			if len(b) < 1000 {
				f.Add(byte(i), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		k := int(i) % len(types)
		agree(t, plans[k], types[k], b)
		if len(b) <= 512 { // so long that no strings are shared
			agree(t, plans[k], types[k], append(bytes.Clone(b), make([]byte, 513)...))
		}
	})
}

// The strings of a short encoding are parts of one string, those of a long one are
// not, and a single one is not part of more than itself.
func TestSharedStrings(t *testing.T) {
	type two struct {
		A, B string
		C    []byte
	}
	const first, second = "the first of them", "the second string"
	p := planOf(t, two{})
	for _, test := range []struct {
		size   int // of C
		length int // of the encoding
		shared bool
	}{
		{0, 39, true},
		{512 - 40, 512, true},
		{513 - 40, 513, false},
		{5000, 5040, false},
	} {
		_, b, _ := throughAll(t, p, two{first, second, make([]byte, test.size)})
		if len(b) != test.length {
			t.Fatalf("the encoding is %d bytes long, want %d", len(b), test.length)
		}
		var v two
		if _, err := p.DecodeTo(b, unsafe.Pointer(&v)); err != nil {
			t.Fatal(err)
		}
		clear(b)
		if v.A != first || v.B != second {
			t.Errorf("the strings %q and %q have changed with the encoding", v.A, v.B)
		}
		apart := uintptr(unsafe.Pointer(unsafe.StringData(v.B))) - uintptr(unsafe.Pointer(unsafe.StringData(v.A)))
		if got := apart == uintptr(len(first)+1); got != test.shared {
			t.Errorf("in an encoding of %d bytes: shared %t, want %t", len(b), got, test.shared)
		}
	}

	type one struct {
		A string
		C [300]byte
	}
	p = planOf(t, one{})
	_, b, _ := throughAll(t, p, one{A: "a string"})
	var v one
	const runs = 1000
	allocated := allocatedBy(func() {
		for range runs {
			if _, err := p.DecodeTo(b, unsafe.Pointer(&v)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if limit := uint64(runs*64 + slack); allocated > limit {
		t.Errorf("%d times a single string allocated %d bytes, want at most %d", runs, allocated, limit)
	}
}

// Types that marshal themselves may be of kinds that nothing else is.
type (
	rareFunc    func() string
	rareChan    chan string
	rareComplex complex128
)

func (f rareFunc) MarshalText() ([]byte, error) { return []byte(f()), nil }

func (f *rareFunc) UnmarshalText(b []byte) error {
	s := strings.Clone(string(b))
	*f = func() string { return s }
	return nil
}

func (c rareChan) MarshalText() ([]byte, error) {
	s := <-c
	c <- s
	return []byte(s), nil
}

func (c *rareChan) UnmarshalText(b []byte) error {
	*c = make(chan string, 1)
	*c <- string(b)
	return nil
}

func (c rareComplex) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%v", complex128(c)), nil
}

func (c *rareComplex) UnmarshalText(b []byte) error {
	_, err := fmt.Sscan(string(b), (*complex128)(c))
	return err
}

var _ encoding.TextUnmarshaler = (*rareComplex)(nil)

// What a slice or a pointer leads to is memory of the right size that the collector
// looks into.
func TestRareKinds(t *testing.T) {
	type rare struct {
		Funcs     []rareFunc
		Func      *rareFunc
		Chans     []rareChan
		Chan      **rareChan
		Complexes []rareComplex
		Complex   *rareComplex
		Map       map[string]rareFunc
	}
	chanOf := func(s string) rareChan {
		c := make(rareChan, 1)
		c <- s
		return c
	}
	funcOf := func(s string) rareFunc { return func() string { return s } }
	v := rare{
		[]rareFunc{funcOf("f0"), nil, funcOf("f2")}, ptr(funcOf("f")), []rareChan{chanOf("c0"), nil, chanOf("c2")},
		ptr(ptr(chanOf("c"))), []rareComplex{1, 2i, 3 + 4i}, ptr(rareComplex(5i)), map[string]rareFunc{"m": funcOf("fm")},
	}
	p := planOf(t, rare{})
	doc, b, _ := throughAll(t, p, v)
	var all [100]rare
	for i := range all {
		if _, err := p.DecodeTo(b, unsafe.Pointer(&all[i])); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		runtime.GC()
		_ = make([][16]byte, 10_000) // what was freed is used again
	}
	for i := range all {
		again, err := p.Document(reflect.ValueOf(all[i]))
		if err != nil {
			t.Fatal(err)
		}
		if !driver.Equal(doc, again) {
			t.Fatalf("the document of what came back is %v, want %v", again, doc)
		}
	}
}

// A described plan has no layout.
func TestDescribedDecodesNothing(t *testing.T) {
	for _, value := range []any{post, Recursive{}} {
		p := planOf(t, value)
		_, b, _ := throughAll(t, p, value)
		described, err := plan.Described(owner, p.Describe())
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.New(reflect.TypeOf(value))
		rest, err := described.DecodeTo(b, v.UnsafePointer())
		checkInvalid(t, err, "a described plan has no type to decode into")
		if len(rest) != len(b) || !v.Elem().IsZero() || described.Flat() {
			t.Errorf("rest %x, value %v, flat %t", rest, v.Elem(), described.Flat())
		}
	}
}
