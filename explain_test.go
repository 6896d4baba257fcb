package graphcache_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

var updateExplain = flag.Bool("update.explain", false, "rewrite testdata/explain.golden")

// explainCase is a query of the golden file.
type explainCase struct {
	name    string
	explain func(context.Context, graphcache.Conn) graphcache.Plan
	run     func(context.Context, graphcache.Conn) error
}

func explainOf[E any](name string, q graphcache.Query[cursorItem, E]) explainCase {
	return explainCase{name, q.Explain, func(ctx context.Context, c graphcache.Conn) error { _, err := q.All(ctx, c); return err }}
}

func explainCases() []explainCase {
	hub := cursorID("hub")
	group := cursorItems.Where(cursorGroup.Eq("g1"))
	return []explainCase{
		explainOf("objects by ID", cursorItems.Where(cursorIDs.In("i0001", "hub"))),
		explainOf("an index", group),
		explainOf("an index in its order", group.OrderBy(cursorRank.Desc()).Limit(3)),
		explainOf("an index and another order", group.OrderBy(cursorScore.Asc())),
		explainOf("an index and a condition", cursorItems.Where(cursorGroup.Eq("g1"), cursorRank.Gt(2))),
		explainOf("no index", cursorItems.Where(cursorScore.Eq(1)).OrderBy(cursorRank.Asc())),
		explainOf("a list", cursorLinks.Out(hub).Limit(2)),
		explainOf("a list and conditions", cursorLinks.Out(hub).Where(cursorRank.Ge(2)).WhereEdge(cursorWeight.Ne(1)).OrderByEdge(cursorTime.Asc())),
		explainOf("two hops", cursorLinks.Out(cursorLinks.Out(cursorID("root"))).OrderBy(cursorNick.Desc())),
		explainOf("a kind and a hop", cursorLinks.In(group.Limit(2))),
		explainOf("nothing", cursorItems.Where(graphcache.Or[cursorItem]())),
	}
}

