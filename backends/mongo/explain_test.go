package mongo_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

func TestExplain(t *testing.T) {
	city := &driver.Column{Path: []string{"city"}, Zero: "", Type: driver.StringType}
	age := &driver.Column{Path: []string{"age"}, Zero: int64(0), Type: driver.IntType}
	nick := &driver.Column{Path: []string{"nick"}, Type: driver.StringType}
	mail := &driver.Column{Path: []string{"mail"}, Zero: "", Type: driver.StringType}
	tags := &driver.Column{Path: []string{"tags"}, List: true, Type: driver.StringType}
	loose := &driver.Column{Path: []string{"loose"}}
	weight := &driver.Column{Of: driver.EdgeField, Path: []string{"weight"}, Zero: int64(0), Type: driver.IntType}
	at := &driver.Column{Of: driver.EdgeTime, Zero: time.UnixMilli(0).UTC(), Type: driver.TimeType}
	id := &driver.Column{Of: driver.ObjectID, Zero: "", Type: driver.StringType}
	schema := driver.Schema{
		Objects: []driver.ObjectKind{{Name: "user", Indexes: []driver.Index{
			{Name: "city", Columns: []driver.Column{*city, *age}},
			{Name: "nick", Columns: []driver.Column{*nick}},
			{Name: "mail", Columns: []driver.Column{*mail}, Unique: true},
			{Name: "tags", Columns: []driver.Column{*tags}},
		}}},
		Edges: []driver.EdgeKind{
			{Name: "follows", From: "user", To: "user"},
			{Name: "friend", From: "user", To: "user", Symmetric: true},
			{Name: "boss", From: "user", To: "user", ToOne: true},
			{Name: "likes", From: "user", To: "user", Family: "opinion"},
		},
	}
	is := func(c *driver.Column, v ...driver.Value) *driver.Filter {
		return &driver.Filter{Op: driver.AnyOf, Column: c, Values: v}
	}
	op := func(op driver.FilterOp, c *driver.Column, v driver.Value) *driver.Filter {
		return &driver.Filter{Op: op, Column: c, Values: []driver.Value{v}}
	}
	all := func(of ...*driver.Filter) *driver.Filter {
		f := &driver.Filter{Op: driver.And}
		for _, o := range of {
			f.Of = append(f.Of, *o)
		}
		return f
	}
	one, many := []string{"secret"}, []string{"secret", "hidden"}
	limit := driver.Range{Limit: 10}
	tests := []struct {
		name  string
		step  driver.Step
		want  string
		plain string // if it differs with Options.Plain
	}{
		{"objects", driver.Step{Op: driver.GetObjects, Kind: "user", IDs: many},
			`find user {_id: {$in: [?]}}, expected index _id_ {_id: 1}`, ""},
		{"one object", driver.Step{Op: driver.GetObjects, Kind: "user", IDs: one},
			`find user {_id: {$eq: ?}}, expected index _id_ {_id: 1}`, ""},
		{"objects that are not known", driver.Step{Op: driver.GetObjects, Kind: "user"},
			`find user {_id: {$in: [?]}}, expected index _id_ {_id: 1}`, ""},
		{"marked", driver.Step{Op: driver.ScanDeleting, Kind: "user"},
			`find user {_deleting: ?}, expected index graphcache__deleting_1 {_deleting: 1}; sorted by the client`, ""},
		{"an index", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(city, "secret")},
			`find user {city: {$eq: ?}} sort {_id: 1} project {_id: 1}, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}, and sorted by the server`, ""},
		{"an index, its order", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(city, "secret"), Order: []driver.Order{{Column: age}}, Range: limit},
			`find user {city: {$eq: ?}} sort {age: 1, _id: 1} project {_id: 1, age: 1} limit 10, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}; find user {city: {$eq: ?}, age: null} limit 1, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}; if that finds any, all are read and sorted by the client`, ""},
		{"an index, another order", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(city, "secret"), Order: []driver.Order{{Column: nick, Desc: true}}, Range: limit},
			`find user {city: {$eq: ?}} sort {nick: -1, _id: 1} project {_id: 1, nick: 1} limit 10, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}, and sorted by the server`, ""},
		{"an index and a range", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: all(is(city, "secret", "hidden"), op(driver.Greater, age, int64(3)))},
			`find user {city: {$in: [?]}, age: {$gt: ?}} sort {_id: 1} project {_id: 1}, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}, and sorted by the server`, ""},
		{"the order of an index", driver.Step{Op: driver.FindObjects, Kind: "user", Order: []driver.Order{{Column: nick}}, Range: driver.Range{Offset: 5, Limit: 10}},
			`find user {_deleting: null} sort {nick: 1, _id: 1} project {_id: 1, nick: 1} skip 5 limit 10, expected index graphcache_nick_1__id_1 {nick: 1, _id: 1} for the order: documents are looked at until enough match`, ""},
		{"after a place", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(city, "secret"), Order: []driver.Order{{Column: age}}, After: []driver.Value{int64(42), "secret"}},
			`find user {city: {$eq: ?}, age: {$gte: ?}, $or: [{age: {$gt: ?}}, {age: {$eq: ?}, _id: {$gt: ?}}]} sort {age: 1, _id: 1} project {_id: 1, age: 1}, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}; find user {city: {$eq: ?}, age: null} limit 1, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}; if that finds any, all are read and sorted by the client`, ""},
		{"an element of a list", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: op(driver.Has, tags, "secret")},
			`find user {tags: {$eq: ?}} sort {_id: 1} project {_id: 1}, expected index graphcache_tags_1__id_1 {tags: 1, _id: 1}`, ""},
		{"no index", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: op(driver.Contains, loose, "secret"), Range: limit},
			`find user {loose: {$regex: ?}} sort {_id: 1} project {_deleting: 1, _id: 1, loose: 1}, expected index _id_ {_id: 1} for the order: documents are looked at until enough match; checked by the client, until enough match`, ""},
		{"an order of no known type", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(nick, "secret"), Order: []driver.Order{{Column: loose}}},
			`find user {nick: {$eq: ?}} project {_id: 1, loose: 1}, expected index graphcache_nick_1__id_1 {nick: 1, _id: 1}; all are read, sorted by the client`, ""},
		{"a zero value", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(city, "")},
			`find user {$or: [{city: {$eq: ?}}, {city: null}], _deleting: null} sort {_id: 1} project {_id: 1}, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}, and sorted by the server`, ""},
		{"a unique index", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(mail, "secret")},
			`find user {mail: {$eq: ?}} sort {_id: 1} project {_id: 1}, expected index graphcache_mail_1_unique {mail: 1}, and sorted by the server`, ""},
		{"a unique index that lacks what is sought", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(mail, "secret", "")},
			`find user {$or: [{mail: {$in: [?]}}, {mail: null}], _deleting: null} sort {_id: 1} project {_id: 1}, expected index _id_ {_id: 1} for the order: documents are looked at until enough match`, ""},
		{"not", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: &driver.Filter{Op: driver.Not, Of: []driver.Filter{*is(nick, "secret")}}},
			`find user {$nor: [{nick: {$eq: ?}}], _deleting: null} sort {_id: 1} project {_id: 1}, expected index _id_ {_id: 1} for the order: documents are looked at until enough match`, ""},
		{"nothing", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: &driver.Filter{Op: driver.Or}},
			`nothing is asked: no object can match`, ""},
		{"a count", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(city, "secret"), Count: true},
			`count user {city: {$eq: ?}}, expected index graphcache_city_1_age_1__id_1 {city: 1, age: 1, _id: 1}`, ""},
		{"a count to be checked", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: is(loose, "secret"), Count: true},
			`find user {loose: {$eq: ?}} project {_deleting: 1, _id: 1, loose: 1}, no index: every document of the collection is looked at; all are read, checked and counted by the client`, ""},
		{"by ID", driver.Step{Op: driver.FindObjects, Kind: "user", Filter: op(driver.HasPrefix, id, "secret")},
			`find user {_id: {$gte: ?, $lt: ?}, _deleting: null} sort {_id: 1} project {_id: 1}, expected index _id_ {_id: 1}`, ""},
		{"edges", driver.Step{Op: driver.GetEdges, Kind: "follows", IDs: one, Ends: many},
			`find follows {_id: {$in: [?]}}, expected index _id_ {_id: 1}`, ""},
		{"edges of a family", driver.Step{Op: driver.GetEdges, Kind: "likes", Direction: driver.In, IDs: one, Ends: many},
			`find opinion {_id.to: {$eq: ?}, _id.from: {$in: [?]}, kind: ?}, expected index graphcache_kind_1__id.from_1__id.to_1_unique {kind: 1, _id.from: 1, _id.to: 1}`, ""},
		{"a list", driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: one, Range: limit},
			`find follows {_id.from: {$eq: ?}} sort {time: -1, _id.to: 1} limit 10, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}`, ""},
		{"lists", driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: many},
			`find follows {_id.from: {$in: [?]}}, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}; sorted by the client`, ""},
		{"parts of lists", driver.Step{Op: driver.ListEdges, Kind: "follows", Direction: driver.In, IDs: many, Range: limit},
			`aggregate: $documents of the IDs, $lookup in follows {_id.to: {$eq: ?}} sort {time: -1, _id.from: 1} limit 10 for each ID, expected index graphcache__id.to_1_time_-1__id.from_1 {_id.to: 1, time: -1, _id.from: 1}`, `find follows {_id.to: {$eq: ?}} sort {time: -1, _id.from: 1} limit 10, one find for each ID, up to 16 at once, expected index graphcache__id.to_1_time_-1__id.from_1 {_id.to: 1, time: -1, _id.from: 1}`},
		{"lists that are not known", driver.Step{Op: driver.ListEdges, Kind: "likes", Range: driver.Range{Limit: 10, Low: time.UnixMilli(1)}},
			`aggregate: $documents of the IDs, $lookup in opinion {_id.from: {$eq: ?}, kind: ?, time: {$gte: ?}} sort {time: -1, _id.to: 1} limit 10 for each ID, expected index graphcache_kind_1__id.from_1_time_-1__id.to_1 {kind: 1, _id.from: 1, time: -1, _id.to: 1}`, `find opinion {_id.from: {$eq: ?}, kind: ?, time: {$gte: ?}} sort {time: -1, _id.to: 1} limit 10, one find for each ID, up to 16 at once, expected index graphcache_kind_1__id.from_1_time_-1__id.to_1 {kind: 1, _id.from: 1, time: -1, _id.to: 1}`},
		{"symmetric", driver.Step{Op: driver.ListEdges, Kind: "friend", IDs: one, Range: limit},
			`find friend {_id.from: {$eq: ?}} sort {time: -1, _id.to: 1} limit 11, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}; find friend {_id.to: {$eq: ?}} sort {time: -1, _id.from: 1} limit 11, expected index graphcache__id.to_1_time_-1__id.from_1 {_id.to: 1, time: -1, _id.from: 1}`, ""},
		{"to-one", driver.Step{Op: driver.ListEdges, Kind: "boss", IDs: many, Range: limit},
			`find boss {_id: {$in: [?]}}, expected index _id_ {_id: 1}; sorted by the client`, ""},
		{"counts", driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: many},
			`aggregate follows {_id.from: {$in: [?]}}, counted by _id.from, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}`, ""},
		{"counts of a symmetric kind", driver.Step{Op: driver.CountEdges, Kind: "friend", IDs: one},
			`aggregate friend {_id.from: {$eq: ?}}, counted by _id.from, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}; aggregate friend {_id.to: {$eq: ?}}, counted by _id.to, expected index graphcache__id.to_1_time_-1__id.from_1 {_id.to: 1, time: -1, _id.from: 1}; less those from an object to itself, counted alike`, ""},
		{"a scan", driver.Step{Op: driver.ScanEdges, Kind: "follows", Range: limit},
			`find follows {} sort {_id: 1} limit 11, expected index _id_ {_id: 1}`, ""},
		{"a scan of a family", driver.Step{Op: driver.ScanEdges, Kind: "likes", Range: limit},
			`find opinion {kind: ?} sort {_id.from: 1, _id.to: 1} limit 11, expected index graphcache_kind_1__id.from_1__id.to_1_unique {kind: 1, _id.from: 1, _id.to: 1}`, ""},
		{"edges by a field", driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: one, Filter: op(driver.Greater, weight, int64(3)), Range: limit},
			`find follows {data.weight: {$gt: ?}, _id.from: {$eq: ?}} sort {time: -1, _id.to: 1} limit 10, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}`, ""},
		{"edges in an order", driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: many, Order: []driver.Order{{Column: at}}, Range: limit},
			`find follows {_id.from: {$in: [?]}} sort {time: 1, _id.to: 1, _id.from: 1} limit 10, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}, and sorted by the server`, ""},
		{"a count of edges", driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: one, Filter: op(driver.Greater, weight, int64(3)), Count: true},
			`count follows {data.weight: {$gt: ?}, _id.from: {$eq: ?}}, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}`, ""},
		{"edges of a symmetric kind", driver.Step{Op: driver.FindEdges, Kind: "friend", IDs: one, Range: limit},
			`find friend {_id.from: {$eq: ?}}, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}; find friend {_id.to: {$eq: ?}}, expected index graphcache__id.to_1_time_-1__id.from_1 {_id.to: 1, time: -1, _id.from: 1}; all are read, sorted by the client`, ""},
		{"edges and objects", driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: one, Far: "user", Filter: all(is(city, "secret"), op(driver.Less, weight, int64(7))), Order: []driver.Order{{Column: age}}, Range: limit},
			`find follows {$or: [{data.weight: {$lt: ?}}, {data.weight: null}], _id.from: {$eq: ?}}, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}; then find user {city: {$eq: ?}, _id: {$in: [?]}}, expected index _id_ {_id: 1}; joined, checked and sorted by the client`, ""},
		{"edges of what is not known", driver.Step{Op: driver.FindEdges, Kind: "follows", Far: "user", Filter: is(city, "secret")},
			`find follows {_id.from: {$in: [?]}}, expected index graphcache__id.from_1_time_-1__id.to_1 {_id.from: 1, time: -1, _id.to: 1}; then find user {city: {$eq: ?}, _id: {$in: [?]}}, expected index _id_ {_id: 1}; joined, checked and sorted by the client`, ""},
		{"a kind that is not declared", driver.Step{Op: driver.GetObjects, Kind: "stranger", IDs: one},
			"", ""},
		{"edges of a kind that is not declared", driver.Step{Op: driver.ListEdges, Kind: "stranger", IDs: one},
			"", ""},
	}
	for _, server := range []struct {
		name string
		o    mongo.Options
	}{{"lookups", mongo.Options{}}, {"plain", mongo.Options{Plain: true}}} {
		t.Run(server.name, func(t *testing.T) {
			o := server.o
			s := mongotest.SharedLungo(t)
			o.Database = s.Database(t)
			store, err := mongo.Open(t.Context(), s.URI, &o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close(t.Context()) })
			if err := store.Ensure(t.Context(), schema); err != nil {
				t.Fatal(err)
			}
			for _, test := range tests {
				want := test.want
				if test.plain != "" && o.Plain {
					want = test.plain
				}
				if diff := cmp.Diff(want, store.Explain(test.step)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", test.name, diff)
				}
			}
		})
	}
}

// Without an idea of the indexes there are, it says so.
func TestExplainIgnoredIndexes(t *testing.T) {
	city := driver.Column{Path: []string{"city"}, Zero: "", Type: driver.StringType}
	schema := driver.Schema{Objects: []driver.ObjectKind{{Name: "user", Indexes: []driver.Index{{Name: "city", Columns: []driver.Column{city}}}}}}
	store := open(t, mongotest.SharedLungo(t), mongo.Options{Indexes: mongo.IgnoreIndexes})
	if err := store.Ensure(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	view := store.Namespace("a b").(*mongo.Store)
	if err := view.Ensure(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	filter := &driver.Filter{Op: driver.AnyOf, Column: &city, Values: []driver.Value{"secret"}}
	got := view.Explain(driver.Step{Op: driver.FindObjects, Kind: "user", Filter: filter})
	want := "find a%20b/user {city: {$eq: ?}} sort {_id: 1} project {_id: 1}, expected index graphcache_city_1__id_1 {city: 1, _id: 1} if it is there"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
