package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

func request() SubscribeRequest {
	return SubscribeRequest{
		Owner: "alice", ContainerID: "c1", LinkName: "l1", Address: "a",
		Source: amqp.Source{Address: "a", Durable: amqp.DurabilityUnsettledState, ExpiryPolicy: amqp.ExpireNever},
	}
}

// subscribe opens a link and waits for its answer.
func (w *world) subscribe(req SubscribeRequest) (*Subscription, *consumer) {
	w.t.Helper()
	c := &consumer{t: w.t}
	s := w.agent.Subscribe(req, c)
	w.wait("an answer", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.calls) > 0 })
	return s, c
}

// led has meta and the shard led by "b".
func (w *world) led() *fakeLeader {
	w.meta.lead("b", 1)
	return w.shard.lead("b", 1)
}

func accept(s *Subscription, list ...Stored) {
	for _, d := range list {
		s.Outcome(d.Handle, amqp.Accepted{})
	}
}

func TestSubscribe(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		req := request()
		req.Properties = map[amqp.Symbol]any{PropertyMaxMessages: int32(5), PropertyOverflow: "reject", "other": 1}
		req.Source.Filter = amqp.FilterSet{{Name: "f"}}
		s, c := w.subscribe(req)
		want(t, c.take(), "attached")
		if o := w.meta.opened[0]; o.Limits.MaxMessages != 5 || o.Limits.Overflow != peer.OverflowReject || o.Owner != "alice" || o.Terminus.Durable != 2 ||
			o.Terminus.ExpiryPolicy != "never" || o.Router != "r" || o.Boot != 1 {
			t.Errorf("%+v", o)
		}
		i := c.info
		if !i.Created || i.Name != "name" || i.Source.Address != "a" || i.Source.Durable != 2 || i.Source.ExpiryPolicy != "never" || len(i.Source.Filter) != 0 {
			t.Errorf("%+v", i)
		}
		if i.Limits.MaxMessages != 1000 || i.Limits.MaxAge != 0 || i.Properties[PropertyMaxMessages] != uint64(1000) || i.Properties[PropertyMaxAge] != nil {
			t.Errorf("%+v", i)
		}
		w.shard.fill(100, 5)
		want(t, c.take())
		c.allow(s, 3, false)
		want(t, c.take(), "deliver 1", "deliver 2", "deliver 3")
		accept(s, c.got...)
		want(t, c.take(), "settled 1", "settled 2", "settled 3")
		c.allow(s, 10, false)
		want(t, c.take(), "deliver 4", "deliver 5")
		d := c.got[3]
		if string(d.Payload) != "m4" || !d.FirstAcquirer || d.DeliveryCount != 0 || d.Handle.Shard != 1 || d.Time.UnixMilli() != 5 {
			t.Errorf("%+v", d)
		}
		if n := w.agent.Status().HeldBytes; n != 0 {
			t.Errorf("%d bytes held", n)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		props map[amqp.Symbol]any
		err   error
		want  string
		text  string
	}{
		{"unknown property", map[amqp.Symbol]any{"posthouse:max-msgs": 1}, nil, "refused amqp:invalid-field", "posthouse:max-msgs"},
		{"not there yet", map[amqp.Symbol]any{"posthouse:ack-timeout": 1}, nil, "refused amqp:not-implemented", "posthouse:ack-timeout"},
		{"bad value", map[amqp.Symbol]any{PropertyMaxAge: "soon"}, nil, "refused amqp:invalid-field", "7d"},
		{"by meta", nil, &peer.Error{Condition: "amqp:unauthorized-access", Description: "not yours", Info: map[string]string{"k": "v"}}, "refused amqp:unauthorized-access", "not yours"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, w *world) {
				w.led()
				w.meta.openErr = test.err
				req := request()
				req.Properties = test.props
				_, c := w.subscribe(req)
				want(t, c.take(), test.want)
				if got := c.err.Error(); !contains(got, test.text) {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

func contains(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

func TestSubscribeWithoutACluster(t *testing.T) {
	run(t, Config{OpenTimeout: 10 * time.Second}, func(t *testing.T, w *world) {
		_, c := w.subscribe(request())
		want(t, c.take(), "refused amqp:internal-error")
		if d := time.Since(w.start); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// Leaders move, sessions break, answers are lost; the consumer on its living node sees each message once, in order, within its credit, and
// nothing else. In the end all are confirmed, once.
func TestG04LeaderMoveIsInvisible(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 2))
		run(t, Config{HeldBytes: 40}, func(t *testing.T, w *world) {
			w.led()
			s, c := w.subscribe(request())
			c.take()
			const total = 200
			filled, term := 0, uint64(1)
			unsettled := []Stored{}
			taken := 0
			elect := func() {
				term++
				l := w.shard.lead([]string{"b", "c", "d"}[rng.IntN(3)], term)
				w.shard.mu.Lock()
				l.early = rng.IntN(3) == 0
				w.shard.mu.Unlock()
			}
			for filled < total || taken < total {
				got := c.deliveries()
				unsettled = append(unsettled, got[taken:]...)
				taken = len(got)
				switch rng.IntN(9) {
				case 0, 1:
					n := min(rng.IntN(20), total-filled)
					filled += n
					w.shard.fill(100, n)
				case 2, 3, 4:
					drain := rng.IntN(8) == 0
					c.allow(s, uint32(rng.IntN(30)), drain)
					if !drain {
						break
					}
					if rng.IntN(2) == 0 {
						elect()
					}
					w.wait("drained", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.draining })
				case 5, 6:
					for range rng.IntN(10) {
						if len(unsettled) == 0 {
							break
						}
						i := rng.IntN(len(unsettled))
						s.Outcome(unsettled[i].Handle, amqp.Accepted{})
						unsettled = slices.Delete(unsettled, i, i+1)
					}
				case 7:
					elect()
				case 8:
					w.fabric.LoseNext("r", "b", 1)
					w.fabric.LoseNext("c", "r", 1)
				}
				if rng.IntN(2) == 0 {
					pass(time.Duration(rng.IntN(300)) * time.Millisecond)
				}
			}
			for _, d := range unsettled {
				s.Outcome(d.Handle, amqp.Accepted{})
			}
			elect()
			w.shard.mu.Lock()
			w.shard.leader.early = false
			w.shard.mu.Unlock()
			w.wait("all settled", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.held) == 0 })
			for i, d := range c.got {
				if d.Handle.Seq != uint64(i+1) {
					t.Fatalf("delivery %d is message %d", i+1, d.Handle.Seq)
				}
			}
			cur := w.shard.cursors[100]
			if len(cur.confirmed) != total || len(cur.open) != 0 {
				t.Errorf("%d confirmed, %d left", len(cur.confirmed), len(cur.open))
			}
			for seq, o := range cur.outcomes {
				if len(o) != 1 || o[0] != peer.Accepted {
					t.Errorf("message %d: %v", seq, o)
				}
			}
			if c.err != nil || w.agent.Status().HeldBytes != 0 {
				t.Error(c.err, w.agent.Status().HeldBytes)
			}
		})
		if t.Failed() {
			t.Logf("seed %d", seed)
			return
		}
	}
}

// What the new leader is told: what is held, with what is left of the credit; and what was not committed is said again.
func TestUnsettledIsHandedOver(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		l := w.led()
		s, c := w.subscribe(request())
		w.shard.fill(100, 5)
		c.allow(s, 10, false)
		c.take()
		accept(s, c.got[0])
		synctest.Wait()
		w.shard.mu.Lock()
		l.early = true // what is committed from now on, the router doesn't learn of
		w.shard.mu.Unlock()
		accept(s, c.got[1])
		synctest.Wait()
		w.shard.mu.Lock()
		w.shard.seen = nil
		w.shard.mu.Unlock()
		w.shard.lead("c", 2)
		want(t, c.take(), "settled 1", "settled 2")
		a := w.shard.messages(peer.KindAttach)[0].(*peer.Attach)
		if fmt.Sprintf("%+v", a.Held) != "[{Seq:2 Count:0 GapVersion:0} {Seq:3 Count:0 GapVersion:0} {Seq:4 Count:0 GapVersion:0} {Seq:5 Count:0 GapVersion:0}]" || a.Credit != 5 || a.Name != "name" {
			t.Errorf("%+v", a)
		}
		o := w.shard.messages(peer.KindOutcome)
		if len(o) != 1 || len(o[0].(*peer.Outcome).Items) != 1 || o[0].(*peer.Outcome).Items[0].Seq != 2 {
			t.Errorf("%+v", o)
		}
		w.shard.fill(100, 3)
		want(t, c.take(), "deliver 6", "deliver 7", "deliver 8")
	})
}

