package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/viccon/sturdyc"

	"github.com/graphcache/graphcache"
)

// search is what a query for users asks for. No cities are all of them.
type search struct {
	Cities   []string
	Name     string
	Email    string
	Active   *bool
	MinScore int
	Since    time.Time
	Limit    int
}

var (
	graphCity    = graphcache.StringFieldOf(graphUsers, func(u *graphUser) *string { return &u.City })
	graphEmail   = graphcache.StringFieldOf(graphUsers, func(u *graphUser) *string { return &u.Email })
	graphScore   = graphcache.OrderedFieldOf(graphUsers, func(u *graphUser) *int { return &u.Score })
	graphActive  = graphcache.FieldOf(graphUsers, func(u *graphUser) *bool { return &u.Active })
	graphCreated = graphcache.OrderedFieldOf(graphUsers, func(u *graphUser) *time.Time { return &u.Created })
)

// graphKey is the key that graphcache has for the search.
func (s *search) graphKey() (string, error) {
	where := make([]graphcache.Predicate[graphUser], 0, 6)
	if len(s.Cities) > 0 {
		where = append(where, graphCity.In(s.Cities...))
	}
	where = append(where, graphName.Eq(s.Name), graphEmail.Eq(s.Email), graphScore.Ge(s.MinScore), graphCreated.Ge(s.Since))
	if s.Active != nil {
		where = append(where, graphActive.Eq(*s.Active))
	}
	return graphUsers.Where(where...).Limit(s.Limit).Key()
}

// printedKey is a key as it is commonly written.
func (s *search) printedKey() (string, error) {
	active := "any"
	if s.Active != nil {
		active = fmt.Sprint(*s.Active)
	}
	return fmt.Sprintf("users:%s:%s:%s:%s:%d:%s:%d", strings.Join(s.Cities, ","), s.Name, s.Email, active, s.MinScore, s.Since.Format(time.RFC3339), s.Limit), nil
}

// searchPair is two searches, which ask for the same or not.
type searchPair struct {
	a, b search
	same bool
}

func searchPairs() []searchPair {
	no := false
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	elsewhere := noon.In(time.FixedZone("", 2*60*60))
	return []searchPair{
		{search{Name: "a-b", Email: "c"}, search{Name: "a", Email: "b-c"}, false},
		{search{Name: "a:b", Email: "c"}, search{Name: "a", Email: "b:c"}, false},
		{search{Cities: []string{"a,b"}}, search{Cities: []string{"a", "b"}}, false},
		{search{Cities: []string{}}, search{Cities: []string{"empty"}}, false},
		{search{Cities: []string{}}, search{Cities: []string{""}}, false},
		{search{}, search{Active: &no}, false},
		{search{Since: noon}, search{Since: noon.Add(time.Millisecond)}, false},
		{search{Limit: 1}, search{Limit: 2}, false},
		{search{Cities: []string{"a", "b"}}, search{Cities: []string{"b", "a"}}, true},
		{search{Cities: []string{"a", "b"}}, search{Cities: []string{"a", "b", "a"}}, true},
		{search{Since: noon}, search{Since: elsewhere}, true},
		{search{Cities: nil}, search{Cities: []string{}}, true},
	}
}

// peerKeys compares ways of making the key of a query.
func peerKeys(_ context.Context, s settings) ([]table, error) {
	pairs := searchPairs()
	different := 0
	for _, p := range pairs {
		if !p.same {
			different++
		}
	}
	t := table{
		Title: "Peers: the key of a query",
		Columns: []string{"way", "ns", "times Sprintf", "allocations", "bytes", fmt.Sprintf("collisions, of %d pairs", different),
			fmt.Sprintf("same search, other key, of %d pairs", len(pairs)-different)},
		Note: "A search by two cities, a name, an address, a flag, a score and a time. That of graphcache has the building of the query in it. A collision is one key for two " +
			"searches that ask for different things, the answer to one of which is then given to the other; pairs are such that a library's separators, its names for what is " +
			"absent, or a time's precision may confuse them. Two keys for one search only cost a miss.",
	}
	client := sturdyc.New[any](10, 1, time.Hour, 10)
	yes := true
	one := &search{
		Cities: []string{"oslo", "rome"}, Name: "somebody", Email: "somebody@example.com", Active: &yes, MinScore: 1000,
		Since: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), Limit: 20,
	}
	makers := []struct {
		name string
		key  func(*search) (string, error)
	}{
		{"graphcache Query.Key", (*search).graphKey},
		{"sturdyc PermutatedKey", func(s *search) (string, error) { return client.PermutatedKey("users", s), nil }},
		{"fmt.Sprintf", (*search).printedKey},
	}
	var ways []way
	var judged [][2]int
	for _, m := range makers {
		var wrong, needless int
		for _, p := range pairs {
			a, err := m.key(&p.a)
			if err != nil {
				return nil, err
			}
			b, err := m.key(&p.b)
			if err != nil {
				return nil, err
			}
			switch {
			case !p.same && a == b:
				wrong++
			case p.same && a != b:
				needless++
			}
		}
		judged = append(judged, [2]int{wrong, needless})
		ways = append(ways, way{name: m.name, op: func(int) error {
			_, err := m.key(one)
			return err
		}})
	}
	turns, err := s.compare(ways, 1)
	if err != nil {
		return nil, err
	}
	for i, w := range ways {
		t.add(w.name, fmt.Sprintf("%.0f", median(turns[i], turn.each)), cost(turns[i], turns[len(ways)-1]).String(), allocs(turns[i]), bytes(turns[i]),
			fmt.Sprint(judged[i][0]), fmt.Sprint(judged[i][1]))
	}
	return []table{t}, nil
}
