package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"
)

// The types of the corpus: every Go type that a plan accepts.

type (
	Named    string
	Level    int8
	Blob     []byte
	Octet    byte
	Hash     [4]Octet
	Timeout  time.Duration
	Strings  []string
	Scores   map[Named]int
	NamedPtr *int
)

type Bools struct {
	A bool
	B bool `json:"b,omitempty"`
}

type Ints struct {
	A int
	B int8
	C int16
	D int32
	E int64
	F Level
	G time.Duration
	H Timeout
}

type Uints struct {
	A uint
	B uint8
	C uint16
	D uint32
	E uint64
	F uintptr
	G Octet
}

type Floats struct {
	A float64
	B float32
}

type Texts struct {
	A string `json:"a,omitzero"`
	B Named
	C json.Number
}

type Bytes struct {
	A []byte
	B Blob
	C []Octet
	D [3]byte
	E Hash
}

type Times struct {
	A time.Time
	B *time.Time
	C []time.Time
}

type Point struct {
	X int `json:"x"`
	Y int `json:"y,string"`
}

type Nested struct {
	P     Point
	Q     *Point
	Empty struct{}
	Deep  struct{ Deeper struct{ Deepest string } }
}

type Pointers struct {
	A *bool
	B *int64
	C *string
	D **int
	E *[]string
	F *map[string]int
	G *[]byte
	H NamedPtr
	I ***Point
}

type Lists struct {
	A []int
	B Strings
	C []Point
	D []*Point
	E [][]int
	F [2]string
	G [0]int
	H [2][2]bool
	I []Blob
	J []float32
}

type Maps struct {
	A map[string]int
	B Scores
	C map[int]string
	D map[uint8]Point
	E map[netip.Addr]*Point
	F map[string][]string
	G map[string]map[string]bool
	H map[time.Time]int
	I map[Level]time.Time
}

type Tree struct {
	Name string  `json:"name"`
	Kids []*Tree `json:"kids"`
	Next *Tree   `json:"next"`
}

type Forest map[string]Forest

type Stack []Stack

type Chain *Chain

type Recursive struct {
	T Tree
	F Forest
	S Stack
	C Chain
}

// Celsius marshals itself as text, by value receivers.
type Celsius struct{ degrees int }

func (c Celsius) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d°C", c.degrees), nil }

func (c *Celsius) UnmarshalText(b []byte) error {
	text := strings.TrimSuffix(string(b), "°C")
	if _, err := fmt.Sscanf(text, "%d", &c.degrees); err != nil {
		return err
	}
	return nil
}

// Pair marshals itself as JSON, by pointer receivers.
type Pair struct{ a, b int }

func (p *Pair) MarshalJSON() ([]byte, error) { return json.Marshal([]int{p.a, p.b}) }

func (p *Pair) UnmarshalJSON(b []byte) error {
	var list []int
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return errors.New("a pair has two elements")
	}
	p.a, p.b = list[0], list[1]
	return nil
}

// Grade marshals itself, so a slice of it is no slice of bytes.
type Grade uint8

func (g Grade) MarshalText() ([]byte, error) { return []byte{'A' + byte(g)}, nil }

func (g *Grade) UnmarshalText(b []byte) error {
	if len(b) != 1 || b[0] < 'A' || b[0] > 'F' {
		return errors.New("no grade")
	}
	*g = Grade(b[0] - 'A')
	return nil
}

type Marshalers struct {
	A Celsius
	B *Celsius
	C Pair
	D *Pair
	E netip.Addr
	F net.IP
	G big.Int
	H *big.Int
	I json.RawMessage
	J []Celsius
	K map[string]Pair
	L *json.RawMessage
	M map[Celsius]int
	N []Grade
	O [2]Grade
}

// Base and the types after it are embedded.
type Base struct {
	Created time.Time `json:"created"`
	Name    string    `json:"name"`
}

type Audit struct {
	By   string   `json:"by"`
	Tags []string `json:"tags"`
}

type Origin struct {
	*Place
	Code int `json:"code"`
}

type Place struct {
	Zip string `json:"zip" graph:"was=postcode"`
}

type inner struct {
	Depth int `json:"depth"`
}

type outer struct {
	inner
	Width int `json:"width"`
}

