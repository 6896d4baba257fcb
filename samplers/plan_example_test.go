package samplers_test

import (
	"fmt"

	"github.com/graphcache/graphcache/samplers"
)

// Whether the first five are worth it depends on the question. A thousand busy keys and
// many rare ones, of which it is enough to see half, or of which 99 % must be seen:
func ExamplePlan() {
	traffic := samplers.Histogram{
		{Requests: 20_000, Keys: 1_000},
		{Requests: 20, Keys: 100_000},
	}
	for _, q := range []float64{.5, .99} {
		r, err := samplers.Plan(traffic, 5, 1, q)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("q = %g: %.1fx\n", q, r.Ratio.Requests)
	}
	// Output:
	// q = 0.5: 1.5x
	// q = 0.99: 10.0x
}
