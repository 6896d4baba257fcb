package graphcache_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

// topUpWorld makes the users; each list is that of its first user, newest first. Those
// in gone are half deleted: their edges are still there.
func topUpWorld(t *testing.T, e *fixtureEngine, lists []string, gone string) {
	t.Helper()
	seen := map[rune]bool{}
	for _, l := range lists {
		for _, id := range l {
			if !seen[id] {
				seen[id] = true
				e.seed(t, []fixtureUserID{fixtureUserID(id)})
			}
		}
	}
	for _, l := range lists {
		for i, to := range l[1:] {
			topUpAdd(t, e, l[:1], string(to), time.UnixMilli(int64(1000-i)))
		}
	}
	for _, id := range gone {
		o := deleteRecord(t, e, string(id))
		o.Deleting = true
		_, err := e.store.Write(t.Context(), []driver.Write{{Op: driver.Replace, Kind: "user", Object: o}})
		fixtureMust(t, err)
		e.cache.Flush()
	}
}

func topUpAdd(t *testing.T, e *fixtureEngine, from, to string, at time.Time) {
	t.Helper()
	_, err := fixtureFollows.AddEdge(t.Context(), e, fixtureEdge{From: fixtureUserID(from), To: fixtureUserID(to), Time: at})
	fixtureMust(t, err)
}

// TestQueryTopUp: where a limit is used up by objects that are being deleted, others
// follow in their place. No edge yields its object twice, and under Distinct no object
// comes twice, though lists grow at their heads while the loop goes on.
func TestQueryTopUp(t *testing.T) {
	type query = graphcache.Query[fixtureUser, fixtureEdge]
	x, y := fixtureUserID("x"), fixtureUserID("y")
	both := graphcache.IDs[fixtureUser]{x, y}
	for _, tt := range []struct {
		name  string
		lists []string
		gone  string
		query query
		add   []string // edges that are added before the second object, at the head of lists
		want  []string
	}{
		{"nothing is gone", []string{"xabc"}, "", fixtureFollows.Out(x).Limit(2), nil, []string{"a", "b"}},
		{"one is gone", []string{"xabcd"}, "b", fixtureFollows.Out(x).Limit(3), nil, []string{"a", "c", "d"}},
		{"the first are gone", []string{"xabcdefg"}, "abc", fixtureFollows.Out(x).Limit(2), nil, []string{"d", "e"}},
		{"more are gone among those that follow", []string{"xabcdefg"}, "bcdf", fixtureFollows.Out(x).Limit(3), nil, []string{"a", "e", "g"}},
		{"there are no others", []string{"xabc"}, "b", fixtureFollows.Out(x).Limit(3), nil, []string{"a", "c"}},
		{"with an offset", []string{"xabcde"}, "c", fixtureFollows.Out(x).Offset(1).Limit(2), nil, []string{"b", "d"}},

		{"one more at the head", []string{"xabcd", "n"}, "b", fixtureFollows.Out(x).Limit(3), []string{"xn"}, []string{"a", "c", "n"}},
		{"two more at the head", []string{"xabcd", "n", "m"}, "b", fixtureFollows.Out(x).Limit(3), []string{"xn", "xm"}, []string{"a", "c", "m"}},
		{"with an offset and one more at the head", []string{"xabcde", "n"}, "c", fixtureFollows.Out(x).Offset(1).Limit(2), []string{"xn"}, []string{"b", "a"}},
		{"an edge that moves to the head", []string{"xabcde"}, "b", fixtureFollows.Out(x).Limit(3), []string{"xc"}, []string{"a", "c", "d"}},
		{"the one that was yielded moves", []string{"xabcde"}, "b", fixtureFollows.Out(x).Limit(3), []string{"xa"}, []string{"a", "c", "d"}},
		{"distinct", []string{"xabcd", "n"}, "b", fixtureFollows.Out(x).Distinct().Limit(3), []string{"xn"}, []string{"a", "c", "n"}},

		{"of several, an object of each", []string{"xabc", "yabd"}, "b", fixtureFollows.Out(both).LimitPer(2).Limit(3), nil, []string{"a", "a"}},
		{"of several, one more in the first", []string{"xab", "yacd", "n"}, "b", fixtureFollows.Out(both).Limit(4), []string{"xn"}, []string{"a", "a", "c", "n"}},
		{"of several, one more in the second", []string{"xab", "yacd", "n"}, "b", fixtureFollows.Out(both).Limit(4), []string{"yn"}, []string{"a", "a", "c", "n"}},
		{"of several, distinct", []string{"xab", "yacd"}, "b", fixtureFollows.Out(both).Distinct().Limit(3), nil, []string{"a", "c", "d"}},
		{"of several, distinct, one more at the head", []string{"xab", "yacd", "n"}, "b", fixtureFollows.Out(both).Distinct().Limit(3), []string{"xn"}, []string{"a", "c", "n"}},
		{"of several, distinct, one that another led to", []string{"xab", "yacd"}, "b", fixtureFollows.Out(both).Distinct().Limit(3), []string{"xc"}, []string{"a", "c", "d"}},
	} {
		for _, fresh := range []graphcache.Freshness{graphcache.Cached, graphcache.Fresh} {
			t.Run(fmt.Sprint(tt.name, ", fresh ", fresh == graphcache.Fresh), func(t *testing.T) {
				e := fixtureNew(t)
				topUpWorld(t, e, append(slices.Clone(tt.lists), "y"), tt.gone)
				var got []string
				for u, err := range execFresh(tt.query, fresh).Iter(t.Context(), e) {
					fixtureMust(t, err)
					if got = append(got, string(u.ID)); len(got) > 1 {
						continue
					}
					for i, edge := range tt.add {
						topUpAdd(t, e, edge[:1], edge[1:], time.UnixMilli(int64(2000+i)))
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("the objects that the loop was given (-want +got):\n%s", diff)
				}
			})
		}
	}
}
