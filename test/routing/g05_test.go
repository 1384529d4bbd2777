package routing

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/posthouse/posthouse/test/actor"
)

var rounds = flag.Int("rounds", 12, "how often connections between nodes are broken")

// Direct publishers and receivers at all nodes, all on one address, while connections between nodes are cut, one way or both, broken and
// restored: each receiver gets each message once at most, in order, and when all is whole again everything gets everywhere.
func TestG05OneCopy(t *testing.T) {
	s := begin(t)
	address := s.Name("prices")
	var receivers []*actor.Receiver
	var publishers []*actor.Publisher
	for i, n := range s.Cluster.Nodes {
		receivers = append(receivers, s.Receive(fmt.Sprint("screen", i), n, address, 5000))
	}
	for i, n := range s.Cluster.Nodes {
		publishers = append(publishers, s.Publish(fmt.Sprint("ticker", i), n, address, actor.Load{Window: 100, MayBeReleased: true}))
	}
	for round := range *rounds {
		from, to := rand.IntN(3), rand.IntN(3)
		if from == to {
			to = (to + 1) % 3
		}
		link := s.Cluster.RouterLink(from, to)
		if round%2 == 0 {
			link.Break()
		} else {
			link.Cut()
		}
		for _, p := range publishers {
			p.More(50)
		}
		link.Heal()
		for _, p := range publishers {
			p.More(50)
		}
	}
	s.Step("all connections are whole; what is sent now gets everywhere")
	for _, p := range publishers {
		p.Stop()
	}
	s.Eventually(func() bool { return connected(s) }, func() string { return "the nodes do not find each other again" })
	for i, n := range s.Cluster.Nodes {
		s.Reaches(fmt.Sprint("after", i), n, address, receivers...)
	}
	s.End()
}
