package lincheck

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

// Config says what is checked and how. Zero values are the defaults.
type Config struct {
	// Caches are clients of one shared cache; each gets a graph of its own. At least
	// one is required, and four are a fair test.
	Caches []driver.Cache
	// Store is what all graphs share. It should be empty.
	Store driver.Store
	// Options are those of the graphs, without the Cache.
	Options graphcache.Options

	// Clients is how many goroutines read and write, each through the graph whose
	// turn it is. In Soak they only read. Default 16.
	Clients int
	// Cells is how many sets of records there are that are written together. The
	// fewer there are, the more clients meet on a record. Default 4.
	Cells int
	// Operations is how many operations, in Soak reads, are checked at least.
	// Default 20,000, unless there is a Duration.
	Operations int
	// Duration is how long the clients work at least. The end of the context ends
	// them in any case.
	Duration time.Duration
	// Writes is the share of the operations that write, from 0 to 1. Default 0.1.
	Writes float64
	// Stale is how old the answers of the store may be to reads that do not ask the
	// cache first. Unless it is 0 clients make no such reads, and what is read to
	// know the state of the store is read that much later.
	Stale time.Duration
	// Seed chooses what the clients do. When they do it is not repeatable.
	Seed uint64

	// RoundOperations and RoundTime bound a round of Run, after which the clients
	// stop, so that a history can be searched: the one for each client, the other
	// for all. Defaults 250 and 2 seconds.
	RoundOperations int
	RoundTime       time.Duration
	// CheckTime bounds the search of the history of one partition in one round. A
	// history that it is too short for is reported as unknown, and fails the run.
	// Default 20 seconds.
	CheckTime time.Duration

	// Disturb, if it is not nil, runs beside the clients and does to cache and store
	// what they are to bear. It counts what it did in faults, and returns soon after
	// the context has ended. Its error fails the run.
	Disturb func(ctx context.Context, faults *atomic.Int64) error
	// Logf, if it is not nil, is told about progress every few seconds.
	Logf func(format string, args ...any)
	// Dir is where the visualisations of violations are written. Default a new
	// temporary directory.
	Dir string
}

func (c Config) withDefaults() Config {
	setDefault(&c.Clients, 16)
	setDefault(&c.Cells, 4)
	if c.Duration == 0 {
		setDefault(&c.Operations, 20_000)
	}
	setDefault(&c.Writes, 0.1)
	setDefault(&c.RoundOperations, 250)
	setDefault(&c.RoundTime, 2*time.Second)
	setDefault(&c.CheckTime, 20*time.Second)
	setDefault(&c.Options.WriteTimeout, 5*time.Second)
	setDefault(&c.Options.HoldTTL, 15*time.Second)
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// fresh returns the share of the reads that do not ask the cache, of one that is usual.
func (c *Config) fresh(usual float64) float64 {
	if c.Stale > 0 {
		return 0
	}
	return usual
}

// settle is how long a write of unknown outcome may still be applied.
func (c *Config) settle() time.Duration { return c.Options.WriteTimeout + c.Options.HoldTTL }

// enough reports whether so many operations in so much time are what was asked for.
func (c *Config) enough(operations int64, elapsed time.Duration) bool {
	return operations >= int64(c.Operations) && elapsed >= c.Duration
}
