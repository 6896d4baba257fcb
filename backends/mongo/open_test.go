package mongo_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// Options that ask for less than the store guarantees are refused if they are to be, and
// otherwise said in the log once.
func TestStrict(t *testing.T) {
	server := mongotest.SharedLungo(t)
	for option, word := range map[string]string{
		"readPreference=secondaryPreferred": "secondaryPreferred",
		"readConcernLevel=local":            "local",
		"w=1":                               "w: 1",
		"retryWrites=false":                 "retryWrites",
		"readPreference=primary":            "",
		"readConcernLevel=majority":         "",
		"w=majority&retryWrites=true":       "",
	} {
		var log lines
		o := mongo.Options{Database: server.Database(t), Strict: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		s, err := mongo.Open(t.Context(), server.URI+"&"+option, &o)
		switch {
		case word == "" && err != nil, word != "" && (err == nil || !strings.Contains(err.Error(), word)):
			t.Errorf("%s: Strict: %v", option, err)
		}
		if err == nil {
			s.Close(t.Context())
		}
		o.Strict = false
		if s, err = mongo.Open(t.Context(), server.URI+"&"+option, &o); err != nil {
			t.Fatal(err)
		}
		ensure(t, s, someSchema)
		get(t, s, "user", "a")
		s.Close(t.Context())
		said := strings.Count(log.String(), "asks for less")
		if word == "" && said != 0 || word != "" && (said != 1 || !strings.Contains(log.String(), word)) {
			t.Errorf("%s: the log has it %d times:\n%s", option, said, &log)
		}
	}
}

// Passwords are in no error and in no log, whatever is wrong with the URI.
func TestPasswords(t *testing.T) {
	server := mongotest.SharedLungo(t)
	const secret = "s3cr3t"
	for _, uri := range []string{
		"mongodb://me:s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t@127.0.0.1:1/",
		"mongodb://me:s3cr3t@127.0.0.1:1/db?nonsense=s",
		"mongodb://me:s3cr3t@127.0.0.1:1/db?w=-3",
		"mongodb://me:s3cr3t@127.0.0.1:1/db?readPreference=nobody",
		"mongodb://me:s3cr3t@127.0.0.1:1/db?maxPoolSize=x",
		"mongodb://me:s3cr3t@127.0.0.1:port/db",
		"mongodb://me:s3cr3t@/db",
		"mongodb://me:s3cr3t@127.0.0.1:1/db?authMechanism=none",
		"mongodb://me:s3cr3t@127.0.0.1:1/db?replicaSet=",
		"mongodb://me:p@s3cr3t@127.0.0.1:1/db",
		"mongodb://me:p:s3cr3t@127.0.0.1:1/db",
		"mongodb://me:p/s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t%@127.0.0.1:1/db",
		"mongodb://me:s3cr3t%s3%cr@127.0.0.1:1/db",
		"mongodb://me:s3cr3t/s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t?s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t?s3cr3t=1&w=s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t,s3cr3t:s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t#s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t[s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t@s3cr3t:s3cr3t@127.0.0.1:1/db",
		"mongodb://me:s3cr3t s3cr3t\x7f@127.0.0.1:1/db",
		"mongodb://me:%73%33cr3t@127.0.0.1:1/db",
		"mongodb://me:%40s3cr3t%3A@127.0.0.1:1/db?w=-3",
		"mongodb+srv://me:s3cr3t@localhost/db",
		"mongodb+srv://me:s3cr3t@one.example.invalid:27017/db",
		"mongo://me:s3cr3t@127.0.0.1:1/db",
		"me:s3cr3t@127.0.0.1:1/db",
		" mongodb://me:s3cr3t@127.0.0.1:1/db",
		strings.Replace(server.URI, "//", "//me:s3cr3t@", 1),
		strings.Replace(server.URI, "//", "//me:s3cr3t@", 1) + "&w=1&authMechanism=PLAIN&tls=true",
	} {
		var log lines
		previous := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		s, err := mongo.Open(ctx, uri, nil)
		cancel()
		slog.SetDefault(previous)
		if err == nil {
			s.Close(t.Context())
			t.Errorf("%s can be opened", uri)
			continue
		}
		for where, text := range map[string]string{"error": err.Error(), "log": log.String()} {
			if strings.Contains(text, secret) || strings.Contains(text, "%73%33") || strings.Contains(text, "%s3") {
				t.Errorf("%s: the %s has the password: %s", uri, where, text)
			}
		}
	}
}

// Without a database, or a server, Open fails at once and says why.
func TestOpenFails(t *testing.T) {
	server := mongotest.SharedLungo(t)
	if _, err := mongo.Open(t.Context(), server.URI, nil); err == nil || !strings.Contains(err.Error(), "database") {
		t.Errorf("without a database: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := mongo.Open(ctx, "mongodb://127.0.0.1:1/db", nil); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("without a server: %v", err)
	}
	for name, o := range map[string]mongo.Options{
		"a batch":         {Batch: -1},
		"a mode":          {Indexes: 9},
		"a version":       {Version: "a.b"},
		"an ID":           {Version: "_id"},
		"half an edge":    {Edges: map[string]mongo.EdgeCollection{"e": {From: "a"}}},
		"an edge's field": {Edges: map[string]mongo.EdgeCollection{"e": {From: "a", To: "$b"}}},
	} {
		o.Database = "db"
		if _, err := mongo.Open(t.Context(), server.URI, &o); err == nil {
			t.Errorf("options with %s that cannot be are accepted", name)
		}
	}
	uri := strings.Replace(server.URI, "/?", "/"+server.Database(t)+"?", 1)
	s, err := mongo.Open(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := s.ID(t.Context()); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	results, err := s.Write(t.Context(), []driver.Write{plus("a", 1)})
	if !errors.Is(err, driver.ErrUnavailable) || results[0].Outcome != driver.Refused {
		t.Errorf("a write after Close: %v, %v", results, err)
	}
}

// A server that is no replica set has no transactions and no stamps, and says so.
func TestStandalone(t *testing.T) {
	if mongotest.External() != "" {
		t.Skip("the server is a replica set")
	}
	s := open(t, mongotest.SharedFerretDB(t), mongo.Options{})
	ensure(t, s, someSchema)
	if c := s.Capabilities(); c.Stamps || c.Transactions || !strings.HasPrefix(c.Name, "MongoDB 7") {
		t.Errorf("capabilities %+v", c)
	}
	if _, err := s.Begin(t.Context()); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "replica set") {
		t.Errorf("Begin: %v", err)
	}
	r := write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, 1)}, driver.Done)
	if r.Stamp != "" {
		t.Errorf("the stamp %x", r.Stamp)
	}
	set := open(t, mongotest.SharedLungo(t), mongo.Options{})
	if c := set.Capabilities(); !c.Stamps || !c.Transactions {
		t.Errorf("capabilities of a replica set %+v", c)
	}
}

