// Package soak is the proof, for as long as one likes, that nothing is served stale and
// nothing is lost when parts fail. It has tests only.
//
// Four processes, each with a graph of its own, read and write the same records through one
// Redis and one store while servers, connections and the processes themselves are stopped,
// cut and killed at random. Each record counts its states. The processes share memory in which
// they note, before a write begins, which state it is to make, and when it was acknowledged;
// so every read is judged where it is made, by the states that were possible while it ran, and
// a process that is killed takes nothing of that along.
//
// A read is stale if it returns a state that another had replaced when it began: by a write
// that had been acknowledged, or that an earlier read of the same anchor had seen. It must be one
// of the exceptions that the documentation of graphcache lists under consistency. Which one is
// decided by when the write was acknowledged, by whether it was in the journal and whether the
// reader's process had read it there, and by what was done to the parts meanwhile. A stale read
// that is no exception fails the run.
//
// After each phase the faults end. Then the journal must drain, no hold may be left in Redis,
// every process must read from the cache what is in the store, and that must be what was
// acknowledged last.
//
// The controls leave out one thing that the protocol needs, and must be found out.
//
// Without flags a single phase lasts some seconds. The flag -soak.time runs all phases for so
// long, -soak.phases some of them, and -soak.seed repeats the faults of a run, though not what the
// processes were doing at the time.
package soak
