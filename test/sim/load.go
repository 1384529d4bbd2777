package sim

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/posthouse/posthouse/raft"
)

// Load proposes commands to a group from one publisher, one after the other, wherever it is led, until it is stopped. It
// records what became of each.
type Load struct {
	c     *Cluster
	group uint32
	name  string
	size  int
	stop  chan struct{}
	once  sync.Once
	done  chan struct{}

	mu      sync.Mutex
	sent    int
	acked   map[string]bool // accepted: must never be lost
	refused map[string]bool // definitely not applied: must never be there
	unknown int
}

// StartLoad begins to propose commands of about size bytes.
func (c *Cluster) StartLoad(group uint32, name string, size int) *Load {
	l := &Load{c: c, group: group, name: name, size: size, stop: make(chan struct{}), done: make(chan struct{}),
		acked: map[string]bool{}, refused: map[string]bool{}}
	c.mu.Lock()
	c.loads = append(c.loads, l)
	c.mu.Unlock()
	go l.run()
	return l
}

func (l *Load) run() {
	defer close(l.done)
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		case <-time.After(l.c.opts.Think): // in a bubble time passes only while everybody waits
		}
		if !l.one(n) {
			return
		}
	}
}

// one proposes the n-th command to whoever leads and waits for its outcome.
func (l *Load) one(n int) bool {
	for {
		leader := l.c.leaderNow(l.group)
		if leader != "" {
			node := l.c.Node(leader)
			if g := node.Group(l.group); g != nil {
				l.propose(node, g, n)
				return true
			}
		}
		if !l.pause() {
			return false
		}
	}
}

func (l *Load) pause() bool {
	select {
	case <-l.stop:
		return false
	case <-after():
		return true
	}
}

func (l *Load) propose(node *Node, g *raft.Group, n int) {
	id := fmt.Sprintf("%s-%d", l.name, n)
	data := make([]byte, max(l.size, len(id)+1))
	copy(data, id)
	answer := make(chan error, 1)
	g.Propose(g.Leadership().Turn, data, func(_ any, err error) { answer <- err })
	var err error
	select {
	case err = <-answer:
	case <-node.died: // never answered: the process is gone
		err = raft.ErrUnknown
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	switch {
	case err == nil:
		l.acked[id] = true
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrOverloaded), errors.Is(err, raft.ErrVoid):
		l.refused[id] = true
	case errors.Is(err, raft.ErrUnknown):
		l.unknown++
	default:
		l.c.T.Errorf("proposal %s: %v is none of the classes", id, err)
	}
}

// Acked is the number of commands accepted so far.
func (l *Load) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// Stop ends the load and waits for it. A second Stop does nothing.
func (l *Load) Stop() {
	l.once.Do(func() { close(l.stop) })
	<-l.done
}

// AwaitMore waits until n more commands have been accepted.
func (l *Load) AwaitMore(n int) {
	l.c.T.Helper()
	goal := l.Acked() + n
	l.c.Await(fmt.Sprintf("%d more commands of load %s", n, l.name), func() bool { return l.Acked() >= goal })
}
