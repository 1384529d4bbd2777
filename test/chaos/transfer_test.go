package chaos

import (
	"math"
	"os"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// A node without data is being filled when the others go silent, connections standing. The groups go on without it; the node gives
// the transfer up and says so, is killed with what it has got, and is filled when it hears the others again.
func TestG10TransferGoneSilent(t *testing.T) {
	s := begin(t)
	c := s.Cluster
	victim := c.Nodes[2]
	others := c.Others(victim)
	b := backlog(s, others[0], others[1])
	shard := s.MustShow(others[0], b.away.Name()).Shard
	for range 2 { // more than the log keeps for those who are behind
		s.Publish("bulk", others[0], s.Name("archive"), actor.Load{Window: 20, Size: 300_000, Count: 300}).Wait()
	}
	s.Eventually(func() bool { return logBytes(s, others, shard) < 100<<20 }, func() string { return "the log is not cut" })
	s.Step("the log is cut")
	before := replicaID(t, victim)
	victim.Kill()
	if err := os.RemoveAll(victim.Dir); err != nil {
		t.Fatal(err)
	}
	said := lines(victim)
	driveAtStart(t, victim, "slow class=staging op=write by=200ms") // or it would be over too soon
	victim.Restart()
	says(s, said, "taking the state from the leader")
	for _, n := range others {
		mute(c, bothWires, index(c, n), index(c, victim))
	}
	s.Step("node %s is being filled, and hears nothing more", victim.Name)
	says(s, said, "transfer was broken off")
	b.shop.More(300)
	s.Step("it has given up; the others go on; it is killed")
	victim.Kill()
	c.Rejoin(index(c, victim))
	if err := os.Remove(atStart(victim)); err != nil {
		t.Fatal(err)
	}
	victim.Restart()
	c.WaitReady(actor.Patience)
	whole(s, victim)
	if replicaID(t, victim) == before {
		t.Errorf("node %s has come back as the replica that it was, without its data", victim.Name)
	}
	s.Step("it is whole")
	b.shop.More(100)
	b.end(victim, others[0])
}

// logBytes is the most that the nodes keep of a shard's log.
func logBytes(s *actor.Story, nodes []*proc.Node, shard uint32) int64 {
	most := int64(0)
	for _, n := range nodes {
		var view api.Cluster
		if err := n.Get(api.PathCluster, &view); err != nil {
			return math.MaxInt64
		}
		for _, g := range view.Groups {
			if g.ID == shard {
				most = max(most, g.LogBytes)
			}
		}
	}
	return most
}
