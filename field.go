package graphcache

import (
	"cmp"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/graphcache/graphcache/driver"
)

// Record is a kind whose records are of type T: an [*ObjectKind] of T, or an
// [*EdgeKind], whose records are of its [Edge] type. No other types implement it.
type Record[T any] interface {
	record(*T) recordKind
}

// recordKind is one of two.
type recordKind struct {
	object *objectKind
	edge   *edgeKind
}

func (k *ObjectKind[T]) record(*T) recordKind {
	if k == nil {
		return recordKind{}
	}
	return recordKind{object: k.core}
}

func (k *EdgeKind[A, B, D]) record(*Edge[A, B, D]) recordKind {
	if k == nil {
		return recordKind{}
	}
	return recordKind{edge: k.core}
}

func (k recordKind) name() string {
	if k.edge != nil {
		return k.edge.name
	}
	return nameOf(k.object)
}

func (k recordKind) String() string {
	if k.edge != nil {
		return fmt.Sprintf("edge kind %q", k.edge.name)
	}
	return fmt.Sprintf("object kind %q", nameOf(k.object))
}

// Ordered is the types whose values have an order: numbers, strings and times.
type Ordered interface {
	cmp.Ordered | time.Time
}

// Field is a field of the records of a kind: of type V, in a T. [FieldOf] makes it. It
// is immutable and safe for concurrent use.
//
// What its methods compare is what is stored: numbers by their value, strings and
// bytes byte by byte, times by their millisecond, and a type that marshals itself to
// text or JSON by that text. NaN is no operand: it is [ErrInvalid], though Set takes it. A
// field that a record lacks, because it was written
// before the field was added, has the zero value of its type.
type Field[T, V any] struct {
	c *column
}

// FieldOf returns the field that the selector points to:
//
//	var City = graphcache.FieldOf(Users, func(u *User) *string { return &u.City })
//
// The kind is an object kind, and the field its ID or one of those that are stored; or
// it is an edge kind, and the field the Time of its [Edge] or one within the Data. A
// field may be inside a nested struct. It is a boolean, a number, a string, bytes, a
// time, a type that marshals itself, or a pointer to one of these. The function is
// pure: it calls the selector once, with a zero T. It panics if the selector does not
// point to such a field, naming the kind and the place.
//
// [OrderedFieldOf], [StringFieldOf], [OptionalFieldOf] and [SliceFieldOf] return
// fields that can do more.
func FieldOf[T, V any](kind Record[T], selector func(*T) *V) Field[T, V] {
	return Field[T, V]{columnOf("FieldOf", kind, selector, func(c *column) error {
		if c.List {
			return fmt.Errorf("it is a slice: use SliceFieldOf")
		}
		return nil
	})}
}

// leaf makes a predicate of one value.
func leaf[T, V any](c *column, op driver.FilterOp, x V) Predicate[T] {
	v, err := valueOf(c, x)
	return Predicate[T]{pred{op: op, col: c, v: v}, err}
}

// valueOf is column.value without an allocation beyond the value's own for the types
// that are kept as they are.
func valueOf[V any](c *column, x V) (driver.Value, error) {
	if c == nil {
		return nil, errZeroField
	}
	if c.plan != nil {
		switch x := any(x).(type) {
		case string:
			if utf8.ValidString(x) {
				return x, nil
			}
		case int:
			return int64(x), nil
		case int64:
			return x, nil
		case bool:
			return x, nil
		}
	}
	return c.value(x)
}

var errZeroField = fmt.Errorf("%w: a field that FieldOf and its like have not made", ErrInvalid)

// Eq matches records whose field is equal to v. A nil pointer is equal to nil only.
func (f Field[T, V]) Eq(v V) Predicate[T] { return leaf[T](f.c, driver.AnyOf, v) }

// Ne matches records whose field is not equal to v.
func (f Field[T, V]) Ne(v V) Predicate[T] { return Not(f.Eq(v)) }

// In matches records whose field is equal to one of the values; without values, none.
func (f Field[T, V]) In(values ...V) Predicate[T] { return anyOf[T](f.c, values) }

