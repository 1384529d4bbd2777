package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// voters are the replicas of a group that have the vote, as a node knows them.
func voters(g *raft.Group) []string {
	var v []string
	for _, m := range g.Members() {
		if m.Voter {
			v = append(v, m.Replica)
		}
	}
	slices.Sort(v)
	return v
}

// replaced waits until a node's present replica has the vote and no other one of its name is a member.
func (c *Cluster) replaced(name string) {
	c.T.Helper()
	c.Await(name+" has the vote under its new id", func() bool {
		me := c.Node(name).Group(1).Status().Replica
		leader := c.leaderNow(1)
		if leader == "" {
			return false
		}
		ms := c.Node(leader).Group(1).Members()
		mine := 0
		ok := false
		for _, m := range ms {
			if m.Node == name {
				mine++
				ok = ok || m.Replica == me && m.Voter
			}
		}
		return ok && mine == 1
	})
}

// Nodes start in any order, crash while the cluster forms, and it forms once.
func TestCrashWhileForming(t *testing.T) {
	points := []string{"create.log", "create.state", "create.complete", "append.before", "append.synced", "term.before", "term.synced"}
	rounds(t, 10, func(t *testing.T, rng *rand.Rand) {
		c := New(t, Options{})
		crashed := map[string]<-chan *storagetest.FS{}
		names := c.Names()
		rng.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			if rng.IntN(2) == 0 {
				crashed[name] = c.CrashAt(name, points[rng.IntN(len(points))], rng.IntN(3), rng.IntN(101), rng.Uint64())
			}
			c.Up(name)
			nap(rng, time.Second)
		}
		l := c.StartLoad(1, "l", 100)
		c.Await("the cluster forms and works", func() bool {
			for name, ch := range crashed {
				select {
				case fs := <-ch:
					c.CrashTo(name, fs)
					nap(rng, time.Second)
					c.Up(name)
				default:
				}
			}
			return l.Acked() >= 20
		})
		c.Disarm()
		for name, ch := range crashed {
			select {
			case fs := <-ch:
				c.CrashTo(name, fs)
				c.Up(name)
			default:
			}
		}
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
		for _, name := range names {
			if v := voters(c.Node(name).Group(1)); len(v) != 3 {
				t.Errorf("%s knows the voters %v", name, v)
			}
		}
	})
}

// An emptied directory is a new replica: it gets its vote when it has caught up, and the cluster can then do without another.
func TestEmptiedDirectoryIsANewReplica(t *testing.T) {
	rounds(t, 2, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(50)
		name := pick(rng, c.Names())
		was := c.Node(name).Group(1).Status().Replica
		c.Crash(name, 100, 1)
		c.Wipe(name)
		c.Up(name)
		c.replaced(name)
		if now := c.Node(name).Group(1).Status().Replica; now == was {
			t.Fatalf("%s is back under its old id %s", name, now)
		}
		l.AwaitMore(20)
		for _, other := range c.Names() {
			if other != name {
				c.Crash(other, 0, rng.Uint64())
				l.AwaitMore(10)
				c.Up(other)
				l.AwaitMore(10)
			}
		}
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// An emptied directory neither votes nor acknowledges in its predecessor's name: with another node down, nothing is committed.
func TestEmptiedDirectoryDoesNotVote(t *testing.T) {
	rounds(t, 2, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{})
		l := c.StartLoad(1, "l", 100)
		l.AwaitMore(20)
		names := c.Names()
		rng.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
		alone, down, emptied := names[0], names[1], names[2]
		c.PowerLoss(100, 1, down, emptied)
		c.Wipe(emptied)
		c.Up(emptied)
		time.Sleep(2 * time.Second)
		had := l.Acked()
		commit := c.Node(alone).Group(1).Status().CommitIndex
		time.Sleep(30 * time.Second)
		if got := l.Acked(); got != had {
			t.Fatalf("%d commands were accepted by one replica with its memory and one without", got-had)
		}
		if got := c.Node(alone).Group(1).Status().CommitIndex; got != commit {
			t.Fatalf("commit index of %s went from %d to %d", alone, commit, got)
		}
		c.Up(down)
		c.replaced(emptied)
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// Two emptied directories of three do not form a second cluster, whether the third is away or not.
func TestTwoEmptiedDirectoriesFormNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{})
		l := c.StartLoad(1, "l", 100)
		l.AwaitMore(20)
		l.Stop()
		c.PowerLoss(100, 1, "a", "b", "c")
		c.Wipe("b")
		c.Wipe("c")
		c.Up("b")
		c.Up("c")
		time.Sleep(time.Minute)
		for _, name := range []string{"b", "c"} {
			select {
			case <-c.Node(name).Raft().Formed():
				t.Fatalf("%s has formed a cluster without the data", name)
			default:
			}
		}
		c.Up("a")
		<-c.Node("b").Raft().Formed() // it joins
		time.Sleep(time.Minute)
		if leader := c.leaderNow(1); leader != "" {
			t.Fatalf("%s leads with one of three memories", leader)
		}
	})
}

