package plan_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

type (
	writesText struct{ A int }
	readsText  struct{ A int }
	writesJSON struct{ A int }
	readsJSON  struct{ A int }
	opaque     struct{ a int }
	badKeyed   struct{ A int }
	badNumber  int
	loop       struct {
		*loop
		A int
	}
	Loop struct {
		*Loop
		A int
	}
	hidden struct{ A int }
	stamp  struct{ time.Time }
	Left   struct{ Name string }
	Right  struct{ Name string }
)

func (writesText) MarshalText() ([]byte, error)  { return nil, nil }
func (*readsText) UnmarshalText([]byte) error    { return nil }
func (*writesJSON) MarshalJSON() ([]byte, error) { return nil, nil }
func (*readsJSON) UnmarshalJSON([]byte) error    { return nil }
func (badKeyed) MarshalText() ([]byte, error)    { return nil, nil }
func (badNumber) MarshalText() ([]byte, error)   { return nil, nil }

const (
	leave = `, or leave the field out with json:"-"`
	no    = "graphcache: schema: " + owner + ": "
)

func TestRefusedTypes(t *testing.T) {
	tests := []struct {
		name  string
		value any
		want  string // after the kind, every line
	}{
		{"no struct", 3, `int is not a struct type`},
		{"pointer", &Point{}, `*plan_test.Point is not a struct type`},
		{"nil", nil, `<nil> is not a struct type`},
		{"interface", struct{ A any }{}, `field "A": the interface type interface {} does not say what it holds: use a concrete type` + leave},
		{"interface with methods", struct{ A error }{}, `field "A": the interface type error does not say what it holds: use a concrete type` + leave},
		{"marshaling interface", struct{ A json.Marshaler }{}, `field "A": the interface type json.Marshaler does not say what it holds: use a concrete type` + leave},
		{"chan", struct{ A chan int }{}, `field "A": the type chan int cannot be kept: use another type` + leave},
		{"func", struct {
			A func() `json:"a"`
		}{}, `field "a": the type func() cannot be kept: use another type` + leave},
		{"complex64", struct{ A complex64 }{}, `field "A": the type complex64 cannot be kept: use two floats` + leave},
		{"complex128", struct{ A []complex128 }{}, `field "A[]": the type complex128 cannot be kept: use two floats` + leave},
		{"unsafe pointer", struct{ A unsafe.Pointer }{}, `field "A": the type unsafe.Pointer cannot be kept: use another type` + leave},
		{"float keys", struct{ A map[float64]int }{}, `field "A": the map type map[float64]int has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText`},
		{"bool keys", struct{ A map[bool]int }{}, `field "A": the map type map[bool]int has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText`},
		{"half text keys", struct{ A map[badKeyed]int }{}, `field "A": the map type map[plan_test.badKeyed]int has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText`},
		{"half text integer keys", struct{ A map[badNumber]int }{}, `field "A": the map type map[plan_test.badNumber]int has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText`},
		{"pointer keys", struct{ A map[*Celsius]int }{}, `field "A": the map type map[*plan_test.Celsius]int has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText`},
		{"interface keys", struct{ A map[any]int }{}, `field "A": the map type map[interface {}]int has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText`},
		{"map of funcs", struct{ A map[string]func() }{}, `field "A[]": the type func() cannot be kept: use another type` + leave},
		{"MarshalText", struct{ A writesText }{}, `field "A": plan_test.writesText has MarshalText but not UnmarshalText: give it both or neither`},
		{"UnmarshalText", struct{ A *readsText }{}, `field "A": plan_test.readsText has UnmarshalText but not MarshalText: give it both or neither`},
		{"MarshalJSON", struct{ A writesJSON }{}, `field "A": plan_test.writesJSON has MarshalJSON but not UnmarshalJSON: give it both or neither`},
		{"UnmarshalJSON", struct{ A []readsJSON }{}, `field "A[]": plan_test.readsJSON has UnmarshalJSON but not MarshalJSON: give it both or neither`},
		{"opaque", struct{ A opaque }{}, `field "A": plan_test.opaque has no exported fields and no methods to marshal it, its content would be lost: export the fields, give it MarshalText and UnmarshalText, or leave it out with json:"-"`},
		{"opaque kind", opaque{}, `plan_test.opaque has no exported fields and no methods to marshal it, its content would be lost: export the fields, give it MarshalText and UnmarshalText, or leave it out with json:"-"`},
		{"nested", struct {
			Address struct {
				Zip chan int `json:"zip"`
			} `json:"address"`
		}{}, `field "address.zip": the type chan int cannot be kept: use another type` + leave},
		{"all of them", struct {
			A any
			B *any
			C complex64
		}{}, `field "A": the interface type interface {} does not say what it holds: use a concrete type` + leave + "\n" +
			`field "B": the interface type interface {} does not say what it holds: use a concrete type` + leave + "\n" +
			`field "C": the type complex64 cannot be kept: use two floats` + leave},
		{"embedded time", struct {
			time.Time
			A int
		}{}, `field "Time": time.Time is kept as one value, not by its fields: name the embedded field with a json tag`},
		{"embedded marshaler", struct {
			Celsius
			A int
		}{}, `field "Celsius": plan_test.Celsius is kept as one value, not by its fields: name the embedded field with a json tag`},
		{"embeds itself", Loop{}, `field "Loop": plan_test.Loop embeds itself`},
		{"embeds itself unexported", loop{}, `field "loop": plan_test.loop embeds itself`},
		{"embedded pointer to unexported", struct{ *hidden }{}, `field "hidden": an embedded pointer to the unexported type plan_test.hidden cannot be set: embed the struct or export the type`},
		{"named embedded pointer to unexported", struct {
			*hidden `json:"h"`
		}{}, `field "hidden": an embedded field of the unexported type *plan_test.hidden cannot be set: name the field and export it`},
		{"named embedded unexported marshaler", struct {
			stamp `json:"h"`
		}{}, `field "stamp": an embedded field of the unexported type plan_test.stamp cannot be set: name the field and export it`},
		{"embedded pointer without fields", struct {
			*Left
			Name string
		}{}, `field "Left": the embedded pointer promotes no field of plan_test.Left: embed the struct or name the field`},
		{"older name of an embedded struct", struct {
			Left `graph:"was=l"`
		}{}, `field "Left": an embedded struct whose fields are promoted has no older name`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkRefused(t, test.value, test.want)
		})
	}
}

