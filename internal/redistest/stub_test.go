package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func dialStub(t *testing.T, s *Stub) net.Conn {
	t.Helper()
	conn, err := s.Dial(t.Context(), "tcp", "nowhere:6379")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestStub sends commands in pieces of every size.
func TestStub(t *testing.T) {
	var s Stub
	s.Set("a", "one")
	s.Set("b", "")
	commands := encode("GET", "a") + encode("hello", "3") + encode("get", "b") + encode("GET", "c") + encode("INFO", "server")
	want := []string{"one", "ERR unknown command", "", "nil", "stub"}
	for size := 1; size <= len(commands); size++ {
		conn := dialStub(t, &s)
		for rest := commands; rest != ""; rest = rest[min(size, len(rest)):] {
			if _, err := io.WriteString(conn, rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for r := bufio.NewReader(conn); len(got) < len(want); {
			reply, err := readReply(r)
			switch {
			case err != nil:
				reply = []string{err.Error()}
			case reply == nil:
				reply = []string{"nil"}
			case strings.Contains(reply[0], "run_id:stub\r\n"):
				reply = []string{"stub"}
			}
			got = append(got, reply...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in pieces of %d bytes (-want +got)\n%s", size, diff)
		}
	}
}

// TestStubWaits reads before there is a reply.
func TestStubWaits(t *testing.T) {
	var s Stub
	s.Set("a", "one")
	conn, b := dialStub(t, &s), make([]byte, 64)
	if err := conn.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read without a reply: %v", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	read := func() {
		n, err := conn.Read(b)
		got <- fmt.Sprintf("%q %v", b[:n], err)
	}
	go read()
	if _, err := io.WriteString(conn, encode("GET", "a")); err != nil {
		t.Fatal(err)
	}
	if text, want := <-got, `"$3\r\none\r\n" <nil>`; text != want {
		t.Errorf("the reply is %s, want %s", text, want)
	}
	go read()
	conn.Close()
	if text, want := <-got, `"" EOF`; text != want {
		t.Errorf("after the end there is %s, want %s", text, want)
	}
	if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
}
