// Package graphtest opens a graph for a unit test, in memory and with a cache, in
// one line:
//
//	g := graphtest.New(t, app.Schema, &app.User{ID: "ann"}, &app.User{ID: "bob"})
package graphtest

import (
	"context"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

// New returns a graph of the schema on a new memory store and a new memory cache,
// with the objects given, each a pointer to the struct of one of the schema's
// object kinds. The graph is closed when the test ends. A mistake fails the test at
// once.
func New(t testing.TB, schema *graphcache.Schema, objects ...any) *graphcache.Graph {
	t.Helper()
	store, cache := memory.NewStore(nil), memory.NewCache(nil)
	// A test that counts must not go to the store because the machine was busy.
	g, err := graphcache.Open(t.Context(), schema, store, &graphcache.Options{Cache: cache, ReadTimeout: time.Second})
	if err != nil {
		t.Fatalf("graphtest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Close(ctx); err != nil {
			t.Errorf("graphtest: %v", err)
		}
	})
	if err := g.CreateAll(t.Context(), objects...); err != nil {
		t.Fatalf("graphtest: %v", err)
	}
	return g
}
