//go:build linux

package soak_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// What a run must leave behind when all is well again.

// quiet has all clients finish, and returns what is not as it should be.
func (r *run) quiet(ctx context.Context) error {
	if err := r.crew.rest(); err != nil {
		return err
	}
	if !r.long {
		// The store keeps what a process that was killed had in a transaction for a minute.
		if err := r.faults.store.Restart(); err != nil {
			return err
		}
	}
	if err := r.askAll("finish", 2*time.Minute); err != nil {
		return err
	}
	if err := r.drained(ctx); err != nil {
		return err
	}
	return errors.Join(r.askAll("verify", time.Minute), r.balanced(ctx))
}

// askAll has all processes do something, and returns what they find wrong.
func (r *run) askAll(what string, within time.Duration) error {
	return r.crew.each(func(place int) error {
		reply, err := r.crew.ask(place, what, within)
		if what == "verify" {
			r.crew.mu.Lock()
			for kind, n := range reply.Errors {
				r.crew.errors[kind] += n
			}
			r.crew.hits += reply.Hits
			r.crew.misses += reply.Misses
			r.crew.mu.Unlock()
		}
		if len(reply.Faults) > 0 {
			err = errors.New(what + ": " + strings.Join(reply.Faults[:min(10, len(reply.Faults))], "\n"))
		}
		return err
	})
}

// drained waits until the journal is empty and no hold is left. A run that is short does not wait
// for what writes owe whose outcome was unknown: that is held for two minutes.
func (r *run) drained(ctx context.Context) error {
	const patience = 4 * time.Minute
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		left, doubted, err := r.left(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		if doubted && !r.long && time.Since(begin) > r.crew.plan.settings().holdTTL {
			return nil
		}
		if time.Since(begin) > patience {
			return errors.New(strings.Join(left[:min(len(left), 10)], "\n"))
		}
	}
}

// left says which entries are in the journal and which holds in Redis, and whether all of them may
// be those of writes of unknown outcome.
func (r *run) left(ctx context.Context) (left []string, doubted bool, err error) {
	look, err := r.ledger.Look(ctx)
	if err != nil {
		return nil, false, err
	}
	doubted = r.crew.sum(cAmbiguous) > 0
	for _, e := range look.Journal {
		left = append(left, fmt.Sprintf("the journal still has %q of %s, for %v", e.Anchor, e.Owner, e.Window))
		doubted = doubted && e.Window > r.crew.plan.settings().holdTTL
	}
	held, err := r.holds(ctx)
	for _, key := range held {
		left = append(left, fmt.Sprintf("a hold is left on %q", key))
	}
	return left, doubted, err
}

// holds returns the keys in Redis that have a hold which has not expired.
func (r *run) holds(ctx context.Context) (held []string, err error) {
	one := func(ctx context.Context, c *goredis.Client) error {
		now, err := c.Time(ctx).Result()
		if err != nil {
			return err
		}
		keys := c.Scan(ctx, 0, "gc:*k", 10_000).Iterator()
		for keys.Next(ctx) {
			entry, err := c.Get(ctx, keys.Val()).Result()
			if errors.Is(err, goredis.Nil) {
				continue
			}
			if err != nil {
				return err
			}
			if heldUntil(entry).After(now) {
				held = append(held, keys.Val())
			}
		}
		return keys.Err()
	}
	if r.faults.cluster == nil {
		c := goredis.NewClient(&goredis.Options{Addr: r.faults.redis.Addr})
		defer c.Close()
		err := one(ctx, c)
		return held, err
	}
	masters, err := r.faults.cluster.Masters()
	if err != nil {
		return nil, err
	}
	for _, m := range masters {
		c := goredis.NewClient(&goredis.Options{Addr: m.Addr})
		err := one(ctx, c)
		c.Close()
		if err != nil {
			return nil, err
		}
	}
	return held, nil
}

// heldUntil returns the last deadline of the tokens in an entry of the cache, as package redis
// lays it out.
func heldUntil(entry string) (until time.Time) {
	const header = 10
	if len(entry) < header || entry[0] != 'H' {
		return until
	}
	for tokens := entry[header+int(entry[1]):]; tokens != ""; {
		n := 1 + int(tokens[0])
		if len(tokens) < n+8 {
			break
		}
		deadline := time.UnixMilli(int64(binary.BigEndian.Uint64([]byte(tokens[n:]))))
		if deadline.After(until) {
			until = deadline
		}
		tokens = tokens[n+8:]
	}
	return until
}

// balanced checks that no transfer was applied by half.
func (r *run) balanced(ctx context.Context) error {
	ids := newIDSet(r.crew.plan.Cells)
	var sum, count int64
	for cell := range r.crew.plan.Cells {
		found, err := accounts.GetMany(ctx, r.graph, ids.accounts[cell])
		if err != nil {
			return err
		}
		for _, a := range found {
			sum += a.Balance
			count++
		}
	}
	if want := int64(opening * cellAccounts * r.crew.plan.Cells); sum != want {
		return fmt.Errorf("%d accounts have %d together, not %d", count, sum, want)
	}
	return nil
}

// fill creates the records that are there from the start.
func (r *run) fill(ctx context.Context) error {
	for cell := range r.crew.plan.Cells {
		for i := range cellAccounts {
			a := account{ID: accountID[account](cell, i), Balance: opening, Group: groupName(cell, accountGroupOf(i, 0))}
			if err := accounts.Put(ctx, r.graph, &a); err != nil {
				return err
			}
		}
		for i := range cellHubs {
			if err := nodes.Put(ctx, r.graph, &node{ID: hubID(cell, i)}); err != nil {
				return err
			}
		}
		for i := range cellEnds {
			if err := nodes.Put(ctx, r.graph, &node{ID: endID(cell, i)}); err != nil {
				return err
			}
		}
	}
	return nil
}
