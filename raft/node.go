package raft

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/posthouse/posthouse/storage"
)

// Node is this process's part in all groups of a cluster. All methods may be called from any goroutine.
type Node struct {
	cfg     Config
	self    string // name/directory id
	opening opening
	names   []string // of all configured nodes and this one, sorted
	logger  *slog.Logger
	metrics *metrics
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup // control, balancer, watchdog
	mux     *mux           // nil in a cluster of one without a listener
	control *streams       // control connections that are served here
	formed  chan struct{}
	wake    chan struct{} // capacity 1: look at the peers now

	openMu    sync.Mutex // held while a group is opened, and to close
	journalMu sync.Mutex // held while the journal is written
	journal   *journal

	mu      sync.Mutex
	rec     record // the journal's, as last synced
	peers   map[string]*peer
	groups  map[uint32]*Group
	news    chan struct{} // closed and replaced when a peer was heard
	trouble string        // why the cluster does not form, as last logged
	copied  bool          // this directory is an older copy
	closed  bool
	done    chan struct{} // closed when Close has finished
}

// Open starts to listen, to find the peers and, in an empty data directory, to form or join the cluster. It returns
// at once: groups elect when a majority is there. There is no bootstrap command: a cluster forms when all configured
// peers have met and none has ever been part of one.
func Open(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	id := cfg.Store.Identity()
	j, err := openJournal(cfg.Store.Log(journalGroup))
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg:     cfg,
		self:    id.Node + "/" + id.Replica,
		opening: opening{Epoch: id.Epoch, Boot: randomHex(8)},
		logger:  cfg.Logger,
		control: newStreams(),
		formed:  make(chan struct{}),
		wake:    make(chan struct{}, 1),
		journal: j,
		rec:     j.rec.clone(),
		peers:   map[string]*peer{},
		groups:  map[uint32]*Group{},
		news:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.names = []string{id.Node}
	for _, p := range cfg.Peers {
		if p.Name != id.Node {
			n.names = append(n.names, p.Name)
			n.peers[p.Name] = newPeer(p)
		}
	}
	slices.Sort(n.names)
	if n.rec.Membership.member() {
		close(n.formed)
	} else if err := n.form(); err != nil { // a cluster of one forms here
		n.cancel()
		return nil, err
	}
	if n.metrics, err = newMetrics(n, cfg.Registerer); err != nil {
		n.cancel()
		return nil, err
	}
	n.start()
	return n, nil
}

func (n *Node) start() {
	if n.cfg.Listener != nil {
		n.mux = newMux(n.cfg.Listener, n.cfg.RPCTimeout, n.logger, n.route)
	}
	n.spawn(n.tend)
	n.spawn(n.watchdog)
	if !n.cfg.NoBalance {
		n.spawn(n.balance)
	}
	for _, p := range n.peers {
		n.spawn(func() { n.poll(p) })
	}
}

func (n *Node) spawn(f func()) {
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		f()
	}()
}

// Group starts this node's replica of a group; once for each id, below 0xFFFFFF00. It calls sm.Restore, and returns; the
// replica runs once the cluster has formed, and may know no leader for long. All nodes must start the same groups.
func (n *Node) Group(id uint32, sm StateMachine) (*Group, error) {
	if id >= firstReserved {
		return nil, fmt.Errorf("open group %d: ids from %d on are reserved", id, uint32(firstReserved))
	}
	n.openMu.Lock()
	defer n.openMu.Unlock()
	n.mu.Lock()
	closed, open := n.closed, n.groups[id] != nil
	n.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if open {
		return nil, fmt.Errorf("open group %d: it is open", id)
	}
	g, err := newGroup(n, id, sm)
	if err != nil {
		return nil, fmt.Errorf("open group %d: %w", id, err)
	}
	n.mu.Lock()
	n.groups[id] = g
	n.mu.Unlock()
	g.start()
	return g, nil
}

// Name is this node's name.
func (n *Node) Name() string { return nodeOf(n.self) }

// Formed is closed when this node is part of a cluster: it has formed one with its peers, or joined theirs.
func (n *Node) Formed() <-chan struct{} { return n.formed }

