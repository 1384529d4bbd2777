package leader

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// seqs lists the positions of deliveries, flagged ones with '!', counts as 'xN'.
func seqs(list []peer.Deliver) string {
	var out []string
	for _, d := range list {
		s := fmt.Sprint(d.Seq)
		if d.Count > 0 {
			s += fmt.Sprintf("x%d", d.Count)
		}
		if d.Redelivered {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func wantSeqs(t *testing.T, a *agent, want string) []peer.Deliver {
	t.Helper()
	got := a.deliveries()
	if seqs(got) != want {
		t.Fatalf("%s got deliveries [%s], want [%s]", a.name, seqs(got), want)
	}
	return got
}

// held is what a router says to hold.
func held(list ...peer.Deliver) (out []peer.Held) {
	for _, d := range list {
		h := peer.Held{Seq: d.Seq, Count: d.Count}
		if d.Gap != nil {
			h.GapVersion = d.Gap.Version
		}
		out = append(out, h)
	}
	return out
}

func TestDeliverBacklogThenLive(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p := w.agent("r1", 1)
		p.publish("news", "a", "b")
		c := w.agent("r2", 1)
		c.hear()
		c.attach(sub, 1, 3)
		c.want("attached 1.1 backlog 2", "deliver 1.1 #1 a", "deliver 1.1 #2 b")
		p.publish("news", "c", "d")
		c.want("deliver 1.1 #3 c")
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 4})
		c.want("deliver 1.1 #4 d")
		list := []peer.Deliver{{Seq: 1}, {Seq: 2}, {Seq: 4}}
		c.accept(sub, 1, list...)
		c.want("committed 1.1 1 2 4")
		if cur := w.cursor(sub); cur.Floor.Seq != 2 || cur.Ranges != 1 || cur.Backlog.Messages != 1 {
			t.Fatalf("cursor %+v", cur)
		}
		if s := w.stats(sub); s.InFlight != 1 || s.Router != "r2" || s.Why != "credit" || s.Confirmed != 3 || s.Captured != 4 {
			t.Fatalf("stats %+v", s)
		}
	})
}

// TestConfirmMergesRanges has one range in the command for deliveries with none between.
func TestConfirmMergesRanges(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		w.start("other", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 100)
		for range 10 {
			p.publish("news", "x")
			p.publish("other", "y")
		}
		list := c.deliveries()
		if len(list) != 10 {
			t.Fatalf("%d deliveries", len(list))
		}
		c.accept(sub, 1, append(list[5:10:10], list[0], list[1], list[3])...)
		last := w.raft.all()[w.raft.count()-1]
		if len(last.Confirm) != 1 || len(last.Confirm[0].Ranges) != 3 {
			t.Fatalf("confirm %+v", last.Confirm)
		}
	})
}

func TestOutcomes(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 5)
		p.publish("news", "1", "2", "3", "4", "5", "6")
		d := wantSeqs(t, c, "1 2 3 4 5")
		entries := w.raft.count()
		c.outcome(sub, 1, peer.Released, 0, d[2])
		c.want("committed 1.1 3") // no state changes: no entry
		c.outcome(sub, 1, peer.Modified, 0, d[1])
		c.want("committed 1.1 2")
		if w.raft.count() != entries {
			t.Fatal("a release made an entry")
		}
		c.outcome(sub, 1, peer.Modified, peer.FlagFailed, d[0])
		c.want("committed 1.1 1")
		c.outcome(sub, 1, peer.Rejected, 0, d[3])
		c.want("committed 1.1 4")
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 9})
		// What goes out again goes before anything new, in its order, and says so.
		again := wantSeqs(t, c, "1x1! 2! 3! 6")
		// Of an attempt that is passed: answered and ignored.
		c.outcome(sub, 1, peer.Accepted, 0, d[0])
		c.want("committed 1.1 1")
		if n := w.stats(sub).InFlight; n != 5 {
			t.Fatalf("%d in flight", n)
		}
		c.accept(sub, 1, again...)
		c.accept(sub, 1, d[4])
		c.hear()
		cur := w.cursor(sub)
		if cur.Backlog.Messages != 0 || cur.Confirmed.Messages != 5 || cur.GivenUp.Messages != 1 || cur.Gap.Version != 0 {
			t.Fatalf("cursor %+v", cur)
		}
		if s := w.stats(sub); s.Causes["rejected"] != 1 || s.Floor != 6 {
			t.Fatalf("stats %+v", s)
		}
		// Of what is settled, and of what never was.
		c.accept(sub, 1, d[4], peer.Deliver{Seq: 77})
		c.want("committed 1.1 5 77")
	})
}

