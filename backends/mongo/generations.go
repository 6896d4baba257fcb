package mongo

import (
	"context"
	"fmt"
	"math"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
)

// generationID is in front of a kind in the _id of its counter.
const generationID = "generation:"

// Generations implements driver.Generations.
func (s *Store) Generations(ctx context.Context) (map[string]uint64, error) {
	if err := s.db.usable(ctx); err != nil {
		return nil, err
	}
	now := make(map[string]uint64)
	r := reader{s: &Store{db: s.db, space: s.db.space("")}}
	err := r.run(ctx, 1, func(ctx context.Context, _ int) error {
		filter := bson.D{{Key: "_id", Value: prefixRange(generationID)}}
		return r.find(ctx, s.db.opts.Collection, filter, options.Find(), func(raw bson.Raw) error {
			id, _ := raw.Lookup("_id").StringValueOK()
			n, _ := raw.Lookup("n").AsInt64OK()
			if kind, ok := strings.CutPrefix(id, generationID); ok && n > 0 {
				now[kind] = uint64(n)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return now, nil
}

// Raise implements driver.Generations.
func (s *Store) Raise(ctx context.Context, kinds []string, atLeast uint64) error {
	if err := s.db.usable(ctx); err != nil {
		return err
	}
	if atLeast > math.MaxInt64 {
		return fmt.Errorf("mongo: a generation of %d: %w", atLeast, driver.ErrInvalid)
	}
	for _, kind := range kinds {
		if err := s.raise(ctx, kind, int64(atLeast)); err != nil {
			return describe(s.db.opts.Collection, generationID+kind, err)
		}
	}
	return nil
}

func (s *Store) raise(ctx context.Context, kind string, atLeast int64) error {
	meta := s.db.collection(s.db.opts.Collection)
	filter := bson.D{{Key: "_id", Value: generationID + kind}}
	after := options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)
	var now struct{ N int64 }
	stamp, err := s.db.session(ctx, "", func(ctx context.Context) error {
		err := mongo.ErrNoDocuments
		for try := 0; try < 3 && (err == mongo.ErrNoDocuments || mongo.IsDuplicateKeyError(err)); try++ { // another upsert was first
			err = meta.FindOneAndUpdate(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}}, after).Decode(&now)
		}
		if err != nil || now.N >= atLeast {
			return err
		}
		_, err = meta.UpdateOne(ctx, filter, bson.D{{Key: "$max", Value: bson.D{{Key: "n", Value: atLeast}}}})
		return err
	})
	s.db.floor.raise(stamp)
	return err
}
