// Flights loads airports and the flights between them into a graph in memory, asks
// it a few questions about one airport and the state that it is in, and shows how
// much of the work the cache takes off the store. The cache is in memory too, or in a
// Redis server; the answers and the figures are the same.
//
//	go run ./examples/flights -from SEA -limit 5
//	go run ./examples/flights -state OR -above 500
//	go run ./examples/flights -cache redis://localhost:6379
//
// With MongoDB as the store the data are loaded once, and later starts find them there:
//
//	go run ./examples/flights -store mongodb://localhost:27017/test -cache redis://localhost:6379
//
// Several processes on one store must share a cache as well, or each of them would not
// see for a while what the others write. The program leaves a write behind to show that
// they do: it gives an airport another name, and at the next start the old one again.
// All that it has in the database is in the collections whose names start with flights_.
//
// The kinds are declared in this file, and so are the queries that follow edges;
// survey.go has those that ask for fields. load.go fills the graph, and store.go a
// database; counting.go watches the backends, report.go prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// Airport is an object. Its ID is the code that everybody knows it by.
type Airport struct {
	ID        graphcache.ID[Airport] `json:"iata"`
	Name      string                 `json:"name"`
	City      string                 `json:"city"`
	State     string                 `json:"state"`
	Country   string                 `json:"country"`
	Latitude  float64                `json:"latitude"`
	Longitude float64                `json:"longitude"`
}

// Route is the data of an edge from one airport to another.
type Route struct {
	Flights int `json:"flights"`
}

// Leg is a route with its two ends.
type Leg = graphcache.Edge[Airport, Airport, Route]

var (
	Airports = graphcache.NewObjectKind[Airport]("airport")
	Routes   = graphcache.NewEdgeKind[Route]("route", Airports, Airports)
	Loads    = graphcache.NewObjectKind[Load]("load")

	// Queries can ask for these fields.
	Name    = graphcache.StringFieldOf(Airports, func(a *Airport) *string { return &a.Name })
	City    = graphcache.StringFieldOf(Airports, func(a *Airport) *string { return &a.City })
	State   = graphcache.StringFieldOf(Airports, func(a *Airport) *string { return &a.State })
	Flights = graphcache.OrderedFieldOf(Routes, func(l *Leg) *int { return &l.Data.Flights })

	// ByState finds the airports of a state, and has them in the order of their names.
	ByState = graphcache.NewIndex("by_state", Airports, State, Name)

	Schema = graphcache.NewSchema(Airports, Routes, ByState, Loads)
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. It returns the exit code: 2 if the arguments make no sense, and 1 if
// something else went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("flights", flag.ContinueOnError)
	flags.SetOutput(stderr)
	from := flags.String("from", "SEA", "the `airport` to ask about")
	limit := flags.Int("limit", 5, "list at most `n` routes, and so many airports a page")
	state := flags.String("state", "", "the `state` whose airports to list (default: the one that the airport is in)")
	above := flags.Int("above", 5000, "list the routes from the airport with more than `n` flights")
	storeURL := flags.String("store", "", "keep the data in the MongoDB database at this `URL`, such as mongodb://localhost:27017/test; several processes need -cache, too (default: in memory)")
	cacheURL := flags.String("cache", "", "keep cached values in the Redis server at this `URL`, such as redis://localhost:6379 (default: in memory)")
	asJSON := flags.Bool("json", false, "print one JSON object")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "flights: unexpected argument %q\n", flags.Arg(0))
		return 2
	case *limit < 1:
		fmt.Fprintf(stderr, "flights: -limit %d: at least 1\n", *limit)
		return 2
	case *above < 0:
		fmt.Fprintf(stderr, "flights: -above %d: at least 0\n", *above)
		return 2
	}

	cache, err := openCache(ctx, *cacheURL)
	if err != nil {
		fmt.Fprintf(stderr, "flights: -cache: %v\n", err)
		return 2
	}
	store, err := openStore(ctx, *storeURL)
	if err != nil {
		err = errors.Join(err, cache.Close(ctx))
		if errors.Is(err, graphcache.ErrUnavailable) {
			fmt.Fprintf(stderr, "flights: -store: the database does not answer: %v\n", err)
			return 1
		}
		fmt.Fprintf(stderr, "flights: -store: %v\n", err)
		return 2
	}
	x := exploration{
		store: store, durable: *storeURL != "", cache: cache, sharedCache: *cacheURL != "",
		from: graphcache.ID[Airport](*from), limit: *limit, survey: survey{state: *state, above: *above},
	}
	r, err := x.run(ctx)
	if err == nil && *asJSON {
		err = r.writeJSON(stdout)
	} else if err == nil {
		err = r.writeText(stdout)
	}
	switch {
	case errors.Is(err, errUnknownAirport), errors.Is(err, errUnknownState):
		fmt.Fprintf(stderr, "flights: %v; the codes are in upper case, like SEA and WA\n", err)
		return 2
	case errors.Is(err, graphcache.ErrUnavailable) && x.durable:
		fmt.Fprintf(stderr, "flights: a server does not answer: %v\n", err)
		return 1
	case errors.Is(err, graphcache.ErrUnavailable) && x.sharedCache:
		fmt.Fprintf(stderr, "flights: the cache cannot be reached, and without it nothing is written: %v\n", err)
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "flights: %v\n", err)
		return 1
	}
	return 0
}

