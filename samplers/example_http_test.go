package samplers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

// A server logs the first request of each customer and route, and all that fail.
func ExampleSampler_Middleware() {
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{FirstN: 1, Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close(context.Background())
	logger := slog.New(samplers.NewHandler(slog.NewTextHandler(os.Stdout, withoutTime), &samplers.HandlerOptions{
		Upgrade: &samplers.UpgradeOptions{},
	}))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		logger.InfoContext(r.Context(), "order", "id", r.PathValue("id"))
		if r.PathValue("id") == "3" {
			http.Error(w, "no stock", http.StatusInternalServerError)
		}
	})
	tenant := func(r *http.Request) string { return r.Header.Get("Tenant") }
	server := httptest.NewServer(s.Middleware(samplers.PatternKey(mux, tenant), nil)(mux))
	defer server.Close()

	for _, path := range []string{"/orders/1", "/orders/2", "/orders/3"} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	// Output:
	// level=INFO msg=order id=1 sample.weight=1 sample.reason=first
	// level=INFO msg=order id=3 sample.weight=1 sample.reason=upgraded
}

// A service that others call keeps the requests that they keep.
func ExampleTransport() {
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{FirstN: 1, Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close(context.Background())
	key := func(r *http.Request) samplers.Key { return samplers.Key{Op: r.Host} }

	trusting := s.Middleware(key, &samplers.MiddlewareOptions{TrustIncoming: true})
	stock := httptest.NewServer(trusting(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		d, _ := samplers.FromContext(r.Context())
		fmt.Println("the stock is asked:", d.Reason)
	})))
	defer stock.Close()

	client := &http.Client{Transport: samplers.Transport(nil)}
	shop := httptest.NewServer(s.Middleware(key, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, stock.URL, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		resp, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		resp.Body.Close()
	})))
	defer shop.Close()

	for range 2 {
		resp, err := http.Get(shop.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	// Output:
	// the stock is asked: first
	// the stock is asked: throttled
}
