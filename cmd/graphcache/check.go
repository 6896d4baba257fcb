package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/backends/redis"
)

// checkCommand is the command check.
type checkCommand struct {
	stdout, stderr io.Writer

	store, cache, prefix, mongo, namespace string
	opts                                   graphcache.CheckOptions
	json                                   bool
}

// errFlags: the flag package has said what is wrong.
var errFlags = errors.New("the flags cannot be parsed")

func (c *checkCommand) parse(args []string, env func(string) string) error {
	f := flag.NewFlagSet("graphcache check", flag.ContinueOnError)
	f.SetOutput(c.stderr)
	f.StringVar(&c.store, "store", "", "the `URI` of the database, mongodb://host:27017/database (default $GRAPHCACHE_STORE)")
	f.StringVar(&c.cache, "cache", "", "the `URL` of the cache, redis://host:6379 (default $GRAPHCACHE_CACHE)")
	f.StringVar(&c.prefix, "prefix", "", "what the keys of the cache begin with, if it is not gc:")
	f.StringVar(&c.mongo, "mongo", "", "a JSON `file` that says where the database differs from what graphcache makes")
	f.StringVar(&c.namespace, "namespace", "", "the `name` of the namespace to check (default the one without a name)")
	f.Func("kind", "check the kind of this `name`; may be repeated (default all)", func(name string) error {
		c.opts.Kinds = append(c.opts.Kinds, name)
		return nil
	})
	f.IntVar(&c.opts.Rate, "rate", 1000, "look at `n` values in a second, at most; -1 is no bound")
	f.IntVar(&c.opts.Limit, "limit", 0, "end after `n` values; 0 is no limit")
	f.Float64Var(&c.opts.Sample, "sample", 1, "look at this `share` of the values, chosen at random")
	f.IntVar(&c.opts.MaxFindings, "findings", 100, "list `n` findings, and count the others")
	f.BoolVar(&c.json, "json", false, "print the report as JSON, keys in base64")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errFlags
	}
	c.store, c.cache = cmp.Or(c.store, env("GRAPHCACHE_STORE")), cmp.Or(c.cache, env("GRAPHCACHE_CACHE"))
	switch {
	case f.NArg() > 0:
		return errors.New("check takes flags only: graphcache check -h lists them")
	case c.store == "" || c.cache == "":
		return errors.New("-store and -cache must both be given, or GRAPHCACHE_STORE and GRAPHCACHE_CACHE set")
	case !strings.HasPrefix(c.store, "mongodb://") && !strings.HasPrefix(c.store, "mongodb+srv://"):
		return errors.New("-store must be a URI that begins with mongodb:// or mongodb+srv://")
	}
	return nil
}

// run prints the report, and returns whether there are findings.
func (c *checkCommand) run(ctx context.Context) (found bool, err error) {
	report, err := c.check(ctx)
	if report != nil {
		if printed := c.print(report); err == nil {
			err = printed
		}
		found = report.Found() > 0
	}
	return found, err
}

func (c *checkCommand) check(ctx context.Context) (report *graphcache.CheckReport, err error) {
	logger := slog.New(slog.NewTextHandler(c.stderr, nil))
	settings, err := readSettings(c.mongo)
	if err != nil {
		return nil, err
	}
	settings.Logger = logger
	store, err := mongo.Open(ctx, c.store, settings)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	backend, err := redis.Open(ctx, c.cache, &redis.Options{Prefix: c.prefix, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	defer func() { err = errors.Join(err, backend.Close(context.WithoutCancel(ctx))) }()
	return graphcache.CheckCache(ctx, store, backend.Cache(), c.namespace, &c.opts)
}

// jsonReport is a report as it is printed.
type jsonReport struct {
	Checked  int                  `json:"checked"`
	Found    int                  `json:"found"`
	Complete bool                 `json:"complete"`
	Seconds  float64              `json:"seconds"`
	Kinds    map[string]jsonCount `json:"kinds"`
	Skipped  map[string]int       `json:"skipped"`
	Findings []jsonFinding        `json:"findings"`
}

type jsonCount struct {
	Checked int            `json:"checked"`
	Found   map[string]int `json:"found,omitempty"`
}

type jsonFinding struct {
	Type     string `json:"type"`
	Kind     string `json:"kind"`
	Anchor   string `json:"anchor"`
	Fragment string `json:"fragment"`
	Detail   string `json:"detail"`
	// Keys have bytes that are no text.
	AnchorKey []byte `json:"anchorKey"`
	FieldKey  []byte `json:"fieldKey,omitempty"`
	Version   uint64 `json:"version,string"`
}

func (c *checkCommand) print(r *graphcache.CheckReport) error {
	if !c.json {
		_, err := fmt.Fprint(c.stdout, r)
		return err
	}
	j := jsonReport{
		Checked: r.Checked(), Found: r.Found(), Complete: r.Complete, Seconds: r.Elapsed.Round(time.Millisecond).Seconds(),
		Kinds: map[string]jsonCount{}, Skipped: r.Skipped, Findings: []jsonFinding{},
	}
	for name, k := range r.Kinds {
		n := jsonCount{Checked: k.Checked, Found: map[string]int{}}
		for t, found := range k.Findings {
			n.Found[t.String()] = found
		}
		j.Kinds[name] = n
	}
	for _, f := range r.Findings {
		j.Findings = append(j.Findings, jsonFinding{
			f.Type.String(), f.Kind, f.Anchor, f.Fragment, f.Detail, []byte(f.AnchorKey), []byte(f.FieldKey), f.Version,
		})
	}
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	return e.Encode(j)
}
