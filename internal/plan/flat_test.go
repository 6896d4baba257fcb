package plan_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/graphcache/graphcache/internal/plan"
)

func TestFlat(t *testing.T) {
	type part struct {
		Name string
		At   time.Time
		note [2]string
	}
	tests := []struct {
		name  string
		value any
		want  bool
	}{
		{"empty", struct{}{}, true},
		{"ints", Ints{}, true},
		{"uints", Uints{}, true},
		{"floats", Floats{}, true},
		{"strings and arrays", struct {
			A string
			B Named
			C [3]byte
			D [2][2]string
			E bool
		}{}, true},
		{"structs", struct {
			A part
			B [2]part
			base
		}{}, true},
		{"what is not kept", struct {
			A int
			b complex128
			C uintptr `json:"-"`
		}{}, true},
		{"slice", struct{ A []int }{}, false},
		{"bytes", struct{ A []byte }{}, false},
		{"pointer", struct{ A *int }{}, false},
		{"map", struct{ A map[string]int }{}, false},
		{"in a struct", struct{ A struct{ B struct{ C []int } } }{}, false},
		{"in an array", struct{ A [2]struct{ B *int } }{}, false},
		{"in an empty array", struct{ A [0]*int }{}, false},
		{"embedded", struct {
			*Audit
			A int
		}{}, false},
		{"type that marshals itself", struct{ A netip.Addr }{}, false},
		{"type like a time", struct {
			A int
			b likeTime
		}{}, false},
		{"not exported slice", struct {
			A int
			b []int
		}{}, false},
		{"not kept pointer", struct {
			A int
			B *int `json:"-"`
		}{}, false},
		{"chan", struct {
			A int
			b chan int
		}{}, false},
		{"func", struct {
			A int
			b func()
		}{}, false},
		{"interface", struct {
			A int
			b any
		}{}, false},
		{"behind the ID", struct {
			ID  string
			ref *int
		}{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := plan.Of(owner, reflect.TypeOf(test.value), func(sf reflect.StructField) bool { return sf.Name == "ID" })
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Flat(); got != test.want {
				t.Errorf("Flat returned %t, want %t", got, test.want)
			}
		})
	}
}

type base struct {
	Depth int
}

type likeTime time.Time
