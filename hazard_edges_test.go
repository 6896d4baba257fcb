package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// hazardLists checks that the lists of a kind at its two ends have the same edges,
// all of them between objects that exist, and that each list is as long as its
// count. It returns the edges, "from>to".
func hazardLists[B, D any](t testing.TB, e *fixtureEngine, k *graphcache.EdgeKind[fixtureUser, B, D], users []fixtureUserID, far []graphcache.ID[B], fresh graphcache.Freshness, symmetric bool) map[string]bool {
	t.Helper()
	forward, inverse := map[string]bool{}, map[string]bool{}
	for _, u := range users {
		q := k.Out(u)
		if fresh == graphcache.Fresh {
			q = q.Fresh()
		}
		edges, err := q.Edges(t.Context(), e)
		fixtureMust(t, err)
		for _, edge := range edges {
			forward[fmt.Sprint(edge.From, ">", edge.To)] = true
		}
		n, err := q.Count(t.Context(), e)
		fixtureMust(t, err)
		objects, err := q.All(t.Context(), e)
		fixtureMust(t, err)
		if n != len(edges) || len(objects) != len(edges) {
			t.Errorf("%s from %s: %d edges to %d objects, and the count is %d", k.Name(), u, len(edges), len(objects), n)
		}
	}
	for _, u := range far {
		q := k.In(u)
		if fresh == graphcache.Fresh {
			q = q.Fresh()
		}
		edges, err := q.Edges(t.Context(), e)
		fixtureMust(t, err)
		for _, edge := range edges {
			if symmetric { // seen from the object whose list it is
				inverse[fmt.Sprint(edge.To, ">", edge.From)] = true
			} else {
				inverse[fmt.Sprint(edge.From, ">", edge.To)] = true
			}
		}
		n, err := q.Count(t.Context(), e)
		fixtureMust(t, err)
		objects, err := q.All(t.Context(), e)
		fixtureMust(t, err)
		if n != len(edges) || len(objects) != len(edges) {
			t.Errorf("%s to %s: %d edges from %d objects, and the count is %d", k.Name(), u, len(edges), len(objects), n)
		}
	}
	if diff := cmp.Diff(forward, inverse); diff != "" {
		t.Errorf("%s: the lists at the two ends of the edges differ (-out +in):\n%s", k.Name(), diff)
	}
	return forward
}

// hazardMirrored is hazardLists for all kinds, in the store and in the cache.
func hazardMirrored(t testing.TB, e *fixtureEngine, users []fixtureUserID, posts ...fixturePostID) (edges map[string]map[string]bool) {
	t.Helper()
	for _, fresh := range []graphcache.Freshness{graphcache.Fresh, graphcache.Cached, graphcache.Cached} {
		got := map[string]map[string]bool{
			"follows": hazardLists(t, e, fixtureFollows, users, users, fresh, false),
			"wrote":   hazardLists(t, e, fixtureWrote, users, posts, fresh, false),
			"boss":    hazardLists(t, e, fixtureBoss, users, users, fresh, false),
			"friends": hazardLists(t, e, fixtureFriends, users, users, fresh, true),
			"likes":   hazardLists(t, e, fixtureLikes, users, users, fresh, false),
			"loves":   hazardLists(t, e, fixtureLoves, users, users, fresh, false),
		}
		if diff := cmp.Diff(edges, got); edges != nil && diff != "" {
			t.Errorf("cached edges differ from the store's (-store +cached):\n%s", diff)
		}
		if edges == nil {
			edges = got
		}
		e.settle(t)
	}
	return edges
}

