package mongo_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// foreign returns the database as another program has it.
func foreign(t testing.TB, s *mongotest.Server, name string) *mongodriver.Database {
	t.Helper()
	c, err := mongodriver.Connect(options.Client().ApplyURI(s.URI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(t.Context()) })
	return c.Database(name)
}

// indexes returns the indexes of a collection in words, but that on _id.
func indexes(t testing.TB, c *mongodriver.Collection) []string {
	t.Helper()
	cursor, err := c.Indexes().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name    string
		Key     bson.D
		Unique  bool
		Sparse  bool
		Partial bson.D `bson:"partialFilterExpression"`
	}
	if err := cursor.All(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, ix := range all {
		if ix.Name == "_id_" {
			continue
		}
		text := ix.Name + " "
		for i, k := range ix.Key {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf("%s:%v", k.Key, k.Value)
		}
		if ix.Unique {
			text += " unique"
		}
		if ix.Sparse {
			text += " sparse"
		}
		if ix.Partial != nil {
			partial, _ := bson.MarshalExtJSON(ix.Partial, false, false)
			text += " partial " + string(partial)
		}
		words = append(words, text)
	}
	slices.Sort(words)
	return words
}

// indexedSchema has a kind with indexes of each sort.
var indexedSchema = driver.Schema{
	Objects: []driver.ObjectKind{{Name: "thing", Indexes: []driver.Index{
		{Name: "plain", Columns: []driver.Column{{Path: []string{"a"}, Zero: int64(0)}, {Path: []string{"b", "c.d"}, Zero: ""}}},
		{Name: "byID", Columns: []driver.Column{{Path: []string{"a"}, Zero: int64(0)}, {Of: driver.ObjectID}}},
		{Name: "unique", Columns: []driver.Column{{Path: []string{"u"}, Zero: ""}}, Unique: true},
		{Name: "nullable", Columns: []driver.Column{{Path: []string{"n"}}}, Unique: true},
		{Name: "tags", Columns: []driver.Column{{Path: []string{"tags"}, List: true}, {Path: []string{"a"}, Zero: int64(0)}}, Unique: true},
	}}},
	Edges: []driver.EdgeKind{
		{Name: "plain", From: "thing", To: "thing"},
		{Name: "one", From: "thing", To: "thing", ToOne: true},
		{Name: "both", From: "thing", To: "thing", Symmetric: true},
		{Name: "red", From: "thing", To: "thing", Family: "colour"},
		{Name: "oak", From: "thing", To: "thing", Family: "tree", ToOne: true},
		{Name: "adopted", From: "thing", To: "thing"},
		{Name: "adoptedOne", From: "thing", To: "thing", ToOne: true},
	},
}

var adoptedEdges = map[string]mongo.EdgeCollection{
	"adopted":    {From: "f", To: "t", Time: "at", Data: "d"},
	"adoptedOne": {From: "f", To: "t"},
}

