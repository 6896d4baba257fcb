package mongo

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/graphcache/graphcache/driver"
)

// Store is a driver.Store in a MongoDB database, with a ledger, and where the deployment
// has them transactions and a feed of foreign changes.
type Store struct {
	db    *database
	name  string // the namespace
	space *space
}

var (
	_ driver.Store      = (*Store)(nil)
	_ driver.Transactor = (*Store)(nil)
	_ driver.Ledger     = (*Store)(nil)
	_ driver.Indexer    = (*Store)(nil)
	_ driver.Explainer  = (*Store)(nil)
	_ driver.Feed       = (*Store)(nil)
)

// database is what a store shares with its namespace views.
type database struct {
	client *mongo.Client
	db     *mongo.Database
	opts   Options
	caps   capabilities
	own    bool // the client was made by Open
	floor  floor
	// background ends with Close: it builds indexes.
	background context.Context
	stop       context.CancelFunc
	builds     sync.WaitGroup

	mu     sync.Mutex
	closed bool              // protects
	spaces map[string]*space // protects
}

// collection returns a collection of the database as it must be used, whatever the client's
// options are: reads of the primary, of what a majority has; writes that a majority has.
func (db *database) collection(name string) *mongo.Collection {
	return db.db.Collection(name, options.Collection().
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Majority()).
		SetWriteConcern(writeconcern.Majority()))
}

func (s *Store) collection(name string) *mongo.Collection {
	return s.db.collection(s.space.prefix + name)
}

// ID returns the random identity of the database, which is kept in it.
func (s *Store) ID(ctx context.Context) (string, error) {
	if err := s.db.usable(ctx); err != nil {
		return "", err
	}
	meta := s.db.collection(s.db.opts.Collection)
	filter := bson.D{{Key: "_id", Value: "id"}}
	update := bson.D{{Key: "$setOnInsert", Value: bson.D{{Key: "value", Value: rand.Text()}}}}
	after := options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)
	var found struct{ Value string }
	err := meta.FindOneAndUpdate(ctx, filter, update, after).Decode(&found)
	if mongo.IsDuplicateKeyError(err) { // another process was first
		err = meta.FindOne(ctx, filter).Decode(&found)
	}
	if err == nil && found.Value == "" {
		err = fmt.Errorf("the document has no value")
	}
	if err != nil {
		return "", describe(s.db.opts.Collection, "id", err)
	}
	return found.Value, nil
}

// Namespace returns the view of that name: its collections have the name in front of theirs.
// Names are not nested: the view of a view is that of the store.
func (s *Store) Namespace(name string) driver.Store {
	return &Store{db: s.db, name: name, space: s.db.space(name)}
}

func (db *database) space(name string) *space {
	db.mu.Lock()
	defer db.mu.Unlock()
	sp := db.spaces[name]
	if sp == nil {
		sp = newSpace(name)
		db.spaces[name] = sp
	}
	return sp
}

// Capabilities implements driver.Store.
func (s *Store) Capabilities() driver.Capabilities { return s.db.caps.Capabilities }

// Close ends the building of indexes, and disconnects the client if [Open] has made it.
// Closing a namespace view does nothing.
func (s *Store) Close(ctx context.Context) error {
	if s.name != "" {
		return nil
	}
	s.db.mu.Lock()
	closed := s.db.closed
	s.db.closed = true
	s.db.mu.Unlock()
	if closed {
		return nil
	}
	s.db.stop()
	s.db.builds.Wait()
	if !s.db.own {
		return nil
	}
	if err := s.db.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("mongo: disconnect: %w", err)
	}
	return nil
}

// usable returns the reason why a call cannot be served. Such a call has no effect, and its
// error says so.
func (db *database) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mongo: %w: %w", driver.ErrUnavailable, err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return fmt.Errorf("mongo: the store is closed: %w", driver.ErrUnavailable)
	}
	return nil
}

// each calls f for 0 to n-1, as many at once as Options.Concurrency says. It waits for all
// and returns the first error; others are not begun after it.
func (db *database) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	turns := make(chan struct{}, db.opts.Concurrency)
	for i := range n {
		turns <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() {
			defer func() { <-turns }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// database returns the database as it must be used for commands that are of no collection.
func (s *Store) database() *mongo.Database {
	return s.db.client.Database(s.db.db.Name(), options.Database().
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Majority()).
		SetWriteConcern(writeconcern.Majority()))
}
