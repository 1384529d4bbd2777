package sim

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/raft/rafttest"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// Options shape a Cluster. Zero fields take the defaults named.
type Options struct {
	Nodes  []string // default: a, b, c
	Groups []uint32 // default: 1
	// Tune changes a node's configuration before it is opened.
	Tune func(node string, c *raft.Config)
	// Store changes its storage's.
	Store func(node string, c *storage.Config)
	// Machine changes a group's machine before it is opened.
	Machine func(node string, group uint32, m *Machine)
	// Fatal is called where a process would end; default: the test fails.
	Fatal func(node, msg string, err error)
	Log   slog.Level // default: slog.LevelWarn
	// Think is the time between an answer and a load's next command; default 10 ms.
	Think time.Duration
}

// Cluster is a set of nodes. Its methods belong to the test's goroutine, except those of Propose.
type Cluster struct {
	T    testing.TB
	Net  *rafttest.Network
	opts Options

	mu    sync.Mutex
	nodes map[string]*Node
	loads []*Load
	armed int // crashes armed before the last Disarm count no more
	over  bool
}

// Node is one node of a Cluster. It may be down.
type Node struct {
	Name  string
	FS    *storagetest.FS
	Clock *rafttest.Clock

	mu       sync.Mutex
	store    *storage.Store
	raft     *raft.Node
	groups   map[uint32]*raft.Group
	machines map[uint32]*Machine
	died     chan struct{} // closed when it has called Fatal: parts of it stand still for ever, and it is left as it is
}

// New makes a cluster of empty nodes, all down.
func New(t testing.TB, o Options) *Cluster {
	if o.Nodes == nil {
		o.Nodes = []string{"a", "b", "c"}
	}
	if o.Groups == nil {
		o.Groups = []uint32{1}
	}
	if o.Log == 0 {
		o.Log = slog.LevelWarn
	}
	if o.Think == 0 {
		o.Think = 10 * time.Millisecond
	}
	c := &Cluster{T: t, Net: rafttest.NewNetwork(), opts: o, nodes: map[string]*Node{}}
	for _, name := range o.Nodes {
		c.nodes[name] = &Node{Name: name, FS: storagetest.New(), Clock: &rafttest.Clock{}, died: make(chan struct{})}
	}
	c.Net.DelayAll(200 * time.Microsecond) // in a bubble time passes only while everybody waits
	t.Cleanup(c.Close)
	return c
}

// Start makes a cluster and starts all of it.
func Start(t testing.TB, o Options) *Cluster {
	c := New(t, o)
	for _, name := range c.Names() {
		c.Up(name)
	}
	return c
}

// Names are the names of all nodes, sorted.
func (c *Cluster) Names() []string {
	names := append([]string(nil), c.opts.Nodes...)
	sort.Strings(names)
	return names
}

// Node returns a node.
func (c *Cluster) Node(name string) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[name]
}

