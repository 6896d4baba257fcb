// Package streams shows what happens now: it keeps the newest events of each of many keys,
// such as customers, counts all of them, and lets any number of readers follow live, in any
// process.
//
// It is a window onto the events and not their store: by default the newest 50 of a key are
// kept. But nothing is missed in silence. A reader is told exactly how many events it was too
// late for.
//
// There are only a few types: [Stream], [Event], [Snapshot], [Pos], and what a tail yields, an
// [Item].
//
//	s, err := streams.New(backend.Log(), &streams.Options[Event]{
//		Type:   func(e *Event) string { return e.Type },
//		Member: func(e *Event) string { return e.User },
//	})
//	defer s.Close(ctx)
//
//	s.Append(customer, e)                           // never waits
//	now, err := s.Recent(ctx, customer)             // events, counts, users, sparkline: one round trip
//	for item, err := range s.Tail(ctx, customer, now.Pos) {
//		…                                       // item.Event, or item.Gap
//	}
//
// Logs are those of graphcache/backends/redis, or of .../memory in tests. [Stream.Handler] serves
// a stream as server-sent events and JSON, and package streams/console has a page that shows it.
//
// # Appending
//
// [Stream.Append] puts an event into a ring of the process. What is in the rings is sent every
// Options.FlushEvery, 100 ms: of each key the newest Options.Cap events at the most, since others
// can no longer be seen, and the number of all. Only those that are sent are encoded. So a
// thousand times as many events cost the log little more.
//
// A batch that is not answered is sent again until it is, and counted once. What comes
// meanwhile is coalesced as ever, so that an outage of the log takes no more memory. A process
// that is killed loses what it has not sent: the events of the last FlushEvery, or of the
// outage. [Stream.Close] sends what there is, and says what it could not.
//
// # Positions and gaps
//
// The events of a key are numbered without gaps, in the order in which their batches arrived;
// a [Pos] is such a number. A reader that has seen the event s finds out by subtraction
// how many it has missed when it comes back: within an epoch, which is the life of a key, the events
// that it got and those that it was told it has missed are together all that were sent and
// confirmed, besides those of batches that arrived without being confirmed. A key that has expired,
// Options.TTL after its last event, or was lost with the log, begins a new epoch, which the reader is
// told: how much it missed of the old one, nobody knows.
//
// # Reading
//
// However many tails a process has, it asks for their keys with one call, every Options.Poll, or
// ten times less often if producers wake the processes that follow, as they do with Redis. A key
// that has moved is read once for all of them. Each reader has a position and no queue: one that is slow sees gaps,
// and holds up nobody.
//
// # Exceptions
//
//   - A log that fails over may take back what it had confirmed, and give the same positions to other
//     events. A reader that sees the position go back is told to begin anew; one that looks too late
//     has other events under some positions.
//   - A batch that is repeated after the key has expired, or has been lost, counts again, in the new
//     epoch.
//   - So does one that is repeated after 256 other producers have sent something for the key.
//   - Of members beyond 10,000 for a key in a flush nothing is known, and types beyond 64 are counted
//     under "".
//   - Of events beyond Options.MaxKeys keys that wait to be sent nothing is kept: Stats.Dropped.
package streams
