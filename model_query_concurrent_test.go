package graphcache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
)

// mqHot is a few users who move between the entries of indexes, and a few posts whose
// score rises, which everybody writes and reads at once. A user's number says in which
// city he is and which address he has; a post's number is its score.
type mqHot struct {
	modelHot
	movers [mqHotUsers]modelHistory
	scores [mqHotPosts]modelHistory
}

const (
	mqHotUsers  = 4
	mqHotPosts  = 3 // and as many that nobody writes, between them
	mqHotCities = 3
)

var (
	mqHotUserKind = mqPresent.kind("user").typed.(*graphcache.ObjectKind[mqUser])
	mqHotPostKind = mqPresent.kind("post").typed.(*graphcache.ObjectKind[mqPost])
	mqHotCity     = graphcache.StringFieldOf(mqHotUserKind, func(u *mqUser) *string { return &u.City })
	mqHotEmail    = graphcache.StringFieldOf(mqHotUserKind, func(u *mqUser) *string { return &u.Email })
	mqHotAge      = graphcache.OrderedFieldOf(mqHotUserKind, func(u *mqUser) *int { return &u.Age })
	mqHotHot      = graphcache.FieldOf(mqHotPostKind, func(p *mqPost) *bool { return &p.Hot })
	mqHotScore    = graphcache.OrderedFieldOf(mqHotPostKind, func(p *mqPost) *int { return &p.Score })
)

func mqHotUser(i int) graphcache.ID[mqUser]        { return graphcache.ID[mqUser](fmt.Sprint("u", i)) }
func mqHotPost(i int) graphcache.ID[mqPost]        { return graphcache.ID[mqPost](fmt.Sprint("p", i)) }
func mqHotStill(i int) graphcache.ID[mqPost]       { return graphcache.ID[mqPost](fmt.Sprint("still", i)) }
func mqHotCityAt(i int, n int64) string            { return fmt.Sprint("city ", (int64(i)+n)%mqHotCities) }
func mqHotMail(i int, n int64) string              { return fmt.Sprintf("%d.%d@x", i, n%8) }
func mqHotBody(i int, n int64) (city, mail string) { return mqHotCityAt(i, n), mqHotMail(i, n) }

