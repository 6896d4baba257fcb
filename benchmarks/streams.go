package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// click is an event: about 200 bytes as JSON.
type click struct {
	N     int    `json:"n"`
	Type  string `json:"type"`
	User  string `json:"user"`
	Page  string `json:"page"`
	Agent string `json:"agent"`
}

const (
	streamKeys = 1_000 // with a Zipf distribution of exponent 1.1
	streamCap  = 50
)

// clicks are the events of an endless sequence, with their keys.
type clicks struct {
	keys   [1 << 14]string
	events [1 << 14]click
}

func newClicks() *clicks {
	c := new(clicks)
	r := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(r, 1.1, 1, streamKeys-1)
	for i := range c.keys {
		c.keys[i] = fmt.Sprintf("customer-%04d", zipf.Uint64())
		c.events[i] = click{
			N: 1_000_000 + i, Type: fmt.Sprintf("type-%02d", i%8), User: fmt.Sprintf("user-%05d", r.IntN(5_000)),
			Page: "/" + strings.Repeat("page/", 14), Agent: strings.Repeat("agent ", 9),
		}
	}
	return c
}

// at returns event i.
func (c *clicks) at(i int) (key string, e *click) {
	n := i & (len(c.keys) - 1)
	return c.keys[n], &c.events[n]
}

func (c *clicks) encoded(i int) (key string, data []byte) {
	key, e := c.at(i)
	data, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return key, data
}

// streaming compares package streams with lists and streams of Redis.
func streaming(ctx context.Context, s settings) ([]table, error) {
	b, err := redis.OpenUniversal(ctx, at(s.addr), &redis.Options{BatchTimeout: patience, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer b.Close(ctx)
	client := newClient(s.addr)
	defer client.Close()
	events := newClicks()
	inServer, err := s.flushed(ctx, b.Log(), client, events)
	if err != nil {
		return nil, err
	}
	inProcess, err := s.appended(ctx, client, events)
	if err != nil {
		return nil, err
	}
	whole, err := s.offered(ctx, b.Log(), client, events)
	return []table{inServer, inProcess, whole}, err
}

// newStream returns a stream that is flushed by hand, unless o says otherwise.
func newStream(log driver.Log, o streams.Options[click]) (*streams.Stream[click], error) {
	if o.FlushEvery == 0 {
		o.FlushEvery, o.FlushEvents = time.Minute, 1<<30
	}
	o.Cap, o.Logger = streamCap, slog.New(slog.DiscardHandler)
	return streams.New(log, &o)
}

// counting returns options with everything that is counted.
func counting() streams.Options[click] {
	return streams.Options[click]{Type: func(e *click) string { return e.Type }, Member: func(e *click) string { return e.User }}
}

// writer is one way of writing events. write writes so many from number first on.
type writer struct {
	name  string
	flush int
	write func(ctx context.Context, first, n int) error
}

// flushed measures the processor time that events take of the server.
func (s settings) flushed(ctx context.Context, log driver.Log, client *goredis.Client, events *clicks) (table, error) {
	t := table{
		Title:   "Processor time of the server for events",
		Columns: []string{"way", "events in a flush", "µs an event", "events a second of it", "beside LPUSH and LTRIM of the same size", "beside them one at a time"},
		Note: fmt.Sprintf("By the server's own account, of events of 200 bytes for %d keys, Zipf 1.1, of which the newest %d are kept. The ratios are how many times as many events a "+
			"second of the server's processor time brings in. A stream keeps exact positions, a total, a sparkline and a time to live for each key, and sends what a flush has of a key together: "+
			"never more than %d events. LPUSH with LTRIM, and XADD with MAXLEN ~, send every event, and count nothing.", streamKeys, streamCap, streamCap),
	}
	plain, err := newStream(log, streams.Options[click]{Name: "plain"})
	if err != nil {
		return t, err
	}
	defer plain.Close(ctx)
	o := counting()
	o.Name = "counting"
	counts, err := newStream(log, o)
	if err != nil {
		return t, err
	}
	defer counts.Close(ctx)
	var writers []writer
	single := 0
	for _, size := range []int{1, 1_000, 10_000, 100_000} {
		writers = append(writers,
			writer{"LPUSH and LTRIM", size, piped(client, events, func(p goredis.Pipeliner, key string, data []byte) {
				p.LPush(ctx, key, data)
				p.LTrim(ctx, key, 0, streamCap-1)
			})},
			writer{"XADD MAXLEN ~", size, piped(client, events, func(p goredis.Pipeliner, key string, data []byte) {
				p.XAdd(ctx, &goredis.XAddArgs{Stream: "x" + key, MaxLen: streamCap, Approx: true, Values: []any{"e", data}})
			})},
		)
		if size > 1 {
			writers = append(writers, writer{"Stream", size, appendTo(plain, events)}, writer{"Stream with types and members", size, appendTo(counts, events)})
		}
	}
	times := make([][]float64, len(writers))
	next := 0
	for range s.rounds {
		if err := client.FlushDB(ctx).Err(); err != nil {
			return t, err
		}
		for i, w := range writers {
			n := max(2_000, min(20*w.flush, 200_000))
			before, err := processorTime(ctx, client)
			for done := 0; done < n && err == nil; done += w.flush {
				err = w.write(ctx, next, w.flush)
				next += w.flush
			}
			if err != nil {
				return t, fmt.Errorf("%s: %w", w.name, err)
			}
			after, err := processorTime(ctx, client)
			if err != nil {
				return t, err
			}
			times[i] = append(times[i], (after-before)/float64(n)*1e6)
		}
	}
	same := 0
	for i, w := range writers {
		if i == 0 || w.flush != writers[i-1].flush {
			same = i
		}
		each := spreadOf(times[i]).median
		t.add(w.name, fmt.Sprint(w.flush), fmt.Sprintf("%.2f", each), fmt.Sprintf("%.0f", 1e6/each), timesOf(times[same], times[i]).String(), timesOf(times[single], times[i]).String())
	}
	return t, nil
}

func piped(client *goredis.Client, events *clicks, add func(p goredis.Pipeliner, key string, data []byte)) func(context.Context, int, int) error {
	return func(ctx context.Context, first, n int) error {
		_, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i := range n {
				key, data := events.encoded(first + i)
				add(p, key, data)
			}
			return nil
		})
		return err
	}
}

