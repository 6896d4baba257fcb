package streams_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// stuckLog is a log whose Append does not return before free is closed or its caller gives
// up, if that is obeyed.
type stuckLog struct {
	driver.Log
	free  chan struct{}
	calls atomic.Int64
	inner atomic.Int64 // calls that are under way
}

func newStuckLog() *stuckLog { return &stuckLog{Log: memory.NewLog(nil), free: make(chan struct{})} }

func (l *stuckLog) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	l.calls.Add(1)
	l.inner.Add(1)
	defer l.inner.Add(-1)
	select {
	case <-l.free:
		return l.Log.Append(ctx, batches)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestAppendNeverBlocks appends while a call of the log is under way, and counts what that
// allocates: nothing.
func TestAppendNeverBlocks(t *testing.T) {
	for name, o := range map[string]*streams.Options[event]{"plain": {}, "types and members": options()} {
		t.Run(name, func(t *testing.T) {
			l := newStuckLog()
			o.FlushEvery, o.Logger = time.Millisecond, discard
			s := newStream(t, l, o)
			defer close(l.free)
			keys, users := make([]string, 100), make([]string, 50)
			for i := range keys {
				keys[i] = fmt.Sprint("customer-", i)
			}
			for i := range users {
				users[i] = fmt.Sprint("user-", i)
			}
			n := 0
			add := func() {
				s.Append(keys[n%len(keys)], event{N: n, Type: users[n%11], User: users[n%len(users)]})
				n++
			}
			for range 100 * len(keys) * len(users) {
				add()
			}
			becomes(t, "a flush hangs", func() bool { return l.inner.Load() == 1 })
			calls := l.calls.Load()
			if got := testing.AllocsPerRun(10_000, add); got != 0 {
				t.Errorf("%v allocations, want none", got)
			}
			if sent := s.Stats().Sent; sent != 0 || l.calls.Load() > calls+5 {
				t.Errorf("%d events were sent, in %d calls: the log does not hang", sent, l.calls.Load())
			}
		})
	}
}

// payload is what makes the events of the tests of memory large.
const payload = 400

// TestAppendOutage appends at full rate while the log fails for minutes: the heap is bounded,
// and every event is counted in the end.
func TestAppendOutage(t *testing.T) {
	const keys, perTick, ticks = 50, 1_000, 1_200 // of 100 ms each
	synctest.Test(t, func(t *testing.T) {
		under := memory.NewLog(nil)
		l := newFaultyLog(under, 1, fails)
		base := heapInUse()
		s := newStream(t, l, options())
		var names, types, users [1000]string
		for i := range users {
			names[i], types[i], users[i] = fmt.Sprint("key", i), fmt.Sprint("t", i), fmt.Sprintf("%0*d", payload, i)
		}
		n := 0
		tick := func() {
			for range perTick {
				n++
				s.Append(names[n%keys], event{N: n, Type: types[n%97], User: users[n%1000]})
			}
			time.Sleep(100 * time.Millisecond)
		}
		for range ticks / 10 {
			tick()
		}
		early := heapInUse()
		for range ticks {
			tick()
		}
		late := heapInUse()
		// A batch that is not answered, encoded, and as many events since.
		const bound = keys * 2 * 50 * (payload + 200)
		if late > early+early/4+1<<20 || late > base+bound+4<<20 {
			t.Errorf("the heap has grown from %d to %d and %d bytes in an outage, want at most %d more", base, early, late, bound)
		}
		t.Logf("heap in use: %d bytes early in the outage, %d after %v", early, late, ticks*100*time.Millisecond)
		l.off.Store(true)
		for range 2 { // what was not answered, and what came after it
			mustFlush(t, s)
		}
		total := int64(0)
		for k := range keys {
			sn := recent(t, s, fmt.Sprint("key", k))
			types := int64(0)
			for _, c := range sn.Types {
				types += c.Count
			}
			if total += sn.Total; types != sn.Total || sn.Pos.Seq != sn.Total || len(sn.Types) > driver.LogTypes+1 || len(sn.Events) != 50 {
				t.Errorf("key %d: %d events of %d types with a sum of %d", k, sn.Total, len(sn.Types), types)
			}
		}
		if st := s.Stats(); total != int64(n) || st.Sent != total || st.Dropped != 0 {
			t.Errorf("%d events in the log of %d: %+v", total, n, st)
		}
	})
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAppendParts appends more members and types than a batch may have.
func TestAppendParts(t *testing.T) {
	const n = 3 * driver.MaxLogParts
	o := options()
	o.FlushEvery, o.FlushEvents = time.Minute, 10*n
	s := newStream(t, memory.NewLog(nil), o)
	for i := range n {
		s.Append("k", event{N: i, Type: fmt.Sprint("type ", i), User: fmt.Sprint("user ", i)})
	}
	s.Append("k", event{Type: strings.Repeat("t", 2*driver.MaxLogName), User: strings.Repeat("u", 2*driver.MaxLogName)})
	mustFlush(t, s)
	sn := recent(t, s, "k")
	if sn.Total != n+1 || sn.Unique < 1000 || sn.Unique > driver.MaxLogParts || len(sn.Types) != driver.LogTypes+1 {
		t.Errorf("%d events, %d members, %d types", sn.Total, sn.Unique, len(sn.Types))
	}
}

// TestAppendDropped drops events in all ways, and counts them.
func TestAppendDropped(t *testing.T) {
	o := options()
	o.MaxKeys, o.FlushEvery, o.Name = 10, time.Minute, "n"
	l := newStuckLog()
	s := newStream(t, l, o)
	check := func(what string, dropped, keys int64) {
		t.Helper()
		if st := s.Stats(); st.Dropped != dropped || st.Keys != keys {
			t.Errorf("%s: %+v, want %d dropped and %d keys", what, st, dropped, keys)
		}
	}
	for i := range 15 {
		s.Append(fmt.Sprint("key", i), event{N: i})
	}
	check("more keys than may be", 5, 10)
	s.Append("key0", event{})
	check("a key that is known", 5, 10)
	s.Append(strings.Repeat("k", driver.MaxLogKey), event{})
	check("a long key", 6, 10)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Flush(done); !errors.Is(err, context.Canceled) {
		t.Errorf("flush: error %v", err)
	}
	s.Append("key15", event{})
	check("while nothing is answered", 7, 10)
	close(l.free)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for i := range 3 {
		s.Append(fmt.Sprint("key", i*7), event{})
	}
	if st := s.Stats(); st.Dropped != 10 || st.Sent != 11 || st.Lost != 0 {
		t.Errorf("after Close: %+v", st)
	}
}

// TestAppendManyKeys has events of many keys, but never of more than MaxKeys that are to be
// sent.
func TestAppendManyKeys(t *testing.T) {
	o := options()
	o.MaxKeys, o.FlushEvery = 100, time.Minute
	s := newStream(t, memory.NewLog(nil), o)
	for i := range 1000 {
		s.Append(fmt.Sprint("key", i), event{N: i})
		if i%100 == 99 {
			mustFlush(t, s)
		}
	}
	if st := s.Stats(); st.Dropped != 0 || st.Sent != 1000 || st.Keys > 100 {
		t.Errorf("%+v: want 1000 sent", st)
	}
}

// TestAppendForgets forgets keys of which there are no events any more.
func TestAppendForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, memory.NewLog(nil), options())
		for i := range 1000 {
			s.Append(fmt.Sprint("key", i), event{N: i})
		}
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			s.Append("busy", event{})
		}
		synctest.Wait()
		if st := s.Stats(); st.Keys != 1 || st.Sent < 1199 {
			t.Errorf("%+v: want one key", st)
		}
	})
}

