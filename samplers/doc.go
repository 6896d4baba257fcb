// Package samplers decides which requests are logged: the first few of every customer and
// endpoint in a window, counted across the fleet; of the flood behind them, as small a part
// as one likes; with weights that make totals come out right all the same.
//
// Static sampling at one percent shows the busy endpoints of large customers a thousand times
// over, and the one failing call of a small one probably not at all. The first five of each,
// for each window of fifteen minutes, show every customer's use of every endpoint, and the
// amount of logs grows with their number and not with the traffic.
//
// There are only a few types: [Key], [Sampler], [Decision], and a handler of log/slog.
//
//	s, err := samplers.New(backend.Counters(), &samplers.Options{Tail: 0.01})
//	defer s.Close(context.WithoutCancel(ctx))
//
//	logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(os.Stdout, nil), nil))
//	handler := s.Middleware(samplers.PatternKey(mux, tenantOf), nil)(mux)
//	…
//	logger.InfoContext(r.Context(), "order placed") // in a handler; without the context it is not sampled
//
// Each request is decided on once. The decision is in its context, and holds for all lines that
// are logged with that, for the calls to other services ([Transport]) and for its traces (module
// otelsamplers). Counters are those of graphcache/backends/redis, or of .../memory in tests.
//
// # First N
//
// A window of a key opens with the first request that any process has of it, and ends
// Options.Window later. Of the requests of all processes in it exactly the first N are kept.
// When a process has learned that they are through, it remembers the key, in bounded memory,
// until the window ends, and decides on further requests by itself: without a lock, in some
// 20 ns for a busy key and 40 to 100 for one that is not in the processor's cache. If the
// memory is short it forgets the keys with the fewest requests; those then cost calls.
//
// Clients that invent operations do not get the first N of each: beyond Options.MaxOps of a
// tenant in a window they share one key, [OtherOp].
//
// # Weights and totals
//
// With Options.Tail each request behind the first N is kept with a small probability π, and
// has the weight 1/π. The sum of the weights of the lines of some kind then estimates without
// bias how many there would be without sampling, and a weighted mean the mean (Horvitz and
// Thompson, 1952). Without a tail nothing in the logs tells what was dropped: what comes first
// in a window may well be unlike the rest.
//
// What is dropped is counted, and the processes tell each other, with few calls: [Sampler.Total]
// has the exact number for each key.
//
// # Errors
//
// A request that ends in an error should be kept even if it was not one of the first.
// [HandlerOptions].Upgrade holds the lines of requests that are not kept, a bounded number of
// them, until they end. Such requests have weight 1, so that estimates stay unbiased.
//
// # Outages
//
// A decision waits for the counters no longer than Options.Timeout, 10 ms, and is never an
// error. After five calls in a row without an answer nothing waits any more: the process decides
// as Options.OnOutage says, and asks in the background, four times a second, whether the counters
// answer again. What is kept then as one of the first has the reason [Local]. In a Cluster one
// server that does not answer may have a process decide on all requests by itself; it asks that
// server.
//
// # Exceptions
//
// More than the first N are kept, or fewer, only
//
//   - in an outage, by single calls that take longer than Timeout, and for callers whose context
//     has ended, which have their own first N in each process. Stats has Local and Outages.
//   - if the counters lose a key's window: Redis was emptied, evicted it, or lost its latest
//     writes in a failover. A window begins anew then.
//   - if a process is stopped, or so busy that its clock is not read, for more than 100 ms and
//     through the end of a window: it may drop requests of the next window until the clock is
//     read. Stats.ClockLag has the longest time. The same holds, without being seen, for the time
//     that a suspended machine does not notice, and by which its clock is slower than that of
//     Redis: 50 ms in a window of 15 minutes for clocks that differ by 50 millionths.
//   - if two keys of a process have the same fingerprint, of 64 bits: one in 2^44 look-ups of
//     unknown keys if a million keys are throttled. The fingerprints of another process differ.
//   - if the answer of a call is lost and the call is repeated after the window of the tenant's
//     operations has ended: it may count twice.
//
// # Planning
//
// [Plan] tells what keeping the first N saves in comparison with static sampling that shows as
// much of the keys: several hundred times with much skew and rare keys that must be seen several
// times; but if one request of half of the keys will do, static sampling keeps less. Run
// examples/sampling, with a trace of your own.
package samplers
