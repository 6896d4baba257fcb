//go:build linux

package mongo_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/lincheck"
)

// linearPlan is what a process needs to know to take part in a check. It is in the
// environment, as JSON.
type linearPlan struct {
	URI, Database, Redis string
	CacheTimeout         time.Duration // for each call, if it is not the usual
	DropStamps           bool
}

const linearVariable = "GRAPHCACHE_LINEAR_PLAN"

// TestLinearWorker is what the processes run that the linearizability tests start. It
// does what it is told on the standard input and tells its history on the standard output,
// which belongs to it: the process ends here. Times in histories are those of
// CLOCK_MONOTONIC, which on Linux all processes of a machine share.
func TestLinearWorker(t *testing.T) {
	text := os.Getenv(linearVariable)
	if text == "" {
		return
	}
	if err := linearWork(t.Context(), text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func linearWork(ctx context.Context, text string) error {
	var plan linearPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return err
	}
	cfg, closeAll, err := plan.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	cfg.Logf = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	return lincheck.Serve(ctx, cfg, struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stdout})
}

// open connects to the servers.
func (p linearPlan) open(ctx context.Context) (cfg lincheck.Config, closeAll func(), err error) {
	quiet := slog.New(slog.DiscardHandler)
	store, err := mongo.Open(ctx, p.URI, &mongo.Options{Database: p.Database, Logger: quiet})
	if err != nil {
		return cfg, nil, err
	}
	backend, err := redis.Open(ctx, "redis://"+p.Redis, &redis.Options{Logger: quiet, BatchTimeout: max(250*time.Millisecond, p.CacheTimeout)})
	if err != nil {
		store.Close(ctx)
		return cfg, nil, err
	}
	cfg.Caches = []driver.Cache{backend.Cache()}
	cfg.Store = backendtest.NewFaultyStore(store, linearJitter)
	if p.DropStamps {
		cfg.Store = noStamps{cfg.Store}
	}
	// They are short, so that what waits for a time-out is seen within seconds.
	read, hold := cmp.Or(p.CacheTimeout, 100*time.Millisecond), cmp.Or(p.CacheTimeout, 250*time.Millisecond)
	cfg.Options = graphcache.Options{
		Logger: quiet, TTL: time.Minute,
		ReadTimeout: read, LoadTimeout: 3 * time.Second, LeaseTTL: 3100*time.Millisecond + read,
		HoldTimeout: hold, WriteTimeout: time.Second, HoldTTL: 3*time.Second + 2*hold,
		WhenCacheDown: graphcache.Fail,
	}
	return cfg, func() {
		backend.Close(context.WithoutCancel(ctx))
		store.Close(context.WithoutCancel(ctx))
	}, nil
}

// linearJitter makes a few calls of the store take a moment, before they take effect or
// after, so that they interleave in every order.
func linearJitter(context.Context, backendtest.Call) (fault backendtest.Fault) {
	switch rand.IntN(50) {
	case 0:
		fault.Delay = rand.N(2 * time.Millisecond)
	case 1:
		fault.After = func(context.Context) { time.Sleep(rand.N(2 * time.Millisecond)) }
	default:
		runtime.Gosched()
	}
	return fault
}

// noStamps is a store that has no logical clock, or does not say so.
type noStamps struct{ driver.Store }

func (s noStamps) Capabilities() driver.Capabilities {
	c := s.Store.Capabilities()
	c.Stamps, c.Transactions = false, false
	return c
}

func (s noStamps) Namespace(name string) driver.Store { return noStamps{s.Store.Namespace(name)} }

func (s noStamps) Read(ctx context.Context, steps []driver.Step, _ driver.Stamp) ([]driver.Result, error) {
	return s.Store.Read(ctx, steps, "")
}

func (s noStamps) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	results, err := s.Store.Write(ctx, writes)
	for i := range results {
		results[i].Stamp = ""
	}
	return results, err
}

// linearProcesses is how many processes there are at a time.
const linearProcesses = 4

// linearCrew is the processes of a check.
type linearCrew struct {
	t         *testing.T
	plan      linearPlan
	processes [linearProcesses]atomic.Pointer[linearProcess]
}

// linearProcess is a process and the connection to it.
type linearProcess struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	output io.Reader
	works  atomic.Bool // it has said something
	killed atomic.Bool
}

// start starts this program once more.
func (c *linearCrew) start(ctx context.Context, place int) (io.ReadWriteCloser, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	plan, err := json.Marshal(c.plan)
	if err != nil {
		return nil, err
	}
	p := &linearProcess{cmd: exec.CommandContext(context.WithoutCancel(ctx), program, "-test.run=^TestLinearWorker$")}
	p.cmd.Env = append(os.Environ(), linearVariable+"="+string(plan))
	p.cmd.Stderr = c.t.Output()
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.output, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	c.processes[place].Store(p)
	return p, nil
}

func (p *linearProcess) Read(b []byte) (int, error) {
	n, err := p.output.Read(b)
	if n > 0 && !p.works.Load() {
		p.works.Store(true)
	}
	return n, err
}

func (p *linearProcess) Write(b []byte) (int, error) { return p.input.Write(b) }

// Close lets the process end, by closing its standard input.
func (p *linearProcess) Close() error {
	p.input.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	return p.cmd.Wait()
}

func (p *linearProcess) kill() error {
	p.killed.Store(true)
	return p.cmd.Process.Kill()
}

// rest stops the process for so many seconds. The shell lets it go on even if this program
// is no more.
func (p *linearProcess) rest(seconds string) error {
	const script = `kill -s STOP "$0"; sleep "$1"; kill -s CONT "$0"`
	return exec.Command("sh", "-c", script, strconv.Itoa(p.cmd.Process.Pid), seconds).Run()
}

// any returns one of the processes, nil unless all of them work.
func (c *linearCrew) any() *linearProcess {
	for i := range c.processes {
		if p := c.processes[i].Load(); p == nil || !p.works.Load() || p.killed.Load() {
			return nil
		}
	}
	return c.processes[rand.IntN(linearProcesses)].Load()
}

// again does something to one of the processes again and again, with pauses and when all of
// them work, until ctx ends.
func (c *linearCrew) again(ctx context.Context, pause time.Duration, do func(*linearProcess) error) error {
	for {
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return nil
		}
		if p := c.any(); p != nil {
			if err := do(p); err != nil {
				return err
			}
		}
	}
}