// TestFlushAfterFailure flushes what was appended before and after a flush that failed.
func TestFlushAfterFailure(t *testing.T) {
	o := options()
	o.FlushEvery = time.Minute
	l := newFaultyLog(memory.NewLog(nil), 1, loses)
	s := newStream(t, l, o)
	keys := []string{"a", "b", "c"}
	for round := range 2 {
		for _, k := range keys {
			s.Append(k, event{N: round})
		}
		if round == 0 {
			for s.Flush(t.Context()) == nil {
				t.Fatal("a flush does not fail")
			}
		}
	}
	l.off.Store(true)
	mustFlush(t, s)
	for _, k := range keys {
		if sn := recent(t, s, k); sn.Total != 2 {
			t.Errorf("%s: %d events are in the log after a flush, want 2", k, sn.Total)
		}
	}
}

// TestFlushEvery has events sent in the background in time, however often that is.
func TestFlushEvery(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 2500 * time.Millisecond, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			o := options()
			o.FlushEvery = every
			s := newStream(t, newFaultyLog(memory.NewLog(nil), 1, delays), o)
			for n := range 5 {
				s.Append("k", event{N: n})
				time.Sleep(every + 100*time.Millisecond)
				if sent := s.Stats().Sent; sent != int64(n+1) {
					t.Errorf("every %v: %d events of %d were sent", every, sent, n+1)
				}
			}
		})
	}
}

