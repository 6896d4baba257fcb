package redis

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Cache is a driver.Cache in Redis. An anchor is a string, with its primary value in it,
// and a hash beside it for the secondary values. All caches of a backend are the same.
type Cache struct{ b *Backend }

var (
	_ driver.Cache    = (*Cache)(nil)
	_ driver.Rewinder = (*Cache)(nil)
	_ driver.Notifier = (*Cache)(nil)
)

// Scripts that take away, or add no more than a few bytes which nothing can do without,
// also run when the server has no memory left.
const (
	always     = "#!lua flags=allow-oom"
	withMemory = "#!lua"
)

var (
	//go:embed entry.lua
	entryLua string
	//go:embed look.lua
	lookLua string
	//go:embed claim.lua
	claimLua string
	//go:embed fill.lua
	fillLua string
	//go:embed giveback.lua
	giveBackLua string
	//go:embed hold.lua
	holdLua string
	//go:embed release.lua
	releaseLua string
	//go:embed tick.lua
	tickLua string
	//go:embed hash.lua
	hashLua string
	//go:embed lease.lua
	leaseLua string
	//go:embed fillhash.lua
	fillHashLua string
	//go:embed givebackhash.lua
	giveBackHashLua string

	lookScript         = newScript(always, entryLua, lookLua)
	claimScript        = newScript(withMemory, entryLua, claimLua)
	fillScript         = newScript(withMemory, entryLua, fillLua)
	giveBackScript     = newScript(always, entryLua, giveBackLua)
	holdScript         = newScript(always, entryLua, holdLua)
	releaseScript      = newScript(always, entryLua, releaseLua)
	tickScript         = newScript(always, tickLua)
	leaseScript        = newScript(withMemory, hashLua, leaseLua)
	fillHashScript     = newScript(withMemory, hashLua, fillHashLua)
	giveBackHashScript = newScript(always, hashLua, giveBackHashLua)
)

// Close closes the backend.
func (c *Cache) Close(ctx context.Context) error { return c.b.Close(ctx) }

// OnRewind implements driver.Rewinder.
func (c *Cache) OnRewind(f func(since time.Time)) (stop func()) { return c.b.watch.onRewind(f) }

// Lookup implements driver.Cache. It is one round trip, without a script: two commands
// for a secondary fragment, one for a primary one. Entries whose state depends on the
// clock take another one: held ones that have a stamp.
func (c *Cache) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	n, size := len(lookups), 2*len(lookups) // of calls, and of their arguments
	for i := range lookups {
		if lookups[i].Field != "" {
			n, size = n+1, size+5
		}
	}
	calls, args := make([]call, 0, n), make([]any, 0, size)
	// One array for the arguments of all calls.
	add := func(arg ...any) {
		begin := len(args)
		args = append(args, arg...)
		calls = append(calls, plainCall(args[begin:len(args):len(args)]))
	}
	for i := range lookups {
		l := &lookups[i]
		key := c.b.key(l.Anchor, entrySuffix)
		if l.Field == "" {
			add("get", key)
			continue
		}
		add("getrange", key, 0, headerLen-1)
		add("hget", c.b.key(l.Anchor, hashSuffix), l.Field)
	}
	if err := c.b.do(ctx, readLane, calls); err != nil {
		return nil, err
	}
	var first error
	var again []int
	entries := make([]driver.Entry, len(lookups))
	for i, n := 0, 0; i < len(lookups); i++ {
		entry, hash := &calls[n], (*call)(nil)
		n++
		if lookups[i].Field != "" {
			hash = &calls[n]
			n++
		}
		e, err := c.looked(entry, hash)
		switch {
		case err != nil:
			first = firstOf(first, err)
		case e.State == driver.Held && e.Stamp != "",
			len(e.Corrupt) == headerLen && hash != nil: // there may be more of it
			again = append(again, i)
		}
		entries[i] = e
	}
	if len(again) > 0 {
		first = firstOf(first, c.lookClosely(ctx, lookups, entries, again))
	}
	return entries, first
}

// looked reads the answers of a look-up.
func (c *Cache) looked(entry, hash *call) (driver.Entry, error) {
	if entry.wrongType() {
		return c.view(wrongType, true, false, nil), nil
	}
	if err := entry.failure(); err != nil {
		return driver.Entry{}, err
	}
	if hash != nil && !hash.wrongType() {
		if err := hash.failure(); err != nil {
			return driver.Entry{}, err
		}
	}
	raw, there := entry.text()
	return c.view(raw, there && raw != "", hash != nil, hash), nil
}

