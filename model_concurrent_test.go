package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
)

// In the concurrent test every record carries a number that its writers count up.
// A read through the cache must return one that the record had at some moment of
// the read.

// modelHistory is what is known about one record.
type modelHistory struct {
	begun atomic.Int64 // the highest number that a write may have stored
	acked atomic.Int64 // the highest number of an acknowledged write
	seen  atomic.Int64 // the highest number that a read has returned
}

// modelRaise raises n to at least v.
func modelRaise(n *atomic.Int64, v int64) {
	for {
		old := n.Load()
		if old >= v || n.CompareAndSwap(old, v) {
			return
		}
	}
}

// modelReading is a read under way: the record had at least the number low when it
// began.
type modelReading struct {
	h   *modelHistory
	low int64
}

// read begins a read. What was acknowledged before it, or returned by another read
// before it, it must not go back behind.
func (h *modelHistory) read() modelReading {
	return modelReading{h, max(h.acked.Load(), h.seen.Load())}
}

// returned ends a read that returned the number.
func (r modelReading) returned(n int64) error {
	high := r.h.begun.Load()
	if n < r.low || n > high {
		return fmt.Errorf("a read returned number %d, when the record had %d to %d", n, r.low, high)
	}
	modelRaise(&r.h.seen, n)
	return nil
}

// absent ends a read that found nothing, where the record is absent at the numbers
// for which gone holds.
func (r modelReading) absent(gone func(n int64) bool) error {
	high := r.h.begun.Load()
	for n := r.low; n <= high; n++ {
		if gone(n) {
			return nil
		}
	}
	return fmt.Errorf("a read found nothing, when the record was there with numbers %d to %d", r.low, high)
}

// modelJitter makes a backend's calls take a random while, before they take effect
// and after, so that they interleave in every order.
func modelJitter(ctx context.Context, _ backendtest.Call) backendtest.Fault {
	fault := backendtest.Fault{After: func(context.Context) { modelYield() }}
	switch rand.IntN(60) {
	case 0:
		fault.Delay = time.Duration(rand.IntN(2000)) * time.Microsecond
	case 1, 2:
		fault.Delay = time.Duration(rand.IntN(200)) * time.Microsecond
	default:
		modelYield()
	}
	return fault
}

// modelYield lets others run, a few times.
func modelYield() {
	for range rand.IntN(4) {
		runtime.Gosched()
	}
}

// modelHot is a small graph that everybody writes and reads at once.
type modelHot struct {
	graphs []*graphcache.Graph
	cache  *memory.Cache

	users    [modelHotUsers]modelHistory // number: Age
	follows  [modelHotUsers]modelHistory // of user i by user 0: there at even numbers
	friends  [modelHotUsers]modelHistory // of user i and user 2: there at even numbers
	pinned   [modelHotUsers]modelHistory // by user i: of post number mod modelHotPosts
	opinions [modelHotPosts]modelHistory // of user 0 on post i: likes at even numbers

	checked atomic.Int64
	enough  int64
	turns   chan struct{} // of the writers, given out by the readers
	stop    context.CancelFunc
	errOnce sync.Once
	err     error
}

const (
	modelHotUsers = 4
	modelHotPosts = 3
)

func modelUserAt(i int) graphcache.ID[modelUser] { return graphcache.ID[modelUser](fmt.Sprint("u", i)) }
func modelPostAt(i int) graphcache.ID[modelPost] { return graphcache.ID[modelPost](fmt.Sprint("p", i)) }

