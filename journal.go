package graphcache

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"github.com/graphcache/graphcache/driver"
)

// The journal is kept in the store (driver.Ledger) and lists anchors that are to be
// cleared in the cache: those of writes whose marks the cache did not take, of writes
// whose outcome is not known, and those whose marks may not have been taken off.
//
// A process that knows of an entry answers the anchor's reads from the store and fills
// nothing: of its own entries at once, of others' from its next look on. Whoever reaches
// both the store and the cache drains: it marks the anchor with the entry's token, waits
// until the write can no longer be applied, takes the mark off, which clears the anchor,
// and removes the entry if it is still the same. The owner knows when its write has
// ended; anybody else waits for the entry's window, by his own clock, from when he first
// saw it.

// WhenCacheDown says what becomes of a write whose anchors cannot be marked in the cache.
type WhenCacheDown uint8

const (
	// Ack puts the anchors into the journal, writes, and acknowledges at once. This
	// process reads what it has written; others may read what was there before, from a
	// cache that they can reach, until they have looked: for two periods at most.
	Ack WhenCacheDown = iota
	// Wait is Ack, but writes two periods after the journal has the anchors, when others
	// have looked or, with Options.Strict, do not use the cache: reads stay linearizable. A
	// transaction stays open in the store for that long.
	Wait
	// Fail refuses the write with ErrUnavailable.
	Fail
)

// String returns the constant's name.
func (w WhenCacheDown) String() string {
	names := [...]string{"Ack", "Wait", "Fail"}
	if int(w) < len(names) {
		return names[w]
	}
	return "invalid"
}

const (
	// ambiguousWindow is how long a write that the store did not answer may yet be
	// applied.
	ambiguousWindow = 2 * time.Minute
	// maxWindow bounds what an entry may claim.
	maxWindow = 10 * time.Minute
	// maxJournal is how many entries there may be: one entry for all anchors takes the
	// place of more.
	maxJournal = 10_000
	// allAnchors is the anchor of that entry.
	allAnchors = ""
	// drainChunk is how many anchors one call of the cache marks or clears.
	drainChunk = 1024
)

// journal is what a process knows of it.
type journal struct {
	owner string
	kick  chan struct{} // wakes whoever drains
	any   atomic.Bool   // there is an entry, its own or another's
	known atomic.Bool   // one of them may have a record

	owed, drained atomic.Int64 // how many entries

	mu       sync.RWMutex
	debts    map[string]*debt     // what this process owes, by anchor
	seen     map[entryKey]*sight  // what others owe, as of the last look
	anchors  map[string]int       // how many of seen there are for an anchor
	dangling map[driver.Hold]bool // marks of entries that are gone
	telling  bool                 // the log says that writes are journalled
}

type entryKey struct{ anchor, owner string }

// debt is what this process owes for one anchor.
type debt struct {
	token  string
	stored time.Time // when the store has confirmed the entry with the token
	sent   bool      // the store may have an entry
	open   int       // writes under way that could not mark the anchor
	until  time.Time // until then a write of unknown outcome may be applied
	record string    // of that write, if there is only one
	stamp  driver.Stamp
	held   time.Time // until then the mark stands
}

func (d *debt) ready(now time.Time) bool { return d.open == 0 && !now.Before(d.until) }

// sight is another process's entry.
type sight struct {
	driver.JournalEntry
	ready time.Time // when its write can no longer be applied
	held  time.Time // until then the mark that this process has made stands
	// settled is when this process had cleared the anchor and removed the entry, unless its
	// owner had replaced it. The next look shows which, or that a call which came late has
	// put it back.
	settled time.Time
}

func (j *journal) init() {
	j.owner, j.kick = crand.Text(), make(chan struct{}, 1)
	j.debts, j.seen = map[string]*debt{}, map[entryKey]*sight{}
	j.anchors, j.dangling = map[string]int{}, map[driver.Hold]bool{}
}

// owes reports whether reads of the anchor must go to the store.
func (j *journal) owes(anchor string) bool {
	if !j.any.Load() {
		return false
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.debts[anchor] != nil || j.debts[allAnchors] != nil || j.anchors[anchor] > 0 || j.anchors[allAnchors] > 0
}

// wake has the journal drained soon.
func (j *journal) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// size returns how many entries this process knows of.
func (j *journal) size() int {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return len(j.debts) + len(j.seen)
}

// updateLocked is called after every change.
func (j *journal) updateLocked() { j.any.Store(len(j.debts)+len(j.seen)+len(j.dangling) > 0) }

// open notes that a write under way owes the anchors, from here on, and returns those to
// be closed after it: all of them, if there are too many. The store is still to be told.
func (j *journal) open(keys []string, token string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	keys = j.roomLocked(keys)
	for _, key := range keys {
		d := j.debtLocked(key)
		d.token, d.stored, d.record = token, time.Time{}, ""
		d.open++
	}
	return keys
}

// roomLocked returns the anchors, or the one for all of them if there are too many.
func (j *journal) roomLocked(keys []string) []string {
	if j.debts[allAnchors] != nil || len(j.debts)+len(j.seen)+len(keys) > maxJournal {
		return []string{allAnchors}
	}
	return keys
}

func (j *journal) debtLocked(key string) *debt {
	d := j.debts[key]
	if d == nil {
		d = new(debt)
		j.debts[key] = d
		j.updateLocked()
	}
	return d
}

// close ends what open began.
func (j *journal) close(keys []string, stamp driver.Stamp) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, key := range keys {
		d := j.debts[key]
		d.open--
		d.stamp = max(d.stamp, stamp)
	}
	j.wake()
}

