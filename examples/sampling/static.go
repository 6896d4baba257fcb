package main

import (
	"math"
	"slices"
)

// odds is what static sampling can be expected to show of a trace, whose keys have a known
// number of requests: the keys by these, in order, so that sums are always the same.
type odds []busy

// busy is a number of keys with so many requests each.
type busy struct{ requests, keys int }

func newOdds(counts []int) (o odds) {
	for _, n := range slices.Sorted(slices.Values(counts)) {
		if last := len(o) - 1; last >= 0 && o[last].requests == n {
			o[last].keys++
		} else {
			o = append(o, busy{n, 1})
		}
	}
	return o
}

// covered returns the share of the keys of which sampling with probability p can be expected
// to keep n requests, or all that there are.
func (o odds) covered(n int, p float64) float64 {
	keys, covered := 0, 0.0
	for _, b := range o {
		keys += b.keys
		covered += float64(b.keys) * atLeast(b.requests, min(n, b.requests), p)
	}
	return covered / float64(keys)
}

// shown returns the share, among the keys with m requests, of those of which m can be
// expected to be kept.
func (o odds) shown(m int, p float64) float64 {
	eligible, shown := 0, 0.0
	for _, b := range o {
		if b.requests >= m {
			eligible += b.keys
			shown += float64(b.keys) * atLeast(b.requests, m, p)
		}
	}
	return shown / float64(eligible)
}

// needed returns the least probability with which a share q is shown.
func (o odds) needed(m int, q float64) float64 {
	lo, hi := 0.0, 1.0
	for range 50 {
		if p := (lo + hi) / 2; o.shown(m, p) < q {
			lo = p
		} else {
			hi = p
		}
	}
	return hi
}

// atLeast returns the probability that m or more of n requests are kept, if each is with
// probability p: a tail of the binomial distribution. The smaller tail is summed, from its
// greatest term on.
func atLeast(n, m int, p float64) float64 {
	switch {
	case m <= 0:
		return 1
	case m > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	term := func(k int) float64 {
		ways := lgamma(n) - lgamma(k) - lgamma(n-k)
		return math.Exp(ways + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	sum := 0.0
	if float64(n)*p < float64(m) {
		for k, x := m, term(m); k <= n && x > sum*1e-17; k++ {
			sum += x
			x *= float64(n-k) / float64(k+1) * p / (1 - p)
		}
		return sum
	}
	for k, x := m-1, term(m-1); k >= 0 && x > sum*1e-17; k-- {
		sum += x
		x *= float64(k) / float64(n-k+1) * (1 - p) / p
	}
	return 1 - sum
}

// lgamma returns the logarithm of n factorial.
func lgamma(n int) float64 {
	x, _ := math.Lgamma(float64(n) + 1)
	return x
}
