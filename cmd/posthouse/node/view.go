package node

import (
	"fmt"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/config"
	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint"
	"github.com/posthouse/posthouse/waypoint/meta"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// What the API shows of the waypoint's own types.

func groupView(g waypoint.Group) api.Group {
	out := api.Group{ID: g.ID, Name: groupName(g.ID), Leader: g.Status.LeaderNode, Term: g.Status.Term, Applied: g.Status.Applied, Commit: g.Status.CommitIndex, LogBytes: g.Status.LogBytes}
	last := g.Status.CommitIndex
	for _, r := range g.Reports {
		if r.Node == g.Status.LeaderNode && r.Live {
			last = max(last, r.LastIndex)
		}
	}
	for _, r := range g.Reports {
		out.Replicas = append(out.Replicas, api.Replica{Node: r.Node, Voter: r.Voter, Live: r.Live, Applied: r.Applied, Lag: last - min(last, r.LastIndex)})
	}
	return out
}

func groupName(id uint32) string {
	if id == peer.MetaGroup {
		return "meta"
	}
	return fmt.Sprintf("shard %d", id)
}

// liveReport is the newest that a node has told about itself.
func liveReport(groups []waypoint.Group, node string) (raft.Report, bool) {
	for _, g := range groups {
		for _, r := range g.Reports {
			if r.Node == node && (r.Live || r.Self) {
				return r, true
			}
		}
	}
	return raft.Report{}, false
}

func subscriptionView(i *meta.Info) api.Subscription {
	s := api.Subscription{
		ID: i.ID, Name: i.Name, Owner: i.Owner, Address: i.Address, State: i.State, Shard: i.Shard, Generation: i.Generation,
		Created: time.UnixMilli(i.Created).UTC(), Limits: limitsView(i.Limits), Attached: i.Router, Error: i.StatsError,
	}
	if i.Missed != (peer.Missed{}) {
		s.Isolated = &api.Isolated{AtMost: i.Missed.AtMost, Unheard: i.Missed.AtMost - min(i.Missed.AtMost, i.Heard.AtMost), Unknown: i.Missed.Unknown}
	}
	if x := i.Stats; x != nil {
		s.Messages, s.Bytes, s.InFlight, s.Captured, s.Confirmed, s.GivenUp = x.Messages, x.Bytes, x.InFlight, x.Captured, x.Confirmed, x.GivenUp
		s.Causes, s.Unheard, s.Pinned = x.Causes, x.Unheard, x.Pinned
		if x.Messages > 0 {
			s.OldestAge = (time.Duration(x.OldestMS) * time.Millisecond).String()
		}
	}
	return s
}

func limitsView(l peer.Limits) api.Limits {
	out := api.Limits{MaxMessages: bounded(l.MaxMessages), MaxBytes: bounded(l.MaxBytes), MaxInFlight: bounded(l.MaxInFlight)}
	if l.Overflow != peer.OverflowDefault {
		out.Overflow = l.Overflow.String()
	}
	if ms := bounded(l.MaxAgeMS); ms != 0 {
		out.MaxAge = config.FormatDuration(time.Duration(ms) * time.Millisecond)
	}
	return out
}

// bounded is a limit, 0 for none.
func bounded(n uint64) int64 {
	if n == peer.Unlimited {
		return 0
	}
	return int64(n)
}

// limitsOf reads the limits of a request.
func limitsOf(l api.Limits) (peer.Limits, error) {
	var out peer.Limits
	for _, f := range []struct {
		name string
		n    int64
		to   *uint64
	}{{"maxMessages", l.MaxMessages, &out.MaxMessages}, {"maxBytes", l.MaxBytes, &out.MaxBytes}, {"maxInFlight", l.MaxInFlight, &out.MaxInFlight}} {
		if f.n < 0 {
			return out, badRequest("limits.%s: %d is no limit; it is 1 or more", f.name, f.n)
		}
		*f.to = uint64(f.n)
	}
	if l.MaxAge != "" {
		d, err := peer.ParseDuration(l.MaxAge)
		if err != nil {
			return out, badRequest("limits.maxAge: %v", err)
		}
		out.MaxAgeMS = uint64(d.Milliseconds())
	}
	if l.Overflow != "" {
		overflow, err := peer.ParseOverflow(l.Overflow)
		if err != nil {
			return out, badRequest("limits.overflow: %v", err)
		}
		out.Overflow = overflow
	}
	return out, nil
}
