package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// faulty is a store behind a proxy, and one that goes past it.
type faulty struct {
	server  *mongotest.Server
	options mongo.Options
	proxy   *mongotest.Proxy
	store   *mongo.Store
	clean   *mongo.Store
}

// newFaulty returns a store with an ensured schema, of a server that keeps its data.
func newFaulty(t *testing.T, uriOptions string) *faulty {
	t.Helper()
	if mongotest.External() != "" {
		t.Skip("faults take a server of our own")
	}
	f := &faulty{server: mongotest.Lungo(t, "-file", filepath.Join(t.TempDir(), "lungo"))}
	f.options = mongo.Options{Database: f.server.Database(t), Plain: true, Logger: slog.New(slog.DiscardHandler)}
	f.clean = reopen(t, f.server, f.options)
	ensure(t, f.clean, someSchema)
	return f.behind(t, uriOptions)
}

// behind returns another store of the same server, behind a proxy of its own: after each cut a
// client waits half a second before it looks for its server again.
func (f *faulty) behind(t *testing.T, uriOptions string) *faulty {
	t.Helper()
	other := *f
	other.proxy = mongotest.NewProxy(t, f.server.Addr)
	uri := other.proxy.URI() + "&serverSelectionTimeoutMS=2000&heartbeatFrequencyMS=500&" + uriOptions
	var err error
	if other.store, err = mongo.Open(t.Context(), uri, &f.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.store.Close(context.Background()) })
	ensure(t, other.store, someSchema)
	return &other
}

func isWrite(cmd string) bool {
	return slices.Contains([]string{"insert", "update", "delete", "findAndModify"}, cmd)
}

// arm makes the proxy do something about the next requests that are writes, or reads.
func (f *faulty) arm(action mongotest.Action, times int, which func(cmd string) bool) {
	var mu sync.Mutex
	f.proxy.On(func(cmd string) mongotest.Action {
		mu.Lock()
		defer mu.Unlock()
		if times == 0 || !which(cmd) {
			return mongotest.Pass
		}
		times--
		return action
	})
}

// deed is a write with a way to see how often it was applied.
type deed struct {
	name    string
	before  []driver.Write
	writes  []driver.Write
	applied func(s driver.Store) int
}

// deeds returns one write of each sort, of records that have the name.
func deeds(t testing.TB, name string) []deed {
	edge := func(kind string) driver.Write {
		return driver.Write{Op: driver.Insert, Kind: kind, Edge: &driver.Edge{From: name, To: "p", Version: 1}}
	}
	object := func(op driver.WriteOp, id string, version, n, expect int64) driver.Write {
		return driver.Write{Op: op, Kind: "user", Object: numbered(id, version, n), Expect: expect}
	}
	there := func(ids ...string) func(s driver.Store) int {
		return func(s driver.Store) (n int) {
			for _, id := range ids {
				if get(t, s, "user", id) != nil {
					n++
				}
			}
			return n
		}
	}
	number := func(id string) func(s driver.Store) int {
		return func(s driver.Store) int { n, _ := field(get(t, s, "user", id), "n").(int64); return int(n) }
	}
	count := func(kind string) func(s driver.Store) int {
		return func(s driver.Store) int {
			return read(t, s, driver.Step{Op: driver.CountEdges, Kind: kind, IDs: []string{name}}).Counts[0]
		}
	}
	bulk := []driver.Write{}
	var ids []string
	for i := range 5 {
		ids = append(ids, fmt.Sprint(name, "-bulk-", i))
		bulk = append(bulk, object(driver.Insert, ids[i], 1, 0, 0))
	}
	all := func(s driver.Store) int {
		n := there(ids...)(s)
		if n != 0 && n != len(ids) {
			t.Errorf("of a batch %d were inserted", n)
		}
		return n / len(ids)
	}
	id := func(kind string) string { return name + "-" + kind }
	return []deed{
		{"insert", nil, []driver.Write{object(driver.Insert, id("insert"), 1, 1, 0)}, there(id("insert"))},
		{"replace", []driver.Write{object(driver.Insert, id("replace"), 1, 0, 0)}, []driver.Write{object(driver.Replace, id("replace"), 2, 1, 1)}, number(id("replace"))},
		{"replace any", []driver.Write{object(driver.Insert, id("any"), 1, 0, 0)}, []driver.Write{object(driver.Replace, id("any"), 2, 1, 0)}, number(id("any"))},
		{"delete", []driver.Write{object(driver.Insert, id("delete"), 1, 0, 0)}, []driver.Write{object(driver.Delete, id("delete"), 0, 0, 1)},
			func(s driver.Store) int { return 1 - there(id("delete"))(s) }},
		{"modify", []driver.Write{object(driver.Insert, id("modify"), 1, 0, 0)}, []driver.Write{plus(id("modify"), 1)}, number(id("modify"))},
		{"bulk", nil, bulk, all},
		{"edge", nil, []driver.Write{edge("follows")}, count("follows")},
		{"rekind", []driver.Write{edge("likes")}, []driver.Write{{Op: driver.Rekind, Kind: "likes", NewKind: "hates", Edge: &driver.Edge{From: name, To: "p", Version: 2}}}, count("hates")},
	}
}

