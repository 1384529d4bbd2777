package waypoint

import (
	"context"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/agent"
	"github.com/posthouse/posthouse/waypoint/meta"
)

// Group is one of this node's replicas, for operators.
type Group struct {
	ID      uint32 // 0 is meta
	Status  raft.Status
	Reports []raft.Report // of all members, as far as this replica has heard
}

// Groups describes this node's replicas, meta first. It does not block.
func (w *Waypoint) Groups() []Group {
	groups := []Group{{ID: w.meta.group.ID(), Status: w.meta.group.Status(), Reports: w.meta.group.Reports()}}
	for _, s := range w.shards {
		groups = append(groups, Group{ID: s.id, Status: s.group.Status(), Reports: s.group.Reports()})
	}
	return groups
}

// AgentStatus describes this node's agent: its lease, its lanes.
func (w *Waypoint) AgentStatus() agent.Status { return w.agent.Status() }

// Subscriptions asks meta's leader, wherever it is, for operators' requests. Every call may be made at any node.
func (w *Waypoint) Subscriptions() meta.Client { return meta.Client{Caller: w.hub} }

// List gives all subscriptions with their figures.
func (w *Waypoint) List(ctx context.Context) ([]meta.Info, error) {
	var all []meta.Info
	for request := (meta.ListRequest{Stats: true, AnyOwner: true}); ; {
		page, err := w.Subscriptions().List(ctx, request)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Subscriptions...)
		if request.After = page.Next; page.Next == 0 {
			return all, nil
		}
	}
}
