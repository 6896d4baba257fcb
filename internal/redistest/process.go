package redistest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// supervise is the shell that stands between the test program and a server. It says
// the server's pid, and kills the server when its own input ends, which is when the
// test program says so or is no more. It waits for the server only then: until it has,
// the pid can be nobody else's. Interrupts from the terminal are for the test program.
//
// The shell gives its output away, so that this one ends with the server.
const supervise = `trap '' HUP INT QUIT TERM
"$@" </dev/null 2>>redis.log &
pid=$!
echo $pid
exec >/dev/null
while read -r _; do :; done
kill -9 $pid
wait $pid`

// process is one run of a server.
type process struct {
	shell  *exec.Cmd
	input  io.Closer
	pid    int
	exited chan struct{} // closed when the server has ended
}

// run starts a program in a directory.
func run(dir, program string, args ...string) (*process, error) {
	shell := exec.Command("sh", append([]string{"-c", supervise, "sh", program}, args...)...)
	shell.Dir = dir
	shell.Env = append(os.Environ(), "LC_ALL=C")
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
	r := bufio.NewReader(output)
	line, err := r.ReadString('\n')
	if err == nil {
		p.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	go func() {
		defer close(p.exited)
		defer output.Close()
		_, _ = io.Copy(io.Discard, r)
	}()
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("the shell said %q for a pid: %w", line, err)
	}
	return p, nil
}

// kill ends the server, and returns when its pid and its ports are free again.
func (p *process) kill() {
	p.input.Close()
	_ = p.shell.Wait() // says how the server ended
}

// signal sends a signal by its name, as the shell knows it on every system.
func (p *process) signal(name string) error {
	out, err := exec.Command("sh", "-c", `kill -s "$0" "$1"`, name, strconv.Itoa(p.pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kill -s %s %d: %w: %s", name, p.pid, err, out)
	}
	return nil
}
