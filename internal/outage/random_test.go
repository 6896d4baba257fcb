package outage_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

var (
	seedFlag = flag.Uint64("outage.seed", 0, "run one round of TestRandom with this seed")
	timeFlag = flag.Duration("outage.time", 1700*time.Millisecond, "how long TestRandom runs in each mode")
)

// TestRandom: four processes read and write while any call of any backend may fail, hang,
// lose its reply or be made late. Whatever a read returns is not older than it may be, and
// when all is over every process reads from the cache what is in the store.
func TestRandom(t *testing.T) {
	for _, mode := range []graphcache.WhenCacheDown{graphcache.Wait, graphcache.Ack, graphcache.Fail} {
		t.Run(mode.String(), func(t *testing.T) {
			if *seedFlag != 0 {
				bubble(t, func(t *testing.T) { newRound(t, mode, *seedFlag).run() })
				return
			}
			rounds, total := 0, map[string]int{}
			for start := time.Now(); time.Since(start) < *timeFlag && !t.Failed(); rounds++ {
				bubble(t, func(t *testing.T) {
					r := newRound(t, mode, rand.Uint64())
					r.run()
					for what, n := range r.stats {
						total[what] += n
					}
				})
			}
			t.Logf("%d rounds: %v", rounds, total)
		})
	}
}

// round is one run of the random test.
type round struct {
	*world
	mode graphcache.WhenCacheDown
	seed uint64
	end  time.Time // of the faults

	options func(*graphcache.Options)

	mu    sync.Mutex
	rand  *rand.Rand
	marks map[string][]mark // by register, rising
	log   []string
	begun time.Time
	stats map[string]int
}

// latest is how late a call of the store may be made.
const latest = 110 * time.Second

// mortal is the process that dies in a round. What it has not told the store by then is
// only known from its marks, so none of its writes may come later than they stand.
const mortal = 3

// mark says that a register was known to have the value at the time.
type mark struct {
	value   int
	at      time.Time
	process int // that acknowledged it; -1 if it was read
}

func newRound(t *testing.T, mode graphcache.WhenCacheDown, seed uint64) *round {
	r := &round{mode: mode, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), marks: map[string][]mark{}, stats: map[string]int{}}
	r.options = func(o *graphcache.Options) { o.WhenCacheDown, o.Strict = mode, true }
	r.world = newWorld(t, 4, r.options)
	return r
}

func (r *round) intn(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rand.IntN(n)
}

// note adds to the log that is shown when the round fails.
func (r *round) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf("%9.3f ", time.Since(r.begun).Seconds())+fmt.Sprintf(format, args...))
}

func (r *round) run() {
	t := r.t
	r.seedAccounts()
	r.begun = time.Now()
	r.end = r.begun.Add(time.Minute)
	var wg sync.WaitGroup
	processes := r.processes
	begin := func(i int, p *process) {
		wg.Go(func() { r.weather(i, p) })
		for range 2 {
			wg.Go(func() { r.work(i, p) })
		}
	}
	for i, p := range processes {
		begin(i, p)
	}
	dies := time.Duration(10+r.intn(40)) * time.Second
	wg.Go(func() {
		time.Sleep(dies)
		r.note("process %d dies", mortal)
		processes[mortal].dead.Store(true)
		time.Sleep(time.Duration(r.intn(3000)) * time.Millisecond)
		p := r.open(r.options)
		r.note("process %d begins", len(processes))
		begin(len(processes), p)
	})
	wg.Wait()
	r.processes = slices.Delete(slices.Clone(r.processes), mortal, mortal+1)
	r.well()
	time.Sleep(latest + ambiguous + 20*time.Second)
	for _, p := range r.processes {
		p.store.WaitLate()
		p.cache.WaitLate()
	}
	synctest.Wait()
	r.quiet()
	r.same()
	r.count()
	if t.Failed() {
		t.Logf("seed %d, mode %v, %v", r.seed, r.mode, r.stats)
		for _, l := range r.log {
			t.Log(l)
		}
	}
}

// weather changes how a process's backends are.
func (r *round) weather(i int, p *process) {
	for time.Now().Before(r.end) {
		s, c := r.state(), r.state()
		r.note("process %d: the store is %s, the cache is %s", i, s, c)
		late := latest
		if i == mortal {
			late = 8 * time.Second
		}
		p.onStore(r.faults(i, s, late))
		p.onCache(r.faults(i, c, 10*time.Second))
		time.Sleep(time.Duration(500+r.intn(6000)) * time.Millisecond)
		p.well()
		time.Sleep(time.Duration(r.intn(3000)) * time.Millisecond)
	}
	p.well()
}

