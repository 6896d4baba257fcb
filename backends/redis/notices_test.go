package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// noticePeriod is how often the tests have it made sure of.
const noticePeriod = 10 * time.Millisecond

// witness is told of notices, and holds the Notifier to its word: at each Current it must
// have been told of what was held since the last Lost.
type witness struct {
	t *testing.T

	mu      sync.Mutex           // protects what follows
	told    map[string]int       // how often Held was said of an anchor
	missing map[string]time.Time // anchors of confirmed holds it was not told of, and when they were confirmed
	begun   map[string]time.Time // when those holds began
	losses  int
	lost    time.Time // when Lost was said last
	current time.Time // the latest
}

func (w *witness) Held(anchor string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[anchor]++
	delete(w.missing, anchor)
}

func (w *witness) Current(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.After(w.current) {
		w.current = at
	}
	for anchor := range w.missing {
		w.checkLocked(anchor)
	}
}

func (w *witness) Lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losses++
	w.lost = time.Now()
	clear(w.missing)
}

// confirmed takes note that a hold was confirmed.
func (w *witness) confirmed(anchor string, begun, confirmed time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told[anchor] > 0 || !begun.After(w.lost) {
		return
	}
	w.missing[anchor], w.begun[anchor] = confirmed, begun
	w.checkLocked(anchor)
}

// checkLocked reports a hold that the latest Current passes over.
func (w *witness) checkLocked(anchor string) {
	if confirmed := w.missing[anchor]; confirmed.Before(w.current) && w.begun[anchor].After(w.lost) {
		w.t.Errorf("a hold of %q was confirmed %v before the moment of a Current, and is not told", anchor, w.current.Sub(confirmed))
	}
}

func (w *witness) held(anchor string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told[anchor]
}

func (w *witness) lostTimes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.losses
}

func (w *witness) latest() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// isCurrent waits until the Notifier has made sure of what is now.
func (w *witness) isCurrent() {
	w.t.Helper()
	now := time.Now()
	until(w.t, "Current", func() bool { return !w.latest().Before(now) })
}

// hears waits until it was told that the anchor was held.
func (w *witness) hears(anchor string) {
	w.t.Helper()
	until(w.t, fmt.Sprintf("Held of %q", anchor), func() bool { return w.held(anchor) > 0 })
}

func newWitness(t *testing.T) *witness {
	return &witness{t: t, told: make(map[string]int), missing: make(map[string]time.Time), begun: make(map[string]time.Time)}
}

// notify lets a cache tell a new witness until the test ends, and returns when that is
// current.
func notify(t *testing.T, c driver.Cache) *witness {
	t.Helper()
	return notifyIn(t.Context(), t, c)
}

func notifyIn(ctx context.Context, t *testing.T, c driver.Cache) *witness {
	t.Helper()
	w := newWitness(t)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.(driver.Notifier).Notify(ctx, noticePeriod, w) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Notify ended with %v", err)
		}
	})
	w.isCurrent()
	return w
}

// hold holds an anchor for a moment, with a token of its own.
func (w *witness) hold(ctx context.Context, c driver.Cache, anchor string) error {
	begun := time.Now()
	got, err := c.Hold(ctx, []driver.Hold{{Anchor: anchor, Token: "token", TTL: time.Second}})
	confirmed := time.Now()
	if err != nil || got[0] != driver.Done {
		return fmt.Errorf("hold of %q: %v, error %w", anchor, got, err)
	}
	w.confirmed(anchor, begun, confirmed)
	return nil
}

// holding holds one anchor after the other from several goroutines while f runs, and
// returns how many were confirmed.
func (w *witness) holding(c driver.Cache, f func()) int {
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	counts := make([]int, 4)
	for g := range counts {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if w.hold(ctx, c, fmt.Sprint("holder ", g, "/", i)) == nil {
					counts[g]++
				} else {
					time.Sleep(time.Millisecond) // the breaker answers at once
				}
			}
		})
	}
	f()
	cancel()
	wg.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// twoProcesses returns the caches of two processes.
func twoProcesses(t *testing.T, addrs []string) (a, b *redis.Backend) {
	t.Helper()
	o := redis.Options{Prefix: logPrefix(), BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)}
	return open(t, addrs, o), open(t, addrs, o)
}