func anyOf[T, V any](c *column, values []V) Predicate[T] {
	if c == nil {
		return Predicate[T]{err: errZeroField}
	}
	vs := make([]driver.Value, len(values))
	for i := range values {
		var err error
		if vs[i], err = valueOf(c, values[i]); err != nil {
			return Predicate[T]{err: err}
		}
	}
	return Predicate[T]{setOf(c, vs), c.err}
}

// IsZero matches records whose field has the zero value of its Go type.
func (f Field[T, V]) IsZero() Predicate[T] {
	if f.c == nil {
		return Predicate[T]{err: errZeroField}
	}
	if f.c.Of == driver.EdgeTime {
		return Predicate[T]{err: fmt.Errorf("%w: %s: every edge has a time", ErrInvalid, f.c.label())}
	}
	return Predicate[T]{pred{op: driver.AnyOf, col: f.c, v: f.c.Zero}, f.c.err}
}

// IsNil matches records whose field is a nil pointer or slice. On a field whose type
// has no nil it is [ErrInvalid].
func (f Field[T, V]) IsNil() Predicate[T] {
	if f.c == nil {
		return Predicate[T]{err: errZeroField}
	}
	if !f.c.nilable && f.c.err == nil {
		return Predicate[T]{err: fmt.Errorf("%w: %s: IsNil: its type has no nil", ErrInvalid, f.c.label())}
	}
	return Predicate[T]{pred{op: driver.AnyOf, col: f.c}, f.c.err}
}

func (f Field[T, V]) field(*T) *column { return f.c }

// AnyField is a field of records of type T, whatever its own type: what an index is
// made of. The field types of this package implement it, and no others.
type AnyField[T any] interface {
	field(*T) *column
}

// OrderedField is a [Field] whose type has an order. [OrderedFieldOf] makes it.
type OrderedField[T any, V Ordered] struct {
	Field[T, V]
}

// OrderedFieldOf is [FieldOf] for a number, a string or a time. A type that marshals
// itself is kept as text, which is not in the order of its values: then it panics.
func OrderedFieldOf[T any, V Ordered](kind Record[T], selector func(*T) *V) OrderedField[T, V] {
	return OrderedField[T, V]{Field[T, V]{columnOf("OrderedFieldOf", kind, selector, (*column).ordered)}}
}

// ordered says why the column has no order.
func (c *column) ordered() error {
	if c.plan == nil {
		return nil
	}
	return c.plan.Ordered()
}

// Lt matches records whose field is less than v. Like all comparisons it does not
// match nil and NaN.
func (f OrderedField[T, V]) Lt(v V) Predicate[T] { return leaf[T](f.c, driver.Less, v) }

// Le matches records whose field is v or less.
func (f OrderedField[T, V]) Le(v V) Predicate[T] { return leaf[T](f.c, driver.LessEqual, v) }

// Gt matches records whose field is greater than v.
func (f OrderedField[T, V]) Gt(v V) Predicate[T] { return leaf[T](f.c, driver.Greater, v) }

// Ge matches records whose field is v or greater.
func (f OrderedField[T, V]) Ge(v V) Predicate[T] { return leaf[T](f.c, driver.GreaterEqual, v) }

// Asc orders by the field, least first; NaN comes before all other numbers.
func (f OrderedField[T, V]) Asc() Order[T] { return Order[T]{orderKey{col: f.c}} }

// Desc orders by the field, greatest first.
func (f OrderedField[T, V]) Desc() Order[T] { return Order[T]{orderKey{col: f.c, desc: true}} }

// StringField is an [OrderedField] that holds a string. [StringFieldOf] makes it.
type StringField[T any, V ~string] struct {
	OrderedField[T, V]
}

// StringFieldOf is [OrderedFieldOf] for a string.
func StringFieldOf[T any, V ~string](kind Record[T], selector func(*T) *V) StringField[T, V] {
	return StringField[T, V]{OrderedField[T, V]{Field[T, V]{columnOf("StringFieldOf", kind, selector, (*column).ordered)}}}
}

// HasPrefix matches records whose field starts with the prefix, compared byte by byte.
func (f StringField[T, V]) HasPrefix(prefix V) Predicate[T] {
	return f.substring(driver.HasPrefix, prefix)
}

