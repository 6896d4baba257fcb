package plan_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/internal/plan"
)

type taggedPart struct {
	City string `json:"city" graph:"index"`
	Zip  string `json:"zip"`
}

type TaggedBase struct {
	Slug string `json:"slug" graph:"unique,was=path"`
}

func TestTagged(t *testing.T) {
	type Record struct {
		ID    string     `graph:"id"`
		Name  string     `json:"name" graph:"index"`
		Home  taggedPart `json:"home"`
		Score *int       `graph:"was=points,index,was=rank"`
		TaggedBase
		Tags []Named `json:"tags" graph:"index"`
		Heat Celsius `graph:"index"`
		Work taggedPart
		Code [4]byte `graph:"unique"`
		Rest int
	}
	p, err := plan.Of(owner, reflect.TypeFor[Record](), func(sf reflect.StructField) bool { return sf.Name == "ID" })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tagged := range p.Tagged() {
		d := tagged.Column.Driver()
		got = append(got, fmt.Sprintf("%s %q %t %t", d.Name(), d.Was, d.List, tagged.Unique))
	}
	want := []string{
		`name [] false false`,
		`home.city [] false false`,
		`Score [["points" "rank"]] false false`,
		`slug [["path"]] false true`,
		`tags [] true false`,
		`Heat [] false false`,
		`Work.city [] false false`,
		`Code [] false true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if tagged := planOf(t, Point{}).Tagged(); len(tagged) > 0 {
		t.Errorf("%v of a type without tags", tagged)
	}
}

// The tag of a field that another one hides asks for nothing.
func TestHiddenTag(t *testing.T) {
	type Whole struct {
		TaggedBase
		Slug int `json:"slug"`
	}
	if tagged := planOf(t, Whole{}).Tagged(); len(tagged) > 0 {
		t.Errorf("%v of a hidden field", tagged)
	}
}

func TestRefusedIndexes(t *testing.T) {
	const (
		beyond = `there can be no index behind a pointer or in an element of a slice, an array or a map: tag a field outside of it`
		none   = `there can be no index: `
	)
	type ring struct {
		Name string `json:"name" graph:"index"`
		Next *ring  `json:"next"`
	}
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"both", struct {
			A string `graph:"index,unique"`
		}{}, `field "A": the graph tag options index and unique exclude each other: a unique index is an index`},
		{"the ID", struct {
			A string `graph:"id,unique"`
		}{}, `field "A": the ID needs no index: it is unique and found by itself`},
		{"left out", struct {
			A string `json:"-" graph:"index"`
		}{}, `field "A": a field that is not stored as one of the document has no index`},
		{"not exported", struct {
			B string
			a string `graph:"unique"`
		}{}, `field "a": a field that is not stored as one of the document has no index`},
		{"struct", struct {
			A Point `graph:"index"`
		}{}, `field "A": ` + none + `the struct plan_test.Point is not compared as a whole: select a field inside it`},
		{"embedded struct", struct {
			Left `graph:"index"`
		}{}, `field "Left": an embedded struct whose fields are promoted has no index: tag a field inside it`},
		{"embedded pointer", struct {
			*Left `graph:"unique"`
		}{}, `field "Left": an embedded struct whose fields are promoted has no index: tag a field inside it`},
		{"map", struct {
			A map[string]int `json:"a" graph:"index"`
		}{}, `field "a": ` + none + `a map is not compared: keep what is to be compared in a field of its own`},
		{"nested array", struct {
			P struct {
				A [2]int `graph:"index"`
			}
		}{}, `field "P.A": ` + none + `the array [2]int is not compared: use a slice`},
		{"boxed", struct {
			A **int `graph:"index"`
		}{}, `field "A": ` + none + `the pointer **int leads to a type that has a nil of its own and is not compared: use *int itself`},
		{"no zero", struct {
			A weekday `graph:"index"`
		}{}, `field "A": ` + none + `the zero value of plan_test.weekday cannot be written, use a pointer: MarshalText: no day 0`},
		{"refused anyway", struct {
			A any `graph:"index"`
		}{}, `field "A": the interface type interface {} does not say what it holds: use a concrete type` + leave},
		{"in a slice", struct{ A []taggedPart }{}, `field "A[].city": ` + beyond},
		{"in an array", struct{ A [2]taggedPart }{}, `field "A[].city": ` + beyond},
		{"in a map", struct{ A map[string]taggedPart }{}, `field "A[].city": ` + beyond},
		{"in a map in a slice", struct {
			P struct{ A []map[string]taggedPart }
		}{}, `field "P.A[][].city": ` + beyond},
		{"behind a pointer", struct{ A *taggedPart }{}, `field "A.city": ` + beyond},
		{"behind an embedded pointer", struct{ *TaggedBase }{}, `field "slug": ` + beyond},
		{"behind one in a nested struct", struct{ P struct{ *TaggedBase } }{}, `field "P.slug": ` + beyond},
		{"of a nested struct behind a pointer", struct{ A *struct{ P taggedPart } }{}, `field "A.P.city": ` + beyond},
		{"here and there", struct {
			A taggedPart
			B []taggedPart
		}{}, `field "B[].city": ` + beyond},
		{"in itself", ring{}, `field "next.name": ` + beyond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkRefused(t, test.value, test.want)
		})
	}
}

// The tag of a field that the caller keeps elsewhere is a mistake, too.
func TestSkippedIndex(t *testing.T) {
	type Record struct {
		ID string `graph:"unique"`
		A  int
	}
	_, err := plan.Of(owner, reflect.TypeFor[Record](), func(sf reflect.StructField) bool { return sf.Name == "ID" })
	if want := no + `field "ID": a field that is not stored as one of the document has no index`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}
