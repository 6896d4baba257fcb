package samplers_test

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

// estimates are sums over the requests of a run: of their number, their latencies, and
// their errors. Those of a sampler are weighted.
type estimates struct{ requests, latency, errors float64 }

func (e *estimates) add(weight, latency, failed float64) {
	e.requests += weight
	e.latency += weight * latency
	e.errors += weight * failed
}

// quantities returns what is estimated: the number of requests, their mean latency, and
// the rate of errors.
func (e *estimates) quantities() [3]float64 {
	return [3]float64{e.requests, e.latency / e.requests, e.errors / e.requests}
}

// schemes are ways to estimate from the same decisions.
const (
	everything = iota // the truth
	firstOnly         // what is kept for the reason First, each for one
	hybrid            // what is kept, by its weight
	upgraded          // errors are always kept, and stand for themselves
	schemes
)

var schemeNames = [schemes]string{firstOnly: "first n, unweighted", hybrid: "first n and tail", upgraded: "with errors upgraded"}

const (
	biasTail     = 0.012
	biasRequests = 2_000_000
	slowFirst    = 10 // requests of a key are three times as slow, and fail five times as often
)

// biasedRun decides on a window of requests, the first of each key being unlike the others.
func biasedRun(t *testing.T, z *traffic, seed uint64) (sums [schemes]estimates) {
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{
		FirstN: fleetN, Tail: biasTail, Timeout: patience, LocalBytes: 1 << 20, TotalPeriod: -1, Logger: quiet,
	})
	if err != nil {
		t.Error(err)
		return sums
	}
	defer func() { _ = s.Close(context.Background()) }()
	random, met := rand.NewPCG(seed, 0), make([]int32, len(z.keys))
	for range biasRequests {
		key, bits := z.draw(random), random.Uint64()
		latency, failed, odds := 0.25+1.5*float64(bits>>32)/(1<<32), 0.0, 0.025
		if met[key]++; met[key] <= slowFirst {
			latency, odds = 3*latency, 5*odds
		}
		if float64(uint32(bits)) < odds*(1<<32) {
			failed = 1
		}
		d := s.DecideRandom(context.Background(), z.keys[key], random.Uint64())
		sums[everything].add(1, latency, failed)
		if d.Keep {
			sums[hybrid].add(d.Weight, latency, failed)
		}
		if d.Reason == samplers.First {
			sums[firstOnly].add(1, latency, failed)
		}
		switch {
		case failed != 0:
			sums[upgraded].add(1, latency, failed)
		case d.Keep:
			sums[upgraded].add(d.Weight, latency, failed)
		}
	}
	return sums
}

// TestUnbiased estimates totals of requests, the first of which are unlike the rest, from
// what a sampler keeps, many times over. Coins and requests are seeded: the test has the
// same result wherever it runs. With -samplers.full it is 200 times.
func TestUnbiased(t *testing.T) {
	if allocRace {
		t.Skip("takes long, and has nothing to do with races")
	}
	runs := 40
	if *full {
		runs = 200
	}
	z := newTraffic(500, 20, 1.1)
	results := make([][schemes]estimates, runs)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for run := next.Add(1) - 1; run < int64(runs); run = next.Add(1) - 1 {
				results[run] = biasedRun(t, z, uint64(run+1))
			}
		})
	}
	wg.Wait()

	// Of so many runs, the root mean square of the errors is known to one part in
	// sqrt(2*runs), and their mean to one sqrt(runs)th of it.
	margin := 1 + 3/math.Sqrt(2*float64(runs))
	for scheme, most := range map[int][3]float64{ // root mean squares, in percent
		hybrid:   {0.58, 0.36, 3.6},
		upgraded: {0.58, 0.36, 0.58},
	} {
		bias, rms := errorsOf(results, scheme)
		t.Logf("%s: bias %+.3f %%, root mean square %.3f %%", schemeNames[scheme], bias, rms)
		for i, what := range []string{"total of requests", "mean latency", "rate of errors"} {
			limit := 0.5
			if runs < 200 {
				limit = max(limit, 4*most[i]/math.Sqrt(float64(runs)))
			}
			if math.Abs(bias[i]) > limit {
				t.Errorf("%s: the %s is off by %+.2f %%", schemeNames[scheme], what, bias[i])
			}
			if rms[i] > most[i]*margin {
				t.Errorf("%s: the %s has errors of %.2f %%, want up to %.2f * %.2f", schemeNames[scheme], what, rms[i], margin, most[i])
			}
		}
	}
	// Without weights the figures are those of the first requests.
	bias, _ := errorsOf(results, firstOnly)
	t.Logf("%s: bias %+.1f %%", schemeNames[firstOnly], bias)
	if math.Abs(bias[0]+97.5) > 0.5 || math.Abs(bias[1]-174) > 5 || bias[2] < 100 {
		t.Errorf("%s: the figures are off by %+.1f %%, want about -97.5, +174 and far above +100", schemeNames[firstOnly], bias)
	}
}

// errorsOf returns the mean error of a scheme's figures, and the root of the mean square,
// in percent.
func errorsOf(results [][schemes]estimates, scheme int) (bias, rms [3]float64) {
	for run := range results {
		truth, got := results[run][everything].quantities(), results[run][scheme].quantities()
		for i := range truth {
			off := (got[i]/truth[i] - 1) * 100
			bias[i] += off / float64(len(results))
			rms[i] += off * off / float64(len(results))
		}
	}
	for i := range rms {
		rms[i] = math.Sqrt(rms[i])
	}
	return bias, rms
}