func (f *faulty) prepare(t *testing.T, d deed) {
	t.Helper()
	for _, w := range d.before {
		write(t, f.clean, w, driver.Done)
	}
}

// checkOutcomes checks that outcomes and error of a write agree, and returns the outcome,
// which is the same for all of a batch.
func checkOutcomes(t testing.TB, results []driver.WriteResult, err error) driver.Outcome {
	t.Helper()
	for _, r := range results {
		if r.Outcome != results[0].Outcome {
			t.Errorf("outcomes differ: %v and %v", r.Outcome, results[0].Outcome)
		}
	}
	got := results[0].Outcome
	switch got {
	case driver.Unknown:
		if !errors.Is(err, driver.ErrUnknownOutcome) || errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("the error of a write whose outcome is not known: %v", err)
		}
	case driver.Refused:
		if err == nil || errors.Is(err, driver.ErrUnknownOutcome) {
			t.Errorf("the error of a write that was refused: %v", err)
		}
	default:
		if err != nil {
			t.Errorf("outcome %v with the error %v", got, err)
		}
	}
	return got
}

// A write whose connection breaks is Done and applied once where the client tries again, and
// Unknown where it does not, applied or not.
func TestCutWrites(t *testing.T) {
	t.Parallel()
	all := newFaulty(t, "")
	var cases []func() error
	for _, c := range []struct {
		name   string
		retry  bool
		action mongotest.Action
		times  int
		want   driver.Outcome
		count  int
	}{
		{"once-before", true, mongotest.CutBefore, 1, driver.Done, 1},
		{"once-after", true, mongotest.CutAfter, 1, driver.Done, 1},
		{"twice-before", true, mongotest.CutBefore, 2, driver.Unknown, 0},
		{"twice-after", true, mongotest.CutAfter, 2, driver.Unknown, 1},
		{"alone-before", false, mongotest.CutBefore, 1, driver.Unknown, 0},
		{"alone-after", false, mongotest.CutAfter, 1, driver.Unknown, 1},
	} {
		for _, d := range deeds(t, c.name) {
			cases = append(cases, func() error {
				f := all.behind(t, fmt.Sprint("retryWrites=", c.retry))
				f.prepare(t, d)
				f.arm(c.action, c.times, isWrite)
				results, err := f.store.Write(t.Context(), d.writes)
				f.proxy.On(nil)
				if got := checkOutcomes(t, results, err); got != c.want {
					return fmt.Errorf("%s, %s: %v, %w, want %v", c.name, d.name, got, err, c.want)
				}
				if n := d.applied(f.clean); n != c.count {
					return fmt.Errorf("%s, %s: applied %d times, want %d", c.name, d.name, n, c.count)
				}
				return nil
			})
		}
	}
	storm(t, len(cases), func(i int) error { return cases[i]() })
}

// A write that is slower than its context is Unknown, and what it does later it does once.
func TestSlowWrites(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, "retryWrites=true")
	for _, action := range []mongotest.Action{mongotest.HangAfter, mongotest.HangBefore} {
		for _, d := range deeds(t, fmt.Sprint("slow", action)) {
			f.prepare(t, d)
			f.arm(action, 1, isWrite)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
			results, err := f.store.Write(ctx, d.writes)
			cancel()
			f.proxy.On(nil)
			if got := checkOutcomes(t, results, err); got != driver.Unknown {
				t.Errorf("%s: %v, %v", d.name, got, err)
			}
			f.proxy.Release()
			time.Sleep(10 * time.Millisecond)
			if n := d.applied(f.clean); n > 1 || n == 0 && action == mongotest.HangAfter {
				t.Errorf("%s: applied %d times", d.name, n)
			}
		}
	}
}

