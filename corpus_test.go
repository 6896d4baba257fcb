package graphcache_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// corpusValue has a field of every Go type that a field may have.
type corpusValue struct {
	Bool    bool
	Int     int
	Int8    int8
	Int16   int16
	Int32   int32
	Int64   int64
	Uint    uint
	Uint8   uint8
	Uint16  uint16
	Uint32  uint32
	Uint64  uint64
	Float64 float64
	Float32 float32
	Text    string
	Named   corpusName
	Bytes   []byte
	Array   [3]byte
	Pair    [2]string
	Time    time.Time
	TimePtr *time.Time
	Times   []time.Time
	Period  time.Duration
	Ptr     *int
	PtrPtr  **string
	Texts   []string
	ListPtr *[]string
	Lists   [][]int
	Nested  corpusNested
	Records []corpusNested
	Ptrs    []*corpusNested
	Map     map[string]int
	IntMap  map[int]string
	TextMap map[netip.Addr]*corpusNested
	MapMap  map[string]map[string][]byte
	Addr    netip.Addr
	Raw     json.RawMessage
	Big     *big.Int
	Tree    *corpusTree
	corpusBase
	Renamed string `json:"new_name" graph:"was=old_name"`
	Secret  string `json:"-"`
}

type (
	corpusName   string
	corpusNested struct {
		X    int
		Deep *corpusNested
		List []string
	}
	corpusTree struct {
		Name string
		Kids []*corpusTree
	}
	corpusBase   struct{ Embedded string }
	corpusObject struct {
		ID      graphcache.ID[corpusObject] `json:"id"`
		Version graphcache.Version
		corpusValue
		Inner corpusValue
	}
)

var (
	corpusObjects = graphcache.NewObjectKind[corpusObject]("corpus")
	corpusEdges   = graphcache.NewEdgeKind[corpusValue]("edge", corpusObjects, corpusObjects)
	corpusSchema  = graphcache.NewSchema(corpusObjects, corpusEdges)
)

// corpusExact compares values by what a caller can see of them, NaN and -0 included;
// nil and empty are different.
var corpusExact = cmp.Options{
	cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
	cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) && a.Location() == b.Location() }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b *big.Int) bool { return (a == nil) == (b == nil) && (a == nil || a.Cmp(b) == 0) }),
	cmp.AllowUnexported(corpusValue{}, corpusObject{}),
}

