package plan_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

func TestKeep(t *testing.T) {
	type Inner struct {
		A int `json:"a"`
	}
	type Embedded struct {
		E int `json:"e"`
	}
	type record struct {
		*Embedded
		Name  string         `json:"name" graph:"was=title"`
		Inner Inner          `json:"inner"`
		Ptr   *Inner         `json:"ptr"`
		List  []Inner        `json:"list"`
		Map   map[string]int `json:"map"`
	}
	p, err := plan.Of(`object kind "r"`, reflect.TypeFor[record](), nil)
	if err != nil {
		t.Fatal(err)
	}
	doc := func(fields ...any) (d driver.Document) {
		for i := 0; i < len(fields); i += 2 {
			d = append(d, driver.Field{Name: fields[i].(string), Value: fields[i+1]})
		}
		return d
	}
	one := int64(1)
	tests := []struct {
		name               string
		now, present, want driver.Document
	}{
		{"nothing there", doc("name", "x"), nil, doc("name", "x")},
		{"known fields are replaced", doc("name", "x"), doc("name", "y", "e", one), doc("name", "x")},
		{"an older name goes", doc("name", "x"), doc("title", "y"), doc("name", "x")},
		{"an unknown field stays", doc("name", "x"), doc("new", one), doc("name", "x", "new", one)},
		{"in a nested record", doc("inner", doc("a", one)), doc("inner", doc("a", int64(2), "new", one)), doc("inner", doc("a", one, "new", one))},
		{"behind a pointer", doc("ptr", doc("a", one)), doc("ptr", doc("new", one)), doc("ptr", doc("a", one, "new", one))},
		{"not behind one that is nil now", doc("ptr", nil), doc("ptr", doc("new", one)), doc("ptr", nil)},
		{"not in a map", doc("map", doc("k", one)), doc("map", doc("gone", one)), doc("map", doc("k", one))},
		{"not in a list", doc("list", []driver.Value{}), doc("list", []driver.Value{doc("new", one)}), doc("list", []driver.Value{})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, present := append(driver.Document(nil), tt.now...), append(driver.Document(nil), tt.present...)
			if diff := cmp.Diff(tt.want, p.Keep(tt.now, tt.present)); diff != "" {
				t.Errorf("Keep (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(now, tt.now) + cmp.Diff(present, tt.present); diff != "" {
				t.Errorf("a document was changed:\n%s", diff)
			}
		})
	}
}
