package mongo_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/internal/mongotest"
)

type watchPerson struct {
	ID   graphcache.ID[watchPerson] `json:"id"`
	Name string                     `json:"name"`
	City string                     `json:"city" graph:"index"`
	Age  int                        `json:"age"`
}

var (
	watchPersons = graphcache.NewObjectKind[watchPerson]("person")
	watchFollows = graphcache.NewEdgeKind[graphcache.NoData]("follows", watchPersons, watchPersons)
	watchBoss    = graphcache.NewEdgeKind[graphcache.NoData]("boss", watchPersons, watchPersons).ToOne()
	watchCity    = graphcache.StringFieldOf(watchPersons, func(p *watchPerson) *string { return &p.City })
	watchAge     = graphcache.OrderedFieldOf(watchPersons, func(p *watchPerson) *int { return &p.Age })
	watchGraph   = graphcache.NewSchema(watchPersons, watchFollows, watchBoss)
)

// What another program writes becomes visible to cached reads of every process, whichever of
// them watches.
func TestWatchGraph(t *testing.T) {
	for _, preImages := range []bool{false, true} {
		t.Run(fmt.Sprintf("pre-images=%v", preImages), func(t *testing.T) { testWatchGraph(t, preImages) })
	}
}

func testWatchGraph(t *testing.T, preImages bool) {
	s := watchServer(t)
	s.Need(t, mongotest.ChangeStreams)
	o := mongo.Options{Database: s.Database(t), PreImages: preImages}
	cache := memory.NewCache(nil)
	process := func() *graphcache.Graph {
		g, err := graphcache.Open(t.Context(), watchGraph, reopen(t, s, o), &graphcache.Options{Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close(context.WithoutCancel(t.Context())) })
		return g
	}
	g, other := process(), process()
	client, err := mongodriver.Connect(options.Client().ApplyURI(s.URI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	db := client.Database(o.Database)
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(g.CreateAll(ctx, &watchPerson{ID: "ann", Name: "Ann", City: "rome"}, &watchPerson{ID: "bob", Name: "Bob", City: "rome"}, &watchPerson{ID: "cid", Name: "Cid", City: "oslo"}))
	check(watchFollows.Add(ctx, g, "ann", "bob", graphcache.NoData{}))
	check(watchBoss.Add(ctx, g, "ann", "bob", graphcache.NoData{}))

	name := func() string {
		p, err := watchPersons.Get(ctx, g, "ann")
		if err != nil {
			return err.Error()
		}
		return p.Name
	}
	ids := func(q func() (graphcache.IDs[watchPerson], error)) func() string {
		return func() string {
			found, err := q()
			slices.Sort(found)
			return fmt.Sprint(found, err)
		}
	}
	romans := ids(func() (graphcache.IDs[watchPerson], error) {
		return watchPersons.Where(watchCity.Eq("rome")).IDs(ctx, g)
	})
	followed := ids(func() (graphcache.IDs[watchPerson], error) {
		return watchFollows.Out(graphcache.ID[watchPerson]("ann")).IDs(ctx, g)
	})
	bobsPeople := ids(func() (graphcache.IDs[watchPerson], error) {
		return watchBoss.In(graphcache.ID[watchPerson]("bob")).IDs(ctx, g)
	})
	settled := func(read func() string) string { // cached now, in every process
		t.Helper()
		read()
		check(g.Settle(ctx))
		return read()
	}

	// Without Watch it is not seen.
	before := settled(name)
	check(foreignUpdate("person", "ann", setting(el("name", "Anna")))(ctx, db))
	if got := name(); got != before {
		t.Fatalf("the read was not cached: %q", got)
	}
	check(g.InvalidateKind(ctx, watchPersons))

	watching, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	for _, g := range []*graphcache.Graph{g, other} {
		go func() { ended <- g.Watch(watching) }()
	}
	waitFor := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: waited in vain", what)
			}
		}
	}
	waitFor("begin", func() bool {
		n, err := db.Collection("graphcache").CountDocuments(ctx, bson.D{el("_id", "watch"), el("token", bson.D{el("$exists", true)})})
		return err == nil && n == 1
	})

	ends := bson.D{el("from", "ann"), el("to", "cid")}
	now := el("time", bson.NewDateTimeFromTime(time.Now()))
	for _, step := range []struct {
		name   string
		change foreignWrite
		read   func() string
		want   string
	}{
		{"update", foreignUpdate("person", "ann", setting(el("name", "Annie"))), name, "Annie"},
		{"replace", foreignReplace("person", "ann", bson.D{el("name", "Anya"), el("city", "rome")}), name, "Anya"},
		{"into an index", foreignUpdate("person", "cid", setting(el("city", "rome"))), romans, "[ann bob cid] <nil>"},
		{"out of an index", foreignUpdate("person", "ann", setting(el("city", "oslo"))), romans, "[bob cid] <nil>"},
		{"insert", foreignInsert("person", bson.D{el("_id", "dan"), el("name", "Dan"), el("city", "rome")}), romans, "[bob cid dan] <nil>"},
		{"delete", foreignRemove("person", "dan"), romans, "[bob cid] <nil>"},
		{"edge", foreignInsert("follows", bson.D{el("_id", ends), now}), followed, "[bob cid] <nil>"},
		{"edge deleted", foreignRemove("follows", ends), followed, "[bob] <nil>"},
		{"to-one elsewhere", foreignUpdate("boss", "ann", setting(el("to", "cid"))), bobsPeople, "[] <nil>"},
		{"to-one back", foreignReplace("boss", "ann", bson.D{el("to", "bob"), now}), bobsPeople, "[ann] <nil>"},
		{"to-one deleted", foreignRemove("boss", "ann"), bobsPeople, "[] <nil>"},
	} {
		before := settled(step.read)
		check(step.change(ctx, db))
		waitFor(step.name, func() bool { return step.read() == step.want })
		t.Logf("%s: %s became %s", step.name, before, step.want)
	}

	// The graph's own writes are none of others.
	seen := g.Stats().ForeignChanges + other.Stats().ForeignChanges
	check(watchPersons.Create(ctx, g, &watchPerson{ID: "eve", City: "rome"}))
	_, err = watchPersons.Update(ctx, g, "eve", func(p *watchPerson) error { p.City = "bonn"; return nil })
	check(err)
	check(watchPersons.Put(ctx, g, &watchPerson{ID: "eve", City: "bern"}))
	check(watchPersons.Put(ctx, g, &watchPerson{ID: "fay", City: "bern"}))
	_, err = watchPersons.Apply(ctx, g, "eve", watchAge.Add(3))
	check(err)
	check(watchFollows.Add(ctx, g, "fay", "eve", graphcache.NoData{}))
	check(watchBoss.Add(ctx, g, "fay", "eve", graphcache.NoData{}))
	check(watchBoss.Add(ctx, g, "fay", "bob", graphcache.NoData{}))
	check(watchPersons.Delete(ctx, g, "eve")) // and one edge
	check(foreignUpdate("person", "ann", setting(el("name", "Ana")))(ctx, db))
	waitFor("the last change", func() bool { return name() == "Ana" })
	changes := func() int64 { return g.Stats().ForeignChanges + other.Stats().ForeignChanges - seen }
	waitFor("count", func() bool { return changes() >= 2 })
	if n := changes(); n != 2 {
		t.Errorf("%d changes were taken for foreign, and not those of ann and of the edge from fay", n)
	}

	stop()
	for range 2 {
		if err := <-ended; err != context.Canceled {
			t.Errorf("Watch ended with %v", err)
		}
	}
}
