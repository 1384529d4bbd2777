package failover

import (
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
)

// Two of three nodes are killed. Direct traffic on the third flows, settled and unsettled, old links and new. What is published to an
// address that is known as captured is not accepted, until there is a majority again; then all that was accepted is there.
func TestG09DirectStaysDirect(t *testing.T) {
	for i, name := range []string{"leader lost", "leader left"} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			orders, prices, news := s.Name("orders"), s.Name("prices"), s.Name("news")
			billing := s.Subscribe("billing", s.Cluster.Nodes[0], actor.Subscription{Address: orders, Limits: roomy})
			leader := s.LeaderOf(billing.Name())
			billing.Leave()
			left := leader
			if i == 0 {
				left = s.Cluster.Others(leader)[0]
			}
			screen := s.Receive("screen", left, prices, 0)
			unsettled := s.Publish("unsettled", left, prices, actor.Load{Window: 50})
			settled := s.Publish("settled", left, prices, actor.Load{Every: time.Millisecond, Settled: true})
			before := s.Publish("before", left, orders, actor.Load{Count: 500})
			before.Wait()
			screen.More(100)

			s.Step("nodes other than %s are killed", left.Name)
			for _, n := range s.Cluster.Others(left) {
				n.Kill()
			}
			s.Eventually(func() bool { return s.Isolated(left) }, func() string { return "the node that is left does not know that it is alone" })
			unsettled.More(500)
			sent := settled.Sent()
			s.Eventually(func() bool { return settled.Sent() > sent+500 }, func() string { return "settled messages do not flow" })
			screen.More(1000)
			reader := s.Receive("reader", left, news, 0)
			s.Publish("late", left, news, actor.Load{Count: 500}).Wait()
			reader.Until(500)

			s.Step("direct traffic flows; a publisher to what is captured begins")
			shop := s.Publish("shop", left, orders, actor.Load{Window: 50, MayBeRefused: true, MayBreak: true})
			s.Eventually(func() bool { return shop.Refused() > 0 }, func() string { return "nothing was refused" })
			if e := shop.Refusal(); e == nil || e.Info["reason"] != "no-majority" {
				t.Errorf("refused with %v, want the reason no-majority", e)
			}
			unsettled.More(500)
			if n := shop.Accepted(); n > 0 {
				t.Errorf("%d messages were accepted without a majority", n)
			}

			s.Step("the others come back")
			for _, n := range s.Cluster.Others(left) {
				n.Restart()
			}
			s.Cluster.WaitReady(actor.Patience)
			shop.More(500)
			shop.Stop()
			settled.Stop()
			unsettled.Stop()
			billing.Attach(s.Cluster.Others(left)[0])
			billing.CatchUp()
			s.End()
		})
	}
}
