package redis

import "github.com/graphcache/graphcache/driver"

// CounterKey returns the key of a counter, GroupKey that of a group.
func (b *Backend) CounterKey(k driver.CounterKey) string { return b.counterKey(k) }
func (b *Backend) GroupKey(group string) string          { return b.groupKey(group) }