func TestOutcomes(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		req := request()
		req.Source.DefaultOutcome = amqp.Modified{DeliveryFailed: true}
		s, c := w.subscribe(req)
		w.shard.fill(100, 7)
		c.allow(s, 7, false)
		c.take()
		annotations := map[amqp.Symbol]any{"x-opt-a": "b"}
		for i, state := range []amqp.DeliveryState{
			amqp.Accepted{}, amqp.Released{}, amqp.Rejected{Error: &amqp.Error{Condition: "x:y"}}, amqp.Modified{DeliveryFailed: true, UndeliverableHere: true, MessageAnnotations: annotations},
			nil, amqp.Received{}, amqp.Rejected{},
		} {
			s.Outcome(c.got[i].Handle, state)
		}
		s.Outcome(c.got[0].Handle, amqp.Released{})          // said already
		s.Outcome(Handle{Seq: 99}, amqp.Accepted{})          // never delivered
		s.Outcome(Handle{Seq: 6, Count: 3}, amqp.Accepted{}) // another attempt
		synctest.Wait()
		var got []string
		extras := map[uint64][]byte{}
		for _, m := range w.shard.messages(peer.KindOutcome) { // one or several, as the shard's turns fall
			for _, i := range m.(*peer.Outcome).Items {
				got = append(got, fmt.Sprintf("%d %v %d %v", i.Seq, i.State, i.Flags, len(i.Extra) > 0))
				extras[i.Seq] = i.Extra
			}
		}
		want(t, got, "1 accepted 0 false", "2 released 0 false", "3 rejected 0 true", "4 modified 3 true", "5 modified 1 false", "7 rejected 0 false")
		if state, _, err := amqp.DecodeState(extras[4]); err != nil || state.(amqp.Modified).MessageAnnotations["x-opt-a"] != "b" {
			t.Errorf("%v %v", state, err)
		}
		// The ones given back come again, flagged.
		c.allow(s, 10, false)
		want(t, c.take(), "settled 1", "settled 2", "settled 3", "settled 4", "settled 5", "settled 7", "deliver 2", "deliver 4", "deliver 5")
		if d := c.got[8]; d.FirstAcquirer || d.DeliveryCount != 1 {
			t.Errorf("%+v", d)
		}
	})
}

