package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/redis/go-redis/v9/push"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// channels compares the ways in which the script of a hold can tell other processes
// which anchor it was: what they cost the server, and how late they are.
func channels(ctx context.Context, s settings) ([]table, error) {
	hold, err := holdSource(ctx, s.addr)
	if err != nil {
		return nil, err
	}
	var tables []table
	err = withHost(func(h *host) error {
		ch := clusterHost{h, ctx}
		cluster := redistest.StartCluster(ch, 3, 1, "--cluster-node-timeout", "30000") // no failover on a busy machine
		for _, at := range []site{
			{"one server", []string{s.addr}, []string{s.addr}},
			{"a Cluster of six nodes", cluster.Addrs(), cluster.Addrs()[:3]},
		} {
			of, err := s.channelsOf(ctx, at, hold)
			if err != nil {
				return fmt.Errorf("%s: %w", at.name, err)
			}
			tables = append(tables, of...)
		}
		return nil
	})
	return tables, err
}

// clusterHost is a host for the servers of a Cluster, each with a directory of its own.
type clusterHost struct {
	*host
	ctx context.Context
}

func (h clusterHost) Context() context.Context { return h.ctx }
func (h clusterHost) Logf(string, ...any)      {}
func (h clusterHost) Fatalf(format string, args ...any) {
	h.Fatal(fmt.Sprintf(format, args...))
}
func (h clusterHost) TempDir() string {
	dir, err := os.MkdirTemp(h.dir, "")
	if err != nil {
		h.Fatal(err)
	}
	return dir
}

// site is where holds are sent.
type site struct {
	name           string
	nodes, masters []string // addresses
}

// publishing is the line of the script that tells of a hold.
const publishing = "redis.call('PUBLISH', ARGV[3], 'h' .. KEYS[1])"

// holdSource returns the script with which graphcache holds.
func holdSource(ctx context.Context, addr string) (string, error) {
	client := newClient(addr)
	defer client.Close()
	if err := client.ScriptFlush(ctx).Err(); err != nil {
		return "", err
	}
	var hook sourceHook
	client.AddHook(&hook)
	b, err := redis.New(ctx, client, &redis.Options{BatchTimeout: patience, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	defer b.Close(ctx)
	if _, err := b.Cache().Hold(ctx, []driver.Hold{{Anchor: "a", Token: "t", TTL: time.Second}}); err != nil {
		return "", err
	}
	source, _ := hook.source.Load().(string)
	if strings.Count(source, publishing) != 1 {
		return "", errors.New("the script of a hold has no line that publishes")
	}
	return source, nil
}

// sourceHook keeps the script of the last EVAL.
type sourceHook struct{ source atomic.Value }

func (h *sourceHook) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (h *sourceHook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }
func (h *sourceHook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		for _, c := range cmds {
			if c.Name() == "eval" {
				h.source.Store(c.Args()[1])
			}
		}
		return next(ctx, cmds)
	}
}

// channel is one way of telling.
type channel struct {
	name string
	line string                                 // of the script, in place of publishing
	more func(key string) (k []string, arg any) // further keys, and the last argument
	hear func(ctx context.Context, addr string, first, last uint16, heard func(string)) (stop func(), err error)
	sha  string
}

const (
	plainChannel = "notices"
	trackPrefix  = "n:"
)

// channelsOn returns the ways for a site.
func channelsOn(at site) []channel {
	none := func(string) ([]string, any) { return nil, plainChannel }
	sharded := func(string) ([]string, any) { return nil, plainChannel }
	names := func(uint16, uint16) []string { return []string{plainChannel} }
	if len(at.masters) > 1 {
		tags := slotTags()
		name := func(slot uint16) string { return plainChannel + "{" + tags[slot] + "}" }
		sharded = func(key string) ([]string, any) { return nil, name(slotOf(key)) }
		names = func(first, last uint16) []string {
			var all []string
			for slot := int(first); slot <= int(last); slot++ {
				all = append(all, name(uint16(slot)))
			}
			return all
		}
	}
	return []channel{
		{name: "nothing told", line: "", more: none},
		{name: "PUBLISH", line: publishing, more: none, hear: hearPlain},
		{
			name: "a second key, tracked", line: "redis.call('SET', KEYS[2], '', 'PX', 1000)",
			more: func(key string) ([]string, any) { return []string{trackPrefix + key}, "" }, hear: hearTracked,
		},
		{
			name: "SPUBLISH", line: strings.Replace(publishing, "PUBLISH", "SPUBLISH", 1), more: sharded,
			hear: func(ctx context.Context, addr string, first, last uint16, heard func(string)) (func(), error) {
				return hearSharded(ctx, addr, names(first, last), heard)
			},
		},
	}
}

// listenerClient returns a client for one subscription.
func listenerClient(addr string, o goredis.Options) *goredis.Client {
	o.Addr, o.DialTimeout, o.ReadTimeout = addr, patience, patience
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return goredis.NewClient(&o)
}

// receiving calls heard with each message, once so many subscriptions stand.
func receiving(ctx context.Context, client *goredis.Client, sub *goredis.PubSub, subscriptions int, heard func(string)) (func(), error) {
	for range subscriptions {
		if _, err := sub.Receive(ctx); err != nil {
			return nil, errors.Join(err, sub.Close(), client.Close())
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := sub.Receive(ctx)
			if err != nil {
				return
			}
			if m, ok := m.(*goredis.Message); ok {
				heard(m.Payload)
			}
		}
	})
	return func() { _ = sub.Close(); wg.Wait(); _ = client.Close() }, nil
}

