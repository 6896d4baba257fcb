package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/graphcache/graphcache"
)

// survey is the second part of the report: questions about the fields of airports
// and routes, asked like those of the first part: of an empty cache, of a full one,
// and after a write, which here gives an airport another name.
type survey struct {
	origin    *Airport
	state     string
	above     int
	size      int // of a page
	questions []question
	found     []findings // each time that the questions were asked
	oldName   string
	renamed   *Airport
}

// question is what is asked, and how often the store was read for the answer, each
// time that it was asked.
type question struct {
	text       string
	storeReads []int64
	plan       *graphcache.Plan // what Explain said of it, if it was asked
}

// findings are the answers.
type findings struct {
	pages     [][]*Airport                    // the airports of the state, by name
	elsewhere [][]*Airport                    // those of another state
	busy      []graphcache.Pair[Airport, Leg] // the routes from the airport with many flights, fewest first
	city      []*Airport                      // the airports in its city
}

var errUnknownState = errors.New("no airport is in the state")

// byName returns all airports of a state, page by page. A service would send next to
// its client with each page, and be given it back when the client asks for more.
func byName(ctx context.Context, c graphcache.Conn, state string, size int) (pages [][]*Airport, err error) {
	q := inState(state).Limit(size)
	for cursor := ""; ; {
		page, next, err := q.Page(ctx, c, cursor)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
		if next == "" {
			return pages, nil
		}
		cursor = next
	}
}

// inState finds the airports of a state by name, which is what the index ByState has.
func inState(state string) graphcache.Query[Airport, graphcache.NoEdge] {
	return Airports.Where(State.Eq(state)).OrderBy(Name.Asc())
}

// inCity finds the airports of a city. No index begins with the city.
func inCity(city string) graphcache.Query[Airport, graphcache.NoEdge] {
	return Airports.Where(City.Eq(city))
}

// busy returns the routes from an airport that have more flights than above, each
// with the airport that it leads to, fewest flights first.
func busy(ctx context.Context, c graphcache.Conn, from graphcache.ID[Airport], above int) ([]graphcache.Pair[Airport, Leg], error) {
	return Routes.Out(from).WhereEdge(Flights.Gt(above)).OrderByEdge(Flights.Asc()).WithObjects(ctx, c)
}

// conduct makes the survey. Unless a state was asked for, it is that of the origin. The
// airports are those of the data set.
func (s *survey) conduct(ctx context.Context, g *graphcache.Graph, seen *counter, origin *Airport, size int, airports []*Airport) error {
	s.origin, s.size, s.state = origin, size, cmp.Or(s.state, origin.State)
	s.questions = []question{
		{text: fmt.Sprintf("the airports of %s by name", placeName(s.state))},
		{text: fmt.Sprintf("the airports of %s by name", s.otherState())},
		{text: fmt.Sprintf("the routes from %s with more than %d flights", origin.ID, s.above)},
		{text: fmt.Sprintf("the airports in %s", placeName(origin.City))},
	}
	for range 2 {
		if err := s.ask(ctx, g, seen); err != nil {
			return err
		}
	}
	indexed, unindexed := inState(s.state).Limit(s.size).Explain(ctx, g), inCity(origin.City).Explain(ctx, g)
	if err := errors.Join(indexed.Err, unindexed.Err); err != nil {
		return err
	}
	s.questions[0].plan, s.questions[3].plan = &indexed, &unindexed
	if err := s.rename(ctx, g, airports); err != nil {
		return err
	}
	return s.ask(ctx, g, seen)
}

// ask asks the questions and counts what each of them costs.
func (s *survey) ask(ctx context.Context, g *graphcache.Graph, seen *counter) error {
	var f findings
	for i, ask := range []func() error{
		func() (err error) { f.pages, err = byName(ctx, g, s.state, s.size); return err },
		func() (err error) { f.elsewhere, err = byName(ctx, g, s.otherState(), s.size); return err },
		func() (err error) { f.busy, err = busy(ctx, g, s.origin.ID, s.above); return err },
		func() (err error) { f.city, err = inCity(s.origin.City).All(ctx, g); return err },
	} {
		if err := g.Settle(ctx); err != nil {
			return err
		}
		seen.take()
		if err := ask(); err != nil {
			return err
		}
		s.questions[i].storeReads = append(s.questions[i].storeReads, seen.take().StoreReads)
	}
	if len(f.pages[0]) == 0 {
		return fmt.Errorf("%w: %q", errUnknownState, s.state)
	}
	s.found = append(s.found, f)
	return nil
}

// rename gives an airport of the state another name: the one that is the first by name in
// the data set. If an earlier start has done so, it gets the name that it has there.
func (s *survey) rename(ctx context.Context, g *graphcache.Graph, airports []*Airport) (err error) {
	var first *Airport
	for _, a := range airports {
		if a.State == s.state && (first == nil || a.Name < first.Name) {
			first = a
		}
	}
	for _, a := range slices.Concat(s.found[0].pages...) {
		if first != nil && a.ID == first.ID {
			s.oldName = a.Name
		}
	}
	if s.oldName == "" {
		return fmt.Errorf("%w: %q, in the data set", errUnknownState, s.state)
	}
	name := "New " + first.Name
	if s.oldName == name {
		name = first.Name
	}
	s.renamed, err = Airports.Apply(ctx, g, first.ID, Name.Set(name))
	return err
}

// otherState is one that the rename has nothing to do with.
func (s *survey) otherState() string {
	if s.state == "OR" {
		return "WA"
	}
	return "OR"
}

// pageOf returns on which page the airport is, the first being 1.
func pageOf(pages [][]*Airport, id graphcache.ID[Airport]) int {
	for i, page := range pages {
		for _, a := range page {
			if a.ID == id {
				return i + 1
			}
		}
	}
	return 0
}

// placeName is for the few airports of which the state and the city are not known.
func placeName(s string) string { return cmp.Or(s, "an unknown place") }