// TestG03FailedIsNotOvertaken has nothing go out while the failure of an earlier message is being committed.
func TestG03FailedIsNotOvertaken(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		p.publish("news", "1", "2", "3", "4")
		d := wantSeqs(t, c, "1 2 3")
		c.hear()
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		c.outcome(sub, 1, peer.Modified, peer.FlagFailed, d[0])
		c.outcome(sub, 1, peer.Released, 0, d[1])
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 10})
		c.want("committed 1.1 2")
		w.raft.release()
		c.want("committed 1.1 1", "deliver 1.1 #1 1 count 1 again", "deliver 1.1 #2 2 again", "deliver 1.1 #4 4")
	})
}

// TestUndeliverableHere parks a message until another link attaches.
func TestUndeliverableHere(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 100)
		p.publish("news", "1", "2", "3")
		d := wantSeqs(t, c, "1 2 3")
		c.outcome(sub, 1, peer.Modified, peer.FlagUndeliverable, d[0])
		c.outcome(sub, 1, peer.Modified, peer.FlagUndeliverable|peer.FlagFailed, d[1])
		c.accept(sub, 1, d[2])
		wantSeqs(t, c, "")
		if s := w.stats(sub); s.Parked != 2 || s.InFlight != 0 {
			t.Fatalf("stats %+v", s)
		}
		c.attach(sub, 2, 100)
		wantSeqs(t, c, "1! 2x1!")
	})
}

func TestMaxInFlightAndTheFloor(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxInFlight: 3})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 1000)
		p.publishN("news", 20, 10)
		d := wantSeqs(t, c, "1 2 3")
		if s := w.stats(sub); s.Why != string(whyInFlight) {
			t.Fatalf("why %q", s.Why)
		}
		// The first one stays; behind it everything is confirmed, until there are too many ranges.
		total := 3
		for range 20 {
			c.accept(sub, 1, d[len(d)-1])
			more := c.deliveries()
			if len(more) == 0 {
				break
			}
			total += len(more)
			d = append(d, more...)
		}
		if cur := w.cursor(sub); cur.Ranges > 6 {
			t.Fatalf("%d ranges above the floor", cur.Ranges)
		}
		// Parked ones count: else each could have a range behind it.
		c.outcome(sub, 1, peer.Modified, peer.FlagUndeliverable, d[0], d[1])
		c.deliveries()
	})
}

// TestParkedBoundRanges parks every other message: dispatch stops before there are more than twice max-in-flight ranges.
func TestParkedBoundRanges(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxInFlight: 5})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 1000)
		p.publishN("news", 200, 10)
		for {
			list := c.deliveries()
			if len(list) == 0 {
				break
			}
			for _, d := range list {
				if d.Seq%2 == 1 {
					c.outcome(sub, 1, peer.Modified, peer.FlagUndeliverable, d)
				} else {
					c.accept(sub, 1, d)
				}
			}
		}
		cur, s := w.cursor(sub), w.stats(sub)
		if cur.Ranges > 10 || cur.Ranges < 5 || s.Parked != 10 || s.Why != string(whyFloor) {
			t.Fatalf("%d ranges, stats %+v", cur.Ranges, s)
		}
	})
}

func TestDrain(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxInFlight: 4})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.hear()
		c.attach(sub, 1, 0)
		p.publish("news", "1", "2")
		c.hear()
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 5, Drain: true})
		c.want("deliver 1.1 #1 1", "deliver 1.1 #2 2", "drained 1.1 limit 5")
		p.publish("news", "3", "4", "5")
		c.want() // the credit is gone
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 6, Drain: true})
		c.want("deliver 1.1 #3 3") // used up: that says it
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 10, Drain: true})
		c.want("deliver 1.1 #4 4", "drained 1.1 limit 10") // max-in-flight: nothing more can be sent
		if len(w.pending(sub)) != 5 {
			t.Fatal("not all pending")
		}
	})
}

