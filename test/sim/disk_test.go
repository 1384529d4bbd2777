package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// A leader whose disk hangs does not stay leader: the watchdog cuts its streams, and the others go on (hashicorp/raft#503).
func TestG08HangingDiskCostsTheLeadership(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 200)
		l.AwaitMore(20)
		old := c.Leader(1)
		gate := make(chan struct{})
		remove := c.Node(old).FS.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Hang: gate})
		began := time.Now()
		c.Await("another node leads", func() bool {
			for _, name := range c.Names() {
				if name != old && c.Node(name).Group(1).Leadership().Leader {
					return true
				}
			}
			return false
		})
		// The stall limit of a second, and an election.
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("no other leader for %v", took)
		}
		if !c.Node(old).Group(1).Status().Cut {
			t.Error("the watchdog has not cut the streams")
		}
		// In less than the hang limit the disk is back, and so is the replica.
		remove()
		close(gate)
		c.Await("the streams are back", func() bool { return !c.Node(old).Group(1).Status().Cut })
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// The same for a state machine that hangs.
func TestHangingApplyCostsTheLeadership(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var hang chan struct{}
		var where string
		c := Start(t, Options{Machine: func(node string, _ uint32, m *Machine) {
			m.Hook = func(raft.Entry) {
				mu.Lock()
				ch := hang
				if where != node {
					ch = nil
				}
				mu.Unlock()
				if ch != nil {
					<-ch
				}
			}
		}})
		l := c.StartLoad(1, "l", 200)
		l.AwaitMore(20)
		old := c.Leader(1)
		gate := make(chan struct{})
		mu.Lock()
		hang, where = gate, old
		mu.Unlock()
		c.Await("another node leads", func() bool {
			for _, name := range c.Names() {
				if name != old && c.Node(name).Group(1).Leadership().Leader {
					return true
				}
			}
			return false
		})
		mu.Lock()
		hang = nil
		mu.Unlock()
		close(gate)
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// A disk that does not come back ends the process, with a message. (Not in a bubble: where a process would end, goroutines
// stand still for ever.)
func TestG10HungDiskEndsTheProcess(t *testing.T) {
	fatal := make(chan string, 16)
	var watched atomic.Value
	c := New(t, Options{
		Tune: func(_ string, rc *raft.Config) {
			rc.StallLimit, rc.HangLimit = 500*time.Millisecond, 2*time.Second
		},
		Fatal: func(node, msg string, err error) { fatal <- node + ": " + msg + ": " + err.Error() },
	})
	for _, name := range c.Names() {
		c.Up(name)
	}
	l := c.StartLoad(1, "l", 200)
	l.AwaitMore(5)
	leader := c.Leader(1)
	watched.Store(leader)
	gate := make(chan struct{})
	c.Node(leader).FS.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Hang: gate})
	msg := <-fatal
	if !strings.HasPrefix(msg, leader+": the disk hangs") {
		t.Errorf("the message is %q", msg)
	}
	c.Node(leader).FS.Clear()
	close(gate)
	l.Stop()
}

// A failed fsync ends the process, and nothing of what was being written is acknowledged.
func TestG10FailedSyncEndsTheProcess(t *testing.T) {
	fatal := make(chan string, 16)
	c := New(t, Options{Fatal: func(node, msg string, err error) { fatal <- node + ": " + msg + ": " + err.Error() }})
	for _, name := range c.Names() {
		c.Up(name)
	}
	l := c.StartLoad(1, "l", 200)
	l.AwaitMore(5)
	leader := c.Leader(1)
	c.Node(leader).FS.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Err: syscall.EIO})
	msg := <-fatal
	if !strings.HasPrefix(msg, leader+": ") || !strings.Contains(msg, "input/output error") {
		t.Errorf("the message is %q", msg)
	}
	c.Net.Darken(leader) // the process would be gone
	l.Stop()
}

