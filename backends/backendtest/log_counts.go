package backendtest

import (
	"fmt"
	"time"

	"github.com/graphcache/graphcache/driver"
)

func (l *logTest) testCounted() {
	l.add(l.batch("k", 3, 3))
	b := l.batch("k", 3, 0)
	b.Counted = 100
	head := l.add(b)[0]
	if head.Position.Seq != 3 || head.Total != 103 {
		l.broken("position %d and total %d, want 3 and 103", head.Position.Seq, head.Total)
	}
	l.want("after counting", "k", 3, logEntries(3, 3))
	b = l.batch("counts only", 0, 0)
	b.Counted = driver.MaxLogCount
	if head = l.add(b)[0]; head.Position.Seq != 0 || head.Total != driver.MaxLogCount {
		l.broken("position %d and total %d, want 0 and %d", head.Position.Seq, head.Total, driver.MaxLogCount)
	}
	l.want("a key that is only counted", "counts only", 0, nil)
}

func (l *logTest) testTypes() {
	typed := func(counts ...driver.LogCount) {
		b := l.batch("k", 0, 0)
		b.Types = counts
		l.add(b)
	}
	typed(driver.LogCount{Type: "view", Count: 2}, driver.LogCount{Type: "click", Count: 1}, driver.LogCount{Type: "view", Count: 3})
	typed(driver.LogCount{Type: "", Count: 4}, driver.LogCount{Type: "click", Count: 1}, driver.LogCount{Type: "{\x00}", Count: 1})
	typed(driver.LogCount{Type: "nothing", Count: 0})
	l.same("types", l.snapshot("k").Types, []driver.LogCount{
		{Type: "", Count: 4}, {Type: "click", Count: 2}, {Type: "view", Count: 5}, {Type: "{\x00}", Count: 1},
	})
	for n := range driver.LogTypes + 20 {
		typed(driver.LogCount{Type: fmt.Sprintf("t%03d", n), Count: 1})
	}
	typed(driver.LogCount{Type: "click", Count: 8})
	l.checkTypes(l.snapshot("k").Types)
}

// checkTypes looks at the types of testTypes at its end.
func (l *logTest) checkTypes(types []driver.LogCount) {
	l.Helper()
	if len(types) != driver.LogTypes+1 {
		l.broken("%d types, want %d and the empty one", len(types), driver.LogTypes)
	}
	sum := int64(0)
	for _, c := range types {
		sum += c.Count
		if c.Type == "" && c.Count != 4+20+3 {
			l.broken("%d events under the empty type, want %d", c.Count, 4+20+3)
		}
		if c.Type == "click" && c.Count != 10 {
			l.broken("%d events of an early type, want 10", c.Count)
		}
	}
	if want := int64(12 + 8 + driver.LogTypes + 20); sum != want {
		l.broken("%d events of all types, want %d", sum, want)
	}
}

func (l *logTest) testUnique() {
	total := 0
	for _, size := range []int{1, 4, 20, 175, 800} {
		b := l.batch("k", 0, 0)
		for n := range total + size { // those that are there already, and more
			b.Members = append(b.Members, fmt.Sprint("user ", n))
		}
		total += size
		l.add(b, b)
		if got := l.snapshot("k").Unique; got < int64(total-total/20) || got > int64(total+total/20) {
			l.broken("%d unique of %d distinct members", got, total)
		}
	}
}

func (l *logTest) testSpark() {
	b := l.batch("k", 0, 0)
	b.Bucket, b.TTL = time.Hour, 1000*time.Hour
	now := l.harness.Now()
	for hours, count := range map[int]int64{0: 1, -1: 2, -59: 4, -60: 8, -1000: 16, 5: 32} {
		b.Times = append(b.Times, driver.LogTime{Time: now.Add(time.Duration(hours) * time.Hour), Count: count})
	}
	l.add(b)
	s := l.snapshot("k")
	if l.harness.Now().Truncate(time.Hour) != now.Truncate(time.Hour) {
		l.Skip("the hour ended in the middle of the test")
	}
	want := driver.LogSnapshot{Bucket: time.Hour}
	want.Spark[59], want.Spark[58], want.Spark[0] = 1+32, 2, 4
	l.same("widths", s.Bucket, want.Bucket)
	l.same("sparklines", s.Spark, want.Spark)
}

