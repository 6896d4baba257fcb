package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/graphcache/graphcache/internal/mongotest"
)

// connect returns a collection of a database of the test's own, with a client that does
// not wait long for a server that is down.
func connect(t *testing.T, s *mongotest.Server, uri string) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().SetServerSelectionTimeout(5 * time.Second).ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database(s.Database(t))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if mongotest.External() != "" {
			_ = db.Drop(ctx)
		}
		_ = client.Disconnect(ctx)
	})
	return db.Collection("things")
}

// count returns a document's field n, or -1 where there is no document.
func count(t *testing.T, c *mongo.Collection, id any) int {
	t.Helper()
	var doc struct{ N int }
	err := c.FindOne(t.Context(), bson.M{"_id": id}).Decode(&doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return doc.N
}

func put(t *testing.T, c *mongo.Collection, id any, n int) {
	t.Helper()
	if _, err := c.InsertOne(t.Context(), bson.M{"_id": id, "n": n}); err != nil {
		t.Fatal(err)
	}
}

func TestCommands(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		ctx := t.Context()
		c := connect(t, s, s.URI)
		if err := c.Database().Client().Ping(ctx, nil); err != nil {
			t.Fatal(err)
		}
		id := bson.D{{Key: "f", Value: "a"}, {Key: "t", Value: "b"}}
		put(t, c, id, 1)
		if _, err := c.InsertOne(ctx, bson.M{"_id": id}); !mongo.IsDuplicateKeyError(err) {
			t.Errorf("a second insert: %v, want a duplicate key", err)
		}
		if _, err := c.UpdateOne(ctx, bson.M{"_id": id, "n": 1}, bson.M{"$set": bson.M{"n": 7}}); err != nil {
			t.Fatal(err)
		}
		if n := count(t, c, id); n != 7 {
			t.Errorf("after an update n is %d, want 7", n)
		}
		if _, err := c.DeleteOne(ctx, bson.M{"_id": id}); err != nil {
			t.Fatal(err)
		}
		if n := count(t, c, id); n != -1 {
			t.Errorf("after a delete n is %d, want no document", n)
		}
	})
}

func TestConcurrentIncrements(t *testing.T) {
	const clients, each = 16, 15
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		c := connect(t, s, s.URI)
		put(t, c, 1, 0)
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for range each {
					if _, err := c.UpdateOne(t.Context(), bson.M{"_id": 1}, bson.M{"$inc": bson.M{"n": 1}}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := count(t, c, 1); n != clients*each {
			t.Errorf("after %d increments n is %d", clients*each, n)
		}
	})
}

// A write that wants no reply must not leave one behind for the next command.
func TestUnacknowledgedWrites(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		c := connect(t, s, s.URI+"&maxPoolSize=1")
		silent := c.Clone(options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
		for i := range 5 {
			if _, err := silent.InsertOne(t.Context(), bson.M{"_id": i, "n": i}); err != nil {
				t.Fatal(err)
			}
			if n := count(t, c, i); n != i {
				t.Errorf("n of %d is %d", i, n)
			}
		}
	})
}

func TestKillAndRestart(t *testing.T) {
	mongotest.EachOwn(t, func(t *testing.T, s *mongotest.Server) {
		s.Need(t, mongotest.Persistence)
		c := connect(t, s, s.URI+"&serverSelectionTimeoutMS=1500")
		put(t, c, 1, 5)
		s.Kill()
		if _, err := c.InsertOne(t.Context(), bson.M{"_id": 2}); err == nil {
			t.Error("a killed server takes an insert")
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if n := count(t, c, 1); n != 5 {
			t.Errorf("after a crash n is %d, want 5; its log:\n%s", n, s.Log())
		}
	})
}

func TestSuspend(t *testing.T) {
	mongotest.EachOwn(t, func(t *testing.T, s *mongotest.Server) {
		c := connect(t, s, s.URI)
		put(t, c, 1, 5)
		s.Suspend()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := c.FindOne(ctx, bson.M{"_id": 1}).Err()
		if !errors.Is(err, context.DeadlineExceeded) && !mongo.IsTimeout(err) {
			t.Errorf("a suspended server answers %v, want a timeout", err)
		}
		s.Resume()
		if n := count(t, c, 1); n != 5 {
			t.Errorf("n is %d, want 5", n)
		}
	})
}

func TestSharedServerIsKept(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if err := s.Restart(); err == nil || !strings.Contains(err.Error(), "shared") {
			t.Errorf("Restart of a shared server: %v", err)
		}
		if a, b := s.Database(t), s.Database(t); a == b {
			t.Errorf("two databases have the name %s", a)
		}
	})
}

