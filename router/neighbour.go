package router

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// neighbour is another node: the connection that this one has dialled to it, and what it has told on its own.
type neighbour struct {
	endpoint.Unhandled // of the dialled connection
	mesh               *mesh
	peer               Peer

	mu sync.Mutex
	// Of the dialled connection; nil while there is none.
	control  *endpoint.Sender
	waypoint *endpoint.Sender
	direct   *nodeOutlet
	told     bool            // the full state is sent
	unsent   map[string]bool // addresses wanted (true) or not, to be sent
	serves   bool            // what this node serves is to be sent
	bodies   []*endpoint.Message
	size     int64
	// Of the connection that the other node has dialled.
	source *inbound               // the newest, whose word counts
	wants  map[string]bool        // addresses that its clients receive from
	offers map[string]uint64      // addresses that it serves, with the term
	added  map[string]*nodeOutlet // wants that are in the table, with the outlet that they lead to
}

// nodeOutlet is the link on which copies of direct messages go to another node.
type nodeOutlet struct{ outlet }

// maxBodies bounds the bytes of bodies that wait for a neighbour's credit. Waypoints bound what they have on the way;
// more than this means that the neighbour does not read.
const maxBodies = 64 << 20

func newNeighbour(m *mesh, p Peer) *neighbour {
	return &neighbour{mesh: m, peer: p, unsent: map[string]bool{}, wants: map[string]bool{}, offers: map[string]uint64{}, added: map[string]*nodeOutlet{}}
}

