package backendtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
)

// LogHarness tells [Log] how to reach a backend.
type LogHarness struct {
	// New returns a log that shares nothing with those of another call. It
	// registers with t what is to be cleaned up. It is required.
	New func(t *testing.T) driver.Log
	// Peer returns another client of the same log, as another process has one.
	// Nil if the backend serves a single process.
	Peer func(t *testing.T, l driver.Log) driver.Log
	// Advance moves the clock of all logs that New returned. If it is nil the
	// suite waits for lives of some hundred milliseconds.
	Advance func(d time.Duration)
	// Now reads that clock. The default is time.Now.
	Now func() time.Time
	// Wakes says that the log is a [driver.LogWaker].
	Wakes bool
}

// Log tests that a backend keeps the contract of [driver.Log]. Each failure names
// the rule that was broken.
func Log(t *testing.T, h LogHarness) {
	if h.Now == nil {
		h.Now = time.Now
	}
	for _, c := range logCases {
		t.Run(c.name, func(t *testing.T) {
			a := addonTest{T: t, rule: c.rule, advance: h.Advance}
			c.run(&logTest{addonTest: a, harness: h, log: h.New(t)})
		})
	}
}

var logCases = []struct {
	name, rule string
	run        func(*logTest)
}{
	{"Absent", "a key that does not exist is Done and otherwise zero", (*logTest).testAbsent},
	{"Append", "entries are newest first, and the position is their number", (*logTest).testAppend},
	{"Cap", "a key keeps its newest Cap entries", (*logTest).testCap},
	{"Hole", "a batch that leaves out entries replaces the list, whatever the caps were", (*logTest).testHole},
	{"Order", "batches are applied in order and answered in order, a key that occurs twice included", (*logTest).testOrder},
	{"Repeat", "a batch is applied at most once, however often it is repeated", (*logTest).testRepeat},
	{"Late", "a batch that comes after its successor is dropped", (*logTest).testLate},
	{"RepeatRace", "deliveries of one batch that overlap apply it once", (*logTest).testRepeatRace},
	{"Producers", "a key remembers the last number of each of LogProducers producers, those that appended last", (*logTest).testProducers},
	{"Counted", "what is only counted moves the total and not the position", (*logTest).testCounted},
	{"Types", "counts by type are sums, sorted by type, and the types beyond LogTypes add up under the empty one", (*logTest).testTypes},
	{"Unique", "Unique is within five percent of the number of distinct members", (*logTest).testUnique},
	{"Spark", "the sparkline ends with the present bucket, takes later times as present and leaves out what is older than the first", (*logTest).testSpark},
	{"SparkWidth", "another width starts the sparkline anew", (*logTest).testSparkWidth},
	{"SparkMoves", "the sparkline moves with the backend's clock", (*logTest).testSparkMoves},
	{"Expiry", "everything about a key expires TTL after the last batch applied", (*logTest).testExpiry},
	{"Epoch", "a key that is created again has a new epoch, and readers of the old one are told", (*logTest).testEpoch},
	{"After", "After is LogSnapshot.After of the same state", (*logTest).testAfter},
	{"Gaps", "what a reader gets and what it is told it missed add up to what was appended", (*logTest).testGaps},
	{"GapsRace", "gaps add up with producers and readers at work at once", (*logTest).testGapsRace},
	{"Consistent", "a snapshot is of one state of the key", (*logTest).testConsistent},
	{"Heads", "heads are those of the snapshots, in the order asked", (*logTest).testHeads},
	{"Keys", "keys that differ are apart", (*logTest).testKeys},
	{"Ownership", "slices passed in belong to the caller again, and those returned never change", (*logTest).testOwnership},
	{"Invalid", "a call with an invalid element is refused as a whole with ErrInvalid and has no effect", (*logTest).testInvalid},
	{"Empty", "an empty call gives an empty result and no error", (*logTest).testEmpty},
	{"Cancelled", "a call whose context has ended returns its error and has no effect", (*logTest).testCancelled},
	{"Close", "after Close calls wrap ErrUnavailable, and a second Close does nothing", (*logTest).testClose},
	{"Wakes", "the first wake-up is nil, and what is woken after it is heard", (*logTest).testWakes},
	{"WakesSlow", "Wake never waits for a reader, and a slow one learns that it has missed something", (*logTest).testWakesSlow},
}

