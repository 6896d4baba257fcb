package samplers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/internal/redistest"
	"github.com/graphcache/graphcache/samplers"
)

// chaosTimeout is far above what a busy machine with two processors takes for a call.
const chaosTimeout = 200 * time.Millisecond

// chaos is a fleet under load, on a server that fails.
type chaos struct {
	t      *testing.T
	server *redistest.Server
	proxy  *redistest.Proxy // between the fleet and the server
	fleet  []*samplers.Sampler

	z         *traffic
	kept, all []atomic.Int64 // by key
	requests  []atomic.Int64 // by process
	keeps     []atomic.Int64 // of them
	longest   atomic.Int64   // decision, in ns
	fresh     atomic.Int64   // keys that were made up

	stop chan struct{}
	load sync.WaitGroup
}

const chaosProcesses = 4

func newChaos(t *testing.T, mode samplers.Outage) *chaos {
	c := &chaos{t: t, server: redistest.Start(t), z: newTraffic(400, 10, 1.1), stop: make(chan struct{})}
	c.proxy = redistest.NewProxy(t, c.server.Addr)
	c.kept, c.all = make([]atomic.Int64, len(c.z.keys)), make([]atomic.Int64, len(c.z.keys))
	c.requests, c.keeps = make([]atomic.Int64, chaosProcesses), make([]atomic.Int64, chaosProcesses)
	for _, counters := range openCounters(t, []string{c.proxy.Addr}, chaosProcesses, chaosTimeout) {
		c.fleet = append(c.fleet, newSampler(t, counters, &samplers.Options{
			FirstN: fleetN, OnOutage: mode, Timeout: chaosTimeout, MaxOps: -1, LocalBytes: 1 << 20, Logger: quiet,
		}))
	}
	for i := range c.fleet {
		for worker := range 3 {
			c.load.Go(func() { c.work(i, uint64(worker)) })
		}
	}
	return c
}

// decide has a process decide, and checks how long it takes.
func (c *chaos) decide(process int, k samplers.Key) samplers.Decision {
	began := time.Now()
	d := c.fleet[process].Decide(context.Background(), k)
	took := int64(time.Since(began))
	for longest := c.longest.Load(); took > longest && !c.longest.CompareAndSwap(longest, took); {
		longest = c.longest.Load()
	}
	c.requests[process].Add(1)
	if d.Keep {
		c.keeps[process].Add(1)
	}
	return d
}

// work makes requests of a process, some thousands a second.
func (c *chaos) work(process int, seed uint64) {
	random := rand.New(rand.NewPCG(uint64(process), seed))
	for pause := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-c.stop:
			pause.Stop()
			return
		case <-pause.C:
		}
		for range 10 {
			key := c.z.tenants.draw(random.Uint64())*c.z.each + c.z.ops.draw(random.Uint64())
			c.all[key].Add(1)
			if d := c.decide(process, c.z.keys[key]); d.Keep {
				c.kept[key].Add(1)
			}
		}
	}
}

// newKey returns a key that nobody has met.
func (c *chaos) newKey() samplers.Key {
	return samplers.Key{Tenant: "new", Op: fmt.Sprint(c.fresh.Add(1))}
}

