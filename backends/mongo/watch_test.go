package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
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

// watchedSchema has an object kind with an index and one without, and edge kinds of every
// layout.
var watchedSchema = driver.Schema{
	Objects: []driver.ObjectKind{
		{Name: "user", Indexes: []driver.Index{{Name: "city", Columns: []driver.Column{
			{Path: []string{"city"}, Was: [][]string{{"town"}}, Zero: "", Type: driver.StringType},
		}}}},
		{Name: "note"},
	},
	Edges: []driver.EdgeKind{
		{Name: "follows", From: "user", To: "user"},
		{Name: "friend", From: "user", To: "user", Symmetric: true},
		{Name: "author", From: "note", To: "user", ToOne: true},
		{Name: "likes", From: "user", To: "note", Family: "opinion"},
		{Name: "hates", From: "user", To: "note", Family: "opinion"},
		{Name: "owns", From: "note", To: "user", Family: "right", ToOne: true},
		{Name: "rents", From: "note", To: "user", Family: "right", ToOne: true},
		{Name: "pays", From: "user", To: "user"},
	},
}

// watchTTL is the life of the lease in tests.
const watchTTL = 1500 * time.Millisecond

// watchWorld is a database, a store, and another program that writes it.
type watchWorld struct {
	t      *testing.T
	server *mongotest.Server
	opts   mongo.Options
	store  *mongo.Store
	other  *mongodriver.Database
	marks  int
}

// watchServer returns a server with change streams.
func watchServer(t testing.TB) *mongotest.Server {
	t.Helper()
	uri := mongotest.External()
	if uri == "" {
		return mongotest.SharedLungo(t)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(u.Host, ",")
	return &mongotest.Server{URI: uri, Addr: first, Name: "the server at GRAPHCACHE_MONGO_URI"}
}

func newWatchWorld(t *testing.T, s *mongotest.Server, o mongo.Options) *watchWorld {
	t.Helper()
	s.Need(t, mongotest.ChangeStreams)
	o.Database = s.Database(t)
	o.Edges = map[string]mongo.EdgeCollection{"pays": {Name: "payments", From: "a", To: "b"}}
	w := &watchWorld{t: t, server: s, opts: o, store: reopen(t, s, o)}
	w.ensure(w.store)
	client, err := mongodriver.Connect(options.Client().ApplyURI(s.URI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	w.other = client.Database(o.Database)
	return w
}

func (w *watchWorld) ensure(s driver.Store) {
	w.t.Helper()
	if err := s.Ensure(w.t.Context(), watchedSchema); err != nil {
		w.t.Fatal(err)
	}
}

// do makes changes as another program.
func (w *watchWorld) do(changes ...func(ctx context.Context, db *mongodriver.Database) error) {
	w.t.Helper()
	for _, f := range changes {
		if err := f(w.t.Context(), w.other); err != nil {
			w.t.Fatal(err)
		}
	}
}

type foreignWrite = func(ctx context.Context, db *mongodriver.Database) error

func foreignInsert(collection string, documents ...any) foreignWrite {
	return func(ctx context.Context, db *mongodriver.Database) error {
		_, err := db.Collection(collection).InsertMany(ctx, documents)
		return err
	}
}

func foreignUpdate(collection string, id any, change bson.D) foreignWrite {
	return func(ctx context.Context, db *mongodriver.Database) error {
		return oneChanged(db.Collection(collection).UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, change))
	}
}

func foreignReplace(collection string, id any, document bson.D) foreignWrite {
	return func(ctx context.Context, db *mongodriver.Database) error {
		return oneChanged(db.Collection(collection).ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, document))
	}
}

func oneChanged(r *mongodriver.UpdateResult, err error) error {
	if err == nil && r.ModifiedCount != 1 {
		err = fmt.Errorf("%d documents were changed", r.ModifiedCount)
	}
	return err
}

func foreignRemove(collection string, id any) foreignWrite {
	return func(ctx context.Context, db *mongodriver.Database) error {
		r, err := db.Collection(collection).DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
		if err == nil && r.DeletedCount != 1 {
			err = errors.New("nothing was deleted")
		}
		return err
	}
}

func foreignDrop(collection string) foreignWrite {
	return func(ctx context.Context, db *mongodriver.Database) error { return db.Collection(collection).Drop(ctx) }
}

func foreignDropDatabase(ctx context.Context, db *mongodriver.Database) error { return db.Drop(ctx) }

func setting(fields ...bson.E) bson.D { return bson.D{{Key: "$set", Value: bson.D(fields)}} }

func el(name string, value any) bson.E { return bson.E{Key: name, Value: value} }

// key is an _id of several fields.
func keyOf(fields ...bson.E) bson.D { return fields }

// write makes a write of graphcache, which must be done.
func (w *watchWorld) write(writes ...driver.Write) {
	w.t.Helper()
	for _, write := range writes {
		results, err := w.store.Write(w.t.Context(), []driver.Write{write})
		if err != nil || results[0].Outcome != driver.Done {
			w.t.Fatalf("write %v %s: %v, %v", write.Op, write.Kind, results, err)
		}
	}
}

// watchCall is a call of Watch.
type watchCall struct {
	world *watchWorld
	stop  func() error

	mu    sync.Mutex
	seen  []string
	calls int
}

// watch begins to watch.
func (w *watchWorld) watch(s *mongo.Store) *watchCall {
	x := &watchCall{world: w}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.WatchWithTTL(ctx, watchTTL, x.take) }()
	x.stop = sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() { _ = x.stop() })
	return x
}

