package redis

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// A key's log is a hash under the key that ends in l, with these fields:
//
//	h                 the head, see below
//	e and a number    a block of entries, newest first, each with its length in 4 bytes
//	p and a name      the last number of that producer, and in which turn it came
//	t                 the types: each with its length in 2 bytes, its name and its count
//	s                 the sparkline: the width of a bucket in milliseconds, the number
//	                  of the last bucket since 1970, and the counts
//
// Numbers are big-endian and have 8 bytes, but where it says otherwise; they are exact
// up to 2^53, like those of the scripts. The head is
//
//	L
//	epoch, position, total
//	created           in milliseconds since 1970
//	turn              the number of batches applied
//	held              2 bytes: how many entries there are
//	producers         2 bytes: how many are remembered
//	members           1 byte: 1 if there ever were some
//	top               2 bytes: the number of the newest block, which is 0 after 65535
//	tip               4 bytes: its length
//	counts            2 bytes for each block, newest first: how many entries it has
//
// A batch is a block, or is added to the newest one while that is small: so the server
// moves few and long strings, where a field for each entry takes almost three times as
// long to read. The oldest block may have entries that do not count any more: it goes
// when none does. Caps that differ change nothing but how many count.
//
// Members are a HyperLogLog under the key that ends in u and the epoch.

const (
	logHeadLen = 52 // without the counts
	maxExact   = 1<<53 - 1
	// logRoundBytes is the size from which the batches of a call are sent in several
	// round trips, so that each of these has a chance to be answered in time.
	logRoundBytes = 1 << 20
	// logReply is about the size of an answer with entries. It counts like that of a
	// call: others on the connection should not wait for many of them.
	logReply = 8 << 10
	// logBlock is the length up to which batches are joined to one block.
	logBlock = 2 << 10
	// maxLogEpochs is the number of keys whose epoch a Log keeps in mind.
	maxLogEpochs = 4096
)

// Scripts that do not write also run when the server cannot.
const onlyReads = "#!lua flags=no-writes"

var (
	//go:embed log.lua
	logLua string
	//go:embed logappend.lua
	logAppendLua string
	//go:embed logsnapshot.lua
	logSnapshotLua string
	//go:embed logafter.lua
	logAfterLua string
	//go:embed logmembers.lua
	logMembersLua string

	logLimits = fmt.Sprintf("local CAP, PRODUCERS, TYPES, BUCKETS, BLOCK = %d, %d, %d, %d, %d",
		driver.MaxLogCap, driver.LogProducers, driver.LogTypes, driver.LogBuckets, logBlock)

	logAppendScript   = newScript(withMemory, logLimits, logLua, logAppendLua)
	logSnapshotScript = newScript(onlyReads, logLimits, logLua, logSnapshotLua)
	logAfterScript    = newScript(onlyReads, logLimits, logLua, logAfterLua)
	logMembersScript  = newScript(withMemory, logMembersLua)
)

// Log is a driver.Log and a driver.LogWaker in Redis. Unique is an estimate with a
// standard error of 0.8 percent, and of less up to a few thousand members. What is under
// a log's key and not of its making counts as nothing, and the next batch replaces it.
//
// A call is one round trip for each 512 of its elements. Append needs one more for keys
// that have members, which then live at least as long, and further ones where it has a
// key more than once, or more than 1 MiB to send. Snapshot needs one more when the Log
// comes across a key with members or finds it in a new epoch.
type Log struct {
	b *Backend

	mu     sync.Mutex // protects what follows
	epochs map[string]uint64
}

var (
	_ driver.Log      = (*Log)(nil)
	_ driver.LogWaker = (*Log)(nil)
)

// Close closes the backend.
func (l *Log) Close(ctx context.Context) error { return l.b.Close(ctx) }

// ready returns why nothing may be sent.
func (l *Log) ready(ctx context.Context) error {
	if l.b.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// epoch returns the epoch that a key had last, if it is known to have members.
func (l *Log) epoch(key string) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.epochs[key]
	return e, ok
}

func (l *Log) setEpoch(key string, e uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.epochs[key]; !ok && len(l.epochs) >= maxLogEpochs {
		clear(l.epochs)
	}
	if l.epochs == nil {
		l.epochs = make(map[string]uint64)
	}
	l.epochs[key] = e
}

