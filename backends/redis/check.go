package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// checkTimeout is how long Open waits for a server that does not answer.
const checkTimeout = time.Second

// checkSoon is check, but does not wait for longer than checkTimeout, whatever the
// client does.
func (b *Backend) checkSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	checked := make(chan error, 1)
	go func() {
		defer cancel()
		checked <- b.check(ctx)
	}()
	select {
	case err := <-checked:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-checked: // at the last moment
		return err
	case <-time.After(checkTimeout / 10):
		return ctx.Err()
	}
}

// check asks the server whether it will do. An error that wraps ErrInvalid says that it
// will not; any other, that it did not answer. What is merely unwise is logged.
func (b *Backend) check(ctx context.Context) error {
	text, err := b.client.Info(ctx).Result()
	if errors.Is(err, errInCluster) {
		return b.inCluster()
	}
	if err != nil {
		return err
	}
	info := parseInfo(text)
	if major, err := strconv.Atoi(strings.SplitN(info["redis_version"], ".", 2)[0]); err == nil && major < 7 {
		return fmt.Errorf("redis: %w: the server is Redis %s: 7.0 or later is needed", driver.ErrInvalid, info["redis_version"])
	}
	if b.cluster == nil && info["cluster_enabled"] == "1" {
		return b.inCluster()
	}
	// Without leave to run scripts nothing can be cached, and reads would not say so.
	c := lookScript.run(b.key("", entrySuffix))
	if err := b.client.Process(ctx, c.withSource()); err != nil && goredis.IsPermissionError(err) {
		return err
	}
	var unwise []string
	for _, setting := range []string{"save", "appendonly", "maxmemory-policy"} {
		// Where CONFIG is not allowed, nobody can tell.
		value := b.client.ConfigGet(ctx, setting).Val()[setting]
		if warning := warnings[setting](value); warning != "" {
			unwise = append(unwise, warning)
		}
	}
	if len(unwise) > 0 {
		b.opts.Logger.WarnContext(ctx, "graphcache: unwise settings of the redis server", "settings", strings.Join(unwise, "; "))
	}
	return nil
}

// inCluster says that a client of one server will not do.
func (b *Backend) inCluster() error {
	if b.owned {
		return fmt.Errorf("redis: %w: the server is part of a Cluster, which has database 0 only", driver.ErrInvalid)
	}
	return fmt.Errorf("redis: %w: the server is part of a Cluster: use a ClusterClient, or Open", driver.ErrInvalid)
}

// warnings say what is wrong with a setting's value, "" if nothing is.
var warnings = map[string]func(value string) string{
	"save": func(v string) string {
		if v == "" {
			return ""
		}
		return fmt.Sprintf("save is %q: after a restart old values are loaded, and everything cached is dropped; set it to \"\"", v)
	},
	"appendonly": func(v string) string {
		if v != "yes" {
			return ""
		}
		return "appendonly is on: it costs time, and what it restores is dropped"
	},
	"maxmemory-policy": func(v string) string {
		switch v {
		case "volatile-ttl", "volatile-random", "allkeys-random":
			return fmt.Sprintf("maxmemory-policy is %s: it evicts the marks of writes under way; use allkeys-lfu", v)
		}
		return ""
	},
}