// begin begins to watch, and returns when that has begun.
func (w *watchWorld) begin(s *mongo.Store) *watchCall {
	w.t.Helper()
	x := w.watch(s)
	w.until("the first place is stored", func() bool {
		raw, err := w.other.Collection("graphcache").FindOne(w.t.Context(), bson.D{{Key: "_id", Value: "watch"}}).Raw()
		if err != nil {
			return false
		}
		owner, _ := raw.Lookup("owner").StringValueOK()
		_, err = raw.LookupErr("token")
		return err == nil && owner != ""
	})
	return x
}

func (w *watchWorld) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (x *watchCall) take(_ context.Context, changes []driver.ForeignChange) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.calls++
	for i := range changes {
		x.seen = append(x.seen, changeText(&changes[i]))
	}
	return nil
}

// changeText is a change in short: a kind; an object with the cities in its states; an edge with
// its states.
func changeText(c *driver.ForeignChange) string {
	var b strings.Builder
	if c.Namespace != "" {
		b.WriteString(c.Namespace + ": ")
	}
	b.WriteString(c.Kind)
	switch {
	case c.ID != "":
		b.WriteString(" " + c.ID)
		for _, o := range c.Objects {
			city, _ := o.Doc.Get("city")
			fmt.Fprintf(&b, " [%v]", city)
		}
	case c.From != "":
		fmt.Fprintf(&b, " %s>%s", c.From, c.To)
		for _, e := range c.Edges {
			fmt.Fprintf(&b, " [%s>%s]", e.From, e.To)
		}
	}
	return b.String()
}

// changes returns what was passed for all that was written before the call.
func (x *watchCall) changes() []string {
	x.world.t.Helper()
	x.world.marks++
	mark := fmt.Sprintf("mark-%d", x.world.marks)
	x.world.do(foreignInsert("note", bson.D{el("_id", mark)}))
	var found []string
	x.world.until("the mark was passed", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !slices.Contains(x.seen, "note "+mark+" [<nil>]") {
			return false
		}
		found, x.seen = x.seen, nil
		return true
	})
	var others []string
	for _, text := range found {
		if !strings.HasPrefix(text, "note mark-") {
			others = append(others, text)
		}
	}
	return others
}

// stopped ends the call and returns what was passed.
func (x *watchCall) stopped() []string {
	_ = x.stop()
	return x.seen
}

