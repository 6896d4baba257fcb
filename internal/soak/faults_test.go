//go:build linux

package soak_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/graphcache/graphcache/internal/mongotest"
	"github.com/graphcache/graphcache/internal/redistest"
)

// fault is something that was done to a part. Times are those of [clock].
type fault struct {
	kind     string
	place    int // -1 for all
	from, to int64
	effect   effect
}

// effect is what a fault can excuse.
type effect int

const (
	losesHolds effect = 1 << iota // that the cache had acknowledged
	promotes                      // a replica that may lack the latest
	restores                      // what the cache had when it was last saved
	ends                          // the process
	pauses                        // the process
	cuts                          // from the store or the cache, or makes them slow
)

// faults does to parts what it can do, and remembers it.
type faults struct {
	crew     *crew
	redis    *redistest.Server
	cluster  *redistest.Cluster
	store    *mongotest.Server
	proxies  []*redistest.Proxy // one for each place, none with a cluster
	mproxies []*mongotest.Proxy
	pause    time.Duration // of a process
	dumps    bool          // redis has default save points

	mu  sync.Mutex // protects all
	all []*fault
	err error
}

// during notes that something is done to a part.
func (f *faults) during(kind string, place int, e effect, do func() error) {
	x := &fault{kind: kind, place: place, from: clock(), to: math.MaxInt64, effect: e}
	f.mu.Lock()
	f.all = append(f.all, x)
	f.mu.Unlock()
	err := do()
	f.mu.Lock()
	defer f.mu.Unlock()
	x.to = clock()
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %w", kind, err)
	}
}

// met reports whether a fault with the effect was there between two moments, for the place or
// for all.
func (f *faults) met(e effect, place int, from, to int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.all, func(x *fault) bool {
		return x.effect&e != 0 && x.from <= to && from <= x.to && (place < 0 || x.place < 0 || x.place == place)
	})
}

// kinds returns how many faults there were of each kind, in words.
func (f *faults) kinds() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := map[string]int{}
	for _, x := range f.all {
		counts[x.kind]++
	}
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(list, ", ")
}

// act is a fault that can be made again and again.
type act func(ctx context.Context, rng *rand.Rand)