// doubt notes that a write of unknown outcome owes the anchors until it can no longer be
// applied, and returns them like open. opened is 1 if the write has called that.
func (j *journal) doubt(keys []string, token, record string, opened int) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	keys = j.roomLocked(keys)
	for _, key := range keys {
		d := j.debtLocked(key)
		if d.open > opened || !d.until.IsZero() {
			record = "" // another write owes it too
		}
		if record != "" {
			j.known.Store(true)
		}
		d.token, d.stored, d.record = token, time.Time{}, record
		d.until = time.Now().Add(ambiguousWindow)
	}
	j.wake() // which marks the anchors anew, until all processes have looked and longer
	return keys
}

// unsaved returns the entries of the debts that the store has not confirmed.
func (s *shared) unsaved(keys []string) (entries []driver.JournalEntry) {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, key := range keys {
		if d := j.debts[key]; d != nil && d.stored.IsZero() {
			window := s.window()
			if left := time.Until(d.until); left > 0 {
				window = max(window+time.Second, left) // longer, which is how others know
			}
			entries = append(entries, driver.JournalEntry{
				Anchor: key, Owner: j.owner, Token: d.token, Record: d.record, Window: window.Round(time.Millisecond),
			})
			d.sent = true
		}
	}
	return entries
}

// window is how long after it was journalled a write is applied or refused, or journalled
// again with a longer window because the store does not answer: it may have waited for two
// periods first.
func (s *shared) window() time.Duration {
	return s.opts.HoldTTL + 2*s.opts.HoldTimeout + 2*s.opts.LookPeriod
}

// save tells the store of the debts.
func (s *shared) save(ctx context.Context, keys []string) error {
	if s.ledger == nil {
		return ErrUnavailable
	}
	entries := s.unsaved(keys)
	if len(entries) == 0 {
		return nil
	}
	if err := s.ledger.Owe(ctx, entries); err != nil {
		return err
	}
	s.journal.owed.Add(int64(len(entries)))
	j := &s.journal
	j.mu.Lock()
	for _, e := range entries {
		if d := j.debts[e.Anchor]; d != nil && d.token == e.Token {
			d.stored = time.Now()
		}
	}
	news := !j.telling
	j.telling = true
	j.mu.Unlock()
	if news {
		s.opts.Logger.WarnContext(ctx, "graphcache: the cache is not told of all writes: their anchors go to the journal, and are read from the store", "mode", s.opts.WhenCacheDown.String())
	}
	return nil
}

// see takes in what a look has found that began at the moment.
func (j *journal) see(entries []driver.JournalEntry, began time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	seen := make(map[entryKey]*sight, len(entries))
	for _, e := range entries {
		mine := e.Owner == j.owner
		if d := j.debts[e.Anchor]; mine && d != nil {
			if e.Token != d.token && d.stored.Before(began) {
				d.stored = time.Time{} // an earlier call came late: to be owed again
			}
			continue
		}
		key := entryKey{e.Anchor, e.Owner}
		old := j.seen[key]
		if old == nil || old.Token != e.Token {
			v := &sight{JournalEntry: e, ready: now.Add(min(max(e.Window, 0), maxWindow))}
			if mine { // all is done that was owed
				v.ready = now
			}
			seen[key] = v
			continue
		}
		if old.settled.Before(began) {
			old.settled = time.Time{}
		}
		seen[key] = old
	}
	for key, old := range j.seen {
		// The mark of one that was replaced is left to its deadline: somebody who has
		// not looked yet may need it.
		if seen[key] == nil && old.settled.IsZero() && now.Before(old.held) {
			j.dangling[driver.Hold{Anchor: old.Anchor, Token: old.Token}] = true
		}
	}
	j.seen = seen
	clear(j.anchors)
	known := false
	for key, v := range seen {
		j.anchors[key.anchor]++
		known = known || v.Record != ""
	}
	for _, d := range j.debts {
		known = known || d.record != ""
	}
	j.known.Store(known)
	j.updateLocked()
}

