package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/internal/mongotest"
	"github.com/graphcache/graphcache/internal/redistest"
)

type user struct {
	ID   graphcache.ID[user] `json:"id"`
	Name string              `json:"name"`
	City string              `json:"city" graph:"index"`
}

type note struct {
	Text string `json:"text"`
}

var (
	users   = graphcache.NewObjectKind[user]("user")
	follows = graphcache.NewEdgeKind[note]("follows", users, users)
	schema  = graphcache.NewSchema(users, follows)
)

// world is a database and a cache that a program has used.
type world struct {
	uri, url string
	db       *driver.Database
}

// newWorld has a program fill a database and read all of it through the cache.
func newWorld(t *testing.T, settings *mongo.Options, namespace string) *world {
	t.Helper()
	server := mongotest.SharedLungo(t)
	name := server.Database(t)
	w := &world{uri: strings.Replace(server.URI, "/?", "/"+name+"?", 1), url: "redis://" + redistest.Addrs(t)[0]}
	client, err := driver.Connect(options.Client().ApplyURI(server.URI))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	w.db = client.Database(name)
	ctx := t.Context()
	store, err := mongo.Open(ctx, w.uri, settings)
	must(t, err)
	backend, err := redis.Open(ctx, w.url, nil)
	must(t, err)
	root, err := graphcache.Open(ctx, schema, store, &graphcache.Options{Cache: backend.Cache()})
	must(t, err)
	g, err := root.Namespace(ctx, namespace)
	must(t, err)
	for _, u := range []user{{"ann", "Ann", "rome"}, {"bob", "Bob", "rome"}, {"cay", "Cay", "oslo"}} {
		must(t, users.Create(ctx, g, &u))
	}
	must(t, follows.Add(ctx, g, "ann", "bob", note{"hi"}))
	must(t, follows.Add(ctx, g, "ann", "cay", note{"yo"}))
	_, err = users.GetMany(ctx, g, []graphcache.ID[user]{"ann", "bob", "cay", "dan"})
	must(t, err)
	city := graphcache.StringFieldOf(users, func(u *user) *string { return &u.City })
	_, err = users.Where(city.Eq("rome")).IDs(ctx, g)
	must(t, err)
	_, err = follows.Out(graphcache.ID[user]("ann")).Edges(ctx, g)
	must(t, err)
	must(t, root.Settle(ctx))
	must(t, root.Close(ctx))
	must(t, backend.Close(ctx))
	must(t, store.Close(ctx))
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check runs the command.
func (w *world) check(t *testing.T, flags ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	env := map[string]string{"GRAPHCACHE_STORE": w.uri, "GRAPHCACHE_CACHE": w.url}
	var out, err bytes.Buffer
	code = run(ctx, append([]string{"check"}, flags...), func(name string) string { return env[name] }, &out, &err)
	return code, out.String(), err.String()
}

// rename changes a user's name as another program does.
func (w *world) rename(t *testing.T, collection, id string) {
	t.Helper()
	res, err := w.db.Collection(collection).UpdateOne(t.Context(),
		bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "Other"}}}})
	must(t, err)
	if res.MatchedCount != 1 {
		names, _ := w.db.ListCollectionNames(t.Context(), bson.D{})
		t.Fatalf("%q is not in %s; there are %q", id, collection, names)
	}
}

// TestCheck: a value that another program has made stale is found, and then the exit code
// is 1; before that it is 0.
func TestCheck(t *testing.T) {
	w := newWorld(t, nil, "")
	code, out, stderr := w.check(t)
	if code != clean || !strings.Contains(out, "6 cached values checked") || strings.Count(out, "skipped") > 1 {
		t.Fatalf("exit code %d:\n%s%s", code, out, stderr)
	}
	w.rename(t, "user", "ann")
	code, out, stderr = w.check(t, "-rate=-1")
	if code != findings || !strings.Contains(out, `stale: user "ann", object: `) || !strings.Contains(out, ": 1 wrong") {
		t.Errorf("exit code %d:\n%s%s", code, out, stderr)
	}
	code, out, _ = w.check(t, "-json", "-kind=user", "-kind=follows")
	var report jsonReport
	must(t, json.Unmarshal([]byte(out), &report))
	if code != findings || report.Found != 1 || report.Checked != 6 || len(report.Findings) != 1 || report.Kinds["user"].Found["stale"] != 1 {
		t.Fatalf("exit code %d, report %+v", code, report)
	}
	if f := report.Findings[0]; f.Type != "stale" || f.Kind != "user" || f.Anchor != `user "ann"` || len(f.AnchorKey) == 0 || f.Version == 0 {
		t.Errorf("finding %+v", f)
	}
	if code, out, _ = w.check(t, "-kind=follows"); code != clean || !strings.Contains(out, "1 cached values checked") {
		t.Errorf("one list: exit code %d:\n%s", code, out)
	}
	// Nothing is changed: the value is still there.
	if code, _, _ := w.check(t); code != findings {
		t.Errorf("exit code %d at last", code)
	}
}

