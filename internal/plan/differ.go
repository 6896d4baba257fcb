package plan

import (
	"bytes"
	"math"
	"reflect"
	"time"
)

// differ returns an error at the first place where two values are not the same to
// the plan. It is reflect.DeepEqual for what the plan keeps, with times compared
// by their milliseconds, NaN equal to NaN, and zero different from minus zero.
func (n *node) differ(a, b reflect.Value) error {
	switch n.form {
	case pointerForm:
		if a.IsNil() || b.IsNil() {
			return lostUnless(a.IsNil() && b.IsNil())
		}
		return n.elem.differ(a.Elem(), b.Elem())
	case listForm, arrayForm:
		return n.differElements(a, b)
	case tableForm:
		return n.differEntries(a, b)
	case recordForm:
		for i := range n.fields {
			f := &n.fields[i]
			if err := f.node.differ(f.in(a), f.in(b)); err != nil {
				return f.fault(err)
			}
		}
		return nil
	case textForm, jsonForm:
		return lostUnless(n.form.alike(a, b))
	}
	return lostUnless(n.equal(a, b))
}

func lostUnless(same bool) error {
	if same {
		return nil
	}
	return errLost
}

// equal compares scalars.
func (n *node) equal(a, b reflect.Value) bool {
	switch n.form {
	case floatForm:
		x, y := a.Float(), b.Float()
		return math.Float64bits(x) == math.Float64bits(y) || x != x && y != y
	case bytesForm:
		return a.IsNil() == b.IsNil() && bytes.Equal(a.Bytes(), b.Bytes())
	case timeForm:
		x, y := a.Interface().(time.Time), b.Interface().(time.Time)
		return time.UnixMilli(x.UnixMilli()).UTC() == y
	}
	return a.Interface() == b.Interface()
}

func (n *node) differElements(a, b reflect.Value) error {
	if a.Len() != b.Len() || n.form == listForm && a.IsNil() != b.IsNil() {
		return errLost
	}
	for i := range a.Len() {
		if err := n.elem.differ(a.Index(i), b.Index(i)); err != nil {
			return atIndex(i, err)
		}
	}
	return nil
}

// differEntries compares maps by the names of the keys: the keys themselves may
// hold pointers, or times that are kept in milliseconds.
func (n *node) differEntries(a, b reflect.Value) error {
	if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
		return errLost
	}
	named := map[string]reflect.Value{}
	for entry := b.MapRange(); entry.Next(); {
		name, err := n.keys.name(entry.Key())
		if err != nil {
			return err
		}
		named[name] = entry.Value()
	}
	for entry := a.MapRange(); entry.Next(); {
		name, err := n.keys.name(entry.Key())
		if err != nil {
			return err
		}
		x, ok := named[name]
		if !ok {
			return atKey(name, errLost)
		}
		if err := n.elem.differ(entry.Value(), x); err != nil {
			return atKey(name, err)
		}
	}
	return nil
}
