package streams_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
	"github.com/graphcache/graphcache/streams"
)

// openRedis returns the log of a backend.
func openRedis(ctx context.Context, addrs []string, prefix string) (*redis.Backend, error) {
	return redis.OpenUniversal(ctx, &goredis.UniversalOptions{Addrs: addrs}, &redis.Options{Prefix: prefix, Logger: discard})
}

func newRedisLog(t testing.TB, addrs ...string) *redis.Log {
	t.Helper()
	b, err := openRedis(t.Context(), addrs, "gc:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b.Log()
}

// newRedisWorld returns one of five processes with backends of their own.
func newRedisWorld(t *testing.T, ttl time.Duration, addrs ...string) *world {
	w := newWorld(t)
	for range 5 {
		log := newRedisLog(t, addrs...)
		w.add(waking{Log: auditedLog{log, w.audit}, waker: log}, ttl)
	}
	return w
}

// TestAccountRedis accounts for a real server with which something goes wrong while producers
// append.
func TestAccountRedis(t *testing.T) {
	const key = "k"
	type faulty struct {
		*world
		server *redistest.Server
		proxy  *redistest.Proxy
	}
	unanswered := func(w faulty) {
		before := w.audit.failures()
		becomes(t, "flushes are not answered", func() bool { return w.audit.failures() > before+4 })
	}
	acked := func(w faulty) int64 {
		n := int64(0)
		for _, s := range w.streams {
			n += s.Stats().Sent
		}
		return n
	}
	more := func(w faulty) {
		before := acked(w)
		becomes(t, "events are sent again", func() bool { return acked(w) > before+1000 })
	}
	for _, test := range []struct {
		name   string
		epochs int
		do     func(w faulty)
	}{
		{"all well", 1, more},
		{"connections cut", 1, func(w faulty) {
			for range 5 {
				w.proxy.Cut()
				more(w)
			}
		}},
		{"replies lost", 1, func(w faulty) {
			for range 2 {
				w.proxy.DropReplies(true)
				unanswered(w)
				w.proxy.DropReplies(false)
				more(w)
			}
		}},
		{"hanging network", 1, func(w faulty) {
			w.proxy.Hang(true)
			unanswered(w)
			w.proxy.Hang(false) // what was sent and given up comes late
			more(w)
		}},
		{"hanging server", 1, func(w faulty) {
			w.server.Suspend()
			unanswered(w)
			w.server.Resume()
			more(w)
		}},
		{"everything deleted", 2, func(w faulty) {
			if out, err := w.server.CLI("FLUSHALL"); err != nil {
				t.Error(out, err)
			}
			more(w)
		}},
		{"killed", 2, func(w faulty) {
			w.server.Kill()
			unanswered(w)
			if err := w.server.Restart(); err != nil {
				t.Error(err)
			}
			more(w)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr)
			w := newRedisWorld(t, time.Hour, proxy.Addr)
			w.follow(key)
			for range longer(1) {
				var over atomic.Bool
				var producing sync.WaitGroup
				producing.Go(func() {
					for seed := uint64(0); !over.Load(); seed++ {
						w.produce(key, 8, seed, 6*time.Millisecond)
					}
				})
				f := faulty{w, server, proxy}
				more(f)
				test.do(f)
				over.Store(true)
				producing.Wait()
			}
			w.settle()
			w.check(key, (test.epochs-1)*longer(1)+1, false)
			t.Logf("%d batches were not answered at first", w.audit.failures())
		})
	}
}

// TestAccountRedisExpiry has a key expire on a real server, sooner than its TTL.
func TestAccountRedisExpiry(t *testing.T) {
	const key, phases, ttl = "k", 3, time.Minute
	server := redistest.Start(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	defer client.Close()
	w := newRedisWorld(t, ttl, server.Addr)
	w.follow(key)
	for phase := range phases {
		w.produce(key, 10, uint64(phase), 5*time.Millisecond)
		w.flush()
		names, err := client.Keys(t.Context(), "*").Result()
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			if left := client.PTTL(t.Context(), name).Val(); left <= 0 || left > ttl {
				t.Errorf("%s expires in %v, want at most %v", name, left, ttl)
			}
			if phase < phases-1 {
				client.PExpire(t.Context(), name, time.Millisecond)
			}
		}
		if phase < phases-1 {
			becomes(t, "the key is gone", func() bool { return recent(t, w.streams[0], key).Total == 0 })
		}
	}
	w.settle()
	w.check(key, phases, true)
}

