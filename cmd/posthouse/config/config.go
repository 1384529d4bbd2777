package config

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Config is everything that can be set for one node. Sizes are in bytes.
type Config struct {
	Node string // this node's name, unique in its cluster
	Data string // directory of everything durable

	AMQP    AMQP
	Admin   Admin
	Cluster Cluster
	Users   []User
	Limits  Limits
	Policy  []Policy
	Memory  int64 // bound on what peers can make the node hold
	Disk    Disk
	Log     Log

	ShutdownTimeout time.Duration
}

// AMQP is what clients meet.
type AMQP struct {
	Listen         string
	MaxFrameSize   int64
	MaxMessageSize int64
	IdleTimeout    time.Duration
	LinkCredit     int
	MaxSessions    int // a connection
	MaxLinks       int // a session
	Anonymous      bool
}

// Admin is the HTTP listener of the API and the metrics.
type Admin struct{ Listen string }

// Cluster is who keeps messages together. Without nodes the node is a cluster of its own.
type Cluster struct {
	ID     string
	Bind   string // host to listen on in place of the host in Nodes
	Shards int
	Nodes  []Node
}

// Node is a member of the cluster as all members see it.
type Node struct {
	Name   string
	Raft   string // host:port of consensus
	Router string // host:port of the other routers' AMQP
}

// User may log in with SASL PLAIN.
type User struct{ Name, Password string }

// Limits are those of subscriptions that name none (Default) and the most that any may ask for (Max), where no
// policy says otherwise. Zero in Max means no cap.
type Limits struct{ Default, Max SubscriptionLimits }

// SubscriptionLimits bound one durable subscription's backlog.
type SubscriptionLimits struct {
	MaxMessages int64
	MaxBytes    int64
	MaxAge      time.Duration
	MaxInFlight int64
	Overflow    string // drop-oldest or reject
}

// Policy says how addresses that match Pattern are treated. Zero values leave the general setting in force.
type Policy struct {
	Pattern        string
	Default, Max   SubscriptionLimits
	OverflowReject bool   // subscribers may choose overflow=reject
	Isolated       string // direct or refuse
	Unrouted       string // accept or release
}

// Disk is when a node stops keeping before its disk is full.
type Disk struct {
	Reserve int64 // ballast that is freed so that confirming and deleting still work
	Low     int64 // free bytes below which publishers of what is kept have less credit
	Full    int64 // free bytes below which durable publishes are refused

	Scrub     time.Duration // how often all tables are read to find damage
	ScrubRate int64         // bytes a second read for that at most
}

// Log is where the log goes: always standard error.
type Log struct{ Level, Format string }

// Self returns this node's entry in the cluster, or ok=false for a node that is alone.
func (c *Config) Self() (Node, bool) {
	for _, n := range c.Cluster.Nodes {
		if n.Name == c.Node {
			return n, true
		}
	}
	return Node{}, false
}

// Validate checks what no single value shows.
func (c *Config) Validate() error {
	if c.Node == "" {
		return fmt.Errorf("node: is empty; give this node a name, e.g. --node a")
	}
	if err := c.validateCluster(); err != nil {
		return err
	}
	if c.Disk.Full > c.Disk.Low {
		return fmt.Errorf("disk.full: %s is above disk.low (%s): publishers would be refused before they lose credit; raise disk.low or lower disk.full", FormatSize(c.Disk.Full), FormatSize(c.Disk.Low))
	}
	if c.AMQP.MaxFrameSize < 512 || c.AMQP.MaxFrameSize > 1<<30 {
		return fmt.Errorf("amqp.max-frame-size: %d is not between 512 (the least that AMQP allows) and 1GiB", c.AMQP.MaxFrameSize)
	}
	if c.Memory < 64<<20 {
		return fmt.Errorf("memory: %s is too little; a node needs at least 64MiB", FormatSize(c.Memory))
	}
	if !c.AMQP.Anonymous && len(c.Users) == 0 {
		return fmt.Errorf("users: is empty and amqp.anonymous is false: nobody could log in; add a user or allow anonymous clients")
	}
	return nil
}

func (c *Config) validateCluster() error {
	cl := &c.Cluster
	if len(cl.Nodes) == 0 {
		return nil
	}
	if _, ok := c.Self(); !ok {
		return fmt.Errorf("node: %q is not in cluster.nodes (%s); set node to one of them", c.Node, strings.Join(cl.names(), ", "))
	}
	if cl.Shards < 1 || cl.Shards > 64 {
		return fmt.Errorf("cluster.shards: %d is not between 1 and 64", cl.Shards)
	}
	names, addresses := map[string]bool{}, map[string]string{}
	for _, n := range cl.Nodes {
		if names[n.Name] {
			return fmt.Errorf("cluster.nodes: the name %q stands twice; names are unique in a cluster", n.Name)
		}
		names[n.Name] = true
		for _, a := range []string{n.Raft, n.Router} {
			if other, ok := addresses[a]; ok {
				return fmt.Errorf("cluster.nodes: %s stands twice (for %s and %s); each needs a port of its own", a, other, n.Name)
			}
			addresses[a] = n.Name
		}
	}
	return nil
}

func (cl *Cluster) names() []string {
	var names []string
	for _, n := range cl.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// BindAddress is where to listen for an address that others are given.
func (cl *Cluster) BindAddress(address string) string {
	if cl.Bind == "" {
		return address
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(cl.Bind, port)
}

// Load reads the file (if path is not empty), the environment and the flags into the defaults, in this order, and
// validates the whole.
func Load(path string, environ []string, flags *Flags) (*Config, error) {
	c := &Config{}
	t := newTable(c)
	if err := t.setDefaults(); err != nil {
		return nil, err
	}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		if err := t.readYAML(path, text); err != nil {
			return nil, err
		}
	}
	if err := t.readEnvironment(environ); err != nil {
		return nil, err
	}
	if flags != nil {
		if err := t.readFlags(flags); err != nil {
			return nil, err
		}
	}
	if err := c.Validate(); err != nil {
		if path != "" {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return nil, err
	}
	return c, nil
}