// TestCheckSettings: namespaces, and collections with names of their own.
func TestCheckSettings(t *testing.T) {
	w := newWorld(t, &mongo.Options{
		Objects: map[string]mongo.ObjectCollection{"user": {Name: "people"}}, Collection: "own", Version: "v",
	}, "one")
	file := filepath.Join(t.TempDir(), "mongo.json")
	must(t, os.WriteFile(file, []byte(`{"collection": "own", "version": "v", "objects": {"user": {"name": "people", "ids": "string"}}}`), 0o600))
	code, out, stderr := w.check(t, "-mongo", file, "-namespace=one")
	if code != clean || !strings.Contains(out, "6 cached values checked") {
		t.Fatalf("exit code %d:\n%s%s", code, out, stderr)
	}
	if code, out, _ := w.check(t, "-mongo", file); code != clean || !strings.HasPrefix(out, "0 cached values checked") {
		t.Errorf("another namespace: exit code %d:\n%s", code, out)
	}
	// Under another name there is nothing, and no index: that is a mistake, not many findings.
	must(t, os.WriteFile(file, []byte(`{"collection": "own", "version": "v"}`), 0o600))
	if code, out, stderr := w.check(t, "-mongo", file, "-namespace=one"); code != failed || out != "" {
		t.Errorf("the wrong collections: exit code %d:\n%s%s", code, out, stderr)
	}
	if code, _, stderr := w.check(t); code != failed || !strings.Contains(stderr, "described") {
		t.Errorf("no descriptions: exit code %d: %s", code, stderr)
	}
}

// TestMistakes: what cannot be done ends with exit code 2, and no password is repeated.
func TestMistakes(t *testing.T) {
	const secret = "s3cret"
	file := filepath.Join(t.TempDir(), "mongo.json")
	for name, text := range map[string]string{"": "{", "1": `{"x": 1}`, "2": `{"indexes": "all"}`, "3": `{"objects": {"user": {"ids": "x"}}}`} {
		must(t, os.WriteFile(file+name, []byte(text), 0o600))
	}
	store, cache := "mongodb://u:"+secret+"@127.0.0.1:1/db?connectTimeoutMS=50&serverSelectionTimeoutMS=100", "redis://u:"+secret+"@127.0.0.1:1"
	for _, args := range [][]string{
		nil, {"repair"}, {"check"}, {"check", "-store", store}, {"check", "-cache", cache}, {"check", "-x"}, {"check", "-rate", secret},
		{"check", "-store", store, "-cache", cache}, {"check", "-store", store, "-cache", cache, "more", secret},
		{"check", "-store", "http://u:" + secret + "@host", "-cache", cache}, {"check", "-store", "mongodb://u:" + secret + "@", "-cache", cache},
		{"check", "-store", store, "-cache", "http://u:" + secret + "@host"},
		{"check", "-store", store, "-cache", cache, "-mongo", file}, {"check", "-store", store, "-cache", cache, "-mongo", file + "1"},
		{"check", "-store", store, "-cache", cache, "-mongo", file + "2"}, {"check", "-store", store, "-cache", cache, "-mongo", file + "3"},
		{"check", "-store", store, "-cache", cache, "-mongo", file + "nowhere"},
	} {
		t.Run(fmt.Sprintf("%.60q", args), func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := run(t.Context(), args, func(string) string { return "" }, &out, &stderr)
			if code != failed || out.Len() > 0 || stderr.Len() == 0 {
				t.Errorf("exit code %d: %s%s", code, &out, &stderr)
			}
			if args != nil && !strings.Contains(strings.Join(args, " "), "-rate") && strings.Contains(stderr.String(), secret) {
				t.Errorf("the password is repeated: %s", &stderr)
			}
		})
	}
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check", "-h"}, os.Getenv, &out, &stderr); code != clean || !strings.Contains(stderr.String(), "-namespace") {
		t.Errorf("help: exit code %d: %s", code, &stderr)
	}
}