func (x *watchCall) want(want ...string) {
	x.world.t.Helper()
	if diff := cmp.Diff(want, x.changes()); diff != "" {
		x.world.t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func watchedUser(id, city string, version int64) *driver.Object {
	return &driver.Object{ID: id, Version: version, Doc: driver.Document{{Name: "city", Value: city}}}
}

func TestWatchObjects(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	w.write(driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser("u0", "rome", 100)})
	x := w.begin(w.store)
	w.write(
		driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser("u1", "rome", 5000)},
		driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser("u2", "rome", 5000)},
	)
	for _, test := range []struct {
		name    string
		changes []foreignWrite
		want    []string
	}{
		{"insert", []foreignWrite{foreignInsert("user", bson.D{el("_id", "f1"), el("city", "rome")})}, []string{"user f1 [rome]"}},
		{"update", []foreignWrite{foreignUpdate("user", "u1", setting(el("age", 3)))}, []string{"user u1 [rome]"}},
		{"update of an index", []foreignWrite{foreignUpdate("user", "u1", setting(el("city", "oslo")))}, []string{"user"}},
		{"update of an index by its older name", []foreignWrite{foreignUpdate("user", "u1", setting(el("town.x", "oslo")))}, []string{"user"}},
		{"removal of a field of an index", []foreignWrite{foreignUpdate("user", "u1", bson.D{{Key: "$unset", Value: bson.D{el("city", "")}}})}, []string{"user"}},
		{"update of the mark", []foreignWrite{foreignUpdate("user", "u1", setting(el("_deleting", true)))}, []string{"user"}},
		{"replacement without a version", []foreignWrite{foreignReplace("user", "u0", bson.D{el("city", "bonn")})}, []string{"user"}},
		{"replacement with a copied version", []foreignWrite{foreignReplace("user", "u2", bson.D{el("city", "bonn"), el("_v", int64(5000))})}, []string{"user"}},
		{"replacement with an older version", []foreignWrite{foreignReplace("user", "u2", bson.D{el("city", "bern"), el("_v", int64(4990))})}, []string{"user"}},
		{"delete", []foreignWrite{foreignRemove("user", "u2")}, []string{"user"}},
		{"two deletes", []foreignWrite{foreignRemove("user", "u0"), foreignRemove("user", "f1")}, []string{"user"}},
		{"insert without an index", []foreignWrite{foreignInsert("note", bson.D{el("_id", "n1"), el("city", "a")})}, []string{"note n1 [a]"}},
		{"update without an index", []foreignWrite{foreignUpdate("note", "n1", setting(el("city", "b")))}, []string{"note n1 [b]"}},
		{"replacement without an index", []foreignWrite{foreignReplace("note", "n1", bson.D{el("city", "c")})}, []string{"note n1 [c]"}},
		{"delete without an index", []foreignWrite{foreignRemove("note", "n1")}, []string{"note n1"}},
		{"an ID of another type", []foreignWrite{foreignInsert("note", bson.D{el("_id", 7)})}, []string{"note"}},
		{"a collection of no kind", []foreignWrite{foreignInsert("stranger", bson.D{el("_id", 7)})}, nil},
		{"drop", []foreignWrite{foreignDrop("user"), foreignInsert("user", bson.D{el("_id", "f2")})}, []string{"user", "user f2 [<nil>]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			x.world.t = t
			w.do(test.changes...)
			x.want(test.want...)
		})
	}
	x.world.t = t
	if err := x.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v", err)
	}
}