func checkRefused(t *testing.T, value any, want string) {
	t.Helper()
	_, err := plan.Of(owner, reflect.TypeOf(value), nil)
	if err == nil {
		t.Fatal("no error")
	}
	if !errors.Is(err, driver.ErrSchema) {
		t.Errorf("%v does not wrap ErrSchema", err)
	}
	if want := no + strings.ReplaceAll(want, "\n", "\n"+no); err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// twins is a struct with two fields of one name, made where vet does not look.
var twins = reflect.Zero(reflect.StructOf([]reflect.StructField{
	{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"n"`},
	{Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"n"`},
})).Interface()

func TestRefusedNames(t *testing.T) {
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"underscore", struct {
			A int `json:"_id"`
		}{}, `field "A": the name "_id" starts with '_': stores use such names themselves`},
		{"dollar", struct {
			A int `json:"$set,omitempty"`
		}{}, `field "A": the name "$set" starts with '$': stores use such names themselves`},
		{"dot", struct {
			P struct {
				A int `json:"a.b"`
			}
		}{}, `field "P.A": the name "a.b" contains a dot: stores read it as a path`},
		{"NUL", struct {
			A int "json:\"a\\x00b\""
		}{}, `field "A": the name "a\x00b" contains a NUL byte`},
		{"not UTF-8", struct {
			A int "json:\"a\\xff\""
		}{}, `field "A": the name "a\xff" is not valid UTF-8`},
		{"same name", twins, `field "n": the Go fields A and B all have this name`},
		{"same promoted name", struct {
			Left
			*Right
		}{}, `field "Name": the Go fields Left.Name and Right.Name all have this name`},
		{"unknown option", struct {
			A int `json:"a" graph:"uniq"`
		}{}, `field "A": unknown graph tag option "uniq"`},
		{"empty option", struct {
			A int `graph:"id,"`
		}{}, `field "A": unknown graph tag option ""`},
		{"unknown option of a field that is left out", struct {
			A int `json:"-" graph:"Was=b"`
		}{}, `field "A": unknown graph tag option "Was=b"`},
		{"no older name", struct {
			A int `graph:"was="`
		}{}, `field "A": graph tag option "was=": the name is empty`},
		{"bad older name", struct {
			A int `graph:"was=a.b"`
		}{}, `field "A": graph tag option "was=a.b": the name "a.b" contains a dot: stores read it as a path`},
		{"older name in use", struct {
			A int `graph:"was=x,was=b"`
			B int `json:"b"`
		}{}, `field "A": the older name "b" is the name of a field now`},
		{"older name is its own", struct {
			A int `graph:"was=A"`
		}{}, `field "A": the older name "A" is the name of a field now`},
		{"older name in use by an embedded struct", struct {
			A int `graph:"was=Name"`
			*Left
		}{}, `field "A": the older name "Name" is the name of a field now`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkRefused(t, test.value, test.want)
		})
	}
}