// again makes one of the acts again and again, with pauses, until ctx ends.
func (f *faults) again(ctx context.Context, rng *rand.Rand, mean time.Duration, acts ...act) {
	for {
		sleep(ctx, min(4*mean, time.Duration(rng.ExpFloat64()*float64(mean))))
		if ctx.Err() != nil {
			return
		}
		acts[rng.IntN(len(acts))](ctx, rng)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// What is done to the Redis server.

func (f *faults) redisKilled(ctx context.Context, rng *rand.Rand) {
	e := losesHolds
	if f.dumps {
		e |= restores
	}
	f.during("redis killed and restarted", -1, e, func() error {
		f.redis.Kill()
		if rng.IntN(2) == 0 {
			sleep(ctx, between(rng, 0, 1500*time.Millisecond))
		}
		return f.redis.Restart()
	})
}

// redisSaved has the server save what it has, as it does by itself now and then.
func (f *faults) redisSaved(context.Context, *rand.Rand) {
	f.during("redis dumps", -1, 0, func() error {
		_, err := f.redis.CLI("BGSAVE", "SCHEDULE")
		return err
	})
}

func (f *faults) redisStopped(ctx context.Context, _ *rand.Rand) {
	f.during("redis stopped for 2 s", -1, cuts, func() error {
		f.redis.Suspend()
		sleep(ctx, 2*time.Second)
		f.redis.Resume()
		return nil
	})
}

func (f *faults) redisPauses(_ context.Context, rng *rand.Rand) {
	f.during("redis pauses clients", -1, cuts, func() error {
		mode := []string{"WRITE", "ALL"}[rng.IntN(2)]
		_, err := f.redis.CLI("CLIENT", "PAUSE", strconv.Itoa(50+rng.IntN(600)), mode)
		return err
	})
}

func (f *faults) redisFlushed(context.Context, *rand.Rand) {
	f.during("redis flushed", -1, losesHolds, func() error {
		_, err := f.redis.CLI("FLUSHALL")
		return err
	})
}

// redisEvicts leaves the server a little less memory than it uses.
func (f *faults) redisEvicts(ctx context.Context, rng *rand.Rand) {
	f.during("redis evicts", -1, losesHolds, func() error {
		for range 10 {
			text, err := f.redis.CLI("INFO", "memory")
			if err != nil {
				return err
			}
			_, text, _ = strings.Cut(text, "used_memory:")
			text, _, _ = strings.Cut(text, "\r")
			used, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			if _, err := f.redis.CLI("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", strconv.Itoa(used-10_000)); err != nil {
				return err
			}
			sleep(ctx, between(rng, 5*time.Millisecond, 50*time.Millisecond))
		}
		_, err := f.redis.CLI("CONFIG", "SET", "maxmemory", "0")
		return err
	})
}

// What is done to the connections of one process with Redis.

func (f *faults) anyProxy(rng *rand.Rand) (int, *redistest.Proxy) {
	i := rng.IntN(len(f.proxies))
	return i, f.proxies[i]
}

func (f *faults) connectionsCut(_ context.Context, rng *rand.Rand) {
	i, p := f.anyProxy(rng)
	f.during("connections to redis cut", i, 0, func() error { p.Cut(); return nil })
}

func (f *faults) repliesDropped(ctx context.Context, rng *rand.Rand) {
	i, p := f.anyProxy(rng)
	f.during("replies of redis dropped", i, cuts, func() error {
		p.DropReplies(true)
		sleep(ctx, between(rng, 5*time.Millisecond, 300*time.Millisecond))
		p.DropReplies(false)
		return nil
	})
}

func (f *faults) repliesSlow(ctx context.Context, rng *rand.Rand) {
	i, p := f.anyProxy(rng)
	f.during("replies of redis slow", i, cuts, func() error {
		p.Delay(between(rng, time.Millisecond, 150*time.Millisecond))
		sleep(ctx, between(rng, 50*time.Millisecond, 500*time.Millisecond))
		p.Delay(0)
		return nil
	})
}

func (f *faults) redisRefuses(ctx context.Context, rng *rand.Rand) {
	i, p := f.anyProxy(rng)
	f.during("redis refuses a process", i, cuts, func() error {
		p.Refuse(true)
		sleep(ctx, between(rng, 100*time.Millisecond, 2500*time.Millisecond))
		p.Refuse(false)
		return nil
	})
}

// redisRefusesBriefly is for as long as a write takes to give up.
func (f *faults) redisRefusesBriefly(ctx context.Context, rng *rand.Rand) {
	i, p := f.anyProxy(rng)
	f.during("redis refuses a process", i, cuts, func() error {
		p.Refuse(true)
		sleep(ctx, between(rng, 100*time.Millisecond, 500*time.Millisecond))
		p.Refuse(false)
		return nil
	})
}

func (f *faults) redisHangs(ctx context.Context, rng *rand.Rand) {
	i, p := f.anyProxy(rng)
	f.during("redis hangs for a process", i, cuts, func() error {
		p.Hang(true)
		sleep(ctx, between(rng, 50*time.Millisecond, heldBack))
		if rng.IntN(2) == 0 {
			p.Cut()
		}
		p.Hang(false)
		return nil
	})
}

// What is done to the store.

func (f *faults) storeStopped(ctx context.Context, rng *rand.Rand) {
	f.during("store stopped", -1, cuts, func() error {
		f.store.Suspend()
		sleep(ctx, between(rng, 100*time.Millisecond, 3*time.Second))
		f.store.Resume()
		return nil
	})
}

func (f *faults) storeKilled(ctx context.Context, rng *rand.Rand) {
	f.during("store killed and restarted", -1, cuts, func() error {
		f.store.Kill()
		sleep(ctx, between(rng, 0, 1500*time.Millisecond))
		return f.store.Restart()
	})
}

func (f *faults) anyMongo(rng *rand.Rand) (int, *mongotest.Proxy) {
	i := rng.IntN(len(f.mproxies))
	return i, f.mproxies[i]
}

func (f *faults) storeRefuses(ctx context.Context, rng *rand.Rand) {
	i, p := f.anyMongo(rng)
	f.during("store refuses a process", i, cuts, func() error {
		p.Refuse(true)
		sleep(ctx, between(rng, 200*time.Millisecond, 4*time.Second))
		p.Refuse(false)
		return nil
	})
}

func (f *faults) storeCut(_ context.Context, rng *rand.Rand) {
	i, p := f.anyMongo(rng)
	f.during("connections to the store cut", i, 0, func() error { p.Cut(); return nil })
}

// storeCuts closes a connection before or after some of the requests.
func (f *faults) storeCuts(ctx context.Context, rng *rand.Rand) {
	f.requests(ctx, rng, "store cuts connections at requests", 300*time.Millisecond, func(string) mongotest.Action {
		if rand.IntN(4) > 0 {
			return mongotest.Pass
		}
		return []mongotest.Action{mongotest.CutBefore, mongotest.CutAfter}[rand.IntN(2)]
	})
}

func (f *faults) storeSlow(ctx context.Context, rng *rand.Rand) {
	f.requests(ctx, rng, "store slow", time.Second, func(string) mongotest.Action {
		time.Sleep(rand.N(150 * time.Millisecond))
		return mongotest.Pass
	})
}

// storeHoldsBack delivers some of the requests and replies later, those too whose senders have
// given up.
func (f *faults) storeHoldsBack(ctx context.Context, rng *rand.Rand) {
	f.requests(ctx, rng, "store requests held back", heldBack, func(string) mongotest.Action {
		if rand.IntN(4) > 0 {
			return mongotest.Pass
		}
		return []mongotest.Action{mongotest.HangBefore, mongotest.HangAfter}[rand.IntN(2)]
	})
}

// requests has something done to the requests of a process for a while.
func (f *faults) requests(ctx context.Context, rng *rand.Rand, kind string, most time.Duration, on func(cmd string) mongotest.Action) {
	i, p := f.anyMongo(rng)
	f.during(kind, i, cuts, func() error {
		p.On(func(cmd string) mongotest.Action {
			if cmd == "hello" || cmd == "isMaster" || cmd == "ismaster" {
				return mongotest.Pass
			}
			return on(cmd)
		})
		sleep(ctx, between(rng, 50*time.Millisecond, most))
		p.On(nil)
		p.Release()
		return nil
	})
}

// split keeps one process from the store and the others from the cache. Nobody can tell the one
// what the others write.
func (f *faults) split(ctx context.Context, rng *rand.Rand) {
	one := rng.IntN(len(f.proxies))
	redis := func(refuse bool) {
		for i, p := range f.proxies {
			if i != one {
				p.Refuse(refuse)
			}
		}
	}
	f.during("store refuses a process, redis the others", -1, cuts, func() error {
		f.mproxies[one].Refuse(true)
		sleep(ctx, between(rng, 0, time.Second))
		redis(true)
		sleep(ctx, between(rng, time.Second, 5*time.Second))
		redis(false)
		sleep(ctx, between(rng, 0, time.Second))
		f.mproxies[one].Refuse(false)
		return nil
	})
}

// What is done to the processes. Those of different acts have different places.

// atSteps kills or stops one of the processes at a step of a write, at each in turn.
func (f *faults) atSteps(places []int, kills bool) act {
	var steps []int
	return func(ctx context.Context, rng *rand.Rand) {
		if len(steps) == 0 {
			steps = rng.Perm(2 * len(stepMethods))
		}
		step, place := steps[0], places[rng.IntN(len(places))]
		steps = steps[1:]
		signal := syscall.SIGSTOP
		if kills {
			signal = syscall.SIGKILL
		}
		t := &f.crew.shared.places[place].trap
		t.sprung.Store(0)
		t.step.Store(int64(step))
		t.skip.Store(rng.Int64N(4))
		t.action.Store(int64(signal))
		for end := time.Now().Add(3 * time.Second); t.sprung.Load() == 0 && time.Now().Before(end) && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		if t.action.CompareAndSwap(int64(signal), 0) {
			return // the step was not taken
		}
		f.suffer(ctx, rng, place, stepName(step), signal)
	}
}

// atAnyTime kills or stops one of the processes.
func (f *faults) atAnyTime(places []int, kills bool) act {
	return func(ctx context.Context, rng *rand.Rand) {
		place := places[rng.IntN(len(places))]
		signal := syscall.SIGSTOP
		if kills {
			signal = syscall.SIGKILL
		}
		f.crew.signal(place, signal)
		f.suffer(ctx, rng, place, "at any time", signal)
	}
}

// suffer follows a process that has got a signal: one that was killed is replaced, one that was
// stopped goes on after a while.
func (f *faults) suffer(ctx context.Context, rng *rand.Rand, place int, when string, signal syscall.Signal) {
	if signal == syscall.SIGKILL {
		f.during("process killed "+when, place, ends, func() error {
			f.crew.kill(place)
			sleep(ctx, between(rng, 0, time.Second))
			return f.crew.start(place)
		})
		return
	}
	f.during(fmt.Sprintf("process paused for %v %s", f.pause, when), place, pauses, func() error {
		sleep(ctx, f.pause)
		f.crew.signal(place, syscall.SIGCONT)
		return nil
	})
}

// replaced starts another version of the program in the place of one: as in a deployment, or
// when that is taken back.
func (f *faults) replaced(ctx context.Context, rng *rand.Rand) {
	place := rng.IntN(f.crew.plan.Places)
	f.during("process replaced by another version", place, ends, func() error {
		f.crew.kill(place)
		f.crew.mu.Lock()
		f.crew.plain[place] = !f.crew.plain[place]
		f.crew.mu.Unlock()
		return f.crew.start(place)
	})
}

// What is done to a Cluster.

// masterKilled has a replica take the place of its master.
func (f *faults) masterKilled(ctx context.Context, rng *rand.Rand) {
	f.during("cluster master killed, replica promoted", -1, losesHolds|promotes, func() error {
		masters, err := f.cluster.Masters()
		if err != nil {
			return err
		}
		m := masters[rng.IntN(len(masters))]
		m.Kill()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := f.cluster.WaitOK(ctx); err != nil {
			return err
		}
		if err := m.Restart(); err != nil {
			return err
		}
		return f.cluster.WaitOK(ctx)
	})
}

func (f *faults) slotsMoved(ctx context.Context, rng *rand.Rand) {
	f.during("cluster slots moved", -1, 0, func() error {
		masters, err := f.cluster.Masters()
		if err != nil {
			return err
		}
		i := rng.IntN(len(masters))
		return f.cluster.Reshard(context.WithoutCancel(ctx), masters[i], masters[(i+1)%len(masters)], 300)
	})
}

func (f *faults) nodeStopped(ctx context.Context, rng *rand.Rand) {
	f.during("cluster master stopped for 1 s", -1, 0, func() error {
		masters, err := f.cluster.Masters()
		if err != nil {
			return err
		}
		m := masters[rng.IntN(len(masters))]
		m.Suspend()
		sleep(ctx, time.Second)
		m.Resume()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return f.cluster.WaitOK(ctx)
	})
}
