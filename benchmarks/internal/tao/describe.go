package tao

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/graphcache/graphcache/backends/memory"
)

// Describe writes how the graph and what is asked of it compare with what is published: it
// asks a store in memory for a while.
func Describe(ctx context.Context, cfg Config, out io.Writer) error {
	g := NewGraph(cfg.Objects, cfg.Seed)
	s := memory.NewStore(&memory.StoreOptions{MaxRecords: -1})
	if err := g.load(ctx, s); err != nil {
		return err
	}
	m := newMixture(g, "tao", cfg.Writes)
	c := &client{m: m, v: direct{s}, c: newChecker(g), r: rand.New(rand.NewPCG(cfg.Seed, 100))}
	for range 300_000 {
		if err := c.do(ctx, m.table.next(c.r)); err != nil {
			return err
		}
	}
	if n := c.c.stale.Load(); n > 0 {
		return fmt.Errorf("%d reads of the store itself are stale: %s", n, *c.c.first.Load())
	}
	g.describe(out)
	m.describe(out)
	c.describe(out)
	return nil
}

func (g *Graph) describe(out io.Writer) {
	edges, atMost, full, one, longest := 0, make(map[int]int), 0, 0, 0
	objectBytes, linkBytes, empty := 0, 0, 0
	for i, d := range g.degree {
		n := int(d)
		edges, longest = edges+n, max(longest, n)
		for _, most := range []int{0, 1, 2, 5, 15, 264} {
			if n <= most {
				atMost[most]++
			}
		}
		for kind := range kinds {
			full += min(int(g.count[kind][i]), 1)
			if g.count[kind][i] == 1 {
				one++
			}
		}
		objectBytes += len(g.data(i, 0))
		for j := range n {
			b := len(g.linkData(i, j, 0))
			linkBytes += b
			if b == 0 {
				empty++
			}
		}
	}
	part := func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }
	row := func(what, got, want string) { fmt.Fprintf(out, "%-58s%16s%22s\n", what, got, want) }
	pct := func(v float64) string { return fmt.Sprintf("%.1f %%", v) }
	row("graph", "here", "published")
	row("objects", fmt.Sprint(g.size), "10,000,000 (L)")
	row("edges an object", fmt.Sprintf("%.2f", float64(edges)/float64(g.size)), "4.10 (L)")
	for _, p := range []struct {
		most int
		want string
	}{{0, "45.3 % (L)"}, {1, "77.5 % (L)"}, {2, "87.0 % (L)"}, {5, "95.8 % (L)"}, {15, "99 % (L)"}, {264, "99.9 % (L)"}} {
		row(fmt.Sprintf("objects with at most %d edges", p.most), pct(part(atMost[p.most], g.size)), p.want)
	}
	row("most edges of an object", fmt.Sprint(longest), "961,963 (L), cut")
	row("lists of a kind that are not empty", pct(part(full, kinds*g.size)), "")
	row("of which have one edge", pct(part(one, full)), "")
	row("mean bytes of an object's data", fmt.Sprint(objectBytes/g.size), "673 (T)")
	row("edges without data", pct(part(empty, edges)), "39.5 % (T)")
	row("mean bytes of an edge's data, if any", fmt.Sprintf("%.1f", float64(linkBytes)/float64(max(edges-empty, 1))), "97.8 (T)")
}

func (m *mixture) describe(out io.Writer) {
	r := rand.New(rand.NewPCG(m.g.seed, 8))
	for _, z := range []struct {
		what string
		*zipf
		want string
	}{{"lists read", m.lists, "38 % of 10⁷ (L)"}, {"lists written", m.edges, "29 % of 10⁷ (L)"}, {"objects read", m.nodes, "18 % of 10⁷ (L)"}, {"objects written", m.updated, "16 % of 10⁷ (L)"}} {
		hot := 0
		const draws = 200_000
		for range draws {
			if z.rank(r) < m.g.size/100 {
				hot++
			}
		}
		fmt.Fprintf(out, "%-58s%14.1f %%%22s\n", "share of the hottest 1 %, "+z.what, 100*float64(hot)/draws, z.want)
	}
}

// describe writes what was asked for and found.
func (c *client) describe(out io.Writer) {
	fmt.Fprintf(out, "\n%-58s%16s%22s\n", "operations", "here", "published")
	reads, writes := int64(0), int64(0)
	for o, n := range c.asked {
		if op(o) < objAdd {
			reads += n
		} else {
			writes += n
		}
	}
	row := func(what string, n, of int64, want string) {
		fmt.Fprintf(out, "%-58s%14.2f %%%22s\n", what, 100*float64(n)/float64(max(of, 1)), want)
	}
	row("writes", writes, reads+writes, "0.2 % (T)")
	sum := 0.0
	for o := range ops {
		sum += taoWrites[o]
	}
	for o := range ops {
		if o < objAdd {
			row("of the reads, "+opNames[o], c.asked[o], reads, fmt.Sprintf("%.1f %% (T)", taoReads[o]))
		} else {
			row("of the writes, "+opNames[o], c.asked[o], writes, fmt.Sprintf("%.1f %% (T)", 100*taoWrites[o]/sum))
		}
	}
	row("assoc_get that finds an edge", c.found[assocGet], c.asked[assocGet], "19.6 % (T)")
	row("assoc_count that is not 0", c.found[assocCount], c.asked[assocCount], "55 % (T)")
	row("assoc_range that is not empty", c.found[assocRange], c.asked[assocRange], "31.0 % (T)")
	row("of which have one edge", c.lengths[1], c.lengths[0], "64 % (T)")
	row("assoc_range that reaches its limit", c.lengths[2], c.asked[assocRange], "under 1 % (T)")
	row("assoc_time_range that is not empty", c.found[assocTimeRange], c.asked[assocTimeRange], "1.9 % (T)")
	fmt.Fprintln(out, "\nT: TAO, USENIX ATC 2013. L: LinkBench, SIGMOD 2013, FBWorkload.")
}
