package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

func newSession(t *testing.T) *mongo.Session {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.EndSession(context.Background())
		_ = c.Disconnect(context.Background())
	})
	return s
}

// A stamp brings the operationTime to another session, and the signed cluster time with it
// where there is one.
func TestStampRoundTrip(t *testing.T) {
	hash := make([]byte, 20)
	for i := range hash {
		hash[i] = byte(i + 1)
	}
	signed := func(keyID int64) bson.D {
		return bson.D{{Key: "$clusterTime", Value: bson.D{
			{Key: "clusterTime", Value: bson.Timestamp{T: 9, I: 4}},
			{Key: "signature", Value: bson.D{{Key: "hash", Value: bson.Binary{Data: hash}}, {Key: "keyId", Value: keyID}}},
		}}}
	}
	for name, c := range map[string]struct {
		cluster bson.D
		length  int
	}{
		"no cluster time": {nil, shortStamp},
		"not signed":      {signed(0), shortStamp},
		"signed":          {signed(7 << 40), longStamp},
	} {
		from, to := newSession(t), newSession(t)
		at := bson.Timestamp{T: 1<<32 - 1, I: 3}
		if err := from.AdvanceOperationTime(&at); err != nil {
			t.Fatal(err)
		}
		if c.cluster != nil {
			if err := from.AdvanceClusterTime(marshal(t, c.cluster)); err != nil {
				t.Fatal(err)
			}
		}
		stamp := stampOf(from)
		if len(stamp) != c.length {
			t.Errorf("%s: a stamp of %d bytes, want %d", name, len(stamp), c.length)
		}
		if err := advance(to, stamp); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := to.OperationTime(); got == nil || *got != at {
			t.Errorf("%s: operation time %v, want %v", name, got, at)
		}
		if c.length == longStamp && !slices.Equal(to.ClusterTime(), bson.Raw(marshal(t, c.cluster))) {
			t.Errorf("%s: cluster time %v, want %v", name, to.ClusterTime(), c.cluster)
		}
		if again := stampOf(to); again != stamp {
			t.Errorf("%s: stamp %x comes back as %x", name, stamp, again)
		}
	}
	if s := stampOf(newSession(t)); s != "" {
		t.Errorf("a session that has done nothing has the stamp %x", s)
	}
}

// The later of two moments has the greater stamp, signed or not.
func TestStampOrder(t *testing.T) {
	moments := []bson.Timestamp{{T: 0, I: 1}, {T: 0, I: 255}, {T: 0, I: 256}, {T: 1, I: 0}, {T: 255, I: 9}, {T: 256, I: 1}, {T: 1 << 31, I: 0}, {T: 1<<32 - 1, I: 1<<32 - 1}}
	var last driver.Stamp
	for _, m := range moments {
		short := driver.Stamp(appendTimestamp(nil, m))
		if short <= last {
			t.Errorf("the stamp of %v is not after that before it", m)
		}
		last = short + driver.Stamp(make([]byte, longStamp-shortStamp))
	}
	var f floor
	for _, s := range []driver.Stamp{"", "b", "a", "c", "", "b"} {
		f.raise(s)
	}
	if f.get() != "c" {
		t.Errorf("the floor is %q", f.get())
	}
}

// openLungo returns a store in a database of a lungo.
func openLungo(t *testing.T, server *mongotest.Server, database string) *Store {
	t.Helper()
	s, err := Open(t.Context(), server.URI, &Options{Database: database, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	err = s.Ensure(t.Context(), driver.Schema{
		Objects: []driver.ObjectKind{{Name: "user"}}, Edges: []driver.EdgeKind{{Name: "follows", From: "user", To: "user"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Bytes that are no stamp are refused, and nothing is asked of the server.
func TestForeignStamps(t *testing.T) {
	s := newSession(t)
	for _, n := range []int{1, 7, 9, 43, 45, 64} {
		if err := advance(s, driver.Stamp(make([]byte, n))); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("a stamp of %d bytes: %v", n, err)
		}
	}
	store := openLungo(t, mongotest.SharedLungo(t), mongotest.SharedLungo(t).Database(t))
	step := []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}}
	if _, err := store.Read(t.Context(), step, "nonsense!"); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("a read with a foreign stamp: %v", err)
	}
	if _, err := store.Read(t.Context(), step, ""); err != nil {
		t.Errorf("a read after one with a foreign stamp: %v", err)
	}
}

// A server that answers from the past shows what a stamp is for: with it a read sees the
// write, without it only that of the process that has written.
func TestStaleServer(t *testing.T) {
	if mongotest.External() != "" {
		t.Skip("the server is not stale")
	}
	server := mongotest.Lungo(t, "-stale", "200ms")
	database := server.Database(t)
	writer := openLungo(t, server, database)
	var last driver.Stamp
	var missed int
	for i := range 10 {
		id := fmt.Sprint(i)
		results, err := writer.Write(t.Context(), []driver.Write{
			{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: id, Version: 1}},
			{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: "a", To: id, Version: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Stamp <= last {
				t.Errorf("stamp %x after %x", r.Stamp, last)
			}
			last = r.Stamp
		}
		steps := []driver.Step{
			{Op: driver.GetObjects, Kind: "user", IDs: []string{id}},
			{Op: driver.ListEdges, Kind: "follows", IDs: []string{"a"}},
			{Op: driver.CountEdges, Kind: "follows", IDs: []string{"a"}},
			{Op: driver.FindObjects, Kind: "user", Count: true},
		}
		sees := func(s *Store, at driver.Stamp) int {
			t.Helper()
			found, err := s.Read(t.Context(), steps, at)
			if err != nil {
				t.Fatal(err)
			}
			n := len(found[1].Lists[0]) + found[2].Counts[0] + found[3].Counts[0]
			if found[0].Objects[0] != nil {
				n++
			}
			return n
		}
		all := 3*(i+1) + 1
		if n := sees(writer, ""); n != all {
			t.Errorf("write %d: its process sees %d of %d", i, n, all)
		}
		other := openLungo(t, server, database)
		if sees(other, "") < all {
			missed++
		}
		if n := sees(other, last); n != all {
			t.Errorf("write %d: another process with the stamp sees %d of %d", i, n, all)
		}
		if n := sees(other, ""); n != all {
			t.Errorf("write %d: another process that was told the stamp sees %d of %d", i, n, all)
		}
	}
	if missed == 0 {
		t.Error("the server is never stale, so that the test shows nothing")
	}
	// A transaction, too, starts after what the process knows of.
	other := openLungo(t, server, database)
	other.db.floor.raise(last)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := tx.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"9"}}}, "")
	if err != nil || found[0].Objects[0] == nil {
		t.Errorf("in a transaction: %v, %v", found, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	// The generations are read like everything else.
	if err := writer.Raise(t.Context(), []string{"user"}, 0); err != nil {
		t.Fatal(err)
	}
	if now, err := writer.Look(t.Context()); err != nil || now.Generations["user"] != 1 {
		t.Errorf("generations %v, %v", now, err)
	}
	time.Sleep(250 * time.Millisecond)
	if now, err := openLungo(t, server, database).Look(t.Context()); err != nil || now.Generations["user"] != 1 {
		t.Errorf("generations of another process a while later %v, %v", now, err)
	}
}
