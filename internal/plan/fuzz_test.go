package plan_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// targets are the types that arbitrary bytes are decoded into. A value takes at
// most factor bytes of memory for each byte of its encoding: 16 for empty
// strings, 24 for nil slices and structs of them, and up to two slots' worth of
// growth; a Go map with one small entry takes some hundred.
var targets = []struct {
	value  any
	factor int
}{
	{Ints{}, 0},
	{struct{ A []int64 }{}, 10},
	{struct{ A [][]byte }{}, 32},
	{Lists{}, 32},
	{Recursive{}, 400},
	{Maps{}, 600},
	{Marshalers{}, 600},
	{Embedding{}, 32},
	{Pointers{}, 600},
	{Times{}, 10},
	{struct{ A Wide }{}, 10},
	{struct{ A []Wide }{}, 10},
}

// Wide is recursive and large.
type Wide struct {
	Next *Wide
	Pad  [100]int
}

// slack covers what does not depend on the input: the struct itself, an error.
const slack = 16 << 10

// bombs are encodings that claim more than they hold.
func bombs() [][]byte {
	list := [][]byte{
		[]byte("\xdd\x7f\xff\xff\xff"),
		[]byte("\xdd\xff\xff\xff\xff"),
		[]byte("\xdc\xff\xff"),
		[]byte("\xdf\x7f\xff\xff\xff"),
		[]byte("\xdf\xff\xff\xff\xff"),
		[]byte("\xde\xff\xff"),
		[]byte("\xdb\x7f\xff\xff\xff"),
		[]byte("\xdb\xff\xff\xff\xff"),
		[]byte("\xc6\x7f\xff\xff\xff"),
		[]byte("\xc6\xff\xff\xff\xff"),
		[]byte("\xc9\xff\xff\xff\xff\x00"),
	}
	// Headers that claim exactly as many elements as there are bytes left, one
	// inside the other.
	const size = 64 << 10
	for _, part := range []int{1, 2, 4, 8, 100} {
		for _, header := range []byte{0xdd, 0xdf} {
			var b []byte
			for len(b) < size {
				b = binary.BigEndian.AppendUint32(append(b, header), uint32(max(0, size-len(b)-5)/part))
				if header == 0xdf {
					b = append(b, 0xa1, 'k')
				}
			}
			list = append(list, b)
		}
	}
	// As many elements as there are bytes, none of which is one.
	b := binary.BigEndian.AppendUint32([]byte{0xdd}, size)
	list = append(list, append(b, bytes.Repeat([]byte{0xc1}, size)...))
	return append(list, bytes.Repeat([]byte{0x91}, size), bytes.Repeat([]byte{0x92}, 99),
		append(bytes.Repeat([]byte{0x92}, 90), make([]byte, 110)...),
		bytes.Repeat([]byte{0x81, 0xa0}, size))
}

// decodeCounting decodes and returns the number of bytes that this allocated.
func decodeCounting(p *plan.Plan, b []byte, v reflect.Value) (rest []byte, allocated uint64, err error) {
	allocated = allocatedBy(func() { rest, err = p.Decode(b, v) })
	return rest, allocated, err
}

