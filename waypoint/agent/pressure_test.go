package agent

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// press has the shard's leader tell a pressure, as an answer to what it will be.
func (w *world) press(l *fakeLeader, p peer.Pressure) {
	w.t.Helper()
	w.shard.mu.Lock()
	l.session.Send(&peer.Topics{Pressure: p})
	l.session.Flush()
	w.shard.mu.Unlock()
	synctest.Wait()
}

var (
	lowDisk  = peer.Pressure{Level: peer.LevelLow, Reason: peer.ReasonDisk, RetryAfterMS: 1000}
	fullDisk = peer.Pressure{Level: peer.LevelFull, Reason: peer.ReasonDisk, RetryAfterMS: 1000}
)

// TestG10LowNarrowsTheLane: with little room on the disks a publisher is slowed down and not refused, and it is told when there is
// room again.
func TestG10LowNarrowsTheLane(t *testing.T) {
	run(t, Config{LaneMessages: 640}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		l := w.shard.lead("b", 1)
		w.wait("a session", func() bool { return w.agent.Status().Shards[0].Leader == "b" })
		told := atomic.Int64{}
		w.agent.OnPressure(func() { told.Add(1) })
		w.press(l, lowDisk)
		if told.Load() != 1 || w.agent.Pressure("a") != lowDisk || w.agent.Pressure("other") != (peer.Pressure{}) {
			t.Fatalf("told %d times; a %+v, other %+v", told.Load(), w.agent.Pressure("a"), w.agent.Pressure("other"))
		}
		r := newReceipts()
		l.publish = func(uint64, *peer.PublishItem) fate { return lost }
		fill := func(n int) {
			t.Helper()
			for range n {
				i := w.agent.Status().Shards[0].Unanswered
				if v := w.agent.Admit("a").Verdict; v != Captured {
					t.Fatalf("publish %d: %v", i, v)
				}
				w.publish(r, fmt.Sprint(i))
			}
			synctest.Wait()
			if v := w.agent.Admit("a").Verdict; v != Withhold {
				t.Fatalf("after %d: %v", n, v)
			}
		}
		fill(10)
		before := w.change.Load()
		w.press(l, peer.Pressure{})
		if v := w.agent.Admit("a").Verdict; v != Captured || w.change.Load() == before || told.Load() != 2 {
			t.Fatalf("%v; %d changes, told %d times", v, w.change.Load()-before, told.Load())
		}
		fill(630)
		w.press(l, lowDisk) // more than that waits already: it stays, and nothing is refused
		if n := w.agent.Status().Shards[0].Unanswered; n != 640 || r.count() != 0 {
			t.Errorf("%d unanswered, %d answered", n, r.count())
		}
		// Of the two times, one was for the disk's sake.
		if c := &w.agent.counters; c.stalled[peer.ReasonDisk].Load() != 1 || c.stalled[0].Load() != 1 {
			t.Errorf("stalls: %d for the disk, %d for the window", c.stalled[peer.ReasonDisk].Load(), c.stalled[0].Load())
		}
	})
}

// TestG10FullRefusesBeforeTheLane: what is known to be refused gets no number, so it leaves nothing in the log of a disk that is full, nor does
// a direct subscriber get a copy.
func TestG10FullRefusesBeforeTheLane(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		l := w.shard.lead("b", 1)
		w.wait("admitted", func() bool { return w.agent.Admit("a").Verdict == Captured })
		w.press(l, fullDisk)
		a := w.agent.Admit("a")
		if a.Verdict != Refuse || a.Err.Condition != amqp.ErrCondResourceLimitExceeded || a.Err.Info[infoReason] != "disk" || a.Err.Info[infoRetryAfter] != uint32(1000) {
			t.Fatalf("%+v %+v", a, a.Err)
		}
		if a := w.agent.Admit("other"); a.Verdict != Direct {
			t.Errorf("what nobody keeps: %+v", a)
		}
		before := w.change.Load()
		w.press(l, lowDisk)
		if a := w.agent.Admit("a"); a.Verdict != Captured || w.change.Load() == before {
			t.Errorf("%+v, %d changes", a, w.change.Load()-before)
		}
	})
}

// TestPressureGoesWithItsLeader: a session begins with what the leader says, and that only.
func TestPressureGoesWithItsLeader(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		l := w.shard.lead("b", 1)
		w.wait("admitted", func() bool { return w.agent.Admit("a").Verdict == Captured })
		told := atomic.Int64{}
		w.agent.OnPressure(func() { told.Add(1) })
		w.press(l, fullDisk)
		w.shard.pressure = lowDisk
		w.shard.lead("c", 2)
		w.wait("the new leader", func() bool { return w.agent.Status().Shards[0].Leader == "c" })
		if v := w.agent.Admit("a").Verdict; v != Captured || w.agent.Pressure("a") != lowDisk || told.Load() != 2 {
			t.Errorf("%v, %+v, told %d times", v, w.agent.Pressure("a"), told.Load())
		}
		w.shard.pressure = peer.Pressure{}
		w.shard.lead("b", 3)
		w.wait("credit", func() bool { return w.agent.Pressure("a") == peer.Pressure{} })
		if n := w.agent.pressure.shards.Load(); n != 0 || told.Load() != 3 {
			t.Errorf("%d shards under pressure, told %d times", n, told.Load())
		}
	})
}

// TestPressureFollowsCaptures: an address that comes to be captured comes under its shard's pressure.
func TestPressureFollowsCaptures(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.leased()
		l := w.shard.lead("b", 1)
		w.wait("a session", func() bool { return w.agent.Status().Shards[0].Leader == "b" })
		w.press(l, lowDisk)
		told := atomic.Int64{}
		w.agent.OnPressure(func() { told.Add(1) })
		w.meta.capture([]string{"a"}, nil)
		w.wait("captured", func() bool { return w.agent.Pressure("a") == lowDisk && told.Load() == 1 })
		w.meta.capture(nil, []string{"a"})
		w.wait("no longer captured", func() bool { return w.agent.Pressure("a") == peer.Pressure{} && told.Load() == 2 })
	})
}
