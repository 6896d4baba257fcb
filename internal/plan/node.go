package plan

import (
	"fmt"
	"reflect"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// form is how a Go type is kept: one for each kind of driver.Value, and more
// where several Go types share one.
type form uint8

const (
	boolForm      form = iota + 1
	intForm            // signed integers, as int64
	uintForm           // unsigned integers, as int64 or uint64
	floatForm          // as float64
	stringForm         //
	bytesForm          // slices of bytes
	byteArrayForm      // arrays of bytes, as []byte of their length
	timeForm           // time.Time
	textForm           // types with MarshalText and UnmarshalText, as their text
	jsonForm           // types with MarshalJSON and UnmarshalJSON, as a string of JSON
	pointerForm        // as what it points to, or nil
	listForm           // slices, as an array or nil
	arrayForm          // arrays, as an array of their length
	tableForm          // maps, as a document or nil
	recordForm         // structs, as a document
)

// node is the plan of one type. Nodes refer back where types are recursive.
type node struct {
	form form
	typ  reflect.Type
	// elem is the node of what a pointer, list, array or table holds.
	elem *node
	// keys is how the keys of a table become strings.
	keys keyForm
	// size is the length of an array or byte array.
	size int
	// boxed is set for a pointer to a type that has a nil of its own. It is
	// kept as an array of one element, so that nil and a pointer to nil differ.
	boxed bool
	// nilable is set for a marshaled type whose Go type has a nil: it is kept
	// as nil, not as what its methods make of it, because many read that back
	// as something else.
	nilable bool
	// fields are those of a record, in the order of the encoding.
	fields []field
	// least is the smallest number of bytes that a value's encoding takes.
	least int
	layout
}

// field is one field of a record.
type field struct {
	// name is the name in documents.
	name string
	options
	// index leads to the Go field without crossing a pointer.
	index []int
	node  *node
	// inline marks an embedded pointer to a struct. Its record's fields stand
	// in the document beside those of the record around it; in the encoding it
	// is one element, so that nil and a pointer to a zero struct differ.
	inline bool
}

// in returns the field of the struct v.
func (f *field) in(v reflect.Value) reflect.Value {
	if len(f.index) == 1 {
		return v.Field(f.index[0])
	}
	return v.FieldByIndex(f.index)
}

var timeType = reflect.TypeFor[time.Time]()

// builder makes the nodes of one plan and collects the mistakes.
type builder struct {
	owner string
	nodes map[reflect.Type]*node
	errs  []error
}

// refuse notes a mistake at a field, or at the struct type itself if the path is
// empty.
func (b *builder) refuse(path, format string, args ...any) {
	where := b.owner
	if path != "" {
		where = fmt.Sprintf("%s: field %q", b.owner, path)
	}
	b.errs = append(b.errs, fmt.Errorf("%w: %s: %s", driver.ErrSchema, where, fmt.Sprintf(format, args...)))
}

// node returns the node of t, which the path leads to. It has no form if the type
// is refused for what it is, not for what it contains.
func (b *builder) node(t reflect.Type, path string) *node {
	if n, ok := b.nodes[t]; ok {
		return n
	}
	n := &node{typ: t}
	b.nodes[t] = n
	b.shape(n, path)
	if n.form == 0 {
		delete(b.nodes, t) // the next field of this type is told as well
	}
	return n
}

// shape decides how the type of n is kept.
func (b *builder) shape(n *node, path string) {
	t := n.typ
	if t == timeType {
		n.form = timeForm
		return
	}
	if b.marshaled(n, path) {
		return
	}
	switch t.Kind() {
	case reflect.Bool:
		n.form = boolForm
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n.form = intForm
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n.form = uintForm
	case reflect.Float32, reflect.Float64:
		n.form = floatForm
	case reflect.String:
		n.form = stringForm
	case reflect.Pointer:
		n.form, n.boxed = pointerForm, hasNil(t.Elem())
		n.elem = b.node(t.Elem(), path)
	case reflect.Slice:
		b.list(n, path)
	case reflect.Array:
		b.array(n, path)
	case reflect.Map:
		b.table(n, path)
	case reflect.Struct:
		b.record(n, path, nil)
	default:
		b.refuseKind(t, path)
	}
}

func (b *builder) refuseKind(t reflect.Type, path string) {
	const leave = `or leave the field out with json:"-"`
	switch t.Kind() {
	case reflect.Interface:
		b.refuse(path, "the interface type %v does not say what it holds: use a concrete type, %s", t, leave)
	case reflect.Complex64, reflect.Complex128:
		b.refuse(path, "the type %v cannot be kept: use two floats, %s", t, leave)
	default:
		b.refuse(path, "the type %v cannot be kept: use another type, %s", t, leave)
	}
}

func (b *builder) list(n *node, path string) {
	if isByte(n.typ.Elem()) {
		n.form = bytesForm
		return
	}
	n.form = listForm
	n.elem = b.node(n.typ.Elem(), path+"[]")
}

func (b *builder) array(n *node, path string) {
	n.size = n.typ.Len()
	if isByte(n.typ.Elem()) {
		n.form = byteArrayForm
		return
	}
	n.form = arrayForm
	n.elem = b.node(n.typ.Elem(), path+"[]")
}

func (b *builder) table(n *node, path string) {
	n.keys = keysOf(n.typ.Key())
	if n.keys == 0 {
		b.refuse(path, "the map type %v has keys that are not strings: use strings or integers, or keys with MarshalText and UnmarshalText", n.typ)
		return
	}
	n.form = tableForm
	n.elem = b.node(n.typ.Elem(), path+"[]")
}

// isByte reports whether slices and arrays of t are kept as bytes.
func isByte(t reflect.Type) bool {
	return t.Kind() == reflect.Uint8 && methodsOf(t) == 0
}

// hasNil reports whether a value of type t can be kept as nil.
func hasNil(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func:
		return true
	}
	return false
}

// measure sets the least encoded size of n and of all that it leads to. The only
// way from a record back to itself is by something that can be nil or empty and
// then takes one byte, so the sizes are finite.
func (n *node) measure() {
	if n.least > 0 {
		return
	}
	n.least = n.ownLeast()
	if n.elem != nil {
		n.elem.measure()
	}
	for i := range n.fields {
		n.fields[i].node.measure()
	}
}

func (n *node) ownLeast() int {
	switch n.form {
	case floatForm, timeForm:
		return 9
	case byteArrayForm:
		return 2 + n.size
	case arrayForm:
		return 1 + n.size*n.elem.ownLeast()
	case recordForm:
		least := 1
		for i := range n.fields {
			least += n.fields[i].node.ownLeast()
		}
		return least
	}
	return 1
}