// A full disk is no error: writes wait, the leadership moves, and when there is space everything goes on, however long it
// took (time waiting for space counts for no hang).
func TestG10FullDiskHeals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small, Think: 50 * time.Millisecond})
		l := c.StartLoad(1, "l", 2000)
		l.AwaitMore(20)
		for _, name := range c.Names() {
			c.Node(name).FS.SetFree(0)
		}
		time.Sleep(time.Minute)
		had := l.Acked()
		time.Sleep(time.Minute)
		if l.Acked() != had {
			t.Error("commands are accepted without any space")
		}
		for _, name := range c.Names() {
			c.Node(name).FS.SetFree(-1)
		}
		l.AwaitMore(50)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// A leader takes no more than its bounds while its followers' disks stand still, and says so at once.
func TestG07LeaderTakesNoMoreThanItsBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const most = 1 << 20
		c := Start(t, Options{Tune: func(_ string, rc *raft.Config) { rc.MaxProposalBytes = most }})
		leader := c.Leader(1)
		g := c.Node(leader).Group(1)
		gate := make(chan struct{})
		for _, name := range c.Names() {
			if name != leader {
				c.Node(name).FS.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Hang: gate})
			}
		}
		const size, n = 32 << 10, 2000
		turn := g.Leadership().Turn
		before := c.Node(leader).Store().Log(1).Bytes()
		var overloaded, other atomic.Int64
		for range n {
			g.Propose(turn, make([]byte, size), func(_ any, err error) {
				if errors.Is(err, raft.ErrOverloaded) {
					overloaded.Add(1)
				} else {
					other.Add(1)
				}
			})
			if _, bytes := g.Status().Proposals, g.Status().ProposalBytes; bytes > most {
				t.Fatalf("%d bytes wait, the bound is %d", bytes, most)
			}
		}
		if got := overloaded.Load(); got < n-most/size-10 {
			t.Errorf("only %d of %d commands were refused", got, n)
		}
		c.Await("the others are answered", func() bool { return other.Load()+overloaded.Load() == n })
		if grown := c.Node(leader).Store().Log(1).Bytes() - before; grown > 8*size {
			t.Errorf("the log grew by %d bytes that nobody else has", grown)
		}
		for _, name := range c.Names() {
			c.Node(name).FS.Clear()
		}
		close(gate)
		l := c.StartLoad(1, "l", 200)
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// A replica whose log has lost what it had acknowledged neither votes nor serves; when the others demonstrably go on without it,
// it comes back as a new member, and catches up. It may crash on the way.
func TestDamagedLogIsSeededAgain(t *testing.T) {
	rounds(t, 4, func(t *testing.T, rng *rand.Rand) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(100)
		name := pick(rng, c.Names())
		was := c.Node(name).Group(1).Status().Replica
		time.Sleep(time.Second) // the marks are written
		c.Crash(name, 100, 1)
		damage(t, c.Node(name).FS)
		points := []string{"reseed.marked", "reseed.before", "reseed.synced", "append.before"}
		point := points[rng.IntN(len(points))]
		t.Logf("%s crashes at %s", name, point)
		crashed := c.CrashAt(name, point, 0, rng.IntN(101), rng.Uint64())
		c.Up(name)
		select {
		case fs := <-crashed:
			c.CrashTo(name, fs)
			c.Up(name)
		case <-time.After(5 * time.Second):
			c.Disarm()
		}
		c.Await("it comes back under another id", func() bool { return c.Node(name).Group(1).Status().Replica != was })
		c.replaced(name)
		l.AwaitMore(20)
		l.Stop()
		c.Settle(1)
		c.Check(1, l)
	})
}

// While nobody else leads, a damaged log is left alone: it may be the best there is.
func TestDamagedLogWaitsForALeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(100)
		time.Sleep(time.Second)
		l.Stop()
		c.PowerLoss(100, 1, c.Names()...)
		damage(t, c.Node("a").FS)
		c.Up("a")
		c.Up("b")
		time.Sleep(time.Minute)
		if leader := c.leaderNow(1); leader != "" {
			t.Fatalf("%s leads with the vote of a damaged log", leader)
		}
		if c.Node("a").Store().Log(1).Damage() == nil {
			t.Fatal("the damaged log was given up, with nobody to take its place")
		}
		c.Up("c")
		c.replaced("a")
		c.Settle(1)
		c.Check(1, l)
	})
}

