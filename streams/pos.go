package streams

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// Pos is a place in a key's stream: that of an event, or of a reader that has seen it and
// all before. The zero Pos is before all events.
type Pos struct {
	// Epoch is drawn when a key comes into being, and changes when it has expired or was
	// lost: positions of different epochs cannot be compared.
	Epoch uint64
	// Seq is the number of the event in the epoch, from 1.
	Seq int64
}

// String returns the position as text, such as "5f3c-1042", for Last-Event-ID; "0-0" is
// the zero Pos.
func (p Pos) String() string {
	return strconv.FormatUint(p.Epoch, 16) + "-" + strconv.FormatInt(p.Seq, 10)
}

// MarshalText implements encoding.TextMarshaler, as String does.
func (p Pos) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pos) UnmarshalText(text []byte) error {
	q, err := ParsePos(string(text))
	if err == nil {
		*p = q
	}
	return err
}

// ParsePos parses what [Pos.String] returns. The error wraps driver.ErrInvalid.
func ParsePos(text string) (Pos, error) {
	epoch, seq, ok := strings.Cut(text, "-")
	e, err1 := strconv.ParseUint(epoch, 16, 64)
	n, err2 := strconv.ParseInt(seq, 10, 64)
	p := Pos{e, n}
	if !ok || err1 != nil || err2 != nil || n < 0 || p.String() != text {
		return Pos{}, fmt.Errorf("streams: %w: %.40q is no position", driver.ErrInvalid, text)
	}
	return p, nil
}
