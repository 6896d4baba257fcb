package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// User is what is read and written: eight fields, about 300 bytes in the cache.
type User struct {
	ID      graphcache.ID[User] `json:"id"`
	Name    string              `json:"name"`
	Email   string              `json:"email"`
	City    string              `json:"city"`
	About   string              `json:"about"`
	Score   int                 `json:"score"`
	Rating  float64             `json:"rating"`
	Active  bool                `json:"active"`
	Created time.Time           `json:"created"`
}

var (
	users   = graphcache.NewObjectKind[User]("user")
	follows = graphcache.NewEdgeKind[graphcache.NoData]("follows", users, users)
	score   = graphcache.OrderedFieldOf(users, func(u *User) *int { return &u.Score })
	schema  = graphcache.NewSchema(users, follows)
)

const words = "the quick brown fox jumps over a lazy dog while five boxing wizards judge my vow of quartz and black sphinx"

// newUser returns a user who is the same for the same number.
func newUser(i int) *User {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	all := strings.Fields(words)
	var about []string
	for n := 0; n < 235; {
		w := all[r.IntN(len(all))]
		about, n = append(about, w), n+len(w)+1
	}
	name := fmt.Sprintf("%s %s", all[r.IntN(len(all))], all[r.IntN(len(all))])
	return &User{
		ID: userID(i), Name: name, Email: fmt.Sprintf("user%d@example.com", i), City: all[r.IntN(len(all))],
		About: strings.Join(about, " "), Score: r.IntN(1e6), Rating: r.Float64(), Active: r.IntN(2) == 0,
		Created: time.UnixMilli(1.7e12 + r.Int64N(1e10)).UTC(),
	}
}

func userID(i int) graphcache.ID[User] { return graphcache.ID[User](fmt.Sprintf("user%06d", i)) }

// userPlan is how graphcache encodes a user in the cache. The other ways use the same
// encoding, and the same code to read it, unless they bring their own.
var userPlan = func() *plan.Plan {
	p, err := plan.Of("user", reflect.TypeFor[User](), func(f reflect.StructField) bool { return f.Name == "ID" })
	if err != nil {
		panic(err)
	}
	return p
}()

func (u *User) document() driver.Document {
	d, err := userPlan.Document(reflect.ValueOf(u).Elem())
	if err != nil {
		panic(err)
	}
	return d
}

// encode returns the user as a value for another way than graphcache.
func (u *User) encode() []byte {
	b, err := userPlan.Encode(nil, u.document())
	if err != nil {
		panic(err)
	}
	return b
}

// decode is the opposite of encode.
func decode(id graphcache.ID[User], b []byte) (*User, error) {
	u := &User{ID: id}
	_, err := userPlan.Decode(b, reflect.ValueOf(u).Elem())
	return u, err
}

// check reports a user who is not the one that was asked for.
func check(u *User, id graphcache.ID[User], err error) error {
	if err == nil && (u.ID != id || len(u.About) < 225) {
		err = fmt.Errorf("%s: read %+v", id, u)
	}
	return err
}

// store is a memory store that counts reads, and can be told to refuse them, or to take
// its time.
type store struct {
	*memory.Store
	reads   atomic.Int64
	refuses atomic.Bool
	delay   time.Duration
}

var errRefused = errors.New("the store was asked")

// Read implements driver.Store.
func (s *store) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	s.reads.Add(1)
	if s.refuses.Load() {
		return nil, errRefused
	}
	time.Sleep(s.delay)
	return s.Store.Read(ctx, steps, atLeast)
}

// newStore returns a store that has the first n users.
func newStore(ctx context.Context, n int) (*store, error) {
	s := &store{Store: memory.NewStore(nil)}
	writes := make([]driver.Write, n)
	for i := range writes {
		u := newUser(i)
		writes[i] = driver.Write{
			Op: driver.Insert, Kind: users.Name(),
			Object: &driver.Object{ID: string(u.ID), Version: 1, Doc: u.document()},
		}
	}
	if err := s.Ensure(ctx, driver.Schema{Objects: []driver.ObjectKind{{Name: users.Name()}}}); err != nil {
		return nil, err
	}
	_, err := s.Write(ctx, writes)
	return s, err
}

// open opens a graph on the store with a connection of its own to the server. close
// closes both.
func open(ctx context.Context, s driver.Store, client *goredis.UniversalOptions, opts *redis.Options) (g *graphcache.Graph, close func(), err error) {
	o := redis.Options{}
	if opts != nil {
		o = *opts
	}
	o.BatchTimeout = patience
	o.Logger = slog.New(slog.DiscardHandler)
	b, err := redis.OpenUniversal(ctx, client, &o)
	if err != nil {
		return nil, nil, err
	}
	g, err = graphcache.Open(ctx, schema, s, &graphcache.Options{
		Cache: b.Cache(), Logger: o.Logger, TTL: time.Hour,
		ReadTimeout: patience, HoldTimeout: patience, LeaseTTL: 2 * patience, HoldTTL: 4 * patience,
	})
	if err != nil {
		return nil, nil, errors.Join(err, b.Close(ctx))
	}
	return g, func() { _ = g.Close(ctx); _ = b.Close(ctx) }, nil
}

// newClient returns a plain client of the server, with connections for many callers.
func newClient(addr string) *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: 64, ReadTimeout: patience, PoolTimeout: patience})
}

// patience is what calls may take on a machine with much else to do: none is to be given
// up.
const patience = 10 * time.Second

// at returns the options of graphcache's clients of the server.
func at(addr string) *goredis.UniversalOptions {
	return &goredis.UniversalOptions{
		Addrs: []string{addr}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	}
}
