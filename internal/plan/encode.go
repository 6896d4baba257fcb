package plan

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Encode appends the encoding of a document to dst. The document may come from
// any store and any version of the program: fields may be missing, which makes
// them zero, have an older name, be unknown, which leaves them out, or stand in
// another order; an integer may have come back as another type of number with the
// same value. A value that the field's type cannot hold is an error, which wraps
// driver.ErrInvalid; dst is then returned as it was.
//
// A record is an array of its fields in the order of the plan, so the encoding
// means something only to a plan with the same fingerprint.
func (p *Plan) Encode(dst []byte, d driver.Document) ([]byte, error) {
	var e encoder
	b, err := e.record(p.root, grow(dst, sizeOf(d)), d)
	if err != nil {
		return dst, p.invalid(err)
	}
	return b, nil
}

// grow returns dst with room for size bytes. It is slices.Grow with one allocation
// whatever the compiler makes of it.
func grow(dst []byte, size int) []byte {
	if cap(dst)-len(dst) >= size {
		return dst
	}
	return append(make([]byte, 0, max(len(dst)+size, 2*len(dst))), dst...)
}

// sizeOf estimates how long the encoding of a document is, so that it need not grow
// with every few fields. What is deeper inside is not looked at.
func sizeOf(d driver.Document) int {
	size := 5
	for i := range d {
		size += 9
		switch x := d[i].Value.(type) {
		case string:
			size += len(x)
		case []byte:
			size += len(x)
		case []driver.Value:
			size += 9 * len(x)
		}
	}
	return size
}

// encoder encodes one document.
type encoder struct{ nesting }

// value appends x. A nil that the type does not have is its zero value, like a
// field that is missing.
func (e *encoder) value(n *node, dst []byte, x driver.Value) ([]byte, error) {
	if x == nil {
		return n.appendZero(dst), nil
	}
	switch n.form {
	case boolForm:
		if b, ok := x.(bool); ok {
			return msgp.AppendBool(dst, b), nil
		}
	case intForm, uintForm:
		return n.appendInteger(dst, x)
	case floatForm:
		return n.appendFloat(dst, x)
	case stringForm, textForm, jsonForm:
		if s, ok := x.(string); ok {
			return appendString(dst, s)
		}
	case bytesForm:
		if b, ok := x.([]byte); ok {
			return msgp.AppendBytes(dst, b), nil
		}
	case byteArrayForm:
		return n.appendByteArray(dst, x)
	case timeForm:
		if t, ok := x.(time.Time); ok {
			return appendTime(dst, t)
		}
	case pointerForm:
		return e.pointer(n, dst, x)
	default:
		return e.container(n, dst, x)
	}
	return nil, n.mismatch(x)
}

func (e *encoder) container(n *node, dst []byte, x driver.Value) ([]byte, error) {
	switch x := x.(type) {
	case []driver.Value:
		if n.form == listForm || n.form == arrayForm {
			return e.elements(n, dst, x)
		}
	case driver.Document:
		if n.form == tableForm {
			return e.table(n, dst, x)
		}
		if n.form == recordForm {
			return e.record(n, dst, x)
		}
	}
	return nil, n.mismatch(x)
}

