// Package model is the reference model of one entry of a driver.Cache: what there may
// be in it, what each method makes of it, and what the caller learns. The search of
// the protocol's interleavings runs against the model, and package replay compares
// caches with it. Both are tests: nothing else imports this package.
package model
