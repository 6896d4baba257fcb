// Command tao measures graphcache beside other ways of caching a graph, under a load like
// that of Facebook's TAO.
//
// It starts a redis-server of its own. Every variant has the same graph, loaded anew into a
// store in memory that answers after a fixed delay, and the same Redis, emptied; it first reads
// every object and every list once, and then what the mix asks for, in a closed loop. What
// it reads is checked against when it was written. With -cold there is no first round, and
// every second is reported.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/graphcache/graphcache/benchmarks/internal/tao"
)

func main() {
	var cfg tao.Config
	var o output
	seconds := flag.Float64("seconds", 20, "how many `seconds` of each variant are measured")
	warmUp := flag.Float64("warmup", 2, "how many `seconds` before these are not")
	variants := flag.String("variants", strings.Join(tao.Variants, ","), "what is measured, separated by commas")
	nearMB := flag.Int64("near-mb", 256, "how many `MiB` the near cache may use")
	flag.BoolVar(&o.json, "json", false, "print one line of JSON a variant")
	flag.IntVar(&cfg.Objects, "objects", 100_000, "the `number` of objects of the graph")
	flag.Float64Var(&cfg.Writes, "writes", 0.002, "the `share` of writes")
	flag.IntVar(&cfg.Callers, "callers", 64, "how `many` callers there are")
	flag.Float64Var(&cfg.Memory, "maxmemory", 0, "what Redis may use, as a `share` of the bytes of all values; 0 is as much as it needs")
	flag.StringVar(&cfg.Mix, "mix", "tao", "tao, or storm: half of the operations write, on 50 objects, and what is read arrives 5 ms late")
	flag.StringVar(&cfg.Mongo, "store", "", "the `URI` of a MongoDB to use as the store: a database in it is created and dropped. Default a store in memory")
	flag.Uint64Var(&cfg.Seed, "seed", 1, "of the graph and of what is asked")
	flag.BoolVar(&cfg.Cold, "cold", false, "begin with an empty cache, and print a line a second")
	flag.DurationVar(&cfg.Delay, "delay", time.Millisecond, "how long a call of the store in memory takes")
	flag.IntVar(&cfg.Slots, "slots", 32, "how many calls the store in memory answers at once")
	flag.DurationVar(&cfg.NearMaxStale, "near-max-stale", time.Second, "MaxStale of the near cache")
	flag.DurationVar(&cfg.NearTTL, "near-ttl", 10*time.Minute, "TTL of the near cache")
	flag.StringVar(&cfg.Profiles, "profiles", "", "write a processor profile of each variant to this `directory`")
	sweep := flag.String("sweep", "", "writes, sizes, callers or memory: print lines for each of several settings")
	describe := flag.Bool("describe", false, "print how the graph and the mix compare with what is published, and nothing else")
	flag.Parse()

	cfg.Duration, cfg.WarmUp = time.Duration(*seconds*float64(time.Second)), time.Duration(*warmUp*float64(time.Second))
	cfg.Variants, cfg.NearBytes = strings.Split(*variants, ","), *nearMB<<20
	if cfg.Mix == "storm" {
		cfg.Pause = 5 * time.Millisecond
		set := false
		flag.Visit(func(f *flag.Flag) { set = set || f.Name == "writes" })
		if !set {
			cfg.Writes = 0.5
		}
	}
	if cfg.Mongo != "" {
		cfg.Delay, cfg.Slots = 0, 1<<10
	}
	if err := run(context.Background(), cfg, &o, *sweep, *describe); err != nil {
		fmt.Fprintln(os.Stderr, "tao:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg tao.Config, o *output, sweep string, describe bool) error {
	if cfg.Mix != "tao" && cfg.Mix != "storm" || cfg.Objects < 1000 || cfg.Callers < 1 || cfg.Duration <= 0 || cfg.Slots < 1 || cfg.Writes < 0 || cfg.Writes > 1 {
		return fmt.Errorf("the flags: want a mix of tao or storm, at least 1,000 objects, one caller, one slot and some time, and a share of writes from 0 to 1")
	}
	if describe {
		return tao.Describe(ctx, cfg, os.Stdout)
	}
	settings, err := settingsOf(cfg, sweep)
	if err != nil {
		return err
	}
	addr, stop, err := tao.StartRedis()
	if err != nil {
		return err
	}
	defer stop()
	for _, s := range settings {
		err := tao.Run(ctx, s.Config, addr, func(r tao.Result) {
			r.Setting = s.name
			o.print(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// setting is one of a sweep.
type setting struct {
	tao.Config
	name string
}

// settingsOf returns the settings of a sweep, or that of the flags alone.
func settingsOf(cfg tao.Config, sweep string) (all []setting, err error) {
	add := func(name string, set func(c *tao.Config)) {
		s := setting{cfg, name}
		set(&s.Config)
		all = append(all, s)
	}
	switch sweep {
	case "":
		add("", func(*tao.Config) {})
	case "writes":
		for _, w := range []float64{0, 0.002, 0.01, 0.1} {
			add(fmt.Sprintf("writes %g %%", w*100), func(c *tao.Config) { c.Writes = w })
		}
	case "sizes":
		for _, n := range []int{10_000, 100_000, 1_000_000} {
			add(fmt.Sprintf("%d objects", n), func(c *tao.Config) { c.Objects = n })
		}
	case "callers":
		for _, n := range []int{1, 8, 64, 512} {
			add(fmt.Sprintf("%d callers", n), func(c *tao.Config) { c.Callers = n })
		}
	case "memory":
		for _, m := range []float64{0, 1, 0.3} {
			add(fmt.Sprintf("maxmemory %g", m), func(c *tao.Config) { c.Memory = m })
		}
	default:
		return nil, fmt.Errorf("no sweep %q", sweep)
	}
	return all, nil
}

// output prints results.
type output struct {
	json   bool
	headed bool
}

func (o *output) print(r tao.Result) {
	if o.json {
		_ = json.NewEncoder(os.Stdout).Encode(r)
		return
	}
	if !o.headed {
		o.headed = true
		fmt.Printf("%-20s%-17s%10s%9s%9s%9s%10s%9s%9s%9s%8s%8s%8s%9s%6s%9s%9s%8s\n", "setting", "variant", "ops/s", "p50 µs", "p99 µs",
			"write µs", "items/1k", "first", "written", "lost", "hits", "stale", "errors", "MB Redis", "cpus", "cpu ns", "redis ns", "allocs")
	}
	name := r.Setting
	if r.Second > 0 {
		name = fmt.Sprintf("second %d", r.Second)
	}
	fmt.Printf("%-20s%-17s%10.0f%9.0f%9.0f%9.0f%10.2f%9d%9d%9d%8.4f%8d%8d%9.1f%6.2f%9.0f%9.0f%8.1f\n", name, r.Variant, r.OpsPerS, r.P50, r.P99,
		r.WriteP50, r.StoreItemsPer, r.MissesCompulsory, r.MissesWrite, r.MissesCapacity, r.HitRate, r.Stale, r.Errors,
		float64(r.RedisBytes)/1e6, r.CPUs, r.CPUPerOp, r.RedisCPU, r.AllocsPerOp)
	if r.StaleFirst != "" {
		fmt.Fprintf(os.Stderr, "%s: the first stale read: %s\n", r.Variant, r.StaleFirst)
	}
}