// TestAccountCluster accounts for several keys on the masters of a Cluster.
func TestAccountCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0)
	w := newRedisWorld(t, time.Hour, c.Addrs()...)
	keys := []string{"a", "b", "c", "d", "e"}
	var stops []context.CancelFunc
	var producing sync.WaitGroup
	for _, key := range keys {
		w.follow(key)
		stops = append(stops, w.stop)
	}
	w.stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	for i, key := range keys {
		producing.Go(func() {
			for p := range 4 {
				n, random := 0, rand.New(rand.NewPCG(uint64(i), uint64(p)))
				for range longer(15) {
					n = burst(w.streams[p], key, fmt.Sprint("producer", p), n, 1+random.IntN(maxBurst))
					if err := w.streams[p].Flush(t.Context()); err != nil {
						t.Log(err)
					}
				}
			}
		})
	}
	producing.Wait()
	w.settle()
	for _, key := range keys {
		w.check(key, 1, true)
	}
}

// The processes of a test are its own program, told so by its environment.
const (
	roleVariable = "GRAPHCACHE_STREAMS_ROLE"
	taskVariable = "GRAPHCACHE_STREAMS_TASK"
)

var roles = map[string]func(ctx context.Context, task string) error{"producer": beProducer, "reader": beReader}

// redisTask is what a process is to do, until its input ends.
type redisTask struct {
	Addr, Prefix string
	Key          string
	Name         string      // of a producer
	File         string      // where it keeps its counts
	From         streams.Pos // of a reader
}

// begin starts a process. end has it come to its end, and returns its output.
func (task redisTask) begin(t testing.TB, role string) (cmd *exec.Cmd, end func()) {
	t.Helper()
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(program)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, taskVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return cmd, func() { _ = input.Close() }
}

// counts are what a producer has done of a key. They are in a file, so that they outlive it.
type counts struct{ Appended, Acked, Open int64 }

func readCounts(t testing.TB, file string) (c counts) {
	t.Helper()
	f, err := os.Open(file)
	if err == nil {
		defer f.Close()
		err = binary.Read(f, binary.LittleEndian, &c)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return c
}

// countingFile is a log whose calls are noted in a file before and after.
type countingFile struct {
	driver.Log
	mu sync.Mutex
	c  counts
	f  *os.File
}

func (l *countingFile) note(change func(c *counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.c)
	b, err := binary.Append(nil, binary.LittleEndian, l.c)
	if err == nil {
		_, err = l.f.WriteAt(b, 0)
	}
	if err != nil {
		panic(err)
	}
}

func (l *countingFile) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	for _, b := range batches {
		l.note(func(c *counts) { c.Open = b.Added })
	}
	heads, err := l.Log.Append(ctx, batches)
	for i := range heads {
		if heads[i].Outcome == driver.Done {
			l.note(func(c *counts) { c.Acked, c.Open = c.Acked+batches[i].Added, 0 })
		}
	}
	return heads, err
}

// beProducer appends bursts of events to a key.
func beProducer(ctx context.Context, text string) error {
	var task redisTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	b, err := openRedis(ctx, []string{task.Addr}, task.Prefix)
	if err != nil {
		return err
	}
	defer b.Close(ctx)
	f, err := os.Create(task.File)
	if err != nil {
		return err
	}
	defer f.Close()
	log := &countingFile{Log: b.Log(), f: f}
	o := options()
	o.FlushEvery = 30 * time.Millisecond
	s, err := streams.New[event](log, o)
	if err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	for n := 0; ; time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond) {
		select {
		case <-over:
			return s.Close(ctx)
		default:
			many := 1 + rand.IntN(maxBurst)
			n = burst(s, task.Key, task.Name, n, many)
			log.note(func(c *counts) { c.Appended = int64(n) })
		}
	}
}

// toldItem is what a reading process writes of each item, as JSON.
type toldItem struct {
	Event *streams.Event[event]
	Gap   *streams.Gap
}

