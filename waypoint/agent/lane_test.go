package agent

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// check compares the log with what publishers were told: all accepted ones are there, once, in the order published; nothing is there
// that was refused.
func check(t *testing.T, s *fakeShard, r *receipts, order []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	place := map[string]int{}
	for i, name := range order {
		place[name] = i
	}
	in := map[string]bool{}
	last := -1
	for _, m := range s.log {
		if in[m.payload] {
			t.Errorf("%s is there twice", m.payload)
		}
		in[m.payload] = true
		at, ok := place[m.payload]
		if !ok {
			t.Errorf("%q was never published", m.payload)
		} else if at < last {
			t.Errorf("%s comes after %s", m.payload, order[last])
		}
		last = max(last, at)
	}
	for _, name := range order {
		switch a := r.got[name]; a.Kind {
		case KeptAnswer:
			// One that nobody wanted, and whose answer was lost, is at or below Last like any other.
			if !in[name] && !s.nobody[name] {
				t.Errorf("%s was accepted and is not there", name)
			}
		case RefusedAnswer, NoViewAnswer:
			if in[name] {
				t.Errorf("%s was answered %v and is there", name, a.Kind)
			}
		case UnknownAnswer:
		default:
			t.Errorf("%s has no answer", name)
		}
	}
}

// Leaders come and go at any point: before or after they commit, before or after they answer. No publish is lost, doubled or out of
// order, and every one gets an answer that is true.
func TestG04LaneIsExactlyOnceInOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		run(t, Config{}, func(t *testing.T, w *world) {
			r := newReceipts()
			var order []string
			term := uint64(1)
			nodes := []string{"b", "c", "d"}
			elect := func() {
				term++
				own := rand.New(rand.NewPCG(seed, term))
				l := w.shard.lead(nodes[rng.IntN(len(nodes))], term)
				w.shard.mu.Lock()
				defer w.shard.mu.Unlock()
				// Each leader has its own way to fail, or none.
				var trap fate
				after := -1
				if rng.IntN(4) > 0 {
					after = rng.IntN(40)
					trap = []fate{lost, keepSilent}[rng.IntN(2)]
				}
				l.publish = func(lane uint64, item *peer.PublishItem) fate {
					if after--; after == -1 {
						return trap
					}
					switch own.IntN(12) {
					case 0:
						return refuse
					case 1:
						return noView
					}
					return keep
				}
			}
			for len(order) < 300 {
				for range rng.IntN(30) {
					name := fmt.Sprintf("p%d", len(order))
					order = append(order, name)
					w.publish(r, name)
				}
				switch rng.IntN(6) {
				case 0:
					elect()
				case 1:
					w.shard.depose()
				case 2:
					w.fabric.LoseNext("r", nodes[rng.IntN(len(nodes))], 1)
				case 3:
					for _, n := range nodes {
						w.fabric.LoseNext(n, "r", 1)
					}
				case 4:
					pass(time.Duration(rng.IntN(500)) * time.Millisecond)
				}
				if rng.IntN(2) == 0 {
					synctest.Wait()
				}
			}
			elect()
			w.shard.mu.Lock()
			w.shard.leader.publish = nil
			w.shard.mu.Unlock()
			w.wait("all are answered", func() bool { return r.count() == len(order) })
			check(t, w.shard, r, order)
			for name, a := range r.got {
				if a.Kind == UnknownAnswer {
					t.Errorf("%s is unknown", name)
				}
				if a.Kind == RefusedAnswer && a.Err.Condition != amqp.ErrCondResourceLimitExceeded && a.Err.Condition != amqp.ErrCondInternalError {
					t.Errorf("%s: %v", name, a.Err)
				}
			}
			if s := w.agent.Status().Shards[0]; s.Unanswered != 0 || s.Bytes != 0 {
				t.Errorf("left in the lane: %+v", s)
			}
			w.wait("refusals are acknowledged", func() bool {
				w.shard.mu.Lock()
				defer w.shard.mu.Unlock()
				for _, l := range w.shard.lanes {
					if len(l.refused) > 0 {
						return false
					}
				}
				return true
			})
		})
		if t.Failed() {
			t.Logf("seed %d", seed)
			return
		}
	}
}

