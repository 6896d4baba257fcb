package graphcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
	"github.com/graphcache/graphcache/internal/within"
)

// Freshness says how recent the answer of a read must be.
type Freshness uint8

const (
	// Cached reads are answered from the cache where it can. They see every write that was
	// acknowledged before they began, unless there is a near cache (Options.NearCache): of
	// other processes' writes they then see those that are older than its MaxStale.
	Cached Freshness = iota
	// Shared reads are Cached reads that pass by the near cache.
	Shared
	// Fresh reads go to the store and leave the cache as it is.
	Fresh
)

// fetch answers the requests, all misses of a round in one batch. The error is the
// first of the requests'; it is also returned when ctx ends.
//
// Look-up, claim and load are one batch each for all requests together. A request
// that waits for another process's load comes round again.
func (g *Graph) fetch(ctx context.Context, reqs []request, fresh Freshness) error {
	if g.shared.isClosed() {
		return errClosed
	}
	near := g.shared.near
	if fresh != Cached {
		near = nil
	}
	if near != nil && near.answer(reqs) {
		return nil
	}
	name(reqs)
	cached := g.conn().cached(fresh)
	if cached {
		g.bypass(reqs)
	}
	begin(reqs)
	for i := range reqs {
		if r := &reqs[i]; r.way != wayNear && (!cached || r.direct || r.bypass) {
			r.next = protocol.Next{Action: protocol.Load}
		}
	}
	if cached {
		_ = g.lookup(ctx, reqs) // what the cache does not answer, the store does
		countLookups(reqs)
	}
	for pending(reqs) {
		if err := ctx.Err(); err != nil {
			return err
		}
		// A claim is followed by a load or given back, whatever becomes of the
		// caller: other processes wait for it.
		g.claim(context.WithoutCancel(ctx), reqs)
		g.takeOff(ctx, reqs)
		if err := g.land(ctx, reqs); err != nil {
			return err
		}
	}
	if near != nil {
		near.keepHits(reqs)
	}
	return firstError(reqs)
}

// bypass sends those requests to the store for which the cache may have old values, as far
// as this process knows: their anchors are in the journal, or it has not looked for long.
func (g *Graph) bypass(reqs []request) {
	s := g.shared
	trusted := s.trustsCache()
	if trusted && !s.journal.any.Load() {
		return
	}
	for i := range reqs {
		if r := &reqs[i]; !r.direct && r.way != wayNear && (!trusted || s.journal.owes(r.anchor)) {
			r.bypass = true
		}
	}
}

// begin notes the generations of the kinds: from here on, values of earlier ones are
// none. What is no more in the journal because a generation was raised has it by now.
func begin(reqs []request) {
	for i := range reqs {
		reqs[i].generation = reqs[i].kind.generation.Load()
	}
}

// pending reports whether a request has neither an answer nor an error.
func pending(reqs []request) bool {
	for i := range reqs {
		if a := reqs[i].next.Action; a != 0 && a != protocol.Hit {
			return true
		}
	}
	return false
}

func firstError(reqs []request) error {
	for i := range reqs {
		if reqs[i].err != nil {
			return reqs[i].err
		}
	}
	return nil
}

// lookup reads all requests from the cache, and once more those whose primary value
// is in another schema's layout. The error says that the cache has not answered all.
func (g *Graph) lookup(ctx context.Context, reqs []request) error {
	name(reqs)
	err := g.look(ctx, reqs, func(r *request) bool { return !r.direct && !r.bypass && r.way != wayNear })
	for i := range reqs {
		if reqs[i].foreign {
			return errors.Join(err, g.look(ctx, reqs, (*request).toForeign))
		}
	}
	return err
}

// toForeign sends a request to this schema's own copy of a primary fragment.
func (r *request) toForeign() bool {
	if !r.foreign {
		return false
	}
	r.foreign = false
	r.field = field{typ: foreignField, fingerprint: r.kind.fingerprint}.key()
	return true
}