func TestDrain(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		s, c := w.subscribe(request())
		c.take()
		c.allow(s, 5, true)
		want(t, c.take(), "drained")
		w.shard.fill(100, 3)
		want(t, c.take()) // a drained link has no credit
		c.allow(s, 2, true)
		want(t, c.take(), "deliver 1", "deliver 2", "drained")
		c.allow(s, 5, true)
		want(t, c.take(), "deliver 3", "drained")
		c.allow(s, 0, true)
		want(t, c.take(), "drained")
		// Without drain nothing is said, and credit works as before.
		c.allow(s, 2, false)
		w.shard.fill(100, 3)
		want(t, c.take(), "deliver 4", "deliver 5")
		c.allow(s, 1, false)
		want(t, c.take(), "deliver 6")
	})
}

func TestDrainAcrossALeaderMove(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		s, c := w.subscribe(request())
		c.take()
		w.shard.depose()
		synctest.Wait()
		c.allow(s, 5, true)
		want(t, c.take())
		w.shard.fill(100, 2)
		w.shard.lead("c", 2)
		w.wait("drained", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.calls) == 3 })
		want(t, c.take(), "deliver 1", "deliver 2", "drained")
	})
}

// A client that takes credit back gets no more than it allows, whatever is on its way.
// What the leader sends a second time does not reach the client, nor does it cost it credit.
func TestRepeatedDeliveryCostsNoCredit(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		l := w.led()
		s, c := w.subscribe(request())
		want(t, c.take(), "attached")
		c.allow(s, 2, false)
		w.shard.fill(100, 1)
		want(t, c.take(), "deliver 1")
		w.shard.mu.Lock()
		for _, p := range w.shard.cursors[100].open {
			p.out = false
		}
		w.shard.mu.Unlock()
		l.dispatch()
		want(t, c.take())
		w.shard.fill(100, 1)
		want(t, c.take(), "deliver 2")
	})
}

func TestCreditTakenBack(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		s, c := w.subscribe(request())
		c.take()
		w.fabric.Delay("r", "b", 50*time.Millisecond)
		w.shard.fill(100, 10)
		c.allow(s, 8, false)
		pass(60 * time.Millisecond) // the leader has sent 8
		c.allow(s, 2, false)
		pass(time.Second)
		want(t, c.take(), "deliver 1", "deliver 2")
		c.allow(s, 3, false)
		want(t, c.take(), "deliver 3", "deliver 4", "deliver 5")
		c.allow(s, 100, true)
		pass(time.Second)
		want(t, c.take(), "deliver 6", "deliver 7", "deliver 8", "deliver 9", "deliver 10", "drained")
	})
}