// view returns the entry that the bytes are, seen through its primary fragment or
// through the field that hash has read.
func (c *Cache) view(raw string, there, partial bool, hash *call) driver.Entry {
	if !there {
		return driver.Entry{State: driver.Empty}
	}
	h, ok := parseEntry(raw, partial)
	if !ok {
		c.b.counters.corrupt.Add(1)
		return driver.Entry{State: driver.Empty, Corrupt: []byte(raw)}
	}
	e := driver.Entry{State: h.state, Stamp: h.stamp}
	if h.state != driver.Versioned {
		return e
	}
	e.Version = h.version
	if hash == nil {
		if h.full {
			e.Value = c.decode(h.value)
		}
		e.Loading = h.loading
		return e
	}
	field, _ := hash.text()
	c.setField(&e, field)
	return e
}

// setField adds what a field of the hash says.
func (c *Cache) setField(e *driver.Entry, field string) {
	value, full, loading := parseField(field, e.Version)
	if full {
		e.Value = c.decode(value)
	}
	e.Loading = loading
}

func (c *Cache) decode(blob string) []byte {
	value, ok := decodeBlob(blob)
	if !ok {
		c.b.counters.corrupt.Add(1)
	}
	return value
}

// lookClosely asks for the whole of some entries, as they are after what has reached
// its deadline is gone.
func (c *Cache) lookClosely(ctx context.Context, lookups []driver.Lookup, entries []driver.Entry, which []int) error {
	calls := make([]call, len(which))
	for n, i := range which {
		calls[n] = lookScript.run(c.b.key(lookups[i].Anchor, entrySuffix))
	}
	if err := c.b.do(ctx, readLane, calls); err != nil {
		for _, i := range which {
			entries[i] = driver.Entry{}
		}
		return err
	}
	var first error
	for n, i := range which {
		if err := calls[n].failure(); err != nil {
			entries[i], first = driver.Entry{}, firstOf(first, err)
			continue
		}
		raw, there := calls[n].reply().(string)
		e := c.view(raw, there, false, nil)
		e.Value, e.Loading = nil, false // of the primary fragment, which is not what was asked for
		entries[i] = e
	}
	return first
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Claim implements driver.Cache. It is one round trip; two for the first secondary
// fragment of an anchor since that has changed.
func (c *Cache) Claim(ctx context.Context, claims []driver.Claim) ([]driver.Entry, error) {
	var first error
	calls := make([]call, 0, 2*len(claims))
	places := make([]int, len(claims)) // of the first call of each claim
	for i := range claims {
		cl := &claims[i]
		if cl.Version == 0 {
			first = firstOf(first, fmt.Errorf("redis: claim of %q: the version is 0: %w", cl.Anchor, driver.ErrInvalid))
			places[i] = -1
			continue
		}
		places[i] = len(calls)
		own := 0
		if cl.Field == "" {
			own = 1
		}
		calls = append(calls, claimScript.run(c.b.key(cl.Anchor, entrySuffix),
			versionBytes(cl.Version), millis(cl.Lease), millis(cl.TTL), cl.Replace, own))
		if cl.Field != "" {
			calls = append(calls, c.lease(cl, cl.Version, false))
		}
	}
	if err := c.b.do(ctx, readLane, calls); err != nil {
		return nil, firstOf(first, err)
	}
	entries := make([]driver.Entry, len(claims))
	var again []int
	for i := range claims {
		if places[i] < 0 {
			continue
		}
		e, settled, err := c.claimed(&claims[i], calls[places[i]:])
		first = firstOf(first, err)
		if err == nil && !settled {
			again = append(again, i)
		}
		entries[i] = e
	}
	if len(again) > 0 {
		first = firstOf(first, c.leaseAgain(ctx, claims, entries, again))
	}
	return entries, first
}

// lease returns the call that claims a secondary fragment, under the version of the
// values that are there or, if exact, under the one given.
func (c *Cache) lease(cl *driver.Claim, version uint64, exact bool) call {
	e := 0
	if exact {
		e = 1
	}
	return leaseScript.run(c.b.key(cl.Anchor, hashSuffix), versionBytes(version), cl.Field, millis(cl.Lease), millis(cl.TTL), e)
}

// claimed reads the answers to a claim. It is not settled if the fragment was claimed
// under a version that is not the entry's.
func (c *Cache) claimed(cl *driver.Claim, calls []call) (e driver.Entry, settled bool, err error) {
	if err := calls[0].failure(); err != nil {
		return e, false, err
	}
	claimed, raw, there, ok := claimReply(calls[0].reply())
	if !ok {
		return e, false, errReply(&calls[0])
	}
	e = c.view(raw, there, false, nil)
	if cl.Field == "" || e.State != driver.Versioned {
		e.Claimed = claimed
		return e, true, nil
	}
	e.Value, e.Loading = nil, false // of the primary fragment
	if err := calls[1].failure(); err != nil {
		return driver.Entry{}, false, err
	}
	settled, err = c.leased(&e, &calls[1])
	return e, settled, err
}

// leased adds to an entry what the claim of a secondary fragment has answered, unless
// that is about another version.
func (c *Cache) leased(e *driver.Entry, lease *call) (settled bool, err error) {
	reply, _ := lease.reply().([]any)
	if len(reply) != 3 {
		return false, errReply(lease)
	}
	granted, _ := reply[0].(int64)
	version, _ := reply[1].(string)
	field, _ := reply[2].(string)
	if version != versionBytes(e.Version) {
		return false, nil
	}
	c.setField(e, field)
	e.Claimed = granted == 1
	return true, nil
}

// leaseAgain claims secondary fragments under the versions that their entries turned out
// to have.
func (c *Cache) leaseAgain(ctx context.Context, claims []driver.Claim, entries []driver.Entry, which []int) error {
	calls := make([]call, len(which))
	for n, i := range which {
		calls[n] = c.lease(&claims[i], entries[i].Version, true)
	}
	if err := c.b.do(ctx, readLane, calls); err != nil {
		for _, i := range which {
			entries[i] = driver.Entry{}
		}
		return err
	}
	var first error
	for n, i := range which {
		err := calls[n].failure()
		if err == nil {
			_, err = c.leased(&entries[i], &calls[n])
		}
		if err != nil {
			entries[i], first = driver.Entry{}, firstOf(first, err)
		}
	}
	return first
}

// claimReply reads the answer of the claim script.
func claimReply(reply any) (claimed bool, raw string, there, ok bool) {
	parts, _ := reply.([]any)
	if len(parts) == 0 {
		return false, "", false, false
	}
	n, isNumber := parts[0].(int64)
	if len(parts) > 1 {
		raw, there = parts[1].(string)
	}
	return n == 1, raw, there, isNumber
}

func errReply(c *call) error {
	return fmt.Errorf("redis: %s: unexpected reply %.100v: %w", c.cmd.Name(), c.reply(), driver.ErrUnavailable)
}

// Fill implements driver.Cache. It is one round trip for primary values and two for
// secondary ones. What the server has no memory for is Refused.
func (c *Cache) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	calls := make([]call, len(fills))
	for i := range fills {
		f := &fills[i]
		key := c.b.key(f.Anchor, entrySuffix)
		version := versionBytes(f.Version)
		switch {
		case f.Field == "" && f.Value == nil:
			calls[i] = giveBackScript.run(key, version)
		case f.Field == "":
			calls[i] = fillScript.run(key, version, millis(f.TTL), encodeBlob(f.Value, c.b.opts.CompressAbove))
		case f.Value == nil:
			calls[i] = giveBackHashScript.run(c.b.key(f.Anchor, hashSuffix), version, f.Field)
		default:
			// A value of a version that is gone would drive out those of the
			// present one.
			calls[i] = plain("getrange", key, 0, headerLen-1)
		}
	}
	if err := c.b.do(ctx, writeLane, calls); err != nil {
		return nil, err
	}
	var first error
	outcomes := make([]driver.Outcome, len(fills))
	var second, full []int
	for i := range fills {
		f := &fills[i]
		if f.Field == "" || f.Value == nil {
			if calls[i].outOfMemory() {
				full = append(full, i)
				continue
			}
			outcomes[i] = c.outcome(&calls[i], &first)
			continue
		}
		switch err := calls[i].failure(); {
		case err != nil && !calls[i].wrongType():
			first = firstOf(first, err)
		case c.hasVersion(&calls[i], f.Version):
			second = append(second, i)
		default:
			outcomes[i] = driver.Refused
		}
	}
	if len(second) > 0 {
		more, err := c.fillHashes(ctx, fills, outcomes, second)
		full, first = append(full, more...), firstOf(first, err)
	}
	if len(full) > 0 {
		first = firstOf(first, c.refuse(ctx, fills, outcomes, full))
	}
	return outcomes, first
}

