package redistest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below those that the system gives to outgoing connections. From
// there, a port of a server that is down for a while could go to the client that tries
// to reach it, which then talks to itself.
const firstPort, endPort = 10_000, 32_000

var handedOut struct {
	mu    sync.Mutex
	ports map[int]bool // protects: every port that this process has taken
}

// freePort returns a loopback port that nobody listens on. It is not returned again,
// as a stopped server needs its port to come back. Another process may still take it:
// who listens on it must be ready to ask for another.
func freePort() (int, error) {
	handedOut.mu.Lock()
	defer handedOut.mu.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(endPort-firstPort)
		if handedOut.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		l.Close()
		if handedOut.ports == nil {
			handedOut.ports = make(map[int]bool)
		}
		handedOut.ports[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("redistest: no free port from %d to %d", firstPort, endPort-1)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