// Errors name the collection, and what is known of the record.
func TestErrors(t *testing.T) {
	server := mongotest.SharedLungo(t)
	o := mongo.Options{Database: server.Database(t), Objects: map[string]mongo.ObjectCollection{"user": {Name: "people"}, "post": {IDs: mongo.IntIDs}}}
	s := reopen(t, server, o)
	ensure(t, s, someSchema)
	db := foreign(t, server, o.Database)
	for _, d := range []bson.D{{{Key: "_id", Value: int64(77)}}, {{Key: "_id", Value: "bad"}, {Key: "_v", Value: "x"}}} {
		if _, err := db.Collection("people").InsertOne(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Collection("follows").InsertOne(t.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "from", Value: "f1"}, {Key: "to", Value: "t1"}}}, {Key: "time", Value: "noon"}}); err != nil {
		t.Fatal(err)
	}
	failing := func(step driver.Step, words ...string) {
		t.Helper()
		results, err := s.Read(t.Context(), []driver.Step{step}, "")
		if err == nil || results != nil {
			t.Errorf("%v: %v, %v", step, results, err)
			return
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not in: %v", word, err)
			}
		}
	}
	failing(driver.Step{Op: driver.GetObjects, Kind: "user", IDs: []string{"bad"}}, `"people"`, `"bad"`, "version")
	failing(driver.Step{Op: driver.FindObjects, Kind: "user"}, `"people"`, "77", "string")
	failing(driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: []string{"f1"}}, `"follows"`, "f1", "time", "date")
	failing(driver.Step{Op: driver.GetObjects, Kind: "nobody", IDs: []string{"a"}}, `"nobody"`)
	r, err := outcome(t, s, driver.Write{Op: driver.Insert, Kind: "post", Object: numbered("seven", 1, 1)})
	if r.Outcome != driver.Refused || !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), `"post"`) || !strings.Contains(err.Error(), `"seven"`) {
		t.Errorf("an ID that cannot be: %v, %v", r.Outcome, err)
	}
	r, err = outcome(t, s, driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "bad", Version: 3}, Expect: 2})
	if r.Outcome != driver.Refused || err == nil || !strings.Contains(err.Error(), `"people"`) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("a write of what cannot be read: %v, %v", r.Outcome, err)
	}
}