// look reads the chosen requests from the cache in one batch.
func (g *Graph) look(ctx context.Context, reqs []request, choose func(*request) bool) error {
	chosen := make([]*request, 0, len(reqs))
	lookups := make([]driver.Lookup, 0, len(reqs))
	for i := range reqs {
		if r := &reqs[i]; choose(r) {
			chosen = append(chosen, r)
			lookups = append(lookups, driver.Lookup{Anchor: r.anchor, Field: r.field})
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	timed := within.New(ctx, g.shared.opts.ReadTimeout)
	defer timed.End()
	entries, err := g.shared.opts.Cache.Lookup(timed, lookups)
	if ctx.Err() == nil { // else it is the caller that gave up
		g.shared.countCacheError(err)
	}
	for i, r := range chosen {
		e := entryAt(entries, i)
		r.follow(protocol.Looked(e, r.judge(e), false))
	}
	return err
}

// countLookups counts what the cache answered and what it did not.
func countLookups(reqs []request) {
	for i := range reqs {
		switch r := &reqs[i]; {
		case r.direct, r.way == wayNear:
		case r.bypass:
			r.kind.counters.bypasses.Add(1)
		case r.next.Action == protocol.Hit:
			r.way = wayHit
			r.kind.counters.hits.Add(1)
		default:
			r.kind.counters.misses.Add(1)
		}
	}
}

// follow makes next the request's next step. The latest stamp that it has seen stays
// with it.
func (r *request) follow(next protocol.Next) {
	next.Stamp = max(next.Stamp, r.next.Stamp)
	r.next = next
}

// entryAt returns entry i, unknown if the cache did not answer.
func entryAt(entries []driver.Entry, i int) driver.Entry {
	if i < len(entries) {
		return entries[i]
	}
	return driver.Entry{}
}

// claim asks in one batch for the right to load what is not in the cache.
func (g *Graph) claim(ctx context.Context, reqs []request) {
	var chosen []*request
	var claims []driver.Claim
	var looked []uint64 // the versions that were looked up
	for i := range reqs {
		r := &reqs[i]
		if r.next.Action != protocol.Claim {
			continue
		}
		// Never the version that was looked up:
		//  1. A reads the store for one fragment of the anchor, under that version
		//  2. B finds no value of another fragment under it
		//  3. a write drops the version, and is acknowledged
		//  4. B's claim would bring the version back, and A's fill is accepted
		claims = append(claims, driver.Claim{
			Anchor: r.anchor, Field: r.field, Version: newVersion(),
			Lease: g.shared.opts.LeaseTTL, TTL: g.ttl(), Replace: r.next.Replace,
		})
		chosen, looked = append(chosen, r), append(looked, r.next.Version)
	}
	if len(claims) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.shared.opts.ReadTimeout)
	defer cancel()
	entries, err := g.shared.opts.Cache.Claim(ctx, claims)
	g.shared.countCacheError(err)
	for i, r := range chosen {
		e := entryAt(entries, i)
		r.follow(protocol.Answered(e, r.judge(e)))
		r.claimed = e.Claimed
		if r.toForeign() {
			r.follow(protocol.Next{Action: protocol.Load, Version: e.Version, Stamp: e.Stamp})
		}
	}
	if err != nil {
		g.giveBack(ctx, claims, looked, entries)
	}
}

// giveBack takes back the claims that were not answered, in the background: they
// may have been granted, under their own version or the one that was looked up, and
// others would wait for a load that is not coming.
func (g *Graph) giveBack(ctx context.Context, claims []driver.Claim, looked []uint64, entries []driver.Entry) {
	var fills []driver.Fill
	for i, c := range claims {
		if entryAt(entries, i).State != driver.StateUnknown {
			continue
		}
		fills = append(fills, driver.Fill{Anchor: c.Anchor, Field: c.Field, Version: c.Version})
		if looked[i] != 0 {
			fills = append(fills, driver.Fill{Anchor: c.Anchor, Field: c.Field, Version: looked[i]})
		}
	}
	ctx = context.WithoutCancel(ctx)
	send := func() {
		defer g.logPanic(ctx, "give back claims")
		ctx, cancel := context.WithTimeout(ctx, g.shared.opts.HoldTimeout)
		defer cancel()
		_, err := g.shared.opts.Cache.Fill(ctx, fills)
		g.shared.countCacheError(err)
	}
	if !g.shared.spawn(send) {
		send() // the graph is being closed
	}
}

// logPanic, deferred, keeps a panic of a backend in the background from ending the
// program.
func (g *Graph) logPanic(ctx context.Context, doing string) {
	if v := recover(); v != nil {
		g.shared.opts.Logger.ErrorContext(ctx, "graphcache: a backend panicked", "doing", doing, "panic", v)
	}
}

// newVersion returns a random version for an anchor.
func newVersion() uint64 { return rand.Uint64() | 1 }

// ttl returns the life of a value, ±10 %.
func (g *Graph) ttl() time.Duration {
	t := g.shared.opts.TTL
	return t - t/10 + rand.N(t/5+1)
}

// takeOff finds or starts a flight for every request that has no answer yet.
func (g *Graph) takeOff(ctx context.Context, reqs []request) {
	var now, later, waits []boarded
	p := &party{gone: make(chan struct{})}
	for i := range reqs {
		r := &reqs[i]
		r.flight, r.leads = nil, false
		if r.next.Action != protocol.Load && r.next.Action != protocol.Wait {
			continue
		}
		f, leads, after := g.shared.flights.board(
			flightKey{r.anchor, r.field, r.next.Version, r.size, r.generation}, r.next.Action == protocol.Wait, r.claimed, r.next.Stamp, p)
		r.flight, r.leads = f, leads
		r.way = wayLoaded
		b := boarded{request: *r, flight: f, after: after}
		switch {
		case !leads:
			r.way = wayJoined
			r.kind.counters.joins.Add(1)
		case r.next.Action == protocol.Wait:
			r.way = wayWaited
			waits = append(waits, b)
		case after != nil:
			later = append(later, b)
		default:
			now = append(now, b)
		}
	}
	// The result must not depend on who asks: the flights outlive the caller,
	// and run on without its deadline.
	ctx = context.WithoutCancel(ctx)
	g.run(now, func(b []boarded) { g.load(ctx, b) })
	g.run(later, func(b []boarded) { g.load(ctx, b) })
	g.run(waits, func(b []boarded) { g.poll(ctx, b) })
}

// boarded is a flight and the request it was started for, copied because the
// caller may be gone before the flight ends.
type boarded struct {
	request
	flight *flight
	after  *flight
}

// run starts the flights of a batch in the background.
func (g *Graph) run(batch []boarded, fly func([]boarded)) {
	if len(batch) == 0 {
		return
	}
	if !g.shared.spawn(func() { fly(batch) }) {
		for _, b := range batch {
			b.flight.err = errClosed
			g.shared.flights.remove(b.flight)
			close(b.flight.done)
		}
		if !batch[0].flight.waits {
			g.fill(context.Background(), batch) // which gives their claims back
		}
	}
}

// land waits for the flights of all requests and takes their results. It leaves all
// flights that it has not taken, also when one of them brings a panic.
func (g *Graph) land(ctx context.Context, reqs []request) error {
	defer func() {
		for i := range reqs {
			if f := reqs[i].flight; f != nil {
				g.shared.flights.leave(f)
			}
		}
	}()
	for i := range reqs {
		r := &reqs[i]
		if r.flight == nil {
			continue
		}
		select {
		case <-r.flight.done:
		case <-ctx.Done():
			return g.whyLeft(ctx, r)
		}
		g.shared.flights.leave(r.flight)
		r.take()
	}
	return nil
}

// whyLeft says why a reader left before its answer came.
func (g *Graph) whyLeft(ctx context.Context, r *request) error {
	if g.shared.flights.queuedUp(r.flight) && len(g.shared.loads) == cap(g.shared.loads) {
		return fmt.Errorf("%w: %d loads are under way: %w", ErrOverloaded, cap(g.shared.loads), ctx.Err())
	}
	return ctx.Err()
}

// take takes the result of the request's flight.
func (r *request) take() {
	f := r.flight
	r.flight = nil
	switch {
	case f.panicked != nil && r.leads:
		panic(f.panicked)
	case f.panicked != nil:
		r.err = fmt.Errorf("%w: %s: a backend panicked: %v", ErrUnavailable, r.label(), f.panicked.value)
	case f.err != nil:
		r.err = f.err
	case f.waits:
		r.follow(protocol.Looked(f.entry, r.judge(f.entry), f.impatient))
		if r.toForeign() {
			r.follow(protocol.Next{Action: protocol.Claim, Version: f.entry.Version})
		}
		return
	default:
		r.value = f.value
	}
	r.next = protocol.Next{}
}

// load reads a batch of fragments from the store, hands them to whoever waits, and
// then fills the cache.
func (g *Graph) load(ctx context.Context, batch []boarded) {
	for _, b := range batch {
		if b.after != nil {
			select {
			case <-b.after.done: // it was sent, so it ends within LoadTimeout
			case <-b.flight.party.gone:
			}
		}
	}
	g.read(ctx, batch)
	for _, b := range batch {
		if b.flight.err != nil || b.next.Version == 0 {
			g.shared.flights.remove(b.flight)
		}
		close(b.flight.done)
	}
	// A flight with a version stays on the board until its value is in the
	// cache: whoever sees that version meanwhile takes the value from here.
	g.shared.flights.fill(batch)
	g.fill(ctx, batch)
	for _, b := range batch {
		g.shared.flights.remove(b.flight)
	}
}

// read sets the value or the error of every flight of a batch.
func (g *Graph) read(ctx context.Context, batch []boarded) {
	defer func() {
		if v := recover(); v != nil {
			p := newPanicError(v)
			// The reader that caused it may be gone.
			g.shared.opts.Logger.ErrorContext(ctx, "graphcache: the store panicked in a read", "panic", v)
			for _, b := range batch {
				b.flight.panicked, b.flight.err = p, p
			}
		}
	}()
	select {
	case g.shared.loads <- struct{}{}:
		defer func() { <-g.shared.loads }()
	case <-batch[0].flight.party.gone:
		failAll(batch, errAbandoned)
		return
	case <-g.shared.closing:
		failAll(batch, errClosed)
		return
	}
	reqs := make([]*request, len(batch))
	for i := range batch {
		reqs[i] = &batch[i].request
	}
	stamp, wanted := g.shared.flights.send(batch)
	if !wanted {
		failAll(batch, errAbandoned)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.shared.opts.LoadTimeout)
	defer cancel()
	values, errs, err := g.shared.readRequests(ctx, g.store, reqs, stamp)
	if err != nil {
		failAll(batch, err)
		return
	}
	for i, b := range batch {
		b.flight.value, b.flight.err = values[i], errs[i]
	}
}

// errAbandoned ends a load that nobody waits for any more. Nobody sees it.
var errAbandoned = errors.New("graphcache: abandoned")

func failAll(batch []boarded, err error) {
	for _, b := range batch {
		b.flight.err = err
	}
}

// storeReader is the part of a store that a transaction has too.
type storeReader interface {
	Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error)
}

