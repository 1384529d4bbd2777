package chaos

import (
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// wire is what a proxied connection is for; a pair of nodes has one proxy for each, in this order.
type wire int

const (
	raftWire wire = iota
	routerWire
	bothWires
)

// on applies f to one wire only.
func (w wire) on(f func(*proc.Proxy)) func(*proc.Proxy) {
	i := raftWire
	return func(p *proc.Proxy) {
		if w == bothWires || w == i {
			f(p)
		}
		i++
	}
}

// mute holds all that a node sends to another, whoever has dialled.
func mute(c *proc.Cluster, w wire, from, to int) {
	c.Link(from, to, w.on(func(p *proc.Proxy) { p.Silence(true, false) }))
	c.Link(to, from, w.on(func(p *proc.Proxy) { p.Silence(false, true) }))
}

func index(c *proc.Cluster, n *proc.Node) int {
	for i, x := range c.Nodes {
		if x == n {
			return i
		}
	}
	panic("no node of this cluster")
}

// A node is heard by nobody, or hears nobody, though its connections stand, on both wires or one of them; or two nodes lose each
// other and both have the third. Clients at the other nodes see no error and go on; what is held arrives late, when
// it is healed, and does no harm.
func TestG10OneWayCuts(t *testing.T) {
	type breaking func(c *proc.Cluster, w wire, victim int, others [2]int)
	muted := func(c *proc.Cluster, w wire, victim int, others [2]int) {
		mute(c, w, victim, others[0])
		mute(c, w, victim, others[1])
	}
	deaf := func(c *proc.Cluster, w wire, victim int, others [2]int) {
		mute(c, w, others[0], victim)
		mute(c, w, others[1], victim)
	}
	apart := func(c *proc.Cluster, w wire, victim int, others [2]int) {
		c.Link(victim, others[0], w.on((*proc.Proxy).Cut))
		c.Link(others[0], victim, w.on((*proc.Proxy).Cut))
	}
	for _, x := range []struct {
		name   string
		do     breaking
		wire   wire
		leader bool
		short  bool // of the default runs
	}{
		{"leader mute", muted, bothWires, true, true},
		{"leader deaf", deaf, bothWires, true, true},
		{"leader mute to raft", muted, raftWire, true, true},
		{"leader deaf to raft", deaf, raftWire, true, false},
		{"follower mute", muted, bothWires, false, false},
		{"follower deaf", deaf, bothWires, false, false},
		{"follower mute to routers", muted, routerWire, false, true},
		{"follower deaf to routers", deaf, routerWire, false, false},
		{"leader and follower apart, in raft", apart, raftWire, true, true},
	} {
		if !x.short && !*long {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			s := begin(t)
			c := s.Cluster
			orders := s.Name("orders")
			billing := s.Subscribe("billing", c.Nodes[0], actor.Subscription{Address: orders, Limits: roomy, MayBreak: c.Nodes})
			leader := s.LeaderOf(billing.Name())
			victim := leader
			if !x.leader {
				victim = c.Others(leader)[0]
			}
			others := c.Others(victim)
			billing.Attach(others[0])
			local := s.Publish("local", victim, orders, actor.Load{Window: 50, Every: time.Millisecond, MayBeRefused: true})
			shop := s.Publish("shop", others[1], orders, actor.Load{Window: 200, Every: time.Millisecond})
			shop.More(200)
			local.More(200)

			s.Step("%s: node %s", x.name, victim.Name)
			x.do(c, x.wire, index(c, victim), [2]int{index(c, others[0]), index(c, others[1])})
			shop.More(1500)
			billing.More(500)
			s.Step("the others go on; it is healed")
			c.Rejoin(index(c, victim))
			c.WaitReady(actor.Patience)
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
