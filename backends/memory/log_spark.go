package memory

import (
	"time"

	"github.com/graphcache/graphcache/driver"
)

// logSpark is a sparkline: the counts of LogBuckets buckets, the present one last.
// Buckets are numbered from the Unix epoch, so that all producers cut time at the
// same moments.
type logSpark struct {
	width   int64 // in milliseconds, 0 before the first use
	present int64 // the number of the last bucket
	counts  [driver.LogBuckets]int64
}

func (s *logSpark) setWidth(width int64, now time.Time) {
	if s.width != width {
		*s = logSpark{width: width}
		s.present = s.bucket(now)
	}
}

// moveTo shifts the buckets until the last one is that of now.
func (s *logSpark) moveTo(now time.Time) {
	if s.width == 0 {
		return
	}
	present := s.bucket(now)
	gone := min(present-s.present, driver.LogBuckets)
	if gone <= 0 {
		return
	}
	copy(s.counts[:], s.counts[gone:])
	clear(s.counts[driver.LogBuckets-gone:])
	s.present = present
}

func (s *logSpark) bucket(t time.Time) int64 { return t.UnixMilli() / s.width }

func (s *logSpark) add(c driver.LogTime, now time.Time) {
	s.moveTo(now)
	if age := s.present - min(s.bucket(c.Time), s.present); age < driver.LogBuckets {
		s.counts[driver.LogBuckets-1-age] += c.Count
	}
}
