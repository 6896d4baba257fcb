// Package mongotest gives tests a server that speaks MongoDB's wire protocol, and a
// proxy that makes connections to it fail in the ways in which networks do.
//
// No MongoDB comes with this project. Two servers stand in for it, and each is a program
// in a module of its own, which is built when a test first needs it: FerretDB with its
// SQLite handler, which others have written, and the engine lungo behind a front of ours,
// which has transactions and change streams. What a server is known not to do, it
// [Server.Lacks] by name, and a test that needs it is skipped there. Where
// GRAPHCACHE_MONGO_URI names a server, tests run on that one in place of the two.
//
// Servers listen on the loopback interface only and keep their files in temporary
// directories. They end with the test, or those that tests share with the test program,
// and also with one that panics or is killed: each has a shell for a parent, which kills
// it as soon as a pipe from the test program closes.
//
// What needs a server that cannot be built or started is skipped, unless the environment
// says that it must be there: by CI, or by GRAPHCACHE_REQUIRE_SERVERS.
package mongotest