// dial keeps a connection to the other node until ctx is done.
func (n *neighbour) dial(ctx context.Context) {
	const least, most = 50 * time.Millisecond, time.Second
	for pause := least; ctx.Err() == nil; {
		began := time.Now()
		d := net.Dialer{Timeout: n.mesh.router.cfg.PeerIdleTimeout}
		nc, err := d.DialContext(ctx, "tcp", n.peer.Address)
		if err == nil {
			err = endpoint.Client(nc, n.mesh.config(), n).Run(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		n.mesh.router.cfg.Logger.Debug("connection to node ended", "node", n.peer.Name, "error", err)
		if time.Since(began) > 5*time.Second {
			pause = least
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, most)
	}
}

// Opened begins what this node has to say.
func (n *neighbour) Opened(c *endpoint.Conn, remote *amqp.Open) {
	if other, err := n.mesh.identify(remote); err != nil || other != n {
		if err == nil {
			err = amqp.Errorf(amqp.ErrCondNotAllowed, "node %q answers at the address of node %q", other.peer.Name, n.peer.Name)
		}
		n.mesh.router.cfg.Logger.Error("wrong node at the other end", "node", n.peer.Name, "address", n.peer.Address, "error", err)
		c.Close(err)
		return
	}
	s, err := c.Begin()
	if err != nil {
		c.Abort()
		return
	}
	for _, name := range []string{linkControl, linkWaypoint, linkDirect} {
		mode := amqp.SenderSettled
		if name == linkDirect {
			mode = amqp.SenderMixed
		}
		attach := amqp.Attach{Name: name, SndSettleMode: mode, Source: &amqp.Source{Address: n.mesh.router.cfg.Node}, Target: &amqp.Target{Address: name}}
		if _, err := s.NewSender(attach, name); err != nil {
			c.Abort()
			return
		}
	}
}

// Attached takes a link into use.
func (n *neighbour) Attached(l endpoint.Link) {
	s, ok := l.(*endpoint.Sender)
	if !ok {
		n.Unhandled.Attached(l)
		return
	}
	if l.Data() == linkControl {
		n.begin(s)
	}
	n.mu.Lock()
	switch l.Data() {
	case linkWaypoint:
		n.waypoint = s
	case linkDirect:
		n.direct = &nodeOutlet{outlet{router: n.mesh.router, sender: s, node: n.peer.Name, mode: amqp.SenderMixed, window: n.mesh.router.cfg.NodeWindow}}
		l.SetData(n.direct)
	}
	up := n.upLocked()
	n.mu.Unlock()
	if up {
		n.mesh.router.cfg.Logger.Info("node is connected", "node", n.peer.Name)
		n.route()
		n.mesh.changed()
	}
}

// begin takes the control link into use: all that this node wants is to be told.
func (n *neighbour) begin(control *endpoint.Sender) {
	n.mesh.router.table.withLocals(func(names []string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.control, n.told = control, false
		clear(n.unsent)
		for _, name := range names {
			n.unsent[name] = true
		}
	})
}

func (n *neighbour) upLocked() bool { return n.control != nil && n.waypoint != nil && n.direct != nil }

func (n *neighbour) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.upLocked()
}

// Credit sends what has waited for it.
func (n *neighbour) Credit(s *endpoint.Sender) {
	b := s.Conn().Batch()
	switch x := s.Data().(type) {
	case *nodeOutlet:
		x.credit(b)
	case string:
		n.mu.Lock()
		n.flushLocked(b)
		n.mu.Unlock()
	}
}

// Outcome hands on what became of a direct copy.
func (n *neighbour) Outcome(s *endpoint.Sender, o *endpoint.Outcome) {
	if x, ok := s.Data().(*nodeOutlet); ok {
		x.outcome(o, s.Conn().Batch())
	}
}

// Detached gives the connection up: its links live and die together.
func (n *neighbour) Detached(l endpoint.Link, d endpoint.Detached) {
	n.mu.Lock()
	was := n.upLocked()
	direct := n.direct
	n.control, n.waypoint, n.direct = nil, nil, nil
	for _, m := range n.bodies {
		m.Release()
	}
	n.bodies, n.size = nil, 0
	n.mu.Unlock()
	n.route()
	if direct != nil {
		direct.close(l.Conn().Batch())
	}
	if was {
		n.mesh.router.cfg.Logger.Warn("node is not connected", "node", n.peer.Name)
		n.mesh.changed()
	}
	if !d.Lost {
		l.Conn().Close(nil)
	}
}

// want notes that this node wants an address, or no longer does, and tells when it can.
func (n *neighbour) want(name string, begin bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.control == nil {
		return // all is told when there is one
	}
	n.unsent[name] = begin
	n.flushLocked(nil)
}

// flushLocked sends the state of the moment, as far as there is credit: so what changes often is told once.
func (n *neighbour) flushLocked(b *endpoint.Batch) {
	for n.control != nil && (!n.told || len(n.unsent) > 0 || n.serves) {
		c := &control{Full: !n.told}
		if !n.told || n.serves {
			c.Serve = n.mesh.served()
		}
		const most = 500 // addresses a message
		for name, begin := range n.unsent {
			if begin {
				c.Want = append(c.Want, name)
			} else {
				c.Unwant = append(c.Unwant, name)
			}
			if len(c.Want)+len(c.Unwant) == most {
				break
			}
		}
		if !n.sent(n.control.Send(&endpoint.Outgoing{Tail: encodeControl(c), Settled: true}, b)) {
			break
		}
		for _, name := range slices.Concat(c.Want, c.Unwant) {
			delete(n.unsent, name)
		}
		n.told, n.serves = true, false
	}
	for n.waypoint != nil && len(n.bodies) > 0 && n.sendLocked(n.bodies[0], b) {
		n.size -= int64(len(n.bodies[0].Bytes()))
		n.bodies[0].Release()
		n.bodies = n.bodies[1:]
	}
}

// send hands a body to the other node's waypoint.
func (n *neighbour) send(body []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waypoint == nil || n.size+int64(len(body)) > maxBodies {
		return false
	}
	m := endpoint.NewMessage(body, n.mesh.router.budget)
	if len(n.bodies) == 0 && n.sendLocked(m, nil) {
		m.Release()
		return true
	}
	n.bodies = append(n.bodies, m)
	n.size += int64(len(body))
	return true
}

func (n *neighbour) sendLocked(m *endpoint.Message, b *endpoint.Batch) bool {
	// 3.2.6: one data section around the body.
	size := len(m.Bytes())
	head := [8]byte{0x00, 0x53, byte(amqp.CodeData), 0xb0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}
	return n.sent(n.waypoint.Send(&endpoint.Outgoing{Prefix: head[:], Tail: m.Bytes(), Message: m, Settled: true}, b))
}

// sent tells whether something need not wait: it went out, or never can.
func (n *neighbour) sent(_ endpoint.SendRef, err error) bool {
	if errors.Is(err, endpoint.ErrTooLarge) {
		n.mesh.router.cfg.Logger.Error("a message between nodes is larger than the other node takes, and was dropped", "node", n.peer.Name, "error", err)
		return true
	}
	return err == nil
}

// heard takes in what the other node tells on its connection. It returns false if that is no longer the newest.
func (n *neighbour) heard(from *inbound, c *control) bool {
	n.mu.Lock()
	if n.source != from {
		n.mu.Unlock()
		return false
	}
	if c.Full {
		clear(n.wants)
		clear(n.offers)
	}
	for _, name := range c.Want {
		n.wants[name] = true
	}
	for _, name := range c.Unwant {
		delete(n.wants, name)
	}
	if c.Serve != nil {
		n.offers = maps.Clone(c.Serve)
	}
	n.mu.Unlock()
	n.route()
	if c.Full || c.Serve != nil {
		n.mesh.changed()
	}
	return true
}

// heardFrom makes a connection the one whose word counts.
func (n *neighbour) heardFrom(in *inbound) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.source = in
}

// silent forgets what the other node told: its connection is gone.
func (n *neighbour) silent(in *inbound) {
	n.mu.Lock()
	if n.source != in {
		n.mu.Unlock()
		return
	}
	n.source = nil
	clear(n.wants)
	clear(n.offers)
	n.mu.Unlock()
	n.route()
	n.mesh.changed()
}

// route makes the table agree with what the other node wants and with the link that leads there.
func (n *neighbour) route() {
	n.mesh.router.routing.Lock()
	defer n.mesh.router.routing.Unlock()
	n.mu.Lock()
	direct, wants := n.direct, maps.Clone(n.wants)
	n.mu.Unlock()
	table := n.mesh.router.table
	for name, o := range n.added {
		if o != direct || !wants[name] {
			table.remove(name, &o.outlet)
			delete(n.added, name)
		}
	}
	for name := range wants {
		if direct != nil && n.added[name] == nil {
			table.add(name, &direct.outlet)
			n.added[name] = direct
		}
	}
}
