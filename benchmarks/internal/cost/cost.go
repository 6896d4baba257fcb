// Package cost reckons what a billion reads of a graph cost, by way of caching it: from what
// the workload of package tao has measured, and from prices and sizes that are inputs.
package cost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Measured is what is used of a line of cmd/tao.
type Measured struct {
	Variant       string  `json:"variant"`
	Setting       string  `json:"setting"`
	Mix           string  `json:"mix"`
	Second        int     `json:"second"`
	Objects       int     `json:"objects"`
	Writes        float64 `json:"writes"`
	Ops           int64   `json:"ops"`
	ItemsPer1000  float64 `json:"store_items_per_1000"` // reads
	WriteItems    int64   `json:"store_write_items"`
	CacheTrips    int64   `json:"cache_trips"`
	CacheCommands int64   `json:"cache_commands"`
	RedisBytes    int64   `json:"redis_bytes"`
	CPU           float64 `json:"cpu_ns_per_op"`
	RedisCPU      float64 `json:"redis_cpu_ns_per_op"`
}

// Inputs are the assumptions. Money is in any one currency.
type Inputs struct {
	UnitPrice    float64 // of a million read units of the store
	UnitsPerItem float64 // read units of one object, list, count or edge
	StoreCPU     float64 // µs of the store's processors for an item, where they are paid for in place of units
	GiBHour      float64 // price of a GiB of memory for an hour
	CPUHour      float64 // price of a processor for an hour
	Reads        float64 // reads a second of the whole program
	Objects      float64 // of the graph
	Replicas     float64 // copies of Redis's memory, the first included
	Utilisation  float64 // the share of processors and of memory that is used at the time
	Processes    float64 // of the program
	NearGiB      float64 // memory of the near cache in each of them
	HarnessCPU   float64 // processor time of the measurement itself in CPU, ns an operation
}

// Default are round numbers, not anybody's prices.
var Default = Inputs{
	UnitPrice: 0.25, UnitsPerItem: 1, GiBHour: 0.02, CPUHour: 0.05, Reads: 100_000, Objects: 10_000_000,
	Replicas: 2, Utilisation: 0.5, Processes: 20, NearGiB: 0.25,
}

// Validate reports an assumption that nothing can be reckoned with.
func (in Inputs) Validate() error {
	for _, v := range []float64{in.UnitPrice, in.UnitsPerItem, in.StoreCPU, in.GiBHour, in.CPUHour, in.Objects, in.Replicas, in.Processes, in.NearGiB, in.HarnessCPU} {
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return errors.New("an assumption is negative or no number")
		}
	}
	if !(in.Reads > 0) || !(in.Utilisation > 0 && in.Utilisation <= 1) {
		return errors.New("reads a second and a utilisation of up to 1 are needed")
	}
	return nil
}

// Bill is what a billion reads cost by one way.
type Bill struct {
	Variant string
	// Units are read units of the store for 1,000 reads of the program, those that its
	// writes and the way itself make included.
	Units                                 float64
	Store, Memory, RedisCPU, CPU, NearRAM float64 // money
}

// Total is what all of it costs.
func (b Bill) Total() float64 { return b.Store + b.Memory + b.RedisCPU + b.CPU + b.NearRAM }

// standing is the part that is paid by the hour, however much is read.
func (b Bill) standing() float64 { return b.Memory + b.NearRAM }

const reads = 1e9

// Of returns the bill of what was measured.
func (in Inputs) Of(m Measured) Bill {
	b := Bill{Variant: m.Variant}
	hours := reads / in.Reads / 3600
	asked := max(1, float64(m.Ops)*(1-m.Writes))
	items := m.ItemsPer1000/1000 + float64(m.WriteItems)/asked
	b.Units = 1000 * items * in.UnitsPerItem
	b.Store = reads * items * (in.UnitsPerItem*in.UnitPrice/1e6 + in.StoreCPU*in.CPUHour/3600e6/in.Utilisation)
	processor := func(ns float64) float64 { return reads * max(0, ns) / 3600e9 * in.CPUHour / in.Utilisation }
	b.RedisCPU, b.CPU = processor(m.RedisCPU), processor(m.CPU-in.HarnessCPU)
	if m.Variant != "direct" && m.Objects > 0 {
		gib := float64(m.RedisBytes) / float64(m.Objects) * in.Objects / (1 << 30)
		b.Memory = gib * in.Replicas / in.Utilisation * in.GiBHour * hours
	} else {
		b.RedisCPU = 0 // what the measurement asks of the server
	}
	if m.Variant == "graphcache+near" {
		b.NearRAM = in.NearGiB * in.Processes * in.GiBHour * hours
	}
	return b
}

// From returns how many reads a second make the way so many times cheaper than the other one;
// with 1 this is where it begins to be cheaper. It is +Inf if no number of reads does.
func (in Inputs) From(b, direct Bill, times float64) float64 {
	saved := direct.Total()/times - (b.Total() - b.standing()) // of a billion reads, before what is paid by the hour
	if saved <= 0 {
		return math.Inf(1)
	}
	return b.standing() * in.Reads / saved
}

