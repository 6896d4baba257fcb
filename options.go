package graphcache

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Options are the settings of [Open]. The zero value, or nil, is a graph without a
// shared cache and the defaults below; 0 in a field is its default, and a negative
// value is refused with [ErrInvalid].
type Options struct {
	// Cache is the shared cache, the same for all graphs on one store: what a
	// graph without it writes stays stale in it. Nil is none: every read goes to
	// the store, and only concurrent loads of the same thing are collapsed.
	Cache driver.Cache
	// Logger receives what happens in the background and what was repaired.
	// Default slog.Default().
	Logger *slog.Logger
	// Tracer is told of every operation and its steps: the module otelgraphcache has one
	// for OpenTelemetry. Default none, which costs nothing.
	Tracer Tracer

	// TTL is how long a cached value lives, give or take 10 % chosen at random.
	// It bounds every exception to the consistency that the package documents.
	// Default 10 minutes, at least 1 second, at most 6 days.
	TTL time.Duration
	// ReadTimeout bounds a look-up in the cache. After it the read goes to the
	// store. Default 50 ms.
	ReadTimeout time.Duration
	// HoldTimeout bounds an attempt to mark the anchors of a write in the cache, and one to
	// take the marks off. There are two of each; if the journal can take the anchors, the
	// second attempt to mark is not made when the first took that long. Default 500 ms.
	HoldTimeout time.Duration
	// WriteTimeout bounds a write to the store. Default 5 s.
	WriteTimeout time.Duration
	// HoldTTL is how long a mark stands if the process that set it dies or the
	// outcome of its write is unknown: the anchor is not cached until then. At
	// least 2·HoldTimeout + WriteTimeout + 2 s, and 2·HoldTimeout + 1 s + 2·LookPeriod.
	// Default 15 s.
	HoldTTL time.Duration
	// LoadTimeout bounds a read from the store. Default 3 s.
	LoadTimeout time.Duration
	// LeaseTTL is how long other processes wait for one that loads before they
	// load themselves. More than LoadTimeout + ReadTimeout. Default 5 s.
	LeaseTTL time.Duration
	// LookPeriod is how often a process reads from the store what other processes have
	// decided: which anchors are in the journal, what other versions of the program cache
	// under, which kinds were invalidated. If that takes longer than two periods, reads do not
	// use the cache. At most TTL/10. Default 1 s, or TTL/10 if that is less. All processes of a deployment should have the same LookPeriod, HoldTimeout,
	// WriteTimeout and HoldTTL.
	LookPeriod time.Duration

	// WhenCacheDown says what becomes of a write whose anchors cannot be marked in the
	// cache. Default [Ack]. A store that is no driver.Ledger has no journal: such writes
	// fail there.
	WhenCacheDown WhenCacheDown
	// Strict: when this process has not read the store's ledger for two LookPeriods, its
	// reads are answered by the store, not by the cache. Without it, cached values are
	// served while the store is down, also if something that can reach the store, but not
	// the cache, writes meanwhile. It has no effect if the store is no driver.Ledger.
	Strict bool

	// NearCache has values that were read from the shared cache kept in the process. Cached
	// reads may then be older than what other processes have written, by NearCache.MaxStale;
	// Shared ones are not. It needs a Cache that is a driver.Notifier, as those of
	// graphcache's backends are. Default nil, which is none.
	NearCache *NearCache

	// MaxFragmentBytes is the size above which a value is not cached. Default
	// 256 KiB.
	MaxFragmentBytes int
	// MaxFragments is how many secondary values an anchor may have in the cache:
	// ranges beyond the cached prefix and counts of a long list, ordered searches
	// under some values of an index, searches of a kind with CacheScans. Default
	// 1,024.
	MaxFragments int
	// MaxLoads is how many loads, each a call of the store for one or many
	// values that reads miss, may be under way at once. Further ones are queued
	// until their callers' contexts end. What writes and transactions read does
	// not count. Default 64.
	MaxLoads int
	// MaxAttempts is how often a write or a transaction that loses against
	// another is tried before it returns ErrConflict. Default 16.
	MaxAttempts int
}

