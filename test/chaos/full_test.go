package chaos

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// little is less than the nodes of this test call full, and enough to confirm and to delete.
const little = "free 30000000"

// some is less than the nodes of this test call low, and more than they call full.
const some = "free 50000000"

// A follower's disk has little room left. Publishers of what is kept have less credit and are told why; nothing is refused, and
// all is as before when there is room.
func TestG10DiskLow(t *testing.T) {
	s := begin(t)
	orders := s.Name("orders")
	nodes := s.Cluster.Nodes
	billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy})
	leader := s.LeaderOf(billing.Name())
	poor := s.Cluster.Others(leader)[0]
	shop := s.Publish("shop", nodes[1], orders, actor.Load{Window: 200})
	shop.More(300)
	drive(t, poor, some)
	defer tryDrive(poor, "free off")
	s.Eventually(func() bool { return diskOf(nodes[2], poor) == "low" }, func() string { return "the disk is " + diskOf(nodes[2], poor) })
	s.Eventually(func() bool { return pressed(nodes[1]) == 1 }, func() string { return "the publisher's node has not heard of it" })
	if n, _ := nodes[1].Metric(`posthouse_router_credit_narrowed_total{reason="disk"}`); n == 0 {
		t.Error("the publisher has all its credit")
	}
	s.Step("the disk of %s is low; the publisher has less credit", poor.Name)
	shop.More(200)
	drive(t, poor, "free off")
	s.Eventually(func() bool { return pressed(nodes[1]) == 0 }, func() string { return "the publisher does not have its credit again" })
	s.Step("there is room")
	shop.More(500)
	shop.Stop()
	billing.CatchUp()
	s.End()
}

// pressed is the worst that a node's publishers are told of the shards' disks: 1 for less credit, 2 for none; below 0 if that is not known.
func pressed(n *proc.Node) float64 {
	worst := -1.0
	for _, shard := range []string{"1", "2", "3"} {
		if level, ok := n.Metric(fmt.Sprintf(`posthouse_agent_shard_pressure{reason="disk",shard=%q}`, shard)); ok {
			worst = max(worst, level)
		}
	}
	return worst
}

// diskOf is the level of a node's disk, as another one sees it.
func diskOf(at, of *proc.Node) string {
	var view api.Cluster
	if err := at.Get(api.PathCluster, &view); err != nil {
		return err.Error()
	}
	for _, n := range view.Nodes {
		if n.Name == of.Name {
			return n.Disk
		}
	}
	return "unknown"
}

// A follower's disk is nearly full. Durable publishes are refused and told why, or get no credit; what is direct goes on; what is
// stored is delivered and confirmed. Space is back, and so is the service, without a restart.
func TestG10DiskNearlyFull(t *testing.T) {
	s := begin(t)
	orders, prices := s.Name("orders"), s.Name("prices")
	nodes := s.Cluster.Nodes
	billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, Second: true})
	leader := s.LeaderOf(billing.Name())
	poor, other := s.Cluster.Others(leader)[0], s.Cluster.Others(leader)[1]
	billing.Leave()
	screen := s.Receive("screen", poor, prices, 0)
	direct := s.Publish("direct", other, prices, actor.Load{Window: 50, Every: time.Millisecond})
	shop := s.Publish("shop", other, orders, actor.Load{Window: 50, Every: time.Millisecond, MayBeRefused: true})
	shop.More(300)
	pids := []int{leader.PID(), poor.PID(), other.PID()}

	drive(t, poor, little)
	s.Step("the disk of %s is nearly full", poor.Name)
	s.Eventually(func() bool { return shop.Refused() > 0 }, func() string { return "nothing is refused" })
	if e := shop.Refusal(); e == nil || e.Info["reason"] != "disk" {
		t.Errorf("refused with %v, want the reason disk", e)
	}
	accepted := shop.Accepted()
	direct.More(300)
	screen.More(100)
	s.Step("refused; direct traffic flows; the subscriber comes")
	billing.Attach(other)
	billing.Until(accepted)
	billing.Empty()
	if more := shop.Accepted() - accepted; more > 0 {
		t.Errorf("%d messages were accepted while the disk was full", more)
	}

	drive(t, poor, "free off")
	s.Step("there is space")
	shop.More(500)
	direct.More(100)
	shop.Stop()
	direct.Stop()
	for i, n := range []*proc.Node{leader, poor, other} {
		if n.PID() != pids[i] {
			t.Errorf("node %s was restarted", n.Name)
		}
	}
	whole(s, poor)
	billing.CatchUp()
	s.End()
}