// readRequests reads the requests from the store in one call. A record that cannot
// be read fails its own request only.
func (s *shared) readRequests(ctx context.Context, from storeReader, reqs []*request, stamp driver.Stamp) (values []value, errs []error, err error) {
	steps, places := stepsFor(reqs)
	results, err := s.readSteps(ctx, from, steps, stamp)
	if err != nil {
		return nil, nil, err
	}
	values, errs = make([]value, len(reqs)), make([]error, len(reqs))
	for i, r := range reqs {
		values[i], errs[i] = r.encode(results, places[i])
		r.kind.counters.loads.Add(1)
		r.kind.counters.items.Add(int64(values[i].items))
	}
	return values, errs, nil
}

// readSteps reads the steps from the store, and says when it did not answer in
// time.
func (s *shared) readSteps(ctx context.Context, from storeReader, steps []driver.Step, stamp driver.Stamp) ([]driver.Result, error) {
	s.storeReads.Add(1)
	results, err := from.Read(ctx, steps, stamp)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: the store did not answer a read in time: %w", ErrUnavailable, err)
	case err != nil:
		return nil, fmt.Errorf("graphcache: read the store: %w", err)
	case len(results) != len(steps):
		return nil, fmt.Errorf("graphcache: read the store: %d results for %d steps", len(results), len(steps))
	}
	return results, nil
}

