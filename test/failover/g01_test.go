package failover

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
)

var rounds = flag.Int("rounds", 3, "how often all nodes are killed at once")

// Publishers at all three nodes, two subscriptions of which one is read all the time; all nodes are killed at once at a random
// point, and started again, round after round: every accepted message is there, and what was told to be
// confirmed does not come again.
func TestG01AllKilled(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	busy, quiet := s.Name("busy"), s.Name("quiet")
	reader := s.Subscribe("reader", nodes[0], actor.Subscription{Address: busy, Limits: roomy, Second: true, MayBreak: nodes})
	away := s.Subscribe("away", nodes[1], actor.Subscription{Address: quiet, Limits: roomy})
	away.Leave()

	var publishers []*actor.Publisher
	for i, n := range nodes {
		publishers = append(publishers,
			s.Publish(fmt.Sprint("busy", i), n, busy, actor.Load{Window: 300, Size: 500, MayBreak: true}),
			s.Publish(fmt.Sprint("quiet", i), n, quiet, actor.Load{Window: 100, Size: 3000, MayBreak: true}))
	}
	for round := range *rounds {
		for _, p := range publishers {
			p.More(20)
		}
		point := time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))
		time.Sleep(point) // the random point
		s.Step("round %d: all nodes are killed, %v into the load", round+1, point)
		s.Cluster.KillAll()
		for _, n := range nodes {
			n.Restart()
		}
		s.Cluster.WaitReady(actor.Patience)
	}
	for _, p := range publishers {
		p.More(20)
	}
	s.Step("the publishers stop")
	for _, p := range publishers {
		p.Stop()
	}
	away.Attach(nodes[2])
	reader.CatchUp()
	away.CatchUp()
	s.End()
}