// G7: a client that takes credit and doesn't read holds a bounded number of bytes, and others are not held up.
func TestG07HeldBytesAreBounded(t *testing.T) {
	run(t, Config{HeldBytes: 20, HeldTotal: 50, DeliveryWindow: 100}, func(t *testing.T, w *world) {
		w.led()
		var stuck []*consumer
		for i := range 4 {
			req := request()
			req.LinkName = fmt.Sprint(i)
			s, c := w.subscribe(req)
			c.keep = true
			stuck = append(stuck, c)
			w.shard.fill(uint64(100+i), 1000)
			c.allow(s, 1000, false)
			synctest.Wait()
		}
		req := request()
		req.LinkName = "good"
		s, good := w.subscribe(req)
		good.take()
		w.shard.fill(104, 300)
		good.allow(s, 300, false)
		pass(time.Second)
		if n := len(good.deliveries()); n != 300 {
			t.Errorf("the good one got %d", n)
		}
		held := w.agent.Status().HeldBytes
		if held < 40 || held > 50+20 {
			t.Errorf("%d bytes held", held)
		}
		// One that reads again goes on.
		for range 2000 {
			list := stuck[0].deliveries()
			for _, d := range list {
				d.Release()
			}
			synctest.Wait()
			if len(list) == 1000 {
				return
			}
		}
		t.Errorf("after release it got %d", len(stuck[0].deliveries()))
	})
}

func TestDetach(t *testing.T) {
	keep := map[amqp.Symbol]any{PropertyOnClose: "keep"}
	for _, test := range []struct {
		name    string
		ending  Ending
		props   map[amqp.Symbol]any
		expiry  amqp.ExpiryPolicy
		removes bool
		event   string
	}{
		{"detach", Ending{Event: LinkDetach}, nil, amqp.ExpireNever, false, ""},
		{"close", Ending{Closed: true, Event: LinkDetach}, nil, amqp.ExpireNever, true, ""},
		{"close by mistake", Ending{Closed: true, Mistaken: true}, nil, amqp.ExpireNever, false, ""},
		{"close, but keep", Ending{Closed: true}, keep, amqp.ExpireNever, false, ""},
		{"connection lost", Ending{Mistaken: true, Event: ConnectionClose}, nil, amqp.ExpireNever, false, ""},
		{"detach, with a timeout", Ending{Event: LinkDetach}, nil, amqp.ExpireSessionEnd, false, peer.EventLinkDetach},
		{"session end, with a timeout", Ending{Event: SessionEnd}, nil, amqp.ExpireSessionEnd, false, peer.EventSessionEnd},
		{"connection lost, with a timeout", Ending{Mistaken: true}, nil, amqp.ExpireSessionEnd, false, peer.EventConnectionClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, w *world) {
				w.led()
				req := request()
				req.Properties = test.props
				req.Source.ExpiryPolicy = test.expiry
				s, c := w.subscribe(req)
				w.shard.fill(100, 2)
				c.allow(s, 1, false)
				c.take()
				done := 0
				s.Detach(test.ending, func(err *amqp.Error) {
					if done++; err != nil {
						t.Error(err)
					}
				})
				c.allow(s, 1, false) // late
				synctest.Wait()
				want(t, c.take())
				if done != 1 {
					t.Errorf("done %d times", done)
				}
				if n := len(w.shard.messages(peer.KindLeave)); (n == 0) != test.removes {
					t.Errorf("%d leaves", n)
				}
				if test.removes != (len(w.meta.removed) == 1) {
					t.Errorf("%+v", w.meta.removed)
				} else if test.removes && w.meta.removed[0] != (peer.RemoveRequest{Sub: 100, Owner: "alice", Gen: 1}) {
					t.Errorf("%+v", w.meta.removed)
				}
				if (test.event != "") != (len(w.meta.left) == 1) {
					t.Errorf("%+v", w.meta.left)
				} else if test.event != "" && w.meta.left[0] != (peer.LeaveRequest{Sub: 100, Gen: 1, Event: test.event}) {
					t.Errorf("%+v", w.meta.left)
				}
				if st := w.agent.Status(); st.Shards[0].Links != 0 || st.HeldBytes != 0 {
					t.Errorf("%+v", st)
				}
				s.Detach(Ending{}, func(*amqp.Error) { done++ })
				if done != 2 {
					t.Error("a second detach is not answered")
				}
			})
		})
	}
}

