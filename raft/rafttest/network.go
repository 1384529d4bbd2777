package rafttest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Network connects hosts, by name. Each directed pair of hosts is a link: what is sent over a cut one is held, and arrives
// when it is healed (as TCP does it, sending again), so that no stream is ever torn in the middle.
type Network struct {
	mu        sync.Mutex
	links     map[[2]string]*link
	listeners map[string]*listener
	conns     map[*conn]struct{}
	dark      map[string]bool
	delay     time.Duration
}

// link is one direction between two hosts.
type link struct {
	ends  [2]string
	cut   bool
	delay time.Duration
	pipes map[*pipe]struct{}
	up    chan struct{} // closed and replaced when the link is healed
}

// NewNetwork returns a network with all links up.
func NewNetwork() *Network {
	return &Network{links: map[[2]string]*link{}, listeners: map[string]*listener{}, conns: map[*conn]struct{}{}, dark: map[string]bool{}}
}

// cutLocked says whether nothing passes a link now.
func (n *Network) cutLocked(l *link) bool { return l.cut || n.dark[l.ends[0]] || n.dark[l.ends[1]] }

func (n *Network) linkLocked(from, to string) *link {
	l := n.links[[2]string{from, to}]
	if l == nil {
		l = &link{ends: [2]string{from, to}, pipes: map[*pipe]struct{}{}, up: make(chan struct{}), delay: n.delay}
		n.links[[2]string{from, to}] = l
	}
	return l
}

// Listen makes a host reachable. A host listens once at a time.
func (n *Network) Listen(host string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &listener{net: n, host: host, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[host] = l
	return l
}

// Dialer returns a dial function for a host; addresses are host names.
func (n *Network) Dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) { return n.dial(ctx, from, to) }
}

func (n *Network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	for {
		n.mu.Lock()
		out, back := n.linkLocked(from, to), n.linkLocked(to, from)
		up := out.up
		if !n.cutLocked(out) {
			up = back.up
		}
		if !n.cutLocked(out) && !n.cutLocked(back) {
			break // with the lock
		}
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s from %s: %w", to, from, ctx.Err())
		case <-up:
		}
	}
	l := n.listeners[to]
	if l == nil {
		n.mu.Unlock()
		return nil, fmt.Errorf("dial %s from %s: connection refused", to, from)
	}
	there, here := newPipe(n, from, to), newPipe(n, to, from)
	a := &conn{net: n, local: from, remote: to, in: here, out: there}
	b := &conn{net: n, local: to, remote: from, in: there, out: here}
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	n.mu.Unlock()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.closed:
		_, _ = a.Close(), b.Close()
		return nil, fmt.Errorf("dial %s from %s: connection refused", to, from)
	case <-ctx.Done():
		_, _ = a.Close(), b.Close()
		return nil, fmt.Errorf("dial %s from %s: %w", to, from, ctx.Err())
	}
}

// Cut stops what is sent from one host to another, one way.
func (n *Network) Cut(from, to string) { n.set(from, to, func(l *link) { l.cut = true }) }

// Heal undoes Cut.
func (n *Network) Heal(from, to string) { n.set(from, to, func(l *link) { l.cut = false }) }

// Darken cuts a host off from all others, whatever happens to its links, until it is lit: a host that has lost its power.
func (n *Network) Darken(host string) { n.setDark(host, true) }

// Light undoes Darken.
func (n *Network) Light(host string) { n.setDark(host, false) }

func (n *Network) setDark(host string, dark bool) {
	n.mu.Lock()
	n.dark[host] = dark
	var keys [][2]string
	for k := range n.links {
		if k[0] == host || k[1] == host {
			keys = append(keys, k)
		}
	}
	n.mu.Unlock()
	for _, k := range keys {
		n.set(k[0], k[1], func(*link) {})
	}
}

// Delay holds everything that is sent from now on from one host to another for d.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.set(from, to, func(l *link) { l.delay = d })
}

// DelayAll sets the delay of all links.
func (n *Network) DelayAll(d time.Duration) {
	n.mu.Lock()
	n.delay = d
	keys := make([][2]string, 0, len(n.links))
	for k := range n.links {
		keys = append(keys, k)
	}
	n.mu.Unlock()
	for _, k := range keys {
		n.Delay(k[0], k[1], d)
	}
}

// Isolate cuts a host off from the others given, both ways; Join undoes it.
func (n *Network) Isolate(host string, others ...string) {
	for _, o := range others {
		if o != host {
			n.Cut(host, o)
			n.Cut(o, host)
		}
	}
}

// Join heals all links between a host and the others given.
func (n *Network) Join(host string, others ...string) {
	for _, o := range others {
		if o != host {
			n.Heal(host, o)
			n.Heal(o, host)
		}
	}
}

// Reset breaks all connections of a host, as a crash does.
func (n *Network) Reset(host string) {
	n.mu.Lock()
	var broken []*conn
	for c := range n.conns {
		if c.local == host || c.remote == host {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.reset()
	}
}

func (n *Network) set(from, to string, f func(*link)) {
	n.mu.Lock()
	l := n.linkLocked(from, to)
	f(l)
	pipes := make([]*pipe, 0, len(l.pipes))
	for p := range l.pipes {
		pipes = append(pipes, p)
	}
	cut, delay := n.cutLocked(l), l.delay
	if !cut { // whoever waits to dial looks again
		close(l.up)
		l.up = make(chan struct{})
	}
	n.mu.Unlock()
	for _, p := range pipes {
		p.setLink(cut, delay)
	}
}

func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	delete(n.linkLocked(c.local, c.remote).pipes, c.out)
	delete(n.linkLocked(c.remote, c.local).pipes, c.in)
}

type listener struct {
	net    *Network
	host   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[l.host] == l {
			delete(l.net.listeners, l.host)
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.host) }

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }
