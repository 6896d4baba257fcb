package mongotest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A server has this long to start, on a machine that has much else to do.
const patience = 30 * time.Second

// supervise is the shell that stands between the test program and a server. It says the
// server's pid, and kills the server when its own input ends, which is when the test
// program says so or is no more, even if the server was suspended. It waits for the server
// only then: until it has, the pid can be nobody else's. The first argument is a directory
// to remove afterwards, or empty. Interrupts from the terminal are for the test program.
//
// The shell gives its output away, so that this one ends with the server.
const supervise = `trap '' HUP INT QUIT TERM
remove=$1 log=$2
shift 2
exec 3<&0
"$@" <&3 3<&- 2>>"$log" &
pid=$!
echo $pid
exec >/dev/null
while read -r _; do :; done
kill -9 $pid
wait $pid
test -z "$remove" || rm -rf "$remove"`

// process is one run of a server.
type process struct {
	shell  *exec.Cmd
	input  io.Closer
	pid    int
	addr   string        // where it says that it listens
	exited chan struct{} // closed when the server has ended
}

// run starts a server and returns when it listens. What it complains of goes to the log.
// With a directory to remove, that goes when the server does.
func run(remove, log, program string, args ...string) (*process, error) {
	shell := exec.Command("sh", append([]string{"-c", supervise, "sh", remove, log, program}, args...)...)
	input, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	shell.Stdout = w
	err = shell.Start()
	w.Close()
	if err != nil {
		output.Close()
		return nil, err
	}
	p := &process{shell: shell, input: input, exited: make(chan struct{})}
	_ = output.SetReadDeadline(time.Now().Add(patience))
	r := bufio.NewReader(output)
	err = p.readStart(r)
	_ = output.SetReadDeadline(time.Time{})
	go func() {
		defer close(p.exited)
		defer output.Close()
		_, _ = io.Copy(io.Discard, r)
	}()
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// readStart reads the two lines of a start: the pid, from the shell, and the address,
// from the server, which may be the faster of the two.
func (p *process) readStart(r *bufio.Reader) error {
	for p.pid == 0 || p.addr == "" {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the server does not start: it said %q: %w", line, err)
		}
		line = strings.TrimSpace(line)
		if addr, ok := strings.CutPrefix(line, "listening "); ok {
			p.addr = addr
		} else if p.pid, err = strconv.Atoi(line); err != nil {
			return fmt.Errorf("the server said %q, and not that it listens", line)
		}
	}
	return nil
}

// kill ends the server, and returns when its pid and its port are free again.
func (p *process) kill() {
	p.input.Close()
	_ = p.shell.Wait() // says how the server ended
	<-p.exited
}

// signal sends a signal by its name, as the shell knows it on every system.
func (p *process) signal(name string) error {
	out, err := exec.Command("sh", "-c", `kill -s "$0" "$1"`, name, strconv.Itoa(p.pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kill -s %s %d: %w: %s", name, p.pid, err, out)
	}
	return nil
}

// awaitStop returns when a process that was told to stop has, which it does not do at
// once. Where the system does not say, a moment has to be enough.
func (p *process) awaitStop() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			return
		}
		// The state is behind the name, which is in parentheses.
		if _, state, _ := bytes.Cut(text, []byte(") ")); bytes.HasPrefix(state, []byte("T")) {
			return
		}
	}
}
