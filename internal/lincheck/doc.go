// Package lincheck checks that what is read through graphcache is linearizable: that
// every read of one anchor returns what the anchor held at some moment of the read,
// and that these moments are in the order in which the operations followed each other.
//
// It opens several graphs on one store and one cache, lets clients read and write a
// few records through all of them at once, and judges what they saw in two ways:
//
//   - [Run] records every operation with the times at which it was called and
//     returned, and searches for an order that explains what each of them returned.
//   - [Soak] numbers the states of each record, which has one writer, and checks each
//     read against the numbers that were possible while it ran. That sees less and
//     costs next to nothing, so it can go on for hours.
//
// [RunCrew] and [SoakCrew] do the same with clients in processes of their own, which may be
// killed meanwhile. Their histories have the times of one clock.
//
// What is read together is judged together. A partition is what one read depends on: an
// object, one object's edges in one direction, or the objects under one value of an
// index. A write of several partitions is recorded in each of them, as its effect there;
// so the writes are such that this effect does not depend on another partition.
//
// A write whose outcome is unknown may take effect at any time, so it is recorded
// as one that never returned. To keep the search small nobody writes its cell, the
// records that are written together, until the round is over, and nobody uses the cell
// until the write can no longer be applied. Then the store says what it did.
//
// The package is for tests of backends.
package lincheck
