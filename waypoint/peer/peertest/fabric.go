// Package peertest has a peer.Network in memory, for tests: several nodes, cuts, silent losses and delays.
package peertest

import (
	"sync"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Fabric joins nodes in memory. Every node reaches every other one until it is told otherwise. It works under testing/synctest.
type Fabric struct {
	mu      sync.Mutex
	closed  bool
	nodes   map[string]*Node
	paths   map[direction]*path
	adverts map[string]map[string]uint64 // address -> node -> term
	wg      sync.WaitGroup
}

type direction struct{ from, to string }

// NewFabric makes an empty one. Close it.
func NewFabric() *Fabric {
	return &Fabric{nodes: map[string]*Node{}, paths: map[direction]*path{}, adverts: map[string]map[string]uint64{}}
}

// Node gives the node of that name, making it when it is asked for first. After Crash it makes a new one.
func (f *Fabric) Node(name string) *Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[name]; n != nil {
		return n
	}
	n := &Node{fabric: f, name: name}
	f.nodes[name] = n
	return n
}

// Close stops all goroutines and waits for them.
func (f *Fabric) Close() {
	f.mu.Lock()
	f.closed = true
	for _, p := range f.paths {
		p.clear()
		p.cond.Broadcast()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// Cut breaks the path between two nodes in both directions: what is under way is lost, and both learn of it.
func (f *Fabric) Cut(a, b string) {
	f.change(true, both(a, b), func(p *path) { p.cut = true; p.clear() })
}

// CutOneWay breaks the path in one direction; both nodes learn of it.
func (f *Fabric) CutOneWay(from, to string) {
	f.change(true, []direction{{from, to}}, func(p *path) { p.cut = true; p.clear() })
}

// Lose has everything between two nodes lost without anyone being told.
func (f *Fabric) Lose(a, b string) {
	f.change(false, both(a, b), func(p *path) { p.lose = true; p.clear() })
}

// LoseOneWay has everything from one node to another lost without anyone being told.
func (f *Fabric) LoseOneWay(from, to string) {
	f.change(false, []direction{{from, to}}, func(p *path) { p.lose = true; p.clear() })
}

// LoseNext has the next n bodies from one node to another lost without anyone being told.
func (f *Fabric) LoseNext(from, to string, n int) {
	f.change(false, []direction{{from, to}}, func(p *path) { p.loseNext = n })
}

// Heal takes back Cut and Lose between two nodes.
func (f *Fabric) Heal(a, b string) {
	f.change(true, both(a, b), func(p *path) { p.cut, p.lose, p.loseNext = false, false, 0 })
}

// Delay has bodies between two nodes take so long, in each direction.
func (f *Fabric) Delay(a, b string, d time.Duration) {
	f.change(false, both(a, b), func(p *path) { p.delay = d })
}

// Crash takes a node away as if its process had died: what is under way from and to it is lost, what it advertised is gone. Node
// makes a new one of the same name.
func (f *Fabric) Crash(name string) {
	f.mu.Lock()
	n := f.nodes[name]
	delete(f.nodes, name)
	if n != nil {
		n.dead = true
	}
	for _, terms := range f.adverts {
		delete(terms, name)
	}
	for d, p := range f.paths {
		if d.from == name || d.to == name {
			p.clear()
		}
	}
	changed := f.onChangesLocked()
	f.mu.Unlock()
	call(changed)
}

func both(a, b string) []direction { return []direction{{a, b}, {b, a}} }

func (f *Fabric) change(tell bool, directions []direction, do func(*path)) {
	f.mu.Lock()
	for _, d := range directions {
		do(f.pathLocked(d))
	}
	var changed []func()
	if tell {
		changed = f.onChangesLocked()
	}
	f.mu.Unlock()
	call(changed)
}

func (f *Fabric) onChangesLocked() []func() {
	var list []func()
	for _, n := range f.nodes {
		if n.onChange != nil {
			list = append(list, n.onChange)
		}
	}
	return list
}

func call(list []func()) {
	for _, f := range list {
		f()
	}
}

func (f *Fabric) pathLocked(d direction) *path {
	p := f.paths[d]
	if p == nil {
		p = &path{fabric: f, direction: d}
		p.cond.L = &f.mu
		f.paths[d] = p
		if !f.closed {
			f.wg.Go(p.run)
		}
	}
	return p
}

// Node is one node's peer.Network.
type Node struct {
	fabric *Fabric
	name   string

	// Guarded by fabric.mu.
	dead     bool
	receive  func(string, []byte)
	onChange func()
}

var _ peer.Network = (*Node)(nil)

// Node is its name.
func (n *Node) Node() string { return n.name }

// Send queues a body for another node, or this one.
func (n *Node) Send(node string, body []byte) bool {
	f := n.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	to := f.nodes[node]
	if n.dead || f.closed || to == nil || to.receive == nil {
		return false
	}
	p := f.pathLocked(direction{n.name, node})
	switch {
	case p.cut:
		return false
	case p.lose:
		return true
	case p.loseNext > 0:
		p.loseNext--
		return true
	}
	p.queue = append(p.queue, item{to: to, body: body, at: time.Now().Add(p.delay)})
	p.cond.Signal()
	return true
}

// Receive sets who gets what arrives.
func (n *Node) Receive(receive func(from string, body []byte)) {
	n.fabric.mu.Lock()
	defer n.fabric.mu.Unlock()
	n.receive = receive
}

// OnChange sets who is told of changes.
func (n *Node) OnChange(changed func()) {
	n.fabric.mu.Lock()
	defer n.fabric.mu.Unlock()
	n.onChange = changed
}

// Advertise is seen by all nodes that reach this one at once.
func (n *Node) Advertise(address string, term uint64) {
	f := n.fabric
	f.mu.Lock()
	if n.dead {
		f.mu.Unlock()
		return
	}
	if f.adverts[address] == nil {
		f.adverts[address] = map[string]uint64{}
	}
	f.adverts[address][n.name] = term
	changed := f.onChangesLocked()
	f.mu.Unlock()
	call(changed)
}

// Withdraw takes it back.
func (n *Node) Withdraw(address string) {
	f := n.fabric
	f.mu.Lock()
	if !n.dead {
		delete(f.adverts[address], n.name)
	}
	changed := f.onChangesLocked()
	f.mu.Unlock()
	call(changed)
}

// Resolve finds the newest among the nodes that can be reached from here.
func (n *Node) Resolve(address string) (node string, ok bool) {
	f := n.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	var newest uint64
	for name, term := range f.adverts[address] {
		if p := f.paths[direction{n.name, name}]; p != nil && p.cut {
			continue
		}
		if !ok || term > newest || (term == newest && name < node) {
			node, newest, ok = name, term, true
		}
	}
	return node, ok
}

// path carries bodies in one direction, in order.
type path struct {
	fabric *Fabric
	direction
	cond sync.Cond // L is fabric.mu

	// Guarded by fabric.mu.
	queue    []item
	breaks   int // times that what was under way was lost
	delay    time.Duration
	cut      bool
	lose     bool
	loseNext int
}

type item struct {
	to   *Node
	body []byte
	at   time.Time
}

func (p *path) clear() {
	p.queue = nil
	p.breaks++
}

func (p *path) run() {
	f := p.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for len(p.queue) == 0 && !f.closed {
			p.cond.Wait()
		}
		if f.closed {
			return
		}
		next, breaks := p.queue[0], p.breaks
		p.queue = p.queue[1:]
		if wait := time.Until(next.at); wait > 0 {
			f.mu.Unlock()
			time.Sleep(wait)
			f.mu.Lock()
		}
		if f.closed || breaks != p.breaks || next.to.dead {
			continue
		}
		receive := next.to.receive
		f.mu.Unlock()
		receive(p.from, next.body)
		f.mu.Lock()
	}
}
