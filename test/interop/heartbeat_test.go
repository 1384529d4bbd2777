package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/proc"
)

// tap forwards one connection at a time and counts the empty frames on it, which are heart-beats (2.4.5).
type tap struct {
	listener   net.Listener
	to         string
	fromClient atomic.Int64
	fromNode   atomic.Int64
	running    sync.WaitGroup
}

func newTap(t *testing.T, n *proc.Node) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{listener: l, to: n.AMQP}
	w.running.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.running.Wait()
	})
	return w
}

func (w *tap) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		node, err := net.Dial("tcp", w.to)
		if err != nil {
			client.Close()
			continue
		}
		w.running.Go(func() { copyFrames(node, client, &w.fromClient) })
		w.running.Go(func() { copyFrames(client, node, &w.fromNode) })
	}
}

// copyFrames copies protocol headers and frames until either side ends.
func copyFrames(to, from net.Conn, empty *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	head := make([]byte, 8)
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		if _, err := to.Write(head); err != nil {
			return
		}
		if string(head[:4]) == "AMQP" {
			continue
		}
		size := int64(binary.BigEndian.Uint32(head))
		if size == 8 && head[5] == 0 {
			empty.Add(1)
		}
		if _, err := io.CopyN(to, from, size-8); err != nil {
			return
		}
	}
}

// idler is a client on whose connection nothing happens.
type idler struct {
	*peer
	*tap
	wish string // how often it wishes to hear something, if it does
}

// TestHeartbeats: a connection on which nothing happens lives on, for longer than either side would bear a silence:
// the node's as the library's defaults have it, and the client's where it wishes to hear something every now and then.
func TestHeartbeats(t *testing.T) {
	a, _, _ := cluster(t)
	var idle []idler // all at once, or each would take its time
	for _, l := range present(t) {
		for _, wish := range []string{"", "heartbeat=2"} {
			i := idler{l.start(t, unique("idle")), newTap(t, a), wish}
			args := []string{"conn=1", "url=amqp://" + i.listener.Addr().String()}
			if wish != "" {
				args = append(args, wish)
			}
			i.do("connect", args...)
			i.connected("1")
			address := unique("idle.topic")
			i.sender("1", "to", address)
			i.receiver("1", "news", address)
			i.publish("to", 1, 1)
			i.direct("news", 1, 1)
			idle = append(idle, i)
		}
	}
	began := time.Now()
	for _, i := range idle {
		proc.Eventually(t, patience, func() bool {
			heard := i.fromClient.Load() >= 2 && (i.wish == "" || i.fromNode.Load() >= 2)
			return heard && time.Since(began) > idleTimeout+idleTimeout/4
		}, func() string {
			return fmt.Sprintf("%s %s: %d heart-beats of the client, %d of the node", i.name, i.wish, i.fromClient.Load(), i.fromNode.Load())
		})
	}
	for _, i := range idle {
		i.publish("to", 2, 2)
		i.direct("news", 2, 2)
		i.disconnect("1")
		i.finish()
	}
}
