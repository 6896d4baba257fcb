package samplers_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// aliases draws from a distribution of up to 2^32 values in constant time (Walker 1977,
// with the tables of Vose 1991).
type aliases struct {
	odds  []uint64 // that a column stays what it is, of 2^32
	other []uint32
}

func newAliases(shares []float64) aliases {
	a := aliases{make([]uint64, len(shares)), make([]uint32, len(shares))}
	scaled := make([]float64, len(shares))
	var small, large []int
	for i, share := range shares {
		if scaled[i] = share * float64(len(shares)); scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.odds[s], a.other[s] = uint64(scaled[s]*(1<<32)), uint32(l)
		if scaled[l] -= 1 - scaled[s]; scaled[l] < 1 {
			large, small = large[:len(large)-1], append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		a.odds[i] = 1 << 32
	}
	return a
}

// draw returns the value that 64 random bits stand for.
func (a *aliases) draw(random uint64) int {
	column, rest := bits.Mul64(random, uint64(len(a.odds)))
	if rest>>32 < a.odds[column] {
		return int(column)
	}
	return int(a.other[column])
}

// zipf returns the shares of n values, of which the i-th has one in proportion to i^-s.
func zipf(n int, s float64) []float64 {
	shares, sum := make([]float64, n), 0.0
	for i := range shares {
		shares[i] = math.Pow(float64(i+1), -s)
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}

// traffic is what requests are drawn from: tenants and operations whose popularities
// follow Zipf's law, independently of each other. It may be shared.
type traffic struct {
	ops, tenants aliases
	each         int // operations of a tenant
	shares       []float64
	keys         []samplers.Key
}

func newTraffic(tenants, ops int, s float64) *traffic {
	byTenant, byOp := zipf(tenants, s), zipf(ops, s)
	z := &traffic{ops: newAliases(byOp), tenants: newAliases(byTenant), each: ops}
	names := make([]string, ops)
	for j := range names {
		names[j] = fmt.Sprint("op", j)
	}
	for i := range tenants {
		tenant := fmt.Sprint("t", i)
		for j := range ops {
			z.keys = append(z.keys, samplers.Key{Tenant: tenant, Op: names[j]})
			z.shares = append(z.shares, byTenant[i]*byOp[j])
		}
	}
	return z
}

// draw returns the number of a request's key.
func (z *traffic) draw(random *rand.PCG) int {
	return z.tenants.draw(random.Uint64())*z.each + z.ops.draw(random.Uint64())
}

// countedCounters counts what passes through: calls that decide on a request, and elements
// that report to the totals.
type countedCounters struct {
	driver.Counters
	decisions, reports atomic.Int64
}

func (c *countedCounters) Increment(ctx context.Context, batch []driver.Increment) ([]driver.Count, error) {
	decisions := 0
	for i := range batch {
		if batch[i].Token != "" {
			decisions++
		}
	}
	if decisions > 0 {
		c.decisions.Add(1)
	}
	c.reports.Add(int64(len(batch) - decisions))
	return c.Counters.Increment(ctx, batch)
}

// fleetModel sees all requests of a fleet, and knows which of them are to be kept. It
// shares nothing with what it judges: an array for the ends of windows, and one for
// what was counted in them.
type fleetModel struct {
	n       uint32
	window  int64 // ns
	ends    []int64
	counts  []uint32
	exact   int64
	all     []int64 // requests of a key
	kept    []int64 // by the fleet
	dropped int64   // of the first n
	over    int64   // beyond the first n, and kept
}

func newFleetModel(keys, n int, window int64) *fleetModel {
	return &fleetModel{
		n: uint32(n), window: window,
		ends: make([]int64, keys), counts: make([]uint32, keys), all: make([]int64, keys), kept: make([]int64, keys),
	}
}

// judge takes note of a decision on a request.
func (m *fleetModel) judge(key int, now int64, keep bool) {
	if now >= m.ends[key] {
		m.ends[key], m.counts[key] = now+m.window, 0
	}
	m.all[key]++
	m.counts[key]++
	first := m.counts[key] <= m.n
	if first {
		m.exact++
	}
	switch {
	case keep && !first:
		m.over++
	case !keep && first:
		m.dropped++
	}
	if keep {
		m.kept[key]++
	}
}

func sum(all []int64) (s int64) {
	for _, n := range all {
		s += n
	}
	return s
}

var quiet = slog.New(slog.DiscardHandler)
