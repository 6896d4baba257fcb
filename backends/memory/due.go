package memory

import "time"

// due is the part of a thing that ends at a time and stands in a dueHeap.
type due struct {
	at    time.Time
	index int
}

func (d *due) dueRef() *due { return d }

// dueAfter returns the time d after now, with d rounded up to whole milliseconds
// as the contracts want it.
func dueAfter(now time.Time, d time.Duration) time.Time {
	return now.Add((d + time.Millisecond - 1).Truncate(time.Millisecond))
}

// dueHeap orders things by when they end, the next one first. It keeps their
// indexes, so that any of them can be moved or removed.
type dueHeap []interface{ dueRef() *due }

func (h dueHeap) isDue(now time.Time) bool {
	return len(h) > 0 && !now.Before(h[0].dueRef().at)
}

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].dueRef().at.Before(h[j].dueRef().at) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueRef().index, h[j].dueRef().index = i, j
}

// Push and Pop are for package heap.
func (h *dueHeap) Push(x any) {
	d := x.(interface{ dueRef() *due })
	d.dueRef().index = len(*h)
	*h = append(*h, d)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