// TestExplainGolden: the plans in words, before and after the query is run, in a
// transaction and for a Fresh read.
func TestExplainGolden(t *testing.T) {
	e := cursorWorld(t, 12)
	ctx := t.Context()
	var got bytes.Buffer
	for _, c := range explainCases() {
		for i, when := range []string{"cold", "in part", "warm"} {
			fmt.Fprintf(&got, "%s, %s:\n%s", c.name, when, c.explain(ctx, e))
			if i == 0 && strings.Contains(c.name, "hop") {
				_, err := cursorLinks.Out(cursorID("root")).IDs(ctx, e)
				fixtureMust(t, err)
				_, err = cursorItems.Where(cursorGroup.Eq("g1")).IDs(ctx, e)
				fixtureMust(t, err)
			} else {
				fixtureMust(t, c.run(ctx, e))
			}
			e.settle(t)
		}
		fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error {
			fmt.Fprintf(&got, "%s, in a transaction:\n%s", c.name, c.explain(ctx, tx))
			return nil
		}))
	}
	fmt.Fprintf(&got, "fresh:\n%s", cursorItems.Where(cursorIDs.Eq("hub")).Fresh().Explain(ctx, e))
	fmt.Fprintf(&got, "a mistake:\n%s", cursorItems.Where().Limit(-1).Explain(ctx, e))
	file := filepath.Join("testdata", "explain.golden")
	if *updateExplain {
		fixtureMust(t, os.WriteFile(file, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	fixtureMust(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("other plans (-want +got; -update.explain accepts them):\n%s", diff)
	}
}

// sources are where the fragments of a plan come from.
func explainSources(p graphcache.Plan) (sources []graphcache.PlanSource) {
	for _, s := range p.Steps {
		for _, f := range s.Fragments {
			if !slices.Contains(sources, f.Source) {
				sources = append(sources, f.Source)
			}
		}
	}
	return sources
}

// TestExplainChangesNothing: Explain asks the store nothing and the cache only what it
// has, and what it says does not depend on whether it was asked before.
func TestExplainChangesNothing(t *testing.T) {
	e := cursorWorld(t, 12)
	for _, c := range explainCases() {
		for range 2 {
			for _, conn := range []graphcache.Conn{e, e.Graph} {
				e.on(nil)
				first := c.explain(t.Context(), conn)
				again := c.explain(t.Context(), conn)
				if n := e.fstore.Total(); n != 0 {
					t.Errorf("%s: %d calls of the store", c.name, n)
				}
				if n := e.fcache.Total() - e.fcache.Calls("Lookup"); n != 0 {
					t.Errorf("%s: %d calls of the cache that change it", c.name, n)
				}
				if diff := cmp.Diff(first.String(), again.String()); diff != "" || first.Key != again.Key {
					t.Errorf("%s: explained twice (-first +again):\n%s", c.name, diff)
				}
			}
			fixtureMust(t, c.run(t.Context(), e))
			e.settle(t)
		}
	}
}

// TestExplainIsTrue: what Explain says is looked up in the cache is what the query looks
// up, and a plan that is all cached is answered without the store.
func TestExplainIsTrue(t *testing.T) {
	e := cursorWorld(t, 12)
	for _, c := range explainCases() {
		if c.name == "no index" {
			continue
		}
		fixtureMust(t, c.run(t.Context(), e))
		e.settle(t)
		p := c.explain(t.Context(), e)
		if got := explainSources(p); len(got) > 1 || len(got) == 1 && got[0] != graphcache.FromCache {
			t.Errorf("%s: after it was run, its fragments come from %v", c.name, got)
			continue
		}
		var said []string
		for _, s := range p.Steps {
			for _, f := range s.Fragments {
				if !slices.Contains(said, f.AnchorKey) {
					said = append(said, f.AnchorKey)
				}
			}
		}
		looked := e.anchors(t, func() { fixtureMust(t, c.run(t.Context(), e)) })
		if diff := cmp.Diff(said, looked); diff != "" {
			t.Errorf("%s: what is looked up (-said +looked up):\n%s", c.name, diff)
		}
		e.on(nil)
		fixtureMust(t, c.run(t.Context(), e))
		if n := e.fstore.Total(); n != 0 {
			t.Errorf("%s: all is cached, and the store is asked %d times", c.name, n)
		}
	}
}

// TestExplainStates: a write under way, a load of another reader, a cache that does not
// answer, none at all.
func TestExplainStates(t *testing.T) {
	ctx := t.Context()
	one := cursorItems.Where(cursorIDs.Eq("i0001"))
	check := func(t *testing.T, p graphcache.Plan, want graphcache.PlanSource) {
		t.Helper()
		if got := explainSources(p); !slices.Equal(got, []graphcache.PlanSource{want}) || p.Err != nil {
			t.Errorf("from %v, want %v:\n%s", got, want, p)
		}
	}
	t.Run("a write under way", func(t *testing.T) {
		e := cursorWorld(t, 3)
		gate := e.stopAt(backendtest.Nth("Write", 1))
		wait := fixtureGo(t, func() error {
			_, err := cursorItems.Update(context.WithoutCancel(ctx), e, "i0001", func(i *cursorItem) error { i.Rank++; return nil })
			return err
		})
		gate.await(t)
		check(t, one.Explain(ctx, e), graphcache.FromStoreHeld)
		gate.Open()
		fixtureMust(t, wait())
		check(t, one.Explain(ctx, e), graphcache.FromStore)
	})
	t.Run("another reader's load", func(t *testing.T) {
		e := cursorWorld(t, 3)
		gate := e.stopAt(backendtest.Nth("Read", 1))
		wait := fixtureGo(t, func() error { _, err := one.All(context.WithoutCancel(ctx), e); return err })
		gate.await(t)
		check(t, one.Explain(ctx, e), graphcache.FromLoad)
		gate.Open()
		fixtureMust(t, wait())
		e.settle(t)
		check(t, one.Explain(ctx, e), graphcache.FromCache)
	})
	t.Run("a silent cache", func(t *testing.T) {
		e := cursorWorld(t, 3)
		e.on(func(c fixtureCall) backendtest.Fault {
			if c.ofCache() {
				return backendtest.Fault{Action: backendtest.Fail}
			}
			return backendtest.Fault{}
		})
		check(t, one.Explain(ctx, e), graphcache.FromStoreHeld)
	})
	t.Run("uncached reads", func(t *testing.T) {
		e := cursorWorld(t, 3)
		none := e.withSchema(t, cursorSchema, func(o *graphcache.Options) { o.Cache = nil })
		for _, c := range explainCases() {
			plans := map[string]graphcache.Plan{"no cache": c.explain(ctx, none)}
			fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error { plans["a Tx"] = c.explain(ctx, tx); return nil }))
			for when, p := range plans {
				for _, s := range p.Steps {
					for _, f := range s.Fragments {
						if f.Source != graphcache.FromStoreUncached || f.AnchorKey != "" || f.FieldKey != "" {
							t.Errorf("%s, %s: %+v", c.name, when, f)
						}
					}
					if strings.Contains(s.Reason, "candidates") {
						t.Errorf("%s, %s: because %s", c.name, when, s.Reason)
					}
				}
			}
		}
		check(t, one.Fresh().Explain(ctx, e), graphcache.FromStoreUncached)
		if s := one.Fresh().Explain(ctx, e).Steps[0]; s.Reason != "the read does not use the cache" {
			t.Errorf("a Fresh read is %v because %q", s.Access, s.Reason)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		e := cursorWorld(t, 3)
		if p := one.Limit(-1).Explain(ctx, e); !errors.Is(p.Err, graphcache.ErrInvalid) || p.Steps != nil {
			t.Errorf("a mistake: %+v", p)
		}
		if p := indexUsers.Where().Explain(ctx, e); !errors.Is(p.Err, graphcache.ErrSchema) {
			t.Errorf("a kind of another schema: %+v", p)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if p := one.Explain(ended, e); !errors.Is(p.Err, context.Canceled) {
			t.Errorf("a context that has ended: %+v", p)
		}
	})
}

// TestExplainLongLists: where the engine gives up, and says why.
func TestExplainLongLists(t *testing.T) {
	e := cursorCrowd(t)
	ctx, hub := t.Context(), cursorLinks.Out(cursorID("hub"))
	for _, c := range []struct {
		explainCase
		access graphcache.Access
		reason string
	}{
		{explainOf("a part of a long list", hub.Limit(10)), graphcache.ByLists, ""},
		{explainOf("all of a long list", hub), graphcache.ByLists, ""},
		{explainOf("a condition on a long list", hub.Where(cursorRank.Eq(99))), graphcache.ByStore, "1024 candidates"},
		{explainOf("an order of a long list", hub.OrderBy(cursorRank.Asc())), graphcache.ByStore, "1024 candidates"},
		{explainOf("a condition on a large index", cursorItems.Where(cursorGroup.Eq("g1"), cursorScore.Eq(9))), graphcache.ByStore, "1024 candidates"},
		{explainOf("a large index in its order", cursorItems.Where(cursorGroup.Eq("g1")).OrderBy(cursorRank.Asc()).Limit(5)), graphcache.ByIndexOrder, ""},
	} {
		for range 2 { // the second time the short prefix is replaced
			fixtureMust(t, c.run(ctx, e))
			e.settle(t)
		}
		p := c.explain(ctx, e)
		if s := p.Steps[0]; s.Access != c.access || !strings.Contains(s.Reason, c.reason) || c.reason == "" && s.Reason != "" {
			t.Errorf("%s: %v because %q, want %v because %q", c.name, s.Access, s.Reason, c.access, c.reason)
		}
	}
}
