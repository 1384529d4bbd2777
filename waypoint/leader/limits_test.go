package leader

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// span lists the numbers from a through b.
func span(a, b uint64) (list []uint64) {
	for ; a <= b; a++ {
		list = append(list, a)
	}
	return list
}

func (w *world) wantPending(sub uint64, want []uint64) {
	w.t.Helper()
	if got := w.pending(sub); !slices.Equal(got, want) {
		w.t.Fatalf("subscription %d has %v, want %v", sub, got, want)
	}
}

// causes shows what a subscription gave up.
func (w *world) causes(sub uint64) string {
	var out []string
	for cause, t := range w.cursor(sub).ByCause {
		if t.Messages > 0 {
			out = append(out, fmt.Sprintf("%s:%d", shard.Cause(cause), t.Messages))
		}
	}
	return strings.Join(out, " ")
}

func TestG06DropOldestByMessages(t *testing.T) {
	for _, hot := range []int64{16 << 20, 1} { // found in memory, and on disk
		inWorld(t, func(c *Config) { c.HotBytes = hot }, func(t *testing.T, w *world) {
			sub, other := w.start("news", peer.Limits{MaxMessages: 10}), w.start("news", peer.Limits{})
			p := w.agent("r1", 1)
			p.publishN("news", 10, 10)
			w.wantPending(sub, span(1, 10))
			p.publishN("news", 1, 10)
			w.wantPending(sub, span(2, 11))
			p.publishN("news", 3, 10)
			w.wantPending(sub, span(5, 14))
			p.publishN("news", 500, 10) // most of what pushes out is pushed out itself
			w.wantPending(sub, span(505, 514))
			if got := w.causes(sub); got != "max-messages:504" {
				t.Fatalf("given up: %s", got)
			}
			w.wantPending(other, span(1, 514))
		})
	}
}

func TestG06DropOldestByBytes(t *testing.T) {
	for _, hot := range []int64{16 << 20, 1} {
		inWorld(t, func(c *Config) { c.HotBytes = hot }, func(t *testing.T, w *world) {
			sub := w.start("news", peer.Limits{MaxBytes: 10 * storage.MessageBytes(100)})
			p := w.agent("r1", 1)
			p.publishN("news", 10, 100)
			w.wantPending(sub, span(1, 10))
			p.publishN("news", 1, 1) // one byte too many is one message too many
			w.wantPending(sub, span(2, 11))
			p.publishN("news", 1, 400) // takes the room of three, of which there is some
			w.wantPending(sub, span(5, 12))
			if b := w.cursor(sub).Backlog.Bytes; b > 10*storage.MessageBytes(100) {
				t.Fatalf("%d bytes", b)
			}
			p.publishN("news", 1, 5000) // more than all of it: nothing stays
			w.wantPending(sub, nil)
			if got := w.causes(sub); got != "max-bytes:13" {
				t.Fatalf("given up: %s", got)
			}
		})
	}
}

// TestG06BothLimits names the cause that applies.
func TestG06BothLimits(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 10, MaxBytes: 10 * storage.MessageBytes(100)})
		p := w.agent("r1", 1)
		p.publishN("news", 12, 10)
		if got := w.causes(sub); got != "max-messages:2" {
			t.Fatalf("given up: %s", got)
		}
		p.publishN("news", 1, 1000) // 7 more than the one that max-messages costs
		cur := w.cursor(sub)
		if got := w.causes(sub); got != "max-messages:3 max-bytes:2" || cur.Backlog.Messages != 8 {
			t.Fatalf("given up: %s, backlog %v", got, cur.Backlog)
		}
	})
}

func TestG06MaxAge(t *testing.T) {
	for _, hot := range []int64{16 << 20, 1} {
		inWorld(t, func(c *Config) { c.HotBytes = hot }, func(t *testing.T, w *world) {
			sub := w.start("news", peer.Limits{MaxAgeMS: 10_000})
			never := w.start("news", peer.Limits{})
			p := w.agent("r1", 1)
			p.publishN("news", 100, 10)
			time.Sleep(4 * time.Second)
			p.publishN("news", 100, 10)
			time.Sleep(5900 * time.Millisecond)
			w.settle()
			w.wantPending(sub, span(1, 200))
			time.Sleep(200 * time.Millisecond) // no publish, no consumer
			w.settle()
			w.wantPending(sub, span(101, 200))
			time.Sleep(4 * time.Second)
			w.settle()
			w.wantPending(sub, nil)
			w.wantPending(never, span(1, 200))
			if got := w.causes(sub); got != "max-age:200" {
				t.Fatalf("given up: %s", got)
			}
			entries := w.raft.count()
			time.Sleep(time.Hour)
			w.settle()
			if n := w.raft.count() - entries; n > 1 { // a lane may go
				t.Fatalf("%d entries while nothing happens", n)
			}
		})
	}
}

