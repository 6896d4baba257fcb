package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// check asks the server whether it will do. An error that wraps ErrInvalid says that it
// will not; any other, that it did not answer. What is merely unwise is logged.
func (b *Backend) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	text, err := b.client.Info(ctx).Result()
	if errors.Is(err, errInCluster) {
		return fmt.Errorf("redis: %w: the server is part of a Cluster: use a ClusterClient", driver.ErrInvalid)
	}
	if err != nil {
		return err
	}
	info := parseInfo(text)
	if major, err := strconv.Atoi(strings.SplitN(info["redis_version"], ".", 2)[0]); err == nil && major < 7 {
		return fmt.Errorf("redis: %w: the server is Redis %s: at least 7.0", driver.ErrInvalid, info["redis_version"])
	}
	if b.cluster == nil && info["cluster_enabled"] == "1" {
		return fmt.Errorf("redis: %w: the server is part of a Cluster: use a ClusterClient", driver.ErrInvalid)
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
