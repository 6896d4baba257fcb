package samplers_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

func plan(t *testing.T, h samplers.Histogram, n, m int, q float64) samplers.Report {
	t.Helper()
	r, err := samplers.Plan(h, n, m, q)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// near reports whether a figure is the one wanted once it is rounded to its last digit.
func near(got, want, unit float64) bool { return math.Abs(got-want) <= unit/2*(1+1e-9) }

// zipfBins is samplers.Zipf with one exponent, with the keys together that have the same traffic:
// those with the same product of their ranks.
func zipfBins(tenants, ops int, s, requests float64) samplers.Histogram {
	keys := make([]int, tenants*ops+1) // by the product
	for i := 1; i <= tenants; i++ {
		for j := 1; j <= ops; j++ {
			keys[i*j]++
		}
	}
	var h samplers.Histogram
	sum := 0.0
	for product, k := range keys {
		if k > 0 {
			share := math.Pow(float64(product), -s)
			h = append(h, samplers.Bin{Requests: requests * share, Keys: k})
			sum += float64(k) * share
		}
	}
	for i := range h {
		h[i].Requests /= sum
	}
	return h
}

// It does not matter how keys are put in bins.
func TestPlanBins(t *testing.T) {
	together, each := plan(t, zipfBins(300, 20, 1.1, 1e6), 5, 3, .95), plan(t, samplers.Zipf(300, 20, 1.1, 1.1, 1e6), 5, 3, .95)
	same := cmp.Comparer(func(a, b float64) bool { return near(a/b, 1, 1e-9) || a == b })
	if diff := cmp.Diff(each, together, same); diff != "" {
		t.Errorf("-each in a bin +together\n%s", diff)
	}
}

// 10,000 tenants with 50 operations, by how skewed they are. What the first five save
// depends on the skew, on the traffic, and most of all on what must be seen.
func TestPlanLargeFleet(t *testing.T) {
	if allocRace {
		t.Skip("there are no goroutines in it")
	}
	tests := []struct {
		s, requests      float64
		m                int
		q                float64
		ratio, unit      float64
		everything, same float64
	}{
		{1.0, 1e8, 1, .90, 6.0, .1, 40, .52},
		{1.0, 1e8, 1, .99, 17, 1, 40, .52},
		{1.0, 1e8, 5, .99, 37, 1, 40, .12},
		{1.0, 1e8, 1, .50, 0.9, .1, 40, .52}, // static needs less
		{1.2, 1e8, 1, .90, 24, 1, 52, .27},
		{1.2, 1e8, 1, .99, 47, 1, 52, .27},
		{1.2, 1e8, 5, .99, 50, 1, 52, .08},
		{1.2, 1e9, 1, .90, 25, 1, 400, .29},
		{1.2, 1e9, 1, .99, 78, 1, 400, .29},
		{1.2, 1e9, 5, .99, 246, 1, 400, .06},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("s=%v R=%g m=%d q=%v", tt.s, tt.requests, tt.m, tt.q), func(t *testing.T) {
			r := plan(t, zipfBins(10_000, 50, tt.s, tt.requests), 5, tt.m, tt.q)
			if got := r.Ratio.Requests; !near(got, tt.ratio, tt.unit) {
				t.Errorf("ratio %.4g, want %v", got, tt.ratio)
			}
			if got := r.All.Requests / r.FirstN.Requests; !near(got, tt.everything, 1) {
				t.Errorf("everything is %.4g times the first 5, want %v", got, tt.everything)
			}
			if !near(r.SameVolume, tt.same, .01) {
				t.Errorf("with the same volume static shows %.4g, want %v", r.SameVolume, tt.same)
			}
			if !near(r.All.Requests/tt.requests, 1, 1e-9) || r.Static.Requests != r.P*r.All.Requests {
				t.Errorf("%v requests, of which static keeps %v with p = %v", r.All.Requests, r.Static.Requests, r.P)
			}
		})
	}
}

