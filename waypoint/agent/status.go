package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Status is what an agent tells about itself, for people and tests.
type Status struct {
	// Mode is starting, leased, waking or isolated.
	Mode       string
	Isolated   bool
	Lease      time.Duration // left; 0: none
	Epoch      uint64        // of the table of captures
	Captures   int
	LetThrough uint64 // direct publishes without a lease, ever
	HeldBytes  int64  // payloads in the router's memory
	Shards     []ShardStatus
}

// ShardStatus is a shard as this router sees it.
type ShardStatus struct {
	Shard      uint32
	Leader     string // the node that this router has a session with; empty: none
	Lane       uint64
	Unanswered int // publishes that wait for an answer, or for a leader
	Bytes      int64
	Full       bool
	Links      int // subscriptions
	Refusing   int // addresses
	Pressure   peer.Pressure
}

// Status tells how things are now.
func (a *Agent) Status() Status {
	t := a.lease.table.Load()
	st := Status{
		Mode: a.lease.is().String(), Isolated: a.lease.is() == isolated,
		Lease: max(time.Duration(a.lease.expiry.Load())-a.cfg.Clock(), 0),
		Epoch: t.epoch, Captures: t.count, LetThrough: a.lease.through.totals(), HeldBytes: a.held.Load(),
	}
	a.mu.Lock()
	shards := a.shardList()
	a.mu.Unlock()
	for _, s := range shards {
		st.Shards = append(st.Shards, s.status())
	}
	slices.SortFunc(st.Shards, func(a, b ShardStatus) int { return cmp.Compare(a.Shard, b.Shard) })
	return st
}

func (s *shard) status() ShardStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ShardStatus{Shard: s.id, Lane: s.lane.id, Unanswered: s.lane.len(), Bytes: s.lane.bytes, Full: s.full.Load(), Links: len(s.linkList()), Pressure: s.press}
	if s.session != nil {
		st.Leader = s.session.Node()
	}
	if r := s.refusing.Load(); r != nil {
		st.Refusing = len(r.topics)
	}
	return st
}

// idle tells that nothing waits for the leader.
func (s *shard) idle() bool {
	s.mu.Lock()
	waits := s.lane.len() > 0
	list := s.linkList()
	s.mu.Unlock()
	if waits {
		return false
	}
	return !slices.ContainsFunc(list, (*Subscription).isLeaving)
}

func (s *Subscription) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == removing || s.phase == leaving
}

// linksOf lists the links of a subscription up to a generation.
func (s *shard) linksOf(id, gen uint64) []*Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Subscription
	for _, sub := range s.links[id] {
		if sub.link.gen <= gen {
			list = append(list, sub)
		}
	}
	return list
}
