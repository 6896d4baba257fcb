package main

import (
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestCRUD(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	for i := range 250 {
		_, err := coll.InsertOne(ctx, bson.M{"_id": i, "n": i % 10, "s": string(rune('a' + i%26))})
		check(t, err)
	}
	docs := docsOf(t)(coll.Find(ctx, bson.M{"n": 3}, options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetSkip(1).SetLimit(3).SetProjection(bson.M{"s": 0})))
	same(t, "find", docs, "[map[_id:233 n:3] map[_id:223 n:3] map[_id:213 n:3]]")
	same(t, "batches", len(docsOf(t)(coll.Find(ctx, bson.M{}, options.Find().SetBatchSize(7)))), 250)
	same(t, "in", len(docsOf(t)(coll.Find(ctx, bson.M{"_id": bson.M{"$in": bson.A{1, 2, int64(3), 4.0, 999}}}))), 4)

	up, err := coll.UpdateMany(ctx, bson.M{"n": 3}, bson.M{"$set": bson.M{"n": 33}, "$inc": bson.M{"a.b": 2}, "$unset": bson.M{"s": ""}})
	check(t, err)
	same(t, "modified", up.ModifiedCount, 25)
	up, err = coll.UpdateOne(ctx, bson.M{"_id": 3}, bson.M{"$set": bson.M{"n": 33}})
	check(t, err)
	same(t, "no change", []int64{up.MatchedCount, up.ModifiedCount}, []int64{1, 0})
	up, err = coll.UpdateOne(ctx, bson.M{"_id": 1000, "k": "v"}, bson.M{"$setOnInsert": bson.M{"x": 1}, "$max": bson.M{"m": 5}}, options.UpdateOne().SetUpsert(true))
	check(t, err)
	same(t, "upserted", up.UpsertedID, 1000)
	same(t, "upsert", docsOf(t)(coll.Find(ctx, bson.M{"k": "v"})), "[map[_id:1000 k:v m:5 x:1]]")
	_, err = coll.ReplaceOne(ctx, bson.M{"_id": 1000}, bson.M{"r": true})
	check(t, err)
	same(t, "replaced", docsOf(t)(coll.Find(ctx, bson.M{"_id": 1000})), "[map[_id:1000 r:true]]")

	del, err := coll.DeleteMany(ctx, bson.M{"n": 33})
	check(t, err)
	same(t, "deleted", del.DeletedCount, 25)
	n, err := coll.CountDocuments(ctx, bson.M{})
	check(t, err)
	same(t, "count", n, 226)
	n, err = coll.EstimatedDocumentCount(ctx)
	check(t, err)
	same(t, "estimate", n, 226)
	var values []int
	check(t, coll.Distinct(ctx, "n", bson.M{"n": bson.M{"$lt": 5}}).Decode(&values))
	same(t, "distinct", values, "[0 1 2 4]")
}

func TestDuplicateKeys(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	_, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys:    bson.D{{Key: "a", Value: 1}, {Key: "b", Value: -1}},
		Options: options.Index().SetUnique(true).SetPartialFilterExpression(bson.M{"a": bson.M{"$exists": true}}),
	})
	check(t, err)
	_, err = coll.InsertMany(ctx, []any{bson.M{"_id": 1, "a": "x", "b": 1}, bson.M{"_id": 2}, bson.M{"_id": 3}})
	check(t, err)
	_, err = coll.InsertOne(ctx, bson.M{"_id": int64(1)})
	wantCode(t, err, codeDuplicateKey)
	if !strings.Contains(err.Error(), `E11000 duplicate key error collection: db.coll index: _id_ dup key: { _id: 1 }`) {
		t.Errorf("got text %q", err)
	}
	_, err = coll.InsertMany(ctx, []any{bson.M{"_id": 4}, bson.M{"_id": 5, "a": "x", "b": 1}, bson.M{"_id": 6}, bson.M{"_id": 6}}, options.InsertMany().SetOrdered(false))
	bulk, ok := err.(mongo.BulkWriteException)
	if !ok || len(bulk.WriteErrors) != 2 || bulk.WriteErrors[0].Index != 1 || bulk.WriteErrors[1].Index != 3 {
		t.Fatalf("got %v", err)
	}
	_, err = coll.UpdateOne(ctx, bson.M{"_id": 2}, bson.M{"$set": bson.M{"a": "x", "b": 1.0}})
	wantCode(t, err, codeDuplicateKey)
	err = coll.FindOneAndUpdate(ctx, bson.M{"_id": 2}, bson.M{"$set": bson.M{"a": "x", "b": 1}}).Err()
	wantCode(t, err, codeDuplicateKey)
	n, err := coll.CountDocuments(ctx, bson.M{})
	check(t, err)
	same(t, "documents", n, 5)
}