// members returns the key of the members of an epoch.
func (l *Log) members(key string, epoch uint64) string {
	return l.b.key(key, fmt.Sprintf("%s%016x", membersSuffix, epoch))
}

// logHead is a head without what only the scripts need.
type logHead struct {
	driver.LogHead
	created time.Time
	members bool
	held    int
	counts  string // of the blocks, 2 bytes each
}

// parseLogHead reads a head. It accepts what log.lua accepts.
func parseLogHead(raw string) (h logHead, ok bool) {
	if len(raw) < logHeadLen || raw[0] != 'L' || len(raw)%2 != 0 || len(raw) > logHeadLen+2*(driver.MaxLogCap+1) {
		return h, false
	}
	epoch, seq, total, created, turn := be64(raw[1:]), be64(raw[9:]), be64(raw[17:]), be64(raw[25:]), be64(raw[33:])
	held, producers := be16(raw[41:]), be16(raw[43:])
	if epoch == 0 || max(seq, total, turn) > maxExact || created > latest || held > driver.MaxLogCap ||
		uint64(held) > seq || producers > 2*driver.LogProducers || raw[45] > 1 {
		return h, false
	}
	counts, sum := raw[logHeadLen:], 0
	for i := 0; i < len(counts); i += 2 {
		n := be16(counts[i:])
		if n == 0 {
			return h, false
		}
		sum += n
	}
	if sum < held {
		return h, false
	}
	h.Outcome = driver.Done
	h.Position = driver.Position{Epoch: epoch, Seq: int64(seq)}
	h.Total = int64(total)
	h.created = time.UnixMilli(int64(created))
	h.members = raw[45] == 1
	h.held, h.counts = held, counts
	return h, true
}

func be16(s string) int { return int(s[0])<<8 | int(s[1]) }

// Append implements driver.Log.
func (l *Log) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	for i := range batches {
		if err := batches[i].Validate(); err != nil {
			return nil, err
		}
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	a := logAppend{l: l, batches: batches, heads: make([]driver.LogHead, len(batches)), lost: make(map[string]bool)}
	for next := 0; next < len(batches); {
		next = a.round(ctx, next)
	}
	if a.err != nil && !slices.ContainsFunc(a.heads, func(h driver.LogHead) bool { return h.Outcome != driver.Unknown }) {
		return nil, a.err
	}
	return a.heads, a.err
}

// logAppend is a call of Append.
type logAppend struct {
	l       *Log
	batches []driver.LogBatch
	heads   []driver.LogHead
	lost    map[string]bool // the keys of batches that were not confirmed
	err     error           // the first
}

// round sends the batches from one on, as many as may go together, and returns which is
// the next.
//
// Batches of one key do not go together, and none is sent after one of the same key that
// was not confirmed:
//
//  1. A producer's batches 1 and 2 are sent in one pipeline. 1 fails: the script is not
//     known yet, a slot is on its way to another server, there is no memory.
//  2. 2 is applied: somebody else has loaded the script meanwhile, or memory is free.
//  3. 1 is sent again. It is late: it is dropped and its answer is Done.
func (a *logAppend) round(ctx context.Context, from int) (next int) {
	var calls []call
	var which []int
	size := 0
	sent := make(map[string]bool)
	for next = from; next < len(a.batches); next++ {
		b := &a.batches[next]
		if sent[b.Key] || size >= logRoundBytes || len(calls) == maxBatchCalls {
			break
		}
		if a.lost[b.Key] {
			continue
		}
		sent[b.Key] = true
		c := a.l.batch(b)
		size += c.size
		for _, m := range b.Members {
			size += 16 + len(m) // they follow together as well
		}
		calls, which = append(calls, c), append(which, next)
	}
	if err := a.l.b.do(ctx, writeLane, calls); err != nil {
		a.err = firstOf(a.err, err)
		return len(a.batches)
	}
	var members []int
	for n, i := range which {
		h, err := logHeadOf(&calls[n])
		if err != nil {
			a.err = firstOf(a.err, err)
			a.lost[a.batches[i].Key] = true
			continue
		}
		a.heads[i] = h.LogHead
		if h.members {
			members = append(members, i)
		}
	}
	return a.follow(ctx, members, next)
}

