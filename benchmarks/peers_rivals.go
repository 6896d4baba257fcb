package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/viccon/sturdyc"
)

// newClientOf returns a plain client of one database of the server.
func newClientOf(addr string, db int) *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: addr, DB: db, ReadTimeout: patience, PoolTimeout: patience})
}

// count:begin declare go-redis/cache
type boxedPeer struct {
	db *peerStore
	c  *cache.Cache
}

// count:end

// count:begin read go-redis/cache
func (p boxedPeer) user(ctx context.Context, id string) (*peerUser, error) {
	u := new(peerUser)
	err := p.c.Once(&cache.Item{Ctx: ctx, Key: "user:" + id, Value: u, TTL: time.Hour, Do: func(*cache.Item) (any, error) {
		return p.db.user(ctx, id)
	}})
	return u, err
}

func (p boxedPeer) feed(ctx context.Context, user string) ([]*peerEvent, error) {
	var teams []string
	err := p.c.Once(&cache.Item{Ctx: ctx, Key: "teams:" + user, Value: &teams, TTL: time.Hour, Do: func(*cache.Item) (any, error) {
		return p.db.teamsOf(ctx, user)
	}})
	if err != nil {
		return nil, err
	}
	var all []*peerEvent
	for _, team := range teams {
		var events []*peerEvent
		err := p.c.Once(&cache.Item{Ctx: ctx, Key: "events:" + team, Value: &events, TTL: time.Hour, Do: func(*cache.Item) (any, error) {
			found, err := p.db.newest(ctx, []string{team})
			return found[team], err
		}})
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	return all, nil
}

// count:end

// count:begin write go-redis/cache
func (p boxedPeer) rename(ctx context.Context, user, name string) error {
	if err := p.db.rename(ctx, user, name); err != nil {
		return err
	}
	return p.c.Delete(ctx, "user:"+user)
}

func (p boxedPeer) join(ctx context.Context, user, team string) error {
	if err := p.db.join(ctx, user, team); err != nil {
		return err
	}
	return p.c.Delete(ctx, "teams:"+user)
}

func (p boxedPeer) publish(ctx context.Context, team string, e *peerEvent) error {
	if err := p.db.publish(ctx, team, e); err != nil {
		return err
	}
	return p.c.Delete(ctx, "events:"+team)
}

// count:end

// count:begin declare rueidis
type trackedPeer struct {
	db *peerStore
	c  rueidis.Client
}

// count:end

// count:begin read rueidis
func (p trackedPeer) user(ctx context.Context, id string) (*peerUser, error) {
	key, u := "user:"+id, new(peerUser)
	err := p.c.DoCache(ctx, p.c.B().Get().Key(key).Cache(), time.Hour).DecodeJSON(u)
	if !rueidis.IsRedisNil(err) {
		return u, err
	}
	if u, err = p.db.user(ctx, id); err != nil {
		return nil, err
	}
	return u, p.set(ctx, key, u)
}

func (p trackedPeer) feed(ctx context.Context, user string) ([]*peerEvent, error) {
	var teams []string
	key := "teams:" + user
	err := p.c.DoCache(ctx, p.c.B().Get().Key(key).Cache(), time.Hour).DecodeJSON(&teams)
	if rueidis.IsRedisNil(err) {
		if teams, err = p.db.teamsOf(ctx, user); err == nil {
			err = p.set(ctx, key, teams)
		}
	}
	if err != nil {
		return nil, err
	}
	gets := make([]rueidis.CacheableTTL, len(teams))
	for i, team := range teams {
		gets[i] = rueidis.CT(p.c.B().Get().Key("events:"+team).Cache(), time.Hour)
	}
	lists := make([][]*peerEvent, len(teams))
	var missing []string
	for i, r := range p.c.DoMultiCache(ctx, gets...) {
		if err := r.DecodeJSON(&lists[i]); rueidis.IsRedisNil(err) {
			missing = append(missing, teams[i])
		} else if err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 {
		found, err := p.db.newest(ctx, missing)
		if err != nil {
			return nil, err
		}
		for i, team := range teams {
			if events, ok := found[team]; ok {
				lists[i] = events
				if err := p.set(ctx, "events:"+team, events); err != nil {
					return nil, err
				}
			}
		}
	}
	var all []*peerEvent
	for _, events := range lists {
		all = append(all, events...)
	}
	return all, nil
}

func (p trackedPeer) set(ctx context.Context, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.c.Do(ctx, p.c.B().Set().Key(key).Value(rueidis.BinaryString(b)).Ex(time.Hour).Build()).Error()
}

// count:end

// count:begin write rueidis
func (p trackedPeer) rename(ctx context.Context, user, name string) error {
	if err := p.db.rename(ctx, user, name); err != nil {
		return err
	}
	return p.c.Do(ctx, p.c.B().Del().Key("user:"+user).Build()).Error()
}

func (p trackedPeer) join(ctx context.Context, user, team string) error {
	if err := p.db.join(ctx, user, team); err != nil {
		return err
	}
	return p.c.Do(ctx, p.c.B().Del().Key("teams:"+user).Build()).Error()
}

func (p trackedPeer) publish(ctx context.Context, team string, e *peerEvent) error {
	if err := p.db.publish(ctx, team, e); err != nil {
		return err
	}
	return p.c.Do(ctx, p.c.B().Del().Key("events:"+team).Build()).Error()
}

// count:end

// count:begin declare sturdyc
type sturdyPeer struct {
	db *peerStore
	c  *sturdyc.Client[any]
}

func newSturdyPeer(db *peerStore) sturdyPeer {
	return sturdyPeer{db, sturdyc.New[any](10_000, 64, time.Hour, 10)}
}

// count:end

// count:begin read sturdyc
func (p sturdyPeer) user(ctx context.Context, id string) (*peerUser, error) {
	return sturdyc.GetOrFetch(ctx, p.c, "user:"+id, func(ctx context.Context) (*peerUser, error) { return p.db.user(ctx, id) })
}

func (p sturdyPeer) feed(ctx context.Context, user string) ([]*peerEvent, error) {
	teams, err := sturdyc.GetOrFetch(ctx, p.c, "teams:"+user, func(ctx context.Context) ([]string, error) { return p.db.teamsOf(ctx, user) })
	if err != nil {
		return nil, err
	}
	lists, err := sturdyc.GetOrFetchBatch(ctx, p.c, teams, p.c.BatchKeyFn("events"), p.db.newest)
	if err != nil {
		return nil, err
	}
	var all []*peerEvent
	for _, team := range teams {
		all = append(all, lists[team]...)
	}
	return all, nil
}

// count:end

// count:begin write sturdyc
func (p sturdyPeer) rename(ctx context.Context, user, name string) error {
	if err := p.db.rename(ctx, user, name); err != nil {
		return err
	}
	p.c.Delete("user:" + user)
	return nil
}

func (p sturdyPeer) join(ctx context.Context, user, team string) error {
	if err := p.db.join(ctx, user, team); err != nil {
		return err
	}
	p.c.Delete("teams:" + user)
	return nil
}

func (p sturdyPeer) publish(ctx context.Context, team string, e *peerEvent) error {
	if err := p.db.publish(ctx, team, e); err != nil {
		return err
	}
	p.c.Delete(p.c.BatchKeyFn("events")(team))
	return nil
}

// count:end

// count:begin declare otter
type otterPeer struct {
	db     *peerStore
	users  *otter.Cache[string, *peerUser]
	teams  *otter.Cache[string, []string]
	events *otter.Cache[string, []*peerEvent]
}

func newOtterPeer(db *peerStore) otterPeer {
	return otterPeer{db, newOtter[*peerUser](), newOtter[[]string](), newOtter[[]*peerEvent]()}
}

func newOtter[V any]() *otter.Cache[string, V] {
	return otter.Must(&otter.Options[string, V]{MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[string, V](time.Hour)})
}

// count:end

// count:begin read otter
func (p otterPeer) user(ctx context.Context, id string) (*peerUser, error) {
	return p.users.Get(ctx, id, otter.LoaderFunc[string, *peerUser](p.db.user))
}

func (p otterPeer) feed(ctx context.Context, user string) ([]*peerEvent, error) {
	teams, err := p.teams.Get(ctx, user, otter.LoaderFunc[string, []string](p.db.teamsOf))
	if err != nil {
		return nil, err
	}
	lists, err := p.events.BulkGet(ctx, teams, otter.BulkLoaderFunc[string, []*peerEvent](p.db.newest))
	if err != nil {
		return nil, err
	}
	var all []*peerEvent
	for _, team := range teams {
		all = append(all, lists[team]...)
	}
	return all, nil
}

// count:end

// count:begin write otter
func (p otterPeer) rename(ctx context.Context, user, name string) error {
	if err := p.db.rename(ctx, user, name); err != nil {
		return err
	}
	p.users.Invalidate(user)
	return nil
}

func (p otterPeer) join(ctx context.Context, user, team string) error {
	if err := p.db.join(ctx, user, team); err != nil {
		return err
	}
	p.teams.Invalidate(user)
	return nil
}

func (p otterPeer) publish(ctx context.Context, team string, e *peerEvent) error {
	if err := p.db.publish(ctx, team, e); err != nil {
		return err
	}
	p.events.Invalidate(team)
	return nil
}

// count:end
