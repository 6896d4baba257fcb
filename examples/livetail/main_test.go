package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache/internal/redistest"
)

// start runs the program and returns its address; end interrupts it, and returns its exit code
// and the rest of its output.
func start(t *testing.T, args ...string) (address string, end func() (int, string)) {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	t.Cleanup(interrupt)
	out, in := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, args, in, t.Output())
		in.Close()
	}()
	lines := bufio.NewReader(out)
	address, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: exit code %d", err, <-code)
	}
	return strings.TrimSpace(address), func() (int, string) {
		interrupt()
		rest, err := io.ReadAll(lines)
		if err != nil {
			t.Fatal(err)
		}
		return <-code, string(rest)
	}
}

func get(t *testing.T, url, accept string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// follow reads the messages of a stream until there are so many events.
func follow(t *testing.T, response *http.Response, events int) {
	t.Helper()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	kind, seen := "", 0
	for seen < events && lines.Scan() {
		if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = k
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || kind != "event" {
			continue
		}
		var e struct{ Data event }
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Data.Type == "" || e.Data.User == "" {
			t.Fatalf("%q: %+v, error %v", data, e, err)
		}
		seen++
	}
	if seen < events {
		t.Fatalf("the stream ended after %d events: %v", seen, lines.Err())
	}
}

func testProgram(t *testing.T, args ...string) {
	address, end := start(t, append(args, "-rate", "500")...)
	page := get(t, address, "text/html")
	if page.StatusCode != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("the page: %s, %v", page.Status, page.Header)
	}
	follow(t, get(t, address+"/events", "text/event-stream"), 20)
	follow(t, get(t, address+"/events?customer=globex", "text/event-stream"), 3)
	if r := get(t, address+"/events?customer=nobody", "text/event-stream"); r.StatusCode != http.StatusForbidden {
		t.Errorf("the events of nobody: %s", r.Status)
	}
	waiting := get(t, address+"/events", "text/event-stream") // which must not keep it from ending
	began := time.Now()
	code, rest := end()
	if code != 0 || !strings.Contains(rest, " events made, ") {
		t.Errorf("exit code %d, output %q", code, rest)
	}
	t.Logf("it ended after %v: %s", time.Since(began), rest)
	if _, err := io.Copy(io.Discard, waiting.Body); err != nil {
		t.Errorf("a stream ends with %v", err)
	}
}

func TestMemory(t *testing.T) { testProgram(t) }

func TestRedis(t *testing.T) {
	testProgram(t, "-redis", "redis://"+redistest.Addrs(t)[0])
}

func TestSeconds(t *testing.T) {
	var out strings.Builder
	if code := run(t.Context(), []string{"-seconds", "0.2"}, &out, t.Output()); code != 0 || !strings.Contains(out.String(), " events made, ") {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-rate", "0"}, {"-rate", "NaN"}, {"-seconds", "-1"}, {"-producers", "65"}, {"more"}, {"-unknown"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("%v: exit code %d, want 2", args, code)
		}
	}
	for _, args := range [][]string{{"-addr", "nowhere:x"}, {"-redis", "nonsense"}, {"-redis", "redis://127.0.0.1:1"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 1 {
			t.Errorf("%v: exit code %d, want 1", args, code)
		}
	}
}
