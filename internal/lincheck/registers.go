package lincheck

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Registers are values that are read and written in another way than through graphs.
// They are for controls: caches of which it is known that they are not linearizable,
// which a check must find out.
type Registers struct {
	Keys int // which are numbered from 0
	// Get returns the value of a key, and Put sets it. 0 is that of one that was
	// never set.
	Get func(ctx context.Context, client, key int) (int64, error)
	Put func(ctx context.Context, client, key int, value int64) error
	// Stored returns the values of all keys, when no client is at work.
	Stored func(ctx context.Context) ([]int64, error)
}

// RunRegisters is [Run] on registers, of which each is a partition.
func RunRegisters(ctx context.Context, cfg Config, regs Registers) *Report {
	cfg = cfg.withDefaults()
	return newRun(&cfg, []*cell{regs.cell()}).run(ctx)
}

func (r Registers) cell() *cell {
	c := &cell{name: "registers"}
	for key := range r.Keys {
		c.partitions = append(c.partitions, &partition{name: fmt.Sprint("key ", key), model: itemModel})
	}
	c.read = func(ctx context.Context, c *client) {
		key := c.rng.IntN(r.Keys)
		called := c.now()
		value, err := r.Get(ctx, c.id, key)
		c.didRead(called, err, effect{c.cell.partitions[key], itemCall{verb: getItem}, itemState{value: value}})
	}
	var last atomic.Int64
	c.write = func(ctx context.Context, c *client) {
		key, value := c.rng.IntN(r.Keys), last.Add(1)
		called := c.now()
		err := r.Put(ctx, c.id, key, value)
		c.didWrite(called, err, effect{c.cell.partitions[key], itemCall{verb: putItem, value: value}, done{}})
	}
	c.states = func(ctx context.Context) (states []any, err error) {
		stored, err := r.Stored(ctx)
		for _, value := range stored {
			states = append(states, itemState{value: value})
		}
		return states, err
	}
	return c
}
