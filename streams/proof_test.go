package streams_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

var full = flag.Bool("streams.full", false, "account for streams at length, as a soak does")

// longer returns n, or much more for a soak.
func longer(n int) int {
	if *full {
		return 20 * n
	}
	return n
}

// TestMain lets the test program be a process of a test.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](context.Background(), os.Getenv(taskVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// becomes waits for a condition.
func becomes(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// audit notes what becomes of the batches that go through audited logs, and that they are
// sent as a log demands it.
type audit struct {
	t testing.TB

	mu      sync.Mutex // protects what follows
	failed  int        // batches that were not answered when they were sent, each time
	open    map[batchID]int64
	last    map[batchID]uint64          // the number last sent, by a batchID without one
	acked   map[place]map[string]int64  // events by type
	unknown map[string]map[string]int64 // of those that were not answered at first, by key and type
}

type batchID struct {
	key, producer string
	number        uint64
}

// place is an epoch of a key.
type place struct {
	key   string
	epoch uint64
}

func newAudit(t testing.TB) *audit {
	return &audit{
		t: t, open: make(map[batchID]int64), last: make(map[batchID]uint64), acked: make(map[place]map[string]int64),
		unknown: make(map[string]map[string]int64),
	}
}

// auditedLog is a log without wake-ups whose batches are noted.
type auditedLog struct {
	driver.Log
	audit *audit
}

func (l auditedLog) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	l.audit.sent(batches)
	heads, err := l.Log.Append(ctx, batches)
	l.audit.answered(batches, heads)
	return heads, err
}

func (a *audit) sent(batches []driver.LogBatch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range batches {
		key := plainKey(b.Key)
		id, of := batchID{key, b.Producer, b.Number}, batchID{key: key, producer: b.Producer}
		_, again := a.open[id]
		last := a.last[of]
		if _, unanswered := a.open[batchID{key, b.Producer, last}]; !again && (unanswered || b.Number <= last) {
			a.t.Errorf("batch %d of %q is sent after %d, which was answered: %v", b.Number, b.Key, last, !unanswered)
		}
		a.open[id], a.last[of] = b.Added, b.Number
	}
}

func (a *audit) answered(batches []driver.LogBatch, heads []driver.LogHead) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, b := range batches {
		key := plainKey(b.Key)
		if len(heads) != len(batches) || heads[i].Outcome != driver.Done {
			a.failed++
			count(a.unknown, key, b)
			continue
		}
		delete(a.open, batchID{key, b.Producer, b.Number})
		count(a.acked, place{key, heads[i].Position.Epoch}, b)
	}
}

// plainKey returns the key of a log's key, of a stream without a name.
func plainKey(key string) string { return strings.TrimPrefix(key, "0:") }

func count[K comparable](in map[K]map[string]int64, at K, b driver.LogBatch) {
	if in[at] == nil {
		in[at] = make(map[string]int64)
	}
	for _, c := range b.Types {
		in[at][c.Type] += c.Count
	}
}

// unanswered returns how many batches are not answered.
func (a *audit) unanswered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open)
}

// failures returns how often a batch was not answered.
func (a *audit) failures() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// answeredIn returns how many events were acknowledged in an epoch.
func (a *audit) answeredIn(key string, epoch uint64) (n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.acked[place{key, epoch}] {
		n += c
	}
	return n
}

// epochs returns how many epochs of a key there were.
func (a *audit) epochs(key string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range a.acked {
		if p.key == key {
			n++
		}
	}
	return n
}

// book has all that readers were told.
type book struct {
	t testing.TB

	mu     sync.Mutex // protects what follows
	events map[bookPos]told
	places map[bookTold]streams.Pos
	epochs map[string]map[told]uint64 // by key
	twice  int                        // events that were seen in two epochs
}

// told is an event as its producer made it.
type told struct {
	producer string
	n        int
}

type bookPos struct {
	key string
	pos streams.Pos
}

type bookTold struct {
	place
	told
}

func newBook(t testing.TB) *book {
	return &book{
		t: t, events: make(map[bookPos]told), places: make(map[bookTold]streams.Pos),
		epochs: make(map[string]map[told]uint64),
	}
}

// enter notes an event, and checks that nobody was told otherwise.
func (b *book) enter(key string, e *streams.Event[event]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	is := told{e.Data.Type, e.Data.N}
	if was, known := b.events[bookPos{key, e.Pos}]; known && was != is {
		b.t.Errorf("%s at %v: %v, and %v for another reader", key, e.Pos, is, was)
	}
	in := bookTold{place{key, e.Pos.Epoch}, is}
	if at, known := b.places[in]; known && at != e.Pos {
		b.t.Errorf("%s: %v is at %v and at %v", key, is, at, e.Pos)
	}
	b.events[bookPos{key, e.Pos}], b.places[in] = is, e.Pos
	if b.epochs[key] == nil {
		b.epochs[key] = make(map[told]uint64)
	}
	if epoch, known := b.epochs[key][is]; known && epoch != e.Pos.Epoch {
		b.twice++
	}
	b.epochs[key][is] = e.Pos.Epoch
}

