package driver

import (
	"bytes"
	"math"
	"time"
)

// Value is one node of a record. Its dynamic type is one of
//
//	nil        an absent or null value
//	bool
//	int64      every integer that fits
//	uint64     only integers above math.MaxInt64
//	float64
//	string     valid UTF-8
//	[]byte
//	time.Time  UTC, whole milliseconds
//	[]Value    an array
//	Document   a nested record, or a map with its keys sorted
//
// and no other. A backend gives back what it was given, type for type; one whose
// database has a single type for two of these converts on the way in and out.
// Values are shared and never modified.
type Value any

// Field is a named value of a [Document].
type Field struct {
	Name  string
	Value Value
}

// Document is a record's content: its fields in the order in which they were
// written. Names are unique, not empty, and hold neither NUL nor, at the top
// level, a leading '_', which backends may use for their own fields.
type Document []Field

// Get returns the value of the named field and whether it is there.
func (d Document) Get(name string) (Value, bool) {
	for i := range d {
		if d[i].Name == name {
			return d[i].Value, true
		}
	}
	return nil, false
}

// Equal reports whether two values are the same: of the same dynamic type and
// content, times as instants, floats by their bits' meaning except that NaN
// equals NaN. The order of a document's fields does not count. A nil []byte,
// []Value or Document equals an empty one.
func Equal(a, b Value) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && (a == b || math.IsNaN(a) && math.IsNaN(b))
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	case []Value:
		b, ok := b.([]Value)
		return ok && equalArrays(a, b)
	case Document:
		b, ok := b.(Document)
		return ok && equalDocuments(a, b)
	}
	switch b.(type) {
	case []byte, []Value, Document: // not comparable, and a is none of them
		return false
	}
	return a == b
}

func equalArrays(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func equalDocuments(a, b Document) bool {
	if len(a) != len(b) {
		return false
	}
	for _, f := range a {
		v, ok := b.Get(f.Name)
		if !ok || !Equal(f.Value, v) {
			return false
		}
	}
	return true
}