// follow sends the members of batches that were confirmed, for keys that have some: a
// batch without any lets the others live on. Repetitions are sent as well, since the
// members may be what was lost before.
func (a *logAppend) follow(ctx context.Context, which []int, next int) int {
	calls := make([]call, len(which))
	for n, i := range which {
		b := &a.batches[i]
		epoch := a.heads[i].Position.Epoch
		a.l.setEpoch(b.Key, epoch)
		args := make([]any, 0, 1+len(b.Members))
		args = append(args, millis(b.TTL))
		for _, m := range b.Members {
			args = append(args, m)
		}
		calls[n] = logMembersScript.run(a.l.members(b.Key, epoch), args...)
	}
	if err := a.l.b.do(ctx, writeLane, calls); err != nil {
		a.err = firstOf(a.err, err)
		for _, i := range which {
			a.heads[i] = driver.LogHead{}
		}
		return len(a.batches)
	}
	for n, i := range which {
		if err := calls[n].failure(); err != nil {
			a.err = firstOf(a.err, err)
			a.heads[i] = driver.LogHead{}
			a.lost[a.batches[i].Key] = true
		}
	}
	return next
}

// logHeadOf reads the answer of the append script.
func logHeadOf(c *call) (logHead, error) {
	if err := c.failure(); err != nil {
		return logHead{}, err
	}
	raw, _ := c.reply().(string)
	h, ok := parseLogHead(raw)
	if !ok {
		return h, errReply(c)
	}
	return h, nil
}

// batch returns the call that applies a batch. It shares nothing with it that the caller
// may change.
func (l *Log) batch(b *driver.LogBatch) call {
	const fixed = 12
	types, times := sumTypes(b.Types), sumTimes(b.Times, b.Bucket.Milliseconds())
	args := make([]any, 0, fixed+2*len(types)+2*len(times))
	members := 0
	if len(b.Members) > 0 {
		members = 1
	}
	epoch := rand.Uint64N(1<<64-1) + 1
	args = append(args, versionBytes(epoch), b.Producer, versionBytes(b.Number), b.Cap, millis(b.TTL), b.Added, b.Counted,
		members, b.Bucket.Milliseconds(), len(b.Entries), len(types), logBlockOf(b.Entries))
	for _, c := range types {
		args = append(args, c.Type, c.Count)
	}
	for bucket, count := range times {
		args = append(args, bucket, count)
	}
	return logAppendScript.run(l.b.key(b.Key, logSuffix), args...)
}

// logBlockOf returns a block of entries.
func logBlockOf(entries [][]byte) string {
	size := 0
	for _, e := range entries {
		size += 4 + len(e)
	}
	var b strings.Builder
	b.Grow(size)
	for _, e := range entries {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(e)))
		b.Write(n[:])
		b.Write(e)
	}
	return b.String()
}

// sumTypes adds up what a batch says about each type, and keeps the order in which they
// come: the first ones are those that are counted apart.
func sumTypes(counts []driver.LogCount) []driver.LogCount {
	var sums []driver.LogCount
	places := make(map[string]int, len(counts))
	for _, c := range counts {
		if c.Count == 0 {
			continue
		}
		place, ok := places[c.Type]
		if !ok {
			place = len(sums)
			places[c.Type] = place
			sums = append(sums, driver.LogCount{Type: c.Type})
		}
		sums[place].Count += c.Count
	}
	return sums
}

// sumTimes adds up what a batch says about each bucket of so many milliseconds.
func sumTimes(counts []driver.LogTime, width int64) map[int64]int64 {
	sums := make(map[int64]int64)
	for _, c := range counts {
		// UnixMilli is not defined for all times, and beyond these none is.
		ms := int64(latest)
		switch {
		case c.Time.Before(time.UnixMilli(-latest)):
			ms = -latest
		case c.Time.Before(time.UnixMilli(latest)):
			ms = c.Time.UnixMilli()
		}
		bucket := ms / width
		if ms%width < 0 {
			bucket--
		}
		sums[bucket] += c.Count
	}
	return sums
}