func (e *encoder) pointer(n *node, dst []byte, x driver.Value) ([]byte, error) {
	if !n.boxed {
		return e.value(n.elem, dst, x)
	}
	box, ok := x.([]driver.Value)
	if !ok || len(box) != 1 {
		return nil, fmt.Errorf("found %s, wanted an array of one element for %v", nameOf(x), n.typ)
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.value(n.elem, msgp.AppendArrayHeader(dst, 1), box[0])
}

func (e *encoder) elements(n *node, dst []byte, list []driver.Value) ([]byte, error) {
	if n.form == arrayForm && len(list) != n.size {
		return nil, fmt.Errorf("found an array of %d elements, wanted %d for %v", len(list), n.size, n.typ)
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	dst = msgp.AppendArrayHeader(dst, uint32(len(list)))
	for i, x := range list {
		var err error
		if dst, err = e.value(n.elem, dst, x); err != nil {
			return nil, atIndex(i, err)
		}
	}
	return dst, nil
}

func (e *encoder) table(n *node, dst []byte, doc driver.Document) ([]byte, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	if !slices.IsSortedFunc(doc, byName) {
		doc = slices.SortedFunc(slices.Values(doc), byName) // values are never modified
	}
	if err := checkUnique(doc); err != nil {
		return nil, err
	}
	dst = msgp.AppendMapHeader(dst, uint32(len(doc)))
	for i := range doc {
		name := doc[i].Name
		if err := n.keys.check(name, n.typ.Key()); err != nil {
			return nil, atKey(name, err)
		}
		var err error
		if dst, err = e.value(n.elem, msgp.AppendString(dst, name), doc[i].Value); err != nil {
			return nil, atKey(name, err)
		}
	}
	return dst, nil
}

func (e *encoder) record(n *node, dst []byte, doc driver.Document) ([]byte, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	dst = msgp.AppendArrayHeader(dst, uint32(len(n.fields)))
	next := 0 // where the field is if the document is in the order of the plan
	for i := range n.fields {
		f := &n.fields[i]
		var err error
		if f.inline {
			dst, err = e.inline(f, dst, doc)
		} else {
			var x driver.Value
			x, next = f.find(doc, next)
			if dst, err = e.value(f.node, dst, x); err != nil {
				err = atField(f.name, err)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// inline appends an embedded pointer: nil unless the document has a field of the
// struct behind it.
func (e *encoder) inline(f *field, dst []byte, doc driver.Document) ([]byte, error) {
	if !f.present(doc) {
		return msgp.AppendNil(dst), nil
	}
	return e.record(f.node.elem, dst, doc)
}

// find returns the field's value in the document, nil if it is missing, and where
// the next field is expected.
func (f *field) find(doc driver.Document, next int) (driver.Value, int) {
	if next < len(doc) && doc[next].Name == f.name {
		return doc[next].Value, next + 1
	}
	if i := f.position(doc); i >= 0 {
		return doc[i].Value, i + 1
	}
	return nil, next
}

// position returns the position of the field in the document by its name or the
// first of its older names that is there, -1 if none is.
func (f *field) position(doc driver.Document) int {
	named := func(name string) int {
		return slices.IndexFunc(doc, func(g driver.Field) bool { return g.Name == name })
	}
	i := named(f.name)
	for _, old := range f.was {
		if i >= 0 {
			break
		}
		i = named(old)
	}
	return i
}

// present reports whether the document has the field, or any of its fields if it
// is inline.
func (f *field) present(doc driver.Document) bool {
	if !f.inline {
		return f.position(doc) >= 0
	}
	return slices.ContainsFunc(f.node.elem.fields, func(g field) bool { return g.present(doc) })
}

// appendZero appends the zero value of the type.
func (n *node) appendZero(dst []byte) []byte {
	switch n.form {
	case boolForm:
		return msgp.AppendBool(dst, false)
	case intForm, uintForm:
		return msgp.AppendInt64(dst, 0)
	case floatForm:
		return msgp.AppendFloat64(dst, 0)
	case stringForm:
		return msgp.AppendString(dst, "")
	case byteArrayForm:
		return msgp.AppendBytes(dst, make([]byte, n.size))
	case timeForm:
		return appendMilliseconds(dst, time.Time{}.UnixMilli())
	case arrayForm:
		dst = msgp.AppendArrayHeader(dst, uint32(n.size))
		for range n.size {
			dst = n.elem.appendZero(dst)
		}
		return dst
	case recordForm:
		dst = msgp.AppendArrayHeader(dst, uint32(len(n.fields)))
		for i := range n.fields {
			dst = n.fields[i].node.appendZero(dst)
		}
		return dst
	}
	return msgp.AppendNil(dst)
}

func appendString(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errUTF8
	}
	return msgp.AppendString(dst, s), nil
}

func (n *node) appendByteArray(dst []byte, x driver.Value) ([]byte, error) {
	b, ok := x.([]byte)
	if !ok {
		return nil, n.mismatch(x)
	}
	if len(b) != n.size {
		return nil, fmt.Errorf("found %d bytes, wanted %d for %v", len(b), n.size, n.typ)
	}
	return msgp.AppendBytes(dst, b), nil
}

func appendTime(dst []byte, t time.Time) ([]byte, error) {
	ms, err := milliseconds(t)
	if err != nil {
		return nil, err
	}
	return appendMilliseconds(dst, ms), nil
}

// appendMilliseconds appends the integer in its longest form. All present times
// take it anyway, and a reader that knows the length beforehand can tell how many
// times a list can have.
func appendMilliseconds(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(ms))
}

// mismatch is the error for a value of a type that the field does not have.
func (n *node) mismatch(x driver.Value) error {
	return fmt.Errorf("found %s, wanted %s for %v", nameOf(x), n.form, n.typ)
}

// String returns what the form is in a document, with an article.
func (f form) String() string {
	names := [...]string{
		boolForm: "a bool", intForm: "an integer", uintForm: "an integer", floatForm: "a float",
		stringForm: "a string", bytesForm: "bytes", byteArrayForm: "bytes", timeForm: "a time",
		textForm: "a string", jsonForm: "a string of JSON", pointerForm: "a value",
		listForm: "an array", arrayForm: "an array", tableForm: "a document", recordForm: "a document",
	}
	return names[f]
}

// nameOf returns what a value is, with an article. Numbers are shown, because the
// number is what may be wrong with it; other content may be a secret.
func nameOf(x driver.Value) string {
	switch x := x.(type) {
	case nil:
		return "nil"
	case bool:
		return "a bool"
	case int64, int32, int, uint64:
		return fmt.Sprintf("the integer %d", x)
	case float64:
		return fmt.Sprintf("the float %v", x)
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case time.Time:
		return "a time"
	case []driver.Value:
		return "an array"
	case driver.Document:
		return "a document"
	}
	return fmt.Sprintf("a value of type %T", x)
}