func (r *round) state() string {
	return []string{"well", "well", "flaky", "flaky", "down", "hanging"}[r.intn(6)]
}

// faults returns the faults of a backend in that state.
func (r *round) faults(process int, state string, most time.Duration) backendtest.Hook {
	return func(ctx context.Context, c backendtest.Call) backendtest.Fault {
		if time.Now().After(r.end) {
			return backendtest.Fault{}
		}
		f := backendtest.Fault{}
		switch state {
		case "down":
			f.Action = backendtest.Fail
		case "hanging":
			f.Action = backendtest.Hang
		case "flaky":
			switch r.intn(24) {
			case 0, 1:
				f.Action = backendtest.Fail
			case 2:
				f.Action = backendtest.Hang
			case 3, 4:
				f.Action = backendtest.DropReply
			case 5, 6:
				if strings.HasPrefix(c.Method, "Tx.") && c.Method != "Tx.Commit" {
					break // its transaction may be over by then
				}
				late, until := time.Duration(r.intn(int(most/time.Millisecond)))*time.Millisecond, make(chan struct{})
				if r.intn(2) == 0 {
					late = min(late, time.Duration(r.intn(3000))*time.Millisecond)
				}
				time.AfterFunc(late, func() { close(until) })
				f.Action, f.Until = backendtest.Late, until
				r.note("process %d: %s comes %v late", process, c.Method, late)
			case 7, 8, 9:
				f.Delay = time.Duration(r.intn(700)) * time.Millisecond
			}
		}
		if f.Action != backendtest.Pass && slices.Contains([]string{"Write", "Tx.Commit", "Owe", "Settle", "Hold", "Release"}, c.Method) {
			r.note("process %d: %s action %d", process, c.Method, f.Action)
		}
		return f
	}
}

// work reads and writes at random.
func (r *round) work(i int, p *process) {
	ctx := r.t.Context()
	for time.Now().Before(r.end) {
		id := allIDs[r.intn(3)]
		switch k := r.intn(30); {
		case k < 4:
			r.write(i, "update", func() (string, int, error) {
				a, err := accounts.Update(ctx, p, id, func(a *account) error {
					a.N++
					a.City = fmt.Sprint("city ", a.N%5)
					return nil
				})
				return "n of " + string(id), value(a), err
			})
		case k < 6:
			r.write(i, "apply", func() (string, int, error) {
				a, err := accounts.Apply(ctx, p, id, accountN.Add(1))
				return "n of " + string(id), value(a), err
			})
		case k < 7:
			r.write(i, "tx", func() (string, int, error) {
				var a *account
				err := p.Tx(ctx, func(tx *graphcache.Tx) (err error) {
					a, err = accounts.Update(ctx, tx, id, func(a *account) error { a.N++; return nil })
					return err
				})
				return "n of " + string(id), value(a), err
			})
		case k < 8:
			to := accountID(fmt.Sprint("f", 8+r.intn(12)))
			r.write(i, "follow", func() (string, int, error) {
				return "", 0, follows.Add(ctx, p, id, to, graphcache.NoData{})
			})
		case k < 9:
			to := accountID(fmt.Sprint("f", r.intn(5)))
			r.write(i, "like", func() (string, int, error) {
				switch r.intn(3) {
				case 0:
					return "", 0, likes.Add(ctx, p, id, to, graphcache.NoData{})
				case 1:
					return "", 0, likes.Remove(ctx, p, id, to)
				}
				return "", 0, likes.ChangeKind(ctx, p, id, to, loves)
			})
		case k < 9+r.intn(2):
			other := accountID(fmt.Sprint("f", 5+r.intn(3)))
			r.write(i, "others", func() (string, int, error) {
				switch r.intn(4) {
				case 0:
					return "", 0, accounts.Delete(ctx, p, other)
				case 1:
					return "", 0, accounts.Create(ctx, p, &account{ID: other, City: fmt.Sprint("city ", r.intn(5))})
				case 2:
					_, err := accounts.Where(accountCity.Eq(fmt.Sprint("city ", r.intn(5))), accountN.Eq(0)).ApplyAll(ctx, p, accountCity.Set(fmt.Sprint("city ", r.intn(5))))
					return "", 0, err
				}
				return "", 0, accounts.Put(ctx, p, &account{ID: other, City: fmt.Sprint("city ", r.intn(5))})
			})
		case k < 10:
			r.write(i, "create", func() (string, int, error) {
				return "", 0, items.Create(ctx, p, &item{Shelf: "s", Price: r.intn(3)})
			})
		case k < 18:
			r.read(i, "n of "+string(id), func() (int, error) {
				a, err := accounts.Get(ctx, p, id)
				return value(a), err
			})
		case k < 21:
			r.read(i, "follows of "+string(id), func() (int, error) {
				edges, err := follows.Out(id).Edges(ctx, p)
				return len(edges), err
			})
		case k < 23:
			r.read(i, "items on the shelf", func() (int, error) {
				found, err := items.Where(itemShelf.Eq("s")).IDs(ctx, p)
				return len(found), err
			})
		case k < 24:
			r.read(i, "items", func() (int, error) { return items.Where(itemPrice.Ge(0)).Count(ctx, p) })
		case k < 26:
			_, _ = accounts.Where(accountCity.Eq(fmt.Sprint("city ", r.intn(5)))).IDs(ctx, p)
		case k < 28:
			_, _ = likes.Out(id).Edges(ctx, p)
		default:
			_, _ = loves.In(accountID(fmt.Sprint("f", r.intn(5)))).Edges(ctx, p)
		}
		time.Sleep(time.Duration(r.intn(400)) * time.Millisecond)
	}
}

