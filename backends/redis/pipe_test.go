package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// pipeFilled returns a backend on a server behind a proxy, with n anchors named by number
// whose primary value is their own name.
func pipeFilled(t *testing.T, n int, opts redis.Options) (*redis.Backend, *redistest.Proxy, *redistest.Server) {
	t.Helper()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Prefix = t.Name() + ":"
	b := open(t, []string{p.Addr}, opts)
	// Not in the haste that the test may be in.
	pipeFill(t, open(t, []string{s.Addr}, redis.Options{Prefix: opts.Prefix, BatchTimeout: countersPatience}).Cache(), n)
	return b, p, s
}

func pipeFill(t *testing.T, c driver.Cache, n int) {
	t.Helper()
	claims, fills := make([]driver.Claim, n), make([]driver.Fill, n)
	for i := range n {
		name := fmt.Sprint(i)
		claims[i] = driver.Claim{Anchor: name, Version: 1, Lease: time.Minute, TTL: time.Hour}
		fills[i] = driver.Fill{Anchor: name, Version: 1, Value: []byte(name), TTL: time.Hour}
	}
	if _, err := c.Claim(patient(t), claims); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fill(patient(t), fills); err != nil {
		t.Fatal(err)
	}
}

// pipeLook looks up the anchor, and says if it is not what pipeFilled has put there.
func pipeLook(ctx context.Context, c driver.Cache, i int) error {
	e, err := c.Lookup(ctx, []driver.Lookup{{Anchor: fmt.Sprint(i)}})
	if err == nil && string(e[0].Value) != fmt.Sprint(i) {
		err = fmt.Errorf("anchor %d has the value %q of another", i, e[0].Value)
	}
	return err
}

func TestPipeShared(t *testing.T) {
	b, p, _ := pipeFilled(t, 100, redis.Options{BatchTimeout: countersPatience})
	p.Delay(time.Millisecond) // as between machines
	ctx, before := patient(t), b.Stats()
	const callers, each = 64, 50
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			for i := range each {
				if err := pipeLook(ctx, b.Cache(), (g*7+i)%100); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	now := b.Stats()
	calls, batches := now.Calls-before.Calls, now.Batches-before.Batches
	if calls != callers*each {
		t.Errorf("%d calls were sent, want %d", calls, callers*each)
	}
	if batches > calls/8 {
		t.Errorf("%d pipelines for %d calls of %d callers", batches, calls, callers)
	}
	// A caller who is alone has a pipeline for each call.
	before = b.Stats()
	for i := range 10 {
		if err := pipeLook(ctx, b.Cache(), i); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Stats().Batches - before.Batches; n != 10 {
		t.Errorf("%d pipelines for 10 calls one after the other", n)
	}
}

// TestPipeBatch: what one caller asks for is one pipeline, however much it is.
func TestPipeBatch(t *testing.T) {
	b, _, _ := pipeFilled(t, 2000, redis.Options{BatchTimeout: countersPatience})
	lookups := make([]driver.Lookup, 2000)
	for i := range lookups {
		lookups[i].Anchor = fmt.Sprint(i)
	}
	before := b.Stats()
	got, err := b.Cache().Lookup(patient(t), lookups)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got {
		if string(e.Value) != fmt.Sprint(i) {
			t.Fatalf("value %d is %q", i, e.Value)
		}
	}
	if n := b.Stats().Batches - before.Batches; n != 1 {
		t.Errorf("%d pipelines", n)
	}
}

// TestPipeDeadline: while a server hangs, a caller waits as long as its context lets it.
func TestPipeDeadline(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang func(*redistest.Proxy, *redistest.Server)
	}{
		{"server", func(_ *redistest.Proxy, s *redistest.Server) { s.Suspend() }},
		{"network", func(p *redistest.Proxy, _ *redistest.Server) { p.Hang(true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, p, s := pipeFilled(t, 10, redis.Options{BatchTimeout: time.Minute})
			tt.hang(p, s)
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					defer cancel()
					start := time.Now()
					err := pipeLook(ctx, b.Cache(), i%10)
					if d := time.Since(start); d > time.Second {
						t.Errorf("the call took %v", d)
					}
					if !errors.Is(err, driver.ErrUnavailable) {
						t.Errorf("error %v, want ErrUnavailable", err)
					}
				})
			}
			wg.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			if err := write(ctx, b.Cache(), "1"); !errors.Is(err, driver.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("canceled: error %v", err)
			}
			if b.Stats().AbandonedCalls == 0 {
				t.Errorf("%+v", b.Stats())
			}
		})
	}
}

// TestPipeDeadlineCluster: also when it is not even known which nodes there are.
func TestPipeDeadlineCluster(t *testing.T) {
	s := redistest.Start(t)
	s.Suspend()
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{
		Addrs: []string{s.Addr}, IsClusterMode: true, ReadTimeout: 5 * time.Second,
	}, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := pipeLook(ctx, b.Cache(), 1); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the call took %v", d)
	}
}

