package agent

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Config of an Agent. Zero values have defaults, but for Hub, Logger and Shards.
type Config struct {
	Hub        *peer.Hub
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	// Router is the router's name; default: the hub's node. Boot is its incarnation, higher for each later start; default: the
	// time in nanoseconds.
	Router string
	Boot   uint64
	// Shards are the groups 1 to Shards, until meta says more.
	Shards uint32
	// Policy is how addresses are treated until meta has said it.
	Policy peer.Policy
	// Clock runs on while the machine sleeps. Default: BootClock.
	Clock Clock

	// LaneMessages and LaneBytes bound what waits in one lane; beyond them Admit withholds, until a quarter is free again. Defaults 8192
	// and 16 MiB.
	LaneMessages int
	LaneBytes    int64
	// WaitForLeader is how long a publish waits for a leader before it is refused. Default 5 s.
	WaitForLeader time.Duration
	// UnknownAfter is how long a publish that was sent waits for its answer. Default 30 s.
	UnknownAfter time.Duration

	// DeliveryWindow bounds the bytes on their way from one shard. Default 8 MiB.
	DeliveryWindow int64
	// HeldBytes and HeldTotal bound the payloads that the router has got and not released: of one subscription, and of all; beyond them
	// nothing more is asked of the shards, by a subscription that has some. Defaults 4 MiB and 256 MiB.
	HeldBytes, HeldTotal int64
	// OpenTimeout bounds how long opening a subscription, looking one up or removing one is tried. Default 30 s.
	OpenTimeout time.Duration
	// LeaveTimeout bounds how long the answer to a detach waits for the outcomes before it. Default 5 s.
	LeaveTimeout time.Duration

	// StartFor is how long, from the start, publishes are withheld for a first lease: longer than the other, because after a start the table
	// of captures is empty. WakeFor is how long they are after this process stood still. Defaults 10 s and 1 s.
	StartFor, WakeFor time.Duration
	// LetThrough bounds the addresses that are counted apart while the router is isolated. Default 1024.
	LetThrough int
	// Temporary tells addresses that are never captured and not worth counting, such as dynamic ones. Default: none.
	Temporary func(address string) bool
}

func (c *Config) setDefaults() {
	if c.Router == "" && c.Hub != nil {
		c.Router = c.Hub.Node()
	}
	if c.Boot == 0 {
		c.Boot = uint64(time.Now().UnixNano())
	}
	if c.Clock == nil {
		c.Clock = BootClock()
	}
	if c.Temporary == nil {
		c.Temporary = func(string) bool { return false }
	}
	def(&c.LaneMessages, 8192)
	def(&c.LaneBytes, 16<<20)
	def(&c.WaitForLeader, 5*time.Second)
	def(&c.UnknownAfter, 30*time.Second)
	def(&c.DeliveryWindow, 8<<20)
	def(&c.HeldBytes, 4<<20)
	def(&c.HeldTotal, 256<<20)
	def(&c.OpenTimeout, 30*time.Second)
	def(&c.LeaveTimeout, 5*time.Second)
	def(&c.StartFor, 10*time.Second)
	def(&c.WakeFor, time.Second)
	def(&c.LetThrough, 1024)
}

func def[T comparable](p *T, v T) {
	if zero := *new(T); *p == zero {
		*p = v
	}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	c.setDefaults()
	switch {
	case c.Hub == nil:
		return errors.New("agent: no hub")
	case c.Logger == nil:
		return errors.New("agent: no logger")
	case c.Shards < 1 || c.Shards > peer.Slots:
		return errors.New("agent: shards must be 1 to 256")
	case c.LaneMessages < 1 || c.LaneBytes < peer.MaxMessage || c.DeliveryWindow < 1 || c.HeldBytes < 1 || c.HeldTotal < c.HeldBytes:
		return errors.New("agent: a window is too small")
	case c.WaitForLeader < 0 || c.UnknownAfter < 0 || c.OpenTimeout < 0 || c.LeaveTimeout < 0 || c.StartFor < 0 || c.WakeFor < 0:
		return errors.New("agent: a negative time")
	}
	return nil
}