// Add makes one more node, down. It is not among the peers of those that are up.
func (c *Cluster) Add(name string) {
	c.opts.Nodes = append(c.opts.Nodes, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = &Node{Name: name, FS: storagetest.New(), Clock: &rafttest.Clock{}, died: make(chan struct{})}
}

func (c *Cluster) peers() []raft.Peer {
	var ps []raft.Peer
	for _, name := range c.Names() {
		ps = append(ps, raft.Peer{Name: name, Address: name})
	}
	return ps
}

// Up starts a node on its file system.
func (c *Cluster) Up(name string) {
	c.T.Helper()
	if err := c.TryUp(name); err != nil {
		c.T.Fatalf("start %s: %v", name, err)
	}
}

// TryUp is Up with an error.
func (c *Cluster) TryUp(name string) error {
	n := c.Node(name)
	logger := slog.New(slog.NewTextHandler(logWriter{c, name}, &slog.HandlerOptions{Level: c.opts.Log}))
	fatal := func(msg string, err error) { c.fatal(name, msg, err) }
	sc := storagetest.Config(c.T, n.FS, "data")
	sc.Node, sc.Logger, sc.Fatal = name, logger.With("in", "storage"), fatal
	sc.MarkInterval, sc.SpaceInterval = 50*time.Millisecond, 50*time.Millisecond
	if c.opts.Store != nil {
		c.opts.Store(name, &sc)
	}
	store, err := storage.Open(context.Background(), sc)
	if err != nil {
		return err
	}
	rc := raft.Config{
		Store: store, Peers: c.peers(), Listener: c.Net.Listen(name), Dial: c.Net.Dialer(name),
		Clock: n.Clock.Now, Logger: logger, Fatal: fatal,
		NoBalance: true, BalanceStable: 2 * time.Second, BalanceInterval: 100 * time.Millisecond,
	}
	if c.opts.Tune != nil {
		c.opts.Tune(name, &rc)
	}
	node, err := raft.Open(rc)
	if err != nil {
		_, _ = rc.Listener.Close(), store.Close()
		return err
	}
	groups, machines := map[uint32]*raft.Group{}, map[uint32]*Machine{}
	for _, id := range c.opts.Groups {
		state, err := store.State(id)
		if err == nil {
			machines[id] = NewMachine(state, func(format string, args ...any) { c.T.Errorf(name+": "+format, args...) })
			if c.opts.Machine != nil {
				c.opts.Machine(name, id, machines[id])
			}
			groups[id], err = node.Group(id, machines[id])
		}
		if err != nil {
			_, _ = node.Close(context.Background()), store.Close()
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.store, n.raft, n.groups, n.machines = store, node, groups, machines
	return nil
}

func (c *Cluster) fatal(name, msg string, err error) {
	n := c.Node(name)
	n.mu.Lock()
	if !n.dead() {
		close(n.died)
	}
	n.mu.Unlock()
	c.Net.Darken(name)
	if c.opts.Fatal != nil {
		c.opts.Fatal(name, msg, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.T.Errorf("%s: fatal: %s: %v", name, msg, err)
	}
}

func (n *Node) dead() bool {
	select {
	case <-n.died:
		return true
	default:
		return false
	}
}

// Down stops a node gracefully.
func (c *Cluster) Down(name string) {
	c.T.Helper()
	n := c.Node(name)
	n.mu.Lock()
	node, store := n.raft, n.store
	n.raft, n.store, n.groups, n.machines = nil, nil, nil, nil
	n.mu.Unlock()
	if node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := node.Close(ctx); err != nil {
		c.T.Errorf("close %s: %v", name, err)
	}
	if err := store.Close(); err != nil {
		c.T.Errorf("close storage of %s: %v", name, err)
	}
}

// Crash ends a node at this moment. What of its unsynced writes survives is drawn: 0 percent is a power loss that takes all of
// them, 100 a killed process. The node is down after.
func (c *Cluster) Crash(name string, unsyncedPercent int, seed uint64) {
	c.T.Helper()
	n := c.Node(name)
	c.CrashTo(name, n.FS.Crash(unsyncedPercent, seed))
}

// CrashTo is Crash to a file system that was taken before (storagetest.FS.CrashAt).
func (c *Cluster) CrashTo(name string, after *storagetest.FS) {
	c.T.Helper()
	n := c.Node(name)
	// Nobody hears of it from now on. What it does until it is stopped, it does to the old file system.
	c.Net.Darken(name)
	c.Net.Reset(name)
	n.FS.Clear()
	n.mu.Lock()
	node, store := n.raft, n.store
	n.raft, n.store, n.groups, n.machines = nil, nil, nil, nil
	n.mu.Unlock()
	n.FS = after
	if node != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_, _ = node.Close(gone), store.Close()
	}
	c.Net.Light(name)
}

// CrashAt arms a crash: when the node reaches one of storage's crash points for the skip+1st time, nobody hears of it any
// more, and the channel gets the file system for CrashTo.
func (c *Cluster) CrashAt(name, point string, skip, unsyncedPercent int, seed uint64) <-chan *storagetest.FS {
	fs := c.Node(name).FS
	ch := make(chan *storagetest.FS, 1)
	c.mu.Lock()
	armed := c.armed
	c.mu.Unlock()
	fs.At(point, skip, func() {
		c.mu.Lock()
		valid := armed == c.armed
		c.mu.Unlock()
		if !valid {
			return
		}
		c.Net.Darken(name)
		ch <- fs.Crash(unsyncedPercent, seed)
	})
	return ch
}

// Disarm makes all CrashAt that have not happened yet do nothing.
func (c *Cluster) Disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed++
}

// PowerLoss crashes several nodes at the same moment.
func (c *Cluster) PowerLoss(unsyncedPercent int, seed uint64, names ...string) {
	c.T.Helper()
	after := map[string]*storagetest.FS{}
	for i, name := range names {
		c.Net.Darken(name)
		after[name] = c.Node(name).FS.Crash(unsyncedPercent, seed+uint64(i))
	}
	for _, name := range names {
		c.CrashTo(name, after[name])
	}
}

// Wipe empties a node's disk. It must be down.
func (c *Cluster) Wipe(name string) { c.Node(name).FS = storagetest.New() }

// heal ends all partitions and delays.
func (c *Cluster) heal() {
	for _, name := range c.Names() {
		c.Net.Join(name, c.Names()...)
	}
	c.Net.DelayAll(200 * time.Microsecond)
}

// Group returns a node's replica of a group, nil if the node is down.
func (n *Node) Group(id uint32) *raft.Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.groups[id]
}

// Machine returns its state machine, nil if the node is down.
func (n *Node) Machine(id uint32) *Machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.machines[id]
}