func hearPlain(ctx context.Context, addr string, _, _ uint16, heard func(string)) (func(), error) {
	client := listenerClient(addr, goredis.Options{})
	return receiving(ctx, client, client.Subscribe(ctx, plainChannel), 1, heard)
}

func hearSharded(ctx context.Context, addr string, names []string, heard func(string)) (func(), error) {
	client := listenerClient(addr, goredis.Options{})
	sub := client.SSubscribe(ctx, names[0])
	for _, name := range names[1:] { // a Cluster takes no more than one slot in a command
		if err := sub.SSubscribe(ctx, name); err != nil {
			return nil, errors.Join(err, sub.Close(), client.Close())
		}
	}
	return receiving(ctx, client, sub, len(names), heard)
}

// hearTracked lets the server track the keys of the prefix for a connection that has
// subscribed to something, and so is always read.
func hearTracked(ctx context.Context, addr string, _, _ uint16, heard func(string)) (func(), error) {
	client := listenerClient(addr, goredis.Options{Protocol: 3, OnConnect: func(ctx context.Context, c *goredis.Conn) error {
		return c.Do(ctx, "client", "tracking", "on", "bcast", "prefix", trackPrefix).Err()
	}})
	if err := client.RegisterPushNotificationHandler("invalidate", tracked(heard), false); err != nil {
		return nil, err
	}
	return receiving(ctx, client, client.Subscribe(ctx, "nothing"), 1, heard)
}

// tracked hears of keys that have changed.
type tracked func(string)

// HandlePushNotification implements push.NotificationHandler.
func (heard tracked) HandlePushNotification(_ context.Context, _ push.NotificationHandlerContext, n []any) error {
	keys, _ := n[len(n)-1].([]any)
	for _, k := range keys {
		if key, ok := k.(string); ok {
			heard(key)
		}
	}
	return nil
}

// slotOf returns the slot of a key or a channel with a part in braces.
func slotOf(key string) uint16 {
	_, tag, _ := strings.Cut(key, "{")
	tag, _, _ = strings.Cut(tag, "}")
	return slotOfTag(tag)
}

func slotOfTag(tag string) (crc uint16) {
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			high := crc&0x8000 != 0
			crc <<= 1
			if high {
				crc ^= 0x1021
			}
		}
	}
	return crc % 16384
}

// slotTags returns for each slot a short text that is in it.
func slotTags() []string {
	tags, missing := make([]string, 16384), 16384
	for i := 0; missing > 0; i++ {
		tag := strconv.FormatInt(int64(i), 36)
		if s := slotOfTag(tag); tags[s] == "" {
			tags[s] = tag
			missing--
		}
	}
	return tags
}

// lags are what was measured of one way in one turn or more.
type lags struct {
	sent, replied []time.Duration // from the sending, and from the reply of the hold to the callback
	holds         []float64       // µs for a hold until its reply, by round
	cpu           []float64       // µs of all servers for a hold, by round
}

