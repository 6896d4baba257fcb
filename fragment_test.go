package graphcache

import (
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// TestAcceptRefuses: a cached value that no program writes is no value, whatever its
// checksum says.
func TestAcceptRefuses(t *testing.T) {
	counts := request{op: driver.FindObjects, search: &search{count: true}}
	ordered := request{op: driver.FindObjects, search: &search{order: make([]driver.Order, 2)}}
	plain := request{op: driver.FindObjects, search: &search{}}
	list := func(data []byte) []byte {
		b, _ := appendList(nil, []edge{{far: "a", data: data}}, flagComplete, 0)
		return b
	}
	two := appendValues(nil, []driver.Value{int64(1), "x"})
	for _, tt := range []struct {
		name string
		r    request
		body []byte
		ok   bool
	}{
		{"a count", counts, msgp.AppendInt(nil, 3), true},
		{"a negative count", counts, msgp.AppendInt(nil, -3), false},
		{"a count that is a string", counts, msgp.AppendString(nil, "3"), false},
		{"a count and more", counts, append(msgp.AppendInt(nil, 3), 0), false},
		{"no count", counts, nil, false},
		{"objects with their keys", ordered, list(two), true},
		{"objects without keys", ordered, list(nil), false},
		{"objects with a key too few", ordered, list(appendValues(nil, []driver.Value{"x"})), false},
		{"objects with half a key", ordered, list(two[:len(two)-1]), false},
		{"objects in no order", plain, list(nil), true},
		{"objects in no order with keys", plain, list(two), false},
	} {
		found, err := tt.r.accept(0, tt.body)
		if ok := found == protocol.Whole && err == nil; ok != tt.ok {
			t.Errorf("%s: accepted: %v (%v), want %v", tt.name, ok, err, tt.ok)
		}
	}
}

// TestKeyed: a store's results are taken only with all the values that order them.
func TestKeyed(t *testing.T) {
	r := request{search: &search{order: make([]driver.Order, 1)}}
	for _, tt := range []struct {
		name string
		res  driver.Result
		want bool
	}{
		{"each", driver.Result{IDs: []string{"a", "b"}, Keys: [][]driver.Value{{nil}, {"x"}}}, true},
		{"one missing", driver.Result{IDs: []string{"a", "b"}, Keys: [][]driver.Value{{nil}}}, false},
		{"one short", driver.Result{IDs: []string{"a"}, Keys: [][]driver.Value{{}}}, false},
		{"of rows", driver.Result{Rows: []driver.Row{{ID: "a"}}, Keys: [][]driver.Value{{int64(1)}}}, true},
	} {
		if got := r.keyed(tt.res); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
