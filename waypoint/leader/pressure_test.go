package leader

import (
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// TestG10PressureIsTold tells routers how near the shard is to refusing, refuses what would have to be kept, and nothing else.
func TestG10PressureIsTold(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		set := func(level peer.Level) { w.pressure.Store(&peer.Pressure{Level: level, Reason: peer.ReasonDisk}) }
		sub := w.start("news", peer.Limits{})
		a, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 10)
		a.publish("news", "one")
		a.want("welcome lane 1 last 0", "answers through 1")
		c.want("welcome lane 2 last 0", "attached 1.1 backlog 0", "deliver 1.1 #1 one")
		// With little room all is kept, and all routers know.
		set(peer.LevelLow)
		a.publish("news", "two")
		a.want("topics pressure low(disk, 1000 ms)", "answers through 2")
		c.want("topics pressure low(disk, 1000 ms)", "deliver 1.1 #2 two")
		set(peer.LevelFull)
		a.publish("news", "three")
		a.publish("other", "four")
		a.want("topics pressure full(disk, 1000 ms)", "answers through 3 refused 3(disk)", "answers through 4 no-view 4")
		c.want("topics pressure full(disk, 1000 ms)")
		c.say(&peer.Outcome{Sub: sub, Gen: 1, Items: []peer.OutcomeItem{{Seq: 1, State: peer.Accepted}}})
		c.want("committed 1.1 1") // confirming goes on
		// Who comes now knows it from the start.
		w.agent("r3", 1).want("welcome lane 3 last 0 pressure full(disk, 1000 ms)")
		// That there is room again is told when nobody publishes, too.
		set(peer.LevelOK)
		pass(t, w)
		a.want("topics")
		c.want("topics")
		a.publish("news", "five")
		a.want("answers through 5")
	})
}

// TestPressureIsOfAReign: what an earlier leader has told is told again, if it is so.
func TestPressureIsOfAReign(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.pressure.Store(&peer.Pressure{Level: peer.LevelLow, Reason: peer.ReasonDisk})
		pass(t, w)
		w.depose()
		w.elect()
		if got := w.agent("r1", 1).hear(); !strings.Contains(got, "pressure low(disk") {
			t.Error(got)
		}
	})
}

// TestG07MemoryOfWaitingPublishesIsBounded: what waits at a leader that gets no majority counts, beside what waits at others of the node;
// publishers have less credit, then they are refused, and all of it ends with the waiting.
func TestG07MemoryOfWaitingPublishesIsBounded(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.start("news", peer.Limits{})
		w.memory.bound = 10_000
		a := w.agent("r1", 1)
		a.want("welcome lane 1 last 0")
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		for range 7 {
			a.publish("news", strings.Repeat("x", 1000)) // the first one is in flight, the others wait
		}
		pass(t, w)
		a.want("topics pressure low(memory, 1000 ms)")
		if n := w.memory.Used(); n < 6*1000 || n > 8*1000 {
			t.Errorf("%d bytes wait", n)
		}
		w.memory.used.Add(5000) // at another leader
		pass(t, w)
		a.want("topics pressure full(memory, 1000 ms)")
		w.raft.release()
		w.settle()
		if got := a.hear(); !strings.Contains(got, "answers through 7 refused 2(memory)") || !strings.Contains(got, "7(memory)") {
			t.Error(got)
		}
		w.memory.used.Add(-5000)
		pass(t, w)
		if n := w.memory.Used(); n != 0 {
			t.Errorf("%d bytes wait", n)
		}
		if got := a.hear(); !strings.HasSuffix(got, "topics") {
			t.Error(got)
		}
		a.publish("news", "y")
		a.want("answers through 8")
		// What waits when the leadership ends waits no more.
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		a.publish("news", "z")
		a.publish("news", strings.Repeat("x", 1000))
		if n := w.memory.Used(); n < 1000 {
			t.Errorf("%d bytes wait", n)
		}
		w.depose()
		if n := w.memory.Used(); n != 0 {
			t.Errorf("%d bytes wait where nobody leads", n)
		}
		w.raft.release()
	})
}

func TestMemoryLevelsHaveHysteresis(t *testing.T) {
	m := NewMemory(800)
	for _, step := range []struct {
		used int64
		want peer.Level
	}{{400, peer.LevelOK}, {401, peer.LevelLow}, {301, peer.LevelLow}, {300, peer.LevelOK}, {801, peer.LevelFull}, {701, peer.LevelFull},
		{700, peer.LevelLow}, {800, peer.LevelLow}, {801, peer.LevelFull}, {0, peer.LevelOK}} {
		m.used.Store(step.used)
		if got := m.Level(); got != step.want {
			t.Errorf("at %d bytes %v, want %v", step.used, got, step.want)
		}
	}
}

// pass lets the leader look after what nothing else wakes it for.
func pass(t *testing.T, w *world) {
	t.Helper()
	time.Sleep(2 * tickEvery)
	w.settle()
}