// What static sampling needs more than the first N tends to a limit; 400 times is reached
// on the way there if the limit is beyond it, and otherwise never.
func TestPlanLimit(t *testing.T) {
	if allocRace {
		t.Skip("there are no goroutines in it")
	}
	tests := []struct {
		tenants, ops int
		s            float64
		n            int
		q            float64
		limit        float64
		perSecond    float64 // at which the ratio is 400; 0: never
	}{
		{10_000, 50, 1.0, 1, .90, 30, 0},
		{10_000, 50, 1.0, 1, .99, 86, 0},
		{10_000, 50, 1.0, 1, .999, 156, 0},
		{10_000, 50, 1.0, 5, .90, 27, 0},
		{10_000, 50, 1.0, 5, .99, 53, 0},
		{10_000, 50, 1.0, 5, .999, 78, 0},
		{10_000, 50, 1.2, 1, .90, 126, 0},
		{10_000, 50, 1.2, 1, .99, 391, 0},
		{10_000, 50, 1.2, 1, .999, 727, 2.3e5},
		{10_000, 50, 1.3, 3, .90, 285, 0},
		{10_000, 50, 1.3, 3, .99, 683, 7.1e5},
		{10_000, 50, 1.3, 5, .90, 282, 0},
		{10_000, 50, 1.3, 5, .99, 612, 1.2e6},
		{1_000, 20, 1.4, 1, .90, 185, 0},
		{1_000, 20, 1.4, 1, .99, 614, 1.05e4},
		{1_000, 20, 1.4, 5, .99, 401, 8.6e4},
		{1_000, 20, 1.4, 5, .999, 612, 4.5e4},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%dx%d s=%v N=m=%d q=%v", tt.tenants, tt.ops, tt.s, tt.n, tt.q), func(t *testing.T) {
			perSecond := tt.perSecond
			if perSecond == 0 {
				perSecond = 1e9 // all keys are busy
			}
			r := plan(t, zipfBins(tt.tenants, tt.ops, tt.s, 900*perSecond), tt.n, tt.n, tt.q)
			if !near(r.Limit.Requests, tt.limit, 1) {
				t.Errorf("limit %.5g, want %v", r.Limit.Requests, tt.limit)
			}
			want := r.Limit.Requests
			if tt.perSecond != 0 {
				want = 400
			}
			if !near(r.Ratio.Requests/want, 1, .02) {
				t.Errorf("ratio %.5g at %g requests a second, want %.5g", r.Ratio.Requests, perSecond, want)
			}
		})
	}
}

// One rare key that must be seen: the requests a key at which the first N are 400 times
// less than what shows it.
func TestPlanReferenceKey(t *testing.T) {
	tests := []struct {
		mean  float64
		m     int
		q     float64
		p     float64
		digit float64
		need  float64
	}{
		{10, 1, .95, .30, .01, 1_336},
		{10, 3, .95, .62, .01, 1_928},
		{10, 5, .99, .96, .01, 2_094},
		{100, 1, .95, .030, .001, 13_352},
		{100, 3, .95, .063, .001, 19_060},
		{100, 5, .99, .116, .001, 17_235},
	}
	for _, tt := range tests {
		r := plan(t, samplers.Histogram{{Requests: tt.mean, Keys: 1}}, tt.m, tt.m, tt.q)
		if need := 400 * float64(tt.m) / r.P; !near(r.P, tt.p, tt.digit) || !near(need, tt.need, tt.need*.002) {
			t.Errorf("a key with %v, m=%d, q=%v: p = %.4g and %.5g requests a key, want %v and %v", tt.mean, tt.m, tt.q, r.P, need, tt.p, tt.need)
		}
	}
}