func TestWatchPreImages(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{PreImages: true})
	w.write(
		driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser("u1", "rome", 1)},
		driver.Write{Op: driver.Insert, Kind: "author", Edge: &driver.Edge{From: "n1", To: "u1", Version: 1}},
		driver.Write{Op: driver.Insert, Kind: "owns", Edge: &driver.Edge{From: "n1", To: "u1", Version: 1}},
		driver.Write{Op: driver.Insert, Kind: "pays", Edge: &driver.Edge{From: "u1", To: "u2", Version: 1}},
	)
	x := w.begin(w.store)
	w.do(foreignUpdate("user", "u1", setting(el("city", "oslo"))))
	x.want("user u1 [rome] [oslo]")
	w.do(foreignReplace("user", "u1", bson.D{el("city", "bonn"), el("_v", int64(1))}))
	x.want("user u1 [oslo] [bonn]")
	w.do(foreignRemove("user", "u1"))
	x.want("user u1 [bonn]")
	w.do(foreignUpdate("author", "n1", setting(el("to", "u9"))))
	x.want("author n1>u9 [n1>u1] [n1>u9]")
	w.do(foreignRemove("author", "n1"))
	x.want("author n1>u9 [n1>u9]")
	w.do(func(ctx context.Context, db *mongodriver.Database) error {
		return oneChanged(db.Collection("right").UpdateOne(ctx, bson.D{}, setting(el("kind", "rents"), el("to", "u7"))))
	})
	x.want("owns n1>u1 [n1>u1]", "rents n1>u7 [n1>u7]")
	w.do(func(ctx context.Context, db *mongodriver.Database) error {
		_, err := db.Collection("payments").DeleteOne(ctx, bson.D{})
		return err
	})
	x.want("pays u1>u2 [u1>u2]")
}

func TestWatchEdges(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	id := func(from, to string) bson.D { return keyOf(el("from", from), el("to", to)) }
	in := func(from, to string, u int) bson.D { return keyOf(el("from", from), el("to", to), el("u", u)) }
	from := func(from string, u int) bson.D { return keyOf(el("from", from), el("u", u)) }
	now := el("time", bson.NewDateTimeFromTime(time.Now()))
	w.do(
		foreignInsert("author", bson.D{el("_id", "n8"), el("to", "a"), now}),
		foreignInsert("opinion", bson.D{el("_id", in("a", "n8", 8)), el("kind", "likes"), now}),
		foreignInsert("right", bson.D{el("_id", from("n8", 8)), el("kind", "owns"), el("to", "a"), now}),
		foreignInsert("payments", bson.D{el("_id", 8), el("a", "a"), el("b", "b"), now}),
	)
	x := w.begin(w.store)
	for _, test := range []struct {
		name   string
		change foreignWrite
		want   []string
	}{
		{"insert", foreignInsert("follows", bson.D{el("_id", id("a", "b")), now}), []string{"follows a>b [a>b]"}},
		{"update", foreignUpdate("follows", id("a", "b"), setting(el("data.x", 1))), []string{"follows a>b [a>b]"}},
		{"replace", foreignReplace("follows", id("a", "b"), bson.D{now, el("_v", 1)}), []string{"follows a>b [a>b] [a>b]"}},
		{"delete", foreignRemove("follows", id("a", "b")), []string{"follows a>b [a>b]"}},

		{"symmetric", foreignInsert("friend", bson.D{el("_id", id("a", "b")), now}), []string{"friend a>b [a>b]"}},

		{"to-one", foreignInsert("author", bson.D{el("_id", "n1"), el("to", "a"), now}), []string{"author n1>a [n1>a]"}},
		{"to-one elsewhere", foreignUpdate("author", "n1", setting(el("to", "b"))), []string{"author n1>b [n1>a] [n1>b]"}},
		{"to-one replaced", foreignReplace("author", "n1", bson.D{el("to", "c"), now}), []string{"author n1>c [n1>b] [n1>c]"}},
		{"to-one deleted", foreignRemove("author", "n1"), []string{"author n1>c [n1>c]"}},
		{"to-one not seen before, its data", foreignUpdate("author", "n8", setting(el("data.x", 1))), []string{"author n8>a [n8>a]"}},
		{"to-one not seen before, elsewhere", foreignUpdate("author", "n8", setting(el("to", "b"))), []string{"author", "author n8>b [n8>b]"}},

		{"family", foreignInsert("opinion", bson.D{el("_id", in("a", "n1", 1)), el("kind", "likes"), now}), []string{"likes a>n1 [a>n1]"}},
		{"family, another kind", foreignUpdate("opinion", in("a", "n1", 1), setting(el("kind", "hates"))), []string{"hates a>n1 [a>n1]", "likes a>n1 [a>n1]"}},
		{"family deleted", foreignRemove("opinion", in("a", "n1", 1)), []string{"hates a>n1 [a>n1]"}},
		{"family not seen before", foreignRemove("opinion", in("a", "n8", 8)), []string{"hates a>n8 [a>n8]", "likes a>n8 [a>n8]"}},
		{"family of a kind that is not declared", foreignInsert("opinion", bson.D{el("_id", in("a", "n1", 2)), el("kind", "knows"), now}), nil},

		{"to-one family", foreignInsert("right", bson.D{el("_id", from("n1", 1)), el("kind", "owns"), el("to", "a"), now}), []string{"owns n1>a [n1>a]"}},
		{"to-one family deleted", foreignRemove("right", from("n1", 1)), []string{"owns n1>a [n1>a]"}},
		{"to-one family not seen before", foreignRemove("right", from("n8", 8)), []string{"owns", "rents"}},

		{"adopted", foreignInsert("payments", bson.D{el("_id", 1), el("a", "a"), el("b", "d"), now}), []string{"pays a>d [a>d]"}},
		{"adopted, between others", foreignUpdate("payments", 1, setting(el("a", "c"))), []string{"pays c>d [a>d] [c>d]"}},
		{"adopted deleted", foreignRemove("payments", 1), []string{"pays c>d [c>d]"}},
		{"adopted not seen before", foreignRemove("payments", 8), []string{"pays"}},

		{"without an end", foreignInsert("author", bson.D{el("_id", "n3"), now}), []string{"author"}},
		{"with an end of another type", foreignInsert("author", bson.D{el("_id", "n4"), el("to", 5), now}), []string{"author"}},
		{"drop of a family", foreignDrop("opinion"), []string{"hates", "likes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			x.world.t = t
			w.do(test.change)
			x.want(test.want...)
		})
	}
	x.world.t = t
}

