package main

import (
	"math/rand/v2"
	"time"
)

// history keeps the catalogs of the recent past, so that a lagging member of
// a replica set can be played.
type history struct {
	span  time.Duration // how far back reads go; 0 for not at all
	items []snapshot
}

// snapshot is the catalog that was the latest since a moment.
type snapshot struct {
	since   time.Time
	time    uint64 // its optime
	catalog *catalog
}

func (h *history) add(optime uint64, c *catalog) {
	now := time.Now()
	if h.span == 0 {
		h.items = nil
	}
	h.items = append(h.items, snapshot{now, optime, c})
	old := 0
	for old+1 < len(h.items) && now.Sub(h.items[old+1].since) > h.span {
		old++
	}
	h.items = h.items[old:]
}

// pick returns a snapshot as of a random moment of the span that is not older
// than the optime after. The latest must be as new as that.
func (h *history) pick(after uint64) snapshot {
	latest := h.items[len(h.items)-1]
	if h.span == 0 {
		return latest
	}
	now := time.Now()
	from := now.Add(-h.span)
	for _, item := range h.items {
		if item.time >= after {
			if after > 0 && item.since.After(from) {
				from = item.since
			}
			break
		}
	}
	at := from.Add(time.Duration(rand.Float64() * float64(now.Sub(from))))
	picked := h.items[0]
	for _, item := range h.items {
		if item.since.After(at) && picked.time >= after {
			break
		}
		picked = item
	}
	return picked
}
