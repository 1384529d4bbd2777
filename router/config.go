package router

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse/posthouse/router/endpoint"
)

// Config is what New needs. Zero fields other than Node and Clients take the defaults named.
type Config struct {
	Node    string // this node's name: its container-id, and how other nodes know it
	Cluster string // nodes of other clusters are refused
	Version string // told to clients in the open's properties

	Clients net.Listener // where clients connect; closed by Run
	Nodes   net.Listener // where other nodes connect; nil for a node that is alone
	Peers   []Peer       // the other nodes

	Store Store // default: NoStore

	Authenticate *endpoint.Authentication // default: everybody, as anonymous

	MaxFrameSize   uint32        // of clients; default 64 KiB
	MaxMessageSize int64         // default 100 MiB
	IdleTimeout    time.Duration // of clients; default 60 s
	ChannelMax     uint16        // default 1023
	HandleMax      uint32        // default 8191
	LinkCredit     int           // messages that a publisher's link may have unanswered; default 1000
	Memory         int64         // payloads of all connections; default 512 MiB

	SubscriberWindow Window // what may wait for a client without credit; default 1000 messages, 16 MiB, 10 s
	NodeWindow       Window // likewise for another node; default 16384 messages, 64 MiB, 10 s

	PeerIdleTimeout time.Duration // a node silent for so long is not there; default 3 s

	// ReleaseUnrouted answers `released`, not `accepted`, to a publisher whose message nobody wanted.
	ReleaseUnrouted bool

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: no metrics
}

// Peer is another node.
type Peer struct {
	Name    string
	Address string // host:port of its listener for nodes
}

// Window bounds the copies that may wait for one receiver of direct messages.
type Window = window

// NewWindow makes a Window of so many copies, with so many bytes together, each for so long.
func NewWindow(copies int, bytes int64, wait time.Duration) Window {
	return Window{copies: copies, bytes: bytes, time: wait}
}

// Validate says what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.Node == "":
		return errors.New("router: Config.Node is empty")
	case c.Clients == nil:
		return errors.New("router: Config.Clients is nil")
	case len(c.Peers) > 0 && (c.Cluster == "" || c.Nodes == nil):
		return errors.New("router: a node with Peers needs a Cluster and a listener for Nodes")
	case c.LinkCredit < 0 || c.Memory < 0 || c.MaxMessageSize < 0:
		return errors.New("router: negative size in Config")
	}
	return nil
}

func (c Config) withDefaults() Config {
	set(&c.MaxFrameSize, 64<<10)
	set(&c.MaxMessageSize, 100<<20)
	set(&c.IdleTimeout, time.Minute)
	set(&c.ChannelMax, 1023)
	set(&c.HandleMax, 8191)
	set(&c.LinkCredit, 1000)
	set(&c.Memory, 512<<20)
	set(&c.SubscriberWindow, NewWindow(1000, 16<<20, 10*time.Second))
	set(&c.NodeWindow, NewWindow(16384, 64<<20, 10*time.Second))
	set(&c.PeerIdleTimeout, 3*time.Second)
	if c.Store == nil {
		c.Store = NoStore{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}
