package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// traceDiary is a Tracer that keeps what it is told, a line for each span and step.
type traceDiary struct {
	mu    sync.Mutex
	lines []string
}

type traceKey struct{}

type traceSpan struct {
	d     *traceDiary
	name  string
	ended bool
}

func (d *traceDiary) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *traceDiary) Start(ctx context.Context, op graphcache.Operation) (context.Context, graphcache.Span) {
	s := &traceSpan{d: d, name: strings.TrimSpace(op.Name + " " + op.Kind)}
	if outer, _ := ctx.Value(traceKey{}).(*traceSpan); outer != nil {
		d.say("%s is within %s", s.name, outer.name)
	}
	d.say("%s", s.name)
	return context.WithValue(ctx, traceKey{}, s), s
}

func (s *traceSpan) Step(step graphcache.Step) {
	if step.Duration < 0 {
		s.d.say("  it took %v", step.Duration)
	}
	line := []string{"  " + step.Name}
	if step.Kind != "" {
		line = append(line, step.Kind)
	}
	if step.Access != 0 {
		line = append(line, step.Access.String()+":", fmt.Sprint(step.Fragments))
	}
	for _, n := range []struct {
		name string
		n    int
	}{{"hits", step.Hits}, {"misses", step.Misses}, {"joins", step.Joins}, {"waits", step.Waits}, {"loads", step.Loads}} {
		if n.n != 0 {
			line = append(line, n.name, fmt.Sprint(n.n))
		}
	}
	if step.Outcome != "done" {
		line = append(line, step.Outcome)
	}
	s.d.say("%s", strings.Join(line, " "))
}

func (s *traceSpan) End(err error) {
	if s.ended {
		s.d.say("%s ends again", s.name)
	}
	s.ended = true
	if err != nil {
		for _, known := range []error{graphcache.ErrNotFound, graphcache.ErrInvalid, graphcache.ErrUnavailable, context.Canceled} {
			if errors.Is(err, known) {
				err = known
			}
		}
		s.d.say("  = %v", err)
	}
}

