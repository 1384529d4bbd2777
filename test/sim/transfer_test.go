package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// A follower that was away from the start catches up under load, though it is killed twice on the way.
func TestStoppedFollowerCatchesUp(t *testing.T) {
	rounds(t, 1, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Think: 20 * time.Millisecond, Tune: func(node string, rc *raft.Config) {
			small(node, rc)
			rc.SnapshotBytes, rc.TrailingBytes = 256<<10, 64<<10
			rc.TransferRate = 1 << 20
		}})
		c.Leader(1)
		c.Crash("c", 0, rng.Uint64())
		l := c.StartLoad(1, "l", 16<<10)
		l.AwaitMore(150)
		for range 2 {
			c.Up("c")
			nap(rng, 2*time.Second)
			c.Crash("c", rng.IntN(101), rng.Uint64())
			l.AwaitMore(10)
		}
		c.Up("c")
		l.AwaitMore(50)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
		if s := c.Node("c").Group(1).Status(); s.Installed > 1 {
			t.Errorf("c needed %d states in one life: the log behind the first was not kept for it", s.Installed)
		}
	})
}

// The state is kept on the leader's side only as long as there is somebody to be seeded: a follower that stays away does not
// keep the log from being cut.
func TestLogIsCutWithoutTheLostFollower(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small, Think: 40 * time.Millisecond})
		l := c.StartLoad(1, "l", 2000)
		l.AwaitMore(10)
		c.Crash("c", 0, 1)
		l.AwaitMore(50)
		c.Up("c")
		// It dies in the middle of its catching up.
		fs := <-c.CrashAt("c", "import.before", 0, 100, 1)
		c.CrashTo("c", fs)
		l.AwaitMore(50)
		leader := c.Leader(1)
		c.Await("the log is cut again", func() bool {
			s := c.Node(leader).Group(1).Status()
			return s.FirstIndex > 50 && s.LastIndex-s.FirstIndex < 200 && s.LogBytes < 128<<10
		})
		c.Up("c")
		l.AwaitMore(10)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// Logs are cut by bytes, not by the number of entries that were small until now.
func TestLogIsCutByBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const snapshot, trailing, large = 256 << 10, 64 << 10, 16 << 10
		c := Start(t, Options{Tune: func(_ string, rc *raft.Config) {
			rc.SnapshotBytes, rc.TrailingBytes, rc.TrailingMin = snapshot, trailing, 2
		}})
		var loads []*Load
		for _, x := range []struct{ size, count int }{{20, 500}, {large, 28}} {
			l := c.StartLoad(1, fmt.Sprint("l", x.size), x.size)
			l.AwaitMore(x.count)
			l.Stop()
			loads = append(loads, l)
		}
		c.Settle(1)
		for _, name := range c.Names() {
			c.Await("the log is short", func() bool {
				return c.Node(name).Group(1).Status().LogBytes <= snapshot+trailing+3*large
			})
		}
		c.Check(1, loads...)
	})
}

// longTail lets a leader without followers append a lot, and everybody keep next to nothing.
func longTail(node string, rc *raft.Config) {
	small(node, rc)
	rc.MaxInFlight, rc.TrailingMin, rc.TrailingMax, rc.TrailingBytes = 1<<20, 1, 1, 1
	rc.SnapshotBytes = 4 << 10
}

// diverge makes a leader append what nobody else gets, and lets the others go on, beyond entries, until they have cut their
// logs. The node that led is returned, still cut off.
func (c *Cluster) diverge(l *Load, tail, beyond int) string {
	t := c.T
	t.Helper()
	old := c.Leader(1)
	g := c.Node(old).Group(1)
	c.Net.Isolate(old, c.Names()...)
	before := g.Status().LastIndex
	turn := g.Leadership().Turn
	answered := make(chan error, tail)
	for range tail {
		g.Propose(turn, []byte("only here"), func(_ any, err error) { answered <- err })
	}
	for range tail {
		if err := <-answered; err == nil {
			t.Fatal("accepted by one of three")
		}
	}
	if got := g.Status().LastIndex; got < before+uint64(tail)/2 {
		t.Fatalf("the log of %s has not grown: %d, was %d", old, got, before)
	}
	l.AwaitMore(beyond)
	c.Await("the others have cut their logs", func() bool {
		for _, name := range c.Names() {
			if s := c.Node(name).Group(1).Status(); name != old && s.FirstIndex <= before+1 {
				return false
			}
		}
		return true
	})
	return old
}

