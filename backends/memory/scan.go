package memory

import (
	"context"
	"slices"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

var _ driver.Scanner = (*Cache)(nil)

// Scan implements driver.Scanner. Anchors come in order, each with all of its fragments.
// What is returned does not count as used. A call looks at the keys of all entries.
func (c *Cache) Scan(ctx context.Context, prefix, cursor string, count int) (found []driver.Lookup, next string, err error) {
	now, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil {
		return nil, "", err
	}
	count = max(count, 1)
	anchors := c.anchorsLocked(prefix, cursor, count)
	for _, anchor := range anchors {
		if len(found) >= count {
			return found, next, nil
		}
		found = c.entries[anchor].appendFragments(found, now)
		next = cursorAfter(anchor)
	}
	if len(anchors) < count {
		next = ""
	}
	return found, next, nil
}

// cursorAfter returns where to go on after an anchor, which may be empty.
func cursorAfter(anchor string) string { return ">" + anchor }

// anchorsLocked returns the first n anchors with the prefix after the cursor, in order.
func (c *Cache) anchorsLocked(prefix, cursor string, n int) []string {
	first := make([]string, 0, min(n, len(c.entries))+1)
	for anchor := range c.entries {
		if !strings.HasPrefix(anchor, prefix) || cursor != "" && anchor <= cursor[1:] || len(first) == n && anchor > first[n-1] {
			continue
		}
		i, _ := slices.BinarySearch(first, anchor)
		if first = slices.Insert(first, i, anchor); len(first) > n {
			first = first[:n]
		}
	}
	return first
}

// appendFragments appends the fragments that have a value.
func (e *entry) appendFragments(found []driver.Lookup, now moment) []driver.Lookup {
	if e.version == 0 || e.until <= now {
		return found
	}
	if e.primary.value != nil && e.primary.until > now {
		found = append(found, driver.Lookup{Anchor: e.anchor})
	}
	if e.secondaryUntil <= now {
		return found
	}
	for field, f := range e.secondary {
		if f.value != nil {
			found = append(found, driver.Lookup{Anchor: e.anchor, Field: field})
		}
	}
	return found
}
