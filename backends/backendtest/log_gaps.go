package backendtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

func (l *logTest) testHole() {
	l.add(l.batch("k", 40, 40))
	small := l.batch("k", 0, 0)
	small.Cap, small.Added, small.Entries = 10, 30, logEntries(70, 10)
	l.add(small)
	l.want("under a smaller cap", "k", 70, logEntries(70, 10))
	l.add(l.batch("k", 72, 2))
	l.want("under the larger cap again", "k", 72, logEntries(72, 12))
	small = l.batch("k", 73, 1)
	small.Cap = 5
	l.add(small)
	l.want("one more under a smaller cap", "k", 73, logEntries(73, 5))
	l.add(l.batch("k", 74, 1))
	l.want("one more under the larger cap", "k", 74, logEntries(74, 6))
}

func (l *logTest) testEpoch() {
	life, since := l.window(), time.Now()
	b := l.full("k", 2)
	b.TTL = life
	old := l.add(b)[0].Position
	l.ends(since, life, func() bool { return l.heads("k")[0].Position.Epoch == 0 })
	if d := l.after("k", old); !d.Reset || d.Missed != 0 || len(d.Entries) != 0 {
		l.broken("%+v, want a reset without entries", d)
	}
	b.TTL = time.Hour
	l.add(b) // applied again, for the first time in this life
	s := l.snapshot("k")
	if s.Head.Position.Epoch == old.Epoch || s.Head.Position.Seq != 2 || s.Head.Total != 7 {
		l.broken("head %+v, want a new epoch that counts from 0", s.Head)
	}
	if s.Unique != 2 || len(s.Types) != 2 || s.Types[0].Count != 4 {
		l.broken("unique %d and types %v, want those of one batch", s.Unique, s.Types)
	}
	l.add(l.batch("k", 72, 70))
	d := l.after("k", old)
	if !d.Reset || d.Missed != 22 {
		l.broken("reset %t and %d missed, want a reset that counts 22 in the new epoch", d.Reset, d.Missed)
	}
	l.same("entries after a reset", d.Entries, logEntries(72, 50))
}

func (l *logTest) testAfter() {
	l.add(l.batch("k", 30, 30))
	l.add(l.batch("k", 90, 60))
	l.add(l.batch("k", 95, 5))
	s := l.snapshot("k")
	epoch := s.Head.Position.Epoch
	reads := []driver.LogAfter{{Key: "k"}, {Key: "k", Position: driver.Position{Epoch: epoch ^ 1, Seq: 3}}}
	for seq := range int64(100) { // the last few are ahead of the head
		reads = append(reads, driver.LogAfter{Key: "k", Position: driver.Position{Epoch: epoch, Seq: seq}})
	}
	got, err := l.log.After(l.Context(), reads)
	l.must(err)
	for i, d := range got {
		l.same(fmt.Sprintf("after %+v: deltas", reads[i].Position), d, s.After(reads[i].Position))
	}
	if d := l.after("k", driver.Position{Epoch: epoch, Seq: 20}); d.Missed != 25 || d.Reset || len(d.Entries) != 50 {
		l.broken("%d missed, %d entries, reset %t; want 25, 50 and none", d.Missed, len(d.Entries), d.Reset)
	}
	if d := l.after("k", driver.Position{Epoch: epoch, Seq: 96}); !d.Reset || d.Missed != 45 {
		l.broken("%d missed, reset %t for a position ahead of the head; want 45 and a reset", d.Missed, d.Reset)
	}
}

// logReader follows one key.
type logReader struct {
	position          driver.Position
	delivered, missed int64
}

// read takes a delta and returns the entries by position.
func (r *logReader) read(d driver.LogDelta) map[int64]string {
	entries := make(map[int64]string)
	for i, e := range d.Entries {
		entries[d.Head.Position.Seq-int64(i)] = string(e)
	}
	r.delivered += int64(len(d.Entries))
	r.missed += d.Missed
	r.position = d.Head.Position
	return entries
}

