package mongo_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

var update = flag.Bool("update", false, "write the golden files")

// recorder is a client that notes the commands it sends.
type recorder struct {
	client *mongodriver.Client

	mu   sync.Mutex
	sent []bson.Raw // protects
}

func newRecorder(t testing.TB, s *mongotest.Server) *recorder {
	t.Helper()
	r := new(recorder)
	monitor := &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, slices.Clone(e.Command))
	}}
	var err error
	if r.client, err = mongodriver.Connect(options.Client().ApplyURI(s.URI).SetMonitor(monitor)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Disconnect(context.Background()) })
	return r
}

// store returns a store that uses the client and knows the schema.
func (r *recorder) store(t testing.TB, o mongo.Options, schema driver.Schema) *mongo.Store {
	t.Helper()
	s, err := mongo.New(t.Context(), r.client, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	ensure(t, s, schema)
	r.take()
	return s
}

// take returns the commands that were sent since it was called last.
func (r *recorder) take() []bson.Raw {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

var random = regexp.MustCompile(`"[A-Z2-7]{26}"|\{"\$oid":"[0-9a-f]{24}"\}|\{"\$date":"2[^"]*"\}`)

// text returns the commands as a golden file has them: a line for each of their fields, those
// that were sent at the same time in the order of their words.
func text(t testing.TB, database string, sent []bson.Raw) string {
	t.Helper()
	var all []string
	for _, command := range sent {
		elements, err := command.Elements()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, e := range elements {
			value := ""
			switch e.Key() {
			case "$clusterTime": // whatever the client has heard of last
				continue
			case "lsid":
				value = "LSID"
			case "txnNumber":
				value = "NUMBER"
			case "$db":
				value = strings.ReplaceAll(e.Value().StringValue(), database, "DB")
			default:
				json, err := bson.MarshalExtJSON(bson.D{{Key: "v", Value: e.Value()}}, false, false)
				if err != nil {
					t.Fatal(err)
				}
				value = strings.TrimSuffix(strings.TrimPrefix(string(json), `{"v":`), "}")
				value = random.ReplaceAllString(value, "RANDOM")
			}
			if e.Key() == "readConcern" {
				value = regexp.MustCompile(`\{"\$timestamp":\{[^}]*\}\}`).ReplaceAllString(value, "TIME")
			}
			fmt.Fprintf(&b, "  %s: %s\n", e.Key(), value)
		}
		all = append(all, b.String())
	}
	slices.Sort(all)
	return strings.Join(all, "  --\n")
}

// golden compares a text with that of a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "commands", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("commands have changed; if they should have, run with -update (-want +got):\n%s", diff)
	}
}

// recording is a store with some records in its database, whose commands are recorded.
type recording struct {
	t        *testing.T
	database string
	recorder *recorder
	store    *mongo.Store
	out      strings.Builder
}

// recordedSchema is someSchema with kinds that differ.
func recordedSchema() driver.Schema {
	schema := someSchema
	schema.Objects = append(slices.Clone(schema.Objects), driver.ObjectKind{Name: "kept"}, driver.ObjectKind{Name: "number"})
	schema.Edges = append(slices.Clone(schema.Edges), driver.EdgeKind{Name: "adopted", From: "user", To: "user"},
		driver.EdgeKind{Name: "main", From: "user", To: "post", Family: "address", ToOne: true}, driver.EdgeKind{Name: "old", From: "user", To: "post", Family: "address", ToOne: true})
	return schema
}