// Contains matches records whose field contains the string, compared byte by byte.
func (f StringField[T, V]) Contains(part V) Predicate[T] {
	return f.substring(driver.Contains, part)
}

func (f StringField[T, V]) substring(op driver.FilterOp, part V) Predicate[T] {
	if part == "" && f.c != nil && f.c.err == nil {
		return Predicate[T]{p: matchAll}
	}
	return leaf[T](f.c, op, part)
}

// OptionalField is a field that is a pointer to a type with an order, compared by what
// it points to. [OptionalFieldOf] makes it.
type OptionalField[T any, V Ordered] struct {
	c *column
}

// OptionalFieldOf is [OrderedFieldOf] for a pointer to a number, a string or a time:
//
//	var Age = graphcache.OptionalFieldOf(Users, func(u *User) **int { return &u.Age })
func OptionalFieldOf[T any, V Ordered](kind Record[T], selector func(*T) **V) OptionalField[T, V] {
	return OptionalField[T, V]{columnOf("OptionalFieldOf", kind, selector, (*column).ordered)}
}

func (f OptionalField[T, V]) leaf(op driver.FilterOp, v V) Predicate[T] { return leaf[T](f.c, op, &v) }

// Eq matches records whose field is equal to v. Nil is not.
func (f OptionalField[T, V]) Eq(v V) Predicate[T] { return f.leaf(driver.AnyOf, v) }

// Ne matches records whose field is not equal to v, nil included.
func (f OptionalField[T, V]) Ne(v V) Predicate[T] { return Not(f.Eq(v)) }

// In matches records whose field is equal to one of the values; without values, none.
func (f OptionalField[T, V]) In(values ...V) Predicate[T] {
	pointers := make([]*V, len(values))
	for i := range values {
		pointers[i] = &values[i]
	}
	return anyOf[T](f.c, pointers)
}

// Lt matches records whose field is less than v. Like all comparisons it does not
// match nil and NaN.
func (f OptionalField[T, V]) Lt(v V) Predicate[T] { return f.leaf(driver.Less, v) }

// Le matches records whose field is v or less.
func (f OptionalField[T, V]) Le(v V) Predicate[T] { return f.leaf(driver.LessEqual, v) }

// Gt matches records whose field is greater than v.
func (f OptionalField[T, V]) Gt(v V) Predicate[T] { return f.leaf(driver.Greater, v) }

// Ge matches records whose field is v or greater.
func (f OptionalField[T, V]) Ge(v V) Predicate[T] { return f.leaf(driver.GreaterEqual, v) }

// IsNil matches records whose field is nil.
func (f OptionalField[T, V]) IsNil() Predicate[T] { return Field[T, *V](f).IsNil() }

// Asc orders by the field, nil first, then NaN, then least first.
func (f OptionalField[T, V]) Asc() Order[T] { return Order[T]{orderKey{col: f.c}} }

// Desc orders by the field, greatest first and nil last.
func (f OptionalField[T, V]) Desc() Order[T] { return Order[T]{orderKey{col: f.c, desc: true}} }

func (f OptionalField[T, V]) field(*T) *column { return f.c }

// SliceField is a [Field] that is a slice. An index on it has an entry for each of its
// elements. [SliceFieldOf] makes it.
type SliceField[T any, S ~[]E, E any] struct {
	Field[T, S]
}

// SliceFieldOf is [FieldOf] for a slice of anything that a field can be but a pointer.
func SliceFieldOf[T any, S ~[]E, E any](kind Record[T], selector func(*T) *S) SliceField[T, S, E] {
	return SliceField[T, S, E]{Field[T, S]{columnOf("SliceFieldOf", kind, selector, func(c *column) error {
		if !c.List {
			return fmt.Errorf("it is not kept as a list: use FieldOf")
		}
		return nil
	})}}
}

// Has matches records one of whose field's elements is equal to v.
func (f SliceField[T, S, E]) Has(v E) Predicate[T] {
	switch {
	case f.c == nil:
		return Predicate[T]{err: errZeroField}
	case f.c.err != nil:
		return Predicate[T]{err: f.c.err}
	}
	x, err := f.c.plan.Element(v)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.c.label(), err)
	}
	return Predicate[T]{pred{op: driver.Has, col: f.c, v: x}, err}
}
