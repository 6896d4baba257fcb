//go:build !linux

package lincheck

// sharedClock is nil: it is not known which clock processes share.
var sharedClock func() int64
