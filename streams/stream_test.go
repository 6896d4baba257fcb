package streams_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// event is what the tests append.
type event struct {
	N    int    `json:"n"`
	Type string `json:"type"`
	User string `json:"user"`
}

func options() *streams.Options[event] {
	return &streams.Options[event]{
		Type:   func(e *event) string { return e.Type },
		Member: func(e *event) string { return e.User },
		Logger: slog.New(slog.DiscardHandler),
	}
}

// newStream returns a stream that is closed with the test.
func newStream(t testing.TB, log driver.Log, o *streams.Options[event]) *streams.Stream[event] {
	t.Helper()
	s, err := streams.New(log, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func mustFlush(t testing.TB, s *streams.Stream[event]) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func recent(t testing.TB, s *streams.Stream[event], key string) streams.Snapshot[event] {
	t.Helper()
	sn, err := s.Recent(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return sn
}

// TestRecent appends fewer and more events than are kept, in one flush and in several.
func TestRecent(t *testing.T) {
	for _, flushes := range [][]int{{1}, {3, 4}, {10}, {9, 1}, {11}, {25}, {4, 30, 7}, {10, 10, 10}} {
		t.Run(fmt.Sprint(flushes), func(t *testing.T) {
			o := options()
			o.Cap, o.FlushEvery, o.Bucket = 10, time.Minute, time.Hour
			s := newStream(t, memory.NewLog(nil), o)
			n := 0
			for _, some := range flushes {
				for range some {
					n++
					s.Append("k", event{N: n, Type: fmt.Sprint("t", n%2), User: fmt.Sprint("u", n%3)})
				}
				mustFlush(t, s)
			}
			sn := recent(t, s, "k")
			if sn.Total != int64(n) || sn.Pos.Seq != int64(n) || sn.Unique != int64(min(n, 3)) || len(sn.Events) != min(n, 10) || sn.Spark[59] != int64(n) {
				t.Errorf("after %d events: %+v", n, sn)
			}
			for i, e := range sn.Events {
				want := event{N: n - i, Type: fmt.Sprint("t", (n-i)%2), User: fmt.Sprint("u", (n-i)%3)}
				if e.Data != want || e.Pos != (streams.Pos{Epoch: sn.Pos.Epoch, Seq: int64(n - i)}) || time.Since(e.Time) > time.Minute {
					t.Errorf("event %d: %+v, want %+v", i, e, want)
				}
			}
			types := []streams.TypeCount{{Type: "t0", Count: int64(n / 2)}, {Type: "t1", Count: int64((n + 1) / 2)}}
			if n == 1 {
				types = types[1:]
			}
			if diff := cmp.Diff(types, sn.Types); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// account follows a key, and adds up what it is told.
type account struct {
	delivered, missed int64
	resets            int
	last              streams.Pos
}

// add takes an item, and checks that nothing is told twice or out of order.
func (a *account) add(t *testing.T, it streams.Item[event]) {
	switch {
	case it.Gap != nil:
		a.missed += it.Gap.Missed
		if it.Gap.Reset {
			a.resets++
		} else if want := a.last.Seq + it.Gap.Missed; it.Gap.Pos.Seq != want {
			t.Errorf("a gap of %d after %v leads to %v", it.Gap.Missed, a.last, it.Gap.Pos)
		}
		a.last = it.Gap.Pos
	case it.Event.Pos.Seq != a.last.Seq+1:
		t.Errorf("event %v follows %v", it.Event.Pos, a.last)
		fallthrough
	default:
		a.delivered++
		a.last = it.Event.Pos
	}
}

// TestTail follows keys with readers of different speed, which go away and come back, while
// several processes append.
func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog(nil)
		const producers, readers, keys, rounds = 4, 6, 3, 400
		var wg sync.WaitGroup
		var streamsOf []*streams.Stream[event]
		for range producers {
			o := options()
			o.FlushEvery, o.Poll = 20*time.Millisecond, 15*time.Millisecond
			s, err := streams.New(log, o)
			if err != nil {
				t.Fatal(err)
			}
			streamsOf = append(streamsOf, s)
		}
		accounts := make([]account, readers)
		ctx, stop := context.WithCancel(t.Context())
		for r := range readers {
			wg.Go(func() {
				a, rnd := &accounts[r], rand.New(rand.NewPCG(1, uint64(r)))
				for ctx.Err() == nil {
					visit, leave := context.WithTimeout(ctx, time.Duration(rnd.IntN(2000))*time.Millisecond)
					for it, err := range streamsOf[r%producers].Tail(visit, fmt.Sprint("key", r%keys), a.last) {
						if err != nil {
							t.Errorf("reader %d: %v", r, err)
							break
						}
						a.add(t, it)
						time.Sleep(time.Duration(rnd.IntN(r+1)) * time.Millisecond)
					}
					leave()
					time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
				}
			})
		}
		var appended [keys]int64
		var mu sync.Mutex
		var producing sync.WaitGroup
		for p := range producers {
			producing.Go(func() {
				rnd := rand.New(rand.NewPCG(2, uint64(p)))
				for range rounds {
					k, n := rnd.IntN(keys), 1+rnd.IntN(139)
					for i := range n {
						streamsOf[p].Append(fmt.Sprint("key", k), event{N: i})
					}
					mu.Lock()
					appended[k] += int64(n)
					mu.Unlock()
					time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
				}
			})
		}
		producing.Wait()
		time.Sleep(10 * time.Second)
		stop()
		wg.Wait()
		for r := range readers { // what came while they were away
			a := &accounts[r]
			last, done := context.WithTimeout(t.Context(), time.Second)
			for it, err := range streamsOf[0].Tail(last, fmt.Sprint("key", r%keys), a.last) {
				if err != nil {
					t.Fatal(err)
				}
				a.add(t, it)
			}
			done()
			if a.delivered+a.missed != appended[r%keys] || a.resets != 0 || a.delivered == 0 {
				t.Errorf("reader %d: %d delivered, %d missed and %d resets of %d events", r, a.delivered, a.missed, a.resets, appended[r%keys])
			}
		}
		sent := int64(0)
		for _, s := range streamsOf {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			sent += s.Stats().Sent
		}
		if all := appended[0] + appended[1] + appended[2]; sent != all {
			t.Errorf("%d events were sent, want %d", sent, all)
		}
	})
}

// TestTailEnds ends tails in every way.
func TestTailEnds(t *testing.T) {
	s := newStream(t, memory.NewLog(nil), options())
	for _, err := range s.Tail(t.Context(), string(make([]byte, 2000)), streams.Pos{}) {
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("a long key: error %v", err)
		}
	}
	s.Append("k", event{N: 1})
	for it, err := range s.Tail(t.Context(), "k", streams.Pos{}) {
		if err != nil || it.Event.Data.N != 1 {
			t.Fatal(it, err)
		}
		break
	}
	if n := s.Stats().Readers; n != 0 {
		t.Errorf("%d readers after the loop", n)
	}
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		var last error
		for _, err := range s.Tail(context.Background(), "k", streams.Pos{}) {
			if err == nil {
				close(ready)
			}
			last = err
		}
		ended <- last
	}()
	<-ready
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, streams.ErrClosed) {
		t.Errorf("after Close a tail ends with %v", err)
	}
	if _, err := s.Recent(t.Context(), "k"); !errors.Is(err, streams.ErrClosed) {
		t.Errorf("recent after Close: error %v", err)
	}
	s.Append("k", event{})
	if st := s.Stats(); st.Dropped != 1 {
		t.Errorf("%+v: want one dropped", st)
	}
}

func TestPos(t *testing.T) {
	for _, p := range []streams.Pos{{}, {Epoch: 1, Seq: 2}, {Epoch: 1<<64 - 1, Seq: 1<<63 - 1}} {
		if got, err := streams.ParsePos(p.String()); err != nil || got != p {
			t.Errorf("%v: parsed as %v, error %v", p, got, err)
		}
	}
	for _, text := range []string{"", "-", "1", "1-", "-1", "g-1", "1--1", "01-1", "1-01", "A-1", "1-1 ", "10000000000000000-1", "1-9223372036854775808"} {
		if p, err := streams.ParsePos(text); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%q: parsed as %v, error %v", text, p, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, o := range map[string]*streams.Options[event]{"plain": {FlushEvery: time.Minute}, "types and members": options()} {
		b.Run(name, func(b *testing.B) {
			s := newStream(b, memory.NewLog(nil), o)
			keys := make([]string, 1000)
			for i := range keys {
				keys[i] = fmt.Sprint("customer-", i)
				s.Append(keys[i], event{})
			}
			zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 1)), 1.1, 1, 999)
			var order [4096]string
			var users [256]string
			for i := range users {
				users[i] = fmt.Sprint("user-", i)
			}
			for i := range order {
				order[i] = keys[zipf.Uint64()]
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.Append(order[i&4095], event{N: i, Type: "click", User: users[i&255]})
				i++
			}
		})
	}
}

