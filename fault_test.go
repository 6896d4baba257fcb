package graphcache_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// faultPlant puts a changed copy of the value that is cached for the anchor in its
// place, under the version that is there.
func faultPlant(t *testing.T, e *fixtureEngine, anchor string, change func([]byte) []byte) {
	t.Helper()
	entries, err := e.cache.Lookup(t.Context(), []driver.Lookup{{Anchor: anchor}})
	fixtureMust(t, err)
	if entries[0].Value == nil {
		t.Fatal("there is no value to damage")
	}
	outcomes, err := e.cache.Fill(t.Context(), []driver.Fill{{
		Anchor: anchor, Version: entries[0].Version, TTL: time.Minute,
		Value: change(bytes.Clone(entries[0].Value)),
	}})
	if err != nil || outcomes[0] != driver.Done {
		t.Fatalf("planting a value: %v, %v", outcomes, err)
	}
}

// TestFaultCorruptValues: whatever bytes are found in the cache, a read answers what
// the store has, counts the damage and repairs it.
func TestFaultCorruptValues(t *testing.T) {
	var other []byte // the value of another object, with a right envelope
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return []byte{} }},
		{"half of the header", func(b []byte) []byte { return b[:5] }},
		{"last byte missing", func(b []byte) []byte { return b[:len(b)-1] }},
		{"a byte too many", func(b []byte) []byte { return append(b, 0) }},
		{"another format", func(b []byte) []byte { b[0]++; return b }},
		{"the value of another key", func([]byte) []byte { return other }},
		{"a bit of the flags flipped", func(b []byte) []byte { b[1] ^= 1; return b }},
		{"a bit of the last byte flipped", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"a bit in the middle flipped", func(b []byte) []byte { b[len(b)-4] ^= 4; return b }},
		{"noise", func(b []byte) []byte { return bytes.Repeat([]byte{0xdd, 0x7f, 0xff, 0xff, 0xff}, 20) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := fixtureNew(t)
			e.seed(t, []fixtureUserID{"ann", "bob"})
			fixtureMust(t, fixtureFollows.Add(t.Context(), e, "ann", "bob", fixtureFollow{Note: "hi"}))
			ann, bob := fixtureUserID("ann"), fixtureUserID("bob")
			for _, read := range []struct {
				kind            string
				read, readOther func()
			}{
				{"user", func() { e.name(t, ann) }, func() { e.name(t, bob) }},
				{"follows", func() { faultNotes(t, e, ann) }, func() { faultNotes(t, e, bob) }},
			} {
				otherAnchor := e.anchors(t, read.readOther)[0]
				entries, err := e.cache.Lookup(t.Context(), []driver.Lookup{{Anchor: otherAnchor}})
				fixtureMust(t, err)
				other = entries[0].Value
				anchor := e.anchors(t, read.read)[0]
				faultPlant(t, e, anchor, tt.change)

				before := e.Stats().Kinds[read.kind].Corrupt
				read.read()
				if got := e.Stats().Kinds[read.kind].Corrupt - before; got != 1 {
					t.Errorf("%s: a damaged value was counted %d times as corrupt, want 1", read.kind, got)
				}
				e.settle(t)
				e.on(nil)
				read.read()
				if n := e.fstore.Calls("Read"); n != 0 {
					t.Errorf("%s: a damaged value was not replaced: %d store reads after it was loaded anew", read.kind, n)
				}
			}
			e.consistent(t, []fixtureUserID{ann, bob})
			if got := e.name(t, ann); got != "v1 of ann" {
				t.Errorf("a damaged value was served: name %q", got)
			}
		})
	}
}

// faultNotes returns the notes of the edges from a user.
func faultNotes(t *testing.T, e *fixtureEngine, id fixtureUserID) (notes []string) {
	t.Helper()
	edges, err := fixtureFollows.Out(id).Edges(t.Context(), e)
	fixtureMust(t, err)
	for _, edge := range edges {
		notes = append(notes, edge.Data.Note)
	}
	return notes
}

// faultStampStore records the stamp that the last read had to see.
type faultStampStore struct {
	driver.Store
	atLeast driver.Stamp
}

