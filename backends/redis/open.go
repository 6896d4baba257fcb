package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/graphcache/graphcache/driver"
)

// Options are the settings of a [Backend]. The zero Options, and nil, consist entirely
// of default values.
type Options struct {
	// Prefix starts every key. Every key has the identity of the store in it, so that
	// services with stores of their own never meet, whatever their prefixes are. All
	// processes on one store must have the same server, database and Prefix: otherwise
	// each serves what the others have written over. To change them, stop all of them
	// first. Up to 64 bytes without braces. Default "gc:".
	Prefix string
	// Logger receives what happens in the background, and what is unwise in the
	// settings of the client or the server. Default slog.Default(). go-redis logs by
	// itself besides: see its SetLogger.
	Logger *slog.Logger
	// BatchTimeout is how long it may take to send a pipeline and to read the answers; if
	// it has to connect first, it may take a second more. After that the pipeline has
	// failed, and its connection is closed. A caller waits no longer than its context
	// lets it, whatever this is: graphcache's look-ups for Options.ReadTimeout, its
	// writes for Options.HoldTimeout. Default 250 ms.
	BatchTimeout time.Duration
	// CompressAbove is the size in bytes from which cached values are compressed, with
	// S2 (a variant of Snappy). It saves memory and network for some processor time of
	// every reader; values are mostly worth it from some KiB on. Processes that differ
	// in it read each other's values. Default 0, which compresses nothing.
	CompressAbove int
}

const maxPrefix = 64

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.Prefix = cmp.Or(c.Prefix, "gc:")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.BatchTimeout = cmp.Or(c.BatchTimeout, 250*time.Millisecond)
	switch {
	case len(c.Prefix) > maxPrefix || strings.ContainsAny(c.Prefix, "{}"):
		return c, fmt.Errorf("redis: %w: Options.Prefix %q: up to %d bytes without braces", driver.ErrInvalid, c.Prefix, maxPrefix)
	case c.BatchTimeout < 0:
		return c, fmt.Errorf("redis: %w: Options.BatchTimeout is %v: negative", driver.ErrInvalid, c.BatchTimeout)
	case c.CompressAbove < 0:
		return c, fmt.Errorf("redis: %w: Options.CompressAbove is %d: negative", driver.ErrInvalid, c.CompressAbove)
	}
	return c, nil
}

// Open returns a backend for the server at a URL:
//
//	redis://user:password@host:6379/0            one server, or a Cluster that it is part of
//	rediss://…                                   the same over TLS
//	unix://user:password@/path/to/socket?db=0    one server on this machine
//	redis://host1:6379?addr=host2:6379&addr=…    a Cluster, by some of its nodes
//	redis://host1:26379?master_name=main&addr=…  Sentinel, by the addresses of sentinels
//
// The parameters of go-redis's ParseURL, ParseClusterURL and ParseFailoverURL work as
// well. What the URL leaves open is set as [OpenUniversal] says.
//
// Where Sentinel is given, user and password are those of the sentinels, and those of
// the servers are the parameters username and password.
//
// Open does not fail when nobody answers, or when the server refuses the user, the
// password or the database: a service must be able to start while its cache is down. It
// takes up to a second then, and logs a warning. It then cannot tell that a single address is
// one of a Cluster, which is refused when it is met later: name several.
func Open(ctx context.Context, rawURL string, opts *Options) (*Backend, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	var client goredis.UniversalClient
	query := u.Query()
	switch {
	case query.Has("master_name"):
		var f *goredis.FailoverOptions
		if f, err = goredis.ParseFailoverURL(rawURL); err == nil {
			client, err = o.newFailover(f)
		}
	case query.Has("addr"):
		var c *goredis.ClusterOptions
		if c, err = goredis.ParseClusterURL(rawURL); err == nil {
			client, err = o.newCluster(c)
		}
	default:
		var s *goredis.Options
		if s, err = goredis.ParseURL(rawURL); err != nil {
			break
		}
		single := o.newSingle(s)
		client = single
		if inCluster(ctx, single) {
			var c *goredis.ClusterOptions
			if c, err = goredis.ParseClusterURL(rawURL); err == nil {
				client, err = o.newCluster(c)
			}
		}
	}
	if err != nil {
		// Without what may be a password.
		return nil, fmt.Errorf("redis: open %s://%s: %w: %w", u.Scheme, u.Host, driver.ErrInvalid, err)
	}
	return start(ctx, client, true, o)
}

