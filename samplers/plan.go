package samplers

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/graphcache/graphcache/driver"
)

// Histogram describes the traffic of a window by its keys, for [Plan]. The order of the
// bins does not matter, and several may be alike.
type Histogram []Bin

// Bin is a number of keys with the same traffic.
type Bin struct {
	// Requests is the number of requests of one of the keys that a window is expected
	// to have. It may be a fraction. Arrivals are taken to be independent of each
	// other (Poisson), so that a key with 2 is absent from one window in seven.
	Requests float64
	// Keys is the number of keys.
	Keys int
	// Lines is the mean number of lines that a request logs. Default 1.
	Lines float64
	// Bytes is the mean number of bytes that a request logs. Default 0: not known.
	Bytes float64
}

// Volume is an amount of logs: of a window, as it is expected. Requests are those of which
// anything is logged, with Lines lines and Bytes bytes together.
type Volume struct {
	Requests, Lines, Bytes float64
}

// times returns the volume of so many times as much.
func (v Volume) times(factor float64) Volume {
	return Volume{v.Requests * factor, v.Lines * factor, v.Bytes * factor}
}

// over returns the ratio of each amount to that of another volume, 0 if that is 0.
func (v Volume) over(w Volume) Volume {
	ratio := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	return Volume{ratio(v.Requests, w.Requests), ratio(v.Lines, w.Lines), ratio(v.Bytes, w.Bytes)}
}

// Report is what [Plan] has found out: what a window logs if the first N requests of each
// key are kept, and what it logs if every request is kept with one and the same
// probability P instead, which must be so large that it shows as much of the keys.
//
// How many times less the first N are is no property of the method. It depends on the
// traffic, and on what static sampling is required to show: compare Ratio for several M
// and Q before relying on one. It may be below 1.
type Report struct {
	// N, M and Q are those that Plan was asked for.
	N, M int
	Q    float64

	// Keys is the number of keys that have a request in a window, and Eligible that
	// of those which have M or more.
	Keys, Eligible float64
	// PerKey is the number of requests for each of Keys.
	PerKey float64

	// All is what is logged if nothing is dropped.
	All Volume
	// FirstN is what is logged if the first N of each key are kept. It shows M
	// requests of every eligible key.
	FirstN Volume
	// P is the least probability with which static sampling shows M requests of a
	// share Q of the eligible keys, and Static what it logs then.
	P      float64
	Static Volume
	// Ratio is Static divided by FirstN.
	Ratio Volume
	// Limit is what Ratio tends to if the traffic grows without bounds and all keys keep
	// their share of it: once they are all busy, both ways of sampling keep the same
	// amount of whatever there is. So a ratio that is far above it takes traffic of
	// another shape, not more of it.
	Limit Volume
	// SameVolume is the share of the eligible keys of which static sampling shows M
	// requests if it keeps as many requests as FirstN does.
	SameVolume float64
}

// Plan works out what static sampling costs in comparison with keeping the first n
// requests of each key, if it has to show m requests of a share q of the keys that have so
// many: of the rare keys as well as of the busy ones. The first n show them of all those
// keys, so m is at most n, which is at most 1,000 as in [Options]; q is between 0 and 1.
//
// For 500,000 bins it takes about a second. The error wraps [driver.ErrInvalid].
func Plan(h Histogram, n, m int, q float64) (Report, error) {
	t, err := trafficOf(h, n, m, q)
	if err != nil {
		return Report{}, fmt.Errorf("samplers: %w: Plan: %w", driver.ErrInvalid, err)
	}
	r := Report{
		N: n, M: m, Q: q,
		Keys: t.keys, Eligible: t.eligible, PerKey: t.all.Requests / t.keys,
		All: t.all, FirstN: t.firstN,
	}
	r.P = min(1, least(t.coverage, q))
	r.Static = t.all.times(r.P)
	r.Ratio = r.Static.over(r.FirstN)
	r.Limit = t.all.times(least(t.denseCoverage, q)).over(t.denseFirstN)
	r.SameVolume = t.coverage(t.firstN.Requests / t.all.Requests)
	return r, nil
}

