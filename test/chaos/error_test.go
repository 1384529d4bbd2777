package chaos

import (
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// One sync of a node's log fails. Nothing is believed of that log any more: the process ends, says why, and is started again,
// and what is on its disk then is a replica like any other. Clients at other nodes see no error.
func TestG10FsyncError(t *testing.T) {
	for i, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			s := begin(t)
			orders := s.Name("orders")
			nodes := s.Cluster.Nodes
			billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, MayBreak: nodes})
			leader := s.LeaderOf(billing.Name())
			victim := []*proc.Node{leader, s.Cluster.Others(leader)[0]}[i]
			others := s.Cluster.Others(victim)
			billing.Attach(others[0])
			local := s.Publish("local", victim, orders, actor.Load{Window: 50, Every: time.Millisecond, MayBreak: true})
			shop := s.Publish("shop", others[1], orders, actor.Load{Window: 200, Every: time.Millisecond})
			shop.More(200)
			local.More(200)

			said := lines(victim)
			drive(t, victim, "fail class=log-wal op=sync err=EIO times=1")
			mustFail(t, victim, said, "input/output error")
			s.Step("node %s has ended", victim.Name)
			shop.More(500)
			victim.Restart()
			s.Cluster.WaitReady(actor.Patience)
			s.Step("it is back")
			local.More(200)
			shop.More(200)
			whole(s, victim)
			local.Stop()
			shop.Stop()
			billing.CatchUp()
			s.End()
		})
	}
}
