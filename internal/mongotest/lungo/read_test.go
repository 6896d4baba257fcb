package main

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
)

func TestFilters(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	_, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "v", Value: 1}}})
	check(t, err)
	for i, v := range []any{int32(1), int64(2), 2.5, math.NaN(), nil, "abc", "xyz", bson.A{1, 7}, bson.A{}, bson.M{"k": 1}, true} {
		_, err := coll.InsertOne(ctx, bson.M{"_id": i, "v": v})
		check(t, err)
	}
	_, err = coll.InsertOne(ctx, bson.M{"_id": 11})
	check(t, err)
	for _, test := range []struct {
		filter any
		want   string
	}{
		{bson.M{"v": 1.0}, "[0 7]"},
		{bson.M{"v": nil}, "[4 11]"},
		{bson.M{"v": bson.M{"$in": bson.A{nil, "abc", 7}}}, "[4 5 7 11]"},
		{bson.M{"v": bson.M{"$in": bson.A{"abc", 2}}}, "[1 5]"},
		{bson.M{"v": bson.M{"$in": bson.A{bson.Regex{Pattern: "^x"}, 2}}}, "[1 6]"},
		{bson.M{"v": bson.M{"$nin": bson.A{nil, "abc", 7}}}, "[0 1 2 3 6 8 9 10]"},
		{bson.M{"v": bson.M{"$lt": 2}}, "[0 7]"},
		{bson.M{"v": bson.M{"$lte": 100}}, "[0 1 2 7]"},
		{bson.M{"v": bson.M{"$gt": 2}}, "[2 7]"},
		{bson.M{"v": bson.M{"$gte": math.NaN()}}, "[3]"},
		{bson.M{"v": math.NaN()}, "[3]"},
		{bson.M{"v": bson.M{"$not": bson.M{"$lt": 100}}}, "[3 4 5 6 8 9 10 11]"},
		{bson.M{"v": bson.M{"$exists": false}}, "[11]"},
		{bson.M{"v": bson.M{"$type": "array"}}, "[7 8]"},
		{bson.M{"v": bson.M{"$type": bson.A{"string", "null"}}}, "[4 5 6]"},
		{bson.M{"v": bson.M{"$type": "number"}}, "[0 1 2 3 7]"},
		{bson.M{"v": bson.M{"$size": 2}}, "[7]"},
		{bson.M{"v": bson.M{"$all": bson.A{7, 1}}}, "[7]"},
		{bson.M{"v": bson.M{"$regex": "^AB", "$options": "i"}}, "[5]"},
		{bson.M{"v": bson.Regex{Pattern: "z$"}}, "[6]"},
		{bson.M{"v": bson.M{"$not": bson.Regex{Pattern: "z$"}}}, "[0 1 2 3 4 5 7 8 9 10 11]"},
		{bson.M{"v.k": 1}, "[9]"},
		{bson.M{"$nor": bson.A{bson.M{"v": bson.M{"$exists": true}}}}, "[11]"},
		{bson.M{"$or": bson.A{bson.M{"v": 1}, bson.M{"v": true}}}, "[0 7 10]"},
	} {
		ids := []any{}
		for _, doc := range docsOf(t)(coll.Find(ctx, test.filter, options.Find().SetSort(bson.M{"_id": 1}))) {
			ids = append(ids, doc["_id"])
		}
		same(t, fmt.Sprint(test.filter), ids, test.want)
	}
	empty := coll.Database().Collection("empty")
	for _, filter := range []any{
		bson.M{"v": bson.M{"$near": 1}},
		bson.M{"$where": "1"},
		bson.M{"$expr": bson.M{}},
		bson.M{"v": bson.D{{Key: "$eq", Value: 1}, {Key: "k", Value: 2}}},
		bson.M{"v": bson.M{"$not": bson.M{"$foo": 1}}},
		bson.M{"$or": bson.A{}},
		bson.M{"v": bson.M{"$size": -1}},
		bson.M{"v": bson.M{"$in": 1}},
		bson.M{"v": bson.M{"$regex": "("}},
	} {
		if _, err := empty.Find(ctx, filter); err == nil {
			t.Errorf("%v is accepted", filter)
		}
	}
	_, err = coll.UpdateOne(ctx, bson.M{"_id": 5}, bson.M{"$set": bson.M{"v.k": 1}})
	wantCode(t, err, codePathNotViable)
	_, err = coll.UpdateOne(ctx, bson.M{"_id": 5}, bson.M{"$inc": bson.M{"v": 1}})
	wantCode(t, err, codeTypeMismatch)
	_, err = coll.UpdateOne(ctx, bson.M{"_id": 5}, bson.M{"$set": bson.M{"w": 1}, "$inc": bson.M{"w.x": 1}})
	wantCode(t, err, codeConflictingUpdate)
	_, err = coll.UpdateOne(ctx, bson.M{"_id": 5}, bson.M{"$set": bson.M{"_id": 99}})
	wantCode(t, err, codeImmutableField)
	for _, update := range []any{bson.M{"$frob": bson.M{"a": 1}}, bson.M{"$set": bson.M{"a.$": 1}}} {
		if _, err := empty.UpdateOne(ctx, bson.M{}, update); err == nil {
			t.Errorf("%v is accepted", update)
		}
	}
}

