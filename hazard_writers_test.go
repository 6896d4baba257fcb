package graphcache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// TestHazard04TwoWriters: as long as one of two writers is at work, nothing is
// filled, whichever is done first; and a release that is not confirmed, or comes
// after the hold's end, does no harm.
func TestHazard04TwoWriters(t *testing.T) {
	if hazardTwoWritersOneMarker() == 0 {
		t.Error("the orders do no harm to a marker with one owner, so they show nothing")
	}
	failing := func(action backendtest.Action, last int) func(fixtureCall) backendtest.Fault {
		return func(c fixtureCall) backendtest.Fault {
			if c.is("Release") && c.N <= last {
				return backendtest.Fault{Action: action}
			}
			return backendtest.Fault{}
		}
	}
	for _, tt := range []struct {
		name           string
		fault          func(fixtureCall) backendtest.Fault // of the first writer's calls
		stalled        bool                                // the first writer, past its hold's end
		lost, standing int64                               // holds of the first writer in each run
	}{
		{name: "both release"},
		{name: "one release fails", fault: failing(backendtest.Fail, 2), standing: 2},
		{name: "one release is not confirmed", fault: failing(backendtest.DropReply, 1)},
		{name: "one writer stalls", stalled: true, lost: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, clock := fixtureTimed(t)
			reader, first, second := e.another(t), e.another(t), e.another(t)
			e.seed(t, []fixtureUserID{"ann", "bob", "cat", "dan"})
			past := 5 * fixturePatience // longer than a hold lives
			orders := hazardOrders(3, 3, 4)
			stride := 3 // some that are spread evenly
			if tt.stalled || tt.fault == nil && !testing.Short() {
				stride = 1
			}
			if tt.standing > 0 {
				stride = 30 // each of them waits for a release in the background
			}
			for n := 0; n < len(orders); n += stride {
				order := orders[n]
				for i, to := range []fixtureUserID{"bob", "cat", "dan"} {
					_, err := fixtureFollows.AddEdge(t.Context(), e, fixtureEdge{From: "ann", To: to, Time: time.UnixMilli(int64(100 - i))})
					fixtureMust(t, err)
				}
				w1 := &hazardActor{name: "first", e: first, fault: tt.fault, act: func(ctx context.Context) error {
					return fixtureFollows.Remove(ctx, first, "ann", "bob")
				}}
				w2 := &hazardActor{name: "second", e: second, act: func(ctx context.Context) error {
					return fixtureFollows.Remove(ctx, second, "ann", "cat")
				}}
				r := &hazardActor{name: "reader", e: reader, act: func(ctx context.Context) error {
					_, err := fixtureFollows.Out(fixtureUserID("ann")).IDs(ctx, reader)
					return err
				}}
				stall := -1
				if tt.stalled {
					stall = hazardFirst(order, 0) + 1
				}
				before := first.Stats().Kinds["follows"]
				trace := hazardPlay(t, order, func(turn int) {
					if turn == stall {
						clock.advance(past)
					}
				}, w1, w2, r)
				for _, a := range []*hazardActor{w1, w2, r} {
					if a.err != nil {
						t.Fatalf("%v: %s failed: %v", trace, a.name, a.err)
					}
				}
				after := first.Stats().Kinds["follows"]
				if lost, left := after.LostHolds-before.LostHolds, after.AbandonedHolds-before.AbandonedHolds; lost != tt.lost || left != tt.standing {
					t.Fatalf("%v: %d lost and %d abandoned holds are counted, want %d and %d", trace, lost, left, tt.lost, tt.standing)
				}
				// What is left standing is released again, a little later.
				if got := int64(e.cache.Tokens()); got != tt.standing && got != 0 {
					t.Fatalf("%v: %d tokens stand, want %d", trace, got, tt.standing)
				}
				for e.cache.Tokens() > 0 {
					<-time.After(time.Millisecond)
				}
				hazardFollowsOnly(t, trace, "dan", e, reader)
				if tt.standing > 0 {
					clock.advance(past)
					hazardFollowsOnly(t, trace, "dan", e, reader)
				}
			}
		})
	}
}

// hazardFollowsOnly checks that ann follows one user and nobody else, in all
// processes, by reads that fill and reads that hit.
func hazardFollowsOnly(t *testing.T, trace hazardTrace, want fixtureUserID, processes ...*fixtureEngine) {
	t.Helper()
	for range 2 {
		for i, e := range processes {
			got, err := fixtureFollows.Out(fixtureUserID("ann")).IDs(t.Context(), e)
			if diff := cmp.Diff(graphcache.IDs[fixtureUser]{want}, got); err != nil || diff != "" {
				t.Fatalf("%v: after both writes were acknowledged a read in process %d returned (-want +got):\n%s%v", trace, i, diff, err)
			}
			e.settle(t)
		}
	}
}