// read sends calls that read: no more at once than are sure to be answered in time.
func (l *Log) read(ctx context.Context, calls []call) error {
	for some := range slices.Chunk(calls, maxBatchCalls) {
		if err := l.b.do(ctx, readLane, some); err != nil {
			return err
		}
	}
	return nil
}

// Heads implements driver.Log, without a script.
func (l *Log) Heads(ctx context.Context, keys []string) ([]driver.LogHead, error) {
	if err := cmp.Or(driver.ValidateLogKeys(keys), l.ready(ctx)); err != nil {
		return nil, err
	}
	calls := make([]call, len(keys))
	for i, k := range keys {
		calls[i] = plain("hget", l.b.key(k, logSuffix), "h")
	}
	if err := l.read(ctx, calls); err != nil {
		return nil, err
	}
	var first error
	known := len(keys) == 0
	heads := make([]driver.LogHead, len(keys))
	for i := range calls {
		c := &calls[i]
		var raw string
		there := false
		if err := c.failure(); err == nil {
			raw, there = c.text()
		} else if !c.wrongType() {
			first = firstOf(first, err)
			continue
		}
		h, ok := parseLogHead(raw)
		if there && !ok {
			l.b.counters.corrupt.Add(1)
		}
		h.Outcome, known = driver.Done, true
		heads[i] = h.LogHead
	}
	if !known {
		return nil, first
	}
	return heads, first
}

// After implements driver.Log.
func (l *Log) After(ctx context.Context, reads []driver.LogAfter) ([]driver.LogDelta, error) {
	for _, r := range reads {
		if err := r.Validate(); err != nil {
			return nil, err
		}
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	calls := make([]call, len(reads))
	for i, r := range reads {
		calls[i] = logAfterScript.run(l.b.key(r.Key, logSuffix), versionBytes(r.Position.Epoch), r.Position.Seq)
	}
	if err := l.read(ctx, calls); err != nil {
		return nil, err
	}
	var first error
	known := len(reads) == 0
	deltas := make([]driver.LogDelta, len(reads))
	for i := range calls {
		h, parts, err := logReplyOf(&calls[i], 2)
		if err != nil {
			first = firstOf(first, err)
			continue
		}
		s := driver.LogSnapshot{Head: h.LogHead}
		if parts != nil {
			s.Entries = logEntries(&h, parts[1])
		}
		deltas[i], known = s.After(reads[i].Position), true
	}
	if !known {
		return nil, first
	}
	return deltas, first
}

// logReplyOf reads the answer of a script that reads: so many parts, of which the first
// is the head, or nothing.
func logReplyOf(c *call, n int) (h logHead, parts []any, err error) {
	if err := c.failure(); err != nil {
		return h, nil, err
	}
	if c.reply() == nil {
		h.Outcome = driver.Done
		return h, nil, nil
	}
	parts, _ = c.reply().([]any)
	if len(parts) != n {
		return h, nil, errReply(c)
	}
	raw, _ := parts[0].(string)
	h, ok := parseLogHead(raw)
	if !ok {
		return h, nil, errReply(c)
	}
	return h, parts, nil
}

// logEntries returns the entries of the newest blocks, up to the first that is damaged.
func logEntries(h *logHead, list any) [][]byte {
	blocks, _ := list.([]any)
	var entries [][]byte
	for i, v := range blocks {
		block, _ := v.(string)
		if 2*i >= len(h.counts) {
			break
		}
		count := be16(h.counts[2*i:])
		some, ok := parseBlock(block, count)
		entries = append(entries, some...)
		if !ok {
			break
		}
	}
	return entries[:min(len(entries), h.held)]
}

// parseBlock returns the entries of a block, and whether they are as many as they should
// be and there is nothing else.
func parseBlock(block string, count int) (entries [][]byte, ok bool) {
	rest := []byte(block) // theirs is the caller's
	entries = make([][]byte, 0, min(count, len(rest)/4))
	for range count {
		if len(rest) < 4 {
			return entries, false
		}
		n := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(n) > uint64(len(rest)) {
			return entries, false
		}
		entries = append(entries, rest[:n:n])
		rest = rest[n:]
	}
	return entries, len(rest) == 0
}
