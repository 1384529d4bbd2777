package router

import (
	"context"
	"encoding/json"
	"net"
	"sync"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// The nodes of a network are a full mesh: each dials each other one, and sends on the connections that it has dialled.
// On such a connection it has three links, named for what they carry.
const (
	linkControl  = "posthouse.control"  // what the node wants and serves: control messages
	linkWaypoint = "posthouse.waypoint" // bodies between waypoints
	linkDirect   = "posthouse.direct"   // copies of direct messages
)

// Properties of the open frame between nodes.
const (
	propCluster amqp.Symbol = "posthouse:cluster"
	propNode    amqp.Symbol = "posthouse:node"
	propVersion amqp.Symbol = "posthouse:mesh-version"
)

const meshVersion = 1

// control is a message on a control link. The first on each link is Full.
type control struct {
	Full   bool              `json:"full,omitempty"`   // forget what you knew of me
	Want   []string          `json:"want,omitempty"`   // addresses that clients of mine receive from
	Unwant []string          `json:"unwant,omitempty"` //
	Serve  map[string]uint64 `json:"serve"`            // all addresses that I serve, with the term; null: as before
}

// mesh is all that this node knows of the others.
type mesh struct {
	router     *Router
	neighbours map[string]*neighbour // fixed

	mu       sync.Mutex
	serves   map[string]uint64 // by this node: address -> term
	receive  func(from string, body []byte)
	onChange func()
	loopback chan struct{} // there is something in looped
	looped   [][]byte
}

func newMesh(r *Router) *mesh {
	m := &mesh{router: r, neighbours: map[string]*neighbour{}, serves: map[string]uint64{}, loopback: make(chan struct{}, 1)}
	for _, p := range r.cfg.Peers {
		m.neighbours[p.Name] = newNeighbour(m, p)
	}
	return m
}

// run dials the others until ctx is done.
func (m *mesh) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, n := range m.neighbours {
		wg.Go(func() { n.dial(ctx) })
	}
	wg.Go(func() { m.loop(ctx) })
	wg.Wait()
}

// wanted tells the others that this node begins or ends to want an address.
func (m *mesh) wanted(name string, begin bool) {
	for _, n := range m.neighbours {
		n.want(name, begin)
	}
}

func (m *mesh) changed() {
	m.mu.Lock()
	f := m.onChange
	m.mu.Unlock()
	if f != nil {
		f()
	}
}

// config is that of a connection to or from another node.
func (m *mesh) config() endpoint.Config {
	cfg := m.router.cfg
	return endpoint.Config{
		ContainerID: cfg.Node, MaxFrameSize: 256 << 10, SessionWindow: 1 << 14, MaxMessageSize: m.maxMessage(),
		IdleTimeout: cfg.PeerIdleTimeout, HandshakeTimeout: cfg.PeerIdleTimeout, Budget: m.router.budget, Internal: true,
		Properties: map[amqp.Symbol]any{propCluster: cfg.Cluster, propNode: cfg.Node, propVersion: uint32(meshVersion)},
	}
}

// maxMessage is the largest message between nodes: what clients may send and what nodes put in front of it, and never so
// little that a body of the waypoints' doesn't fit.
func (m *mesh) maxMessage() uint64 {
	return uint64(max(m.router.cfg.MaxMessageSize, 16<<20)) + 64<<10
}

// identify tells which node the other end is, or why it is none of ours.
func (m *mesh) identify(remote *amqp.Open) (*neighbour, *amqp.Error) {
	cluster, _ := remote.Properties[propCluster].(string)
	node, _ := remote.Properties[propNode].(string)
	version, _ := remote.Properties[propVersion].(uint32)
	switch {
	case node == "":
		return nil, amqp.Errorf(amqp.ErrCondNotAllowed, "this port is for the nodes of cluster %q; clients connect to another", m.router.cfg.Cluster)
	case cluster != m.router.cfg.Cluster:
		return nil, amqp.Errorf(amqp.ErrCondNotAllowed, "node %q is of cluster %q, this one is of %q", node, cluster, m.router.cfg.Cluster)
	case version != meshVersion:
		return nil, amqp.Errorf(amqp.ErrCondNotImplemented, "node %q speaks version %d between nodes, this one %d", node, version, meshVersion)
	}
	n := m.neighbours[node]
	if n == nil {
		return nil, amqp.Errorf(amqp.ErrCondNotAllowed, "node %q is not in this node's configuration", node)
	}
	return n, nil
}

// accept serves a connection that another node has dialled.
func (m *mesh) accept(ctx context.Context, nc net.Conn) {
	endpoint.Accept(nc, m.config(), &inbound{mesh: m}).Run(ctx)
}

// connected tells which other nodes can be reached now.
func (m *mesh) connected() map[string]bool {
	up := map[string]bool{}
	for name, n := range m.neighbours {
		up[name] = n.isUp()
	}
	return up
}

func encodeControl(c *control) []byte {
	data, err := json.Marshal(c)
	if err != nil {
		panic("control: " + err.Error()) // strings and numbers always marshal
	}
	m := amqp.Message{Data: [][]byte{data}}
	return m.Append(nil)
}