type Embedding struct {
	Base
	*Audit
	*Origin
	outer
	Celsius `json:"celsius"`
	Named
	Name string `json:"name"` // hides Base.Name
}

type Secret struct {
	Shown  string
	Hidden string `json:"-"`
	Dash   string `json:"-,"`
	note   string
}

// sample is a value of the corpus; want is what comes back, if it is different.
type sample struct {
	name  string
	value any
	want  any
}

func ptr[T any](v T) *T { return &v }

var (
	noon   = time.Date(2024, 2, 29, 12, 0, 0, 1_000_000, time.UTC)
	inRome = noon.Add(999_999).In(time.FixedZone("CET", 3600))
)

// corpus returns every Go type with its edge values.
func corpus() []sample {
	return append(scalars(), composites()...)
}

func scalars() []sample {
	return []sample{
		{name: "bools", value: Bools{}},
		{name: "bools/true", value: Bools{true, true}},
		{name: "ints/zero", value: Ints{}},
		{name: "ints/min", value: Ints{math.MinInt, math.MinInt8, math.MinInt16, math.MinInt32, math.MinInt64, -128, math.MinInt64, -1}},
		{name: "ints/max", value: Ints{math.MaxInt, math.MaxInt8, math.MaxInt16, math.MaxInt32, math.MaxInt64, 127, math.MaxInt64, 1}},
		{name: "uints/zero", value: Uints{}},
		{name: "uints/max", value: Uints{math.MaxUint, math.MaxUint8, math.MaxUint16, math.MaxUint32, math.MaxUint64, math.MaxUint64, 255}},
		{name: "uints/beyond int64", value: Uints{A: 1 << 63, E: 1<<63 - 1}},
		{name: "floats/zero", value: Floats{}},
		{name: "floats/minus zero", value: Floats{math.Copysign(0, -1), float32(math.Copysign(0, -1))}},
		{name: "floats/nan", value: Floats{math.NaN(), float32(math.NaN())}},
		{name: "floats/inf", value: Floats{math.Inf(1), float32(math.Inf(-1))}},
		{name: "floats/extremes", value: Floats{math.MaxFloat64, math.SmallestNonzeroFloat32}},
		{name: "floats/fractions", value: Floats{0.1, 0.1}},
		{name: "texts/zero", value: Texts{}},
		{name: "texts/unusual", value: Texts{"\x00\u2028", "😀", "1.50"}},
		{name: "texts/long", value: Texts{A: strings.Repeat("é", 40_000)}},
		{name: "bytes/nil", value: Bytes{}},
		{name: "bytes/empty", value: Bytes{A: []byte{}, B: Blob{}, C: []Octet{}}},
		{name: "bytes/some", value: Bytes{[]byte{0xff, 0}, Blob("b"), []Octet{1, 2}, [3]byte{1, 2, 3}, Hash{4, 5, 6, 7}}},
		{name: "times/zero", value: Times{}},
		{name: "times/some", value: Times{noon, ptr(noon), []time.Time{{}, noon}}},
		{
			name:  "times/truncated",
			value: Times{inRome, ptr(inRome), []time.Time{time.Unix(0, -1)}},
			want:  Times{noon, ptr(noon), []time.Time{time.UnixMilli(-1).UTC()}},
		},
		{name: "times/first and last", value: Times{C: []time.Time{
			time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
		}}},
	}
}