// TestModelConcurrent reads and writes a few hot records from many goroutines
// through two graphs, and checks each read against the history of its record.
func TestModelConcurrent(t *testing.T) {
	const enough = 60_000
	h := newModelHot(t, int64(modelFloor(enough)))
	if err := h.race(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := h.checked.Load(); n < h.enough {
		t.Errorf("only %d queries were checked, fewer than %d", n, h.enough)
	}
	for i := range h.users {
		u, err := modelUserKind.Get(t.Context(), h.graphs[0], modelUserAt(i))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := int64(u.Age), h.users[i].acked.Load(); got != want {
			t.Errorf("user %d was updated %d times, but counts %d: an update was lost", i, want, got)
		}
	}
	hits := int64(0)
	for _, g := range h.graphs {
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, k := range g.Stats().Kinds {
			hits += k.Hits
		}
	}
	if hits < h.enough/10 {
		t.Errorf("only %d of the reads were answered from the cache: the test tests the store", hits)
	}
	t.Logf("checked queries: %d; %d look-ups hit", h.checked.Load(), hits)
	if n := h.cache.Tokens(); n > 0 {
		t.Errorf("%d holds are left standing", n)
	}
}

func newModelHot(t *testing.T, enough int64) *modelHot {
	t.Helper()
	h := &modelHot{cache: memory.NewCache(nil), enough: enough, turns: make(chan struct{}, 1)}
	store := backendtest.NewFaultyStore(memory.NewStore(nil), modelJitter)
	cache := backendtest.NewFaultyCache(h.cache, modelJitter)
	for range 2 {
		g, err := graphcache.Open(t.Context(), modelSchema, store, modelOptions(cache))
		if err != nil {
			t.Fatal(err)
		}
		h.graphs = append(h.graphs, g)
	}
	for i := range modelHotUsers {
		if err := modelUserKind.Create(t.Context(), h.graphs[0], &modelUser{ID: modelUserAt(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range modelHotPosts {
		p := modelMakePost(string(modelPostAt(i)), 0)
		if err := modelPostKind.Create(t.Context(), h.graphs[0], &p); err != nil {
			t.Fatal(err)
		}
		// The opinions begin as likes with number 0.
		if err := modelLikes.Add(t.Context(), h.graphs[0], modelUserAt(0), modelPostAt(i), modelNote{}); err != nil {
			t.Fatal(err)
		}
	}
	// The others begin absent: their first number is 1.
	for i := range modelHotUsers {
		for _, r := range []*modelHistory{&h.follows[i], &h.friends[i], &h.pinned[i]} {
			r.begun.Store(1)
			r.acked.Store(1)
		}
	}
	return h
}

// race runs writers until the readers have checked enough, or one has found
// something wrong.
func (h *modelHot) race(ctx context.Context) error {
	ctx, h.stop = context.WithCancel(ctx)
	defer h.stop()
	var writers []func(context.Context, *graphcache.Graph) error
	for i := range modelHotUsers {
		// Two writers an object, and one an edge.
		writers = append(writers, h.countUp(i), h.countUp(i), h.toggleFollow(i), h.toggleFriend(i), h.movePin(i))
	}
	for i := range modelHotPosts {
		writers = append(writers, h.changeOpinion(i))
	}
	readers := []func(context.Context, *graphcache.Graph) error{
		h.readUsers, h.readFollows, h.readFriends, h.readPins, h.readOpinions,
	}
	var wg sync.WaitGroup
	for i, write := range writers {
		wg.Go(func() { h.repeat(ctx, h.graphs[i%2], h.inTurn(write)) })
	}
	for i := range 4 * len(readers) {
		wg.Go(func() { h.repeat(ctx, h.graphs[i%2], h.givingTurns(readers[i/2%len(readers)])) })
	}
	wg.Wait()
	return h.err
}

// inTurn makes a writer wait for its turn. Writers that never paused would leave
// nothing in the cache for anybody to read.
func (h *modelHot) inTurn(write func(context.Context, *graphcache.Graph) error) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		select {
		case <-h.turns:
			return write(ctx, g)
		case <-ctx.Done():
			return nil
		}
	}
}

// givingTurns lets somebody write after one read in ten.
func (h *modelHot) givingTurns(read func(context.Context, *graphcache.Graph) error) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		if rand.IntN(10) == 0 {
			select {
			case h.turns <- struct{}{}:
			default:
			}
		}
		return read(ctx, g)
	}
}

// repeat does something until the race is over. An operation that was interrupted
// by the end of the race is nobody's fault.
func (h *modelHot) repeat(ctx context.Context, g *graphcache.Graph, do func(context.Context, *graphcache.Graph) error) {
	for ctx.Err() == nil {
		err := do(ctx, g)
		if err != nil && ctx.Err() == nil {
			h.errOnce.Do(func() { h.err = err })
			h.stop()
		}
		if h.checked.Load() >= h.enough {
			h.stop()
		}
	}
}

// write does the write that gives the record its next number, by its only writer.
func (r *modelHistory) write(do func(n int64) error) error {
	n := r.begun.Add(1)
	err := do(n)
	if err == nil {
		modelRaise(&r.acked, n)
	}
	return err
}

// countUp returns a writer that adds one to a user's number. There are several, so
// the number that was stored is the one that Update returns.
func (h *modelHot) countUp(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		h.users[i].begun.Add(1)
		// An update that is interrupted would leave the number of updates unknown.
		u, err := modelUserKind.Update(context.WithoutCancel(ctx), g, modelUserAt(i), func(u *modelUser) error { u.Age++; return nil })
		if err == nil {
			modelRaise(&h.users[i].acked, int64(u.Age))
		}
		return err
	}
}

