package backendtest

import (
	"context"

	"github.com/graphcache/graphcache/driver"
)

// FaultyCounters is a driver.Counters that does to the calls of another what its hook
// says, and counts them. A call that fails has no result: all elements are Unknown.
type FaultyCounters struct {
	*Faults
	counters driver.Counters
}

var _ driver.Counters = (*FaultyCounters)(nil)

// NewFaultyCounters wraps counters. With a nil hook it only counts the calls.
func NewFaultyCounters(counters driver.Counters, hook Hook) *FaultyCounters {
	return &FaultyCounters{Faults: &Faults{hook: hook}, counters: counters}
}

// Increment implements driver.Counters.
func (c *FaultyCounters) Increment(ctx context.Context, increments []driver.Increment) ([]driver.Count, error) {
	return do(ctx, c.Faults, "Increment", increments, c.counters.Increment, nil)
}

// Close implements driver.Counters. It is neither shown to the hook nor counted.
func (c *FaultyCounters) Close(ctx context.Context) error {
	return c.counters.Close(ctx)
}