// logTest is one case of [Log].
type logTest struct {
	addonTest
	harness LogHarness
	log     driver.Log
	number  uint64 // of the last batch that the test made
}

func (l *logTest) peer() driver.Log {
	if l.harness.Peer == nil {
		return l.log
	}
	return l.harness.Peer(l.T, l.log)
}

// logEntries returns n entries, newest first, that say which they are.
func logEntries(newest, n int64) [][]byte {
	entries := make([][]byte, n)
	for i := range entries {
		entries[i] = fmt.Appendf(nil, "entry %d", newest-int64(i))
	}
	return entries
}

// batch returns the next batch of the producer "p", with the entries up to newest,
// under a cap of 50, that a test alters.
func (l *logTest) batch(key string, newest, added int64) driver.LogBatch {
	l.number++
	return driver.LogBatch{
		Key:      key,
		Producer: "p",
		Number:   l.number,
		Cap:      50,
		TTL:      time.Hour,
		Added:    added,
		Entries:  logEntries(newest, min(added, 50)),
	}
}

// add appends batches in one call and checks that each was applied.
func (l *logTest) add(batches ...driver.LogBatch) []driver.LogHead {
	l.Helper()
	heads, err := l.log.Append(l.Context(), batches)
	l.must(err)
	l.checkHeads(heads, len(batches))
	for i, h := range heads {
		if h.Position.Epoch == 0 {
			l.broken("element %d: epoch 0 for a key that exists", i)
		}
	}
	return heads
}

func (l *logTest) checkHeads(heads []driver.LogHead, want int) {
	l.Helper()
	if len(heads) != want {
		l.Fatalf("broken rule: a result has one element for each asked\n\t%d for %d", len(heads), want)
	}
	for i, h := range heads {
		if h.Outcome != driver.Done {
			l.broken("element %d: %v without an error, want done", i, h.Outcome)
		}
	}
}

func (l *logTest) snapshot(key string) driver.LogSnapshot {
	l.Helper()
	got, err := l.log.Snapshot(l.Context(), []string{key})
	l.must(err)
	if len(got) != 1 || got[0].Head.Outcome != driver.Done {
		l.Fatalf("broken rule: a result has one element for each asked, Done unless there is an error\n\t%+v", got)
	}
	return got[0]
}

func (l *logTest) after(key string, p driver.Position) driver.LogDelta {
	l.Helper()
	got, err := l.log.After(l.Context(), []driver.LogAfter{{Key: key, Position: p}})
	l.must(err)
	if len(got) != 1 || got[0].Head.Outcome != driver.Done {
		l.Fatalf("broken rule: a result has one element for each asked, Done unless there is an error\n\t%+v", got)
	}
	return got[0]
}

// want checks a key's position and entries.
func (l *logTest) want(what, key string, seq int64, entries [][]byte) {
	l.Helper()
	s := l.snapshot(key)
	if s.Head.Position.Seq != seq {
		l.broken("%s: position %d, want %d", what, s.Head.Position.Seq, seq)
	}
	l.same(what+": entries", s.Entries, entries)
}

// same compares two values, a nil slice being the same as an empty one.
func (l *logTest) same(what string, got, want any) {
	l.Helper()
	if diff := cmp.Diff(want, got, logCompare); diff != "" {
		l.broken("%s differ (-want +got):\n%s", what, diff)
	}
}

