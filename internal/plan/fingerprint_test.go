package plan_test

import (
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// Types that differ in what the encoding means, each from all others.
func TestFingerprintsDiffer(t *testing.T) {
	values := []any{
		struct{}{},
		struct{ A string }{},
		struct{ B string }{},
		struct {
			A string `json:"a"`
		}{},
		struct {
			A string `graph:"was=c"`
		}{},
		struct {
			A string `graph:"was=d"`
		}{},
		struct {
			A string `graph:"was=c,was=d"`
		}{},
		struct {
			A string `graph:"was=d,was=c"`
		}{},
		struct{ A, B string }{},
		struct{ B, A string }{},
		struct {
			A string
			B int
		}{},
		struct{ A int }{},
		struct{ A int8 }{},
		struct{ A int16 }{},
		struct{ A int32 }{},
		struct{ A int64 }{},
		struct{ A uint }{},
		struct{ A uint64 }{},
		struct{ A float64 }{},
		struct{ A float32 }{},
		struct{ A bool }{},
		struct{ A []byte }{},
		struct{ A [4]byte }{},
		struct{ A [5]byte }{},
		struct{ A [4]int }{},
		struct{ A [5]int }{},
		struct{ A []int }{},
		struct{ A []int8 }{},
		struct{ A *int }{},
		struct{ A **int }{},
		struct{ A ***int }{},
		struct{ A []*int }{},
		struct{ A *[]int }{},
		struct{ A time.Time }{},
		struct{ A *time.Time }{},
		struct{ A map[string]int }{},
		struct{ A map[int]int }{},
		struct{ A map[uint]int }{},
		struct{ A map[int8]int }{},
		struct{ A map[string]string }{},
		struct{ A map[netip.Addr]int }{},
		struct{ A map[netip.Prefix]int }{},
		struct{ A map[time.Time]int }{},
		struct{ A netip.Addr }{},
		struct{ A netip.Prefix }{},
		struct{ A big.Int }{},
		struct{ A Pair }{},
		struct{ A Point }{},
		struct{ A struct{ X, Y int } }{},
		struct {
			A struct {
				X int  `json:"x"`
				Y int8 `json:"y"`
			}
		}{},
		struct {
			A struct {
				Y int `json:"y"`
				X int `json:"x"`
			}
		}{},
		struct{ Audit }{},
		struct{ *Audit }{},
		struct{ A *Audit }{},
		struct{ A Tree }{},
		struct{ A *Tree }{},
		struct{ A Forest }{},
		struct{ A Stack }{},
		struct{ A [][][]int }{},
		struct{ A Chain }{},
		struct {
			A struct{ B string }
			C string
		}{},
		struct{ A struct{ B, C string } }{},
	}
	seen := map[uint64]reflect.Type{}
	for _, value := range values {
		typ, print := reflect.TypeOf(value), planOf(t, value).Fingerprint()
		if other, ok := seen[print]; ok {
			t.Errorf("%v and %v have the same fingerprint", typ, other)
		}
		seen[print] = typ
	}
}

// Types that are encoded alike, whatever they are called.
func TestFingerprintsAgree(t *testing.T) {
	type Twig struct {
		N    Named   `json:"name,omitempty"`
		Kids []*Twig `json:"kids"`
		Next *Twig   `json:"next"`
		note string
	}
	type Ring1 struct{ A *Ring1 }
	type Ring3 struct {
		A *struct{ A *struct{ A *Ring3 } }
	}
	groups := [][]any{
		{
			struct{ A string }{},
			struct {
				X string `json:"A,omitempty" graph:"id"`
			}{},
			struct{ A Named }{},
			struct {
				A string `graph:"index"`
			}{},
			struct {
				A string `graph:"unique"`
			}{},
			struct {
				A string
				b int
				C int `json:"-"`
			}{},
		},
		{struct {
			A string `graph:"was=c"`
		}{}, struct {
			A string `graph:"index,was=c"`
		}{}},
		{Tree{}, Twig{}},
		{Ring1{}, Ring3{}},
		{struct{ A Stack }{}, struct{ A [][]Stack }{}},
		{struct{ A []byte }{}, struct{ A Blob }{}, struct{ A []Octet }{}},
		{struct{ A, B Point }{}, struct {
			A Point
			B struct {
				P int `json:"x"`
				Q int `json:"y"`
			}
		}{}},
		{struct{ outer }{}, outer{}, struct {
			D int `json:"depth"`
			W int `json:"width"`
		}{}},
	}
	for _, group := range groups {
		for _, value := range group[1:] {
			if planOf(t, value).Fingerprint() != planOf(t, group[0]).Fingerprint() {
				t.Errorf("%T and %T have different fingerprints", group[0], value)
			}
		}
	}
}
