package samplers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// totals adds up, in counters of their own, the requests beyond the first n, of which the
// counters of windows know only what the processes had to ask. What a window has come to
// in a process is reported once: with the process's next call for the key, or when it
// goes through its table, once a window, or is closed. A report that was not confirmed is
// not repeated: it might count twice.
type totals struct {
	s        *Sampler
	flushing sync.Mutex // one goes through the table at a time

	reported, unconfirmed, reports, ignored atomic.Int64
}

const (
	// flushBatch is how many reports are sent at once: so few that decisions, which
	// share connections and the server with them, need not wait for long.
	flushBatch = 128
	// flushTimeout is how long such a batch may take.
	flushTimeout = 2 * time.Second
	// flushPause is the time after a failure until the next attempt.
	flushPause = time.Second
)

func (t *totals) init(s *Sampler) { t.s = s }

// run goes through the table once a window, and when the ring of debts is filling.
func (t *totals) run(ctx context.Context) {
	window := t.s.opts.Window
	timer := time.NewTimer(window/2 + rand.N(window/2)) // not all processes at once
	defer timer.Stop()
	for {
		select {
		case <-t.s.closing:
			return
		case <-timer.C:
			timer.Reset(window)
		case <-t.s.table.debts.filling:
		}
		if t.flush(ctx, false) == nil {
			continue
		}
		select { // so that a ring that stays full does not ask for more all the time
		case <-time.After(flushPause):
		case <-t.s.closing:
			return
		}
	}
}

var errOutage = fmt.Errorf("samplers: the counters do not answer: %w", driver.ErrUnavailable)

// flush reports what is owed of windows that are over, or of all. It stops at a report that
// is not confirmed: the others are still owed.
func (t *totals) flush(ctx context.Context, all bool) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	if t.s.outage.is.Load() && !all {
		t.s.table.sweep(t.s.clock.precise())
		return errOutage
	}
	for from := 0; from >= 0; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("samplers: flush: %w", err)
		}
		var owed []report
		owed, from = t.s.table.collect(from, all, t.s.clock.precise(), flushBatch)
		if err := t.report(ctx, owed); err != nil {
			return err
		}
	}
	return nil
}

// report sends some reports.
func (t *totals) report(ctx context.Context, owed []report) error {
	var batch []driver.Increment
	for _, r := range owed {
		batch = t.appendReport(batch, r)
	}
	if len(batch) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	counts, err := t.s.counters.Increment(limited, batch)
	if len(counts) != len(batch) {
		counts = make([]driver.Count, len(batch)) // Unknown
	}
	if lost := t.confirm(batch, counts); lost > 0 {
		return fmt.Errorf("samplers: a report of %d requests was not confirmed: %w", lost, errors.Join(driver.ErrUnavailable, err))
	}
	return nil
}

// appendReport adds a report to a batch, unless there is nothing to say or totals are off.
func (t *totals) appendReport(batch []driver.Increment, r report) []driver.Increment {
	period := t.s.opts.TotalPeriod
	switch {
	case r.count == 0:
		return batch
	case period < 0:
		t.ignored.Add(int64(r.count))
		return batch
	}
	ended := t.s.clock.wall(r.end)
	begin := ended.Truncate(period)
	return append(batch, driver.Increment{
		Key:     t.s.groups.total(r.key, begin),
		N:       int64(r.count),
		Window:  min(max(begin.Add(2*period).Sub(t.s.clock.now()), period), driver.MaxCounterWindow),
		Members: max(t.s.opts.MaxOps, 0),
		Other:   OtherOp,
	})
}

// confirm notes which reports of a batch were received, and returns the number of
// requests in the others.
func (t *totals) confirm(batch []driver.Increment, counts []driver.Count) (lost int64) {
	t.reports.Add(int64(len(batch)))
	for i, c := range counts {
		if c.Outcome == driver.Done {
			t.reported.Add(batch[i].N)
		} else {
			lost += batch[i].N
		}
	}
	t.unconfirmed.Add(lost)
	return lost
}

// Flush reports to the totals what is owed of windows that are over. It happens by itself
// once a window, and in Close. It returns an error that wraps driver.ErrUnavailable, if the
// counters do not answer; up to 128 reports, that were sent and not confirmed, are then counted
// in Stats.Unconfirmed and not repeated.
func (s *Sampler) Flush(ctx context.Context) error { return s.totals.flush(ctx, false) }

// Total returns the number of requests of a key that came after the first N of their
// windows, kept or not, in the whole fleet, in the period that contains the given time: as
// far as their windows ended in it, or about then, and the processes have reported them, at the
// latest a window later. Operations beyond Options.MaxOps of a tenant, in a window or in
// the period, are counted under [OtherOp]. Together with the requests that were kept for the Reason First
// or Local it is the number of all. Options.TotalPeriod says how long periods are and
// totals are kept; a total that nobody has reported to is 0.
//
// It is exact if all processes end with Close and Stats shows no Unconfirmed or Lost
// requests. It returns an error that wraps driver.ErrUnavailable if the counters do not
// answer.
func (s *Sampler) Total(ctx context.Context, k Key, at time.Time) (int64, error) {
	if s.opts.TotalPeriod < 0 {
		return 0, fmt.Errorf("samplers: total of %q, %q: %w: Options.TotalPeriod is -1", k.Tenant, k.Op, driver.ErrInvalid)
	}
	counts, err := s.counters.Increment(ctx, []driver.Increment{{
		Key:    s.groups.total(k.shorten(), at.Truncate(s.opts.TotalPeriod)),
		Window: s.opts.TotalPeriod,
	}})
	if err == nil && len(counts) != 1 {
		err = driver.ErrUnavailable
	}
	if err != nil {
		return 0, fmt.Errorf("samplers: total of %.40q, %.40q: %w", k.Tenant, k.Op, err)
	}
	return counts[0].Count, nil // 0 if there is no counter
}
