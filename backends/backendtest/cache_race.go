package backendtest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/graphcache/graphcache/driver"
)

// oneClaimant lets many claim at once: because an entry changes atomically, one of
// them becomes the loader and all see its version.
func (r *cacheRig) oneClaimant() {
	const claimants = 16
	for round := range 20 {
		anchor := fmt.Sprint("round ", round)
		entries := make([]driver.Entry, claimants)
		var group sync.WaitGroup
		for i := range claimants {
			group.Go(func() {
				got, err := r.c.Claim(r.Context(), []driver.Claim{{Anchor: anchor, Version: uint64(i + 1), Lease: long, TTL: long}})
				if err != nil || len(got) != 1 {
					r.Errorf("Claim: %d entries, %v", len(got), err)
					return
				}
				entries[i] = got[0]
			})
		}
		group.Wait()
		claimed := 0
		for i, entry := range entries {
			if entry.Claimed {
				claimed++
				if entry.Version != uint64(i+1) {
					r.Errorf("rule 1: the claim that makes an entry Versioned gives its own version: got %d, want %d", entry.Version, i+1)
				}
			}
			if entry.Version != entries[0].Version {
				r.Errorf("rule 1: all claims see the same version: got %d and %d", entry.Version, entries[0].Version)
			}
		}
		if claimed != 1 {
			r.Errorf("rule 1: of %d claims at once %d were granted, want 1", claimants, claimed)
		}
	}
}

// race runs writers and readers on a few anchors, each as the protocol has it, and
// checks what the protocol is for: a hit is never older than the last write that
// had ended before the read began.
func (r *cacheRig) race() {
	const anchors, writers, readers, rounds = 3, 3, 6, 150
	cells := make([]raceCell, anchors)
	for i := range cells {
		cells[i].anchor = fmt.Sprint("cell ", i)
	}
	var versions atomic.Uint64
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range rounds {
				if err := r.raceWrite(&cells[i%anchors], fmt.Sprintf("w%d.%d", w, i), &versions); err != nil {
					r.Error(err)
					return
				}
			}
		})
	}
	for range readers {
		group.Go(func() {
			for i := range 3 * rounds {
				if err := r.raceRead(&cells[i%anchors], []string{"", "f"}[i%2], &versions); err != nil {
					r.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	for i := range cells {
		if r.lookup(cells[i].anchor, "").State == driver.Held {
			r.Errorf("when every token has been released the entry is not Held: %s", cells[i].anchor)
		}
	}
}

// raceCell is a record in the pretended store of the race.
type raceCell struct {
	anchor string
	mu     sync.Mutex
	stored int64        // protected by mu
	ended  atomic.Int64 // the latest write that was released
}

func (c *raceCell) read() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored
}

func (c *raceCell) write() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored++
	return c.stored
}

// end notes that the write and all before it are acknowledged.
func (c *raceCell) end(written int64) {
	for {
		last := c.ended.Load()
		if last >= written || c.ended.CompareAndSwap(last, written) {
			return
		}
	}
}

// raceWrite is a write: hold, change the store, release. While the token stands it
// looks whether anything could be read or filled.
func (r *cacheRig) raceWrite(cell *raceCell, token string, versions *atomic.Uint64) error {
	ctx := r.Context()
	if _, err := r.c.Hold(ctx, []driver.Hold{{Anchor: cell.anchor, Token: token, TTL: long}}); err != nil {
		return err
	}
	written := cell.write()
	seen, err := r.c.Lookup(ctx, []driver.Lookup{{Anchor: cell.anchor}})
	if err != nil {
		return err
	}
	claimed, err := r.c.Claim(ctx, []driver.Claim{{Anchor: cell.anchor, Version: versions.Add(1), Lease: long, TTL: long}})
	if err != nil {
		return err
	}
	if seen[0].State != driver.Held || seen[0].Value != nil || claimed[0].State != driver.Held || claimed[0].Claimed {
		return fmt.Errorf("rule 4: while a token stands the entry is Held: got %v and %v, claimed %v",
			seen[0].State, claimed[0].State, claimed[0].Claimed)
	}
	outcomes, err := r.c.Release(ctx, []driver.Release{{Anchor: cell.anchor, Token: token}})
	if err != nil {
		return err
	}
	if outcomes[0] != driver.Done {
		return errors.New("rule 6: a token must not vanish before its deadline: Release was " + outcomes[0].String())
	}
	cell.end(written)
	return nil
}

// raceRead is a read: look up, else claim, load and fill.
func (r *cacheRig) raceRead(cell *raceCell, field string, versions *atomic.Uint64) error {
	ctx := r.Context()
	floor := cell.ended.Load()
	entries, err := r.c.Lookup(ctx, []driver.Lookup{{Anchor: cell.anchor, Field: field}})
	if err != nil {
		return err
	}
	if entries[0].Value != nil {
		return checkHit(entries[0], floor)
	}
	entries, err = r.c.Claim(ctx, []driver.Claim{{Anchor: cell.anchor, Field: field, Version: versions.Add(1), Lease: long, TTL: long}})
	if err != nil {
		return err
	}
	entry := entries[0]
	if entry.Value != nil {
		return checkHit(entry, floor)
	}
	if entry.State != driver.Versioned {
		return nil
	}
	// Claimed or not, whoever saw the version may load under it.
	value := fmt.Sprintf("%d/%d", entry.Version, cell.read())
	_, err = r.c.Fill(ctx, []driver.Fill{{Anchor: cell.anchor, Field: field, Version: entry.Version, Value: []byte(value), TTL: long, Limit: 9}})
	return err
}

// checkHit checks a value of the form version/stored.
func checkHit(entry driver.Entry, floor int64) error {
	var version uint64
	var stored int64
	if _, err := fmt.Sscanf(string(entry.Value), "%d/%d", &version, &stored); err != nil {
		return fmt.Errorf("a value comes back as it was filled: got %s", strconv.Quote(string(entry.Value)))
	}
	if version != entry.Version {
		return fmt.Errorf("rule 2: a value is only returned with the version under which it was filled: value of %d, entry has %d", version, entry.Version)
	}
	if stored < floor {
		return fmt.Errorf("rules 2 to 4: a hit shows write %d though write %d had ended before the read began", stored, floor)
	}
	return nil
}