// The lines of busy keys count for more than their requests.
func TestPlanLinesAndBytes(t *testing.T) {
	h := samplers.Histogram{
		{Requests: 10_000, Keys: 1, Lines: 20, Bytes: 4_000},
		{Requests: 5_000, Keys: 0}, // nothing
		{Requests: 0, Keys: 7},     // nothing
		{Requests: 10, Keys: 100, Bytes: 300},
	}
	r := plan(t, h, 2, 1, .9)
	if want := (samplers.Volume{Requests: 11_000, Lines: 201_000, Bytes: 40_300_000}); r.All != want {
		t.Errorf("everything is %v, want %v", r.All, want)
	}
	// A key with 10 has fewer than two in e^-10 (1 + 10) cases.
	rare := 2 - math.Exp(-10)*(2+10)
	want := samplers.Volume{Requests: 2 + 100*rare, Lines: 2*20 + 100*rare, Bytes: 2*4_000 + 100*rare*300}
	if !near(r.FirstN.Requests, want.Requests, 1e-9) || !near(r.FirstN.Lines, want.Lines, 1e-9) || !near(r.FirstN.Bytes, want.Bytes, 1e-6) {
		t.Errorf("the first 2 are %v, want %v", r.FirstN, want)
	}
	if !near(r.Ratio.Lines, r.P*201_000/want.Lines, 1e-9) || !near(r.Ratio.Bytes, r.P*40_300_000/want.Bytes, 1e-9) {
		t.Errorf("ratios %v", r.Ratio)
	}
	if r.Ratio.Lines <= r.Ratio.Requests || r.Limit.Lines <= r.Limit.Requests {
		t.Errorf("ratio of lines %v and requests %v, limits %v and %v: want more of lines",
			r.Ratio.Lines, r.Ratio.Requests, r.Limit.Lines, r.Limit.Requests)
	}
	if got := plan(t, samplers.Histogram{{Requests: 3, Keys: 4}}, 1, 1, .5); got.All.Lines != 12 || got.All.Bytes != 0 || got.Ratio.Bytes != 0 || got.Limit.Bytes != 0 {
		t.Errorf("by default a request has a line and no known bytes: got %+v", got)
	}
}

// coverage is the definition, without regard to digits that cancel.
func coverage(h samplers.Histogram, p float64, m int) float64 {
	shown, eligible := 0.0, 0.0
	atLeast := func(mean float64) float64 {
		below, term := 0.0, math.Exp(-mean)
		for k := range m {
			below += term
			term *= mean / float64(k+1)
		}
		return 1 - below
	}
	for _, b := range h {
		shown += float64(b.Keys) * atLeast(p*b.Requests)
		eligible += float64(b.Keys) * atLeast(b.Requests)
	}
	return shown / eligible
}

func TestPlanFindsTheLeastProbability(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		m := rapid.IntRange(1, n).Draw(t, "m")
		q := rapid.Float64Range(.01, .999).Draw(t, "q")
		h := samplers.Histogram(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) samplers.Bin {
			return samplers.Bin{
				Requests: math.Exp2(rapid.Float64Range(1, 9).Draw(t, "log of requests")),
				Keys:     rapid.IntRange(1, 1000).Draw(t, "keys"),
			}
		}), 1, 10).Draw(t, "histogram"))
		r, err := samplers.Plan(h, n, m, q)
		if err != nil {
			t.Fatal(err)
		}
		if got := coverage(h, r.P, m); got < q-1e-7 || got > q+1e-7 {
			t.Errorf("with p = %v static shows %v, want %v", r.P, got, q)
		}
		if got := coverage(h, r.FirstN.Requests/r.All.Requests, m); math.Abs(got-r.SameVolume) > 1e-7 {
			t.Errorf("with the same volume static shows %v, want %v", r.SameVolume, got)
		}
		// Growing tells what the limit is.
		for i := range h {
			h[i].Requests *= 1e5
		}
		grown, err := samplers.Plan(h, n, m, q)
		if err != nil {
			t.Fatal(err)
		}
		if a, b, c := r.Limit.Requests, grown.Limit.Requests, grown.Ratio.Requests; !near(b/a, 1, 1e-8) || !near(c/a, 1, 1e-3) {
			t.Errorf("limit %v; after growth %v, and the ratio is %v", a, b, c)
		}
	})
}