// output is what a process writes.
type output struct {
	mu   sync.Mutex
	text strings.Builder // protected by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// beReader follows a key, and writes down what it is told.
func beReader(ctx context.Context, text string) error {
	var task redisTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	b, err := openRedis(ctx, []string{task.Addr}, task.Prefix)
	if err != nil {
		return err
	}
	defer b.Close(ctx)
	o := options()
	o.Poll = 20 * time.Millisecond
	s, err := streams.New(b.Log(), o)
	if err != nil {
		return err
	}
	defer s.Close(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	out := json.NewEncoder(os.Stdout)
	for it, err := range s.Tail(ctx, task.Key, task.From) {
		if err != nil {
			return err
		}
		if err := out.Encode(toldItem(it)); err != nil {
			return err
		}
	}
	return nil
}

// TestAccountProcesses has four processes append, of which one is killed, and a reader that
// goes from process to process with its position.
func TestAccountProcesses(t *testing.T) {
	const key, producers, victim = "k", 4, 2
	server := redistest.Start(t)
	log := newRedisLog(t, server.Addr)
	s := newStream(t, log, options())
	book := newBook(t)
	stays, moves := book.reader("the reader that stays", key), book.reader("the reader that moves", key)
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { stays.visit(ctx, s, func() {}) })

	task := func(name string) redisTask {
		return redisTask{Addr: server.Addr, Prefix: "gc:", Key: key, Name: name, File: filepath.Join(t.TempDir(), name)}
	}
	var tasks []redisTask
	var processes []*exec.Cmd
	var ends []func()
	for p := range producers {
		tasks = append(tasks, task(fmt.Sprint("producer", p)))
		process, end := tasks[p].begin(t, "producer")
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		processes, ends = append(processes, process), append(ends, end)
		defer func() {
			end()
			_ = process.Wait()
		}()
	}
	for p := range producers {
		becomes(t, "each producer is at work", func() bool { return readCounts(t, tasks[p].File).Acked > 1000 })
	}
	visit := func() {
		reading := task("reader")
		reading.From = moves.at()
		process, end := reading.begin(t, "reader")
		var out output
		process.Stdout = &out
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		becomes(t, "the reading process is told something", func() bool { return out.String() != "" })
		end()
		if err := process.Wait(); err != nil {
			t.Error(err)
		}
		for d := json.NewDecoder(strings.NewReader(out.String())); ; {
			var it toldItem
			if err := d.Decode(&it); err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			moves.take(streams.Item[event](it))
		}
	}
	visit()
	if err := processes[victim].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = processes[victim].Wait()
	visit()
	visit()
	for p, end := range ends {
		end()
		if p == victim {
			continue
		}
		if err := processes[p].Wait(); err != nil {
			t.Errorf("producer %d: %v", p, err)
		}
	}

	sn := recent(t, s, key)
	applied := make(map[string]int64)
	for _, c := range sn.Types {
		applied[c.Type] = c.Count
	}
	all := int64(0)
	for p := range producers {
		c, has := readCounts(t, tasks[p].File), applied[tasks[p].Name]
		all += has
		switch {
		case p != victim && (c.Appended != has || c.Acked != has || c.Open != 0):
			t.Errorf("producer %d: %+v, and %d are in the log", p, c, has)
		case has < c.Acked || has > c.Acked+c.Open:
			t.Errorf("the producer that was killed: %+v, and %d are in the log", c, has)
		case p == victim:
			t.Logf("killed after %d events: %d acknowledged and %d under way, of which %d arrived; %d lost", c.Appended, c.Acked, c.Open,
				has-c.Acked, max(0, c.Appended-has)) // it may have been killed before it noted a burst
		}
	}
	if sn.Pos.Seq != all || sn.Total != all {
		t.Errorf("at %v with a total of %d: %d were sent", sn.Pos, sn.Total, all)
	}
	for n := 0; moves.at() != sn.Pos && n < 100; n++ {
		visit()
	}
	becomes(t, "all is told", func() bool { return stays.at() == sn.Pos })
	stop()
	following.Wait()
	for _, r := range []*reader{stays, moves} {
		if s := cmp.Or(r.sums[sn.Pos.Epoch], &sum{}); len(r.sums) != 1 || r.at() != sn.Pos || s.delivered+s.missed != all || s.delivered == 0 {
			t.Errorf("%s, of %d at %v", r, all, r.at())
		}
		t.Log(r)
	}
}
