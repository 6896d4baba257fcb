//go:build linux

package soak_test

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/graphcache/graphcache"
)

// reader is a client that reads.
type reader struct {
	w   *worker
	rng *rand.Rand
	ids idSet
}

// idSet is the IDs and the sequences of a world, made once.
type idSet struct {
	accounts  [][]graphcache.ID[account]
	plain     [][]graphcache.ID[plainAccount]
	things    [][]graphcache.ID[thing]
	accountsS [][]int
	thingsS   [][]int
	out       [][][]int // by cell and hub
	in        [][][]int // by cell and end
}

func newIDSet(cells int) (s idSet) {
	for c := range cells {
		var a []graphcache.ID[account]
		var pa []graphcache.ID[plainAccount]
		var as, ts []int
		for i := range cellAccounts {
			a, pa, as = append(a, accountID[account](c, i)), append(pa, accountID[plainAccount](c, i)), append(as, accountAt(c, i))
		}
		var th []graphcache.ID[thing]
		for i := range cellThings {
			th, ts = append(th, thingID(c, i)), append(ts, thingAt(c, i))
		}
		out, in := make([][]int, cellHubs), make([][]int, cellEnds)
		for h := range cellHubs {
			for e := range cellEnds {
				out[h] = append(out[h], linkAt(c, h, e))
				in[e] = append(in[e], linkAt(c, h, e))
			}
		}
		s.accounts, s.plain, s.things = append(s.accounts, a), append(s.plain, pa), append(s.things, th)
		s.accountsS, s.thingsS = append(s.accountsS, as), append(s.thingsS, ts)
		s.out, s.in = append(s.out, out), append(s.in, in)
	}
	return s
}

// listKinds is the first of the numbers of reads that are of lists.
const listKinds = 55

// read does one call that reads, which is judged as one read for each anchor.
func (c *reader) read(ctx context.Context) {
	cell := c.rng.IntN(c.w.plan.Cells)
	fresh := graphcache.Cached
	if c.rng.IntN(1000) < c.w.plan.Fresh {
		fresh = graphcache.Fresh
	}
	var n int
	var err error
	kind := c.rng.IntN(100)
	if c.w.plan.Lists {
		kind = listKinds + c.rng.IntN(15)
	}
	switch {
	case kind < 40:
		n, err = c.getAccounts(ctx, cell, fresh)
	case kind < 50:
		n, err = c.getThings(ctx, cell, fresh)
	case kind < 55:
		n, err = c.getAccount(ctx, cell, fresh)
	case kind < listKinds+10:
		n, err = c.links(ctx, cell, fresh)
	case kind < 72:
		n, err = c.countLinks(ctx, cell, fresh)
	case kind < 80:
		n, err = c.linksTo(ctx, cell, fresh)
	case c.w.plan.Plain:
		n, err = c.thingsIn(ctx, cell, fresh)
	case kind < 88:
		n, err = c.accountsIn(ctx, cell, fresh)
	case kind < 92:
		n, err = c.countAccounts(ctx, cell, fresh)
	case kind < 96:
		n, err = c.findAccounts(ctx, cell, fresh)
	default:
		n, err = c.thingsIn(ctx, cell, fresh)
	}
	if err != nil {
		c.w.count(cFailedReads, 1)
		c.w.failed("read", err)
		return
	}
	c.w.count(cCalls, 1)
	c.w.count(cReads, int64(n))
	if fresh == graphcache.Fresh {
		c.w.count(cFresh, int64(n))
	}
}

func (c *reader) getAccounts(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	c.w.start(&r, itself, fresh == graphcache.Fresh, c.ids.accountsS[cell])
	if c.w.plan.Plain {
		return judgeAccounts(c.w, &r, func() (map[graphcache.ID[plainAccount]]*plainAccount, error) {
			return plainAccounts.GetMany(ctx, c.w.graph, c.ids.plain[cell], fresh)
		}, func(a *plainAccount) (graphcache.ID[plainAccount], int64) { return a.ID, a.N })
	}
	return judgeAccounts(c.w, &r, func() (map[graphcache.ID[account]]*account, error) {
		return accounts.GetMany(ctx, c.w.graph, c.ids.accounts[cell], fresh)
	}, func(a *account) (graphcache.ID[account], int64) { return a.ID, a.N })
}

func judgeAccounts[T any](w *worker, r *reading, get func() (map[graphcache.ID[T]]*T, error), n func(*T) (graphcache.ID[T], int64)) (int, error) {
	found, err := get()
	if err != nil {
		return 0, err
	}
	for range cellAccounts - len(found) {
		w.exactly(r, 0, -1) // one is not there
	}
	for _, a := range found {
		id, n := n(a)
		w.exactly(r, lastDigit(id), n)
	}
	return cellAccounts, nil
}

func (c *reader) getAccount(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	i := c.rng.IntN(cellAccounts)
	c.w.start(&r, itself, fresh == graphcache.Fresh, c.ids.accountsS[cell][i:i+1])
	var n int64
	if c.w.plan.Plain {
		a, err := plainAccounts.Get(ctx, c.w.graph, c.ids.plain[cell][i], fresh)
		if err != nil {
			return 0, err
		}
		n = a.N
	} else {
		a, err := accounts.Get(ctx, c.w.graph, c.ids.accounts[cell][i], fresh)
		if err != nil {
			return 0, err
		}
		n = a.N
	}
	c.w.exactly(&r, 0, n)
	return 1, nil
}

