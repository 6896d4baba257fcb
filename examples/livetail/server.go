package main

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/graphcache/graphcache/streams"
	"github.com/graphcache/graphcache/streams/console"
)

// newHandler returns the page and the events that it shows.
func newHandler(stream *streams.Stream[event]) (http.Handler, error) {
	events, err := stream.Handler(customerOf, nil)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", events)
	mux.Handle("/", console.Handler(&console.Options{Title: "Live events"}))
	return mux, nil
}

var errUnknownCustomer = errors.New("no such customer")

// customerOf says whose events a request may see. A real service takes the customer from the
// session of whoever asks, and never from the URL.
func customerOf(r *http.Request) (string, error) {
	customer := cmp.Or(r.URL.Query().Get("customer"), customers[0])
	if !slices.Contains(customers, customer) {
		return "", errUnknownCustomer
	}
	return customer, nil
}
