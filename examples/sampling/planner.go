package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"

	"github.com/graphcache/graphcache/samplers"
)

// ask is what static sampling is required to show: m requests of a share q of the keys.
type ask struct {
	m int
	q float64
}

func (a ask) String() string { return fmt.Sprintf("m=%d q=%g", a.m, a.q) }

// writePlan writes what the planner makes of the traffic, of more of it, and of a large
// fleet.
func writePlan(w io.Writer, r *report) error {
	b := bufio.NewWriter(w)
	s, traffic := r.settings, r.trace.traffic
	p, err := samplers.Plan(traffic, s.n, s.m, s.q)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "\nThe planner, for this traffic")
	if s.trace != "" {
		fmt.Fprintf(b, ", with what the trace has of a key as what can be expected of it")
	}
	fmt.Fprintf(b, ":\n%s", p)

	own := ask{s.m, s.q}
	asks := slices.Compact([]ask{{1, .5}, {1, .99}, {s.n, .99}})
	asks = append(slices.DeleteFunc(asks, func(a ask) bool { return a == own }), own)
	if err := writeGrowth(b, traffic, s.n, asks); err != nil {
		return err
	}
	for _, ratio := range []float64{40, 400} {
		text, err := whereRatio(traffic, s.n, own, ratio)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%gx (%v): %s\n", ratio, own, text)
	}
	if err := writeLargeFleet(b); err != nil {
		return err
	}
	return b.Flush()
}

// scaled returns the same traffic with more requests of every key.
func scaled(h samplers.Histogram, factor float64) samplers.Histogram {
	h = slices.Clone(h)
	for i := range h {
		h[i].Requests *= factor
	}
	return h
}

// most is how many times the traffic is looked at, at most.
const most = 1e6

func writeGrowth(w io.Writer, h samplers.Histogram, n int, asks []ask) error {
	fmt.Fprintf(w, "\nStatic sampling against the first %d, in requests, as this traffic grows:\n", n)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "requests\trequests/key\t")
	for _, a := range asks {
		fmt.Fprintf(t, "%v\t", a)
	}
	fmt.Fprintf(t, "everything\t\n")
	limits := make([]float64, len(asks))
	settled := false // at the limits
	for factor := 1.0; factor <= most && !settled; factor *= 10 {
		grown := scaled(h, factor)
		settled = true
		var p samplers.Report
		for i, a := range asks {
			var err error
			if p, err = samplers.Plan(grown, n, a.m, a.q); err != nil {
				return err
			}
			if i == 0 {
				fmt.Fprintf(t, "%.3g\t%.4g\t", p.All.Requests, p.PerKey)
			}
			fmt.Fprintf(t, "%s\t", times(p.Ratio.Requests))
			limits[i] = p.Limit.Requests
			settled = settled && math.Abs(p.Ratio.Requests/p.Limit.Requests-1) < .005
		}
		fmt.Fprintf(t, "%s\t\n", times(p.All.Requests/p.FirstN.Requests))
	}
	fmt.Fprintf(t, "limit\t\t")
	for _, limit := range limits {
		fmt.Fprintf(t, "%s\t", times(limit))
	}
	fmt.Fprintf(t, "\t\n")
	return t.Flush()
}

// whereRatio says how much of the traffic there has to be for a ratio.
func whereRatio(h samplers.Histogram, n int, a ask, ratio float64) (string, error) {
	at := func(factor float64) (samplers.Report, error) {
		return samplers.Plan(scaled(h, factor), n, a.m, a.q)
	}
	lo, hi := 1.0, 1.0
	p, err := at(lo)
	switch {
	case err != nil:
		return "", err
	case p.Ratio.Requests >= ratio:
		return fmt.Sprintf("this traffic has %s", times(p.Ratio.Requests)), nil
	}
	for p.Ratio.Requests < ratio {
		if lo, hi = hi, hi*10; hi > most {
			return fmt.Sprintf("not reached with up to %g times the traffic; the limit is %s", most, times(p.Limit.Requests)), nil
		}
		if p, err = at(hi); err != nil {
			return "", err
		}
	}
	for hi > lo*1.01 {
		middle := math.Sqrt(lo * hi)
		switch x, err := at(middle); {
		case err != nil:
			return "", err
		case x.Ratio.Requests < ratio:
			lo = middle
		default:
			hi, p = middle, x
		}
	}
	return fmt.Sprintf("with %.3g times the traffic, %.4g requests a key, where p*=%.3g; the limit is %s",
		hi, p.PerKey, p.P, times(p.Limit.Requests)), nil
}

// writeLargeFleet shows how far apart the answers are that one and the same fleet can give.
func writeLargeFleet(w io.Writer) error {
	fmt.Fprintf(w, "\nAnd for 10,000 tenants with 50 operations in a window of 15 minutes, against the first 5:\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "s\trequests\trequests/key\tmust be shown\tp*\tratio\teverything\t\n")
	for _, c := range []struct {
		s, requests float64
		ask         ask
	}{
		{1.0, 1e8, ask{1, .5}}, // the median key
		{1.0, 1e8, ask{1, .99}},
		{1.0, 1e8, ask{5, .99}},
		{1.2, 1e9, ask{5, .99}},
		{1.3, 1.07e9, ask{5, .99}},
	} {
		p, err := samplers.Plan(samplers.Zipf(10_000, 50, c.s, c.s, c.requests), 5, c.ask.m, c.ask.q)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%.1f\t%.3g\t%.0f\t%v\t%.3g\t%s\t%s\t\n", c.s, c.requests, p.PerKey, c.ask, p.P,
			times(p.Ratio.Requests), times(p.All.Requests/p.FirstN.Requests))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, `Half of the keys can be shown with less than the first 5 take. What multiplies the ratio
is that rare keys must be shown as well, and many times as many requests of busy ones.
`)
	return err
}

// times formats a ratio.
func times(x float64) string {
	if x < 9.95 {
		return fmt.Sprintf("%.1fx", x)
	}
	return fmt.Sprintf("%.0fx", x)
}
