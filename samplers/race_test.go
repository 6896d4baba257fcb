//go:build race

package samplers_test

// allocRace: the race detector allocates too.
const allocRace = true
