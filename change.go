package graphcache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Change is a change of one field of an object of type T, made by the Set, Clear and Add
// methods of fields and carried out by [ObjectKind.Apply] and [Query.ApplyAll].
type Change[T any] struct {
	c change
}

// change is what a Change is without its type parameter.
type change struct {
	col *column
	set driver.Value
	add driver.Value // a number, or nil for a Set
	err error
}

// Set sets the field to v.
func (f Field[T, V]) Set(v V) Change[T] { return set[T](f.c, v) }

func set[T, V any](c *column, x V) Change[T] {
	if f, ok := floatOf(c, x); ok { // NaN and -0 are values, though no operands
		return Change[T]{change{col: c, set: f}}
	}
	v, err := valueOf(c, x)
	return Change[T]{change{col: c, set: v, err: err}}
}

// floatOf returns a value of a column of floats, or of pointers to them.
func floatOf(c *column, x any) (driver.Value, bool) {
	if c == nil || c.plan == nil || c.plan.Ordered() != nil {
		return nil, false
	}
	v := reflect.ValueOf(x)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() || !v.CanFloat() {
		return nil, false
	}
	return v.Float(), true
}

// Add adds delta, which may be negative, to a number. If the sum does not fit the type
// of the field, or is more than an int64 holds, [ErrInvalid] is returned and nothing is
// written. On a field that is no
// number it is ErrInvalid too.
func (f OrderedField[T, V]) Add(delta V) Change[T] {
	v, err := valueOf(f.c, delta)
	if err == nil {
		if _, _, ok := f.c.bounds(); !ok {
			err = fmt.Errorf("%w: %s: Add: it is not a number", ErrInvalid, f.c.label())
		}
	}
	if u, ok := v.(uint64); ok && err == nil {
		err = fmt.Errorf("%w: %s: Add(%d): more than %d", ErrInvalid, f.c.label(), u, int64(math.MaxInt64))
	}
	return Change[T]{change{col: f.c, add: v, err: err}}
}

// bounds returns the least and the greatest value of a number that can be added to.
func (c *column) bounds() (low, high driver.Value, ok bool) {
	if c.plan == nil {
		return nil, nil, false
	}
	return c.plan.Bounds()
}

// single reports whether the column is a float32, whose sums are rounded.
func (c *column) single() bool {
	_, high, ok := c.bounds()
	return ok && high == driver.Value(math.MaxFloat32)
}

// Set sets the field to point to v.
func (f OptionalField[T, V]) Set(v V) Change[T] { return set[T](f.c, &v) }

// Clear sets the field to nil.
func (f OptionalField[T, V]) Clear() Change[T] { return Change[T]{change{col: f.c}} }

// Apply changes fields of the object, all of them or none, and returns it as it is then;
// or [ErrNotFound]. Fields of no index are changed by one operation of the store,
// without reading the object first, so that concurrent Adds do not conflict; if an index
// has one of the fields, the object is read, changed, and written if nobody else has
// written it meanwhile, at most Options.MaxAttempts times. [ErrExists] names the unique
// index that stands against the change. A field may be changed once.
func (k *ObjectKind[T]) Apply(ctx context.Context, c Conn, id ID[T], changes ...Change[T]) (_ *T, err error) {
	defer wrap(&err, "apply changes to", k.core.name, string(id))
	ctx, op := c.conn().g.start(ctx, "apply", k.core.name)
	defer op.end(&err)
	if err := checkID(k.core.name, string(id)); err != nil {
		return nil, err
	}
	plain, err := k.core.changes(changesOf(changes))
	if err != nil {
		return nil, err
	}
	record, err := k.core.apply(ctx, c.conn(), string(id), plain)
	if err != nil {
		return nil, err
	}
	o := new(T)
	if err := k.core.decodeRecord(record, reflect.ValueOf(o).Elem()); err != nil {
		return nil, err
	}
	return o, nil
}

func changesOf[T any](changes []Change[T]) []change {
	plain := make([]change, len(changes))
	for i := range changes {
		plain[i] = changes[i].c
	}
	return plain
}

// changes checks the changes.
func (k *objectKind) changes(changes []change) ([]change, error) {
	for i, ch := range changes {
		switch {
		case ch.err != nil:
			return nil, ch.err
		case ch.col == nil:
			return nil, errZeroField
		case ch.col.err != nil:
			return nil, ch.col.err
		case ch.col.Of != driver.ObjectField:
			return nil, fmt.Errorf("%w: %s cannot be changed", ErrInvalid, ch.col.label())
		}
		if err := ch.col.mustBe(recordKind{object: k}); err != nil {
			return nil, err
		}
		for _, earlier := range changes[:i] {
			if earlier.col.same(ch.col) {
				return nil, fmt.Errorf("%w: %s is changed twice", ErrInvalid, ch.col.label())
			}
		}
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("%w: no changes", ErrInvalid)
	}
	return changes, nil
}

