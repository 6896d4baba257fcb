package samplers

import "math"

// Zipf returns the histogram of a window of requests in which both tenants and operations
// have the popularity of Zipf's law, independently of each other: the i-th tenant has a
// share of the requests that is proportional to 1/i^sTenants, and the j-th operation one
// of each tenant's that is proportional to 1/j^sOps. Every key has a bin of its own, in the
// order of the tenants and then of the operations.
//
// Figures that make no sense, such as no tenants or an exponent that is not a number, give
// an empty histogram, which [Plan] refuses.
func Zipf(tenants, ops int, sTenants, sOps, requests float64) Histogram {
	t, o := zipfShares(tenants, sTenants), zipfShares(ops, sOps)
	if len(t) == 0 || len(o) == 0 || !(requests > 0) {
		return nil
	}
	h := make(Histogram, 0, len(t)*len(o))
	for _, tenant := range t {
		for _, op := range o {
			h = append(h, Bin{Requests: requests * tenant * op, Keys: 1})
		}
	}
	return h
}

// zipfShares returns the shares of n things, nil if there are none.
func zipfShares(n int, s float64) []float64 {
	if n < 1 || math.IsNaN(s) || math.IsInf(s, 0) {
		return nil
	}
	shares := make([]float64, n)
	sum := 0.0
	for i := n - 1; i >= 0; i-- { // the small ones first keep their digits
		shares[i] = math.Pow(float64(i+1), -s)
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}