// quantile returns the q-th part of durations, in µs.
func quantile(all []time.Duration, q float64) string {
	if len(all) == 0 {
		return "–"
	}
	slices.Sort(all)
	i := min(len(all)-1, int(q*float64(len(all))))
	return fmt.Sprintf("%.0f", float64(all[i].Nanoseconds())/1e3)
}

// channelsOf measures the ways at a site.
func (s settings) channelsOf(ctx context.Context, at site, hold string) ([]table, error) {
	var client goredis.UniversalClient = newClient(at.nodes[0])
	if len(at.masters) > 1 {
		client = goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: at.masters, ReadTimeout: patience, PoolTimeout: patience})
	}
	defer client.Close()
	ways := channelsOn(at)
	for i := range ways {
		for _, addr := range at.masters {
			node := newClient(addr)
			sha, err := node.ScriptLoad(ctx, strings.Replace(hold, publishing, ways[i].line, 1)).Result()
			node.Close()
			if err != nil {
				return nil, err
			}
			ways[i].sha = sha
		}
	}
	cost := table{
		Title:   "What it costs to tell of holds that nobody listens to, at " + at.name,
		Columns: []string{"way", "µs a hold, one at a time", "servers' µs", "µs a hold, 100 in a pipeline", "servers' µs"},
		Note:    "Medians of rounds, with the least and the most. The servers' time is that of all nodes, by their own account.",
	}
	late := table{
		Title: "How late holds are told, at " + at.name,
		Columns: []string{
			"way", "holds at once", "subscribers", "reply to callback, µs: median", "99 %", "99.9 %",
			"sending to callback, µs: median", "99 %", "99.9 %", "servers' µs a hold",
		},
		Note: "Of all holds and subscribers of all rounds. A subscriber has a connection to each master, and is told when it hears of a hold for the first time. " +
			"Below 0: before the reply. All run on the same machine.",
	}
	for _, subscribers := range []int{0, 1, 8} {
		byWay := make(map[string][]lags) // one at a time, 100 at once
		for _, batch := range []int{1, 100} {
			all, err := s.lagsOf(ctx, at, client, ways, subscribers, batch)
			if err != nil {
				return nil, err
			}
			for i, w := range ways {
				byWay[w.name] = append(byWay[w.name], all[i])
				if l := &all[i]; subscribers > 0 && w.hear != nil {
					late.add(w.name, strconv.Itoa(batch), strconv.Itoa(subscribers),
						quantile(l.replied, .5), quantile(l.replied, .99), quantile(l.replied, .999),
						quantile(l.sent, .5), quantile(l.sent, .99), quantile(l.sent, .999), spreadOf(l.cpu).String())
				}
			}
		}
		if subscribers == 0 {
			for _, w := range ways {
				l := byWay[w.name]
				cost.add(w.name, spreadOf(l[0].holds).String(), spreadOf(l[0].cpu).String(), spreadOf(l[1].holds).String(), spreadOf(l[1].cpu).String())
			}
		}
	}
	return []table{cost, late}, nil
}

// lagsOf measures the ways with so many subscribers and holds at once, taking turns. All
// subscribe from the beginning to the end.
func (s settings) lagsOf(ctx context.Context, at site, client goredis.UniversalClient, ways []channel, subscribers, batch int) ([]lags, error) {
	heard := make([]*audience, len(ways))
	defer func() {
		for _, a := range heard {
			if a != nil {
				a.leave()
			}
		}
	}()
	for i := range ways {
		heard[i] = new(audience)
		if err := heard[i].join(ctx, at, &ways[i], subscribers); err != nil {
			return nil, fmt.Errorf("%s: %w", ways[i].name, err)
		}
	}
	all := make([]lags, len(ways))
	for r := range s.rounds + 1 {
		for n := range ways {
			i := (n + r) % len(ways)
			one, err := s.lagTurn(ctx, at, client, &ways[i], heard[i], batch)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
			if r > 0 {
				l := &all[i]
				l.sent, l.replied = append(l.sent, one.sent...), append(l.replied, one.replied...)
				l.holds, l.cpu = append(l.holds, one.holds...), append(l.cpu, one.cpu...)
			}
		}
	}
	return all, nil
}

// audience are the subscribers of a way.
type audience struct {
	ears  []*ear
	stops []func()
	begun time.Time
	next  int           // number of the next hold
	left  atomic.Int64  // how often the present holds have yet to be heard
	done  chan struct{} // has an element when that is 0
}