func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// No bomb gets more than ten times its length, whatever the type: nothing is
// allocated on the word of a header.
func TestBombs(t *testing.T) {
	for _, target := range targets {
		typ := reflect.TypeOf(target.value)
		p := planOf(t, target.value)
		zero, err := p.Encode(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, bomb := range bombs() {
			// The bomb alone, and in the place of each field.
			inputs := [][]byte{bomb}
			for i := range zero {
				inputs = append(inputs, append(bytes.Clone(zero[:i]), bomb...))
			}
			for _, b := range inputs {
				v := reflect.New(typ).Elem()
				_, allocated, err := decodeCounting(p, b, v)
				if err == nil {
					continue // the bomb stood in no field's place
				}
				if limit := uint64(10*len(b) + slack); allocated > limit {
					t.Errorf("%v: %d bytes, %.12x…, allocated %d, want at most %d", typ, len(b), b, allocated, limit)
				}
			}
		}
	}
}

// Elements that are there but of the wrong type cost no more than right ones.
func TestWrongElements(t *testing.T) {
	const size = 64 << 10
	b := binary.BigEndian.AppendUint32([]byte{0x91, 0xdd}, size)
	b = append(b, bytes.Repeat([]byte{0xc2}, size)...)
	for _, test := range []struct {
		value  any
		factor int
	}{
		{struct{ A []Wide }{}, 0},
		{struct{ A []Point }{}, 8},
		{struct{ A []time.Time }{}, 8},
		{struct{ A []string }{}, 16},
		{struct{ A [][]int }{}, 24},
	} {
		_, allocated, err := decodeCounting(planOf(t, test.value), b, reflect.New(reflect.TypeOf(test.value)).Elem())
		if err == nil {
			t.Errorf("%T: no error", test.value)
		}
		if limit := uint64(test.factor*len(b) + slack); allocated > limit {
			t.Errorf("%T: %d bytes allocated %d, want at most %d", test.value, len(b), allocated, limit)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range bombs() {
		if len(b) < 1000 {
			for i := range targets {
				f.Add(byte(i), b)
				f.Add(byte(i), append([]byte{0x91}, b...))
			}
		}
	}
	plans := make([]*plan.Plan, len(targets))
	for i, target := range targets {
		plans[i] = planOf(f, target.value)
		for _, s := range corpus() {
			if reflect.TypeOf(s.value) == reflect.TypeOf(target.value) {
				if _, b, _ := throughAll(f, plans[i], s.value); len(b) < 1000 {
					f.Add(byte(i), b)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		target, p := targets[int(i)%len(targets)], plans[int(i)%len(targets)]
		v := reflect.New(reflect.TypeOf(target.value)).Elem()
		rest, allocated, err := decodeCounting(p, b, v)
		if limit := uint64(max(target.factor, 10)*len(b) + slack); allocated > limit {
			t.Errorf("%d bytes allocated %d, want at most %d", len(b), allocated, limit)
		}
		if err != nil {
			return
		}
		if !bytes.HasSuffix(b, rest) {
			t.Errorf("the rest %x is not the end of %x", rest, b)
		}
		checkStable(t, p, v)
	})
}

// checkStable checks that what was decoded is encoded as itself. Some of it
// cannot be in a document: a string that is not UTF-8, or an empty map key.
func checkStable(t *testing.T, p *plan.Plan, v reflect.Value) {
	doc, err := p.Document(v)
	if err != nil {
		for _, expected := range []string{"not valid UTF-8", "map key", "UTF-8", "Marshal"} {
			if strings.Contains(err.Error(), expected) {
				return
			}
		}
		t.Fatalf("the document of what was decoded: %v", err)
	}
	b, err := p.Encode(nil, doc)
	if err != nil {
		t.Fatalf("the encoding of what was decoded: %v", err)
	}
	again := reflect.New(v.Type()).Elem()
	if _, err := p.Decode(b, again); err != nil {
		t.Fatalf("the second decoding: %v", err)
	}
	doc2, err := p.Document(again)
	if err != nil {
		t.Fatalf("the second document: %v", err)
	}
	if b2, err := p.Encode(nil, doc2); err != nil || !bytes.Equal(b, b2) {
		t.Errorf("the encoding of what was decoded is %x, then %x (%v)", b, b2, err)
	}
}

// Random is filled at random.
type Random struct {
	A bool
	B int64
	C int8
	D uint64
	E float64
	F float32
	G string
	H []byte
	I []string
	J *string
	K **int32
	L map[string]int
	M map[int16][]uint8
	N [3]int16
	O []struct {
		X *int
		Y []bool
	}
	P *struct {
		Q map[string]map[uint8]string
	}
	Inner
	*Pointee
	Millis int64 `json:"-"`
	At     *time.Time
}

type (
	Inner   struct{ R []float64 }
	Pointee struct {
		S string
		T []int
	}
)

var planOfRandom = sync.OnceValues(func() (*plan.Plan, error) {
	return plan.Of(owner, reflect.TypeFor[Random](), nil)
})

// checkRandom sends a value there and back, and also its document as another
// store might have it. A choice is a number below n.
func checkRandom(t rapid.TB, v Random, choose func(n int) int) {
	v.At = nil
	if ms := v.Millis % 1e14; ms > -6e13 {
		v.At = ptr(time.UnixMilli(ms).UTC())
	}
	v.Millis = 0
	p, err := planOfRandom()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := p.Document(reflect.ValueOf(v))
	if err != nil {
		if strings.Contains(err.Error(), "a map key") || strings.Contains(err.Error(), "not valid UTF-8") {
			t.Skip("no document can have it")
		}
		t.Fatal(err)
	}
	b, err := p.Encode(nil, doc)
	if err != nil {
		t.Fatal(err)
	}
	var got Random
	rest, err := p.Decode(append(b, "rest"...), reflect.ValueOf(&got).Elem())
	if err != nil || string(rest) != "rest" {
		t.Fatalf("rest %q, error %v", rest, err)
	}
	if diff := cmp.Diff(v, got, same); diff != "" {
		t.Errorf("came back different (-want +got):\n%s", diff)
	}
	other, err := p.Encode(nil, disguise(doc, choose).(driver.Document))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, other) {
		t.Errorf("the document of another store is encoded as %x, want %x", other, b)
	}
}

// disguise returns a value as another store might give it back: fields in another
// order, and integers as other numbers.
func disguise(x driver.Value, choose func(n int) int) driver.Value {
	switch x := x.(type) {
	case int64:
		kind, f := choose(3), float64(x)
		switch {
		case kind == 1 && int64(int32(x)) == x:
			return int32(x)
		case kind == 2 && f < 1<<63 && int64(f) == x:
			return f
		}
	case []driver.Value:
		list := make([]driver.Value, len(x))
		for i := range x {
			list[i] = disguise(x[i], choose)
		}
		return list
	case driver.Document:
		var doc driver.Document
		for _, f := range x {
			doc = slices.Insert(doc, choose(len(doc)+1), driver.Field{Name: f.Name, Value: disguise(f.Value, choose)})
		}
		return doc
	}
	return x
}

func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Make[Random]().Draw(t, "value")
		checkRandom(t, v, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
	})
}

// FuzzRoundTrip makes the value from the input directly: what rapid makes needs
// inputs of many kilobytes, which the fuzzer would spend its time on shortening.
func FuzzRoundTrip(f *testing.F) {
	for seed := range byte(8) {
		b := make([]byte, 400)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := stream(b)
		var v Random
		s.fill(reflect.ValueOf(&v).Elem())
		checkRandom(t, v, s.choose)
	})
}

// stream is an input that a value is made from. Past its end it is all zeros.
type stream []byte

func (s *stream) next(n int) []byte {
	b := make([]byte, n)
	*s = (*s)[copy(b, *s):]
	return b
}

func (s *stream) choose(n int) int { return int(s.next(1)[0]) % n }

func (s *stream) fill(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Bool:
		v.SetBool(s.choose(2) == 1)
	case v.CanInt():
		v.SetInt(int64(s.bits()))
	case v.CanUint():
		v.SetUint(s.bits())
	case v.CanFloat():
		v.SetFloat(math.Float64frombits(s.bits()))
	case v.Kind() == reflect.String:
		v.SetString(string(s.next(s.choose(20))))
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			s.fill(v.Field(i))
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			s.fill(v.Index(i))
		}
	default:
		s.fillNilable(v)
	}
}

// bits is a number of any size. It is cut to that of the type by whoever sets it.
func (s *stream) bits() uint64 {
	return binary.LittleEndian.Uint64(append(s.next(s.choose(9)), make([]byte, 8)...))
}

func (s *stream) fillNilable(v reflect.Value) {
	count := s.choose(5) - 1
	if count < 0 {
		return // nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		s.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), count, count))
		for i := range count {
			s.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range count {
			key, x := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			s.fill(key)
			s.fill(x)
			v.SetMapIndex(key, x)
		}
	}
}