// Read reads lines of cmd/tao, and returns the medians of each way's lines of the load of TAO
// without a setting. Sweeps, storms and cold starts are left out.
func Read(r io.Reader) ([]Measured, error) {
	var order []string
	all := map[string][]Measured{}
	for d := json.NewDecoder(r); ; {
		var m Measured
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if m.Setting != "" || m.Second != 0 || m.Mix != "tao" {
			continue
		}
		if all[m.Variant] == nil {
			order = append(order, m.Variant)
		}
		all[m.Variant] = append(all[m.Variant], m)
	}
	if all["direct"] == nil {
		return nil, errors.New("there is no line of the variant direct")
	}
	var out []Measured
	for _, v := range order {
		out = append(out, medians(all[v]))
	}
	return out, nil
}

// medians returns the medians of what was measured several times.
func medians(all []Measured) Measured {
	m := all[0]
	of := func(f func(Measured) float64) float64 {
		var v []float64
		for _, a := range all {
			v = append(v, f(a))
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	m.ItemsPer1000 = of(func(m Measured) float64 { return m.ItemsPer1000 })
	m.WriteItems = int64(of(func(n Measured) float64 { return float64(n.WriteItems) / float64(max(1, n.Ops)) * float64(m.Ops) }))
	m.RedisBytes = int64(of(func(m Measured) float64 { return float64(m.RedisBytes) }))
	m.CPU, m.RedisCPU = of(func(m Measured) float64 { return m.CPU }), of(func(m Measured) float64 { return m.RedisCPU })
	return m
}

// Table returns the bills as a table: its heads, and its rows.
func (in Inputs) Table(all []Measured) (heads []string, rows [][]string) {
	heads = []string{"way", "store units for 1,000 reads", "times fewer", "store", "Redis memory", "Redis processors", "own processors", "near cache", "all",
		"times cheaper than direct", "cheaper from, reads/s", "100 times from, reads/s"}
	direct := in.direct(all)
	for _, m := range all {
		b := in.Of(m)
		row := []string{b.Variant, fmt.Sprintf("%.4g", b.Units), factor(direct.Units, b.Units)}
		for _, v := range []float64{b.Store, b.Memory, b.RedisCPU, b.CPU, b.NearRAM, b.Total()} {
			row = append(row, fmt.Sprintf("%.2f", v))
		}
		row = append(row, factor(direct.Total(), b.Total()))
		if b.Variant == "direct" {
			row = append(row, "", "")
		} else {
			row = append(row, rate(in.From(b, direct, 1)), rate(in.From(b, direct, 100)))
		}
		rows = append(rows, row)
	}
	return heads, rows
}

func (in Inputs) direct(all []Measured) Bill {
	for _, m := range all {
		if m.Variant == "direct" {
			return in.Of(m)
		}
	}
	return Bill{}
}

// Sensitivity returns how many times cheaper than direct each way is, as one assumption at
// a time is other than it is.
func (in Inputs) Sensitivity(all []Measured) (heads []string, rows [][]string) {
	heads = []string{"assumption"}
	var rest []Measured
	for _, m := range all {
		if m.Variant != "direct" {
			heads, rest = append(heads, m.Variant), append(rest, m)
		}
	}
	add := func(name string, in Inputs) {
		direct, row := in.direct(all), []string{name}
		for _, m := range rest {
			row = append(row, factor(direct.Total(), in.Of(m).Total()))
		}
		rows = append(rows, row)
	}
	vary := func(format string, times []float64, field func(*Inputs) *float64) {
		for _, t := range times {
			other := in
			*field(&other) *= t
			add(fmt.Sprintf(format, *field(&other)), other)
		}
	}
	add("as given", in)
	vary("%.0f reads a second", []float64{0.01, 0.1, 10}, func(in *Inputs) *float64 { return &in.Reads })
	vary("a million units cost %.4g", []float64{0.1, 10}, func(in *Inputs) *float64 { return &in.UnitPrice })
	vary("%.4g units an item", []float64{4}, func(in *Inputs) *float64 { return &in.UnitsPerItem })
	vary("%.0f objects", []float64{0.1, 10}, func(in *Inputs) *float64 { return &in.Objects })
	vary("a GiB costs %.4g an hour", []float64{0.2, 5}, func(in *Inputs) *float64 { return &in.GiBHour })
	vary("a processor costs %.4g an hour", []float64{0.2, 5}, func(in *Inputs) *float64 { return &in.CPUHour })
	own := in
	own.UnitPrice = 0
	for _, us := range []float64{20, 50, 200} {
		own.StoreCPU = us
		add(fmt.Sprintf("no units, %.0f µs of the store's processors an item", us), own)
	}
	return heads, rows
}

func factor(a, b float64) string {
	if b <= 0 {
		return "all"
	}
	return fmt.Sprintf("%.3g", a/b)
}

func rate(v float64) string {
	if math.IsInf(v, 1) {
		return "never"
	}
	return fmt.Sprintf("%.0f", v)
}
