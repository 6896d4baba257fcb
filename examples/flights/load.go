package main

import (
	"context"
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
)

// See data/SOURCE.md for where it comes from.
//
//go:embed data/*.csv
var data embed.FS

// load fills the graph, and returns how many airports and routes there are. The graph
// checks the data as it goes in: an airport that is there twice is an error, and so is a
// route to one that is not there.
func load(ctx context.Context, g *graphcache.Graph) (airports, routes int, err error) {
	err = eachAirport(func(a *Airport) error {
		airports++
		return Airports.Create(ctx, g, a)
	})
	if err != nil {
		return 0, 0, err
	}
	err = eachRow("data/flights-airport.csv", "origin,destination,count", func(row []string) error {
		leg, err := parseLeg(row)
		if err != nil {
			return err
		}
		created, err := Routes.AddEdge(ctx, g, leg)
		if err == nil && !created {
			err = fmt.Errorf("the route from %s to %s is there twice", leg.From, leg.To)
		}
		routes++
		return err
	})
	return airports, routes, err
}

// readAirports returns the airports of the data set.
func readAirports() (all []*Airport, err error) {
	err = eachAirport(func(a *Airport) error {
		all = append(all, a)
		return nil
	})
	return all, err
}

func eachAirport(fn func(*Airport) error) error {
	return eachRow("data/airports.csv", "iata,name,city,state,country,latitude,longitude", func(row []string) error {
		a, err := parseAirport(row)
		if err != nil {
			return err
		}
		return fn(a)
	})
}

// parseAirport makes an airport of a row. "NA" says that a city or a state is not
// available.
func parseAirport(row []string) (*Airport, error) {
	latitude, err1 := strconv.ParseFloat(row[5], 64)
	longitude, err2 := strconv.ParseFloat(row[6], 64)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	known := func(s string) string {
		if s == "NA" {
			return ""
		}
		return s
	}
	return &Airport{
		ID: graphcache.ID[Airport](row[0]), Name: row[1], City: known(row[2]), State: known(row[3]), Country: row[4],
		Latitude: latitude, Longitude: longitude,
	}, nil
}

// parseLeg makes an edge of a row.
//
// Edge lists are ordered by time, newest first, and the file has no dates. So the
// number of flights takes the place of the time, as seconds since 1970: the list of
// an airport's routes is then one of the busiest first, and Limit keeps the
// busiest. Any number by which a list is to be ordered can be used like this. A query
// can also ask for an order of its own, as the one in survey.go does.
func parseLeg(row []string) (Leg, error) {
	flights, err := strconv.Atoi(row[2])
	return Leg{
		From: graphcache.ID[Airport](row[0]), To: graphcache.ID[Airport](row[1]),
		Time: byFlights(flights), Data: Route{Flights: flights},
	}, err
}

func byFlights(n int) time.Time { return time.Unix(int64(n), 0) }

// eachRow calls fn with the rows of an embedded file, which starts with the header.
func eachRow(name, header string, fn func(row []string) error) error {
	f, err := data.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := csv.NewReader(f)
	want := strings.Split(header, ",")
	if got, err := r.Read(); err != nil || !slices.Equal(got, want) {
		return errors.Join(fmt.Errorf("%s starts with %q, not with %q", name, got, want), err)
	}
	for {
		row, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = fn(row)
		}
		if err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("%s: line %d: %w", name, line, err)
		}
	}
}
