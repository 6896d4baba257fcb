package redis_test

import (
	"log/slog"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/internal/redistest"
)

func TestOpenCluster(t *testing.T) {
	addrs := redistest.StartCluster(t, 3, 0).Addrs()
	universal := func(u goredis.UniversalOptions) func(*testing.T, *redis.Options) *redis.Backend {
		return func(t *testing.T, o *redis.Options) *redis.Backend {
			b, err := redis.OpenUniversal(t.Context(), &u, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close(t.Context()) })
			return b
		}
	}
	url := func(u string) func(*testing.T, *redis.Options) *redis.Backend {
		return func(t *testing.T, o *redis.Options) *redis.Backend { return openURL(t, u, o) }
	}
	for _, tt := range []struct {
		name string
		open func(*testing.T, *redis.Options) *redis.Backend
	}{
		{"URL of one node", url("redis://" + addrs[1])},
		{"URL of all nodes", url("redis://" + addrs[0] + "?addr=" + addrs[1] + "&addr=" + addrs[2])},
		{"options of one node", universal(goredis.UniversalOptions{Addrs: addrs[2:]})},
		{"options of all nodes", universal(goredis.UniversalOptions{Addrs: addrs})},
		{"IsClusterMode", universal(goredis.UniversalOptions{Addrs: addrs[:1], IsClusterMode: true})},
		{"RESP2", universal(goredis.UniversalOptions{Addrs: addrs, Protocol: 2})},
		{"client", func(t *testing.T, o *redis.Options) *redis.Backend {
			client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addrs})
			t.Cleanup(func() { client.Close() })
			// It knows its nodes already.
			if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
				t.Fatal(err)
			}
			b, err := redis.New(t.Context(), client, o)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := new(diary)
			b := tt.open(t, &redis.Options{Logger: log.logger(), Prefix: strings.ReplaceAll(tt.name, " ", "-") + ":", BatchTimeout: countersPatience})
			if _, ok := b.Client().(*goredis.ClusterClient); !ok {
				t.Fatalf("the client is a %T", b.Client())
			}
			works(t, b.Cache())
			if n := log.count("unwise") + log.count("old data"); n != 0 {
				t.Errorf("the log: %s", log)
			}
			if s := b.Stats(); s.FailedBatches != 0 || s.Rewinds != 0 {
				t.Errorf("%+v", s)
			}
		})
	}

	t.Run("client of one node", func(t *testing.T) {
		client := goredis.NewClient(&goredis.Options{Addr: addrs[0]})
		defer client.Close()
		b, err := redis.New(t.Context(), client, nil)
		if b != nil || err == nil || !strings.Contains(err.Error(), "ClusterClient") {
			t.Errorf("error %v, want one that names ClusterClient", err)
		}
	})

	t.Run("ACL", func(t *testing.T) {
		var admins []*goredis.Client
		for _, addr := range addrs {
			admin := goredis.NewClient(&goredis.Options{Addr: addr})
			defer admin.Close()
			admins = append(admins, admin)
		}
		try := func(without ...string) (denied []string, err error) {
			for _, admin := range admins {
				setUser(t, admin, aclRules("acl:", without...))
				admin.FlushAll(t.Context())
				admin.ScriptFlush(t.Context())
				denials(t, admin)
			}
			b := openURL(t, "redis://app:secret@"+addrs[0], &redis.Options{
				Logger: slog.New(slog.DiscardHandler), Prefix: "acl:", BatchTimeout: countersPatience,
			})
			err = useAll(t.Context(), b)
			b.Close(t.Context())
			for _, admin := range admins {
				denied = append(denied, denials(t, admin)...)
			}
			return denied, err
		}
		if denied, err := try(); len(denied) > 0 || err != nil {
			t.Errorf("with all of them: %q is denied, error %v", denied, err)
		}
		for _, c := range clusterCommands {
			if denied, err := try(c); len(denied) == 0 {
				t.Errorf("without %s nothing is missing: error %v", c, err)
			}
		}
	})
}
