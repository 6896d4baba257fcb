package redis_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// entryText returns an entry of random content, as entry.go lays it out.
func entryText(r *rand.Rand) []byte {
	times := []uint64{0, 1, uint64(time.Now().UnixMilli()) - 1000, uint64(time.Now().Add(time.Hour).UnixMilli()), 1e15, 1e15 + 1, 1 << 53, 1<<64 - 1}
	moment := func() uint64 {
		if n := r.IntN(16); n < len(times) {
			return times[n]
		}
		return times[3]
	}
	stamp := strings.Repeat("s", []int{0, 0, 1, 8, 255}[r.IntN(5)])
	b := []byte{"VVHHS"[r.IntN(5)], byte(len(stamp))}
	b = binary.BigEndian.AppendUint64(b, moment())
	b = append(b, stamp...)
	switch b[0] {
	case 'V':
		b = binary.BigEndian.AppendUint64(b, []uint64{0, 1, 1 << 56, r.Uint64()}[r.IntN(4)])
		b = binary.BigEndian.AppendUint64(b, moment())
		if full := byte(r.IntN(2)); full == 1 {
			b = append(append(b, full, 0), strings.Repeat("v", r.IntN(300))...)
		} else {
			b = append(b, 0)
		}
	case 'H':
		for range r.IntN(4) {
			token := strings.Repeat("t", []int{0, 1, 26, 255}[r.IntN(4)])
			b = append(append(b, byte(len(token))), token...)
			b = binary.BigEndian.AppendUint64(b, moment())
		}
	}
	return b
}

// mutate changes an entry in a place or two, or in none.
func mutate(r *rand.Rand, b []byte) []byte {
	for range r.IntN(3) {
		at := r.IntN(len(b) + 1)
		switch r.IntN(5) {
		case 0:
			b = b[:at]
		case 1:
			b = slices.Insert(b, at, byte(r.IntN(256)))
		case 2:
			b = append(b, byte(r.IntN(256)))
		default:
			if at < len(b) {
				b[at] ^= 1 << r.IntN(8)
			}
		}
	}
	return b
}

// TestEntryAgreement: the program and the scripts accept the same entries, and see the
// same in them.
func TestEntryAgreement(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	raws := [][]byte{{}, {0}, []byte("V garbage"), []byte("graphcache: not a string")}
	for len(raws) < 4000 {
		if r.IntN(10) > 0 {
			raws = append(raws, mutate(r, entryText(r)))
			continue
		}
		raw := make([]byte, r.IntN(64))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		raws = append(raws, raw)
	}
	pipe := b.Client().Pipeline()
	lookups, claims := make([]driver.Lookup, len(raws)), make([]driver.Claim, len(raws))
	for i, raw := range raws {
		anchor := fmt.Sprint(i)
		pipe.Set(ctx, b.EntryKey(anchor), raw, 0)
		lookups[i] = driver.Lookup{Anchor: anchor}
		claims[i] = driver.Claim{Anchor: anchor, Version: 42, Lease: time.Minute, TTL: time.Hour}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	looked, err := c.Lookup(ctx, lookups)
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := c.Claim(ctx, claims)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[driver.State]int)
	corrupt := 0
	for i, raw := range raws {
		l, c := looked[i], claimed[i]
		if why := disagreement(raw, l, c); why != "" {
			t.Fatalf("%s: entry %q\nlook-up %+v\nclaim %+v", why, raw, l, c)
		}
		if l.Corrupt != nil {
			corrupt++
			claims[i].Replace = l.Corrupt
		} else {
			seen[l.State]++
		}
	}
	if corrupt < 100 || seen[driver.Empty] < 100 || seen[driver.Versioned] < 100 || seen[driver.Held] < 100 {
		t.Errorf("too little of some: %v and %d corrupt ones", seen, corrupt)
	}
	// With the bytes that were seen, every corrupt one is replaced.
	claimed, err = c.Claim(ctx, claims)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range claimed {
		if claims[i].Replace != nil && (!e.Claimed || e.State != driver.Versioned || e.Version != 42) {
			t.Fatalf("entry %q is not replaced: %+v", raws[i], e)
		}
	}
}

