package durable

import (
	"flag"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

var backlogMiB = flag.Int("backlog", 192, "MiB that TestG07 publishes into backlogs")

// memoryBound is what config gives each node of this package's cluster. The nodes are processes of their own, built as they
// are shipped: the race detector of the test has no part in it.
const memoryBound = 512 << 20

// Hundreds of MiB go into backlogs with limits, of consumers that never take credit, or take it and read nothing, or settle
// nothing. A direct receiver never reads its socket. No node's memory grows with any of it.
func TestG07BoundedMemory(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders, news := s.Name("orders"), s.Name("news")
	for i, l := range []api.Limits{{MaxBytes: 32 << 20}, {MaxMessages: 2000}, {MaxBytes: 16 << 20, MaxInFlight: 10_000}, {MaxBytes: 1 << 30}} {
		sub := s.Subscribe(fmt.Sprint("sub", i), nodes[i%3], actor.Subscription{Name: s.Create(nodes[0], s.Name(fmt.Sprint("limited", i)), orders, l).Name, Address: orders})
		sub.Leave()
		sub.Page.MayMiss()
		switch i {
		case 0: // no credit, ever
			s.Attach1By1(sub, nodes[1])
		case 1: // credit for all, nothing settled
			if err := s.Attach1By1(sub, nodes[2]).IssueCredit(1_000_000); err != nil {
				t.Fatal(err)
			}
		case 2: // credit for all, and a socket that is not read
			deaf := dialRaw(t, nodes[0], s.Name("deaf"))
			deaf.named(sub.Name(), orders, 1_000_000)
			deaf.wantAttached()
			deaf.socket.deafen()
		}
	}
	deaf := dialRaw(t, nodes[0], s.Name("deaf"))
	deaf.named("", news, 1_000_000)
	deaf.wantAttached()
	deaf.socket.deafen()

	stop := make(chan struct{})
	watched := make(chan []memory)
	go func() { watched <- watchMemory(nodes, stop) }()
	const size = 20_000
	count := *backlogMiB << 20 / size
	publishers := []*actor.Publisher{s.Publish("press", nodes[0], news, actor.Load{Count: count / 10, Size: size, MayBeReleased: true})}
	for i, n := range nodes {
		publishers = append(publishers, s.Publish(fmt.Sprint("shop", i), n, orders, actor.Load{Count: count / 3, Size: size}))
	}
	for _, p := range publishers {
		for !p.Ended(actor.Patience) { // as long as it takes, if it goes on
			p.More(1)
		}
	}
	close(stop)
	for i, peak := range <-watched {
		s.Step("node %s had up to %d MiB resident, and %d MiB of heap in use", nodes[i].Name, peak.resident>>20, peak.heap>>20)
		switch {
		case peak.resident == 0 || peak.heap == 0:
			t.Errorf("node %s was not measured", nodes[i].Name)
		case max(peak.resident, peak.heap) > memoryBound:
			t.Errorf("node %s had %d MiB resident and %d MiB of heap; it is configured to take %d", nodes[i].Name, peak.resident>>20, peak.heap>>20, memoryBound>>20)
		}
	}
	s.End()
}

// memory is what a process has, in bytes.
type memory struct{ resident, heap int64 }

// watchMemory looks at the nodes' memory until it is stopped, and returns the peaks.
func watchMemory(nodes []*proc.Node, stop <-chan struct{}) []memory {
	peaks := make([]memory, len(nodes))
	for round := 0; ; round++ {
		for i, n := range nodes {
			peaks[i].resident = max(peaks[i].resident, n.RSS())
			if round%10 == 0 { // reading the metrics costs the node something
				peaks[i].heap = max(peaks[i].heap, n.Heap())
			}
		}
		select {
		case <-stop:
			return peaks
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// deafConn is a socket that can stop reading.
type deafConn struct {
	net.Conn
	deaf chan struct{} // closed from when on nothing more is read
	done chan struct{}
	once sync.Once
}

func newDeafConn(c net.Conn) *deafConn {
	return &deafConn{Conn: c, deaf: make(chan struct{}), done: make(chan struct{})}
}

func (c *deafConn) deafen() { close(c.deaf) }

func (c *deafConn) isDeaf() bool {
	select {
	case <-c.deaf:
		return true
	default:
		return false
	}
}

// Read heeds no deadline once it is deaf: only Close ends it.
func (c *deafConn) Read(b []byte) (int, error) {
	if !c.isDeaf() {
		return c.Conn.Read(b)
	}
	<-c.done
	return 0, net.ErrClosed
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}
