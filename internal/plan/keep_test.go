package plan_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// The records of TestKeep: a value, a pointer and a boxed pointer lead from each to
// the next.
type (
	keepLeaf struct {
		A int `json:"a"`
	}
	keepTwig struct {
		Leaf keepLeaf   `json:"leaf"`
		Ptr  *keepLeaf  `json:"ptr"`
		Box  **keepLeaf `json:"box"`
	}
	keepBranch struct {
		Twig  keepTwig   `json:"twig"`
		Ptr   *keepTwig  `json:"ptr"`
		Box   **keepTwig `json:"box"`
		Moved keepLeaf   `json:"moved" graph:"was=before,was=earlier"`
	}
	KeepEmbedded struct {
		E    int      `json:"e"`
		Held keepLeaf `json:"held"`
	}
	keepRecord struct {
		*KeepEmbedded
		Name   string         `json:"name" graph:"was=title"`
		Inner  keepLeaf       `json:"inner"`
		Ptr    *keepLeaf      `json:"ptr"`
		Box    **keepLeaf     `json:"box"`
		Branch keepBranch     `json:"branch"`
		Deep   **keepBranch   `json:"deep"`
		Moved  *keepLeaf      `json:"moved" graph:"was=before,was=earlier"`
		List   []keepLeaf     `json:"list"`
		Array  [1]keepLeaf    `json:"array"`
		Map    map[string]int `json:"map"`
	}
)

func TestKeep(t *testing.T) {
	p, err := plan.Of(`object kind "r"`, reflect.TypeFor[keepRecord](), nil)
	if err != nil {
		t.Fatal(err)
	}
	doc := func(fields ...any) (d driver.Document) {
		for i := 0; i < len(fields); i += 2 {
			d = append(d, driver.Field{Name: fields[i].(string), Value: fields[i+1]})
		}
		return d
	}
	box := func(v driver.Value) []driver.Value { return []driver.Value{v} }
	one, two := int64(1), int64(2)
	// What this program writes, what is there, and what is to be there then.
	now, there, both := doc("a", one), doc("a", two, "new", one), doc("a", one, "new", one)
	tests := []struct {
		name               string
		now, present, want driver.Document
	}{
		{"nothing there", doc("name", "x"), nil, doc("name", "x")},
		{"nothing now", nil, doc("name", "x", "new", one), doc("new", one)},
		{"known fields are replaced", doc("name", "x"), doc("name", "y", "e", one), doc("name", "x")},
		{"an older name goes", doc("name", "x"), doc("title", "y"), doc("name", "x")},
		{"an unknown field stays", doc("name", "x"), doc("new", one), doc("name", "x", "new", one)},
		{"in what was no record", doc("inner", now), doc("inner", "text"), doc("inner", now)},

		{"one level down", doc("inner", now), doc("inner", there), doc("inner", both)},
		{"two levels down", doc("branch", doc("twig", doc())), doc("branch", doc("twig", doc("new", one))), doc("branch", doc("twig", doc("new", one)))},
		{"three levels down", doc("branch", doc("twig", doc("leaf", now))), doc("branch", doc("twig", doc("leaf", there))), doc("branch", doc("twig", doc("leaf", both)))},
		{"at every level", doc("branch", doc("twig", doc("leaf", now))),
			doc("u", one, "branch", doc("u", one, "twig", doc("u", one, "leaf", there))),
			doc("branch", doc("twig", doc("leaf", both, "u", one), "u", one), "u", one)},

		{"behind a pointer", doc("ptr", now), doc("ptr", there), doc("ptr", both)},
		{"not behind one that is nil now", doc("ptr", nil), doc("ptr", there), doc("ptr", nil)},
		{"behind one that was nil", doc("ptr", now), doc("ptr", nil), doc("ptr", now)},
		{"behind a boxed pointer", doc("box", box(now)), doc("box", box(there)), doc("box", box(both))},
		{"not behind a boxed one that is nil now", doc("box", nil), doc("box", box(there)), doc("box", nil)},
		{"not behind one to nil", doc("box", box(nil)), doc("box", box(there)), doc("box", box(nil))},
		{"behind a boxed one that was nil", doc("box", box(now)), doc("box", nil), doc("box", box(now))},
		{"behind a pointer two levels down", doc("branch", doc("ptr", doc("leaf", now))), doc("branch", doc("ptr", doc("leaf", there))), doc("branch", doc("ptr", doc("leaf", both)))},
		{"behind pointers at three levels", doc("deep", box(doc("ptr", doc("box", box(now))))),
			doc("deep", box(doc("ptr", doc("box", box(there))))), doc("deep", box(doc("ptr", doc("box", box(both)))))},
		{"behind boxed pointers at three levels", doc("deep", box(doc("box", box(doc("box", box(now)))))),
			doc("deep", box(doc("box", box(doc("box", box(there)))))), doc("deep", box(doc("box", box(doc("box", box(both))))))},

		{"in a record that has another name now", doc("moved", now), doc("before", there), doc("moved", both)},
		{"in one that had another name long ago", doc("moved", now), doc("earlier", there), doc("moved", both)},
		{"in the one that is read of two", doc("moved", now), doc("earlier", doc("lost", one), "before", there), doc("moved", both)},
		{"in one that has been written under both names", doc("moved", now), doc("before", doc("lost", one), "moved", there), doc("moved", both)},
		{"not in a renamed one that is nil now", doc("moved", nil), doc("before", there), doc("moved", nil)},
		{"in a renamed one further down", doc("deep", box(doc("moved", now))), doc("deep", box(doc("earlier", there))), doc("deep", box(doc("moved", both)))},

		{"beside the fields of an embedded pointer", doc("e", one, "held", now), doc("e", two, "held", there, "new", one), doc("e", one, "held", both, "new", one)},
		{"beside an embedded pointer that is nil now", doc("name", "x"), doc("e", two, "held", there, "new", one), doc("name", "x", "new", one)},
		{"beside one that was nil", doc("e", one, "held", now), doc("new", one), doc("e", one, "held", now, "new", one)},

		{"not in a map", doc("map", doc("k", one)), doc("map", doc("gone", one)), doc("map", doc("k", one))},
		{"not in a list", doc("list", box(now)), doc("list", box(there)), doc("list", box(now))},
		{"not in an array", doc("array", box(now)), doc("array", box(there)), doc("array", box(now))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, presentBefore := keepCopy(tt.now), keepCopy(tt.present)
			if diff := cmp.Diff(tt.want, p.Keep(tt.now, tt.present)); diff != "" {
				t.Errorf("Keep (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.now) + cmp.Diff(presentBefore, tt.present); diff != "" {
				t.Errorf("a document was changed:\n%s", diff)
			}
		})
	}
}

// keepCopy returns a copy that shares nothing with the document, at any depth.
func keepCopy(d driver.Document) driver.Document {
	var value func(v driver.Value) driver.Value
	value = func(v driver.Value) driver.Value {
		switch v := v.(type) {
		case driver.Document:
			return keepCopy(v)
		case []driver.Value:
			list := make([]driver.Value, len(v))
			for i := range v {
				list[i] = value(v[i])
			}
			return list
		}
		return v
	}
	if d == nil {
		return nil
	}
	c := make(driver.Document, len(d))
	for i, f := range d {
		c[i] = driver.Field{Name: f.Name, Value: value(f.Value)}
	}
	return c
}