func (l *logTest) testSparkWidth() {
	b := l.batch("k", 0, 0)
	b.Bucket, b.Times = time.Hour, []driver.LogTime{{Time: l.harness.Now(), Count: 3}}
	l.add(b)
	b.Number, b.Times = b.Number+1, nil
	b.Bucket = time.Minute
	l.add(b)
	if got := l.snapshot("k").Bucket; got != time.Hour {
		l.broken("a width of %v from a batch without times, want 1h", got)
	}
	b.Number, b.Bucket = b.Number+1, 24*time.Hour
	b.Times = []driver.LogTime{{Time: l.harness.Now(), Count: 5}}
	l.add(b)
	s := l.snapshot("k")
	sum := int64(0)
	for _, n := range s.Spark {
		sum += n
	}
	if s.Bucket != 24*time.Hour || sum != 5 {
		l.broken("a width of %v with %d events, want 24h with 5", s.Bucket, sum)
	}
}

func (l *logTest) testSparkMoves() {
	width := l.window()
	b := l.batch("k", 0, 0)
	b.Bucket, b.Times = width, []driver.LogTime{{Time: l.harness.Now(), Count: 3}}
	l.add(b)
	if l.advance == nil {
		l.poll(addonPatience, func() bool {
			s := l.snapshot("k").Spark
			return s[58] == 3 && s[59] == 0
		})
		return
	}
	for age := range driver.LogBuckets {
		want := driver.LogSnapshot{}
		want.Spark[driver.LogBuckets-1-age] = 3
		l.same(fmt.Sprint("sparklines after ", age, " buckets"), l.snapshot("k").Spark, want.Spark)
		l.advance(width)
		if age == 30 {
			b = l.batch("k", 0, 0) // without times: it only keeps the key alive
			l.add(b)
		}
	}
	l.same("sparklines after all buckets", l.snapshot("k").Spark, driver.LogSnapshot{}.Spark)
	l.checkSparkJumps(width)
}

// checkSparkJumps lets several buckets pass unseen.
func (l *logTest) checkSparkJumps(width time.Duration) {
	l.Helper()
	for _, jump := range []int{2, 7, driver.LogBuckets - 1, driver.LogBuckets, 5 * driver.LogBuckets} {
		b := l.batch(fmt.Sprint("jump ", jump), 0, 0)
		b.TTL, b.Bucket, b.Times = 1000*width, width, []driver.LogTime{{Time: l.harness.Now(), Count: 3}}
		l.add(b)
		l.advance(time.Duration(jump) * width)
		want := driver.LogSnapshot{}
		if jump < driver.LogBuckets {
			want.Spark[driver.LogBuckets-1-jump] = 3
		}
		l.same(fmt.Sprint("sparklines ", jump, " buckets later"), l.snapshot(b.Key).Spark, want.Spark)
	}
}

// testConsistent has one producer whose every batch moves all numbers together, so
// that a snapshot of two states shows.
func (l *logTest) testConsistent() {
	writer := l.peer()
	var list []driver.LogBatch
	for n := range int64(100) {
		b := l.batch("k", 3*n+3, 3)
		b.Types = []driver.LogCount{{Type: "a", Count: 2}, {Type: "b", Count: 1}}
		b.Bucket, b.Times = 24*365*time.Hour, []driver.LogTime{{Time: l.harness.Now(), Count: 3}}
		list = append(list, b)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.appendTwice(writer, list)
	}()
	for last := false; !last; {
		select {
		case <-ended:
			last = true
		default:
		}
		l.checkConsistent(l.snapshot("k"))
	}
}

func (l *logTest) checkConsistent(s driver.LogSnapshot) {
	l.Helper()
	seq, byType, spark := s.Head.Position.Seq, int64(0), int64(0)
	for _, c := range s.Types {
		byType += c.Count
	}
	for _, n := range s.Spark {
		spark += n
	}
	if s.Head.Total != seq || byType != seq || spark != seq {
		l.broken("position %d, total %d, types %d, sparkline %d; want all the same", seq, s.Head.Total, byType, spark)
	}
	l.same("entries", s.Entries, logEntries(seq, min(seq, 50)))
}
