// Command ferretdb runs a FerretDB with its SQLite handler for tests, as an
// independent implementation of the MongoDB wire protocol.
//
// FerretDB does not carry out updates atomically: of concurrent ones, some get lost, and
// many at once make it hang for good. So commands are let through one at a time, of all
// connections together. What is tested against it is the behaviour of clients, and never
// a server's own concurrency.
//
// It prints "listening" and its address when it is ready, and ends when its standard
// input does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	dir := flag.String("dir", "", "the directory of the SQLite files; required")
	listen := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	timeout := flag.Duration("timeout", 20*time.Second,
		"how long a command may take before its connection is cut and the next one's turn comes")
	flag.Parse()
	if err := run(*dir, *listen, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

// run serves until the standard input ends.
func run(dir, listen string, timeout time.Duration) error {
	if dir == "" {
		return errors.New("the flag -dir is required")
	}
	// It would report every error that it sends to a client as a warning.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	db, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:    logger,
		Handler:   "sqlite",
		SQLiteURL: "file:" + dir + "/",
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	uri, err := url.Parse(db.MongoDBURI())
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- db.Run(context.Background()) }()
	go func() { failed <- (&turns{target: uri.Host, timeout: timeout}).serve(l) }()
	fmt.Println("listening", l.Addr())

	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("the server has ended: %w", err)
	case err := <-ended:
		return err
	}
}