// logCompare takes nil slices for empty ones.
var logCompare = cmp.Options{
	cmp.FilterValues(func(a, b [][]byte) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
	cmp.FilterValues(func(a, b []driver.LogCount) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
}

func (l *logTest) testAbsent() {
	l.same("heads", l.heads("none"), []driver.LogHead{{Outcome: driver.Done}})
	l.same("snapshots", l.snapshot("none"), driver.LogSnapshot{Head: driver.LogHead{Outcome: driver.Done}})
	l.same("deltas", l.after("none", driver.Position{}), driver.LogDelta{Head: driver.LogHead{Outcome: driver.Done}})
	old := driver.Position{Epoch: 7, Seq: 9}
	l.same("deltas", l.after("none", old), driver.LogDelta{Head: driver.LogHead{Outcome: driver.Done}, Reset: true})
}

func (l *logTest) heads(keys ...string) []driver.LogHead {
	l.Helper()
	heads, err := l.log.Heads(l.Context(), keys)
	l.must(err)
	l.checkHeads(heads, len(keys))
	return heads
}

func (l *logTest) testAppend() {
	head := l.add(l.batch("k", 3, 3))[0]
	if head.Position.Seq != 3 || head.Total != 3 {
		l.broken("head %+v, want position and total 3", head)
	}
	l.want("the first batch", "k", 3, logEntries(3, 3))
	next := l.add(l.batch("k", 5, 2))[0]
	if next.Position.Epoch != head.Position.Epoch {
		l.broken("the epoch changed without a reason")
	}
	l.want("the second batch", "k", 5, logEntries(5, 5))
	if created := l.snapshot("k").Created; created.Sub(l.harness.Now()).Abs() > time.Minute {
		l.broken("created at %v, want about %v", created, l.harness.Now())
	}
}

func (l *logTest) testCap() {
	l.add(l.batch("k", 45, 45))
	l.add(l.batch("k", 55, 10))
	l.want("beyond the cap", "k", 55, logEntries(55, 50))
	l.add(l.batch("k", 105, 50))
	l.want("a batch of the cap's size", "k", 105, logEntries(105, 50))
	l.add(l.batch("k", 1105, 1000))
	l.want("a batch beyond the cap", "k", 1105, logEntries(1105, 50))
	most := l.batch("k", 1105, 0)
	most.Cap, most.Added, most.Entries = driver.MaxLogCap, driver.MaxLogCap, logEntries(2105, driver.MaxLogCap)
	l.add(most)
	l.want("the greatest cap", "k", 2105, logEntries(2105, driver.MaxLogCap))
}

func (l *logTest) testOrder() {
	heads := l.add(l.batch("a", 2, 2), l.batch("b", 5, 5), l.batch("a", 3, 1), l.batch("a", 3, 0))
	for i, want := range []int64{2, 5, 3, 3} {
		if got := heads[i].Position.Seq; got != want {
			l.broken("element %d: position %d, want %d", i, got, want)
		}
	}
	l.want("the key that occurred thrice", "a", 3, logEntries(3, 3))
}

// full returns a batch that has something of everything.
func (l *logTest) full(key string, newest int64) driver.LogBatch {
	b := l.batch(key, newest, 2)
	b.Counted = 5
	b.Types = []driver.LogCount{{Type: "click", Count: 4}, {Type: "view", Count: 3}}
	b.Members = []string{"ann", "bob"}
	b.Bucket = time.Hour
	b.Times = []driver.LogTime{{Time: l.harness.Now(), Count: 7}}
	return b
}

func (l *logTest) testRepeat() {
	first := l.full("k", 2)
	l.add(first)
	before := l.snapshot("k")
	for range 3 {
		l.same("heads", l.add(first), []driver.LogHead{before.Head})
	}
	l.same("heads", l.add(first, first), []driver.LogHead{before.Head, before.Head})
	l.same("snapshots after repetitions", l.snapshot("k"), before)
	other := first
	other.Producer = "q"
	if got := l.add(other)[0].Position.Seq; got != 4 {
		l.broken("position %d after the same number from another producer, want 4", got)
	}
	elsewhere := first
	elsewhere.Key = "k2"
	if got := l.add(elsewhere)[0].Position.Seq; got != 2 {
		l.broken("position %d after the same number for another key, want 2", got)
	}
}

func (l *logTest) testLate() {
	first, second, third := l.batch("k", 2, 2), l.batch("k", 3, 1), l.batch("k", 4, 1)
	third.Number += 1 << 40
	l.add(first)
	l.add(third)
	l.add(second)
	want := append(append([][]byte{}, third.Entries...), first.Entries...)
	l.want("after a late batch", "k", 3, want)
}

func (l *logTest) testRepeatRace() {
	const batches, deliveries = 20, 3
	var wg sync.WaitGroup
	for range deliveries {
		client := l.peer()
		for n := range batches {
			b := l.batch("k", 2, 2)
			b.Producer, b.Number, b.Counted = fmt.Sprint("p", n), 1, 1
			wg.Go(func() {
				if _, err := client.Append(l.Context(), []driver.LogBatch{b}); err != nil {
					l.broken("unexpected error: %v", err)
				}
			})
		}
	}
	wg.Wait()
	if h := l.heads("k")[0]; h.Position.Seq != 2*batches || h.Total != 3*batches {
		l.broken("position %d and total %d, want %d and %d", h.Position.Seq, h.Total, 2*batches, 3*batches)
	}
}

func (l *logTest) testProducers() {
	named := func(n int) driver.LogBatch {
		b := l.batch("k", 1, 1)
		b.Producer, b.Number = fmt.Sprint("producer ", n), 1
		return b
	}
	for n := range driver.LogProducers + 40 {
		l.add(named(n))
	}
	again := named(40) // the one that appended first, of those remembered
	again.Number = 2
	l.add(again)
	seq := l.add(named(9999))[0].Position.Seq // so that the first is now number 41
	for n := 42; n < driver.LogProducers+40; n++ {
		if got := l.add(named(n))[0].Position.Seq; got != seq {
			l.broken("the batch of producer %d of %d was applied twice", n, driver.LogProducers+40)
			return
		}
	}
	if got := l.add(again, named(9999))[1].Position.Seq; got != seq {
		l.broken("the last batches were applied twice")
	}
}

func (l *logTest) testExpiry() {
	life, since := l.window(), time.Now()
	b := l.full("k", 2)
	b.TTL = life
	others := make([]string, 20) // that expire together
	for n := range others {
		others[n] = fmt.Sprint("other ", n)
		b.Key = others[n]
		l.add(b)
	}
	b.Key = "k"
	l.add(b)
	if l.advance != nil { // else the key may be gone by now
		l.advance(life - time.Millisecond)
		b = l.full("k", 4)
		b.TTL = life
		l.add(b)
		l.advance(life - time.Millisecond)
		l.add(b) // a repetition gives no new life
		l.want("in its second life", "k", 4, logEntries(4, 4))
		l.advance(time.Millisecond)
	} else {
		l.ends(since, life, func() bool { return l.heads("k")[0].Position.Epoch == 0 })
	}
	empty := driver.LogSnapshot{Head: driver.LogHead{Outcome: driver.Done}}
	l.same("snapshots of an expired key", l.snapshot("k"), empty)
	for _, h := range l.heads(append(others, "k")...) {
		l.same("heads of expired keys", h, empty.Head)
	}
}

func (l *logTest) testHeads() {
	var keys []string
	want := make([]driver.LogHead, 0, 300)
	for n := range int64(100) {
		key := fmt.Sprint("key ", n)
		head := l.add(l.batch(key, n+1, n+1))[0]
		keys = append(keys, key, "none", key)
		want = append(want, head, driver.LogHead{Outcome: driver.Done}, head)
	}
	l.same("heads", l.heads(keys...), want)
	snapshots, err := l.log.Snapshot(l.Context(), keys)
	l.must(err)
	heads := make([]driver.LogHead, len(snapshots))
	epochs := make(map[uint64]bool)
	for i, s := range snapshots {
		heads[i] = s.Head
		epochs[s.Head.Position.Epoch] = true
	}
	l.same("heads of snapshots", heads, want)
	if len(epochs) != 101 { // 0 is that of the keys that do not exist
		l.broken("%d epochs for 100 keys, want them random", len(epochs)-1)
	}
}

func (l *logTest) testKeys() {
	names := addonNames
	for _, suffix := range []string{":u", ":hll", ":seq", ":unique", ":members", ":meta", ":list", ":c", "}u", "\x00u"} {
		names = append(names[:len(names):len(names)], "a"+suffix)
	}
	var batches []driver.LogBatch
	for i, name := range names {
		b := l.batch(name, 0, 1)
		b.Entries = [][]byte{[]byte("of " + name)}
		b.Members = []string{fmt.Sprint("member ", i), "member of all"}
		b.Types = []driver.LogCount{{Type: name, Count: 1}}
		batches = append(batches, b)
	}
	l.add(batches...)
	for _, name := range names {
		s := l.snapshot(name)
		l.same(fmt.Sprintf("entries of %q", name), s.Entries, [][]byte{[]byte("of " + name)})
		l.same(fmt.Sprintf("types of %q", name), s.Types, []driver.LogCount{{Type: name, Count: 1}})
		if s.Head.Total != 1 || s.Unique != 2 {
			l.broken("key %q: total %d and unique %d, want 1 and 2", name, s.Head.Total, s.Unique)
		}
	}
}

func (l *logTest) testOwnership() {
	b := l.full("k", 2)
	l.add(b)
	for _, e := range b.Entries {
		clear(e)
	}
	b.Types[0], b.Members[0], b.Times[0] = driver.LogCount{}, "", driver.LogTime{}
	l.want("after the caller reused its slices", "k", 2, logEntries(2, 2))
	s := l.snapshot("k")
	d := l.after("k", driver.Position{})
	l.add(l.batch("k", 60, 58), l.full("k", 62))
	l.same("entries of an old snapshot", s.Entries, logEntries(2, 2))
	l.same("entries of an old delta", d.Entries, logEntries(2, 2))
	l.same("types of an old snapshot", s.Types, []driver.LogCount{{Type: "click", Count: 4}, {Type: "view", Count: 3}})
}

func (l *logTest) testInvalid() {
	long := strings.Repeat("x", driver.MaxLogKey+1)
	for name, alter := range map[string]func(*driver.LogBatch){
		"long key":          func(b *driver.LogBatch) { b.Key = long },
		"no producer":       func(b *driver.LogBatch) { b.Producer = "" },
		"long producer":     func(b *driver.LogBatch) { b.Producer = long },
		"number 0":          func(b *driver.LogBatch) { b.Number = 0 },
		"no cap":            func(b *driver.LogBatch) { b.Cap = 0 },
		"cap too great":     func(b *driver.LogBatch) { b.Cap = driver.MaxLogCap + 1 },
		"no life":           func(b *driver.LogBatch) { b.TTL = 0 },
		"too long a life":   func(b *driver.LogBatch) { b.TTL = driver.MaxLogTTL + 1 },
		"fewer than sent":   func(b *driver.LogBatch) { b.Added = 1 },
		"a hole":            func(b *driver.LogBatch) { b.Added = 3 },
		"a hole at the cap": func(b *driver.LogBatch) { b.Added = 100 },
		"more than the cap": func(b *driver.LogBatch) { b.Cap = 1 },
		"added below 0":     func(b *driver.LogBatch) { b.Added, b.Entries = -1, nil },
		"counted below 0":   func(b *driver.LogBatch) { b.Counted = -1 },
		"counted too many":  func(b *driver.LogBatch) { b.Counted = driver.MaxLogCount + 1 },
		"long entry":        func(b *driver.LogBatch) { b.Entries[1] = make([]byte, driver.MaxLogEntry+1) },
		"type below 0":      func(b *driver.LogBatch) { b.Types[0].Count = -1 },
		"long type":         func(b *driver.LogBatch) { b.Types[0].Type = long },
		"long member":       func(b *driver.LogBatch) { b.Members[0] = long },
		"many members":      func(b *driver.LogBatch) { b.Members = make([]string, driver.MaxLogParts+1) },
		"no bucket":         func(b *driver.LogBatch) { b.Bucket = 0 },
		"broken bucket":     func(b *driver.LogBatch) { b.Bucket = time.Millisecond + 1 },
		"time below 0":      func(b *driver.LogBatch) { b.Times[0].Count = -1 },
	} {
		bad := l.full("k", 2)
		alter(&bad)
		heads, err := l.log.Append(l.Context(), []driver.LogBatch{l.batch("k", 1, 1), bad})
		l.refused(name, len(heads), err, driver.ErrInvalid)
	}
	l.same("heads after refused batches", l.heads("k"), []driver.LogHead{{Outcome: driver.Done}})
	heads, err := l.log.Heads(l.Context(), []string{"k", long})
	l.refused("Heads of a long key", len(heads), err, driver.ErrInvalid)
	snapshots, err := l.log.Snapshot(l.Context(), []string{"k", long})
	l.refused("Snapshot of a long key", len(snapshots), err, driver.ErrInvalid)
	deltas, err := l.log.After(l.Context(), []driver.LogAfter{{Key: "k"}, {Key: long}})
	l.refused("After of a long key", len(deltas), err, driver.ErrInvalid)
	deltas, err = l.log.After(l.Context(), []driver.LogAfter{{Key: "k", Position: driver.Position{Seq: -1}}})
	l.refused("After a position below zero", len(deltas), err, driver.ErrInvalid)
	if l.harness.Wakes {
		l.refused("Wake of a long key", 0, l.waker().Wake(l.Context(), []string{"k", long}), driver.ErrInvalid)
	}
}

func (l *logTest) testEmpty() {
	heads, err := l.log.Append(l.Context(), nil)
	l.must(err)
	l.checkHeads(heads, 0)
	l.checkHeads(l.heads(), 0)
	snapshots, err := l.log.Snapshot(l.Context(), nil)
	l.must(err)
	deltas, err := l.log.After(l.Context(), nil)
	l.must(err)
	if len(snapshots)+len(deltas) != 0 {
		l.broken("%d snapshots and %d deltas, want none", len(snapshots), len(deltas))
	}
	l.add(l.batch("k", 0, 0)) // a batch that says nothing still creates its key
}

// everyCall makes one call of each method and checks how it is refused.
func (l *logTest) everyCall(ctx context.Context, want error) {
	l.Helper()
	heads, err := l.log.Append(ctx, []driver.LogBatch{l.batch("k", 1, 1)})
	l.refused("Append", len(heads), err, want)
	heads, err = l.log.Heads(ctx, []string{"k"})
	l.refused("Heads", len(heads), err, want)
	snapshots, err := l.log.Snapshot(ctx, []string{"k"})
	l.refused("Snapshot", len(snapshots), err, want)
	deltas, err := l.log.After(ctx, []driver.LogAfter{{Key: "k"}})
	l.refused("After", len(deltas), err, want)
	if l.harness.Wakes {
		l.refused("Wake", 0, l.waker().Wake(ctx, []string{"k"}), want)
	}
}

func (l *logTest) testCancelled() {
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	l.everyCall(ctx, context.Canceled)
	l.same("heads after cancelled calls", l.heads("k"), []driver.LogHead{{Outcome: driver.Done}})
}

func (l *logTest) testClose() {
	next, stop := func() ([]string, error, bool) { return nil, driver.ErrUnavailable, true }, func() {}
	ctx, cancel := context.WithTimeout(l.Context(), addonPatience)
	defer cancel()
	if l.harness.Wakes {
		next, stop = l.listen(ctx)
	}
	defer stop()
	l.must(l.log.Close(l.Context()))
	l.must(l.log.Close(l.Context()))
	l.everyCall(l.Context(), driver.ErrUnavailable)
	for {
		_, err, ok := next()
		if err != nil || !ok {
			l.refused("Wakes", 0, err, driver.ErrUnavailable)
			return
		}
	}
}
