package backend

import (
	"fmt"

	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// CheckStep checks the shape of a step.
func CheckStep(s *driver.Step) error {
	switch {
	case s.Op < driver.GetObjects || s.Op > driver.ScanDeleting:
		return InvalidStep(s, "the operation is not known")
	case s.Direction > driver.In:
		return InvalidStep(s, "the direction is neither Out nor In")
	case s.Range.Offset < 0 || s.Range.Limit < 0:
		return InvalidStep(s, "an offset or a limit is negative")
	case s.Op == driver.ScanEdges && len(s.IDs) != 0 && len(s.IDs) != 2:
		return InvalidStep(s, "a scan of edges starts after none or two IDs")
	case s.Op == driver.ScanDeleting && len(s.IDs) > 1:
		return InvalidStep(s, "a scan of objects starts after none or one ID")
	}
	if s.Op == driver.FindObjects || s.Op == driver.FindEdges {
		return checkFind(s)
	}
	return nil
}

// InvalidStep wraps the reason why a step is malformed.
func InvalidStep(s *driver.Step, why string) error {
	return fmt.Errorf("read of kind %q: %s: %w", s.Kind, why, driver.ErrInvalid)
}

// checkFind checks what FindObjects and FindEdges have beyond other steps.
func checkFind(s *driver.Step) error {
	object := s.Op == driver.FindObjects || s.Far != ""
	edge := s.Op == driver.FindEdges
	if err := checkFilter(s.Filter, object, edge); err != nil {
		return InvalidStep(s, err.Error())
	}
	for i := range s.Order {
		if err := CheckColumn(s.Order[i].Column, object, edge); err != nil {
			return InvalidStep(s, err.Error())
		}
	}
	switch {
	case s.LimitPer < 0:
		return InvalidStep(s, "LimitPer is negative")
	case s.After != nil && !afterFits(s):
		return InvalidStep(s, "After is not a place in the order")
	}
	return nil
}

// afterFits reports whether After has the values that the order asks for.
func afterFits(s *driver.Step) bool {
	text := func(i int) bool { _, ok := s.After[i].(string); return ok }
	n := len(s.Order)
	switch {
	case s.Op == driver.FindObjects:
		return len(s.After) == n+1 && text(n)
	case n > 0:
		return len(s.After) == n+2 && text(n) && text(n+1)
	case len(s.After) != 3 || !text(0) || !text(2):
		return false
	}
	_, ok := s.After[1].(time.Time)
	return ok && slices.Contains(s.IDs, s.After[0].(string))
}