func (s *faultStampStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	s.atLeast = atLeast
	return s.Store.Read(ctx, steps, atLeast)
}

// TestFaultStampWhileHeld: a read that finds the anchor held by one writer still has
// to see the write of another one, which was acknowledged.
func TestFaultStampWhileHeld(t *testing.T) {
	e := fixtureNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	anchor := e.anchors(t, func() { e.name(t, "ann") })[0]
	fixtureMust(t, e.rename(t.Context(), "ann", "v2"))
	_, err := e.cache.Hold(t.Context(), []driver.Hold{{Anchor: anchor, Token: "second writer", TTL: time.Hour}})
	fixtureMust(t, err)
	entries, err := e.cache.Lookup(t.Context(), []driver.Lookup{{Anchor: anchor}})
	fixtureMust(t, err)
	if entries[0].Stamp == "" {
		t.Fatal("the cache has lost the stamp of the first write")
	}
	store := &faultStampStore{Store: e.store}
	g, err := graphcache.Open(t.Context(), fixtureSchema, store, &graphcache.Options{Cache: e.cache})
	fixtureMust(t, err)
	_, err = fixtureUsers.Get(t.Context(), g, "ann")
	fixtureMust(t, err)
	if store.atLeast != entries[0].Stamp {
		t.Errorf("a read beside a hold asked for stamp %x, want that of the acknowledged write, %x", store.atLeast, entries[0].Stamp)
	}
}

// TestFaultWaiterIsNotOverloaded: a reader that waits for another process's load is
// not queued behind this one's.
func TestFaultWaiterIsNotOverloaded(t *testing.T) {
	one := func(o *graphcache.Options) { o.MaxLoads = 1 }
	a := fixtureNew(t)
	b := a.another(t, one)
	a.seed(t, []fixtureUserID{"ann", "bob"})
	atA, atB := a.stopAt(backendtest.On("Read")), b.stopAt(backendtest.On("Read"))
	loadA := fixtureGo(t, func() error { _, err := fixtureUsers.Get(t.Context(), a, "ann"); return err })
	atA.await(t)
	loadB := fixtureGo(t, func() error { _, err := fixtureUsers.Get(t.Context(), b, "bob"); return err })
	atB.await(t)
	ctx, cancel := context.WithCancel(t.Context())
	waiter := fixtureGo(t, func() error { _, err := fixtureUsers.Get(ctx, b, "ann"); return err })
	fixtureEventually(t, "the waiter looks for the load of the other process", func() bool { return b.fcache.Calls("Lookup") > 3 })
	cancel()
	if err := waiter(); errors.Is(err, graphcache.ErrOverloaded) || !errors.Is(err, context.Canceled) {
		t.Errorf("a reader that waited for another process returned %v, want context.Canceled and not ErrOverloaded", err)
	}
	atA.Open()
	atB.Open()
	fixtureMust(t, loadA())
	fixtureMust(t, loadB())
}

// faultsOfCache are the ways in which a cache can be down.
var faultsOfCache = []struct {
	name  string
	fault backendtest.Fault
	waits bool // a call ends with its context
}{
	{"every call fails", backendtest.Fault{Action: backendtest.Fail}, false},
	{"every call hangs", backendtest.Fault{Action: backendtest.Hang}, true},
	{"every reply is lost", backendtest.Fault{Action: backendtest.DropReply}, false},
}

