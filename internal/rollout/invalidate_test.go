package rollout_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// foreign writes the object p as something else than graphcache does.
func (w *world) foreign(city string) {
	w.t.Helper()
	results, err := w.store.Write(w.t.Context(), []driver.Write{{
		Op: driver.Replace, Kind: "part",
		Object: &driver.Object{ID: "p", Version: time.Now().UnixNano(), Doc: driver.Document{
			{Name: "city", Value: city}, {Name: "rank", Value: int64(0)}, {Name: "note", Value: ""},
		}},
	}})
	if err != nil || results[0].Outcome != driver.Done {
		w.t.Fatalf("a foreign write: %+v, %v", results, err)
	}
}

// TestInvalidate has the old version invalidate what the new one caches.
func TestInvalidate(t *testing.T) {
	for _, tt := range news {
		for _, blind := range []bool{false, true} {
			name := tt.name
			if blind {
				name += ", the old version has not looked for long"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					defer w.endAll()
					old := w.open(make1("plain", false, nil))
					put(t, old, "a")
					if blind {
						old.store.SetHook(backendtest.FailOn(backendtest.On("Look"), nil))
					}
					p := w.open(tt.make())
					readyWithin(t, p, 2*time.Minute)
					right(t, p)
					w.foreign("b")
					if blind {
						old.store.SetHook(nil)
					}
					ref := old.v.(*program[plain, linkData]).kind.Ref("p", &plain{ID: "p", City: "a"})
					if err := old.g.Invalidate(t.Context(), ref); err != nil {
						t.Fatal(err)
					}
					right(t, p)
				})
			})
		}
	}
}