func TestWindow(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		one, two := w.start("a", peer.Limits{}), w.start("b", peer.Limits{})
		p := w.agent("r1", 1)
		p.publishN("a", 100, 1000)
		p.publishN("b", 100, 1000)
		c := w.narrow("r2")
		c.attach(one, 1, 1000)
		c.attach(two, 1, 1000)
		if n := len(c.deliveries()); n != 0 {
			t.Fatalf("%d deliveries without a window", n)
		}
		c.say(&peer.Window{Bytes: 4500})
		list := c.deliveries()
		if len(list) != 5 { // one may pass it
			t.Fatalf("%d deliveries in a window of 4500", len(list))
		}
		c.say(&peer.Window{Bytes: 1000}) // never backwards
		by := map[uint64]int{}
		for bytes := uint64(10_000); bytes <= 200_000; bytes += 10_000 {
			c.say(&peer.Window{Bytes: bytes})
			for _, d := range c.deliveries() {
				by[d.Sub]++
			}
			if bytes == 150_000 && (by[one] < 40 || by[two] < 40) {
				t.Errorf("the window is not shared: %v", by)
			}
		}
		if by[one]+by[two]+len(list) != 200 {
			t.Errorf("%v and %d delivered", by, len(list))
		}
	})
}

// TestG04Takeover fences the old link off; what it had goes out again, flagged.
func TestG04Takeover(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		p.publish("news", "1", "2", "3", "4")
		d := wantSeqs(t, c, "1 2 3")
		c.accept(sub, 1, d[1])
		c.hear()
		other := w.agent("r3", 1)
		other.hear()
		// An outcome that comes when the new generation is already proposed is void.
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		other.attach(sub, 2, 10)
		c.accept(sub, 1, d[0])
		c.want()
		w.raft.release()
		c.want("committed 1.1 1", "ended 1.1 amqp:link:stolen")
		other.want("attached 1.2 backlog 3", "deliver 1.2 #1 1 again", "deliver 1.2 #3 3 again", "deliver 1.2 #4 4")
		c.accept(sub, 1, d[0])
		c.want("committed 1.1 1")
		if cur := w.cursor(sub); cur.Confirmed.Messages != 1 {
			t.Fatalf("a void outcome counted: %+v", cur)
		}
		// An older generation that comes late.
		c.attach(sub, 1, 3)
		c.want("ended 1.1 amqp:link:stolen")
		if s := w.stats(sub); s.Router != "r3" {
			t.Fatalf("stats %+v", s)
		}
	})
}

// TestG04LeaderChange is invisible on a link: what its router holds stays its own, what was lost on the way goes out again.
func TestG04LeaderChange(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 5)
		p.publish("news", "1", "2", "3", "4", "5", "6")
		d := wantSeqs(t, c, "1 2 3 4 5")
		c.accept(sub, 1, d[1])
		c.hear()
		w.restart()
		p = w.reopen(p)
		p.publish("news", "7")
		c = w.reopen(c)
		c.hear()
		// It holds 3 and 5, and the outcome of 4, which it was not told to be committed. 1 was lost on the way.
		c.attach(sub, 1, 10, held(d[2], d[3], d[4])...)
		c.accept(sub, 1, d[3])
		c.want("attached 1.1 backlog 6", "deliver 1.1 #1 1 again", "deliver 1.1 #6 6 again", "deliver 1.1 #7 7", "committed 1.1 4")
		c.accept(sub, 1, d[2], d[4])
		c.want("committed 1.1 3 5")
		if cur := w.cursor(sub); cur.Confirmed.Messages != 4 || cur.Gen != 1 {
			t.Fatalf("cursor %+v", cur)
		}
	})
}

