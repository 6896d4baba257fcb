package cost

import (
	"math"
	"strings"
	"testing"
)

// lines are of a program that makes 1,000 operations, 100 of them writes.
const lines = `
{"variant":"direct","mix":"tao","objects":1000,"writes":0.1,"ops":1000,"store_items_per_1000":1000,"redis_bytes":5,"cpu_ns_per_op":3600,"redis_cpu_ns_per_op":9}
{"variant":"graphcache","mix":"tao","objects":1000,"writes":0.1,"ops":1000,"store_items_per_1000":5,"store_write_items":9,"redis_bytes":1073741824,"cpu_ns_per_op":7200,"redis_cpu_ns_per_op":3600}
{"variant":"graphcache","mix":"tao","setting":"a sweep","objects":1000,"ops":1000,"store_items_per_1000":999}
{"variant":"graphcache","mix":"storm","objects":1000,"ops":1000,"store_items_per_1000":999}
{"variant":"graphcache","mix":"tao","second":1,"objects":1000,"ops":1000,"store_items_per_1000":999}
{"variant":"graphcache","mix":"tao","objects":1000,"writes":0.1,"ops":1000,"store_items_per_1000":5,"store_write_items":9,"redis_bytes":1073741824,"cpu_ns_per_op":7200,"redis_cpu_ns_per_op":3600}
`

// round are assumptions with which a billion reads take 10 hours, and a processor for 3.6 µs of each of
// them an hour.
var round = Inputs{UnitPrice: 2, UnitsPerItem: 1, GiBHour: 0.1, CPUHour: 1, Reads: 1e5 / 3.6, Objects: 2000, Replicas: 1, Utilisation: 0.5}

func TestBills(t *testing.T) {
	all, err := Read(strings.NewReader(lines))
	if err != nil || len(all) != 2 {
		t.Fatalf("read %+v, %v: want two ways", all, err)
	}
	in := round
	direct, cached := in.Of(all[0]), in.Of(all[1])
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-9*math.Max(1, want) }
	for _, tt := range []struct {
		name      string
		got, want float64
	}{
		{"units of direct", direct.Units, 1000},
		{"store of direct", direct.Store, 2000},
		{"own processors of direct", direct.CPU, 2},
		{"all of direct, which has no cache", direct.Total(), 2002},
		{"units: 5 of reads, and 9 of the writes for 900 reads", cached.Units, 15},
		{"store", cached.Store, 30},
		{"memory: 2 GiB, half of it used, for 10 hours", cached.Memory, 4},
		{"processors of Redis", cached.RedisCPU, 2},
		{"own processors", cached.CPU, 4},
		{"all", cached.Total(), 40},
		{"cheaper from", in.From(cached, direct, 1), 4 * in.Reads / (2002 - 36)},
		{"100 times cheaper, never: the rest costs more", in.From(cached, direct, 100), math.Inf(1)},
	} {
		if !near(tt.got, tt.want) && tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	in.Reads = in.From(cached, direct, 20)
	if d, c := in.Of(all[0]), in.Of(all[1]); !near(d.Total()/c.Total(), 20) {
		t.Errorf("%v reads a second make it %v times cheaper, want 20", in.Reads, d.Total()/c.Total())
	}
}

func TestReadWants(t *testing.T) {
	if _, err := Read(strings.NewReader(`{"variant":"graphcache","mix":"tao"}`)); err == nil {
		t.Error("lines without direct were taken")
	}
	if err := (Inputs{}).Validate(); err == nil {
		t.Error("no reads a second were taken")
	}
}