// Nothing that graphcache writes is passed on but deletions of edges.
func TestWatchOwn(t *testing.T) {
	for _, preImages := range []bool{false, true} {
		t.Run(fmt.Sprintf("pre-images=%v", preImages), func(t *testing.T) {
			w := newWatchWorld(t, watchServer(t), mongo.Options{PreImages: preImages})
			x := w.begin(w.store)
			const far = 1 << 40 // versions begin at random
			age := &driver.Column{Path: []string{"age"}, Zero: int64(0), Type: driver.IntType}
			edge := func(from, to string, version int64) *driver.Edge {
				return &driver.Edge{From: from, To: to, Version: version}
			}
			marked := func(version int64) *driver.Object {
				o := watchedUser("u1", "oslo", version)
				o.Deleting = true
				return o
			}
			w.write(
				driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser("u1", "rome", far)},
				driver.Write{Op: driver.Insert, Kind: "user", Object: watchedUser("u2", "rome", 1)},
				driver.Write{Op: driver.Replace, Kind: "user", Object: watchedUser("u1", "oslo", far+1), Expect: far},
				driver.Write{Op: driver.Replace, Kind: "user", Object: watchedUser("u1", "bonn", 5*far)},
				driver.Write{Op: driver.Replace, Kind: "user", Object: watchedUser("u1", "bern", 2*far)},
				driver.Write{Op: driver.Modify, Kind: "user", Object: &driver.Object{ID: "u1"}, Changes: []driver.Change{{Column: age, Add: int64(3)}}},
				driver.Write{Op: driver.Replace, Kind: "user", Object: marked(2*far + 2), Expect: 2*far + 1},
				driver.Write{Op: driver.Delete, Kind: "user", Object: &driver.Object{ID: "u1"}},
				driver.Write{Op: driver.Insert, Kind: "follows", Edge: edge("a", "b", 1)},
				driver.Write{Op: driver.Replace, Kind: "follows", Edge: edge("a", "b", 2)},
				driver.Write{Op: driver.Insert, Kind: "author", Edge: edge("n1", "a", 1)},
				driver.Write{Op: driver.Replace, Kind: "author", Edge: edge("n1", "b", 2), Expect: 1},
				driver.Write{Op: driver.Insert, Kind: "likes", Edge: edge("a", "n1", 1)},
				driver.Write{Op: driver.Rekind, Kind: "likes", NewKind: "hates", Edge: edge("a", "n1", 2)},
				driver.Write{Op: driver.Insert, Kind: "pays", Edge: edge("a", "b", 1)},
			)
			if err := w.store.Raise(t.Context(), []string{"user"}, 0); err != nil {
				t.Fatal(err)
			}
			x.want()
			w.write(
				driver.Write{Op: driver.Delete, Kind: "follows", Edge: edge("a", "b", 0)},
				driver.Write{Op: driver.Delete, Kind: "author", Edge: edge("n1", "b", 0)},
				driver.Write{Op: driver.Delete, Kind: "hates", Edge: edge("a", "n1", 0)},
				driver.Write{Op: driver.Delete, Kind: "pays", Edge: edge("a", "b", 0)},
			)
			x.want("follows a>b [a>b]", "author n1>b [n1>b]", "hates a>n1 [a>n1]", "pays a>b [a>b]")
		})
	}
}