func newRecording(t *testing.T, change func(*mongo.Options)) *recording {
	server := mongotest.SharedLungo(t)
	o := mongo.Options{
		Database: server.Database(t), Logger: slog.New(slog.DiscardHandler),
		Objects: map[string]mongo.ObjectCollection{"kept": {KeepUnknown: true}, "number": {IDs: mongo.IntIDs}},
		Edges:   map[string]mongo.EdgeCollection{"adopted": {From: "src", To: "dst"}},
	}
	if change != nil {
		change(&o)
	}
	other := reopen(t, server, o)
	ensure(t, other, recordedSchema())
	for i, id := range []string{"a", "b", "c"} {
		write(t, other, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: id, Version: 1, Doc: driver.Document{{Name: "n", Value: int64(i)}, {Name: "city", Value: "Rome"}}}}, driver.Done)
		write(t, other, driver.Write{Op: driver.Insert, Kind: "kept", Object: numbered(id, 1, 1)}, driver.Done)
		for _, kind := range []string{"follows", "friend", "likes", "adopted", "main", "home"} {
			write(t, other, driver.Write{Op: driver.Insert, Kind: kind, Edge: &driver.Edge{From: "a" + id, To: "b", Version: 1, Time: time.UnixMilli(5)}}, driver.Done)
		}
		write(t, other, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: "a", To: id, Version: 1, Time: time.UnixMilli(int64(i))}}, driver.Done)
	}
	r := &recording{t: t, database: o.Database, recorder: newRecorder(t, server)}
	r.store = r.recorder.store(t, o, recordedSchema())
	return r
}

// note writes down what has been sent for a call.
func (r *recording) note(name string) {
	r.t.Helper()
	sent := r.recorder.take()
	fmt.Fprintf(&r.out, "%s: %d\n%s\n", name, len(sent), text(r.t, r.database, sent))
}

func (r *recording) step(name string, s driver.Step) {
	r.t.Helper()
	read(r.t, r.store, s)
	r.note(name)
}

func (r *recording) write(name string, want driver.Outcome, w driver.Write) {
	r.t.Helper()
	write(r.t, r.store, w, want)
	r.note(name)
}

// The commands of reads, each read in a store that has written nothing.
func TestReadCommands(t *testing.T) {
	r := newRecording(t, nil)
	lists := driver.Range{High: time.UnixMilli(99), Low: time.UnixMilli(1), Offset: 1, Limit: 2}
	r.step("get an object", driver.Step{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}})
	r.step("get objects", driver.Step{Op: driver.GetObjects, Kind: "user", IDs: []string{"a", "$gt"}})
	r.step("get objects with integers for IDs", driver.Step{Op: driver.GetObjects, Kind: "number", IDs: []string{"7", "x"}})
	r.step("get objects that cannot be", driver.Step{Op: driver.GetObjects, Kind: "number", IDs: []string{"x"}})
	r.step("scan deleting", driver.Step{Op: driver.ScanDeleting, Kind: "user", IDs: []string{"a"}, Range: driver.Range{Limit: 5}})
	for _, kind := range []string{"follows", "friend", "home", "likes", "main", "adopted"} {
		r.step("get edges of "+kind, driver.Step{Op: driver.GetEdges, Kind: kind, IDs: []string{"a"}, Ends: []string{"b", "c"}})
		if kind != "friend" {
			r.step("get edges into "+kind, driver.Step{Op: driver.GetEdges, Kind: kind, Direction: driver.In, IDs: []string{"b", "c"}, Ends: []string{"a"}})
			r.step("lists into "+kind, driver.Step{Op: driver.ListEdges, Kind: kind, Direction: driver.In, IDs: []string{"b"}})
		}
		r.step("a list of "+kind, driver.Step{Op: driver.ListEdges, Kind: kind, IDs: []string{"a"}})
		r.step("a part of a list of "+kind, driver.Step{Op: driver.ListEdges, Kind: kind, IDs: []string{"a"}, Range: lists})
		r.step("lists of "+kind, driver.Step{Op: driver.ListEdges, Kind: kind, IDs: []string{"a", "b"}})
		r.step("parts of lists of "+kind, driver.Step{Op: driver.ListEdges, Kind: kind, IDs: []string{"a", "b"}, Range: lists})
		r.step("counts of "+kind, driver.Step{Op: driver.CountEdges, Kind: kind, IDs: []string{"a", "b"}, Range: driver.Range{Low: time.UnixMilli(1)}})
		r.step("scan "+kind, driver.Step{Op: driver.ScanEdges, Kind: kind, Range: driver.Range{Limit: 3}})
		r.step("scan on in "+kind, driver.Step{Op: driver.ScanEdges, Kind: kind, IDs: []string{"a", "b"}, Range: driver.Range{Limit: 3}})
	}
	golden(t, "read", r.out.String())

	r = newRecording(t, func(o *mongo.Options) { o.Plain = true })
	r.step("parts of lists, plain", driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: []string{"a", "b"}, Range: lists})
	r.step("parts of lists of a symmetric kind, plain", driver.Step{Op: driver.ListEdges, Kind: "friend", IDs: []string{"a", "b"}, Range: lists})
	golden(t, "read-plain", r.out.String())
}