// Raft returns the node's part in all groups, nil if it is down.
func (n *Node) Raft() *raft.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.raft
}

// Store returns its storage, nil if it is down.
func (n *Node) Store() *storage.Store {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store
}

// Close stops everything.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	for _, name := range c.Names() {
		n := c.Node(name)
		n.FS.Clear()
		n.mu.Lock()
		node, store, dead := n.raft, n.store, n.dead()
		n.raft, n.store = nil, nil
		n.mu.Unlock()
		if node != nil && !dead {
			gone, cancel := context.WithCancel(context.Background())
			cancel()
			_, _ = node.Close(gone), store.Close()
		}
	}
	for _, l := range c.loads {
		l.Stop()
	}
}

// Await waits for a condition, for a minute at most.
func (c *Cluster) Await(what string, cond func() bool) {
	c.T.Helper()
	end := time.Now().Add(time.Minute)
	for pause := time.Millisecond; !cond(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(end) {
			c.T.Fatalf("not within a minute: %s\n%s", what, c.describe())
		}
		time.Sleep(pause) // between two looks
	}
}

func (c *Cluster) describe() string {
	var s string
	for _, name := range c.Names() {
		n := c.Node(name)
		for _, id := range c.opts.Groups {
			if g := n.Group(id); g != nil {
				s += fmt.Sprintf("%s group %d: %+v err=%v\n", name, id, g.Status(), g.Err())
			} else {
				s += fmt.Sprintf("%s group %d: down\n", name, id)
			}
		}
		if r := n.Raft(); r != nil {
			s += fmt.Sprintf("%s trouble: %q\n", name, r.Trouble())
		}
	}
	return s
}

// Leader waits for a leader of a group and returns its node.
func (c *Cluster) Leader(group uint32) string {
	c.T.Helper()
	var leader string
	c.Await(fmt.Sprintf("a leader of group %d", group), func() bool {
		leader = c.leaderNow(group)
		return leader != ""
	})
	return leader
}

func (c *Cluster) leaderNow(group uint32) string {
	for _, name := range c.Names() {
		if g := c.Node(name).Group(group); g != nil && g.Leadership().Leader {
			return name
		}
	}
	return ""
}

type logWriter struct {
	c    *Cluster
	name string
}

func (w logWriter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if !w.c.over {
		w.c.T.Logf("%s: %s", w.name, p)
	}
	return len(p), nil
}