// On the loss of a link what it has not settled gets the source's default outcome; what it has never seen goes back unseen.
func TestDefaultOutcomeOnLoss(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		req := request()
		req.Source.DefaultOutcome = amqp.Modified{DeliveryFailed: true}
		s, c := w.subscribe(req)
		c.take()
		w.fabric.Delay("r", "b", 50*time.Millisecond)
		w.shard.fill(100, 5)
		c.allow(s, 4, false)
		pass(60 * time.Millisecond)
		c.allow(s, 2, false) // 3 and 4 are on their way
		pass(60 * time.Millisecond)
		want(t, c.take(), "deliver 1", "deliver 2")
		accept(s, c.got[0])
		s.Detach(Ending{Mistaken: true}, nil)
		pass(time.Second)
		cur := w.shard.cursors[100]
		if got := fmt.Sprint(cur.outcomes); got != "map[1:[accepted] 2:[modified] 3:[released] 4:[released]]" {
			t.Error(got)
		}
		if cur.open[2].count != 1 || cur.open[3].count != 0 {
			t.Error(cur.open[2], cur.open[3])
		}
	})
}

// A detach is answered when the outcomes before it are committed, or after a time; then they are still sent to the next leader.
func TestOutcomesOutliveTheLink(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		s, c := w.subscribe(request())
		w.shard.fill(100, 3)
		c.allow(s, 3, false)
		c.take()
		w.shard.depose()
		synctest.Wait()
		accept(s, c.got...)
		at, done := time.Now(), make(chan time.Duration, 1)
		s.Detach(Ending{}, func(*amqp.Error) { done <- time.Since(at) })
		if d := <-done; d != 5*time.Second {
			t.Fatalf("answered after %v, with nothing committed", d)
		}
		pass(time.Minute)
		w.shard.lead("c", 2)
		w.wait("committed", func() bool { return len(w.shard.cursors[100].confirmed) == 3 })
		w.wait("gone", func() bool { return w.agent.Status().Shards[0].Links == 0 })
	})
}

// The same client comes back on the same router before its outcomes are committed: the old link's come first.
func TestReattachAfterOutcomes(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		s, c := w.subscribe(request())
		w.shard.fill(100, 3)
		c.allow(s, 3, false)
		c.take()
		w.shard.depose()
		synctest.Wait()
		accept(s, c.got[:2]...)
		s.Detach(Ending{Mistaken: true}, nil)
		c2 := &consumer{t: t}
		s2 := w.agent.Subscribe(request(), c2)
		pass(10 * time.Second)
		c2.allow(s2, 10, false)
		w.shard.lead("c", 2)
		w.wait("attached", func() bool { return len(c2.deliveries()) > 0 })
		want(t, c2.take(), "attached", "deliver 3")
		if len(w.shard.cursors[100].confirmed) != 2 {
			t.Errorf("%v", w.shard.cursors[100].confirmed)
		}
	})
}

func TestStolen(t *testing.T) {
	for _, notice := range []bool{false, true} {
		t.Run(fmt.Sprintf("notice=%v", notice), func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, w *world) {
				w.led()
				w.wait("a lease", func() bool { return w.agent.lease.is() == leased })
				s, c := w.subscribe(request())
				w.shard.fill(100, 2)
				c.allow(s, 1, false)
				c.take()
				if notice {
					w.meta.set(func() {
						w.meta.sessions[0].Send(&peer.Notice{Sub: 100, Gen: 1, Condition: "amqp:link:stolen", Text: "elsewhere"})
						w.meta.sessions[0].Flush()
					})
				} else {
					_, c2 := w.subscribe(request())
					want(t, c2.take(), "attached")
				}
				want(t, c.take(), "ended amqp:link:stolen")
				s.Outcome(c.got[0].Handle, amqp.Accepted{}) // late
				c.allow(s, 5, false)
				done := false
				s.Detach(Ending{Closed: true}, func(*amqp.Error) { done = true })
				pass(time.Second)
				if !done || len(w.meta.removed) != 0 {
					t.Error(done, w.meta.removed)
				}
				want(t, c.take())
				if notice {
					if st := w.agent.Status(); st.Shards[0].Links != 0 || st.HeldBytes != 0 {
						t.Errorf("%+v", st)
					}
				}
			})
		})
	}
}

