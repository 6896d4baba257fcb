package tao

import (
	"context"
	"errors"
	"time"

	"github.com/graphcache/graphcache"
)

// variant is one way of reading and writing the graph. What does not exist is nil, an
// empty list or 0; writes that find nothing to write, or something in their place, return
// an error for which isNothing is true.
type variant interface {
	object(ctx context.Context, id ID) (*Object, error)
	edge(ctx context.Context, kind int, from, to ID) (*Edge, error)
	count(ctx context.Context, kind int, from ID) (int, error)
	// list returns the newest edges, window those between two times.
	list(ctx context.Context, kind int, from ID, limit int) ([]Edge, error)
	window(ctx context.Context, kind int, from ID, high, low time.Time, limit int) ([]Edge, error)

	create(ctx context.Context, o *Object) error
	// update writes an object's Write and Data.
	update(ctx context.Context, o *Object) error
	remove(ctx context.Context, id ID) error
	// add reports whether there was no such edge before.
	add(ctx context.Context, kind int, e *Edge) (created bool, err error)
	removeEdge(ctx context.Context, kind int, from, to ID) error
	// changeKind moves the edge from one kind to the other.
	changeKind(ctx context.Context, kind int, from, to ID) error

	// lookups returns how many look-ups were answered by a cache, how many of them by one
	// in the process, and how many were not answered.
	lookups() (hits, near, misses int64)
	// settle waits until nothing is written to the cache any more.
	settle(ctx context.Context) error
	close(ctx context.Context)
}

// isNothing reports that a write was not made because of what is there.
func isNothing(err error) bool {
	return errors.Is(err, graphcache.ErrNotFound) || errors.Is(err, graphcache.ErrExists) || errors.Is(err, graphcache.ErrConflict)
}