// TestFaultReadsWithoutCache: when the cache is down, reads see what other processes
// have written, after no more than ReadTimeout for each look-up, and many readers of
// one object are not many reads of the store.
func TestFaultReadsWithoutCache(t *testing.T) {
	const timeout = 50 * time.Millisecond
	for _, tt := range faultsOfCache {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				e := fixtureNew(t, fixtureDefaults)
				roundtripWorld(t, e)
				e.consistent(t, roundtripPeople)
				other := e.another(t, fixtureDefaults)
				gate := backendtest.NewGate(backendtest.On("Read"))
				e.on(func(c fixtureCall) backendtest.Fault {
					if c.ofCache() {
						return tt.fault
					}
					return gate.Hook(c.ctx, c.Call)
				})
				fixtureMust(t, other.rename(ctx, "ann", "v2"))

				var waits []func() error
				for range 100 {
					waits = append(waits, fixtureGo(t, func() error { _, err := fixtureUsers.Get(ctx, e, "ann"); return err }))
				}
				<-time.After(2 * timeout)
				synctest.Wait()
				gate.Open()
				for _, wait := range waits {
					fixtureMust(t, wait())
				}
				if n := e.fstore.Calls("Read"); n > 2 {
					t.Errorf("100 readers of one object read the store %d times, want the load under way and one more", n)
				}
				for _, read := range []struct {
					name    string
					lookups int
					read    func() (any, error)
					want    any
				}{
					{"an object", 1, func() (any, error) { u, err := fixtureUsers.Get(ctx, e, "ann"); return u.Name, err }, "v2"},
					{"an edge", 1, func() (any, error) { f, err := fixtureFollows.Get(ctx, e, "ann", "bob"); return f.Data.Note, err }, "hi"},
					{"a count", 1, func() (any, error) { return fixtureFollows.Count(ctx, e, "ann") }, 1},
					{"a hop", 2, func() (any, error) {
						p, err := fixtureWrote.Out(fixtureUserID("bob")).Only(ctx, e)
						return p.Title, err
					}, "v1 of p1"},
				} {
					start := time.Now()
					got, err := read.read()
					if took := time.Since(start); got != read.want || err != nil || took > time.Duration(read.lookups)*timeout || took > 0 && !tt.waits {
						t.Errorf("%s: %v, %v after %v, want %v after at most %d times %v", read.name, got, err, took, read.want, read.lookups, timeout)
					}
				}
			})
		})
	}
}

// TestFaultWritesWithoutCache: when the cache is down a write is refused within its
// deadlines and changes nothing.
func TestFaultWritesWithoutCache(t *testing.T) {
	for _, tt := range faultsOfCache {
		for _, w := range roundtripWrites {
			t.Run(tt.name+"/"+w.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := fixtureNew(t, fixtureDefaults)
					roundtripWorld(t, e)
					before := e.view(t, roundtripPeople, []fixturePostID{"p1"}, graphcache.Fresh)
					e.on(func(c fixtureCall) backendtest.Fault {
						if c.ofCache() {
							return tt.fault
						}
						return backendtest.Fault{}
					})
					start := time.Now()
					err := w.write(t.Context(), e)
					if took := time.Since(start); !errors.Is(err, graphcache.ErrUnavailable) || took > 2*time.Second || took > 0 && !tt.waits {
						t.Errorf("%v after %v, want ErrUnavailable after two attempts to hold and two to release, of 500ms", err, took)
					}
					if n := e.fstore.Calls("Write") + e.fstore.Calls("Tx.Commit"); n != 0 {
						t.Errorf("a write whose holds were not placed was sent to the store %d times", n)
					}
					e.on(nil)
					if diff := cmp.Diff(before, e.view(t, roundtripPeople, []fixturePostID{"p1"}, graphcache.Fresh)); diff != "" {
						t.Errorf("a write that returned ErrUnavailable has changed something (-before +after):\n%s", diff)
					}
				})
			})
		}
	}
}

