package graphcache_test

import (
	"flag"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// modelScale makes the model tests longer: go test -run TestModel -model.scale 100.
var modelScale = flag.Int("model.scale", 1, "how many times as long the model tests run")

// TestMain has random tests do under the race detector what they do with -short: it slows
// them down, and the rest of what they check does not need it.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.checks" })
	if allocRace && !chosen {
		if err := flag.Set("rapid.checks", "20"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestModel compares random programs with the naive world: what anybody reads
// after a write must be what the documentation says, whatever the cache holds.
func TestModel(t *testing.T) {
	checked := 0
	for range *modelScale {
		rapid.Check(t, func(t *rapid.T) {
			n, err := modelAnyProgram(modelKindNames(), 30).Draw(t, "program").run(t.Context(), nil)
			checked += n
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	modelEnough(t, checked, 50_000)
}

// TestModelPaths is about what queries mean: many of them on one graph that is
// dense and does not change.
func TestModelPaths(t *testing.T) {
	checked := 0
	for range *modelScale {
		rapid.Check(t, func(t *rapid.T) {
			p := modelDenseProgram.Draw(t, "program")
			n, err := p.run(t.Context(), nil)
			checked += n
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	modelEnough(t, checked, 10_000)
}

// modelEnough logs how many answers were compared and fails if a change of the
// tests has quietly made them compare less.
func modelEnough(t *testing.T, checked, floor int) {
	t.Helper()
	t.Logf("checked queries: %d", checked)
	if modelTooFew(checked, floor) {
		t.Errorf("only %d queries were checked, fewer than %d", checked, modelFloor(floor))
	}
}

// modelTooFew reports whether fewer answers were compared than there should be. A test
// whose programs vary much in length goes on until there are enough.
func modelTooFew(checked, floor int) bool { return checked < modelFloor(floor) }

// modelFloor returns how many answers are to be compared.
func modelFloor(floor int) int {
	if testing.Short() || allocRace {
		floor /= 5 // as rapid does with its checks, and TestMain under the race detector
	}
	return floor * *modelScale
}
