// Command cost reckons what a billion reads of a graph cost, read from the store and by way of
// caches. It reads the lines that cmd/tao -json has printed, and takes prices and sizes
// as flags; docs/cost.md has its output.
//
//	go run ./cmd/tao -json >tao.jsonl
//	go run ./cmd/cost -reads-per-second 5000 -unit-price 1.25 <tao.jsonl
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/graphcache/graphcache/benchmarks/internal/cost"
)

func main() {
	in := cost.Default
	flag.Float64Var(&in.UnitPrice, "unit-price", in.UnitPrice, "the `price` of a million read units of the store")
	flag.Float64Var(&in.UnitsPerItem, "units-per-item", in.UnitsPerItem, "read `units` of one object, list, count or edge")
	flag.Float64Var(&in.StoreCPU, "store-cpu", in.StoreCPU, "processor time of the store for an item, in `µs`, for a store whose processors are paid for; then -unit-price 0")
	flag.Float64Var(&in.GiBHour, "gib-hour", in.GiBHour, "the `price` of a GiB of memory for an hour")
	flag.Float64Var(&in.CPUHour, "cpu-hour", in.CPUHour, "the `price` of a processor for an hour")
	flag.Float64Var(&in.Reads, "reads-per-second", in.Reads, "`reads` a second of the whole program, on the average of all hours that are paid")
	flag.Float64Var(&in.Objects, "objects", in.Objects, "how `many` objects the graph has: the memory measured is scaled to it")
	flag.Float64Var(&in.Replicas, "replicas", in.Replicas, "`copies` of Redis's memory, the first included")
	flag.Float64Var(&in.Utilisation, "utilisation", in.Utilisation, "the `share` of processors and of Redis's memory that is in use")
	flag.Float64Var(&in.Processes, "processes", in.Processes, "of the program: each has a near cache")
	flag.Float64Var(&in.NearGiB, "near-gib", in.NearGiB, "memory of a near cache, in `GiB`")
	flag.Float64Var(&in.HarnessCPU, "harness-cpu", in.HarnessCPU, "processor time of the measurement itself, in `ns` an operation, to be left out: what the variant floor takes")
	flag.Parse()
	if err := run(in, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(in cost.Inputs, r io.Reader, w io.Writer) error {
	if err := in.Validate(); err != nil {
		return err
	}
	all, err := cost.Read(r)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "What a billion reads cost:")
	write(w)(in.Table(all))
	fmt.Fprintln(w, "\nTimes cheaper than reading the store, all costs together:")
	write(w)(in.Sensitivity(all))
	return nil
}

// write returns a function that writes a table in Markdown.
func write(w io.Writer) func(heads []string, rows [][]string) {
	return func(heads []string, rows [][]string) {
		rule := slices.Repeat([]string{"--:"}, len(heads))
		rule[0] = ":--"
		for _, r := range append([][]string{heads, rule}, rows...) {
			fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
		}
	}
}
