//go:build linux

package soak_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crew is the processes that work.
type crew struct {
	t       *testing.T
	plan    plan
	shared  *shared
	targets []target // of each place

	starts chan func() // run by the thread with which the processes end
	mu     sync.Mutex  // protects what follows
	procs  [maxPlaces]*proc
	hired  int
	plain  [maxPlaces]bool
	errors map[string]int64 // of the processes that there are at the end, by their kind
	hits   int64            // of these
	misses int64
}

// target is the servers as one place reaches them.
type target struct {
	uri   string
	redis []string
}

// proc is a process.
type proc struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newCrew(t *testing.T, p plan, targets []target) *crew {
	t.Helper()
	c := &crew{t: t, plan: p, targets: targets, starts: make(chan func()), errors: map[string]int64{}}
	c.plan.Shared = filepath.Join(t.TempDir(), "shared")
	var err error
	if c.shared, err = mapShared(c.plan.Shared); err != nil {
		t.Fatal(err)
	}
	// A child is killed when the thread that has started it ends: with this program at
	// the latest, also if the child is stopped.
	go func() {
		runtime.LockOSThread()
		for start := range c.starts {
			start()
		}
	}()
	t.Cleanup(func() { close(c.starts) })
	return c
}

// each calls f for all places at once.
func (c *crew) each(f func(place int) error) error {
	errs := make([]error, c.plan.Places)
	var wg sync.WaitGroup
	for place := range c.plan.Places {
		wg.Go(func() {
			if err := f(place); err != nil {
				errs[place] = fmt.Errorf("process %d: %w", place, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// start starts a process and returns when it is ready.
func (c *crew) start(place int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.hired++
	p := c.plan
	p.Place, p.Incarnation, p.Plain = place, c.hired, c.plain[place]
	c.mu.Unlock()
	p.URI, p.Redis = c.targets[place].uri, c.targets[place].redis
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "-test.run=^TestWorker$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), planVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	started := make(chan error)
	c.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	pr := &proc{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	line, err := pr.out.ReadString('\n')
	if err != nil || line != "ready\n" {
		_ = cmd.Process.Kill()
		return fmt.Errorf("it is not ready, but says %q: %w", line, errors.Join(err, cmd.Wait()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs[place] = pr
	return nil
}

// reply is what a process answers.
type reply struct {
	Faults       []string
	Errors       map[string]int64 // by their kind
	Hits, Misses int64            // of its graph
}

// ask has a process do something.
func (c *crew) ask(place int, what string, within time.Duration) (r reply, err error) {
	c.mu.Lock()
	p := c.procs[place]
	c.mu.Unlock()
	if p == nil {
		return r, errors.New("there is none")
	}
	late := time.AfterFunc(within, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		return r, err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("%s: %w", what, err)
	}
	return r, json.Unmarshal(line, &r)
}

// kill ends a process, which may have been killed already, and waits for that.
func (c *crew) kill(place int) {
	c.mu.Lock()
	p := c.procs[place]
	c.procs[place] = nil
	c.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill()
		err := p.cmd.Wait()
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			c.t.Errorf("process %d has ended by itself: %v", place, err)
		}
	}
}

// dismiss lets all processes end in their own way, and reports those that do not.
func (c *crew) dismiss() error {
	return c.each(func(place int) error {
		c.mu.Lock()
		p := c.procs[place]
		c.procs[place] = nil
		c.mu.Unlock()
		if p == nil {
			return nil
		}
		p.in.Close()
		late := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
		defer late.Stop()
		return p.cmd.Wait()
	})
}

func (c *crew) signal(place int, s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.procs[place]; p != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// rest has all clients come to rest.
func (c *crew) rest() error {
	c.shared.mode.Store(rest)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		working := int64(0)
		for place := range c.plan.Places {
			working += c.shared.places[place].working.Load()
		}
		if working == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d clients do not come to rest", working)
		}
	}
}

// sum adds up a count of all places.
func (c *crew) sum(what int) (n int64) {
	for place := range c.plan.Places {
		n += c.shared.places[place].counts[what].Load()
	}
	return n
}
