package failover

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
)

// Publishers at full speed at all three nodes, all to one address, while subscriptions to it come and go. One node stands still
// while one of them is made; the leader of meta is killed while others are. Each gets all that begins after its attach
// was answered, until it is removed.
func TestG02SubscribedMeansFromNowOn(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	address := s.Name("orders")
	for i, n := range nodes {
		// One of them is slow, so that it never waits for answers: it goes on when its node stands still.
		s.Publish(fmt.Sprint("fast", i), n, address, actor.Load{Window: 200, MayBreak: true}).More(10)
		s.Publish(fmt.Sprint("slow", i), n, address, actor.Load{Window: 1000, Every: 5 * time.Millisecond, MayBreak: true}).More(1)
	}

	s.Step("subscriptions come and go")
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() { comeAndGo(s, fmt.Sprint("guest", i), i, address, 2) })
	}
	all.Wait()

	meta := s.Cluster.Leader(0, actor.Patience)
	still := s.Cluster.Others(meta)[0]
	s.Step("node %s stands still while a subscription is made", still.Name)
	// On an address of its own, which nobody has captured yet: so the activation has to wait for that node.
	fresh := s.Name("fresh")
	for i, n := range s.Cluster.Others(still) {
		s.Publish(fmt.Sprint("fresh", i), n, fresh, actor.Load{Window: 200, Every: time.Millisecond, MayBreak: true}).More(10)
	}
	// Slow enough that its window lasts as long as the activation may take.
	witness := s.Publish("witness", still, fresh, actor.Load{Window: 1000, Every: 20 * time.Millisecond, MayBreak: true})
	witness.More(20)
	still.Stop()
	across := s.Subscribe("across", meta, actor.Subscription{Address: fresh, Limits: roomy})
	s.Step("subscribed; what the publisher at node %s sends now waits in its socket", still.Name)
	sent := witness.Sent()
	s.Eventually(func() bool { return witness.Sent() > sent+20 }, func() string { return "the publisher at the node that stands still sends nothing" })
	still.Continue()
	witness.More(100)
	across.End()

	s.Step("the leader of meta, node %s, is killed while subscriptions are made", meta.Name)
	others := s.Cluster.Others(meta)
	for i := range 4 {
		all.Go(func() {
			sub := s.Subscribe(fmt.Sprint("heir", i), others[i%2], actor.Subscription{Address: address, Limits: roomy})
			sub.More(300)
			sub.End()
		})
	}
	meta.Kill()
	all.Wait()
	meta.Restart()
	s.Cluster.WaitReady(actor.Patience)
	comeAndGo(s, "last", 0, address, 3)
	s.End()
}

// comeAndGo is a guest's stays at different nodes: each a subscription made, read for a while and removed.
func comeAndGo(s *actor.Story, name string, i int, address string, stays int) {
	for stay := range stays {
		sub := s.Subscribe(fmt.Sprintf("%s-%d", name, stay), s.Cluster.Nodes[(i+stay)%3], actor.Subscription{Address: address, Limits: roomy})
		sub.More(200)
		sub.End()
	}
}
