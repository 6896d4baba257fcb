package tao

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/internal/redistest"
)

// host is a program in the place of a test, for package redistest, which calls no other
// methods than these.
type host struct {
	testing.TB // nil
	dir        string
	cleanups   []func()
}

func (h *host) Helper()                           {}
func (h *host) TempDir() string                   { return h.dir }
func (h *host) Cleanup(f func())                  { h.cleanups = append(h.cleanups, f) }
func (h *host) Fatal(args ...any)                 { panic(hostError{fmt.Errorf("%s", fmt.Sprint(args...))}) }
func (h *host) Skip(args ...any)                  { h.Fatal(args...) }
func (h *host) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

type hostError struct{ error }

// StartRedis starts a redis-server on a free port of the loopback interface, until stop is
// called.
func StartRedis() (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "graphcache-tao")
	if err != nil {
		return "", nil, err
	}
	h := &host{dir: dir}
	stop = func() {
		for _, f := range h.cleanups {
			f()
		}
		_ = os.RemoveAll(dir)
	}
	defer func() {
		if v := recover(); v != nil {
			stop()
			failed, ok := v.(hostError)
			if !ok {
				panic(v)
			}
			err = failed
		}
	}()
	return redistest.Start(h).Addr, stop, nil
}

// server is the redis-server of a run.
type server struct{ client *goredis.Client }

// usage is what a server has used and done so far.
type usage struct {
	memory                 int64 // bytes now
	cpu                    float64
	reads, commands, evict int64
}

func (s server) usage(ctx context.Context) (u usage, err error) {
	text, err := s.client.Info(ctx).Result()
	if err != nil {
		return u, err
	}
	info := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			info[name] = f
		}
	}
	return usage{
		memory: int64(info["used_memory"]), cpu: info["used_cpu_user"] + info["used_cpu_sys"],
		reads: int64(info["total_reads_processed"]), commands: int64(info["total_commands_processed"]), evict: int64(info["evicted_keys"]),
	}, nil
}

// empty removes everything, and returns what the server uses then.
func (s server) empty(ctx context.Context) (usage, error) {
	for _, c := range [][]any{
		{"config", "set", "maxmemory", "0"}, {"config", "set", "maxmemory-policy", "allkeys-lfu"},
		{"script", "flush"}, {"flushall", "sync"}, {"memory", "purge"},
	} {
		if err := s.client.Do(ctx, c...).Err(); err != nil {
			return usage{}, err
		}
	}
	return s.usage(ctx)
}

func (s server) limit(ctx context.Context, bytes int64) error {
	return s.client.ConfigSet(ctx, "maxmemory", strconv.FormatInt(bytes, 10)).Err()
}