func value(a *account) int {
	if a == nil {
		return 0
	}
	return a.N
}

// write notes what was acknowledged.
func (r *round) write(process int, what string, f func() (string, int, error)) {
	begun := time.Now()
	register, value, err := f()
	r.mu.Lock()
	switch {
	case err == nil:
		r.stats[what+" ok"]++
	case errors.Is(err, graphcache.ErrUnknownOutcome):
		r.stats[what+" unknown"]++
	default:
		r.stats[what+" failed"]++
	}
	r.mu.Unlock()
	r.note("process %d: %s %s = %d, began %.3f: %v", process, what, register, value, begun.Sub(r.begun).Seconds(), short(err))
	if err == nil && register != "" {
		r.know(register, mark{value, time.Now(), process})
	}
}

func short(err error) string {
	if err == nil {
		return "ok"
	}
	s := err.Error()
	return s[:min(len(s), 150)]
}

// read checks that what is read is not too old.
func (r *round) read(process int, register string, f func() (int, error)) {
	begun := time.Now()
	floor := r.floor(process, register, begun)
	got, err := f()
	r.mu.Lock()
	r.stats[fmt.Sprint("read ", err == nil)]++
	r.mu.Unlock()
	if err != nil {
		return
	}
	r.note("process %d: read %s = %d, began %.3f", process, register, got, begun.Sub(r.begun).Seconds())
	if got < floor.value {
		r.t.Errorf("process %d reads at %.3f that %s is %d; at %.3f it was %d (process %d)", process, begun.Sub(r.begun).Seconds(),
			register, got, floor.at.Sub(r.begun).Seconds(), floor.value, floor.process)
	}
	r.know(register, mark{got, time.Now(), -1})
}

func (r *round) know(register string, m mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks[register] = append(r.marks[register], m)
}

// floor returns the highest value that the process must not fall behind.
func (r *round) floor(process int, register string, now time.Time) mark {
	lag := 2*period + 10*time.Millisecond
	if r.mode != graphcache.Ack {
		lag = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var floor mark
	for _, m := range r.marks[register] {
		known := m.at.Before(now.Add(-lag)) || m.process == process && m.at.Before(now)
		if known && m.value > floor.value {
			floor = m
		}
	}
	return floor
}

// count adds what the processes have counted.
func (r *round) count() {
	for _, p := range r.processes {
		s := p.Stats()
		r.stats["owed"] += int(s.Owed)
		r.stats["drained"] += int(s.Drained)
		for _, k := range s.Kinds {
			r.stats["hits"] += int(k.Hits)
			r.stats["bypasses"] += int(k.Bypasses)
			r.stats["lost holds"] += int(k.LostHolds)
		}
	}
}
