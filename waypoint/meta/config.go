package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/prometheus/client_golang/prometheus"
)

// Group is what a Leader needs of its replica of group 0: a *raft.Group, whose method comments apply.
type Group interface {
	Propose(turn uint64, data []byte, done func(result any, err error))
	VerifyLeader(ctx context.Context) error
	Watch(fn func(raft.Leadership)) (stop func())
	Now() int64
}

var (
	_ Group   = (*raft.Group)(nil)
	_ Scanner = (*storage.State)(nil)
)

// Hub is what a Leader needs of its node's *peer.Hub. Serve's result is a *peer.Service's Stop.
type Hub interface {
	Serve(term uint64, s peer.Server) (stop func())
	Handle(h peer.Handler)
}

// OnHub makes a *peer.Hub a Hub.
func OnHub(h *peer.Hub) Hub { return onHub{h} }

type onHub struct{ *peer.Hub }

func (h onHub) Serve(term uint64, s peer.Server) func() {
	return h.Hub.Serve(peer.MetaGroup, term, s).Stop
}
func (h onHub) Handle(f peer.Handler) { h.Hub.Handle(peer.MetaGroup, f) }

// Config is what NewLeader needs. Zero fields other than Machine, Group, Hub, Shards and Seed take the defaults named.
type Config struct {
	Machine *Machine
	Group   Group
	Hub     Hub
	Shards  Shards

	// Seed makes a new cluster; in one that exists its policy is compared with the one in force, and what differs is
	// logged as a warning.
	Seed Seed

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: no metrics

	// Lease is how long a router may go on without hearing from a leader; it asks again every third of it. Default and
	// most: 2 s, so that a change of meta's leader leaves most routers with a live one.
	Lease time.Duration
	// LeaseSlack is how much longer than Lease the leader takes a router to have it, for clocks that do not run
	// alike. Default a tenth of Lease.
	LeaseSlack time.Duration
	// ForgetAfter is how long a lost router is remembered. Default 10 min.
	ForgetAfter time.Duration
	// RequestFor is how long a request is worked at before its caller is told to ask again. Default 10 s.
	RequestFor time.Duration
	// MaxSubscriptions in the whole cluster; above, new ones are refused. Default 100 000.
	MaxSubscriptions int

	// Unsafe takes guards away, so that tests can show what they are for. Nobody else sets it.
	Unsafe Unsafe
}

// Unsafe names the guards that a test can take away.
type Unsafe struct {
	// IgnoreLeases makes subscriptions active without asking whether every router captures by then: G2 no longer
	// holds.
	IgnoreLeases bool
}

// Seed is what a new cluster begins with.
type Seed struct {
	Policy  peer.Policy
	Shards  uint32 // groups 1 to Shards hold messages
	Feature uint32 // feature level
}

func (c Config) withDefaults() Config {
	def(&c.Lease, 2*time.Second)
	def(&c.LeaseSlack, c.Lease/10)
	def(&c.ForgetAfter, 10*time.Minute)
	def(&c.RequestFor, 10*time.Second)
	def(&c.MaxSubscriptions, 100_000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate says what is wrong with c, naming every field at fault. NewLeader calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("meta: "+format, args...))
		}
	}
	bad(c.Machine == nil, "Machine is missing")
	bad(c.Group == nil, "Group is missing")
	bad(c.Hub == nil, "Hub is missing")
	bad(c.Shards == nil, "Shards is missing")
	bad(c.Seed.Shards == 0, "Seed.Shards is 0")
	if _, err := peer.ParsePolicy(policyJSON(&c.Seed.Policy)); err != nil {
		bad(true, "Seed.Policy: %v", err)
	}
	bad(len(policyJSON(&c.Seed.Policy)) > maxPolicy, "Seed.Policy has more than %d bytes as JSON", maxPolicy)
	bad(c.Lease < 30*time.Millisecond || c.Lease > 2*time.Second, "Lease %v is not between 30 ms and 2 s", c.Lease)
	bad(c.LeaseSlack < 0 || c.ForgetAfter < 0 || c.RequestFor < 0, "a time is negative")
	bad(c.MaxSubscriptions < 0, "MaxSubscriptions is negative")
	return errors.Join(errs...)
}