// Values that a plan's types can hold and a document cannot.
func TestRefusedValues(t *testing.T) {
	cycle := &Tree{Name: "a"}
	cycle.Next = cycle
	var chain Chain
	chain = &chain
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"string", Texts{B: "\xff"}, `field "B": the string is not valid UTF-8`},
		{"string in a list", Lists{B: Strings{"", "a\xc0"}}, `field "B[1]": the string is not valid UTF-8`},
		{"string in a map", Maps{F: map[string][]string{"k": {"\xff"}}}, `field "F[k][0]": the string is not valid UTF-8`},
		{"string behind pointers", Pointers{C: ptr("\xff")}, `field "C": the string is not valid UTF-8`},
		{"string in an embedded struct", Embedding{Audit: &Audit{By: "\xff"}}, `field "by": the string is not valid UTF-8`},
		{"year 10000", Times{A: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, `field "A": the year 10000 of the time is not between 0 and 9999`},
		{"year -1", Times{C: []time.Time{time.Date(-1, 12, 31, 0, 0, 0, 0, time.UTC)}}, `field "C[0]": the year -1 of the time is not between 0 and 9999`},
		{"year in UTC", Times{A: time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200))}, `field "A": the year 10000 of the time is not between 0 and 9999`},
		{"year far off", Times{A: time.Unix(1<<60, 0)}, `field "A": the year 36534630048 of the time is not between 0 and 9999`},
		{"empty key", Maps{A: map[string]int{"": 1}}, `field "A[]": a map key is empty`},
		{"long key", Maps{F: map[string][]string{strings.Repeat("0123456789", 5): {"\xff"}}}, `field "F[0123456789012345678901234567890123456789…][0]": the string is not valid UTF-8`},
		{"NUL key", Maps{A: map[string]int{"a\x00": 1}}, `field "A[a\x00]": a map key contains a NUL byte`},
		{"key not UTF-8", Maps{B: Scores{"\xff": 1}}, `field "B[\xff]": a map key is not valid UTF-8`},
		{"key's year", Maps{H: map[time.Time]int{time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC): 1}}, `field "H[]": map key: the year 12000 of the time is not between 0 and 9999`},
		{"same key twice", Maps{H: map[time.Time]int{noon: 1, inRome: 2}}, `field "H[2024-02-29T12:00:00.001Z]": two map keys have this name`},
		{"cycle", Recursive{T: *cycle}, `field "T.next.next.next.next.next.next.next.next.next.next.next…": nested deeper than 100 levels`},
		{"pointer cycle", Recursive{C: chain}, `field "C": nested deeper than 100 levels`},
		{"text", struct{ A fickle }{"error"}, `field "A": MarshalText: fickle`},
		{"text panics", struct{ A *fickle }{ptr(fickle("panic"))}, `field "A": MarshalText panicked: fickle`},
		{"JSON panics", struct{ A fickleJSON }{}, `field "A": MarshalJSON panicked: fickle`},
		{"text not UTF-8", struct{ A []fickle }{[]fickle{"\xff"}}, `field "A[0]": MarshalText: the text is not valid UTF-8`},
		{"JSON", struct{ A json.RawMessage }{json.RawMessage("{")}, `field "A": MarshalJSON: the text is not valid JSON`},
		{"JSON not UTF-8", struct{ A json.RawMessage }{json.RawMessage("\"\xff\"")}, `field "A": MarshalJSON: the text is not valid JSON`},
		{"key panics", struct{ A map[fickleKey]int }{map[fickleKey]int{{1}: 1}}, `field "A[]": map key: MarshalText panicked: fickle`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := planOf(t, test.value).Document(reflect.ValueOf(test.value))
			checkInvalid(t, err, test.want)
		})
	}
}

type fickle string

func (f fickle) MarshalText() ([]byte, error) {
	switch f {
	case "error":
		return nil, errors.New("fickle")
	case "panic":
		panic("fickle")
	}
	return []byte(f), nil
}

func (f *fickle) UnmarshalText(b []byte) error {
	*f = fickle(b)
	_, err := f.MarshalText()
	return err
}