// TestG04ManyHeldAreNotSentAgain has a router come back to a new leader with more deliveries than are read at once when there are payloads: all that
// it accepts then is confirmed, and nothing of it goes out again.
func TestG04ManyHeldAreNotSentAgain(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		const many = 4000
		sub := w.start("news", peer.Limits{MaxMessages: 2 * many, MaxInFlight: many})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, many)
		var d []peer.Deliver
		for range many / 100 {
			p.publishN("news", 100, 10)
			d = append(d, c.deliveries()...)
		}
		if len(d) != many {
			t.Fatalf("%d delivered", len(d))
		}
		w.restart()
		c = w.reopen(c)
		c.hear()
		c.say(&peer.Attach{Sub: sub, Gen: 1, Credit: 2 * many, Held: held(d...)})
		c.accept(sub, 1, d...)
		if again := c.deliveries(); len(again) != 0 {
			t.Errorf("%d of %d were delivered again", len(again), many)
		}
		if n := w.cursor(sub).Confirmed.Messages; n != many {
			t.Errorf("%d of %d are confirmed", n, many)
		}
	})
}

// TestEarlierGenerationHasItsSay comes back to a new leader with what an ended link has left, and the next link, at once: what the
// first one has settled does not go out again to the second.
func TestEarlierGenerationHasItsSay(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		p.publish("news", "1", "2", "3", "4")
		d := wantSeqs(t, c, "1 2 3")
		w.restart()
		c = w.reopen(c)
		c.hear()
		c.say(
			&peer.Attach{Sub: sub, Gen: 1, Held: held(d...)},
			&peer.Outcome{Sub: sub, Gen: 1, Items: []peer.OutcomeItem{{Seq: 1, State: peer.Accepted}, {Seq: 3, State: peer.Accepted}}},
			&peer.Leave{Sub: sub, Gen: 1},
			&peer.Attach{Sub: sub, Gen: 2, Credit: 10},
		)
		c.want("attached 1.1 backlog 4", "committed 1.1 1 3", "ended 1.1 amqp:link:stolen", "attached 1.2 backlog 2",
			"deliver 1.2 #2 2 again", "deliver 1.2 #4 4 again")
		if n := w.cursor(sub).Confirmed.Messages; n != 2 {
			t.Fatalf("%d confirmed", n)
		}
	})
}

// TestNothingBelowTheMarkBeforeTheHolderIsBack waits for the router that may hold deliveries, or a later link.
func TestNothingBelowTheMarkBeforeTheHolderIsBack(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 2)
		p.publish("news", "1", "2", "3")
		c.deliveries()
		w.restart()
		stranger := w.agent("r3", 1)
		stranger.hear()
		stranger.attach(sub, 1, 10) // not its generation
		stranger.want("ended 1.1 amqp:link:stolen")
		stranger.attach(sub, 2, 10)
		wantSeqs(t, stranger, "1! 2! 3!")
	})
}

// TestSessionLostAndBack has the same link in another session of its router, under the same leader: nothing is sent twice, and what
// was lost on the way was seen by nobody.
func TestSessionLostAndBack(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 4)
		p.publish("news", "1", "2", "3", "4", "5")
		d := wantSeqs(t, c, "1 2 3 4")
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		c.accept(sub, 1, d[0])
		c.lost()
		if s := w.stats(sub); s.Router != "" || s.InFlight != 4 || s.Why != string(whyNoLink) || w.leader.Status().Attached != 0 {
			t.Fatalf("stats %+v, status %+v", s, w.leader.Status())
		}
		c = w.reopen(c)
		w.raft.release()
		c.say(&peer.Window{Bytes: 1 << 40})
		c.hear()
		c.attach(sub, 1, 1, held(d[0], d[2])...)
		c.accept(sub, 1, d[0])
		c.want("attached 1.1 backlog 4", "deliver 1.1 #2 2", "committed 1.1 1")
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 5})
		wantSeqs(t, c, "2 4 5")
	})
}

// TestOutcomeOfALinkThatIsGone comes from a router that did not attach it again.
func TestOutcomeOfALinkThatIsGone(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		p.publish("news", "1", "2", "3")
		d := wantSeqs(t, c, "1 2 3")
		w.restart()
		c = w.reopen(c)
		c.hear()
		c.accept(sub, 1, d[1])
		c.want("committed 1.1 2")
		c.say(&peer.Leave{Sub: sub, Gen: 1})
		c.want("left 1.1")
		cur := w.cursor(sub)
		if cur.Confirmed.Messages != 1 || len(cur.Holders) != 0 {
			t.Fatalf("cursor %+v", cur)
		}
		// What it has not settled waits for the next link.
		c.attach(sub, 2, 10)
		wantSeqs(t, c, "1! 3!")
	})
}

