package mongo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// put replaces a document among the store's own.
func put(t *testing.T, s *Store, doc bson.D) {
	t.Helper()
	meta := s.db.collection(s.db.opts.Collection)
	if _, err := meta.DeleteOne(t.Context(), doc[:1]); err != nil {
		t.Fatal(err)
	}
	if _, err := meta.InsertOne(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
}

// What is in the collection and is none of the ledger's is passed over, and what should be of
// the ledger and is broken is an error.
func TestForeignLedger(t *testing.T) {
	server := mongotest.SharedLungo(t)
	s := openLungo(t, server, server.Database(t))
	e := driver.JournalEntry{Anchor: "a", Owner: "o", Token: "t", Window: time.Second, Record: "r"}
	if err := errors.Join(
		s.Owe(t.Context(), []driver.JournalEntry{e}), s.Raise(t.Context(), []string{"user"}, 0),
		s.Register(t.Context(), []driver.RegistryEntry{{Kind: "user", Spec: "s"}}),
	); err != nil {
		t.Fatal(err)
	}
	id := func(v any) bson.D { return bson.D{{Key: "_id", Value: v}} }
	for _, doc := range []bson.D{
		id("a"), id("ledge"), id("ledger"), id("ledger;"), id(ledgerID), id("ledger:later:x"), id(7), id(bson.D{{Key: "a", Value: ledgerID}}),
		append(id(raisedID+"none"), bson.E{Key: "n", Value: int64(0)}), append(id(registeredID+"none"), bson.E{Key: "entries", Value: bson.D{}}),
		append(id(raisedID+"by hand"), bson.E{Key: "n", Value: 2.0}),
	} {
		put(t, s, doc)
	}
	look, err := s.Look(t.Context())
	want := driver.Look{
		Journal: []driver.JournalEntry{e}, Registry: []driver.RegistryEntry{{Kind: "user", Spec: "s", Ready: true}},
		Generations: map[string]uint64{"user": 1, "by hand": 2}, Stamp: look.Stamp,
	}
	if diff := cmp.Diff(want, look); diff != "" || err != nil {
		t.Errorf("with other documents in the collection (-want +got):\n%s%v", diff, err)
	}
	b := binaryOf("x")
	entry := func(change ...bson.E) bson.D {
		d := append(id(owedID+"x"), bson.E{Key: "anchor", Value: b}, bson.E{Key: "owner", Value: b},
			bson.E{Key: "token", Value: b}, bson.E{Key: "window", Value: int64(5)}, bson.E{Key: "record", Value: b})
		for _, c := range change {
			d = slices.DeleteFunc(d, func(e bson.E) bool { return e.Key == c.Key })
			if c.Value != nil {
				d = append(d, c)
			}
		}
		return d
	}
	ofKind := func(entries any) bson.D { return append(id(registeredID+"x"), bson.E{Key: "entries", Value: entries}) }
	broken := []bson.D{
		id(owedID), id(raisedID + "x"), id(registeredID + "x"), entry(bson.E{Key: "anchor", Value: "text"}), entry(bson.E{Key: "window", Value: "5"}),
		entry(bson.E{Key: "window", Value: int64(1) << 62}), append(id(raisedID+"x"), bson.E{Key: "n", Value: "1"}), append(id(raisedID+"x"), bson.E{Key: "n", Value: int64(-1)}),
		ofKind(7), ofKind(bson.A{}), ofKind(bson.D{{Key: "h", Value: 7}}), ofKind(bson.D{{Key: "h", Value: bson.D{}}}),
		ofKind(bson.D{{Key: "h", Value: bson.D{{Key: "spec", Value: b}}}}), ofKind(bson.D{{Key: "h", Value: bson.D{{Key: "spec", Value: "s"}, {Key: "at", Value: time.Now()}}}}),
	}
	for _, field := range []string{"anchor", "owner", "token", "window", "record"} {
		broken = append(broken, entry(bson.E{Key: field}))
	}
	for _, doc := range broken {
		put(t, s, doc)
		if look, err := s.Look(t.Context()); err == nil || !strings.Contains(err.Error(), doc[0].Value.(string)) || look.Journal != nil {
			t.Errorf("with %v: %v, %v", doc, look, err)
		}
		if _, err := s.db.collection(s.db.opts.Collection).DeleteOne(t.Context(), doc[:1]); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, entry())
	if look, err := s.Look(t.Context()); err != nil || len(look.Journal) != 2 {
		t.Errorf("what is not broken: %v, %v", look, err)
	}
}

// No document makes Look panic.
func FuzzLedger(f *testing.F) {
	for _, id := range []string{owedID + "x", owedAllID, raisedID + "user", registeredID + "user", ""} {
		for _, doc := range []bson.D{
			{{Key: "anchor", Value: binaryOf("")}, {Key: "owner", Value: binaryOf("o")}, {Key: "token", Value: binaryOf("t")}, {Key: "window", Value: int64(7)}, {Key: "record", Value: binaryOf("")}},
			{{Key: "n", Value: int64(7)}}, {{Key: "n", Value: 7.5}},
			{{Key: "entries", Value: bson.D{{Key: "h", Value: bson.D{{Key: "spec", Value: binaryOf("s")}, {Key: "at", Value: time.UnixMilli(7)}, {Key: "ready", Value: true}}}}}},
		} {
			raw := marshal(f, doc)
			f.Add(id, []byte(raw))
			f.Add(id, []byte(raw)[:len(raw)/2])
		}
	}
	f.Fuzz(func(t *testing.T, id string, raw []byte) {
		look := driver.Look{Generations: make(map[string]uint64)}
		if err := takeEntry(&look, id, raw); err != nil && !errors.Is(err, errEntry) {
			t.Error(err)
		}
	})
}

// What is owed of all anchors comes after everything else in the journal, and the journal
// before the rest.
func TestLedgerOrder(t *testing.T) {
	ids := []string{raisedID, registeredID, owedAllID}
	for i := range 1000 {
		ids = append(ids, journalID(&driver.JournalEntry{Anchor: fmt.Sprint(i), Owner: "o"}))
	}
	for i := range 20 {
		ids = append(ids, journalID(&driver.JournalEntry{Owner: fmt.Sprint(i)}))
	}
	slices.Sort(ids)
	for i, id := range ids {
		all := strings.HasPrefix(id, owedAllID)
		if strings.HasPrefix(id, owedID) != (i < 1021) || all != (i >= 1000 && i < 1021) {
			t.Errorf("%q is at %d", id, i)
		}
	}
}

// An entry of the registry that nobody has renewed for long goes when another of its kind is
// registered, unless somebody renews it at that moment.
func TestRegistryTTL(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		database := server.Database(t)
		s := openLungo(t, server, database)
		register := func(specs ...string) {
			t.Helper()
			for _, spec := range specs {
				if err := s.Register(t.Context(), []driver.RegistryEntry{{Kind: "user", Spec: spec}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		shown := func() (specs []string) {
			t.Helper()
			look, err := s.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range look.Registry {
				specs = append(specs, fmt.Sprint(e.Spec, e.Ready))
			}
			slices.Sort(specs)
			return specs
		}
		meta, filter := s.db.collection(s.db.opts.Collection), bson.D{{Key: "_id", Value: registeredID + "user"}}
		age := func(by time.Duration, specs ...string) bson.Raw {
			t.Helper()
			there, err := meta.FindOne(t.Context(), filter).Raw()
			if err != nil {
				t.Fatal(err)
			}
			err = eachRegistered(there, func(field string, e registered) {
				if slices.Contains(specs, e.spec) {
					update := bson.D{{Key: "$set", Value: bson.D{{Key: "entries." + field + ".at", Value: time.Now().Add(-by)}}}}
					if _, err := meta.UpdateOne(t.Context(), filter, update); err != nil {
						t.Fatal(err)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if there, err = meta.FindOne(t.Context(), filter).Raw(); err != nil {
				t.Fatal(err)
			}
			return there
		}
		register("a", "b", "c")
		age(driver.RegistryTTL-time.Hour, "a", "b")
		register("c")
		if diff := cmp.Diff([]string{"atrue", "bfalse", "cfalse"}, shown()); diff != "" {
			t.Errorf("an hour before (-want +got):\n%s", diff)
		}
		age(driver.RegistryTTL+time.Hour, "a", "b")
		register("a")
		if diff := cmp.Diff([]string{"atrue", "cfalse"}, shown()); diff != "" {
			t.Errorf("an hour after, when one was renewed (-want +got):\n%s", diff)
		}
		old := age(driver.RegistryTTL+time.Hour, "a", "c")
		before := time.Now().Add(-driver.RegistryTTL)
		age(0, "c")
		if err := prune(t.Context(), meta, filter, old, before); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"atrue", "cfalse"}, shown()); diff != "" {
			t.Errorf("renewed meanwhile (-want +got):\n%s", diff)
		}
		register("d")
		if diff := cmp.Diff([]string{"cfalse", "dfalse"}, shown()); diff != "" {
			t.Errorf("at the next call (-want +got):\n%s", diff)
		}
	})
}

// What a Look has shown, later reads of the process do not miss, also where the server
// answers from the past.
func TestLookRaisesFloor(t *testing.T) {
	server := mongotest.SharedLungo(t)
	database := server.Database(t)
	s, other := openLungo(t, server, database), openLungo(t, server, database)
	if err := other.Raise(t.Context(), []string{"user"}, 0); err != nil {
		t.Fatal(err)
	}
	look, err := s.Look(t.Context())
	if err != nil || look.Stamp < other.db.floor.get() || s.db.floor.get() < look.Stamp {
		t.Errorf("Look has the stamp %x, the floor is %x, and that of the other process %x: %v", look.Stamp, s.db.floor.get(), other.db.floor.get(), err)
	}
}