func composites() []sample {
	var five = 5
	chain := Chain(ptr(Chain(nil)))
	return []sample{
		{name: "nested/zero", value: Nested{}},
		{name: "nested/some", value: Nested{P: Point{1, 2}, Q: &Point{}, Deep: struct{ Deeper struct{ Deepest string } }{struct{ Deepest string }{"d"}}}},
		{name: "pointers/nil", value: Pointers{}},
		{name: "pointers/to zero", value: Pointers{new(bool), new(int64), new(string), new(*int), new([]string), new(map[string]int), new([]byte), new(int), new(**Point)}},
		{name: "pointers/to empty", value: Pointers{E: &[]string{}, F: &map[string]int{}, G: &[]byte{}, I: ptr(new(*Point))}},
		{name: "pointers/to some", value: Pointers{ptr(true), ptr(int64(-7)), ptr("s"), ptr(&five), &[]string{""}, &map[string]int{"a": 1}, ptr([]byte("b")), &five, ptr(ptr(&Point{3, 4}))}},
		{name: "lists/nil", value: Lists{}},
		{name: "lists/empty", value: Lists{A: []int{}, B: Strings{}, C: []Point{}, D: []*Point{}, E: [][]int{}, I: []Blob{}, J: []float32{}}},
		{name: "lists/some", value: Lists{
			A: []int{0, -1, 1 << 40}, B: Strings{"", "b"}, C: []Point{{}, {1, 2}}, D: []*Point{nil, {3, 4}},
			E: [][]int{nil, {}, {1}}, F: [2]string{"x", ""}, H: [2][2]bool{{true, false}, {false, true}},
			I: []Blob{nil, {}, {9}}, J: []float32{1.5, -0.25},
		}},
		{name: "lists/long", value: Lists{A: make([]int, 70_000)}},
		{name: "maps/nil", value: Maps{}},
		{name: "maps/empty", value: Maps{
			map[string]int{}, Scores{}, map[int]string{}, map[uint8]Point{}, map[netip.Addr]*Point{},
			map[string][]string{}, map[string]map[string]bool{}, map[time.Time]int{}, map[Level]time.Time{},
		}},
		{name: "maps/some", value: Maps{
			map[string]int{"b": 2, "a": 1, "$c.d": 3, "_e": 4}, Scores{"n": -1}, map[int]string{-1: "m", 10: "x", 9: ""},
			map[uint8]Point{255: {1, 2}}, map[netip.Addr]*Point{netip.MustParseAddr("::1"): nil, netip.MustParseAddr("10.0.0.1"): {5, 6}},
			map[string][]string{"nil": nil, "empty": {}, "one": {"1"}}, map[string]map[string]bool{"nil": nil, "m": {"t": true}},
			map[time.Time]int{noon: 1, {}: 2}, map[Level]time.Time{-3: noon},
		}},
		{name: "recursive/zero", value: Recursive{}},
		{name: "recursive/some", value: Recursive{
			T: Tree{"root", []*Tree{{"kid", nil, nil}, nil, {"kid", []*Tree{}, &Tree{}}}, nil},
			F: Forest{"oak": {"ivy": nil, "moss": {}}}, S: Stack{nil, {}, {{}, nil}}, C: Chain(&chain),
		}},
		{name: "marshalers/zero", value: Marshalers{}},
		{name: "marshalers/some", value: Marshalers{
			Celsius{-4}, &Celsius{}, Pair{1, 2}, &Pair{3, 4}, netip.MustParseAddr("fe80::1%eth0"), net.IPv4(10, 0, 0, 1),
			*big.NewInt(-5), new(big.Int).Lsh(big.NewInt(1), 100), json.RawMessage(`{ "a" : null }`),
			[]Celsius{{1}, {}}, map[string]Pair{"p": {7, 8}}, ptr(json.RawMessage(nil)), map[Celsius]int{{5}: 6},
			[]Grade{0, 5}, [2]Grade{2, 1},
		}},
		{name: "marshalers/other", value: Marshalers{
			E: netip.IPv4Unspecified(), G: *big.NewInt(1 << 40), I: json.RawMessage("1"), J: []Celsius{}, N: []Grade{},
		}},
		{name: "embedding/nil", value: Embedding{}},
		{name: "embedding/pointer to zero", value: Embedding{Audit: &Audit{}, Origin: &Origin{}}},
		{name: "embedding/pointer in a pointer", value: Embedding{Origin: &Origin{&Place{"00100"}, 0}}},
		{
			name:  "embedding/some",
			value: Embedding{Base{noon, "lost"}, &Audit{"me", []string{}}, nil, outer{inner{1}, 2}, Celsius{3}, "n", "kept"},
			want:  Embedding{Base{noon, ""}, &Audit{"me", []string{}}, nil, outer{inner{1}, 2}, Celsius{3}, "n", "kept"},
		},
		{
			name:  "secret",
			value: Secret{"s", "hidden", "d", "note"},
			want:  Secret{"s", "", "d", ""},
		},
		{name: "empty", value: struct{}{}},
	}
}