// parseURL parses a URL as far as it takes to see that it is one. Its errors do not repeat
// any of it: it may have a password, and what follows one that is not escaped may be the
// rest of that.
func parseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil, u.Opaque != "", u.Fragment != "", strings.Contains(u.RawQuery, "@"),
		u.Scheme != "unix" && strings.Contains(u.Path, "@"):
		return nil, fmt.Errorf("redis: %w: the URL cannot be parsed: want redis://user:password@host:6379, with / ? # @ %% in a password written as %%2F %%3F %%23 %%40 %%25", driver.ErrInvalid)
	case u.Scheme != "unix" && u.Host == "":
		return nil, fmt.Errorf("redis: %w: the URL names no host: want redis://host:6379", driver.ErrInvalid)
	case strings.Contains(u.Host, ","):
		return nil, fmt.Errorf("redis: %w: the URL names several hosts: want redis://host1:6379?addr=host2:6379&addr=host3:6379", driver.ErrInvalid)
	}
	return u, nil
}

// OpenUniversal returns a backend for the server, the Sentinel group (if MasterName is
// set) or the Cluster (if there are several addresses, or IsClusterMode is set) that
// the options describe. They are copied. Where they are 0 they become
//
//	MaxRetries               -1       what is sent again is decided by graphcache
//	ContextTimeoutEnabled    true     always
//	DialTimeout              500 ms
//	DialerRetries            1        attempts
//	ReadTimeout              500 ms, or BatchTimeout if that is more; WriteTimeout too
//	PoolTimeout              100 ms
//	MaintNotificationsConfig off
//
// Replica reads (ReadOnly, RouteByLatency, RouteRandomly) are refused: a replica is
// behind. Time-outs above 2 s (or BatchTimeout, if that is longer) are respected, and
// reported to the logger.
func OpenUniversal(ctx context.Context, options *goredis.UniversalOptions, opts *Options) (*Backend, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if options == nil {
		return nil, fmt.Errorf("redis: %w: the options are nil", driver.ErrInvalid)
	}
	u := *options
	var client goredis.UniversalClient
	switch {
	case u.MasterName != "":
		if u.RouteByLatency || u.RouteRandomly {
			return nil, errReplicaReads
		}
		client, err = o.newFailover(u.Failover())
	case len(u.Addrs) > 1 || u.IsClusterMode:
		client, err = o.newCluster(u.Cluster())
	case u.ReadOnly || u.RouteByLatency || u.RouteRandomly:
		return nil, errReplicaReads
	default:
		single := o.newSingle(u.Simple())
		client = single
		if inCluster(ctx, single) {
			client, err = o.newCluster(u.Cluster())
		}
	}
	if err != nil {
		return nil, err
	}
	return start(ctx, client, true, o)
}

var errReplicaReads = fmt.Errorf("redis: %w: ReadOnly, RouteByLatency and RouteRandomly read from replicas, which are behind", driver.ErrInvalid)

// New returns a backend on a client that the caller goes on to own: Close leaves it
// open. Clients that read from replicas, and a Ring, are refused. Time-outs and retries
// with which a call could hang are reported to the logger once.
//
// The backend adds hooks to the client, by which it learns of new connections. They stay
// after Close, and do nothing then; make one backend for each client.
func New(ctx context.Context, client goredis.UniversalClient, opts *Options) (*Backend, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	switch c := client.(type) {
	case *goredis.Client:
		if c == nil {
			return nil, fmt.Errorf("redis: %w: the client is nil", driver.ErrInvalid)
		}
	case *goredis.ClusterClient:
		if c == nil {
			return nil, fmt.Errorf("redis: %w: the client is nil", driver.ErrInvalid)
		}
		if s := c.Options(); s.ReadOnly || s.RouteByLatency || s.RouteRandomly {
			return nil, errReplicaReads
		}
	default:
		return nil, fmt.Errorf("redis: %w: a client of type %T: use a Client or a ClusterClient", driver.ErrInvalid, client)
	}
	return start(ctx, client, false, o)
}

// warnOfSlowness logs the settings of a client with which callers could hang.
func (o *Options) warnOfSlowness(ctx context.Context, client goredis.UniversalClient) {
	var slow string
	switch c := client.(type) {
	case *goredis.Client:
		s := c.Options()
		slow = o.slowness(s.MaxRetries, s.DialerRetries, s.ContextTimeoutEnabled, s.DialTimeout, s.ReadTimeout, s.WriteTimeout)
	case *goredis.ClusterClient:
		s := c.Options()
		slow = o.slowness(0, s.DialerRetries, s.ContextTimeoutEnabled, s.DialTimeout, s.ReadTimeout, s.WriteTimeout)
	}
	if slow != "" {
		o.Logger.WarnContext(ctx, "graphcache: the redis client can make callers wait for long when redis does not answer: set ContextTimeoutEnabled, MaxRetries -1, DialerRetries 1 and time-outs of up to 2s, or use OpenUniversal", "settings", slow)
	}
}