// hasVersion reports whether the entry whose start was read has the version.
func (c *Cache) hasVersion(start *call, version uint64) bool {
	raw, _ := start.text()
	h, ok := parseEntry(raw, true)
	return ok && h.state == driver.Versioned && h.version == version
}

// outcome reads the answer of a script that says whether it did what it was to do.
func (c *Cache) outcome(answered *call, first *error) driver.Outcome {
	if err := answered.failure(); err != nil {
		*first = firstOf(*first, err)
		return driver.Unknown
	}
	if answered.reply() == int64(1) {
		return driver.Done
	}
	return driver.Refused
}

// fillHashes stores secondary values. It returns those for which there was no memory.
func (c *Cache) fillHashes(ctx context.Context, fills []driver.Fill, outcomes []driver.Outcome, which []int) (full []int, first error) {
	calls := make([]call, len(which))
	for n, i := range which {
		f := &fills[i]
		calls[n] = fillHashScript.run(c.b.key(f.Anchor, hashSuffix), versionBytes(f.Version),
			f.Field, millis(f.TTL), f.Limit, encodeBlob(f.Value, c.b.opts.CompressAbove))
	}
	if err := c.b.do(ctx, writeLane, calls); err != nil {
		return nil, err
	}
	for n, i := range which {
		if calls[n].outOfMemory() {
			full = append(full, i)
			continue
		}
		outcomes[i] = c.outcome(&calls[n], &first)
	}
	return full, first
}

