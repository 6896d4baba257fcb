package mongotest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Server is a server of a test. Its methods may be called by several goroutines, and by
// others than that of the test; those without a result report what goes wrong as an error
// of the test. A server that is shared, or not ours, cannot be killed or suspended.
type Server struct {
	URI   string           // for a client; it has a query, to which options may be added with "&"
	Addr  string           // where it listens, as host:port
	Name  string           // for people, with its version
	Lacks map[Feature]bool // what it does not do

	t       testing.TB
	log     string   // a file
	program string   // empty for a server that is not the test's own
	args    []string // behind -listen and the address

	mu      sync.Mutex
	process *process // protects: nil after Kill
}

// kind is a kind of server that can be started.
type kind struct {
	name    string
	program func() (string, error)
	args    func(dir string) []string
	query   string // of the URI
	lacks   []Feature
}

// FerretDB hangs for good where it has much to do at once, hence the size of a pool.
// Besides, an update of 100 documents in one command does that: 40 are safe.
var ferretdb = kind{
	name:    "FerretDB v1.24.2",
	program: ferretdbProgram,
	args:    func(dir string) []string { return []string{"-dir", dir} },
	query:   "maxPoolSize=20",
	lacks: []Feature{
		ConcurrentUpdates, Transactions, ChangeStreams, RetryableWrites, OperationTime,
		PartialIndexes, SparseIndexes, UniqueOnUpdate, DuplicateIndex, DocumentSize,
		SpecialNumbers, Decimal128, Lookup,
	},
}

var lungo = kind{
	name:    "lungo v0.4.0 over our wire front",
	program: lungoProgram,
	args:    func(string) []string { return nil },
	query:   "directConnection=true",
	lacks:   []Feature{Persistence},
}

// FerretDB starts a FerretDB for the test and kills it when the test ends. It carries
// out one command at a time. Its collections should stay below 2,000 documents, as it
// reads without indexes.
func FerretDB(t testing.TB) *Server {
	t.Helper()
	return start(t, ferretdb)
}

// Lungo starts a lungo for the test, with further flags, and kills it when the test ends.
// The flag -file and a path make its data outlive that.
func Lungo(t testing.TB, flags ...string) *Server {
	t.Helper()
	k := lungo
	k.args = func(string) []string { return flags }
	if slices.Contains(flags, "-file") {
		k.lacks = slices.DeleteFunc(slices.Clone(k.lacks), func(f Feature) bool { return f == Persistence })
	}
	return start(t, k)
}

// External returns the URI of the server that is to be used in place of those that can
// be started, or nothing.
func External() string { return os.Getenv("GRAPHCACHE_MONGO_URI") }

// Each runs f as a subtest on each server that stands in for MongoDB, or on the one that
// [External] names. Those servers are shared with the other tests of the test program:
// [Server.Database] keeps them apart.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	if uri := External(); uri != "" {
		t.Run("external", func(t *testing.T) { f(t, external(t, uri)) })
		return
	}
	t.Run("ferretdb", func(t *testing.T) { f(t, SharedFerretDB(t)) })
	t.Run("lungo", func(t *testing.T) { f(t, SharedLungo(t)) })
}

// EachOwn is [Each] with a server for each subtest alone, which it may kill and suspend.
// On one that [External] names it skips.
func EachOwn(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	if External() != "" {
		t.Skip("the server at GRAPHCACHE_MONGO_URI is not one to be killed or suspended")
	}
	t.Run("ferretdb", func(t *testing.T) { f(t, FerretDB(t)) })
	t.Run("lungo", func(t *testing.T) {
		f(t, Lungo(t, "-file", filepath.Join(t.TempDir(), "lungo")))
	})
}

// external describes the server with the URI. Like those of ours, it gets a query, behind
// which tests may write more options.
func external(t testing.TB, uri string) *Server {
	if !strings.Contains(uri, "?") {
		_, rest, _ := strings.Cut(uri, "://")
		if !strings.Contains(rest, "/") {
			uri += "/"
		}
		uri += "?retryWrites=true"
	}
	_, addr, _ := strings.Cut(uri, "://")
	addr = addr[:strings.IndexAny(addr, "/?")]
	addr = addr[strings.LastIndex(addr, "@")+1:]
	addr, _, _ = strings.Cut(addr, ",")
	return &Server{URI: uri, Addr: addr, Name: "the server at GRAPHCACHE_MONGO_URI", t: t}
}

// SharedFerretDB is [FerretDB] with a server that all tests of the test program share.
func SharedFerretDB(t testing.TB) *Server {
	t.Helper()
	return share(t, ferretdb, theFerretDB)
}