func TestAggregate(t *testing.T) {
	ctx := t.Context()
	db := start(t, Options{}).Database("db")
	for i := range 6 {
		_, err := db.Collection("edges").InsertOne(ctx, bson.M{"_id": i, "src": i % 2, "dst": i})
		check(t, err)
		_, err = db.Collection("nodes").InsertOne(ctx, bson.M{"_id": i, "name": string(rune('a' + i)), "x": 1})
		check(t, err)
	}
	stage := func(name string, v any) bson.D { return bson.D{{Key: name, Value: v}} }
	text := func(cur *mongo.Cursor, err error) string { return fmt.Sprint(all(t, cur, err)) }
	same(t, "count", text(db.Collection("edges").Aggregate(ctx, mongo.Pipeline{
		stage("$match", bson.M{"src": 1}), stage("$group", bson.M{"_id": nil, "n": bson.M{"$sum": 1}})})), "[map[_id:<nil> n:3]]")
	same(t, "group", text(db.Collection("edges").Aggregate(ctx, mongo.Pipeline{
		stage("$group", bson.M{"_id": bson.M{"s": "$src"}, "n": bson.M{"$sum": 1}}), stage("$sort", bson.D{{Key: "_id.s", Value: -1}})})),
		`[map[_id:{"s":{"$numberInt":"1"}} n:3] map[_id:{"s":{"$numberInt":"0"}} n:3]]`)
	lookup := stage("$lookup", bson.D{{Key: "from", Value: "nodes"}, {Key: "localField", Value: "dst"}, {Key: "foreignField", Value: "_id"},
		{Key: "pipeline", Value: bson.A{stage("$project", bson.M{"x": 0})}}, {Key: "as", Value: "node"}})
	same(t, "join", text(db.Collection("edges").Aggregate(ctx, mongo.Pipeline{
		stage("$match", bson.M{"src": 0}), stage("$sort", bson.D{{Key: "dst", Value: -1}}), stage("$skip", 1), stage("$limit", 2),
		lookup, stage("$unwind", "$node"), stage("$replaceRoot", bson.M{"newRoot": "$node"})})), "[map[_id:2 name:c] map[_id:0 name:a]]")
	same(t, "documents", text(db.Aggregate(ctx, mongo.Pipeline{
		stage("$documents", bson.A{bson.M{"dst": bson.A{1, 3}}, bson.M{"dst": 9}}), lookup})),
		`[map[dst:[1 3] node:[{"_id":{"$numberInt":"1"},"name":"b"} {"_id":{"$numberInt":"3"},"name":"d"}]] map[dst:9 node:[]]]`)
	_, err := db.Collection("edges").Aggregate(ctx, mongo.Pipeline{stage("$facet", bson.M{})})
	wantCode(t, err, codeUnknownStage)
}

