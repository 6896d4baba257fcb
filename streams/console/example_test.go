package console_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/streams"
	"github.com/graphcache/graphcache/streams/console"
)

type order struct {
	Customer string `json:"customer"`
	Amount   int    `json:"amount"`
}

// Each customer has a page of the customer's own orders.
func ExampleHandler() {
	orders, err := streams.New(memory.NewLog(nil), &streams.Options[order]{
		Member: func(o *order) string { return o.Customer },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer orders.Close(context.Background())

	events, err := orders.Handler(func(r *http.Request) (string, error) {
		customer, _, ok := r.BasicAuth() // whatever says who it is
		if !ok {
			return "", streams.ErrUnauthorized
		}
		return customer, nil
	}, nil)
	if err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle("/orders/live/events", events)
	mux.Handle("/orders/live/", console.Handler(&console.Options{Title: "Your orders"}))

	for _, path := range []string{"/orders/live/", "/orders/live/events"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(path, w.Code)
	}
	// Output:
	// /orders/live/ 200
	// /orders/live/events 401
}
