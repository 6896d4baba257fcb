package plan

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/graphcache/graphcache/driver"
)

// Document returns the struct value v as the document that a store keeps. It
// shares no memory with v, apart from strings. Methods that marshal a field are
// called; one that panics is an error. The error wraps driver.ErrInvalid.
func (p *Plan) Document(v reflect.Value) (driver.Document, error) {
	if err := p.check(v); err != nil {
		return nil, err
	}
	var d documenter
	doc, err := d.record(p.root, make(driver.Document, 0, len(p.root.fields)), v)
	if err != nil {
		return nil, p.invalid(err)
	}
	return doc, nil
}

// check refuses a value that the plan was not made for.
func (p *Plan) check(v reflect.Value) error {
	switch {
	case !v.IsValid():
		return p.invalid(fmt.Errorf("no value, wanted a %v", p.root.typ))
	case v.Type() != p.root.typ && len(p.root.fields) > 0:
		return p.invalid(fmt.Errorf("a value of type %v, wanted a %v", v.Type(), p.root.typ))
	}
	return nil
}

// documenter turns one value into a document.
type documenter struct{ nesting }

func (d *documenter) value(n *node, v reflect.Value) (driver.Value, error) {
	switch n.form {
	case boolForm:
		return v.Bool(), nil
	case intForm:
		return v.Int(), nil
	case uintForm:
		return unsigned(v.Uint()), nil
	case floatForm:
		return v.Float(), nil
	case stringForm:
		return validString(v.String())
	case bytesForm:
		return bytesOf(v), nil
	case byteArrayForm:
		return byteArray(v), nil
	case timeForm:
		return instant(v)
	case textForm, jsonForm:
		return marshaled(n, v)
	case pointerForm:
		return d.pointer(n, v)
	}
	return d.container(n, v)
}

func (d *documenter) container(n *node, v reflect.Value) (driver.Value, error) {
	if (n.form == listForm || n.form == tableForm) && v.IsNil() {
		return nil, nil
	}
	if n.form == recordForm {
		doc, err := d.record(n, make(driver.Document, 0, len(n.fields)), v)
		if err != nil {
			return nil, err
		}
		return doc, nil
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if n.form == tableForm {
		return d.table(n, v)
	}
	return d.elements(n, v)
}

func unsigned(u uint64) driver.Value {
	if u > math.MaxInt64 {
		return u
	}
	return int64(u)
}

var errUTF8 = errors.New("the string is not valid UTF-8")

func validString(s string) (driver.Value, error) {
	if !utf8.ValidString(s) {
		return nil, errUTF8
	}
	return s, nil
}

func bytesOf(v reflect.Value) driver.Value {
	if v.IsNil() {
		return nil
	}
	return append([]byte{}, v.Bytes()...)
}

func byteArray(v reflect.Value) driver.Value {
	if v.CanAddr() {
		return bytes.Clone(v.Bytes())
	}
	b := make([]byte, v.Len())
	for i := range b {
		b[i] = byte(v.Index(i).Uint())
	}
	return b
}

// The first and the last millisecond of the years that a time may be in.
var (
	firstMilli = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	lastMilli  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() - 1
)

// milliseconds returns t in milliseconds since 1970, rounded down.
func milliseconds(t time.Time) (int64, error) {
	// Not the milliseconds: those of a year that is far off overflow.
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return 0, fmt.Errorf("the year %d of the time is not between 0 and 9999", year)
	}
	return t.UnixMilli(), nil
}

func instant(v reflect.Value) (driver.Value, error) {
	ms, err := milliseconds(v.Interface().(time.Time))
	if err != nil {
		return nil, err
	}
	return time.UnixMilli(ms).UTC(), nil
}

func marshaled(n *node, v reflect.Value) (driver.Value, error) {
	if n.nilable && v.IsNil() {
		return nil, nil
	}
	s, err := n.form.marshal(v)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *documenter) pointer(n *node, v reflect.Value) (driver.Value, error) {
	if v.IsNil() {
		return nil, nil
	}
	if !n.boxed {
		return d.value(n.elem, v.Elem())
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	x, err := d.value(n.elem, v.Elem())
	if err != nil {
		return nil, err
	}
	return []driver.Value{x}, nil
}

func (d *documenter) elements(n *node, v reflect.Value) (driver.Value, error) {
	list := make([]driver.Value, v.Len())
	for i := range list {
		x, err := d.value(n.elem, v.Index(i))
		if err != nil {
			return nil, atIndex(i, err)
		}
		list[i] = x
	}
	return list, nil
}

func (d *documenter) table(n *node, v reflect.Value) (driver.Value, error) {
	doc := make(driver.Document, 0, v.Len())
	for entry := v.MapRange(); entry.Next(); {
		name, err := n.keys.name(entry.Key())
		if err != nil {
			return nil, err
		}
		x, err := d.value(n.elem, entry.Value())
		if err != nil {
			return nil, atKey(name, err)
		}
		doc = append(doc, driver.Field{Name: name, Value: x})
	}
	slices.SortFunc(doc, byName)
	if err := checkUnique(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

func byName(a, b driver.Field) int { return strings.Compare(a.Name, b.Name) }

// checkUnique refuses a map of which two keys have become one name.
func checkUnique(doc driver.Document) error {
	for i := 1; i < len(doc); i++ {
		if doc[i].Name == doc[i-1].Name {
			return atKey(doc[i].Name, errors.New("two map keys have this name"))
		}
	}
	return nil
}

// record appends the fields of the struct v to doc.
func (d *documenter) record(n *node, doc driver.Document, v reflect.Value) (driver.Document, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	for i := range n.fields {
		f := &n.fields[i]
		var err error
		if doc, err = d.field(f, doc, f.in(v)); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

func (d *documenter) field(f *field, doc driver.Document, v reflect.Value) (driver.Document, error) {
	if f.inline {
		if v.IsNil() {
			return doc, nil
		}
		return d.record(f.node.elem, doc, v.Elem())
	}
	x, err := d.value(f.node, v)
	if err != nil {
		return nil, atField(f.name, err)
	}
	return append(doc, driver.Field{Name: f.name, Value: x}), nil
}
