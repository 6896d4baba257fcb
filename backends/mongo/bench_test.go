package mongo_test

import (
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driverlib "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// The benchmarks run on lungo, or on the server at GRAPHCACHE_MONGO_URI. Only what they say of
// one way in comparison with another means anything, and that only for this server.

func benchServer(b *testing.B) *mongotest.Server {
	b.Helper()
	if mongotest.External() != "" {
		b.Skip("the benchmarks have a server of their own")
	}
	return mongotest.SharedLungo(b)
}

// BenchmarkLists reads the newest 10 edges of each of 200 objects that have 20, and of one
// that has 5,000: by one aggregation, and list by list.
func BenchmarkLists(b *testing.B) {
	s := benchServer(b)
	o := mongo.Options{Database: s.Database(b)}
	schema := driver.Schema{
		Objects: []driver.ObjectKind{{Name: "user"}},
		Edges:   []driver.EdgeKind{{Name: "follows", From: "user", To: "user"}},
	}
	store := reopen(b, s, o)
	if err := store.Ensure(b.Context(), schema); err != nil {
		b.Fatal(err)
	}
	var writes []driver.Write
	step := driver.Step{Op: driver.ListEdges, Kind: "follows", Range: driver.Range{Limit: 10}}
	for i := range 201 {
		id := fmt.Sprint("user", i)
		step.IDs = append(step.IDs, id)
		n := 20
		if i == 0 {
			n = 5000
		}
		for j := range n {
			e := &driver.Edge{From: id, To: fmt.Sprint("user", j), Version: 1, Time: time.UnixMilli(int64(j))}
			writes = append(writes, driver.Write{Op: driver.Insert, Kind: "follows", Edge: e})
		}
	}
	if _, err := store.Write(b.Context(), writes); err != nil {
		b.Fatal(err)
	}
	for _, way := range []struct {
		name  string
		plain bool
	}{{"aggregation", false}, {"one by one", true}} {
		b.Run(way.name, func(b *testing.B) {
			o.Plain = way.plain
			store := reopen(b, s, o)
			if err := store.Ensure(b.Context(), schema); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := store.Read(b.Context(), []driver.Step{step}, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGet reads an object by its ID: with the driver library alone, and by the store.
func BenchmarkGet(b *testing.B) {
	s := benchServer(b)
	o := mongo.Options{Database: s.Database(b)}
	store := reopen(b, s, o)
	if err := store.Ensure(b.Context(), driver.Schema{Objects: []driver.ObjectKind{{Name: "user"}}}); err != nil {
		b.Fatal(err)
	}
	doc := driver.Document{{Name: "name", Value: "Ann"}, {Name: "city", Value: "Bonn"}, {Name: "score", Value: int64(7)}}
	_, err := store.Write(b.Context(), []driver.Write{{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "ann", Version: 1, Doc: doc}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("library", func(b *testing.B) {
		client, err := driverlib.Connect(options.Client().ApplyURI(s.URI))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = client.Disconnect(b.Context()) }()
		users := client.Database(o.Database).Collection("user")
		b.ReportAllocs()
		for b.Loop() {
			var d bson.D
			if err := users.FindOne(b.Context(), bson.D{{Key: "_id", Value: "ann"}}).Decode(&d); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.Read(b.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"ann"}}}, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
}
