package graphcache

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Index is an index on objects of type T: on one field or, compound, on several. It
// makes a query with [ObjectKind.Where] fast and cacheable that asks for the first of
// its fields to be equal to a value, or to one of several. It takes effect in the
// schemas that it is passed to.
//
// The simplest way to an index on one field is a tag: `graph:"index"`, or
// `graph:"unique"` for one in which no two objects have the same value. Such an index
// has the name of the field.
//
// An object is in an index under the values of the fields, up to the first nil: a nil
// is not indexed, while a zero value is. A slice is indexed by each of its elements; an
// index has at most one slice. Values of more than 1,024 bytes are not indexed either,
// but for uniqueness. A unique index does not compare what has a nil in it.
//
// An index may be added to a schema at any time: [Open] builds it. A write that would
// break a unique index returns [ErrExists] and names the index.
type Index[T any] struct {
	core *index
}

// NewIndex declares an index on the fields of a kind, in this order: queries may use
// the first field, the first two, and so on. The name is unique within the kind; for
// its letters see [NewObjectKind]. A mistake is reported by [Open].
func NewIndex[T any](name string, kind *ObjectKind[T], fields ...AnyField[T]) *Index[T] {
	ix := &index{name: name}
	if kind != nil {
		ix.kind = kind.core
	}
	for _, f := range fields {
		var c *column
		if f != nil {
			c = f.field(nil)
		}
		ix.columns = append(ix.columns, c)
	}
	ix.err = ix.declare()
	return &Index[T]{ix}
}

// Unique returns the index as one in which no two objects have the same values. It
// leaves the index that it is called on as it is.
func (ix *Index[T]) Unique() *Index[T] {
	c := *ix.core
	c.unique = true
	return &Index[T]{&c}
}

// Name returns the index's name.
func (ix *Index[T]) Name() string { return ix.core.name }

func (ix *Index[T]) declareIn(s *Schema) { s.indexes = append(s.indexes, ix.core) }

// maxIndexColumns is how many fields an index may have.
const maxIndexColumns = 8

// maxIndexValue is the length in bytes above which a string is not indexed: anchors
// have the values in their keys.
const maxIndexValue = 1024

// index is what an Index is without its type parameter.
type index struct {
	name    string
	kind    *objectKind
	columns []*column
	unique  bool
	prefix  string // of the IDs of its anchors
	err     error
}

// declare checks the columns and makes the prefix.
func (ix *index) declare() error {
	label := fmt.Sprintf("index %q", ix.name)
	if ix.kind == nil {
		return fmt.Errorf("%w: %s: the kind is nil", ErrSchema, label)
	}
	label = fmt.Sprintf("%s of object kind %q", label, ix.kind.name)
	if n := len(ix.columns); n == 0 || n > maxIndexColumns {
		return fmt.Errorf("%w: %s: it has %d fields, not 1 to %d", ErrSchema, label, n, maxIndexColumns)
	}
	lists := 0
	for i, c := range ix.columns {
		if c == nil {
			return fmt.Errorf("%w: %s: a field is nil", ErrSchema, label)
		}
		if err := c.mustBe(recordKind{object: ix.kind}); err != nil {
			return fmt.Errorf("%w: %s: %s", ErrSchema, label, strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "))
		}
		for _, earlier := range ix.columns[:i] {
			if earlier.same(c) {
				return fmt.Errorf("%w: %s: field %q is there twice", ErrSchema, label, c.Name())
			}
		}
		if c.Of != driver.ObjectField {
			return fmt.Errorf("%w: %s: objects are found by their ID without an index", ErrSchema, label)
		}
		if c.List {
			lists++
		}
	}
	if lists > 1 {
		return fmt.Errorf("%w: %s: more than one of its fields is a slice", ErrSchema, label)
	}
	ix.prefix = ix.makePrefix()
	return nil
}

// makePrefix returns what the IDs of the index's anchors start with: the columns, not
// the name, so that two versions of a program that differ in the name alone hold the
// same anchors.
func (ix *index) makePrefix() string {
	b := msgp.AppendArrayHeader(nil, 2)
	b = msgp.AppendArrayHeader(b, uint32(len(ix.columns)))
	for _, c := range ix.columns {
		b = append(b, c.key...)
	}
	return string(b)
}

// anchorID returns the ID of the anchor of the objects whose entries start with the
// values.
func (ix *index) anchorID(values []driver.Value) string {
	b := append(make([]byte, 0, 128), ix.prefix...)
	b = msgp.AppendArrayHeader(b, uint32(len(values)))
	for _, v := range values {
		b = appendValue(b, plainNumber(v))
	}
	return string(b)
}

// plainNumber returns equal numbers as the same value: a store may give a float back as
// an integer.
func plainNumber(v driver.Value) driver.Value {
	if f, ok := v.(float64); ok && f == math.Trunc(f) && f >= math.MinInt64 && f < 1<<63 {
		return int64(f)
	}
	return v
}

// driver describes the index to a store.
func (ix *index) driver() driver.Index {
	d := driver.Index{Name: ix.name, Unique: ix.unique}
	for _, c := range ix.columns {
		d.Columns = append(d.Columns, c.Column)
	}
	return d
}

// indexed reports whether an index finds objects by the value.
func indexed(v driver.Value) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return len(v) <= maxIndexValue
	case []byte:
		return len(v) <= maxIndexValue
	}
	return true
}