func TestRemovedByOperator(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		l := w.led()
		_, c := w.subscribe(request())
		c.take()
		w.shard.mu.Lock()
		l.session.Send(&peer.Ended{Sub: 100, Gen: 1, Condition: "amqp:resource-deleted", Text: "by the operator"})
		l.session.Flush()
		w.shard.mu.Unlock()
		want(t, c.take(), "ended amqp:resource-deleted")
	})
}

func TestAttachRefusedByShard(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		w.shard.cursor(100).gen = 5
		_, c := w.subscribe(request())
		want(t, c.take(), "refused amqp:link:stolen")
	})
}

func TestLookup(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		req := request()
		req.Lookup = true
		_, c := w.subscribe(req)
		want(t, c.take(), "refused amqp:not-found")

		s, _ := w.subscribe(request())
		s.Detach(Ending{}, nil)
		s, c = w.subscribe(req)
		want(t, c.take(), "attached")
		if c.info.Source.Address != "a" || c.info.Source.ExpiryPolicy != "never" {
			t.Errorf("%+v", c.info)
		}
		c.allow(s, 5, false)
		done := false
		s.Detach(Ending{Closed: true}, func(err *amqp.Error) { done = err == nil })
		synctest.Wait()
		if !done || len(w.meta.removed) != 1 || w.meta.removed[0] != (peer.RemoveRequest{Sub: 100, Owner: "alice"}) {
			t.Error(done, w.meta.removed)
		}
	})
}

func TestDetachWhileOpening(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed=%v", closed), func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, w *world) {
				w.led()
				w.meta.hold = true
				c := &consumer{t: t}
				s := w.agent.Subscribe(request(), c)
				pass(time.Second)
				done := false
				s.Detach(Ending{Closed: closed}, func(err *amqp.Error) { done = true })
				if done == closed {
					t.Errorf("answered at once: %v", done)
				}
				w.meta.set(func() { w.meta.hold = false })
				pass(10 * time.Second)
				if !done || len(w.meta.removed) > 0 != closed {
					t.Error(done, w.meta.removed)
				}
				want(t, c.take())
				if n := len(w.shard.messages(peer.KindAttach)); n != 0 {
					t.Errorf("%d attaches", n)
				}
			})
		})
	}
}

// What comes for another generation, or for a link that is gone, touches nothing.
func TestLateMessagesAreDropped(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		l := w.led()
		s, c := w.subscribe(request())
		c.allow(s, 5, false)
		c.take()
		w.shard.mu.Lock()
		for _, m := range []peer.Message{
			&peer.Deliver{Sub: 100, Gen: 7, Seq: 1}, &peer.Deliver{Sub: 7, Gen: 1, Seq: 1}, &peer.Ended{Sub: 100, Gen: 0, Condition: "x"},
			&peer.Committed{Sub: 100, Gen: 1, Items: []peer.Settled{{Seq: 3}}}, &peer.Left{Sub: 100, Gen: 1},
		} {
			l.session.Send(m)
		}
		l.session.Flush()
		w.shard.mu.Unlock()
		want(t, c.take())
		w.shard.fill(100, 1)
		want(t, c.take(), "deliver 1")
		w.shard.mu.Lock()
		l.session.Send(&peer.Deliver{Sub: 100, Gen: 1, Seq: 1}) // it is held
		l.session.Flush()
		w.shard.mu.Unlock()
		want(t, c.take())
	})
}

func TestGapIsTold(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		l := w.led()
		s, c := w.subscribe(request())
		c.allow(s, 5, false)
		c.take()
		w.shard.mu.Lock()
		l.session.Send(&peer.Deliver{Sub: 100, Gen: 1, Seq: 9, Address: "a", Gap: &peer.Gap{Version: 77, Messages: 8,
			Causes: []peer.GapCause{{Cause: peer.CauseAge, Messages: 8}}, Ranges: []peer.GapRange{{From: 1, Through: 8, Messages: 8, Cause: peer.CauseAge}}}})
		l.session.Flush()
		w.shard.mu.Unlock()
		want(t, c.take(), "deliver 9")
		if g := c.got[0].Gap; g == nil || g.Messages != 8 || g.Causes["max-age"] != 8 || len(g.Ranges) != 1 || g.Address != "a" || g.Shard != 1 {
			t.Errorf("%+v", g)
		}
		accept(s, c.got[0])
		synctest.Wait()
		if o := w.shard.messages(peer.KindOutcome)[0].(*peer.Outcome).Items[0]; o.GapVersion != 77 {
			t.Errorf("%+v", o)
		}
	})
}
