// Sampling replays a trace of requests through five ways of choosing whose logs to keep,
// and shows how much each keeps and of how many keys it shows enough: static sampling with
// the volume of the others, and with their coverage; the first N of every key in each
// process, and in the whole fleet, which is what package samplers does; and dynamic sampling
// by a moving average. Then it tells what the planner makes of such traffic.
//
//	go run ./examples/sampling -zipf 1.3 -processes 32
//	go run ./examples/sampling -trace requests.csv -svg coverage.svg
//	go run ./examples/sampling -redis redis://localhost:6379
//
// A trace has a line "tenant,operation" for each request, or "tenant,operation,lines" or
// "tenant,operation,lines,bytes" with what the request logs. Without one the program makes
// its own from a seed, with tenants and operations by Zipf's law. A trace takes one window,
// and its requests come at equal intervals.
//
// schemes.go has the ways of sampling, shared.go the one with samplers; trace.go reads and
// makes traces; static.go has the mathematics of static sampling. report.go prints, and
// chart.go draws.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// settings are what the flags say.
type settings struct {
	trace        string
	seed         uint64
	requests     int
	tenants, ops int
	zipf         float64
	processes    int
	n, m         int
	q            float64
	window       time.Duration
	interval     time.Duration
	emaGoal      int
	redis, svg   string
	asJSON, plan bool
	stdin        io.Reader
	stdout       io.Writer
}

// maxKeys is the greatest product of tenants and operations: more take the planner minutes.
const maxKeys = 1_000_000

// run is the program. It returns the exit code: 2 if the arguments or the trace make no
// sense, and 1 if something else went wrong.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := settings{stdin: stdin, stdout: stdout}
	flags := flag.NewFlagSet("sampling", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.trace, "trace", "", "replay this `file` of lines tenant,operation[,lines[,bytes]], - for standard input (default: a trace made by -seed)")
	flags.Uint64Var(&s.seed, "seed", 1, "the `number` that all chance comes from")
	flags.IntVar(&s.requests, "requests", 300_000, "make a trace of `n` requests")
	flags.IntVar(&s.tenants, "tenants", 1_000, "from `n` tenants")
	flags.IntVar(&s.ops, "ops", 20, "of `n` operations")
	flags.Float64Var(&s.zipf, "zipf", 1.2, "with Zipf's law of exponent `s` for either")
	flags.IntVar(&s.processes, "processes", 8, "the requests are served by `P` processes")
	flags.IntVar(&s.n, "n", 5, "keep the first `N` requests of a key")
	flags.IntVar(&s.m, "m", 0, "static sampling should show `m` requests of a key (default: N, or as many as the busiest key has)")
	flags.Float64Var(&s.q, "q", .99, "of this `share` of the keys that have so many")
	flags.DurationVar(&s.window, "window", 15*time.Minute, "the window, and the time that the trace takes")
	flags.DurationVar(&s.interval, "ema-interval", 15*time.Second, "the moving average is updated at this `interval`")
	flags.IntVar(&s.emaGoal, "ema-goal", 0, "the moving average aims at keeping one in `n` requests (default: as many as the first N of each key)")
	flags.StringVar(&s.redis, "redis", "", "count in the Redis server at this `URL`, such as redis://localhost:6379 (default: in memory)")
	flags.StringVar(&s.svg, "svg", "", "draw coverage against volume into this `file`")
	flags.BoolVar(&s.plan, "plan", true, "tell what the planner makes of such traffic")
	flags.BoolVar(&s.asJSON, "json", false, "print a JSON object a scheme, each on a line, and nothing else")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "sampling: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	err := s.validate()
	if err == nil {
		err = s.compare(ctx)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "sampling: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// usageError is an error in what the program was given.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func (s *settings) validate() error {
	switch {
	case s.requests < 1 || s.requests > 50_000_000:
		return usagef("-requests %d: from 1 to 50000000", s.requests)
	case s.tenants < 1 || s.ops < 1 || s.tenants > maxKeys/s.ops:
		return usagef("-tenants %d -ops %d: at least 1, and up to %d together, multiplied", s.tenants, s.ops, maxKeys)
	case !(s.zipf >= 0 && s.zipf <= 10):
		return usagef("-zipf %v: from 0 to 10", s.zipf)
	case s.processes < 1 || s.processes > 1024:
		return usagef("-processes %d: from 1 to 1024", s.processes)
	case s.n < 1 || s.n > 1000:
		return usagef("-n %d: from 1 to 1000", s.n)
	case s.m < 0 || s.m > s.n:
		return usagef("-m %d: from 1 to -n, which is %d", s.m, s.n)
	case !(s.q > 0 && s.q < 1):
		return usagef("-q %v: between 0 and 1", s.q)
	case s.window < time.Second || s.window > 24*time.Hour:
		return usagef("-window %v: from 1s to 24h", s.window)
	case s.interval < s.window/1000:
		return usagef("-ema-interval %v: at least a thousandth of -window, %v", s.interval, s.window/1000)
	case s.emaGoal < 0 || s.emaGoal > math.MaxInt32:
		return usagef("-ema-goal %d: from 1", s.emaGoal)
	}
	return nil
}

// compare replays the trace and reports.
func (s *settings) compare(ctx context.Context) error {
	t, err := s.openTrace()
	if err != nil {
		return err
	}
	most := t.mostRequests()
	if s.m > most {
		return usagef("-m %d: the busiest key of the trace has %d requests", s.m, most)
	}
	if s.m == 0 {
		s.m = min(s.n, most)
	}
	r, err := replay(ctx, s, t)
	if err != nil {
		return err
	}
	if s.svg != "" {
		if err := os.WriteFile(s.svg, chart(r), 0o644); err != nil {
			return fmt.Errorf("-svg: %w", err)
		}
	}
	if s.asJSON {
		return r.writeJSON(s.stdout)
	}
	if err := r.writeText(s.stdout); err != nil {
		return err
	}
	if s.plan {
		return writePlan(s.stdout, r)
	}
	return nil
}
