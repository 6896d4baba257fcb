// Package outage tests what graphcache promises while its cache, its store or one of its
// processes is away: several processes on one store and one cache, each behind faults of
// its own, in the time of a testing/synctest bubble. It has no code but tests.
package outage
