// Package redistest runs real Redis servers for tests: single ones, a Redis Cluster,
// a master watched by sentinels, and a proxy that makes a connection fail in the ways
// in which networks do.
//
// Servers listen on the loopback interface only, keep their files in a temporary
// directory of the test and save nothing. They end with the test, and also with a test
// program that panics or is killed: each has a shell for a parent, which kills it as
// soon as a pipe from the test program closes.
//
// What needs a redis-server that is not installed is skipped, unless the environment
// says that it must be there: by CI, as most services for continuous integration do,
// or by GRAPHCACHE_REQUIRE_SERVERS. Redis 7 or later is needed, of which a cluster and
// sentinels use redis-cli too.
package redistest