// take returns the lines so far, and forgets them.
func (d *traceDiary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// traceNew returns a process that is traced.
func traceNew(t *testing.T, set ...func(*graphcache.Options)) (*fixtureEngine, *traceDiary) {
	t.Helper()
	d := new(traceDiary)
	e := fixtureNew(t, append(set, func(o *graphcache.Options) { o.Tracer = d })...)
	return e, d
}

// TestTrace: an operation is one span, and what it does are its steps.
func TestTrace(t *testing.T) {
	ctx := t.Context()
	e, d := traceNew(t)
	e.seed(t, []fixtureUserID{"ann", "bob", "cid"}, "p1", "p2")
	for i, to := range []fixtureUserID{"bob", "cid"} {
		fixtureMust(t, fixtureFollows.Add(ctx, e, "ann", to, fixtureFollow{}))
		fixtureMust(t, fixtureWrote.Add(ctx, e, to, []fixturePostID{"p1", "p2"}[i], graphcache.NoData{}))
	}
	ann := fixtureFollows.Out(fixtureUserID("ann"))
	posts := fixtureWrote.Out(ann)
	age := graphcache.OrderedFieldOf(fixtureUsers, func(u *fixtureUser) *int { return &u.Age })
	ignore := func(_ any, err error) error { return err }
	aborted := errors.New("aborted")
	for _, tt := range []struct {
		name string
		do   func(c graphcache.Conn) error
		want string
	}{
		{"a miss", func(c graphcache.Conn) error { return ignore(fixtureUsers.Get(ctx, c, "ann")) }, `
get user
  fetch user by ID: 1 misses 1 loads 1`},
		{"a hit", func(c graphcache.Conn) error { return ignore(fixtureUsers.Get(ctx, c, "ann")) }, `
get user
  fetch user by ID: 1 hits 1`},
		{"fresh", func(c graphcache.Conn) error { return ignore(fixtureUsers.Get(ctx, c, "ann", graphcache.Fresh)) }, `
get user
  fetch user by ID: 1 loads 1`},
		{"absent", func(c graphcache.Conn) error { return ignore(fixtureUsers.Get(ctx, c, "dan")) }, `
get user
  fetch user by ID: 1 misses 1 loads 1
  = graphcache: not found`},
		{"many", func(c graphcache.Conn) error {
			return ignore(fixtureUsers.GetMany(ctx, c, []fixtureUserID{"ann", "bob", "ann"}))
		}, `
get user
  fetch user by ID: 2 hits 1 misses 1 loads 1`},
		{"an invalid ID", func(c graphcache.Conn) error { return ignore(fixtureUsers.Get(ctx, c, "")) }, `
get user
  = graphcache: invalid`},
		{"two hops", func(c graphcache.Conn) error { return ignore(posts.All(ctx, c)) }, `
query wrote
  fetch follows edge lists: 1 misses 1 loads 1
  fetch wrote edge lists: 2 misses 2 loads 2
  fetch post by ID: 2 misses 2 loads 2`},
		{"two hops again", func(c graphcache.Conn) error { return ignore(posts.All(ctx, c)) }, `
query wrote
  fetch follows edge lists: 1 hits 1
  fetch wrote edge lists: 2 hits 2
  fetch post by ID: 2 hits 2`},
		{"First", func(c graphcache.Conn) error { return ignore(posts.First(ctx, c)) }, `
query wrote
  fetch follows edge lists: 1 hits 1
  fetch wrote edge lists: 2 hits 2
  fetch post by ID: 1 hits 1`},
		{"Only", func(c graphcache.Conn) error { return ignore(posts.Limit(1).Only(ctx, c)) }, `
query wrote
  fetch follows edge lists: 1 hits 1
  fetch wrote edge lists: 2 hits 2
  fetch post by ID: 1 hits 1`},
		{"a loop that is left", func(c graphcache.Conn) error {
			for _, err := range ann.Iter(ctx, c) {
				return err
			}
			return nil
		}, `
query follows
  fetch follows edge lists: 1 hits 1
  fetch user by ID: 2 hits 1 misses 1 loads 1`},
		{"WithObjects", func(c graphcache.Conn) error { return ignore(ann.WithObjects(ctx, c)) }, `
query follows
  fetch follows edge lists: 1 hits 1
  fetch user by ID: 2 hits 2`},
		{"With", func(c graphcache.Conn) error {
			return ignore(ann.With(fixtureWrote.OutInto(func(*fixtureUser, []*fixturePost) {})).All(ctx, c))
		}, `
query follows
  fetch follows edge lists: 1 hits 1
  fetch user by ID: 2 hits 2
  fetch wrote edge lists: 2 hits 2
  fetch post by ID: 2 hits 2`},
		{"Page", func(c graphcache.Conn) error { _, _, err := ann.Limit(1).Page(ctx, c, ""); return err }, `
page follows
  fetch follows edge lists: 1 hits 1
  fetch user by ID: 2 hits 2`},
		{"IDs, Edges, Count and Exists", func(c graphcache.Conn) error {
			return errors.Join(ignore(ann.IDs(ctx, c)), ignore(ann.Edges(ctx, c)), ignore(ann.Count(ctx, c)), ignore(ann.Exists(ctx, c)))
		}, `
ids follows
  fetch follows edge lists: 1 hits 1
edges follows
  fetch follows edge lists: 1 hits 1
count follows
  fetch follows edge lists: 1 hits 1
exists follows
  fetch follows edge lists: 1 hits 1`},
		{"an edge", func(c graphcache.Conn) error {
			return errors.Join(ignore(fixtureFollows.Get(ctx, c, "ann", "bob")),
				ignore(fixtureFollows.GetMany(ctx, c, "ann", []fixtureUserID{"bob", "cid"})))
		}, `
get follows
  fetch follows edge lists: 1 hits 1
get follows
  fetch follows edge lists: 1 hits 1`},
		{"by the store", func(c graphcache.Conn) error { return ignore(fixtureUsers.Where(age.Eq(7)).All(ctx, c)) }, `
query user
  fetch user store: 1 loads 1`},
		{"Create, Update, Apply, Put and Delete", func(c graphcache.Conn) error {
			return errors.Join(
				fixtureUsers.Create(ctx, c, &fixtureUser{ID: "dan"}),
				ignore(fixtureUsers.Update(ctx, c, "dan", func(*fixtureUser) error { return nil })),
				ignore(fixtureUsers.Apply(ctx, c, "dan", age.Set(7))),
				fixtureUsers.Put(ctx, c, &fixtureUser{ID: "dan"}),
				fixturePosts.Create(ctx, c, &fixturePost{ID: "p3"}),
				fixturePosts.Delete(ctx, c, "p3"))
		}, `
create user
  hold
  store
  release
update user
  read user
  hold
  store
  release
apply user
  hold
  store
  release
put user
  read user
  hold
  store
  release
create post
  hold
  store
  release
delete post
  read post
  hold
  store
  release
  read wrote
  hold
  store
  release`},
		{"edges", func(c graphcache.Conn) error {
			return errors.Join(
				fixtureLikes.Add(ctx, c, "ann", "bob", graphcache.NoData{}),
				fixtureLikes.ChangeKind(ctx, c, "ann", "bob", fixtureLoves),
				fixtureLoves.Remove(ctx, c, "ann", "bob"))
		}, `
add likes
  hold
  store
  release
change_kind likes
  hold
  store
  release
remove loves
  hold
  store
  release`},
		{"bulk", func(c graphcache.Conn) error {
			q := fixtureUsers.ByID("dan")
			return errors.Join(
				ignore(q.UpdateAll(ctx, c, func(*fixtureUser) error { return nil })),
				ignore(q.ApplyAll(ctx, c, age.Set(7))),
				ignore(fixturePosts.ByID("p9").DeleteAll(ctx, c)))
		}, `
update_all user
  fetch user by ID: 1 loads 1
  read user
  hold
  store
  release
apply_all user
  fetch user by ID: 1 loads 1
  read user
  hold
  store
  release
delete_all post
  fetch post by ID: 1 loads 1`},
		{"Invalidate", func(graphcache.Conn) error { return e.Invalidate(ctx, fixtureUsers.Ref("dan")) }, `
invalidate
  hold
  store
  release`},
		{"a transaction", func(graphcache.Conn) error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error {
				_, err := fixtureUsers.Get(ctx, tx, "ann")
				return errors.Join(err, fixtureUsers.Put(ctx, tx, &fixtureUser{ID: "ann"}))
			})
		}, `
tx
get user
  fetch user by ID: 1 loads 1
put user
  read user
  store
  hold
  store
  release`},
		{"one that reads", func(graphcache.Conn) error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error { return ignore(fixtureUsers.Get(ctx, tx, "ann")) })
		}, `
tx
get user
  fetch user by ID: 1 loads 1
  store`},
		{"one that is aborted", func(graphcache.Conn) error {
			if err := e.Tx(ctx, func(*graphcache.Tx) error { return aborted }); err != aborted {
				return err
			}
			return nil
		}, `
tx
  = aborted`},
		{"Explain", func(c graphcache.Conn) error { return posts.Explain(ctx, c).Err }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.settle(t)
			d.take()
			err := tt.do(e)
			got := d.take()
			if diff := cmp.Diff(strings.Split(strings.TrimPrefix(tt.want, "\n"), "\n"), append([]string{}, got...)); diff != "" && tt.want+strings.Join(got, "") != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if said := slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "  = graphcache") }); said != (err != nil) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestTraceContext: the store and the cache are called in the span of the operation, also
