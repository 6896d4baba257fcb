// Package rollout is the proof that versions of a program which differ in their schema may
// live side by side: while a new version is rolled out, when it is rolled back, and in any
// order. It has tests only.
//
// The versions of a scenario have Go types of their own for the same kinds. Random programs
// write through one version and read through another, on one store and one cache, and every
// answer must be the one that the same version gets from the store.
package rollout
