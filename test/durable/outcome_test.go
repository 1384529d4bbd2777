package durable

import (
	"context"
	"fmt"
	"testing"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/test/actor"
)

// Each outcome does what 3.4 says: released and modified come again, in their place and before anything new, and say what has happened;
// accepted and rejected never do, and rejected is counted as lost.
func TestOutcomes(t *testing.T) {
	ctx := context.Background()
	type again struct {
		comes, fresh bool // fresh: first-acquirer is true
		count        uint32
	}
	for _, test := range []struct {
		name    string
		outcome func(*actor.Handheld, *goamqp.Message) error
		want    again
		lost    map[string]uint64
	}{
		{"accepted", func(h *actor.Handheld, m *goamqp.Message) error { return h.AcceptMessage(ctx, m) }, again{}, nil},
		{"released", func(h *actor.Handheld, m *goamqp.Message) error { return h.ReleaseMessage(ctx, m) }, again{comes: true}, nil},
		{"modified", func(h *actor.Handheld, m *goamqp.Message) error { return h.ModifyMessage(ctx, m, nil) }, again{comes: true}, nil},
		{"modified, failed", func(h *actor.Handheld, m *goamqp.Message) error {
			return h.ModifyMessage(ctx, m, &goamqp.ModifyMessageOptions{DeliveryFailed: true})
		}, again{comes: true, count: 1}, nil},
		{"rejected", func(h *actor.Handheld, m *goamqp.Message) error {
			return h.RejectMessage(ctx, m, &goamqp.Error{Condition: "app:unreadable"})
		}, again{}, map[string]uint64{"rejected": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := begin(t)
			nodes := s.Cluster.Nodes
			orders := s.Name("orders")
			sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders})
			sub.Leave()
			s.Publish("shop", nodes[1], orders, actor.Load{Count: 5}).Wait()
			h := s.Attach1By1(sub, nodes[2])
			wantMessage(t, h.Next(), "shop/0", true, 0)
			held := h.Next()
			wantMessage(t, held, "shop/1", true, 0)
			wantMessage(t, h.Next(), "shop/2", true, 0)
			if err := test.outcome(h, held); err != nil {
				t.Fatal(err)
			}
			if test.want.comes {
				m := h.Next()
				wantMessage(t, m, "shop/1", test.want.fresh, test.want.count)
				if err := h.AcceptMessage(ctx, m); err != nil {
					t.Fatal(err)
				}
				sub.Page.MayRepeat()
			}
			wantMessage(t, h.Next(), "shop/3", true, 0)
			h.Leave() // what is not settled is released
			sub.Page.MayRepeat()
			h = s.Attach1By1(sub, nodes[0])
			for _, want := range []struct {
				id    string
				fresh bool
			}{{"shop/0", false}, {"shop/2", false}, {"shop/3", false}, {"shop/4", true}} {
				m := h.Next()
				wantMessage(t, m, want.id, want.fresh, 0)
				if err := h.AcceptMessage(ctx, m); err != nil {
					t.Fatal(err)
				}
			}
			h.Leave()
			if test.lost != nil {
				sub.Page.MayMiss()
				wantFiguresSoon(t, s, sub.Name(), 5, 4, 1, 0, test.lost)
			} else {
				wantFiguresSoon(t, s, sub.Name(), 5, 5, 0, 0, nil)
			}
			s.End()
		})
	}
}

// A message that failed again and again counts it, over links, leaders and nodes.
func TestDeliveryCountLives(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders})
	sub.Page.MayRepeat()
	sub.Leave()
	s.Publish("shop", nodes[1], orders, actor.Load{Count: 1}).Wait()
	for i := range 6 {
		if i == 3 {
			leader := s.LeaderOf(sub.Name())
			s.Step("node %s, which leads, is restarted", leader.Name)
			leader.Kill()
			leader.Restart()
			s.Cluster.WaitReady(actor.Patience)
		}
		h := s.Attach1By1(sub, nodes[i%3])
		m := h.Next()
		wantMessage(t, m, "shop/0", i == 0, uint32(i))
		if err := h.ModifyMessage(context.Background(), m, &goamqp.ModifyMessageOptions{DeliveryFailed: true}); err != nil {
			t.Fatal(err)
		}
		h.Leave()
	}
	sub.Attach(nodes[0])
	sub.CatchUp()
	s.End()
}

// Undeliverable here: the message does not come to this link again, and does to the next.
func TestUndeliverableHere(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders})
	sub.Page.MayRepeat()
	sub.Leave()
	s.Publish("shop", nodes[1], orders, actor.Load{Count: 3}).Wait()
	h := s.Attach1By1(sub, nodes[1])
	m := h.Next()
	wantMessage(t, m, "shop/0", true, 0)
	if err := h.ModifyMessage(context.Background(), m, &goamqp.ModifyMessageOptions{DeliveryFailed: true, UndeliverableHere: true}); err != nil {
		t.Fatal(err)
	}
	h.Take(2) // 1 and 2
	drained(t, h)
	h.Leave()
	h = s.Attach1By1(sub, nodes[2])
	m = h.Next()
	wantMessage(t, m, "shop/0", false, 1)
	if err := h.AcceptMessage(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	h.Leave()
	wantFiguresSoon(t, s, sub.Name(), 3, 3, 0, 0, nil)
}

