package plan

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"

	"github.com/graphcache/graphcache/driver"
)

// Column is a field of a plan's records that can be compared: where it is in a
// document and in the encoding. It is immutable and safe for concurrent use.
type Column struct {
	owner  string
	node   *node
	column driver.Column
	// steps lead to the field in the encoding.
	steps []step
	// blank stands for the nil that the encoding has in the place of a text that
	// was never made: that of a field, or of an element if the column is a list.
	blank driver.Value
}

// step goes into the encoding of a record that has size fields, and past the
// first skip of them.
type step struct{ size, skip int }

// newColumn makes the column of the field that the places lead to.
func newColumn(owner string, path []place) (*Column, error) {
	c := &Column{owner: owner}
	was, renamed := make([][]string, len(path)), false
	for i, at := range path {
		f := at.field()
		c.node = f.node
		c.steps = append(c.steps, step{len(at.record.fields), at.i})
		c.column.Path = append(c.column.Path, f.name)
		was[i], renamed = f.was, renamed || len(f.was) > 0
	}
	if renamed {
		c.column.Was = was
	}
	if err := c.node.comparable(); err != nil {
		return nil, err
	}
	c.column.List = c.node.form == listForm
	return c, c.setZero()
}

// setZero sets what depends on the zero value of the type. That of a type which
// marshals itself may have no text. A list can do without that of its elements: it
// is only for the nulls that another program may have put into one.
func (c *Column) setZero() (err error) {
	if c.column.Zero, err = c.node.zero(); err != nil {
		return fmt.Errorf("the zero value of %v cannot be written, use a pointer: %w", c.node.typ, err)
	}
	c.blank = c.column.Zero
	if c.column.List {
		c.blank, _ = c.node.elem.zero()
	}
	return nil
}

// zero returns the zero value of the type as a document has it.
func (n *node) zero() (driver.Value, error) {
	var d documenter
	return d.value(n, reflect.New(n.typ).Elem())
}

// comparable returns why values of the type are not compared, nil if they are.
func (n *node) comparable() error {
	switch n.form {
	case recordForm:
		return fmt.Errorf("the struct %v is not compared as a whole: select a field inside it", n.typ)
	case tableForm:
		return errors.New("a map is not compared: keep what is to be compared in a field of its own")
	case arrayForm:
		return fmt.Errorf("the array %v is not compared: use a slice", n.typ)
	case listForm:
		if !n.elem.scalar() || hasNil(n.elem.typ) {
			return fmt.Errorf("the slice %v is not compared: it must be one of bools, numbers, strings, times, "+
				"byte arrays or types that marshal themselves, which have no nil", n.typ)
		}
		return n.elem.comparable()
	case pointerForm:
		return n.comparablePointer()
	}
	if n.typ.Size() == 0 {
		return fmt.Errorf("%v has only one value, there is nothing to compare", n.typ)
	}
	return nil
}

func (n *node) comparablePointer() error {
	switch {
	case n.boxed:
		return fmt.Errorf("the pointer %v leads to a type that has a nil of its own and is not compared: use %v itself", n.typ, n.elem.typ)
	case n.elem.form == recordForm:
		return fmt.Errorf("the struct behind the pointer %v is not compared: make the field a %v, and select a field inside it", n.typ, n.elem.typ)
	case !n.elem.scalar():
		return n.elem.comparable()
	}
	return nil
}

// scalar reports whether values of the type are not made of others.
func (n *node) scalar() bool { return n.form >= boolForm && n.form <= jsonForm }

// Driver returns the column as stores know it, as one of objects. Its slices are
// shared and must not be modified.
func (c *Column) Driver() driver.Column { return c.column }

// Nilable reports whether the Go type of the field has a nil.
func (c *Column) Nilable() bool { return hasNil(c.node.typ) }

// List reports whether the field is a slice whose elements are values.
func (c *Column) List() bool { return c.column.List }

// Top reports whether the field is at the top of the document and never had
// another name.
func (c *Column) Top() bool { return len(c.column.Path) == 1 && c.column.Was == nil }

// IsString reports whether what is kept is a string that is the Go value, or nil,
// and not a text that the Go value has been marshaled to.
func (c *Column) IsString() bool { return c.content().form == stringForm }

// content returns the node of the field, or of what it points to.
func (c *Column) content() *node {
	if c.node.form == pointerForm {
		return c.node.elem
	}
	return c.node
}