// TestMaxAgeGoesByTheGroupsClock has that clock stand still, and jump.
func TestMaxAgeGoesByTheGroupsClock(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxAgeMS: 10_000})
		p := w.agent("r1", 1)
		p.publishN("news", 5, 10)
		w.raft.set(func(f *fakeRaft) { f.ahead = -20_000 })
		time.Sleep(15 * time.Second)
		w.settle()
		w.wantPending(sub, span(1, 5))
		time.Sleep(16 * time.Second)
		w.settle()
		w.wantPending(sub, nil)
	})
}

// TestMaxAgeInFlight gives up what its subscriber holds, too, and says so.
func TestMaxAgeInFlight(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxAgeMS: 10_000})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 2)
		p.publishN("news", 4, 2)
		d := wantSeqs(t, c, "1 2")
		time.Sleep(11 * time.Second)
		w.settle()
		if got := w.causes(sub); got != "max-age:2 limit-in-flight:2" {
			t.Fatalf("given up: %s", got)
		}
		c.hear()
		c.accept(sub, 1, d...)
		c.want("committed 1.1 1 2")
		p.publish("news", "5")
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 3})
		c.want("deliver 1.1 #5 5 gap 4 max-age:2 limit-in-flight:2")
	})
}

// TestG06InFlightGoesLast gives up what is not dispatched first, from the oldest on.
func TestG06InFlightGoesLast(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 10, MaxInFlight: 4})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 4)
		p.publishN("news", 10, 2)
		d := wantSeqs(t, c, "1 2 3 4")
		p.publishN("news", 3, 2)
		w.wantPending(sub, append(span(1, 4), span(8, 13)...))
		p.publishN("news", 50, 2)
		w.wantPending(sub, append(span(1, 4), span(58, 63)...))
		if got := w.causes(sub); got != "max-messages:53" {
			t.Fatalf("given up: %s", got)
		}
		// What came back is not in flight any more: it is the oldest.
		c.outcome(sub, 1, peer.Released, 0, d[2])
		p.publishN("news", 1, 2)
		w.wantPending(sub, append([]uint64{1, 2, 4}, span(58, 64)...))
		// Limits that leave less than is in flight.
		w.setLimits(sub, peer.Limits{MaxMessages: 2, MaxInFlight: 4})
		w.wantPending(sub, []uint64{2, 4})
		if got := w.causes(sub); got != "max-messages:61 limit-in-flight:1" {
			t.Fatalf("given up: %s", got)
		}
		c.deliveries()
		c.accept(sub, 1, d[0], d[1])
		c.want("committed 1.1 1", "committed 1.1 2")
		if n := w.cursor(sub).Confirmed.Messages; n != 1 {
			t.Fatalf("%d confirmed", n)
		}
	})
}

// TestConfirmedInTheSameCommandMakesRoom gives nothing up for which there is room.
func TestConfirmedInTheSameCommandMakesRoom(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 10, MaxInFlight: 5})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 5)
		p.publishN("news", 10, 2)
		d := wantSeqs(t, c, "1 2 3 4 5")
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		p.publish("other", "x")
		c.accept(sub, 1, d[:3]...)
		p.publishN("news", 4, 2)
		w.raft.release()
		w.wantPending(sub, append([]uint64{4, 5}, span(7, 14)...))
		if got := w.causes(sub); got != "max-messages:1" {
			t.Fatalf("given up: %s", got)
		}
	})
}

// TestNothingGivenUpGoesOut evicts what was about to be dispatched.
func TestNothingGivenUpGoesOut(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 10})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 0)
		p.publishN("news", 10, 2)
		c.hear()
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		p.publishN("news", 5, 2)
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 3})
		c.want() // which ones are left is being decided
		w.raft.release()
		wantSeqs(t, c, "6 7 8")
	})
}