// hazardTwoWritersOneMarker plays two writers that put their mark on an entry, in
// the place of another's, and remove it only if it is still theirs.
func hazardTwoWritersOneMarker() int {
	return hazardControl(func() ([][]func(), func() bool) {
		written, filled, marker, version, versions := 0, -1, 0, 0, 0
		writer := func(me int) []func() {
			return []func(){
				func() { marker, version, filled = me, 0, -1 },
				func() { written++ },
				func() {
					if marker == me {
						marker = 0
					}
				},
			}
		}
		seen, read := 0, 0
		reader := []func(){
			func() {
				if marker == 0 && version == 0 {
					versions++
					version = versions
				}
				seen = version
			},
			func() { read = written },
			func() {
				if seen != 0 && version == seen {
					filled = read
				}
			},
		}
		return [][]func(){writer(1), writer(2), reader}, func() bool { return filled >= 0 && filled != written }
	})
}

// TestHazard07NegativeEntries: "there is none" is cached like anything else, and goes
// when there is one, whatever the order of the calls that find out and that write.
func TestHazard07NegativeEntries(t *testing.T) {
	create := func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "zoe", Name: "zoe"})
	}
	put := func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "zoe", Name: "zoe"})
	}
	uncreate := func(t testing.TB, e *fixtureEngine) { fixtureMust(t, fixtureUsers.Delete(t.Context(), e, "zoe")) }
	add := func(ctx context.Context, e *fixtureEngine) error {
		return fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{})
	}
	unadd := func(t testing.TB, e *fixtureEngine) {
		fixtureMust(t, fixtureFollows.Remove(t.Context(), e, "ann", "bob"))
	}
	befriend := func(ctx context.Context, e *fixtureEngine) error {
		return fixtureFriends.Add(ctx, e, "ann", "bob", graphcache.NoData{})
	}
	unfriend := func(t testing.TB, e *fixtureEngine) {
		fixtureMust(t, fixtureFriends.Remove(t.Context(), e, "bob", "ann"))
	}
	ann, bob := fixtureUserID("ann"), fixtureUserID("bob")
	say := func(v any, err error) (string, error) { return fmt.Sprint(v), err }
	type read = func(context.Context, *fixtureEngine) (string, error)
	for _, tt := range []struct {
		name string
		hazardRace
	}{
		{"Get and Create", hazardRace{func(ctx context.Context, e *fixtureEngine) (string, error) {
			m, err := fixtureUsers.GetMany(ctx, e, []fixtureUserID{"zoe"})
			return fmt.Sprint(len(m)), err
		}, create, uncreate, "0", "1", 4, 3}},
		{"Get and Put", hazardRace{func(ctx context.Context, e *fixtureEngine) (string, error) {
			m, err := fixtureUsers.GetMany(ctx, e, []fixtureUserID{"zoe"})
			return fmt.Sprint(len(m)), err
		}, put, uncreate, "0", "1", 4, 4}},
		{"empty list and Add", hazardRace{read(func(ctx context.Context, e *fixtureEngine) (string, error) {
			return say(fixtureFollows.Out(ann).IDs(ctx, e))
		}), add, unadd, "[]", "[bob]", 4, 4}},
		{"empty inverse list and Add", hazardRace{read(func(ctx context.Context, e *fixtureEngine) (string, error) {
			return say(fixtureFollows.In(bob).IDs(ctx, e))
		}), add, unadd, "[]", "[ann]", 4, 4}},
		{"count and Add", hazardRace{read(func(ctx context.Context, e *fixtureEngine) (string, error) {
			return say(fixtureFollows.Count(ctx, e, ann))
		}), add, unadd, "0", "1", 4, 4}},
		{"inverse count and Add", hazardRace{read(func(ctx context.Context, e *fixtureEngine) (string, error) {
			return say(fixtureFollows.In(bob).Count(ctx, e))
		}), add, unadd, "0", "1", 4, 4}},
		{"no edge and Add", hazardRace{read(func(ctx context.Context, e *fixtureEngine) (string, error) {
			m, err := fixtureFollows.GetMany(ctx, e, ann, []fixtureUserID{bob})
			return fmt.Sprint(len(m)), err
		}), add, unadd, "0", "1", 4, 4}},
		{"symmetric count and Add", hazardRace{read(func(ctx context.Context, e *fixtureEngine) (string, error) {
			return say(fixtureFriends.Count(ctx, e, bob))
		}), befriend, unfriend, "0", "1", 4, 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reader := fixtureNew(t)
			writer, other := reader.another(t), reader.another(t)
			reader.seed(t, []fixtureUserID{ann, bob})
			for i, order := range hazardOrders(tt.readCalls, tt.writeCalls) {
				if i > 0 {
					tt.reset(t, other)
				}
				if order[0] == 1 {
					// What the writer meets is cached already.
					for range 2 {
						got, err := tt.read(t.Context(), other)
						if err != nil || got != tt.old {
							t.Fatalf("before the write a read returned %q, %v, want %q", got, err, tt.old)
						}
						other.settle(t)
					}
				}
				tt.play(t, order, nil, reader, writer, other)
			}
			reads := reader.Stats().StoreReads
			if got, err := tt.read(t.Context(), reader); err != nil || got != tt.new || reader.Stats().StoreReads != reads {
				t.Errorf("a cached answer: got %q, %v after %d store reads", got, err, reader.Stats().StoreReads-reads)
			}
		})
	}
}