// fill stores what a batch has loaded, and gives back the claims of what it could
// not load.
func (g *Graph) fill(ctx context.Context, batch []boarded) {
	var fills []driver.Fill
	var kinds []*boundKind
	var from []*boarded
	for i := range batch {
		b := &batch[i]
		if b.next.Version == 0 {
			continue
		}
		f := driver.Fill{
			Anchor: b.anchor, Field: b.field, Version: b.next.Version,
			TTL: g.ttl(), Limit: g.shared.opts.MaxFragments,
		}
		kind := b.kind
		if b.flight.err != nil || g.shared.journal.owes(b.anchor) {
			kind = nil
		} else if sealed, large := g.seal(b); !large {
			f.Value = sealed
		} else {
			kind.counters.refused("too large")
			kind = nil
			if b.claimed { // else there is a value, a shorter prefix or this very mark
				f.Value = sealed
			}
		}
		fills, kinds, from = append(fills, f), append(kinds, kind), append(from, b)
	}
	if len(fills) == 0 {
		return
	}
	defer g.logPanic(ctx, "fill")
	ctx, cancel := context.WithTimeout(ctx, g.shared.opts.HoldTimeout)
	defer cancel()
	outcomes, err := g.shared.opts.Cache.Fill(ctx, fills)
	g.shared.countCacheError(err)
	for i, k := range kinds {
		switch {
		case k == nil: // no value
		case i < len(outcomes) && outcomes[i] == driver.Done:
			k.counters.fills.Add(1)
			if b := from[i]; b.keep {
				g.shared.near.keep(&b.request, b.flight.value)
			}
		case err != nil:
			k.counters.refused("the cache does not answer")
		default:
			k.counters.refused("a write came in between, or the anchor has too many")
		}
	}
}

