package backend

import (
	"errors"
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Modified returns a copy of a document with the changes, or false if one of them
// cannot be made.
func Modified(doc driver.Document, changes []driver.Change) (driver.Document, bool) {
	doc = slices.Clone(doc)
	for i := range changes {
		c := &changes[i]
		value := c.Set
		if c.Add != nil {
			var ok bool
			if value, ok = sum(c, c.Column.Value(doc)); !ok {
				return nil, false
			}
		}
		doc = with(doc, c.Column.Path[0], value)
	}
	return doc, true
}

// with sets a field of a document, which it may modify.
func with(doc driver.Document, name string, value driver.Value) driver.Document {
	for i := range doc {
		if doc[i].Name == name {
			doc[i].Value = value
			return doc
		}
	}
	return append(doc, driver.Field{Name: name, Value: value})
}

// sum returns what an Add makes of the value that is there.
func sum(c *driver.Change, there driver.Value) (driver.Value, bool) {
	switch add := c.Add.(type) {
	case int64:
		n, ok := there.(int64)
		total := n + add
		overflow := (add > 0) != (total > n)
		return total, ok && !overflow && within(c, total)
	case float64:
		n, ok := there.(float64)
		return n + add, ok && within(c, n+add)
	}
	return nil, false
}

// within reports whether a sum is within the bounds of the change. NaN is within
// none.
func within[T int64 | float64](c *driver.Change, total T) bool {
	low, bounded := c.Low.(T)
	if bounded && !(total >= low) {
		return false
	}
	high, bounded := c.High.(T)
	return !bounded || total <= high
}

// copyChanges returns a copy of the changes of a write, and checks them.
func copyChanges(w *driver.Write) ([]driver.Change, error) {
	if w.Op != driver.Modify {
		return nil, nil
	}
	changes := slices.Clone(w.Changes)
	var names driver.Document
	for i := range changes {
		c := &changes[i]
		if err := checkChange(c); err != nil {
			return nil, err
		}
		var err error
		if c.Set, err = CopyValue(c.Set); err != nil {
			return nil, fmt.Errorf("field %q: %w", c.Column.Name(), err)
		}
		names = append(names, driver.Field{Name: c.Column.Path[0]})
	}
	return changes, checkNames(names, true)
}

func checkChange(c *driver.Change) error {
	switch {
	case c.Column == nil || c.Column.Of != driver.ObjectField || len(c.Column.Path) != 1:
		return errors.New("a change is not of a field at the top of an object")
	case slices.ContainsFunc(c.Column.Was, func(names []string) bool { return len(names) > 0 }):
		return fmt.Errorf("a change is of field %q, which has older names", c.Column.Name())
	case c.Add == nil:
		return nil
	}
	switch c.Add.(type) {
	case int64:
		return checkBounds[int64](c)
	case float64:
		return checkBounds[float64](c)
	}
	return fmt.Errorf("a change adds a %T to field %q", c.Add, c.Column.Name())
}

func checkBounds[T int64 | float64](c *driver.Change) error {
	for _, bound := range []driver.Value{c.Low, c.High} {
		if _, ok := bound.(T); bound != nil && !ok {
			return fmt.Errorf("a bound of field %q is a %T, not a %T", c.Column.Name(), bound, c.Add)
		}
	}
	return nil
}