// Ordered returns nil if the values that are kept compare as the Go values do,
// and otherwise why they do not. The error wraps driver.ErrSchema.
func (c *Column) Ordered() error {
	n := c.content()
	var reason string
	switch n.form {
	case intForm, uintForm, floatForm, stringForm, timeForm:
		return nil
	case textForm, jsonForm:
		reason = "is kept as text, the order of which need not be that of its values"
	case listForm:
		reason = "is a list, and lists have no order"
	case boolForm:
		reason = "has no order: ask whether it is true"
	default:
		reason = "is kept as bytes, which have no order"
	}
	return c.schema(fmt.Errorf("%v %s", n.typ, reason))
}

// Sample returns a value, not nil, of the type that the column's values have.
func (c *Column) Sample() driver.Value {
	if v, err := c.content().zero(); err == nil && v != nil {
		return v
	}
	return ""
}

// Bounds returns the least and the greatest value that a field of an integer or
// float type holds, both of type int64 or float64; ok is false if the field is of
// another type or a pointer. They are bounds for sums: those of floats are finite,
// as a sum beyond them has overflowed, and that of a uint64 is the greatest int64,
// since what is above it is kept as another type, with which nothing is added.
func (c *Column) Bounds() (low, high driver.Value, ok bool) {
	switch c.node.form {
	case intForm:
		bits := c.node.typ.Bits()
		return int64(-1) << (bits - 1), int64(math.MaxInt64) >> (64 - bits), true
	case uintForm:
		return int64(0), int64(min(math.MaxUint64>>(64-c.node.typ.Bits()), uint64(math.MaxInt64))), true
	case floatForm:
		greatest := math.MaxFloat64
		if c.node.typ.Bits() == 32 {
			greatest = math.MaxFloat32
		}
		return -greatest, greatest, true
	}
	return nil, nil, false
}

// Value returns a Go value of the field's type as documents have it; minus zero
// becomes zero. An untyped nil stands for the nil of the type if it has one. The
// error wraps driver.ErrInvalid: the value cannot be in a document, or is NaN, to
// which nothing is equal.
func (c *Column) Value(x any) (driver.Value, error) { return c.valueOf(c.node, x) }

// Element returns a Go value of the type of the list's elements as documents have
// it. It is otherwise like Value.
func (c *Column) Element(x any) (driver.Value, error) {
	if !c.List() {
		return nil, c.invalid(fmt.Errorf("%v is not a slice that has elements to compare", c.node.typ))
	}
	return c.valueOf(c.node.elem, x)
}

func (c *Column) valueOf(n *node, x any) (driver.Value, error) {
	v, err := n.operand(x)
	if err != nil {
		return nil, c.invalid(err)
	}
	return v, nil
}

var errNaN = errors.New("NaN is equal to nothing and has no place in an order")

// operand returns a value as a document has it, to be compared with those in
// documents. The usual types do without reflection, and what need not be converted
// stays in the interface value that it came in.
func (n *node) operand(x any) (driver.Value, error) {
	if reflect.TypeOf(x) != n.typ {
		if x == nil && hasNil(n.typ) {
			return nil, nil
		}
		return nil, fmt.Errorf("found a value of type %T, wanted one of type %v", x, n.typ)
	}
	switch v := x.(type) {
	case string:
		if !utf8.ValidString(v) {
			return nil, errUTF8
		}
		return x, nil
	case bool, int64:
		return x, nil
	case int:
		return int64(v), nil
	case float64:
		return tidyFloat(v, x)
	}
	var d documenter
	v, err := d.value(n, reflect.ValueOf(x))
	if err != nil {
		return nil, err
	}
	return tidy(v)
}

// tidy refuses NaN and turns minus zero into zero. A list must be the caller's own.
func tidy(v driver.Value) (driver.Value, error) {
	switch x := v.(type) {
	case float64:
		return tidyFloat(x, v)
	case []driver.Value:
		for i := range x {
			var err error
			if x[i], err = tidy(x[i]); err != nil {
				return nil, atIndex(i, err)
			}
		}
	}
	return v, nil
}

// tidyFloat is tidy for f, which is in the interface value v.
func tidyFloat(f float64, v driver.Value) (driver.Value, error) {
	switch {
	case math.IsNaN(f):
		return nil, errNaN
	case f == 0:
		return 0.0, nil
	}
	return v, nil
}

// invalid and schema make the errors of the column.
func (c *Column) invalid(err error) error {
	return report(driver.ErrInvalid, c.owner, atField(c.column.Name(), err))
}

func (c *Column) schema(err error) error {
	return report(driver.ErrSchema, c.owner, atField(c.column.Name(), err))
}