// reader is one who follows a key, across its visits.
type reader struct {
	book *book
	name string
	key  string

	mu     sync.Mutex // protects what follows
	last   streams.Pos
	sums   map[uint64]*sum // by epoch
	newest map[string]int  // the last event by its producer, of this epoch
	resets int
}

type sum struct{ delivered, missed int64 }

func (b *book) reader(name, key string) *reader {
	return &reader{book: b, name: name, key: key, sums: make(map[uint64]*sum), newest: make(map[string]int)}
}

func (r *reader) sumLocked(epoch uint64) *sum {
	if r.sums[epoch] == nil {
		r.sums[epoch] = new(sum)
	}
	return r.sums[epoch]
}

// take notes an item, and checks that it follows the one before.
func (r *reader) take(it streams.Item[event]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case it.Gap != nil && it.Gap.Reset:
		if it.Gap.Pos.Seq != it.Gap.Missed || it.Gap.Pos.Epoch == r.last.Epoch {
			r.book.t.Errorf("%s: a reset of %d at %v leads to %v", r.name, it.Gap.Missed, r.last, it.Gap.Pos)
		}
		r.resets++
		clear(r.newest)
		r.last = it.Gap.Pos
		r.sumLocked(r.last.Epoch).missed += it.Gap.Missed
	case it.Gap != nil:
		if it.Gap.Missed < 1 || it.Gap.Pos.Seq != r.last.Seq+it.Gap.Missed || r.changes(it.Gap.Pos) {
			r.book.t.Errorf("%s: a gap of %d at %v leads to %v", r.name, it.Gap.Missed, r.last, it.Gap.Pos)
		}
		r.last = it.Gap.Pos
		r.sumLocked(r.last.Epoch).missed += it.Gap.Missed
	default:
		e := it.Event
		if e.Pos.Seq != r.last.Seq+1 || r.changes(e.Pos) || e.Problem != "" {
			r.book.t.Errorf("%s: event %v %q follows %v", r.name, e.Pos, e.Problem, r.last)
		}
		if r.newest[e.Data.Type] >= e.Data.N {
			r.book.t.Errorf("%s: event %d of %s follows its event %d", r.name, e.Data.N, e.Data.Type, r.newest[e.Data.Type])
		}
		r.newest[e.Data.Type], r.last = e.Data.N, e.Pos
		r.sumLocked(r.last.Epoch).delivered++
		r.book.enter(r.key, e)
	}
}

// changes reports whether a position is of another epoch than the last.
func (r *reader) changes(to streams.Pos) bool {
	return r.last != streams.Pos{} && to.Epoch != r.last.Epoch
}

