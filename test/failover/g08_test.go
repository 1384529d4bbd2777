package failover

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
)

// Each node in turn is killed, whatever it leads. Durable publishers and subscribers in every shard and a direct pair, all at the other two nodes,
// go on, on the connections and links that they have. How long that takes is for the benchmark to say.
func TestG08OneNodeDownIsABlink(t *testing.T) {
	for i := range 3 {
		t.Run(fmt.Sprintf("node %c", 'a'+i), func(t *testing.T) {
			s := begin(t)
			lost := s.Cluster.Nodes[i]
			others := s.Cluster.Others(lost)

			var publishers []*actor.Publisher
			var subscribers []*actor.Subscriber
			for shard, address := range s.AddressPerShard("orders", 3) {
				sub := s.Subscribe(fmt.Sprint("billing", shard), others[shard%2], actor.Subscription{Address: address, Limits: roomy})
				pub := s.Publish(fmt.Sprint("shop", shard), others[(shard+1)%2], address, actor.Load{Window: 200})
				publishers, subscribers = append(publishers, pub), append(subscribers, sub)
			}
			prices := s.Name("prices")
			screen := s.Receive("screen", others[0], prices, 0)
			ticker := s.Publish("ticker", others[1], prices, actor.Load{Window: 200})
			for i := range publishers {
				publishers[i].More(200)
				subscribers[i].More(200)
			}
			screen.More(200)

			s.Step("node %s is killed", lost.Name)
			lost.Kill()
			killed := time.Now()
			for i := range publishers {
				publishers[i].More(500)
				subscribers[i].More(500)
			}
			ticker.More(200)
			screen.More(200)
			s.Step("all of them go on, %v after the kill", time.Since(killed).Round(time.Millisecond))

			ticker.Stop()
			for i := range publishers {
				publishers[i].Stop()
				subscribers[i].CatchUp()
			}
			s.End()
		})
	}
}
