package samplers

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/within"
)

const (
	// outageFailures is how many calls in a row remain unanswered before no request
	// waits for the counters any more.
	outageFailures = 5
	// probeEvery is how often they are then asked, in the background, whether they
	// answer again. It is not left to a request to find out: it would wait in vain.
	probeEvery = 250 * time.Millisecond
	// maxTenants is how many tenants' operations are counted in an outage. Those of
	// further tenants share one key a tenant.
	maxTenants = 1 << 14
)

// outage knows whether the counters answer, and decides on requests while they do not.
type outage struct {
	s        *Sampler
	is       atomic.Bool
	failures atomic.Int32
	last     atomic.Int64        // how many calls had been made when the last failure was counted
	failed   atomic.Pointer[Key] // of the call that failed last
	begun    chan struct{}       // has an element when an outage has begun
	count    atomic.Int64

	mu      sync.Mutex     // protects what follows
	tenants map[uint64]int // operations that were met in this outage, by tenant
	until   uint32         // reading of the clock at which they are forgotten
}

func (o *outage) init(s *Sampler) {
	o.s, o.begun, o.tenants = s, make(chan struct{}, 1), make(map[uint64]int)
	s.running.Go(o.run)
}

// near reports whether a call may well remain unanswered.
func (o *outage) near() bool { return o.failures.Load() != 0 }

// answered notes that the counters have answered a call.
func (o *outage) answered() {
	if o.near() {
		o.failures.Store(0)
	}
}

// unanswered notes that they have not answered a call for a key. Calls that were made before
// another was seen to fail are no failures of their own: a pause fails all that are under way.
func (o *outage) unanswered(call int64, k Key, err error) {
	last := o.last.Load()
	if call <= last || !o.last.CompareAndSwap(last, o.s.stats.calls.Load()) {
		return
	}
	o.failed.Store(&k)
	if o.failures.Add(1) < outageFailures || o.is.Swap(true) {
		return
	}
	o.count.Add(1)
	o.s.opts.Logger.Warn("graphcache: samplers: the counters do not answer: requests are decided without them",
		slog.String("sampler", o.s.opts.Name), slog.Any("error", err))
	o.begun <- struct{}{} // which has room: the last outage is over only when run has taken it
}

// run asks the counters, when they do not answer, until they do.
func (o *outage) run() {
	for {
		select {
		case <-o.begun:
		case <-o.s.closing:
			return
		}
		for began, t := time.Now(), time.NewTicker(probeEvery); ; {
			select {
			case <-t.C:
			case <-o.s.closing:
				t.Stop()
				return
			}
			if o.probe() {
				t.Stop()
				o.end(time.Since(began))
				break
			}
		}
	}
}

// probe asks the server that has not answered, if there are several. It counts, as one may
// answer reads and refuse to write.
func (o *outage) probe() bool {
	ctx := within.New(context.Background(), o.s.opts.Timeout)
	defer ctx.End()
	_, err := o.s.counters.Increment(ctx, []driver.Increment{{Key: o.s.groups.probe(*o.failed.Load()), N: 1, Window: o.s.opts.Window}})
	return err == nil
}

func (o *outage) end(after time.Duration) {
	o.mu.Lock()
	clear(o.tenants)
	o.mu.Unlock()
	o.failures.Store(0)
	o.is.Store(false)
	o.s.table.debts.tell()
	o.s.opts.Logger.Info("graphcache: samplers: the counters answer again",
		slog.String("sampler", o.s.opts.Name), slog.Duration("after", after))
}

// decideAlone decides on a request without the counters. The key's parts are short.
func (s *Sampler) decideAlone(mode Outage, k Key, print uint64, c coin) Decision {
	now := s.clock.precise()
	switch mode {
	case KeepAll:
		s.stats.local.Add(1)
		return Decision{Keep: true, Weight: 1, Reason: Local}
	case DropAll:
		s.table.throttle(print, k, now, now-1, 1) // in a window that is over: only counted
		return Decision{Reason: Local}
	}
	place, ok := uint64(0), false
	end := now + uint32(s.opts.Window.Milliseconds())
	if s.outage.admits(k, print, now) {
		place, ok = s.table.countLocally(print, k, now, end, k.Op == OtherOp)
	}
	if !ok {
		k.Op = OtherOp
		place, _ = s.table.countLocally(s.table.fingerprint(k), k, now, end, true)
	}
	if place <= uint64(s.opts.FirstN) {
		s.stats.local.Add(1)
		return Decision{Keep: true, Weight: 1, Reason: Local}
	}
	d := s.tail(c)
	if !d.Keep {
		d.Reason = Local
	}
	return d
}

// admits reports whether a key may be counted by itself, as [driver.Increment.Members]
// does when the counters answer.
func (o *outage) admits(k Key, print uint64, now uint32) bool {
	limit := o.s.opts.MaxOps
	if limit < 0 || k.Op == OtherOp || o.s.table.isLocal(print, now) {
		return true
	}
	tenant := maphash.String(o.s.table.seed, k.Tenant)
	o.mu.Lock()
	defer o.mu.Unlock()
	if int32(o.until-now) <= 0 {
		clear(o.tenants)
	}
	if len(o.tenants) == 0 {
		o.until = now + uint32(o.s.opts.Window.Milliseconds())
	}
	n, known := o.tenants[tenant]
	if n >= limit || !known && len(o.tenants) >= maxTenants {
		return false
	}
	o.tenants[tenant] = n + 1
	return true
}