// TestFaultEveryWrite: one fault in a write leaves it with the outcome that it
// reports, and never a stale value in the cache of its own or another process.
func TestFaultEveryWrite(t *testing.T) {
	on, commits := backendtest.On, []string{"Write", "Tx.Commit"}
	for _, tt := range []struct {
		name      string
		hook      backendtest.Hook
		want      error // nil: applied; ErrUnavailable: not applied; ErrUnknownOutcome: either
		abandoned bool  // marks are counted as left to their deadline
		stand     bool  // marks stand in the cache, until the write can no longer be applied
	}{
		{"the first hold fails", backendtest.FailOn(backendtest.Nth("Hold", 1), nil), nil, false, false},
		{"the reply to the first hold is lost", backendtest.DropReplies(backendtest.Nth("Hold", 1), nil), nil, false, false},
		{"the first release fails", backendtest.FailOn(backendtest.Nth("Release", 1), nil), nil, false, false},
		{"the reply to the first release is lost", backendtest.DropReplies(backendtest.Nth("Release", 1), nil), nil, false, false},
		{"every release fails", backendtest.FailOn(on("Release"), nil), nil, true, false},
		{"every reply to a release is lost", backendtest.DropReplies(on("Release"), nil), nil, true, false},
		{"the replies to two holds are lost", backendtest.DropReplies(on("Hold"), nil), graphcache.ErrUnavailable, false, false},
		{"the store refuses", backendtest.FailOn(on(commits...), nil), graphcache.ErrUnavailable, false, false},
		{"the store's reply is lost", backendtest.DropReplies(on(commits...), nil), graphcache.ErrUnknownOutcome, true, true},
		{"the store hangs", backendtest.HangOn(on(commits...)), graphcache.ErrUnknownOutcome, true, true},
	} {
		for _, w := range roundtripWrites {
			t.Run(tt.name+"/"+w.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := fixtureNew(t, fixtureDefaults)
					other := e.another(t, fixtureDefaults)
					roundtripWorld(t, e)
					before := e.view(t, roundtripPeople, []fixturePostID{"p1"}, graphcache.Fresh)
					for range 2 { // so that the whole of it is cached
						e.consistent(t, roundtripPeople, "p1")
					}
					e.on(func(c fixtureCall) backendtest.Fault { return tt.hook(c.ctx, c.Call) })
					err := w.write(t.Context(), e)
					if !errors.Is(err, tt.want) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
					e.on(nil)
					for _, reader := range []*fixtureEngine{e, other} {
						reader.consistent(t, roundtripPeople, "p1")
					}
					unchanged := cmp.Equal(before, e.view(t, roundtripPeople, []fixturePostID{"p1"}, graphcache.Fresh))
					if tt.want == nil && unchanged || tt.want == graphcache.ErrUnavailable && !unchanged {
						t.Errorf("a write that returned %v: the store is unchanged: %v", err, unchanged)
					}
					if faultAbandoned(e) > 0 != tt.abandoned || tt.stand && e.cache.Tokens() == 0 {
						t.Errorf("%d marks were counted as abandoned and %d stand, want some: %v and %v", faultAbandoned(e), e.cache.Tokens(), tt.abandoned, tt.stand)
					}
					<-time.After(3 * time.Minute) // the window of a write of unknown outcome, and more
					if n := e.cache.Tokens(); n != 0 {
						t.Errorf("%d marks outlive the window of their write", n)
					}
					e.consistent(t, roundtripPeople, "p1")
					e.on(nil)
					e.name(t, "ann")
					if n := e.fstore.Calls("Read"); n != 0 {
						t.Errorf("after the window the object is not cached: %d store reads", n)
					}
				})
			})
		}
	}
}

// faultAbandoned is how many marks a process has left to their deadlines.
func faultAbandoned(e *fixtureEngine) (n int64) {
	for _, k := range e.Stats().Kinds {
		n += k.AbandonedHolds
	}
	return n
}

// TestFaultLateWrite: a write that arrives after its writer has given up is seen by
// the first read after it.
func TestFaultLateWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t, fixtureDefaults)
		e.seed(t, []fixtureUserID{"ann"})
		e.name(t, "ann")
		arrives := make(chan struct{})
		late := backendtest.Fault{Action: backendtest.Late, Until: arrives}
		e.on(func(c fixtureCall) backendtest.Fault {
			return backendtest.Inject(backendtest.On("Write"), late)(c.ctx, c.Call)
		})
		if err := e.rename(t.Context(), "ann", "v2"); !errors.Is(err, graphcache.ErrUnknownOutcome) {
			t.Errorf("the store did not answer a write: %v, want ErrUnknownOutcome", err)
		}
		if got := e.name(t, "ann"); got != "v1 of ann" {
			t.Errorf("before the write arrives: name %q", got)
		}
		e.settle(t)
		close(arrives)
		e.fstore.WaitLate()
		if got := e.name(t, "ann"); got != "v2" {
			t.Errorf("a value from before a late write is served: name %q, want v2", got)
		}
	})
}
