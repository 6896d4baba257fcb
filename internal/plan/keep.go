package plan

import (
	"reflect"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Rewrite returns the document as this plan writes it: with the fields that it lacks,
// under the names of now, and without what the plan does not know. The error wraps
// driver.ErrInvalid.
func (p *Plan) Rewrite(doc driver.Document) (driver.Document, error) {
	b, err := p.Encode(nil, doc)
	if err != nil {
		return nil, err
	}
	v := reflect.New(p.root.typ).Elem()
	if _, err := p.Decode(b, v); err != nil {
		return nil, err
	}
	return p.Document(v)
}

// Keep returns the new document of a record with the fields of the present one that
// the plan does not know, those of nested records included, also of one that stands
// under an older name: another version of the program has written them. What is
// inside arrays and maps is not looked at, because nothing says which element of the
// one is which of the other. Neither document is changed.
func (p *Plan) Keep(doc, present driver.Document) driver.Document {
	return p.root.keep(doc, present)
}

func (n *node) keep(doc, present driver.Document) driver.Document {
	kept := slices.Clone(doc)
	known := map[string]bool{}
	n.each(func(f *field) {
		known[f.name] = true
		for _, old := range f.was {
			known[old] = true
		}
		if i, j := f.position(doc), f.position(present); i >= 0 && j >= 0 {
			kept[i].Value = f.node.keepIn(doc[i].Value, present[j].Value)
		}
	})
	for _, f := range present {
		if !known[f.Name] {
			kept = append(kept, f)
		}
	}
	return kept
}

// each calls use with the fields that stand in the record's document.
func (n *node) each(use func(*field)) {
	for i := range n.fields {
		if f := &n.fields[i]; f.inline {
			f.node.elem.each(use)
		} else {
			use(f)
		}
	}
}

// keepIn is keep for a value: that of a record, or of a pointer to one.
func (n *node) keepIn(now, present driver.Value) driver.Value {
	switch n.form {
	case recordForm:
		doc, ok := now.(driver.Document)
		old, wasRecord := present.(driver.Document)
		if ok && wasRecord {
			return n.keep(doc, old)
		}
	case pointerForm:
		if !n.boxed {
			return n.elem.keepIn(now, present)
		}
		box, ok := now.([]driver.Value)
		old, wasBox := present.([]driver.Value)
		if ok && wasBox && len(box) == 1 && len(old) == 1 {
			return []driver.Value{n.elem.keepIn(box[0], old[0])}
		}
	}
	return now
}
