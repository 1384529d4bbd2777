package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
)

// cluster is three child processes.
type cluster struct {
	dir   string
	nodes []*child
	keep  bool
}

// child is a node's process.
type child struct {
	name, amqp, admin, raft, router string
	config, log                     string
	cmd                             *exec.Cmd
	done                            chan struct{} // closed when the process has ended
}

func newCluster(keep bool) (*cluster, error) {
	dir, err := os.MkdirTemp("", "posthouse-demo-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, keep: keep}
	used := map[string]bool{}
	for _, name := range []string{"a", "b", "c"} {
		n := &child{name: name, config: filepath.Join(dir, name+".yaml"), log: filepath.Join(dir, name+".log")}
		for _, to := range []*string{&n.amqp, &n.admin, &n.raft, &n.router} {
			if *to, err = freeAddress(used); err != nil {
				os.RemoveAll(dir)
				return nil, err
			}
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// freeAddress finds a port of 127.0.0.1 that nobody listens on. It looks below the range that kernels take for outgoing
// connections, so that the port is still free when the node starts.
func freeAddress(used map[string]bool) (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		l, err := net.Listen("tcp", address)
		if err != nil || used[address] {
			continue
		}
		l.Close()
		used[address] = true
		return address, nil
	}
	return "", errors.New("no free port on 127.0.0.1")
}

// configuration is the few lines that make a node one of three.
func (c *cluster) configuration(n *child) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "node: %s\ndata: %s\namqp: {listen: %q}\nadmin: {listen: %q}\ndisk: {reserve: 8MiB, low: 64MiB, full: 32MiB}\ncluster:\n  id: demo\n  nodes:\n",
		n.name, filepath.Join(c.dir, n.name), n.amqp, n.admin)
	for _, p := range c.nodes {
		fmt.Fprintf(b, "    - {name: %s, raft: %q, router: %q}\n", p.name, p.raft, p.router)
	}
	return b.String()
}

// start starts all nodes and waits until they take durable publishers and subscribers.
func (c *cluster) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := os.WriteFile(n.config, []byte(c.configuration(n)), 0o600); err != nil {
			return err
		}
		if err := n.start(self, c.keep); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := n.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *child) start(self string, keep bool) error {
	log, err := os.Create(n.log)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(self, "serve", "--config", n.config)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = processAttributes(keep)
	started := make(chan error)
	n.done = make(chan struct{})
	go func() {
		// Where the system ends children with their parent, it is with the parent's thread: this one lives as long as
		// the child.
		runtime.LockOSThread()
		err := n.cmd.Start()
		started <- err
		if err == nil {
			n.cmd.Wait()
		}
		close(n.done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start node %s: %w", n.name, err)
	}
	return nil
}

func (n *child) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := n.get(ctx, api.PathReady, nil)
		if err == nil {
			return nil
		}
		select {
		case <-n.done:
			return fmt.Errorf("node %s ended by itself", n.name)
		case <-ctx.Done():
			return fmt.Errorf("node %s is not ready: %w", n.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *child) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		e := &api.Error{}
		if json.Unmarshal(data, e) == nil && e.Message != "" {
			return e
		}
		return errors.New(resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// alive are the nodes whose processes run.
func (c *cluster) alive() []*child {
	var alive []*child
	for _, n := range c.nodes {
		select {
		case <-n.done:
		default:
			alive = append(alive, n)
		}
	}
	return alive
}

func (c *cluster) status(ctx context.Context) (api.Cluster, error) {
	var s api.Cluster
	err := errors.New("no node is alive")
	for _, n := range c.alive() {
		if err = n.get(ctx, api.PathCluster, &s); err == nil {
			return s, nil
		}
	}
	return s, err
}

func (c *cluster) leaders(ctx context.Context) (string, error) {
	s, err := c.status(ctx)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, g := range s.Groups {
		parts = append(parts, g.Name+" "+g.Leader)
	}
	return strings.Join(parts, ", "), nil
}

// leader is the node that leads a shard.
func (c *cluster) leader(ctx context.Context, shard uint32) (*child, error) {
	s, err := c.status(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range s.Groups {
		for _, n := range c.nodes {
			if g.ID == shard && n.name == g.Leader {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("shard %d has no leader", shard)
}

// kill is kill -9.
func (n *child) kill() {
	n.cmd.Process.Kill()
	<-n.done
}

// stop ends all processes and removes all files.
func (c *cluster) stop() {
	for _, n := range c.nodes {
		if n.cmd != nil && n.cmd.Process != nil {
			n.kill()
		}
	}
	os.RemoveAll(c.dir)
}

// logs are the last lines that each node wrote, for when something went wrong.
func (c *cluster) logs() string {
	b := &strings.Builder{}
	for _, n := range c.nodes {
		data, _ := os.ReadFile(n.log)
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		fmt.Fprintf(b, "--- end of node %s's log\n%s\n", n.name, strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	return strings.TrimSpace(b.String())
}

func (c *cluster) pids() string {
	b := &strings.Builder{}
	for _, n := range c.alive() {
		fmt.Fprintf(b, " %d", n.cmd.Process.Pid)
	}
	return b.String()
}