// TestHazard09ConcurrentWriters: two writers of one edge, in all orders of their
// calls, leave it in both lists or in none, and are told what they did.
func TestHazard09ConcurrentWriters(t *testing.T) {
	type write = func(context.Context, *fixtureEngine) (bool, error)
	add := func(k *graphcache.EdgeKind[fixtureUser, fixtureUser, graphcache.NoData], from, to fixtureUserID) write {
		return func(ctx context.Context, e *fixtureEngine) (bool, error) {
			return k.AddEdge(ctx, e, graphcache.Edge[fixtureUser, fixtureUser, graphcache.NoData]{From: from, To: to})
		}
	}
	remove := func(k *graphcache.EdgeKind[fixtureUser, fixtureUser, graphcache.NoData], from, to fixtureUserID) write {
		return func(ctx context.Context, e *fixtureEngine) (bool, error) {
			err := k.Remove(ctx, e, from, to)
			if errors.Is(err, graphcache.ErrNotFound) {
				return false, nil
			}
			return err == nil, err
		}
	}
	change := func(from, to fixtureUserID) write {
		return func(ctx context.Context, e *fixtureEngine) (bool, error) {
			err := fixtureLikes.ChangeKind(ctx, e, from, to, fixtureLoves)
			if errors.Is(err, graphcache.ErrNotFound) {
				return false, nil
			}
			return err == nil, err
		}
	}
	for _, tt := range []struct {
		name          string
		kind          string
		there         write // run before, may be nil
		first, second write
		calls         [2]int
		// The possible ends: what the two did, and the edges that are left.
		ends []string
	}{
		{"add and add", "likes", nil, add(fixtureLikes, "ann", "bob"), add(fixtureLikes, "ann", "bob"), [2]int{5, 5},
			[]string{"true false map[ann>bob:true]", "false true map[ann>bob:true]"}},
		{"add and remove", "likes", nil, add(fixtureLikes, "ann", "bob"), remove(fixtureLikes, "ann", "bob"), [2]int{5, 3},
			[]string{"true false map[ann>bob:true]", "true true map[]"}},
		{"add again and remove", "likes", add(fixtureLikes, "ann", "bob"), add(fixtureLikes, "ann", "bob"), remove(fixtureLikes, "ann", "bob"), [2]int{5, 3},
			[]string{"false true map[]", "true true map[ann>bob:true]"}},
		{"remove and remove", "likes", add(fixtureLikes, "ann", "bob"), remove(fixtureLikes, "ann", "bob"), remove(fixtureLikes, "ann", "bob"), [2]int{3, 3},
			[]string{"true false map[]", "false true map[]"}},
		{"symmetric add and add", "friends", nil, add(fixtureFriends, "ann", "bob"), add(fixtureFriends, "bob", "ann"), [2]int{5, 5},
			[]string{"true false map[ann>bob:true bob>ann:true]", "false true map[ann>bob:true bob>ann:true]"}},
		{"symmetric add and remove", "friends", nil, add(fixtureFriends, "ann", "bob"), remove(fixtureFriends, "bob", "ann"), [2]int{5, 3},
			[]string{"true false map[ann>bob:true bob>ann:true]", "true true map[]"}},
		{"to-one add and add", "boss", nil, add(fixtureBoss, "ann", "bob"), add(fixtureBoss, "ann", "cat"), [2]int{5, 5},
			[]string{"true false map[ann>bob:true]", "true false map[ann>cat:true]", "false true map[ann>bob:true]", "false true map[ann>cat:true]"}},
		{"to-one replace and replace", "boss", add(fixtureBoss, "ann", "dan"), add(fixtureBoss, "ann", "bob"), add(fixtureBoss, "ann", "cat"), [2]int{6, 6},
			[]string{"false false map[ann>bob:true]", "false false map[ann>cat:true]"}},
		{"to-one replace and remove", "boss", add(fixtureBoss, "ann", "bob"), add(fixtureBoss, "ann", "cat"), remove(fixtureBoss, "ann", "bob"), [2]int{6, 4},
			[]string{"false false map[ann>cat:true]", "true true map[ann>cat:true]"}},
		{"change of kind and remove", "loves", add(fixtureLikes, "ann", "bob"), change("ann", "bob"), remove(fixtureLikes, "ann", "bob"), [2]int{4, 3},
			[]string{"true false map[ann>bob:true]", "false true map[]"}},
		{"change of kind and add", "likes", add(fixtureLikes, "ann", "bob"), change("ann", "bob"), add(fixtureLikes, "ann", "bob"), [2]int{4, 5},
			[]string{"true false map[]", "true true map[ann>bob:true]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			users := []fixtureUserID{"ann", "bob", "cat", "dan"}
			reached := map[string]bool{}
			e := fixtureNew(t)
			one, two := e.another(t), e.another(t)
			e.seed(t, users)
			orders := hazardOrders(tt.calls[0], tt.calls[1])
			stride := 1 + len(orders)/90 // all orders, or some that are spread evenly
			for i := 0; i < len(orders); i += stride {
				for _, k := range []*graphcache.EdgeKind[fixtureUser, fixtureUser, graphcache.NoData]{fixtureLikes, fixtureLoves, fixtureBoss, fixtureFriends} {
					left, err := k.Out(fixtureUserID("ann")).IDs(t.Context(), e)
					fixtureMust(t, err)
					for _, to := range left {
						fixtureMust(t, k.Remove(t.Context(), e, "ann", to))
					}
				}
				if tt.there != nil {
					_, err := tt.there(t.Context(), e)
					fixtureMust(t, err)
				}
				hazardMirrored(t, e, users) // what the writers meet is cached
				var did1, did2 bool
				a1 := &hazardActor{name: "first", e: one, act: func(ctx context.Context) (err error) { did1, err = tt.first(ctx, one); return err }}
				a2 := &hazardActor{name: "second", e: two, act: func(ctx context.Context) (err error) { did2, err = tt.second(ctx, two); return err }}
				// And what comes about between their calls is cached at once.
				k := map[string]*graphcache.EdgeKind[fixtureUser, fixtureUser, graphcache.NoData]{
					"likes": fixtureLikes, "loves": fixtureLoves, "boss": fixtureBoss, "friends": fixtureFriends}[tt.kind]
				trace := hazardPlay(t, orders[i], func(int) {
					_, err := k.Out(fixtureUserID("ann")).IDs(t.Context(), e)
					fixtureMust(t, err)
					_, err = k.In(graphcache.IDs[fixtureUser]{"bob", "cat", "dan"}).IDs(t.Context(), e)
					fixtureMust(t, err)
					e.settle(t)
				}, a1, a2)
				if a1.err != nil || a2.err != nil {
					t.Fatalf("%v: the errors are %v and %v", trace, a1.err, a2.err)
				}
				edges := hazardMirrored(t, e, users)
				end := fmt.Sprint(did1, did2, edges[tt.kind])
				reached[end] = true
				ok := false
				for _, want := range tt.ends {
					ok = ok || want == end
				}
				if !ok || t.Failed() {
					t.Fatalf("%v: the end is %s, want one of %q", trace, end, tt.ends)
				}
			}
			if len(reached) < 2 {
				t.Errorf("all orders end with %v: they do not interleave", reached)
			}
		})
	}
}

