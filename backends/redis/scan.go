package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

var _ driver.Scanner = (*Cache)(nil)

// maxHashKeys is the number of secondary values up to which they are listed at once.
const maxHashKeys = 4096

// Scan implements driver.Scanner, with SCAN on one master after the other, in the order of
// their addresses. It may leave out what is moved from one to another meanwhile. A hash
// has as many secondary values as it has, whatever count is.
func (c *Cache) Scan(ctx context.Context, prefix, cursor string, count int) (found []driver.Lookup, next string, err error) {
	defer func() {
		if err != nil && !errors.Is(err, driver.ErrInvalid) {
			err = fmt.Errorf("redis: scan: %w: %w", driver.ErrUnavailable, err)
		}
	}()
	if c.b.closed.Load() {
		return nil, "", errClosed
	}
	master, at, following, err := c.b.scanFrom(ctx, cursor)
	if err != nil {
		return nil, "", err
	}
	pattern := escapeGlob(joinKey(c.b.opts.Prefix, prefix, "")) // which ends in a brace
	pattern = strings.TrimSuffix(pattern, "}") + "*}[" + entrySuffix + hashSuffix + "]"
	keys, at, err := master.Scan(ctx, at, pattern, int64(max(count, 1))).Result()
	if err != nil {
		return nil, "", err
	}
	var hashes []string
	for _, key := range keys {
		switch anchor, suffix, ok := c.b.name(key); {
		case !ok:
		case suffix == entrySuffix:
			found = append(found, driver.Lookup{Anchor: anchor})
		case suffix == hashSuffix:
			hashes = append(hashes, anchor)
		}
	}
	if found, err = c.appendFields(ctx, found, hashes); err != nil {
		return nil, "", err
	}
	if at != 0 {
		return found, master.Options().Addr + " " + strconv.FormatUint(at, 10), nil
	}
	return found, following, nil
}

// scanFrom returns the node at which a cursor stands, where it stands there, and the
// cursor at the start of the next node.
func (b *Backend) scanFrom(ctx context.Context, cursor string) (master *goredis.Client, at uint64, following string, err error) {
	addr, number, ok := strings.Cut(cursor, " ")
	if cursor != "" {
		if at, err = strconv.ParseUint(number, 10, 64); err != nil || !ok {
			return nil, 0, "", fmt.Errorf("redis: scan: %w: the cursor %.80q", driver.ErrInvalid, cursor)
		}
	}
	if b.cluster == nil {
		return b.client.(*goredis.Client), at, "", nil
	}
	masters, err := b.masters(ctx)
	if err != nil {
		return nil, 0, "", err
	}
	i := slices.IndexFunc(masters, func(m *goredis.Client) bool { return m.Options().Addr >= addr })
	if i < 0 {
		return nil, 0, "", errors.New("no master of the Cluster is left")
	}
	if masters[i].Options().Addr != addr {
		at = 0 // the node has left
	}
	if i+1 < len(masters) {
		following = masters[i+1].Options().Addr + " 0"
	}
	return masters[i], at, following, nil
}

// masters returns the masters of a Cluster in the order of their addresses.
func (b *Backend) masters(ctx context.Context) (masters []*goredis.Client, err error) {
	if err := cmp.Or(b.watch.ready(ctx), b.layout.ready(ctx)); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	err = b.cluster.ForEachMaster(ctx, func(_ context.Context, m *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, m)
		return nil
	})
	slices.SortFunc(masters, func(a, b *goredis.Client) int { return cmp.Compare(a.Options().Addr, b.Options().Addr) })
	return masters, err
}

// appendFields appends the secondary fragments of the anchors.
func (c *Cache) appendFields(ctx context.Context, found []driver.Lookup, anchors []string) ([]driver.Lookup, error) {
	if len(anchors) == 0 {
		return found, nil
	}
	sizes := make([]*goredis.IntCmd, len(anchors))
	pipeline := c.b.client.Pipeline()
	for i, anchor := range anchors {
		sizes[i] = pipeline.HLen(ctx, c.b.key(anchor, hashSuffix))
	}
	if err := execAll(ctx, pipeline); err != nil {
		return nil, err
	}
	fields := make([]*goredis.StringSliceCmd, len(anchors))
	pipeline = c.b.client.Pipeline()
	for i, anchor := range anchors {
		if n := sizes[i].Val(); n > 0 && n <= maxHashKeys {
			fields[i] = pipeline.HKeys(ctx, c.b.key(anchor, hashSuffix))
		}
	}
	if err := execAll(ctx, pipeline); err != nil {
		return nil, err
	}
	for i, anchor := range anchors {
		if sizes[i].Val() > maxHashKeys {
			var err error
			if found, err = c.appendLarge(ctx, found, anchor); err != nil {
				return nil, err
			}
			continue
		}
		if fields[i] == nil {
			continue // it has gone, or is no hash
		}
		for _, field := range fields[i].Val() {
			found = appendField(found, anchor, field)
		}
	}
	return found, nil
}

// appendField appends a secondary fragment. The empty field has the version of all.
func appendField(found []driver.Lookup, anchor, field string) []driver.Lookup {
	if field == "" {
		return found
	}
	return append(found, driver.Lookup{Anchor: anchor, Field: field})
}

// appendLarge is appendFields for a hash that is too large to be listed at once.
func (c *Cache) appendLarge(ctx context.Context, found []driver.Lookup, anchor string) ([]driver.Lookup, error) {
	for at := uint64(0); ; {
		pairs, next, err := c.b.client.HScan(ctx, c.b.key(anchor, hashSuffix), at, "", 64).Result()
		if err != nil && !goredis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil, err
		}
		for i := 0; i < len(pairs); i += 2 {
			found = appendField(found, anchor, pairs[i])
		}
		if at = next; at == 0 {
			return found, nil
		}
	}
}

// execAll sends a pipeline. A key of the wrong type is no error.
func execAll(ctx context.Context, pipeline goredis.Pipeliner) error {
	if pipeline.Len() == 0 {
		return nil
	}
	cmds, err := pipeline.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !goredis.HasErrorPrefix(err, "WRONGTYPE") {
			return err
		}
	}
	if len(cmds) == 0 {
		return err
	}
	return nil
}

// name returns the name that a key is of, and its suffix.
func (b *Backend) name(key string) (name, suffix string, ok bool) {
	rest, ok := strings.CutPrefix(key, b.opts.Prefix+"{")
	end := strings.IndexByte(rest, '}')
	if !ok || end < 0 {
		return "", "", false
	}
	name, ok = unescapeName(rest[:end])
	return name, rest[end+1:], ok
}

// unescapeName is the inverse of what joinKey does to a name.
func unescapeName(s string) (name string, ok bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if len(s)-i < 3 {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), true
}

// escapeGlob returns the pattern that matches only s.
func escapeGlob(s string) string {
	if !strings.ContainsAny(s, `*?[]^\`) {
		return s
	}
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if strings.IndexByte(`*?[]^\`, s[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(b)
}
