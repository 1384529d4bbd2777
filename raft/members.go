package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	hraft "github.com/hashicorp/raft"
)

// A replica is its data directory. When a configured node comes with another directory (or a log that was given up) than
// the one in the configuration, the leader takes the old server out, adds the new one without a vote, and gives it the vote
// when it has caught up. The old one has forgotten nothing only because it is gone: were the new one to answer in its
// name, acknowledgements and votes would count that nobody remembers.

// configLimit bounds the wait for one change of the configuration; it may still commit later.
const configLimit = 10 * time.Second

// change is one step of a group's membership.
type change struct {
	what   changeKind
	server string
}

type changeKind int

const (
	removeServer changeKind = iota + 1
	addNonvoter
	addVoter
)

func (k changeKind) String() string {
	return map[changeKind]string{removeServer: "remove", addNonvoter: "add without vote", addVoter: "give vote"}[k]
}

// candidate is a live configured node's replica of the group, as it tells of itself.
type candidate struct {
	server   string
	last     uint64
	memberAt uint64 // the latest committed configuration known to have had it as a member, 0: none
}

// nextChange is the next step towards one server for each candidate's node, if there is one. due is the index
// that a replica must have to be given its vote, config the leader's committed configuration's.
func nextChange(members []Member, seen map[string]candidate, due, config uint64) (change, bool) {
	for _, node := range sortedKeys(seen) {
		c := seen[node]
		var mine *Member
		for i := range members {
			if members[i].Replica == c.server {
				mine = &members[i]
			}
		}
		if mine == nil && c.memberAt != 0 && c.memberAt < config {
			continue // it was a member and has been removed: it will be told, and is not taken back under the same id
		}
		for _, m := range members {
			if m.Node == node && m.Replica != c.server {
				return change{removeServer, m.Replica}, true
			}
		}
		switch {
		case mine == nil:
			return change{addNonvoter, c.server}, true
		case !mine.Voter && c.last >= due && c.last > 0:
			return change{addVoter, c.server}, true
		}
	}
	return change{}, false
}

// manageMembers takes these steps while this replica leads.
func (inst *instance) manageMembers() {
	g := inst.group
	tick := time.NewTicker(max(g.cfg.ReportInterval, 50*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-inst.ctx.Done():
			return
		case <-tick.C:
		}
		due := inst.due() // noted by followers too: a new leader knows how its group has fared
		if !g.Leadership().Leader {
			continue
		}
		_, _, config := g.fsm.at()
		if c, ok := nextChange(g.Members(), g.candidates(), due, config.index); ok {
			if err := inst.change(inst.ctx, c); err != nil && inst.ctx.Err() == nil {
				g.logger.Warn("membership change failed", "change", c.what.String(), "server", c.server, "error", err)
			}
		}
	}
}

func (inst *instance) change(ctx context.Context, c change) error {
	inst.group.logger.Info("changing the members", "change", c.what.String(), "server", c.server)
	ctx, cancel := context.WithTimeout(ctx, configLimit)
	defer cancel()
	id, addr := hraft.ServerID(c.server), hraft.ServerAddress(c.server)
	return inst.await(ctx, func() hraft.Future {
		switch c.what {
		case removeServer:
			return inst.raft.RemoveServer(id, 0, configLimit)
		case addNonvoter:
			return inst.raft.AddNonvoter(id, addr, 0, configLimit)
		default:
			return inst.raft.AddVoter(id, addr, 0, configLimit)
		}
	})
}

// candidates are the live peers' replicas of this group, of the same forming of the cluster, and this one.
func (g *Group) candidates() map[string]candidate {
	formation := g.node.record().Membership.Formation
	self := g.Replica()
	cs := map[string]candidate{g.node.Name(): {server: self, last: g.log.Last()}}
	for name := range g.node.peers {
		s, _, _, ok := g.node.heardOf(name)
		if !ok || s.Membership.Formation != formation {
			continue
		}
		if gs := s.group(g.id); gs != nil && gs.Replica != "" {
			cs[name] = candidate{server: gs.Replica, last: gs.Last, memberAt: gs.MemberAt}
		}
	}
	return cs
}

// removeNode takes a node's servers out of this group.
func (g *Group) removeNode(ctx context.Context, name string) error {
	inst := g.instance()
	if inst == nil {
		return ErrNotLeader
	}
	var errs []error
	for _, m := range g.Members() {
		if m.Node == name {
			errs = append(errs, inst.change(ctx, change{removeServer, m.Replica}))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove %s from group %d: %w", name, g.id, err)
	}
	return nil
}

// memberAt is the latest committed configuration known to have had this replica as a member: by what was applied, by the
// journal, or because it is one of the founders.
func (g *Group) memberAt() uint64 {
	rec, self := g.node.record(), g.Replica()
	var at uint64
	switch t := rec.Member[g.id]; {
	case t.Replica == self:
		at = t.Index
	case rec.Membership.founder(g.node.self) && self == serverID(g.node.self, 0):
		at = 1
	}
	if _, _, c := g.fsm.at(); c.has(self) {
		at = max(at, c.index)
	}
	return at
}

// checkMember keeps that this replica is a member, and asks the live peers' committed configurations (and its own) whether it
// still is. Raft tells a removed follower nothing: it would ask for pre-votes for ever.
func (n *Node) checkMember(g *Group) {
	self, at := g.Replica(), g.memberAt()
	if g.Err() != nil || at == 0 || g.log.Damage() != nil {
		return // removed already, not yet a member, or about to come back as another one
	}
	rec := n.record()
	if now := (tenure{self, at}); rec.Member[g.id] != now {
		if err := n.remember(func(r *record) { r.Member[g.id] = now }); err != nil {
			g.logger.Error("cannot keep that this replica is a member", "error", err)
			return
		}
	}
	removedAt, says := uint64(0), ""
	if _, _, c := g.fsm.at(); c.index > at && !c.has(self) {
		removedAt, says = c.index, n.Name()
	}
	for name := range n.peers {
		s, _, _, ok := n.heardOf(name)
		if !ok || s.Membership.Formation != rec.Membership.Formation {
			continue
		}
		if gs := s.group(g.id); gs != nil && gs.Config > max(at, removedAt) && !slices.Contains(gs.Members, self) {
			removedAt, says = gs.Config, name
		}
	}
	if removedAt == 0 {
		return
	}
	why := fmt.Sprintf("replica %s was removed from group %d (configuration at %d, says %s); "+
		"set the data directory aside and start with an empty one to take part again", self, g.id, removedAt, says)
	if err := n.remember(func(r *record) { r.Gone[g.id] = why }); err != nil {
		g.logger.Error("cannot keep that this replica was removed", "error", err)
		return
	}
	g.remove(why)
}

// configChanged is called when a configuration was committed.
func (g *Group) configChanged() {
	select {
	case g.node.wake <- struct{}{}:
	default:
	}
}

func sortedKeys[V any](m map[string]V) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}
