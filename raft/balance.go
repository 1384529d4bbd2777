package raft

import (
	"slices"
	"time"
)

// Leaders are spread over the nodes: each group prefers the voter at (id mod number of voters) in the order of node names,
// and while that one is away, one of the others by the next digit of the id, so that its groups go to different nodes.
// Only the leader acts, and only when the preferred replica has been alive and caught up for a while.

// preferredLeader is the node that should lead a group, of its voters and those among them that could.
func preferredLeader(group uint32, voters []string, able map[string]bool) (string, bool) {
	if len(voters) == 0 {
		return "", false
	}
	slices.Sort(voters)
	n := uint32(len(voters))
	if first := voters[group%n]; able[first] {
		return first, true
	}
	var rest []string
	for _, v := range voters {
		if able[v] {
			rest = append(rest, v)
		}
	}
	if len(rest) == 0 {
		return "", false
	}
	return rest[group/n%uint32(len(rest))], true
}

// balance moves leaderships until the node closes.
func (n *Node) balance() {
	tick := time.NewTicker(n.cfg.BalanceInterval)
	defer tick.Stop()
	able := map[*Group]map[string]time.Time{} // since when each node could lead the group
	next := map[*Group]time.Time{}            // no other move before
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		for _, g := range n.allGroups() {
			able[g] = g.ableSince(able[g])
			if time.Now().Before(next[g]) {
				continue
			}
			if to, ok := g.betterLeader(able[g]); ok {
				next[g] = time.Now().Add(n.cfg.BalanceStable)
				g.logger.Info("moving the leadership", "to", to)
				if err := g.TransferLeadership(n.ctx, to); err != nil && n.ctx.Err() == nil {
					g.logger.Warn("leadership was not moved", "to", to, "error", err)
				}
			}
		}
	}
}

// ableSince brings up to date since when each voter has been alive and caught up, as this leader sees it.
func (g *Group) ableSince(old map[string]time.Time) map[string]time.Time {
	inst := g.instance()
	if inst == nil || !g.Leadership().Leader {
		return nil
	}
	now := time.Now()
	due := inst.due()
	m := map[string]time.Time{}
	for _, r := range g.Reports() {
		if !r.Voter || !r.Self && !(r.Live && r.LastIndex >= due) {
			continue
		}
		m[r.Node] = now
		if since, ok := old[r.Node]; ok {
			m[r.Node] = since
		}
	}
	return m
}

// betterLeader says who should lead instead of this replica, if somebody should and can.
func (g *Group) betterLeader(since map[string]time.Time) (string, bool) {
	if !g.Leadership().Leader {
		return "", false
	}
	able := map[string]bool{}
	for node, t := range since {
		able[node] = node == g.node.Name() || time.Since(t) >= g.cfg.BalanceStable
	}
	var voters []string
	for _, m := range g.Members() {
		if m.Voter {
			voters = append(voters, m.Node)
		}
	}
	to, ok := preferredLeader(g.id, voters, able)
	return to, ok && to != g.node.Name()
}
