package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/internal/mongotest"
)

// TestFeatures holds what servers are said to lack against what they do. Persistence has
// a test of its own, and a lack of ConcurrentUpdates does not show from outside.
func TestFeatures(t *testing.T) {
	for feature, probe := range probes {
		t.Run(string(feature), func(t *testing.T) {
			mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
				c := connect(t, s, s.URI)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, err := c.InsertOne(ctx, bson.M{"_id": 0, "a": 1, "b": "x"}); err != nil {
					t.Fatal(err)
				}
				err := probe(ctx, c)
				switch {
				case s.Lacks[feature] && err == nil:
					t.Errorf("%s is said to lack it and has it", s.Name)
				case !s.Lacks[feature] && err != nil:
					t.Errorf("%s: %v", s.Name, err)
				}
			})
		})
	}
}

// probes return an error where the server lacks the feature. The collection has the
// document {_id: 0, a: 1, b: "x"}.
var probes = map[mongotest.Feature]func(ctx context.Context, c *mongo.Collection) error{
	mongotest.Transactions: func(ctx context.Context, c *mongo.Collection) error {
		session, err := c.Database().Client().StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(ctx)
		_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			return c.InsertOne(ctx, bson.M{"_id": 1})
		})
		return err
	},
	mongotest.ChangeStreams: func(ctx context.Context, c *mongo.Collection) error {
		for _, watch := range []func(context.Context, any, ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error){
			c.Watch, c.Database().Watch,
		} {
			stream, err := watch(ctx, mongo.Pipeline{})
			if err != nil {
				return err
			}
			_, err = c.UpdateOne(ctx, bson.M{"_id": 0}, bson.M{"$inc": bson.M{"a": 1}})
			if err == nil && !stream.Next(ctx) {
				err = fmt.Errorf("no event: %w", stream.Err())
			}
			if err := errors.Join(err, stream.Close(ctx)); err != nil {
				return err
			}
		}
		return nil
	},
	mongotest.RetryableWrites: func(ctx context.Context, c *mongo.Collection) error {
		session, err := c.Database().Client().StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(ctx)
		for range 2 {
			if err := c.Database().RunCommand(mongo.NewSessionContext(ctx, session), bson.D{
				{Key: "update", Value: c.Name()},
				{Key: "updates", Value: bson.A{bson.M{"q": bson.M{"_id": 0}, "u": bson.M{"$inc": bson.M{"a": 1}}}}},
				{Key: "txnNumber", Value: int64(1000)}, // the driver has counted up to 1
			}).Err(); err != nil {
				return err
			}
		}
		return is(ctx, c, bson.M{"_id": 0, "a": 2})
	},
	mongotest.OperationTime: func(ctx context.Context, c *mongo.Collection) error {
		session, err := c.Database().Client().StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(ctx)
		if _, err := c.UpdateOne(mongo.NewSessionContext(ctx, session), bson.M{"_id": 0}, bson.M{"$set": bson.M{"a": 2}}); err != nil {
			return err
		}
		if session.OperationTime() == nil {
			return errors.New("no operationTime")
		}
		return is(mongo.NewSessionContext(ctx, session), c, bson.M{"a": 2})
	},
	mongotest.PartialIndexes: func(ctx context.Context, c *mongo.Collection) error {
		partial := options.Index().SetPartialFilterExpression(bson.M{"b": "x"})
		if err := unique(ctx, c, bson.M{"a": 1}, partial); err != nil {
			return err
		}
		_, err := c.InsertOne(ctx, bson.M{"_id": 1, "a": 1}) // not of the index
		return err
	},
	mongotest.SparseIndexes: func(ctx context.Context, c *mongo.Collection) error {
		keys := bson.D{{Key: "a", Value: 1}, {Key: "c", Value: 1}}
		index := options.Index().SetUnique(true).SetSparse(true)
		if _, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: index}); err != nil {
			return err
		}
		for i := range 2 {
			if _, err := c.InsertOne(ctx, bson.M{"_id": 1 + i}); err != nil {
				return err // it has none of the fields
			}
		}
		if _, err := c.InsertOne(ctx, bson.M{"_id": 3, "a": 1}); !mongo.IsDuplicateKeyError(err) {
			return fmt.Errorf("a second document that has one of the fields: %w", err)
		}
		return nil
	},
	mongotest.UniqueOnUpdate: func(ctx context.Context, c *mongo.Collection) error {
		if err := unique(ctx, c, bson.M{"a": 1}, options.Index()); err != nil {
			return err
		}
		if _, err := c.InsertOne(ctx, bson.M{"_id": 1, "a": 2}); err != nil {
			return err
		}
		if _, err := c.UpdateOne(ctx, bson.M{"_id": 1}, bson.M{"$set": bson.M{"a": 1}}); !mongo.IsDuplicateKeyError(err) {
			return fmt.Errorf("the update of a key to one that is there: %w", err)
		}
		return nil
	},
	mongotest.DuplicateIndex: func(ctx context.Context, c *mongo.Collection) error {
		if err := unique(ctx, c, bson.M{"a": 1}, options.Index().SetName("mine")); err != nil {
			return err
		}
		_, err := c.InsertOne(ctx, bson.M{"_id": 1, "a": 1})
		if !mongo.IsDuplicateKeyError(err) || !strings.Contains(err.Error(), "index: mine ") {
			return fmt.Errorf("the error is %w", err)
		}
		return nil
	},
	mongotest.DocumentSize: func(ctx context.Context, c *mongo.Collection) error {
		// The driver does not look at the size of an update.
		half := make([]byte, 9<<20)
		if _, err := c.UpdateOne(ctx, bson.M{"_id": 0}, bson.M{"$set": bson.M{"c": half}}); err != nil {
			return err
		}
		if _, err := c.UpdateOne(ctx, bson.M{"_id": 0}, bson.M{"$set": bson.M{"d": half}}); err == nil {
			return errors.New("a document of 18 MiB is stored")
		}
		return ctx.Err() // else it may have been refused for want of time
	},
	mongotest.SpecialNumbers: func(ctx context.Context, c *mongo.Collection) error {
		return has(ctx, c, math.NaN(), math.Inf(-1), math.Copysign(0, -1))
	},
	mongotest.Decimal128: func(ctx context.Context, c *mongo.Collection) error {
		return has(ctx, c, bson.NewDecimal128(0x3040<<48, 7))
	},
	mongotest.Regex: func(ctx context.Context, c *mongo.Collection) error {
		return is(ctx, c, bson.M{"b": bson.M{"$regex": "^X", "$options": "i"}})
	},
	mongotest.Aggregation: func(ctx context.Context, c *mongo.Collection) error {
		cursor, err := c.Aggregate(ctx, bson.A{
			bson.M{"$match": bson.M{"b": "x"}},
			bson.M{"$group": bson.M{"_id": "$a", "n": bson.M{"$sum": 1}}},
			bson.M{"$sort": bson.M{"n": -1}},
			bson.M{"$limit": 1},
		})
		return one(ctx, cursor, err)
	},
	mongotest.Lookup: func(ctx context.Context, c *mongo.Collection) error {
		cursor, err := c.Database().Aggregate(ctx, bson.A{
			bson.M{"$documents": bson.A{bson.M{"k": 1}}},
			bson.M{"$lookup": bson.M{"from": c.Name(), "localField": "k", "foreignField": "a", "as": "docs"}},
			bson.M{"$unwind": "$docs"},
		})
		return one(ctx, cursor, err)
	},
}

