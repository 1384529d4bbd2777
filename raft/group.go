package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/prometheus/client_golang/prometheus"
)

// Group is this node's replica of one Raft group. All methods may be called from any goroutine.
//
// It outlives the instances of hashicorp/raft beneath it: one is closed and another opened when a snapshot was installed
// over a log that reached past it.
type Group struct {
	node      *Node
	cfg       *Config
	id        uint32
	logger    *slog.Logger
	log       *storage.Log
	state     *storage.State
	fsm       *fsm
	snapshots *snapshotStore
	streams   *streams
	proposer  *proposer
	outgoing  *outgoing
	incoming  *incoming
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	logOp, applyOp operation
	snapshotting   atomic.Bool   // Raft may be in the middle of recording a snapshot
	fenced         atomic.Bool   // Raft's memory of its log is wrong: no vote goes out until it is opened again
	reopening      chan string   // capacity 1: why
	broken         chan struct{} // capacity 1: a turn has ended by itself
	snapMark       atomic.Pointer[snapshotMark]
	counts         groupCounts
	applyTime      prometheus.Observer

	mu       sync.Mutex
	inst     *instance
	replica  string // server id
	lead     Leadership
	since    time.Time // when this replica became leader
	watchers map[*watcher]struct{}
	err      error // why it does not run
	stalled  bool  // the watchdog has cut the streams
}

func newGroup(n *Node, id uint32, sm StateMachine) (*Group, error) {
	log := n.cfg.Store.Log(id)
	state, err := n.cfg.Store.State(id)
	if err != nil {
		return nil, err
	}
	g := &Group{
		node: n, cfg: &n.cfg, id: id, log: log, state: state,
		logger:    n.logger.With("group", id),
		streams:   newStreams(),
		reopening: make(chan string, 1),
		broken:    make(chan struct{}, 1),
		replica:   serverID(n.self, log.Life()),
		watchers:  map[*watcher]struct{}{},
		applyTime: n.metrics.apply.WithLabelValues(strconv.FormatUint(uint64(id), 10)),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.snapshots = &snapshotStore{state: state, ctx: g.ctx, wrote: g.setMark}
	g.fsm = &fsm{group: g, state: state, sm: sm, batch: state.NewBatch(), op: &g.applyOp, fatal: n.fatal}
	g.proposer = newProposer(g)
	g.outgoing = newOutgoing(g)
	g.incoming = newIncoming(g)
	if why := n.record().Gone[id]; why != "" {
		g.err = fmt.Errorf("%w: %s", ErrRemoved, why)
	} else if log.Damage() == nil { // else it is given up before anything is asked of it
		if err := g.agree(); err != nil {
			return nil, err
		}
	}
	if err := g.fsm.load(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Group) start() {
	if g.err != nil {
		g.logger.Error("this replica does not take part", "error", g.err)
	}
	g.spawn(g.run)
	g.spawn(g.proposer.submit)
	g.spawn(g.proposer.complete)
	g.spawn(g.truncate)
}

func (g *Group) spawn(f func()) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		f()
	}()
}

// run keeps an instance of Raft open, once there is a cluster.
func (g *Group) run() {
	select {
	case <-g.ctx.Done():
		return
	case <-g.node.formed:
	}
	if g.log.Damage() != nil && g.Err() == nil && !g.awaitReseed() {
		return
	}
	for g.ctx.Err() == nil && g.Err() == nil {
		inst, err := g.open()
		if err != nil {
			g.fail(err)
			return
		}
		select {
		case <-g.ctx.Done():
		case why := <-g.reopening:
			g.logger.Info("opening the replica again", "reason", why)
		}
		inst.close()
	}
}

// fail stops this replica for good. It is not fatal: other groups of this node are sound.
func (g *Group) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	g.streams.cut(err)
	g.logger.Error("this replica is stopped", "error", err)
	select {
	case g.reopening <- "it has failed": // ends the instance; run then sees the error
	default:
	}
}

// remove stops this replica because it is no longer a member.
func (g *Group) remove(why string) {
	if g.Err() == nil {
		g.fail(fmt.Errorf("%w: %s", ErrRemoved, why))
	}
}

// reopen ends the present instance of Raft and begins another. No vote leaves it from now on.
func (g *Group) reopen(why string) {
	g.fenced.Store(true)
	g.streams.cut(fmt.Errorf("%w: %s", errCut, why))
	select {
	case g.reopening <- why:
	default:
	}
}

// close answers everything and stops.
func (g *Group) close() {
	g.proposer.shut()
	g.cancel()
	g.wg.Wait()
	g.streams.cut(ErrClosed)
	g.streams.wait()
	g.outgoing.close()
	g.incoming.close()
	g.fsm.batch.Close()
	g.mu.Lock()
	if g.err == nil {
		g.err = ErrClosed
	}
	watchers := make([]*watcher, 0, len(g.watchers))
	for w := range g.watchers {
		watchers = append(watchers, w)
	}
	g.mu.Unlock()
	g.announce(0, "")
	for _, w := range watchers {
		w.end()
	}
}

// ID is the group's number.
func (g *Group) ID() uint32 { return g.id }

// Err is nil, ErrRemoved or ErrClosed (wrapped, with a message for the operator), or why this replica could not be
// opened.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// instance returns the open instance of Raft, nil if there is none.
func (g *Group) instance() *instance {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inst
}