// seal returns the value to be cached; in the place of one that is too large, a mark
// that says so.
func (g *Graph) seal(b *boarded) (sealed []byte, large bool) {
	v := b.flight.value
	size := envelopeHeader + len(b.anchor) + len(b.field) + len(v.body)
	if size > g.shared.opts.MaxFragmentBytes {
		v, large = value{flags: flagLarge}, true
	}
	e := envelope{flags: v.flags, fingerprint: b.kind.fingerprint, generation: b.generation, body: v.body}
	return e.seal(b.anchor, b.field), large
}

// The pace at which a process looks whether another one's load has arrived.
const (
	pollFirst = 5 * time.Millisecond
	pollMost  = 50 * time.Millisecond
)

// poll waits for loads of other processes, all of a batch together, until each has
// a value, has lost its version, is given back, or outlasts a lease.
func (g *Graph) poll(ctx context.Context, batch []boarded) {
	defer func() {
		if v := recover(); v != nil {
			p := newPanicError(v)
			for _, b := range batch {
				b.flight.panicked, b.flight.err = p, p
				g.arrive(b.flight)
			}
		}
	}()
	start := time.Now()
	for pause := pollFirst; len(batch) > 0; pause = min(pause*3/2, pollMost) {
		select {
		case <-time.After(pause):
		case <-g.shared.closing:
			for _, b := range batch {
				b.flight.err = errClosed
				g.arrive(b.flight)
			}
			return
		}
		batch = g.pollOnce(ctx, batch, time.Since(start) > g.shared.opts.LeaseTTL)
	}
}

// pollOnce looks once and returns the flights that still wait.
func (g *Graph) pollOnce(ctx context.Context, batch []boarded, impatient bool) (left []boarded) {
	lookups := make([]driver.Lookup, len(batch))
	for i, b := range batch {
		lookups[i] = driver.Lookup{Anchor: b.anchor, Field: b.field}
	}
	ctx, cancel := context.WithTimeout(ctx, g.shared.opts.ReadTimeout)
	defer cancel()
	entries, err := g.shared.opts.Cache.Lookup(ctx, lookups)
	g.shared.countCacheError(err)
	for i, b := range batch {
		e := entryAt(entries, i)
		same := e.State == driver.Versioned && e.Version == b.next.Version
		if same && e.Loading && e.Value == nil && !impatient {
			left = append(left, b)
			continue
		}
		b.flight.entry, b.flight.impatient = e, impatient
		g.arrive(b.flight)
	}
	return left
}

// arrive ends a flight that waited.
func (g *Graph) arrive(f *flight) {
	g.shared.flights.remove(f)
	close(f.done)
}

func (s *shared) countCacheError(err error) {
	if err != nil {
		s.cacheErrors.Add(1)
	}
}
