package graphcache

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// The invalidation map: which anchors a write touches. A cached value depends on
// what writes to its anchor cover and on nothing else, so holding these anchors
// during the write invalidates exactly what the write changes.

// touched returns the anchors that a write of the object touches which takes its
// document from one to another: the object, what its entries in the indexes were and
// will be, and the kind if searches of it are cached. A nil document is that of an
// object that reads as absent.
func (k *boundKind) touched(id string, before, after *driver.Document) []anchor {
	anchors := []anchor{{objectAnchor, k.name, id}}
	if before == nil && after == nil {
		return anchors
	}
	reg := k.registered.Load()
	for _, ix := range k.indexes {
		anchors = ix.appendTouched(anchors, before, after)
	}
	for _, ix := range reg.indexes {
		anchors = ix.appendTouched(anchors, before, after)
	}
	if reg.scans {
		anchors = append(anchors, anchor{typ: kindAnchor, kind: k.name})
	}
	return anchors
}

// present returns the object's document, nil if the object reads as absent.
func present(o *driver.Object) *driver.Document {
	if o == nil || o.Deleting {
		return nil
	}
	return &o.Doc
}

// touched returns the anchors that a write of the edge touches: the lists of both
// its ends.
func (k *edgeKind) touched(from, to string) []anchor {
	if !k.symmetric {
		return []anchor{{outAnchor, k.name, from}, {inAnchor, k.name, to}}
	}
	if from == to {
		return []anchor{{outAnchor, k.name, from}}
	}
	return []anchor{{outAnchor, k.name, from}, {outAnchor, k.name, to}}
}

// touchedWith returns the anchors that a write of the edge touches if it takes the
// place of another edge with the same key: in a to-one kind that one may have led
// elsewhere, and vanishes from the list there.
func (k *edgeKind) touchedWith(old *driver.Edge, from, to string) []anchor {
	anchors := k.touched(from, to)
	if old != nil && old.To != to {
		anchors = append(anchors, anchor{inAnchor, k.name, old.To})
	}
	return anchors
}

// exactly returns the anchors whatever is registered: those of edges and of objects alone.
func exactly(anchors ...anchor) func() []anchor { return func() []anchor { return anchors } }

// touchedBy returns the anchors that a write has touched which is Done, going by the
// record that it met.
func (g *Graph) touchedBy(w *driver.Write, r *driver.WriteResult) (anchors []anchor) {
	k := g.kinds[w.Kind]
	if old := r.OldObject; old != nil && k.object != nil {
		return k.touched(w.Object.ID, present(old), present(r.Object))
	}
	if old := r.OldEdge; old != nil && k.edge != nil {
		anchors = k.edge.touched(old.From, old.To)
		if other := g.kinds[w.NewKind]; other != nil && other.edge != nil {
			anchors = append(anchors, other.edge.touched(old.From, old.To)...)
		}
	}
	return anchors
}

// readWriter is the part of a store that a transaction has too.
type readWriter interface {
	storeReader
	Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error)
}

// session is the store as a write sees it while its anchors are held.
type session struct {
	g         *Graph
	store     readWriter
	tx        bool            // the store is a transaction: what fails in it is never committed
	stamp     driver.Stamp    // the latest of the session's writes
	unknown   bool            // a write was sent and its outcome is not known
	record    string          // of the only such write, if another write of the record ends the doubt
	held      map[anchor]bool // or to be held before the commit; nil without a cache
	unheld    []anchor        // touched all the same: see meet
	abandoned bool            // the cache did not confirm that the marks are gone
}

// meet looks for anchors that a write which is Done has touched and that are not held,
// because the record that it met had other index entries, or in a to-one kind another
// end, than the write was prepared for: something writes the store that graphcache does
// not know of. They are cleared before the write is acknowledged.
func (s *session) meet(w *driver.Write, r *driver.WriteResult) {
	if s.held == nil || r.OldObject == nil && r.OldEdge == nil {
		return
	}
	known := len(s.unheld)
	for _, a := range s.g.touchedBy(w, r) {
		if !s.held[a] {
			s.unheld = append(s.unheld, a)
		}
	}
	if len(s.unheld) > known {
		s.g.kinds[w.Kind].counters.metUnheld()
	}
}