// openCache returns the cache at the URL, or one in memory if that is empty.
func openCache(ctx context.Context, url string) (driver.Cache, error) {
	if url == "" {
		return memory.NewCache(nil), nil
	}
	backend, err := redis.Open(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	return backend.Cache(), nil
}

// exploration is what the program does, once it has its backends.
type exploration struct {
	store                store
	durable, sharedCache bool // the store or the cache outlives the program
	cache                driver.Cache
	from                 graphcache.ID[Airport]
	limit                int
	survey               survey
}

// run opens a graph, sees to it that the data are there, and asks the same questions
// three times: at first, again, and after a write. Then it makes the survey. It closes the
// backends.
func (x *exploration) run(ctx context.Context) (_ *report, err error) {
	var seen counter
	store := countingStore{x.store, &seen}
	cache := countingCache{x.cache, &seen}
	end := context.WithoutCancel(ctx) // an interrupted program closes things too
	defer func() { err = errors.Join(err, cache.Close(end), store.Close(end)) }()
	// The time-out is long so that the figures do not depend on how busy the machine is.
	g, err := graphcache.Open(ctx, Schema, store, &graphcache.Options{Cache: cache, ReadTimeout: time.Second})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close(end)) }()

	airports, err := readAirports()
	if err != nil {
		return nil, err
	}
	r := &report{survey: x.survey}
	if x.durable {
		err = r.provide(ctx, g, store)
		r.warm = err == nil && x.sharedCache && r.store.Added == 0
	} else {
		r.airports, r.routes, err = load(ctx, g)
	}
	if err != nil {
		return nil, err
	}
	for _, run := range []string{"first", "again"} {
		if err := r.ask(ctx, g, &seen, run, x.from, x.limit); err != nil {
			return nil, err
		}
	}
	if err := r.addRoute(ctx, g, airports); err != nil {
		return nil, err
	}
	if x.durable { // the next start is to find what this one did
		defer func() { err = errors.Join(err, r.removeRoute(end, g)) }()
	}
	if err := r.ask(ctx, g, &seen, "after the write", x.from, x.limit); err != nil {
		return nil, err
	}
	return r, r.survey.conduct(ctx, g, &seen, r.runs[0].origin, x.limit, airports)
}

// provide is for a store that may have the data already.
func (r *report) provide(ctx context.Context, g *graphcache.Graph, s countingStore) error {
	there, added, err := provide(ctx, g, s)
	if err != nil {
		return err
	}
	r.airports, r.routes = there.Airports, there.Routes
	r.store = &storeReport{added, s.seen.storeWrites.Load(), s.seen.take().StoreReads}
	return nil
}