// With little traffic there is nothing to save: both keep everything.
func TestPlanSparse(t *testing.T) {
	r := plan(t, samplers.Histogram{{Requests: 1e-6, Keys: 1_000_000_000}}, 5, 1, .999)
	if !near(r.PerKey, 1, 1e-5) || !near(r.P, .999, 1e-5) || !near(r.Ratio.Requests, .999, 1e-5) {
		t.Errorf("got %+v", r)
	}
	// And where m requests are next to impossible, they are all needed.
	if r := plan(t, samplers.Histogram{{Requests: 1e-6, Keys: 1}}, 5, 5, .5); !near(r.P, math.Pow(.5, .2), 1e-5) {
		t.Errorf("p = %v, want the fifth root of a half", r.P)
	}
}

func TestPlanRefuses(t *testing.T) {
	one := samplers.Histogram{{Requests: 10, Keys: 1}}
	bin := func(b samplers.Bin) samplers.Histogram { return append(samplers.Histogram{one[0]}, b) }
	tests := []struct {
		name string
		h    samplers.Histogram
		n, m int
		q    float64
		want string
	}{
		{"no n", one, 0, 1, .5, "n is 0"},
		{"great n", one, 1001, 1, .5, "n is 1001"},
		{"no m", one, 5, 0, .5, "m is 0"},
		{"m above n", one, 5, 6, .5, "m is 6: from 1 to n, which is 5"},
		{"q of 0", one, 5, 1, 0, "q is 0"},
		{"q of 1", one, 5, 1, 1, "q is 1"},
		{"no number", one, 5, 1, math.NaN(), "q is NaN"},
		{"nil", nil, 5, 1, .5, "no requests"},
		{"without keys", samplers.Histogram{{Requests: 3}}, 5, 1, .5, "no requests"},
		{"without requests", samplers.Histogram{{Keys: 3}}, 5, 1, .5, "no requests"},
		{"negative requests", bin(samplers.Bin{Requests: -1, Keys: 1}), 5, 1, .5, "bin 1: Requests is -1"},
		{"NaN requests", bin(samplers.Bin{Requests: math.NaN(), Keys: 1}), 5, 1, .5, "bin 1: Requests is NaN"},
		{"infinite requests", bin(samplers.Bin{Requests: math.Inf(1), Keys: 1}), 5, 1, .5, "bin 1: Requests is +Inf"},
		{"negative keys", bin(samplers.Bin{Requests: 1, Keys: -2}), 5, 1, .5, "bin 1: Keys is -2"},
		{"negative lines", bin(samplers.Bin{Requests: 1, Keys: 1, Lines: -1}), 5, 1, .5, "bin 1: Lines is -1"},
		{"NaN bytes", bin(samplers.Bin{Requests: 1, Keys: 1, Bytes: math.NaN()}), 5, 1, .5, "bin 1: Bytes is NaN"},
		{"hopeless", samplers.Histogram{{Requests: 1e-3, Keys: 1}}, 1000, 1000, .5, "no key of which 1000 requests can be expected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := samplers.Plan(tt.h, tt.n, tt.m, tt.q)
			if !errors.Is(err, driver.ErrInvalid) || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, tt.want)
			}
			if r != (samplers.Report{}) {
				t.Errorf("got a report besides: %+v", r)
			}
		})
	}
}

// The extremes of what is allowed neither overflow nor go on for ever.
func TestPlanExtremes(t *testing.T) {
	h := samplers.Histogram{{Requests: 1e-100, Keys: 1}, {Requests: 1e15, Keys: math.MaxInt, Lines: 1e15, Bytes: 1e15}}
	for _, m := range []int{1, 2, 1000} {
		for _, q := range []float64{1e-300, .5, 1 - 1e-16} {
			r := plan(t, h, 1000, m, q)
			for _, x := range []float64{r.Keys, r.Eligible, r.PerKey, r.P, r.Static.Requests, r.Ratio.Requests, r.Ratio.Bytes, r.Limit.Requests, r.Limit.Lines} {
				if !(x > 0) || math.IsInf(x, 0) {
					t.Errorf("m=%d, q=%v: %v in %+v", m, q, x, r)
				}
			}
			if r.P > 1 || r.SameVolume > 1 {
				t.Errorf("m=%d, q=%v: shares above 1 in %+v", m, q, r)
			}
		}
	}
}