// TestAppendSync appends what is refused, and what is not answered.
func TestAppendSync(t *testing.T) {
	newOne := func(faults ...fault) (*streams.Stream[event], *faultyLog) {
		o := options()
		o.FlushEvery, o.MaxKeys = time.Minute, 2
		o.Encode = func(e *event) ([]byte, error) {
			if e.N < 0 {
				return nil, errFault
			}
			return make([]byte, e.N), nil
		}
		l := newFaultyLog(memory.NewLog(nil), 1, faults...)
		return newStream(t, l, o), l
	}
	s, _ := newOne()
	for _, test := range []struct {
		name    string
		n       int
		key     string
		want    error
		applied int64
	}{
		{"small", 10, "k", nil, 1},
		{"as large as may be", 65_500, "k", nil, 2},
		{"too large", driver.MaxLogEntry, "k", driver.ErrInvalid, 2},
		{"not encoded", -1, "k", errFault, 2},
		{"not encoded, which is invalid", -1, "k", driver.ErrInvalid, 2},
		{"a long key", 1, strings.Repeat("k", 1025), driver.ErrInvalid, 2},
	} {
		err := s.AppendSync(t.Context(), test.key, event{N: test.n})
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) || errors.Is(err, driver.ErrUnknownOutcome) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.want)
		}
		if sn := recent(t, s, "k"); sn.Total != test.applied {
			t.Errorf("%s: %d events, want %d", test.name, sn.Total, test.applied)
		}
	}
	for i := range 2 {
		s.Append(fmt.Sprint("other", i), event{})
	}
	if err := s.AppendSync(t.Context(), "one more", event{}); err == nil || errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("more keys than may be: error %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.AppendSync(t.Context(), "k", event{}); !errors.Is(err, streams.ErrClosed) || errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("after Close: error %v", err)
	}

	for _, f := range []fault{fails, loses} {
		s, l := newOne(f)
		var err error
		for err == nil { // some replies are not lost as a whole
			err = s.AppendSync(t.Context(), "k", event{N: 1})
		}
		if !errors.Is(err, driver.ErrUnknownOutcome) {
			t.Errorf("fault %d: error %v, want %v", f, err, driver.ErrUnknownOutcome)
		}
		before := s.Stats()
		l.off.Store(true)
		if err := s.AppendSync(t.Context(), "k", event{N: 2}); err != nil {
			t.Error(err)
		}
		if sn, st := recent(t, s, "k"), s.Stats(); sn.Total != before.Sent+2 || st.Sent != sn.Total {
			t.Errorf("fault %d: %d events, %+v; before %+v", f, sn.Total, st, before)
		}
	}
}

// TestDeadlines has calls end with their contexts, whatever the background waits for.
func TestDeadlines(t *testing.T) {
	calls := map[string]func(ctx context.Context, s *streams.Stream[event]) error{
		"append": func(ctx context.Context, s *streams.Stream[event]) error { return s.AppendSync(ctx, "k", event{}) },
		"flush":  func(ctx context.Context, s *streams.Stream[event]) error { return s.Flush(ctx) },
		"close":  func(ctx context.Context, s *streams.Stream[event]) error { return s.Close(ctx) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newStuckLog()
				o := options()
				o.FlushEvery = 10 * time.Millisecond
				s := newStream(t, l, o)
				defer close(l.free)
				s.Append("k", event{})
				time.Sleep(15 * time.Millisecond)
				if l.inner.Load() != 1 {
					t.Fatal("the background does not hang")
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				began := time.Now()
				if err := call(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
				}
				if took := time.Since(began); took > 60*time.Millisecond {
					t.Errorf("it took %v, with a deadline after 50 ms", took)
				}
			})
		})
	}
}

// TestAppendPanics has a caller recover from a panic of its own Type and go on.
func TestAppendPanics(t *testing.T) {
	o := options()
	o.Type = func(e *event) string {
		if e.N < 0 {
			panic("a test")
		}
		return ""
	}
	s := newStream(t, memory.NewLog(nil), o)
	func() {
		defer func() { _ = recover() }()
		s.Append("k", event{N: -1})
	}()
	done := make(chan struct{})
	go func() {
		s.Append("k", event{N: 1})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a later Append to the same key hangs")
	}
}