// ear is what one subscriber has heard of the present holds: how long after the
// beginning, 0 if not yet.
type ear struct {
	first atomic.Int64 // number of the first of these holds
	heard []atomic.Int64
}

func (a *audience) join(ctx context.Context, at site, w *channel, subscribers int) error {
	a.begun, a.done = time.Now(), make(chan struct{}, 1)
	a.next = int(a.begun.UnixMicro()) // none before it: keys that are tracked are told of again when they expire
	if w.hear == nil {
		return nil
	}
	for range subscribers {
		e := &ear{heard: make([]atomic.Int64, mostHolds)}
		a.ears = append(a.ears, e)
		for m, addr := range at.masters {
			first, last := m*16384/len(at.masters), (m+1)*16384/len(at.masters)-1
			stop, err := w.hear(ctx, addr, uint16(first), uint16(last), func(message string) { a.hear(e, message) })
			if err != nil {
				return err
			}
			a.stops = append(a.stops, stop)
		}
	}
	return nil
}

// hear takes note of a message that an ear hears for the first time.
func (a *audience) hear(e *ear, message string) {
	now := int64(time.Since(a.begun))
	_, name, _ := strings.Cut(message, "{")
	name, _, _ = strings.Cut(name, "}")
	n, err := strconv.ParseInt(name, 10, 64)
	i := n - e.first.Load()
	if err != nil || i < 0 || i >= mostHolds || !e.heard[i].CompareAndSwap(0, now) {
		return
	}
	if a.left.Add(-1) == 0 {
		a.done <- struct{}{}
	}
}

func (a *audience) leave() {
	for _, stop := range a.stops {
		stop()
	}
}

// mostHolds bounds the holds of a turn.
const mostHolds = 100_000

// lagTurn holds anchors for the time of a turn, so many at once, and waits each time until
// all have heard of them.
func (s settings) lagTurn(ctx context.Context, at site, client goredis.UniversalClient, w *channel, a *audience, batch int) (l lags, err error) {
	for _, e := range a.ears {
		e.first.Store(int64(a.next))
		for i := range e.heard {
			e.heard[i].Store(0)
		}
	}
	runtime.GC()
	before, err := processorTimeOf(ctx, at.nodes)
	if err != nil {
		return l, err
	}
	var sent, replied []time.Duration
	var took time.Duration
	for took < s.turn && len(sent) <= mostHolds-batch {
		a.left.Store(int64(batch * len(a.ears)))
		begin := time.Since(a.begun)
		if err := w.holds(ctx, client, a.next, batch); err != nil {
			return l, err
		}
		end := time.Since(a.begun)
		took += end - begin
		a.next += batch
		for range batch {
			sent, replied = append(sent, begin), append(replied, end)
		}
		if len(a.ears) == 0 {
			continue
		}
		select {
		case <-a.done:
		case <-time.After(patience):
			return l, fmt.Errorf("holds are not told: %d of %d times, %d at once", a.left.Load(), batch*len(a.ears), batch)
		}
	}
	after, err := processorTimeOf(ctx, at.nodes)
	if err != nil {
		return l, err
	}
	n := float64(len(sent))
	l.holds, l.cpu = []float64{took.Seconds() / n * 1e6}, []float64{(after - before) / n * 1e6}
	for _, e := range a.ears {
		for i := range sent {
			heard := time.Duration(e.heard[i].Load())
			l.sent, l.replied = append(l.sent, heard-sent[i]), append(l.replied, heard-replied[i])
		}
	}
	return l, nil
}

// holds sends holds of anchors that are numbers, in one pipeline.
func (w *channel) holds(ctx context.Context, client goredis.UniversalClient, from, n int) error {
	_, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i := from; i < from+n; i++ {
			key := "gc:{" + strconv.Itoa(i) + "}k"
			keys, arg := w.more(key)
			p.EvalSha(ctx, w.sha, append([]string{key}, keys...), strconv.FormatInt(time.Now().UnixNano(), 36), 1000, arg)
		}
		return nil
	})
	return err
}

// processorTimeOf returns the seconds that servers have taken so far.
func processorTimeOf(ctx context.Context, addrs []string) (sum float64, err error) {
	for _, addr := range addrs {
		client := newClient(addr)
		t, err := processorTime(ctx, client)
		client.Close()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}