type fickleJSON struct{ A int }

func (fickleJSON) MarshalJSON() ([]byte, error) { panic("fickle") }
func (*fickleJSON) UnmarshalJSON([]byte) error  { return nil }

type fickleKey struct{ A int }

func (fickleKey) MarshalText() ([]byte, error) { panic("fickle") }
func (*fickleKey) UnmarshalText([]byte) error  { return nil }

func checkInvalid(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("%v does not wrap ErrInvalid", err)
	}
	if want := "graphcache: invalid: " + owner + ": " + want; err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// The cause of an error can be found.
func TestErrorCause(t *testing.T) {
	v := struct{ A caused }{}
	_, err := planOf(t, v).Document(reflect.ValueOf(v))
	if !errors.Is(err, errCause) {
		t.Errorf("%v does not wrap the method's error", err)
	}
}

var errCause = errors.New("cause")

type caused struct{}

func (caused) MarshalText() ([]byte, error) { return nil, errCause }
func (*caused) UnmarshalText([]byte) error  { return errCause }

func TestWrongValue(t *testing.T) {
	p := planOf(t, Point{})
	_, err := p.Document(reflect.Value{})
	checkInvalid(t, err, "no value, wanted a plan_test.Point")
	_, err = p.Document(reflect.ValueOf(&Point{}))
	checkInvalid(t, err, "a value of type *plan_test.Point, wanted a plan_test.Point")
	_, err = p.Decode(nil, reflect.ValueOf(Bools{}))
	checkInvalid(t, err, "a value of type plan_test.Bools, wanted a plan_test.Point")
	_, err = p.Decode(nil, reflect.ValueOf(Point{}))
	checkInvalid(t, err, "the value to decode into cannot be set")
}

func TestRefusedEncodings(t *testing.T) {
	max := "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
	tests := []struct {
		name  string
		value any
		b     string
		want  string
	}{
		{"nothing", Point{}, "", `the encoding is corrupt: msgp: too few bytes left to read object`},
		{"too few fields", Point{}, "\x91\x00", `the encoding is corrupt: an array has the wrong length`},
		{"too many fields", Point{}, "\x93\x00\x00\x00", `the encoding is corrupt: an array has the wrong length`},
		{"cut", Point{}, "\x92\x00", `field "y": the encoding is corrupt: msgp: too few bytes left to read object`},
		{"wrong type", Point{}, "\x92\x00\xa0", `field "y": the encoding is corrupt: msgp: attempted to decode type "str" with method for "int"`},
		{"nil struct", Nested{}, "\x94\xc0", `field "P": the encoding is corrupt: msgp: attempted to decode type "nil" with method for "array"`},
		{"int8", struct{ A int8 }{}, "\x91\xcc\x80", `field "A": the encoding is corrupt: a number is out of range`},
		{"int64", struct{ A int64 }{}, "\x91" + max, `field "A": the encoding is corrupt: msgp: 18446744073709551615 overflows uint64`},
		{"uint8", struct{ A uint8 }{}, "\x91\xcd\x01\x00", `field "A": the encoding is corrupt: a number is out of range`},
		{"negative uint", struct{ A uint }{}, "\x91\xff", `field "A": the encoding is corrupt: msgp: attempted to cast int -1 to unsigned`},
		{"float32", struct{ A float32 }{}, "\x91\xcb\x7f\xe0\x00\x00\x00\x00\x00\x00", `field "A": the encoding is corrupt: a number is out of range`},
		{"byte array", struct{ A [2]byte }{}, "\x91\xc4\x01\x00", `field "A": the encoding is corrupt: an array has the wrong length`},
		{"array", struct{ A [2]int }{}, "\x91\x91\x00", `field "A": the encoding is corrupt: an array has the wrong length`},
		{"array element", struct{ A [2]int }{}, "\x91\x92\x00\xc0", `field "A[1]": the encoding is corrupt: msgp: attempted to decode type "nil" with method for "int"`},
		{"box", struct{ A **int }{}, "\x91\x92\x00\x00", `field "A": the encoding is corrupt: an array has the wrong length`},
		{"time", struct{ A time.Time }{}, "\x91" + "\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", `field "A": the encoding is corrupt: a number is out of range`},
		{"text", struct{ A Celsius }{}, "\x91\xa1x", `field "A": UnmarshalText: expected integer`},
		{"text panics", struct{ A fickle }{}, "\x91\xa5panic", `field "A": UnmarshalText panicked: fickle`},
		{"not JSON", struct{ A Pair }{}, "\x91\xa1{", `field "A": the text is not valid JSON`},
		{"JSON", struct{ A Pair }{}, "\x91\xa2[]", `field "A": UnmarshalJSON: a pair has two elements`},
		{"keys out of order", struct{ A map[string]int }{}, "\x91\x82\xa1b\x00\xa1a\x00", `field "A": the encoding is corrupt: the keys of a map are not in order`},
		{"key twice", struct{ A map[string]int }{}, "\x91\x82\xa1a\x00\xa1a\x00", `field "A": the encoding is corrupt: the keys of a map are not in order`},
		{"same key", struct{ A map[int]int }{}, "\x91\x82\xa201\x00\xa11\x00", `field "A": the encoding is corrupt: two keys of a map are the same`},
		{"bad key", struct{ A map[int8]int }{}, "\x91\x81\xa3128\x00", `field "A[128]": map key: strconv.ParseInt: parsing "128": value out of range`},
		{"bad uint key", struct{ A map[uint8]int }{}, "\x91\x81\xa2-1\x00", `field "A[-1]": map key: strconv.ParseUint: parsing "-1": invalid syntax`},
		{"bad time key", struct{ A map[time.Time]int }{}, "\x91\x81\xa11\x00", `field "A[1]": map key: parsing time "1" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "1" as "2006"`},
		{"bad text key", struct{ A map[Celsius]int }{}, "\x91\x81\xa1x\x00", `field "A[x]": map key: UnmarshalText: expected integer`},
		{"map element", struct{ A map[string]int }{}, "\x91\x81\xa1k\xc2", `field "A[k]": the encoding is corrupt: msgp: attempted to decode type "bool" with method for "int"`},
		{"long list", struct{ A []int }{}, "\x91\xdd\x7f\xff\xff\xff\x00", `field "A": the encoding is corrupt: it is shorter than it claims`},
		{"too deep", struct{ S Stack }{}, "\x91" + strings.Repeat("\x91", 200) + "\x90", `field "S[0][0][0][0][0][0][0][0][0][0][0]…": nested deeper than 100 levels`},
		{"key that cannot be hashed", struct{ A map[unhashable]int }{}, "\x91\x81\xa1k\x00", `field "A": hashing a map key panicked: runtime error: hash of unhashable type []int`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := reflect.New(reflect.TypeOf(test.value)).Elem()
			rest, err := planOf(t, test.value).Decode([]byte(test.b), v)
			checkInvalid(t, err, test.want)
			if string(rest) != test.b {
				t.Errorf("rest is %q, want the input", rest)
			}
		})
	}
}

