package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/config"
	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/router"
	"github.com/posthouse/posthouse/router/endpoint"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint"
)

// Node is one node, opened. Call Run, then Close.
type Node struct {
	cfg     *config.Config
	version string
	log     *slog.Logger
	started time.Time

	clients, nodes, raftListener, adminListener net.Listener

	store    *storage.Store
	raft     *raft.Node
	router   *router.Router
	waypoint *waypoint.Waypoint
	http     *http.Server
}

// Open opens the node's data and listeners; ctx bounds the wait for a disk that is full. fatal ends the process and
// must not return.
func Open(ctx context.Context, cfg *config.Config, version string, log *slog.Logger, fatal func(string, error)) (*Node, error) {
	n := &Node{cfg: cfg, version: version, log: log, started: time.Now()}
	if err := n.open(ctx, fatal); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Damaged says whether an error of Open means that what is on the disk is damaged, or contradicts itself: the node will not
// start before somebody has done something about it.
func Damaged(err error) bool {
	return errors.Is(err, storage.ErrCorrupt) || errors.Is(err, raft.ErrContradiction)
}

func (n *Node) open(ctx context.Context, fatal func(string, error)) error {
	if err := n.listen(); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p, err := policy(n.cfg)
	if err != nil {
		return err
	}
	if err := n.openGroups(ctx, registry, fatal); err != nil {
		return err
	}
	if err := n.openRouter(registry); err != nil {
		return err
	}
	shards := uint32(n.cfg.Cluster.Shards)
	n.waypoint, err = waypoint.Open(waypoint.Config{Store: n.store, Raft: n.raft, Network: n.router.Network(), Shards: shards, Policy: p, Memory: n.cfg.Memory / 4, Logger: n.log, Registerer: registry, Fatal: fatal})
	if err != nil {
		return err
	}
	n.router.SetStore(store{n.waypoint.Agent()}, n.drain)
	n.http = &http.Server{Handler: (&admin{n, registry}).handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)}
	return nil
}

// listen takes all ports first: a node that can't have them says so before it touches its data.
func (n *Node) listen() error {
	self, clustered := n.cfg.Self()
	for _, l := range []struct {
		key, address string
		to           *net.Listener
		wanted       bool
	}{
		{"amqp.listen", n.cfg.AMQP.Listen, &n.clients, true},
		{"admin.listen", n.cfg.Admin.Listen, &n.adminListener, true},
		{"cluster.nodes, router", n.cfg.Cluster.BindAddress(self.Router), &n.nodes, clustered},
		{"cluster.nodes, raft", n.cfg.Cluster.BindAddress(self.Raft), &n.raftListener, clustered},
		{"the port of consensus", "127.0.0.1:0", &n.raftListener, !clustered},
	} {
		if !l.wanted {
			continue
		}
		var err error
		if *l.to, err = net.Listen("tcp", l.address); err != nil {
			return fmt.Errorf("%s: %w (is another node running? --%s takes another address)", l.key, err, strings.Fields(l.key)[0])
		}
	}
	return nil
}

