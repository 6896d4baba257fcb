package plan

import "slices"

// Tagged is a column that a tag asks for an index on.
type Tagged struct {
	Column *Column
	// Unique is set if no two records may have the same value.
	Unique bool
}

// Tagged returns the columns tagged `graph:"index"` or `graph:"unique"`, in the
// order of the fields.
func (p *Plan) Tagged() []Tagged { return slices.Clone(p.tagged) }

// tagged makes the columns of the tagged fields and refuses tags where there can
// be no index.
func (b *builder) tagged(root *node) []Tagged {
	t := tagger{builder: b, seen: map[*node]bool{}}
	t.record(root, nil)
	return t.found
}

// tagger looks for tagged fields.
type tagger struct {
	*builder
	found []Tagged
	// seen are the nodes behind pointers and in lists that were looked at.
	seen map[*node]bool
}

// record looks at the fields of a record that is at the top, or in one that is.
func (t *tagger) record(n *node, path []place) {
	for i := range n.fields {
		f := &n.fields[i]
		path := append(slices.Clip(path), place{n, i})
		if f.indexed {
			t.column(f, path)
		}
		if f.node.form == recordForm {
			t.record(f.node, path)
		} else {
			t.beyond(f.node, nameAt(path))
		}
	}
}

func (t *tagger) column(f *field, path []place) {
	if f.node.form == 0 {
		return // the type has been refused
	}
	c, err := newColumn(t.owner, path)
	if err != nil {
		t.refuse(nameAt(path), "there can be no index: %v", err)
		return
	}
	t.found = append(t.found, Tagged{c, f.unique})
}

// beyond refuses the tags of what is behind a pointer or an element: one record
// may have many of it, or none.
func (t *tagger) beyond(n *node, path string) {
	if t.seen[n] {
		return
	}
	t.seen[n] = true
	if n.elem != nil {
		if n.form != pointerForm {
			path += "[]"
		}
		t.beyond(n.elem, path)
	}
	for i := range n.fields {
		f := &n.fields[i]
		inner := join(path, f.name)
		if f.indexed {
			t.refuse(inner, "there can be no index behind a pointer or in an element of a slice, an array or a map: tag a field outside of it")
		}
		t.beyond(f.node, inner)
	}
}
