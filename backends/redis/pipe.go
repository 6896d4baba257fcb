package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/within"
)

// Calls of concurrent goroutines share pipelines: while one is under way, what comes
// is queued, and leaves together with the next one. So a single caller waits for
// nothing, and many pay for few writes and reads of the connection.
//
// go-redis has something like it (AutoPipeline), which is not used: it forgets a
// command's deadline once the command is queued, sends a failed batch again as a whole,
// and mixes commands for a node that hangs with those for nodes that answer.

const (
	// A lane has one pipeline under way, which lets the next one grow long. If that one
	// takes longer than pipePatience, as over a slow network or in a server that is
	// busy, others follow it without waiting, up to pipeWidth.
	pipeWidth    = 4
	pipePatience = time.Millisecond
	// maxBatchCalls and maxBatchBytes bound a pipeline.
	maxBatchCalls = 512
	maxBatchBytes = 256 << 10
	// maxJobCalls is how many calls of one caller are sent at once.
	maxJobCalls = 4096
	// largeCall is the size above which calls have a lane of their own, so that nobody
	// else waits for them.
	largeCall = 64 << 10
)

// lane sets apart what must not wait for each other: look-ups and claims; fills and the
// holds of writes; the releases of writes; and of all of them those that are large. There
// are about as many pipelines at once as a pool has connections, however many are large.
type lane int

const (
	readLane lane = iota
	writeLane
	// What goes through releaseLane is sent although the server did not answer lately:
	// until it has come through, what others read of an anchor may be stale.
	releaseLane
	largeLane
	lanes
)

// pipe is one lane to one node.
type pipe struct {
	n      *node
	insist bool // send although the breaker is open

	mu      sync.Mutex // protects what follows
	closed  bool
	queue   []*job
	running int
	parked  int       // senders that wait for work
	sent    time.Time // the last pipeline
	nudging bool      // nudge is about to look whether what is queued waits for long
	nudge   *time.Timer

	wake chan struct{} // has an element for each parked sender that has been called
}

// sender is one goroutine that sends a pipe's batches, and its memory. It is kept when
// there is nothing to send: a new one would have to grow its stack for every batch, which
// costs more than the batch.
type sender struct {
	p        *pipe
	batch    []*job
	cmds     []goredis.Cmder
	pipeline goredis.Pipeliner
}

// job is what one goroutine waits for.
type job struct {
	calls []call
	size  int
	done  chan struct{} // has an element when all calls have their answers
	timer *time.Timer   // of the one who waits
	left  atomic.Bool   // nobody waits any more
}

// submit queues the job, and sees to it that somebody sends it.
func (p *pipe) submit(j *job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		j.fail(errClosed)
		return
	}
	p.queue = append(p.queue, j)
	switch {
	case p.running == 0 || p.running < pipeWidth && time.Since(p.sent) > pipePatience:
		p.running++
		p.startLocked()
	case p.running < pipeWidth && !p.nudging:
		p.nudging = true
		p.nudge.Reset(pipePatience)
	}
}

// startLocked sets a sender to work, which counts as running already.
func (p *pipe) startLocked() {
	if p.parked == 0 {
		go (&sender{p: p}).run()
		return
	}
	p.parked--
	p.wake <- struct{}{} // which has room for all of them
}

// look starts another sender if what is queued waits for one that takes long.
func (p *pipe) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nudging = false
	if len(p.queue) == 0 || p.running == pipeWidth || p.closed {
		return
	}
	if wait := pipePatience - time.Since(p.sent); wait > 0 {
		p.nudging = true
		p.nudge.Reset(wait)
		return
	}
	p.running++
	p.startLocked()
}

// run sends what is queued, until the backend is closed.
func (s *sender) run() {
	for {
		for s.take() {
			s.flush()
			clear(s.batch)
			runtime.Gosched() // callers that have their answers may have more to ask
		}
		if _, open := <-s.p.wake; !open {
			return
		}
	}
}

// close ends the senders. What is queued, and what comes later, fails.
func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.nudge.Stop()
	close(p.wake)
	for _, j := range p.queue {
		j.fail(errClosed)
	}
	p.queue = nil
}

// fail answers all calls of a job with an error.
func (j *job) fail(err error) {
	for i := range j.calls {
		j.calls[i].cmd.SetErr(err)
	}
	j.done <- struct{}{}
}

