package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
)

// store is what keeps the data: memory or MongoDB.
type store interface {
	driver.Store
	driver.Ledger
}

// atOnce is how many records one call of the store writes, and how many routes one reads.
const atOnce = 500

const (
	openTimeout = 5 * time.Second  // for the server to answer for the first time
	copyTimeout = 10 * time.Second // for a call of the store with many records
)

// openStore returns the store at the URL, or one in memory if that is empty.
func openStore(ctx context.Context, url string) (store, error) {
	if url == "" {
		return memory.NewStore(nil), nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	s, err := mongo.Open(ctx, url, &mongo.Options{
		// The names keep clear of what else the database has.
		Collection: "flights_graphcache",
		Objects:    map[string]mongo.ObjectCollection{Airports.Name(): {Name: "flights_airport"}, Loads.Name(): {Name: "flights_load"}},
		Edges:      map[string]mongo.EdgeCollection{Routes.Name(): {Name: "flights_route"}},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Load says that the data set is in the store, all of it.
type Load struct {
	ID       graphcache.ID[Load] `json:"id"`
	Airports int                 `json:"airports"`
	Routes   int                 `json:"routes"`
}

// theLoad is the ID of the only Load.
const theLoad = "2008"

// provide makes sure that the data set is in the store, and returns its Load and how many
// records were missing.
//
// The Load is written last. Where there is none, an earlier start was interrupted or
// another process is at it, and what is missing is added. Records have the same keys
// whoever adds them, and none that is there is written over: two processes that load at
// once end up with one data set.
func provide(ctx context.Context, g *graphcache.Graph, s driver.Store) (there *Load, added int, err error) {
	there, err = Loads.Get(ctx, g, theLoad, graphcache.Fresh)
	if !errors.Is(err, graphcache.ErrNotFound) {
		return there, 0, err
	}
	whole := memory.NewStore(nil)
	if there, err = loadInto(ctx, whole); err != nil {
		return nil, 0, err
	}
	c := copying{from: whole, to: s}
	if err := c.run(ctx); err != nil {
		return nil, c.added, err
	}
	// The graph does not know what was written past it.
	if err := g.InvalidateKind(ctx, Airports, Routes); err != nil {
		return nil, c.added, err
	}
	err = Loads.Create(ctx, g, there)
	if errors.Is(err, graphcache.ErrExists) {
		err = nil // of the other process
	}
	return there, c.added, err
}

// loadInto fills an empty store by a graph of its own, which checks the data.
func loadInto(ctx context.Context, s driver.Store) (_ *Load, err error) {
	g, err := graphcache.Open(ctx, Schema, s, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close(ctx)) }()
	airports, routes, err := load(ctx, g)
	return &Load{ID: theLoad, Airports: airports, Routes: routes}, err
}

// copying adds to a store what another one has and it has not. A graph makes one write of
// the store for each record; where there are thousands and no cache knows any of them
// yet, it is faster to send many at a time.
type copying struct {
	from, to driver.Store
	added    int
}

// run copies the airports before the routes: a route is not there without its ends.
func (c *copying) run(ctx context.Context) error {
	for _, missing := range []func(context.Context) ([]driver.Write, error){c.missingAirports, c.missingRoutes} {
		for complete := false; !complete; {
			writes, err := missing(ctx)
			if err != nil {
				return err
			}
			if complete, err = c.insert(ctx, writes); err != nil {
				return err
			}
		}
	}
	return nil
}

// missingAirports returns the writes that add the airports that are missing.
func (c *copying) missingAirports(ctx context.Context) (writes []driver.Write, err error) {
	all := driver.Step{Op: driver.FindObjects, Kind: Airports.Name()}
	there, err := readOne(ctx, c.to, all)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, id := range there.IDs {
		known[id] = true
	}
	found, err := readOne(ctx, c.from, all)
	if err != nil {
		return nil, err
	}
	ids := slices.DeleteFunc(found.IDs, func(id string) bool { return known[id] })
	missing, err := readOne(ctx, c.from, driver.Step{Op: driver.GetObjects, Kind: all.Kind, IDs: ids})
	for _, o := range missing.Objects {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: all.Kind, Object: o})
	}
	return writes, err
}

// missingRoutes returns the writes that add the routes that are missing.
func (c *copying) missingRoutes(ctx context.Context) (writes []driver.Write, err error) {
	type ends struct{ from, to string }
	known := make(map[ends]bool)
	err = eachEdge(ctx, c.to, Routes.Name(), func(e *driver.Edge) { known[ends{e.From, e.To}] = true })
	if err != nil {
		return nil, err
	}
	err = eachEdge(ctx, c.from, Routes.Name(), func(e *driver.Edge) {
		if !known[ends{e.From, e.To}] {
			writes = append(writes, driver.Write{Op: driver.Insert, Kind: Routes.Name(), Edge: e})
		}
	})
	return writes, err
}

// insert sends the writes, many at a time. It stops, and is not complete, when it meets
// what another process has added meanwhile. It begins anywhere, so that two processes do
// not do the same things one after the other.
func (c *copying) insert(ctx context.Context, writes []driver.Write) (complete bool, err error) {
	begin := rand.IntN(len(writes) + 1)
	for chunk := range slices.Chunk(slices.Concat(writes[begin:], writes[:begin]), atOnce) {
		results, err := write(ctx, c.to, chunk)
		complete = true
		for _, r := range results {
			switch r.Outcome {
			case driver.Done:
				c.added++
			case driver.Exists:
				complete = false
			}
		}
		if err != nil || !complete {
			return false, err
		}
	}
	return true, nil
}

// eachEdge calls fn with all edges of a kind, which belong to it.
func eachEdge(ctx context.Context, s driver.Store, kind string, fn func(*driver.Edge)) error {
	step := driver.Step{Op: driver.ScanEdges, Kind: kind, Range: driver.Range{Limit: atOnce}}
	for {
		found, err := readOne(ctx, s, step)
		if err != nil {
			return err
		}
		edges := found.Lists[0]
		for i := range edges {
			fn(&edges[i])
		}
		if len(edges) < atOnce {
			return nil
		}
		last := edges[len(edges)-1]
		step.IDs = []string{last.From, last.To}
	}
}

func write(ctx context.Context, s driver.Store, writes []driver.Write) ([]driver.WriteResult, error) {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	return s.Write(ctx, writes)
}

// readOne reads a single step.
func readOne(ctx context.Context, s driver.Store, step driver.Step) (driver.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	results, err := s.Read(ctx, []driver.Step{step}, "")
	if err != nil {
		return driver.Result{}, err
	}
	return results[0], nil
}