// once makes an action of the first request with the command, and counts them all.
func once(p *mongotest.Proxy, cmd string, action mongotest.Action) *atomic.Int32 {
	var seen atomic.Int32
	p.On(func(c string) mongotest.Action {
		if c == cmd && seen.Add(1) == 1 {
			return action
		}
		return mongotest.Pass
	})
	return &seen
}

func TestProxyCuts(t *testing.T) {
	increment := bson.M{"$inc": bson.M{"n": 1}}
	for _, test := range []struct {
		name   string
		action mongotest.Action
		want   int // n, if nobody tries again
	}{
		{"before", mongotest.CutBefore, 0},
		{"after", mongotest.CutAfter, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
				p := mongotest.NewProxy(t, s.Addr)
				c := connect(t, s, p.URI()+"&retryWrites=false")
				put(t, c, 1, 0)
				seen := once(p, "update", test.action)
				_, err := c.UpdateOne(t.Context(), bson.M{"_id": 1}, increment)
				if !mongo.IsNetworkError(err) || seen.Load() != 1 {
					t.Errorf("the error after %d updates is %v, want one of the network after 1", seen.Load(), err)
				}
				if n := count(t, c, 1); n != test.want {
					t.Errorf("n is %d, want %d", n, test.want)
				}
			})
		})
	}
}

// A client that is told a write's number retries it by itself, and the server knows it.
func TestProxyRetriedWrites(t *testing.T) {
	for _, action := range []mongotest.Action{mongotest.CutBefore, mongotest.CutAfter} {
		t.Run(fmt.Sprint(action), func(t *testing.T) {
			mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
				s.Need(t, mongotest.RetryableWrites)
				p := mongotest.NewProxy(t, s.Addr)
				c := connect(t, s, p.URI())
				put(t, c, 1, 0)
				seen := once(p, "update", action)
				if _, err := c.UpdateOne(t.Context(), bson.M{"_id": 1}, bson.M{"$inc": bson.M{"n": 1}}); err != nil {
					t.Fatal(err)
				}
				if n := count(t, c, 1); n != 1 || seen.Load() != 2 {
					t.Errorf("after %d updates n is %d, want 1 after 2", seen.Load(), n)
				}
			})
		})
	}
}

func TestProxyHangs(t *testing.T) {
	for _, test := range []struct {
		name   string
		action mongotest.Action
		want   int // n, while the insert hangs
	}{
		{"before", mongotest.HangBefore, -1},
		{"after", mongotest.HangAfter, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
				p := mongotest.NewProxy(t, s.Addr)
				c := connect(t, s, p.URI())
				once(p, "insert", test.action)
				done := make(chan error, 1)
				go func() {
					_, err := c.InsertOne(t.Context(), bson.M{"_id": 1, "n": 3})
					done <- err
				}()
				for p.Held() == 0 {
					time.Sleep(time.Millisecond)
				}
				if n := count(t, c, 1); n != test.want {
					t.Errorf("meanwhile n is %d, want %d", n, test.want)
				}
				p.Release()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if n := count(t, c, 1); n != 3 {
					t.Errorf("n is %d, want 3", n)
				}
			})
		})
	}
}

func TestProxyRefuses(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := mongotest.NewProxy(t, s.Addr)
		c := connect(t, s, p.URI()+"&serverSelectionTimeoutMS=1000")
		put(t, c, 1, 0)
		p.Refuse(true)
		if err := c.FindOne(t.Context(), bson.M{"_id": 1}).Err(); err == nil {
			t.Error("a find succeeds without a connection")
		}
		p.Refuse(false)
		comesBack(t, c)
		p.Cut()
		comesBack(t, c)
	})
}

// comesBack waits until a collection can be read again.
func comesBack(t *testing.T, c *mongo.Collection) {
	t.Helper()
	for range 20 {
		err := c.FindOne(t.Context(), bson.M{"_id": 1}).Err()
		if err == nil {
			return
		}
		t.Log(err)
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the server does not come back")
}

func TestProxyDelays(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := mongotest.NewProxy(t, s.Addr)
		c := connect(t, s, p.URI())
		const delay = 50 * time.Millisecond
		p.On(func(cmd string) mongotest.Action {
			if cmd == "insert" {
				time.Sleep(delay)
			}
			return mongotest.Pass
		})
		start := time.Now()
		put(t, c, 1, 0)
		if took := time.Since(start); took < delay {
			t.Errorf("an insert took %v, less than its delay %v", took, delay)
		}
	})
}
