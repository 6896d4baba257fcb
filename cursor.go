package graphcache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// A cursor is the place of a page's last result in the order of its query:
//
//	[1, digest of the query's key 16, [value…]]
//
// in MessagePack and then in base64 (RFC 4648, section 5, without padding). The values
// are those of driver.Step.After. The digest is the first half of a SHA-256: it tells a
// cursor of another query, and protects nothing.

const (
	cursorVersion = 1
	// MaxCursorLen is the length in bytes that a cursor may have. A page that ends
	// at an object by whose longer values it is sorted has no cursor: Page returns
	// ErrInvalid.
	MaxCursorLen = 4096
)

// Page returns the first Limit results after the cursor, and the cursor of the page that
// follows; that is empty if this is the last page. The empty cursor is the start.
//
// A cursor is a place in the order of the results, not a number of them: whatever is
// added or removed before it, the next page begins with the first result after it. A
// result is skipped or repeated only if its own place changes meanwhile. The query needs
// a Limit, and, if it starts from what another hop has reached, an OrderBy or
// OrderByEdge. A cursor belongs to the query, its limits included; [ErrCursor] is
// returned for one of another query and for anything that is not a cursor. Cursors may
// be passed to a client and back: they contain the values by which the last result is
// sorted, and its ID, not encrypted.
func (q Query[T, E]) Page(ctx context.Context, c Conn, cursor string) (page []*T, next string, err error) {
	defer func() { wrap(&err, "page of", q.name(), "") }()
	ctx, op := c.conn().g.start(ctx, "page", q.name())
	defer op.end(&err)
	after, err := q.resume(cursor)
	if err != nil {
		return nil, "", err
	}
	// One more than the page says whether there is another.
	limit := q.src.last.limit
	more := q
	more.src.last.limit = addOffset(limit, 1)
	if after != nil {
		more.src.last.offset = 0
	}
	var end *row
	var failed error
	err = more.each(ctx, c.conn(), true, after, func(o *T, r *row) bool {
		if len(page) == limit {
			next, failed = q.cursor(end)
			return false
		}
		page, end = append(page, o), r
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, "", err
	}
	return page, next, err
}

// resume returns the place of a cursor, nil for the empty one.
func (q Query[T, E]) resume(cursor string) ([]driver.Value, error) {
	if err := q.src.check(); err != nil {
		return nil, err
	}
	last := q.src.canonical(&q.src.last, q.src.hops-1)
	switch {
	case last.limit == 0:
		return nil, fmt.Errorf("%w: a page needs a Limit", ErrInvalid)
	case q.src.hops > 1 && len(last.order) == 0:
		return nil, fmt.Errorf("%w: a page of what several hops have reached needs an OrderBy or OrderByEdge", ErrInvalid)
	case cursor == "":
		return nil, nil
	}
	key, err := q.Key()
	if err != nil {
		return nil, err
	}
	after, err := parseCursor(cursor, key)
	if err != nil {
		return nil, err
	}
	return after, last.checkCursor(after, q.src.start())
}

// cursor returns the cursor of the place of a row.
func (q Query[T, E]) cursor(r *row) (string, error) {
	last := q.src.canonical(&q.src.last, q.src.hops-1)
	values, err := last.place(r)
	if err != nil {
		return "", err
	}
	key, err := q.Key()
	if err != nil {
		return "", err
	}
	b := msgp.AppendArrayHeader(nil, 3)
	b = msgp.AppendInt(b, cursorVersion)
	b = msgp.AppendBytes(b, digest(key))
	cursor := base64.RawURLEncoding.EncodeToString(appendValues(b, values))
	if len(cursor) > MaxCursorLen {
		return "", fmt.Errorf("%w: the cursor after %.40q would have %d bytes, more than %d", ErrInvalid, r.far, len(cursor), MaxCursorLen)
	}
	return cursor, nil
}

func digest(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:16]
}

