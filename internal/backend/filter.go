package backend

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/graphcache/graphcache/driver"
)

// checkFilter checks a filter on objects, on edges, or on pairs of both. One that
// passes cannot make Filter.Matches panic.
func checkFilter(f *driver.Filter, object, edge bool) error {
	switch {
	case f == nil:
		return nil
	case f.Op < driver.And || f.Op > driver.Has:
		return errors.New("the operation of a filter is not known")
	case f.Op == driver.Not && len(f.Of) != 1:
		return errors.New("a filter's Not has not one operand")
	case f.Op >= driver.AnyOf:
		return cmp.Or(CheckColumn(f.Column, object, edge), checkOperands(f))
	}
	for i := range f.Of {
		if err := checkFilter(&f.Of[i], object, edge); err != nil {
			return err
		}
	}
	return nil
}

// checkOperands checks the values of a filter on a column.
func checkOperands(f *driver.Filter) error {
	if f.Op != driver.AnyOf && len(f.Values) != 1 {
		return fmt.Errorf("a filter on %s has not one value", f.Column.Name())
	}
	for _, v := range f.Values {
		if err := checkOperand(f.Op, v); err != nil {
			return fmt.Errorf("a filter on %s: %w", f.Column.Name(), err)
		}
	}
	return nil
}

func checkOperand(op driver.FilterOp, v driver.Value) error {
	number, _ := v.(float64)
	_, text := v.(string)
	switch {
	case v == nil && op != driver.AnyOf:
		return errors.New("a value is nil")
	case math.IsNaN(number):
		return errors.New("a value is NaN")
	case !text && (op == driver.HasPrefix || op == driver.Contains):
		return errors.New("a value is no string")
	}
	_, err := CopyValue(v)
	return err
}

// CheckColumn checks a column of objects, of edges, or of pairs of both.
func CheckColumn(c *driver.Column, object, edge bool) error {
	switch {
	case c == nil:
		return errors.New("a column is missing")
	case c.Of > driver.EdgeTime:
		return errors.New("it is not known where a column is")
	case (c.Of == driver.ObjectField || c.Of == driver.ObjectID) && !object:
		return fmt.Errorf("the column %s is one of objects", c.Name())
	case (c.Of == driver.EdgeField || c.Of == driver.EdgeTime) && !edge:
		return fmt.Errorf("the column %s is one of edges", c.Name())
	case (c.Of == driver.ObjectField || c.Of == driver.EdgeField) && len(c.Path) == 0:
		return errors.New("the path of a column is empty")
	case c.Was != nil && len(c.Was) != len(c.Path):
		return fmt.Errorf("the older names of the column %s are not those of its path", c.Name())
	}
	return nil
}