func TestLeave(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		p.publish("news", "1", "2", "3", "4")
		d := wantSeqs(t, c, "1 2 3")
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		c.accept(sub, 1, d[0])
		c.say(&peer.Leave{Sub: sub, Gen: 1})
		c.want()
		w.raft.release()
		c.want("committed 1.1 1", "left 1.1")
		if s := w.stats(sub); s.InFlight != 0 || s.Why != string(whyNoLink) || s.Messages != 3 {
			t.Fatalf("stats %+v", s)
		}
		p.publish("news", "5")
		c.want()
		// Twice is answered twice.
		c.say(&peer.Leave{Sub: sub, Gen: 1})
		c.want("left 1.1")
		c.attach(sub, 2, 10)
		c.want("attached 1.2 backlog 4", "deliver 1.2 #2 2 again", "deliver 1.2 #3 3 again", "deliver 1.2 #4 4", "deliver 1.2 #5 5")
	})
}

// TestG04NotSeenByAnybody has messages come while the subscriber is away: they are not flagged, also by a leader that was not
// there. Those that may have been seen are.
func TestG04NotSeenByAnybody(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 2)
		p.publish("news", "1", "2", "3")
		wantSeqs(t, c, "1 2")
		c.say(&peer.Leave{Sub: sub, Gen: 1})
		p.publish("news", "4")
		w.restart()
		p, c = w.reopen(p), w.reopen(c)
		p.publish("news", "5")
		c.attach(sub, 2, 3)
		wantSeqs(t, c, "1! 2! 3")
		c.say(&peer.Leave{Sub: sub, Gen: 2})
		w.restart()
		c = w.reopen(c)
		c.attach(sub, 3, 10)
		wantSeqs(t, c, "1! 2! 3! 4 5")
		// One who has got nothing leaves everything as it was.
		none := w.start("news", peer.Limits{})
		c.attach(none, 1, 0)
		c.say(&peer.Leave{Sub: none, Gen: 1})
		w.reopen(p).publish("news", "6")
		w.restart()
		c = w.reopen(c)
		c.attach(none, 2, 10)
		wantSeqs(t, c, "6")
	})
}

func TestEndedUnderALink(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub, stays := w.start("news", peer.Limits{}), w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 10)
		p.publish("news", "1")
		p.hear()
		c.deliveries()
		w.end(sub)
		c.want("ended 1.1 amqp:resource-deleted")
		c.accept(sub, 1, peer.Deliver{Seq: 1})
		c.want("committed 1.1 1")
		c.attach(sub, 2, 10)
		c.want("ended 1.2 amqp:resource-deleted")
		w.end(stays)
		p.publish("news", "2")
		p.want("answers through 2 no-view 2")
		// A topic of the same address begins anew.
		again := w.start("news", peer.Limits{})
		c.attach(again, 1, 10)
		p.publish("news", "3")
		wantSeqs(t, c, "2")
	})
}

// TestMarkIsCommittedFirst never sees a delivery beyond the mark that is in the state, and few entries for nothing but marks.
func TestMarkIsCommittedFirst(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 1<<40)
		entries := w.raft.count()
		for range 100 {
			p.publishN("news", 50, 10)
			d := c.deliveries()
			if len(d) != 50 {
				t.Fatalf("%d deliveries", len(d))
			}
			if mark := w.cursor(sub).Mark; d[49].Seq > mark {
				t.Fatalf("delivered %d, the mark is %d", d[49].Seq, mark)
			}
			c.accept(sub, 1, d...)
		}
		if n := w.raft.count() - entries; n != 200 {
			t.Errorf("%d entries for 100 publishes and 100 confirmations: marks cost some of their own", n)
		}
		late := w.start("news", peer.Limits{})
		p.publishN("news", 20_000, 10)
		entries = w.raft.count()
		o := w.agent("r3", 1)
		o.attach(late, 1, 1<<40)
		next := uint64(5001)
		for next <= 25_000 {
			d := o.deliveries()
			if len(d) == 0 {
				t.Fatalf("stopped at %d: %+v", next, w.stats(late))
			}
			for _, x := range d {
				if x.Seq != next || x.Redelivered {
					t.Fatalf("got %+v, want %d", x, next)
				}
				next++
			}
			if mark := w.cursor(late).Mark; next-1 > mark {
				t.Fatalf("delivered %d, the mark is %d", next-1, mark)
			}
			o.accept(late, 1, d...)
		}
		if n := w.raft.count() - entries; n > 30 {
			t.Errorf("%d entries for 20 rounds of confirmations", n)
		}
	})
}