func TestConcurrentIncrements(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	_, err := coll.InsertOne(ctx, bson.M{"_id": 1, "n": 0})
	check(t, err)
	var running sync.WaitGroup
	for range 50 {
		running.Go(func() {
			for range 4 {
				_, err := coll.UpdateOne(ctx, bson.M{"_id": 1}, bson.M{"$inc": bson.M{"n": 1}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	same(t, "sum", docsOf(t)(coll.Find(ctx, bson.M{})), "[map[_id:1 n:200]]")
}

func TestCompareAndSet(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	_, err := coll.InsertOne(ctx, bson.M{"_id": 1, "version": 0})
	check(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	won := map[int]int{}
	for range 20 {
		running.Go(func() {
			for range 10 {
				var doc struct{ Version int }
				if err := coll.FindOne(ctx, bson.M{"_id": 1}).Decode(&doc); err != nil {
					t.Error(err)
				}
				err := coll.FindOneAndUpdate(ctx, bson.M{"_id": 1, "version": doc.Version},
					bson.M{"$set": bson.M{"version": doc.Version + 1}}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc)
				if err == mongo.ErrNoDocuments {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				won[doc.Version]++
				mu.Unlock()
			}
		})
	}
	running.Wait()
	for v, n := range won {
		if n != 1 {
			t.Errorf("version %d was written %d times", v, n)
		}
	}
	same(t, "last", docsOf(t)(coll.Find(ctx, bson.M{"version": len(won)})), []map[string]any{{"_id": 1, "version": len(won)}})
}

// An update of many documents can be seen half done, but its documents cannot
// be written meanwhile.
func TestUpdateManyIsNotAtomic(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	const size = 400
	var docs []any
	for i := range size {
		docs = append(docs, bson.M{"_id": i, "n": 0})
	}
	_, err := coll.InsertMany(ctx, docs)
	check(t, err)
	half := false
	for round := 1; round <= 20 && !half; round++ {
		var running sync.WaitGroup
		running.Go(func() {
			_, err := coll.UpdateMany(ctx, bson.M{}, bson.M{"$inc": bson.M{"n": 1}})
			if err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			_, err := coll.UpdateOne(ctx, bson.M{"_id": size - 1}, bson.M{"$inc": bson.M{"n": 1}})
			if err != nil {
				t.Error(err)
			}
		})
		for range 20 {
			n, err := coll.CountDocuments(ctx, bson.M{"n": bson.M{"$gte": round}, "_id": bson.M{"$lt": size - 1}})
			check(t, err)
			half = half || n > 0 && n < size-1
		}
		running.Wait()
		same(t, "last", docsOf(t)(coll.Find(ctx, bson.M{"n": 2 * round})), []map[string]any{{"_id": size - 1, "n": 2 * round}})
	}
	if !half {
		t.Error("no read has seen an update half done")
	}
}

// docsOf is all for the two results of a call.
func docsOf(t *testing.T) func(*mongo.Cursor, error) []map[string]any {
	return func(cur *mongo.Cursor, err error) []map[string]any {
		t.Helper()
		return all(t, cur, err)
	}
}
