package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/prometheus/client_golang/prometheus"
)

// Peer is one configured node of the cluster.
type Peer struct {
	Name    string // the node's name, as in its data directory
	Address string // what Config.Dial is given to reach it
}

// Config is what Open needs. Zero fields take the defaults named; Store, Listener and Fatal have none.
type Config struct {
	// Store is the opened data directory; its identity says which node of which cluster this is. The Node does
	// not close it: close the Node before.
	Store *storage.Store

	// Peers are all nodes of the cluster, the same list on every node; this node may be among them or not.
	// Empty, or this node alone, is a cluster of one, formed at once.
	Peers []Peer

	// Listener accepts the connections of the other nodes. Close closes it. A TLS listener may be given: nothing
	// is read in its Accept.
	Listener net.Listener
	// Dial opens a connection to a peer's Address. Default: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// Clock is this node's wall clock. Default: time.Now. Timeouts never use it.
	Clock func() time.Time

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: no metrics

	// Fatal ends the process: a disk hangs for longer than HangLimit, or what is on it contradicts itself. It
	// must not return (if it does, the calling goroutine stops for ever) and must not call back. Required.
	Fatal func(msg string, err error)

	HeartbeatTimeout time.Duration // default 600 ms; also the election and the lease timeout
	CommitTimeout    time.Duration // default 200 ms: how much later idle followers learn of a commit
	RPCTimeout       time.Duration // default 3 s
	ReportInterval   time.Duration // how often nodes tell each other their clocks and progress; default 200 ms

	MaxInFlight      int // commands of one group handed to Raft and not answered; default 2
	MaxProposalBytes int // bytes of one group's commands waiting and in flight; default 8 MiB
	MaxProposals     int // their number; default 1024

	SnapshotBytes int64  // log bytes after which a snapshot is recorded; default 64 MiB
	TrailingBytes int64  // log bytes kept behind a snapshot for followers that are behind; default 64 MiB
	TrailingMin   uint64 // ... at least that many entries; default 64, which is less unless entries are above 1 MiB
	TrailingMax   uint64 // ... at most that many; default 8192
	PinnedBytes   int64  // log bytes kept for a transfer under way before it is given up; default 8 GiB

	TransferRate int64         // bytes a second of one transfer; default 64 MiB, < 0: no limit
	TransferIdle time.Duration // a transfer that moves nothing for that long is broken off (and resumed); default 10 s

	StallLimit time.Duration // a log write or an Apply longer than this cuts the group's streams; default 1 s
	HangLimit  time.Duration // ... longer than this is fatal; waiting for disk space does not count; default 10 s

	NoBalance       bool          // leaders stay where elections put them
	BalanceInterval time.Duration // how often the spread of leaders is looked at; default 1 s
	BalanceStable   time.Duration // how long a replica must have been alive and caught up to be given a group; default 10 s
}

func (c Config) withDefaults() Config {
	def(&c.HeartbeatTimeout, 600*time.Millisecond)
	def(&c.CommitTimeout, 200*time.Millisecond)
	def(&c.RPCTimeout, 3*time.Second)
	def(&c.ReportInterval, 200*time.Millisecond)
	def(&c.MaxInFlight, 2)
	def(&c.MaxProposalBytes, 8<<20)
	def(&c.MaxProposals, 1024)
	def(&c.SnapshotBytes, 64<<20)
	def(&c.TrailingBytes, 64<<20)
	def(&c.TrailingMin, 64)
	def(&c.TrailingMax, 8192)
	def(&c.PinnedBytes, 8<<30)
	def(&c.TransferRate, 64<<20)
	def(&c.TransferIdle, 10*time.Second)
	def(&c.StallLimit, time.Second)
	def(&c.HangLimit, 10*time.Second)
	def(&c.BalanceInterval, time.Second)
	def(&c.BalanceStable, 10*time.Second)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	return c
}

// transferSilence is how long a replica that is being seeded, or the leader that seeds it, may say nothing before what is kept
// for the transfer is given up.
func (c *Config) transferSilence() time.Duration { return 3 * c.TransferIdle }

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate says what is wrong with c, naming every field at fault. Open calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Store == nil, "Store is missing")
	bad(c.Listener == nil && len(c.Peers) > 0, "Listener is missing")
	bad(c.Fatal == nil, "Fatal is missing")
	seen := map[string]bool{}
	for _, p := range c.Peers {
		bad(!validName(p.Name), "Peers: %q is no node name (letters, digits, '-', '_', '.')", p.Name)
		bad(seen[p.Name], "Peers: %q is named twice", p.Name)
		bad(p.Address == "", "Peers: %q has no address", p.Name)
		seen[p.Name] = true
	}
	bad(c.HeartbeatTimeout < 20*time.Millisecond, "HeartbeatTimeout %v is below 20 ms", c.HeartbeatTimeout)
	bad(c.CommitTimeout < time.Millisecond, "CommitTimeout %v is below 1 ms", c.CommitTimeout)
	bad(c.RPCTimeout < c.HeartbeatTimeout, "RPCTimeout %v is below HeartbeatTimeout %v", c.RPCTimeout, c.HeartbeatTimeout)
	bad(c.ReportInterval < time.Millisecond, "ReportInterval %v is below 1 ms", c.ReportInterval)
	bad(c.MaxInFlight < 1, "MaxInFlight %d is below 1", c.MaxInFlight)
	bad(c.MaxProposals < 1, "MaxProposals %d is below 1", c.MaxProposals)
	bad(c.MaxProposalBytes < 1, "MaxProposalBytes %d is below 1", c.MaxProposalBytes)
	bad(c.SnapshotBytes < 1 || c.TrailingBytes < 1 || c.PinnedBytes < 1, "a number of log bytes is below 1")
	bad(c.TrailingMax < c.TrailingMin, "TrailingMax %d is below TrailingMin %d", c.TrailingMax, c.TrailingMin)
	bad(c.HangLimit < c.StallLimit, "HangLimit %v is below StallLimit %v", c.HangLimit, c.StallLimit)
	return errors.Join(errs...)
}

// validName keeps the separators of a replica's id out of node names.
func validName(s string) bool {
	return s != "" && len(s) <= 128 && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}
