package sim

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// Power loss of every node at the same moment loses nothing that was accepted, wherever the nodes are: in the middle of an
// append, of a snapshot, of a truncation, of the restoring of a shard.
func TestG01PowerLossOfAllNodes(t *testing.T) {
	const losses = 10
	rounds(t, 50/losses, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 400)
		for loss := range losses {
			l.AwaitMore(10 + rng.IntN(30))
			switch loss % 3 {
			case 0: // at any time
				nap(rng, 500*time.Millisecond)
				c.PowerLoss(rng.IntN(101), rng.Uint64(), c.Names()...)
			case 1: // while one node writes
				lossAt(c, rng, pick(rng, c.Names()), []string{
					"append.before", "append.synced", "commit.done", "record.committed", "record.durable",
					"flush.before", "flush.done", "release.before", "release.done",
				})
			case 2: // while one node is restored
				name := pick(rng, c.Names())
				c.Crash(name, 0, rng.Uint64())
				l.AwaitMore(90) // the others cut their logs
				c.Up(name)
				lossAt(c, rng, name, []string{
					"import.table", "import.progress", "import.before", "import.ingested", "import.replaced", "import.cleaned",
					"truncate.marked", "truncate.synced",
				})
			}
			for _, name := range c.Names() {
				if c.Node(name).Raft() == nil {
					c.Up(name)
				}
			}
		}
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// lossAt takes the power from all nodes when one reaches one of the crash points, or after a while if it reaches none.
func lossAt(c *Cluster, rng *rand.Rand, name string, points []string) {
	c.T.Helper()
	seed, percent := rng.Uint64(), rng.IntN(101)
	after := make(chan map[string]*storagetest.FS, 1)
	var late atomic.Bool
	point := points[rng.IntN(len(points))]
	c.Node(name).FS.At(point, rng.IntN(4), func() {
		if late.Load() {
			return
		}
		m := map[string]*storagetest.FS{}
		for i, n := range c.Names() {
			// Others may have acknowledged more by the time that theirs is taken; never less.
			c.Net.Darken(n)
			m[n] = c.Node(n).FS.Crash(percent, seed+uint64(i))
		}
		after <- m
	})
	select {
	case m := <-after:
		for n, fs := range m {
			c.CrashTo(n, fs)
		}
	case <-time.After(3 * time.Second):
		late.Store(true)
		c.PowerLoss(percent, seed, c.Names()...)
	}
}

// A node that crashes at any of storage's crash points comes back and agrees with the others.
func TestCrashAtEachPoint(t *testing.T) {
	for _, point := range storagetest.Points {
		kind, _, _ := strings.Cut(point, ".")
		var reach func(t *testing.T, c *Cluster, l *Load, point string, rng *rand.Rand) (string, <-chan *storagetest.FS)
		o := Options{Tune: small}
		switch kind {
		case "create", "reseed":
			continue // TestCrashWhileForming, TestDamagedLogIsSeededAgain
		case "append", "commit", "flush", "record":
			reach = whileRunning
		case "release":
			reach = whileRunning
			o.Store = func(_ string, sc *storage.Config) { sc.LowSpace = 1 << 40 } // always low: space is handed back at once
		case "import":
			reach = whileSeeded
		case "term", "vote":
			reach = whileElecting
		case "truncate":
			reach = whileConflicting
			o.Tune = longTail
		}
		t.Run(point, func(t *testing.T) {
			rounds(t, 1, func(t *testing.T, rng *rand.Rand) {
				c := New(t, o)
				for _, name := range c.Names() {
					if kind == "release" {
						c.Node(name).FS.SetFree(1 << 39)
					}
					c.Up(name)
				}
				l := c.StartLoad(1, "l", 400)
				l.AwaitMore(30)
				name, crashed := reach(t, c, l, point, rng)
				select {
				case fs := <-crashed:
					c.CrashTo(name, fs)
				case <-time.After(30 * time.Second):
					t.Fatal("it was never reached: this test tests nothing")
				}
				c.heal()
				l.AwaitMore(20)
				c.Up(name)
				l.AwaitMore(20)
				l.Stop()
				c.Settle(1)
				c.Check(1, l)
			})
		})
	}
}

func whileRunning(_ *testing.T, c *Cluster, _ *Load, point string, rng *rand.Rand) (string, <-chan *storagetest.FS) {
	name := pick(rng, c.Names())
	return name, c.CrashAt(name, point, rng.IntN(2), rng.IntN(101), rng.Uint64())
}

func whileSeeded(_ *testing.T, c *Cluster, l *Load, point string, rng *rand.Rand) (string, <-chan *storagetest.FS) {
	name := pick(rng, c.Names())
	c.Crash(name, 50, rng.Uint64())
	l.AwaitMore(120) // a second: the others cut their logs
	crashed := c.CrashAt(name, point, 0, rng.IntN(101), rng.Uint64())
	c.Up(name)
	return name, crashed
}

// whileElecting takes the leader away; of the two others the one that is armed votes, for itself or for the other.
func whileElecting(_ *testing.T, c *Cluster, _ *Load, point string, rng *rand.Rand) (string, <-chan *storagetest.FS) {
	leader := c.Leader(1)
	for _, name := range c.Names() {
		if name != leader {
			crashed := c.CrashAt(name, point, 0, rng.IntN(101), rng.Uint64())
			c.Net.Isolate(leader, c.Names()...)
			return name, crashed
		}
	}
	return "", nil
}

func whileConflicting(t *testing.T, c *Cluster, l *Load, point string, rng *rand.Rand) (string, <-chan *storagetest.FS) {
	old := c.diverge(l, 20, 100)
	crashed := c.CrashAt(old, point, 0, rng.IntN(101), rng.Uint64())
	c.heal()
	return old, crashed
}

// One node loses its power while another is cut off; the third waits, and goes on with whoever comes first.
func TestPowerLossBesidesPartition(t *testing.T) {
	rounds(t, 3, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 300)
		for range 4 {
			l.AwaitMore(30)
			names := c.Names()
			rng.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
			c.Net.Isolate(names[0], names...)
			nap(rng, 2*time.Second)
			c.Crash(names[1], rng.IntN(101), rng.Uint64())
			nap(rng, 2*time.Second)
			if rng.IntN(2) == 0 {
				c.Net.Join(names[0], names...)
				l.AwaitMore(10)
				c.Up(names[1])
			} else {
				c.Up(names[1])
				l.AwaitMore(10)
				c.Net.Join(names[0], names...)
			}
		}
		l.AwaitMore(10)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}
