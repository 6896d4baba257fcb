// Livetail shows what customers do as it happens: producers make up the events of a product's
// customers, a stream keeps the newest of each customer and counts all, and a page shows
// them live.
//
//	go run ./examples/livetail
//	go run ./examples/livetail -redis redis://localhost:6379 -rate 5000
//
// Open the address that it prints. Each customer has a page of its own, for instance
// /?customer=acme. With -redis several of these programs may run at once and show what all of
// them make up.
//
// events.go makes the events, server.go has the page and who may see what.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are what the flags say.
type settings struct {
	addr      string
	redis     string
	seconds   float64
	rate      float64
	producers int
	seed      uint64
}

// run returns the program's exit code: 2 for flags that make no sense.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if err != nil {
		return 2
	}
	if err := s.serve(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "livetail:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	f := flag.NewFlagSet("livetail", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.addr, "addr", "127.0.0.1:0", "`address` to serve on; port 0 is any that is free")
	f.StringVar(&s.redis, "redis", "", "`URL` of the Redis that has the streams; without it they are in memory")
	f.Float64Var(&s.seconds, "seconds", 0, "end after so many seconds; 0 is never")
	f.Float64Var(&s.rate, "rate", 20, "events a second, of all customers together, up to 1,000,000")
	f.IntVar(&s.producers, "producers", 2, "goroutines that make events, up to 64")
	f.Uint64Var(&s.seed, "seed", 1, "of the events")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case !(s.seconds >= 0 && s.seconds < 1e9):
		err = fmt.Errorf("-seconds is %v: 0 or more", s.seconds)
	case !(s.rate > 0 && s.rate <= 1e6):
		err = fmt.Errorf("-rate is %v: above 0, up to 1,000,000", s.rate)
	case s.producers < 1 || s.producers > 64:
		err = fmt.Errorf("-producers is %d: from 1 to 64", s.producers)
	}
	if err != nil {
		fmt.Fprintln(stderr, "livetail:", err)
	}
	return s, err
}

// closeTimeout is how long what was not sent yet may take at the end.
const closeTimeout = 5 * time.Second

// serve runs everything until ctx ends or the time is up.
func (s *settings) serve(ctx context.Context, stdout io.Writer) (err error) {
	if s.seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.seconds*float64(time.Second)))
		defer cancel()
	}
	last := func(name string, end func(context.Context) error) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if failed := end(limited); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, failed))
		}
	}
	log, err := s.openLog(ctx)
	if err != nil {
		return err
	}
	defer last("close the log", log.Close)
	stream, err := streams.New(log, &streams.Options[event]{
		Name:   "livetail",
		Type:   func(e *event) string { return e.Type },
		Member: func(e *event) string { return e.User },
	})
	if err != nil {
		return err
	}
	defer last("close the stream", stream.Close)
	handler, err := newHandler(stream)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ctx, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	produced := produce(ctx, s, stream)
	select {
	case err = <-failed:
		end()
	case <-ctx.Done():
		last("end the server", server.Shutdown) // those who follow have ended with ctx
	}
	total := <-produced
	last("send the last events", stream.Flush)
	st := stream.Stats()
	fmt.Fprintf(stdout, "%d events made, %d sent, of which %d could still be seen\n", total, st.Sent, st.Entries)
	return err
}

// openLog returns what has the streams.
func (s *settings) openLog(ctx context.Context) (driver.Log, error) {
	if s.redis == "" {
		return memory.NewLog(nil), nil
	}
	backend, err := redis.Open(ctx, s.redis, nil)
	if err != nil {
		return nil, err
	}
	log := backend.Log()
	if _, err := log.Heads(ctx, []string{"livetail"}); err != nil {
		return nil, errors.Join(fmt.Errorf("-redis: the server does not answer: %w", err), log.Close(ctx))
	}
	return log, nil
}
