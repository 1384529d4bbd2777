package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

// transport is hashicorp/raft's network transport of one group, on streams that the mux hands out. It is embedded so that
// RequestPreVote stays: a wrapper without it switches pre-vote off with a mere warning.
//
// Peers are addressed by their server ids; the dialler finds the node's address. So a vote is kept by server id, too
// (hashicorp/raft keeps the candidate's address).
type transport struct {
	*hraft.NetworkTransport
	inst *instance
	rpcs chan hraft.RPC
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

var (
	_ hraft.Transport   = (*transport)(nil)
	_ hraft.WithPreVote = (*transport)(nil)
	_ hraft.WithClose   = (*transport)(nil)
)

var (
	errFenced     = errors.New("this replica is being opened again")
	errNotStaged  = errors.New("no such state was transferred to this replica")
	errTicketBody = errors.New("a snapshot with a body is not taken")
)

func newTransport(inst *instance) *transport {
	t := &transport{
		NetworkTransport: hraft.NewNetworkTransportWithConfig(&hraft.NetworkTransportConfig{
			Stream:          inst.layer,
			MaxPool:         2,
			MaxRPCsInFlight: 2,
			Timeout:         inst.group.cfg.RPCTimeout,
			Logger:          newLibLogger(inst.group.logger),
		}),
		inst: inst,
		rpcs: make(chan hraft.RPC),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	go t.filter()
	return t
}

// SetHeartbeatHandler does nothing: without the fast path heartbeats go through Raft's main goroutine. On it, one with a newer
// term may come between a leader's reading of the term and its write of an entry, which then gets the new leader's term:
// logs diverge (hashicorp/raft#695).
func (t *transport) SetHeartbeatHandler(func(hraft.RPC)) {}

// Consumer hands out the RPCs that may be answered.
func (t *transport) Consumer() <-chan hraft.RPC { return t.rpcs }

// filter stands before Raft's main goroutine.
func (t *transport) filter() {
	defer close(t.done)
	for {
		select {
		case <-t.stop:
			return
		case rpc := <-t.NetworkTransport.Consumer():
			if !t.admit(rpc) {
				continue
			}
			select {
			case t.rpcs <- rpc:
			case <-t.stop:
				return
			}
		}
	}
}

func (t *transport) RequestVote(id hraft.ServerID, target hraft.ServerAddress, args *hraft.RequestVoteRequest, resp *hraft.RequestVoteResponse) error {
	if t.inst.group.fenced.Load() {
		return errFenced
	}
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

func (t *transport) RequestPreVote(id hraft.ServerID, target hraft.ServerAddress, args *hraft.RequestPreVoteRequest, resp *hraft.RequestPreVoteResponse) error {
	if t.inst.group.fenced.Load() {
		return errFenced
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// AppendEntriesPipeline is the embedded transport's, without its deadlock.
func (t *transport) AppendEntriesPipeline(id hraft.ServerID, target hraft.ServerAddress) (hraft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return newPipeline(p), nil
}

// InstallSnapshot first sees that the follower has the state, beside Raft, and then sends the ticket.
func (t *transport) InstallSnapshot(id hraft.ServerID, target hraft.ServerAddress, args *hraft.InstallSnapshotRequest, resp *hraft.InstallSnapshotResponse, data io.Reader) error {
	return t.inst.group.outgoing.deliver(t.inst, string(id), args, func() error {
		return t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
	})
}

// Close is called by Raft when its goroutines have ended, or after a failed start.
func (t *transport) Close() error {
	t.once.Do(func() {
		close(t.stop)
		_ = t.NetworkTransport.Close()
		<-t.done
	})
	return nil
}

// streamLayer gives a transport its connections.
type streamLayer struct {
	inst   *instance
	taken  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newStreamLayer(inst *instance) *streamLayer {
	return &streamLayer{inst: inst, taken: make(chan net.Conn), closed: make(chan struct{})}
}

// take hands an accepted connection to the transport.
func (l *streamLayer) take(c net.Conn) {
	st, err := l.inst.group.streams.add(c, true)
	if err != nil {
		return
	}
	select {
	case l.taken <- st:
	case <-l.closed:
		_ = st.Close()
	}
}

func (l *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.taken:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *streamLayer) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is this replica's address as Raft knows it: its server id.
func (l *streamLayer) Addr() net.Addr { return serverAddr(l.inst.id) }

type serverAddr string

func (a serverAddr) Network() string { return "posthouse" }
func (a serverAddr) String() string  { return string(a) }

// Dial reaches a replica by its server id, or fails: never another replica at the same address.
func (l *streamLayer) Dial(to hraft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.inst.ctx, timeout)
	defer cancel()
	return l.inst.group.dial(ctx, kindRaft, l.inst.id, string(to))
}

// dial opens a stream of this group to another replica.
func (g *Group) dial(ctx context.Context, k kind, from, to string) (net.Conn, error) {
	if err := g.streams.err(); err != nil {
		return nil, err
	}
	c, err := g.node.dial(ctx, nodeOf(to), preamble{Kind: k, Group: g.id, Formation: g.node.record().Membership.Formation, From: from, To: to})
	if err != nil {
		return nil, err
	}
	st, err := g.streams.add(c, false)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	return st, nil
}
