package routing

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// A node is cut off from the others for long: no lease. A subscription made meanwhile is answered; what the cut-off router
// goes on letting through to that address, because it can't know, is the one exception to G2, and it is told: that it is not
// known yet, and how much at most as soon as the router is back, until the subscriber has heard it. Nothing else is missing: what
// is published at the other nodes meanwhile is there, and so is what is published at that node from then on. The cluster does
// not forget it, whoever leads meta.
func TestG02CutOff(t *testing.T) {
	const window = 50
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	shop := s.Publish("shop", nodes[2], orders, actor.Load{Window: window, Every: 5 * time.Millisecond})
	desk := s.Publish("desk", nodes[1], orders, actor.Load{Window: window, Every: 5 * time.Millisecond})
	shop.More(10)
	desk.More(10)

	before := shop.Sent()
	s.Step("node c is cut off")
	s.Cluster.Isolate(2)
	s.Eventually(func() bool { return s.Isolated(nodes[2]) }, func() string { return "node c does not know that it is alone" })
	billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy})
	billing.MayPassBy(shop)
	s.Step("a subscription is made; node c goes on letting messages through")
	wantTold(t, "the attach's answer", billing.Properties(), 0, 1)
	shop.More(200)
	desk.More(200)
	billing.More(200)
	if n := billing.Got(shop); n > 0 {
		t.Errorf("%d messages came from a node that is cut off", n)
	}
	wantIsolated(t, s, billing, "while node c is away", api.Isolated{Unknown: 1})

	s.Step("node c is back")
	s.Cluster.Rejoin(2)
	s.Cluster.WaitReady(actor.Patience)
	var told api.Isolated
	s.Eventually(func() bool {
		told = isolatedOf(s, billing)
		return told.Unknown == 0
	}, func() string { return fmt.Sprintf("what passed the subscription by does not become known: %+v", told) })
	billing.Whole()
	after := shop.Sent()
	if most := uint64(after - before + window); told.AtMost < 200 || told.AtMost > most {
		t.Errorf("told of at most %d messages; 200 were let through for certain, and no more than %d were sent", told.AtMost, most)
	}
	s.Eventually(func() bool { return billing.State()[client.PropGapIsolated] == told.AtMost }, func() string {
		return fmt.Sprintf("the subscriber's flow says %v, not %d", billing.State(), told.AtMost)
	})
	shop.More(200)
	shop.Stop()
	desk.Stop()
	billing.CatchUp()
	heard := api.Isolated{AtMost: told.AtMost}
	s.Eventually(func() bool { return isolatedOf(s, billing) == heard }, func() string {
		return fmt.Sprintf("the subscriber has confirmed, and the API says %+v, not %+v", isolatedOf(s, billing), heard)
	})
	wantGaps(t, billing.Gaps(), told.AtMost)
	billing.Leave()

	meta := s.Cluster.Leader(0, actor.Patience)
	s.Step("node %s, which leads meta, is killed, and all of them after it", meta.Name)
	meta.Kill()
	s.Cluster.Leader(0, actor.Patience)
	wantIsolated(t, s, billing, "with another leader of meta", heard)
	for _, n := range s.Cluster.Others(meta) {
		n.Kill()
	}
	for _, n := range nodes {
		n.Restart()
	}
	s.Cluster.WaitReady(actor.Patience)
	wantIsolated(t, s, billing, "after a restart", heard)
	gaps := len(billing.Gaps())
	billing.Attach(nodes[2])
	wantTold(t, "the answer to an attach after a restart", billing.Properties(), told.AtMost, 0)
	s.Publish("late", nodes[1], orders, actor.Load{Count: 20}).Wait()
	billing.CatchUp()
	if again := billing.Gaps()[gaps:]; len(again) > 0 {
		t.Errorf("what was heard is told again: %+v", again)
	}
	if v := s.End(); v.PassedBy == 0 {
		t.Error("nothing was let through: the test has shown nothing")
	}
}

// isolatedOf is what the API says that a subscription may have missed.
func isolatedOf(s *actor.Story, b *actor.Subscriber) api.Isolated {
	running := slices.IndexFunc(s.Cluster.Nodes, (*proc.Node).Running)
	if i := s.MustShow(s.Cluster.Nodes[running], b.Name()).Isolated; i != nil {
		return *i
	}
	return api.Isolated{}
}

func wantIsolated(t *testing.T, s *actor.Story, b *actor.Subscriber, when string, want api.Isolated) {
	t.Helper()
	if got := isolatedOf(s, b); got != want {
		t.Errorf("%s the API says %+v, want %+v", when, got, want)
	}
}

func wantTold(t *testing.T, who string, properties map[string]any, atMost, unknown uint64) {
	t.Helper()
	if properties[client.PropGapIsolated] != atMost || properties[client.PropGapIsolatedUnknown] != unknown {
		t.Errorf("%s says %v, want at most %d and %d nodes unknown", who, properties, atMost, unknown)
	}
}

// wantGaps: deliveries have told first that it is not known, and then how much.
func wantGaps(t *testing.T, gaps []client.Gap, atMost uint64) {
	t.Helper()
	var told uint64
	for _, g := range gaps {
		told = max(told, g.Causes[client.CauseIsolated])
	}
	if len(gaps) == 0 || gaps[0].IsolatedUnknown != 1 || gaps[0].Messages != 0 || told != atMost {
		t.Errorf("deliveries have told %+v, want first that it is unknown, and then %d", gaps, atMost)
	}
}
