package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A server can come back with old data: started again from a dump, or a replica that
// was promoted before it had all writes. Holds and their releases may then be missing,
// and values that were invalidated may be there again. So each new connection first
// asks the server who it is, and if that is not one that was known and it may have old
// data, the functions of [Cache.OnRewind] are called before the connection is used.
//
// A server can change behind a connection that stands: a replica is promoted, or a
// master deposed. So a pipeline asks too, on its way, if none has for a second, or if
// the node was a replica when it was asked last; what it has brought is handed on after
// that. Where there is no traffic the backend asks by itself, so that all processes
// notice at about the same time and not each of them whenever it wakes up.

// identity is who a server is.
type identity struct {
	run         string    // new with each start
	started     time.Time // give or take uptimeError
	empty       bool      // it loaded nothing when it was started
	replication string    // new with each promotion, and at times without one
	promoted    bool      // it has been a replica
	master      bool
	cluster     bool
}

// askAgain is the time after which a node is asked again who it is.
const askAgain = time.Second

// askTimeout bounds a question that is asked for itself, and the meeting with all nodes of
// a Cluster at the beginning.
const askTimeout = time.Second

// uptimeError is how far the start of a server may be from what its uptime says, which is
// a difference of whole seconds.
const uptimeError = 1500 * time.Millisecond

// watch knows the servers that a backend has met: all of them in a Cluster, else the
// last one.
type watch struct {
	b *Backend

	hookAll atomic.Pointer[func(context.Context) error] // nil when all clients have hooks

	mu       sync.Mutex // protects what follows
	known    map[string]identity
	first    time.Time // when the first server was met
	last     time.Time // and when the last one was
	learning bool      // servers that are met now are those of the beginning
	nextHook int
	hooks    map[int]func(since time.Time)
	nodes    map[*goredis.Client]*nodeHook
}

// start watches the clients of the backend.
func (w *watch) start(b *Backend) {
	w.b, w.known, w.hooks = b, make(map[string]identity), make(map[int]func(time.Time))
	w.nodes = make(map[*goredis.Client]*nodeHook)
	hook := func(c *goredis.Client) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.nodes[c] != nil {
			return
		}
		h := &nodeHook{w: w, client: c, conns: make(map[net.Conn]struct{})}
		w.nodes[c] = h
		c.AddHook(h)
	}
	defer func() { go w.poll() }()
	if b.cluster == nil {
		hook(b.client.(*goredis.Client))
		return
	}
	b.cluster.OnNewNode(hook)
	if !b.owned {
		// It may have nodes already. Until they are known, it is not used.
		w.hookAll.Store(new(func(ctx context.Context) error {
			return b.cluster.ForEachShard(ctx, func(_ context.Context, c *goredis.Client) error {
				hook(c)
				return nil
			})
		}))
	}
}

// ready sees to it that all clients have hooks.
func (w *watch) ready(ctx context.Context) error {
	hookAll := w.hookAll.Load()
	if hookAll == nil {
		return nil
	}
	if err := (*hookAll)(ctx); err != nil {
		return fmt.Errorf("find the nodes of the Cluster: %w", err)
	}
	w.hookAll.Store(nil)
	return nil
}

// onRewind adds a function to be called when a server was found that may have old data.
func (w *watch) onRewind(f func(since time.Time)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.nextHook
	w.nextHook++
	w.hooks[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.hooks, id)
	}
}

