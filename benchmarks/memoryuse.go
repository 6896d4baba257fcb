package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

const (
	memoryKeys  = 10_000
	listEdges   = 50
	compressAll = 256 // bytes from which values are compressed in this experiment
)

// memoryUse measures the memory that cached values take in the server.
func memoryUse(ctx context.Context, s settings) ([]table, error) {
	client := newClient(s.addr)
	defer client.Close()
	st, err := newStore(ctx, memoryKeys)
	if err != nil {
		return nil, err
	}
	m := &memoryMeter{ctx: ctx, addr: s.addr, client: client, store: &lists{store: st}, table: table{
		Title:   "Memory of the server",
		Columns: []string{"value, way", "bytes of payload", "MEMORY USAGE", "used_memory a key", "times a SET"},
		Note: fmt.Sprintf("Of %d keys. SET stores graphcache's encoding of the same payload under a key like user:000001, with a life. "+
			"CompressAbove is %d. The edges have no data; the IDs at their ends have 26 random characters.", memoryKeys, compressAll),
	}}
	if err := m.kind("object of 8 fields", "user:%06d", func(g *graphcache.Graph, i int) error {
		u, err := users.Get(ctx, g, userID(i))
		return check(u, userID(i), err)
	}); err != nil {
		return nil, err
	}
	if err := m.kind(fmt.Sprintf("list of %d edges", listEdges), "follows:%06d", func(g *graphcache.Graph, i int) error {
		e, err := follows.Out(userID(i)).Limit(listEdges).Edges(ctx, g)
		if err == nil && len(e) != listEdges {
			err = fmt.Errorf("%d edges", len(e))
		}
		return err
	}); err != nil {
		return nil, err
	}
	return []table{m.table}, nil
}

type memoryMeter struct {
	ctx    context.Context
	addr   string
	client *goredis.Client
	store  driver.Store
	table  table
}

// kind measures values of a kind, which a read by their number lets graphcache fill.
func (m *memoryMeter) kind(name, key string, read func(g *graphcache.Graph, i int) error) error {
	var payloads []string
	fill := func(opts redis.Options) func() error {
		return func() error {
			g, closeGraph, err := open(m.ctx, m.store, at(m.addr), &opts)
			if err != nil {
				return err
			}
			defer closeGraph()
			for i := 0; i < memoryKeys && err == nil; i++ {
				err = read(g, i)
			}
			if err != nil {
				return err
			}
			return g.Settle(m.ctx)
		}
	}
	if err := m.client.FlushDB(m.ctx).Err(); err != nil {
		return err
	}
	if err := fill(redis.Options{})(); err != nil {
		return err
	}
	payloads, err := m.payloads()
	if err != nil {
		return err
	}
	plain, err := m.measure(func() error {
		for i, p := range payloads {
			if err := m.client.Set(m.ctx, fmt.Sprintf(key, i), p, time.Hour).Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	raw, err := m.measure(fill(redis.Options{}))
	if err != nil {
		return err
	}
	packed, err := m.measure(fill(redis.Options{CompressAbove: compressAll}))
	if err != nil {
		return err
	}
	size := 0
	for _, p := range payloads {
		size += len(p)
	}
	for _, r := range []struct {
		way  string
		used memoryFigures
	}{{"SET", plain}, {"graphcache", raw}, {"graphcache, compressed", packed}} {
		m.table.add(name+", "+r.way, fmt.Sprint(size/len(payloads)), fmt.Sprintf("%.0f", r.used.usage),
			fmt.Sprintf("%.0f", r.used.delta), fmt.Sprintf("%.2f", r.used.delta/plain.delta))
	}
	return nil
}

// memoryFigures are bytes a key.
type memoryFigures struct{ usage, delta float64 }

// measure returns the memory that what fill stores takes.
func (m *memoryMeter) measure(fill func() error) (f memoryFigures, err error) {
	if err := m.client.FlushDB(m.ctx).Err(); err != nil {
		return f, err
	}
	before, err := infoNumber(m.ctx, m.client, "memory", "used_memory")
	if err != nil {
		return f, err
	}
	if err := fill(); err != nil {
		return f, err
	}
	after, err := infoNumber(m.ctx, m.client, "memory", "used_memory")
	if err != nil {
		return f, err
	}
	keys, err := m.client.Keys(m.ctx, "*").Result()
	if err != nil {
		return f, err
	}
	if len(keys) != memoryKeys {
		return f, fmt.Errorf("%d keys, want %d", len(keys), memoryKeys)
	}
	f.delta = (after - before) / memoryKeys
	const sample = 500
	for _, key := range keys[:sample] {
		n, err := m.client.MemoryUsage(m.ctx, key).Result()
		if err != nil {
			return f, err
		}
		f.usage += float64(n) / sample
	}
	return f, nil
}

// payloads returns what all entries are about, without what graphcache adds.
func (m *memoryMeter) payloads() ([]string, error) {
	keys, err := m.client.Keys(m.ctx, "*").Result()
	if err != nil {
		return nil, err
	}
	payloads := make([]string, len(keys))
	for i, key := range keys {
		entry, err := m.client.Get(m.ctx, key).Result()
		if err != nil {
			return nil, err
		}
		// backends/redis/entry.go and keyenc.go say how it is laid out.
		envelope := entry[10+int(entry[1])+17+1:]
		names := int(binary.BigEndian.Uint16([]byte(envelope[22:24]))) + int(binary.BigEndian.Uint16([]byte(envelope[24:26])))
		payloads[i] = envelope[26+names:]
	}
	return payloads, nil
}

// lists is a store in which every user has edges, which are made up.
type lists struct{ *store }

// Read implements driver.Store.
func (l *lists) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	if steps[0].Op != driver.ListEdges {
		return l.store.Read(ctx, steps, atLeast)
	}
	results := make([]driver.Result, len(steps))
	for n, s := range steps {
		for _, id := range s.IDs {
			edges := make([]driver.Edge, listEdges)
			for i := range edges {
				to := fmt.Sprintf("%013x%013x", rand.Uint64N(1<<52), rand.Uint64N(1<<52))
				edges[i] = driver.Edge{From: id, To: to, Version: 1 + rand.Int64N(1<<52), Time: time.UnixMilli(1.8e12 - int64(i)*1e6).UTC()}
			}
			results[n].Lists = append(results[n].Lists, edges)
		}
	}
	return results, nil
}
