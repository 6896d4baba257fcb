package backendtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

var _ driver.Scanner = (*FaultyCache)(nil)

// scanned is a reply of Scan.
type scanned struct {
	found []driver.Lookup
	next  string
}

// Scan implements driver.Scanner. If the cache behind it does not, the error wraps
// errors.ErrUnsupported.
func (c *FaultyCache) Scan(ctx context.Context, prefix, cursor string, count int) ([]driver.Lookup, string, error) {
	scanner, ok := c.cache.(driver.Scanner)
	if !ok {
		return nil, "", fmt.Errorf("backendtest: the cache cannot be walked through: %w", errors.ErrUnsupported)
	}
	reply, err := do(ctx, c.Faults, "Scan", nil, func(ctx context.Context, _ []struct{}) (scanned, error) {
		found, next, err := scanner.Scan(ctx, prefix, cursor, count)
		return scanned{found, next}, err
	}, nil)
	return reply.found, reply.next, err
}