// meet compares a server with what is known of it. The error says why it is of no use.
func (w *watch) meet(ctx context.Context, now identity) error {
	switch {
	case now.cluster && w.b.cluster == nil:
		return errInCluster
	case !now.master && w.b.cluster == nil:
		return errReplica
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was, known := w.known[now.run]
	last := w.last
	w.last = time.Now()
	if w.b.cluster == nil {
		clear(w.known) // one that comes back later has missed what came between
	}
	w.known[now.run] = now
	switch {
	case w.first.IsZero():
		w.first = w.last
		w.learnLocked()
		return nil
	case !now.master || w.learning:
		return nil
	case known:
		// The replication id also changes when a master gets its first replica.
		if was.master && (was.replication == now.replication || !now.promoted) {
			return nil
		}
		w.rewindLocked(ctx, now, w.last, "it was promoted")
	case now.promoted:
		w.rewindLocked(ctx, now, w.last, "it was promoted, or is another one")
	case w.b.cluster == nil && now.started.Add(-uptimeError).Before(last):
		w.rewindLocked(ctx, now, w.last, "it was started again, or is another one")
	case now.empty || w.b.cluster != nil && now.started.Before(w.first.Add(-uptimeError)):
		// What it has, it has got while it was in use.
	default:
		w.rewindLocked(ctx, now, now.started.Add(uptimeError), "it was started again")
	}
	return nil
}

// rewindLocked says that a server may have values that were invalidated before a moment.
func (w *watch) rewindLocked(ctx context.Context, now identity, since time.Time, why string) {
	w.b.counters.rewinds.Add(1)
	w.b.opts.Logger.WarnContext(ctx, "graphcache: a redis server may have old data: what was cached before is dropped", "run_id", now.run, "reason", why)
	for _, f := range w.hooks {
		f(since)
	}
}

var (
	errReplica   = errors.New("the server is a replica")
	errInCluster = errors.New("the server is part of a Cluster, which nobody could tell when the backend was opened: give several addresses")
)

// learnLocked meets the other nodes of a Cluster, so that those that are met later are
// known to be new. One that does not answer now is new when it does.
func (w *watch) learnLocked() {
	if w.b.cluster == nil {
		return
	}
	w.learning = true
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(noContext, askTimeout)
	defer cancel()
	_ = w.b.cluster.ForEachShard(ctx, func(ctx context.Context, c *goredis.Client) error {
		q := question()
		if c.Process(ctx, q) == nil {
			id := identify(q.Val())
			w.mu.Lock()
			defer w.mu.Unlock()
			w.known[id.run] = id
		}
		return nil
	})
	w.mu.Lock()
	w.learning = false
}

// poll asks the nodes that nobody asks.
func (w *watch) poll() {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		select {
		case <-w.b.closing:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		nodes := slices.Collect(maps.Values(w.nodes))
		w.mu.Unlock()
		var asked sync.WaitGroup
		for _, h := range nodes {
			if h.asked.Load() != 0 && h.due() {
				asked.Go(h.askItself)
			}
		}
		asked.Wait()
	}
}

// forget drops a node that is no longer part of the Cluster.
func (w *watch) forget(h *nodeHook) {
	w.mu.Lock()
	delete(w.nodes, h.client)
	w.mu.Unlock()
	if n, ok := w.b.nodes.LoadAndDelete(h.client); ok {
		n.(*node).close()
	}
}

// parseInfo reads the lines name:value of INFO.
func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// nodeHook watches the connections of one client: to one address, or to the master that
// Sentinel names.
type nodeHook struct {
	w      *watch
	client *goredis.Client

	asked   atomic.Int64 // when the server was asked last, in Unix milliseconds
	replica atomic.Bool  // what it said

	mu    sync.Mutex // protects conns
	conns map[net.Conn]struct{}
}

// question is the command that asks a server who it is.
func question() *goredis.StringCmd {
	return goredis.NewStringCmd(noContext, "info", "server", "replication", "cluster", "persistence")
}

// identify reads the answer.
func identify(text string) identity {
	info := parseInfo(text)
	uptime, _ := strconv.Atoi(info["uptime_in_seconds"])
	return identity{
		run: info["run_id"], started: time.Now().Add(-time.Duration(uptime) * time.Second),
		empty:       info["rdb_last_load_keys_loaded"] == "0" && info["aof_enabled"] == "0",
		replication: info["master_replid"], promoted: info["second_repl_offset"] != "-1",
		master: info["role"] != "slave", cluster: info["cluster_enabled"] == "1",
	}
}

// due reports whether it is time to ask again.
func (h *nodeHook) due() bool {
	return h.replica.Load() || time.Now().UnixMilli()-h.asked.Load() >= askAgain.Milliseconds()
}

// askItself asks the server over a connection of the pipelines.
func (h *nodeHook) askItself() {
	pipeline := h.client.Pipeline()
	_ = pipeline.Process(noContext, question()) // of which the hook makes two
	if _, err := pipeline.Exec(newUntil(askTimeout)); errors.Is(err, goredis.ErrClosed) {
		h.w.forget(h)
	}
}

// hear takes note of the answer to a question.
func (h *nodeHook) hear(ctx context.Context, answer *goredis.StringCmd) error {
	text, err := answer.Result()
	if err != nil {
		return fmt.Errorf("ask the server who it is: %w", err)
	}
	now := identify(text)
	if err := h.w.meet(ctx, now); err != nil {
		return err
	}
	h.asked.Store(time.Now().UnixMilli())
	h.replica.Store(!now.master)
	return nil
}

// DialHook keeps a list of the connections.
func (h *nodeHook) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &conn{nc, h}
		h.mu.Lock()
		h.conns[c] = struct{}{}
		h.mu.Unlock()
		if s, ok := nc.(syscall.Conn); ok {
			return sysConn{c, s}, nil
		}
		return c, nil
	}
}

