package graphcache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// hazardThing is an object of kinds whose names are like parts of keys.
type hazardThing struct {
	ID   graphcache.ID[hazardThing] `json:"id"`
	Name string                     `json:"name"`
}

// hazardKeysOf returns the keys that the process looks up during read.
func hazardKeysOf(t testing.TB, e *fixtureEngine, read func()) []driver.Lookup {
	t.Helper()
	var mu sync.Mutex
	var keys []driver.Lookup
	e.on(func(c fixtureCall) backendtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		lookups, _ := c.Batch.([]driver.Lookup)
		keys = append(keys, lookups...)
		return backendtest.Fault{}
	})
	defer e.on(nil)
	read()
	e.settle(t)
	mu.Lock()
	defer mu.Unlock()
	return keys
}

// TestHazard11AnchorKeys: no two anchors share a key, whatever bytes the IDs and
// the namespaces have, and no two databases behind one cache do.
func TestHazard11AnchorKeys(t *testing.T) {
	kinds := map[string]*graphcache.ObjectKind[hazardThing]{}
	links := map[string]*graphcache.EdgeKind[hazardThing, hazardThing, graphcache.NoData]{}
	var all []graphcache.Kind
	for _, name := range []string{"a", "ab", "a-b", "a_b", "o", "out", "n1"} {
		k := graphcache.NewObjectKind[hazardThing](name)
		l := graphcache.NewEdgeKind[graphcache.NoData](name+"-", k, k)
		kinds[name], links[name], all = k, l, append(all, k, l)
	}
	ids := []graphcache.ID[hazardThing]{
		"a", "b", "bb", "-b", "b-", "ab", "a:b", ":", "::", "/", "|", "{a}", "}", "{", "a}b", "a{", "*", "a*", "?", "[a]", "%", "%3a", `\`, `\x00`,
		"\x00", "\x00\x00", "a\x00", "\x00a", "a\x00b", "\x01", "\x1f", "\x7f", "a\n", "\r\n", " ", "a ", " a", "\u00e9", "e\u0301", "\u2028",
		"o", "out", "n1", "A", "0", "1", "10", "01", "p:1",
	}
	namespaces := []string{"", "a", "b", "a:b", ":", "{a}", "a}", " ", "n1", "o", "\x01", "\x1f", "a\n", "1", "é"}
	owners := map[string]string{}
	cache := memory.NewCache(nil)
	for database := range 2 {
		e := (&fixtureEngine{store: memory.NewStore(nil), cache: cache}).withSchema(t, graphcache.NewSchema(all...))
		for _, namespace := range namespaces {
			g, err := e.Namespace(t.Context(), namespace)
			fixtureMust(t, err)
			for name, k := range kinds {
				for at, read := range map[string]func(graphcache.ID[hazardThing]) error{
					"object": func(id graphcache.ID[hazardThing]) error {
						_, err := k.GetMany(t.Context(), g, []graphcache.ID[hazardThing]{id})
						return err
					},
					"out": func(id graphcache.ID[hazardThing]) error {
						_, err := links[name].Out(id).IDs(t.Context(), g)
						return err
					},
					"in": func(id graphcache.ID[hazardThing]) error {
						_, err := links[name].In(id).IDs(t.Context(), g)
						return err
					},
				} {
					keys := hazardKeysOf(t, e, func() {
						for _, id := range ids {
							fixtureMust(t, read(id))
						}
					})
					if len(keys) != len(ids) {
						t.Fatalf("%d look-ups for %d IDs", len(keys), len(ids))
					}
					for i, key := range keys {
						owner := fmt.Sprintf("database %d, namespace %q, %s %s, ID %q", database, namespace, name, at, ids[i])
						if other, taken := owners[key.Anchor]; taken {
							t.Fatalf("one key for two anchors: %s and %s have %q", other, owner, key.Anchor)
						}
						owners[key.Anchor] = owner
					}
				}
			}
		}
	}
}

// TestHazard11FieldKeys: no two fragments of one anchor share a field.
func TestHazard11FieldKeys(t *testing.T) {
	l := hazardNewList(t, 80, 0, func(i int) int64 { return int64(1_000_000 - i) })
	ctx, ann := t.Context(), fixtureUserID("ann")
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	out := fixtureFollows.Out(ann)
	reads := map[string]func() error{}
	for _, high := range []int64{-1, 0, 1, 255, 256, 999_930, 1 << 40} {
		for _, low := range []int64{-1, 0, 1, 255, 256, 999_925} {
			for _, limit := range []int{0, 1, 2, 255, 256, 1 << 40} {
				name := fmt.Sprintf("span until %d since %d limit %d", high, low, limit)
				q := out.Until(at(high)).Since(at(low)).Limit(limit)
				reads[name] = func() error { _, err := q.IDs(ctx, l.e); return err }
				if limit == 0 {
					reads["count"+name[4:]] = func() error { _, err := q.Count(ctx, l.e); return err }
				}
			}
		}
		q := out.Until(at(high))
		reads[fmt.Sprint("span until ", high)] = func() error { _, err := q.IDs(ctx, l.e); return err }
		reads[fmt.Sprint("count until ", high)] = func() error { _, err := q.Count(ctx, l.e); return err }
		q2 := out.Since(at(high)).Limit(3000)
		reads[fmt.Sprint("span since ", high)] = func() error { _, err := q2.IDs(ctx, l.e); return err }
	}
	reads["count"] = func() error { _, err := out.Count(ctx, l.e); return err }
	for _, end := range []fixtureUserID{"u0079", "1", "\x01", "\x00", "count", "s", "c"} {
		reads["edge to "+string(end)] = func() error {
			_, err := fixtureFollows.GetMany(ctx, l.e, ann, []fixtureUserID{end})
			return err
		}
	}
	owners := map[driver.Lookup]string{}
	for name, read := range reads {
		l.e.cache.Flush() // back to a prefix that answers none of this
		_, err := fixtureFollows.Range(ctx, l.e, ann, 0, 1)
		fixtureMust(t, err)
		l.e.settle(t)
		for _, key := range hazardKeysOf(t, l.e, func() { fixtureMust(t, read()) }) {
			if key.Field == "" {
				continue
			}
			if other, taken := owners[key]; taken && other != name {
				t.Fatalf("one field for two fragments: %s and %s have %q", other, name, key.Field)
			}
			owners[key] = name
		}
	}
	if len(owners) < len(reads)/2 {
		t.Errorf("only %d of %d reads look beyond the prefix", len(owners), len(reads))
	}
}

// TestHazard11Apart: an ID means another object in each namespace and each database,
// and a write in one of them leaves the others' cached values alone.
func TestHazard11Apart(t *testing.T) {
	cache := memory.NewCache(nil)
	var engines []*fixtureEngine
	var graphs []*graphcache.Graph
	for range 2 {
		e := (&fixtureEngine{store: memory.NewStore(nil), cache: cache}).another(t)
		engines = append(engines, e)
		for _, namespace := range []string{"", "a", "b"} {
			g, err := e.Namespace(t.Context(), namespace)
			fixtureMust(t, err)
			graphs = append(graphs, g)
		}
	}
	names := make([]string, len(graphs))
	check := func() {
		t.Helper()
		for i, g := range graphs {
			u, err := fixtureUsers.Get(t.Context(), g, "ann")
			fixtureMust(t, err)
			if u.Name != names[i] {
				t.Fatalf("place %d: got %q, want %q", i, u.Name, names[i])
			}
			fixtureMust(t, g.Settle(t.Context()))
		}
	}
	for i, g := range graphs {
		names[i] = fmt.Sprint("of place ", i)
		fixtureMust(t, fixtureUsers.Create(t.Context(), g, &fixtureUser{ID: "ann", Name: names[i]}))
	}
	check()
	for i, g := range graphs {
		names[i] += " again"
		_, err := fixtureUsers.Update(t.Context(), g, "ann", func(u *fixtureUser) error { u.Name = names[i]; return nil })
		fixtureMust(t, err)
		reads := engines[0].Stats().StoreReads + engines[1].Stats().StoreReads
		check()
		if got := engines[0].Stats().StoreReads + engines[1].Stats().StoreReads - reads; got != 1 {
			t.Errorf("a write in place %d made %d values load again, want its own", i, got)
		}
	}
}

// The next version of the fixture's schema: users and follows have one more field.
type hazardUser2 struct {
	ID      graphcache.ID[hazardUser2] `json:"id"`
	Version graphcache.Version         `json:"version"`
	Nick    string                     `json:"nick"`
	Age     int                        `json:"age"`
	Name    string                     `json:"name"`
}

type hazardFollow2 struct {
	Since int    `json:"since"`
	Note  string `json:"note"`
}

var (
	hazardUsers2   = graphcache.NewObjectKind[hazardUser2]("user")
	hazardFollows2 = graphcache.NewEdgeKind[hazardFollow2]("follows", hazardUsers2, hazardUsers2)
	hazardSchema2  = graphcache.NewSchema(hazardUsers2, hazardFollows2)
)

// hazardReads2 reads ann and the edges from her in the second version.
func hazardReads2(ctx context.Context, e *fixtureEngine) (string, error) {
	u, err := hazardUsers2.Get(ctx, e, "ann")
	if err != nil {
		return "", err
	}
	edges, err := hazardFollows2.Out(graphcache.ID[hazardUser2]("ann")).Edges(ctx, e)
	s := fmt.Sprint(u.Name, " ", u.Nick)
	for _, edge := range edges {
		s += fmt.Sprint(" ", edge.To, edge.Data)
	}
	return s, err
}

// hazardReads1 does the same in the first.
func hazardReads1(ctx context.Context, e *fixtureEngine) (string, error) {
	u, err := fixtureUsers.Get(ctx, e, "ann")
	if err != nil {
		return "", err
	}
	edges, err := fixtureFollows.Out(fixtureUserID("ann")).Edges(ctx, e)
	s := u.Name
	for _, edge := range edges {
		s += fmt.Sprint(" ", edge.To, edge.Data)
	}
	return s, err
}

// TestHazard11TwoSchemas: two versions of a program share the store and the cache.
// Neither reads what the other has cached, each sees the other's writes, and each
// loads a value once after a write.
func TestHazard11TwoSchemas(t *testing.T) {
	old := fixtureNew(t)
	new2 := old.withSchema(t, hazardSchema2)
	old.seed(t, []fixtureUserID{"ann", "bob"})
	fixtureMust(t, fixtureFollows.Add(t.Context(), old, "ann", "bob", fixtureFollow{Note: "n0"}))
	name, nick, note, since := "v1 of ann", "", "n0", 0
	for i, write := range []func() error{
		func() error { return nil },
		func() error { name = "by old"; return old.rename(t.Context(), "ann", name) },
		func() error {
			nick = "nick"
			_, err := hazardUsers2.Update(t.Context(), new2, "ann", func(u *hazardUser2) error { u.Nick = nick; return nil })
			return err
		},
		func() error { name = "by old again"; return old.rename(t.Context(), "ann", name) }, // keeps the nick
		func() error {
			note, since = "n1", 7
			return hazardFollows2.Add(t.Context(), new2, "ann", "bob", hazardFollow2{Since: since, Note: note})
		},
		func() error {
			note, since = "n2", 0
			return fixtureFollows.Add(t.Context(), old, "ann", "bob", fixtureFollow{Note: note})
		},
	} {
		fixtureMust(t, write())
		wantOld, wantNew := fmt.Sprintf("%s bob{%s}", name, note), fmt.Sprintf("%s %s bob{%d %s}", name, nick, since, note)
		loads := func() (n int64) {
			for _, e := range []*fixtureEngine{old, new2} {
				n += e.Stats().Kinds["user"].Loads + e.Stats().Kinds["follows"].Loads
			}
			return n
		}
		before := loads()
		for round := range 5 {
			for j := range 2 {
				if (i+j)%2 == 0 { // the one or the other comes first
					got, err := hazardReads1(t.Context(), old)
					if err != nil || got != wantOld {
						t.Fatalf("write %d, round %d: the old version reads %q, %v, want %q", i, round, got, err, wantOld)
					}
					old.settle(t)
				} else {
					got, err := hazardReads2(t.Context(), new2)
					if err != nil || got != wantNew {
						t.Fatalf("write %d, round %d: the new version reads %q, %v, want %q", i, round, got, err, wantNew)
					}
					new2.settle(t)
				}
			}
		}
		most := int64(2) // each version loads what was written
		if i == 0 {
			most = 4 // the object and the list
		}
		if got := loads() - before; got > most {
			t.Errorf("after write %d five rounds of reads by two versions loaded %d values, want at most %d", i, got, most)
		}
	}
	for _, e := range []*fixtureEngine{old, new2} {
		if s := e.Stats().Kinds; s["user"].Corrupt+s["follows"].Corrupt > 0 {
			t.Errorf("a version took the other's values for corrupt ones: %+v", s)
		}
	}
}

// TestHazard11TwoSchemasRace: the copy that a version keeps beside the other's is as
// safe from late fills as that is.
func TestHazard11TwoSchemasRace(t *testing.T) {
	old := fixtureNew(t)
	new2, other := old.withSchema(t, hazardSchema2), old.withSchema(t, hazardSchema2)
	old.seed(t, []fixtureUserID{"ann"})
	h := &hazardRace{
		read: func(ctx context.Context, e *fixtureEngine) (string, error) {
			u, err := hazardUsers2.Get(ctx, e, "ann")
			if err != nil {
				return "", err
			}
			return u.Name, nil
		},
		write: func(ctx context.Context, e *fixtureEngine) error {
			_, err := hazardUsers2.Update(ctx, e, "ann", func(u *hazardUser2) error { u.Name = "new"; return nil })
			return err
		},
		old: "old", new: "new",
		readCalls: 5, writeCalls: 4, // Lookup Lookup Claim Read Fill, Read Hold Write Release
	}
	for _, order := range hazardOrders(h.readCalls, h.writeCalls) {
		fixtureMust(t, old.rename(t.Context(), "ann", "old"))
		if got := old.name(t, "ann"); got != "old" { // and the value in the old layout is there
			t.Fatalf("the old version reads %q", got)
		}
		old.settle(t)
		h.play(t, order, nil, new2, other)
		if diff := cmp.Diff("new", old.name(t, "ann")); diff != "" {
			t.Fatalf("order %v: the old version reads (-want +got):\n%s", order, diff)
		}
	}
	if s := new2.Stats().Kinds["user"]; s.Refusals == 0 || s.Hits == 0 {
		t.Errorf("%d fills were refused and %d reads hit, want some of both", s.Refusals, s.Hits)
	}
}