// by what runs in the background.
func TestTraceContext(t *testing.T) {
	e, d := traceNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	e.settle(t)
	var mu sync.Mutex
	seen := map[string]string{}
	e.on(func(c fixtureCall) backendtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		name := "nothing"
		if s, _ := c.ctx.Value(traceKey{}).(*traceSpan); s != nil {
			name = s.name
		}
		seen[c.Method] = name
		return backendtest.Fault{}
	})
	e.name(t, "ann")
	e.settle(t)
	fixtureMust(t, fixtureUsers.Put(t.Context(), e, &fixtureUser{ID: "ann"}))
	mu.Lock()
	defer mu.Unlock()
	want := map[string]string{
		"Lookup": "get user", "Claim": "get user", "Fill": "get user", // of the get
		"Read": "put user", "Hold": "put user", "Write": "put user", "Release": "put user",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, line := range d.take() {
		if strings.Contains(line, "within") || strings.Contains(line, "again") {
			t.Error(line)
		}
	}
}

// TestTraceCacheDown: a write says how it went on without the cache.
func TestTraceCacheDown(t *testing.T) {
	for _, tt := range []struct {
		mode graphcache.WhenCacheDown
		fail string // a method of the cache
		want string
	}{
		{graphcache.Ack, "Hold", "put user\n  read user\n  hold failed\n  hold failed\n  journal\n  store"},
		{graphcache.Fail, "Hold", "put user\n  read user\n  hold failed\n  hold failed\n  = graphcache: unavailable"},
		{graphcache.Ack, "Release", "put user\n  read user\n  hold\n  store\n  release failed\n  release failed\n  journal"},
	} {
		t.Run(fmt.Sprint(tt.mode, " without ", tt.fail), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, d := traceNew(t, fixtureDefaults, func(o *graphcache.Options) { o.WhenCacheDown = tt.mode })
				e.seed(t, []fixtureUserID{"ann"})
				e.settle(t)
				d.take()
				e.on(func(c fixtureCall) backendtest.Fault {
					if c.is(tt.fail) {
						return backendtest.Fault{Action: backendtest.Fail}
					}
					return backendtest.Fault{}
				})
				err := fixtureUsers.Put(t.Context(), e, &fixtureUser{ID: "ann"})
				if got := strings.Join(d.take(), "\n"); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
				if refused := errors.Is(err, graphcache.ErrUnavailable); refused != (tt.mode == graphcache.Fail) || err != nil && !refused {
					t.Errorf("error %v", err)
				}
				e.on(nil)
			})
		})
	}
}