// uncertain says that a write may have been applied. In a transaction it was not:
// one in which this has happened does not commit.
func (s *session) uncertain(what string, cause error) error {
	if s.tx {
		return because(ErrUnavailable, "the transaction cannot commit: "+what, cause)
	}
	return because(ErrUnknownOutcome, what, cause)
}

// write applies one write. Outcomes other than Done, Exists, Missing and Conflict
// are errors.
func (s *session) write(ctx context.Context, w driver.Write) (driver.WriteResult, error) {
	results, err := s.writeAll(ctx, []driver.Write{w})
	if err != nil {
		return driver.WriteResult{}, err
	}
	return results[0], nil
}

// writeAll applies the writes. The error is that of the worst outcome: one that is
// not known before one that was refused.
func (s *session) writeAll(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	s.g.shared.storeWrites.Add(1)
	fences := s.fences(writes)
	results, err := s.store.Write(ctx, writes)
	for len(results) < len(writes) {
		results = append(results, driver.WriteResult{})
	}
	unknown, refused := false, false
	for i, r := range results {
		s.stamp = max(s.stamp, r.Stamp)
		c := s.g.shared.counters[writes[i].Kind]
		switch r.Outcome {
		case driver.Unknown:
			unknown = true
			s.doubt(&writes[i])
		case driver.Refused:
			refused = true
		case driver.Done:
			c.writes.Add(1)
			s.meet(&writes[i], &results[i])
			s.g.shared.journal.fenced(fences[i])
		case driver.Conflict:
			c.conflicts.Add(1)
		}
	}
	switch {
	case unknown:
		s.unknown = true
		return results, s.uncertain("the store did not answer a write", err)
	case refused && err == nil:
		return results, errors.New("graphcache: write the store: refused, and no reason was given")
	case err != nil:
		return results, fmt.Errorf("graphcache: write the store: %w", err)
	}
	return results, nil
}

// recordKey names the record that a write changes.
func (g *Graph) recordKey(w *driver.Write) string {
	switch k := g.kinds[w.Kind]; {
	case w.Object != nil:
		return k.anchorKey(objectAnchor, w.Object.ID)
	case k.edge.toOne:
		return k.anchorKey(outAnchor, w.Edge.From)
	default:
		return k.anchorKey(outAnchor, w.Edge.From) + "\x00" + w.Edge.To
	}
}

// fences returns, by write, what is in the journal for writes of the same record.
func (s *session) fences(writes []driver.Write) map[int][]fence {
	j := &s.g.shared.journal
	if s.tx || !j.any.Load() {
		return nil
	}
	fences := map[int][]fence{}
	for i := range writes {
		if found := j.fences(s.g.recordKey(&writes[i])); len(found) > 0 {
			fences[i] = found
		}
	}
	return fences
}

// doubt notes a write of unknown outcome. If it expects a version, a later write of the
// record ends the doubt, since versions do not come back.
func (s *session) doubt(w *driver.Write) {
	if s.record = ""; !s.unknown && w.Expect != 0 {
		s.record = s.g.recordKey(w)
	}
	s.unknown = true
}

