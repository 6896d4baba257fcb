package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// WatchWithTTL is Watch with another life of the lease.
func (s *Store) WatchWithTTL(ctx context.Context, ttl time.Duration, f func(context.Context, []driver.ForeignChange) error) error {
	return s.watch(ctx, ttl, f)
}

// UnescapeName is the opposite of what makes names of collections.
func UnescapeName(s string) (string, bool) { return unescapeName(s) }

// EscapeName makes names of collections.
func EscapeName(s string) string { return escapeName(s) }

// ChangesOf returns what a watcher makes of events.
func (s *Store) ChangesOf(events ...bson.Raw) []driver.ForeignChange {
	w, b := &watcher{s: s}, &changeBatch{}
	for _, e := range events {
		w.event(b, arrival{event: e})
	}
	return b.changes
}