// conn is a connection that is on the list until it is closed.
type conn struct {
	net.Conn
	h *nodeHook
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.h.mu.Lock()
	delete(c.h.conns, c)
	c.h.mu.Unlock()
	return c.Conn.Close()
}

// sysConn is a conn on which go-redis can look whether the other side has closed it.
type sysConn struct {
	*conn
	syscall.Conn
}

// disconnect closes all connections: the name may lead to another server by now.
func (h *nodeHook) disconnect() {
	h.mu.Lock()
	conns := make([]net.Conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
	}
	h.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// ProcessHook asks the server of a new connection: go-redis says HELLO on it before it
// does anything else, and what follows here goes over the same one.
func (h *nodeHook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if cmd.Name() != "hello" || h.w.b.closed.Load() {
			return next(ctx, cmd)
		}
		if u, ok := ctx.(*until); ok {
			u.extend(handshakeTimeout)
		}
		if err := next(ctx, cmd); err != nil {
			return err
		}
		q := question()
		if err := next(ctx, q); err != nil {
			// Not as an error of the server, which go-redis would take for one of HELLO,
			// and go on.
			return fmt.Errorf("new connection: %w", fmt.Errorf("ask the server who it is: %v", err))
		}
		if err := h.hear(ctx, q); err != nil {
			return fmt.Errorf("new connection: %w", err) // go-redis takes this off
		}
		return nil
	}
}

// ProcessPipelineHook lets a pipeline ask the server, if it is time to.
func (h *nodeHook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if _, ours := ctx.(*until); !ours || isHandshake(cmds) || h.w.b.closed.Load() {
			return next(ctx, cmds)
		}
		if !h.due() {
			err := next(ctx, cmds)
			if h.w.b.cluster == nil && anyReadOnly(cmds) {
				h.disconnect()
			}
			return err
		}
		q := question()
		err := next(ctx, append(slices.Clip(cmds), q))
		if err != nil && q.Err() == nil && q.Val() == "" {
			return err // there was no connection
		}
		if heard := h.hear(ctx, q); heard != nil {
			if heard == errReplica {
				h.disconnect()
			}
			for _, c := range cmds {
				if c.Err() == nil || c.Err() == goredis.Nil {
					c.SetErr(heard)
				}
			}
			return heard
		}
		return err
	}
}

// isHandshake reports whether the pipeline is that with which go-redis opens a
// connection.
func isHandshake(cmds []goredis.Cmder) bool {
	switch cmds[0].Name() {
	case "hello", "auth", "select", "client", "readonly":
		return true
	}
	return false
}

// anyReadOnly reports whether the server has refused a write because it is a replica.
func anyReadOnly(cmds []goredis.Cmder) bool {
	return slices.ContainsFunc(cmds, func(c goredis.Cmder) bool {
		return c.Err() != nil && goredis.IsReadOnlyError(c.Err())
	})
}