// mutate runs fn, which writes the store, while the anchors are held in the cache.
// It honours ctx until the first hold is sent; from there on it runs to the end
// under its own deadlines, because a write that is dropped half-way has an outcome
// that nobody knows. fn must only touch the anchors that touched returns, which is
// called when it is known what other versions of the program cache under. Both run once.
func (g *Graph) mutate(ctx context.Context, touched func() []anchor, fn func(context.Context, *session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !g.shared.begin() {
		return errClosed
	}
	defer g.shared.end()
	if err := g.shared.lookFirst(ctx); err != nil {
		return err
	}
	m := mutation{g: g, anchors: touched(), session: session{g: g, store: g.store}}
	return m.run(context.WithoutCancel(ctx), fn)
}

// mutation is one write in progress.
type mutation struct {
	g       *Graph
	session session
	anchors []anchor
	keys    []string
	held    []bool // by key: the token may be there, or what was filled without it
	token   string
	wrote   bool
	late    bool     // there are no holds, and what was filled without them is cleared
	tries   int      // of the release
	owed    []string // what the journal was told before the store was written
	ended   bool     // by itself, not by a panic
	err     error
}

func (m *mutation) run(ctx context.Context, fn func(context.Context, *session) error) error {
	if m.g.shared.opts.Cache == nil {
		began := time.Now()
		m.g.shared.wrote(ctx, began, protocol.WriteStore, m.write(ctx, fn))
		return m.err
	}
	m.token = crand.Text()
	m.prepare()
	defer m.abandon()
	m.steps(ctx, protocol.Writer{}, protocol.PlaceHolds, fn)
	m.ended = true
	return m.err
}

// abandon leaves to the journal what a backend's panic has interrupted: if the store was
// asked to write, nobody knows the outcome.
func (m *mutation) abandon() {
	if m.ended {
		return
	}
	j := &m.g.shared.journal
	if m.wrote {
		j.doubt(m.keys, crand.Text(), "", 0)
		m.g.shared.heldHere(m.keys)
	}
	if m.owed != nil {
		j.close(m.owed, "")
	}
}

// steps does what is to be done until the write is finished.
func (m *mutation) steps(ctx context.Context, w protocol.Writer, action protocol.WriteAction, fn func(context.Context, *session) error) {
	start := time.Now()
	for {
		var ev protocol.WriteEvent
		began := time.Now()
		switch action {
		case protocol.PlaceHolds:
			ev = m.hold(ctx, start)
		case protocol.Owe:
			if ev = m.owe(ctx); ev == protocol.OweFailed && !m.wrote && len(m.anchors) > 0 {
				m.counters(0).refusedWrite(m.err)
			}
		case protocol.WriteStore:
			m.err = nil
			ev = m.write(ctx, fn)
			m.clearUnheld(ctx)
		case protocol.ReleaseHolds:
			if w.Failed && m.inBackground(func() { m.releaseRefused(ctx, w) }) {
				return
			}
			ev = m.release(ctx)
		default:
			m.finish(w)
			return
		}
		m.did(ctx, began, action, ev)
		w, action = w.Step(ev)
	}
}

// clearUnheld clears the anchors that the store was found to have been written under
// without a hold: a release clears what it finds no mark on. Should the cache not confirm
// it, the journal takes them.
func (m *mutation) clearUnheld(ctx context.Context) {
	if len(m.session.unheld) == 0 {
		return
	}
	late := mutation{g: m.g, anchors: m.session.unheld, late: true, wrote: true, session: session{g: m.g, stamp: m.session.stamp}}
	late.token = crand.Text()
	late.prepare()
	w, action := protocol.Writer{}.Step(protocol.Written)
	late.steps(ctx, w, action, nil)
}

// prepare makes the keys of the anchors, each once.
func (m *mutation) prepare() {
	seen := make(map[anchor]bool, len(m.anchors))
	anchors := m.anchors
	m.anchors = make([]anchor, 0, len(anchors))
	for _, a := range anchors {
		if seen[a] {
			continue
		}
		seen[a] = true
		if m.g.shared.dropped != nil && m.g.shared.dropped(a) {
			continue
		}
		m.anchors = append(m.anchors, a)
		m.keys = append(m.keys, m.g.space.key(a))
	}
	m.held = slices.Repeat([]bool{m.late}, len(m.keys))
	m.session.held = seen
}

// hold marks the anchors. A hold's age counts from before the first one was sent:
// when placing them has taken so long that they might end before the write does,
// they count as not placed.
func (m *mutation) hold(ctx context.Context, start time.Time) protocol.WriteEvent {
	opts := &m.g.shared.opts
	ctx, cancel := context.WithTimeout(ctx, opts.HoldTimeout)
	defer cancel()
	holds := make([]driver.Hold, len(m.keys))
	for i, key := range m.keys {
		holds[i] = driver.Hold{Anchor: key, Token: m.token, TTL: opts.HoldTTL}
	}
	if time.Since(start) >= opts.HoldTimeout && m.journals() {
		if m.err == nil {
			m.err = fmt.Errorf("%w: a write has waited for %v before its holds", ErrUnavailable, time.Since(start))
		}
		return protocol.HoldsFailed // the caller has waited long enough
	}
	outcomes, err := opts.Cache.Hold(ctx, holds)
	m.g.shared.countCacheError(err)
	placed := err == nil
	for i := range holds {
		outcome := driver.Unknown
		if i < len(outcomes) {
			outcome = outcomes[i]
		}
		placed = placed && outcome == driver.Done
		m.held[i] = m.held[i] || outcome != driver.Refused
	}
	m.g.shared.heldHere(m.keys)
	switch age := time.Since(start); {
	case !placed:
		m.err = because(ErrUnavailable, "the cache did not accept the holds of a write", err)
	case age > 2*opts.HoldTimeout+time.Second:
		m.err = fmt.Errorf("%w: placing the holds of a write took %v", ErrUnavailable, age)
	default:
		return protocol.HoldsPlaced
	}
	return protocol.HoldsFailed
}

// journals reports whether the journal may take what the cache does not.
func (m *mutation) journals() bool {
	s := m.g.shared
	return s.ledger != nil && (m.wrote || s.opts.WhenCacheDown != Fail)
}

// owe puts the anchors into the journal. Before the write it is as good as a hold, for
// those who know of it, if it has not taken too long: others wait for the entry's window
// from when they see it, which is at the earliest now. After the write this process goes
// on trying by itself, should the store not take it.
func (m *mutation) owe(ctx context.Context) protocol.WriteEvent {
	s := m.g.shared
	j := &s.journal
	limit := 2*s.opts.HoldTimeout + time.Second
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if m.wrote {
		keys := m.keys
		if m.session.unknown {
			token, opened := m.token, 0
			if m.owed != nil {
				token, opened = crand.Text(), 1 // others count the longer window anew
			}
			keys = j.doubt(keys, token, m.session.record, opened)
		} else {
			keys = j.open(m.left(), m.token)
			j.close(keys, m.session.stamp)
		}
		s.heldHere(m.keys)
		if err := s.save(ctx, keys); err != nil {
			return protocol.OweFailed
		}
		if s.opts.WhenCacheDown == Wait && !m.session.unknown {
			// A mark that the cache has lost may have let others fill.
			_ = sleep(context.WithoutCancel(ctx), 2*s.opts.LookPeriod)
		}
		return protocol.Owed
	}
	if !m.journals() {
		return protocol.OweFailed
	}
	m.owed = j.open(m.keys, m.token)
	s.heldHere(m.keys)
	err := s.save(ctx, m.owed)
	if err == nil && time.Since(start) > limit {
		err = fmt.Errorf("the journal took %v", time.Since(start))
	}
	if err != nil {
		m.err = errors.Join(m.err, fmt.Errorf("the journal did not take them either: %w", err))
		j.close(m.owed, "")
		m.owed = nil
		return protocol.OweFailed
	}
	if s.opts.WhenCacheDown == Wait {
		// Not after the write: who reads the store would see it before those who have
		// not looked stop reading the cache.
		_ = sleep(context.WithoutCancel(ctx), 2*s.opts.LookPeriod)
	}
	return protocol.Owed
}

// left returns the keys whose marks may not have been taken off.
func (m *mutation) left() (keys []string) {
	for i, key := range m.keys {
		if m.held[i] {
			keys = append(keys, key)
		}
	}
	return keys
}

// write runs fn under the deadline of a write.
func (m *mutation) write(ctx context.Context, fn func(context.Context, *session) error) protocol.WriteEvent {
	ctx, cancel := context.WithTimeout(ctx, m.g.shared.opts.WriteTimeout)
	defer cancel()
	m.wrote = true
	m.err = fn(ctx, &m.session)
	return m.session.event()
}

// event says what has become of the session's writes.
func (s *session) event() protocol.WriteEvent {
	if s.unknown {
		return protocol.WriteUnknown
	}
	return protocol.Written
}

// release takes the marks off.
func (m *mutation) release(ctx context.Context) protocol.WriteEvent {
	opts := &m.g.shared.opts
	ctx, cancel := context.WithTimeout(ctx, opts.HoldTimeout)
	defer cancel()
	releases := make([]driver.Release, 0, len(m.keys))
	which := make([]int, 0, len(m.keys))
	for i, key := range m.keys {
		if m.held[i] {
			releases = append(releases, driver.Release{Anchor: key, Token: m.token, Stamp: m.session.stamp, KeepStamp: keepStamp})
			which = append(which, i)
		}
	}
	if len(releases) == 0 {
		return protocol.Released
	}
	outcomes, err := opts.Cache.Release(ctx, releases)
	m.g.shared.countCacheError(err)
	m.tries++
	if slices.ContainsFunc(outcomes, func(o driver.Outcome) bool { return o != driver.Done }) || len(outcomes) < len(releases) {
		// Without the mark this process may have kept what it read before the write.
		m.g.shared.heldHere(m.keys)
	}
	confirmed := err == nil
	for i := range releases {
		switch {
		case i >= len(outcomes) || outcomes[i] == driver.Unknown:
			confirmed = false
		case outcomes[i] == driver.Refused && m.wrote && m.tries == 1 && !m.late:
			m.counters(which[i]).lostHold()
		}
	}
	if confirmed {
		return protocol.Released
	}
	return protocol.ReleaseFailed
}

// inBackground runs what the caller of a write need not wait for. It reports false when
// the graph is being closed, or when as much is under way as may be: then the caller does
// it, and so brings no more.
func (m *mutation) inBackground(f func()) bool {
	s := m.g.shared
	select {
	case s.releases <- struct{}{}:
	default:
		return false
	}
	started := s.spawn(func() {
		defer func() { <-s.releases }()
		defer m.g.logPanic(context.Background(), "release")
		f()
	})
	if !started {
		<-s.releases
	}
	return started
}

// maxReleases is how many refused writes may have their marks taken off in the
// background at once.
const maxReleases = 64

// releaseRefused takes the marks of a write off that was refused because not all of them
// could be placed.
func (m *mutation) releaseRefused(ctx context.Context, w protocol.Writer) {
	for action := protocol.ReleaseHolds; action == protocol.ReleaseHolds; {
		w, action = w.Step(m.release(ctx))
	}
	m.finish(w)
}

// finish counts what was left standing, and hands it to the journal.
func (m *mutation) finish(w protocol.Writer) {
	s := m.g.shared
	m.session.abandoned = w.Abandoned || w.Owed
	if m.owed != nil {
		s.journal.close(m.owed, m.session.stamp)
	} else if w.Abandoned || w.Owed {
		for i := range m.keys {
			if m.held[i] {
				m.counters(i).abandonedHolds.Add(1)
			}
		}
	}
}

// keepStamp is how long an anchor remembers the moment of its last write: longer
// than a deposed primary of a store goes on answering.
const keepStamp = 30 * time.Second

// counters returns the counters of the kind of the i-th anchor.
func (m *mutation) counters(i int) *kindCounters {
	return m.g.shared.counters[m.anchors[i].kind]
}
