package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A server has this long to start or to stop, on a machine that has much else to do.
const patience = 30 * time.Second

// Server is a redis-server of a test. Its methods may be called by several goroutines,
// and by others than that of the test; those without a result report what goes wrong as
// an error of the test.
type Server struct {
	Addr string // where it listens: "127.0.0.1:" and the port
	Dir  string // where its files are

	t    testing.TB
	args []string // of redis-server

	mu        sync.Mutex
	process   *process // protects: nil after Kill and Stop
	suspended bool     // protects: between Suspend and Resume
}

// Start starts a redis-server for the test, on a free loopback port in a temporary
// directory, without persistence, and stops it when the test ends. args are further
// options of its command line, such as "--maxmemory", "50mb".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, t.TempDir(), func(port int) ([]string, error) {
		return append(options(port), args...), nil
	})
}

// Addrs returns the addresses in GRAPHCACHE_REDIS_ADDRS, which are separated by commas,
// or where that is not set the address of a server started for the test.
func Addrs(t testing.TB) []string {
	t.Helper()
	if list := os.Getenv("GRAPHCACHE_REDIS_ADDRS"); list != "" {
		return strings.Split(list, ",")
	}
	return []string{Start(t).Addr}
}

// options are those of every server of data.
func options(port int) []string {
	return []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--logfile", "redis.log",
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
	}
}

// start starts a server with the arguments for a port, and for another port if
// somebody has come first.
func start(t testing.TB, dir string, args func(port int) ([]string, error)) *Server {
	t.Helper()
	need(t)
	for try := 1; ; try++ {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{Addr: loopback(port), Dir: dir, t: t}
		if s.args, err = args(port); err != nil {
			t.Fatal(err)
		}
		err = s.Restart()
		if err == nil {
			t.Cleanup(s.Kill)
			return s
		}
		if try == 10 || !strings.Contains(err.Error(), "Address already in use") {
			t.Fatal(err)
		}
		os.Remove(s.logFile()) // the next try is judged by its own words
	}
}

// need ends a test for which there is no redis-server.
func need(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	const help = "there is no redis-server on the PATH: install the package redis-server (or redis) of your system"
	if os.Getenv("CI") != "" || os.Getenv("GRAPHCACHE_REQUIRE_SERVERS") != "" {
		t.Fatal(help)
	}
	t.Skip(help)
}

// Restart starts the server again, with the same address, directory and options, and
// returns when it answers. One that still runs is killed first.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
	p, err := run(s.Dir, "redis-server", s.args...)
	if err != nil {
		return fmt.Errorf("redistest: start redis-server: %w", err)
	}
	s.process = p
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.readyLocked(ctx); err != nil {
		s.killLocked()
		return fmt.Errorf("redistest: redis-server %s does not start: %w; its log:\n%s",
			strings.Join(s.args, " "), err, s.Log())
	}
	return nil
}

// readyLocked waits until the server answers. Whoever else may have taken the address
// has another pid.
func (s *Server) readyLocked(ctx context.Context) error {
	var gone error
	err := poll(ctx, 5*time.Millisecond, func() error {
		select {
		case <-s.process.exited:
			gone = errors.New("it has ended")
			return nil
		default:
		}
		info, err := askText(ctx, s.Addr, "INFO", "server")
		if err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.process.pid)) {
			return fmt.Errorf("%s is another server", s.Addr)
		}
		if err == nil {
			_, err = ask(ctx, s.Addr, "PING") // refused while it loads
		}
		if err != nil && strings.Contains(err.Error(), "NOAUTH") {
			return nil
		}
		return err
	})
	return errors.Join(gone, err)
}

// Kill ends the server as a crash would, by SIGKILL, and returns when it is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

func (s *Server) killLocked() {
	if s.process != nil {
		s.process.kill()
	}
	s.process, s.suspended = nil, false
}

// Stop lets the server shut down in its own way, without saving anything. A server
// that does not is killed.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	if !s.suspended {
		// There is no answer to a shutdown but the end.
		if _, err := ask(context.Background(), s.Addr, "SHUTDOWN", "NOSAVE"); errors.As(err, new(errReply)) {
			s.t.Errorf("redistest: stop: %v", err)
		}
		select {
		case <-s.process.exited:
		case <-time.After(patience):
			s.t.Errorf("redistest: %s does not stop; its log:\n%s", s.Addr, s.Log())
		}
	}
	s.killLocked()
}

// Suspend makes the server hang, by SIGSTOP: it accepts connections and answers nothing.
func (s *Server) Suspend() { s.signal("STOP", true) }

// Resume lets a suspended server go on.
func (s *Server) Resume() { s.signal("CONT", false) }

func (s *Server) signal(name string, suspends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Errorf("redistest: signal %s for %s, which is down", name, s.Addr)
		return
	}
	if err := s.process.signal(name); err != nil {
		s.t.Errorf("redistest: %v", err)
		return
	}
	s.suspended = suspends
}

// up reports whether the server ought to answer.
func (s *Server) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil && !s.suspended
}

// Pid returns the process id of the redis-server, or 0 if it is down.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.pid
}

// CLI runs redis-cli against the server and returns what it prints, without the last
// newline. An error reply of the server is an error.
func (s *Server) CLI(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.cli(ctx, args...)
}

func (s *Server) cli(ctx context.Context, args ...string) (string, error) {
	host, port, _ := strings.Cut(s.Addr, ":")
	cmd := exec.CommandContext(ctx, "redis-cli", append([]string{"-e", "-h", host, "-p", port}, args...)...)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSuffix(string(out), "\n")
	if err != nil {
		return text, fmt.Errorf("redistest: redis-cli %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

func (s *Server) logFile() string { return filepath.Join(s.Dir, "redis.log") }

// Log returns the end of the server's log.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	return string(text[max(0, len(text)-most):])
}
