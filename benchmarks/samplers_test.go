package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/honeycombio/dynsampler-go"

	"github.com/graphcache/graphcache/internal/emasample"
)

// TestEMASample: what examples compare with, in place of EMASampleRate, chooses the same
// rates as that, request by request. In the bubble its ticker goes by the test's clock.
func TestEMASample(t *testing.T) {
	const keys, intervals, requests = 300, 40, 20_000
	for _, goal := range []int{2, 10, 100} {
		t.Run(fmt.Sprintf("goal %d", goal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				theirs := &dynsampler.EMASampleRate{GoalSampleRate: goal, BurstMultiple: -1} // bursts are left out
				if err := theirs.Start(); err != nil {
					t.Fatal(err)
				}
				defer theirs.Stop()
				ours := emasample.New(goal)
				random := rand.New(rand.NewPCG(uint64(goal), 1))
				var keptTheirs, keptOurs float64
				distinct := map[int]bool{}
				for interval := range intervals {
					zipf := rand.NewZipf(random, 1.1+rand.New(rand.NewPCG(uint64(interval), 2)).Float64(), 1, keys-1)
					n := requests / (1 + interval%4) // more and less of them
					if interval%11 == 10 {
						n = 0
					}
					for range n {
						key := fmt.Sprintf("key %d", (zipf.Uint64()+uint64(interval/8*50))%keys) // some come, others go
						r, o := theirs.GetSampleRate(key), ours.Rate(key)
						if math.Abs(float64(r-o)) > max(1, 0.02*float64(r)) {
							t.Fatalf("interval %d, %s: rate %d, and %d of dynsampler", interval, key, o, r)
						}
						keptTheirs += 1 / float64(r)
						keptOurs += 1 / float64(o)
						distinct[r] = true
					}
					time.Sleep(15 * time.Second) // its default interval
					synctest.Wait()
					ours.Update()
				}
				if math.Abs(keptOurs-keptTheirs) > 0.01*keptTheirs {
					t.Errorf("%.0f requests are kept, and %.0f by dynsampler", keptOurs, keptTheirs)
				}
				if len(distinct) < 5 {
					t.Errorf("only the rates %v: the trace tells little", distinct)
				}
				t.Logf("kept %.1f and %.1f, %d rates", keptOurs, keptTheirs, len(distinct))
			})
		})
	}
}