func TestG06RejectUntilNinetyPercent(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 10, MaxInFlight: 10, Overflow: peer.OverflowReject})
		w.start("news", peer.Limits{})
		p, c, q := w.agent("r1", 1), w.agent("r2", 1), w.agent("r3", 1)
		for _, a := range []*agent{p, c, q} {
			a.hear()
		}
		c.attach(sub, 1, 100)
		p.publishN("news", 9, 2)
		p.want("answers through 9")
		p.publishN("news", 1, 2) // the last one that fits: from now on the topic refuses
		p.want("answers through 10", "topics refusing news(s1 10/10)")
		q.want("topics refusing news(s1 10/10)")
		p.publishN("news", 2, 2)
		p.publish("other", "x")
		p.want("answers through 12 refused 11(limit s1 10/10) refused 12(limit s1 10/10)", "answers through 13 no-view 13")
		w.agent("r4", 1).want("welcome lane 4 last 0", "topics refusing news(s1 10/10)")
		d := c.deliveries()
		c.accept(sub, 1, d[0])
		q.want("topics cleared news")
		p.publishN("news", 3, 2)
		p.want("topics cleared news", "answers through 16 refused 15(limit s1 10/10) refused 16(limit s1 10/10)", "topics refusing news(s1 10/10)")
		if got := w.causes(sub); got != "" {
			t.Fatalf("given up: %s", got)
		}
	})
}

// TestRejectHasALowMark of 90 %: in between it takes none.
func TestRejectHasALowMark(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 100, MaxInFlight: 100, Overflow: peer.OverflowReject})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 100)
		p.publishN("news", 120, 2)
		d := c.deliveries()
		c.accept(sub, 1, d[:9]...)
		p.hear()
		p.publishN("news", 1, 2)
		p.want("answers through 121 refused 121(limit s1 91/100)")
		c.accept(sub, 1, d[9])
		p.publishN("news", 11, 2)
		p.want("topics cleared news", "answers through 132 refused 132(limit s1 100/100)", "topics refusing news(s1 100/100)")
		// Bytes, and a message that alone is too large: nothing else is refused for it.
		one := w.start("big", peer.Limits{MaxBytes: 1000, Overflow: peer.OverflowReject})
		p.hear()
		p.publishN("big", 1, 2000)
		p.publishN("big", 1, 100)
		p.want("answers through 133 refused 133(limit s2 0/1000)", "answers through 134")
		// With its last subscriber gone, the topic refuses nobody.
		p.publishN("big", 10, 100)
		p.hear()
		w.end(one)
		p.want("topics cleared big")
	})
}

// TestLimitsChangeAtOnce downwards, upwards, and from one policy to the other.
func TestLimitsChangeAtOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p := w.agent("r1", 1)
		p.publishN("news", 100, 10)
		w.setLimits(sub, peer.Limits{MaxMessages: 30})
		w.wantPending(sub, span(71, 100))
		w.setLimits(sub, peer.Limits{MaxMessages: 30, MaxBytes: 10 * storage.MessageBytes(10)})
		w.wantPending(sub, span(91, 100))
		p.hear()
		w.setLimits(sub, peer.Limits{MaxMessages: 5, Overflow: peer.OverflowReject})
		w.wantPending(sub, span(91, 100)) // it keeps what it has accepted
		p.want("topics refusing news(s1 10/5)")
		p.publishN("news", 1, 10)
		p.want("answers through 101 refused 101(limit s1 10/5)")
		w.setLimits(sub, peer.Limits{MaxMessages: 20, Overflow: peer.OverflowReject})
		p.want("topics cleared news")
		time.Sleep(time.Minute)
		w.setLimits(sub, peer.Limits{MaxAgeMS: 30_000})
		time.Sleep(time.Second)
		w.settle()
		w.wantPending(sub, nil)
		if got := w.causes(sub); got != "max-messages:70 max-bytes:20 max-age:10" {
			t.Fatalf("given up: %s", got)
		}
	})
}

// TestG06NewLeaderRechecks makes a new leader find limits overrun that an earlier one had no time to enforce.
func TestG06NewLeaderRechecks(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p := w.agent("r1", 1)
		p.publishN("news", 100, 10)
		w.depose()
		// The limits are changed, and the leader dies before it gives anything up.
		w.apply(shard.Command{Limits: []shard.SetLimits{{Sub: sub, Limits: shard.Limits{MaxMessages: 10}}}})
		w.elect()
		w.wantPending(sub, span(91, 100))
		if got := w.causes(sub); got != "max-messages:90" {
			t.Fatalf("given up: %s", got)
		}
		p = w.reopen(p)
		p.publishN("news", 1, 10)
		w.wantPending(sub, span(92, 101))
	})
}

