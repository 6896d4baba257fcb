package tao

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/backends/mongo"
)

// openMongo returns a store in a new database, which drop drops.
func openMongo(ctx context.Context, uri string) (b backend, drop func(), err error) {
	name := "tao_" + rand.Text()
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return nil, nil, err
	}
	s, err := mongo.New(ctx, client, &mongo.Options{Database: name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, errors.Join(err, client.Disconnect(ctx))
	}
	return s, func() {
		_ = s.Close(ctx)
		_ = client.Database(name).Drop(ctx)
		_ = client.Disconnect(ctx)
	}, nil
}