// Each kind has exactly the indexes that its reads and its uniqueness take, with these
// properties.
func TestIndexes(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		o := mongo.Options{Database: server.Database(t), Edges: adoptedEdges}
		s := reopen(t, server, o)
		ensure(t, s, indexedSchema)
		db := foreign(t, server, o.Database)
		const notNull = `{"$type":["double","string","object","array","binData","objectId","bool","date","int","long","decimal"]}`
		want := map[string][]string{
			"thing": {
				"graphcache__deleting_1 _deleting:1 sparse",
				"graphcache_a_1__id_1 a:1,_id:1",
				"graphcache_a_1_b.c%2Ed_1__id_1 a:1,b.c%2Ed:1,_id:1",
				"graphcache_n_1__id_1 n:1,_id:1",
				`graphcache_n_1_unique n:1 unique partial {"n":` + notNull + `}`,
				"graphcache_tags_1_a_1__id_1 tags:1,a:1,_id:1",
				`graphcache_tags_1_a_1_unique tags:1,a:1 unique partial {"tags.0":{"$exists":true}}`,
				"graphcache_u_1_unique u:1 unique sparse",
			},
			"plain": {
				"graphcache__id.from_1_time_-1__id.to_1 _id.from:1,time:-1,_id.to:1",
				"graphcache__id.to_1_time_-1__id.from_1 _id.to:1,time:-1,_id.from:1",
			},
			"one": {"graphcache_to_1_time_-1__id_1 to:1,time:-1,_id:1"},
			"both": {
				"graphcache__id.from_1_time_-1__id.to_1 _id.from:1,time:-1,_id.to:1",
				"graphcache__id.to_1_time_-1__id.from_1 _id.to:1,time:-1,_id.from:1",
			},
			"colour": {
				"graphcache_kind_1__id.from_1__id.to_1_unique kind:1,_id.from:1,_id.to:1 unique",
				"graphcache_kind_1__id.from_1_time_-1__id.to_1 kind:1,_id.from:1,time:-1,_id.to:1",
				"graphcache_kind_1__id.to_1_time_-1__id.from_1 kind:1,_id.to:1,time:-1,_id.from:1",
			},
			"tree": {
				"graphcache_kind_1__id.from_1_unique kind:1,_id.from:1 unique",
				"graphcache_kind_1_to_1_time_-1__id.from_1 kind:1,to:1,time:-1,_id.from:1",
			},
			"adopted": {
				"graphcache_f_1_at_-1_t_1 f:1,at:-1,t:1",
				"graphcache_f_1_t_1_unique f:1,t:1 unique",
				"graphcache_t_1_at_-1_f_1 t:1,at:-1,f:1",
			},
			"adoptedOne": {
				"graphcache_f_1_unique f:1 unique",
				"graphcache_t_1_time_-1_f_1 t:1,time:-1,f:1",
			},
		}
		for kind, want := range want {
			for i := range want {
				if server.Lacks[mongotest.SparseIndexes] {
					want[i] = strings.TrimSuffix(want[i], " sparse")
				}
				if server.Lacks[mongotest.PartialIndexes] {
					want[i], _, _ = strings.Cut(want[i], " partial")
				}
			}
			if diff := cmp.Diff(want, indexes(t, db.Collection(kind))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", kind, diff)
			}
		}
		create, differences, err := s.IndexPlan(t.Context(), indexedSchema)
		if err != nil || create != nil || differences != nil {
			t.Errorf("the plan after Ensure: %q, %q, %v", create, differences, err)
		}
		ensure(t, reopen(t, server, o), indexedSchema) // once more it finds what is there
		for _, ix := range indexedSchema.Objects[0].Indexes {
			if !s.Ready("thing", ix.Name) {
				t.Errorf("the index %q is not ready", ix.Name)
			}
		}
		if s.Ready("other", "plain") {
			t.Error("an index of a kind that is not declared is ready")
		}
	})
}

// A plan creates nothing, RequireIndexes names what is missing and creates nothing,
// IgnoreIndexes does not look.
func TestIndexModes(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		o := mongo.Options{Database: server.Database(t)}
		s := reopen(t, server, o)
		db := foreign(t, server, o.Database)
		nothing := func(when string) {
			t.Helper()
			names, err := db.ListCollectionNames(t.Context(), bson.D{})
			if err != nil || len(names) != 0 {
				t.Errorf("%s there are the collections %q, %v", when, names, err)
			}
		}
		create, differences, err := s.IndexPlan(t.Context(), someSchema)
		if err != nil || differences != nil || !slices.ContainsFunc(create, func(s string) bool {
			return strings.Contains(s, "user") && strings.Contains(s, "{email: 1}") && strings.Contains(s, "unique")
		}) {
			t.Errorf("the plan: %q, %q, %v", create, differences, err)
		}
		nothing("after a plan")
		if _, err := s.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}}, ""); !errors.Is(err, driver.ErrSchema) {
			t.Errorf("a read after a plan: %v", err)
		}
		o.Indexes = mongo.RequireIndexes
		required := reopen(t, server, o)
		err = required.Ensure(t.Context(), someSchema)
		if !errors.Is(err, driver.ErrSchema) {
			t.Errorf("RequireIndexes: %v", err)
		}
		for _, line := range create {
			_, name, _ := strings.Cut(line, ": ")
			name, _, _ = strings.Cut(name, " ")
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the error does not name %q: %v", name, err)
			}
		}
		nothing("after RequireIndexes")
		o.Indexes = mongo.IgnoreIndexes
		ignored := reopen(t, server, o)
		ensure(t, ignored, someSchema)
		write(t, ignored, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, 1)}, driver.Done)
		if got := indexes(t, db.Collection("user")); len(got) != 0 {
			t.Errorf("IgnoreIndexes has made %q", got)
		}
		ensure(t, s, someSchema)
		ensure(t, required, someSchema) // now all are there
	})
}

