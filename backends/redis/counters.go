package redis

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Counters is a driver.Counters in Redis, in one round trip for each 512 elements.
//
// A counter is a hash under the key
//
//	prefix {length of the group : group} c member
//
// with the fields
//
//	n         the count
//	e         the epoch: when the window opened, in microseconds since 1970
//	t token   the count that was answered to a token that is remembered
//	o ...     the same for a token of another member, whose place this counter takes
//
// and a group is the number of its counters that were opened, a string under
//
//	prefix {length of the group : group} g
//
// The length leaves no hash tag empty, so that all keys of a group have one slot. Either
// expires when its window ends: Redis keeps a key until its millisecond is over, so that
// a window ends up to a millisecond late, and never early.
//
// An element is one script. It touches nothing but its counter if that is open, or if
// there is no bound; else it has to do with that of Other and with the group as well.
//
// # Special considerations
//
// Counters are not written when the server has no memory left and evicts nothing: the
// calls fail until there is some, except those that only read. A count stays at 2^53 when
// it has come so far. What a group keeps is a number and not who its members are, so that
// a counter which was lost and is opened again takes room twice.
//
// Elements of a batch that have a key in common, such as members of one group with a
// bound, are sent with the whole script, 3.5 kB, instead of its name: nothing else keeps
// their order when the server has forgotten the script.
type Counters struct{ b *Backend }

var _ driver.Counters = (*Counters)(nil)

var (
	//go:embed counter.lua
	counterLua string
	//go:embed increment.lua
	incrementLua string
	//go:embed count.lua
	countLua string

	incrementScript = newScript(withMemory, counterLua, incrementLua)
	countScript     = newScript(onlyReads, counterLua, countLua)
)

// Close closes the backend.
func (c *Counters) Close(ctx context.Context) error { return c.b.Close(ctx) }

// Increment implements driver.Counters.
func (c *Counters) Increment(ctx context.Context, increments []driver.Increment) ([]driver.Count, error) {
	for n := range increments {
		if err := increments[n].Validate(); err != nil {
			return nil, fmt.Errorf("redis: increment: %w", err)
		}
	}
	calls := make([]call, len(increments))
	for n := range increments {
		calls[n] = c.b.increment(&increments[n])
	}
	answers, err := c.ask(ctx, calls)
	if answers == nil {
		return nil, err
	}
	counts := make([]driver.Count, len(increments))
	for n, a := range answers {
		counts[n].Outcome = a.outcome
		if a.outcome == driver.Done {
			counts[n].Count, counts[n].Remaining, counts[n].Epoch = a.numbers[0], remaining(a.numbers[1]), uint64(a.numbers[2])
			counts[n].Other = a.numbers[3] == 1
		}
	}
	return counts, err
}

// increment returns the call for an increment. One that may open no counter, or needs no
// room to open it, has nothing to do with the group.
func (b *Backend) increment(i *driver.Increment) call {
	key, window := b.counterKey(i.Key), millis(i.Window)
	switch {
	case i.N == 0:
		return countScript.run(key, window, i.Epoch)
	case i.Members == 0 || i.Epoch != 0 || i.Key.Member == i.Other:
		return incrementScript.run(key, i.N, window, i.Token, i.Exact, i.Epoch)
	}
	group := i.Key.Group
	keys := []string{key, b.counterKey(driver.CounterKey{Group: group, Member: i.Other}), b.groupKey(group)}
	return incrementScript.runOn(keys, i.N, window, i.Token, i.Exact, i.Epoch, i.Members)
}

// counterKey returns the key of a counter.
func (b *Backend) counterKey(k driver.CounterKey) string {
	return b.key(groupTag(k.Group), counterSuffix+escapeName(k.Member))
}

// groupKey returns the key of a group.
func (b *Backend) groupKey(group string) string { return b.key(groupTag(group), groupSuffix) }

// groupTag returns what stands for a group in the keys. It is never empty.
func groupTag(group string) string { return strconv.Itoa(len(group)) + ":" + group }

// remaining returns the rest of an open window, of which Redis says how many whole
// milliseconds it has: none in the last one.
func remaining(ms int64) time.Duration {
	return max(time.Duration(ms)*time.Millisecond, time.Microsecond)
}

// counterAnswer is what a script of the counters has answered: numbers if it is Done.
type counterAnswer struct {
	outcome driver.Outcome
	numbers [4]int64
}

// ask sends the calls and returns their answers: nil if there is none at all.
func (c *Counters) ask(ctx context.Context, calls []call) ([]counterAnswer, error) {
	if c.b.closed.Load() {
		return nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	keepOrder(calls)
	var first error
	answers, known := make([]counterAnswer, 0, len(calls)), 0
	for some := range slices.Chunk(calls, maxBatchCalls) {
		if err := c.b.do(ctx, writeLane, some); err != nil {
			first = firstOf(first, err)
			break
		}
		before := known
		for n := range some {
			a, err := answerOf(&some[n])
			first = firstOf(first, err)
			if err == nil {
				known++
			}
			answers = append(answers, a)
		}
		if known == before {
			break // nobody answers: the rest would only wait for it
		}
	}
	if known == 0 {
		return nil, first
	}
	return answers, first
}

// answerOf reads the answer of a call. An empty one says that it was refused.
func answerOf(c *call) (a counterAnswer, err error) {
	if err := c.failure(); err != nil {
		return a, err
	}
	reply, ok := c.reply().([]any)
	if ok && len(reply) == 0 {
		return counterAnswer{outcome: driver.Refused}, nil
	}
	if len(reply) != len(a.numbers) {
		return a, errReply(c)
	}
	for n := range reply {
		if a.numbers[n], ok = reply[n].(int64); !ok {
			return a, errReply(c)
		}
	}
	a.outcome = driver.Done
	return a, nil
}

// keepOrder makes calls that have a key in common be applied in their order: increments of
// one counter, and those that ask one group for room or may count in its Other. A pipeline
// is, but calls of a script that the server does not know are sent once more after the
// others, and this could turn two of them around:
//
//  1. The server does not know the script of the first call.
//  2. Another process makes it known.
//  3. The second call, in the same pipeline, is applied.
//  4. The first call is sent again and applied.
//
// So calls with a key that occurs more than once bring the script along. It would not do
// if only the first of them did: the server may be made to forget the script before the
// second call, and to learn it again before the third.
func keepOrder(calls []call) {
	if len(calls) < 2 {
		return
	}
	firsts := make(map[any]*call, len(calls))
	for n := range calls {
		c := &calls[n]
		for _, key := range c.keys() {
			if first := firsts[key]; first != nil {
				first.bringScript()
				c.bringScript()
			} else {
				firsts[key] = c
			}
		}
	}
}

// bringScript turns the call into one with the whole script.
func (c *call) bringScript() {
	if c.script == nil {
		return
	}
	c.cmd = c.withSource()
	c.size += len(c.script.source)
	c.script = nil
}