func appendTo(s *streams.Stream[click], events *clicks) func(context.Context, int, int) error {
	return func(ctx context.Context, first, n int) error {
		before := s.Stats()
		for i := range n {
			key, e := events.at(first + i)
			s.Append(key, *e)
		}
		err := s.Flush(ctx)
		if st := s.Stats(); err == nil && st.Sent-before.Sent != int64(n) {
			err = fmt.Errorf("%d events of %d were sent", st.Sent-before.Sent, n)
		}
		return err
	}
}

// appended measures what an event costs the process.
func (s settings) appended(ctx context.Context, client *goredis.Client, events *clicks) (table, error) {
	t := table{
		Title:   "Append in the process",
		Columns: []string{"way", "ns", "times Append", "allocations", "ns, 2 goroutines", "times Append"},
		Note: "Processor time of an event of 200 bytes until it is on its way: Append leaves the encoding of those that are kept to the flush, which is not measured here; the " +
			"last way encodes each event and puts its commands into a pipeline, which is not sent.",
	}
	var ways []way
	for _, w := range []struct {
		name string
		o    streams.Options[click]
	}{{"Append", streams.Options[click]{}}, {"Append with types and members", counting()}} {
		st, err := newStream(nothing{}, w.o)
		if err != nil {
			return t, err
		}
		defer st.Close(ctx)
		ways = append(ways, bursts(w.name, func(i int) {
			key, e := events.at(i)
			st.Append(key, *e)
		}))
	}
	ways = append(ways,
		bursts("json.Marshal", func(i int) { events.encoded(i) }),
		way{name: "json.Marshal, LPUSH and LTRIM into a pipeline", op: func(i int) error {
			p := client.Pipeline()
			for n := range burst {
				key, data := events.encoded(i*burst + n)
				p.LPush(ctx, key, data)
				p.LTrim(ctx, key, 0, streamCap-1)
			}
			p.Discard()
			return nil
		}})
	one, err := s.compare(ways, 1)
	if err != nil {
		return t, err
	}
	two, err := s.compare(ways, 2)
	if err != nil {
		return t, err
	}
	nanos := func(turns []turn) string { return fmt.Sprintf("%.1f", median(turns, turn.work)/burst) }
	for i := range ways {
		t.add(ways[i].name, nanos(one[i]), work(one[i], one[0]).String(), fmt.Sprintf("%.2f", median(one[i], func(t turn) float64 { return t.allocs })/burst),
			nanos(two[i]), work(two[i], two[0]).String())
	}
	return t, nil
}