// traffic is a histogram with what does not depend on the probability of static sampling.
type traffic struct {
	bins           []Bin // those with requests
	seen           poisson
	keys, eligible float64
	all, firstN    Volume

	// Of a window with so many requests that every key has more than n.
	denseKeys   float64
	denseFirstN Volume
}

func trafficOf(h Histogram, n, m int, q float64) (*traffic, error) {
	switch {
	case n < 1 || n > maxFirstN:
		return nil, fmt.Errorf("n is %d: from 1 to %d", n, maxFirstN)
	case m < 1 || m > n:
		return nil, fmt.Errorf("m is %d: from 1 to n, which is %d", m, n)
	case !(q > 0 && q < 1):
		return nil, fmt.Errorf("q is %v: between 0 and 1", q)
	}
	t := &traffic{bins: make([]Bin, 0, len(h)), seen: newPoisson(m)}
	first, beyond := newPoisson(n), newPoisson(n+1)
	for i, b := range h {
		if err := b.validate(); err != nil {
			return nil, fmt.Errorf("bin %d: %w", i, err)
		}
		if b.Requests == 0 || b.Keys == 0 {
			continue
		}
		if b.Lines == 0 {
			b.Lines = 1
		}
		t.bins = append(t.bins, b)
		t.add(b, first, beyond)
	}
	switch {
	case t.all.Requests == 0:
		return nil, fmt.Errorf("the histogram has no requests")
	case t.eligible < 0x1p-1022: // without all its digits
		return nil, fmt.Errorf("the histogram has no key of which %d requests can be expected", m)
	}
	return t, nil
}

// What a bin may hold, if not 0: floating point has room to spare for all that follows.
const (
	minBin = 1e-100
	maxBin = 1e15
)

func (b Bin) validate() error {
	bad := func(x float64) bool { return x != 0 && !(x >= minBin && x <= maxBin) }
	switch {
	case bad(b.Requests):
		return fmt.Errorf("Requests is %v: 0, or from %g to %g", b.Requests, minBin, maxBin)
	case b.Keys < 0:
		return fmt.Errorf("Keys is %d: negative", b.Keys)
	case bad(b.Lines):
		return fmt.Errorf("Lines is %v: 0, or from %g to %g", b.Lines, minBin, maxBin)
	case bad(b.Bytes):
		return fmt.Errorf("Bytes is %v: 0, or from %g to %g", b.Bytes, minBin, maxBin)
	}
	return nil
}

// add adds a bin to the sums.
func (t *traffic) add(b Bin, first, beyond poisson) {
	keys := float64(b.Keys)
	t.keys += keys * -math.Expm1(-b.Requests)
	_, eligible := t.seen.tails(b.Requests)
	t.eligible += keys * eligible
	sum := func(v *Volume, requests float64) {
		v.Requests += keys * requests
		v.Lines += keys * requests * b.Lines
		v.Bytes += keys * requests * b.Bytes
	}
	sum(&t.all, b.Requests)
	// The mean of min(X, n): that of X where it is at most n, and n beyond.
	n := float64(first.m)
	fewer, _ := first.tails(b.Requests)
	_, more := beyond.tails(b.Requests)
	sum(&t.firstN, b.Requests*fewer+n*more)

	t.denseKeys += keys
	sum(&t.denseFirstN, n)
}

// coverage returns the share of the eligible keys of which sampling with probability p
// shows m requests. Requests that arrive as a Poisson process still do when each is kept
// with probability p.
func (t *traffic) coverage(p float64) float64 { return t.shown(p) / t.eligible }

// denseCoverage is the coverage in traffic that has grown so much that all keys are
// eligible. The traffic of the histogram is scale times what is kept of it.
func (t *traffic) denseCoverage(scale float64) float64 { return t.shown(scale) / t.denseKeys }

// shown returns how many keys have m requests when all traffic is multiplied.
func (t *traffic) shown(factor float64) (keys float64) {
	certain := float64(60 + 4*t.seen.m) // fewer than m of so many: one in 10^19
	for i := range t.bins {
		mean, atLeast := factor*t.bins[i].Requests, 1.0
		if mean < certain {
			_, atLeast = t.seen.tails(mean)
		}
		keys += float64(t.bins[i].Keys) * atLeast
	}
	return keys
}

