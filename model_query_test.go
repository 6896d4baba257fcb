package graphcache_test

import (
	"testing"

	"pgregory.net/rapid"
)

// TestModelQueries compares random programs of queries and writes of every sort with the
// naive world: what anybody reads after a write must be what the documentation says,
// whatever the cache holds, and whichever version of the program asks.
func TestModelQueries(t *testing.T) {
	checked := 0
	for range *modelScale {
		rapid.Check(t, func(t *rapid.T) {
			n, err := mqAnyProgram(24, mqFocus{}).Draw(t, "program").run(t.Context(), mqSetup{})
			checked += n
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	modelEnough(t, checked, 20_000)
}
