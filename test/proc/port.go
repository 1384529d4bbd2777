package proc

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
)

var (
	portMu    sync.Mutex
	portGiven = map[int]bool{}
)

// FreePort finds a port on 127.0.0.1 that nobody listens on and that the kernel gives to no outgoing connection,
// so that it is still free when a process started later wants it.
func FreePort(t testing.TB) int {
	t.Helper()
	low, high := 10000, ephemeralLow()
	portMu.Lock()
	defer portMu.Unlock()
	for range 1000 {
		port := low + rand.IntN(high-low)
		if portGiven[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		portGiven[port] = true
		return port
	}
	t.Fatal("no free port")
	return 0
}

// ephemeralLow is the first port that the kernel picks for outgoing connections.
func ephemeralLow() int {
	const usual = 32768
	f, err := os.Open("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	defer f.Close()
	var low int
	if _, err := fmt.Fscan(bufio.NewReader(f), &low); err != nil || low <= 11000 {
		return usual
	}
	return low
}

// Address is 127.0.0.1 with a free port.
func Address(t testing.TB) string {
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}
