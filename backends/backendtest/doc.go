// Package backendtest tests implementations of the interfaces in package driver:
// a conformance suite for each of them, and wrappers that make a backend slow,
// failing, hanging or forgetful.
//
// A backend's own test hands its suite a harness and is done:
//
//	func TestStore(t *testing.T) {
//		backendtest.Store(t, backendtest.StoreHarness{
//			New: func(t *testing.T) driver.Store { return open(t) },
//		})
//	}
//
// A harness says what a backend promises beyond the contract; a suite never asks
// which backend it has before it. A failure names the rule that was broken, in the
// words of package driver where there are any.
//
// [FaultyStore], [FaultyCache] and [FaultyCounters] are for the tests of whatever stands on a
// backend: a [Hook] decides for each call what is to happen to it.
package backendtest
