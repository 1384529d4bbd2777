package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/raft"
)

var (
	roundsFlag = flag.Int("rounds", 0, "rounds of each random scenario (0: its default)")
	seedFlag   = flag.Uint64("seed", 1, "first seed of the random scenarios")
)

// rounds runs a scenario with many seeds, each in a world of its own, whose time passes at once when everybody waits.
func rounds(t *testing.T, n int, f func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	if *roundsFlag > 0 {
		n = *roundsFlag
	}
	for i := range n {
		seed := *seedFlag + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// small makes logs short, so that snapshots, truncation and transfers happen all the time.
func small(_ string, c *raft.Config) {
	c.SnapshotBytes = 16 << 10
	c.TrailingBytes = 4 << 10
	c.TrailingMin = 2
	c.TrailingMax = 32
}

// nap lets some of the bubble's time pass.
func nap(rng *rand.Rand, most time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(most)))) }

func pick(rng *rand.Rand, names []string) string { return names[rng.IntN(len(names))] }

func TestElectsProposesRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{})
		l := c.StartLoad(1, "l", 200)
		l.AwaitMore(50)
		for _, name := range c.Names() {
			c.Down(name)
			l.AwaitMore(20)
			c.Up(name)
			l.AwaitMore(20)
		}
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// One node is a cluster by itself, formed at once.
func TestClusterOfOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Nodes: []string{"a"}, Tune: small})
		l := c.StartLoad(1, "l", 500)
		l.AwaitMore(200)
		c.Crash("a", 0, 1)
		c.Up("a")
		l.AwaitMore(200)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// Several groups share the listener and the log.
func TestManyGroups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		groups := []uint32{0, 1, 2}
		c := Start(t, Options{Groups: groups, Tune: small, Think: 30 * time.Millisecond})
		var loads []*Load
		for _, g := range groups {
			loads = append(loads, c.StartLoad(g, "l", 300))
		}
		for _, l := range loads {
			l.AwaitMore(30)
		}
		c.Crash("b", 50, 3)
		for _, l := range loads {
			l.AwaitMore(30)
		}
		c.Up("b")
		for i, l := range loads {
			l.AwaitMore(30)
			l.Stop()
			c.Settle(groups[i])
			c.Check(groups[i], l)
		}
	})
}
