package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// A server can come back with old data: started again from a dump, or a replica that
// was promoted before it had all writes. Holds and their releases may then be missing,
// and values that were invalidated may be there again. So whatever comes over a new
// connection is handed on only after the server has said who it is, and if it is not
// the one that was known, after [Cache.OnRewind]'s functions were called.
//
// In a Cluster a replica can be promoted behind a connection that stands already. Its
// nodes are asked, besides, whenever nothing was sent to them for a second; traffic
// moves to a promoted node only then.

// identity is who a server is.
type identity struct {
	run         string // new with each start
	replication string // new with each promotion
	master      bool
}

// watch knows the servers that a backend has met.
type watch struct {
	b *Backend

	mu       sync.Mutex // protects what follows
	known    map[string]identity
	based    bool // all servers of the beginning are known
	nextHook int
	hooks    map[int]func()
}

// idleCheck is the time without traffic after which a node of a Cluster is asked again
// who it is.
const idleCheck = time.Second

// start watches the clients of the backend.
func (w *watch) start(ctx context.Context, b *Backend) {
	w.b, w.known, w.hooks = b, make(map[string]identity), make(map[int]func())
	var hooked sync.Map
	hook := func(c *goredis.Client) {
		if _, twice := hooked.LoadOrStore(c, true); !twice {
			c.AddHook(&nodeHook{w: w, client: c})
		}
	}
	if b.cluster == nil {
		hook(b.client.(*goredis.Client))
		return
	}
	b.cluster.OnNewNode(hook)
	if !b.owned {
		// It may have nodes already.
		_ = b.cluster.ForEachShard(ctx, func(_ context.Context, c *goredis.Client) error {
			hook(c)
			return nil
		})
	}
}

// onRewind adds a function to be called when a server was found that may have old data.
func (w *watch) onRewind(f func()) (stop func()) {
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

// meet compares a server with what is known of it, and reports what is wrong.
func (w *watch) meet(ctx context.Context, now identity) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.based {
		w.based = true
		w.learnAll(ctx)
	}
	was, met := w.known[now.run]
	first := len(w.known) == 0
	w.known[now.run] = now
	switch {
	case !now.master:
		if w.b.cluster == nil {
			return errReplica
		}
		return nil
	case first || met && was == now:
		return nil
	}
	w.b.counters.rewinds.Add(1)
	why := "it was started again, or is another one"
	if met {
		why = "it was promoted"
	}
	w.b.opts.Logger.WarnContext(ctx, "graphcache: a redis server may have old data: what was cached before is dropped", "run_id", now.run, "reason", why)
	for _, f := range w.hooks {
		f()
	}
	return nil
}

var errReplica = fmt.Errorf("redis: the server is a replica: %w", driver.ErrUnavailable)

// learnAll asks all nodes of a Cluster at the beginning, so that those that are met later
// are known to be new. Nodes that do not answer are met when they do.
func (w *watch) learnAll(ctx context.Context) {
	if w.b.cluster == nil {
		return
	}
	var mu sync.Mutex
	_ = w.b.cluster.ForEachShard(ctx, func(ctx context.Context, c *goredis.Client) error {
		if id, err := ask(ctx, c); err == nil {
			mu.Lock()
			defer mu.Unlock()
			w.known[id.run] = id
		}
		return nil
	})
}

type asking struct{}

// ask asks a server who it is.
func ask(ctx context.Context, c *goredis.Client) (identity, error) {
	text, err := c.Info(context.WithValue(ctx, asking{}, true), "server", "replication").Result()
	if err != nil {
		return identity{}, err
	}
	info := parseInfo(text)
	id := identity{info["run_id"], info["master_replid"], info["role"] == "master"}
	if id.run == "" {
		return id, errors.New("redis: INFO has no run_id")
	}
	return id, nil
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

// nodeHook watches the connections of one client to one address.
type nodeHook struct {
	w      *watch
	client *goredis.Client

	dials    atomic.Int64 // connections made
	verified atomic.Int64 // of them, before the server was asked last
	last     atomic.Int64 // when the last pipeline ended, in Unix milliseconds
}

// DialHook counts connections.
func (h *nodeHook) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err == nil {
			h.dials.Add(1)
		}
		return conn, err
	}
}

// ProcessHook does nothing.
func (h *nodeHook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

// ProcessPipelineHook hands a pipeline's answers on when it is known who gave them.
func (h *nodeHook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if ctx.Value(asking{}) != nil || isHandshake(cmds) {
			return next(ctx, cmds)
		}
		idle := h.w.b.cluster != nil && time.Now().UnixMilli()-h.last.Load() > idleCheck.Milliseconds()
		err := next(ctx, cmds)
		dials := h.dials.Load()
		if dials == h.verified.Load() && !idle {
			h.last.Store(time.Now().UnixMilli())
			return err
		}
		if verr := h.verify(ctx, dials); verr != nil {
			verr = fmt.Errorf("ask the server who it is: %w", verr)
			for _, c := range cmds {
				c.SetErr(verr)
			}
			return verr
		}
		h.last.Store(time.Now().UnixMilli())
		return err
	}
}

// verify asks the server who it is. Of the connections there were dials when the
// answers in question had come.
func (h *nodeHook) verify(ctx context.Context, dials int64) error {
	id, err := ask(ctx, h.client)
	if err != nil {
		return err
	}
	if err := h.w.meet(ctx, id); err != nil {
		return err
	}
	for {
		old := h.verified.Load()
		if old >= dials || h.verified.CompareAndSwap(old, dials) {
			return nil
		}
	}
}

// isHandshake reports whether the pipeline is that with which go-redis opens a
// connection.
func isHandshake(cmds []goredis.Cmder) bool {
	switch cmds[0].Name() {
	case "hello", "auth", "select", "client", "readonly", "cluster":
		return true
	}
	return false
}