// SharedLungo is [Lungo] with a server that all tests of the test program share.
func SharedLungo(t testing.TB) *Server {
	t.Helper()
	return share(t, lungo, theLungo)
}

var (
	theFerretDB = sync.OnceValues(func() (*Server, error) { return startShared(ferretdb) })
	theLungo    = sync.OnceValues(func() (*Server, error) { return startShared(lungo) })
)

// startShared starts a server that ends with the test program, and whose files go then.
func startShared(k kind) (*Server, error) {
	dir, err := os.MkdirTemp("", "mongotest")
	if err != nil {
		return nil, err
	}
	s, err := k.start(dir, dir)
	if err != nil {
		os.RemoveAll(dir)
	}
	return s, err
}

// share returns the shared server for the use of a test.
func share(t testing.TB, k kind, start func() (*Server, error)) *Server {
	t.Helper()
	s, err := start()
	if err != nil {
		unavailable(t, err)
	}
	s = &Server{URI: s.URI, Addr: s.Addr, Name: s.Name, Lacks: lacks(k.lacks...), t: t, log: s.log}
	t.Cleanup(s.report)
	return s
}

// start starts a server for the test alone.
func start(t testing.TB, k kind) *Server {
	t.Helper()
	s, err := k.start(t.TempDir(), "")
	if err != nil {
		unavailable(t, err)
	}
	s.t = t
	t.Cleanup(s.Kill)
	t.Cleanup(s.report)
	return s
}

// report adds the server's complaints to those of a test that has failed. A command
// without a reply is among them, after which FerretDB is of no more use.
func (s *Server) report() {
	if text := s.Log(); s.t.Failed() && text != "" {
		s.t.Logf("the log of %s ends with:\n%s", s.Name, text)
	}
}

// unavailable ends a test that has no server.
func unavailable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("GRAPHCACHE_REQUIRE_SERVERS") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// start starts a server with its files in a directory, which may be one to remove at the
// end. It takes another port if somebody has come first.
func (k kind) start(dir, remove string) (*Server, error) {
	program, err := k.program()
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		s := &Server{
			URI:   "mongodb://" + addr + "/?" + k.query,
			Addr:  addr,
			Name:  k.name,
			Lacks: lacks(k.lacks...),
			// In the log of another try there are the words of that one.
			log:     filepath.Join(dir, fmt.Sprintf("log-%d", try)),
			program: program,
			args:    k.args(dir),
		}
		s.mu.Lock()
		err = s.startLocked(remove)
		s.mu.Unlock()
		if err == nil || try == 10 || !strings.Contains(err.Error(), "address already in use") {
			return s, err
		}
	}
}

func (s *Server) startLocked(remove string) error {
	p, err := run(remove, s.log, s.program, append([]string{"-listen", s.Addr}, s.args...)...)
	if err != nil {
		return fmt.Errorf("mongotest: start %s: %w; its log:\n%s", s.Name, err, s.Log())
	}
	s.process = p
	return nil
}

// Restart starts the server again, with the same address, files and flags, and returns
// when it listens. One that still runs is killed first.
func (s *Server) Restart() error {
	if err := s.own("restarted"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
	return s.startLocked("")
}

// Kill ends the server as a crash would, by SIGKILL, and returns when it is gone.
func (s *Server) Kill() {
	if err := s.own("killed"); err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

func (s *Server) killLocked() {
	if s.process != nil {
		s.process.kill()
	}
	s.process = nil
}

// own returns an error unless the server is the test's own.
func (s *Server) own(done string) error {
	if s.program == "" {
		return fmt.Errorf("mongotest: %s is not to be %s: it is shared, or not ours", s.Name, done)
	}
	return nil
}

// Suspend makes the server hang, by SIGSTOP: connections to it are made, and nothing is
// answered.
func (s *Server) Suspend() { s.signal("STOP") }

// Resume lets a suspended server go on.
func (s *Server) Resume() { s.signal("CONT") }

func (s *Server) signal(name string) {
	err := s.own("suspended")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.process == nil {
		err = errors.New("mongotest: a server that is down cannot be suspended")
	}
	if err == nil {
		err = s.process.signal(name)
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	if name == "STOP" {
		s.process.awaitStop()
	}
}

// Log returns the end of what the server complained of.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	return string(text[max(0, len(text)-most):])
}

// Database returns the name of a database that is the test's own. It is for the test to
// drop it, which is only polite on a server that [External] names.
func (s *Server) Database(t testing.TB) string {
	const longest = 30 // with what follows, all servers take it
	name := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z' {
			return '_'
		}
		return r
	}, t.Name())
	return name[:min(len(name), longest)] + "_" + strings.ToLower(rand.Text()[:12])
}