// Nothing more can be written to the logs of all nodes, then to the tables of their states. Direct traffic goes on. There is space,
// and the service is back without a restart; all that was accepted is there.
func TestG10WritesWaitForSpace(t *testing.T) {
	for what, fault := range map[string]string{"log": "fail class=log-wal,log-table op=write err=ENOSPC", "state": "fail class=state-table op=write err=ENOSPC"} {
		t.Run(what, func(t *testing.T) {
			s := begin(t)
			orders, prices := s.Name("orders"), s.Name("prices")
			nodes := s.Cluster.Nodes
			billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, MayBreak: nodes})
			billing.Leave()
			screen := s.Receive("screen", nodes[0], prices, 0)
			direct := s.Publish("direct", nodes[0], prices, actor.Load{Window: 50, Every: time.Millisecond, MayBeRefused: true})
			shop := s.Publish("shop", nodes[1], orders, actor.Load{Window: 20, Size: 300_000, MayBeRefused: true, MayBreak: true})
			shop.More(20)
			var pids []int
			var said []func() string
			for _, n := range nodes {
				pids, said = append(pids, n.PID()), append(said, lines(n))
				drive(t, n, fault)
			}
			s.Step("nothing more can be written")
			s.Eventually(func() bool {
				return slices.ContainsFunc(said, func(log func() string) bool { return strings.Contains(log(), "writes wait for space") })
			}, func() string { return "no node waits for space" })
			s.Step("writes wait")
			screen.More(200)
			for _, n := range nodes {
				drive(t, n, "clear")
			}
			s.Step("there is space")
			shop.More(50)
			shop.Stop()
			direct.Stop()
			s.Cluster.WaitReady(actor.Patience)
			for i, n := range nodes {
				if n.PID() != pids[i] || !n.Running() {
					t.Errorf("node %s has ended", n.Name)
				}
				whole(s, n)
			}
			billing.Attach(nodes[2])
			billing.CatchUp()
			s.End()
		})
	}
}

// The log of one node, a leader, is full. Others take over; durable publishes are refused with the reason, since all nodes
// must be able to keep what is kept; what is stored is delivered and confirmed. There is space, and the service is back without a
// restart.
func TestG10OneLogFull(t *testing.T) {
	s := begin(t)
	orders := s.Name("orders")
	nodes := s.Cluster.Nodes
	billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, MayBreak: nodes})
	leader := s.LeaderOf(billing.Name())
	others := s.Cluster.Others(leader)
	billing.Leave()
	shop := s.Publish("shop", others[1], orders, actor.Load{Window: 100, Size: 2000, Every: time.Millisecond, MayBeRefused: true})
	shop.More(500)
	said, pid := lines(leader), leader.PID()
	drive(t, leader, "fail class=log-wal op=write err=ENOSPC")
	s.Step("the log of %s is full", leader.Name)
	says(s, said, "writes wait for space")
	refused := shop.Refused()
	s.Eventually(func() bool { return shop.Refused() > refused+10 }, func() string { return "nothing is refused" })
	if e := shop.Refusal(); e == nil || e.Info["reason"] != "disk" {
		t.Errorf("refused with %v, want the reason disk", e)
	}
	billing.Attach(others[0])
	billing.Until(500)
	if now := s.LeaderOf(billing.Name()); now == leader {
		t.Errorf("node %s still leads though it can't write", leader.Name)
	}
	billing.Empty()
	s.Step("others have taken over, and the subscriber has all")

	drive(t, leader, "clear")
	shop.More(500)
	s.Step("there is space")
	whole(s, leader)
	if leader.PID() != pid || !leader.Running() {
		t.Errorf("node %s has ended", leader.Name)
	}
	shop.Stop()
	billing.CatchUp()
	s.End()
}

// A node is started with a disk that has no room but its reserve, or none at all. It says so and waits; the others go on, or
// refuse with the reason once they know; it is a member again as soon as there is space, without a restart.
func TestG10FullAtStart(t *testing.T) {
	for _, x := range []struct{ name, full, space string }{
		{"reserve left", "free 0", "free off"},
		{"no room at all", "fail op=write err=ENOSPC", "clear"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := begin(t)
			orders := s.Name("orders")
			nodes := s.Cluster.Nodes
			billing := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, MayBreak: nodes})
			leader := s.LeaderOf(billing.Name())
			others := s.Cluster.Others(leader)
			billing.Attach(others[0])
			shop := s.Publish("shop", others[1], orders, actor.Load{Window: 100, Every: time.Millisecond, MayBeRefused: true})
			shop.More(200)
			leader.Kill()
			shop.More(200)
			said := lines(leader)
			driveAtStart(t, leader, x.full)
			leader.Restart()
			pid := leader.PID()
			s.Step("%s starts with a full disk", leader.Name)
			says(s, said, "disk is full")
			answered := shop.Accepted() + shop.Refused()
			s.Eventually(func() bool { return shop.Accepted()+shop.Refused() > answered+200 }, func() string { return "publishes are not answered" })
			if e := shop.Refusal(); e != nil && e.Info["reason"] != "disk" {
				t.Errorf("refused with %v, want the reason disk", e)
			}
			drive(t, leader, x.space)
			s.Step("there is space")
			s.Cluster.WaitReady(actor.Patience)
			whole(s, leader)
			shop.More(100)
			if leader.PID() != pid || !leader.Running() {
				t.Errorf("node %s has ended", leader.Name)
			}
			shop.Stop()
			billing.CatchUp()
			s.End()
		})
	}
}