// unique makes a unique index.
func unique(ctx context.Context, c *mongo.Collection, keys bson.M, o *options.IndexOptionsBuilder) error {
	_, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: o.SetUnique(true)})
	return err
}

// is checks that a document is there.
func is(ctx context.Context, c *mongo.Collection, filter any) error {
	return c.FindOne(ctx, filter).Err()
}

// has checks that values come back as they were stored.
func has(ctx context.Context, c *mongo.Collection, values ...any) error {
	want, err := bson.Marshal(bson.M{"v": values})
	if err != nil {
		return err
	}
	if _, err := c.InsertOne(ctx, bson.M{"_id": "values", "v": values}); err != nil {
		return err
	}
	got, err := c.FindOne(ctx, bson.M{"_id": "values"}).Raw()
	if err != nil {
		return err
	}
	if !got.Lookup("v").Equal(bson.Raw(want).Lookup("v")) {
		return fmt.Errorf("%v comes back as %v", values, got.Lookup("v"))
	}
	return nil
}

// one checks that a cursor has one document.
func one(ctx context.Context, cursor *mongo.Cursor, err error) error {
	if err != nil {
		return err
	}
	var docs []bson.Raw
	if err := cursor.All(ctx, &docs); err != nil {
		return err
	}
	if len(docs) != 1 {
		return fmt.Errorf("%d documents, want 1", len(docs))
	}
	return nil
}