// The commands of searches.
func TestFindCommands(t *testing.T) {
	r := newRecording(t, nil)
	city, untyped := &driver.Column{Path: []string{"city"}, Zero: "", Type: driver.StringType}, &driver.Column{Path: []string{"city"}}
	renamed := &driver.Column{Path: []string{"city"}, Was: [][]string{{"town"}}, Zero: "", Type: driver.StringType}
	note := &driver.Column{Of: driver.EdgeField, Path: []string{"note"}, Zero: "", Type: driver.StringType}
	nilable := &driver.Column{Path: []string{"city"}, Type: driver.StringType}
	float := &driver.Column{Path: []string{"weight"}, Type: driver.FloatType}
	filter := func(op driver.FilterOp, c *driver.Column, values ...driver.Value) *driver.Filter {
		return &driver.Filter{Op: op, Column: c, Values: values}
	}
	order := func(c *driver.Column, desc bool) []driver.Order { return []driver.Order{{Column: c, Desc: desc}} }
	page := driver.Range{Offset: 1, Limit: 2}
	for _, c := range []struct {
		name string
		step driver.Step
	}{
		{"equal", driver.Step{Filter: filter(driver.AnyOf, city, "Rome")}},
		{"equal to the zero", driver.Step{Filter: filter(driver.AnyOf, city, "", "Rome")}},
		{"equal, of no known type", driver.Step{Filter: filter(driver.AnyOf, untyped, "Rome"), Range: page}},
		{"equal, with an older name", driver.Step{Filter: filter(driver.AnyOf, renamed, "Rome"), Range: page}},
		{"not equal", driver.Step{Filter: &driver.Filter{Op: driver.Not, Of: []driver.Filter{*filter(driver.AnyOf, city, "Rome")}}}},
		{"prefix", driver.Step{Filter: filter(driver.HasPrefix, city, "R.$")}},
		{"contains", driver.Step{Filter: filter(driver.Contains, city, "R.$")}},
		{"range", driver.Step{Filter: filter(driver.Less, countColumn, int64(5)), Range: page}},
		{"IDs", driver.Step{Filter: filter(driver.AnyOf, &driver.Column{Of: driver.ObjectID}, "a", "b")}},
		{"ordered", driver.Step{Order: order(nilable, false), Range: page}},
		{"ordered by what may be missing", driver.Step{Order: order(city, true), Range: page}},
		{"after", driver.Step{Order: order(nilable, false), After: []driver.Value{"Rome", "b"}, Range: page}},
		{"after, descending", driver.Step{Order: order(nilable, true), After: []driver.Value{"Rome", "b"}, Range: page}},
		// No NaN: a FerretDB cuts the connection at it.
		{"after, descending, floats", driver.Step{Order: order(float, true), After: []driver.Value{1.5, "b"}, Range: page}},
		{"count", driver.Step{Filter: filter(driver.AnyOf, city, "Rome"), Count: true}},
		{"count all", driver.Step{Count: true}},
		{"count, inexact", driver.Step{Filter: filter(driver.AnyOf, untyped, "Rome"), Count: true}},
		{"nothing", driver.Step{Filter: &driver.Filter{Op: driver.Or}}},
	} {
		c.step.Op, c.step.Kind = driver.FindObjects, "user"
		r.step("objects, "+c.name, c.step)
	}
	time0 := &driver.Column{Of: driver.EdgeTime}
	for _, c := range []struct {
		name string
		step driver.Step
	}{
		{"a list", driver.Step{IDs: []string{"a"}, Range: page}},
		{"lists", driver.Step{IDs: []string{"a", "b"}, Range: page}},
		{"on", driver.Step{IDs: []string{"a"}, Range: page, After: []driver.Value{"a", time.UnixMilli(2), "c"}}},
		{"with data", driver.Step{IDs: []string{"a", "b"}, Filter: filter(driver.AnyOf, note, "x"), Order: order(time0, false), Range: page}},
		{"by data", driver.Step{IDs: []string{"a", "b"}, Order: order(note, false), Range: page}},
		{"after", driver.Step{IDs: []string{"a", "b"}, Order: order(time0, true), After: []driver.Value{time.UnixMilli(2), "c", "a"}, Range: page}},
		{"count", driver.Step{IDs: []string{"a", "b"}, Order: order(time0, true), Count: true}},
		{"far", driver.Step{IDs: []string{"a", "b"}, Far: "user", Filter: filter(driver.AnyOf, city, "Rome"), Order: order(countColumn, true), Range: page}},
		{"distinct", driver.Step{IDs: []string{"a", "b"}, Distinct: true, LimitPer: 2}},
	} {
		c.step.Op, c.step.Kind = driver.FindEdges, "follows"
		r.step("edges, "+c.name, c.step)
	}
	r.step("edges of a symmetric kind", driver.Step{Op: driver.FindEdges, Kind: "friend", IDs: []string{"a"}, Range: page})
	golden(t, "find", r.out.String())
}