// take takes a batch off the queue. If there is none the sender is parked.
func (s *sender) take() bool {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	calls, size, n := 0, 0, 0
	for _, j := range p.queue {
		calls += len(j.calls)
		size += j.size
		if n > 0 && (calls > maxBatchCalls || size > maxBatchBytes) {
			break
		}
		n++
	}
	if n == 0 {
		p.running--
		p.parked++
		return false
	}
	p.sent = time.Now()
	s.batch = append(s.batch[:0], p.queue[:n]...)
	rest := copy(p.queue, p.queue[n:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	if rest > 0 && p.running < pipeWidth { // more than one pipeline takes
		p.running++
		p.startLocked()
	}
	return true
}

// flush sends the calls of the jobs in one pipeline, and those whose script the server
// does not know once more with the source.
func (s *sender) flush() {
	p, batch := s.p, s.batch
	cmds := s.cmds[:0]
	for _, j := range batch {
		if j.left.Load() {
			continue // its calls have not been sent, and will not be
		}
		for i := range j.calls {
			cmds = append(cmds, j.calls[i].cmd)
		}
	}
	defer func() {
		for _, j := range batch {
			j.done <- struct{}{}
		}
	}()
	if len(cmds) == 0 {
		return
	}
	s.cmds = cmds
	ctx := newUntil(p.n.b.opts.BatchTimeout)
	if s.pipeline == nil {
		s.pipeline = p.n.b.client.Pipeline()
	}
	answered := p.n.exec(ctx, s.pipeline, cmds, p.insist)
	defer clear(cmds)
	if !answered {
		return
	}
	p.sendSources(ctx, batch)
}

// sendSources sends the calls of unknown scripts again.
func (p *pipe) sendSources(ctx context.Context, batch []*job) {
	var unknown []*call
	var again []goredis.Cmder
	for _, j := range batch {
		for i := range j.calls {
			if c := &j.calls[i]; c.unknownScript() {
				unknown = append(unknown, c)
				again = append(again, c.withSource())
			}
		}
	}
	if len(again) == 0 {
		return
	}
	p.n.b.counters.sources.Add(int64(len(again)))
	p.n.exec(ctx, p.n.b.client.Pipeline(), again, p.insist)
	for i, c := range unknown {
		c.adopt(again[i])
	}
}

// node is a server, or in a Cluster one of its masters.
type node struct {
	b       *Backend
	breaker *gobreaker.TwoStepCircuitBreaker[any]
	last    atomic.Pointer[error] // of a pipeline that was not answered
	pipes   [lanes]pipe
}

func newNode(b *Backend, addr string) *node {
	n := &node{b: b}
	n.breaker = newBreaker(n, addr)
	for i := range n.pipes {
		p := &n.pipes[i]
		p.n, p.wake, p.insist = n, make(chan struct{}, pipeWidth), lane(i) == releaseLane
		p.nudge = time.AfterFunc(time.Hour, p.look)
		p.nudge.Stop()
	}
	return n
}

func (n *node) close() {
	for i := range n.pipes {
		n.pipes[i].close()
	}
}

// submit queues the job in the lane, or in that of what is large.
func (n *node) submit(l lane, j *job) {
	if j.size > largeCall && l != releaseLane {
		l = largeLane
	}
	n.pipes[l].submit(j)
}

// exec sends one pipeline, unless the breaker is open and nobody insists, and reports
// whether the server answered. Every command has its answer or an error afterwards.
func (n *node) exec(ctx context.Context, pipeline goredis.Pipeliner, cmds []goredis.Cmder, insist bool) bool {
	done, err := n.breaker.Allow()
	if err != nil && insist {
		done, err = func(error) {}, nil
	}
	if err != nil {
		setErr(cmds, notSent{n.whyNotAsked()})
		n.b.counters.rejected.Add(int64(len(cmds)))
		return false
	}
	if err = n.b.watch.ready(ctx); err == nil {
		_ = pipeline.BatchProcess(ctx, cmds...) // which only queues them
		_, err = pipeline.Exec(ctx)
	}
	if err != nil && unanswered(cmds) {
		setErr(cmds, err) // go-redis keeps what a server says about a connection to itself
	}
	err = outage(cmds)
	if err != nil {
		failed := err // so that err, of every call, stays on the stack
		n.last.Store(&failed)
	}
	done(err)
	n.b.counters.batches.Add(1)
	n.b.counters.calls.Add(int64(len(cmds)))
	if err != nil {
		n.b.counters.failed.Add(1)
		if n.b.cluster != nil {
			// A replica may have been promoted. go-redis looks for that when a node
			// redirects it, and otherwise once a minute. This waits for nothing.
			n.b.cluster.ReloadState(ctx)
		}
	}
	return err == nil
}

// unanswered reports whether no command has an error.
func unanswered(cmds []goredis.Cmder) bool {
	return !slices.ContainsFunc(cmds, func(c goredis.Cmder) bool { return c.Err() != nil })
}

func setErr(cmds []goredis.Cmder, err error) {
	for _, c := range cmds {
		c.SetErr(err)
	}
}

// whyNotAsked is the error of calls that the breaker rejects.
func (n *node) whyNotAsked() error {
	if last := n.last.Load(); last != nil {
		return fmt.Errorf("not asked for a while after %d failures, the last of which was: %w", breakerFailures, *last)
	}
	return errors.New("not asked for a while")
}

// outage returns the first error that says that the server does not serve, nil if it
// does. What it says about one command is none.
func outage(cmds []goredis.Cmder) error {
	for _, c := range cmds {
		if err := c.Err(); err != nil && isOutage(err) {
			return err
		}
	}
	return nil
}

func isOutage(err error) bool {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return true // it is of the network, or of the client
	}
	return goredis.IsLoadingError(err) || goredis.IsClusterDownError(err) || goredis.IsMasterDownError(err) ||
		goredis.IsReadOnlyError(err) || goredis.IsMaxClientsError(err) || goredis.IsAuthError(err)
}

// do sends the calls, those of each node in one pipeline that they share with others',
// and waits until they have their answers or ctx ends. If it returns an error, the
// commands belong to somebody else and must not be touched any more, and so does that of
// a call that was lost: each of them may have been applied or may still be.
func (b *Backend) do(ctx context.Context, l lane, calls []call) error {
	if len(calls) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redis: %w: %w", driver.ErrUnavailable, err)
	}
	if b.closed.Load() {
		return errClosed
	}
	for part := range slices.Chunk(calls, maxJobCalls) {
		if err := b.doPart(ctx, l, part); err != nil {
			return err
		}
	}
	return nil
}

