package mongo_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// unversioned is the version of a record that another program has written.
const unversioned = math.MinInt64

// exotic are fields of types that graphcache has not.
func exotic(s *mongotest.Server) bson.D {
	d := bson.D{
		{Key: "_class", Value: "com.example.Person"}, {Key: "ref", Value: bson.ObjectID{1, 2}}, {Key: "pattern", Value: bson.Regex{Pattern: "^a", Options: "i"}},
		{Key: "ts", Value: bson.Timestamp{T: 5, I: 6}}, {Key: "nested", Value: bson.D{{Key: "ref", Value: bson.ObjectID{3}}, {Key: "n", Value: int64(4)}}},
		{Key: "raw", Value: bson.Binary{Subtype: 0, Data: []byte{0, 1}}},
	}
	if !s.Lacks[mongotest.Decimal128] {
		price, _ := bson.ParseDecimal128("12.50")
		d = append(d, bson.E{Key: "price", Value: price})
	}
	return d
}

// document returns a document as it is stored.
func document(t testing.TB, c *mongodriver.Collection, id any) bson.Raw {
	t.Helper()
	raw, err := c.FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// kept checks that a document has the fields byte for byte.
func kept(t testing.TB, when string, raw bson.Raw, fields bson.D) {
	t.Helper()
	want, err := bson.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	elements, _ := bson.Raw(want).Elements()
	for _, e := range elements {
		if got := raw.Lookup(e.Key()); !got.Equal(e.Value()) {
			t.Errorf("%s the field %q is %v, want %v", when, e.Key(), got, e.Value())
		}
	}
}

var (
	nameColumn = &driver.Column{Path: []string{"name"}, Zero: "", Type: driver.StringType}
	ageColumn  = &driver.Column{Path: []string{"age"}, Zero: int64(0), Type: driver.IntType}
)

func personDoc(name string, age int64) driver.Document {
	return driver.Document{{Name: "name", Value: name}, {Name: "age", Value: age}}
}

// A collection of another program can be read and written, whatever its _ids are, and keeps
// what graphcache does not know.
func TestAdoptedObjects(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		for _, c := range []struct {
			name string
			ids  *mongo.IDs
			key  any
			id   string
		}{
			{"string", nil, "a.$b", "a.$b"},
			{"ObjectID", mongo.ObjectIDs, bson.ObjectID{0xAB, 1}, "ab0100000000000000000000"},
			{"int32", mongo.IntIDs, int32(-42), "-42"},
			{"int64", mongo.IntIDs, int64(1) << 40, "1099511627776"},
			{"UUID", mongo.UUIDs, bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}, "30313233-3435-3637-3839-616263646566"},
		} {
			t.Run(c.name, func(t *testing.T) {
				o := mongo.Options{Database: server.Database(t), Objects: map[string]mongo.ObjectCollection{"person": {Name: "people", IDs: c.ids, KeepUnknown: true}}}
				people := foreign(t, server, o.Database).Collection("people")
				theirs := exotic(server)
				insert := append(bson.D{{Key: "_id", Value: c.key}, {Key: "name", Value: "Ann"}, {Key: "age", Value: int32(30)}}, theirs...)
				if _, err := people.InsertOne(t.Context(), insert); err != nil {
					t.Fatal(err)
				}
				s := reopen(t, server, o)
				ensure(t, s, driver.Schema{Objects: []driver.ObjectKind{{Name: "person", Indexes: []driver.Index{{Name: "name", Columns: []driver.Column{*nameColumn}}}}}})
				got := get(t, s, "person", c.id)
				if got == nil || got.ID != c.id || got.Version != unversioned || field(got, "name") != "Ann" || field(got, "age") != int64(30) || field(got, "_class") != nil {
					t.Fatalf("read: %v", got)
				}
				find := func(name string) []string {
					return read(t, s, driver.Step{Op: driver.FindObjects, Kind: "person", Filter: &driver.Filter{Op: driver.AnyOf, Column: nameColumn, Values: []driver.Value{name}}}).IDs
				}
				if ids := find("Ann"); !slices.Equal(ids, []string{c.id}) {
					t.Errorf("found %q", ids)
				}
				replace := func(version, expect int64, doc, old driver.Document) driver.Write {
					return driver.Write{Op: driver.Replace, Kind: "person", Object: &driver.Object{ID: c.id, Version: version, Doc: doc}, Expect: expect, Old: old}
				}
				write(t, s, replace(7, 6, personDoc("Bob", 31), nil), driver.Conflict)
				write(t, s, replace(7, unversioned, personDoc("Bob", 31), personDoc("Ann", 31)), driver.Conflict)
				write(t, s, replace(7, unversioned, personDoc("Bob", 31), personDoc("Ann", 30)), driver.Done)
				kept(t, "after a replace", document(t, people, c.key), theirs)
				write(t, s, replace(8, unversioned, personDoc("Cid", 31), nil), driver.Conflict)
				if ids := append(find("Bob"), find("Ann")...); !slices.Equal(ids, []string{c.id}) {
					t.Errorf("after a replace found %q", ids)
				}

				// A program that does not know of versions changes what is indexed.
				if _, err := people.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: c.key}}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "Eve"}}}}); err != nil {
					t.Fatal(err)
				}
				r := write(t, s, replace(9, 7, personDoc("Dan", 32), driver.Document{{Name: "name", Value: "Bob"}}), driver.Conflict)
				if r.Object == nil || r.Object.Version != 7 || field(r.Object, "name") != "Eve" {
					t.Errorf("the conflict is with %v", r.Object)
				}
				r = write(t, s, driver.Write{Op: driver.Modify, Kind: "person", Object: &driver.Object{ID: c.id}, Changes: []driver.Change{{Column: ageColumn, Add: int64(2)}}, Expect: 7}, driver.Done)
				if r.Object == nil || r.Object.Version != 8 || field(r.Object, "age") != int64(33) {
					t.Errorf("Modify gives %v", r.Object)
				}
				kept(t, "after Modify", document(t, people, c.key), theirs)

				// The mark of a deletion hides the object, and nothing of it is lost.
				marked := replace(9, 8, personDoc("Eve", 33), nil)
				marked.Object.Deleting = true
				write(t, s, marked, driver.Done)
				kept(t, "while marked", document(t, people, c.key), theirs)
				if got := get(t, s, "person", c.id); !got.Deleting || field(got, "name") != "Eve" || len(find("Eve")) != 0 {
					t.Errorf("while marked: %v, found %q", got, find("Eve"))
				}
				write(t, s, driver.Write{Op: driver.Modify, Kind: "person", Object: &driver.Object{ID: c.id}, Changes: []driver.Change{{Column: ageColumn, Add: int64(2)}}}, driver.Missing)
				write(t, s, replace(10, 9, personDoc("Eve", 34), nil), driver.Done)
				raw := document(t, people, c.key)
				kept(t, "after the mark", raw, append(slices.Clone(theirs), bson.E{Key: "name", Value: "Eve"}, bson.E{Key: "age", Value: int64(34)}, bson.E{Key: "_v", Value: int64(10)}))
				for _, name := range []string{"_deleting", "_doc"} {
					if _, err := raw.LookupErr(name); err == nil {
						t.Errorf("after the mark there is %q", name)
					}
				}
				write(t, s, driver.Write{Op: driver.Insert, Kind: "person", Object: &driver.Object{ID: c.id, Version: 1}}, driver.Exists)
				write(t, s, driver.Write{Op: driver.Delete, Kind: "person", Object: &driver.Object{ID: c.id}, Expect: 9}, driver.Conflict)
				write(t, s, driver.Write{Op: driver.Delete, Kind: "person", Object: &driver.Object{ID: c.id}, Expect: 10}, driver.Done)
				if n, err := people.CountDocuments(t.Context(), bson.D{}); err != nil || n != 0 {
					t.Errorf("after a delete there are %d, %v", n, err)
				}
				write(t, s, driver.Write{Op: driver.Insert, Kind: "person", Object: &driver.Object{ID: c.id, Version: 1, Doc: personDoc("Ann", 1)}}, driver.Done)
				kept(t, "after an insert", document(t, people, c.key), personDB("Ann", 1))
			})
		}
	})
}