func TestIndexes(t *testing.T) {
	ctx := t.Context()
	coll := start(t, Options{}).Database("db").Collection("coll")
	create := func(key string, opts *options.IndexOptionsBuilder) error {
		_, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: key, Value: 1}}, Options: opts})
		return err
	}
	check(t, create("a", options.Index()))
	check(t, create("a", options.Index()))
	wantCode(t, create("a", options.Index().SetUnique(true)), codeKeySpecsConflict)
	wantCode(t, create("a", options.Index().SetName("other")), codeOptionsConflict)
	wantCode(t, create("t", options.Index().SetExpireAfterSeconds(1)), codeNotSupported)
	wantCode(t, create("p", options.Index().SetPartialFilterExpression(bson.M{"p": bson.M{"$ne": 1}})), codeCannotCreateIndex)
	check(t, create("s", options.Index().SetSparse(true).SetUnique(true)))
	_, err := coll.InsertMany(ctx, []any{bson.M{"_id": 1, "a": 1}, bson.M{"_id": 2, "a": 1}, bson.M{"_id": 3, "s": nil}})
	check(t, err)
	_, err = coll.InsertOne(ctx, bson.M{"s": nil})
	wantCode(t, err, codeDuplicateKey)
	wantCode(t, create("b", options.Index().SetUnique(true)), codeDuplicateKey)
	check(t, coll.Indexes().DropOne(ctx, "a_1"))
	wantCode(t, coll.Indexes().DropOne(ctx, "a_1"), codeIndexNotFound)
	var names []string
	for _, doc := range docsOf(t)(coll.Indexes().List(ctx)) {
		names = append(names, doc["name"].(string))
	}
	same(t, "indexes", names, "[_id_ s_1]")
	list, err := coll.Database().ListCollectionNames(ctx, bson.M{})
	check(t, err)
	same(t, "collections", list, "[coll]")
}

func TestStaleReads(t *testing.T) {
	ctx := t.Context()
	client := start(t, Options{Stale: 300 * time.Millisecond})
	coll := client.Database("db").Collection("coll")
	_, err := coll.InsertOne(ctx, bson.M{"_id": 1, "n": 0})
	check(t, err)
	read := func(ctx context.Context, coll *mongo.Collection) int {
		var doc struct{ N int }
		if err := coll.FindOne(ctx, bson.M{"_id": 1}).Decode(&doc); err != nil && err != mongo.ErrNoDocuments {
			t.Fatal(err)
		}
		return doc.N
	}
	linearizable := client.Database("db").Collection("coll", options.Collection().SetReadConcern(readconcern.Linearizable()))
	stale := 0
	for n := 1; n <= 60; n++ {
		err := client.UseSession(ctx, func(ctx context.Context) error {
			_, err := coll.UpdateOne(ctx, bson.M{"_id": 1}, bson.M{"$set": bson.M{"n": n}})
			check(t, err)
			// A causally consistent session reads what it wrote.
			same(t, "own write", read(ctx, coll), n)
			return nil
		})
		check(t, err)
		if read(ctx, coll) < n {
			stale++
		}
		same(t, "linearizable", read(ctx, linearizable), n)
		time.Sleep(5 * time.Millisecond)
	}
	if stale < 20 {
		t.Errorf("only %d of 60 reads were stale", stale)
	}
	time.Sleep(350 * time.Millisecond)
	same(t, "after the span", read(ctx, coll), 60)
}

func TestAfterClusterTime(t *testing.T) {
	s := serve(t, "127.0.0.1:0", Options{})
	r := dial(t, s.Address(), 1)
	reply := r.send(insertOf(bsonID(1)))
	now := lookupTimestamp(reply)
	now.I += 5
	r.want(r.send(findOf(int32(1)), afterTime(now)), "ok", 1.0)
	now.T += 100
	late := r.send(findOf(int32(1)), maxTime(50), afterTime(now))
	r.want(late, "code", int32(codeMaxTimeExpired))
}
