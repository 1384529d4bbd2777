package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
	"github.com/prometheus/client_golang/prometheus"
)

// Proposer is what a Leader needs of its replica's raft.Group, whose method comments apply.
type Proposer interface {
	Propose(turn uint64, data []byte, done func(result any, err error))
	Now() int64
	VerifyLeader(ctx context.Context) error
}

// Session is one agent's session: a *peer.Session.
type Session interface {
	Node() string
	Send(peer.Message)
	Flush()
	Refuse(leader string)
	Close(reason string)
}

// Registry is what a Leader asks of meta's leader.
type Registry interface {
	// Ended returns those of subs that meta has ended or never made. It may block until ctx is done.
	Ended(ctx context.Context, subs []uint64) ([]uint64, error)
}

// Config is what New needs. Zero fields other than Shard, Machine, Raft and Serve take the defaults named.
type Config struct {
	Shard   uint32 // the group's number
	Machine *shard.Machine
	Raft    Proposer

	// Serve takes sessions for the shard from now on and hands them to s, until stop is called, which ends them: peer.Hub.Serve,
	// peer.Service.Stop. Neither may call back.
	Serve func(term uint64, s peer.Server) (stop func())

	// Registry is asked once per reign, and then every AuditEvery, which cursors belong to subscriptions that are over.
	// Default: nobody is asked.
	Registry   Registry
	AuditEvery time.Duration // default 5 min

	// Pressure says whether publishers have less credit, or are refused, on the nodes' account, and why (disk, memory). It is
	// asked once a turn, and a few times a second; it must not block. Default: never.
	Pressure func() peer.Pressure
	// Memory counts the publishes that wait here, with those at the node's other leaders. Default: nobody counts.
	Memory *Memory

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: no metrics

	CommandBytes int           // payloads of one command, plus one message; default 1 MiB
	HotBytes     int64         // recently kept messages held in memory for live consumers; default 16 MiB
	ReadBytes    int64         // messages read ahead from disk for dispatch; default 16 MiB
	InboxBytes   int64         // publishes of one session that wait; more is a broken agent, and resets it; default 64 MiB
	LaneIdle     time.Duration // a lane silent for longer is forgotten; default 10 min
	StateEvery   time.Duration // a subscription's changed state is told that often at most; default 1 s
	TrimBytes    int64         // deleted at a topic's old end when that much can go, or when idle; default 8 MiB
	TrimIdle     time.Duration // ... whatever can go, when no more has become free for so long; default 2 s
	RetryAfter   time.Duration // told to publishers that are refused; default 1 s
}

func (c Config) withDefaults() Config {
	def(&c.AuditEvery, 5*time.Minute)
	def(&c.CommandBytes, 1<<20)
	def(&c.HotBytes, 16<<20)
	def(&c.ReadBytes, 16<<20)
	def(&c.InboxBytes, 64<<20)
	def(&c.LaneIdle, 10*time.Minute)
	def(&c.StateEvery, time.Second)
	def(&c.TrimBytes, 8<<20)
	def(&c.TrimIdle, 2*time.Second)
	def(&c.RetryAfter, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Pressure == nil {
		c.Pressure = func() peer.Pressure { return peer.Pressure{} }
	}
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate says what is wrong with c, naming every field at fault. New calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Shard == peer.MetaGroup, "Shard %d is meta's group", c.Shard)
	bad(c.Machine == nil, "Machine is missing")
	bad(c.Raft == nil, "Raft is missing")
	bad(c.Serve == nil, "Serve is missing")
	bad(c.CommandBytes < 0 || c.HotBytes < 0 || c.ReadBytes < 0 || c.InboxBytes < 0 || c.TrimBytes < 0, "a number of bytes is negative")
	bad(c.AuditEvery < 0 || c.LaneIdle < 0 || c.StateEvery < 0 || c.TrimIdle < 0 || c.RetryAfter < 0, "an interval is negative")
	return errors.Join(errs...)
}