// Writes that cannot reach the server are Refused, or Unknown if they may have been sent, and
// the store works again when the server is back.
func TestServerDown(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, "retryWrites=true")
	f.server.Kill()
	refused := 0
	all := deeds(t, "down")
	for _, d := range all {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		results, err := f.store.Write(ctx, d.writes)
		cancel()
		switch got := checkOutcomes(t, results, err); got {
		case driver.Refused:
			refused++
			if !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("%s: %v", d.name, err)
			}
		case driver.Unknown:
		default:
			t.Errorf("%s: %v without a server", d.name, got)
		}
	}
	if refused == 0 {
		t.Error("no write was refused")
	}
	if err := f.server.Restart(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := f.store.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}}, "")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for _, d := range all {
		if n := d.applied(f.clean); n != 0 && d.name != "delete" {
			t.Errorf("%s was applied %d times without a server", d.name, n)
		}
	}
}

// A read after a write that was not applied fails without making the write's outcome unknown.
func TestCutLook(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, "retryWrites=false")
	write(t, f.clean, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, 0)}, driver.Done)
	for name, w := range map[string]driver.Write{
		"conflict": {Op: driver.Replace, Kind: "user", Object: numbered("a", 9, 9), Expect: 8},
		"exists":   {Op: driver.Insert, Kind: "user", Object: numbered("a", 9, 9)},
	} {
		f.arm(mongotest.CutBefore, -1, func(cmd string) bool { return cmd == "find" })
		results, err := f.store.Write(t.Context(), []driver.Write{w})
		f.proxy.On(nil)
		if results[0].Outcome != driver.Refused || !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrUnknownOutcome) {
			t.Errorf("%s: %v, %v", name, results[0].Outcome, err)
		}
		if o := get(t, f.clean, "user", "a"); o.Version != 1 {
			t.Errorf("%s: version %d", name, o.Version)
		}
	}
}

// A read fails as a whole, says that the server is not available, and gives nothing of what
// other steps have found.
func TestCutReads(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, "")
	write(t, f.clean, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered("a", 1, 0)}, driver.Done)
	email := someSchema.Objects[0].Indexes[0].Columns[0]
	filter := &driver.Filter{Op: driver.AnyOf, Column: &email, Values: []driver.Value{"x"}}
	steps := []driver.Step{
		{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}},
		{Op: driver.ListEdges, Kind: "follows", IDs: []string{"a", "b"}, Range: driver.Range{Limit: 2}},
		{Op: driver.CountEdges, Kind: "friend", IDs: []string{"a"}},
		{Op: driver.GetEdges, Kind: "home", IDs: []string{"a"}, Ends: []string{"b"}},
		{Op: driver.FindObjects, Kind: "user", Filter: filter},
		{Op: driver.FindObjects, Kind: "user", Filter: filter, Count: true},
		{Op: driver.FindEdges, Kind: "follows", IDs: []string{"a"}},
		{Op: driver.ScanDeleting, Kind: "user"},
		{Op: driver.ScanEdges, Kind: "likes"},
	}
	isRead := func(cmd string) bool { return cmd == "find" || cmd == "aggregate" }
	storm(t, len(steps), func(i int) error {
		step, f := steps[i], f.behind(t, "")
		// The driver tries a read twice: one cut is nothing that anybody sees.
		f.arm(mongotest.CutAfter, 1, isRead)
		if _, err := f.store.Read(t.Context(), []driver.Step{step}, ""); err != nil {
			return fmt.Errorf("step %d: one cut: %w", step.Op, err)
		}
		f.arm(mongotest.HangAfter, 1, isRead)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		results, err := f.store.Read(ctx, []driver.Step{step}, "")
		cancel()
		if results != nil || err == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, driver.ErrUnavailable) {
			return fmt.Errorf("step %d: slow: %v, %w", step.Op, results, err)
		}
		f.proxy.Release()
		f.arm(mongotest.CutBefore, -1, isRead)
		results, err = f.store.Read(t.Context(), []driver.Step{step}, "")
		if results != nil || !errors.Is(err, driver.ErrUnavailable) {
			return fmt.Errorf("step %d: cut: %v, %w", step.Op, results, err)
		}
		return nil
	})
	f.arm(mongotest.CutBefore, -1, func(cmd string) bool { return cmd == "aggregate" })
	if results, err := f.store.Read(t.Context(), steps, ""); results != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("all steps, counts cut: %v, %v", results, err)
	}
	f.proxy.On(nil)
	f.arm(mongotest.CutBefore, -1, func(cmd string) bool { return cmd == "find" || isWrite(cmd) })
	if _, err := f.store.Look(t.Context()); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Look, cut: %v", err)
	}
	if _, err := f.store.ID(t.Context()); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("ID, cut: %v", err)
	}
}

