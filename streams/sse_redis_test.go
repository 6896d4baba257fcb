package streams_test

import (
	"context"
	"log/slog"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestFollowRedis is TestFollowAccount with a real server.
func TestFollowRedis(t *testing.T) {
	server := redistest.Start(t)
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{Addrs: []string{server.Addr}}, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	testFollowAccount(t, b.Log())
}
