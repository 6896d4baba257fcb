package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// start serves in this process and connects the driver to it.
func start(t *testing.T, opts Options) *mongo.Client {
	t.Helper()
	return connect(t, serve(t, "127.0.0.1:0", opts).Address())
}

func serve(t *testing.T, address string, opts Options) *Server {
	t.Helper()
	s, err := Start(address, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func connect(t *testing.T, address string) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(
		"mongodb://" + address + "/?replicaSet=rs0&serverSelectionTimeoutMS=5000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = client.Disconnect(ctx)
	})
	return client
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code returns the code of a server error, 0 for none.
func code(err error) int {
	if e, ok := err.(mongo.ServerError); ok {
		if codes := e.ErrorCodes(); len(codes) > 0 {
			return codes[0]
		}
	}
	return 0
}

func wantCode(t *testing.T, err error, want int) {
	t.Helper()
	if code(err) != want {
		t.Fatalf("got error %v, want code %d", err, want)
	}
}

// all reads a cursor to its end.
func all(t *testing.T, cur *mongo.Cursor, err error) []map[string]any {
	t.Helper()
	check(t, err)
	var docs []map[string]any
	check(t, cur.All(t.Context(), &docs))
	return docs
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

func TestHandshake(t *testing.T) {
	client := start(t, Options{WireVersion: 17})
	check(t, client.Ping(t.Context(), nil))
	var hello bson.M
	check(t, client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Decode(&hello))
	same(t, "setName", hello["setName"], "rs0")
	same(t, "maxWireVersion", hello["maxWireVersion"], 17)
	err := client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "shutdown", Value: 1}}).Err()
	wantCode(t, err, codeCommandNotFound)
	err = client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "ping", Value: 1}, {Key: "loudly", Value: true}}).Err()
	wantCode(t, err, codeUnknownField)
}
