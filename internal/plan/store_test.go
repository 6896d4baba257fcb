package plan_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
)

// doc and list are a document and an array, shorter to write.
type (
	doc   []named
	named struct {
		name  string
		value any
	}
	list []any
)

func (d doc) document() driver.Document {
	var fields driver.Document
	for _, f := range d {
		fields = append(fields, driver.Field{Name: f.name, Value: valueOf(f.value)})
	}
	return fields
}

func valueOf(x any) driver.Value {
	switch x := x.(type) {
	case doc:
		return x.document()
	case list:
		values := make([]driver.Value, len(x))
		for i := range x {
			values[i] = valueOf(x[i])
		}
		return values
	}
	return x
}

type Article struct {
	Title  string           `json:"title" graph:"was=name,was=headline"`
	Stars  int              `json:"stars"`
	Small  int8             `json:"small"`
	Size   uint             `json:"size"`
	Byte   uint8            `json:"byte"`
	Price  float64          `json:"price"`
	Ratio  float32          `json:"ratio"`
	Live   bool             `json:"live"`
	At     time.Time        `json:"at"`
	Data   []byte           `json:"data"`
	Sum    [2]byte          `json:"sum"`
	Tags   []string         `json:"tags"`
	Ends   [2]int           `json:"ends"`
	Votes  map[string]int   `json:"votes"`
	Years  map[int]bool     `json:"years"`
	Spot   *Point           `json:"place"`
	Start  Point            `json:"origin"`
	Box    **int            `json:"box"`
	Heat   Celsius          `json:"heat"`
	Pair   Pair             `json:"pair"`
	*Audit `json:",inline"` // an unknown option, so the fields are promoted
	Origins
}

type Origins struct{ *Origin }

// Documents as stores, other programs and older versions of the program have
// them.
func TestStoredDocuments(t *testing.T) {
	tests := []struct {
		name string
		doc  doc
		want Article
	}{
		{"nothing", nil, Article{}},
		{"unknown fields", doc{{"id", "x"}, {"_id", int64(3)}, {"stars", int64(1)}, {"Title", "no"}, {"zzz", doc{}}}, Article{Stars: 1}},
		{"another order", doc{{"tags", list{"a"}}, {"live", true}, {"stars", int64(2)}, {"title", "t"}}, Article{Title: "t", Stars: 2, Live: true, Tags: []string{"a"}}},
		{"int32", doc{{"stars", int32(-3)}, {"size", int32(4)}, {"votes", doc{{"a", int32(5)}}}, {"ends", list{int32(1), int32(2)}}}, Article{Stars: -3, Size: 4, Votes: map[string]int{"a": 5}, Ends: [2]int{1, 2}}},
		{"int", doc{{"stars", -3}, {"size", 4}}, Article{Stars: -3, Size: 4}},
		{"integral float64", doc{{"stars", -3.0}, {"size", float64(1 << 63)}, {"small", math.Copysign(0, -1)}}, Article{Stars: -3, Size: 1 << 63}},
		{"least int64 as a float", doc{{"stars", float64(math.MinInt64)}}, Article{Stars: math.MinInt64}},
		{"uint64 in int64", doc{{"size", uint64(math.MaxUint64)}, {"stars", uint64(7)}}, Article{Stars: 7, Size: math.MaxUint64}},
		{"integer for a float", doc{{"price", int64(-3)}, {"ratio", int32(1 << 24)}}, Article{Price: -3, Ratio: 1 << 24}},
		{"rounded to float32", doc{{"ratio", 0.1}}, Article{Ratio: 0.1}},
		{"older name", doc{{"name", "n"}}, Article{Title: "n"}},
		{"oldest name", doc{{"headline", "h"}}, Article{Title: "h"}},
		{"both older names", doc{{"headline", "h"}, {"name", "n"}}, Article{Title: "n"}},
		{"older and new name", doc{{"name", "n"}, {"title", ""}}, Article{}},
		{"new name with nil", doc{{"name", "n"}, {"title", nil}}, Article{}},
		{"nil everywhere", nils(), Article{Audit: &Audit{}}},
		{"embedded pointer", doc{{"tags", list{}}, {"by", "b"}}, Article{Tags: []string{}, Audit: &Audit{By: "b"}}},
		{"embedded pointer in a pointer", doc{{"zip", "z"}}, Article{Origins: Origins{&Origin{Place: &Place{"z"}}}}},
		{"older name in an embedded pointer", doc{{"postcode", "z"}}, Article{Origins: Origins{&Origin{Place: &Place{"z"}}}}},
		{"nested missing", doc{{"place", doc{}}, {"origin", doc{{"y", int32(9)}}}}, Article{Spot: &Point{}, Start: Point{Y: 9}}},
		{"nil in lists", doc{{"tags", list{nil, "a"}}, {"votes", doc{{"a", nil}}}, {"ends", list{nil, nil}}}, Article{Tags: []string{"", "a"}, Votes: map[string]int{"a": 0}}},
		{"map out of order", doc{{"votes", doc{{"b", int64(2)}, {"a", int64(1)}}}}, Article{Votes: map[string]int{"a": 1, "b": 2}}},
		{"box", doc{{"box", list{nil}}}, Article{Box: new(*int)}},
		{"time in another zone", doc{{"at", inRome}}, Article{At: noon}},
		{"marshaled", doc{{"heat", "3"}, {"pair", " [1, 2]"}}, Article{Heat: Celsius{3}, Pair: Pair{1, 2}}},
		{"the same name twice", doc{{"stars", int64(1)}, {"stars", int64(2)}}, Article{Stars: 1}},
	}
	p := planOf(t, Article{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := p.Encode(nil, test.doc.document())
			if err != nil {
				t.Fatal(err)
			}
			got := decode(t, p, b, reflect.TypeFor[Article]())
			if diff := cmp.Diff(test.want, got, same); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			// The answer of the store and that of the program's own document
			// are the same bytes, but for what has no text of its own yet.
			own, err := p.Document(reflect.ValueOf(got))
			if err != nil {
				t.Fatal(err)
			}
			if test.name == "marshaled" {
				return
			}
			own = without(own, "heat", "pair")
			b2, err := p.Encode(nil, own)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, b2) {
				t.Errorf("encoded as %x, its own document as %x", b, b2)
			}
		})
	}
}