// parseCursor reads a cursor of the query with the key.
func parseCursor(cursor, key string) ([]driver.Value, error) {
	if len(cursor) > MaxCursorLen {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrCursor, len(cursor), MaxCursorLen)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not base64", ErrCursor)
	}
	r := keyReader{b: b}
	r.array(3)
	version := r.int()
	sum := part(&r, msgp.ReadBytesZC)
	switch {
	case r.err != nil || version != cursorVersion:
		return nil, errCursor
	case string(sum) != string(digest(key)):
		return nil, fmt.Errorf("%w: it is one of another query", ErrCursor)
	}
	values := r.values()
	if r.end() != nil {
		return nil, errCursor
	}
	return values, nil
}

var errCursor = fmt.Errorf("%w: it is malformed", ErrCursor)

// place returns the row's place in the order, as driver.Step.After has it.
func (h *hop) place(r *row) ([]driver.Value, error) {
	if h.edge != nil && len(h.order) == 0 {
		return []driver.Value{r.near, time.UnixMilli(r.ms).UTC(), r.far}, nil
	}
	keys, err := r.keysNow(h.order)
	return h.placeOf(keys, r), err
}

// placeOf returns the place of a row with the keys.
func (h *hop) placeOf(keys []driver.Value, r *row) []driver.Value {
	place := append(keys[:len(keys):len(keys)], r.far)
	if h.edge != nil {
		place = append(place, r.near)
	}
	return place
}

// comparePlaces compares two places in the hop's order, which is not that of its lists.
func (h *hop) comparePlaces(a, b []driver.Value) int {
	n := len(h.order)
	return cmp.Or(compareBy(h.order, a, b), slices.CompareFunc(a[n:], b[n:], driver.Compare))
}

// checkCursor says when the values cannot be a place in the hop's order.
func (h *hop) checkCursor(after []driver.Value, starts []string) error {
	var want []driver.Value // of the types that the values must have
	switch {
	case h.edge != nil && len(h.order) == 0:
		want = []driver.Value{"", time.Time{}, ""}
	default:
		for _, k := range h.order {
			want = append(want, k.sample())
		}
		if want = append(want, ""); h.edge != nil {
			want = append(want, "")
		}
	}
	ok := len(after) == len(want)
	for i := 0; ok && i < len(want); i++ {
		nilable := i < len(h.order) && h.order[i].col.nilable
		ok = sameType(after[i], want[i]) && storable(after[i]) || after[i] == nil && nilable
	}
	if ok && h.edge != nil && len(h.order) == 0 {
		ok = slices.Contains(starts, after[0].(string))
	}
	if !ok {
		return errCursor
	}
	return nil
}

// storable reports whether a record can have the value.
func storable(v driver.Value) bool {
	switch v := v.(type) {
	case string:
		return utf8.ValidString(v)
	case time.Time:
		_, err := milliseconds(v)
		return err == nil
	}
	return true
}

// sample returns a value of the type by which the key sorts.
func (k orderKey) sample() driver.Value {
	if k.col.plan == nil || k.col.Zero != nil {
		return k.col.Zero
	}
	return k.col.plan.Sample()
}

// sameType reports whether two values are of types that compare with each other.
func sameType(a, b driver.Value) bool {
	switch a.(type) {
	case int64, uint64, float64:
		switch b.(type) {
		case int64, uint64, float64:
			return true
		}
		return false
	}
	return a != nil && b != nil && fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b)
}

// skip returns the rows after the hop's cursor, all if it has none.
func (h *hop) skip(rows []row, starts []string) ([]row, error) {
	if h.after == nil {
		return rows, nil
	}
	var failed error
	i := sort.Search(len(rows), func(i int) bool {
		past, err := h.past(&rows[i], h.after, starts)
		if err != nil {
			failed = err
		}
		return past
	})
	return rows[i:], failed
}

// past reports whether the row comes after a place, all rows if that is nil.
func (h *hop) past(r *row, after []driver.Value, starts []string) (bool, error) {
	if after == nil {
		return true, nil
	}
	if h.edge != nil && len(h.order) == 0 {
		at := slices.Index(starts, after[0].(string))
		return cmp.Or(
			cmp.Compare(slices.Index(starts, r.near), at),
			cmp.Compare(after[1].(time.Time).UnixMilli(), r.ms),
			strings.Compare(r.far, after[2].(string)),
		) > 0, nil
	}
	place, err := h.place(r)
	return err == nil && h.comparePlaces(place, after) > 0, err
}