// A follower with a tail that conflicts with the leader's gets a snapshot and loses the tail, whether it ends before the
// snapshot or reaches past it (hashicorp/raft#697 keeps it, and rejects the leader's entries for ever).
func TestDivergentFollowerGetsSnapshot(t *testing.T) {
	for name, n := range map[string]struct{ tail, beyond int }{"shorter": {5, 100}, "longer": {400, 60}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := Start(t, Options{Tune: longTail})
				l := c.StartLoad(1, "l", 300)
				l.AwaitMore(30)
				old := c.diverge(l, n.tail, n.beyond)
				c.heal()
				c.Await("the state is installed", func() bool { return c.Node(old).Group(1).Status().Installed > 0 })
				l.AwaitMore(20)
				l.Stop()
				c.Settle(1)
				c.Check(1, l)
			})
		})
	}
}

// stageWithoutTicket has node a seed c, which was away from the start, and calls f when c has all of the state on disk and has
// not said so yet. b keeps its whole log.
func stageWithoutTicket(t *testing.T, f func(c *Cluster)) (*Cluster, *Load) {
	c := Start(t, Options{Think: 20 * time.Millisecond, Tune: func(node string, rc *raft.Config) {
		small(node, rc)
		if node == "b" {
			rc.SnapshotBytes, rc.TrailingBytes, rc.TrailingMin, rc.TrailingMax = 1<<30, 1<<30, 1<<20, 1<<20
		}
	}})
	l := c.StartLoad(1, "l", 2000)
	l.AwaitMore(10)
	c.Crash("c", 0, 1)
	c.Await("a leads", func() bool {
		leader := c.leaderNow(1)
		if leader == "b" {
			_ = c.Node("b").Group(1).TransferLeadership(context.Background(), "a")
		}
		return leader == "a"
	})
	l.AwaitMore(50)
	c.Await("a has cut its log", func() bool { return c.Node("a").Group(1).Status().FirstIndex > 20 })
	staged := make(chan struct{})
	c.Node("c").FS.At("import.progress", 0, func() {
		f(c)
		close(staged)
	})
	c.Up("c")
	<-staged
	return c, l
}

// A state was staged and its sender died before it sent the ticket. The next leader has the log still: the replica follows by it,
// drops what is staged and cuts its log as ever.
func TestStagedStateWithoutTicketDoesNotKeepTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, l := stageWithoutTicket(t, func(c *Cluster) { c.Net.Darken("a") })
		c.Await("b leads", func() bool { return c.Node("b").Group(1).Leadership().Leader })
		l.AwaitMore(50)
		c.Await("c cuts its log", func() bool {
			s := c.Node("c").Group(1).Status()
			return s.FirstIndex > 60 && s.LogBytes < 128<<10
		})
		if n := c.Node("c").Group(1).Status().Installed; n != 0 {
			t.Errorf("c has installed %d states; the log was to be enough", n)
		}
		c.Net.Light("a")
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// A replica that has staged a state and then hears nobody drops it after a while, and takes another when it is heard again.
func TestStagedStateIsDroppedWhenTheSenderStaysSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, l := stageWithoutTicket(t, func(c *Cluster) { c.Net.Isolate("c", "a", "b") })
		staging := func() int { return len(c.Node("c").FS.Files(t, "data/staging/00000001", storagetest.Staging)) }
		if staging() == 0 {
			t.Error("nothing is staged")
		}
		c.Await("what was staged is dropped", func() bool { return staging() == 0 })
		c.heal()
		l.AwaitMore(50)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}
