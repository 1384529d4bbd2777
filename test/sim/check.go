package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/posthouse/posthouse/storage"
)

func after() <-chan time.Time { return time.After(5 * time.Millisecond) }

// Settle waits until all replicas that are up and take part have applied the same index, under a leader.
func (c *Cluster) Settle(group uint32) {
	c.T.Helper()
	c.Await("all replicas are equal", func() bool {
		leader := c.leaderNow(group)
		if leader == "" {
			return false
		}
		g := c.Node(leader).Group(group)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if g == nil || g.Barrier(ctx) != nil {
			return false
		}
		want := c.Node(leader).Machine(group).Count()
		commit := g.Status().CommitIndex
		for _, name := range c.Names() {
			n := c.Node(name)
			h := n.Group(group)
			if h == nil || h.Err() != nil {
				continue
			}
			if n.Machine(group).Count() != want || n.Store().Log(group).Last() < commit {
				return false
			}
		}
		return true
	})
}

// Check wants that nothing that a load was told is wrong, and that all replicas are equal. Call Settle before.
func (c *Cluster) Check(group uint32, loads ...*Load) {
	c.T.Helper()
	var first string
	var want string
	for _, name := range c.Names() {
		n := c.Node(name)
		if g := n.Group(group); g == nil || g.Err() != nil {
			continue
		}
		dump, ids := c.dump(n, group)
		if first == "" {
			first, want = name, dump
		} else if dump != want {
			c.T.Errorf("group %d: state of %s and %s differ:\n%s\n%s", group, first, name, want, dump)
		}
		for _, l := range loads {
			l.check(name, ids)
		}
	}
	if first == "" {
		c.T.Errorf("group %d: nobody is there to be checked", group)
	}
	c.checkLogs(group)
}

// check compares what a load was told with what a replica holds.
func (l *Load) check(name string, ids map[string]int) {
	l.c.T.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, ghosts, twice := 0, 0, 0
	for id := range l.acked {
		if ids[id] == 0 {
			lost++
		}
		if ids[id] > 1 {
			twice++
		}
	}
	for id := range l.refused {
		if ids[id] != 0 {
			ghosts++
		}
	}
	if lost+ghosts+twice > 0 {
		l.c.T.Errorf("%s, load %s: of %d acknowledged %d are lost and %d are there twice; of %d refused %d are there",
			name, l.name, len(l.acked), lost, twice, len(l.refused), ghosts)
	}
}

// dump is a replica's logical state, as a hash of all keys, and how often each command is in it.
func (c *Cluster) dump(n *Node, group uint32) (string, map[string]int) {
	c.T.Helper()
	state, err := n.Store().State(group)
	if err != nil {
		c.T.Fatalf("%s: %v", n.Name, err)
	}
	h := sha256.New()
	keys := 0
	ids := map[string]int{}
	err = state.Scan(nil, nil, func(key, value []byte) bool {
		fmt.Fprintf(h, "%d %d ", len(key), len(value))
		h.Write(key)
		h.Write(value)
		keys++
		if key[0] == 'e' {
			id, _, _ := bytes.Cut(value[16:], []byte{0})
			ids[string(id)]++
		}
		return true
	})
	if err != nil {
		c.T.Fatalf("%s: scan: %v", n.Name, err)
	}
	return fmt.Sprintf("%d keys, %x", keys, h.Sum(nil)[:8]), ids
}

// checkLogs compares the logs of all replicas, entry by entry, by term and hash. Entries that only some hold are skipped.
func (c *Cluster) checkLogs(group uint32) {
	c.T.Helper()
	type seen struct {
		node string
		term uint64
		hash [sha256.Size]byte
	}
	first := map[uint64]seen{}
	for _, name := range c.Names() {
		n := c.Node(name)
		g := n.Group(group)
		if g == nil || g.Err() != nil {
			continue
		}
		log := n.Store().Log(group)
		commit := g.Status().CommitIndex
		for i := log.First(); i != 0 && i <= min(log.Last(), commit); i++ {
			e, err := log.Entry(i)
			if err != nil {
				c.T.Errorf("%s: entry %d: %v", name, i, err)
				continue
			}
			s := seen{name, e.Term, hashOf(e)}
			if f, ok := first[i]; !ok {
				first[i] = s
			} else if f.term != s.term || f.hash != s.hash {
				c.T.Errorf("group %d, entry %d: %s has term %d and hash %x, %s has term %d and hash %x", group, i, f.node, f.term, f.hash[:4], name, s.term, s.hash[:4])
			}
		}
	}
}

func hashOf(e storage.Entry) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %d ", e.Type, len(e.Data), len(e.Extensions))
	h.Write(e.Data)
	h.Write(e.Extensions)
	return [sha256.Size]byte(h.Sum(nil))
}
