package leader

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// TestPublish shows a publisher's conversation: kept, and wanted by nobody.
func TestPublish(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		a := w.agent("r1", 1)
		a.want("welcome lane 1 last 0")
		a.publish("news", "one", "two")
		a.want("answers through 2 no-view 1 no-view 2")
		sub := w.start("news", peer.Limits{})
		a.publish("news", "three")
		a.publish("other", "four")
		a.want("answers through 3", "answers through 4 no-view 4")
		if b := w.cursor(sub).Backlog; b.Messages != 1 {
			t.Fatalf("backlog %v", b)
		}
	})
}

// TestG01NothingIsAnsweredBeforeItIsApplied holds the command back: nobody hears anything, nothing goes out.
func TestG01NothingIsAnsweredBeforeItIsApplied(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		a, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 10)
		a.hear()
		c.hear()
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		a.publish("news", "one")
		a.want()
		c.want()
		w.raft.release()
		a.want("answers through 1")
		c.want("deliver 1.1 #1 one")
		// Confirming, too.
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		c.accept(sub, 1, c.deliveries()...)
		c.want()
		w.raft.release()
		c.want("committed 1.1 1")
	})
}

// TestOneCommandInFlight has what comes in meanwhile make up the next command.
func TestOneCommandInFlight(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.start("news", peer.Limits{})
		a := w.agent("r1", 1)
		a.hear()
		before := w.raft.count()
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		for range 50 {
			a.publish("news", "x")
		}
		if w.raft.waiting() != 1 {
			t.Fatalf("%d commands in flight", w.raft.waiting())
		}
		w.raft.release()
		if got := w.raft.count() - before; got != 2 {
			t.Fatalf("%d commands, want 2", got)
		}
		a.want("answers through 1", "answers through 50")
	})
}

func TestLaneJumpResets(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		a := w.agent("r1", 1)
		a.publish("news", "one")
		a.n = 7
		a.publish("news", "eight")
		if why := a.why(); !strings.Contains(why, "missing") {
			t.Fatalf("ended: %q", why)
		}
		b := w.reopen(a)
		b.want("welcome lane 1 last 1")
	})
}

// TestG04LaneAcrossLeaderChange loses the leader at every point of a publish, and has the router send again what it has no
// answer for: nothing is doubled, lost or reordered.
func TestG04LaneAcrossLeaderChange(t *testing.T) {
	for name, fate := range map[string]struct {
		err     error
		applied bool
	}{
		"applied, answer lost": {raft.ErrUnknown, true},
		"void":                 {raft.ErrVoid, false},
		"never proposed":       {raft.ErrNotLeader, false},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", other replica: ", restart), func(t *testing.T) {
				inWorld(t, nil, func(t *testing.T, w *world) {
					sub := w.start("news", peer.Limits{})
					a := w.agent("r1", 1)
					a.publish("news", "one")
					a.hear()
					w.raft.set(func(f *fakeRaft) { f.fail = fate.err })
					a.publish("news", "two", "three")
					a.want() // no answer: nobody knows
					if why := a.why(); why == "" {
						t.Fatal("the session goes on")
					}
					if restart {
						w.restart()
					} else {
						w.depose()
						w.elect()
					}
					a.n = 1
					b := w.reopen(a)
					last := uint64(1)
					if fate.applied {
						last = 3
					}
					b.want(fmt.Sprintf("welcome lane 1 last %d", last))
					b.publish("news", "two", "three", "four")
					if fate.applied {
						b.want("answers through 3", "answers through 4")
					} else {
						b.want("answers through 4")
					}
					var got []string
					for _, seq := range w.pending(sub) {
						m, err := w.machine.Message(w.cursor(sub).Topic, seq)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, string(m.Payload))
					}
					if want := []string{"one", "two", "three", "four"}; !slices.Equal(got, want) {
						t.Fatalf("kept %v, want %v", got, want)
					}
				})
			})
		}
	}
}