// oddNames are anchors that need care.
var oddNames = []string{"", "a", "{", "}", "%", "%7B", "{a}", "a}k", "}k", "h", "\x00\xff\r\n{\x80}%", strings.Repeat("{%}", 300), "0:a:{b}%25"}

func testNotices(t *testing.T, addrs []string) {
	ours, theirs := twoProcesses(t, addrs)
	ctx, w := patient(t), notify(t, ours.Cache())
	for _, c := range []driver.Cache{theirs.Cache(), ours.Cache()} {
		for _, name := range oddNames {
			if err := write(ctx, c, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range oddNames {
		w.hears(name)
	}
	w.isCurrent()
	if n := w.lostTimes(); n > len(addrs) {
		t.Errorf("Lost was said %d times", n)
	}
}

func TestNotices(t *testing.T) { testNotices(t, redistest.Addrs(t)) }

func TestNoticesRESP2(t *testing.T) {
	u := &goredis.UniversalOptions{Addrs: redistest.Addrs(t), Protocol: 2}
	b, err := redis.OpenUniversal(t.Context(), u, &redis.Options{Prefix: logPrefix(), BatchTimeout: countersPatience})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	w := notify(t, b.Cache())
	if err := write(patient(t), b.Cache(), "a"); err != nil {
		t.Fatal(err)
	}
	w.hears("a")
}

// TestNoticesWhen: a token that is added is told of, and one that is lost; no other.
func TestNoticesWhen(t *testing.T) {
	ours, theirs := twoProcesses(t, redistest.Addrs(t))
	ctx, c, w := patient(t), theirs.Cache(), notify(t, ours.Cache())
	hold := func(token string, ttl time.Duration) func() error {
		return func() error {
			_, err := c.Hold(ctx, []driver.Hold{{Anchor: "a", Token: token, TTL: ttl}})
			return err
		}
	}
	release := func(token string) func() error {
		return func() error {
			_, err := c.Release(ctx, []driver.Release{{Anchor: "a", Token: token, Stamp: "stamp", KeepStamp: time.Minute}})
			return err
		}
	}
	value := func() error { return keep(ctx, c, "a", "value") }
	remove := func() error { return ours.Client().Del(ctx, ours.EntryKey("a")).Err() }
	for i, tt := range []struct {
		name string
		do   func() error
		told int
	}{
		{"a hold", hold("first", time.Minute), 1},
		{"a second hold", hold("second", time.Minute), 1},
		{"a hold that is prolonged", hold("first", time.Minute), 0},
		{"the release of a lost hold beside others", release("third"), 0},
		{"the first release", release("first"), 0},
		{"the last release", release("second"), 0},
		{"a value", value, 0},
		{"the release of a lost hold of a value", release("first"), 1},
		{"nothing left", remove, 0},
		{"the release of a lost hold of nothing", release("first"), 1},
		{"a hold that is short", hold("first", time.Millisecond), 1},
		{"a hold that ends", func() error {
			until(t, "the end of a hold", func() bool {
				e, err := c.Lookup(ctx, []driver.Lookup{{Anchor: "a"}})
				return err == nil && e[0].State == driver.Empty
			})
			return nil
		}, 0},
		{"a hold by a token that is over", hold("first", time.Minute), 1},
		{"a hold of garbage", func() error { return errors.Join(remove(), garbled(ctx, ours, "a"), hold("first", time.Minute)()) }, 1},
	} {
		before := w.held("a")
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		last := fmt.Sprint("after ", i)
		if err := w.hold(ctx, c, last); err != nil {
			t.Fatal(err)
		}
		w.hears(last)
		if n := w.held("a") - before; n != tt.told {
			t.Errorf("%s is told %d times, want %d", tt.name, n, tt.told)
		}
	}
}

// TestNoticesCost: a hold is one script, which publishes once, and a release does not.
func TestNoticesCost(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, []string{s.Addr}, redis.Options{Prefix: logPrefix(), BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	if err := write(ctx, c, "a"); err != nil { // now the scripts are known
		t.Fatal(err)
	}
	do(t, s.Addr, "config", "resetstat")
	before := b.Stats().Batches
	for range 10 {
		if err := write(ctx, c, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Stats().Batches - before; n != 20 {
		t.Errorf("%d pipelines for 10 holds and 10 releases", n)
	}
	stats := do(t, s.Addr, "info", "commandstats")
	for _, want := range []string{"cmdstat_evalsha:calls=20,", "cmdstat_publish:calls=10,"} {
		if !strings.Contains(stats, want) {
			t.Errorf("no %s in %s", want, stats)
		}
	}
	if strings.Contains(stats, "cmdstat_eval:") {
		t.Errorf("a script was sent as a whole: %s", stats)
	}
}

func garbled(ctx context.Context, b *redis.Backend, anchor string) error {
	return b.Client().Set(ctx, b.EntryKey(anchor), "V garbage", time.Hour).Err()
}

// TestNoticesOrder: what was confirmed before a Current was told before it.
func TestNoticesOrder(t *testing.T) {
	ours, theirs := twoProcesses(t, redistest.Addrs(t))
	w := notify(t, ours.Cache())
	n := w.holding(theirs.Cache(), func() {
		for range 20 {
			w.isCurrent()
		}
	})
	if w.lostTimes() != 1 || n < 20 {
		t.Errorf("%d holds, %d times Lost", n, w.lostTimes())
	}
}

// breaks has something happen that breaks subscriptions, and waits for Lost and for a
// Current after it.
func (w *witness) breaks(what string, f func()) {
	w.t.Helper()
	before := w.lostTimes()
	f()
	until(w.t, "Lost after "+what, func() bool { return w.lostTimes() > before })
	w.isCurrent()
}

func TestNoticesBroken(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	o := redis.Options{Prefix: logPrefix(), Logger: slog.New(slog.DiscardHandler)}
	ours, theirs := open(t, []string{p.Addr}, o), open(t, []string{s.Addr}, o)
	w := notify(t, ours.Cache())
	w.holding(theirs.Cache(), func() {
		w.breaks("a killed subscription", func() { do(t, s.Addr, "client", "kill", "type", "pubsub") })
		w.breaks("a cut", p.Cut)
		w.breaks("refused connections", func() {
			before := w.lostTimes()
			p.Refuse(true)
			until(t, "Lost while connections are refused", func() bool { return w.lostTimes() > before })
			p.Refuse(false)
		})
		w.breaks("garbage on the channel", func() { do(t, s.Addr, "publish", ours.NoticesChannel(), "garbage") })
		w.breaks("another's key", func() { do(t, s.Addr, "publish", ours.NoticesChannel(), "hanother:{a}k") })
		w.breaks("a restart", func() {
			s.Kill()
			restart(t, s)
		})
	})
}

// TestNoticesSuspended: nothing is current while the server hangs.
func TestNoticesSuspended(t *testing.T) {
	s := redistest.Start(t)
	o := redis.Options{Prefix: logPrefix(), Logger: slog.New(slog.DiscardHandler)}
	ours, theirs := open(t, []string{s.Addr}, o), open(t, []string{s.Addr}, o)
	w := notify(t, ours.Cache())
	w.holding(theirs.Cache(), func() {
		s.Suspend()
		until(t, "no answer", func() bool { return ours.Stats().FailedBatches > 0 })
		stopped, failed := time.Now(), ours.Stats().FailedBatches
		until(t, "some rounds", func() bool { return ours.Stats().FailedBatches > failed+3 })
		if at := w.latest(); at.After(stopped) {
			t.Errorf("Current %v after the server was stopped", at.Sub(stopped))
		}
		s.Resume()
		w.isCurrent()
	})
}

// once is told of notices until something is current.
type once struct{ cancel context.CancelFunc }

func (once) Held(string)         {}
func (once) Lost()               {}
func (o once) Current(time.Time) { o.cancel() }

// current returns when a Notifier says that something is current, nil then.
func current(ctx context.Context, c driver.Cache) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := c.(driver.Notifier).Notify(ctx, noticePeriod, once{cancel})
	if err == context.Canceled {
		return nil
	}
	return err
}

// TestNoticesEnd: what cannot succeed is an error, and leaves no subscription behind.
func TestNoticesEnd(t *testing.T) {
	s := redistest.Start(t)
	connect := func(t *testing.T) (*redis.Backend, *goredis.Client) {
		client := goredis.NewClient(&goredis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
		t.Cleanup(func() { client.Close() })
		b, err := redis.New(t.Context(), client, &redis.Options{Prefix: logPrefix(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close(context.Background()) })
		return b, client
	}
	set := func(rules ...any) {
		do(t, s.Addr, append([]any{"acl", "setuser", "default"}, rules...)...)
		do(t, s.Addr, "client", "kill", "type", "pubsub")
	}
	acl := func(rules ...any) func(*redis.Backend, *goredis.Client) error {
		return func(*redis.Backend, *goredis.Client) error {
			set(rules...)
			return nil
		}
	}
	defer set("allcommands", "allchannels")
	for _, tt := range []struct {
		name string
		end  func(*redis.Backend, *goredis.Client) error
	}{
		{"backend closed", func(b *redis.Backend, _ *goredis.Client) error { return b.Close(t.Context()) }},
		{"client closed", func(_ *redis.Backend, c *goredis.Client) error { return c.Close() }},
		{"no channels", acl("resetchannels")},
		{"no subscribe", acl("allchannels", "-subscribe")},
		{"no publish", acl("+subscribe", "-publish")},
		{"no count of subscribers", acl("+publish", "-pubsub")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set("allcommands", "allchannels")
			b, client := connect(t)
			ctx, w := patient(t), newWitness(t)
			done := make(chan error, 1)
			go func() { done <- b.Cache().Notify(ctx, noticePeriod, w) }()
			w.isCurrent()
			if err := tt.end(b, client); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, driver.ErrUnavailable) || ctx.Err() != nil {
				t.Errorf("error %v, want one that wraps ErrUnavailable", err)
			}
			set("allcommands", "allchannels")
			until(t, "the end of subscriptions", func() bool { return do(t, s.Addr, "pubsub", "channels") == "[]" })
		})
	}
	b, _ := connect(t)
	if err := b.Cache().Notify(t.Context(), 0, newWitness(t)); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("every 0: error %v, want ErrInvalid", err)
	}
}

// TestNoticesForbidden: who must not publish cannot hold, and what is there stays.
func TestNoticesForbidden(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, []string{s.Addr}, redis.Options{Prefix: logPrefix(), BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	if err := keep(ctx, c, "a", "value"); err != nil {
		t.Fatal(err)
	}
	do(t, s.Addr, "acl", "setuser", "default", "resetchannels")
	got, err := c.Hold(ctx, []driver.Hold{{Anchor: "a", Token: "token", TTL: time.Minute}})
	if !errors.Is(err, driver.ErrUnavailable) || got[0] != driver.Unknown {
		t.Errorf("hold: %v, error %v, want Unknown and ErrUnavailable", got, err)
	}
	if got, err := find(ctx, c, "a"); err != nil || got != [2]string{"value", "value"} {
		t.Errorf("the value is %q, error %v", got, err)
	}
}

// slow is a witness who takes his time.
type slow struct {
	*witness
	stops, goesOn chan struct{}
	stopped       atomic.Bool
}

func (w *slow) Held(anchor string) {
	select {
	case <-w.stops:
		w.stopped.Store(true)
		<-w.goesOn
	default:
	}
	w.witness.Held(anchor)
}

// TestNoticesSlow: a server has no room for all that a slow receiver has not heard yet. He
// is told that some is lost.
func TestNoticesSlow(t *testing.T) {
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub 256kb 0 0")
	o := redis.Options{Prefix: logPrefix(), BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)}
	ours, theirs := open(t, []string{s.Addr}, o), open(t, []string{s.Addr}, o)
	w := &slow{witness: newWitness(t), stops: make(chan struct{}), goesOn: make(chan struct{})}
	ctx, cancel := context.WithCancel(patient(t))
	done := make(chan error, 1)
	go func() { done <- ours.Cache().Notify(ctx, noticePeriod, w) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Notify ended with %v", err)
		}
	}()
	w.isCurrent()
	close(w.stops)
	if err := w.hold(ctx, theirs.Cache(), "first"); err != nil {
		t.Fatal(err)
	}
	until(t, "a receiver who is busy", w.stopped.Load)
	before := w.lostTimes()
	for i := 0; strings.Contains(do(t, s.Addr, "client", "list", "type", "pubsub"), "id="); i++ {
		if err := w.hold(ctx, theirs.Cache(), strings.Repeat("long ", 4_000)+fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.lostTimes(); n != before {
		t.Errorf("Lost was said %d times while the receiver was busy", n-before)
	}
	close(w.goesOn)
	until(t, "Lost", func() bool { return w.lostTimes() > before })
	w.isCurrent()
}

// switchboard dials for a client, and can tell the connection of a subscription by its
// context.
type switchboard struct {
	mu        sync.Mutex // protects what follows
	addr, sub string     // where commands and subscriptions go
	lines     []*line    // of subscriptions
}

type ofSubscription struct{}

func (d *switchboard) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Value(ofSubscription{}) == nil {
		return new(net.Dialer).DialContext(ctx, network, d.addr)
	}
	c, err := new(net.Dialer).DialContext(ctx, network, d.sub)
	if err != nil {
		return nil, err
	}
	l := &line{Conn: c}
	d.lines = append(d.lines, l)
	return l, nil
}

// line is a connection that can fall silent.
type line struct {
	net.Conn
	silent atomic.Bool
}

func (l *line) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		if err != nil || !l.silent.Load() {
			return n, err
		}
	}
}

// connect returns a backend that dials by the switchboard, and the context for Notify.
func (d *switchboard) connect(t *testing.T, prefix string) (*redis.Backend, context.Context) {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: d.addr, Dialer: d.dial, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	b, err := redis.New(t.Context(), client, &redis.Options{Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b, context.WithValue(t.Context(), ofSubscription{}, true)
}

// TestNoticesSilent: a subscription that hears nothing any more, while commands are
// answered, makes nothing current, and is replaced.
func TestNoticesSilent(t *testing.T) {
	s := redistest.Start(t)
	d := &switchboard{addr: s.Addr, sub: s.Addr}
	b, ctx := d.connect(t, logPrefix())
	w := notifyIn(ctx, t, b.Cache())
	w.holding(b.Cache(), func() {
		d.mu.Lock()
		d.lines[len(d.lines)-1].silent.Store(true)
		d.mu.Unlock()
		before, silent := w.lostTimes(), time.Now()
		until(t, "Lost", func() bool { return w.lostTimes() > before })
		w.mu.Lock()
		lost, current := w.lost, w.current
		w.mu.Unlock()
		if current.After(silent) && current.Before(lost) {
			t.Errorf("Current %v after the silence began", current.Sub(silent))
		}
		w.isCurrent()
	})
}

// TestNoticesReplica: a subscription at a replica hears everything from then on by way of
// the replication, and proves nothing.
func TestNoticesReplica(t *testing.T) {
	master, other := redistest.Start(t), redistest.Start(t)
	d := &switchboard{addr: master.Addr, sub: other.Addr}
	b, ctx := d.connect(t, logPrefix())
	w := newWitness(t)
	ctx, cancel := context.WithCancel(ctx)
	client := goredis.NewClient(&goredis.Options{Addr: master.Addr})
	defer client.Close()
	everything := client.PSubscribe(ctx, "*") // somebody who looks on
	defer everything.Close()
	if _, err := everything.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	do(t, master.Addr, "client", "pause", "60000", "write") // no ticks
	done := make(chan error, 1)
	go func() { done <- b.Cache().Notify(ctx, noticePeriod, w) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Notify ended with %v", err)
		}
	}()
	until(t, "a subscription elsewhere", func() bool { return w.lostTimes() > 0 })
	host, port, _ := strings.Cut(master.Addr, ":")
	do(t, other.Addr, "replicaof", host, port)
	until(t, "a replica", func() bool {
		return strings.Contains(do(t, other.Addr, "info", "replication"), "master_link_status:up")
	})
	before := w.lostTimes()
	do(t, master.Addr, "client", "unpause")
	until(t, "Lost", func() bool { return w.lostTimes() > before })
	if at := w.latest(); !at.IsZero() {
		t.Errorf("Current of %v", at)
	}
	d.mu.Lock()
	d.sub = master.Addr
	d.mu.Unlock()
	w.isCurrent()
}

func FuzzNotice(f *testing.F) {
	for _, name := range oddNames {
		f.Add(name)
	}
	f.Add("h")
	f.Add("hgc:{%7b}k")
	f.Add("hgc:{}k{}k")
	f.Fuzz(func(t *testing.T, s string) {
		if anchor, ok := redis.ParseNotice("gc:", s); ok {
			if again := redis.Notice("gc:", anchor); again != s {
				t.Errorf("%q is read as %q, which would be %q", s, anchor, again)
			}
		}
		if got, ok := redis.ParseNotice("gc:", redis.Notice("gc:", s)); !ok || got != s {
			t.Errorf("%q comes back as %q, %t", s, got, ok)
		}
	})
}