// TestTailAhead follows a key from a position that the process's other readers have not come to,
// and from one that is of no epoch.
func TestTailAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := struct{ driver.Log }{memory.NewLog(nil)} // which does not wake
		o := options()
		o.Poll = time.Minute
		a, b := newStream(t, log, o), newStream(t, log, options())
		appendTo := func(n int) {
			for i := range n {
				b.Append("k", event{N: i})
			}
			mustFlush(t, b)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		appendTo(1)
		follow := func(from streams.Pos) (*account, *sync.Mutex) {
			got, mu := &account{last: from}, new(sync.Mutex)
			go func() {
				for it, err := range a.Tail(ctx, "k", from) {
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					got.add(t, it)
					mu.Unlock()
				}
			}()
			return got, mu
		}
		check := func(name string, got *account, mu *sync.Mutex, delivered int64, resets int) {
			mu.Lock()
			defer mu.Unlock()
			if got.delivered != delivered || got.missed != 0 || got.resets != resets {
				t.Errorf("%s: %d delivered, %d missed, %d resets; want %d, 0, %d", name, got.delivered, got.missed, got.resets, delivered, resets)
			}
		}
		early, mu1 := follow(streams.Pos{})
		synctest.Wait()
		appendTo(5)
		ahead, mu2 := follow(recent(t, a, "k").Pos)
		time.Sleep(2 * time.Minute)
		check("the first", early, mu1, 6, 0)
		check("one that was ahead", ahead, mu2, 0, 0)
		again, mu3 := follow(recent(t, a, "k").Pos) // with nothing new
		time.Sleep(2 * time.Minute)
		appendTo(1)
		time.Sleep(2 * time.Minute)
		check("the first", early, mu1, 7, 0)
		check("one that was ahead", ahead, mu2, 1, 0)
		check("one that was not", again, mu3, 1, 0)
		lost, mu4 := follow(streams.Pos{Epoch: 1, Seq: 3})
		time.Sleep(2 * time.Minute)
		check("one of another epoch", lost, mu4, 7, 1)
	})
}
