//go:build !race

package graphcache_test

// allocRace: the race detector allocates too.
const allocRace = false