// TestMarksComeByThemselves has dispatch stop for nothing but marks: no time passes until it goes on.
func TestMarksComeByThemselves(t *testing.T) {
	for _, hot := range []int64{16 << 20, 1} {
		inWorld(t, func(c *Config) { c.HotBytes = hot }, func(t *testing.T, w *world) {
			sub := w.start("news", peer.Limits{MaxInFlight: 100_000})
			p, c := w.agent("r1", 1), w.agent("r2", 1)
			c.attach(sub, 1, 0)
			p.publishN("news", 5000, 10)
			began := time.Now()
			c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 1 << 40})
			if n := len(c.deliveries()); n != 5000 || time.Since(began) > 0 {
				t.Fatalf("%d deliveries in %v: %+v", n, time.Since(began), w.stats(sub))
			}
		})
	}
}

// TestG03Order replays a large backlog with outcomes of all kinds: nothing new goes out before what goes out again, and
// each of both in its order.
func TestG03Order(t *testing.T) {
	inWorld(t, func(c *Config) { c.HotBytes = 20_000 }, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxInFlight: 200})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		p.publishN("news", 3000, 100)
		c.attach(sub, 1, 1<<40)
		high, confirmed := uint64(0), map[uint64]bool{}
		released := map[uint64]uint32{} // by seq: the count that it must come with
		for len(confirmed) < 3000 {
			list := c.deliveries()
			if len(list) == 0 {
				t.Fatalf("stopped after %d: %+v", len(confirmed), w.stats(sub))
			}
			for _, d := range list {
				if count, again := released[d.Seq]; again {
					for other := range released {
						if other < d.Seq {
							t.Fatalf("%d goes out before %d", d.Seq, other)
						}
					}
					if !d.Redelivered || d.Count != count {
						t.Fatalf("again: %+v, want count %d", d, count)
					}
					delete(released, d.Seq)
					continue
				}
				if len(released) > 0 || d.Seq != high+1 || d.Redelivered {
					t.Fatalf("new: %+v after %d while %d wait", d, high, len(released))
				}
				high = d.Seq
			}
			o := &peer.Outcome{Sub: sub, Gen: 1}
			for i, d := range list {
				item := peer.OutcomeItem{Seq: d.Seq, Count: d.Count, State: peer.Accepted}
				switch {
				case i%7 == 3 && d.Count == 0:
					item.State = peer.Released
					released[d.Seq] = d.Count
				case i%11 == 5 && d.Count < 2:
					item.State, item.Flags = peer.Modified, peer.FlagFailed
					released[d.Seq] = d.Count + 1
				default:
					confirmed[d.Seq] = true
				}
				o.Items = append(o.Items, item)
			}
			c.say(o)
		}
		if cur := w.cursor(sub); cur.Backlog.Messages != 0 || cur.Ranges != 0 {
			t.Fatalf("cursor %+v", cur)
		}
	})
}

// TestIdleCursorsCostNothing attaches many without credit: a publish wakes none of them.
func TestIdleCursorsCostNothing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		for range 200 {
			c.attach(w.start("news", peer.Limits{}), 1, 0)
		}
		busy := w.start("news", peer.Limits{})
		c.attach(busy, 1, 10)
		c.deliveries()
		bytes := w.raft.size()
		p.publish("news", "1")
		if got := c.deliveries(); len(got) != 1 || got[0].Sub != busy {
			t.Fatalf("delivered %+v", got)
		}
		if n := w.raft.size() - bytes; n > 200 {
			t.Fatalf("a publish of one byte takes a command of %d bytes", n)
		}
		woken := make(chan int, 1)
		w.leader.box.put(func() { woken <- len(w.leader.reign.topics["news"].tail) })
		if n := <-woken; n != 1 {
			t.Fatalf("%d cursors wait for the next message", n)
		}
	})
}

