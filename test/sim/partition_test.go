package sim

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// Links come and go, in one direction or both, slow and fast, under load from two publishers.
func TestPartitionsHealUnderLoad(t *testing.T) {
	rounds(t, 5, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Tune: small, Think: 40 * time.Millisecond})
		a, b := c.StartLoad(1, "a", 600), c.StartLoad(1, "b", 100)
		a.AwaitMore(10)
		for range 10 {
			from, to := pick(rng, c.Names()), pick(rng, c.Names())
			switch rng.IntN(4) {
			case 0:
				c.Net.Cut(from, to)
			case 1:
				c.Net.Isolate(from, c.Names()...)
			case 2:
				c.Net.Delay(from, to, time.Duration(rng.IntN(300))*time.Millisecond)
			case 3:
				c.Net.Reset(from)
			}
			nap(rng, 3*time.Second)
			if rng.IntN(3) == 0 {
				c.heal()
			}
		}
		c.heal()
		a.AwaitMore(20)
		b.AwaitMore(20)
		a.Stop()
		b.Stop()
		c.Settle(1)
		c.Check(1, a, b)
	})
}

// The leadership moves every second or so while commands flow: some are refused, none is lost, doubled or in doubt.
func TestLeadershipMovesAllTheTime(t *testing.T) {
	rounds(t, 3, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Tune: small, Think: 30 * time.Millisecond})
		a, b := c.StartLoad(1, "a", 600), c.StartLoad(1, "b", 300)
		moves := 0
		for range 8 {
			a.AwaitMore(5)
			nap(rng, 1500*time.Millisecond)
			from := c.Leader(1)
			to := pick(rng, c.Names())
			if g := c.Node(from).Group(1); to != from && g.TransferLeadership(context.Background(), to) == nil {
				moves++
			}
		}
		a.AwaitMore(10)
		for _, l := range []*Load{a, b} {
			l.Stop()
		}
		c.Settle(1)
		c.Check(1, a, b)
		if moves == 0 {
			t.Error("the leadership was never moved")
		}
		for _, l := range []*Load{a, b} {
			if l.unknown > 0 {
				t.Errorf("load %s: %d outcomes unknown, though every leader was alive", l.name, l.unknown)
			}
		}
	})
}

// A follower that is cut off asks for votes without raising its term: pre-vote is on. Else it would depose the leader when it
// comes back.
func TestIsolatedFollowerDeposesNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Think: time.Second})
		leader := c.Leader(1)
		l := c.StartLoad(1, "l", 100)
		l.AwaitMore(5)
		term := c.Node(leader).Group(1).Status().Term
		for _, name := range c.Names() {
			if name == leader {
				continue
			}
			c.Net.Isolate(name, c.Names()...)
			time.Sleep(30 * time.Second)
			if got := c.Node(name).Group(1).Status().Term; got != term {
				t.Errorf("term of the isolated %s: %d, was %d", name, got, term)
			}
			c.Net.Join(name, c.Names()...)
			time.Sleep(5 * time.Second)
			if s := c.Node(leader).Group(1).Status(); !s.Leader || s.Term != term {
				t.Errorf("%s leads no more after %s came back: %+v", leader, name, s)
			}
		}
		l.Stop()
	})
}

// The loss of a leader costs less than three seconds.
func TestG08LeaderLost(t *testing.T) {
	rounds(t, 5, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{})
		l := c.StartLoad(1, "l", 100)
		l.AwaitMore(10)
		nap(rng, time.Second)
		leader := c.Leader(1)
		began := time.Now() // the bubble's time: nothing of the machine's speed is in it
		c.Net.Isolate(leader, c.Names()...)
		n := 0
		c.Await("another leader", func() bool {
			n++
			for _, name := range c.Names() {
				if name != leader && c.Node(name).Group(1).Leadership().Leader {
					return true
				}
			}
			return false
		})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("no leader for %v", took)
		}
		c.Net.Join(leader, c.Names()...)
		l.AwaitMore(10)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}