// disagreement compares what a look-up and then a claim under version 42 see.
func disagreement(raw []byte, l, c driver.Entry) string {
	ok, _ := redis.EntryParses(string(raw))
	switch {
	case len(raw) == 0:
		if l.State != driver.Empty || l.Corrupt != nil || !c.Claimed {
			return "nothing is not empty"
		}
	case ok != (l.Corrupt == nil):
		return "the look-up does not parse it like the program"
	case (l.Corrupt == nil) != (c.Corrupt == nil):
		return "one accepts it, the other does not"
	case l.Corrupt != nil:
		if c.Claimed || l.State != driver.Empty || c.State != driver.Empty || !bytes.Equal(l.Corrupt, raw) || !bytes.Equal(c.Corrupt, raw) {
			return "a corrupt entry is not empty with all its bytes"
		}
	case l.State == driver.Empty:
		if !c.Claimed || c.State != driver.Versioned || c.Version != 42 {
			return "an empty entry is not claimed"
		}
	case l.State == driver.Versioned:
		if c.State != l.State || c.Version != l.Version || !bytes.Equal(c.Value, l.Value) || l.Value != nil && c.Claimed {
			return "a versioned entry is another to the claim"
		}
	case l.State == driver.Held && c.State != driver.Held:
		// By the clock the tokens have ended.
		if !c.Claimed {
			return "a held entry becomes something else"
		}
	}
	if c.Stamp != "" && c.Stamp != l.Stamp {
		return "the stamp is another"
	}
	return ""
}

func FuzzParseEntry(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		f.Add(string(entryText(r)))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		ok, value := redis.EntryParses(raw)
		if value > len(raw) || ok && len(raw) < 10 {
			t.Errorf("%t, a value of %d bytes", ok, value)
		}
	})
}

// hostileBlobs are values that claim to be more than they are.
var hostileBlobs = []string{
	"", "\x00", "\x01", "\x02", "\xff", "\x01\xff",
	"\x01\xff\xff\xff\xff\x0f", "\x01\xff\xff\xff\xff\x07 and some bytes", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	"\x01\x80\x80\x80\x80\x04" + strings.Repeat("\x00", 100),     // 1 GiB
	"\x01" + string(s2.Encode(nil, make([]byte, 1<<20))),         // zeros: more than the ratio allows
	"\x01" + string(s2.Encode(nil, []byte("some text"))[:5]),     // truncated
	"\x01" + string(s2.Encode(nil, []byte("some text"))) + "end", // and more
}

func FuzzDecodeBlob(f *testing.F) {
	for _, blob := range hostileBlobs {
		f.Add(blob)
	}
	f.Fuzz(func(t *testing.T, blob string) {
		value, ok := redis.DecodeBlob(blob)
		if value == nil || len(value) > 64*len(blob) {
			t.Errorf("%d bytes, %t", len(value), ok)
		}
	})
}

func TestBlobRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		value = bytes.Repeat(value, rapid.IntRange(0, 1000).Draw(t, "times"))
		blob := redis.EncodeBlob(value, rapid.IntRange(0, 2000).Draw(t, "above"))
		if got, ok := redis.DecodeBlob(string(blob)); !ok || got == nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes became %d, %t", len(value), len(got), ok)
		}
		if len(blob) > 1+len(value) {
			t.Errorf("%d bytes are stored for %d", len(blob), len(value))
		}
	})
}

// TestBlobAllocation: what a value claims to be decides nothing.
func TestBlobAllocation(t *testing.T) {
	for _, blob := range hostileBlobs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		redis.DecodeBlob(blob)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20+64*uint64(len(blob)) { // others allocate too
			t.Errorf("%d bytes were allocated for a value of %d: %.20q", n, len(blob), blob)
		}
	}
}

// TestEntryHostile: neither a look-up nor a claim minds what it finds as a value.
func TestEntryHostile(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	header := "V\x00" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x00\x00\x00\x00\x2a" + strings.Repeat("\x00", 8) + "\x01"
	for i, blob := range hostileBlobs {
		anchor := fmt.Sprint(i)
		err := errors.Join(
			b.Client().Set(ctx, b.EntryKey(anchor), header+blob, time.Hour).Err(),
			b.Client().HSet(ctx, b.HashKey(anchor), "", "\x00\x00\x00\x00\x00\x00\x00\x2a\xff\xff\xff\xff", "f", "V\x00\x00\x00\x00\x00\x00\x00\x2a"+blob,
				"g", "V\x00\x00\x00\x00\x00\x00\x00\x2b"+blob, "h", "L\x00\x00\x00\x00\x00\x00\x00\x2a", "i", blob).Err())
		if err != nil {
			t.Fatal(err)
		}
		var lookups []driver.Lookup
		var claims []driver.Claim
		for _, field := range []string{"", "f", "g", "h", "i"} {
			lookups = append(lookups, driver.Lookup{Anchor: anchor, Field: field})
			claims = append(claims, driver.Claim{Anchor: anchor, Field: field, Version: 1, Lease: time.Minute, TTL: time.Hour})
		}
		looked, err := c.Lookup(ctx, lookups)
		if err != nil {
			t.Fatal(err)
		}
		claimed, err := c.Claim(ctx, claims)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := redis.DecodeBlob(blob)
		for j, e := range looked {
			valued := j < 2 // the primary value, and the one of this version
			if e.State != driver.Versioned || e.Version != 42 || valued != (e.Value != nil) || valued && !bytes.Equal(e.Value, want) {
				t.Errorf("look-up of %q with %.30q: %+v", lookups[j].Field, blob, e)
			}
			if e := claimed[j]; e.Version != 42 || e.Claimed == valued {
				t.Errorf("claim of %q with %.30q: %+v", lookups[j].Field, blob, e)
			}
		}
	}
}