// TestModelQueryConcurrent moves objects between entries of indexes while readers ask for
// them by index, page by page, and by scans, and checks each answer against the histories
// of the objects. When nothing moves any more, what is cached must be what is stored.
func TestModelQueryConcurrent(t *testing.T) {
	const enough = 20_000
	h := newMQHot(t, int64(modelFloor(enough)))
	if err := h.race(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := h.checked.Load(); n < h.enough {
		t.Errorf("only %d queries were checked, fewer than %d", n, h.enough)
	}
	h.settled(t)
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

func newMQHot(t *testing.T, enough int64) *mqHot {
	t.Helper()
	h := &mqHot{}
	h.cache, h.enough, h.turns = memory.NewCache(nil), enough, make(chan struct{}, 1)
	store := backendtest.NewFaultyStore(memory.NewStore(nil), modelJitter)
	cache := backendtest.NewFaultyCache(h.cache, modelJitter)
	for range 2 {
		g, err := graphcache.Open(t.Context(), mqPresent.schema, store, modelOptions(cache))
		if err != nil {
			t.Fatal(err)
		}
		h.graphs = append(h.graphs, g)
	}
	for i := range mqHotUsers {
		u := &mqUser{ID: mqHotUser(i)}
		u.City, u.Email = mqHotBody(i, 0)
		if err := mqHotUserKind.Create(t.Context(), h.graphs[0], u); err != nil {
			t.Fatal(err)
		}
	}
	for i := range mqHotPosts {
		moving, still := &mqPost{Key: mqHotPost(i)}, &mqPost{Key: mqHotStill(i)}
		moving.Hot, still.Hot, still.Score = true, true, 1+3*i
		if err := h.graphs[0].CreateAll(t.Context(), moving, still); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// race runs writers until the readers have checked enough, or one has found something
// wrong.
func (h *mqHot) race(ctx context.Context) error {
	ctx, h.stop = context.WithCancel(ctx)
	defer h.stop()
	var writers []func(context.Context, *graphcache.Graph) error
	for i := range mqHotUsers {
		writers = append(writers, h.move(i))
	}
	for i := range mqHotPosts {
		writers = append(writers, h.raise(i))
	}
	readers := []func(context.Context, *graphcache.Graph) error{h.readCity, h.readCitizens, h.readMail, h.readPages, h.readScan}
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

// move returns a writer that moves a user to the next city and address.
func (h *mqHot) move(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		return h.movers[i].write(func(n int64) error {
			city, mail := mqHotBody(i, n)
			ctx := context.WithoutCancel(ctx) // so that the outcome is known
			if n%2 == 0 {
				_, err := mqHotUserKind.Apply(ctx, g, mqHotUser(i), mqHotCity.Set(city), mqHotEmail.Set(mail), mqHotAge.Set(int(n)))
				return err
			}
			_, err := mqHotUserKind.Update(ctx, g, mqHotUser(i), func(u *mqUser) error {
				u.City, u.Email, u.Age = city, mail, int(n)
				return nil
			})
			return err
		})
	}
}

// raise returns a writer that adds one to a post's score.
func (h *mqHot) raise(i int) func(context.Context, *graphcache.Graph) error {
	return func(ctx context.Context, g *graphcache.Graph) error {
		return h.scores[i].write(func(int64) error {
			_, err := mqHotPostKind.Apply(context.WithoutCancel(ctx), g, mqHotPost(i), mqHotScore.Add(1))
			return err
		})
	}
}

// reading begins a read of all users.
func (h *mqHot) reading() (readings [mqHotUsers]modelReading) {
	for i := range readings {
		readings[i] = h.movers[i].read()
	}
	return readings
}

// readCity asks an index alone who is in a city: one anchor, so that the answer is one of
// a moment of the read.
func (h *mqHot) readCity(ctx context.Context, g *graphcache.Graph) error {
	readings, city := h.reading(), mqHotCityAt(rand.IntN(mqHotCities), 0)
	ids, err := modelMaybeFresh(mqHotUserKind.Where(mqHotCity.Eq(city))).IDs(ctx, g)
	if err != nil {
		return err
	}
	h.checked.Add(1)
	for i, r := range readings {
		found := slices.Contains(ids, mqHotUser(i))
		if err := r.absent(func(n int64) bool { return (mqHotCityAt(i, n) == city) == found }); err != nil {
			return fmt.Errorf("user %d among those in %s: %v: %w", i, city, found, err)
		}
	}
	return nil
}

// readCitizens loads them as well: whatever the index says, nobody else may be there.
func (h *mqHot) readCitizens(ctx context.Context, g *graphcache.Graph) error {
	readings, city := h.reading(), mqHotCityAt(rand.IntN(mqHotCities), 0)
	users, err := modelMaybeFresh(mqHotUserKind.Where(mqHotCity.Eq(city)).OrderBy(mqHotAge.Desc())).All(ctx, g)
	if err != nil {
		return err
	}
	h.checked.Add(1)
	for at, u := range users {
		if u.City != city || at > 0 && users[at-1].Age < u.Age {
			return fmt.Errorf("user %s of %s, with number %d, is at place %d of those in %s", u.ID, u.City, u.Age, at, city)
		}
		for i, r := range readings {
			if u.ID != mqHotUser(i) {
				continue
			}
			if err := r.returned(int64(u.Age)); err != nil {
				return fmt.Errorf("user %d in %s: %w", i, city, err)
			}
		}
	}
	return nil
}

// readMail asks the unique index whether an address is in use.
func (h *mqHot) readMail(ctx context.Context, g *graphcache.Graph) error {
	readings, i := h.reading(), rand.IntN(mqHotUsers)
	mail := mqHotMail(i, readings[i].low+rand.Int64N(2))
	n, err := modelMaybeFresh(mqHotUserKind.Where(mqHotEmail.Eq(mail))).Count(ctx, g)
	if err != nil {
		return err
	}
	h.checked.Add(1)
	if err := readings[i].absent(func(k int64) bool { return mqHotMail(i, k) == mail == (n == 1) }); err != nil || n > 1 {
		return fmt.Errorf("%d users have the address %s: %w", n, mail, err)
	}
	return nil
}

// readPages reads all posts by their scores, page by page: those that nobody writes must
// be there once, in their order.
func (h *mqHot) readPages(ctx context.Context, g *graphcache.Graph) error {
	q := modelMaybeFresh(mqHotPostKind.Where(mqHotHot.Eq(true)).OrderBy(mqHotScore.Asc()).Limit(2))
	var still []graphcache.ID[mqPost]
	for cursor := ""; ; {
		page, next, err := q.Page(ctx, g, cursor)
		if err != nil {
			return err
		}
		h.checked.Add(1)
		for i, p := range page {
			if i > 0 && page[i-1].Score > p.Score {
				return fmt.Errorf("a page is not in order: %d before %d", page[i-1].Score, p.Score)
			}
			if p.Key[0] == 's' {
				still = append(still, p.Key)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	var want []graphcache.ID[mqPost]
	for i := range mqHotPosts {
		want = append(want, mqHotStill(i))
	}
	if !slices.Equal(still, want) {
		return fmt.Errorf("of the posts that nobody writes, the pages have %q", still)
	}
	return nil
}

// readScan asks the whole kind which scores have come so far.
func (h *mqHot) readScan(ctx context.Context, g *graphcache.Graph) error {
	var readings [mqHotPosts]modelReading
	for i := range readings {
		readings[i] = h.scores[i].read()
	}
	least := readings[rand.IntN(mqHotPosts)].low + rand.Int64N(2)
	ids, err := modelMaybeFresh(mqHotPostKind.Where(mqHotScore.Ge(int(least)))).IDs(ctx, g)
	if err != nil {
		return err
	}
	h.checked.Add(1)
	for i, r := range readings {
		found := slices.Contains(ids, mqHotPost(i))
		if err := r.absent(func(n int64) bool { return (n >= least) == found }); err != nil {
			return fmt.Errorf("post %d among those with %d or more: %v: %w", i, least, found, err)
		}
	}
	return nil
}

// settled compares what is cached with what is stored.
func (h *mqHot) settled(t *testing.T) {
	t.Helper()
	for i := range mqHotCities {
		q := mqHotUserKind.Where(mqHotCity.Eq(mqHotCityAt(i, 0)))
		mqSame(t, h.graphs, q)
		mqSame(t, h.graphs, q.OrderBy(mqHotAge.Desc()))
	}
	for i := range mqHotUsers {
		for n := range int64(8) {
			mqSame(t, h.graphs, mqHotUserKind.Where(mqHotEmail.Eq(mqHotMail(i, n))))
		}
	}
	mqSame(t, h.graphs, mqHotPostKind.Where(mqHotHot.Eq(true)).OrderBy(mqHotScore.Asc()))
	for i := range mqHotPosts {
		mqSame(t, h.graphs, mqHotPostKind.Where(mqHotScore.Ge(int(h.scores[i].acked.Load()))))
	}
}

// mqSame compares the cached with the stored answer of a query.
func mqSame[T any](t *testing.T, graphs []*graphcache.Graph, q graphcache.Query[T, graphcache.NoEdge]) {
	t.Helper()
	for i, g := range graphs {
		want, err := q.Fresh().IDs(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.IDs(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("graph %d, when all is quiet: cached %q, stored %q", i, got, want)
		}
	}
}