func TestAnswersAreTold(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		l := w.shard.lead("b", 1)
		l.publish = func(_ uint64, item *peer.PublishItem) fate {
			return map[string]fate{"kept": keep, "refused": refuse, "unwanted": noView}[string(item.Payload)]
		}
		r := newReceipts()
		for _, name := range []string{"kept", "refused", "unwanted"} {
			w.publish(r, name)
		}
		synctest.Wait()
		want(t, r.names(), "kept kept", "refused refused", "unwanted no-view")
		w.shard.mu.Lock()
		for _, lane := range w.shard.lanes {
			if len(lane.refused) != 0 {
				t.Error("the refusal is not acknowledged")
			}
		}
		w.shard.mu.Unlock()
		err := r.of("refused").Err
		if err.Condition != amqp.ErrCondResourceLimitExceeded || err.Info[infoSubscription] != "s" || err.Info[infoReason] != "limit" ||
			err.Info[infoLimit] != uint64(10) || err.Info[infoUsed] != uint64(11) {
			t.Errorf("%+v", err)
		}
	})
}

// G9: without a leader a captured publish is refused, after a time, and known not to be kept; one that was sent is not.
func TestG09NoLeaderRefuses(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		r := newReceipts()
		w.publish(r, "a")
		pass(4 * time.Second)
		w.publish(r, "b")
		if r.count() != 0 {
			t.Fatalf("answered at once: %q", r.names())
		}
		pass(1100 * time.Millisecond)
		want(t, r.names(), "a refused")
		err := r.of("a").Err
		if err.Condition != amqp.ErrCondInternalError || err.Info[infoReason] != "no-majority" || err.Info[infoShard] != uint32(1) {
			t.Errorf("%+v", err)
		}
		w.shard.lead("b", 1)
		w.wait("b is kept", func() bool { return r.count() == 2 })
		want(t, r.names(), "a refused", "b kept")
		w.publish(r, "c")
		synctest.Wait()
		check(t, w.shard, r, []string{"a", "b", "c"})
	})
}

// What was sent and is not answered in time is unknown; its place in the lane is kept, as void.
func TestUnknownBecomesVoid(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		r := newReceipts()
		first := w.shard.lead("b", 1)
		first.publish = func(_ uint64, item *peer.PublishItem) fate {
			return map[string]fate{"b": keepSilent}[string(item.Payload)]
		}
		for _, name := range []string{"a", "b"} {
			w.publish(r, name)
		}
		synctest.Wait()
		w.publish(r, "c") // sent to a leader that is silent by now
		synctest.Wait()
		want(t, r.names(), "a kept")
		pass(29 * time.Second)
		w.publish(r, "d")
		want(t, r.names(), "a kept")
		pass(1100 * time.Millisecond)
		want(t, r.names(), "a kept", "b unknown", "c unknown")
		if s := w.agent.Status().Shards[0]; s.Unanswered != 3 {
			t.Errorf("%+v", s)
		}
		w.shard.lead("c", 2)
		w.wait("d is kept", func() bool { return r.count() == 4 })
		want(t, r.names(), "a kept", "b unknown", "c unknown", "d kept")
		// b was in before it was void; c was not, and is not kept.
		var log []string
		for _, m := range w.shard.log {
			log = append(log, fmt.Sprintf("%d %s", m.n, m.payload))
		}
		want(t, log, "1 a", "2 b", "4 d")
		if s := w.agent.Status().Shards[0]; s.Unanswered != 0 || s.Bytes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestForgottenLane(t *testing.T) {
	for _, explicit := range []bool{true, false} {
		t.Run(fmt.Sprintf("explicit=%v", explicit), func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, w *world) {
				r := newReceipts()
				l := w.shard.lead("b", 1)
				l.publish = func(uint64, *peer.PublishItem) fate { return lost }
				w.publish(r, "a")
				synctest.Wait()
				w.shard.depose()
				w.publish(r, "b") // waits, without a number
				synctest.Wait()
				w.shard.mu.Lock()
				lane := w.shard.index
				clear(w.shard.lanes)
				w.shard.mu.Unlock()
				w.shard.forgets = explicit
				w.shard.lead("c", 2)
				w.wait("both are answered", func() bool { return r.count() == 2 })
				want(t, r.names(), "a unknown", "b kept")
				if s := w.agent.Status().Shards[0]; s.Lane == lane || s.Lane == 0 {
					t.Errorf("lane %d after %d", s.Lane, lane)
				}
			})
		})
	}
}

// A leader that knows less than it has answered has lost something: nothing is pretended.
func TestLaneThatDoesNotFitIsUnknown(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		r := newReceipts()
		l := w.shard.lead("b", 1)
		l.publish = func(_ uint64, item *peer.PublishItem) fate {
			if string(item.Payload) == "c" {
				return lost
			}
			return keep
		}
		for _, name := range []string{"a", "b", "c"} {
			w.publish(r, name)
		}
		synctest.Wait()
		w.shard.depose()
		w.shard.mu.Lock()
		for _, lane := range w.shard.lanes {
			lane.last = 1
		}
		w.shard.mu.Unlock()
		w.shard.lead("c", 2)
		w.wait("all are answered", func() bool { return r.count() == 3 })
		want(t, r.names(), "a kept", "b kept", "c unknown")
	})
}