// Trouble says why this node is not (or must no longer be) part of a cluster, for health pages; empty if all is well.
func (n *Node) Trouble() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trouble
}

// RemoveNode takes a node that is gone for good out of all groups that this node leads; call it on all. The node must
// be out of Config.Peers, else it is added again when it is seen with a new directory. It blocks until committed or ctx is done.
func (n *Node) RemoveNode(ctx context.Context, name string) error {
	var errs []error
	for _, g := range n.allGroups() {
		if g.Leadership().Leader {
			errs = append(errs, g.removeNode(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// Close hands leadership away where it can, answers all proposals, stops the groups and waits for every goroutine. ctx
// bounds the handing over only. A second Close returns nil.
func (n *Node) Close(ctx context.Context) error {
	n.openMu.Lock()
	n.mu.Lock()
	again := n.closed
	n.closed = true
	n.mu.Unlock()
	n.openMu.Unlock()
	if again {
		<-n.done
		return nil
	}
	defer close(n.done)
	groups := n.allGroups()
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(func() {
			g.handOver(ctx)
			g.close()
		})
	}
	wg.Wait()
	n.cancel()
	n.control.cut(ErrClosed)
	if n.mux != nil {
		n.mux.close()
	} else if n.cfg.Listener != nil {
		_ = n.cfg.Listener.Close()
	}
	n.control.wait()
	n.wg.Wait()
	n.metrics.close()
	return nil
}

// allGroups returns the open groups, by id.
func (n *Node) allGroups() []*Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	gs := make([]*Group, 0, len(n.groups))
	for _, g := range n.groups {
		gs = append(gs, g)
	}
	slices.SortFunc(gs, func(a, b *Group) int { return int(int64(a.id) - int64(b.id)) })
	return gs
}

func (n *Node) group(id uint32) *Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.groups[id]
}

// record returns what the journal holds.
func (n *Node) record() record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rec
}

// remember changes the journal, synced, before anybody sees it.
func (n *Node) remember(change func(r *record)) error {
	n.journalMu.Lock()
	defer n.journalMu.Unlock()
	if err := n.journal.update(change); err != nil {
		return err
	}
	n.mu.Lock()
	n.rec = n.journal.rec.clone()
	n.mu.Unlock()
	return nil
}

// form takes the steps of formation.go that the live peers allow.
func (n *Node) form() error {
	for {
		m := n.record().Membership
		next, err := m.advance(n.cfg.Store.Identity().Cluster, n.self, n.names, n.acquaintances())
		if err != nil {
			n.setTrouble(err.Error())
			return nil
		}
		n.setTrouble("")
		if next.State == m.State {
			return nil
		}
		if err := n.remember(func(r *record) { r.Membership = next }); err != nil {
			return err
		}
		n.logger.Info("cluster membership", "state", string(next.State), "formation", next.Formation, "initial", next.Initial)
		n.kickAll() // they hear it with the question
		if next.member() {
			close(n.formed)
			return nil
		}
	}
}

func (n *Node) setTrouble(what string) {
	n.mu.Lock()
	changed := n.trouble != what && !n.copied
	if changed {
		n.trouble = what
	}
	n.mu.Unlock()
	if changed && what != "" {
		n.logger.Error("this node cannot take part in the cluster", "reason", what)
	}
}

// tend does what news from the peers asks for.
func (n *Node) tend() {
	tick := time.NewTicker(n.cfg.ReportInterval)
	defer tick.Stop()
	for {
		news := n.nextNews()
		if !n.record().Membership.member() {
			if err := n.form(); err != nil {
				n.logger.Error("cannot keep the membership", "error", err)
			}
		}
		for _, g := range n.allGroups() {
			n.checkMember(g)
		}
		select {
		case <-n.ctx.Done():
			return
		case <-news:
		case <-n.wake:
		case <-tick.C:
		}
	}
}

// nextNews is closed when a peer is heard next.
func (n *Node) nextNews() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.news
}

// space is the disk's, for reports.
func (n *Node) space() storage.Space { return n.cfg.Store.Space() }

// fatal ends the process. The caller never goes on, even if Config.Fatal does.
func (n *Node) fatal(msg string, err error) {
	n.cfg.Fatal(msg, err)
	select {}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