func personDB(name string, age int64) bson.D {
	return bson.D{{Key: "name", Value: name}, {Key: "age", Value: age}}
}

// Modify of a document without a version, or with a null in its place, gives it one.
func TestModifyUnversioned(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		o := mongo.Options{Database: server.Database(t), Version: "rev"}
		people := foreign(t, server, o.Database).Collection("user")
		for _, d := range []bson.D{
			{{Key: "_id", Value: "none"}, {Key: "n", Value: int32(1)}},
			{{Key: "_id", Value: "null"}, {Key: "n", Value: int32(1)}, {Key: "rev", Value: nil}},
			{{Key: "_id", Value: "int32"}, {Key: "n", Value: int32(1)}, {Key: "rev", Value: int32(5)}},
			{{Key: "_id", Value: "double"}, {Key: "n", Value: int32(1)}, {Key: "rev", Value: 5.0}},
			{{Key: "_id", Value: "text"}, {Key: "n", Value: "1"}},
			{{Key: "_id", Value: "float"}, {Key: "n", Value: 1.0}},
		} {
			if _, err := people.InsertOne(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		s := reopen(t, server, o)
		ensure(t, s, someSchema)
		for id, version := range map[string]int64{"none": 1, "null": 1, "int32": 6, "double": 6} {
			before := get(t, s, "user", id)
			w := plus(id, 1)
			w.Expect = before.Version
			r, err := outcome(t, s, w)
			if err != nil || r.Outcome != driver.Done {
				t.Errorf("%s: %v, %v", id, r.Outcome, err)
				continue
			}
			if now := get(t, s, "user", id); now.Version != version || field(now, "n") != int64(2) || !driver.Equal(now.Doc, r.Object.Doc) || r.Object.Version != version {
				t.Errorf("%s: is %v, and was said to be %v", id, now, r.Object)
			}
		}
		write(t, s, plus("text", 1), driver.Conflict)
		write(t, s, plus("float", 1), driver.Conflict)
	})
}