// The commands of writes.
func TestWriteCommands(t *testing.T) {
	r := newRecording(t, nil)
	at := time.UnixMilli(7)
	object := func(op driver.WriteOp, kind, id string, version, expect int64) driver.Write {
		return driver.Write{Op: op, Kind: kind, Object: numbered(id, version, version), Expect: expect}
	}
	r.write("insert", driver.Done, object(driver.Insert, "user", "x", 1, 0))
	r.write("insert what is there", driver.Exists, object(driver.Insert, "user", "x", 1, 0))
	r.write("replace", driver.Done, object(driver.Replace, "user", "x", 2, 0))
	w := object(driver.Replace, "user", "x", 3, 2)
	w.Gone, w.Old = []string{"city", "a.b", "n"}, driver.Document{{Name: "n", Value: int64(2)}, {Name: "email", Value: nil}}
	r.write("replace a version", driver.Done, w)
	r.write("replace another version", driver.Conflict, object(driver.Replace, "user", "x", 3, 2))
	w = object(driver.Replace, "user", "x", 4, 3)
	w.Object.Deleting = true
	r.write("mark", driver.Done, w)
	r.write("take the mark away", driver.Done, object(driver.Replace, "user", "x", 5, 4))
	r.write("replace, kept", driver.Done, object(driver.Replace, "kept", "a", 2, 0))
	w = object(driver.Replace, "kept", "a", 3, 2)
	w.Gone = []string{"city"}
	r.write("replace a version, kept", driver.Done, w)
	w = plus("x", 3)
	w.Changes = append(w.Changes, driver.Change{Column: &driver.Column{Path: []string{"city"}, Zero: ""}, Set: "Paris"})
	w.Changes[0].Low, w.Changes[0].High = int64(0), int64(99)
	r.write("modify", driver.Done, w)
	w.Expect = 6
	r.write("modify a version", driver.Done, w)
	w = plus("x", 1)
	w.Changes[0].Column = &driver.Column{Path: []string{"new"}, Zero: int64(4)}
	r.write("modify what is missing", driver.Done, w)
	w.Changes = []driver.Change{{Column: &driver.Column{Path: []string{"float"}, Zero: 1.0}, Add: 0.5, Low: 0.0, High: 9.0}}
	r.write("modify a float", driver.Done, w)
	r.write("modify nobody", driver.Missing, plus("nobody", 1))
	r.write("delete a version", driver.Conflict, object(driver.Delete, "user", "x", 0, 2))
	r.write("delete", driver.Done, object(driver.Delete, "user", "x", 0, 0))
	for _, kind := range []string{"follows", "friend", "home", "likes", "main", "adopted"} {
		edge := func(op driver.WriteOp, version, expect int64) driver.Write {
			return driver.Write{Op: op, Kind: kind, Edge: &driver.Edge{From: "x", To: "y", Version: version, Time: at, Data: driver.Document{{Name: "a.b", Value: version}}}, Expect: expect}
		}
		r.write("insert an edge of "+kind, driver.Done, edge(driver.Insert, 1, 0))
		r.write("replace an edge of "+kind, driver.Done, edge(driver.Replace, 2, 1))
		w := edge(driver.Replace, 3, 0)
		w.Old = driver.Document{{Name: "a.b", Value: int64(2)}}
		r.write("replace an edge with data of "+kind, driver.Done, w)
		for from, to := range map[string]string{"likes": "hates", "main": "old"} {
			if kind == from {
				w := edge(driver.Rekind, 4, 3)
				w.NewKind = to
				r.write("move an edge of "+kind, driver.Done, w)
				w.Kind, w.NewKind, w.Expect = to, from, 0
				r.write("move it back", driver.Done, w)
			}
		}
		r.write("delete an edge of "+kind, driver.Done, edge(driver.Delete, 0, 0))
	}
	all := func(name string, writes ...driver.Write) {
		t.Helper()
		if _, err := r.store.Write(t.Context(), writes); err != nil {
			t.Fatal(err)
		}
		r.note(name)
	}
	all("insert objects", object(driver.Insert, "user", "m1", 1, 0), object(driver.Insert, "user", "a", 1, 0), object(driver.Insert, "user", "m2", 1, 0))
	all("writes of several records", object(driver.Replace, "user", "m1", 2, 0), object(driver.Delete, "user", "m2", 0, 0), plus("a", 1))
	all("an insert and a delete", object(driver.Insert, "user", "m3", 1, 0), object(driver.Delete, "user", "m3", 0, 1))
	r.step("a read after writes", driver.Step{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}})
	golden(t, "write", r.out.String())
}