// A directory that was replaced while it was away is told so when it comes back, and nobody takes it in again.
func TestReplacedDirectoryIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(20)
		c.Crash("c", 100, 1)
		old := c.Node("c").FS
		c.Wipe("c")
		c.Up("c")
		c.replaced("c")
		newer := c.Node("c").Group(1).Status().Replica
		c.Down("c")
		c.Node("c").FS = old
		c.Up("c")
		c.Await("the old directory is told", func() bool { return errors.Is(c.Node("c").Group(1).Err(), raft.ErrRemoved) })
		if got := c.Node("c").Group(1).Err().Error(); !strings.Contains(got, "set the data directory aside") {
			t.Errorf("the message does not say what to do: %s", got)
		}
		l.AwaitMore(200)
		if v := voters(c.Node(c.Leader(1)).Group(1)); !slices.Contains(v, newer) || len(v) != 3 {
			t.Errorf("voters are %v; the replacement was %s", v, newer)
		}
		// It remembers, too.
		c.Down("c")
		c.Up("c")
		if err := c.Node("c").Group(1).Err(); !errors.Is(err, raft.ErrRemoved) {
			t.Errorf("after a restart: %v", err)
		}
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// A directory restored from an older copy has forgotten what it acknowledged since: it is told, and takes no part.
func TestOlderCopyTakesNoPart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(20)
		c.Down("c")
		backup := c.Node("c").FS.Kill()
		c.Up("c")
		l.AwaitMore(50)
		c.Down("c")
		c.Node("c").FS = backup
		c.Up("c")
		c.Await("the copy is told", func() bool { return errors.Is(c.Node("c").Group(1).Err(), raft.ErrRemoved) })
		if got := c.Node("c").Raft().Trouble(); !strings.Contains(got, "older copy") {
			t.Errorf("trouble is %q", got)
		}
		// Even if it is the only one that could make a majority.
		c.Crash("b", 100, 1)
		time.Sleep(2 * time.Second)
		had := l.Acked()
		time.Sleep(20 * time.Second)
		if l.Acked() != had {
			t.Error("commands were accepted by a majority with the copy")
		}
		c.Up("b")
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// A node that is gone for good is taken out, and one that was added to everybody's peers comes in.
func TestGrowAndShrink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(50)
		c.Add("d")
		for _, name := range []string{"a", "b", "c"} {
			c.Down(name)
			c.Up(name) // with four peers
			l.AwaitMore(10)
		}
		c.Up("d")
		c.replaced("d")
		if v := voters(c.Node(c.Leader(1)).Group(1)); len(v) != 4 {
			t.Fatalf("voters are %v", v)
		}
		l.AwaitMore(10)
		c.Down("d")
		c.opts.Nodes = []string{"a", "b", "c"}
		for _, name := range c.Names() {
			c.Down(name)
			c.Up(name)
			l.AwaitMore(10)
		}
		leader := c.Leader(1)
		if err := c.Node(leader).Raft().RemoveNode(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		if v := voters(c.Node(leader).Group(1)); len(v) != 3 {
			t.Fatalf("voters are %v", v)
		}
		l.AwaitMore(10)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}