func modelHotNote(n int64) modelNote { return modelNote{Weight: int(n)} }

// toggleFollow returns a writer that adds an edge, replaces it, and removes it: it
// is absent at odd numbers.
func (h *modelHot) toggleFollow(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		return h.follows[i].write(func(n int64) error {
			if n%2 == 1 {
				return modelFollows.Remove(ctx, g, modelUserAt(0), modelUserAt(i))
			}
			return modelFollows.Add(ctx, g, modelUserAt(0), modelUserAt(i), modelHotNote(n))
		})
	}
}

// toggleFriend does the same with a symmetric edge, from the one end and from the
// other.
func (h *modelHot) toggleFriend(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		return h.friends[i].write(func(n int64) error {
			a, b := modelUserAt(i), modelUserAt(2)
			if n%4 < 2 {
				a, b = b, a
			}
			if n%2 == 1 {
				return modelFriend.Remove(ctx, g, a, b)
			}
			return modelFriend.Add(ctx, g, a, b, modelHotNote(n))
		})
	}
}

// movePin returns a writer that leads a to-one edge from one post to the next.
func (h *modelHot) movePin(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		return h.pinned[i].write(func(n int64) error {
			return modelPinned.Add(ctx, g, modelUserAt(i), modelPostAt(int(n%modelHotPosts)), modelHotNote(n))
		})
	}
}

// changeOpinion returns a writer that moves an edge between two kinds.
func (h *modelHot) changeOpinion(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		return h.opinions[i].write(func(n int64) error {
			from, to := modelLikes, modelDislike
			if n%2 == 0 {
				from, to = to, from
			}
			return from.ChangeKind(ctx, g, modelUserAt(0), modelPostAt(i), to)
		})
	}
}

// readUsers reads one user, or all of them at once.
func (h *modelHot) readUsers(ctx context.Context, g *graphcache.Graph) error {
	var readings [modelHotUsers]modelReading
	for i := range h.users {
		readings[i] = h.users[i].read()
	}
	if i := rand.IntN(modelHotUsers); i > 0 {
		u, err := modelUserKind.Get(ctx, g, modelUserAt(i), modelFreshness())
		if err != nil {
			return err
		}
		h.checked.Add(1)
		return readings[i].returned(int64(u.Age))
	}
	ids := make([]graphcache.ID[modelUser], modelHotUsers)
	for i := range ids {
		ids[i] = modelUserAt(i)
	}
	users, err := modelUserKind.GetMany(ctx, g, ids, modelFreshness())
	if err != nil {
		return err
	}
	h.checked.Add(1)
	for i, id := range ids {
		if users[id] == nil {
			return fmt.Errorf("user %d was not found", i)
		}
		if err := readings[i].returned(int64(users[id].Age)); err != nil {
			return fmt.Errorf("user %d of many: %w", i, err)
		}
	}
	return nil
}

