// Command benchmarks compares graphcache over Redis with other ways of doing the same
// job, in tables: what a hit costs, a miss and a write, in time, in allocations and in
// the server's processor time and memory; how often the store is asked; what a decision
// of a sampler costs; and what an event of a stream costs.
//
// It starts a redis-server of its own. Ways that are compared take turns within one run,
// in rounds, so that what else the machine does meets all of them, and what is reported
// is the median of the rounds' ratios.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"time"
)

// settings are those of a run.
type settings struct {
	rounds int
	turn   time.Duration // of one way in one round
	addr   string        // of the server
	short  bool          // only to show that everything works
}

// experiments are what is measured, in this order.
var experiments = []struct {
	name string
	run  func(ctx context.Context, s settings) ([]table, error)
}{
	{"hits", hits},
	{"hop", hop},
	{"overhead", overhead},
	{"costs", costs},
	{"processor", processor},
	{"memory", memoryUse},
	{"writes", contention},
	{"stampede", stampede},
	{"outage", outage},
	{"samplers", decisions},
	{"streams", streaming},
	{"channels", channels},
	{"peers", peers},
	{"peers-keys", peerKeys},
	{"peers-lines", peerLines},
	{"peers-build", peerBuilds},
}

func main() {
	rounds := flag.Int("rounds", 9, "how many `rounds` are measured")
	turn := flag.Duration("turn", 300*time.Millisecond, "how long one way is measured in one round")
	asJSON := flag.Bool("json", false, "print JSON in place of Markdown")
	only := flag.String("run", "", "a regular `expression`: only the experiments whose names match")
	results := flag.String("results", "", "run everything, and the load of TAO, and write a report to this `file`")
	short := flag.Bool("short", false, "with -results: a run that only shows that it works")
	flag.Parse()
	if *results != "" {
		if err := writeResults(context.Background(), *results, *only, *short); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(context.Background(), settings{rounds: *rounds, turn: *turn}, *only, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, only string, asJSON bool) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if s.rounds < 1 || s.turn <= 0 {
		return fmt.Errorf("%d rounds of %v: at least one, and some time", s.rounds, s.turn)
	}
	return withServer(func(addr string) error {
		s.addr = addr
		var all []table
		for _, e := range experiments {
			if !chosen.MatchString(e.name) {
				continue
			}
			tables, err := e.run(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			all = append(all, tables...)
			for i := range tables {
				if !asJSON {
					fmt.Println(tables[i].markdown())
				}
			}
		}
		if asJSON {
			out := json.NewEncoder(os.Stdout)
			out.SetIndent("", "\t")
			return out.Encode(all)
		}
		fmt.Printf("%d rounds, %v a turn; %s, %d processors.\n", s.rounds, s.turn, runtime.Version(), runtime.NumCPU())
		return nil
	})
}