// TestRefusalsAreRemembered until the router has acknowledged them.
func TestRefusalsAreRemembered(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.start("news", peer.Limits{MaxMessages: 2, Overflow: peer.OverflowReject})
		a := w.agent("r1", 1)
		a.publish("news", "1", "2", "3")
		a.say(&peer.Publish{Items: []peer.PublishItem{{N: 4, Void: true}}})
		a.want("welcome lane 1 last 0", "answers through 3 refused 3(limit s1 2/2)", "topics refusing news(s1 2/2)",
			"answers through 4 refused 4(void)")
		w.restart()
		b := w.reopen(a)
		b.want("welcome lane 1 last 4 refused 3(limit) refused 4(void)")
		b.say(&peer.AckRefusals{Through: 3})
		b.lost()
		c := w.reopen(b)
		c.want("welcome lane 1 last 4 refused 4(void)")
	})
}

// TestVoidOfWhatIsIn is answered as it was.
func TestVoidOfWhatIsIn(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		a := w.agent("r1", 1)
		a.publish("news", "one")
		a.hear()
		a.say(&peer.Publish{Items: []peer.PublishItem{{N: 1, Void: true}, {N: 2, Void: true}}})
		a.n = 2
		a.publish("news", "three")
		a.want("answers through 1", "answers through 2 refused 2(void)", "answers through 3")
		if n := w.cursor(sub).Backlog.Messages; n != 2 {
			t.Fatalf("backlog %d", n)
		}
	})
}

func TestLaneForgotten(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		gone, idle := w.agent("gone", 1), w.agent("idle", 1)
		gone.publish("news", "one")
		gone.lost()
		time.Sleep(9 * time.Minute)
		again := w.reopen(gone)
		again.want("welcome lane 1 last 1")
		again.lost()
		time.Sleep(11 * time.Minute)
		w.settle()
		if lanes := w.machine.Lanes(); len(lanes) != 1 || lanes[0].Router != "idle" {
			t.Fatalf("lanes %+v", lanes)
		}
		late := w.reopen(again)
		late.want("forgotten")
		if late.why() == "" {
			t.Fatal("the session goes on")
		}
		late.lane = 0
		w.reopen(late).want("welcome lane 3 last 0") // an incarnation is used once
		if idle.why() != "" {
			t.Fatal("an idle router's session ended")
		}
	})
}

// TestLaneForgottenOnlyByWhoHasListened makes sure that a new leader waits for as long as anyone.
func TestLaneForgottenOnlyByWhoHasListened(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		a := w.agent("r1", 1)
		a.publish("news", "one")
		time.Sleep(time.Hour) // its session is open all the time
		w.restart()
		time.Sleep(9 * time.Minute)
		w.reopen(a).want("welcome lane 1 last 1")
	})
}

func TestHello(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		first := w.agent("r1", 5)
		older := &agent{w: w, name: "r1", boot: 4}
		older.s = w.server.open(older, &peer.Hello{Router: "r1", Boot: 4})
		if why := older.why(); !strings.Contains(why, "later incarnation") {
			t.Errorf("an older incarnation: %q", why)
		}
		newer := &agent{w: w, name: "r2", boot: 1}
		newer.s = w.server.open(newer, &peer.Hello{Router: "r2", Boot: 1, Term: 9})
		if why := newer.why(); !strings.HasPrefix(why, "refused") {
			t.Errorf("who has seen a newer leader: %q", why)
		}
		again := w.reopen(first)
		again.want("welcome lane 1 last 0")
		if first.why() == "" {
			t.Error("the router's older session goes on")
		}
		other := w.agent("r1", 6)
		other.want("welcome lane 2 last 0")
		stranger := &agent{w: w, name: "r3", boot: 1, lane: 2}
		w.reopen(stranger).want("forgotten")
	})
}

func TestOverloadKeepsTheBatch(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		a := w.agent("r1", 1)
		a.hear()
		w.raft.set(func(f *fakeRaft) { f.overloaded = 3 })
		a.publish("news", "one")
		a.publish("news", "two")
		a.want()
		time.Sleep(time.Second)
		a.want("answers through 1", "answers through 2")
		if n := w.cursor(sub).Backlog.Messages; n != 2 {
			t.Fatalf("backlog %d", n)
		}
	})
}

