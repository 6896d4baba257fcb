package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ask sends a command over a connection of its own and returns the strings of the
// reply, those of nested arrays too. It gives up after a second: a server that takes
// longer is as good as down.
func ask(ctx context.Context, addr string, args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, encode(args...)); err != nil {
		return nil, err
	}
	reply, err := readReply(bufio.NewReader(conn))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", addr, strings.Join(args, " "), err)
	}
	return reply, nil
}

// askText is ask for a reply that is one string.
func askText(ctx context.Context, addr string, args ...string) (string, error) {
	reply, err := ask(ctx, addr, args...)
	return strings.Join(reply, " "), err
}

// encode returns a command as the server reads it.
func encode(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b.String()
}

// errReply is what the server answers to a command that it does not carry out.
type errReply string

func (e errReply) Error() string { return string(e) }

// readReply reads one reply of version 2 of the protocol. Nil has no strings.
func readReply(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line for a reply")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return []string{rest}, nil
	case '-':
		return nil, errReply(rest)
	}
	n, err := strconv.Atoi(rest)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the reply %q", line)
	case n < 0:
		return nil, nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return []string{string(text[:n])}, err
	case kind != '*':
		return nil, fmt.Errorf("the reply %q", line)
	}
	var all []string
	for range n {
		part, err := readReply(r)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// poll calls a condition until it holds, and returns what it lacked when the time is up.
func poll(ctx context.Context, every time.Duration, holds func() error) error {
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(every):
		}
	}
}
