package graphcache_test

import (
	"context"
	"encoding/json"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// columnName is a string, and columnJSON is kept as its JSON.
type (
	columnName string
	columnJSON struct{ n int }
	columnBase struct {
		Deep int32 `json:"deep" graph:"index"`
	}
)

func (c columnJSON) MarshalJSON() ([]byte, error)  { return json.Marshal(c.n) }
func (c *columnJSON) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &c.n) }

// columnRecord has an index on a field of every sort.
type columnRecord struct {
	ID       graphcache.ID[columnRecord] `json:"id"`
	Bool     bool                        `json:"bool" graph:"index"`
	Int      int8                        `json:"int" graph:"index"`
	Uint     uint64                      `json:"uint" graph:"index"`
	Float    float32                     `json:"float" graph:"index"`
	String   string                      `json:"string" graph:"index"`
	Name     columnName                  `json:"name" graph:"index"`
	Bytes    []byte                      `json:"bytes" graph:"index"`
	Array    [4]byte                     `json:"array" graph:"index"`
	Time     time.Time                   `json:"time" graph:"index"`
	Text     netip.Addr                  `json:"text" graph:"index"`
	IP       net.IP                      `json:"ip" graph:"index"`
	Big      *big.Int                    `json:"big" graph:"index"`
	JSON     columnJSON                  `json:"json" graph:"index"`
	IntPtr   *int                        `json:"int_ptr" graph:"index"`
	TimePtr  *time.Time                  `json:"time_ptr" graph:"index"`
	Strings  []string                    `json:"strings" graph:"index"`
	Floats   []float64                   `json:"floats" graph:"index"`
	Times    []time.Time                 `json:"times" graph:"index"`
	Texts    []netip.Addr                `json:"texts" graph:"index"`
	Inner    struct{ Flag bool }         `json:"inner"`
	WasNamed int                         `json:"now" graph:"index,was=then"`
	columnBase
}

var (
	columnRecords = graphcache.NewObjectKind[columnRecord]("record")
	columnInner   = graphcache.FieldOf(columnRecords, func(r *columnRecord) *bool { return &r.Inner.Flag })
)

// TestColumnTypes: a store is told what the values of columns are, of elements if they are
// lists, in indexes, conditions and orders.
func TestColumnTypes(t *testing.T) {
	var mu sync.Mutex
	got := map[string]driver.Type{}
	note := func(c *driver.Column) {
		mu.Lock()
		defer mu.Unlock()
		got[c.Name()] = c.Type
	}
	var noteAll func(f *driver.Filter)
	noteAll = func(f *driver.Filter) {
		if f == nil {
			return
		}
		if f.Column != nil {
			note(f.Column)
		}
		for i := range f.Of {
			noteAll(&f.Of[i])
		}
	}
	store := backendtest.NewFaultyStore(memory.NewStore(nil), func(_ context.Context, c backendtest.Call) backendtest.Fault {
		switch batch := c.Batch.(type) {
		case []driver.Schema:
			for _, k := range batch[0].Objects {
				for _, ix := range k.Indexes {
					for i := range ix.Columns {
						note(&ix.Columns[i])
					}
				}
			}
		case []driver.Step:
			for i := range batch {
				noteAll(batch[i].Filter)
				for _, o := range batch[i].Order {
					note(o.Column)
				}
			}
		}
		return backendtest.Fault{}
	})
	open := func(s *graphcache.Schema) *graphcache.Graph {
		g, err := graphcache.Open(t.Context(), s, store, nil)
		fixtureMust(t, err)
		t.Cleanup(func() { fixtureMust(t, g.Close(context.Background())) })
		return g
	}
	expect := func(want map[string]driver.Type) {
		t.Helper()
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("the types (-want +got):\n%s", diff)
		}
		clear(got)
	}
	g := open(graphcache.NewSchema(columnRecords, graphcache.NewIndex("inner", columnRecords, columnInner)))
	expect(map[string]driver.Type{
		"bool": driver.BoolType, "int": driver.IntType, "uint": driver.IntType, "float": driver.FloatType, "string": driver.StringType,
		"name": driver.StringType, "bytes": driver.BytesType, "array": driver.BytesType, "time": driver.TimeType, "text": driver.StringType,
		"ip": driver.StringType, "big": driver.StringType, "json": driver.StringType, "int_ptr": driver.IntType, "time_ptr": driver.TimeType,
		"strings": driver.StringType, "floats": driver.FloatType, "times": driver.TimeType, "texts": driver.StringType,
		"now": driver.IntType, "deep": driver.IntType, "inner.Flag": driver.BoolType,
	})
	_, err := columnRecords.Where(columnInner.Eq(true)).IDs(t.Context(), g)
	fixtureMust(t, err)
	expect(map[string]driver.Type{"inner.Flag": driver.BoolType})

	g = open(shopSchema)
	clear(got)
	_, err = shopBought.Out(shopBuyerID("b0")).WhereEdge(saleNote.Eq("x"), salePrice.Ge(1)).Where(itemID.Ne("x"), itemSlot.Ge(3), itemTags.Has("x")).
		OrderBy(itemRank.Desc()).IDs(t.Context(), g)
	fixtureMust(t, err)
	expect(map[string]driver.Type{
		"note": driver.StringType, "price": driver.FloatType, "ID": driver.StringType, "rank": driver.IntType, "slot": driver.IntType, "tags": driver.StringType,
	})
}
