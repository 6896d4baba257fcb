package driver

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// ColumnOf says where the value of a [Column] is.
type ColumnOf uint8

const (
	// ObjectField is a field of an object's document.
	ObjectField ColumnOf = iota
	// ObjectID is an object's ID, a string.
	ObjectID
	// EdgeField is a field of an edge's data.
	EdgeField
	// EdgeTime is an edge's time.
	EdgeTime
)

// Column is one value of a record, as filters, orders and indexes name it. The value
// is that of [Column.Value]: a record that lacks the field, or has null where the
// type of the field has no nil, has Zero.
type Column struct {
	Of ColumnOf
	// Path leads to the field from the top of the document, through nested
	// records. It is empty for ObjectID and EdgeTime.
	Path []string
	// Was has, for each element of Path, older names of it, tried in order where
	// the document lacks the name in Path. It is nil if there are none.
	Was [][]string
	// Zero is the value of a field that is missing; nil for a type that has a
	// nil.
	Zero Value
	// List says that the value is an array, or nil, and that an index on the
	// column has an entry for each of its distinct elements.
	List bool
	// Type is what the values are, those of the elements if it is a List, in records
	// that graphcache has written. Others may differ. A store needs it to know what
	// its own comparisons can be trusted with.
	Type Type
}

// Type is what the values of a [Column] are, nil aside.
type Type uint8

const (
	// AnyType: nothing is known.
	AnyType Type = iota
	// BoolType: bool.
	BoolType
	// IntType: int64, and uint64 above its range.
	IntType
	// FloatType: float64.
	FloatType
	// StringType: string.
	StringType
	// BytesType: []byte.
	BytesType
	// TimeType: time.Time.
	TimeType
)

// Name is the column's path with dots, the name by which messages know it.
func (c *Column) Name() string {
	switch c.Of {
	case ObjectID:
		return "ID"
	case EdgeTime:
		return "Time"
	}
	return strings.Join(c.Path, ".")
}

// Value returns the column's value in a document, which is that of an object or the
// data of an edge.
func (c *Column) Value(doc Document) Value {
	for i, name := range c.Path {
		v, ok := doc.Get(name)
		if !ok && c.Was != nil {
			for _, old := range c.Was[i] {
				if v, ok = doc.Get(old); ok {
					break
				}
			}
		}
		if i < len(c.Path)-1 {
			doc, _ = v.(Document)
			continue
		}
		if v != nil {
			return v
		}
	}
	return c.Zero
}

// ValueIn returns the column's value in an object, an edge, or a pair of both. A
// record that the column is not about may be nil.
func (c *Column) ValueIn(o *Object, e *Edge) Value {
	switch c.Of {
	case ObjectID:
		return o.ID
	case EdgeTime:
		return e.Time
	case EdgeField:
		return c.Value(e.Data)
	}
	return c.Value(o.Doc)
}

// FilterOp is what a [Filter] does.
type FilterOp uint8

const (
	// And: all of Of match. Without any it matches everything.
	And FilterOp = iota + 1
	// Or: one of Of matches. Without any it matches nothing.
	Or
	// Not: the only element of Of does not match.
	Not
	// AnyOf: the value is one of Values, by [Compare].
	AnyOf
	// Less: the value is less than Values[0].
	Less
	// LessEqual: the value is Values[0] or less.
	LessEqual
	// Greater: the value is greater than Values[0].
	Greater
	// GreaterEqual: the value is Values[0] or greater.
	GreaterEqual
	// HasPrefix: the value is a string that starts with the string Values[0].
	HasPrefix
	// Contains: the value is a string that contains the string Values[0].
	Contains
	// Has: the value is an array, one of whose elements is Values[0].
	Has
)

// Filter is a condition on a record. There are only two answers, yes and no:
//
//   - Less, LessEqual, Greater and GreaterEqual do not match nil and NaN. Values are
//     never NaN, and never nil but in AnyOf.
//   - Not matches whatever its operand does not, nil and NaN included.
//   - A field that is missing has its column's Zero.
//   - Strings and bytes are compared byte by byte, numbers by their value whatever
//     their type, times by their millisecond, false before true.
//
// Its ops are those of a canonical form: equality is AnyOf with one value. A filter, and
// a column wherever it is used, is never modified once a store has seen it.
type Filter struct {
	Op     FilterOp
	Column *Column
	Values []Value
	Of     []Filter
}

