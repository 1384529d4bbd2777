package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// instance is one opened hashicorp/raft with its transport.
type instance struct {
	group  *Group
	id     string // server id
	raft   *hraft.Raft
	trans  *transport
	layer  *streamLayer
	pace   pace
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	waiting int // futures of Raft that somebody waits for
	closing bool
	idle    chan struct{} // closed when closing and waiting is 0
}

// agree makes log and state agree, before Raft sees them: with NoSnapshotRestoreOnStart it believes what it is told. It also
// repairs what a crash has left between the installing of a snapshot and the cutting of the log behind it.
func (g *Group) agree() error {
	metas, err := g.snapshots.List()
	if err != nil {
		return err
	}
	var index uint64
	if len(metas) > 0 {
		m := metas[0]
		index = m.Index
		if _, err := reconcileLog(g.log, m.Index, m.Term); err != nil {
			return err
		}
		g.fsm.setConfig(configuration{m.ConfigurationIndex, m.Configuration.Servers})
		g.setMark(m.Index, m.Term)
	}
	applied := g.state.Applied()
	switch first, last := g.log.First(), g.log.Last(); {
	case applied < index:
		return fmt.Errorf("%w: group %d: the state ends at %d, before its own snapshot record at %d", ErrContradiction, g.id, applied, index)
	case last != 0 && first > index+1:
		return fmt.Errorf("%w: group %d: the log begins at %d, and the snapshot record ends at %d", ErrContradiction, g.id, first, index)
	case applied > max(last, index, g.ahead()) && g.log.Damage() == nil:
		return fmt.Errorf("%w: group %d: the state is at %d, and the log ends at %d", ErrContradiction, g.id, applied, last)
	}
	return nil
}

// ahead is up to which index the state may rightly be ahead of the log: it came from another replica, or the log was given
// up.
func (g *Group) ahead() uint64 {
	var a uint64
	if r, ok := g.state.Restored(); ok {
		a = r.Index
	}
	return max(a, g.node.record().Reseeded[g.id])
}

// open starts Raft.
func (g *Group) open() (*instance, error) {
	if err := g.agree(); err != nil {
		return nil, err
	}
	if err := g.found(); err != nil {
		return nil, err
	}
	if err := g.prove(); err != nil {
		return nil, err
	}
	inst := &instance{group: g, id: g.Replica(), pace: newPace(g.cfg), idle: make(chan struct{})}
	inst.ctx, inst.cancel = context.WithCancel(g.ctx)
	inst.layer = newStreamLayer(inst)
	inst.trans = newTransport(inst)
	g.fenced.Store(false)
	r, err := hraft.NewRaft(g.raftConfig(inst.id), g.fsm,
		&logStore{log: g.log, op: &g.logOp, fatal: g.node.fatal},
		&stableStore{log: g.log, op: &g.logOp}, g.snapshots, inst.trans)
	if err != nil {
		inst.cancel()
		_ = inst.trans.Close()
		return nil, fmt.Errorf("start raft: %w", err)
	}
	inst.raft = r
	g.mu.Lock()
	g.inst = inst
	stopped := g.err != nil
	g.mu.Unlock()
	if !stopped {
		g.streams.resume()
	}
	for _, f := range []func(){inst.watchLeadership, inst.manageMembers} {
		inst.wg.Add(1)
		go func() {
			defer inst.wg.Done()
			f()
		}()
	}
	return inst, nil
}

func (g *Group) raftConfig(id string) *hraft.Config {
	c := hraft.DefaultConfig()
	c.LocalID = hraft.ServerID(id)
	c.ProtocolVersion = 3
	c.HeartbeatTimeout = g.cfg.HeartbeatTimeout
	c.ElectionTimeout = g.cfg.HeartbeatTimeout
	// The maximum, since heartbeats wait behind disk writes (see transport).
	c.LeaderLeaseTimeout = g.cfg.HeartbeatTimeout
	c.CommitTimeout = g.cfg.CommitTimeout
	c.MaxAppendEntries = 16 // of up to 1 MiB each
	c.BatchApplyCh = false  // its buffer breaks Apply's time-out
	c.TrailingLogs = g.cfg.TrailingMax
	c.SnapshotInterval = 24 * time.Hour // truncate.go does it, by bytes
	c.SnapshotThreshold = 1 << 62
	c.PreVoteDisabled = false
	c.ShutdownOnRemove = true
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.Logger = newLibLogger(g.logger)
	return c
}

