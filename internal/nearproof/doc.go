// Package nearproof is the proof of what the near cache promises: that no read of it is
// older than NearCache.MaxStale, and that a process always sees its own writes. It has
// tests only.
//
// Several graphs in one process, each with a Redis client of its own, read and write the
// same records, through one server or a Cluster, while connections are killed, servers are
// stopped and restarted, and a subscription hears nothing any more without being told so.
// Each record counts its states, and for each state it is remembered when the write that
// made it was acknowledged. A read that returns a state which had been replaced when it
// began is stale, by the time from the first acknowledgement that it misses to its
// beginning.
//
// On top of MaxStale comes the time for which this process was not scheduled. It is
// measured: a goroutine that sleeps for a millisecond at a time notes how much longer it
// took.
//
// The controls break a promise that the cache makes to the near cache, and must be found
// out.
//
// Without flags each fault lasts about a second. With -nearproof.full each is repeated for
// -nearproof.time, and -v shows what was measured.
package nearproof