// foreign are commands that leave something at a key that no backend puts there.
var foreign = map[string][]any{
	"string":     {"set", "", "somebody else's"},
	"empty":      {"set", "", ""},
	"long":       {"set", "", strings.Repeat("long ", 1000)},
	"number":     {"incrby", "", 7},
	"list":       {"rpush", "", "x"},
	"hash":       {"hset", "", "name", "value"},
	"nameless":   {"hset", "", "", "value"},
	"set":        {"sadd", "", "x"},
	"sorted set": {"zadd", "", 1, "x"},
	"stream":     {"xadd", "", "*", "n", "1"},
}

func put(t *testing.T, b *redis.Backend, key string, command []any) {
	t.Helper()
	args := slices.Clone(command)
	args[1] = key
	if err := errors.Join(b.Client().Del(t.Context(), key).Err(), b.Client().Do(t.Context(), args...).Err()); err != nil {
		t.Fatal(err)
	}
}

// TestEntryForeign: what others have put at an entry's key is a miss, and is replaced; at
// the key of the secondary values, too.
func TestEntryForeign(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	for name, command := range foreign {
		t.Run("entry/"+name, func(t *testing.T) {
			anchor := "entry " + name
			for _, field := range []string{"", "f"} {
				put(t, b, b.EntryKey(anchor), command)
				l, err := c.Lookup(ctx, []driver.Lookup{{Anchor: anchor, Field: field}})
				if err != nil || l[0].State != driver.Empty || (l[0].Corrupt == nil) != (name == "empty") {
					t.Fatalf("look-up of %q: %+v, error %v", field, l, err)
				}
				claim := driver.Claim{Anchor: anchor, Field: field, Version: 42, Lease: time.Minute, TTL: time.Hour, Replace: l[0].Corrupt}
				e, err := c.Claim(ctx, []driver.Claim{claim})
				if err != nil || !e[0].Claimed || e[0].Version != 42 {
					t.Fatalf("claim of %q: %+v, error %v", field, e, err)
				}
				if ttl := b.Client().PTTL(ctx, b.EntryKey(anchor)).Val(); ttl <= 0 || ttl > time.Hour {
					t.Errorf("it lives for %v", ttl)
				}
			}
		})
		t.Run("hold/"+name, func(t *testing.T) {
			anchor := "hold " + name
			put(t, b, b.EntryKey(anchor), command)
			l, err := c.Lookup(ctx, []driver.Lookup{{Anchor: anchor}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Hold(ctx, []driver.Hold{{Anchor: anchor, Token: "t", TTL: time.Minute}}); err != nil {
				t.Fatal(err)
			}
			// Somebody saw the entry before the hold, and wants to replace it.
			claim := driver.Claim{Anchor: anchor, Version: 42, Lease: time.Minute, TTL: time.Hour, Replace: l[0].Corrupt}
			e, err := c.Claim(ctx, []driver.Claim{claim})
			if err != nil || e[0].State != driver.Held || e[0].Claimed {
				t.Errorf("claim: %+v, error %v; want it held", e, err)
			}
			got, err := c.Release(ctx, []driver.Release{{Anchor: anchor, Token: "t"}})
			if err != nil || got[0] != driver.Done {
				t.Errorf("release: %v, error %v; want Done", got, err)
			}
		})
		t.Run("release/"+name, func(t *testing.T) {
			anchor := "release " + name
			put(t, b, b.EntryKey(anchor), command)
			got, err := c.Release(ctx, []driver.Release{{Anchor: anchor, Token: "t", Stamp: "s", KeepStamp: time.Minute}})
			if err != nil || got[0] != driver.Refused {
				t.Errorf("release: %v, error %v; want Refused", got, err)
			}
			l, err := c.Lookup(ctx, []driver.Lookup{{Anchor: anchor}})
			if err != nil || l[0].State != driver.Empty || l[0].Corrupt != nil || l[0].Stamp != "s" {
				t.Errorf("afterwards: %+v, error %v", l, err)
			}
		})
		t.Run("hash/"+name, func(t *testing.T) {
			anchor := "hash " + name
			if err := keep(ctx, c, anchor, "old"); err != nil {
				t.Fatal(err)
			}
			put(t, b, b.HashKey(anchor), command)
			l, err := c.Lookup(ctx, []driver.Lookup{{Anchor: anchor}, {Anchor: anchor, Field: "field"}})
			if err != nil || string(l[0].Value) != "old" || l[1].State != driver.Versioned || l[1].Value != nil || l[1].Loading {
				t.Fatalf("look-up: %+v, error %v", l, err)
			}
			e, err := c.Claim(ctx, []driver.Claim{{Anchor: anchor, Field: "field", Version: 1, Lease: time.Minute, TTL: time.Hour}})
			if err != nil || !e[0].Claimed {
				t.Fatalf("claim: %+v, error %v", e, err)
			}
			got, err := c.Fill(ctx, []driver.Fill{{Anchor: anchor, Field: "field", Version: e[0].Version, Value: []byte("new"), TTL: time.Hour, Limit: 9}})
			if err != nil || got[0] != driver.Done {
				t.Fatalf("fill: %v, error %v", got, err)
			}
			if got, err := find(ctx, c, anchor); err != nil || got != [2]string{"old", "new"} {
				t.Errorf("afterwards: %q, error %v", got, err)
			}
			if ttl := b.Client().PTTL(ctx, b.HashKey(anchor)).Val(); ttl <= 0 || ttl > time.Hour {
				t.Errorf("it lives for %v", ttl)
			}
		})
	}
}

// TestEntryCompareAndSet: a claim replaces exactly the bytes that it names.
func TestEntryCompareAndSet(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	claim := func(replace string) driver.Entry {
		t.Helper()
		e, err := c.Claim(ctx, []driver.Claim{{Anchor: "a", Version: 42, Lease: time.Minute, TTL: time.Hour, Replace: []byte(replace)}})
		if err != nil {
			t.Fatal(err)
		}
		return e[0]
	}
	put(t, b, b.EntryKey("a"), []any{"set", "", "first garbage"})
	put(t, b, b.EntryKey("a"), []any{"set", "", "second garbage"}) // since the look-up
	if e := claim("first garbage"); e.Claimed || string(e.Corrupt) != "second garbage" {
		t.Errorf("another's garbage: %+v", e)
	}
	if e := claim("second garbage"); !e.Claimed {
		t.Errorf("the garbage that is there: %+v", e)
	}
	if _, err := c.Fill(ctx, []driver.Fill{{Anchor: "a", Version: 42, Value: []byte("good"), TTL: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if e := claim("second garbage"); e.Claimed || string(e.Value) != "good" {
		t.Errorf("garbage that is gone: %+v", e)
	}
}

// crc16 is the checksum by which a Cluster finds a key's slot.
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// slot returns the slot of a key.
func slot(key string) uint16 {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	return crc16(key) % 16384
}

func TestKeySlot(t *testing.T) {
	for key, want := range map[string]uint16{"foo": 12182, "{foo}x": 12182, "bar": 5061, "{}foo": 9500} {
		if got := slot(key); got != want {
			t.Errorf("the slot of %q is %d, want %d", key, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	names := rapid.OneOf(
		rapid.StringOfN(rapid.RuneFrom([]rune("{}%25ab7BDk")), 0, 12, -1),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"gc:", "", "a", "%7B"}).Draw(t, "prefix")
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		suffixes := []string{"k", "h", "c", "g", "l", "u"}
		x, y := rapid.SampledFrom(suffixes).Draw(t, "x"), rapid.SampledFrom(suffixes).Draw(t, "y")
		k, other := redis.JoinKey(prefix, a, x), redis.JoinKey(prefix, b, y)
		if (k == other) != (a == b && x == y) {
			t.Errorf("%q and %q have the keys %q and %q", a+" "+x, b+" "+y, k, other)
		}
		// What is in braces is all of the name, and ends where the suffix begins.
		rest, ok := strings.CutPrefix(k, prefix+"{")
		tag, after, cut := strings.Cut(rest, "}")
		if !ok || !cut || after != x || strings.ContainsAny(tag, "{}") || len(tag) < len(a) {
			t.Errorf("the key of %q is %q", a, k)
		}
		if a != "" && slot(redis.JoinKey(prefix, a, "k")) != slot(redis.JoinKey(prefix, a, "h")) {
			t.Errorf("%q has its values in two slots", a)
		}
	})
}

// TestKeysCorners has names that could be taken for one another.
func TestKeysCorners(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{})
	ctx := patient(t)
	names := []string{"a", "{a}", "%7Ba%7D", "{a", "a}", "%", "%25", "%7B", "{", "}", "\x00", "\xff", "a\nb", "a b", strings.Repeat("n", 32<<10)}
	for i, n := range names {
		if err := keep(ctx, b.Cache(), n, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range names {
		if got, err := find(ctx, b.Cache(), n); err != nil || got != [2]string{fmt.Sprint(i), fmt.Sprint(i)} {
			t.Errorf("%.20q: %q, error %v", n, got, err)
		}
	}
}