func (c *reader) getThings(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	c.w.start(&r, itself, fresh == graphcache.Fresh, c.ids.thingsS[cell])
	found, err := things.GetMany(ctx, c.w.graph, c.ids.things[cell], fresh)
	if err != nil {
		return 0, err
	}
	for i, id := range c.ids.things[cell] {
		if t := found[id]; t != nil {
			c.w.exactly(&r, i, t.N)
		} else {
			c.w.somehow(&r, i, func(n int64) bool { return !present(n) })
		}
	}
	return cellThings, nil
}

// links reads the lists of all hubs of a cell.
func (c *reader) links(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var rs [cellHubs]reading
	for h := range cellHubs {
		c.w.start(&rs[h], itself, fresh == graphcache.Fresh, c.ids.out[cell][h])
	}
	q := links.Out(nodes.ByID(hubID(cell, 0), hubID(cell, 1)))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	found, err := q.Edges(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	var ns [cellHubs][cellEnds]int64
	for _, l := range found {
		ns[lastDigit(l.From)][lastDigit(l.To)] = l.Data.N
	}
	for h := range cellHubs {
		for e := range cellEnds {
			c.judgeLink(&rs[h], e, ns[h][e])
		}
	}
	return cellHubs, nil
}

// judgeLink judges a read that has found a link with a number, 0 for none.
func (c *reader) judgeLink(r *reading, i int, n int64) {
	if n == 0 {
		c.w.somehow(r, i, func(n int64) bool { return !present(n) })
	} else {
		c.w.exactly(r, i, n)
	}
}

func (c *reader) linksTo(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	end := c.rng.IntN(cellEnds)
	c.w.start(&r, incoming, fresh == graphcache.Fresh, c.ids.in[cell][end])
	q := links.In(endID(cell, end))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	found, err := q.Edges(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	var ns [cellHubs]int64
	for _, l := range found {
		ns[lastDigit(l.From)] = l.Data.N
	}
	for h, n := range ns {
		c.judgeLink(&r, h, n)
	}
	return 1, nil
}

func (c *reader) countLinks(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	hub := c.rng.IntN(cellHubs)
	c.w.start(&r, itself, fresh == graphcache.Fresh, c.ids.out[cell][hub])
	q := links.Out(hubID(cell, hub))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	count, err := q.Count(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	c.w.counted(&r, count, func(_ int, n int64) bool { return present(n) })
	return 1, nil
}

// accountsIn reads the IDs of the accounts in a group.
func (c *reader) accountsIn(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	g := c.rng.IntN(cellGroups)
	c.w.start(&r, byGroup, fresh == graphcache.Fresh, c.ids.accountsS[cell])
	q := accounts.Where(accountGroup.Eq(groupName(cell, g)))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	ids, err := q.IDs(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	var in [cellAccounts]bool
	for _, id := range ids {
		in[lastDigit(id)] = true
	}
	for i := range in {
		c.w.somehow(&r, i, func(n int64) bool { return (accountGroupOf(i, n) == g) == in[i] })
	}
	return 1, nil
}

func (c *reader) countAccounts(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	g := c.rng.IntN(cellGroups)
	c.w.start(&r, byGroup, fresh == graphcache.Fresh, c.ids.accountsS[cell])
	q := accounts.Where(accountGroup.Eq(groupName(cell, g)))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	count, err := q.Count(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	c.w.counted(&r, count, func(i int, n int64) bool { return accountGroupOf(i, n) == g })
	return 1, nil
}

// findAccounts reads the accounts in a group. The IDs and the objects may be of different
// states, so only the objects that are returned are judged.
func (c *reader) findAccounts(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	g := c.rng.IntN(cellGroups)
	c.w.start(&r, itself, fresh == graphcache.Fresh, c.ids.accountsS[cell])
	q := accounts.Where(accountGroup.Eq(groupName(cell, g)))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	found, err := q.All(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	for _, a := range found {
		i := lastDigit(a.ID)
		if a.Group != groupName(cell, g) || accountGroupOf(i, a.N) != g {
			c.w.exactly(&r, i, -1)
			continue
		}
		c.w.exactly(&r, i, a.N)
	}
	return len(found), nil
}

func (c *reader) thingsIn(ctx context.Context, cell int, fresh graphcache.Freshness) (int, error) {
	var r reading
	g := c.rng.IntN(cellGroups)
	c.w.start(&r, byGroup, fresh == graphcache.Fresh, c.ids.thingsS[cell])
	q := things.Where(thingGroup.Eq(groupName(cell, g)))
	if fresh == graphcache.Fresh {
		q = q.Fresh()
	}
	ids, err := q.IDs(ctx, c.w.graph)
	if err != nil {
		return 0, err
	}
	var in [cellThings]bool
	for _, id := range ids {
		in[lastDigit(id)] = true
	}
	for i := range in {
		c.w.somehow(&r, i, func(n int64) bool { return (thingGroupOf(i, n) == g) == in[i] })
	}
	return 1, nil
}

// withoutEffect reports whether a write that returned the error has certainly not been applied.
func withoutEffect(err error) bool {
	for _, certain := range []error{
		graphcache.ErrUnavailable, graphcache.ErrConflict, graphcache.ErrNotFound, graphcache.ErrExists, graphcache.ErrInvalid,
	} {
		if errors.Is(err, certain) {
			return true
		}
	}
	return false
}