func bursts(name string, f func(i int)) way {
	return way{name: name, op: func(i int) error {
		for n := range burst {
			f(i*burst + n)
		}
		return nil
	}}
}

// nothing is a log that keeps nothing.
type nothing struct{ driver.Log }

func (nothing) Append(_ context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	heads := make([]driver.LogHead, len(batches))
	for i := range heads {
		heads[i].Outcome = driver.Done
	}
	return heads, nil
}

// offered measures what events that come at a rate take of the server and of the process.
func (s settings) offered(ctx context.Context, log driver.Log, client *goredis.Client, events *clicks) (table, error) {
	t := table{
		Title:   "Events that come at a rate",
		Columns: []string{"offered a second", "FlushEvery", "FlushEvents", "accepted a second", "sent as events", "of a processor of the server", "of one of the process", "of it with no log below"},
		Note: "Medians of a third of the rounds, of turns ten times as long. One goroutine appends what is due every millisecond; the process's share has that goroutine, the encoding and " +
			"all of the client in it. Keys and events are those of the first table, without types and members.",
	}
	const never = 1 << 30
	cases := []struct{ rate, millis, events int }{
		{100_000, 100, 1_000}, {1_000_000, 100, 1_000}, {1_000_000, 100, never}, {1_000_000, 300, never}, {0, 100, never},
	}
	type result struct{ accepted, entries, server, process, alone []float64 }
	results := make([]result, len(cases))
	for range max(1, s.rounds/3) {
		for i, c := range cases {
			o := streams.Options[click]{FlushEvery: time.Duration(c.millis) * time.Millisecond, FlushEvents: c.events}
			with, err := s.offer(ctx, log, client, events, o, c.rate)
			if err != nil {
				return t, err
			}
			without, err := s.offer(ctx, nothing{}, client, events, o, c.rate)
			if err != nil {
				return t, err
			}
			r := &results[i]
			r.accepted, r.entries = append(r.accepted, with.accepted), append(r.entries, with.entries)
			r.server, r.process, r.alone = append(r.server, with.server), append(r.process, with.process), append(r.alone, without.process)
		}
	}
	percent := func(v []float64) string { return fmt.Sprintf("%.1f %%", 100*spreadOf(v).median) }
	for i, c := range cases {
		rate, many := fmt.Sprint(c.rate), fmt.Sprint(c.events)
		if c.rate == 0 {
			rate = "no end"
		}
		if c.events == never {
			many = "no end"
		}
		r := &results[i]
		t.add(rate, fmt.Sprintf("%d ms", c.millis), many, fmt.Sprintf("%.0f", spreadOf(r.accepted).median), percent(r.entries), percent(r.server), percent(r.process), percent(r.alone))
	}
	return t, nil
}

// load is what came of an offer, by the second.
type load struct{ accepted, entries, server, process float64 }

// offer appends events at a rate, or as many as it can if that is 0, for ten turns.
func (s settings) offer(ctx context.Context, log driver.Log, client *goredis.Client, events *clicks, o streams.Options[click], rate int) (l load, err error) {
	st, err := newStream(log, o)
	if err != nil {
		return l, err
	}
	before, err := processorTime(ctx, client)
	if err != nil {
		return l, err
	}
	used, began, n := processTime(), time.Now(), 0
	for took := time.Duration(0); took < 10*s.turn; took = time.Since(began) {
		due := n + burst
		if rate > 0 {
			due = int(took.Seconds() * float64(rate))
		}
		for ; n < due; n++ {
			key, e := events.at(n)
			st.Append(key, *e)
		}
		if rate > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if err := st.Close(ctx); err != nil {
		return l, err
	}
	took := time.Since(began).Seconds()
	l.process = (processTime() - used).Seconds() / took
	after, err := processorTime(ctx, client)
	if err != nil {
		return l, err
	}
	got := st.Stats()
	if got.Sent != int64(n) {
		return l, fmt.Errorf("%d events of %d were sent", got.Sent, n)
	}
	l.accepted, l.entries, l.server = float64(n)/took, float64(got.Entries)/float64(n), (after-before)/took
	return l, nil
}