func (n *Node) openGroups(ctx context.Context, registry prometheus.Registerer, fatal func(string, error)) (err error) {
	cfg := n.cfg
	n.store, err = storage.Open(ctx, storage.Config{
		Dir: cfg.Data, Cluster: cfg.Cluster.ID, Node: cfg.Node, Logger: n.log.With("part", "storage"), Registerer: registry, Fatal: fatal,
		Reserve: cfg.Disk.Reserve, LowSpace: cfg.Disk.Low, FullSpace: cfg.Disk.Full,
		ScrubInterval: cfg.Disk.Scrub, ScrubRate: cfg.Disk.ScrubRate,
		LogMemory: tableMemory(cfg.Memory), StateMemory: tableMemory(cfg.Memory), Cache: tableMemory(cfg.Memory),
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", cfg.Data, err)
	}
	var peers []raft.Peer
	for _, p := range cfg.Cluster.Nodes {
		peers = append(peers, raft.Peer{Name: p.Name, Address: p.Raft})
	}
	n.raft, err = raft.Open(raft.Config{Store: n.store, Peers: peers, Listener: n.raftListener, Logger: n.log.With("part", "raft"), Registerer: registry, Fatal: fatal})
	if err != nil {
		return fmt.Errorf("start consensus: %w", err)
	}
	return nil
}

func (n *Node) openRouter(registry prometheus.Registerer) (err error) {
	cfg := n.cfg
	rc := router.Config{
		Node: cfg.Node, Cluster: cfg.Cluster.ID, Version: n.version, Clients: n.clients, Nodes: n.nodes, Authenticate: n.authentication(),
		MaxFrameSize: uint32(cfg.AMQP.MaxFrameSize), MaxMessageSize: cfg.AMQP.MaxMessageSize, IdleTimeout: cfg.AMQP.IdleTimeout,
		ChannelMax: uint16(min(cfg.AMQP.MaxSessions, 65536) - 1), HandleMax: uint32(cfg.AMQP.MaxLinks - 1), LinkCredit: cfg.AMQP.LinkCredit,
		Memory: cfg.Memory / 2, // see memory.go
		Logger: n.log.With("part", "router"), Registerer: registry,
	}
	for _, p := range cfg.Cluster.Nodes {
		if p.Name != cfg.Node {
			rc.Peers = append(rc.Peers, router.Peer{Name: p.Name, Address: p.Router})
		}
	}
	n.router, err = router.New(rc)
	return err
}

// authentication lets users in by their passwords, and others if the operator wants.
func (n *Node) authentication() *endpoint.Authentication {
	passwords := map[string]string{}
	for _, u := range n.cfg.Users {
		passwords[u.Name] = u.Password
	}
	anonymous := n.cfg.AMQP.Anonymous
	if len(passwords) == 0 {
		return &endpoint.Authentication{Anonymous: anonymous, Bare: anonymous}
	}
	return &endpoint.Authentication{Anonymous: anonymous, Bare: anonymous, Check: func(mechanism, user, password string) (string, error) {
		if mechanism != "PLAIN" {
			return "", nil
		}
		if !samePassword(passwords[user], password) {
			return "", errors.New("no such user, or not the password")
		}
		return user, nil
	}}
}

// Run serves until ctx is done or the node can't go on, and then lets clients go and drains what is on its way.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var httpErr error
	wg.Go(func() {
		if err := n.http.Serve(n.adminListener); !errors.Is(err, http.ErrServerClosed) {
			httpErr = fmt.Errorf("serve the API: %w", err)
			cancel()
		}
	})
	n.log.Info("node is up", "node", n.cfg.Node, "cluster", n.cfg.Cluster.ID, "amqp", n.clients.Addr().String(), "admin", n.adminListener.Addr().String(), "data", n.cfg.Data)
	err := n.router.Run(ctx)
	n.http.Close()
	wg.Wait()
	return errors.Join(err, httpErr)
}

// drain gives outcomes that are on their way the time to be committed.
func (n *Node) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.ShutdownTimeout/2)
	defer cancel()
	if err := n.waypoint.Close(ctx); err != nil {
		n.log.Warn("stopped before all was committed", "error", err)
	}
}

// Close gives back what Open took, from the outside in. To be called after Run has returned.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.ShutdownTimeout)
	defer cancel()
	var errs []error
	if n.waypoint != nil {
		errs = append(errs, n.waypoint.Close(ctx))
	}
	if n.raft != nil {
		errs = append(errs, n.raft.Close(ctx))
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	for _, l := range []net.Listener{n.clients, n.nodes, n.raftListener, n.adminListener} {
		if l != nil {
			l.Close()
		}
	}
	return errors.Join(errs...)
}

// view is what the node says of itself.
func (n *Node) view() api.Node {
	v := api.Node{Name: n.cfg.Node, Cluster: n.cfg.Cluster.ID, Version: n.version, Started: n.started.UTC(), AMQP: n.clients.Addr().String()}
	select {
	case <-n.raft.Formed():
		v.Formed = true
	default:
		v.Reasons = append(v.Reasons, "the cluster has not formed: all configured nodes must have met once")
	}
	agent := n.waypoint.AgentStatus()
	v.Isolated = agent.Isolated
	if agent.Mode != "leased" {
		v.Reasons = append(v.Reasons, "no lease from meta's leader ("+agent.Mode+")")
	}
	for _, s := range agent.Shards {
		if s.Leader == "" {
			v.Reasons = append(v.Reasons, fmt.Sprintf("the leader of shard %d can't be reached", s.Shard))
		}
	}
	v.Ready = len(v.Reasons) == 0
	return v
}

// clusterView is the cluster as this node sees it.
func (n *Node) clusterView() api.Cluster {
	groups := n.waypoint.Groups()
	connected := n.router.Connected()
	c := api.Cluster{ID: n.cfg.Cluster.ID, Node: n.cfg.Node}
	for _, g := range groups {
		c.Groups = append(c.Groups, groupView(g))
	}
	members := n.cfg.Cluster.Nodes
	if len(members) == 0 {
		members = []config.Node{{Name: n.cfg.Node}}
	}
	for _, m := range members {
		report, live := liveReport(groups, m.Name)
		member := api.Member{Name: m.Name, Raft: m.Raft, Router: m.Router, Connected: connected[m.Name] || m.Name == n.cfg.Node, Live: live, FreeDisk: report.DiskFree}
		if live {
			member.Disk = report.DiskLevel.String()
		}
		for _, g := range c.Groups {
			if g.Leader == m.Name {
				member.Leads++
			}
		}
		c.Nodes = append(c.Nodes, member)
	}
	return c
}

func joined(reasons []string) string { return strings.Join(reasons, "; ") }