// doubted reports whether a write of unknown outcome is known.
func (s *shared) doubted() bool {
	j := &s.journal
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, d := range j.debts {
		if !d.until.IsZero() {
			return true
		}
	}
	for _, v := range j.seen {
		if v.Window > s.window() {
			return true
		}
	}
	return false
}

// fence names an entry that falls when its record has been written.
type fence struct {
	entryKey
	token, record string
}

// fences returns the entries that a write of the record which is yet to be sent ends: the
// unanswered write expects a version that will be gone for good.
func (j *journal) fences(record string) (found []fence) {
	if !j.known.Load() {
		return nil
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	for key, d := range j.debts {
		if d.record == record {
			found = append(found, fence{entryKey{key, j.owner}, d.token, record})
		}
	}
	for key, v := range j.seen {
		if v.Record == record {
			found = append(found, fence{key, v.Token, record})
		}
	}
	return found
}

// fenced lets the entries be drained, if they are still the same.
func (j *journal) fenced(found []fence) {
	if len(found) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for _, f := range found {
		if d := j.debts[f.anchor]; f.owner == j.owner && d != nil && d.token == f.token && d.record == f.record {
			d.until = now
		}
		if v := j.seen[f.entryKey]; v != nil && v.Token == f.token {
			v.ready = now
		}
	}
	j.wake()
}

// drain does what can be done now for the entries that are known, and reports whether
// this process owes something that could be cleared and was not.
func (s *shared) drain(ctx context.Context) (left bool) {
	if !s.journal.any.Load() {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			s.opts.Logger.ErrorContext(ctx, "graphcache: a backend panicked", "doing", "drain", "panic", v)
			left = true
		}
	}()
	w := s.plan()
	s.mark(ctx, w.marks)
	cleared := s.clear(ctx, w.clears)
	if w.all {
		if err := s.drainAll(ctx); err != nil {
			s.opts.Logger.WarnContext(ctx, "graphcache: the journal stands for all anchors, and the store does not take their invalidation", "error", err)
		} else {
			cleared = w.clears // a higher generation does as well
			cleared = append(cleared, w.allEntries...)
		}
	}
	for chunk := range slices.Chunk(cleared, drainChunk) {
		if !s.settle(ctx, chunk) {
			break // the marks of other entries must be made anew in time
		}
	}
	if owed := s.journal.mine(); len(owed) > 0 && s.ledger != nil {
		ctx, cancel := context.WithTimeout(ctx, s.lookTimeout())
		defer cancel()
		if err := s.save(ctx, owed); err != nil {
			s.opts.Logger.DebugContext(ctx, "graphcache: the store does not take the journal", "error", err)
		}
	}
	return s.journal.overdue()
}

// work is what a drain has to do.
type work struct {
	marks      []*mark
	clears     []due
	all        bool  // the entry for all anchors is due
	allEntries []due // it, once for each owner
}

// mark is a hold for an entry.
type mark struct {
	driver.Hold
	key entryKey
}

// due is an entry that can be cleared.
type due struct {
	entryKey
	token string
	stamp driver.Stamp
	mine  bool
	gone  bool // there is no entry: it is a mark that was left
}

// plan collects what there is to do.
func (s *shared) plan() (w work) {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	stamp := s.lookStamp()
	add := func(key entryKey, token string, ready bool, held time.Time, d due) {
		switch {
		case ready && key.anchor == allAnchors:
			w.all, w.allEntries = true, append(w.allEntries, d)
		case ready:
			w.clears = append(w.clears, d)
		case key.anchor != allAnchors && held.Sub(now) < s.opts.HoldTTL/2:
			w.marks = append(w.marks, &mark{driver.Hold{Anchor: key.anchor, Token: token, TTL: s.opts.HoldTTL}, key})
		}
	}
	for anchor, d := range j.debts {
		key := entryKey{anchor, j.owner}
		add(key, d.token, d.ready(now), d.held, due{entryKey: key, token: d.token, stamp: max(d.stamp, stamp), mine: true})
	}
	for key, v := range j.seen {
		if !v.settled.IsZero() {
			continue
		}
		add(key, v.Token, !now.Before(v.ready), v.held, due{entryKey: key, token: v.Token, stamp: stamp})
	}
	for h := range j.dangling {
		w.clears = append(w.clears, due{entryKey: entryKey{anchor: h.Anchor}, token: h.Token, stamp: stamp, gone: true})
	}
	return w
}

// lookStamp returns the moment of the last look.
func (s *shared) lookStamp() driver.Stamp {
	if stamp := s.looks.stamp.Load(); stamp != nil {
		return *stamp
	}
	return ""
}

