package waypoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/agent"
	"github.com/posthouse/posthouse/waypoint/leader"
	"github.com/posthouse/posthouse/waypoint/meta"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// Config is what Open needs. Zero fields other than Store, Raft, Network and Fatal take the defaults named.
type Config struct {
	Store   *storage.Store
	Raft    *raft.Node
	Network peer.Network

	Shards uint32      // of a new cluster, and what each node replicates; default 3
	Policy peer.Policy // of a new cluster; compared afterwards
	// Memory bounds the publishes that wait at the leaders of this node; default 256 MiB. From half of it on publishers have
	// less credit, above it they are refused.
	Memory int64

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: no metrics
	// Fatal ends the process: a replica can't go on without becoming another than the others. It must not return.
	Fatal func(msg string, err error)
}

// Validate says what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.Store == nil, c.Raft == nil, c.Network == nil, c.Fatal == nil:
		return errors.New("waypoint: Config needs Store, Raft, Network and Fatal")
	case c.Memory < 0:
		return fmt.Errorf("waypoint: Config.Memory is %d", c.Memory)
	case c.Shards > peer.Slots:
		return fmt.Errorf("waypoint: Config.Shards is %d; at most %d", c.Shards, peer.Slots)
	}
	return nil
}

// Waypoint is one node's. All methods may be called from any goroutine.
type Waypoint struct {
	cfg    Config
	boot   uint64 // this router's incarnation
	hub    *peer.Hub
	agent  *agent.Agent
	meta   *metaReplica
	shards []*shardReplica
	memory *leader.Memory

	closeOnce sync.Once
}

// metaReplica is this node's replica of meta.
type metaReplica struct {
	machine *meta.Machine
	group   *raft.Group
	stop    func() // ends its leader
}

// shardReplica is this node's replica of a shard.
type shardReplica struct {
	id      uint32
	machine *shard.Machine
	group   *raft.Group
	leader  *leader.Leader
	memory  *leader.Memory // the node's
	unwatch func()
}

// machine makes a shard.Machine what raft applies to.
type machine struct{ *shard.Machine }

func (m machine) Apply(b *storage.Batch, e raft.Entry) any {
	return m.Machine.Apply(b, shard.Entry{Index: e.Index, Time: e.Time, Data: e.Data})
}

// Open starts this node's replicas and its agent. The Raft node forms its cluster by itself; until then publishes to
// captured addresses wait.
func Open(cfg Config) (*Waypoint, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Shards == 0 {
		cfg.Shards = 3
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	w := &Waypoint{cfg: cfg, boot: uint64(time.Now().UnixNano()), memory: leader.NewMemory(cfg.Memory)}
	if err := w.open(); err != nil {
		w.Close(context.Background())
		return nil, err
	}
	return w, nil
}

func (w *Waypoint) open() (err error) {
	cfg := &w.cfg
	if w.hub, err = peer.Open(peer.Config{Network: cfg.Network, Logger: cfg.Logger.With("part", "peer")}); err != nil {
		return fmt.Errorf("open the waypoint's side of the network: %w", err)
	}
	if err = w.openMeta(); err != nil {
		return fmt.Errorf("open meta: %w", err)
	}
	for id := uint32(1); id <= cfg.Shards; id++ {
		if err = w.openShard(id); err != nil {
			return fmt.Errorf("open shard %d: %w", id, err)
		}
	}
	w.agent, err = agent.New(agent.Config{Hub: w.hub, Boot: w.boot, Logger: cfg.Logger.With("part", "agent"), Registerer: cfg.Registerer, Shards: cfg.Shards, Policy: cfg.Policy})
	if err != nil {
		return fmt.Errorf("open the agent: %w", err)
	}
	return nil
}

func (w *Waypoint) openMeta() error {
	log := w.cfg.Logger.With("part", "meta")
	state, err := w.cfg.Store.State(peer.MetaGroup)
	if err != nil {
		return err
	}
	m := &metaReplica{machine: meta.NewMachine(meta.MachineConfig{State: state, Logger: log, Fatal: w.cfg.Fatal})}
	if m.group, err = w.cfg.Raft.Group(peer.MetaGroup, m.machine); err != nil {
		return err
	}
	seed := meta.Seed{Policy: w.cfg.Policy, Shards: w.cfg.Shards, Feature: 1}
	l, err := meta.NewLeader(meta.Config{Machine: m.machine, Group: m.group, Hub: meta.OnHub(w.hub), Shards: meta.RemoteShards(w.hub), Seed: seed, Logger: log, Registerer: w.cfg.Registerer})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("meta's leader has ended", "error", err)
		}
	}()
	m.stop = func() { cancel(); <-done }
	w.meta = m
	return nil
}

func (w *Waypoint) openShard(id uint32) error {
	log := w.cfg.Logger.With("part", "shard")
	state, err := w.cfg.Store.State(id)
	if err != nil {
		return err
	}
	s := &shardReplica{id: id, memory: w.memory, machine: shard.New(shard.Config{State: state, Logger: log, Fatal: w.cfg.Fatal})}
	if s.group, err = w.cfg.Raft.Group(id, machine{s.machine}); err != nil {
		return err
	}
	s.leader, err = leader.New(leader.Config{
		Shard: id, Machine: s.machine, Raft: s.group,
		Serve:    func(term uint64, server peer.Server) func() { return w.hub.Serve(id, term, server).Stop },
		Registry: meta.Client{Caller: w.hub}, Pressure: s.pressure, Memory: w.memory, Logger: log, Registerer: w.cfg.Registerer,
	})
	if err != nil {
		return err
	}
	w.hub.Handle(id, s.leader.Handle)
	s.unwatch = s.group.Watch(s.leader.Lead)
	w.shards = append(w.shards, s)
	return nil
}

// Agent is how this node's router reaches the memory.
func (w *Waypoint) Agent() *agent.Agent { return w.agent }

// Close ends the agent, the leaders and the sessions. ctx bounds the wait for outcomes that are not committed yet. The
// Raft node and the store are the caller's to close, in this order. A second Close does nothing.
func (w *Waypoint) Close(ctx context.Context) error {
	var err error
	w.closeOnce.Do(func() { err = w.close(ctx) })
	return err
}

func (w *Waypoint) close(ctx context.Context) (err error) {
	if w.agent != nil {
		if err = w.agent.Drain(ctx); err != nil {
			err = fmt.Errorf("some outcomes may not be committed; their messages are delivered again: %w", err)
		}
		w.agent.Close()
		// Its router lets nothing through any more: nobody needs to wait until its lease has run out.
		withdraw, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if e := w.Subscriptions().Withdraw(withdraw, w.cfg.Network.Node(), w.boot); e != nil {
			w.cfg.Logger.Debug("could not withdraw from meta; the lease will run out", "error", e)
		}
	}
	for _, s := range w.shards {
		s.unwatch()
		s.leader.Close()
	}
	if w.meta != nil {
		w.meta.stop()
	}
	if w.hub != nil {
		w.hub.Close()
	}
	return err
}