// nils is a document with all fields of Article, all nil.
func nils() doc {
	var d doc
	for _, name := range []string{
		"title", "stars", "small", "size", "byte", "price", "ratio", "live", "at", "data", "sum", "tags",
		"ends", "votes", "years", "place", "origin", "box", "heat", "pair", "by",
	} {
		d = append(d, named{name: name})
	}
	return d
}

func without(d driver.Document, names ...string) driver.Document {
	var rest driver.Document
	for _, f := range d {
		found := false
		for _, name := range names {
			found = found || name == f.Name
		}
		if !found {
			rest = append(rest, f)
		}
	}
	return rest
}

// A value of another type is an error, not a zero.
func TestMismatchedDocuments(t *testing.T) {
	tests := []struct {
		doc  doc
		want string
	}{
		{doc{{"title", int64(3)}}, `field "title": found the integer 3, wanted a string for string`},
		{doc{{"name", []byte("secret")}}, `field "title": found bytes, wanted a string for string`},
		{doc{{"title", "\xff"}}, `field "title": the string is not valid UTF-8`},
		{doc{{"stars", "secret"}}, `field "stars": found a string, wanted an integer for int`},
		{doc{{"stars", 1.5}}, `field "stars": found the float 1.5, wanted an integer for int`},
		{doc{{"stars", math.NaN()}}, `field "stars": found the float NaN, wanted an integer for int`},
		{doc{{"stars", math.Inf(-1)}}, `field "stars": found the float -Inf, wanted an integer for int`},
		{doc{{"stars", float64(1 << 63)}}, `field "stars": found 9.223372036854776e+18, which int cannot hold`},
		{doc{{"stars", uint64(1 << 63)}}, `field "stars": found 9223372036854775808, which int cannot hold`},
		{doc{{"small", int64(128)}}, `field "small": found 128, which int8 cannot hold`},
		{doc{{"small", int32(-129)}}, `field "small": found -129, which int8 cannot hold`},
		{doc{{"small", 128.0}}, `field "small": found 128, which int8 cannot hold`},
		{doc{{"size", int64(-1)}}, `field "size": found -1, which uint cannot hold`},
		{doc{{"size", -1.0}}, `field "size": found -1, which uint cannot hold`},
		{doc{{"size", float64(1 << 64)}}, `field "size": found the float 1.8446744073709552e+19, wanted an integer for uint`},
		{doc{{"byte", int64(256)}}, `field "byte": found 256, which uint8 cannot hold`},
		{doc{{"price", "1"}}, `field "price": found a string, wanted a float for float64`},
		{doc{{"price", int64(1<<53 + 1)}}, `field "price": found the integer 9007199254740993, wanted a float for float64`},
		{doc{{"price", int64(math.MaxInt64)}}, `field "price": found the integer 9223372036854775807, wanted a float for float64`},
		{doc{{"ratio", 1e39}}, `field "ratio": found 1e+39, which float32 cannot hold`},
		{doc{{"ratio", 1e-60}}, `field "ratio": found 1e-60, which float32 cannot hold`},
		{doc{{"live", int64(1)}}, `field "live": found the integer 1, wanted a bool for bool`},
		{doc{{"at", int64(1)}}, `field "at": found the integer 1, wanted a time for time.Time`},
		{doc{{"at", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}, `field "at": the year 10000 of the time is not between 0 and 9999`},
		{doc{{"data", "text"}}, `field "data": found a string, wanted bytes for []uint8`},
		{doc{{"sum", list{}}}, `field "sum": found an array, wanted bytes for [2]uint8`},
		{doc{{"sum", []byte{1}}}, `field "sum": found 1 bytes, wanted 2 for [2]uint8`},
		{doc{{"tags", doc{}}}, `field "tags": found a document, wanted an array for []string`},
		{doc{{"tags", list{"a", true}}}, `field "tags[1]": found a bool, wanted a string for string`},
		{doc{{"ends", list{int64(1)}}}, `field "ends": found an array of 1 elements, wanted 2 for [2]int`},
		{doc{{"votes", list{}}}, `field "votes": found an array, wanted a document for map[string]int`},
		{doc{{"votes", doc{{"a", noon}}}}, `field "votes[a]": found a time, wanted an integer for int`},
		{doc{{"votes", doc{{"", nil}}}}, `field "votes[]": a map key is empty`},
		{doc{{"votes", doc{{"a", nil}, {"a", nil}}}}, `field "votes[a]": two map keys have this name`},
		{doc{{"years", doc{{"x", true}}}}, `field "years[x]": the map key is not one of type int`},
		{doc{{"years", doc{{"01", true}}}}, `field "years[01]": the map key is not one of type int`},
		{doc{{"place", "here"}}, `field "place": found a string, wanted a document for plan_test.Point`},
		{doc{{"origin", doc{{"x", "1"}}}}, `field "origin.x": found a string, wanted an integer for int`},
		{doc{{"box", int64(1)}}, `field "box": found the integer 1, wanted an array of one element for **int`},
		{doc{{"box", list{}}}, `field "box": found an array, wanted an array of one element for **int`},
		{doc{{"box", list{"x"}}}, `field "box": found a string, wanted an integer for int`},
		{doc{{"heat", int64(3)}}, `field "heat": found the integer 3, wanted a string for plan_test.Celsius`},
		{doc{{"pair", list{}}}, `field "pair": found an array, wanted a string of JSON for plan_test.Pair`},
		{doc{{"by", true}}, `field "by": found a bool, wanted a string for string`},
		{doc{{"by", struct{}{}}}, `field "by": found a value of type struct {}, wanted a string for string`},
	}
	p := planOf(t, Article{})
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			b, err := p.Encode(nil, test.doc.document())
			checkInvalid(t, err, test.want)
			if len(b) > 0 {
				t.Errorf("encoded %x with the error", b)
			}
		})
	}
}

// Encode must not touch the document: a store may have given it to others, too.
func TestEncodeModifiesNothing(t *testing.T) {
	d := doc{{"votes", doc{{"b", int64(2)}, {"a", int64(1)}}}}
	given := d.document()
	if _, err := planOf(t, Article{}).Encode(nil, given); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.document(), given); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}
