package memory

// queue is a list of entries, linked through the entries themselves. An entry is
// in one queue at most.
type queue struct {
	first, last *entry
}

// push puts the entry last.
func (q *queue) push(e *entry) {
	e.queue, e.prev, e.next = q, q.last, nil
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
}

// remove takes the entry out.
func (q *queue) remove(e *entry) {
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.queue, e.prev, e.next = nil, nil, nil
}