// Lists, scans and searches are in the order of the IDs' bytes, although integers are stored
// in another.
func TestIntIDOrder(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		o := mongo.Options{Database: server.Database(t), Objects: map[string]mongo.ObjectCollection{"user": {IDs: mongo.IntIDs}}}
		s := reopen(t, server, o)
		ensure(t, s, someSchema)
		ids := []string{"2", "10", "-1", "9", "100", "1"}
		for _, id := range ids {
			write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered(id, 1, 7)}, driver.Done)
			write(t, s, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: "1", To: id, Version: 1, Time: time.UnixMilli(5)}}, driver.Done)
		}
		slices.Sort(ids)
		order := []driver.Order{{Column: countColumn}}
		for at := range ids {
			got := read(t, s, driver.Step{Op: driver.FindObjects, Kind: "user", Range: driver.Range{Offset: at, Limit: 2}}).IDs
			if want := ids[at:min(at+2, len(ids))]; !slices.Equal(got, want) {
				t.Errorf("objects from %d: %q, want %q", at, got, want)
			}
			got = read(t, s, driver.Step{Op: driver.FindObjects, Kind: "user", Order: order, After: []driver.Value{int64(7), ids[at]}, Range: driver.Range{Limit: 2}}).IDs
			if want := ids[at+1 : min(at+3, len(ids))]; !slices.Equal(got, want) {
				t.Errorf("objects after %q: %q, want %q", ids[at], got, want)
			}
			list := read(t, s, driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: []string{"1", "77"}, Range: driver.Range{Offset: at, Limit: 2}}).Lists[0]
			got = nil
			for _, e := range list {
				got = append(got, e.To)
			}
			if want := ids[at:min(at+2, len(ids))]; !slices.Equal(got, want) {
				t.Errorf("a list from %d: %q, want %q", at, got, want)
			}
		}
		far := read(t, s, driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: []string{"1"}, Far: "user", Order: order}).Rows
		for i, row := range far {
			if row.Edge.To != ids[i] {
				t.Errorf("row %d leads to %q, want %q", i, row.Edge.To, ids[i])
			}
		}
		if len(far) != len(ids) {
			t.Errorf("%d rows, want %d", len(far), len(ids))
		}
	})
}