// TestHazard09SecondDeleter: whoever finishes the deletion of an object leaves the
// edges of the one that was created with its ID meanwhile.
func TestHazard09SecondDeleter(t *testing.T) {
	const marked = 3 // the deleter's calls up to its mark: Read, Hold, Write
	for calls, ended := marked, false; !ended; calls++ {
		e := fixtureNew(t)
		deleter := e.another(t)
		users, posts := hazardWorld(t, e)
		hazardMirrored(t, e, users, posts...)
		a := &hazardActor{name: "deleter", e: deleter, act: func(ctx context.Context) error {
			return fixtureUsers.Delete(ctx, deleter, "ann")
		}}
		var trace hazardTrace
		trace.steps(t, a, calls)
		ended = a.finished
		if err := fixtureUsers.Delete(t.Context(), e, "ann"); err != nil && !errors.Is(err, graphcache.ErrNotFound) {
			t.Fatalf("%v: a second Delete returned %v", trace, err)
		}
		fixtureMust(t, fixtureUsers.Create(t.Context(), e, &fixtureUser{ID: "ann", Name: "new"}))
		fixtureMust(t, fixtureFollows.Add(t.Context(), e, "ann", "bob", fixtureFollow{Note: "new"}))
		fixtureMust(t, fixtureFollows.Add(t.Context(), e, "cat", "ann", fixtureFollow{Note: "new"}))
		fixtureMust(t, fixtureFriends.Add(t.Context(), e, "ann", "bob", graphcache.NoData{}))
		fixtureMust(t, fixtureBoss.Add(t.Context(), e, "ann", "cat", graphcache.NoData{}))
		trace.steps(t, a, -1)
		if a.err != nil {
			t.Errorf("%v: the first Delete returned %v", trace, a.err)
		}
		got := hazardMirrored(t, e, users, posts...)
		want := map[string]map[string]bool{
			"follows": {"ann>bob": true, "cat>ann": true, "cat>bob": true}, "wrote": {}, "boss": {"ann>cat": true},
			"friends": {"ann>bob": true, "bob>ann": true, "bob>cat": true, "cat>bob": true}, "likes": {}, "loves": {},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %d calls of the deleter the object was created anew; its edges then (-want +got):\n%s%v", calls, diff, trace)
		}
		if got := e.name(t, "ann"); got != "new" {
			t.Errorf("after %d calls of the deleter the object was created anew; then its name is %q", calls, got)
		}
	}
}

