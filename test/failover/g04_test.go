package failover

import (
	"testing"

	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// A publisher with a window of 1000 and a subscriber with 500 unsettled deliveries, at two nodes, while the third,
// which leads their shard, goes away and comes back: nothing doubled, nothing missing, nothing out of order, no error.
func TestG04LeaderChangeIsInvisible(t *testing.T) {
	for _, way := range []struct {
		name          string
		away, return_ func(*proc.Node)
	}{
		{"killed", (*proc.Node).Kill, (*proc.Node).Restart},
		{"stopped in an orderly way", func(n *proc.Node) { n.Terminate() }, (*proc.Node).Restart},
		{"standing still", (*proc.Node).Stop, (*proc.Node).Continue},
	} {
		t.Run(way.name, func(t *testing.T) {
			s := begin(t)
			address := s.Name("orders")
			name := s.Create(s.Cluster.Nodes[0], s.Name("billing"), address, roomyLimits).Name
			leader := s.LeaderOf(name)
			others := s.Cluster.Others(leader)

			sub := s.Subscribe("billing", others[0], actor.Subscription{Name: name, Address: address, Credit: 1000, Hold: 500})
			pub := s.Publish("shop", others[1], address, actor.Load{Window: 1000})
			pub.More(2000)
			sub.More(1500)

			s.Step("node %s leads; it goes away", leader.Name)
			way.away(leader)
			pub.More(3000)
			sub.More(2000)
			s.Step("all goes on without it; it comes back")
			way.return_(leader)
			s.Cluster.WaitReady(actor.Patience)
			pub.More(1000)

			s.Step("the publisher stops")
			pub.Stop()
			sub.CatchUp()
			s.End()
		})
	}
}