// The edges of another program, in fields that it has named, can be read and written.
func TestAdoptedEdges(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		o := mongo.Options{
			Database: server.Database(t),
			Objects:  map[string]mongo.ObjectCollection{"user": {IDs: mongo.ObjectIDs}},
			Edges: map[string]mongo.EdgeCollection{
				"follows": {Name: "links", From: "src", To: "dst", Time: "at", Data: "meta"},
				"opinion": {From: "who", To: "what", Kind: "how"},
			},
		}
		db := foreign(t, server, o.Database)
		oid := func(n byte) bson.ObjectID { return bson.ObjectID{0: n, 11: 1} }
		id := func(n byte) string { return oid(n).Hex() }
		var links []any
		for n := byte(2); n < 6; n++ {
			links = append(links, bson.D{{Key: "_id", Value: int32(n)}, {Key: "src", Value: oid(1)}, {Key: "dst", Value: oid(n)}, {Key: "at", Value: bson.DateTime(1000 * int64(n))}, {Key: "meta", Value: bson.D{{Key: "note", Value: fmt.Sprint(n)}}}, {Key: "extra", Value: bson.ObjectID{9}}})
		}
		links = append(links, bson.D{{Key: "_id", Value: "bare"}, {Key: "src", Value: oid(1)}, {Key: "dst", Value: oid(9)}})
		if _, err := db.Collection("links").InsertMany(t.Context(), links); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Collection("opinion").InsertOne(t.Context(), bson.D{{Key: "who", Value: oid(1)}, {Key: "what", Value: "p"}, {Key: "how", Value: "likes"}}); err != nil {
			t.Fatal(err)
		}
		s := reopen(t, server, o)
		ensure(t, s, someSchema)
		list := func(direction driver.Direction, ids ...string) (ends []string) {
			found := read(t, s, driver.Step{Op: driver.ListEdges, Kind: "follows", Direction: direction, IDs: ids}).Lists
			for _, e := range slices.Concat(found...) {
				ends = append(ends, e.From[:2]+e.To[:2])
			}
			return ends
		}
		if diff := cmp.Diff([]string{"0105", "0104", "0103", "0102", "0109"}, list(driver.Out, id(1))); diff != "" {
			t.Errorf("the list (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"0104", "0109"}, list(driver.In, id(4), id(9))); diff != "" {
			t.Errorf("the lists back (-want +got):\n%s", diff)
		}
		next := driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: []string{id(1)}, Range: driver.Range{Limit: 2}}
		next.After = []driver.Value{id(1), time.UnixMilli(0).UTC(), id(9)}
		if rows := read(t, s, next).Rows; len(rows) != 0 {
			t.Errorf("after the edge without a time, which is the last: %v", rows)
		}
		until := driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: []string{id(1)}, Range: driver.Range{High: time.UnixMilli(3000)}}
		if n := read(t, s, until).Counts[0]; n != 3 {
			t.Errorf("%d edges are not after second 3, want 3", n)
		}
		e := read(t, s, driver.Step{Op: driver.GetEdges, Kind: "follows", IDs: []string{id(1)}, Ends: []string{id(3), id(9)}}).Lists[0]
		if len(e) != 2 || e[0].Version != unversioned || !e[0].Time.Equal(time.UnixMilli(3000)) || !driver.Equal(e[0].Data, driver.Document{{Name: "note", Value: "3"}}) || !e[1].Time.Equal(time.UnixMilli(0)) {
			t.Errorf("edges %v", e)
		}
		if n := read(t, s, driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: []string{id(1), id(2)}}).Counts; !slices.Equal(n, []int{5, 0}) {
			t.Errorf("counts %v", n)
		}
		edge := func(op driver.WriteOp, to byte, version, expect int64) driver.Write {
			return driver.Write{Op: op, Kind: "follows", Edge: &driver.Edge{From: id(1), To: id(to), Version: version, Time: time.UnixMilli(9000), Data: driver.Document{{Name: "note", Value: "new"}}}, Expect: expect}
		}
		write(t, s, edge(driver.Insert, 3, 1, 0), driver.Exists)
		write(t, s, edge(driver.Replace, 3, 2, 1), driver.Conflict)
		write(t, s, edge(driver.Replace, 3, 2, unversioned), driver.Done)
		write(t, s, edge(driver.Replace, 3, 3, unversioned), driver.Conflict)
		kept(t, "after a replace", document(t, db.Collection("links"), int32(3)), bson.D{
			{Key: "src", Value: oid(1)}, {Key: "dst", Value: oid(3)}, {Key: "at", Value: bson.DateTime(9000)}, {Key: "meta", Value: bson.D{{Key: "note", Value: "new"}}}, {Key: "extra", Value: bson.ObjectID{9}}, {Key: "_v", Value: int64(2)},
		})
		write(t, s, edge(driver.Insert, 7, 1, 0), driver.Done)
		write(t, s, edge(driver.Delete, 2, 0, unversioned), driver.Done)
		write(t, s, edge(driver.Delete, 2, 0, 0), driver.Missing)
		if diff := cmp.Diff([]string{"0103", "0107", "0105", "0104", "0109"}, list(driver.Out, id(1))); diff != "" {
			t.Errorf("the list after writes (-want +got):\n%s", diff)
		}
		r, err := outcome(t, s, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: "ann", To: id(1), Version: 1}})
		if r.Outcome != driver.Refused || !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("an end that is no ObjectID: %v, %v", r.Outcome, err)
		}
		opinion := driver.Edge{From: id(1), To: "p", Version: 4}
		write(t, s, driver.Write{Op: driver.Rekind, Kind: "likes", NewKind: "hates", Edge: &opinion, Expect: unversioned}, driver.Done)
		write(t, s, driver.Write{Op: driver.Rekind, Kind: "likes", NewKind: "hates", Edge: &opinion}, driver.Missing)
		if n, err := db.Collection("opinion").CountDocuments(t.Context(), bson.D{{Key: "how", Value: "hates"}, {Key: "who", Value: oid(1)}}); err != nil || n != 1 {
			t.Errorf("%d are hated, %v", n, err)
		}
	})
}