// await waits until something is so.
func (c *chaos) await(what string, is func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > 20*time.Second {
			c.t.Fatalf("after 20 s still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// awaitOutage waits until all processes know that the server does not answer.
func (c *chaos) awaitOutage() time.Duration {
	c.t.Helper()
	return c.await("an outage in every process", func() bool {
		for _, s := range c.fleet {
			if !s.Stats().Outage {
				return false
			}
		}
		return true
	})
}

// awaitCounters waits until all processes decide with the counters, a hundred times without
// exception, and returns how long it took until the first of these.
func (c *chaos) awaitCounters() time.Duration {
	c.t.Helper()
	began, first := time.Now(), time.Duration(0)
	c.await("every process decides with the counters", func() bool {
		first = time.Since(began)
		for range 25 {
			k := c.newKey()
			for i := range c.fleet {
				if d := c.decide(i, k); d.Reason != samplers.First || d.Seq != uint64(i+1) {
					return false
				}
			}
		}
		return true
	})
	return first
}

// finish ends the load and checks what holds whatever happened.
func (c *chaos) finish() {
	c.t.Helper()
	close(c.stop)
	c.load.Wait()
	if longest := time.Duration(c.longest.Load()); longest > 11*chaosTimeout {
		c.t.Errorf("a decision took %v, with a time-out of %v", longest, chaosTimeout)
	}
	for i, s := range c.fleet {
		st := s.Stats()
		checkSums(c.t, st, int(c.requests[i].Load()))
		if keeps := c.keeps[i].Load(); st.First+st.Local != keeps {
			c.t.Errorf("%+v: %d were kept", st, keeps)
		}
	}
}

// volume returns how many requests of the load were kept, and how many would have been
// had nothing happened.
func (c *chaos) volume() (kept, normal int64) {
	for i := range c.all {
		kept += c.kept[i].Load()
		normal += min(c.all[i].Load(), fleetN)
	}
	return kept, normal
}

// TestChaos makes a server fail under load, and come back.
func TestChaos(t *testing.T) {
	cli := func(c *chaos, args ...string) {
		if _, err := c.server.CLI(args...); err != nil {
			t.Error(err)
		}
	}
	for name, fault := range map[string]struct {
		begin, end func(c *chaos)
		outage     bool // nobody is answered meanwhile
	}{
		"suspended":        {func(c *chaos) { c.server.Suspend() }, func(c *chaos) { c.server.Resume() }, true},
		"killed":           {func(c *chaos) { c.server.Kill() }, func(c *chaos) { restart(t, c) }, true},
		"killed for short": {func(c *chaos) { c.server.Kill(); restart(t, c) }, nil, false},
		"FLUSHALL":         {func(c *chaos) { cli(c, "FLUSHALL") }, nil, false},
		"SCRIPT FLUSH":     {func(c *chaos) { cli(c, "SCRIPT", "FLUSH") }, nil, false},
		"CLIENT PAUSE":     {func(c *chaos) { cli(c, "CLIENT", "PAUSE", "1500", "ALL") }, func(c *chaos) { cli(c, "CLIENT", "UNPAUSE") }, true},
		"hangs":            {func(c *chaos) { c.proxy.Hang(true) }, func(c *chaos) { c.proxy.Hang(false) }, true},
		"refuses":          {func(c *chaos) { c.proxy.Refuse(true) }, func(c *chaos) { c.proxy.Refuse(false) }, true},
		"drops replies":    {func(c *chaos) { c.proxy.DropReplies(true) }, func(c *chaos) { c.proxy.DropReplies(false) }, true},
		"cut again and again": {func(c *chaos) {
			for range 50 {
				c.proxy.Cut()
				time.Sleep(5 * time.Millisecond)
			}
		}, nil, false},
		"no memory": {func(c *chaos) { cli(c, "CONFIG", "SET", "maxmemory", "1") }, func(c *chaos) { cli(c, "CONFIG", "SET", "maxmemory", "0") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, samplers.KeepLocal)
			c.awaitCounters()
			time.Sleep(100 * time.Millisecond) // of load
			fault.begin(c)
			noticed := time.Duration(0)
			if fault.outage {
				noticed = c.awaitOutage()
				time.Sleep(400 * time.Millisecond) // of load, and for one or two looks whether it is over
			}
			if fault.end != nil {
				fault.end(c)
			}
			recovered := c.awaitCounters()
			c.finish()
			kept, normal := c.volume()
			if kept > chaosProcesses*normal {
				t.Errorf("%d kept, want at most %d * %d", kept, chaosProcesses, normal)
			}
			local, outages := int64(0), int64(0)
			for _, s := range c.fleet {
				st := s.Stats()
				local, outages = local+st.Local, max(outages, st.Outages)
			}
			if fault.outage && outages > 3 {
				t.Errorf("%d outages in a process, want about one", outages)
			}
			t.Logf("noticed in %v, over in %v; longest decision %v; %d kept, %.2f times as many as usual, %d locally; up to %d outages",
				noticed.Round(time.Millisecond), recovered.Round(time.Millisecond), time.Duration(c.longest.Load()).Round(time.Millisecond),
				kept, float64(kept)/float64(normal), local, outages)
		})
	}
}

func restart(t *testing.T, c *chaos) {
	if err := c.server.Restart(); err != nil {
		t.Error(err)
	}
}

// TestOutageModes has a server hang and checks what becomes of requests meanwhile, in each
// mode: those of a key that nobody has met, and of one that is throttled.
func TestOutageModes(t *testing.T) {
	for mode, want := range map[samplers.Outage]int{samplers.KeepLocal: fleetN, samplers.KeepAll: 3 * fleetN, samplers.DropAll: 0} {
		t.Run([]string{"KeepLocal", "KeepAll", "DropAll"}[mode], func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, mode)
			c.awaitCounters()
			throttled := c.newKey()
			for i := range c.fleet {
				for range fleetN + 1 {
					c.decide(i, throttled)
				}
			}
			c.server.Suspend()
			c.awaitOutage()
			k := c.newKey()
			for i := range c.fleet {
				kept := 0
				for range 3 * fleetN {
					d := c.decide(i, k)
					if d.Reason != samplers.Local || d.Keep != (d.Weight == 1) || d.Seq != 0 {
						t.Errorf("process %d: %+v", i, d)
					}
					if d.Keep {
						kept++
					}
				}
				if kept != want {
					t.Errorf("process %d keeps %d of a new key, want %d", i, kept, want)
				}
				if d := c.decide(i, throttled); d != (samplers.Decision{}) {
					t.Errorf("process %d, for a key that is throttled: %+v", i, d)
				}
			}
			c.server.Resume()
			c.awaitCounters()
			c.finish()
		})
	}
}