// Both tails keep nearly all their digits, the smaller one too.
func TestPoissonTails(t *testing.T) {
	for _, m := range []int{1, 2, 5, 40, 1000} {
		for _, mean := range []float64{1e-9, .3, .999, 1, 4.5, 5, 5.5, 39, 60, 500, 1000, 1500} {
			below, atLeast := samplers.PoissonTails(mean, m)
			wantBelow, wantAtLeast := bigTails(mean, m)
			same := func(got, want float64) bool { return near(got, want, 1e-11*want+1e-300) }
			if !same(below, wantBelow) || !same(atLeast, wantAtLeast) {
				t.Errorf("mean %v, m %d: got %v and %v, want %v and %v", mean, m, below, atLeast, wantBelow, wantAtLeast)
			}
		}
	}
	for _, m := range []int{1, 5, 1000} {
		if below, atLeast := samplers.PoissonTails(0, m); below != 1 || atLeast != 0 {
			t.Errorf("mean 0, m %d: got %v and %v", m, below, atLeast)
		}
		if below, atLeast := samplers.PoissonTails(1e9, m); below != 0 || atLeast != 1 {
			t.Errorf("mean 1e9, m %d: got %v and %v", m, below, atLeast)
		}
	}
}

// bigTails sums e^-mean mean^k / k! with more digits than are needed.
func bigTails(mean float64, m int) (below, atLeast float64) {
	num := func(x float64) *big.Float { return new(big.Float).SetPrec(8000).SetFloat64(x) }
	x, below2, atLeast2, term := num(mean), num(0), num(0), num(1)
	for k := 0; k < m+100 || float64(k) < 5*mean+100; k++ {
		if k < m {
			below2.Add(below2, term)
		} else {
			atLeast2.Add(atLeast2, term)
		}
		term.Mul(term, x)
		term.Quo(term, num(float64(k+1)))
	}
	all := num(0).Add(below2, atLeast2)
	below, _ = below2.Quo(below2, all).Float64()
	atLeast, _ = atLeast2.Quo(atLeast2, all).Float64()
	return below, atLeast
}

func TestReportString(t *testing.T) {
	h := samplers.Histogram{{Requests: 100_000, Keys: 2, Lines: 10, Bytes: 2_000}, {Requests: 50, Keys: 1_000, Bytes: 100}}
	const want = `static sampling with m = 1 requests shown of 90 % of the keys that have so many, against the first 5 of each
  in a window        all  first 5    static  ratio  limit
     requests     250000     5010     11503   2.3x   2.3x
        lines    2050000     5100     94324    18x    18x
        bytes  405000000   520000  18634755    36x    36x
p = 0.04601; at p = 0.02004, which keeps as many requests as the first 5, static shows 63.4 % of the keys
1002 keys with 249.5 requests each, 1002 of them with 1 or more
`
	if got := plan(t, h, 5, 1, .9).String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := plan(t, samplers.Histogram{{Requests: 10, Keys: 3}}, 5, 1, .9).String(); strings.Contains(got, "bytes") {
		t.Errorf("bytes that are not known:\n%s", got)
	}
}

// BenchmarkPlan plans for half a million keys.
func BenchmarkPlan(b *testing.B) {
	h := samplers.Zipf(10_000, 50, 1.2, 1.2, 1e8)
	for _, m := range []int{1, 5} {
		b.Run(fmt.Sprintf("m=%d", m), func(b *testing.B) {
			for b.Loop() {
				if _, err := samplers.Plan(h, 5, m, .99); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
