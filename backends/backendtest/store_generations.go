package backendtest

import (
	"context"
	"sync"

	"github.com/graphcache/graphcache/driver"
)

// generations tests the store as a driver.Generations.
func (r *storeRig) generations() {
	counters, ok := r.s.(driver.Generations)
	if !ok {
		r.Skip("the store has no generations")
	}
	view, ok := r.s.Namespace("tenant").(driver.Generations)
	if !ok {
		r.Fatal("a view of a store that has generations has them too")
	}
	read := func(from driver.Generations) map[string]uint64 {
		r.Helper()
		got, err := from.Generations(r.Context())
		r.must(err)
		return got
	}
	r.equal("no counter is other than 0 at first", len(read(counters)), 0)
	r.must(counters.Raise(r.Context(), nil, 0))
	r.equal("Raise without kinds raises none", len(read(counters)), 0)
	r.must(counters.Raise(r.Context(), []string{users, "never declared", "a.b $c", "Ü"}, 0))
	r.must(view.Raise(r.Context(), []string{users, posts}, 0))
	want := map[string]uint64{users: 2, posts: 1, "never declared": 1, "a.b $c": 1, "Ü": 1}
	r.equal("Raise adds one to the counters of the kinds, which need not be declared, in all namespaces", read(counters), want)
	got := read(view)
	r.equal("the counters are the same in all namespaces", got, want)
	got[users] = 99
	delete(got, posts)
	r.equal("the caller owns the map", read(view), want)

	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				if err := counters.Raise(r.Context(), []string{posts, "contended"}, 0); err != nil {
					r.Errorf("Raise: %v", err)
				}
			}
		})
	}
	group.Wait()
	want[posts], want["contended"] = 81, 80
	r.equal("of concurrent calls of Raise none is lost", read(counters), want)

	r.must(counters.Raise(r.Context(), []string{posts, "restored"}, 82))
	r.must(counters.Raise(r.Context(), []string{posts, "restored"}, 5))
	want[posts], want["restored"] = 83, 83
	r.equal("Raise sets counters that are less than atLeast to that, and others to one more", read(counters), want)

	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if got, err := counters.Generations(ctx); err == nil {
		r.Errorf("Generations with a context that has ended returns an error: got %v", got)
	}
	if err := counters.Raise(ctx, []string{users}, 0); err == nil {
		r.Errorf("Raise with a context that has ended returns an error")
	}
	if r.h.Reopen != nil {
		other := r.h.Reopen(r.T, r.s)
		defer other.Close(context.WithoutCancel(r.Context()))
		r.equal("the counters are kept in the database", read(other.(driver.Generations))[posts], want[posts])
	}
}