// TestClose closes streams with events that cannot be sent.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFaultyLog(memory.NewLog(nil), 1, fails)
		o := options()
		o.FlushEvery = time.Minute
		s := newStream(t, l, o)
		burst(s, "a", "p", 0, 7)
		burst(s, "b", "p", 0, 2)
		_ = s.Flush(t.Context()) // which makes batches of them
		burst(s, "a", "p", 7, 60)
		burst(s, "c", "p", 0, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := s.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		// Of c a batch was made by Close.
		if want := "60 events of 3 keys were not sent, and of 10 more it is unknown whether they have arrived"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if took := time.Since(began); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("it tried for %v, and was given 1 s", took)
		}
		if st := s.Stats(); st.Lost != 60 || st.Sent != 0 {
			t.Errorf("%+v", st)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("a second time: error %v", err)
		}
	})
	// A log that comes back while Close waits for it.
	synctest.Test(t, func(t *testing.T) {
		l := newFaultyLog(memory.NewLog(nil), 1, fails)
		s := newStream(t, l, options())
		burst(s, "a", "p", 0, 100)
		time.AfterFunc(5*time.Second, func() { l.off.Store(true) })
		if err := s.Close(t.Context()); err != nil || s.Stats().Sent != 100 {
			t.Errorf("error %v, %+v", err, s.Stats())
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Errorf("a flush after Close: error %v", err)
		}
	})
}

// TestCloseMeanwhile closes a stream to which others append: what is not dropped is sent.
func TestCloseMeanwhile(t *testing.T) {
	for range longer(20) {
		under := memory.NewLog(nil)
		o := options()
		o.FlushEvery = time.Millisecond
		s := newStream(t, under, o)
		var appended atomic.Int64
		var wg sync.WaitGroup
		for g := range 3 {
			wg.Go(func() {
				for i := 0; s.Stats().Dropped == 0; i++ {
					s.Append(fmt.Sprint("key", (g+i)%5), event{N: i})
					appended.Add(1)
					if i%100 == 0 {
						_ = s.Flush(context.Background())
					}
				}
			})
		}
		becomes(t, "events are sent", func() bool { return s.Stats().Sent > 300 })
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		st, total := s.Stats(), int64(0)
		other := newStream(t, under, options())
		for k := range 5 {
			total += recent(t, other, fmt.Sprint("key", k)).Total
		}
		if total != st.Sent || total+st.Dropped != appended.Load() {
			t.Errorf("%d are in the log of %d, %+v", total, appended.Load(), st)
		}
	}
}

// TestOptions refuses what is out of bounds.
func TestOptions(t *testing.T) {
	type O = streams.Options[event]
	for _, test := range []struct {
		name string
		good bool
		o    *O
	}{
		{"nil", true, nil},
		{"zero", true, &O{}},
		{"the least", true, &O{Cap: 1, TTL: time.Second, FlushEvery: time.Millisecond, FlushEvents: 1, MaxKeys: 1, Poll: time.Millisecond, Bucket: time.Millisecond}},
		{"the most", true, &O{Name: strings.Repeat("n", 128), Cap: 1000, TTL: driver.MaxLogTTL, FlushEvery: time.Minute, MaxKeys: 1 << 20, Poll: time.Minute}},
		{"Name", false, &O{Name: strings.Repeat("n", 129)}},
		{"Cap", false, &O{Cap: -1}},
		{"Cap", false, &O{Cap: 1001}},
		{"TTL", false, &O{TTL: time.Second - 1}},
		{"TTL", false, &O{TTL: driver.MaxLogTTL + 1}},
		{"TTL", false, &O{TTL: -1}},
		{"FlushEvery", false, &O{FlushEvery: time.Millisecond - 1}},
		{"FlushEvery", false, &O{FlushEvery: time.Minute + 1}},
		{"FlushEvents", false, &O{FlushEvents: -1}},
		{"MaxKeys", false, &O{MaxKeys: -1}},
		{"MaxKeys", false, &O{MaxKeys: 1<<20 + 1}},
		{"Poll", false, &O{Poll: time.Millisecond - 1}},
		{"Poll", false, &O{Poll: time.Minute + 1}},
		{"Bucket", false, &O{Bucket: time.Millisecond / 2}},
		{"Bucket", false, &O{Bucket: 3 * time.Millisecond / 2}},
		{"Bucket", false, &O{Bucket: -time.Second}},
	} {
		s, err := streams.New(memory.NewLog(nil), test.o)
		if err == nil {
			_ = s.Close(t.Context())
		}
		if (err == nil) != test.good || !test.good && (!errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "Options."+test.name+" ")) {
			t.Errorf("%s of %+v: error %v", test.name, test.o, err)
		}
	}
}