// An index with the same keys serves under any name, and one that differs is reported by name
// and stays.
func TestIndexesOfOthers(t *testing.T) {
	server := mongotest.SharedLungo(t)
	o := mongo.Options{Database: server.Database(t)}
	db := foreign(t, server, o.Database)
	create := func(name string, unique bool, keys ...bson.E) {
		t.Helper()
		ix := options.Index().SetName(name)
		if unique {
			ix.SetUnique(true)
		}
		if _, err := db.Collection("user").Indexes().CreateOne(t.Context(), mongodriver.IndexModel{Keys: bson.D(keys), Options: ix}); err != nil {
			t.Fatal(err)
		}
	}
	create("theirs", false, bson.E{Key: "city", Value: 1.0}, bson.E{Key: "_id", Value: int64(1)})
	create("wrong", false, bson.E{Key: "email", Value: 1})
	before := indexes(t, db.Collection("user"))
	s := reopen(t, server, o)
	err := s.Ensure(t.Context(), someSchema)
	if !errors.Is(err, driver.ErrSchema) || !strings.Contains(err.Error(), `"wrong"`) || !strings.Contains(err.Error(), "graphcache_email_1_unique") || strings.Contains(err.Error(), "theirs") {
		t.Errorf("a plain index in the place of a unique one: %v", err)
	}
	if _, differences, err := s.IndexPlan(t.Context(), someSchema); err != nil || len(differences) != 1 || !strings.Contains(differences[0], `"wrong"`) {
		t.Errorf("the plan's differences: %q, %v", differences, err)
	}
	if diff := cmp.Diff(before, indexes(t, db.Collection("user"))); diff != "" {
		t.Errorf("a failed Ensure has changed indexes (-before +after):\n%s", diff)
	}
	if err := db.Collection("user").Indexes().DropOne(t.Context(), "wrong"); err != nil {
		t.Fatal(err)
	}
	create("another", false, bson.E{Key: "else", Value: 1})
	ensure(t, s, someSchema)
	got := strings.Join(indexes(t, db.Collection("user")), "\n")
	if strings.Contains(got, "graphcache_city") || !strings.Contains(got, "theirs") || !strings.Contains(got, "another") {
		t.Errorf("after Ensure there are\n%s", got)
	}
}

// Duplicates that are there are reported with the index's declared name.
func TestDuplicatesThere(t *testing.T) {
	server := mongotest.SharedLungo(t)
	o := mongo.Options{Database: server.Database(t)}
	db := foreign(t, server, o.Database)
	for _, id := range []string{"a", "b"} {
		if _, err := db.Collection("user").InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}, {Key: "email", Value: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	err := reopen(t, server, o).Ensure(t.Context(), someSchema)
	if !errors.Is(err, driver.ErrExists) || !strings.Contains(err.Error(), `"email"`) {
		t.Errorf("Ensure: %v", err)
	}
}

// lines is a log of which a test looks at the lines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // protects
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// until waits for something to become true.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it takes too long: %s", what)
		}
	}
}

