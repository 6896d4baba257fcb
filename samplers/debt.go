package samplers

import "iter"

// debt is what is still to be reported of a key: requests beyond the first n in a window
// that ended, or will end, when the clock reads end.
type debt struct {
	name  name
	end   uint32
	count uint32
}

const (
	debtBytes  = 16
	slotsADebt = 16 // there is room for one debt in the ring for so many slots
)

// ring has the debts of keys that have lost their slots, up to a number of them.
type ring struct {
	debts []debt
	first int
	n     int
	lost  uint64 // requests for which there was no room

	filling chan struct{} // has an element when debts are to be reported at once: half of the room is taken
}

func newRing(size int) ring {
	return ring{debts: make([]debt, max(size, 1)), filling: make(chan struct{}, 1)}
}

// push adds a debt, unless it is of nothing.
func (r *ring) push(d debt) {
	switch {
	case d.count == 0:
	case r.n == len(r.debts) || d.name == (name{}):
		r.lost += uint64(d.count)
	default:
		r.debts[(r.first+r.n)%len(r.debts)] = d
		r.n++
		if r.n >= (len(r.debts)+1)/2 {
			r.tell()
		}
	}
}

// tell wakes the one who reports debts.
func (r *ring) tell() {
	select {
	case r.filling <- struct{}{}:
	default:
	}
}

// all returns the debts, the oldest first.
func (r *ring) all() iter.Seq[debt] {
	return func(yield func(debt) bool) {
		for i := range r.n {
			if !yield(r.debts[(r.first+i)%len(r.debts)]) {
				return
			}
		}
	}
}

// pop takes out the oldest debt.
func (r *ring) pop() (d debt, ok bool) {
	if r.n == 0 {
		return debt{}, false
	}
	d = r.debts[r.first]
	r.first = (r.first + 1) % len(r.debts)
	r.n--
	return d, true
}
