// Command lungo serves the MongoDB wire protocol for tests, as a replica set of
// one member. Queries, updates, comparisons and sort orders are those of the
// lungo engine; storage, transactions, change streams and aggregation are its
// own.
//
// It prints a line "listening <host>:<port>" when it is ready and exits when
// its standard input is closed.
//
// # Special considerations
//
// What is not supported is refused: unknown commands, options and operators
// are errors. Only hint is accepted without having an effect. Among what is
// refused are TTL, text and hashed indexes, collations, array filters,
// positional and pipeline updates, $expr, and expressions in projections.
//
// What differs from MongoDB without an error:
//   - An update or delete of many documents finds them all at once. It then
//     commits one after another, and other commands run in between.
//   - A plain write that meets an open transaction waits for at most 5 s, then
//     fails with WriteConflict.
//   - New fields of an update are appended in the order of the update, not in
//     that of their names.
//   - An empty array sorts like an array and not before null; a sort by a path
//     through an array of documents takes no value from it.
//   - Decimal128 infinities and NaN compare like 0.
//   - Regular expressions are those of Go.
//   - A $group answers in the order of its keys.
//   - maxTimeMS ends waits, not computations.
//   - The journal survives the end of the process, not that of the machine.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	var options Options
	flag.StringVar(&options.Path, "file", "", "`path` of a journal that keeps the data")
	wire := flag.Int("wire", 21, "the `maxWireVersion` to report")
	flag.DurationVar(&options.Stale, "stale", 0, "answer plain reads from data up to this `duration` old")
	flag.IntVar(&options.Oplog, "oplog", 100_000, "`number` of events kept for change streams")
	flag.Parse()
	options.WireVersion = int32(*wire)

	server, err := Start(*listen, options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lungo:", err)
		os.Exit(1)
	}
	fmt.Println("listening", server.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "lungo:", err)
		os.Exit(1)
	}
}