// corpusSamples are the edge values of these types.
func corpusSamples() map[string]corpusValue {
	zero, minus := 0, math.Copysign(0, -1)
	text, some := new(string), "some"
	present := &some
	moon := time.Date(1969, 7, 20, 20, 17, 40, 123_999_999, time.FixedZone("CET", 3600))
	first, last := time.Date(1, 1, 1, 0, 0, 0, 1e6, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
	nested := corpusNested{X: -1, Deep: &corpusNested{List: []string{}}, List: []string{"", "é\x00😀"}}
	localhost := netip.MustParseAddr("::1")
	return map[string]corpusValue{
		"zero": {},
		"least": {
			Int: math.MinInt, Int8: math.MinInt8, Int16: math.MinInt16, Int32: math.MinInt32, Int64: math.MinInt64,
			Float64: -math.MaxFloat64, Float32: -math.MaxFloat32, Time: first, Period: math.MinInt64,
		},
		"greatest": {
			Bool: true, Int: math.MaxInt, Int8: math.MaxInt8, Int16: math.MaxInt16, Int32: math.MaxInt32, Int64: math.MaxInt64,
			Uint: math.MaxUint, Uint8: math.MaxUint8, Uint16: math.MaxUint16, Uint32: math.MaxUint32, Uint64: math.MaxUint64,
			Float64: math.MaxFloat64, Float32: math.MaxFloat32, Time: last, TimePtr: &last, Period: math.MaxInt64,
			Big: new(big.Int).Lsh(big.NewInt(1), 200),
		},
		"beside the limits": {Uint64: math.MaxInt64 + 1, Uint: math.MaxInt64, Int64: math.MinInt64 + 1, Float64: 1 << 53, Float32: math.SmallestNonzeroFloat32},
		"not a number":      {Float64: math.NaN(), Float32: float32(math.NaN())},
		"infinite":          {Float64: math.Inf(-1), Float32: float32(math.Inf(1))},
		"minus zero":        {Float64: minus, Float32: float32(minus), Big: new(big.Int)},
		"fractions":         {Float64: 0.1, Float32: 0.1},
		"times": {
			Time: moon, TimePtr: &moon, Times: []time.Time{{}, time.Unix(0, -1), time.Unix(-1<<33, 0), moon.UTC()}, Period: -1,
		},
		"pointers to zero": {Ptr: &zero, PtrPtr: &text, TimePtr: new(time.Time), ListPtr: new([]string), Tree: &corpusTree{}},
		"pointers to some": {PtrPtr: &present, ListPtr: &[]string{"a"}, Tree: &corpusTree{"root", []*corpusTree{nil, {"kid", nil}, {"kid", []*corpusTree{}}}}},
		"empty": {
			Bytes: []byte{}, Times: []time.Time{}, Texts: []string{}, ListPtr: &[]string{}, Lists: [][]int{}, Records: []corpusNested{},
			Ptrs: []*corpusNested{}, Map: map[string]int{}, IntMap: map[int]string{}, TextMap: map[netip.Addr]*corpusNested{},
			MapMap: map[string]map[string][]byte{}, Nested: corpusNested{List: []string{}},
		},
		"nil within": {
			Lists: [][]int{nil, {}, {0}}, Ptrs: []*corpusNested{nil, {}}, MapMap: map[string]map[string][]byte{"nil": nil, "empty": {}, "m": {"nil": nil, "empty": {}, "b": {0}}},
			TextMap: map[netip.Addr]*corpusNested{localhost: nil}, Texts: []string{""},
		},
		"full": {
			Text: "\x00\u2028😀", Named: "n", Bytes: []byte{0xff, 0}, Array: [3]byte{1, 2, 3}, Pair: [2]string{"", "b"}, Nested: nested,
			Records: []corpusNested{nested, {}}, Ptrs: []*corpusNested{&nested}, Map: map[string]int{" ": 0, "$a.b": 1, "_id": 2},
			IntMap: map[int]string{math.MinInt: "min", -1: "m", 10: "x", 9: ""}, TextMap: map[netip.Addr]*corpusNested{localhost: &nested},
			Addr: netip.MustParseAddr("fe80::1%eth0"), Raw: json.RawMessage(`{"a":[1,null]}`), Big: big.NewInt(-5),
			corpusBase: corpusBase{"base"}, Renamed: "renamed",
		},
		"large":  {Text: strings.Repeat("é", 40_000), Lists: [][]int{make([]int, 5000)}},
		"secret": {Text: "shown", Secret: "never kept"},
	}
}

// stored is what a value is after the journey: times are truncated, secrets gone.
func (v corpusValue) stored() corpusValue {
	short := func(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
	v.Secret, v.Time = "", short(v.Time)
	if v.TimePtr != nil {
		at := short(*v.TimePtr)
		v.TimePtr = &at
	}
	times := v.Times
	if v.Times != nil {
		v.Times = make([]time.Time, len(times))
	}
	for i := range times {
		v.Times[i] = short(times[i])
	}
	return v
}

// TestCorpus: every value gives the same answer on a cache miss, a cache hit, from
// the store, inside a transaction and in another process, as object and as edge.
func TestCorpus(t *testing.T) {
	ctx := t.Context()
	first := fixtureNew(t).withSchema(t, corpusSchema)
	second := first.withSchema(t, corpusSchema)
	for name, v := range corpusSamples() {
		t.Run(name, func(t *testing.T) {
			o := &corpusObject{ID: graphcache.ID[corpusObject](name), corpusValue: v, Inner: v}
			fixtureMust(t, corpusObjects.Create(ctx, first, o))
			given := graphcache.Edge[corpusObject, corpusObject, corpusValue]{From: o.ID, To: o.ID, Time: time.UnixMilli(-5).UTC(), Data: v}
			_, err := corpusEdges.AddEdge(ctx, first, given)
			fixtureMust(t, err)
			wantObject, wantEdge := *o, given
			wantObject.corpusValue, wantObject.Inner, wantEdge.Data = v.stored(), v.stored(), v.stored()

			check := func(way string, c graphcache.Conn, fresh ...graphcache.Freshness) {
				t.Helper()
				got, err := corpusObjects.Get(ctx, c, o.ID, fresh...)
				if diff := cmp.Diff(&wantObject, got, corpusExact); diff != "" || err != nil {
					t.Errorf("%s: the object, %v (-want +got):\n%s", way, err, diff)
				}
				edge, err := corpusEdges.Get(ctx, c, o.ID, o.ID, fresh...)
				if diff := cmp.Diff(&wantEdge, edge, corpusExact); diff != "" || err != nil {
					t.Errorf("%s: the edge, %v (-want +got):\n%s", way, err, diff)
				}
			}
			check("a miss", first)
			first.settle(t)
			first.on(nil)
			second.on(nil)
			check("a hit", first)
			check("a hit of another process", second)
			// The edge of the large value is beyond the bytes of a prefix.
			if n := first.fstore.Total() + second.fstore.Total(); n != 0 && name != "large" {
				t.Errorf("%d store calls for hits", n)
			}
			check("fresh", first, graphcache.Fresh)
			fixtureMust(t, first.Tx(ctx, func(tx *graphcache.Tx) error {
				check("a transaction", tx)
				_, err := corpusObjects.Update(ctx, tx, o.ID, func(o *corpusObject) error { return nil })
				wantObject.Version++
				check("a transaction that has written it", tx)
				return err
			}))
			check("a second writing", second)
		})
	}
}

type corpusBox struct {
	ID      graphcache.ID[corpusBox] `json:"id"`
	Title   string                   `json:"title" graph:"was=headline"`
	Address struct {
		Street string `json:"street" graph:"was=road"`
	} `json:"address"`
}

// TestCorpusUnknownFields: what another program version has written is kept by
// Update and Put, also within nested records, and old names are read.
func TestCorpusUnknownFields(t *testing.T) {
	boxes := graphcache.NewObjectKind[corpusBox]("box")
	for name, write := range map[string]func(t *testing.T, e *fixtureEngine, b *corpusBox) error{
		"Update": func(t *testing.T, e *fixtureEngine, b *corpusBox) error {
			_, err := boxes.Update(t.Context(), e, b.ID, func(u *corpusBox) error { *u = *b; return nil })
			return err
		},
		"Put": func(t *testing.T, e *fixtureEngine, b *corpusBox) error { return boxes.Put(t.Context(), e, b) },
		"Tx": func(t *testing.T, e *fixtureEngine, b *corpusBox) error {
			return e.Tx(t.Context(), func(tx *graphcache.Tx) error { return boxes.Put(t.Context(), tx, b) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := fixtureNew(t).withSchema(t, graphcache.NewSchema(boxes))
			_, err := e.store.Write(t.Context(), []driver.Write{{Op: driver.Insert, Kind: "box", Object: &driver.Object{
				ID: "b", Version: 5, Doc: driver.Document{
					{Name: "mood", Value: "good"}, {Name: "headline", Value: "old title"},
					{Name: "address", Value: driver.Document{{Name: "zip", Value: int64(8000)}, {Name: "road", Value: "old street"}}},
					{Name: "more", Value: []driver.Value{nil, driver.Document{{Name: "x", Value: true}}}},
				}}}})
			fixtureMust(t, err)
			for range 2 { // a miss and a hit
				got, err := boxes.Get(t.Context(), e, "b")
				if err != nil || got.Title != "old title" || got.Address.Street != "old street" {
					t.Errorf("a record with the old names: %+v, %v", got, err)
				}
				e.settle(t)
			}
			b := &corpusBox{ID: "b", Title: "new title"}
			b.Address.Street = "new street"
			fixtureMust(t, write(t, e, b))
			results, err := e.store.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "box", IDs: []string{"b"}}}, "")
			fixtureMust(t, err)
			want := driver.Document{
				{Name: "title", Value: "new title"}, {Name: "mood", Value: "good"},
				{Name: "address", Value: driver.Document{{Name: "street", Value: "new street"}, {Name: "zip", Value: int64(8000)}}},
				{Name: "more", Value: []driver.Value{nil, driver.Document{{Name: "x", Value: true}}}},
			}
			if got := results[0].Objects[0].Doc; !driver.Equal(want, got) {
				t.Errorf("the record is %v\nwant %v", got, want)
			}
			if got, err := boxes.Get(t.Context(), e, "b"); err != nil || *got != *b {
				t.Errorf("read again: %+v, %v, want %+v", got, err, b)
			}
		})
	}
}