// mark marks the anchors of entries whose writes may yet be applied.
func (s *shared) mark(ctx context.Context, marks []*mark) {
	for chunk := range slices.Chunk(marks, drainChunk) {
		holds := make([]driver.Hold, len(chunk))
		for i, m := range chunk {
			holds[i] = m.Hold
		}
		sent := time.Now()
		timed, cancel := context.WithTimeout(ctx, s.opts.HoldTimeout)
		outcomes, err := s.opts.Cache.Hold(timed, holds)
		cancel()
		s.countCacheError(err)
		j := &s.journal
		j.mu.Lock()
		for i, m := range chunk {
			// One that may stand counts as one that does only if it is confirmed,
			// for it is made again, and as one that is to be taken off.
			switch d, v := j.debts[m.key.anchor], j.seen[m.key]; {
			case i >= len(outcomes) || outcomes[i] != driver.Done:
			case m.key.owner == j.owner && d != nil && d.token == m.Token:
				d.held = sent.Add(s.opts.HoldTTL)
			case v != nil && v.Token == m.Token:
				v.held = sent.Add(s.opts.HoldTTL)
			}
		}
		j.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// clear takes the marks off, which clears the anchors, and returns what is confirmed.
func (s *shared) clear(ctx context.Context, clears []due) (cleared []due) {
	for chunk := range slices.Chunk(clears, drainChunk) {
		releases := make([]driver.Release, len(chunk))
		for i, d := range chunk {
			releases[i] = driver.Release{Anchor: d.anchor, Token: d.token, Stamp: d.stamp, KeepStamp: keepStamp}
		}
		timed, cancel := context.WithTimeout(ctx, s.opts.HoldTimeout)
		outcomes, err := s.opts.Cache.Release(timed, releases)
		cancel()
		s.countCacheError(err)
		for i, d := range chunk {
			if i < len(outcomes) && outcomes[i] != driver.Unknown {
				cleared = append(cleared, d)
			}
		}
		if err != nil {
			break
		}
	}
	return cleared
}

// drainAll drops every kind that this program or another version knows.
func (s *shared) drainAll(ctx context.Context) error {
	if s.ledger == nil {
		s.raiseHere()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.lookTimeout())
	defer cancel()
	return s.raiseAndLook(ctx, s.registry.kindNames())
}

// settle removes the entries that have been cleared. It reports false if the store does not
// answer.
func (s *shared) settle(ctx context.Context, cleared []due) bool {
	j := &s.journal
	var entries []driver.JournalEntry
	j.mu.Lock()
	for _, d := range cleared {
		own := j.debts[d.anchor]
		switch {
		case d.gone:
			delete(j.dangling, driver.Hold{Anchor: d.anchor, Token: d.token})
			continue
		case d.mine && own != nil && (own.token != d.token || !own.ready(time.Now())):
			continue // another write owes it since
		case d.mine && own != nil && !own.sent:
			delete(j.debts, d.anchor)
			continue
		}
		entries = append(entries, driver.JournalEntry{Anchor: d.anchor, Owner: d.owner, Token: d.token})
	}
	j.updateLocked()
	j.mu.Unlock()
	if len(entries) == 0 || s.ledger == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, s.lookTimeout())
	defer cancel()
	if err := s.ledger.Settle(ctx, entries); err != nil {
		s.opts.Logger.DebugContext(ctx, "graphcache: the store does not take what was drained from the journal", "error", err)
		return false
	}
	j.drained.Add(int64(len(entries)))
	j.mu.Lock()
	for _, e := range entries {
		if d := j.debts[e.Anchor]; e.Owner == j.owner && d != nil && d.token == e.Token && d.ready(time.Now()) {
			delete(j.debts, e.Anchor)
		}
		if v := j.seen[entryKey{e.Anchor, e.Owner}]; v != nil && v.Token == e.Token {
			v.settled = time.Now()
		}
	}
	j.updateLocked()
	left := len(j.debts) + len(j.seen)
	if len(j.debts) == 0 {
		j.telling = false
	}
	j.mu.Unlock()
	s.opts.Logger.LogAttrs(ctx, slog.LevelInfo, "graphcache: the journal was drained", slog.Int("entries", len(entries)), slog.Int("left", left))
	return true
}

// mine returns the anchors that this process owes.
func (j *journal) mine() []string {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return slices.Collect(maps.Keys(j.debts))
}

// next returns when there is something to do at the latest: without looks nobody else
// wakes whoever drains.
func (j *journal) next() time.Duration {
	if j.any.Load() {
		return maxDrainPause
	}
	return math.MaxInt64
}

// overdue reports whether this process owes what could be cleared.
func (j *journal) overdue() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	now := time.Now()
	for _, d := range j.debts {
		if d.ready(now) {
			return true
		}
	}
	return false
}
