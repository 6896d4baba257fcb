package rollout_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/graphcache/graphcache"
)

// TestVersionsShareTheCache has versions whose structs differ read the same things in turn.
// After a write each of them may read the store once for each thing.
func TestVersionsShareTheCache(t *testing.T) {
	versions := []version{make1("plain", false, nil), makeColored("colored", false, false), makeRenamed("renamed", false, false)}
	reads := []struct {
		name string
		read func(v version, p *process) error
	}{
		{"object", func(v version, p *process) error {
			switch v := v.(type) {
			case *program[plain, linkData]:
				return getP(v, p)
			case *program[colored, linkDataLonger]:
				return getP(v, p)
			case *program[renamed, linkData]:
				return getP(v, p)
			}
			panic("no such version")
		}},
		{"list", func(v version, p *process) error {
			switch v := v.(type) {
			case *program[plain, linkData]:
				return listP(v, p)
			case *program[colored, linkDataLonger]:
				return listP(v, p)
			case *program[renamed, linkData]:
				return listP(v, p)
			}
			panic("no such version")
		}},
	}
	const rounds, turns = 20, 100
	for n := 2; n <= len(versions); n++ {
		for _, tt := range reads {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.endAll()
				var ps []*process
				for _, v := range versions[:n] {
					ps = append(ps, w.open(v))
				}
				total := 0
				for round := range rounds {
					k := versions[0].(*program[plain, linkData])
					if err := k.kind.Put(t.Context(), ps[0].g, &plain{ID: "p", City: words[round%4], Rank: round}); err != nil {
						t.Fatal(err)
					}
					if err := k.link.Add(t.Context(), ps[0].g, "p", "p", linkData{Note: words[round%4]}); err != nil {
						t.Fatal(err)
					}
					for _, p := range ps {
						p.store.Reset()
					}
					for range turns {
						for i, p := range ps {
							if err := tt.read(versions[i], p); err != nil {
								t.Fatal(err)
							}
							if err := p.g.Settle(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
					}
					for _, p := range ps {
						got := p.store.Calls("Read")
						if total += got; got > 1 {
							t.Errorf("%s, %d versions: %s has read the store %d times after one write", tt.name, n, p.name, got)
						}
					}
				}
				t.Logf("%s, %d versions: %d store reads for %d writes and %d reads", tt.name, n, total, rounds, rounds*turns*n)
			})
		}
	}
}

func getP[T, D any](v *program[T, D], p *process) error {
	_, err := v.kind.Get(context.Background(), p.g, "p")
	return err
}

func listP[T, D any](v *program[T, D], p *process) error {
	_, err := v.link.Out(graphcache.ID[T]("p")).Edges(context.Background(), p.g)
	return err
}

// TestVersionsShareSearches has versions that differ in an index and in CacheScans alone
// read under an index that both have: one of them reads the store for both.
func TestVersionsShareSearches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.endAll()
		a, b := w.open(make1("scans and city", true, byCity)), w.open(make1("by city", false, byCity))
		for i := range 20 {
			put(t, a, words[i%4])
			for _, p := range []*process{a, b} {
				p.store.Reset()
			}
			for range 50 {
				search(t, a, words[i%4], false)
				search(t, b, words[i%4], false)
			}
			if n := a.store.Calls("Read") + b.store.Calls("Read"); n > 1 {
				t.Errorf("the store was read %d times after one write for what both have", n)
			}
		}
	})
}