// TestFairness has a long replay and a live consumer share the leader: the live one's messages go out between the
// replay's.
func TestFairness(t *testing.T) {
	inWorld(t, func(c *Config) { c.HotBytes = 1 << 20 }, func(t *testing.T, w *world) {
		replay := w.start("old", peer.Limits{MaxInFlight: 100_000})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		for range 20 {
			p.publishN("old", 1000, 1000)
		}
		live := w.start("new", peer.Limits{})
		c.attach(live, 1, 1000)
		c.deliveries()
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		c.attach(replay, 1, 1<<40)
		p.publish("new", "x")
		w.raft.release()
		list := c.deliveries()
		if len(list) != 20_001 {
			t.Fatalf("%d deliveries", len(list))
		}
		for i, d := range list {
			if d.Sub == live && i > 3*stepMessages {
				t.Fatalf("the live one's message goes out as number %d", i)
			}
		}
	})
}

// TestReadsAreBounded replays to many at once: no more is read ahead than may be.
func TestReadsAreBounded(t *testing.T) {
	const limit = 600 << 10
	inWorld(t, func(c *Config) { c.HotBytes, c.ReadBytes = 1, limit }, func(t *testing.T, w *world) {
		var subs []uint64
		for range 30 {
			subs = append(subs, w.start("news", peer.Limits{MaxInFlight: 100_000}))
		}
		p := w.agent("r1", 1)
		p.publishN("news", 500, 2000)
		c := w.narrow("r2")
		for _, sub := range subs {
			c.attach(sub, 1, 1<<40)
		}
		got := 0
		for window := uint64(0); got < 30*500; window += 100_000 {
			c.say(&peer.Window{Bytes: window})
			got += len(c.deliveries())
			if n := w.leader.Status().Reading; n > limit+readBytes {
				t.Fatalf("%d bytes read ahead", n)
			}
			if window > 100_000_000 {
				t.Fatalf("stuck after %d", got)
			}
		}
		if n := w.leader.Status().Reading; n > 4096 {
			t.Fatalf("%d bytes are still counted as read ahead", n)
		}
	})
}

// TestStateIsTold on attach, when it changes materially, and at most once a second.
func TestStateIsTold(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 100})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.hear()
		c.attach(sub, 1, 0)
		c.want("attached 1.1 backlog 0")
		for range 10 {
			p.publishN("news", 5, 10)
		}
		c.want()
		time.Sleep(1500 * time.Millisecond)
		c.want("state 1.1 backlog 50 gap 0")
		time.Sleep(10 * time.Second)
		c.want()
		for range 8 { // every time material: twice as much
			p.publishN("news", 5, 10)
			time.Sleep(250 * time.Millisecond)
		}
		if got := strings.Split(c.hear(), "\n"); len(got) < 2 || len(got) > 3 {
			t.Fatalf("in two seconds: %v", got)
		}
		time.Sleep(3 * time.Second)
		c.hear()
		p.publishN("news", 2, 10) // immaterial
		time.Sleep(3 * time.Second)
		c.want()
		p.publishN("news", 100, 10)
		time.Sleep(3 * time.Second)
		c.want("state 1.1 backlog 100 gap 92")
		w.setLimits(sub, peer.Limits{MaxMessages: 50})
		time.Sleep(3 * time.Second)
		c.want("state 1.1 backlog 50 gap 142")
	})
}

// TestErrNotLeaderEndsTheReign, and the next turn begins from what is applied.
func TestErrNotLeaderEndsTheReign(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		c := w.agent("r2", 1)
		c.hear()
		w.raft.set(func(f *fakeRaft) { f.fail = raft.ErrVoid })
		c.attach(sub, 1, 10)
		c.want()
		if c.why() == "" || w.leader.Status().Leading {
			t.Fatal("the reign goes on")
		}
		w.raft.set(func(f *fakeRaft) { f.turn++ })
		w.lead() // the same term: another turn
		c = w.reopen(c)
		c.hear()
		c.attach(sub, 1, 10)
		c.want("attached 1.1 backlog 0")
	})
}