// Person is in a collection of another program.
type Person struct {
	ID      graphcache.ID[Person] `json:"id"`
	Version graphcache.Version    `json:"version"`
	Name    string                `json:"name" graph:"index"`
	Age     int                   `json:"age"`
}

// A graph over collections of another program reads, caches, writes and searches them, and
// sees a change that it is told of.
func TestAdoptedGraph(t *testing.T) {
	persons := graphcache.NewObjectKind[Person]("person")
	knows := graphcache.NewEdgeKind[graphcache.NoData]("knows", persons, persons)
	name := graphcache.StringFieldOf(persons, func(p *Person) *string { return &p.Name })
	age := graphcache.OrderedFieldOf(persons, func(p *Person) *int { return &p.Age })
	schema := graphcache.NewSchema(persons, knows)
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		ctx := t.Context()
		o := mongo.Options{
			Database: server.Database(t),
			Objects:  map[string]mongo.ObjectCollection{"person": {Name: "people", IDs: mongo.ObjectIDs, KeepUnknown: true}},
			Edges:    map[string]mongo.EdgeCollection{"knows": {Name: "acquaintances", From: "a", To: "b"}},
		}
		db := foreign(t, server, o.Database)
		theirs := exotic(server)
		key := func(n int) bson.ObjectID { return bson.ObjectID{0: byte(n), 5: 7} }
		id := func(n int) graphcache.ID[Person] { return graphcache.ID[Person](key(n).Hex()) }
		for n := range 5 {
			d := append(bson.D{{Key: "_id", Value: key(n)}, {Key: "name", Value: fmt.Sprint("p", n%2)}, {Key: "age", Value: int32(20 + n)}}, theirs...)
			if _, err := db.Collection("people").InsertOne(ctx, d); err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				if _, err := db.Collection("acquaintances").InsertOne(ctx, bson.D{{Key: "a", Value: key(0)}, {Key: "b", Value: key(n)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		g, err := graphcache.Open(ctx, schema, reopen(t, server, o), &graphcache.Options{Cache: memory.NewCache(nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close(ctx)
		ids := func(q graphcache.Query[Person, graphcache.NoEdge]) string {
			t.Helper()
			all, err := q.All(ctx, g)
			if err != nil {
				t.Fatal(err)
			}
			var text string
			for _, p := range all {
				text += fmt.Sprint(p.Age, " ")
			}
			return text
		}
		for range 2 { // from the store, and from the cache
			if got := ids(persons.Where(name.Eq("p0")).OrderBy(age.Desc())); got != "24 22 20 " {
				t.Errorf("found %s", got)
			}
			p, err := persons.Get(ctx, g, id(1))
			if err != nil || p.Name != "p1" || p.Age != 21 {
				t.Errorf("Get: %+v, %v", p, err)
			}
			friends, err := knows.Out(persons.ByID(id(0))).Where(age.Gt(22)).All(ctx, g)
			if err != nil || len(friends) != 2 {
				t.Errorf("neighbours: %v, %v", friends, err)
			}
		}
		if _, err := persons.Update(ctx, g, id(1), func(p *Person) error { p.Name, p.Age = "p0", 50; return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := persons.Apply(ctx, g, id(2), age.Add(100)); err != nil {
			t.Fatal(err)
		}
		if err := persons.Put(ctx, g, &Person{ID: id(3), Name: "p0", Age: 1}); err != nil {
			t.Fatal(err)
		}
		if got := ids(persons.Where(name.Eq("p0")).OrderBy(age.Asc())); got != "1 20 24 50 122 " {
			t.Errorf("after writes found %s", got)
		}
		for n := 1; n <= 3; n++ {
			kept(t, fmt.Sprint("after writes of ", n), document(t, db.Collection("people"), key(n)), theirs)
		}
		// Another program writes, without a version. An update does not lose it.
		if _, err := db.Collection("people").UpdateOne(ctx, bson.D{{Key: "_id", Value: key(4)}}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "p9"}}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := persons.Update(ctx, g, id(4), func(p *Person) error { p.Age++; return nil }); err != nil {
			t.Fatal(err)
		}
		if p, err := persons.Get(ctx, g, id(4)); err != nil || p.Name != "p9" || p.Age != 25 {
			t.Errorf("after a foreign change: %+v, %v", p, err)
		}
		if err := knows.Add(ctx, g, id(1), id(2), graphcache.NoData{}); err != nil {
			t.Fatal(err)
		}
		if err := persons.Delete(ctx, g, id(2)); err != nil {
			t.Fatal(err)
		}
		if n, err := knows.Count(ctx, g, id(0)); err != nil || n != 3 {
			t.Errorf("after a deletion there are %d edges, %v", n, err)
		}
		if n, err := db.Collection("acquaintances").CountDocuments(ctx, bson.D{}); err != nil || n != 3 {
			t.Errorf("after a deletion %d edges are stored, %v", n, err)
		}
		if err := persons.Create(ctx, g, &Person{ID: "ann"}); !errors.Is(err, graphcache.ErrInvalid) {
			t.Errorf("an ID that is no ObjectID: %v", err)
		}
	})
}