// A call of the ledger whose connection breaks works if the client tries again. If it does
// not, it returns an error, applied or not, and works when it is made once more.
func TestCutLedger(t *testing.T) {
	t.Parallel()
	all := newFaulty(t, "")
	var owed []driver.JournalEntry
	for i := range 50 {
		owed = append(owed, driver.JournalEntry{Anchor: fmt.Sprint(i), Owner: "me", Token: "1", Window: time.Second})
	}
	index := []driver.RegistryEntry{{Kind: "user", Spec: "a"}}
	calls := []struct {
		name string
		make func(ctx context.Context, s *mongo.Store) error
		done func(driver.Look) bool
	}{
		{"Owe", func(ctx context.Context, s *mongo.Store) error { return s.Owe(ctx, owed) }, func(l driver.Look) bool { return len(l.Journal) == len(owed) }},
		{"Settle", func(ctx context.Context, s *mongo.Store) error { return s.Settle(ctx, owed) }, func(l driver.Look) bool { return len(l.Journal) == 0 }},
		{"Register", func(ctx context.Context, s *mongo.Store) error { return s.Register(ctx, index) }, func(l driver.Look) bool { return len(l.Registry) == 1 && l.Registry[0].Ready }},
		{"Raise", func(ctx context.Context, s *mongo.Store) error { return s.Raise(ctx, []string{"user"}, 5) }, func(l driver.Look) bool { return l.Generations["user"] >= 5 }},
	}
	check := func(name string, done func(driver.Look) bool) {
		t.Helper()
		look, err := all.clean.Look(t.Context())
		if err != nil || !done(look) {
			t.Errorf("%s has not done it: %d entries, %v, generations %v, %v", name, len(look.Journal), look.Registry, look.Generations, err)
		}
	}
	for _, action := range []mongotest.Action{mongotest.CutBefore, mongotest.CutAfter} {
		for _, c := range calls {
			f := all.behind(t, "retryWrites=true")
			f.arm(action, 1, isWrite)
			if err := c.make(t.Context(), f.store); err != nil {
				t.Errorf("%s, one cut: %v", c.name, err)
			}
			check(c.name+", one cut,", c.done)
		}
		for _, c := range calls {
			f := all.behind(t, "retryWrites=false")
			f.arm(action, 1, isWrite)
			if err := c.make(t.Context(), f.store); !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("%s, cut: %v", c.name, err)
			}
			if err := c.make(t.Context(), f.store); err != nil {
				t.Errorf("%s, once more: %v", c.name, err)
			}
			check(c.name+", once more,", c.done)
		}
		for _, c := range calls {
			f := all.behind(t, "")
			hang := mongotest.HangAfter
			if action == mongotest.CutBefore {
				hang = mongotest.HangBefore
			}
			f.arm(hang, 1, isWrite)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if err := c.make(ctx, f.store); !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("%s, slow: %v", c.name, err)
			}
			cancel()
			f.proxy.Release()
			if err := c.make(t.Context(), f.store); err != nil {
				t.Errorf("%s after a slow one: %v", c.name, err)
			}
			check(c.name+" after a slow one", c.done)
		}
	}
}

// schedule is a run of random writes under random faults, and what must be true after it.
type schedule struct {
	*faulty
	t *testing.T

	mu     sync.Mutex
	checks []func() error         // protects
	counts map[driver.Outcome]int // protects
}

