package raft

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

// watchLeadership keeps the group's Leadership true to an instance's.
//
// LeaderCh drops transitions, so each time everything is read again, and the term tells a leadership that was lost and won
// from one that was kept. A new leader is announced when a barrier of its own term is applied here: from then on it has
// applied all that was committed before, and knows which command comes next.
func (inst *instance) watchLeadership() {
	g := inst.group
	tick := time.NewTicker(max(g.cfg.HeartbeatTimeout/6, 10*time.Millisecond))
	defer tick.Stop()
	led := make(chan hraft.Observation, 1)
	obs := hraft.NewObserver(led, false, func(o *hraft.Observation) bool {
		_, ok := o.Data.(hraft.LeaderObservation)
		return ok
	})
	inst.raft.RegisterObserver(obs)
	defer inst.raft.DeregisterObserver(obs)
	w := leadershipWatch{inst: inst, ready: make(chan prepared, 1)}
	for {
		w.look()
		select {
		case <-inst.ctx.Done():
			g.proposer.endTurn(0, ErrNotLeader)
			w.wg.Wait()
			return
		case r := <-w.ready:
			w.begin(r)
			w.resting = r.err != nil
		case <-inst.raft.LeaderCh():
		case <-led:
		case <-g.broken:
		case <-tick.C:
			w.resting = false
		}
	}
}

// leadershipWatch is owned by the goroutine of watchLeadership.
type leadershipWatch struct {
	inst      *instance
	term      uint64 // of the leadership that we know of; 0: not leader
	preparing bool
	resting   bool // the last preparation failed: not before the next tick
	ready     chan prepared
	wg        sync.WaitGroup
}

type prepared struct {
	term uint64
	err  error
}

// look compares what Raft says with what is announced.
func (w *leadershipWatch) look() {
	g, r := w.inst.group, w.inst.raft
	term := r.CurrentTerm()
	leads := r.State() == hraft.Leader
	if r.CurrentTerm() != term {
		leads = false // between two terms; the next look will tell
	}
	if !leads || w.term != term {
		if w.term != 0 {
			g.proposer.endTurn(0, ErrNotLeader)
			w.term = 0
		}
	}
	if leads && w.term == 0 {
		w.term = term
		g.becameLeader()
	}
	_, leader := r.LeaderWithID()
	turn := g.announce(term, nodeOf(string(leader)))
	if leads && turn == 0 && !w.preparing && !w.resting && !g.fenced.Load() {
		w.preparing = true
		w.wg.Go(func() { w.prepare(term) })
	}
}

// prepare makes ready for a turn: all earlier commands are answered, a barrier of this term is applied, and a majority's
// clocks have been heard in this term (bounded: without them time stands still, and commands go on).
func (w *leadershipWatch) prepare(term uint64) {
	g, ctx := w.inst.group, w.inst.ctx
	g.node.kickAll()
	err := g.proposer.drained(ctx)
	if err == nil {
		err = w.inst.await(ctx, func() hraft.Future { return w.inst.raft.Barrier(0) })
	}
	if err == nil {
		g.awaitClocks(ctx)
	}
	w.ready <- prepared{term, err} // capacity 1, one at a time
}

// begin announces the turn, if the leadership is still the one that was prepared.
func (w *leadershipWatch) begin(p prepared) {
	w.preparing = false
	g, r := w.inst.group, w.inst.raft
	if p.err != nil || w.term != p.term || r.State() != hraft.Leader || r.CurrentTerm() != p.term {
		return // look tries again, if it is still leader
	}
	_, pos, _ := g.fsm.at()
	var n uint64
	if pos.term == p.term {
		n = pos.n // a turn of this term has ended before
	}
	if turn := g.proposer.beginTurn(p.term, n, pos.clock); turn != 0 {
		g.logger.Info("leads", "term", p.term, "turn", turn)
		g.counts.turns.Add(1)
	}
}

func (p *proposer) current() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turn
}

// becameLeader marks the moment from which clocks must have been asked for.
func (g *Group) becameLeader() {
	g.mu.Lock()
	g.since = time.Now()
	g.mu.Unlock()
	g.counts.elected.Add(1)
}

// turnEnded is called when a turn has ended, by itself or because the leadership was lost.
func (g *Group) turnEnded() {
	l := g.Leadership()
	g.announce(l.Term, l.LeaderNode)
	select {
	case g.broken <- struct{}{}:
	default:
	}
}

// Leadership is what is known now.
func (g *Group) Leadership() Leadership {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lead
}

// announce tells what changed. The turn is read under the lock that orders announcements, so that none comes after its end.
func (g *Group) announce(term uint64, leader string) (turn uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	turn = g.proposer.current()
	l := Leadership{Leader: turn != 0, Term: term, Turn: turn, LeaderNode: leader}
	if g.lead == l {
		return turn
	}
	g.lead = l
	for w := range g.watchers {
		w.wake()
	}
	return turn
}