// TestHazard09TakeBack: an Add in a to-one kind whose end is deleted meanwhile puts
// the edge back that it took the place of, but not if that one's end is gone too.
func TestHazard09TakeBack(t *testing.T) {
	tookBack := false
	for adds, added := 0, false; !added; adds++ {
		for deletes, deleted := 0, false; !deleted; deletes++ {
			e := fixtureNew(t)
			adder, deleter := e.another(t), e.another(t)
			users := []fixtureUserID{"ann", "bob", "cat"}
			e.seed(t, users)
			fixtureMust(t, fixtureBoss.Add(t.Context(), e, "ann", "bob", graphcache.NoData{}))
			hazardMirrored(t, e, users)
			add := &hazardActor{name: "adder", e: adder, act: func(ctx context.Context) error {
				return fixtureBoss.Add(ctx, adder, "ann", "cat", graphcache.NoData{})
			}}
			del := &hazardActor{name: "deleter", e: deleter, act: func(ctx context.Context) error {
				return fixtureUsers.Delete(ctx, deleter, "cat")
			}}
			var trace hazardTrace
			trace.steps(t, add, adds)
			trace.steps(t, del, deletes)
			added, deleted = add.finished, del.finished
			writes := len(trace)
			fixtureMust(t, fixtureUsers.Delete(t.Context(), e, "bob"))
			trace.steps(t, add, -1)
			trace.steps(t, del, -1)
			if del.err != nil || add.err != nil && !errors.Is(add.err, graphcache.ErrNotFound) {
				t.Errorf("%v: Add returned %v, Delete %v", trace, add.err, del.err)
			}
			back := 0
			for _, call := range trace[writes:] {
				if call == "adder.Write" {
					back++
				}
			}
			tookBack = tookBack || back == 2 && adds > 0
			hazardMirrored(t, e, users)
			if n, err := fixtureBoss.Count(t.Context(), e, "ann"); err != nil || n != 0 || t.Failed() {
				t.Fatalf("%v: both ends that the edge led to are gone, and ann has %d edges, %v", trace, n, err)
			}
		}
	}
	if !tookBack {
		t.Error("in no order was an edge put back and removed again: the test shows nothing")
	}
}

// TestHazard09PutBack: the edge that is put back is in both lists again.
func TestHazard09PutBack(t *testing.T) {
	e := fixtureNew(t)
	adder, deleter := e.another(t), e.another(t)
	users := []fixtureUserID{"ann", "bob", "cat"}
	e.seed(t, users)
	at := time.UnixMilli(7).UTC()
	_, err := fixtureBoss.AddEdge(t.Context(), e, graphcache.Edge[fixtureUser, fixtureUser, graphcache.NoData]{From: "ann", To: "bob", Time: at})
	fixtureMust(t, err)
	hazardMirrored(t, e, users)
	add := &hazardActor{name: "adder", e: adder, act: func(ctx context.Context) error {
		return fixtureBoss.Add(ctx, adder, "ann", "cat", graphcache.NoData{})
	}}
	del := &hazardActor{name: "deleter", e: deleter, act: func(ctx context.Context) error {
		return fixtureUsers.Delete(ctx, deleter, "cat")
	}}
	var trace hazardTrace
	trace.steps(t, add, 1) // it has seen that cat exists
	trace.steps(t, del, 3) // cat is marked
	trace.steps(t, add, -1)
	trace.steps(t, del, -1)
	if !errors.Is(add.err, graphcache.ErrNotFound) || del.err != nil {
		t.Errorf("%v: Add returned %v, want ErrNotFound; Delete %v", trace, add.err, del.err)
	}
	hazardMirrored(t, e, users)
	edge, err := fixtureBoss.Get(t.Context(), e, "ann", "bob")
	if err != nil || !edge.Time.Equal(at) {
		t.Errorf("%v: the edge that Add took the place of is %v, %v, want it back with its time", trace, edge, err)
	}
}

// TestHazard09NotTakenBack: an Add whose edge is left without its end does not say
// that it left nothing behind, and a transaction with one is not committed.
func TestHazard09NotTakenBack(t *testing.T) {
	e := fixtureNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	users := []fixtureUserID{"ann", "nobody"}
	e.on(func(c fixtureCall) backendtest.Fault {
		if c.is("Tx.Write", "Write") && c.N == 2 {
			return backendtest.Fault{Action: backendtest.Fail}
		}
		return backendtest.Fault{}
	})
	err := e.Tx(t.Context(), func(tx *graphcache.Tx) error {
		err := fixtureFollows.Add(t.Context(), tx, "ann", "nobody", fixtureFollow{})
		if errors.Is(err, graphcache.ErrNotFound) {
			err = nil // then there is nothing to follow
		}
		return err
	})
	if edges := hazardLists(t, e, fixtureFollows, users, users, graphcache.Fresh, false); len(edges) > 0 || err == nil {
		t.Errorf("a transaction in which an edge was not taken back returned %v and left %v", err, edges)
	}
	err = fixtureLikes.Add(t.Context(), e, "ann", "nobody", graphcache.NoData{})
	if err == nil || errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("Add has left an edge to an object that does not exist, and says %v", err)
	}
}
