package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestTransactions(t *testing.T) {
	ctx := t.Context()
	client := start(t, Options{})
	coll := client.Database("db").Collection("coll")
	for i := range 4 {
		_, err := coll.InsertOne(ctx, bson.M{"_id": i, "n": 100})
		check(t, err)
	}
	stream, err := coll.Watch(ctx, mongo.Pipeline{})
	check(t, err)
	session, err := client.StartSession()
	check(t, err)
	defer session.EndSession(ctx)

	stop := errors.New("stop")
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		_, err := coll.UpdateOne(ctx, bson.M{"_id": 0}, bson.M{"$inc": bson.M{"n": 1}})
		return nil, errors.Join(err, stop)
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	same(t, "aborted", docsOf(t)(coll.Find(ctx, bson.M{"n": bson.M{"$ne": 100}})), "[]")

	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		if _, err := coll.DeleteOne(ctx, bson.M{"_id": 3}); err != nil {
			return nil, err
		}
		if _, err := coll.InsertOne(ctx, bson.M{"_id": 4}); err != nil {
			return nil, err
		}
		return client.Database("db").Collection("new").InsertOne(ctx, bson.M{"_id": 1})
	})
	check(t, err)
	var times []bson.Timestamp
	var kinds []string
	for range 2 {
		if !stream.Next(ctx) {
			t.Fatal(stream.Err())
		}
		var e struct {
			OperationType string         `bson:"operationType"`
			ClusterTime   bson.Timestamp `bson:"clusterTime"`
		}
		check(t, stream.Decode(&e))
		kinds, times = append(kinds, e.OperationType), append(times, e.ClusterTime)
	}
	same(t, "events", kinds, "[delete insert]")
	same(t, "one time", times[0], times[1])
}

// Transfers between accounts keep the sum in every snapshot.
func TestTransfers(t *testing.T) {
	ctx := t.Context()
	client := start(t, Options{})
	coll := client.Database("db").Collection("coll")
	const accounts, workers, rounds = 4, 8, 10
	for i := range accounts {
		_, err := coll.InsertOne(ctx, bson.M{"_id": i, "n": 100})
		check(t, err)
	}
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for r := range rounds {
				err := client.UseSession(ctx, func(ctx context.Context) error {
					_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
						for account, amount := range map[int]int{(w + r) % accounts: -1, (w + r + 1) % accounts: 1} {
							if _, err := coll.UpdateOne(ctx, bson.M{"_id": account}, bson.M{"$inc": bson.M{"n": amount}}); err != nil {
								return nil, err
							}
						}
						return nil, nil
					})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		sum := int32(0)
		for _, doc := range docsOf(t)(coll.Find(ctx, bson.M{})) {
			sum += doc["n"].(int32)
		}
		same(t, "sum", sum, accounts*100)
	}
}

// Writers in and out of transactions fight for a few keys. Afterwards the
// indexes must agree with the documents and the events with the data.
func TestStorm(t *testing.T) {
	ctx := t.Context()
	s := serve(t, "127.0.0.1:0", Options{})
	client := connect(t, s.Address())
	coll := client.Database("db").Collection("coll")
	_, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "k", Value: 1}}, Options: options.Index().SetUnique(true).SetSparse(true)})
	check(t, err)
	step := func(ctx context.Context, random *rand.Rand) error {
		id, key := random.IntN(6), random.IntN(4)
		var err error
		switch random.IntN(4) {
		case 0:
			_, err = coll.InsertOne(ctx, bson.M{"_id": id, "k": key})
		case 1:
			_, err = coll.UpdateOne(ctx, bson.M{"_id": id}, bson.M{"$set": bson.M{"k": key}, "$inc": bson.M{"n": 1}})
		case 2:
			_, err = coll.UpdateOne(ctx, bson.M{"_id": id}, bson.M{"$unset": bson.M{"k": ""}})
		case 3:
			_, err = coll.DeleteOne(ctx, bson.M{"_id": id})
		}
		return err
	}
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			session, err := client.StartSession()
			if err != nil {
				t.Error(err)
				return
			}
			defer session.EndSession(ctx)
			for range 60 {
				if random.IntN(2) == 0 {
					err = step(ctx, random)
				} else {
					_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
						return nil, errors.Join(step(ctx, random), step(ctx, random))
					})
				}
				if err != nil && !mongo.IsDuplicateKeyError(err) && !strings.Contains(err.Error(), "WriteConflict") && !strings.Contains(err.Error(), "NoSuchTransaction") {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()
	data := s.latest.collections[namespace{"db", "coll"}]
	for _, ix := range data.indexes {
		entries := 0
		data.records.Scan(func(rec record) bool {
			for _, key := range ix.keys(rec.doc) {
				entries++
				if _, _, taken := ix.holder([][]any{key}, rec.n); taken {
					t.Errorf("%s holds %v twice", ix.spec.Name, key)
				}
			}
			return true
		})
		same(t, "entries of "+ix.spec.Name, ix.tree.Len(), entries)
	}
	replayed := map[any]string{}
	for _, e := range s.events.events {
		if delete(replayed, e.id); e.kind != opDelete {
			replayed[e.id] = format(*e.after)
		}
	}
	same(t, "documents", data.records.Len(), len(replayed))
	data.records.Scan(func(rec record) bool {
		same(t, "document", format(*rec.doc), replayed[lookup(*rec.doc, "_id")])
		return true
	})
	same(t, "open transactions", len(s.open), 0)
}