// modelFreshness makes some reads go to the store itself. They are held to the same
// histories: they must not join a load that was sent before they began.
func modelFreshness() graphcache.Freshness {
	if rand.IntN(6) == 0 {
		return graphcache.Fresh
	}
	return graphcache.Cached
}

// modelMaybeFresh does the same with a query.
func modelMaybeFresh[T, E any](q graphcache.Query[T, E]) graphcache.Query[T, E] {
	if modelFreshness() == graphcache.Fresh {
		return q.Fresh()
	}
	return q
}

// modelOdd is when an edge that is toggled is absent.
func modelOdd(n int64) bool { return n%2 == 1 }

// readFollows reads whom user 0 follows: as a list, as one edge, or from the other
// end.
func (h *modelHot) readFollows(ctx context.Context, g *graphcache.Graph) error {
	return h.readToggled(ctx, g, modelFollows, &h.follows, 0)
}

// readFriends reads the friends of user 2.
func (h *modelHot) readFriends(ctx context.Context, g *graphcache.Graph) error {
	return h.readToggled(ctx, g, modelFriend, &h.friends, 2)
}

func (h *modelHot) readToggled(ctx context.Context, g *graphcache.Graph, k *graphcache.EdgeKind[modelUser, modelUser, modelNote],
	histories *[modelHotUsers]modelHistory, hub int) error {
	var readings [modelHotUsers]modelReading
	for i := range histories {
		readings[i] = histories[i].read()
	}
	defer h.checked.Add(1)
	i := rand.IntN(modelHotUsers)
	switch rand.IntN(3) {
	case 0:
		list, err := modelMaybeFresh(k.Out(modelUserAt(hub))).Edges(ctx, g)
		if err != nil {
			return err
		}
		found := map[graphcache.ID[modelUser]]*graphcache.Edge[modelUser, modelUser, modelNote]{}
		for _, e := range list {
			found[e.To] = &e
		}
		for i := range readings {
			if err := readings[i].toggled(found[modelUserAt(i)]); err != nil {
				return fmt.Errorf("the edge to user %d in the list: %w", i, err)
			}
		}
		return nil
	case 1:
		e, err := k.Get(ctx, g, modelUserAt(hub), modelUserAt(i), modelFreshness())
		if err != nil && !errors.Is(err, graphcache.ErrNotFound) {
			return err
		}
		return readings[i].toggled(e)
	}
	list, err := modelMaybeFresh(k.In(modelUserAt(i))).Edges(ctx, g)
	if err != nil {
		return err
	}
	for _, e := range list {
		// In a symmetric kind the hub has the other edges, too.
		if e.From == modelUserAt(hub) && e.To == modelUserAt(i) || e.From == modelUserAt(i) && e.To == modelUserAt(hub) {
			return readings[i].toggled(&e)
		}
	}
	return readings[i].toggled(nil)
}

// toggled ends a read that found the edge, or nil.
func (r modelReading) toggled(e *graphcache.Edge[modelUser, modelUser, modelNote]) error {
	if e == nil {
		return r.absent(modelOdd)
	}
	return r.returned(int64(e.Data.Weight))
}

// readPins reads where a to-one edge leads, or which lead to a post.
func (h *modelHot) readPins(ctx context.Context, g *graphcache.Graph) error {
	var readings [modelHotUsers]modelReading
	for i := range h.pinned {
		readings[i] = h.pinned[i].read()
	}
	defer h.checked.Add(1)
	if rand.IntN(2) == 0 {
		i := rand.IntN(modelHotUsers)
		list, err := modelMaybeFresh(modelPinned.Out(modelUserAt(i))).Edges(ctx, g)
		if err != nil {
			return err
		}
		switch len(list) {
		case 0:
			return readings[i].absent(func(n int64) bool { return n == 1 })
		case 1:
			return readings[i].pinned(list[0])
		}
		return fmt.Errorf("a to-one kind has %d edges", len(list))
	}
	post := rand.IntN(modelHotPosts)
	list, err := modelMaybeFresh(modelPinned.In(modelPostAt(post))).Edges(ctx, g)
	if err != nil {
		return err
	}
	var found [modelHotUsers]bool
	for _, e := range list {
		for i := range found {
			if e.From != modelUserAt(i) {
				continue
			}
			found[i] = true
			if err := readings[i].pinned(e); err != nil {
				return fmt.Errorf("what user %d has pinned: %w", i, err)
			}
		}
	}
	for i := range found {
		if found[i] {
			continue
		}
		elsewhere := func(n int64) bool { return n == 1 || int(n%modelHotPosts) != post }
		if err := readings[i].absent(elsewhere); err != nil {
			return fmt.Errorf("what user %d has pinned, looked for at post %d: %w", i, post, err)
		}
	}
	return nil
}

