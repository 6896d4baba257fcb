package graphcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// TestCreateOutcomes: whoever has let Create choose the ID, and is not told whether the
// object was stored, has the ID to find out. An object that was not stored has none.
func TestCreateOutcomes(t *testing.T) {
	lost := backendtest.Inject(backendtest.On("Write"), backendtest.Fault{Action: backendtest.Fail, Err: graphcache.ErrUnknownOutcome})
	for _, tt := range []struct {
		name       string
		hook       backendtest.Hook
		is         error
		id, stored bool
	}{
		{"stored", nil, nil, true, true},
		{"the reply is lost", backendtest.DropReplies(backendtest.On("Write"), nil), graphcache.ErrUnknownOutcome, true, true},
		{"the write is lost", lost, graphcache.ErrUnknownOutcome, true, false},
		{"refused", backendtest.FailOn(backendtest.On("Write"), nil), graphcache.ErrUnavailable, false, false},
		{"the cache refuses", backendtest.FailOn(backendtest.On("Hold"), nil), graphcache.ErrUnavailable, false, false},
	} {
		for name, create := range map[string]func(context.Context, *fixtureEngine, *fixtureUser) error{
			"Create": func(ctx context.Context, e *fixtureEngine, u *fixtureUser) error {
				return fixtureUsers.Create(ctx, e, u)
			},
			"Put":       func(ctx context.Context, e *fixtureEngine, u *fixtureUser) error { return fixtureUsers.Put(ctx, e, u) },
			"CreateAll": func(ctx context.Context, e *fixtureEngine, u *fixtureUser) error { return e.CreateAll(ctx, u) },
		} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				e := fixtureNew(t)
				if tt.hook != nil {
					e.on(func(c fixtureCall) backendtest.Fault { return tt.hook(c.ctx, c.Call) })
				}
				chosen, given := &fixtureUser{Name: "x"}, &fixtureUser{ID: "ann", Name: "x"}
				for _, u := range []*fixtureUser{chosen, given} {
					if err := create(t.Context(), e, u); !errors.Is(err, tt.is) {
						t.Errorf("%s = %v, want %v", name, err, tt.is)
					}
				}
				if (chosen.ID != "") != tt.id || tt.id && len(chosen.ID) != 26 {
					t.Errorf("the object has the ID %q, want one: %v", chosen.ID, tt.id)
				}
				if given.ID != "ann" {
					t.Errorf("the object that had an ID has the ID %q now", given.ID)
				}
				if (chosen.Version != 0) != (tt.is == nil) {
					t.Errorf("the object has version %d, and the error is %v", chosen.Version, tt.is)
				}
				e.on(nil)
				for _, u := range []*fixtureUser{chosen, given} {
					if u.ID != "" && (e.name(t, u.ID) == "x") != tt.stored {
						t.Errorf("whether %q is stored: %v, want %v", u.ID, !tt.stored, tt.stored)
					}
				}
			})
		}
	}
}