// apply changes a record in one operation of the store, or by compare-and-set.
func (k *objectKind) apply(ctx context.Context, c conn, id string, changes []change) (*driver.Object, error) {
	b, err := c.g.boundObject(k)
	if err != nil {
		return nil, err
	}
	if b.inPlace(changes) {
		if record, err := k.modify(ctx, c, b, id, changes); record != nil || err != nil {
			return record, err
		}
		// A sum is not within its bounds; what follows says which.
	}
	var record *driver.Object
	err = c.attempts(ctx, func() (done bool, err error) {
		record, done, err = k.applyOnce(ctx, c, id, changes)
		return done, err
	})
	return record, err
}

// inPlace reports whether the store can make the changes by itself: no index has one of
// the fields, each is where the document has it now, and no sum is rounded.
func (k *boundKind) inPlace(changes []change) bool {
	fields := k.registered.Load().fields
	return !slices.ContainsFunc(changes, func(ch change) bool {
		return !ch.col.plan.Top() || slices.Contains(fields, ch.col.Path[0]) || ch.add != nil && ch.col.single()
	})
}

// modify has the store make the changes. The record is nil if a sum is not within its
// bounds, or if an index has come to have one of the fields.
func (k *objectKind) modify(ctx context.Context, c conn, b *boundKind, id string, changes []change) (*driver.Object, error) {
	w := driver.Write{Op: driver.Modify, Kind: k.name, Object: &driver.Object{ID: id}}
	for _, ch := range changes {
		d := driver.Change{Column: &ch.col.Column, Set: ch.set, Add: ch.add}
		if ch.add != nil {
			d.Low, d.High, _ = ch.col.bounds()
		}
		w.Changes = append(w.Changes, d)
	}
	touched := func() []anchor {
		anchors := []anchor{{objectAnchor, k.name, id}}
		if b.registered.Load().scans {
			anchors = append(anchors, anchor{typ: kindAnchor, kind: k.name})
		}
		return anchors
	}
	var res driver.WriteResult
	err := c.mutate(ctx, touched, func(ctx context.Context, s *session) (err error) {
		if !b.inPlace(changes) {
			return errChanged
		}
		res, err = s.write(ctx, w)
		return err
	})
	switch {
	case errors.Is(err, errChanged):
		return nil, nil
	case err != nil:
		return nil, err
	case res.Outcome == driver.Missing:
		return nil, ErrNotFound
	case res.Outcome == driver.Conflict:
		return nil, nil
	case res.Object == nil:
		return nil, errResult
	}
	return res.Object, nil
}

// applyOnce tries once to change what is there.
func (k *objectKind) applyOnce(ctx context.Context, c conn, id string, changes []change) (record *driver.Object, done bool, err error) {
	before, err := c.readObject(ctx, k, id)
	switch {
	case err != nil:
		return nil, true, err
	case before == nil || before.Deleting:
		return nil, true, ErrNotFound
	}
	doc, err := k.changed(before, changes)
	if err != nil {
		return nil, true, err
	}
	record = &driver.Object{ID: id, Version: before.Version + 1, Doc: doc}
	res, err := k.writeObject(ctx, c, driver.Write{Op: driver.Replace, Object: record, Expect: before.Version}, before)
	switch {
	case err != nil:
		return nil, true, err
	case res.Outcome == driver.Exists:
		return nil, true, k.taken(res.Index)
	}
	return record, res.Outcome == driver.Done, nil
}

// changed returns the record's document with the changes, in the current layout.
func (k *objectKind) changed(record *driver.Object, changes []change) (driver.Document, error) {
	doc, err := k.plan.Rewrite(record.Doc)
	if err != nil {
		return nil, err
	}
	for _, ch := range changes {
		v := ch.set
		if ch.add != nil {
			if v, err = ch.col.sum(ch.col.Value(doc), ch.add); err != nil {
				return nil, err
			}
		}
		doc = withValue(doc, ch.col.Path, v)
	}
	return k.plan.Keep(doc, record.Doc), nil
}

// withValue returns the document with another value at the path.
func withValue(doc driver.Document, path []string, v driver.Value) driver.Document {
	doc = slices.Clone(doc)
	i := slices.IndexFunc(doc, func(f driver.Field) bool { return f.Name == path[0] })
	if i < 0 {
		i, doc = len(doc), append(doc, driver.Field{Name: path[0]})
	}
	if len(path) > 1 {
		nested, _ := doc[i].Value.(driver.Document)
		v = withValue(nested, path[1:], v)
	}
	doc[i].Value = v
	return doc
}

// sum adds two numbers of the column.
func (c *column) sum(a, b driver.Value) (driver.Value, error) {
	low, high, _ := c.bounds()
	var sum driver.Value
	switch b := b.(type) {
	case int64:
		n, ok := a.(int64)
		if !ok || b > 0 && n > math.MaxInt64-b || b < 0 && n < math.MinInt64-b {
			return nil, c.overflow(a, b)
		}
		sum = n + b
	case float64:
		f, _ := a.(float64)
		if f += b; c.single() {
			f = float64(float32(f))
		}
		sum = f
	}
	if driver.Compare(sum, low) < 0 || driver.Compare(sum, high) > 0 {
		return nil, c.overflow(a, b)
	}
	return sum, nil
}

func (c *column) overflow(a, b driver.Value) error {
	return fmt.Errorf("%w: %s: %v + %v does not fit its type", ErrInvalid, c.label(), a, b)
}
