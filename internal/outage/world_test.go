package outage_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

type account struct {
	ID      graphcache.ID[account] `json:"id"`
	Version graphcache.Version     `json:"version"`
	N       int                    `json:"n"`
	City    string                 `json:"city" graph:"index"`
}

type item struct {
	ID    graphcache.ID[item] `json:"id"`
	Shelf string              `json:"shelf" graph:"index"`
	Price int                 `json:"price"`
}

type (
	accountID = graphcache.ID[account]
	itemID    = graphcache.ID[item]
)

var (
	accounts = graphcache.NewObjectKind[account]("account")
	items    = graphcache.NewObjectKind[item]("item").CacheScans()
	follows  = graphcache.NewEdgeKind[graphcache.NoData]("follows", accounts, accounts)
	likes    = graphcache.NewEdgeKind[graphcache.NoData]("likes", accounts, accounts).Family("feelings")
	loves    = graphcache.NewEdgeKind[graphcache.NoData]("loves", accounts, accounts).Family("feelings")

	accountN    = graphcache.OrderedFieldOf(accounts, func(a *account) *int { return &a.N })
	accountCity = graphcache.StringFieldOf(accounts, func(a *account) *string { return &a.City })
	itemShelf   = graphcache.StringFieldOf(items, func(i *item) *string { return &i.Shelf })
	itemPrice   = graphcache.OrderedFieldOf(items, func(i *item) *int { return &i.Price })

	schema = graphcache.NewSchema(accounts, items, follows, likes, loves)
)

// The settings of all processes, which are the defaults.
const (
	period      = time.Second
	holdTimeout = 500 * time.Millisecond
	holdTTL     = 15 * time.Second
	ambiguous   = 2 * time.Minute
)

// world is a store and a cache, and the processes on them.
type world struct {
	t         *testing.T
	store     *memory.Store
	cache     *memory.Cache
	processes []*process
	truth     *graphcache.Graph // without a cache or faults

	mu      sync.Mutex
	anchors map[string]bool // that were ever held
}

// process is a graph on backends that fail on demand.
type process struct {
	*graphcache.Graph
	w     *world
	store *backendtest.FaultyStore
	cache *backendtest.FaultyCache

	dead atomic.Bool // it reaches nothing any more

	mu        sync.Mutex
	storeHook backendtest.Hook
	cacheHook backendtest.Hook
}

// newWorld opens n processes, whose looks are apart.
func newWorld(t *testing.T, n int, set ...func(*graphcache.Options)) *world {
	t.Helper()
	w := &world{t: t, store: memory.NewStore(nil), cache: memory.NewCache(nil), anchors: map[string]bool{}}
	var err error
	w.truth, err = graphcache.Open(t.Context(), schema, w.store, nil)
	must(t, err)
	t.Cleanup(func() { must(t, w.truth.Close(context.Background())) })
	for i := range n {
		if i > 0 {
			time.Sleep(period/time.Duration(n) + time.Millisecond)
		}
		w.open(set...)
	}
	return w
}

// open opens one more process.
func (w *world) open(set ...func(*graphcache.Options)) *process {
	w.t.Helper()
	return w.openOn(func(s *backendtest.FaultyStore) driver.Store { return s }, set...)
}

