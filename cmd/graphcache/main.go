// Graphcache looks after a database and a cache that programs use through graphcache. It
// needs neither their code nor their types.
//
//	go run github.com/graphcache/graphcache/cmd/graphcache check -store mongodb://localhost:27017/app -cache redis://localhost:6379
//
// The command check compares what is cached with the database, and reports stale, lost,
// foreign and corrupt values with their keys: see graphcache.CheckCache. It changes
// nothing that is there, and by default looks at no more than 1,000 values in a second,
// so it may be run in production. It exits with 0 if nothing is wrong, with 1 if it has found something,
// and with 2 if it could not look at everything that was asked for.
//
// What it knows of the kinds, programs have registered in the database; of those that no
// program has opened in the last seven days it knows nothing. Kinds whose collections do
// not have the names that graphcache gives them must be described in a file: see the flag
// -mongo and the type settings.
//
// URLs may have passwords in them. To keep these from those who see the processes of a
// machine, leave the flags out and set GRAPHCACHE_STORE and GRAPHCACHE_CACHE. Neither
// messages nor reports repeat them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes.
const (
	clean    = 0
	findings = 1
	failed   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `usage: graphcache check [flags]

check compares what is cached with the database. For its flags: graphcache check -h
`

// run is main without the process.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) (code int) {
	if len(args) == 0 || args[0] != "check" {
		fmt.Fprint(stderr, usage)
		return failed
	}
	c := checkCommand{stdout: stdout, stderr: stderr}
	switch err := c.parse(args[1:], env); {
	case errors.Is(err, flag.ErrHelp):
		return clean
	case errors.Is(err, errFlags): // which have been explained
		return failed
	case err != nil:
		fmt.Fprintf(stderr, "graphcache: %v\n", err)
		return failed
	}
	found, err := c.run(ctx)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "graphcache: %v\n", err)
		return failed
	case found:
		return findings
	}
	return clean
}
