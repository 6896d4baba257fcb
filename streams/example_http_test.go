package streams_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/streams"
)

// A page follows the orders of the customer who is logged in.
func ExampleStream_Handler() {
	type order struct {
		Item  string `json:"item"`
		Price int    `json:"price"`
	}
	ctx := context.Background()
	s, err := streams.New[order](memory.NewLog(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close(ctx)

	handler, err := s.Handler(func(r *http.Request) (string, error) {
		customer, _, ok := r.BasicAuth() // in truth, look at the session
		if !ok {
			return "", streams.ErrUnauthorized
		}
		return customer, nil
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /live", handler)
	server := httptest.NewServer(mux)
	defer server.Close()

	get := func(query, accept string) io.ReadCloser {
		r, err := http.NewRequest(http.MethodGet, server.URL+"/live"+query, nil)
		if err != nil {
			panic(err)
		}
		r.SetBasicAuth("ann", "")
		r.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			panic(err)
		}
		return resp.Body
	}

	body := get("?since=0-0&filter=price:>3", "text/event-stream")
	defer body.Close()
	for i, item := range []string{"tea", "milk", "honey"} {
		s.Append("ann", order{item, 2 * (i + 1)})
		s.Append("bob", order{"coffee", 9})
	}
	lines := bufio.NewScanner(body)
	for found := 0; found < 2 && lines.Scan(); {
		if _, data, ok := strings.Cut(lines.Text(), `"data":`); ok {
			fmt.Println("event:", strings.TrimSuffix(data, "}"))
			found++
		}
	}

	// Output:
	// event: {"item":"milk","price":4}
	// event: {"item":"honey","price":6}
}