// newOutage returns a sampler whose counters do not answer, and which knows it.
func newOutage(t testing.TB, mode samplers.Outage) *samplers.Sampler {
	counters := backendtest.NewFaultyCounters(memory.NewCounters(nil), func(context.Context, backendtest.Call) backendtest.Fault {
		return backendtest.Fault{Action: backendtest.Fail}
	})
	s := newSampler(t, counters, &samplers.Options{OnOutage: mode, Logger: quiet})
	for i := range 5 {
		s.Decide(t.Context(), samplers.Key{Op: fmt.Sprint(i)})
	}
	if st := s.Stats(); !st.Outage {
		t.Fatalf("%+v: want an outage", st)
	}
	return s
}

var outageKeys = func() (keys [256]samplers.Key) {
	for i := range keys {
		keys[i] = samplers.Key{Tenant: fmt.Sprint("tenant ", i), Op: fmt.Sprint("op ", i%16)}
	}
	return keys
}()

// TestOutageAllocates counts what decisions allocate in an outage: nothing for keys that
// were met.
func TestOutageAllocates(t *testing.T) {
	for _, mode := range []samplers.Outage{samplers.KeepLocal, samplers.KeepAll, samplers.DropAll} {
		s, i := newOutage(t, mode), 0
		decide := func() { s.Decide(t.Context(), outageKeys[i%len(outageKeys)]); i++ }
		for range 10 * len(outageKeys) {
			decide()
		}
		if got := testing.AllocsPerRun(10_000, decide); got != 0 {
			t.Errorf("mode %d: %v allocations, want none", mode, got)
		}
	}
}

// BenchmarkOutage decides while the counters do not answer.
func BenchmarkOutage(b *testing.B) {
	for mode, name := range []string{"KeepLocal", "KeepAll", "DropAll"} {
		b.Run(name, func(b *testing.B) {
			s, ctx, i := newOutage(b, samplers.Outage(mode)), b.Context(), 0
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(ctx, outageKeys[i%len(outageKeys)])
				i++
			}
		})
	}
	b.Run("new keys", func(b *testing.B) {
		s, ctx, i := newOutage(b, samplers.KeepLocal), b.Context(), 0
		k := samplers.Key{Tenant: "t", Op: "a"}
		for b.Loop() {
			if i++; i%1000 == 0 {
				b.StopTimer()
				k.Tenant = fmt.Sprint("t", i)
				b.StartTimer()
			}
			k.Op = outageKeys[i%len(outageKeys)].Op
			s.Decide(ctx, k)
		}
	})
}
