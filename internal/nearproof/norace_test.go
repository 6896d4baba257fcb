//go:build !race

package nearproof_test

const raceEnabled = false