// openOn is open with a store of another type in front.
func (w *world) openOn(wrap func(*backendtest.FaultyStore) driver.Store, set ...func(*graphcache.Options)) *process {
	w.t.Helper()
	p := &process{w: w, store: backendtest.NewFaultyStore(w.store, nil), cache: backendtest.NewFaultyCache(w.cache, nil)}
	opts := &graphcache.Options{Cache: p.cache, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range set {
		f(opts)
	}
	p.store.SetHook(func(ctx context.Context, c backendtest.Call) backendtest.Fault {
		return p.consult(&p.storeHook, ctx, c)
	})
	p.cache.SetHook(func(ctx context.Context, c backendtest.Call) backendtest.Fault {
		return p.consult(&p.cacheHook, ctx, c)
	})
	g, err := graphcache.Open(w.t.Context(), schema, wrap(p.store), opts)
	if err != nil {
		w.t.Fatalf("Open: %v", err)
	}
	p.Graph = g
	w.processes = append(w.processes, p)
	w.t.Cleanup(func() {
		p.dead.Store(false)
		p.well()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := g.Close(ctx); err != nil {
			w.t.Errorf("Close: %v", err)
		}
		p.store.WaitLate()
		p.cache.WaitLate()
	})
	return p
}

// consult notes what is held, and asks the hook of the moment.
func (p *process) consult(hook *backendtest.Hook, ctx context.Context, c backendtest.Call) backendtest.Fault {
	if holds, ok := c.Batch.([]driver.Hold); ok {
		p.w.mu.Lock()
		for _, h := range holds {
			p.w.anchors[h.Anchor] = true
		}
		p.w.mu.Unlock()
	}
	if p.dead.Load() {
		return backendtest.Fault{Action: backendtest.Fail}
	}
	p.mu.Lock()
	h := *hook
	p.mu.Unlock()
	if h == nil {
		return backendtest.Fault{}
	}
	return h(ctx, c)
}

// onStore and onCache set what happens to the process's calls; nil is nothing.
func (p *process) onStore(h backendtest.Hook) { p.mu.Lock(); p.storeHook = h; p.mu.Unlock() }
func (p *process) onCache(h backendtest.Hook) { p.mu.Lock(); p.cacheHook = h; p.mu.Unlock() }

// well ends all faults.
func (p *process) well() { p.onStore(nil); p.onCache(nil) }

func (w *world) well() {
	for _, p := range w.processes {
		p.well()
	}
}

// cacheDown makes all calls of the cache fail, or hang.
func (w *world) cacheDown(a backendtest.Action, processes ...*process) {
	for _, p := range processes {
		p.onCache(backendtest.Inject(backendtest.On(), backendtest.Fault{Action: a}))
	}
}

// storeDown makes all calls of the store fail, or hang.
func (w *world) storeDown(a backendtest.Action, processes ...*process) {
	for _, p := range processes {
		p.onStore(backendtest.Inject(backendtest.On(), backendtest.Fault{Action: a}))
	}
}

// journal returns what the store's journal has.
func (w *world) journal() []driver.JournalEntry {
	w.t.Helper()
	look, err := w.store.Look(context.Background())
	must(w.t, err)
	return look.Journal
}

// quiet checks that nothing is left of an outage: no hold, no journal entry.
func (w *world) quiet() {
	w.t.Helper()
	for _, p := range w.processes {
		must(w.t, p.Settle(w.t.Context()))
	}
	if left := w.journal(); len(left) > 0 {
		w.t.Errorf("%d entries are left in the journal, such as %+v", len(left), left[0])
	}
	for _, a := range w.held() {
		w.t.Errorf("a hold is left on %q", a)
	}
	for i, p := range w.processes {
		if n := p.Stats().Journal; n != 0 {
			w.t.Errorf("process %d knows of %d entries in the journal", i, n)
		}
	}
}

// held returns the anchors that are held.
func (w *world) held() (anchors []string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.anchors {
		entries, err := w.cache.Lookup(context.Background(), []driver.Lookup{{Anchor: a}})
		must(w.t, err)
		if entries[0].State == driver.Held {
			anchors = append(anchors, a)
		}
	}
	slices.Sort(anchors)
	return anchors
}

// bubble runs f in a bubble of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// n returns an account's number as the process reads it.
func (p *process) n(t testing.TB, id accountID) int {
	t.Helper()
	a, err := accounts.Get(t.Context(), p, id)
	if errors.Is(err, graphcache.ErrNotFound) {
		return 0
	}
	must(t, err)
	return a.N
}

// set sets an account's number.
func (p *process) set(ctx context.Context, id accountID, n int) error {
	_, err := accounts.Update(ctx, p, id, func(a *account) error { a.N = n; return nil })
	return err
}

// warm has an account in the cache, as the process sees it.
func (p *process) warm(t testing.TB, id accountID) {
	t.Helper()
	p.n(t, id)
	must(t, p.Settle(t.Context()))
	before := p.Stats().Kinds["account"].Hits
	p.n(t, id)
	if p.Stats().Kinds["account"].Hits == before {
		t.Errorf("%s is not in the cache", id)
	}
}

// allIDs are those of the accounts that the tests read; the first three are written.
var allIDs = func() []accountID {
	ids := []accountID{"a", "b", "c"}
	for i := range 20 {
		ids = append(ids, accountID(fmt.Sprint("f", i)))
	}
	return ids
}()

// seedAccounts creates the accounts.
func (w *world) seedAccounts() {
	w.t.Helper()
	for i, id := range allIDs {
		a := &account{ID: id}
		if i < 3 {
			a.N, a.City = 1, "city 1"
		}
		must(w.t, accounts.Create(w.t.Context(), w.truth, a))
	}
}

// agree checks that what the processes read from the cache is what is in the store.
func (w *world) agree(what string, processes ...*process) {
	w.t.Helper()
	want := w.view(w.truth)
	for i, p := range w.processes {
		if len(processes) > 0 && !slices.Contains(processes, p) {
			continue
		}
		if diff := gocmp.Diff(want, w.view(p)); diff != "" {
			w.t.Errorf("%s: process %d does not read what is in the store (-store +cached):\n%s", what, i, diff)
		}
	}
}

// same checks the same of reads that fill and of reads that hit.
func (w *world) same() {
	w.t.Helper()
	w.agree("a read that fills")
	for _, p := range w.processes {
		must(w.t, p.Settle(w.t.Context()))
	}
	var hits, loads [2]int64
	for i := range 2 {
		for _, p := range w.processes {
			for _, k := range p.Stats().Kinds {
				hits[i] += k.Hits
				loads[i] += k.Loads
			}
		}
		if i == 0 {
			w.agree("a read that hits")
		}
	}
	if hits[1] == hits[0] || loads[1] != loads[0] {
		w.t.Errorf("the cache is not used: %d hits and %d loads", hits[1]-hits[0], loads[1]-loads[0])
	}
}

// view reads everything.
func (w *world) view(g graphcache.Conn) map[string]any {
	t := w.t
	t.Helper()
	ctx, v := t.Context(), map[string]any{}
	found, err := accounts.GetMany(ctx, g, allIDs)
	must(t, err)
	for id, a := range found {
		v["account "+string(id)] = *a
	}
	for i := range 5 {
		city := fmt.Sprint("city ", i)
		found, err := accounts.Where(accountCity.Eq(city)).IDs(ctx, g)
		must(t, err)
		v[city] = slices.SortedFunc(slices.Values([]accountID(found)), cmp.Compare)
	}
	shelf, err := items.Where(itemShelf.Eq("s")).IDs(ctx, g)
	must(t, err)
	v["shelf"] = slices.Sorted(slices.Values([]itemID(shelf)))
	v["items"], err = items.Where(itemPrice.Ge(0)).Count(ctx, g)
	must(t, err)
	for _, k := range []*graphcache.EdgeKind[account, account, graphcache.NoData]{follows, likes, loves} {
		for _, id := range allIDs[:5] {
			out, err := k.Out(id).Edges(ctx, g)
			must(t, err)
			in, err := k.In(id).Edges(ctx, g)
			must(t, err)
			if len(out)+len(in) > 0 {
				v[fmt.Sprint(k.Name(), " ", id)] = []any{out, in}
			}
		}
	}
	return v
}