// addRoute adds a route from the airport to the first one that is out of its reach.
func (r *report) addRoute(ctx context.Context, g *graphcache.Graph, airports []*Airport) error {
	to, err := r.outOfReach(airports)
	if err != nil {
		return err
	}
	const daily = 366 // the flights are those of 2008, a leap year
	r.added = Leg{From: r.runs[0].origin.ID, To: to, Time: byFlights(daily), Data: Route{Flights: daily}}
	_, err = Routes.AddEdge(ctx, g, r.added)
	return err
}

// removeRoute removes the route that was added, unless another process has.
func (r *report) removeRoute(ctx context.Context, g *graphcache.Graph) error {
	err := Routes.Remove(ctx, g, r.added.From, r.added.To)
	if errors.Is(err, graphcache.ErrNotFound) {
		return nil
	}
	return err
}

// ask runs the queries and adds a run to the report.
func (r *report) ask(ctx context.Context, g *graphcache.Graph, seen *counter, name string, from graphcache.ID[Airport], limit int) error {
	// Values that were read from the store go into the cache in the background.
	// A service does not wait for that; who counts should.
	if err := g.Settle(ctx); err != nil {
		return err
	}
	seen.take()
	a, err := query(ctx, g, from, limit)
	if err != nil {
		return err
	}
	r.runs = append(r.runs, runReport{name, a, seen.take()})
	return nil
}

// outOfReach returns the first airport that is more than two flights away.
func (r *report) outOfReach(airports []*Airport) (graphcache.ID[Airport], error) {
	found := r.runs[0].answers
	for _, a := range airports {
		if a.ID != found.origin.ID && !found.withinTwo[a.ID] {
			return a.ID, nil
		}
	}
	return "", fmt.Errorf("every airport is within two flights of %s", found.origin.ID)
}

// answers is what the program asks about an airport.
type answers struct {
	origin    *Airport
	outbound  []Leg                               // the routes with the most flights, most first
	inbound   []Leg                               // likewise
	ends      map[graphcache.ID[Airport]]*Airport // the airports that these come from and lead to
	direct    int                                 // how many airports a single flight leads to
	withinTwo map[graphcache.ID[Airport]]bool
}

var errUnknownAirport = errors.New("no such airport")

// query asks the questions. Nothing in it knows of the cache.
func query(ctx context.Context, c graphcache.Conn, from graphcache.ID[Airport], limit int) (a answers, err error) {
	a.origin, err = Airports.Get(ctx, c, from)
	switch {
	case errors.Is(err, graphcache.ErrNotFound), errors.Is(err, graphcache.ErrInvalid):
		return a, fmt.Errorf("%w: %q", errUnknownAirport, string(from))
	case err != nil:
		return a, err
	}

	// A query is a value: this one is the start of four others.
	out := Routes.Out(from)
	if a.outbound, err = out.Limit(limit).Edges(ctx, c); err != nil {
		return a, err
	}
	if a.direct, err = out.Count(ctx, c); err != nil {
		return a, err
	}
	if a.inbound, err = Routes.In(from).Limit(limit).Edges(ctx, c); err != nil {
		return a, err
	}

	// Edges come without the objects at their ends; one batch reads those.
	var ends []graphcache.ID[Airport]
	for _, leg := range a.outbound {
		ends = append(ends, leg.To)
	}
	for _, leg := range a.inbound {
		ends = append(ends, leg.From)
	}
	if a.ends, err = Airports.GetMany(ctx, c, ends); err != nil {
		return a, err
	}

	// A query can start from another. Two flights may lead back to the origin,
	// and to where one flight leads as well.
	one, err := out.IDs(ctx, c)
	if err != nil {
		return a, err
	}
	two, err := Routes.Out(out).IDs(ctx, c)
	if err != nil {
		return a, err
	}
	a.withinTwo = map[graphcache.ID[Airport]]bool{}
	for _, id := range append(one, two...) {
		a.withinTwo[id] = true
	}
	delete(a.withinTwo, from)
	return a, nil
}
