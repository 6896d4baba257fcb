package plan

import (
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Keep returns the new document of a record with the fields of the present one that
// the plan does not know, those of nested records included: another version of the
// program has written them. What is inside arrays and maps is not looked at, because
// nothing says which element of the one is which of the other. Neither document is
// changed.
func (p *Plan) Keep(doc, present driver.Document) driver.Document {
	return p.root.keep(doc, present)
}

func (n *node) keep(doc, present driver.Document) driver.Document {
	known := map[string]*node{}
	n.know(known)
	kept := slices.Clone(doc)
	for _, f := range present {
		inner, ok := known[f.Name]
		if !ok {
			kept = append(kept, f)
			continue
		}
		old, isRecord := f.Value.(driver.Document)
		if inner = inner.record(); inner == nil || !isRecord {
			continue
		}
		i := slices.IndexFunc(doc, func(g driver.Field) bool { return g.Name == f.Name })
		if i < 0 {
			continue // an older name: the field has been written under its new one
		}
		if now, ok := doc[i].Value.(driver.Document); ok {
			kept[i].Value = inner.keep(now, old)
		}
	}
	return kept
}

// know adds the record's fields to known, by all their names.
func (n *node) know(known map[string]*node) {
	for i := range n.fields {
		f := &n.fields[i]
		if f.inline {
			f.node.elem.know(known)
			continue
		}
		for _, name := range append([]string{f.name}, f.was...) {
			known[name] = f.node
		}
	}
}

// record returns the record that n is or points to, or nil.
func (n *node) record() *node {
	for n.form == pointerForm && !n.boxed {
		n = n.elem
	}
	if n.form != recordForm {
		return nil
	}
	return n
}