// TestCorpusSecrets: no byte of a field tagged "-" reaches a backend.
func TestCorpusSecrets(t *testing.T) {
	ctx, e := t.Context(), fixtureNew(t)
	const secret, shown = "s3cr3t", "sh0wn"
	var mu sync.Mutex
	var sent bytes.Buffer
	e.on(func(c fixtureCall) backendtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		encoded, err := json.Marshal(c.Batch)
		fixtureMust(t, err)
		sent.Write(encoded)
		fills, _ := c.Batch.([]driver.Fill)
		for _, f := range fills {
			fmt.Fprintf(&sent, "fill %s", f.Value)
		}
		return backendtest.Fault{}
	})
	u := &fixtureUser{ID: "ann", Name: shown, Secret: secret}
	fixtureMust(t, fixtureUsers.Create(ctx, e, u))
	fixtureMust(t, fixtureUsers.Put(ctx, e, u))
	_, err := fixtureUsers.Update(ctx, e, "ann", func(u *fixtureUser) error { u.Secret = secret; return nil })
	fixtureMust(t, err)
	fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error {
		return fixtureUsers.Put(ctx, tx, &fixtureUser{ID: "ann", Name: shown, Secret: secret})
	}))
	got, err := fixtureUsers.Get(ctx, e, "ann")
	fixtureMust(t, err)
	e.settle(t)
	if u.Secret != secret || got.Secret != "" || got.Name != shown {
		t.Errorf("the writer has %+v and the reader %+v", u, got)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := bytes.Count(sent.Bytes(), []byte("fill")); n == 0 || bytes.Count(sent.Bytes(), []byte(shown)) < 5 {
		t.Errorf("the scan is blind: %d fills in %d bytes", n, sent.Len())
	}
	if bytes.Contains(sent.Bytes(), []byte(secret)) {
		t.Error("a field tagged \"-\" was sent to a backend")
	}
}
