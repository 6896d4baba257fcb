package redis_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// diary keeps what a logger was told.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

// logger returns a logger that writes into the diary.
func (d *diary) logger() *slog.Logger { return slog.New(slog.NewTextHandler(d, nil)) }

// count returns the number of lines that have the text.
func (d *diary) count(text string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for line := range strings.Lines(d.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// openURL returns a backend for the server at a URL, which may be slow.
func openURL(t *testing.T, url string, opts *redis.Options) *redis.Backend {
	t.Helper()
	o := *opts
	o.BatchTimeout = cmp.Or(o.BatchTimeout, countersPatience)
	b, err := redis.Open(t.Context(), url, &o)
	if err != nil {
		t.Fatalf("Open(%q): %v", url, err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// patient returns a context for what takes time on a busy machine.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// write holds and releases the anchor.
func write(ctx context.Context, c driver.Cache, anchor string) error {
	done := []driver.Outcome{driver.Done}
	got, err := c.Hold(ctx, []driver.Hold{{Anchor: anchor, Token: "token", TTL: time.Minute}})
	if err != nil || !slices.Equal(got, done) {
		return fmt.Errorf("hold: %v, error %w", got, err)
	}
	got, err = c.Release(ctx, []driver.Release{{Anchor: anchor, Token: "token", Stamp: "stamp", KeepStamp: time.Minute}})
	if err != nil || !slices.Equal(got, done) {
		return fmt.Errorf("release: %v, error %w", got, err)
	}
	return nil
}

// keep claims and fills the primary fragment of the anchor and a secondary one.
func keep(ctx context.Context, c driver.Cache, anchor, value string) error {
	for _, field := range []string{"", "field"} {
		version := mathrand.Uint64() | 1
		e, err := c.Claim(ctx, []driver.Claim{{Anchor: anchor, Field: field, Version: version, Lease: time.Minute, TTL: time.Hour}})
		if err != nil || !e[0].Claimed {
			return fmt.Errorf("claim of %q: %+v, error %w", field, e, err)
		}
		got, err := c.Fill(ctx, []driver.Fill{{Anchor: anchor, Field: field, Version: e[0].Version, Value: []byte(value), TTL: time.Hour, Limit: 9}})
		if err != nil || got[0] != driver.Done {
			return fmt.Errorf("fill of %q: %v, error %w", field, got, err)
		}
	}
	return nil
}

// find returns the values of the anchor's fragments as keep has left them.
func find(ctx context.Context, c driver.Cache, anchor string) (values [2]string, err error) {
	got, err := c.Lookup(ctx, []driver.Lookup{{Anchor: anchor}, {Anchor: anchor, Field: "field"}})
	if err != nil {
		return values, err
	}
	return [2]string{string(got[0].Value), string(got[1].Value)}, nil
}

// works reports whether a cache keeps values and drops them.
func works(t *testing.T, c driver.Cache) {
	t.Helper()
	ctx := patient(t)
	for i := range 20 {
		anchor := fmt.Sprint("works ", i)
		if err := keep(ctx, c, anchor, "value"); err != nil {
			t.Fatal(err)
		}
		if got, err := find(ctx, c, anchor); err != nil || got != [2]string{"value", "value"} {
			t.Fatalf("look-up: %q, error %v", got, err)
		}
		if err := write(ctx, c, anchor); err != nil {
			t.Fatal(err)
		}
		if got, err := find(ctx, c, anchor); err != nil || got != [2]string{} {
			t.Fatalf("look-up after a write: %q, error %v", got, err)
		}
	}
}

// config sets settings of a server, given as name and value in turns.
func config(t *testing.T, addr string, settings ...string) {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	defer c.Close()
	for i := 0; i < len(settings); i += 2 {
		if err := c.ConfigSet(t.Context(), settings[i], settings[i+1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenURL(t *testing.T) {
	s := redistest.Start(t, "--unixsocket", "sock",
		"--user", "default", "on", "nopass", "~*", "&*", "+@all",
		"--user", "bob", "on", ">p@ss/word", "~gc:*", "&gc:*", "+@all")
	for _, tt := range []struct{ name, url string }{
		{"plain", "redis://" + s.Addr},
		{"database", "redis://" + s.Addr + "/3"},
		{"parameters", "redis://" + s.Addr + "?db=3&protocol=2&pool_size=2&pipeline_pool_size=1&read_timeout=1s"},
		{"user", "redis://bob:p%40ss%2Fword@" + s.Addr},
		{"unix", "unix://" + filepath.Join(s.Dir, "sock")},
		{"unix with user and database", "unix://bob:p%40ss%2Fword@" + filepath.Join(s.Dir, "sock") + "?db=2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := new(diary)
			b := openURL(t, tt.url, &redis.Options{Logger: log.logger()})
			works(t, b.Cache())
			if log.String() != "" {
				t.Errorf("the log: %s", log)
			}
			if _, ok := b.Client().(*goredis.Client); !ok {
				t.Errorf("the client is a %T", b.Client())
			}
			keys, err := b.Client().Keys(t.Context(), "gc:{works 3}*").Result()
			if err != nil || len(keys) == 0 {
				t.Errorf("the keys are %q, error %v", keys, err)
			}
			b.Client().FlushDB(t.Context())
		})
	}
}

// certificate returns a certificate for the loopback address that has signed itself, as
// a file for the server and as it is.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	err = errors.Join(os.WriteFile(certFile, cert, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return certFile, keyFile, pool
}

// startTLS makes a server listen on one more port, with TLS, and returns that address.
func startTLS(t *testing.T, s *redistest.Server, certFile, keyFile string) string {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer c.Close()
	for try := 1; ; try++ {
		port := strconv.Itoa(10_000 + mathrand.IntN(20_000))
		err := c.Do(t.Context(), "config", "set", "tls-cert-file", certFile, "tls-key-file", keyFile,
			"tls-auth-clients", "no", "tls-port", port).Err()
		switch {
		case err == nil:
			return "127.0.0.1:" + port
		case strings.Contains(err.Error(), "Unknown option"):
			if os.Getenv("CI") != "" || os.Getenv("GRAPHCACHE_REQUIRE_SERVERS") != "" {
				t.Fatal("the server is built without TLS: this test needs one with it")
			}
			t.Skip("NOT TESTED: TLS, because the server is built without it")
		case try == 10:
			t.Fatal(err)
		}
	}
}

func TestOpenTLS(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	addr := startTLS(t, redistest.Start(t), certFile, keyFile)
	quiet := &redis.Options{Logger: slog.New(slog.DiscardHandler)}
	works(t, openURL(t, "rediss://"+addr+"?skip_verify=true", quiet).Cache())

	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{
		Addrs: []string{addr}, TLSConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	works(t, b.Cache())

	// Whom nobody trusts is nobody.
	_, err = openURL(t, "rediss://"+addr, quiet).Cache().Lookup(patient(t), []driver.Lookup{{Anchor: "a"}})
	if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "x509") {
		t.Errorf("a server that is not trusted: %v", err)
	}
}

func TestOpenInvalid(t *testing.T) {
	const secret = "hunter2"
	quiet := &redis.Options{Logger: slog.New(slog.DiscardHandler)}
	universal := func(u *goredis.UniversalOptions) func() (*redis.Backend, error) {
		return func() (*redis.Backend, error) { return redis.OpenUniversal(t.Context(), u, quiet) }
	}
	url := func(u string) func() (*redis.Backend, error) {
		return func() (*redis.Backend, error) { return redis.Open(t.Context(), u, quiet) }
	}
	brought := func(c goredis.UniversalClient) func() (*redis.Backend, error) {
		return func() (*redis.Backend, error) { return redis.New(t.Context(), c, quiet) }
	}
	set := func(o redis.Options) func() (*redis.Backend, error) {
		return func() (*redis.Backend, error) { return redis.Open(t.Context(), "redis://127.0.0.1:1", &o) }
	}
	two := []string{"127.0.0.1:1", "127.0.0.1:2"}
	cluster := func(o goredis.ClusterOptions) goredis.UniversalClient {
		o.Addrs = two
		c := goredis.NewClusterClient(&o)
		t.Cleanup(func() { c.Close() })
		return c
	}
	ring := goredis.NewRing(&goredis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	t.Cleanup(func() { ring.Close() })
	for _, tt := range []struct {
		name, has string
		open      func() (*redis.Backend, error)
	}{
		{"no URL", "", url("")},
		{"scheme", "scheme", url("http://user:" + secret + "@127.0.0.1")},
		{"control character", "cannot be parsed", url("redis://user:" + secret + "@127.0.0.1\x7f")},
		{"port", "cannot be parsed", url("redis://user:" + secret + "@127.0.0.1:port")},
		{"escape", "cannot be parsed", url("redis://user:" + secret + "%zz@127.0.0.1")},
		{"password with a hash", "cannot be parsed", url("redis://user:" + secret + "#b@127.0.0.1")},
		{"password with a slash", "cannot be parsed", url("redis://user:" + secret + "/b@127.0.0.1")},
		{"password with an at sign and a slash", "cannot be parsed", url("redis://user:a@b/" + secret + "@127.0.0.1")},
		{"database", "database", url("redis://user:" + secret + "@127.0.0.1/x")},
		{"parameter", "colour", url("redis://user:" + secret + "@127.0.0.1?colour=red")},
		{"parameter of sentinel", "colour", url("redis://u:" + secret + "@127.0.0.1?master_name=m&colour=red&password=" + secret)},
		{"password in a parameter", "unexpected", url("redis://127.0.0.1?password=" + secret)},
		{"parameter of a cluster", "colour", url("redis://u:" + secret + "@127.0.0.1?addr=127.0.0.2:1&colour=red")},
		{"socket", "socket", url("unix://user:" + secret + "@")},
		{"nil options", "nil", universal(nil)},
		{"ReadOnly", "replicas", universal(&goredis.UniversalOptions{Addrs: two[:1], ReadOnly: true})},
		{"ReadOnly of a cluster", "replicas", universal(&goredis.UniversalOptions{Addrs: two, ReadOnly: true})},
		{"RouteByLatency of a cluster", "replicas", universal(&goredis.UniversalOptions{Addrs: two, RouteByLatency: true})},
		{"RouteRandomly of a cluster", "replicas", universal(&goredis.UniversalOptions{Addrs: two, RouteRandomly: true})},
		{"ReadOnly of Sentinel", "replicas", universal(&goredis.UniversalOptions{Addrs: two, MasterName: "m", ReadOnly: true})},
		{"RouteByLatency of Sentinel", "replicas", universal(&goredis.UniversalOptions{Addrs: two, MasterName: "m", RouteByLatency: true})},
		{"RouteRandomly of Sentinel", "replicas", universal(&goredis.UniversalOptions{Addrs: two, MasterName: "m", RouteRandomly: true})},
		{"RouteByLatency in a URL", "", url("redis://127.0.0.1:1?addr=127.0.0.1:2&route_by_latency=true")},
		{"replica_only in a URL", "replicas", url("redis://127.0.0.1:1?master_name=m&replica_only=true")},
		{"nil client", "nil", brought(nil)},
		{"nil Client", "nil", brought((*goredis.Client)(nil))},
		{"nil ClusterClient", "nil", brought((*goredis.ClusterClient)(nil))},
		{"Ring", "*redis.Ring", brought(ring)},
		{"cluster client that is ReadOnly", "replicas", brought(cluster(goredis.ClusterOptions{ReadOnly: true}))},
		{"cluster client with RouteByLatency", "replicas", brought(cluster(goredis.ClusterOptions{RouteByLatency: true}))},
		{"cluster client with RouteRandomly", "replicas", brought(cluster(goredis.ClusterOptions{RouteRandomly: true}))},
		{"long prefix", "Prefix", set(redis.Options{Prefix: strings.Repeat("p", 65)})},
		{"prefix with a brace", "Prefix", set(redis.Options{Prefix: "a{b"})},
		{"negative BatchTimeout", "BatchTimeout", set(redis.Options{BatchTimeout: -1})},
		{"negative CompressAbove", "CompressAbove", set(redis.Options{CompressAbove: -1})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.open()
			if b != nil || !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), tt.has) {
				t.Fatalf("%v, error %v, want ErrInvalid with %q", b, err, tt.has)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the password is in the error %v", err)
			}
		})
	}
}

// TestOpenWrongPassword: a server may accept the password later. Until then nothing works,
// and nobody reads in a log what was tried.
func TestOpenWrongPassword(t *testing.T) {
	s := redistest.Start(t, "--user", "bob", "on", ">right", "~*", "&*", "+@all")
	log := new(diary)
	b := openURL(t, "redis://bob:hunter2@"+s.Addr, &redis.Options{Logger: log.logger()})
	_, err := b.Cache().Lookup(patient(t), []driver.Lookup{{Anchor: "a"}})
	if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("error %v, want ErrUnavailable with WRONGPASS", err)
	}
	if all := fmt.Sprint(err, log); strings.Contains(all, "hunter2") {
		t.Errorf("the password is in %s", all)
	}
	if log.count("WRONGPASS") == 0 {
		t.Errorf("the log does not say what is wrong: %s", log)
	}
}

func TestOpenWhileDown(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	log := new(diary)
	start := time.Now()
	b := openURL(t, "redis://"+s.Addr, &redis.Options{Logger: log.logger()})
	// Where nobody listens, it takes no time to learn that.
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Open took %v", d)
	}
	if log.count("does not answer yet") != 1 {
		t.Errorf("the log: %s", log)
	}
	if _, err := b.Cache().Lookup(t.Context(), []driver.Lookup{{Anchor: "a"}}); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("look-up: %v, want ErrUnavailable", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	works(t, b.Cache())
}

// TestOpenWhileHanging is about a server that accepts connections and nothing else.
func TestOpenWhileHanging(t *testing.T) {
	s := redistest.Start(t)
	s.Suspend()
	start := time.Now()
	log := new(diary)
	b := openURL(t, "redis://"+s.Addr, &redis.Options{Logger: log.logger(), BatchTimeout: 500 * time.Millisecond})
	if d := time.Since(start); d > 8*time.Second {
		t.Errorf("Open took %v", d)
	}
	if log.count("does not answer yet") != 1 {
		t.Errorf("the log: %s", log)
	}
	s.Resume()
	works(t, b.Cache())
}

func TestOpenWarnings(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"none", "", []string{"--maxmemory-policy", "allkeys-lfu"}},
		{"save", "save is", []string{"--save", "3600 1"}},
		{"appendonly", "appendonly is on", []string{"--appendonly", "yes"}},
		{"policy", "maxmemory-policy is volatile-ttl", []string{"--maxmemory-policy", "volatile-ttl"}},
		{"CONFIG not allowed", "", []string{"--save", "3600 1", "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t, tt.args...)
			log := new(diary)
			works(t, openURL(t, "redis://"+s.Addr, &redis.Options{Logger: log.logger()}).Cache())
			if tt.want == "" && log.String() != "" || tt.want != "" && (log.count("unwise") != 1 || log.count(tt.want) != 1) {
				t.Errorf("want one warning with %q, have %s", tt.want, log)
			}
		})
	}
}

// TestNewSlowClient: what can make a caller wait is said once.
func TestNewSlowClient(t *testing.T) {
	addr := redistest.Start(t).Addr
	quick := func(set func(*goredis.Options)) *goredis.Client {
		o := &goredis.Options{
			Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
			DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		}
		set(o)
		return goredis.NewClient(o)
	}
	for _, tt := range []struct {
		name   string
		client goredis.UniversalClient
		want   []string
	}{
		{"quick", quick(func(*goredis.Options) {}), nil},
		{"defaults of go-redis", goredis.NewClient(&goredis.Options{Addr: addr}),
			[]string{"ContextTimeoutEnabled is false", "MaxRetries is 3", "DialTimeout is", "ReadTimeout is"}},
		{"retries", quick(func(o *goredis.Options) { o.MaxRetries = 2 }), []string{"MaxRetries is 2"}},
		{"no context", quick(func(o *goredis.Options) { o.ContextTimeoutEnabled = false }), []string{"ContextTimeoutEnabled is false"}},
		{"no time-out", quick(func(o *goredis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -2 }), []string{"ReadTimeout is 0", "WriteTimeout is"}},
		{"dials", quick(func(o *goredis.Options) { o.DialTimeout, o.DialerRetries = time.Minute, 5 }), []string{"DialTimeout is 1m0s", "DialerRetries is 5"}},
		{"cluster", goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}),
			[]string{"ContextTimeoutEnabled is false", "DialTimeout is"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer tt.client.Close()
			log := new(diary)
			b, err := redis.New(t.Context(), tt.client, &redis.Options{Logger: log.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if tt.name != "cluster" { // there is none
				works(t, b.Cache())
			}
			if n := log.count("wait for long"); n != min(1, len(tt.want)) {
				t.Errorf("%d warnings: %s", n, log)
			}
			for _, want := range tt.want {
				if log.count(want) != 1 {
					t.Errorf("want %q in %s", want, log)
				}
			}
			if err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := tt.client.Ping(t.Context()).Err(); tt.name != "cluster" && err != nil {
				t.Errorf("after Close, the caller's client: %v", err)
			}
			if _, err := b.Cache().Lookup(t.Context(), []driver.Lookup{{Anchor: "a"}}); !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("look-up after Close: %v, want ErrUnavailable", err)
			}
		})
	}
}

// stub is a server that answers INFO with a text and everything else with an error.
func stub(t *testing.T, info string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn, info)
		}
	}()
	return l.Addr().String()
}

// answer answers the commands that come over a connection.
func answer(conn net.Conn, info string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		var n int
		if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
			return
		}
		var name string
		for i := range n {
			var size int
			if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
				return
			}
			word := make([]byte, size+2)
			if _, err := io.ReadFull(r, word); err != nil {
				return
			}
			if i == 0 {
				name = strings.ToLower(string(word[:size]))
			}
		}
		reply := "-ERR unknown command\r\n"
		if name == "info" {
			reply = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

func TestOpenVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"5.0.14": false, "6.2.14": false, "6.9": false, "7.0.0": true, "7.2.4": true, "8.0.1": true, "10.0.0": true, "": true, "unstable": true,
	} {
		t.Run(version, func(t *testing.T) {
			addr := stub(t, "# Server\r\nredis_version:"+version+"\r\nrun_id:1\r\nrole:master\r\n")
			b, err := redis.Open(t.Context(), "redis://"+addr, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
			if ok {
				if err != nil {
					t.Fatal(err)
				}
				b.Close(t.Context())
			} else if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "7.0 or later") {
				t.Errorf("error %v, want ErrInvalid", err)
			}
		})
	}
}