func TestWindowWithholds(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		size int
		n    int // how many fill it
	}{
		{"messages", Config{LaneMessages: 40}, 1, 40},
		{"bytes", Config{LaneBytes: 4 << 20}, 1<<20 - 100, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, test.cfg, func(t *testing.T, w *world) {
				w.meta.captures["a"] = true
				w.meta.lead("b", 1)
				w.wait("captured", func() bool { return w.agent.Admit("a").Verdict == Captured })
				r := newReceipts()
				put := func(i int) {
					w.agent.Publish(Publish{Address: "a", Payload: make([]byte, test.size), Receipt: &receipt{r, fmt.Sprint(i)}})
				}
				for i := range test.n {
					if v := w.agent.Admit("a").Verdict; v != Captured {
						t.Fatalf("publish %d: %v", i, v)
					}
					put(i)
				}
				if v := w.agent.Admit("a").Verdict; v != Withhold {
					t.Fatalf("full, but %v", v)
				}
				// It waits for a leader, counted though it has no number; with one there is room, and the router is told.
				before := w.change.Load()
				w.shard.lead("b", 1)
				w.wait("answered", func() bool { return r.count() == test.n })
				synctest.Wait()
				if w.change.Load() == before {
					t.Error("OnChange was not called")
				}
				if v := w.agent.Admit("a").Verdict; v != Captured {
					t.Errorf("empty, but %v", v)
				}
			})
		})
	}
}

// A publisher that doesn't ask can't fill the memory.
func TestLaneIsBoundedAgainstThoseWhoDoNotAsk(t *testing.T) {
	run(t, Config{LaneMessages: 10}, func(t *testing.T, w *world) {
		r := newReceipts()
		for i := range 30 {
			w.publish(r, fmt.Sprint(i))
		}
		if r.count() != 10 {
			t.Fatalf("%d were refused at once", r.count())
		}
		if err := r.of("25").Err; err.Condition != amqp.ErrCondResourceLimitExceeded || err.Info[infoReason] != "queue-full" {
			t.Errorf("%+v", err)
		}
		big := newReceipts()
		w.agent.Publish(Publish{Address: "a", Payload: make([]byte, peer.MaxMessage+1), Receipt: &receipt{big, "big"}})
		if err := big.of("big").Err; err == nil || err.Condition != amqp.ErrCondMessageSizeExceeded {
			t.Errorf("%+v", err)
		}
	})
}

func TestRefusingTopics(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.meta.lead("b", 1)
		l := w.shard.lead("b", 1)
		w.wait("captured", func() bool { return w.agent.Admit("a").Verdict == Captured })
		send := func(m peer.Message) {
			w.shard.mu.Lock()
			defer w.shard.mu.Unlock()
			l.session.Send(m)
			l.session.Flush()
		}
		w.wait("a session", func() bool { return w.agent.Status().Shards[0].Leader == "b" })
		send(&peer.Topics{Refusing: []peer.TopicRefusal{{Address: "a", Refusal: peer.Refusal{Condition: "amqp:resource-limit-exceeded", Subscription: "s", Reason: peer.ReasonLimit}}}})
		synctest.Wait()
		before := w.change.Load()
		a := w.agent.Admit("a")
		if a.Verdict != Refuse || a.Err.Info[infoSubscription] != "s" {
			t.Fatalf("%+v", a)
		}
		send(&peer.Topics{Cleared: []string{"a"}})
		synctest.Wait()
		if a := w.agent.Admit("a"); a.Verdict != Captured || w.change.Load() == before {
			t.Fatalf("%+v, %d changes", a, w.change.Load()-before)
		}
		// A new leader begins with none.
		send(&peer.Topics{Refusing: []peer.TopicRefusal{{Address: "a"}}})
		synctest.Wait()
		w.shard.lead("c", 2)
		w.wait("admitted by the new leader", func() bool { return w.agent.Admit("a").Verdict == Captured })
	})
}

func TestCloseAnswersEverything(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		r := newReceipts()
		l := w.shard.lead("b", 1)
		l.publish = func(uint64, *peer.PublishItem) fate { return lost }
		w.publish(r, "sent")
		synctest.Wait()
		w.shard.depose()
		w.publish(r, "waiting")
		w.agent.Close()
		want(t, r.names(), "sent unknown", "waiting refused")
		w.publish(r, "late")
		want(t, r.names(), "sent unknown", "waiting refused", "late refused")
	})
}