// TestGivenUpWhileAHolderIsUnknown says that it may have been processed: a router of an earlier leader's time may hold it.
func TestGivenUpWhileAHolderIsUnknown(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 10})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		p.publishN("news", 10, 2)
		d := wantSeqs(t, c, "1 2 3")
		w.restart()
		p = w.reopen(p)
		p.publishN("news", 2, 2)
		if got := w.causes(sub); got != "limit-in-flight:2" {
			t.Fatalf("given up: %s", got)
		}
		c = w.reopen(c)
		c.hear()
		c.attach(sub, 1, 3, held(d...)...)
		c.accept(sub, 1, d[1], d[2])
		c.want("attached 1.1 backlog 10", "deliver 1.1 #4 4. again gap 2 limit-in-flight:2", "deliver 1.1 #5 5. again", "deliver 1.1 #6 6. again",
			"committed 1.1 2", "committed 1.1 3")
		p.publishN("news", 2, 2)
		if got := w.causes(sub); got != "max-messages:1 limit-in-flight:2" {
			t.Fatalf("given up: %s", got)
		}
	})
}

// apply applies a command that this leader has not made.
func (w *world) apply(c shard.Command) {
	w.t.Helper()
	w.raft.mu.Lock()
	w.raft.applyLocked(proposal{c.Encode(nil), func(any, error) {}})
	w.raft.mu.Unlock()
}

// TestG06GapIsToldUntilHeard follows one gap through deliveries that are confirmed, released and lost.
func TestG06GapIsToldUntilHeard(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 4, MaxInFlight: 2})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.hear()
		p.publish("news", "1", "2", "3", "4", "5", "6")
		c.attach(sub, 1, 1)
		c.want("attached 1.1 backlog 4", "deliver 1.1 #3 3 gap 2 max-messages:2")
		d := c.deliveries()
		// Released: not heard. It comes with the next one.
		c.outcome(sub, 1, peer.Released, 0, d[0])
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 2})
		c.want("committed 1.1 3", "deliver 1.1 #3 3 again gap 2 max-messages:2")
		d = c.deliveries()
		// It grows before it is heard: the next delivery tells all of it.
		p.publish("news", "7")
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 3})
		c.want("deliver 1.1 #5 5 gap 3 max-messages:3")
		newer := c.deliveries()
		// Confirming the one that told of two leaves the third.
		c.accept(sub, 1, d[0])
		c.want("committed 1.1 3")
		if n := w.stats(sub).Unheard; n != 1 {
			t.Fatalf("%d not heard of", n)
		}
		// A new leader, and the same link: what it holds has told, but nothing is heard yet.
		w.restart()
		c = w.reopen(c)
		c.hear()
		c.attach(sub, 1, 1, held(newer...)...)
		c.want("attached 1.1 backlog 3", "deliver 1.1 #6 6 again gap 1 max-messages:1")
		c.accept(sub, 1, newer...)
		c.want("committed 1.1 5")
		if n := w.stats(sub).Unheard; n != 0 {
			t.Fatalf("%d not heard of", n)
		}
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 2})
		c.want("deliver 1.1 #7 7 again") // below the mark of the leader before
		if s := w.stats(sub); s.GivenUp != 3 || s.Captured != 7 {
			t.Fatalf("stats %+v", s)
		}
	})
}

// TestGapListsRanges bounds what travels with a delivery.
func TestGapListsRanges(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxAgeMS: 1000, MaxInFlight: 100})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 100)
		p.publishN("news", 80, 10)
		for i, d := range c.deliveries() {
			if i%2 == 0 {
				c.accept(sub, 1, d)
			}
		}
		time.Sleep(2 * time.Second)
		c.deliveries()
		p.publish("news", "z")
		d := c.deliveries()
		if len(d) != 1 || d[0].Gap == nil || len(d[0].Gap.Ranges) > peer.MaxGapRanges || len(d[0].Gap.Ranges) == 0 {
			t.Fatalf("deliveries %+v", d)
		}
		sum := uint64(0)
		for _, x := range d[0].Gap.Ranges {
			sum += x.Messages
		}
		if sum != d[0].Gap.Messages || sum != w.cursor(sub).GivenUp.Messages {
			t.Fatalf("the gap's ranges have %d messages, the gap %d, given up %d", sum, d[0].Gap.Messages, w.cursor(sub).GivenUp.Messages)
		}
	})
}

var seeds = flag.Uint64("seeds", 4, "how many runs with random steps")

// TestG06LimitsHoldUnderChance publishes, consumes, changes limits and leaders at random, and after every step compares with a plain
// model of what each subscription may hold.
func TestG06LimitsHoldUnderChance(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			hot := int64(16 << 20)
			if seed%2 == 1 {
				hot = 4000
			}
			inWorld(t, func(c *Config) { c.HotBytes = hot }, func(t *testing.T, w *world) { chance(t, w, seed) })
		})
	}
}