// entry is one of an object's entries in an index: the values of its columns, of which
// the index finds the object by the first few.
type entry struct {
	values  []driver.Value
	indexed int
}

// entries returns an object's entries.
func (ix *index) entries(doc driver.Document) []entry {
	entries := []entry{{values: make([]driver.Value, 0, len(ix.columns))}}
	for _, c := range ix.columns {
		v := c.Value(doc)
		list, _ := v.([]driver.Value)
		if !c.List {
			list = []driver.Value{v}
		} else if len(list) == 0 {
			list = []driver.Value{nil} // which ends the entry
		}
		entries = extend(entries, list)
	}
	return entries
}

// extend adds each of the values to each entry.
func extend(entries []entry, values []driver.Value) []entry {
	extended := make([]entry, 0, len(entries)*len(values))
	for _, e := range entries {
		n := len(e.values)
		for _, v := range values {
			more := entry{append(e.values[:n:n], v), e.indexed}
			if e.indexed == n && indexed(v) {
				more.indexed++
			}
			extended = append(extended, more)
		}
	}
	return extended
}

// appendTouched appends the anchors that a change of an object from one document to
// another touches; a nil document is that of an object that is not there. These are all
// prefixes of the entries that the object has had or will have, but not of those that
// stay: what is listed under a prefix is in the order of the columns that follow it,
// those included that an index does not find by.
func (ix *index) appendTouched(anchors []anchor, before, after *driver.Document) []anchor {
	var old, now []entry
	if before != nil {
		old = ix.entries(*before)
	}
	if after != nil {
		now = ix.entries(*after)
	}
	slices.SortFunc(old, compareEntries)
	slices.SortFunc(now, compareEntries)
	for _, side := range [][2][]entry{{old, now}, {now, old}} {
		for _, e := range side[0] {
			if _, stays := slices.BinarySearchFunc(side[1], e, compareEntries); stays {
				continue
			}
			for n := 1; n <= e.indexed; n++ {
				anchors = append(anchors, anchor{indexAnchor, ix.kind.name, ix.anchorID(e.values[:n])})
			}
		}
	}
	return anchors
}

func compareEntries(a, b entry) int { return slices.CompareFunc(a.values, b.values, driver.Compare) }

// fieldsOf returns the names at the top of a document that the indexes depend on.
func fieldsOf(indexes []*index) (fields []string) {
	for _, ix := range indexes {
		for _, c := range ix.columns {
			names := c.Path[:1]
			if c.Was != nil {
				names = append(slices.Clip(names), c.Was[0]...)
			}
			for _, name := range names {
				if !slices.Contains(fields, name) {
					fields = append(fields, name)
				}
			}
		}
	}
	return fields
}

// hasIndexes reports whether this program, or another version of it, has an index of the
// kind.
func (k *boundKind) hasIndexes() bool {
	return len(k.indexes)+len(k.registered.Load().indexes) > 0
}

// indexedFields returns what an object's entries in the indexes depend on, for a write
// that is only valid as long as it does not change.
func (k *boundKind) indexedFields(doc driver.Document) driver.Document {
	names := k.registered.Load().fields
	if len(names) == 0 {
		return nil
	}
	fields := make(driver.Document, len(names))
	for i, name := range names {
		v, _ := doc.Get(name)
		fields[i] = driver.Field{Name: name, Value: v}
	}
	return fields
}