// slowness names the settings with which a call could hang.
func (o *Options) slowness(retries, dials int, contextual bool, dial, read, write time.Duration) string {
	most := max(2*time.Second, o.BatchTimeout)
	var bad []string
	add := func(is bool, format string, args ...any) {
		if is {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	add(!contextual, "ContextTimeoutEnabled is false")
	add(retries > 0, "MaxRetries is %d", retries)
	add(dials > 1, "DialerRetries is %d", dials)
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"DialTimeout", dial}, {"ReadTimeout", read}, {"WriteTimeout", write}} {
		add(d.v <= 0 || d.v > most, "%s is %v", d.name, d.v)
	}
	return strings.Join(bad, ", ")
}

// quick fills in what go-redis would set to seconds.
func (o *Options) quick(retries, dials *int, contextual *bool, dial, read, write, pool *time.Duration) {
	*contextual = true
	setDefault(retries, -1)
	setDefault(dials, 1)
	setDefault(dial, 500*time.Millisecond)
	setDefault(read, max(o.BatchTimeout, 500*time.Millisecond))
	setDefault(write, max(o.BatchTimeout, 500*time.Millisecond))
	setDefault(pool, 100*time.Millisecond)
}

func setDefault[T comparable](v *T, def T) { *v = cmp.Or(*v, def) }

func setNotifications(c **maintnotifications.Config) {
	if *c == nil {
		*c = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
}

func (o *Options) newFailover(f *goredis.FailoverOptions) (goredis.UniversalClient, error) {
	if f.RouteByLatency || f.RouteRandomly || f.ReplicaOnly {
		return nil, errReplicaReads
	}
	o.quick(&f.MaxRetries, &f.DialerRetries, &f.ContextTimeoutEnabled, &f.DialTimeout, &f.ReadTimeout, &f.WriteTimeout, &f.PoolTimeout)
	return goredis.NewFailoverClient(f), nil
}

func (o *Options) newCluster(c *goredis.ClusterOptions) (goredis.UniversalClient, error) {
	if c.ReadOnly || c.RouteByLatency || c.RouteRandomly {
		return nil, errReplicaReads
	}
	o.quick(&c.MaxRetries, &c.DialerRetries, &c.ContextTimeoutEnabled, &c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.PoolTimeout)
	setNotifications(&c.MaintNotificationsConfig)
	return goredis.NewClusterClient(c), nil
}

func (o *Options) newSingle(s *goredis.Options) *goredis.Client {
	o.quick(&s.MaxRetries, &s.DialerRetries, &s.ContextTimeoutEnabled, &s.DialTimeout, &s.ReadTimeout, &s.WriteTimeout, &s.PoolTimeout)
	setNotifications(&s.MaintNotificationsConfig)
	return goredis.NewClient(s)
}

// inCluster reports whether the server says that it is part of a Cluster. If it is, the
// client is closed.
func inCluster(ctx context.Context, client *goredis.Client) bool {
	info, err := client.Info(ctx, "cluster").Result()
	if err != nil || parseInfo(info)["cluster_enabled"] != "1" {
		return false
	}
	_ = client.Close()
	return true
}

// start makes the backend, and asks the server whether it is one that will do.
func start(ctx context.Context, client goredis.UniversalClient, owned bool, o Options) (*Backend, error) {
	b := &Backend{opts: o, client: client, owned: owned, closing: make(chan struct{})}
	b.log = &Log{b: b}
	if c, ok := client.(*goredis.ClusterClient); ok {
		b.cluster = c
		b.layout.cluster, b.layout.asking = c, make(chan struct{}, 1)
	} else {
		b.single = newNode(b, client.(*goredis.Client).Options().Addr)
	}
	o.warnOfSlowness(ctx, client)
	b.watch.start(b)
	err := b.checkSoon(ctx)
	var reply goredis.Error
	switch {
	case errors.Is(err, driver.ErrInvalid):
		return nil, errors.Join(err, b.Close(ctx))
	case errors.As(err, &reply):
		o.Logger.WarnContext(ctx, "graphcache: redis refuses the backend: until this is put right reads go to the store, and writes are refused", "addr", b.addr(), "error", err)
	case err != nil:
		o.Logger.WarnContext(ctx, "graphcache: redis does not answer yet: reads go to the store, and writes are refused", "addr", b.addr(), "error", err)
	}
	return b, nil
}

// addr returns the address of the server, or those by which a Cluster was named.
func (b *Backend) addr() string {
	if b.cluster != nil {
		return strings.Join(b.cluster.Options().Addrs, ",")
	}
	return b.client.(*goredis.Client).Options().Addr
}
