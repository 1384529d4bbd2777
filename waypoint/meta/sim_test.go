package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/peer/peertest"
)

// sim is a cluster in one synctest bubble: some nodes that replicate meta by a consensus that is a mutex and some delays,
// shards that are maps, and a network that can be told to misbehave.
type sim struct {
	t      *testing.T
	fabric *peertest.Fabric
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	shards *simShards
	nodes  []*simNode
	config func(*Config) // changes the leaders' configuration

	mu     sync.Mutex
	rnd    *rand.Rand
	index  uint64
	term   uint64
	turn   uint64
	leader *simNode // whom a majority takes for the leader; nil: nobody
	flying []*flight
	commit time.Duration // the longest that a commit takes
}

// flight is a command that was handed to the consensus.
type flight struct {
	data    []byte
	result  *Result
	decided bool
	done    func(any, error)
}

func newSim(t *testing.T, seed uint64, config func(*Config)) *sim {
	s := &sim{t: t, fabric: peertest.NewFabric(), rnd: rand.New(rand.NewPCG(seed, 2)), config: config, commit: 8 * time.Millisecond}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	level := slog.LevelError
	if testing.Verbose() && os.Getenv("META_SIM_LOG") != "" {
		level = slog.LevelDebug
	}
	s.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
	s.shards = &simShards{sim: s, cursors: map[uint64]cursor{}}
	for i := range 3 {
		s.nodes = append(s.nodes, s.newNode(fmt.Sprintf("n%d", i)))
	}
	return s
}

// close ends everything and waits for it.
func (s *sim) close() {
	s.cancel()
	for _, n := range s.nodes {
		<-n.ended
		n.hub.Close()
	}
	s.wg.Wait()
	s.fabric.Close()
}

// within is a random time below max.
func (s *sim) within(max time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rnd.Int64N(int64(max)))
}

func (s *sim) chance(oneIn int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.IntN(oneIn) == 0
}

func (s *sim) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.IntN(n)
}

// simNode is one replica of meta: its Group, its Machine and its Leader.
type simNode struct {
	sim     *sim
	name    string
	hub     *peer.Hub
	machine *Machine
	state   *memory
	ended   chan struct{}

	told  raft.Leadership // guarded by sim.mu: what it believes
	watch chan raft.Leadership
}

func (s *sim) newNode(name string) *simNode {
	n := &simNode{sim: s, name: name, state: newMemory(), ended: make(chan struct{}), watch: make(chan raft.Leadership, 1000)}
	n.machine = NewMachine(MachineConfig{State: n.state, Logger: s.log, Fatal: func(msg string, err error) { s.t.Errorf("%s: %v", msg, err) }})
	n.hub = s.hub(name)
	cfg := Config{Machine: n.machine, Group: n, Hub: OnHub(n.hub), Shards: s.shards, Logger: s.log.With("node", name), Seed: Seed{Shards: 3, Feature: 1}, Lease: simLease}
	if s.config != nil {
		s.config(&cfg)
	}
	leader, err := NewLeader(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(n.ended)
		leader.Run(s.ctx)
	}()
	return n
}