// refuse takes back the loading deadlines of values for which there was no memory.
func (c *Cache) refuse(ctx context.Context, fills []driver.Fill, outcomes []driver.Outcome, which []int) error {
	given := make([]driver.Fill, len(which))
	for n, i := range which {
		given[n] = driver.Fill{Anchor: fills[i].Anchor, Field: fills[i].Field, Version: fills[i].Version}
	}
	_, err := c.Fill(ctx, given)
	if err == nil {
		for _, i := range which {
			outcomes[i] = driver.Refused
		}
	}
	return err
}

// Hold implements driver.Cache, in one round trip.
func (c *Cache) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	calls, channel := make([]call, len(holds)), any(c.b.noticesChannel())
	for i := range holds {
		if len(holds[i].Token) > 255 {
			return nil, fmt.Errorf("redis: hold of %q: %w: a token of %d bytes", holds[i].Anchor, driver.ErrInvalid, len(holds[i].Token))
		}
		calls[i] = holdScript.run(c.b.key(holds[i].Anchor, entrySuffix), holds[i].Token, millis(holds[i].TTL), channel)
	}
	return c.outcomes(ctx, writeLane, calls)
}

// Release implements driver.Cache, in one round trip. It is sent even if the server did
// not answer lately.
func (c *Cache) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	calls, channel := make([]call, len(releases)), any(c.b.noticesChannel())
	for i := range releases {
		r := &releases[i]
		if len(r.Stamp) > maxStamp {
			return nil, fmt.Errorf("redis: release of %q: %w: a stamp of %d bytes", r.Anchor, driver.ErrInvalid, len(r.Stamp))
		}
		calls[i] = releaseScript.run(c.b.key(r.Anchor, entrySuffix), r.Token, string(r.Stamp), millis(r.KeepStamp), channel)
	}
	return c.outcomes(ctx, releaseLane, calls)
}

func (c *Cache) outcomes(ctx context.Context, l lane, calls []call) ([]driver.Outcome, error) {
	if err := c.b.do(ctx, l, calls); err != nil {
		return nil, err
	}
	var first error
	outcomes := make([]driver.Outcome, len(calls))
	for i := range calls {
		outcomes[i] = c.outcome(&calls[i], &first)
		if l == writeLane && calls[i].unsent() {
			outcomes[i] = driver.Refused // a hold
		}
	}
	return outcomes, first
}

// millis returns a duration in whole milliseconds, rounded up, at least 1.
func millis(d time.Duration) int64 {
	return max(1, int64((d+time.Millisecond-1)/time.Millisecond))
}