// Matches reports whether the filter matches a record whose columns have the values
// that get returns. A nil filter matches everything.
func (f *Filter) Matches(get func(*Column) Value) bool {
	if f == nil {
		return true
	}
	switch f.Op {
	case And:
		for i := range f.Of {
			if !f.Of[i].Matches(get) {
				return false
			}
		}
		return true
	case Or:
		for i := range f.Of {
			if f.Of[i].Matches(get) {
				return true
			}
		}
		return false
	case Not:
		return !f.Of[0].Matches(get)
	}
	return f.MatchesValue(get(f.Column))
}

// MatchesValue reports whether the filter, one on a column, matches the column's
// value.
func (f *Filter) MatchesValue(v Value) bool {
	switch f.Op {
	case AnyOf:
		for _, x := range f.Values {
			if Compare(v, x) == 0 {
				return true
			}
		}
		return false
	case HasPrefix:
		s, ok := v.(string)
		return ok && strings.HasPrefix(s, f.Values[0].(string))
	case Contains:
		s, ok := v.(string)
		return ok && strings.Contains(s, f.Values[0].(string))
	case Has:
		list, _ := v.([]Value)
		return slices.ContainsFunc(list, func(x Value) bool { return Compare(x, f.Values[0]) == 0 })
	}
	if v == nil || isNaN(v) {
		return false
	}
	switch c := Compare(v, f.Values[0]); f.Op {
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterEqual:
		return c >= 0
	}
	return false
}

func isNaN(v Value) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

// Order is one key of a sort order.
type Order struct {
	Column *Column
	Desc   bool
}

// Compare orders two values: nil first, then numbers, NaN before all others, then
// strings, documents, arrays, bytes, booleans and times. It returns a negative
// number if a comes before b, and 0 only if they are equal; numbers of different
// types are equal if their values are. Arrays are compared element by element, and
// documents field by field in the order in which they are.
func Compare(a, b Value) int {
	if ra, rb := rank(a), rank(b); ra != rb {
		return cmp.Compare(ra, rb)
	}
	switch a := a.(type) {
	case int64, uint64, float64:
		return compareNumbers(a, b)
	case string:
		return strings.Compare(a, b.(string))
	case Document:
		return slices.CompareFunc(a, b.(Document), func(a, b Field) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), Compare(a.Value, b.Value))
		})
	case []Value:
		return slices.CompareFunc(a, b.([]Value), Compare)
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case bool:
		return cmp.Compare(truth(a), truth(b.(bool)))
	case time.Time:
		return a.Compare(b.(time.Time))
	}
	return 0
}

// rank puts the types in order.
func rank(v Value) int {
	switch v.(type) {
	case nil:
		return 0
	case int64, uint64, float64:
		return 1
	case string:
		return 2
	case Document:
		return 3
	case []Value:
		return 4
	case []byte:
		return 5
	case bool:
		return 6
	case time.Time:
		return 7
	}
	return 8
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareNumbers(a, b Value) int {
	switch a := a.(type) {
	case int64:
		switch b := b.(type) {
		case int64:
			return cmp.Compare(a, b)
		case float64:
			return -compareFloat(b, a)
		}
		return -1 // a uint64 is above every int64
	case uint64:
		switch b := b.(type) {
		case uint64:
			return cmp.Compare(a, b)
		case float64:
			return -compareUnsigned(b, a)
		}
		return 1
	}
	f := a.(float64)
	switch b := b.(type) {
	case int64:
		return compareFloat(f, b)
	case uint64:
		return compareUnsigned(f, b)
	}
	return cmp.Compare(f, b.(float64))
}

// compareFloat compares without rounding the integer.
func compareFloat(f float64, i int64) int {
	switch {
	case math.IsNaN(f) || f < math.MinInt64:
		return -1
	case f >= 1<<63:
		return 1
	}
	whole := math.Floor(f)
	if c := cmp.Compare(int64(whole), i); c != 0 || whole == f {
		return c
	}
	return 1
}

func compareUnsigned(f float64, u uint64) int {
	switch {
	case math.IsNaN(f) || f < 0:
		return -1
	case f >= 1<<64:
		return 1
	}
	whole := math.Floor(f)
	if c := cmp.Compare(uint64(whole), u); c != 0 || whole == f {
		return c
	}
	return 1
}