// Barrier returns when everything that was proposed before is applied here. ErrNotLeader on other replicas.
func (g *Group) Barrier(ctx context.Context) error {
	inst := g.instance()
	if inst == nil {
		return ErrNotLeader
	}
	return inst.await(ctx, func() hraft.Future { return inst.raft.Barrier(0) })
}

// VerifyLeader returns nil when a majority has confirmed, after the call, that this replica leads. It costs a round of
// heartbeats and no disk. Together with a turn (all earlier commits applied) it makes a read of the state current.
func (g *Group) VerifyLeader(ctx context.Context) error {
	inst := g.instance()
	if inst == nil || inst.raft.State() != hraft.Leader {
		return ErrNotLeader
	}
	return inst.await(ctx, func() hraft.Future { return inst.raft.VerifyLeader() })
}

// Members is the group's latest configuration. It never blocks.
func (g *Group) Members() []Member {
	var servers []hraft.Server
	if inst := g.instance(); inst != nil {
		servers = inst.raft.GetConfiguration().Configuration().Servers
	} else {
		_, _, c := g.fsm.at()
		servers = c.servers
	}
	self := g.Replica()
	ms := make([]Member, len(servers))
	for i, s := range servers {
		ms[i] = Member{Replica: string(s.ID), Node: nodeOf(string(s.ID)), Voter: s.Suffrage == hraft.Voter, Self: string(s.ID) == self}
	}
	return ms
}

// Replica is this replica's server id.
func (g *Group) Replica() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.replica
}

// Status describes this replica. It never blocks.
func (g *Group) Status() Status {
	g.mu.Lock()
	s := Status{Leadership: g.lead, Replica: g.replica, Cut: g.stalled, State: "waiting"}
	inst, err := g.inst, g.err
	g.mu.Unlock()
	applied, _, _ := g.fsm.at()
	s.Applied = applied
	s.FirstIndex, s.LastIndex, s.LogBytes = g.log.First(), g.log.Last(), g.log.Bytes()
	s.Proposals, s.ProposalBytes = g.proposer.load()
	s.SnapshotIndex = g.mark().index
	s.Installed, s.Snapshots = g.counts.installed.Load(), g.counts.snapshots.Load()
	switch {
	case errors.Is(err, ErrRemoved):
		s.State = "removed"
	case errors.Is(err, ErrClosed):
		s.State = "closed"
	case err != nil:
		s.State = "failed"
	case inst == nil && g.log.Damage() != nil:
		s.State = "damaged"
	case inst != nil:
		switch inst.raft.State() {
		case hraft.Leader:
			s.State = "leader"
		case hraft.Candidate:
			s.State = "candidate"
		default:
			s.State = "follower"
		}
		s.Term, s.CommitIndex = inst.raft.CurrentTerm(), inst.raft.CommitIndex()
		s.LastIndex = max(s.LastIndex, inst.raft.LastIndex())
	}
	return s
}

// report is what this replica tells the other nodes.
func (g *Group) report() groupStatus {
	s := g.Status()
	r := groupStatus{ID: g.id, Replica: s.Replica, Term: s.Term, Leader: s.Leader, Last: s.LastIndex, Commit: s.CommitIndex, Applied: s.Applied}
	_, _, c := g.fsm.at()
	r.Config = c.index
	for _, m := range c.servers {
		r.Members = append(r.Members, string(m.ID))
	}
	r.MemberAt = g.memberAt()
	return r
}

// Reports is what each member has last told, this replica included. It never blocks.
func (g *Group) Reports() []Report {
	members := g.Members()
	rs := make([]Report, 0, len(members))
	for _, m := range members {
		r := Report{Member: m}
		if m.Self {
			sp := g.node.space()
			r.At, r.Live, r.Clock = time.Now(), true, g.cfg.Clock()
			r.DiskFree, r.DiskTotal, r.DiskLevel = sp.Free, sp.Total, sp.Level
			r.Applied, _, _ = g.fsm.at()
			r.LastIndex = g.log.Last()
		} else {
			g.node.report(g.id, &r)
		}
		rs = append(rs, r)
	}
	return rs
}

// report fills in what the member's node has told.
func (n *Node) report(group uint32, r *Report) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[r.Node]
	if p == nil || p.last == nil {
		return
	}
	gs := p.last.group(group)
	if gs == nil || gs.Replica != r.Replica {
		return
	}
	r.At, r.Live = p.heard, time.Since(p.heard) <= n.cfg.live()
	r.Clock = time.UnixMilli(p.last.Clock)
	r.DiskFree, r.DiskTotal, r.DiskLevel = p.last.Free, p.last.Total, p.last.Level
	r.Applied, r.LastIndex = gs.Applied, gs.Last
}

// route decides on a connection for this group.
func (g *Group) route(p preamble) (func(net.Conn), answer) {
	if err := g.Err(); err != nil {
		return nil, answer{verdictNoGroup, err.Error()}
	}
	if me := g.Replica(); p.To != me {
		return nil, answer{verdictWrongReplica, fmt.Sprintf("this is %s, not %s", me, p.To)}
	}
	if err := g.streams.err(); err != nil {
		return nil, answer{verdictCut, err.Error()}
	}
	ok := answer{Text: g.node.opening.String()}
	switch p.Kind {
	case kindRaft:
		inst := g.instance()
		if inst == nil {
			return nil, answer{verdictNoGroup, fmt.Sprintf("group %d does not run here yet", g.id)}
		}
		return inst.layer.take, ok
	case kindTransfer:
		return g.incoming.serve, ok
	}
	return nil, answer{verdictRefused, fmt.Sprintf("no streams of %v", p.Kind)}
}
