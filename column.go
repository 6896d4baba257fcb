package graphcache

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// column is a field of a kind, as predicates, orders and indexes name it.
type column struct {
	driver.Column
	kind    recordKind
	plan    *plan.Column // nil for ObjectID and EdgeTime
	key     string       // its encoding in keys: [of, [name…]]
	nilable bool
	err     error
}

// same reports whether two columns are the same field of the same kind.
func (c *column) same(d *column) bool { return c == d || c.kind == d.kind && c.key == d.key }

// total reports whether every value of the column is less than, equal to, or greater
// than any other: there is no nil and no NaN.
func (c *column) total() bool {
	_, float := c.Zero.(float64)
	return !c.nilable && !float
}

// label names the column in messages.
func (c *column) label() string { return fmt.Sprintf("%v: field %q", c.kind, c.Name()) }

// newColumn completes a column.
func newColumn(kind recordKind, p *plan.Column, d driver.Column) *column {
	c := &column{Column: d, kind: kind, plan: p, nilable: p != nil && p.Nilable()}
	b := msgp.AppendArrayHeader(nil, 2)
	b = msgp.AppendUint8(b, uint8(c.Of))
	b = msgp.AppendArrayHeader(b, uint32(len(c.Path)))
	for _, name := range c.Path {
		b = msgp.AppendString(b, name)
	}
	c.key = string(b)
	return c
}

// typed returns the column of a field whose Go type is t with the type of its values. That
// of a value that has no text, or none before it is set, is the type of a text.
func typed(p *plan.Column, t reflect.Type) driver.Column {
	d := p.Driver()
	var v driver.Value
	switch value := p.Value; {
	case d.List:
		v, _ = p.Element(reflect.Zero(t.Elem()).Interface())
	case t.Kind() == reflect.Pointer:
		v, _ = value(reflect.New(t.Elem()).Interface())
	case t.Kind() == reflect.Slice:
		v, _ = value(reflect.MakeSlice(t, 0, 0).Interface())
	default:
		v, _ = value(reflect.Zero(t).Interface())
	}
	switch v.(type) {
	case bool:
		d.Type = driver.BoolType
	case int64, uint64:
		d.Type = driver.IntType
	case float64:
		d.Type = driver.FloatType
	case nil, string:
		d.Type = driver.StringType
	case []byte:
		d.Type = driver.BytesType
	case time.Time:
		d.Type = driver.TimeType
	}
	return d
}

// taggedColumn returns the column of a field that is tagged as an index.
func (k *objectKind) taggedColumn(p *plan.Column) *column {
	d := p.Driver()
	if t := k.typeAt(k.typ, 0, d.Path); t != nil {
		d = typed(p, t)
	}
	return newColumn(recordKind{object: k}, p, d)
}

// typeAt returns the Go type of the field with the path, which is in the struct t at the
// offset, or deeper; nil if it is not.
func (k *objectKind) typeAt(t reflect.Type, offset uintptr, path []string) reflect.Type {
	for i := range t.NumField() {
		f := t.Field(i)
		p, err := k.plan.ColumnAt(offset+f.Offset, f.Type)
		if err == nil && slices.Equal(p.Driver().Path, path) {
			return f.Type
		}
		if f.Type.Kind() == reflect.Struct {
			if inner := k.typeAt(f.Type, offset+f.Offset, path); inner != nil {
				return inner
			}
		}
	}
	return nil
}

// value converts a value of the field's type.
func (c *column) value(x any) (driver.Value, error) {
	if c.err != nil {
		return nil, c.err
	}
	var v driver.Value
	var err error
	switch {
	case c.Of == driver.EdgeTime:
		v, err = milliseconds(x.(time.Time))
	case c.Of == driver.ObjectID:
		v, err = validID(reflect.ValueOf(x).String())
	default:
		v, err = c.plan.Value(x)
	}
	if err != nil && c.plan == nil { // else the plan has named it
		return nil, fmt.Errorf("%s: %w", c.label(), err)
	}
	return v, err
}