// make makes a write and counts its outcome.
func (s *schedule) make(f *faulty, writes ...driver.Write) driver.Outcome {
	ctx, cancel := context.WithTimeout(s.t.Context(), 700*time.Millisecond)
	defer cancel()
	results, err := f.store.Write(ctx, writes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[results[0].Outcome]++
	return checkOutcomes(s.t, results, err)
}

func (s *schedule) check(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, f)
}

// one makes a write of one of the sorts, and notes what it must have done.
func (s *schedule) one(f *faulty, name string, which int) {
	all := deeds(s.t, name)
	d := all[which%len(all)]
	for _, w := range d.before {
		if got := s.make(f, w); got != driver.Done {
			return // what became of inserts is looked at where they are the deed
		}
	}
	got := s.make(f, d.writes...)
	s.check(func() error {
		n := d.applied(s.clean)
		switch {
		case got == driver.Done && n != 1, got == driver.Refused && n != 0, n < 0, n > 1:
			return fmt.Errorf("%s %s is %v and was applied %d times", d.name, name, got, n)
		case got == driver.Exists || got == driver.Conflict || got == driver.Missing:
			return fmt.Errorf("%s %s is %v and nobody else writes it", d.name, name, got)
		}
		return nil
	})
}

// sums adds to a number again and again.
func (s *schedule) sums(f *faulty, id string, times int) {
	if s.make(f, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered(id, 1, 0)}) != driver.Done {
		return
	}
	var least, most int64
	for range times {
		switch got := s.make(f, plus(id, 1)); got {
		case driver.Done:
			least, most = least+1, most+1
		case driver.Unknown:
			most++
		case driver.Refused:
		default:
			s.t.Errorf("a sum is %v", got)
		}
	}
	s.check(func() error {
		o := get(s.t, s.clean, "user", id)
		if n, _ := field(o, "n").(int64); n < least || n > most || o.Version != n+1 {
			return fmt.Errorf("%s has n %d in version %d, and %d to %d were added", id, n, o.Version, least, most)
		}
		return nil
	})
}

// Whatever happens to connections and the server, each outcome is true: now, and a while
// later.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	storm(t, 2, func(i int) error {
		uriOptions := fmt.Sprint("retryWrites=", i == 0)
		s := &schedule{faulty: newFaulty(t, uriOptions), t: t, counts: make(map[driver.Outcome]int)}
		s.run(uriOptions)
		t.Logf("%s: outcomes %v", uriOptions, s.counts)
		if s.counts[driver.Done] < 100 || s.counts[driver.Unknown] == 0 {
			t.Errorf("%s: the schedule shows nothing: outcomes %v", uriOptions, s.counts)
		}
		var all error
		for range 2 {
			time.Sleep(100 * time.Millisecond)
			for _, check := range s.checks {
				all = errors.Join(all, check())
			}
		}
		return all
	})
}

// run makes the writes, and kills the server meanwhile.
func (s *schedule) run(uriOptions string) {
	var workers []*faulty
	for range 12 {
		workers = append(workers, s.behind(s.t, uriOptions))
		workers[len(workers)-1].proxy.On(randomly)
	}
	var kills sync.WaitGroup
	kills.Go(func() {
		for range 3 {
			time.Sleep(500 * time.Millisecond)
			if err := s.server.Restart(); err != nil {
				s.t.Error(err)
			}
		}
	})
	storm(s.t, len(workers), func(n int) error {
		for i := range 16 {
			s.one(workers[n], fmt.Sprint("w", n, "-", i), n+i)
		}
		s.sums(workers[n], fmt.Sprint("sum", n), 8)
		return nil
	})
	kills.Wait()
	for _, f := range workers {
		f.proxy.On(nil)
		f.proxy.Release()
	}
}

// randomly is what becomes of a request.
func randomly(cmd string) mongotest.Action {
	if !isWrite(cmd) && cmd != "find" {
		return mongotest.Pass
	}
	switch n := rand.IntN(200); {
	case n < 5:
		return mongotest.CutBefore
	case n < 10:
		return mongotest.CutAfter
	case n < 13:
		return mongotest.HangAfter
	case n < 16:
		return mongotest.HangBefore
	}
	return mongotest.Pass
}