// Nothing that a user brings in is taken for an operator, a path or an expression.
func TestInjection(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		s := open(t, server, mongo.Options{})
		ensure(t, s, someSchema)
		write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{
			ID: "victim", Version: 1, Doc: driver.Document{{Name: "city", Value: "Rome"}, {Name: "n", Value: int64(1)}},
		}}, driver.Done)
		write(t, s, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: "victim", To: "victim2", Version: 1}}, driver.Done)
		operators := driver.Document{{Name: "$gt", Value: ""}}
		for _, id := range []string{`{"$gt":""}`, "$gt", "$ne", "$where", "$$ROOT", "$city", "victim.", "", ".*", "$exists"} {
			if id == "" {
				continue
			}
			found := read(t, s, driver.Step{Op: driver.GetObjects, Kind: "user", IDs: []string{id, "other"}})
			if found.Objects[0] != nil {
				t.Errorf("the ID %q finds %v", id, found.Objects[0])
			}
			if n := read(t, s, driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: []string{id}}).Counts[0]; n != 0 {
				t.Errorf("the ID %q has %d edges", id, n)
			}
			write(t, s, driver.Write{Op: driver.Delete, Kind: "user", Object: &driver.Object{ID: id}}, driver.Missing)
			write(t, s, driver.Write{Op: driver.Delete, Kind: "follows", Edge: &driver.Edge{From: id, To: id}}, driver.Missing)
			// FerretDB takes no quotes in names.
			object := &driver.Object{ID: id, Version: 1, Doc: driver.Document{{Name: "city", Value: id}, {Name: "$set", Value: operators}, {Name: "a.b", Value: id}, {Name: "$" + strings.ReplaceAll(id, `"`, "'"), Value: nil}}}
			write(t, s, driver.Write{Op: driver.Insert, Kind: "user", Object: object}, driver.Done)
			object.Version = 2
			write(t, s, driver.Write{Op: driver.Replace, Kind: "user", Object: object, Expect: 1, Old: object.Doc, Gone: []string{"x.y", "$x"}}, driver.Done)
			if got := get(t, s, "user", id); got == nil || !driver.Equal(got.Doc, object.Doc) {
				t.Errorf("%q is %v, want %v", id, got, object)
			}
			column := &driver.Column{Path: []string{"city"}, Zero: "", Type: driver.StringType}
			step := driver.Step{Op: driver.FindObjects, Kind: "user", Filter: &driver.Filter{Op: driver.AnyOf, Column: column, Values: []driver.Value{id}}}
			if got := read(t, s, step).IDs; len(got) != 1 || got[0] != id {
				t.Errorf("a search for %q finds %q", id, got)
			}
		}
		city := &driver.Column{Path: []string{"city"}}
		for _, c := range []*driver.Column{city, {Path: []string{"$where"}}, {Path: []string{"city", "$gt"}}, {Path: []string{"a.b"}}} {
			for _, v := range []driver.Value{operators, driver.Document{{Name: "$ne", Value: nil}}, driver.Document{{Name: "$regex", Value: ".*"}}, []driver.Value{operators}} {
				for _, op := range []driver.FilterOp{driver.AnyOf, driver.Has} {
					step := driver.Step{Op: driver.FindObjects, Kind: "user", Filter: &driver.Filter{Op: op, Column: c, Values: []driver.Value{v}}}
					if got := read(t, s, step).IDs; len(got) != 0 {
						t.Errorf("a search for %v in %s finds %q", v, c.Name(), got)
					}
				}
			}
		}
		w := driver.Write{Op: driver.Replace, Kind: "user", Object: numbered("victim", 9, 9), Old: driver.Document{{Name: "city", Value: operators}}}
		write(t, s, w, driver.Conflict)
		w.Old = driver.Document{{Name: "n", Value: driver.Document{{Name: "$exists", Value: true}}}}
		write(t, s, w, driver.Conflict)
		write(t, s, driver.Write{Op: driver.Modify, Kind: "user", Object: &driver.Object{ID: "victim"}, Changes: []driver.Change{
			{Column: &driver.Column{Path: []string{"$inc"}}, Set: "$n"}, {Column: &driver.Column{Path: []string{"n"}, Zero: int64(0)}, Set: operators},
		}}, driver.Done)
		got := get(t, s, "user", "victim")
		if field(got, "$inc") != "$n" || !driver.Equal(field(got, "n"), operators) || field(got, "city") != "Rome" {
			t.Errorf("after Modify: %v", got)
		}
		if read(t, s, driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: []string{"victim"}}).Counts[0] != 1 {
			t.Error("an edge is gone")
		}
	})
}