func (s *sim) hub(name string) *peer.Hub {
	h, err := peer.Open(peer.Config{Network: s.fabric.Node(name), Logger: s.log.With("hub", name)})
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// elect makes n the leader. The old one hears of it after some time only; what it had in flight the new one may have, as
// far as it likes but in order.
func (s *sim) elect(n *simNode, oldHears time.Duration) {
	s.mu.Lock()
	old := s.leader
	s.leader = nil
	for _, f := range s.flying {
		if f.decided = true; s.rnd.IntN(2) == 0 {
			break
		}
		s.applyLocked(f)
	}
	for _, f := range s.flying {
		f.decided = true
	}
	s.flying = nil
	s.term++
	s.turn++
	s.leader = n
	now := raft.Leadership{Leader: true, Term: s.term, Turn: s.turn, LeaderNode: n.name}
	n.told = now
	n.watch <- now
	s.mu.Unlock()
	if old == nil || old == n {
		return
	}
	s.wg.Go(func() {
		time.Sleep(oldHears)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.leader != old {
			old.told = raft.Leadership{LeaderNode: n.name, Term: s.term}
			old.watch <- old.told
		}
	})
}

func (s *sim) applyLocked(f *flight) {
	s.index++
	for _, n := range s.nodes {
		r := n.machine.apply(n.state, s.index, time.Now().UnixMilli(), f.data)
		f.result = r
		if err := n.machine.Check(); err != nil {
			s.t.Errorf("%s after entry %d: %v", n.name, s.index, err)
		}
	}
}

func (n *simNode) Propose(turn uint64, data []byte, done func(any, error)) {
	s := n.sim
	f := &flight{data: data, done: done}
	s.mu.Lock()
	if !n.told.Leader || n.told.Turn != turn {
		s.mu.Unlock()
		done(nil, raft.ErrNotLeader)
		return
	}
	if s.leader != n { // it does not know yet: nobody will ever answer
		f.decided = true
	} else {
		s.flying = append(s.flying, f)
	}
	s.mu.Unlock()
	s.wg.Go(func() {
		time.Sleep(s.within(s.commit))
		s.mu.Lock()
		if !f.decided {
			for len(s.flying) > 0 && !f.decided {
				first := s.flying[0]
				s.flying = s.flying[1:]
				first.decided = true
				s.applyLocked(first)
			}
			s.mu.Unlock()
			done(f.result, nil)
			return
		}
		s.mu.Unlock()
		n.hears(turn)
		done(nil, raft.ErrUnknown)
	})
}

// hears waits until the node knows that a turn is over.
func (n *simNode) hears(turn uint64) {
	for {
		n.sim.mu.Lock()
		over := n.told.Turn != turn
		n.sim.mu.Unlock()
		if over || n.sim.ctx.Err() != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *simNode) VerifyLeader(ctx context.Context) error {
	s := n.sim
	s.mu.Lock()
	turn := n.told.Turn
	s.mu.Unlock()
	time.Sleep(s.within(3 * time.Millisecond))
	s.mu.Lock()
	leads := s.leader == n && n.told.Turn == turn
	s.mu.Unlock()
	time.Sleep(s.within(3 * time.Millisecond)) // the answer's way back: a lot may happen
	if !leads {
		return raft.ErrNotLeader
	}
	return ctx.Err()
}

func (n *simNode) Watch(fn func(raft.Leadership)) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case l := <-n.watch:
				fn(l)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func (n *simNode) Now() int64 { return time.Now().UnixMilli() }

// simShards is all shards. Calls take time, fail, and may have worked all the same.
type simShards struct {
	sim *sim

	mu      sync.Mutex
	cursors map[uint64]cursor
	refuse  string // addresses with this are refused
	fails   int    // one call in so many; 0: none
	calls   int
	down    bool
}

type cursor struct {
	shard   uint32
	address string
	limits  peer.Limits
}

var errShard = errors.New("the shard has no leader")

func (s *simShards) Change(ctx context.Context, shard uint32, c peer.CursorsRequest) ([]peer.CursorRefused, error) {
	time.Sleep(s.sim.within(8 * time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.down {
		return nil, errShard
	}
	if s.fails > 0 && s.sim.chance(s.fails) {
		return nil, errShard
	}
	var refused []peer.CursorRefused
	for _, x := range c.Start {
		if s.refuse != "" && x.Address == s.refuse {
			refused = append(refused, peer.CursorRefused{Sub: x.Sub, Error: peer.Error{Condition: "amqp:resource-limit-exceeded", Description: "no room"}})
			continue
		}
		if _, ok := s.cursors[x.Sub]; !ok {
			s.cursors[x.Sub] = cursor{shard, x.Address, x.Limits}
		}
	}
	for _, id := range c.End {
		delete(s.cursors, id)
	}
	for _, x := range c.Limits {
		if cur, ok := s.cursors[x.Sub]; ok {
			cur.limits = x.Limits
			s.cursors[x.Sub] = cur
		}
	}
	if s.fails > 0 && s.sim.chance(s.fails) {
		return nil, errShard // it has worked
	}
	return refused, ctx.Err()
}

func (s *simShards) Stats(_ context.Context, shard uint32, subs []uint64) ([]peer.CursorStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errShard
	}
	var list []peer.CursorStats
	for _, id := range subs {
		if c, ok := s.cursors[id]; ok && c.shard == shard {
			list = append(list, peer.CursorStats{Sub: id, Messages: id, Router: "by the shard"})
		}
	}
	return list, nil
}

func (s *simShards) cursor(id uint64) (cursor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.cursors[id]
	return c, ok
}

// ask sends a request to whoever leads.
func ask[T any](s *sim, h *peer.Hub, op string, in any) (*T, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	out := new(T)
	err := call(ctx, h, peer.MetaGroup, op, in, out)
	return out, err
}

// tell is ask for operations that answer nothing.
func tell(s *sim, h *peer.Hub, op string, in any) error {
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	_, err = h.CallLeader(ctx, peer.MetaGroup, op, body)
	return err
}

// until waits, in the bubble's time, for something to become true.
func (s *sim) until(what string, ok func() bool) {
	s.t.Helper()
	if !s.eventually(ok) {
		s.t.Errorf("never: %s", what)
	}
}

func (s *sim) eventually(ok func() bool) bool {
	for range 60_000 {
		if ok() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}