// withDefaults returns the options with every 0 replaced.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	setDefault(&c.TTL, 10*time.Minute)
	setDefault(&c.ReadTimeout, 50*time.Millisecond)
	setDefault(&c.HoldTimeout, 500*time.Millisecond)
	setDefault(&c.WriteTimeout, 5*time.Second)
	setDefault(&c.HoldTTL, 15*time.Second)
	setDefault(&c.LoadTimeout, 3*time.Second)
	setDefault(&c.LeaseTTL, 5*time.Second)
	setDefault(&c.LookPeriod, min(time.Second, c.TTL/10))
	setDefault(&c.MaxFragmentBytes, 256<<10)
	setDefault(&c.MaxFragments, 1024)
	setDefault(&c.MaxLoads, 64)
	setDefault(&c.MaxAttempts, 16)
	if c.NearCache != nil {
		c.NearCache = c.NearCache.withDefaults(c.TTL)
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// maxDuration keeps the sums that are made of durations from overflowing.
const maxDuration = 365 * 24 * time.Hour

// validate says which setting cannot work, and why.
func (o *Options) validate() error {
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"TTL", o.TTL}, {"ReadTimeout", o.ReadTimeout}, {"HoldTimeout", o.HoldTimeout},
		{"WriteTimeout", o.WriteTimeout}, {"HoldTTL", o.HoldTTL}, {"LoadTimeout", o.LoadTimeout},
		{"LeaseTTL", o.LeaseTTL}, {"LookPeriod", o.LookPeriod},
	} {
		if d.v < 0 {
			return fmt.Errorf("%w: Options.%s is %v: negative", ErrInvalid, d.name, d.v)
		}
		if d.v > maxDuration {
			return fmt.Errorf("%w: Options.%s is %v: more than %v", ErrInvalid, d.name, d.v, time.Duration(maxDuration))
		}
	}
	for _, n := range []struct {
		name string
		v    int
	}{
		{"MaxFragmentBytes", o.MaxFragmentBytes}, {"MaxFragments", o.MaxFragments},
		{"MaxLoads", o.MaxLoads}, {"MaxAttempts", o.MaxAttempts},
	} {
		if n.v < 0 {
			return fmt.Errorf("%w: Options.%s is %d: negative", ErrInvalid, n.name, n.v)
		}
	}
	if o.WhenCacheDown > Fail {
		return fmt.Errorf("%w: Options.WhenCacheDown is %d: not Ack, Wait or Fail", ErrInvalid, o.WhenCacheDown)
	}
	if o.NearCache != nil {
		if err := o.NearCache.validate(o.Cache); err != nil {
			return err
		}
	}
	return o.validateTogether()
}

// validateTogether checks the settings that depend on each other.
func (o *Options) validateTogether() error {
	if o.TTL < time.Second {
		return fmt.Errorf("%w: Options.TTL is %v: less than 1s", ErrInvalid, o.TTL)
	}
	if most := driver.RegistryTTL - 24*time.Hour; o.TTL > most {
		return fmt.Errorf("%w: Options.TTL is %v: more than %v, so a value could outlive what the store knows of the program that cached it", ErrInvalid, o.TTL, most)
	}
	if least := 2*o.HoldTimeout + o.WriteTimeout + 2*time.Second; o.HoldTTL < least {
		return fmt.Errorf("%w: Options.HoldTTL is %v: less than 2·HoldTimeout + WriteTimeout + 2s = %v, so a hold could end before its write",
			ErrInvalid, o.HoldTTL, least)
	}
	if least := 2*o.HoldTimeout + time.Second + 2*o.LookPeriod; o.HoldTTL < least {
		return fmt.Errorf("%w: Options.HoldTTL is %v: less than 2·HoldTimeout + 1s + 2·LookPeriod = %v, so the holds of a write that the store does not answer could end before all processes know of it",
			ErrInvalid, o.HoldTTL, least)
	}
	if least := o.LoadTimeout + o.ReadTimeout; o.LeaseTTL <= least {
		return fmt.Errorf("%w: Options.LeaseTTL is %v: not more than LoadTimeout + ReadTimeout = %v, so a lease could end before its load",
			ErrInvalid, o.LeaseTTL, least)
	}
	if o.LookPeriod > o.TTL/10 {
		return fmt.Errorf("%w: Options.LookPeriod is %v: more than TTL/10 = %v", ErrInvalid, o.LookPeriod, o.TTL/10)
	}
	return nil
}