// milliseconds returns the time as edges have it, rounded down like theirs.
func milliseconds(t time.Time) (driver.Value, error) {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("%w: the year %d is not between 0 and 9999", ErrInvalid, y)
	}
	return time.UnixMilli(t.UnixMilli()).UTC(), nil
}

func validID(id string) (driver.Value, error) {
	if !utf8.ValidString(id) {
		return nil, fmt.Errorf("%w: the ID %.80q is not valid UTF-8", ErrInvalid, id)
	}
	return id, nil
}

// columnOf finds the column that the selector points to, and panics if there is none
// or it does not pass the check.
func columnOf[T, V any](what string, kind Record[T], selector func(*T) *V, check func(*column) error) *column {
	_, file, line, _ := runtime.Caller(2)
	k := recordKind{}
	fail := func(why any) {
		reason := strings.ReplaceAll(fmt.Sprint(why), ErrSchema.Error()+": ", "")
		panic(fmt.Sprintf("graphcache: %s of %v, %s:%d: %s", what, k, file, line, reason))
	}
	if kind == nil {
		fail("the kind is nil")
	}
	if k = kind.record(nil); k == (recordKind{}) {
		fail("the kind is nil: is a package variable used before it is set?")
	}
	if k.declared() != nil { // Open will tell
		return &column{kind: k, err: k.declared(), key: "?"}
	}
	offset, ok := offsetOf(selector)
	if !ok {
		fail("the selector does not point into the struct that it is given")
	}
	c, err := k.column(reflect.TypeFor[T](), offset, reflect.TypeFor[V]())
	if err == nil {
		err = check(c)
	}
	if err != nil {
		fail(err)
	}
	return c
}

// declared returns what is wrong with the kind's declaration.
func (k recordKind) declared() error {
	if k.edge != nil {
		return k.edge.err
	}
	return k.object.err
}

// offsetOf returns the offset of what the selector points to. It reports false if
// that is outside of the struct, or the selector panics on a zero one.
func offsetOf[T, V any](selector func(*T) *V) (offset uintptr, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	zero := new(T)
	start, at := reflect.ValueOf(zero).Pointer(), reflect.ValueOf(selector(zero)).Pointer()
	runtime.KeepAlive(zero)
	size := reflect.TypeFor[T]().Size()
	return at - start, at >= start && at-start < size && at-start+reflect.TypeFor[V]().Size() <= size
}

// column returns the column at the offset in the record type t.
func (k recordKind) column(t reflect.Type, offset uintptr, v reflect.Type) (*column, error) {
	if k.edge != nil {
		return k.edgeColumn(t, offset, v)
	}
	if f := t.FieldByIndex(k.object.id); f.Offset == offset && f.Type == v {
		return newColumn(k, nil, driver.Column{Of: driver.ObjectID, Zero: "", Type: driver.StringType}), nil
	}
	p, err := k.object.plan.ColumnAt(offset, v)
	if err != nil {
		return nil, err
	}
	return newColumn(k, p, typed(p, v)), nil
}

// edgeColumn returns the column at the offset in the Edge type t.
func (k recordKind) edgeColumn(t reflect.Type, offset uintptr, v reflect.Type) (*column, error) {
	at, _ := t.FieldByName("Time")
	data, _ := t.FieldByName("Data")
	switch {
	case offset == at.Offset && v == at.Type:
		return newColumn(k, nil, driver.Column{Of: driver.EdgeTime, Zero: time.UnixMilli(0).UTC(), Type: driver.TimeType}), nil
	case offset < data.Offset || data.Type.Size() == 0:
		return nil, fmt.Errorf("of an edge, the Time and the fields of the Data can be selected")
	}
	p, err := k.edge.plan.ColumnAt(offset-data.Offset, v)
	if err != nil {
		return nil, err
	}
	d := typed(p, v)
	d.Of = driver.EdgeField
	return newColumn(k, p, d), nil
}
