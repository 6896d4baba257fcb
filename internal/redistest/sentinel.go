package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Sentinel is a master with a replica, and the sentinels that watch them. Its methods
// may be called by several goroutines, and by others than that of the test.
type Sentinel struct {
	MasterName string    // by which the sentinels know the master
	Sentinels  []*Server // three
	Data       []*Server // two, of which the first began as the master
}

// StartSentinel starts a master, a replica and three sentinels, of which two make a
// quorum, and returns when all of them know each other. A master that does not answer
// for a second is replaced.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	master := Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	s := &Sentinel{
		MasterName: "redistest",
		Data:       []*Server{master, Start(t, "--replicaof", host+" "+port)},
	}
	conf := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\n"+
		"sentinel down-after-milliseconds %[1]s 1000\n"+
		"sentinel failover-timeout %[1]s 5000\n", s.MasterName, host, port)
	for range 3 {
		s.Sentinels = append(s.Sentinels, startSentinel(t, conf))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := poll(ctx, 20*time.Millisecond, func() error { return s.well(ctx) }); err != nil {
		for _, one := range slices.Concat(s.Data, s.Sentinels) {
			t.Logf("%s:\n%s", one.Addr, one.Log())
		}
		t.Fatalf("redistest: the sentinels do not come about: %v", err)
	}
	// After four of these a sentinel demotes a master that it has not heard to be one: a
	// failover has to be faster than that.
	for _, sentinel := range s.Sentinels {
		tune(t, sentinel, "PUBLISH-PERIOD", "1000")
	}
	return s
}

// startSentinel starts a sentinel with a configuration, a file that the sentinel
// writes to.
func startSentinel(t testing.TB, conf string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := start(t, dir, func(port int) ([]string, error) {
		return []string{
			"sentinel.conf", "--sentinel", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--logfile", "redis.log",
		}, os.WriteFile(filepath.Join(dir, "sentinel.conf"), []byte(conf), 0o600)
	})
	// Looks more often than a sentinel does of itself, and no long rest after the machine
	// was too busy for it, which it calls tilt.
	tune(t, s, "INFO-PERIOD", "500")
	tune(t, s, "PING-PERIOD", "200")
	tune(t, s, "ASK-PERIOD", "200")
	tune(t, s, "TILT-PERIOD", "1000")
	tune(t, s, "PUBLISH-PERIOD", "100")
	return s
}

// tune sets a period of a sentinel. Where it cannot be set, all takes longer.
func tune(t testing.TB, s *Server, period, ms string) {
	t.Helper()
	if _, err := ask(t.Context(), s.Addr, "SENTINEL", "DEBUG", period, ms); err != nil && !errors.As(err, new(errReply)) {
		t.Fatal(err)
	}
}

// Addrs returns the addresses of the sentinels.
func (s *Sentinel) Addrs() []string { return addrs(s.Sentinels) }

// Master returns the master that the sentinels agree on.
func (s *Sentinel) Master() (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.master(ctx)
}

func (s *Sentinel) master(ctx context.Context) (*Server, error) {
	common := ""
	for _, sentinel := range s.Sentinels {
		if !sentinel.up() {
			continue
		}
		reply, err := ask(ctx, sentinel.Addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.MasterName)
		if err != nil {
			return nil, err
		}
		addr := strings.Join(reply, ":")
		if common != "" && addr != common {
			return nil, fmt.Errorf("redistest: the master is %s to one sentinel, %s to another", common, addr)
		}
		common = addr
	}
	for _, one := range s.Data {
		if one.Addr == common {
			return one, nil
		}
	}
	return nil, fmt.Errorf("redistest: the sentinels have %q for a master", common)
}

// Failover makes the sentinels replace the master by the replica, as if it were down,
// and returns when the new master is in place and the old one, unless that is down,
// follows it.
func (s *Sentinel) Failover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	old, err := s.master(ctx)
	if err == nil {
		err = poll(ctx, 20*time.Millisecond, func() error { return s.failover(ctx, old) })
	}
	if err != nil {
		return fmt.Errorf("redistest: failover: %w", err)
	}
	return nil
}

// failover takes the next step away from a master, and returns what is missing yet.
func (s *Sentinel) failover(ctx context.Context, old *Server) error {
	master, err := s.master(ctx)
	if err != nil {
		return err
	}
	if master == old {
		// Refused while a failover goes on. One that has failed is tried again.
		return errors.Join(fmt.Errorf("%s is still the master", old.Addr), s.ask(ctx, "SENTINEL", "FAILOVER", s.MasterName))
	}
	if role, err := ask(ctx, old.Addr, "ROLE"); err == nil && role[0] == "master" {
		// As the sentinels would, in seconds.
		host, port, _ := strings.Cut(master.Addr, ":")
		if _, err := ask(ctx, old.Addr, "REPLICAOF", host, port); err != nil {
			return err
		}
	}
	return s.well(ctx)
}

// ask sends a command to the first sentinel that is up.
func (s *Sentinel) ask(ctx context.Context, args ...string) error {
	for _, sentinel := range s.Sentinels {
		if sentinel.up() {
			_, err := ask(ctx, sentinel.Addr, args...)
			return err
		}
	}
	return errors.New("every sentinel is down")
}

// well returns what is still wrong: the sentinels have to agree on a master that is
// one, and whatever else is up has to follow it.
func (s *Sentinel) well(ctx context.Context) error {
	master, err := s.master(ctx)
	if err != nil {
		return err
	}
	for _, one := range s.Data {
		if !one.up() {
			continue
		}
		role, err := ask(ctx, one.Addr, "ROLE")
		if err != nil {
			return err
		}
		if is := role[0] == "master"; is != (one == master) {
			return fmt.Errorf("%s has the role of a %s", one.Addr, role[0])
		}
		if err := attached(ctx, one); err != nil {
			return err
		}
	}
	for _, sentinel := range s.Sentinels {
		if err := s.knowing(ctx, sentinel); err != nil {
			return err
		}
	}
	return nil
}

// knowing returns what a sentinel does not know yet.
func (s *Sentinel) knowing(ctx context.Context, sentinel *Server) error {
	if !sentinel.up() {
		return nil
	}
	pairs, err := ask(ctx, sentinel.Addr, "SENTINEL", "MASTER", s.MasterName)
	if err != nil {
		return err
	}
	has := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		has[pairs[i]] = pairs[i+1]
	}
	if has["flags"] != "master" || has["num-slaves"] != strconv.Itoa(len(s.Data)-1) ||
		has["num-other-sentinels"] != strconv.Itoa(len(s.Sentinels)-1) {
		return fmt.Errorf("sentinel %s: flags %s, %s replicas, %s other sentinels",
			sentinel.Addr, has["flags"], has["num-slaves"], has["num-other-sentinels"])
	}
	return nil
}
