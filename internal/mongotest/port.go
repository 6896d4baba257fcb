package mongotest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below those that the system gives to outgoing connections. From
// there, the port of a server that is down for a while could go to the client that tries
// to reach it.
const firstPort, endPort = 10_000, 32_000

var handedOut sync.Map // of the ports that this process has taken

// freeAddr returns a loopback address on which nobody listens, and never the same again.
// Another process may still take it: who listens there must be ready to ask for another.
func freeAddr() (string, error) {
	for range 1000 {
		port := firstPort + rand.IntN(endPort-firstPort)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr, nil
		}
	}
	return "", fmt.Errorf("mongotest: no free port from %d to %d", firstPort, endPort-1)
}