// A cluster of one with a damaged log has nobody to be seeded by: it says so, and touches nothing.
func TestDamagedLogOfOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Nodes: []string{"a"}, Tune: small})
		l := c.StartLoad(1, "l", 300)
		l.AwaitMore(100)
		l.Stop()
		time.Sleep(time.Second)
		c.Crash("a", 100, 1)
		damage(t, c.Node("a").FS)
		c.Up("a")
		g := c.Node("a").Group(1)
		c.Await("it says so", func() bool { return errors.Is(g.Err(), raft.ErrContradiction) })
		if c.Node("a").Store().Log(1).Damage() == nil {
			t.Error("the damaged log was given up")
		}
	})
}

// damage cuts the end off the write-ahead log in use, further back than a torn write would.
func damage(t testing.TB, fs *storagetest.FS) {
	t.Helper()
	var last string
	for _, f := range fs.Files(t, "data", storagetest.LogWAL) {
		if strings.HasPrefix(f, "data/log/") {
			last = f
		}
	}
	size := fs.Size(t, last)
	if size < 4096 {
		t.Fatalf("%s has %d bytes only", last, size)
	}
	fs.Cut(t, last, size-size/3)
}

// Leaders are spread over the nodes, and again when a node goes or comes.
func TestLeadersAreSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		groups := []uint32{0, 1, 2, 3, 4, 5}
		c := Start(t, Options{Groups: groups, Tune: func(_ string, rc *raft.Config) { rc.NoBalance = false }})
		spread := func() map[string]int {
			n := map[string]int{}
			for _, g := range groups {
				n[c.leaderNow(g)]++
			}
			return n
		}
		c.Await("two leaders a node", func() bool { s := spread(); return s["a"] == 2 && s["b"] == 2 && s["c"] == 2 })
		c.Down("b")
		c.Await("three leaders a node", func() bool { s := spread(); return s["a"] == 3 && s["c"] == 3 })
		c.Up("b")
		c.Await("two leaders a node", func() bool { s := spread(); return s["a"] == 2 && s["b"] == 2 && s["c"] == 2 })
		// And there they stay.
		terms := func() (ts []uint64) {
			for _, g := range groups {
				ts = append(ts, c.Node(c.Leader(g)).Group(g).Status().Term)
			}
			return ts
		}
		before := terms()
		time.Sleep(15 * time.Second)
		for i, term := range terms() {
			if term != before[i] {
				t.Errorf("group %d: the leadership moved for nothing (term %d, was %d)", groups[i], term, before[i])
			}
		}
	})
}

// Closing a leader hands the leadership over first: nobody has to notice its absence.
func TestCloseHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{})
		l := c.StartLoad(1, "l", 200)
		l.AwaitMore(20)
		for range 3 {
			leader := c.Leader(1)
			began := time.Now()
			c.Down(leader)
			c.Leader(1)
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("no leader for %v after a graceful stop; the election time-out is 600 ms", took)
			}
			l.AwaitMore(5)
			c.Up(leader)
			l.AwaitMore(5)
		}
		l.Stop()
		if l.unknown > 0 {
			t.Errorf("%d outcomes unknown after graceful stops", l.unknown)
		}
		c.Settle(1)
		c.Check(1, l)
	})
}

// VerifyLeader says no when a majority is out of reach.
func TestVerifyLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{})
		leader := c.Leader(1)
		g := c.Node(leader).Group(1)
		if err := g.VerifyLeader(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.Names() {
			if name != leader {
				if err := c.Node(name).Group(1).VerifyLeader(context.Background()); !errors.Is(err, raft.ErrNotLeader) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		c.Net.Isolate(leader, c.Names()...)
		if err := g.VerifyLeader(context.Background()); err == nil {
			t.Error("an isolated leader is confirmed")
		}
	})
}