// The commands of everything else.
func TestOtherCommands(t *testing.T) {
	server := mongotest.SharedLungo(t)
	r := &recording{t: t, database: server.Database(t), recorder: newRecorder(t, server)}
	o := mongo.Options{Database: r.database, Edges: map[string]mongo.EdgeCollection{"adopted": {From: "src", To: "dst"}}}
	ctx := t.Context()
	check := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(name, err)
		}
		r.note(name)
	}
	var err error
	r.store, err = mongo.New(ctx, r.recorder.client, &o)
	check("new", err)
	_, err = r.store.ID(ctx)
	check("ID", err)
	_, _, err = r.store.IndexPlan(ctx, someSchema)
	check("plan", err)
	check("ensure", r.store.Ensure(ctx, someSchema))
	check("ensure again", r.store.Ensure(ctx, someSchema))
	owed := []driver.JournalEntry{
		{Anchor: "anchor", Owner: "owner", Token: "token", Window: 5 * time.Second},
		{Anchor: "", Owner: "owner", Token: "other", Window: 2 * time.Minute, Record: "record"},
		{Anchor: "anchor", Owner: "owner", Token: "third", Window: time.Millisecond},
	}
	_, err = r.store.Look(ctx)
	check("look", err)
	check("owe", r.store.Owe(ctx, owed))
	check("settle", r.store.Settle(ctx, owed[1:]))
	index := []driver.RegistryEntry{{Kind: "user", Spec: "an index"}}
	check("register", r.store.Register(ctx, index))
	index[0].Ready = true
	check("register as ready", r.store.Register(ctx, index))
	check("raise", r.store.Raise(ctx, []string{"user"}, 0))
	check("raise to", r.store.Raise(ctx, []string{"user"}, 9))
	tx, err := r.store.Begin(ctx)
	check("begin", err)
	_, err = tx.Read(ctx, []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}}, "")
	check("read in a transaction", err)
	_, err = tx.Write(ctx, []driver.Write{{Op: driver.Insert, Kind: "post", Object: numbered("a", 1, 1)}})
	check("write in a transaction", err)
	_, err = tx.Commit(ctx)
	check("commit", err)
	tx, err = r.store.Begin(ctx)
	check("begin once more", err)
	_, err = tx.Write(ctx, []driver.Write{{Op: driver.Delete, Kind: "post", Object: numbered("a", 1, 1)}})
	check("delete in a transaction", err)
	check("roll back", tx.Rollback(ctx))
	view := r.store.Namespace("é/x")
	check("ensure a namespace", view.Ensure(ctx, driver.Schema{Objects: []driver.ObjectKind{{Name: "post"}}}))
	_, err = view.Read(ctx, []driver.Step{{Op: driver.GetObjects, Kind: "post", IDs: []string{"a"}}}, "")
	check("read in a namespace", err)
	golden(t, "other", r.out.String())
}

