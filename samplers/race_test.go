//go:build race

package samplers_test

// allocRace: the race detector allocates too, and takes its time.
const allocRace = true