// testGaps appends and reads in a random order and compares every entry that is
// delivered with the one that has its position.
func (l *logTest) testGaps() {
	seed := rand.Uint64()
	l.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var appended int64
	sent := make(map[int64]string) // the entries that were sent, by position
	var last []driver.LogBatch     // the last batch of each producer
	numbers := make([]uint64, 4)
	readers := make([]logReader, 3)
	for range 400 {
		switch p := random.IntN(len(numbers)); random.IntN(4) {
		case 0, 1:
			n := 1 + random.Int64N(139)
			b := l.batch("k", appended+n, n)
			numbers[p] += 1 + random.Uint64N(3)
			b.Producer, b.Number = fmt.Sprint("p", p), numbers[p]
			appended += n
			for i, e := range b.Entries {
				sent[appended-int64(i)] = string(e)
			}
			l.add(b)
			last = append(last, b)
		case 2:
			if len(last) > 0 {
				l.add(last[random.IntN(len(last))])
			}
		case 3:
			l.checkRead(&readers[random.IntN(len(readers))], sent)
		}
	}
	for i := range readers {
		r := &readers[i]
		l.checkRead(r, sent)
		if r.delivered+r.missed != appended {
			l.broken("reader %d: %d delivered and %d missed of %d appended", i, r.delivered, r.missed, appended)
		}
		if r.missed == 0 || r.delivered == 0 {
			l.broken("reader %d: %d delivered and %d missed; the test is to have both", i, r.delivered, r.missed)
		}
	}
}

func (l *logTest) checkRead(r *logReader, sent map[int64]string) {
	l.Helper()
	seen := r.position.Seq
	d := l.after("k", r.position)
	if d.Reset {
		l.broken("a reset without a new epoch")
	}
	for seq, e := range r.read(d) {
		if seq <= seen || e != sent[seq] {
			l.broken("%q delivered as position %d after %d, where %q was sent", e, seq, seen, sent[seq])
		}
	}
}

func (l *logTest) testGapsRace() {
	const producers, batches = 4, 60
	var total int64
	var writers, reading sync.WaitGroup
	for p := range producers {
		client := l.peer()
		random := rand.New(rand.NewPCG(1, uint64(p)))
		var list []driver.LogBatch
		for n := range batches {
			b := l.batch("k", 0, 1+random.Int64N(139))
			b.Producer, b.Number = fmt.Sprint("p", p), uint64(n+1)
			for i := range b.Entries {
				b.Entries[i] = fmt.Appendf(nil, "%d of batch %d of producer %d", i, n, p)
			}
			list = append(list, b)
			total += b.Added
		}
		writers.Go(func() { l.appendTwice(client, list) })
	}
	ended := make(chan struct{})
	readers := make([]logReader, 2)
	seen := make([]map[int64]string, len(readers))
	for i := range readers {
		client := l.peer()
		reading.Go(func() { seen[i] = l.follow(client, &readers[i], ended) })
	}
	writers.Wait()
	close(ended)
	reading.Wait()
	for i, r := range readers {
		if r.delivered+r.missed != total {
			l.broken("reader %d: %d delivered and %d missed of %d appended", i, r.delivered, r.missed, total)
		}
	}
	for seq, e := range seen[0] {
		if other, both := seen[1][seq]; both && other != e {
			l.broken("position %d is %q to one reader and %q to another", seq, e, other)
		}
	}
}

// appendTwice appends batches one by one, each of them twice.
func (l *logTest) appendTwice(log driver.Log, batches []driver.LogBatch) {
	for _, b := range batches {
		for range 2 {
			if _, err := log.Append(l.Context(), []driver.LogBatch{b}); err != nil {
				l.broken("unexpected error: %v", err)
				return
			}
		}
	}
}

// follow reads until nothing more can come, and returns all that it saw.
func (l *logTest) follow(log driver.Log, r *logReader, ended <-chan struct{}) map[int64]string {
	seen := make(map[int64]string)
	for last := false; ; {
		select {
		case <-ended:
			last = true
		default:
		}
		got, err := log.After(l.Context(), []driver.LogAfter{{Key: "k", Position: r.position}})
		if err != nil {
			l.broken("unexpected error: %v", err)
			return seen
		}
		for seq, e := range r.read(got[0]) {
			if _, twice := seen[seq]; twice {
				l.broken("position %d was delivered twice", seq)
			}
			seen[seq] = e
		}
		if last {
			return seen
		}
	}
}
