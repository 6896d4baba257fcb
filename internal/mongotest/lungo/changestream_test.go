package main

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// next returns the next event with its token and times taken out.
func next(t *testing.T, stream *mongo.ChangeStream) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if !stream.Next(ctx) {
		t.Fatalf("no event: %v", stream.Err())
	}
	var e map[string]any
	check(t, stream.Decode(&e))
	for _, key := range []string{"_id", "clusterTime", "wallTime"} {
		if e[key] == nil {
			t.Fatalf("event without %s: %v", key, e)
		}
		delete(e, key)
	}
	return e
}

func TestChangeStream(t *testing.T) {
	ctx := t.Context()
	db := start(t, Options{}).Database("db")
	check(t, db.CreateCollection(ctx, "coll", options.CreateCollection().SetChangeStreamPreAndPostImages(bson.M{"enabled": true})))
	coll := db.Collection("coll")
	whole, err := db.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetFullDocument(options.UpdateLookup).SetFullDocumentBeforeChange(options.WhenAvailable))
	check(t, err)
	one, err := coll.Watch(ctx, mongo.Pipeline{bson.D{{Key: "$match", Value: bson.M{"operationType": bson.M{"$in": bson.A{"insert", "drop", "invalidate"}}}}}})
	check(t, err)

	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: bson.M{"x": 1}}, {Key: "b", Value: 1}})
		_, _ = coll.UpdateOne(ctx, bson.M{"_id": 1}, bson.D{{Key: "$set", Value: bson.D{{Key: "a.x", Value: 2}, {Key: "c.d", Value: 3}, {Key: "_id", Value: 1}}}, {Key: "$unset", Value: bson.M{"b": ""}}})
		_, _ = coll.UpdateOne(ctx, bson.M{"_id": 1}, bson.M{"$set": bson.M{"a.x": 2}}) // changes nothing
		_, _ = coll.ReplaceOne(ctx, bson.M{"_id": 1}, bson.M{"r": 1})
		_, _ = coll.DeleteOne(ctx, bson.M{"_id": 1})
		_, _ = db.Collection("other").InsertOne(ctx, bson.M{"_id": 2})
		_ = coll.Drop(ctx)
		_ = db.Drop(ctx)
	}()
	for i, want := range []string{
		`map[documentKey:{"_id":{"$numberInt":"1"}} fullDocument:{"_id":{"$numberInt":"1"},"a":{"x":{"$numberInt":"1"}},"b":{"$numberInt":"1"}} ns:{"db":"db","coll":"coll"} operationType:insert]`,
		`update`,
		`map[documentKey:{"_id":{"$numberInt":"1"}} fullDocument:{"_id":{"$numberInt":"1"},"r":{"$numberInt":"1"}} fullDocumentBeforeChange:{"_id":{"$numberInt":"1"},"a":{"x":{"$numberInt":"2"}},"c":{"d":{"$numberInt":"3"}}} ns:{"db":"db","coll":"coll"} operationType:replace]`,
		`map[documentKey:{"_id":{"$numberInt":"1"}} fullDocumentBeforeChange:{"_id":{"$numberInt":"1"},"r":{"$numberInt":"1"}} ns:{"db":"db","coll":"coll"} operationType:delete]`,
		`map[documentKey:{"_id":{"$numberInt":"2"}} fullDocument:{"_id":{"$numberInt":"2"}} ns:{"db":"db","coll":"other"} operationType:insert]`,
		`map[ns:{"db":"db","coll":"coll"} operationType:drop]`,
		`map[ns:{"db":"db","coll":"other"} operationType:drop]`,
		`map[ns:{"db":"db"} operationType:dropDatabase]`,
		`map[operationType:invalidate]`,
	} {
		e := next(t, whole)
		if want == "update" {
			// The looked-up document depends on the time of the lookup.
			same(t, "update", e["updateDescription"], `{"updatedFields":{"a.x":{"$numberInt":"2"},"c":{"d":{"$numberInt":"3"}}},"removedFields":["b"],"truncatedArrays":[]}`)
			if _, ok := e["fullDocument"]; !ok {
				t.Errorf("no fullDocument in %v", e)
			}
			continue
		}
		if i == 0 {
			delete(e, "lsid")
		}
		same(t, "event", e, want)
	}
	same(t, "insert", next(t, one)["operationType"], "insert")
	same(t, "drop", next(t, one)["operationType"], "drop")
	same(t, "invalidate", next(t, one)["operationType"], "invalidate")
	if one.Next(ctx) || one.Err() != nil {
		t.Errorf("after invalidate: %v", one.Err())
	}
	_, err = coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(one.ResumeToken()))
	wantCode(t, err, codeInvalidResumeToken)
	again, err := coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetStartAfter(one.ResumeToken()))
	check(t, err)
	_, err = coll.InsertOne(ctx, bson.M{"_id": 5})
	check(t, err)
	same(t, "restarted", next(t, again)["operationType"], "insert")
}

func TestResume(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{Oplog: 10}).Database("db").Collection("coll")
	stream, err := coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetBatchSize(2))
	check(t, err)
	for i := range 8 {
		_, err := coll.InsertOne(ctx, bson.M{"_id": i})
		check(t, err)
	}
	var tokens []bson.Raw
	for i := range 8 {
		same(t, "key", next(t, stream)["documentKey"], bson.D{{Key: "_id", Value: i}})
		tokens = append(tokens, stream.ResumeToken())
	}
	for i := range 7 {
		again, err := coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(tokens[i]).SetBatchSize(3))
		check(t, err)
		// The token before any event of the batch is taken resumes there too.
		if i == 3 {
			again, err = coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(again.ResumeToken()))
			check(t, err)
		}
		for j := i + 1; j < 8; j++ {
			same(t, "key", next(t, again)["documentKey"], bson.D{{Key: "_id", Value: j}})
		}
	}
	for i := 8; i < 12; i++ {
		_, err := coll.InsertOne(ctx, bson.M{"_id": i})
		check(t, err)
	}
	_, err = coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(tokens[0]))
	wantCode(t, err, codeHistoryLost)
	_, err = coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetStartAtOperationTime(&bson.Timestamp{T: 1}))
	wantCode(t, err, codeHistoryLost)
	again, err := coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(tokens[1]))
	check(t, err)
	same(t, "key", next(t, again)["documentKey"], bson.D{{Key: "_id", Value: 2}})
}