func chance(t *testing.T, w *world, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	p, c := w.agent("r1", 1), w.agent("r2", 1)
	type sub struct {
		id, gen uint64
		limits  peer.Limits
		holds   map[uint64]peer.Deliver
	}
	limits := func() peer.Limits {
		l := peer.Limits{MaxInFlight: uint64(1 + rnd.IntN(20))}
		if rnd.IntN(2) == 0 {
			l.MaxMessages = uint64(1 + rnd.IntN(50))
		}
		if rnd.IntN(2) == 0 {
			l.MaxBytes = uint64(100 + rnd.IntN(5000))
		}
		if rnd.IntN(3) == 0 {
			l.MaxAgeMS = uint64(500 + rnd.IntN(5000))
		}
		return l
	}
	var subs []*sub
	for range 6 {
		l := limits()
		subs = append(subs, &sub{id: w.start("news", l), limits: l, holds: map[uint64]peer.Deliver{}})
	}
	take := func() {
		for _, d := range c.deliveries() {
			s := subs[d.Sub-1]
			if d.Gen != s.gen {
				continue
			}
			if _, twice := s.holds[d.Seq]; twice {
				t.Fatalf("%d is delivered to %d while it is held", d.Seq, s.id)
			}
			s.holds[d.Seq] = d
		}
	}
	for range 300 {
		s := subs[rnd.IntN(len(subs))]
		switch k := rnd.IntN(20); {
		case k < 8:
			p.publishN("news", 1+rnd.IntN(30), rnd.IntN(300))
		case k < 10:
			s.gen++
			s.holds = map[uint64]peer.Deliver{}
			c.attach(s.id, s.gen, uint64(rnd.IntN(60)))
		case k < 15:
			take()
			for seq, d := range s.holds {
				if rnd.IntN(3) == 0 {
					continue
				}
				state := peer.OutcomeState(1 + rnd.IntN(4))
				c.outcome(s.id, s.gen, state, uint8(rnd.IntN(2)), d)
				delete(s.holds, seq)
			}
			take()
		case k < 16:
			s.limits = limits()
			w.setLimits(s.id, s.limits)
		case k < 18:
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
		case k < 19:
			take()
			w.restart()
			p, c = w.reopen(p), w.reopen(c)
			for _, s := range subs {
				if s.gen > 0 {
					var list []peer.Deliver
					for _, d := range s.holds {
						list = append(list, d)
					}
					c.attach(s.id, s.gen, uint64(rnd.IntN(60)), held(list...)...)
				}
			}
		default:
			if s.gen > 0 {
				take()
				c.say(&peer.Leave{Sub: s.id, Gen: s.gen})
				s.gen++ // the next attach
				s.holds = map[uint64]peer.Deliver{}
				c.attach(s.id, s.gen, 5)
			}
		}
		w.settle()
		take()
		if err := w.machine.Check(); err != nil {
			t.Fatal(err)
		}
		for _, s := range subs {
			cur := w.cursor(s.id)
			if s.limits.MaxMessages > 0 && cur.Backlog.Messages > s.limits.MaxMessages || s.limits.MaxBytes > 0 && cur.Backlog.Bytes > s.limits.MaxBytes {
				t.Fatalf("subscription %d holds %v, limits %+v", s.id, cur.Backlog, s.limits)
			}
			pending := w.pending(s.id)
			if uint64(len(pending)) != cur.Backlog.Messages {
				t.Fatalf("subscription %d holds %d messages and says %d", s.id, len(pending), cur.Backlog.Messages)
			}
			inFlight := 0
			for _, seq := range pending {
				if _, is := s.holds[seq]; is {
					inFlight++
				}
			}
			if inFlight > 20 { // the highest max-in-flight that there was
				t.Fatalf("subscription %d has %d in flight", s.id, inFlight)
			}
		}
	}
	// In the end everything that is left can be had.
	for _, s := range subs {
		s.gen++
		w.setLimits(s.id, peer.Limits{MaxInFlight: 50})
		c.attach(s.id, s.gen, 1<<40)
		got := map[uint64]bool{}
		for range 1000 {
			want := w.pending(s.id)
			if len(want) == 0 {
				break
			}
			list := c.deliveries()
			for _, d := range list {
				if d.Sub == s.id && d.Gen == s.gen {
					got[d.Seq] = true
					c.accept(s.id, s.gen, d)
				}
			}
		}
		if left := w.pending(s.id); len(left) > 0 {
			t.Fatalf("subscription %d keeps %v: %+v", s.id, left, w.stats(s.id))
		}
	}
}