// Watch calls fn with the present leadership and then with each change, in order (a later one may come in place of
// several), on one goroutine of its own. fn may block; stop waits for a running fn and must not be called from it. Closing the
// group stops it, too, after a last call without a leader.
func (g *Group) Watch(fn func(Leadership)) (stop func()) {
	w := &watcher{news: make(chan struct{}, 1), stopped: make(chan struct{}), done: make(chan struct{})}
	g.mu.Lock()
	g.watchers[w] = struct{}{}
	g.mu.Unlock()
	w.wake()
	go w.run(g, fn)
	return func() {
		g.mu.Lock()
		delete(g.watchers, w)
		g.mu.Unlock()
		w.end()
	}
}

type watcher struct {
	news    chan struct{}
	stopped chan struct{}
	once    sync.Once
	done    chan struct{}
}

func (w *watcher) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *watcher) run(g *Group, fn func(Leadership)) {
	defer close(w.done)
	var last Leadership
	first := true
	tell := func() {
		if l := g.Leadership(); first || l != last {
			first, last = false, l
			fn(l)
		}
	}
	for {
		select {
		case <-w.news:
			tell()
		case <-w.stopped:
			select {
			case <-w.news: // what was announced before the end
				tell()
			default:
			}
			return
		}
	}
}

func (w *watcher) end() {
	w.once.Do(func() { close(w.stopped) })
	<-w.done
}

// Now is the time that a command proposed now would carry, in Unix milliseconds. On a replica that does not lead it is
// the time of the last applied command.
func (g *Group) Now() int64 {
	if t, ok := g.proposer.now(); ok {
		return t
	}
	_, pos, _ := g.fsm.at()
	return pos.clock
}

// majorityTime is the bound of clock.go for this group, now.
func (g *Group) majorityTime() (int64, bool) {
	g.mu.Lock()
	since := g.since
	g.mu.Unlock()
	var voters []reading
	for _, m := range g.Members() {
		if m.Voter {
			voters = append(voters, g.reading(m))
		}
	}
	return majorityTime(voters, since)
}

func (g *Group) reading(m Member) reading {
	if m.Self {
		return reading{g.cfg.Clock().UnixMilli(), time.Now(), true}
	}
	g.node.mu.Lock()
	defer g.node.mu.Unlock()
	p := g.node.peers[m.Node]
	if p == nil || p.last == nil || p.last.Self != directoryOf(m.Replica) {
		return reading{}
	}
	return reading{p.last.Clock, p.asked, true}
}

// awaitClocks waits until a majority has told its clock in this term, at most a heartbeat timeout.
func (g *Group) awaitClocks(ctx context.Context) {
	limit := time.NewTimer(g.cfg.HeartbeatTimeout)
	defer limit.Stop()
	for {
		news := g.node.nextNews()
		if _, ok := g.majorityTime(); ok {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-limit.C:
			return
		case <-news:
		}
	}
}

// TransferLeadership moves the leadership to a node. Proposals that wait meanwhile are kept if it fails, and told
// ErrNotLeader if it succeeds; none is lost in between. It returns after the move, or after at most a few election timeouts.
func (g *Group) TransferLeadership(ctx context.Context, node string) error {
	inst := g.instance()
	if inst == nil || inst.raft.State() != hraft.Leader {
		return ErrNotLeader
	}
	var to *Member
	for _, m := range g.Members() {
		if m.Node == node && m.Voter && !m.Self {
			to = &m
		}
	}
	if to == nil {
		return fmt.Errorf("transfer leadership of group %d to %q: %w", g.id, node, ErrNotMember)
	}
	// Raft refuses all commands for as long as a transfer takes; so none is handed to it meanwhile. Its own wait is an
	// election timeout at most, twice; a hung disk makes it longer.
	ctx, cancel := context.WithTimeout(ctx, 4*g.cfg.HeartbeatTimeout)
	defer cancel()
	g.proposer.hold()
	defer g.proposer.release()
	if err := g.proposer.drained(ctx); err != nil {
		return fmt.Errorf("transfer leadership of group %d: %w: %w", g.id, ErrTimeout, err)
	}
	err := inst.await(ctx, func() hraft.Future {
		return inst.raft.LeadershipTransferToServer(hraft.ServerID(to.Replica), hraft.ServerAddress(to.Replica))
	})
	if err != nil {
		return fmt.Errorf("transfer leadership of group %d to %q: %w", g.id, node, err)
	}
	// Raft says so when it has left its leader loop; what waits is told now, not after the release.
	g.proposer.endTurn(0, ErrNotLeader)
	return nil
}

// handOver gives the leadership away before a stop, so that nobody has to notice it first.
func (g *Group) handOver(ctx context.Context) {
	inst := g.instance()
	if inst == nil || inst.raft.State() != hraft.Leader || ctx.Err() != nil {
		return
	}
	// What is committed, a majority has; so, the leader being one of them, the follower that has the most has all of it. What it
	// reports is a little old; Raft brings it up to date before it hands over.
	able := slices.DeleteFunc(g.Reports(), func(r Report) bool { return r.Self || !r.Voter || !r.Live })
	slices.SortStableFunc(able, func(a, b Report) int { return cmp.Compare(b.LastIndex, a.LastIndex) })
	for _, r := range able {
		if err := g.TransferLeadership(ctx, r.Node); err == nil {
			return
		}
	}
}
