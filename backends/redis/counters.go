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
// A counter is a hash under the key that ends in c, with the fields
//
//	n         the count
//	e         the epoch: when the window opened, in microseconds since 1970
//	t token   the count that was answered to a token that is remembered
//
// and a group is the set of its members, under the key that ends in g. Either expires
// when its window ends: Redis keeps a key until its millisecond is over, so that a window
// ends up to a millisecond late, and never early.
//
// # Special considerations
//
// Counters are not written when the server has no memory left and evicts nothing: the
// calls fail until there is some. A count stays at 2^53 when it has come so far.
type Counters struct{ b *Backend }

var _ driver.Counters = (*Counters)(nil)

var (
	//go:embed increment.lua
	incrementLua string
	//go:embed admit.lua
	admitLua string

	incrementScript = newScript(withMemory, incrementLua)
	admitScript     = newScript(withMemory, admitLua)
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
		i := &increments[n]
		calls[n] = incrementScript.run(c.b.counterKey(i.Key), i.N, millis(i.Window), i.Token, i.Exact, i.Epoch)
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
		}
	}
	return counts, err
}

// Admit implements driver.Counters.
func (c *Counters) Admit(ctx context.Context, admits []driver.Admit) ([]driver.Admission, error) {
	for n := range admits {
		if err := admits[n].Validate(); err != nil {
			return nil, fmt.Errorf("redis: admit: %w", err)
		}
	}
	calls := make([]call, len(admits))
	for n := range admits {
		a := &admits[n]
		calls[n] = admitScript.run(c.b.groupKey(a.Group), a.Member, a.Max, millis(a.Window))
	}
	answers, err := c.ask(ctx, calls)
	if answers == nil {
		return nil, err
	}
	admissions := make([]driver.Admission, len(admits))
	for n, a := range answers {
		admissions[n].Outcome = a.outcome
		if a.outcome != driver.Done {
			continue
		}
		admissions[n].Admitted, admissions[n].Members = a.numbers[0] == 1, int(a.numbers[1])
		if a.numbers[1] > 0 {
			admissions[n].Remaining = remaining(a.numbers[2])
		}
	}
	return admissions, err
}

// counterKey returns the key of a counter. The length says where the group ends.
func (b *Backend) counterKey(k driver.CounterKey) string {
	return b.key(strconv.Itoa(len(k.Group))+":"+k.Group+k.Member, counterSuffix)
}

// groupKey returns the key of a group.
func (b *Backend) groupKey(group string) string { return b.key(group, groupSuffix) }

// remaining returns the rest of an open window, of which Redis says how many whole
// milliseconds it has: none in the last one.
func remaining(ms int64) time.Duration {
	return max(time.Duration(ms)*time.Millisecond, time.Microsecond)
}

// counterAnswer is what a script of the counters has answered: numbers if it is Done.
type counterAnswer struct {
	outcome driver.Outcome
	numbers [3]int64
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

// keepOrder makes calls on one key be applied in their order. A pipeline is, but calls
// of a script that the server does not know are sent once more after the others, and
// this could turn two of them around:
//
//  1. The server does not know the script of the first call.
//  2. Another process makes it known.
//  3. The second call, in the same pipeline, is applied.
//  4. The first call is sent again and applied.
//
// So calls on a key that occurs more than once bring the script along.
func keepOrder(calls []call) {
	if len(calls) < 2 {
		return
	}
	firsts := make(map[string]*call, len(calls))
	for n := range calls {
		c := &calls[n]
		if first := firsts[c.key]; first != nil {
			first.bringScript()
			c.bringScript()
		} else {
			firsts[c.key] = c
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
