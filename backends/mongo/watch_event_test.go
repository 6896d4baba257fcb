package mongo_test

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// Events that the servers of the other tests do not have.
func TestWatchEvents(t *testing.T) {
	store := open(t, mongotest.SharedLungo(t), mongo.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := store.Ensure(t.Context(), watchedSchema); err != nil {
		t.Fatal(err)
	}
	in := func(collection string) bson.E { return el("ns", bson.D{el("db", "d"), el("coll", collection)}) }
	id := func(id any) bson.E { return el("documentKey", bson.D{el("shard", 3), el("_id", id)}) }
	done := func(fields ...bson.E) bson.E { return el("updateDescription", bson.D(fields)) }
	for _, test := range []struct {
		name  string
		event bson.D
		want  []string
	}{
		{"rename", bson.D{el("operationType", "rename"), in("user"), el("to", bson.D{el("db", "d"), el("coll", "note")})}, []string{"user", "note"}},
		{"rename of a stranger", bson.D{el("operationType", "rename"), in("x"), el("to", bson.D{el("db", "d"), el("coll", "y")})}, nil},
		{"invalidate", bson.D{el("operationType", "invalidate")}, []string{"author", "follows", "friend", "hates", "likes", "note", "owns", "pays", "rents", "user"}},
		{"create", bson.D{el("operationType", "create"), in("user")}, nil},
		{"array made shorter", bson.D{
			el("operationType", "update"), in("user"), id("u1"), el("fullDocument", nil),
			done(el("updatedFields", bson.D{}), el("truncatedArrays", bson.A{bson.D{el("field", "city.x"), el("newSize", 1)}})),
		}, []string{"user"}},
		{"other array made shorter", bson.D{
			el("operationType", "update"), in("user"), id("u1"), el("fullDocument", nil), el("fullDocumentBeforeChange", nil),
			done(el("updatedFields", bson.D{}), el("truncatedArrays", bson.A{bson.D{el("field", "list"), el("newSize", 1)}})),
		}, []string{"user u1"}},
		{"array made shorter by graphcache", bson.D{
			el("operationType", "update"), in("user"), id("u1"),
			done(el("updatedFields", bson.D{el("_v", int64(3))}), el("truncatedArrays", bson.A{bson.D{el("field", "city"), el("newSize", 1)}})),
		}, nil},
		{"version removed", bson.D{
			el("operationType", "update"), in("user"), id("u1"), el("fullDocument", bson.D{el("_id", "u1"), el("city", "rome")}),
			done(el("updatedFields", bson.D{}), el("removedFields", bson.A{"_v"})),
		}, []string{"user u1 [rome]"}},
		{"an edge that is gone by now", bson.D{
			el("operationType", "update"), in("author"), id("n1"), el("fullDocument", nil), done(el("updatedFields", bson.D{el("data.x", 1)})),
		}, []string{"author"}},
		{"an object that cannot be read", bson.D{
			el("operationType", "insert"), in("note"), id("n1"), el("fullDocument", bson.D{el("_id", "n1"), el("_deleting", true), el("_doc", bson.D{el("x", bson.MinKey{})})}),
		}, []string{"note n1 [<nil>]"}},
		{"no key", bson.D{el("operationType", "delete"), in("note")}, []string{"note"}},
		{"nothing", bson.D{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw, err := bson.Marshal(test.event)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range store.ChangesOf(raw) {
				got = append(got, changeText(&c))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever an event has, it can be told what to do about it.
func FuzzWatchEvent(f *testing.F) {
	for _, op := range []string{"insert", "update", "replace", "delete"} {
		for _, collection := range []string{"user", "follows", "author", "opinion", "right"} {
			raw, err := bson.Marshal(bson.D{
				el("operationType", op), el("ns", bson.D{el("coll", collection)}),
				el("documentKey", bson.D{el("_id", bson.D{el("from", "a"), el("to", "b")})}),
				el("fullDocument", bson.D{el("_id", "a"), el("to", "b"), el("kind", "likes"), el("_v", 3), el("data", bson.D{el("x", 1)})}),
				el("updateDescription", bson.D{el("updatedFields", bson.D{el("city.x", 1)}), el("removedFields", bson.A{"to"})}),
			})
			if err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(raw))
		}
	}
	store := open(f, mongotest.SharedLungo(f), mongo.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := store.Ensure(f.Context(), watchedSchema); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range store.ChangesOf(raw) {
			if c.Kind == "" || (c.From == "") != (c.To == "") || c.ID != "" && c.From != "" {
				t.Errorf("%q was made of it", changeText(&c))
			}
		}
	})
}