// least returns the least positive x for which f(x) is at least y, to ten digits and not
// below it. f must not decrease, and must come to y.
func least(f func(float64) float64, y float64) float64 {
	lo, hi := 1.0, 1.0
	flo := f(lo) - y
	fhi := flo
	for fhi < 0 {
		lo, flo = hi, fhi
		hi *= 8
		fhi = f(hi) - y
	}
	for flo >= 0 {
		hi, fhi = lo, flo
		lo /= 8
		flo = f(lo) - y
	}
	// Bisection of the logarithm. Every other step, and all that are good, go to where a
	// straight line through the ends would be at y, and from there a little towards the
	// middle, so that both ends come closer.
	const precision = 1e-10
	a, b := math.Log(lo), math.Log(hi)
	for bisect := false; b-a > precision; {
		width, middle := b-a, (a+b)/2
		x := middle
		if !bisect {
			x = a + width*flo/(flo-fhi)
			x += math.Copysign(min(max(width*width/10, precision/2), math.Abs(middle-x)), middle-x)
		}
		if fx := f(math.Exp(x)) - y; fx < 0 {
			a, flo = x, fx
		} else {
			b, fhi = x, fx
		}
		bisect = b-a > width/2
	}
	return math.Exp(b)
}

// poisson answers whether a Poisson variable is at least m, which is 1 or more.
type poisson struct {
	m            int
	logFactorial float64 // of m
}

func newPoisson(m int) poisson {
	lg, _ := math.Lgamma(float64(m) + 1)
	return poisson{m, lg}
}

// tails returns the probabilities that a variable with a mean is less than m, and that it
// is not. The smaller of them is summed by itself and keeps its digits.
func (p poisson) tails(mean float64) (below, atLeast float64) {
	m := float64(p.m)
	switch {
	case p.m == 1 && mean < 1:
		atLeast = -math.Expm1(-mean)
		return 1 - atLeast, atLeast
	case p.m == 1:
		below = math.Exp(-mean)
		return below, 1 - below
	case mean > 1e6: // m is far below
		return 0, 1
	case mean < m:
		sum, term := 1.0, 1.0
		for k := m + 1; term > sum*1e-17; k++ {
			term *= mean / k
			sum += term
		}
		atLeast = sum * math.Exp(m*math.Log(mean)-mean-p.logFactorial)
		return 1 - atLeast, atLeast
	}
	sum, term := 1.0, 1.0
	for k := m - 1; term > sum*1e-17; k-- {
		term *= k / mean
		sum += term
	}
	log := math.Log(mean)
	below = sum * math.Exp((m-1)*log-mean-(p.logFactorial-math.Log(m)))
	return below, 1 - below
}

// String returns a small table. What it says of static sampling holds for P, M and Q, which
// it names: a ratio says nothing without them.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "static sampling with m = %d requests shown of %g %% of the keys that have so many, against the first %d of each\n",
		r.M, 100*r.Q, r.N)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "in a window\tall\tfirst %d\tstatic\tratio\tlimit\t\n", r.N)
	row := func(name string, all, first, static, ratio, limit float64) {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%s\t%s\t\n", name, all, first, static, times(ratio), times(limit))
	}
	row("requests", r.All.Requests, r.FirstN.Requests, r.Static.Requests, r.Ratio.Requests, r.Limit.Requests)
	row("lines", r.All.Lines, r.FirstN.Lines, r.Static.Lines, r.Ratio.Lines, r.Limit.Lines)
	if r.All.Bytes > 0 {
		row("bytes", r.All.Bytes, r.FirstN.Bytes, r.Static.Bytes, r.Ratio.Bytes, r.Limit.Bytes)
	}
	t.Flush()
	fmt.Fprintf(&b, "p = %.4g; at p = %.4g, which keeps as many requests as the first %d, static shows %.1f %% of the keys\n",
		r.P, r.FirstN.Requests/r.All.Requests, r.N, 100*r.SameVolume)
	fmt.Fprintf(&b, "%.0f keys with %.4g requests each, %.0f of them with %d or more\n", r.Keys, r.PerKey, r.Eligible, r.M)
	return b.String()
}

// times formats a ratio with two digits or more.
func times(x float64) string {
	if x < 9.95 {
		return fmt.Sprintf("%.1fx", x)
	}
	return fmt.Sprintf("%.0fx", x)
}