func TestDrainWaits(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		r := newReceipts()
		w.publish(r, "a")
		done := make(chan error, 1)
		go func() { done <- w.agent.Drain(t.Context()) }()
		pass(time.Second)
		if len(done) != 0 {
			t.Fatal("drained with a publish unanswered")
		}
		w.shard.lead("b", 1)
		if err := <-done; err != nil || r.count() != 1 {
			t.Fatal(err, r.names())
		}
	})
}

// A large lane is sent again in bodies of a bounded size.
func TestResendIsWholeAndInOrder(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		r := newReceipts()
		l := w.shard.lead("b", 1)
		l.publish = func(uint64, *peer.PublishItem) fate { return lost }
		var order []string
		for i := range 3000 {
			name := fmt.Sprintf("%d%s", i, strings.Repeat("x", i%997))
			order = append(order, name)
			w.publish(r, name)
		}
		synctest.Wait()
		w.shard.lead("c", 2)
		w.wait("all kept", func() bool { return r.count() == len(order) })
		check(t, w.shard, r, order)
		if len(w.shard.log) != len(order) {
			t.Fatalf("%d in the log", len(w.shard.log))
		}
	})
}

// TestLaneQueue holds the queue's arithmetic against a plain model.
func TestLaneQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	now := time.Now()
	l := lane{shard: 1, id: 9}
	r := newReceipts()
	var model []string
	next, size := 0, func() (n int64) {
		for i := range l.len() {
			n += l.at(i).bytes()
		}
		return n
	}
	for range 20000 {
		switch rng.IntN(5) {
		case 0, 1:
			name := fmt.Sprint(next)
			next++
			model = append(model, name)
			l.put(entry{address: "a", payload: []byte(name), receipt: &receipt{r, name}, since: now})
		case 2:
			for _, item := range l.next(nil, rng.IntN(500), now) {
				if at := int(item.N - l.first()); !bytes.Equal(item.Payload, []byte(model[at])) {
					t.Fatalf("number %d is %q, want %q", item.N, item.Payload, model[at])
				}
			}
		case 3:
			if l.sent > 0 {
				n := 1 + rng.IntN(l.sent)
				if err := l.answers(&peer.Answers{Through: l.first() + uint64(n) - 1}); err != nil {
					t.Fatal(err)
				}
				model = model[n:]
			}
		case 4:
			n := rng.IntN(l.numbered + 1)
			if err := l.welcome(&peer.Welcome{Lane: 9, Last: l.first() + uint64(n) - 1}); err != nil {
				t.Fatal(err)
			}
			model = model[n:]
		}
		if l.len() != len(model) || l.bytes != size() || l.sent > l.numbered || l.numbered > l.len() {
			t.Fatalf("%d entries, want %d; %d bytes, want %d; sent %d, numbered %d", l.len(), len(model), l.bytes, size(), l.sent, l.numbered)
		}
	}
}

// TestG09FullLaneWithoutLeaderRefuses: numbered publishes that fill the lane stay there until the next leader has heard of them, however long that
// takes. What comes meanwhile is refused after the same time as without them, and not withheld for good.
func TestG09FullLaneWithoutLeaderRefuses(t *testing.T) {
	run(t, Config{LaneMessages: 8}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		l := w.shard.lead("b", 1)
		w.wait("admitted", func() bool { return w.verdict("a") == Captured })
		l.publish = func(uint64, *peer.PublishItem) fate { return lost }
		r := newReceipts()
		for i := range 8 {
			w.publish(r, fmt.Sprint(i))
		}
		synctest.Wait()
		w.shard.depose()
		pass(4900 * time.Millisecond)
		if v := w.verdict("a"); v != Withhold {
			t.Fatalf("before a publish has waited long enough for a leader: %v", v)
		}
		before := w.change.Load()
		pass(200 * time.Millisecond)
		a := w.agent.Admit("a")
		if a.Verdict != Refuse || a.Err.Condition != amqp.ErrCondInternalError || a.Err.Info[infoReason] != "no-majority" {
			t.Fatalf("%+v %+v", a, a.Err)
		}
		if w.change.Load() == before {
			t.Error("the router is not told")
		}
		pass(time.Minute) // all are void by now, and still there
		if v := w.verdict("a"); v != Refuse {
			t.Errorf("a minute later: %v", v)
		}
		before = w.change.Load()
		w.shard.lead("c", 2)
		w.wait("admitted again", func() bool { return w.verdict("a") == Captured && w.change.Load() > before })
	})
}