func TestWatchNamespaces(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	w.ensure(w.store.Namespace("a/b"))
	x := w.begin(w.store)
	w.do(
		foreignInsert("a%2Fb/user", bson.D{el("_id", "u1"), el("city", "rome")}),
		foreignInsert("closed/follows", bson.D{el("_id", keyOf(el("from", "a"), el("to", "b")))}), // not opened here
		foreignInsert("a%2fb/user", bson.D{el("_id", "u2")}),                                      // not as it is written
		foreignRemove("a%2Fb/user", "u1"),
	)
	x.want("a/b: user u1 [rome]", "closed: follows a>b [a>b]", "user")
}

func TestUnescapeName(t *testing.T) {
	for _, name := range []string{"a", "a/b", "_a", "é%", "", "a b", "A-1_"} {
		if got, ok := mongo.UnescapeName(mongo.EscapeName(name)); got != name || !ok {
			t.Errorf("%q became %q, %v", name, got, ok)
		}
	}
	for _, wrong := range []string{"a b", "%", "%2", "%2f", "%61", "_a", "%zz"} {
		if got, ok := mongo.UnescapeName(wrong); ok {
			t.Errorf("%q was taken for that of %q", wrong, got)
		}
	}
}

func TestWatchBurst(t *testing.T) {
	w := newWatchWorld(t, watchServer(t), mongo.Options{})
	x := w.begin(w.store)
	const n = 5000
	var documents []any
	for i := range n {
		documents = append(documents, bson.D{el("_id", fmt.Sprintf("b%04d", i))})
	}
	w.do(foreignInsert("note", documents...))
	got := x.changes()
	if len(got) != n || got[0] != "note b0000 [<nil>]" || got[n-1] != "note b4999 [<nil>]" {
		t.Errorf("%d changes were passed, from %q to %q", len(got), got[0], got[len(got)-1])
	}
	if x.calls > n/100 {
		t.Errorf("they came in %d batches", x.calls)
	}
}

func TestWatchUnsupported(t *testing.T) {
	s := mongotest.SharedFerretDB(t)
	store := open(t, s, mongo.Options{})
	err := store.Watch(t.Context(), func(context.Context, []driver.ForeignChange) error { return nil })
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), store.Capabilities().Name) {
		t.Errorf("Watch returned %v", err)
	}
}