// Whatever the client's options are, reads are of the primary and of what a majority has, and
// writes wait for the majority.
func TestConcerns(t *testing.T) {
	server := *mongotest.SharedLungo(t)
	server.URI += "&readConcernLevel=local&w=1&readPreference=secondaryPreferred"
	r := newRecorder(t, &server)
	s := r.store(t, mongo.Options{Database: server.Database(t)}, someSchema)
	for _, w := range []driver.Write{
		{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, 1)}, {Op: driver.Replace, Kind: "user", Object: numbered("a", 2, 1)},
		plus("a", 1), {Op: driver.Delete, Kind: "user", Object: numbered("a", 2, 1)}, {Op: driver.Insert, Kind: "likes", Edge: &driver.Edge{From: "a", To: "b", Version: 1}},
	} {
		write(t, s, w, driver.Done)
	}
	steps := []driver.Step{
		{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}, {Op: driver.CountEdges, Kind: "likes", IDs: []string{"a"}},
		{Op: driver.ListEdges, Kind: "likes", IDs: []string{"a", "b"}, Range: driver.Range{Limit: 2}}, {Op: driver.FindObjects, Kind: "user", Count: true},
	}
	if _, err := s.Read(t.Context(), steps, ""); err != nil {
		t.Fatal(err)
	}
	owed := []driver.JournalEntry{{Anchor: "a", Owner: "o", Token: "t"}}
	if err := errors.Join(
		s.Raise(t.Context(), []string{"user"}, 9), s.Register(t.Context(), []driver.RegistryEntry{{Kind: "user", Spec: "s"}}),
		s.Owe(t.Context(), owed), s.Settle(t.Context(), owed),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ID(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := r.take()
	if len(sent) < 15 {
		t.Errorf("only %d commands", len(sent))
	}
	for _, c := range sent {
		elements, _ := c.Elements()
		name := elements[0].Key()
		if mode, ok := c.Lookup("$readPreference", "mode").StringValueOK(); ok && mode != "primary" && mode != "primaryPreferred" {
			t.Errorf("%s with the read preference %s", name, mode)
		}
		if isWrite(name) {
			if w, _ := c.Lookup("writeConcern", "w").StringValueOK(); w != "majority" {
				t.Errorf("%s with w: %v", name, c.Lookup("writeConcern"))
			}
		} else if level, _ := c.Lookup("readConcern", "level").StringValueOK(); level != "majority" {
			t.Errorf("%s with the read concern %v", name, c.Lookup("readConcern"))
		}
	}
}

// A step of a thousand IDs is one command, whatever it finds; that of more is one for each
// thousand.
func TestRoundTrips(t *testing.T) {
	server := mongotest.SharedLungo(t)
	r := newRecorder(t, server)
	s := r.store(t, mongo.Options{Database: server.Database(t)}, someSchema)
	var ids []string
	var objects, edges, changes []driver.Write
	for i := range 1500 {
		id := fmt.Sprintf("%04d", i)
		ids = append(ids, id)
		objects = append(objects, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered(id, 1, int64(i))})
		edges = append(edges, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: id, To: fmt.Sprintf("%04d", (i+1)%1500), Version: 1}})
		changes = append(changes, plus(id, 1))
	}
	commands := func(name string, want int) {
		t.Helper()
		if sent := r.take(); len(sent) != want {
			count := make(map[string]int)
			for _, c := range sent {
				elements, _ := c.Elements()
				count[elements[0].Key()]++
			}
			t.Errorf("%s: %d commands, want %d: %v", name, len(sent), want, count)
		}
	}
	for name, writes := range map[string][]driver.Write{"objects": objects, "edges": edges} {
		if _, err := s.Write(t.Context(), writes); err != nil {
			t.Fatal(err)
		}
		commands("insert "+name, 2)
	}
	step := func(name string, want int, step driver.Step) {
		t.Helper()
		read(t, s, step)
		commands(name, want)
	}
	n := &driver.Column{Path: []string{"n"}, Type: driver.IntType}
	for k, ids := range map[int][]string{1: ids[:1000], 2: ids} {
		step("objects", k, driver.Step{Op: driver.GetObjects, Kind: "user", IDs: ids})
		step("lists", k, driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: ids})
		step("lists back", k, driver.Step{Op: driver.ListEdges, Kind: "follows", Direction: driver.In, IDs: ids})
		step("parts of lists", k, driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: ids, Range: driver.Range{Limit: 5}})
		step("counts", k, driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: ids})
		step("edges", k, driver.Step{Op: driver.GetEdges, Kind: "follows", IDs: ids, Ends: []string{"0001"}})
		step("a search of lists", k, driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: ids, Range: driver.Range{Limit: 20}})
		step("a search of neighbours", 2*k, driver.Step{Op: driver.FindEdges, Kind: "follows", IDs: ids, Far: "user", Order: []driver.Order{{Column: n}}, Range: driver.Range{Limit: 20}})
		step("symmetric lists", 2*k, driver.Step{Op: driver.ListEdges, Kind: "friend", IDs: ids})
	}
	step("a search", 1, driver.Step{Op: driver.FindObjects, Kind: "user", Order: []driver.Order{{Column: n}}, Range: driver.Range{Limit: 1000}})
	step("a count", 1, driver.Step{Op: driver.FindObjects, Kind: "user", Count: true})
	write(t, s, changes[0], driver.Done)
	commands("a change", 1)
	write(t, s, driver.Write{Op: driver.Replace, Kind: "user", Object: numbered("0000", 9, 9), Expect: 2}, driver.Done)
	commands("a replace", 1)
	write(t, s, driver.Write{Op: driver.Delete, Kind: "user", Object: numbered("0000", 9, 9), Expect: 9}, driver.Done)
	commands("a delete", 1)
	if _, err := s.Write(t.Context(), changes[1:41]); err != nil {
		t.Fatal(err)
	}
	commands("40 changes", 40)
	var owed []driver.JournalEntry
	for _, id := range ids {
		owed = append(owed, driver.JournalEntry{Anchor: id, Owner: "owner", Token: "token", Window: time.Second})
	}
	for name, call := range map[string]func(context.Context, []driver.JournalEntry) error{"Owe": s.Owe, "Settle": s.Settle} {
		if err := call(t.Context(), owed); err != nil {
			t.Fatal(err)
		}
		commands(name, 2)
	}
	if _, err := s.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	commands("Look", 1)
}
