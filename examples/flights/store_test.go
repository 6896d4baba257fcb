package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/internal/mongotest"
	"github.com/graphcache/graphcache/internal/redistest"
)

const records = 3376 + 5366

// eachDatabase runs f with an empty database of a server and its URI. FerretDB is too
// slow for the data set.
func eachDatabase(t *testing.T, f func(t *testing.T, uri string, db *mongo.Database)) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Need(t, mongotest.ConcurrentUpdates)
		uri, db := database(t, s)
		f(t, uri, db)
	})
}

// database returns an empty database, which is dropped when the test ends.
func database(t *testing.T, s *mongotest.Server) (uri string, db *mongo.Database) {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI))
	if err != nil {
		t.Fatal(err)
	}
	db = client.Database(s.Database(t))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := db.Drop(ctx); err != nil {
			t.Error(err)
		}
		if err := client.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return in(s.URI, db.Name()), db
}

// in returns the URI, which has a query, with the name of a database.
func in(uri, name string) string {
	scheme, rest, _ := strings.Cut(uri, "://")
	hosts, _, _ := strings.Cut(rest, "/")
	_, query, _ := strings.Cut(rest, "?")
	return scheme + "://" + hosts + "/" + name + "?" + query
}

// checkStored checks that the database has the data set once.
func checkStored(t *testing.T, db *mongo.Database) {
	t.Helper()
	for name, want := range map[string]int64{"flights_airport": 3376, "flights_route": 5366, "flights_load": 1} {
		n, err := db.Collection(name).CountDocuments(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		if n != want {
			t.Errorf("%s has %d documents, want %d", name, n, want)
		}
	}
}

// untimed returns the output without what is a matter of timing or of the store.
func untimed(o output) output {
	o.Store = nil
	for i := range o.Runs {
		o.Runs[i].CacheHits, o.Runs[i].CacheMisses = 0, 0
	}
	return o
}

// TestStore starts the program three times: the first start loads the data, the others
// find them, and all find the same as one in memory. But the second meets the name that
// the first has given an airport.
func TestStore(t *testing.T) {
	want := untimed(runJSON(t))
	eachDatabase(t, func(t *testing.T, uri string, db *mongo.Database) {
		first := runJSON(t, "-store", uri)
		if s := first.Store; s == nil || s.Added != records || s.Writes > 30 {
			t.Errorf("the first start says %+v of the store: want %d records, in a few writes", s, records)
		}
		checkStored(t, db)
		second := runJSON(t, "-store", uri)
		if s := second.Store; s == nil || s.Added != 0 || s.Writes != 0 {
			t.Errorf("the second start says %+v of the store: nothing should be loaded", s)
		}
		checkStored(t, db)
		third := runJSON(t, "-store", uri)
		for name, got := range map[string]output{"first": first, "third": third} {
			if diff := cmp.Diff(want, untimed(got)); diff != "" {
				t.Errorf("the %s start (-memory +MongoDB):\n%s", name, diff)
			}
		}

		want, got := untimed(want), untimed(second)
		if got.Survey.OldName != want.Survey.NewName || got.Survey.NewName != want.Survey.OldName {
			t.Errorf("the second start renames %q to %q, want the old name back", got.Survey.OldName, got.Survey.NewName)
		}
		for _, o := range []*output{&want, &got} {
			o.Survey.Pages, o.Survey.OldName, o.Survey.NewName = nil, "", ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the second start (-memory +MongoDB):\n%s", diff)
		}
	})
}

// TestStoreShared has another process, which has read the airports by name into the cache
// that they share: the program finds them there, and the process sees the new name.
func TestStoreShared(t *testing.T) {
	eachDatabase(t, func(t *testing.T, uri string, _ *mongo.Database) {
		cacheURL := "redis://" + redistest.Start(t).Addr
		first := runJSON(t, "-store", uri, "-cache", cacheURL)

		ctx := t.Context()
		other, err := openStore(ctx, uri)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close(ctx)
		backend, err := redis.Open(ctx, cacheURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer backend.Close(ctx)
		g, err := graphcache.Open(ctx, Schema, other, &graphcache.Options{Cache: backend.Cache(), ReadTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close(ctx)
		name := func() string {
			pages, err := byName(ctx, g, "WA", 5)
			if err != nil {
				t.Fatal(err)
			}
			for _, page := range pages {
				for _, a := range page {
					if string(a.ID) == first.Survey.Renamed {
						return a.Name
					}
				}
			}
			return ""
		}
		if got, want := name(), first.Survey.NewName; got != want {
			t.Fatalf("before the second start the name is %q, want %q", got, want)
		}
		if err := g.Settle(ctx); err != nil {
			t.Fatal(err)
		}

		second := runJSON(t, "-store", uri, "-cache", cacheURL)
		if first, again := first.Runs[0].StoreReads, second.Runs[0].StoreReads; again >= first {
			t.Errorf("the second start reads the store %d times, and the first did %d times: the cache does not help", again, first)
		}
		if first, again := first.Survey.Questions[0].First, second.Survey.Questions[0].First; again >= first {
			t.Errorf("the second start reads the store %d times for what the other process has read, the first %d times", again, first)
		}
		if got, want := name(), first.Survey.OldName; got != want {
			t.Errorf("after the second start the other process finds the name %q, want %q", got, want)
		}
	})
}

// TestStoreAtOnce starts several at once on an empty database.
func TestStoreAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, uri string, db *mongo.Database) {
		cacheURL := "redis://" + redistest.Start(t).Addr
		var waiting sync.WaitGroup
		var added atomic.Int64
		for range 3 {
			waiting.Go(func() {
				ctx := t.Context()
				s, err := openStore(ctx, uri)
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close(ctx)
				backend, err := redis.Open(ctx, cacheURL, nil)
				if err != nil {
					t.Error(err)
					return
				}
				x := exploration{store: s, durable: true, cache: backend.Cache(), sharedCache: true, from: "SEA", limit: 5}
				r, err := x.run(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				added.Add(int64(r.store.Added))
			})
		}
		waiting.Wait()
		if n := added.Load(); n != records {
			t.Errorf("they have added %d records, want %d", n, records)
		}
		checkStored(t, db)
	})
}

// TestStoreInterrupted cuts the first start off in the middle of its writes: the next one
// adds what is missing.
func TestStoreInterrupted(t *testing.T) {
	s := mongotest.SharedLungo(t)
	uri, db := database(t, s)
	p := mongotest.NewProxy(t, s.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var inserts atomic.Int64
	p.On(func(cmd string) mongotest.Action {
		if cmd == "insert" && inserts.Add(1) > 10 {
			cancel()
			return mongotest.CutBefore
		}
		return mongotest.Pass
	})
	var stderr bytes.Buffer
	if code := run(ctx, []string{"-store", in(p.URI(), db.Name())}, io.Discard, &stderr); code != 1 {
		t.Fatalf("exit code %d, want 1: %s", code, &stderr)
	}
	got := runJSON(t, "-store", uri)
	if s := got.Store; s.Added == 0 || s.Added >= records {
		t.Errorf("the next start adds %d records of %d, want a part of them", s.Added, records)
	}
	checkStored(t, db)
}

// TestStoreForeign has a database with data of others, in collections with the names of
// the program's kinds, too.
func TestStoreForeign(t *testing.T) {
	eachDatabase(t, func(t *testing.T, uri string, db *mongo.Database) {
		names := []string{"airport", "route", "load", "graphcache", "other"}
		for _, name := range names {
			if _, err := db.Collection(name).InsertMany(t.Context(), []any{bson.M{"_id": "SEA", "name": 1}, bson.M{"_id": 2, "state": "WA"}}); err != nil {
				t.Fatal(err)
			}
		}
		before := content(t, db, names)
		runJSON(t, "-store", uri)
		if diff := cmp.Diff(before, content(t, db, names)); diff != "" {
			t.Errorf("what others have in the database (-before +after):\n%s", diff)
		}
	})
}

// content returns the documents and the indexes of the collections, in words.
func content(t *testing.T, db *mongo.Database, names []string) (all []string) {
	t.Helper()
	for _, name := range names {
		documents, err := db.Collection(name).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			t.Fatal(err)
		}
		indexes, err := db.Collection(name).Indexes().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, cursor := range []*mongo.Cursor{documents, indexes} {
			var docs []bson.Raw
			if err := cursor.All(t.Context(), &docs); err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s: %v", name, docs))
		}
	}
	return all
}

// TestBadStore checks the errors about the flag itself.
func TestBadStore(t *testing.T) {
	tests := []struct {
		name, uri string
		code      int
		stderr    string // must contain
	}{
		{"down", "mongodb://me:secret@127.0.0.1:1/test", 1, "the database does not answer"},
		{"another scheme", "http://me:secret@127.0.0.1/test", 2, "mongodb"},
		{"no database", "mongodb://me:secret@127.0.0.1:1/", 2, "no database is named"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var stdout, stderr bytes.Buffer
			if code := run(ctx, []string{"-store", tt.uri}, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			s := stderr.String()
			if !strings.Contains(s, "flights: -store: ") || !strings.Contains(s, tt.stderr) || strings.Contains(s, "secret") || strings.Count(s, "\n") > 1 {
				t.Errorf("the error output is %q: it should be one line that names the flag, says %q, and not the password", s, tt.stderr)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout should be empty:\n%s", &stdout)
			}
		})
	}
}