type unhashable struct{ A any }

func (unhashable) MarshalText() ([]byte, error)  { return []byte("k"), nil }
func (u *unhashable) UnmarshalText([]byte) error { u.A = []int{}; return nil }

// What is nested as deeply as it may be can be written and read; one level more
// can be neither.
func TestDepthLimit(t *testing.T) {
	p := planOf(t, struct{ S Stack }{})
	deep := func(levels int) struct{ S Stack } {
		s := Stack{}
		for range levels - 1 {
			s = Stack{s}
		}
		return struct{ S Stack }{s}
	}
	throughAll(t, p, deep(99)) // and the struct itself
	doc, err := p.Document(reflect.ValueOf(deep(100)))
	checkInvalid(t, err, `field "S[0][0][0][0][0][0][0][0][0][0][0]…": nested deeper than 100 levels`)
	if doc != nil {
		t.Error("a document came with the error")
	}
	x := driver.Value([]driver.Value{})
	for range 99 {
		x = []driver.Value{x}
	}
	before := []byte("before")
	b, err := p.Encode(before, driver.Document{{Name: "S", Value: x}})
	checkInvalid(t, err, `field "S[0][0][0][0][0][0][0][0][0][0][0]…": nested deeper than 100 levels`)
	if string(b) != "before" {
		t.Errorf("Encode returned %q with the error, want what it was given", b)
	}
}

// The largest float32 is no float64 that overflows, and NaN is in range.
func TestFloat32Range(t *testing.T) {
	type F struct{ A float32 }
	for _, f := range []float32{math.MaxFloat32, -math.MaxFloat32, float32(math.Inf(1)), math.SmallestNonzeroFloat32} {
		if _, _, got := throughAll(t, planOf(t, F{}), F{f}); got != (F{f}) {
			t.Errorf("got %v, want %v", got, f)
		}
	}
}
