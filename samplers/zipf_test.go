package samplers_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/samplers"
)

func TestZipf(t *testing.T) {
	// The shares are 1, 1/2 of 3/2, and 1, 1/4, 1/9 of 49/36.
	got := samplers.Zipf(2, 3, 1, 2, 294)
	want := samplers.Histogram{
		{Requests: 144, Keys: 1}, {Requests: 36, Keys: 1}, {Requests: 16, Keys: 1},
		{Requests: 72, Keys: 1}, {Requests: 18, Keys: 1}, {Requests: 8, Keys: 1},
	}
	close := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
	if diff := cmp.Diff(want, got, close); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(samplers.Histogram{{Requests: 2, Keys: 1}, {Requests: 2, Keys: 1}}, samplers.Zipf(2, 1, 0, 5, 4), close); diff != "" {
		t.Errorf("exponent 0 makes all alike: -want +got\n%s", diff)
	}
}

func TestZipfRefuses(t *testing.T) {
	for _, h := range []samplers.Histogram{
		samplers.Zipf(0, 3, 1, 1, 10),
		samplers.Zipf(3, -1, 1, 1, 10),
		samplers.Zipf(3, 3, math.NaN(), 1, 10),
		samplers.Zipf(3, 3, 1, math.Inf(1), 10),
		samplers.Zipf(3, 3, 1, 1, 0),
		samplers.Zipf(3, 3, 1, 1, math.NaN()),
	} {
		if len(h) != 0 {
			t.Errorf("got %v, want nothing", h)
		}
	}
}