// TestTraceShared: who takes the result of another's load has read nothing.
func TestTraceShared(t *testing.T) {
	e, d := traceNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	var waits traceDiary
	second := e.another(t, func(o *graphcache.Options) { o.Tracer = &waits })
	gate := e.stopAt(backendtest.On("Read"))
	first := fixtureGo(t, func() error { _, err := fixtureUsers.Get(t.Context(), e, "ann"); return err })
	gate.await(t)
	d.take()
	joins := fixtureGo(t, func() error { _, err := fixtureUsers.Get(t.Context(), e, "ann"); return err })
	fixtureEventually(t, "a reader that joins", func() bool { return e.Stats().Kinds["user"].Joins == 1 })
	away := fixtureGo(t, func() error { _, err := fixtureUsers.Get(t.Context(), second, "ann"); return err })
	fixtureEventually(t, "a reader that waits", func() bool { return second.Stats().Kinds["user"].Misses == 1 })
	gate.Open()
	for _, wait := range []func() error{first, joins, away} {
		fixtureMust(t, wait())
	}
	got := slices.Sorted(slices.Values(append(d.take(), waits.take()...)))
	want := []string{
		"  fetch user by ID: 1 misses 1 joins 1",
		"  fetch user by ID: 1 misses 1 loads 1",
		"  fetch user by ID: 1 misses 1 waits 1",
		"get user", "get user",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// unsampled is a Tracer that wants to know nothing.
type unsampled struct{}

func (unsampled) Start(ctx context.Context, _ graphcache.Operation) (context.Context, graphcache.Span) {
	return ctx, nil
}

// TestTraceNothing: a span may be nil.
func TestTraceNothing(t *testing.T) {
	e := fixtureNew(t, func(o *graphcache.Options) { o.Tracer = unsampled{} })
	e.seed(t, []fixtureUserID{"ann"})
	e.name(t, "ann")
	fixtureMust(t, e.rename(t.Context(), "ann", "new"))
	e.consistent(t, []fixtureUserID{"ann"})
}