// doPart is do for calls of which one pipeline is not too much.
func (b *Backend) doPart(ctx context.Context, l lane, calls []call) error {
	if b.cluster == nil {
		j := newJob(calls)
		b.single.submit(l, j)
		return b.await(ctx, j)
	}
	err := b.layout.ready(ctx)
	if err != nil {
		return err
	}
	jobs, nodes, err := b.split(ctx, calls)
	if err != nil {
		return fmt.Errorf("redis: find the nodes of the Cluster: %w: %w", driver.ErrUnavailable, err)
	}
	for n, j := range jobs {
		n.submit(l, j)
	}
	// A node that does not answer spoils nothing but its own part.
	for n, j := range jobs {
		if err := b.await(ctx, j); err != nil {
			for i := range calls {
				if nodes[i] == n {
					calls[i].lost = err
				}
			}
		}
	}
	return nil
}

// await waits for a job until ctx ends.
func (b *Backend) await(ctx context.Context, j *job) error {
	done, deadline := within.Split(ctx)
	var late <-chan time.Time
	if !deadline.IsZero() {
		j.timer.Reset(time.Until(deadline))
		late = j.timer.C
	}
	answered := true
	select {
	case <-j.done:
	case <-done:
		answered = j.answered() // while another node was waited for
	case <-late:
		answered = j.answered()
	}
	if !answered {
		j.left.Store(true)
		b.counters.left.Add(int64(len(j.calls)))
		return fmt.Errorf("redis: no answer in time: %w: %w", driver.ErrUnavailable, cmp.Or(ctx.Err(), context.DeadlineExceeded))
	}
	j.timer.Stop()
	j.calls = nil
	idleJobs.Put(j)
	return nil
}

// answered takes note that the job is done, if it is.
func (j *job) answered() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// split makes a job for each node that has some of the calls' keys, and says which node
// that is for each call.
func (b *Backend) split(ctx context.Context, calls []call) (jobs map[*node]*job, nodes []*node, err error) {
	jobs, nodes = make(map[*node]*job), make([]*node, len(calls))
	for i := range calls {
		master, err := b.cluster.MasterForKey(ctx, calls[i].key)
		if err != nil {
			return nil, nil, err
		}
		nodes[i] = b.nodeOf(master)
		j := jobs[nodes[i]]
		if j == nil {
			j = newJob(nil)
			jobs[nodes[i]] = j
		}
		j.calls = append(j.calls, calls[i])
		j.size += calls[i].size
	}
	return jobs, nodes, nil
}

// idleJobs are those that nobody uses. One whose caller has left is not among them.
var idleJobs = sync.Pool{New: func() any {
	j := &job{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	j.timer.Stop()
	return j
}}

func newJob(calls []call) *job {
	j := idleJobs.Get().(*job)
	j.calls, j.size = calls, 0
	for i := range calls {
		j.size += calls[i].size
	}
	return j
}

// nodeOf returns the node that a client of a Cluster leads to.
func (b *Backend) nodeOf(master *goredis.Client) *node {
	if n, ok := b.nodes.Load(master); ok {
		return n.(*node)
	}
	v, _ := b.nodes.LoadOrStore(master, newNode(b, master.Options().Addr))
	n := v.(*node)
	if b.closed.Load() {
		n.close()
	}
	return n
}

// noContext is for what has no caller: commands carry a context that nobody reads, and
// a pipeline is of many callers.
var noContext = context.Background()

// until is a context that says when it ends, and does not tell: connections take their
// deadlines from it, and a timer would be for nobody. It marks the backend's own
// pipelines.
type until struct {
	context.Context
	deadline atomic.Int64 // in Unix nanoseconds
	extended atomic.Bool
}

// handshakeTimeout is what a pipeline that has to connect has in addition.
const handshakeTimeout = time.Second

func newUntil(d time.Duration) *until {
	u := &until{Context: noContext}
	u.deadline.Store(time.Now().Add(d).UnixNano())
	return u
}

// extend moves the deadline once.
func (u *until) extend(d time.Duration) {
	if !u.extended.Swap(true) {
		u.deadline.Add(int64(d))
	}
}

// Deadline implements context.Context.
func (u *until) Deadline() (time.Time, bool) { return time.Unix(0, u.deadline.Load()), true }
