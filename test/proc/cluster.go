package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
)

// Options say what kind of cluster to start. The zero value is three nodes.
type Options struct {
	Nodes   int               // default 3
	Tags    []string          // build tags of the binary
	Config  string            // YAML lines added to every node's file, top level
	Env     map[string]string // environment of every process, besides the test's own
	Proxies bool              // nodes reach each other through proxies
	NoWait  bool              // do not wait until the cluster is ready
}

// Cluster is some nodes that know each other.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
	quiet bool                // the logs of nodes are shown by somebody else
	links map[[2]int][]*Proxy // from, to -> its proxies (raft, router)
}

// Start takes the turn of clusters, starts the nodes and waits until all are ready. Everything ends with the test;
// if it failed, the logs are kept and shown in part.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	TakeTurn(t)
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	c := &Cluster{t: t, links: map[[2]int][]*Proxy{}}
	binary := Binary(t, o.Tags...)
	base := t.TempDir()
	for i := range o.Nodes {
		name := string(rune('a' + i))
		n := &Node{Name: name, Dir: filepath.Join(base, name), AMQP: Address(t), Admin: Address(t), raft: Address(t), router: Address(t), t: t, binary: binary,
			config: filepath.Join(base, name+".yaml"), log: filepath.Join(base, name+".log")}
		for k, v := range o.Env {
			n.env = append(n.env, k+"="+strings.ReplaceAll(v, "$NODE", name))
		}
		c.Nodes = append(c.Nodes, n)
	}
	for i, n := range c.Nodes {
		if err := os.WriteFile(n.config, []byte(c.configuration(i, o)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(c.stop)
	for _, n := range c.Nodes {
		n.Start()
	}
	if !o.NoWait {
		c.WaitReady(60 * time.Second)
	}
	return c
}

func (c *Cluster) configuration(self int, o Options) string {
	n := c.Nodes[self]
	b := &strings.Builder{}
	fmt.Fprintf(b, "node: %s\ndata: %s\namqp.listen: %s\nadmin.listen: %s\ndisk: {reserve: 8MiB, low: 64MiB, full: 32MiB}\n", n.Name, n.Dir, n.AMQP, n.Admin)
	text := strings.Replace(strings.Replace(b.String(), "amqp.listen: ", "amqp:\n  listen: ", 1), "admin.listen: ", "admin:\n  listen: ", 1)
	if len(c.Nodes) > 1 {
		text += "cluster:\n  id: test\n  nodes:\n"
		for i, peer := range c.Nodes {
			raft, router := peer.raft, peer.router
			if o.Proxies && i != self {
				p := []*Proxy{NewProxy(c.t, raft), NewProxy(c.t, router)}
				c.links[[2]int{self, i}] = p
				raft, router = p[0].Address(), p[1].Address()
			}
			text += fmt.Sprintf("    - {name: %s, raft: %q, router: %q}\n", peer.Name, raft, router)
		}
	}
	return text + o.Config
}

// Link applies f to the proxies through which one node reaches another.
func (c *Cluster) Link(from, to int, f func(*Proxy)) {
	for _, p := range c.links[[2]int{from, to}] {
		f(p)
	}
}

// RouterLink is the proxy through which one node's router reaches another's.
func (c *Cluster) RouterLink(from, to int) *Proxy { return c.links[[2]int{from, to}][1] }

// Isolate cuts a node off from all others, both ways; Rejoin undoes it.
func (c *Cluster) Isolate(i int) { c.around(i, (*Proxy).Cut) }

// Rejoin heals all connections of a node.
func (c *Cluster) Rejoin(i int) { c.around(i, (*Proxy).Heal) }

func (c *Cluster) around(i int, f func(*Proxy)) {
	for j := range c.Nodes {
		c.Link(i, j, f)
		c.Link(j, i, f)
	}
}

// WaitReady waits until every running node takes durable publishers and subscribers.
func (c *Cluster) WaitReady(timeout time.Duration) {
	c.t.Helper()
	if err := c.waitReady(timeout); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) waitReady(timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		err := c.notReady()
		if err == nil || errors.Is(err, errEnded) || time.Now().After(deadline) {
			return err
		}
	}
}

// errEnded says that a node has ended that nobody stopped.
var errEnded = errors.New("ended by itself")

// notReady says why not every running node takes durable publishers and subscribers; nil if they all do.
func (c *Cluster) notReady() error {
	for _, n := range c.Nodes {
		if n.PID() == 0 {
			continue
		}
		if !n.Running() {
			return fmt.Errorf("node %s %w:\n%s", n.Name, errEnded, tail(n.Log(), 40))
		}
		if err := n.Get(api.PathReady, nil); err != nil {
			return fmt.Errorf("node %s is not ready: %w", n.Name, err)
		}
	}
	return nil
}

// Leader is the node that leads a group (0 is meta), by the word of a majority of the nodes that run.
func (c *Cluster) Leader(group uint32, timeout time.Duration) *Node {
	c.t.Helper()
	var leader *Node
	Eventually(c.t, timeout, func() bool {
		leader = c.leader(group)
		return leader != nil && leader.Running()
	}, func() string { return fmt.Sprintf("group %d has no leader", group) })
	return leader
}

// Led tells whether a group has a leader that runs, as far as the nodes that run know.
func (c *Cluster) Led(group uint32) bool {
	leader := c.leader(group)
	return leader != nil && leader.Running()
}

func (c *Cluster) leader(group uint32) *Node {
	votes := map[string]int{}
	for _, n := range c.Nodes {
		var s api.Cluster
		if !n.Running() || n.Get(api.PathCluster, &s) != nil {
			continue
		}
		for _, g := range s.Groups {
			if g.ID == group && g.Leader != "" {
				votes[g.Leader]++
			}
		}
	}
	for _, n := range c.Nodes {
		if votes[n.Name] > len(c.Nodes)/2 || len(votes) == 1 && votes[n.Name] > 0 {
			return n
		}
	}
	return nil
}

// Others are all nodes but the given ones.
func (c *Cluster) Others(not ...*Node) []*Node {
	var others []*Node
next:
	for _, n := range c.Nodes {
		for _, x := range not {
			if n == x {
				continue next
			}
		}
		others = append(others, n)
	}
	return others
}

func (c *Cluster) stop() {
	for _, n := range c.Nodes {
		n.Kill()
		if !c.quiet && c.t.Failed() {
			c.t.Logf("end of node %s's log:\n%s", n.Name, tail(n.Log(), 60))
		}
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Eventually waits until a condition holds, looking every few milliseconds, and fails the test with why() if it
// doesn't within the timeout.
func Eventually(t testing.TB, timeout time.Duration, condition func() bool, why func() string) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", timeout, why())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// KillAll ends the processes of all nodes with SIGKILL at once, as a power cut ends them (but for what the kernel has
// not written yet).
func (c *Cluster) KillAll() {
	for _, n := range c.Nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
}
