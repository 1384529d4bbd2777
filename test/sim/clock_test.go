package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/raft/rafttest"
)

// off is how far the group's clock is from the bubble's.
func (c *Cluster) off(group uint32) time.Duration {
	m := c.Node(c.Leader(group)).Machine(group)
	return time.Until(time.UnixMilli(m.Clock()))
}

// One wrong clock, the leader's or a follower's, neither moves the group's time nor stops it.
func TestOneWrongClock(t *testing.T) {
	for name, wrong := range map[string]func(*rafttest.Clock){
		"ahead":   func(k *rafttest.Clock) { k.Set(time.Hour) },
		"behind":  func(k *rafttest.Clock) { k.Set(-time.Hour) },
		"stopped": func(k *rafttest.Clock) { k.Stop() },
	} {
		for _, whose := range []string{"leader", "follower"} {
			t.Run(fmt.Sprintf("%s %s", whose, name), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					c := Start(t, Options{Think: 200 * time.Millisecond})
					l := c.StartLoad(1, "l", 50)
					l.AwaitMore(10)
					leader := c.Leader(1)
					for _, node := range c.Names() {
						if (node == leader) == (whose == "leader") {
							wrong(c.Node(node).Clock)
							break
						}
					}
					for range 10 {
						time.Sleep(time.Second)
						l.AwaitMore(1)
						if off := c.off(1); off.Abs() > 2*time.Second {
							t.Fatalf("the group's clock is off by %v", off)
						}
					}
					// A new leader, perhaps the one with the wrong clock, changes nothing. (Time may stand while only two
					// replicas are there and one of them is behind.)
					old := c.Leader(1)
					c.Crash(old, 100, 1)
					l.AwaitMore(5)
					if off := c.off(1); off > 2*time.Second {
						t.Fatalf("the group's clock is ahead by %v after an election", off)
					}
					c.Up(old)
					time.Sleep(time.Second)
					l.AwaitMore(5)
					if off := c.off(1); off.Abs() > 2*time.Second {
						t.Fatalf("the group's clock is off by %v after an election", off)
					}
					l.Stop()
				})
			})
		}
	}
}

// After an outage of any length the first command has the right time.
func TestClockAfterOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Think: 200 * time.Millisecond})
		l := c.StartLoad(1, "l", 50)
		l.AwaitMore(10)
		l.Stop()
		for _, name := range c.Names() {
			c.Down(name)
		}
		time.Sleep(30 * 24 * time.Hour)
		for _, name := range c.Names() {
			c.Up(name)
		}
		leader := c.Leader(1)
		done := make(chan error, 1)
		g := c.Node(leader).Group(1)
		g.Propose(g.Leadership().Turn, []byte("first"), func(_ any, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if off := c.off(1); off.Abs() > 2*time.Second {
			t.Fatalf("the first command's time is off by %v", off)
		}
	})
}

// Without reports time stands still and commands go on; with them it is right again.
func TestClockWithoutReports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Think: 200 * time.Millisecond, Tune: func(_ string, rc *raft.Config) { rc.ReportInterval = 15 * time.Second }})
		l := c.StartLoad(1, "l", 50)
		l.AwaitMore(10)
		time.Sleep(30 * time.Second)
		stood := false
		last := time.Duration(0)
		for range 40 {
			time.Sleep(time.Second)
			l.AwaitMore(1)
			off := c.off(1)
			stood = stood || off < last && off < -5*time.Second
			last = off
			if off > 2*time.Second || off < -20*time.Second {
				t.Fatalf("the group's clock is off by %v", off)
			}
		}
		if !stood {
			t.Error("time did not wait for reports")
		}
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}