// Ensure does not wait for the indexes of a large collection. Until they are there reads are
// answered, but what a unique index would have to judge is refused.
func TestLargeCollection(t *testing.T) {
	server := mongotest.SharedLungo(t)
	proxy := mongotest.NewProxy(t, server.Addr)
	var log lines
	o := mongo.Options{Database: server.Database(t), Plain: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	db := foreign(t, server, o.Database)
	var documents []any
	for i := range 10_001 {
		documents = append(documents, bson.D{{Key: "_id", Value: fmt.Sprint(i)}, {Key: "_v", Value: int64(1)}, {Key: "email", Value: fmt.Sprint(i)}, {Key: "twin", Value: i / 2}})
	}
	if _, err := db.Collection("user").InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	s, err := mongo.Open(t.Context(), proxy.URI(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	proxy.On(func(cmd string) mongotest.Action {
		if cmd == "createIndexes" {
			return mongotest.HangBefore
		}
		return mongotest.Pass
	})
	schema := driver.Schema{Objects: []driver.ObjectKind{someSchema.Objects[0]}}
	ensure(t, s, schema)
	if s.Ready("user", "email") || s.Ready("user", "city") {
		t.Error("an index is ready that does not exist")
	}
	if o := get(t, s, "user", "7"); o == nil {
		t.Error("an object cannot be read")
	}
	object := &driver.Object{ID: "7", Version: 2, Doc: driver.Document{{Name: "email", Value: "8"}}}
	for _, w := range []driver.Write{
		{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "new", Version: 1}},
		{Op: driver.Replace, Kind: "user", Object: object, Expect: 1},
	} {
		if r, err := outcome(t, s, w); r.Outcome != driver.Refused || !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("a write that the index must judge: %v, %v", r.Outcome, err)
		}
	}
	write(t, s, driver.Write{Op: driver.Delete, Kind: "user", Object: &driver.Object{ID: "9"}}, driver.Done)
	proxy.On(nil)
	proxy.Release()
	until(t, "the indexes are built", func() bool { return s.Ready("user", "email") && s.Ready("user", "city") })
	if r := write(t, s, driver.Write{Op: driver.Replace, Kind: "user", Object: object, Expect: 1}, driver.Exists); r.Index != "email" {
		t.Errorf("the index is %q", r.Index)
	}
	write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "new", Version: 1}}, driver.Done)

	// One that cannot be built is reported, and writes are refused from then on.
	schema.Objects[0].Indexes = slices.Concat(schema.Objects[0].Indexes, []driver.Index{
		{Name: "twins", Columns: []driver.Column{{Path: []string{"twin"}, Zero: int64(0)}}, Unique: true},
		{Name: "after", Columns: []driver.Column{{Path: []string{"after"}, Zero: ""}}},
	})
	ensure(t, s, schema)
	until(t, "the log", func() bool { return strings.Contains(log.String(), "graphcache_twin_1_unique") })
	until(t, "the other index", func() bool { return s.Ready("user", "after") })
	if s.Ready("user", "twins") {
		t.Error("an index with duplicates is ready")
	}
	r, err := outcome(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "newer", Version: 1}})
	if r.Outcome != driver.Refused || !errors.Is(err, driver.ErrExists) || !strings.Contains(err.Error(), `"twins"`) {
		t.Errorf("a write to a collection with duplicates: %v, %v", r.Outcome, err)
	}
}

// Two kinds cannot share a collection, and the store's own is nobody's.
func TestSharedCollections(t *testing.T) {
	server := mongotest.SharedLungo(t)
	two := driver.Schema{Objects: []driver.ObjectKind{{Name: "a"}, {Name: "b"}}}
	for name, c := range map[string]struct {
		options mongo.Options
		schema  driver.Schema
	}{
		"objects":         {mongo.Options{Objects: map[string]mongo.ObjectCollection{"a": {Name: "b"}}}, two},
		"object and edge": {mongo.Options{Edges: map[string]mongo.EdgeCollection{"e": {Name: "b"}}}, driver.Schema{Objects: two.Objects, Edges: []driver.EdgeKind{{Name: "e", From: "a", To: "b"}}}},
		"the store's own": {mongo.Options{}, driver.Schema{Objects: []driver.ObjectKind{{Name: "graphcache"}}}},
	} {
		if err := open(t, server, c.options).Ensure(t.Context(), c.schema); !errors.Is(err, driver.ErrSchema) || !strings.Contains(err.Error(), "share") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := open(t, server, mongo.Options{}).Ensure(t.Context(), driver.Schema{Objects: []driver.ObjectKind{{Name: strings.Repeat("ü", 100)}}}); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("a name that is too long: %v", err)
	}
}
