package router

import (
	"context"
	"maps"
)

// Network is the mesh as the waypoint sees it: bodies to the waypoints of other nodes, and addresses that nodes serve.
type Network struct{ m *mesh }

// Network returns it.
func (r *Router) Network() Network { return Network{r.mesh} }

// Node is the name of this node.
func (n Network) Node() string { return n.m.router.cfg.Node }

// Receive sets the function that is called for each body that comes in: in order per sender. It must not block; body is
// its own. To be called once, before Run.
func (n Network) Receive(f func(from string, body []byte)) { n.m.receive = f }

// OnChange sets the function that is called when a resolution, or whether a node can be reached, may have changed. It
// must not block. To be called once, before Run.
func (n Network) OnChange(f func()) { n.m.onChange = f }

// Send hands body to the waypoint of a node, this one included, and takes ownership of it. It never blocks and never
// calls back. False: there is no path now. Bodies to one node arrive in order, and may be lost when the path breaks.
func (n Network) Send(node string, body []byte) bool {
	if node == n.Node() {
		n.m.loopBack(body)
		return true
	}
	neighbour := n.m.neighbours[node]
	return neighbour != nil && neighbour.send(body)
}

// Advertise tells all nodes that this one serves address since a term; Withdraw takes it back.
func (n Network) Advertise(address string, term uint64) { n.m.serve(address, term) }

// Withdraw undoes Advertise.
func (n Network) Withdraw(address string) { n.m.serve(address, 0) }

// Resolve finds the node that serves address since the newest term.
func (n Network) Resolve(address string) (node string, ok bool) { return n.m.resolve(address) }

func (m *mesh) serve(address string, term uint64) {
	m.mu.Lock()
	if term == 0 {
		delete(m.serves, address)
	} else {
		m.serves[address] = term
	}
	m.mu.Unlock()
	for _, n := range m.neighbours {
		n.mu.Lock()
		n.serves = true
		n.flushLocked(nil)
		n.mu.Unlock()
	}
	m.changed()
}

// served is what this node serves now.
func (m *mesh) served() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.serves)
}

func (m *mesh) resolve(address string) (node string, ok bool) {
	m.mu.Lock()
	newest := m.serves[address]
	m.mu.Unlock()
	if newest > 0 {
		node = m.router.cfg.Node
	}
	for name, n := range m.neighbours {
		n.mu.Lock()
		if term := n.offers[address]; term > newest {
			newest, node = term, name
		}
		n.mu.Unlock()
	}
	return node, newest > 0
}

// loopBack hands a body to this node's own waypoint, from another goroutine: Send must not call back.
func (m *mesh) loopBack(body []byte) {
	m.mu.Lock()
	m.looped = append(m.looped, body)
	m.mu.Unlock()
	select {
	case m.loopback <- struct{}{}:
	default:
	}
}

func (m *mesh) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.loopback:
		}
		m.mu.Lock()
		bodies := m.looped
		m.looped = nil
		m.mu.Unlock()
		for _, body := range bodies {
			m.deliver(m.router.cfg.Node, body)
		}
	}
}

func (m *mesh) deliver(from string, body []byte) {
	if m.receive != nil {
		m.receive(from, body)
	}
}