func (r *reader) at() streams.Pos {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// visit follows the key from where the reader is until ctx ends. pause is called after each
// item.
func (r *reader) visit(ctx context.Context, s *streams.Stream[event], pause func()) {
	from, err := streams.ParsePos(r.at().String())
	if err != nil {
		r.book.t.Error(err)
	}
	for it, err := range s.Tail(ctx, r.key, from) {
		if err != nil {
			r.book.t.Errorf("%s: %v", r.name, err)
			return
		}
		r.take(it)
		pause()
	}
}

// check compares what a reader was told with what was acknowledged, of which all of the
// last epoch must be. more is the number of events of which nobody knows.
func (r *reader) check(a *audit, more int64) {
	r.book.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for epoch, s := range r.sums {
		told, acked := s.delivered+s.missed, a.answeredIn(r.key, epoch)
		if epoch == r.last.Epoch && (told < acked || told > acked+more) {
			r.book.t.Errorf("%s: %d delivered and %d missed of %d to %d", r.name, s.delivered, s.missed, acked, acked+more)
		}
		a.mu.Lock()
		for _, n := range a.unknown[r.key] {
			acked += n
		}
		a.mu.Unlock()
		if told > acked+more {
			r.book.t.Errorf("%s: %d delivered and %d missed of %d in an earlier epoch", r.name, s.delivered, s.missed, acked)
		}
	}
	if s := r.sums[r.last.Epoch]; s == nil || s.delivered == 0 {
		r.book.t.Errorf("%s: nothing was delivered", r.name)
	}
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%s: %d resets", r.name, r.resets)
	for epoch, s := range r.sums {
		text += fmt.Sprintf("; %d + %d = %d", s.delivered, s.missed, s.delivered+s.missed)
		if epoch == r.last.Epoch {
			text += " in the last epoch"
		}
	}
	return text
}

// checkSnapshot compares what is known of a key with what was acknowledged in its epoch, all of
// it being answered.
func checkSnapshot(t testing.TB, a *audit, key string, sn streams.Snapshot[event]) {
	t.Helper()
	types := make(map[string]int64)
	for _, c := range sn.Types {
		types[c.Type] = c.Count
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if diff := cmp.Diff(a.acked[place{key, sn.Pos.Epoch}], types); diff != "" {
		t.Errorf("%s: acknowledged and counted by type:\n%s", key, diff)
	}
	all := int64(0)
	for _, n := range types {
		all += n
	}
	if sn.Pos.Seq != all || sn.Total != all || int64(len(sn.Events)) != min(all, 50) {
		t.Errorf("%s: at %v with a total of %d and %d events: %d were acknowledged", key, sn.Pos, sn.Total, len(sn.Events), all)
	}
}

// fault is what goes wrong with a call.
type fault int

const (
	works    fault = iota
	fails          // nothing is applied
	loses          // the reply, or that to some of its elements
	delays         // for a while
	hangs          // until the caller gives up
	comeLate       // the caller gives up, and later it is applied
)

// faultyLog is a log of which calls go wrong. It does not wake.
type faultyLog struct {
	log    atomic.Pointer[driver.Log]
	faults []fault               // of which one is chosen for each call
	off    atomic.Bool           // nothing goes wrong
	pick   func(n int) int       // a number below n
	after  func(f func())        // calls f some time later
	sleep  func(context.Context) // for a while
}

func newFaultyLog(log driver.Log, seed uint64, faults ...fault) *faultyLog {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	l := &faultyLog{faults: faults, pick: func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}}
	l.log.Store(&log)
	l.after = func(f func()) { time.AfterFunc(time.Duration(l.pick(5000))*time.Millisecond, f) }
	l.sleep = func(ctx context.Context) {
		select {
		case <-time.After(time.Duration(l.pick(80)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return l
}

var errFault = errors.New("a fault of the test")

func (l *faultyLog) choose() fault {
	if l.off.Load() || len(l.faults) == 0 {
		return works
	}
	return l.faults[l.pick(len(l.faults))]
}

func (l *faultyLog) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	log := *l.log.Load()
	switch f := l.choose(); f {
	case fails:
		return nil, errFault
	case loses:
		heads, err := log.Append(ctx, batches)
		if l.pick(2) == 0 {
			return nil, errors.Join(err, errFault)
		}
		for i := range heads {
			if l.pick(2) == 0 {
				heads[i] = driver.LogHead{}
			}
		}
		return heads, errors.Join(err, errFault)
	case delays:
		l.sleep(ctx)
	case hangs, comeLate:
		kept := append([]driver.LogBatch(nil), batches...) // of which the stream changes nothing
		<-ctx.Done()
		if f == comeLate {
			l.after(func() { _, _ = log.Append(context.Background(), kept) })
		}
		return nil, ctx.Err()
	}
	return log.Append(ctx, batches)
}

// read has a call that reads go wrong.
func (l *faultyLog) read(ctx context.Context) error {
	switch l.choose() {
	case fails, loses:
		return errFault
	case delays:
		l.sleep(ctx)
	case hangs, comeLate:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (l *faultyLog) Heads(ctx context.Context, keys []string) ([]driver.LogHead, error) {
	if err := l.read(ctx); err != nil {
		return nil, err
	}
	return (*l.log.Load()).Heads(ctx, keys)
}

func (l *faultyLog) After(ctx context.Context, reads []driver.LogAfter) ([]driver.LogDelta, error) {
	if err := l.read(ctx); err != nil {
		return nil, err
	}
	return (*l.log.Load()).After(ctx, reads)
}

func (l *faultyLog) Snapshot(ctx context.Context, keys []string) ([]driver.LogSnapshot, error) {
	return (*l.log.Load()).Snapshot(ctx, keys)
}

func (l *faultyLog) Close(context.Context) error { return nil }

// waking is a log with the wake-ups of another.
type waking struct {
	driver.Log
	waker driver.LogWaker
	calls *atomic.Int64 // of Wake, may be nil
}

func (w waking) Wake(ctx context.Context, keys []string) error {
	if w.calls != nil {
		w.calls.Add(1)
	}
	return w.waker.Wake(ctx, keys)
}

func (w waking) Wakes(ctx context.Context) iter.Seq2[[]string, error] { return w.waker.Wakes(ctx) }

// burst appends so many events, numbered on from n, and returns the last number.
func burst(s *streams.Stream[event], key, producer string, n, many int) int {
	for range many {
		n++
		s.Append(key, event{N: n, Type: producer, User: fmt.Sprint("user", n%7)})
	}
	return n
}

// maxBurst is how many events come at once at the most.
const maxBurst = 139

var discard = slog.New(slog.DiscardHandler)