// TestProblems appends events that cannot be kept: they have their places, and a text in them.
func TestProblems(t *testing.T) {
	o := options()
	o.FlushEvery = time.Minute
	s := newStream(t, memory.NewLog(nil), o)
	s.Append("k", event{N: 1})
	s.Append("k", event{N: 2, User: strings.Repeat("u", 1<<20)})
	s.Append("k", event{N: 3})
	mustFlush(t, s)
	problems := options()
	problems.Encode = func(e *event) ([]byte, error) { return nil, errors.New(strings.Repeat("no ", 1000)) }
	other := newStream(t, memory.NewLog(nil), problems)
	other.Append("k", event{N: 1})
	mustFlush(t, other)

	var got []string
	for it, err := range s.Tail(t.Context(), "k", streams.Pos{}) {
		if err != nil || it.Event == nil || time.Since(it.Event.Time) > time.Minute {
			t.Fatal(it, err)
		}
		got = append(got, fmt.Sprintf("%d %d %s", it.Event.Pos.Seq, it.Event.Data.N, it.Event.Problem))
		if it.Event.Pos.Seq == 3 {
			break
		}
	}
	want := []string{"1 1 ", "2 0 the event has 1048603 bytes: at most 65525 are kept", "3 3 "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
	sn := recent(t, other, "k")
	if e := sn.Events[0]; e.Data != (event{}) || !strings.HasPrefix(e.Problem, "the event cannot be encoded: no no ") || len(e.Problem) > 200 {
		t.Errorf("%+v", e)
	}
}

// entryLog is a log with entries of anybody's making.
type entryLog struct {
	driver.Log
	entries atomic.Pointer[[][]byte]
}

func (l *entryLog) Snapshot(_ context.Context, keys []string) ([]driver.LogSnapshot, error) {
	entries := *l.entries.Load()
	head := driver.LogHead{Outcome: driver.Done, Position: driver.Position{Epoch: 1, Seq: int64(len(entries))}, Total: int64(len(entries))}
	return []driver.LogSnapshot{{Head: head, Entries: entries}}, nil
}

// FuzzDecode reads entries of anybody's making: each has its place, and what is made of it is
// no larger than what it says.
func FuzzDecode(f *testing.F) {
	kept := memory.NewLog(nil)
	valid := newStream(f, kept, options())
	log := &entryLog{Log: memory.NewLog(nil)}
	s := newStream(f, log, options())
	if err := valid.AppendSync(f.Context(), "k", event{N: 1, User: "u"}); err != nil {
		f.Fatal(err)
	}
	if found, err := kept.Snapshot(f.Context(), []string{"0:k"}); err != nil || len(found[0].Entries) != 1 {
		f.Fatal(found, err)
	} else {
		f.Add(found[0].Entries[0])
	}
	for _, seed := range []string{
		"", "\x01", "\x02", "\x00", "\x01\x02", "\x01\x02{}", "\x01\x02{\"n\":1}", "\x02\x02text", "\x03\x02{}",
		"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff{}", "\x01\x02" + strings.Repeat("[", 5000), "\x01\x02{\"n\":1e999}",
		"\x01\x02{\"user\":\"" + strings.Repeat("\\u0000", 1000) + "\"}", "\x02\x02" + strings.Repeat("\xff", 5000), "\x01\x02null",
		"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01{}", "\x01\x02{\"n\":1}{\"n\":2}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		entry = entry[:min(len(entry), driver.MaxLogEntry)]
		log.entries.Store(&[][]byte{entry, entry[:len(entry)/2]})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		sn, err := s.Recent(context.Background(), "k")
		runtime.ReadMemStats(&after)
		if err != nil || len(sn.Events) != 2 || sn.Events[0].Pos != (streams.Pos{Epoch: 1, Seq: 2}) || sn.Events[1].Pos != (streams.Pos{Epoch: 1, Seq: 1}) {
			t.Fatalf("%+v, error %v", sn, err)
		}
		for _, e := range sn.Events {
			if len(e.Problem) > 200 || e.Problem != "" && e.Data != (event{}) || len(e.Data.Type)+len(e.Data.User) > 3*len(entry) {
				t.Errorf("%+v", e)
			}
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10+uint64(32*len(entry)) {
			t.Errorf("%d bytes were allocated for entries of %d", n, len(entry))
		}
	})
}
