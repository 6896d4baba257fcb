package redistest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const slots = 16384

// Cluster is a Redis Cluster of a test. Its methods may be called by several
// goroutines, and by others than that of the test.
type Cluster struct {
	Servers []*Server // first those that began as masters, then their replicas
}

// StartCluster starts a Redis Cluster of masters with so many replicas each, 0 or 1,
// and returns when every server knows all of it. args are further options of each
// server. A master that does not answer for two seconds is replaced by its replica.
func StartCluster(t testing.TB, masters, replicas int, args ...string) *Cluster {
	t.Helper()
	need(t)
	if masters < 1 || replicas < 0 || replicas > 1 {
		t.Fatalf("redistest: a cluster of %d masters with %d replicas each", masters, replicas)
	}
	c := new(Cluster)
	for range masters * (1 + replicas) {
		c.Servers = append(c.Servers, start(t, t.TempDir(), func(port int) ([]string, error) {
			bus, err := freePort()
			return append(append(options(port), clusterOptions(bus)...), args...), err
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	err := c.join(ctx, masters)
	if err == nil {
		err = c.WaitOK(ctx)
	}
	if err != nil {
		for _, s := range c.Servers {
			t.Logf("%s:\n%s", s.Addr, s.Log())
		}
		t.Fatalf("redistest: the cluster does not come about: %v", err)
	}
	return c
}

// clusterOptions are those that a server of a cluster has besides. Replicas stay with
// their masters, whatever becomes of these, and follow them however old their data is.
func clusterOptions(bus int) []string {
	return []string{
		"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-announce-ip", "127.0.0.1",
		"--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0",
		"--cluster-allow-replica-migration", "no",
	}
}

// join makes one cluster of servers that do not know each other. The work of
// redis-cli --cluster create, which takes far longer and expects the usual ports.
func (c *Cluster) join(ctx context.Context, masters int) error {
	for i, s := range c.Servers {
		// Unlike epochs, as otherwise the masters first have to settle who is which.
		if _, err := ask(ctx, s.Addr, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		if i >= masters {
			continue
		}
		first, end := i*slots/masters, (i+1)*slots/masters
		if _, err := ask(ctx, s.Addr, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(end-1)); err != nil {
			return err
		}
	}
	for i, s := range c.Servers {
		// Each meets each: waiting for gossip takes seconds.
		for _, other := range c.Servers[i+1:] {
			if err := meet(ctx, s, other); err != nil {
				return err
			}
		}
	}
	for i, s := range c.Servers[masters:] {
		if err := replicate(ctx, s, c.Servers[i]); err != nil {
			return err
		}
	}
	return nil
}

func meet(ctx context.Context, s, other *Server) error {
	bus := other.args[slices.Index(other.args, "--cluster-port")+1]
	host, port, _ := strings.Cut(other.Addr, ":")
	_, err := ask(ctx, s.Addr, "CLUSTER", "MEET", host, port, bus)
	return err
}

// replicate makes a server a replica, as soon as it knows the master.
func replicate(ctx context.Context, s, master *Server) error {
	id, err := askText(ctx, master.Addr, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	return poll(ctx, 20*time.Millisecond, func() error {
		_, err := ask(ctx, s.Addr, "CLUSTER", "REPLICATE", id)
		return err
	})
}

// Addrs returns the addresses of the servers.
func (c *Cluster) Addrs() []string { return addrs(c.Servers) }

func addrs(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr)
	}
	return all
}

// node is a server as another sees it: a line of CLUSTER NODES.
type node struct {
	id, addr, master string
	flags            []string
	slots            []string // its ranges, without slots that are on the move
}

func (n node) is(flag string) bool { return slices.Contains(n.flags, flag) }

// owns reports whether the node is a master that serves slots, and is well.
func (n node) owns() bool { return n.is("master") && !n.is("fail") && len(n.slots) > 0 }

func parseNodes(text string) ([]node, error) {
	var all []node
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("the line %q of CLUSTER NODES", line)
		}
		addr, _, _ := strings.Cut(f[1], "@")
		n := node{id: f[0], addr: addr, master: f[3], flags: strings.Split(f[2], ",")}
		for _, r := range f[8:] {
			if !strings.HasPrefix(r, "[") {
				n.slots = append(n.slots, r)
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// view returns the cluster as a server sees it, if all is well there.
func view(ctx context.Context, s *Server) ([]node, error) {
	info, err := askText(ctx, s.Addr, "CLUSTER", "INFO")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(info, "cluster_state:ok") {
		return nil, fmt.Errorf("%s: %s", s.Addr, info)
	}
	text, err := askText(ctx, s.Addr, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	return parseNodes(text)
}

// digest says in one line who has which slots and who follows whom, as far as it
// matters: two servers whose digests are equal agree.
func digest(nodes []node, up []string) string {
	var all []string
	for _, n := range nodes {
		switch {
		case n.owns():
			all = append(all, n.addr+" has "+strings.Join(n.slots, " "))
		case slices.Contains(up, n.addr):
			all = append(all, n.addr+" follows "+n.master)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// WaitOK waits until the cluster is well: each server that is neither down nor
// suspended says so, all of them agree on who has which slots and who follows whom,
// and each replica is in touch with its master.
func (c *Cluster) WaitOK(ctx context.Context) error {
	err := poll(ctx, 20*time.Millisecond, func() error { return c.well(ctx) })
	if err != nil {
		return fmt.Errorf("redistest: the cluster is not well: %w", err)
	}
	return nil
}

func (c *Cluster) well(ctx context.Context) error {
	up := slices.DeleteFunc(slices.Clone(c.Servers), func(s *Server) bool { return !s.up() })
	if len(up) == 0 {
		return errors.New("every server is down")
	}
	common := ""
	for i, s := range up {
		nodes, err := view(ctx, s)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if err := met(n, up); err != nil {
				return fmt.Errorf("to %s, %w", s.Addr, err)
			}
		}
		d := digest(nodes, addrs(up))
		if i == 0 {
			common = d
		} else if d != common {
			return fmt.Errorf("%s sees %q, %s sees %q", up[0].Addr, common, s.Addr, d)
		}
		if err := attached(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// met returns what a node that is up still lacks in the eyes of another.
func met(n node, up []*Server) error {
	if !slices.Contains(addrs(up), n.addr) {
		return nil
	}
	for _, flag := range []string{"handshake", "noaddr", "fail", "fail?"} {
		if n.is(flag) {
			return fmt.Errorf("%s is in %s", n.addr, flag)
		}
	}
	return nil
}

// attached returns what keeps a replica from its master, and nil for a master.
func attached(ctx context.Context, s *Server) error {
	info, err := askText(ctx, s.Addr, "INFO", "replication")
	if err != nil {
		return err
	}
	if strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
		return fmt.Errorf("%s has no link to its master", s.Addr)
	}
	return nil
}

// Masters returns the servers that have slots now, in the order of [Cluster.Servers],
// as the first server sees it to which the cluster is well.
func (c *Cluster) Masters() ([]*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	for _, s := range c.Servers {
		if !s.up() {
			continue
		}
		nodes, err := view(ctx, s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return slices.DeleteFunc(slices.Clone(c.Servers), func(s *Server) bool {
			return !slices.ContainsFunc(nodes, func(n node) bool { return n.addr == s.Addr && n.owns() })
		}), nil
	}
	return nil, fmt.Errorf("redistest: no server to which the cluster is well: %w", errors.Join(errs...))
}

// reshards are made one after the other: redis-cli refuses to begin one while slots
// are on the move.
var reshards sync.Mutex

// Reshard moves so many slots with their keys from one master to another, which may
// be in use meanwhile.
func (c *Cluster) Reshard(ctx context.Context, from, to *Server, slots int) error {
	reshards.Lock()
	defer reshards.Unlock()
	if err := c.WaitOK(ctx); err != nil {
		return err
	}
	var ids []string
	for _, s := range []*Server{from, to} {
		id, err := askText(ctx, s.Addr, "CLUSTER", "MYID")
		if err != nil {
			return fmt.Errorf("redistest: reshard: %w", err)
		}
		ids = append(ids, id)
	}
	_, err := from.cli(ctx, "--cluster", "reshard", from.Addr, "--cluster-from", ids[0], "--cluster-to", ids[1],
		"--cluster-slots", strconv.Itoa(slots), "--cluster-yes")
	if err != nil {
		return err
	}
	return c.WaitOK(ctx)
}
