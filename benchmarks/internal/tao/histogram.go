package tao

import (
	"math/bits"
	"time"
)

// histogram counts durations, with an error of less than 1 %: 128 buckets for each power of
// two of nanoseconds.
type histogram struct {
	counts [44 * perPower]uint32
}

const (
	powerBits = 7
	perPower  = 1 << powerBits
)

func (h *histogram) add(d time.Duration) {
	v := uint64(max(d, 0))
	power := max(bits.Len64(v)-powerBits-1, 0)
	i := power<<powerBits + int(v>>power)
	h.counts[min(i, len(h.counts)-1)]++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// quantile returns the middle of the bucket in which the quantile is.
func (h *histogram) quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range h.counts {
		total += uint64(n)
	}
	want, sum := uint64(q*float64(total)), uint64(0)
	for i, n := range h.counts {
		if sum += uint64(n); sum > want {
			power := max(i>>powerBits-1, 0)
			v := uint64(i-power<<powerBits) << power
			return time.Duration(v + 1<<power/2)
		}
	}
	return 0
}