// TestPipeClusterPart: a node that hangs spoils only what it has.
func TestPipeClusterPart(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 0)
	b := open(t, cluster.Addrs(), redis.Options{BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)})
	pipeFill(t, b.Cache(), 300)
	lookups := make([]driver.Lookup, 300)
	for i := range lookups {
		lookups[i].Anchor = fmt.Sprint(i)
	}
	if _, err := b.Cache().Lookup(patient(t), lookups); err != nil {
		t.Fatal(err)
	}
	cluster.Servers[1].Suspend()
	defer cluster.Servers[1].Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	got, err := b.Cache().Lookup(ctx, lookups)
	if !errors.Is(err, driver.ErrUnavailable) || len(got) != len(lookups) {
		t.Fatalf("%d entries, error %v, want all and ErrUnavailable", len(got), err)
	}
	for i, e := range got {
		lost := slot(b.EntryKey(lookups[i].Anchor))/5461 == 1
		if lost != (e.State == driver.StateUnknown) || !lost && string(e.Value) != lookups[i].Anchor {
			t.Errorf("anchor %d, which is lost: %t: %+v", i, lost, e)
		}
	}
}

// TestPipeAbandoned: callers that leave, before or after their calls are sent, take
// nothing from the others.
func TestPipeAbandoned(t *testing.T) {
	b, p, _ := pipeFilled(t, 100, redis.Options{BatchTimeout: countersPatience})
	p.Delay(500 * time.Microsecond)
	ctx := patient(t)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				if err := pipeLook(ctx, b.Cache(), (g+i)%100); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for i := range 100 {
				hasty, cancel := context.WithTimeout(ctx, time.Duration(i%20)*100*time.Microsecond)
				err := pipeLook(hasty, b.Cache(), (g*3+i)%100)
				cancel()
				if err != nil && !errors.Is(err, driver.ErrUnavailable) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := b.Stats(); s.AbandonedCalls == 0 || s.FailedBatches != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPipeLarge: large values on their way do not keep small ones.
func TestPipeLarge(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	b := openURL(t, "redis://"+p.Addr+"?read_timeout=20s", &redis.Options{BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	pipeFill(t, c, 2)
	big := bytes.Repeat([]byte("b"), 1<<20)
	claim := driver.Claim{Anchor: "big", Version: 1, Lease: time.Minute, TTL: time.Hour}
	if _, err := c.Claim(ctx, []driver.Claim{claim}); err != nil {
		t.Fatal(err)
	}
	p.Delay(time.Second) // replies of what is sent from here on
	done := make(chan error, 1)
	go func() {
		got, err := c.Fill(ctx, []driver.Fill{{Anchor: "big", Version: 1, Value: big, TTL: time.Hour}})
		if err == nil && got[0] != driver.Done {
			err = fmt.Errorf("outcome %v", got)
		}
		done <- err
	}()
	direct := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer direct.Close()
	for direct.StrLen(ctx, b.EntryKey("big")).Val() < int64(len(big)) {
		time.Sleep(time.Millisecond)
	}
	p.Delay(0)
	start := time.Now()
	if err := write(ctx, c, "1"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	select {
	case err := <-done:
		if took > 100*time.Millisecond || err != nil { // else the machine had other things to do
			t.Errorf("a write has waited %v for a large fill, which ended with error %v", took, err)
		}
	default:
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	e, err := c.Lookup(ctx, []driver.Lookup{{Anchor: "big"}})
	if err != nil || !bytes.Equal(e[0].Value, big) {
		t.Errorf("%d bytes, error %v", len(e[0].Value), err)
	}
}

// TestPipeLargeMany: more large values at once than there are connections are no outage.
func TestPipeLargeMany(t *testing.T) {
	b, p, _ := pipeFilled(t, 1, redis.Options{BatchTimeout: countersPatience})
	p.Delay(30 * time.Millisecond)
	ctx, c := patient(t), b.Cache()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			anchor, value := fmt.Sprint("big ", i), bytes.Repeat([]byte{byte(i)}, 100<<10)
			if _, err := c.Claim(ctx, []driver.Claim{{Anchor: anchor, Version: 1, Lease: time.Minute, TTL: time.Hour}}); err != nil {
				t.Error("claim:", err)
				return
			}
			got, err := c.Fill(ctx, []driver.Fill{{Anchor: anchor, Version: 1, Value: value, TTL: time.Hour}})
			if err != nil || got[0] != driver.Done {
				t.Error("fill:", got, err)
			}
		})
	}
	wg.Wait()
	if s := b.Stats(); s.Outages != 0 || s.FailedBatches != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPipeScriptFlush: a server may forget its scripts at any time.
func TestPipeScriptFlush(t *testing.T) {
	for name, protocol := range map[string]int{"RESP2": 2, "RESP3": 3} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{Addrs: []string{s.Addr}, Protocol: protocol},
				&redis.Options{BatchTimeout: countersPatience})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close(t.Context())
			ctx := patient(t)
			var over atomic.Bool
			var users, flusher sync.WaitGroup
			flushes := 0
			flusher.Go(func() {
				for !over.Load() {
					if err := b.Client().ScriptFlush(ctx).Err(); err != nil {
						t.Error(err)
						return
					}
					flushes++
					time.Sleep(time.Millisecond)
				}
			})
			for g := range 32 {
				users.Go(func() {
					for i := range 10 {
						anchor := fmt.Sprint(g, "/", i)
						if err := errors.Join(keep(ctx, b.Cache(), anchor, anchor), write(ctx, b.Cache(), anchor)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			users.Wait()
			over.Store(true)
			flusher.Wait()
			if n := b.Stats().ScriptLoads; n == 0 {
				t.Errorf("no script was loaded again after %d flushes", flushes)
			}

			// Only what was unknown is sent again.
			holds := make([]driver.Hold, 10)
			for i := range holds {
				holds[i] = driver.Hold{Anchor: fmt.Sprint("hold ", i), Token: "t", TTL: time.Minute}
			}
			for _, want := range []int64{10, 0} {
				if want > 0 {
					b.Client().ScriptFlush(ctx)
				}
				before := b.Stats()
				if got, err := b.Cache().Hold(ctx, holds); err != nil || got[9] != driver.Done {
					t.Fatalf("%v, error %v", got, err)
				}
				if n := b.Stats().ScriptLoads - before.ScriptLoads; n != want {
					t.Errorf("%d were sent again, want %d", n, want)
				}
			}
		})
	}
}

// TestPipeBreaker: after some failures nobody waits for a server that does not answer;
// when it answers again, that is noticed.
func TestPipeBreaker(t *testing.T) {
	log := new(diary)
	b, p, _ := pipeFilled(t, 10, redis.Options{Logger: log.logger(), BatchTimeout: 200 * time.Millisecond})
	p.Hang(true)
	failed := b.Stats().FailedBatches
	for b.Stats().Outages == 0 {
		if err := pipeLook(t.Context(), b.Cache(), 1); !errors.Is(err, driver.ErrUnavailable) {
			t.Fatalf("error %v, want ErrUnavailable", err)
		}
	}
	if n := b.Stats().FailedBatches - failed; n != 5 {
		t.Errorf("it opened after %d failures, want 5", n)
	}
	// From here on there is one probe each half second or so.
	before, start := b.Stats(), time.Now()
	const calls = 1000
	for range calls {
		if err := pipeLook(t.Context(), b.Cache(), 1); !errors.Is(err, driver.ErrUnavailable) {
			t.Fatalf("error %v, want ErrUnavailable", err)
		}
	}
	took, after := time.Since(start), b.Stats()
	probes := after.FailedBatches - before.FailedBatches
	if most := int64(took/(375*time.Millisecond)) + 1; probes > most || after.RejectedCalls-before.RejectedCalls != calls-probes {
		t.Errorf("%d probes in %v: %+v", probes, took, after)
	}
	if took > 10*time.Second { // they would take 200
		t.Errorf("%d calls took %v", calls, took)
	}
	p.Cut()
	p.Hang(false)
	for pipeLook(patient(t), b.Cache(), 1) != nil {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("it does not recover: %+v", b.Stats())
		}
		time.Sleep(10 * time.Millisecond)
	}
	// One that has succeeded closes it.
	for i := range 10 {
		if err := pipeLook(patient(t), b.Cache(), i); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	if log.count("does not answer: it is not asked") != 1 || log.count("answers again") != 1 || b.Stats().Outages != 1 {
		t.Errorf("%+v, and the log: %s", b.Stats(), log)
	}
}

// TestPipeProbe: after the pause one pipeline is let through, and nobody else waits for
// it.
func TestPipeProbe(t *testing.T) {
	b, p, _ := pipeFilled(t, 10, redis.Options{BatchTimeout: 100 * time.Millisecond})
	p.Hang(true)
	for b.Stats().Outages == 0 {
		_ = pipeLook(t.Context(), b.Cache(), 1)
	}
	time.Sleep(700 * time.Millisecond) // the pause is over
	before := b.Stats()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() { _ = pipeLook(t.Context(), b.Cache(), i%10) })
		wg.Go(func() { _ = write(t.Context(), b.Cache(), "1") }) // the other lane
	}
	wg.Wait()
	if n := b.Stats().Batches - before.Batches; n > 2 { // a busy machine may reach the next pause
		t.Errorf("%d pipelines were sent", n)
	}
}

// TestPipeRefused: where nobody listens, calls fail at once.
func TestPipeRefused(t *testing.T) {
	b, p, _ := pipeFilled(t, 10, redis.Options{})
	p.Refuse(true)
	start := time.Now()
	for range 100 {
		if err := pipeLook(patient(t), b.Cache(), 1); !errors.Is(err, driver.ErrUnavailable) {
			t.Fatalf("error %v, want ErrUnavailable", err)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("100 calls took %v", d)
	}
	p.Refuse(false)
	for pipeLook(patient(t), b.Cache(), 1) != nil {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("it does not recover: %+v", b.Stats())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