// A drain is answered: with what there is within the credit, or with nothing.
func TestDrain(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	c := dialRaw(t, nodes[0], s.Name("client"))
	l := c.durable("billing", orders, 0, nil)
	c.wantAttached()
	var waiting []string
	for round := range 50 {
		publisher := fmt.Sprint("shop", round)
		s.Publish(publisher, nodes[1], orders, actor.Load{Count: 1 + round%3}).Wait()
		for i := range 1 + round%3 {
			waiting = append(waiting, fmt.Sprint(publisher, "/", i))
		}
		credit := 2 * (round % 3)
		if credit == 0 {
			continue
		}
		l.Grant(uint32(credit), nil)
		l.Drain(nil)
		within(t, c.drained, "answer to the drain")
		for range min(credit, len(waiting)) {
			for _, m := range c.take(waiting[0]) {
				l.Settle(m.ref, amqp.Accepted{}, nil)
			}
			waiting = waiting[1:]
		}
		if n := l.Credit(); n != 0 {
			t.Fatalf("round %d: credit %d is left after the drain", round, n)
		}
	}
	c.detach(l, true, nil)
}

// go-amqp's own drain takes back its credit, too, so what comes before the answer is chance. It is answered, and nothing is lost.
func TestDrainOfGoAMQP(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders})
	sub.Page.MayRepeat() // what it has not read when it leaves
	sub.Leave()
	h := s.Attach1By1(sub, nodes[1])
	drained(t, h)
	for round := range 20 {
		s.Publish(fmt.Sprint("shop", round), nodes[2], orders, actor.Load{Count: 3}).Wait()
		h.Take(1)
		if err := h.IssueCredit(10); err != nil {
			t.Fatal(err)
		}
		if err := h.DrainCredit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	h.Leave()
	sub.Attach(nodes[2])
	sub.CatchUp()
	s.End()
}

// A subscriber that wants its messages settled gets them so, and they are confirmed by being sent.
func TestPresettledSubscriber(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders})
	sub.Leave()
	s.Publish("shop", nodes[1], orders, actor.Load{Count: 10}).Wait()
	h := s.Attach1By1(sub, nodes[2], func(o *goamqp.ReceiverOptions) { o.RequestedSenderSettleMode = goamqp.SenderSettleModeSettled.Ptr() })
	for i := range 10 {
		wantMessage(t, h.Next(), fmt.Sprint("shop/", i), true, 0)
	}
	h.Leave()
	s.Eventually(func() bool { return s.MustShow(nodes[0], sub.Name()).Confirmed == 10 }, func() string { return "not all are confirmed" })
	s.End()
}

// The source's default outcome is what a lost connection means for what was not settled. Who was not named one has it released.
func TestDefaultOutcome(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	for _, test := range []struct {
		name    string
		outcome amqp.DeliveryState
		count   uint32
		comes   bool
	}{
		{"none", nil, 0, true},
		{"released", amqp.Released{}, 0, true},
		{"modified", amqp.Modified{}, 0, true},
		{"modified, failed", amqp.Modified{DeliveryFailed: true}, 1, true},
		{"accepted", amqp.Accepted{}, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			orders, container := s.Name("orders "+test.name), s.Name("client "+test.name)
			c := dialRaw(t, nodes[0], container)
			c.durable("billing", orders, 10, func(src *amqp.Source) { src.DefaultOutcome = test.outcome })
			c.wantAttached()
			publisher := "shop " + test.name
			s.Publish(publisher, nodes[1], orders, actor.Load{Count: 2}).Wait()
			c.take(publisher+"/0", publisher+"/1")
			c.conn.Abort()
			within(t, c.detached, "loss")

			c = dialRaw(t, nodes[2], container)
			c.durable("billing", orders, 10, nil)
			c.wantAttached()
			s.Publish(publisher, nodes[1], orders, actor.Load{Count: 1}).Wait()
			if test.comes {
				for _, m := range c.take(publisher+"/0", publisher+"/1") {
					if m.Header.FirstAcquirer || m.Header.DeliveryCount != test.count {
						t.Errorf("%v comes again with %+v", m.Properties.MessageID, *m.Header)
					}
				}
			}
			c.take(publisher + "#2/0")
		})
	}
}

func wantMessage(t *testing.T, m *goamqp.Message, id string, fresh bool, count uint32) {
	t.Helper()
	if m.Properties.MessageID != id || m.Header.FirstAcquirer != fresh || m.Header.DeliveryCount != count {
		t.Errorf("got %v with first-acquirer %t, delivery-count %d; want %s with %t, %d",
			m.Properties.MessageID, m.Header.FirstAcquirer, m.Header.DeliveryCount, id, fresh, count)
	}
}

// drained wants that there is nothing to be had.
func drained(t *testing.T, h *actor.Handheld) {
	t.Helper()
	if err := h.IssueCredit(1); err != nil {
		t.Fatal(err)
	}
	if err := h.DrainCredit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if m := h.Prefetched(); m != nil {
		t.Errorf("got %v, want nothing", m.Properties.MessageID)
	}
}
