package samplers

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Outage says what a [Sampler] does with requests that it must decide by itself, while
// the counters do not answer.
type Outage uint8

const (
	// KeepLocal keeps the first N of each key in this process: with P processes up to P
	// times N of a key, besides those that the fleet had kept in the same window. Keys for
	// which there is no room in Options.LocalBytes share that of OtherOp of their tenant.
	KeepLocal Outage = iota
	// KeepAll keeps everything that was not throttled already.
	KeepAll
	// DropAll keeps nothing.
	DropAll
)

// OtherOp is the operation that stands for those beyond Options.MaxOps.
const OtherOp = "__other__"

// Options are the settings of a [Sampler]. The zero Options, and nil, consist entirely
// of default values. All processes that share counters and a Name must have the same
// FirstN, Window, MaxOps and TotalPeriod.
type Options struct {
	// Name sets this sampler's counters apart from those of other samplers in the
	// same backend. At most 128 bytes. Default "".
	Name string
	// FirstN is how many requests of a key are kept in a window, from 1 to 1,000.
	// Default 5.
	FirstN int
	// Window is the time for which a key is throttled, counted from its first request,
	// from 100 ms to 7 days. Default 15 minutes.
	Window time.Duration
	// Tail is the probability with which a request beyond the first N is kept, with
	// one over it as its weight: from 2^-28 to 1, rounded to a multiple of 2^-28. 0.01
	// makes totals that are estimated from the logs unbiased, with an error that is about
	// 1.6 times that of plain sampling with as many lines. Default 0: none is kept.
	Tail float64
	// MaxOps is how many operations of a tenant have counters of their own in a
	// window, at most 10,000. The others share one, that of [OtherOp]. -1 means that
	// there is no bound. Default 500.
	MaxOps int
	// OnOutage says what becomes of requests while the counters do not answer.
	// Default KeepLocal.
	OnOutage Outage
	// Timeout is how long a decision may wait for the counters, from 1 ms. Default
	// 10 ms.
	Timeout time.Duration
	// LocalBytes bounds the memory for the keys that are throttled: three quarters at 25
	// bytes for each, the rest for the texts of tenants and operations, by which totals are
	// reported. A key for which there is no room costs calls, and is not dropped wrongly; if
	// there is none for its texts, requests of it are missing in the totals, unless it is
	// asked for again: Stats.Lost. An outage takes up to 1 MB more. From 64 KiB to 1 GiB. Default
	// 16,000,000: 480,000 keys of 110,000 different tenants and operations.
	LocalBytes int
	// TotalPeriod is the length of the periods, in UTC, for which the requests beyond
	// the first N are added up for [Sampler.Total], from a minute to 183 days. A total is kept
	// until the period after its own is over. -1 means that nothing is added up.
	// Default 24 hours.
	TotalPeriod time.Duration
	// Logger receives the beginnings and ends of outages. Default slog.Default().
	Logger *slog.Logger
	// Now is the clock, for tests. It is asked for every decision, without being
	// cached. Default nil: the clock of the machine, read a hundred times a second.
	Now func() time.Time
}

const (
	maxName       = 128
	maxFirstN     = driver.MaxExact
	minWindow     = 100 * time.Millisecond
	maxWindow     = 7 * 24 * time.Hour
	minTail       = 1.0 / (1 << thresholdBits)
	minTimeout    = time.Millisecond
	minLocalBytes = 64 << 10
	maxLocalBytes = 1 << 30
	minPeriod     = time.Minute
	maxPeriod     = 366 * 24 * time.Hour / 2 // the counter lives for two
)

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.FirstN = cmp.Or(c.FirstN, 5)
	c.Window = cmp.Or(c.Window, 15*time.Minute)
	c.MaxOps = cmp.Or(c.MaxOps, 500)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Millisecond)
	c.LocalBytes = cmp.Or(c.LocalBytes, 16_000_000)
	c.TotalPeriod = cmp.Or(c.TotalPeriod, 24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("samplers: %w: Options.%w", driver.ErrInvalid, err)
	}
	return c, nil
}

func (o *Options) validate() error {
	switch {
	case len(o.Name) > maxName:
		return fmt.Errorf("Name of %d bytes: at most %d", len(o.Name), maxName)
	case o.FirstN < 1 || o.FirstN > maxFirstN:
		return fmt.Errorf("FirstN is %d: from 1 to %d", o.FirstN, maxFirstN)
	case o.Window < minWindow || o.Window > maxWindow:
		return fmt.Errorf("Window is %v: from %v to %v", o.Window, minWindow, maxWindow)
	case math.IsNaN(o.Tail) || o.Tail != 0 && (o.Tail < minTail || o.Tail > 1):
		return fmt.Errorf("Tail is %v: 0, or a probability from 2^-%d to 1", o.Tail, thresholdBits)
	case o.MaxOps < -1 || o.MaxOps > driver.MaxMembers:
		return fmt.Errorf("MaxOps is %d: -1, or up to %d", o.MaxOps, driver.MaxMembers)
	case o.OnOutage > DropAll:
		return fmt.Errorf("OnOutage is %d: KeepLocal, KeepAll or DropAll", o.OnOutage)
	case o.Timeout < minTimeout:
		return fmt.Errorf("Timeout is %v: at least %v", o.Timeout, minTimeout)
	case o.LocalBytes < minLocalBytes || o.LocalBytes > maxLocalBytes:
		return fmt.Errorf("LocalBytes is %d: from %d to %d", o.LocalBytes, minLocalBytes, maxLocalBytes)
	case o.TotalPeriod != -1 && (o.TotalPeriod < minPeriod || o.TotalPeriod > maxPeriod):
		return fmt.Errorf("TotalPeriod is %v: -1, or from %v to %v", o.TotalPeriod, minPeriod, maxPeriod)
	}
	return nil
}