// TestCommandsAreBounded publishes more than fits into one, from two routers: each gets its share of every command.
func TestCommandsAreBounded(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.start("news", peer.Limits{})
		a, b := w.agent("r1", 1), w.agent("r2", 1)
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		a.publish("news", "first")
		for range 30 {
			a.publishN("news", 10, 10<<10)
		}
		b.publishN("news", 100, 10<<10)
		before := w.raft.count()
		w.raft.release()
		for i, c := range w.raft.all()[before+1:] {
			bytes, by := 0, map[uint64]int{}
			for _, p := range c.Publish {
				bytes += len(p.Payload)
				by[p.Lane]++
			}
			if bytes > 1<<20+10<<10 {
				t.Errorf("command %d has %d bytes", i, bytes)
			}
			if i == 0 && (by[1] < 40 || by[2] < 40) {
				t.Errorf("the first command has %v of each", by)
			}
		}
		if last := w.machine.Last(); last != 401 {
			t.Fatalf("%d kept", last)
		}
	})
}

func TestInboxIsBounded(t *testing.T) {
	inWorld(t, func(c *Config) { c.InboxBytes = 100 << 10 }, func(t *testing.T, w *world) {
		a := w.agent("r1", 1)
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		for range 30 {
			a.publishN("news", 1, 10<<10)
		}
		if why := a.why(); !strings.Contains(why, "than fit") {
			t.Fatalf("ended: %q", why)
		}
		w.raft.release()
		b := w.reopen(a)
		if got := b.hear(); !strings.HasPrefix(got, "welcome") {
			t.Fatal(got)
		}
	})
}

// TestStopsWithTheLeadership resets sessions and refuses requests.
func TestStopsWithTheLeadership(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		a := w.agent("r1", 1)
		w.depose()
		if a.why() == "" || w.server != nil || w.stopped != 1 {
			t.Fatalf("the session ended %q, server %v, stopped %d times", a.why(), w.server, w.stopped)
		}
		err := w.tryRequest(peer.OpStats, peer.StatsRequest{}, nil)
		if e, ok := err.(*peer.NotLeaderError); !ok || e.Leader != "other" {
			t.Fatalf("request: %v", err)
		}
		if s := w.leader.Status(); s.Leading {
			t.Fatalf("status %+v", s)
		}
		w.elect()
		w.reopen(a).want("welcome lane 1 last 0")
	})
}

// TestRequestsInFlightAreAnswered when the leader changes under them.
func TestRequestsInFlightAreAnswered(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		errs := make(chan error, 2)
		for sub := range uint64(2) {
			body := fmt.Sprintf(`{"start":[{"sub":%d,"address":"news"}]}`, sub+1)
			w.leader.Handle("meta", peer.OpCursors, []byte(body), func(_ []byte, err error) { errs <- err })
			w.settle()
		}
		w.raft.drop(raft.ErrUnknown)
		if _, ok := (<-errs).(*peer.UnavailableError); !ok {
			t.Error("the one in flight: its outcome is not known")
		}
		if _, ok := (<-errs).(*peer.NotLeaderError); !ok {
			t.Error("the one that waited had no effect")
		}
	})
}

// TestMalformedRequests are refused for good.
func TestMalformedRequests(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		for op, body := range map[string]string{"dance": `{}`, peer.OpCursors: `{"start":7}`, peer.OpStats: `[`} {
			w.leader.Handle("meta", op, []byte(body), func(_ []byte, err error) {
				if _, ok := err.(*peer.Error); !ok {
					t.Errorf("%s %s: %v", op, body, err)
				}
			})
		}
		sub := w.start("news", peer.Limits{})
		var out peer.CursorsResponse
		w.request(peer.OpCursors, peer.CursorsRequest{Start: []peer.StartCursor{{Sub: sub, Address: "other"}, {Sub: sub, Address: "news"}}}, &out)
		if len(out.Refused) != 1 || out.Refused[0].Sub != sub {
			t.Fatalf("refused %+v", out.Refused)
		}
		if _, ok := w.machine.Topic("other"); ok {
			t.Error("a refused start made a topic")
		}
	})
}
