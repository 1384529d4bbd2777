package routing

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
)

// A durable publisher and subscriber at each node, on addresses of all shards, while the routers' connections break again and again:
// lanes and hand-overs go on where they were. Nothing is doubled, missing or out of order, and no client gets an error.
func TestG04ConnectionsBreak(t *testing.T) {
	s := begin(t)
	var publishers []*actor.Publisher
	var subscribers []*actor.Subscriber
	for shard, address := range s.AddressPerShard("orders", 3) {
		for i, n := range s.Cluster.Nodes {
			subscribers = append(subscribers, s.Subscribe(fmt.Sprint("billing", shard, i), n, actor.Subscription{Address: address, Limits: roomy, Hold: 50}))
			publishers = append(publishers, s.Publish(fmt.Sprint("shop", shard, i), n, address, actor.Load{Window: 100, Every: 2 * time.Millisecond}))
		}
	}
	for round := range *rounds {
		for _, p := range publishers {
			p.More(20)
		}
		s.Step("round %d", round)
		s.Cluster.RouterLink(round%3, (round+1+round/3%2)%3).Break()
	}
	for _, p := range publishers {
		p.More(20)
	}
	s.Step("the publishers stop")
	for _, p := range publishers {
		p.Stop()
	}
	s.Step("the subscribers catch up")
	for _, b := range subscribers {
		b.CatchUp()
	}
	s.End()
}
