//go:build !race

package samplers_test

const allocRace = false