// found writes the first configuration into an empty log of a founder of the cluster, as each founder does, identically.
// (hashicorp/raft's own bootstrap writes a term before, and refuses to go on after a crash between the two.)
func (g *Group) found() error {
	m := g.node.record().Membership
	if !m.founder(g.node.self) || g.log.Life() != 0 || g.log.Last() != 0 || g.state.Applied() != 0 {
		return nil
	}
	if metas, err := g.snapshots.List(); err != nil || len(metas) > 0 {
		return err
	}
	var c hraft.Configuration
	for _, self := range m.Initial {
		id := serverID(self, 0)
		c.Servers = append(c.Servers, hraft.Server{Suffrage: hraft.Voter, ID: hraft.ServerID(id), Address: hraft.ServerAddress(id)})
	}
	if err := g.log.SetTerm(max(g.log.Term(), 1)); err != nil {
		return fmt.Errorf("found group: %w", err)
	}
	if err := g.log.Append([]storage.Entry{{Index: 1, Term: 1, Type: uint8(hraft.LogConfiguration), Data: hraft.EncodeConfiguration(c)}}); err != nil {
		return fmt.Errorf("found group: %w", err)
	}
	return nil
}

// prove writes the last entry once more, synced: a replica whose log cannot be written does not stand for election. One
// whose disk failed would else be elected again and again, and fail with its first entry (hashicorp/raft#614).
func (g *Group) prove() error {
	last := g.log.Last()
	if last == 0 {
		return nil
	}
	e, err := g.log.Entry(last)
	if err == nil {
		err = g.log.Append([]storage.Entry{e})
	}
	if err != nil {
		return fmt.Errorf("write the last entry again: %w", err)
	}
	return nil
}

// awaitReseed holds back a replica whose log has lost acknowledged entries until the group demonstrably lives on without
// it, gives the log up, and lets it come back as a new member. While no other replica leads, the log is left alone: it may be
// the best there is, and an operator's matter.
func (g *Group) awaitReseed() bool {
	damage := g.log.Damage()
	if len(g.node.peers) == 0 {
		g.fail(fmt.Errorf("%w: there is no other replica to seed this one again: restore the data directory from a copy: %w", ErrContradiction, damage))
		return false
	}
	g.logger.Error("the log is damaged: this replica neither votes nor serves until it can be seeded again by a leader", "error", damage)
	for !g.ledElsewhere() {
		news := g.node.nextNews()
		select {
		case <-g.ctx.Done():
			return false
		case <-news:
		}
	}
	applied := g.state.Applied()
	err := g.node.remember(func(r *record) { r.Reseeded[g.id] = applied })
	if err == nil {
		err = g.log.Reseed()
	}
	if err != nil {
		g.fail(fmt.Errorf("give up a damaged log: %w", err))
		return false
	}
	id := serverID(g.node.self, g.log.Life())
	g.mu.Lock()
	g.replica = id
	g.mu.Unlock()
	g.logger.Warn("the damaged log was given up; this replica comes back as a new member", "replica", id)
	return true
}

// ledElsewhere says whether a live peer leads the group, ready.
func (g *Group) ledElsewhere() bool {
	for name := range g.node.peers {
		if s, _, _, ok := g.node.heardOf(name); ok {
			if gs := s.group(g.id); gs != nil && gs.Leader {
				return true
			}
		}
	}
	return false
}

// close ends the instance: what waits is answered first, since Raft may never answer futures that it has not come to when it
// is shut down.
func (inst *instance) close() {
	g := inst.group
	g.proposer.endTurn(0, ErrNotLeader)
	inst.mu.Lock()
	inst.closing = true
	if inst.waiting == 0 {
		close(inst.idle)
	}
	inst.mu.Unlock()
	// A leader without a majority steps down within two heartbeat timeouts, which answers its futures.
	patience, cancel := context.WithTimeout(context.Background(), 4*g.cfg.HeartbeatTimeout)
	defer cancel()
	select {
	case <-inst.idle:
	case <-patience.Done():
	}
	_ = g.proposer.drained(patience)
	inst.cancel()
	g.streams.cut(fmt.Errorf("%w: the replica is closed", errCut))
	_ = inst.raft.Shutdown().Error() // waits for Raft's goroutines, closes the transport
	inst.wg.Wait()
	g.streams.wait()
	g.proposer.abandon()
	g.mu.Lock()
	g.inst = nil
	g.mu.Unlock()
	g.announce(0, "")
}

// await waits for a future of Raft's, at most as long as ctx. It may go on beyond that; close waits for it.
func (inst *instance) await(ctx context.Context, ask func() hraft.Future) error {
	inst.mu.Lock()
	if inst.closing {
		inst.mu.Unlock()
		return ErrClosed
	}
	inst.waiting++
	inst.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		err := ask().Error()
		inst.mu.Lock()
		inst.waiting--
		if inst.closing && inst.waiting == 0 {
			close(inst.idle)
		}
		inst.mu.Unlock()
		done <- err
	}()
	select {
	case err := <-done:
		return definite(err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
}

// definite turns Raft's errors into ours: the three that mean that nothing was done, and the unknown rest.
func definite(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hraft.ErrNotLeader), errors.Is(err, hraft.ErrEnqueueTimeout), errors.Is(err, hraft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}