// pinned ends a read that found the edge.
func (r modelReading) pinned(e graphcache.Edge[modelUser, modelPost, modelNote]) error {
	if n := int64(e.Data.Weight); e.To != modelPostAt(int(n%modelHotPosts)) {
		return fmt.Errorf("the edge with number %d leads to %s", n, e.To)
	}
	return r.returned(int64(e.Data.Weight))
}

// readOpinions reads what user 0 likes, or dislikes. The edges keep their data when
// they change their kind, so only their presence says how often they have.
func (h *modelHot) readOpinions(ctx context.Context, g *graphcache.Graph) error {
	var readings [modelHotPosts]modelReading
	for i := range h.opinions {
		readings[i] = h.opinions[i].read()
	}
	kind, parity := modelLikes, int64(0)
	if rand.IntN(2) == 1 {
		kind, parity = modelDislike, 1
	}
	list, err := modelMaybeFresh(kind.Out(modelUserAt(0))).Edges(ctx, g)
	if err != nil {
		return err
	}
	h.checked.Add(1)
	there := map[graphcache.ID[modelPost]]bool{}
	for _, e := range list {
		there[e.To] = true
	}
	for i, r := range readings {
		found := there[modelPostAt(i)]
		if err := r.absent(func(n int64) bool { return (n%2 == parity) == found }); err != nil {
			return fmt.Errorf("post %d among those that %s leads to: %v: %w", i, kind.Name(), found, err)
		}
	}
	return nil
}

// TestModelConcurrentToOne has two writers move the same to-one edge at once: the
// one that loses replaces an edge other than it had expected, and must invalidate
// the list of that one. Readers keep the lists in the cache all the while, and when
// the writers are done the lists must be right.
func TestModelConcurrentToOne(t *testing.T) {
	h := newModelHot(t, 0)
	checked := 0
	for round := range modelFloor(500) {
		checked += h.sweepPins(t, round)
		var writers, readers sync.WaitGroup
		var errs [4]error
		done := make(chan struct{})
		for i, g := range h.graphs {
			readers.Go(func() {
				for n := 0; errs[2+i] == nil; n++ {
					select {
					case <-done:
						return
					default:
						_, errs[2+i] = modelPinned.In(modelPostAt(n%modelHotPosts)).IDs(t.Context(), g)
					}
				}
			})
			writers.Go(func() {
				errs[i] = modelPinned.Add(t.Context(), g, modelUserAt(0), modelPostAt(rand.IntN(modelHotPosts)), modelNote{})
			})
		}
		writers.Wait()
		close(done)
		readers.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
	}
	checked += h.sweepPins(t, -1)
	t.Logf("checked queries: %d", checked)
	for _, g := range h.graphs {
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// sweepPins compares each list with what the store says, and leaves it in the
// cache.
func (h *modelHot) sweepPins(t *testing.T, round int) (checked int) {
	t.Helper()
	for i := range modelHotPosts {
		q := modelPinned.In(modelPostAt(i))
		want, err := q.Fresh().IDs(t.Context(), h.graphs[0])
		if err != nil {
			t.Fatal(err)
		}
		for n, g := range h.graphs {
			got, err := q.IDs(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if checked++; !slices.Equal(got, want) {
				t.Fatalf("round %d: graph %d: users %q have pinned post %d, want %q", round, n, got, i, want)
			}
		}
	}
	return checked
}
