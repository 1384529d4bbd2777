package durable

import (
	"context"
	"errors"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// What Qpid JMS does: a durable subscriber leaves by a detach that does not close; unsubscribing is an attach by name, with a null
// source, that is closed. Each may come to another node.
func TestLookupAndUnsubscribeAsJMSDoes(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders, container := s.Name("orders"), s.Name("client")
	name := container + "/billing"

	c := dialRaw(t, nodes[0], container)
	c.lookup("billing")
	c.wantRefused(amqp.ErrCondNotFound)
	l := c.durable("billing", orders, 10, func(src *amqp.Source) {
		src.DistributionMode = "copy"
		src.DefaultOutcome = amqp.Modified{DeliveryFailed: true}
		src.Outcomes = []amqp.Symbol{amqp.OutcomeAccepted, amqp.OutcomeRejected, amqp.OutcomeReleased, amqp.OutcomeModified}
		src.Capabilities = []amqp.Symbol{"topic"}
	})
	answer := c.wantAttached()
	wantSource(t, answer.Source, orders)
	if answer.Source.DistributionMode != "copy" {
		t.Errorf("distribution-mode %q", answer.Source.DistributionMode)
	}

	s.Publish("shop", nodes[1], orders, actor.Load{Count: 5}).Wait()
	messages := c.take("shop/0", "shop/1", "shop/2", "shop/3", "shop/4")
	for _, m := range messages[:3] {
		l.Settle(m.ref, amqp.Accepted{}, nil)
	}
	c.detach(l, false, nil)
	wantFigures(t, s.MustShow(nodes[2], name), 5, 3, 0, 2, nil) // the answer to the detach comes when outcomes before it are committed

	s.Step("it comes back at another node: what it had not settled comes again, failed once")
	c = dialRaw(t, nodes[2], container)
	l = c.durable("billing", orders, 10, nil)
	c.wantAttached()
	for _, m := range c.take("shop/3", "shop/4") {
		if m.Header.FirstAcquirer || m.Header.DeliveryCount != 1 {
			t.Errorf("%v comes again with %+v", m.Properties.MessageID, *m.Header)
		}
	}
	c.detach(l, false, nil)

	s.Step("it is looked up at a third node, and removed")
	c = dialRaw(t, nodes[1], container)
	l = c.lookup("billing")
	wantSource(t, c.wantAttached().Source, orders)
	c.detach(l, true, nil)
	wantGone(s, name)
	c.lookup("billing")
	c.wantRefused(amqp.ErrCondNotFound)
}

// A lookup that leaves without closing removes nothing.
func TestLookupAlone(t *testing.T) {
	s := begin(t)
	name := s.Create(s.Cluster.Nodes[0], s.Name("billing"), s.Name("orders"), api.Limits{}).Name
	c := dialRaw(t, s.Cluster.Nodes[1], s.Name("client"))
	l := c.attach(amqp.Attach{Name: "any", Target: &amqp.Target{}, Properties: map[amqp.Symbol]any{client.PropSubscription: name}}, 0)
	c.wantAttached()
	c.detach(l, false, nil)
	s.MustShow(s.Cluster.Nodes[2], name)
}

// How a link ends decides whether the subscription does: closed=true removes it, unless it is a mistake's, or the subscriber has
// said that its closing is a leaving.
func TestHowALinkEnds(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	for _, test := range []struct {
		name  string
		keeps bool
		end   func(*raw, *endpoint.Receiver)
		on    string
	}{
		{"detach", true, func(c *raw, l *endpoint.Receiver) { c.detach(l, false, nil) }, ""},
		{"close", false, func(c *raw, l *endpoint.Receiver) { c.detach(l, true, nil) }, ""},
		{"close with an error", true, func(c *raw, l *endpoint.Receiver) { c.detach(l, true, amqp.Errorf(amqp.ErrCondInternalError, "crash")) }, ""},
		{"close, on-close=keep", true, func(c *raw, l *endpoint.Receiver) { c.detach(l, true, nil) }, "keep"},
		{"close, on-close=remove", false, func(c *raw, l *endpoint.Receiver) { c.detach(l, true, nil) }, "remove"},
		{"end of the session", true, func(c *raw, l *endpoint.Receiver) { c.session.End(nil); within(t, c.detached, "end") }, ""},
		{"close of the connection", true, func(c *raw, l *endpoint.Receiver) { c.conn.Close(nil); within(t, c.detached, "close") }, ""},
		{"loss of the connection", true, func(c *raw, l *endpoint.Receiver) { c.conn.Abort(); within(t, c.detached, "loss") }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			orders, container := s.Name("orders"), s.Name("client "+test.name)
			c := dialRaw(t, nodes[0], container)
			a := amqp.Attach{Name: "billing", Source: &amqp.Source{Address: orders, Durable: amqp.DurabilityConfiguration, ExpiryPolicy: amqp.ExpireNever}, Target: &amqp.Target{}}
			if test.on != "" {
				a.Properties = map[amqp.Symbol]any{client.PropOnClose: test.on}
			}
			l := c.attach(a, 10)
			c.wantAttached()
			test.end(c, l)
			if !test.keeps {
				wantGone(s, container+"/billing")
				return
			}
			// It goes on capturing.
			before := s.MustShow(nodes[1], container+"/billing").Captured
			s.Publish("after "+test.name, nodes[1], orders, actor.Load{Count: 3}).Wait()
			if show := s.MustShow(nodes[2], container+"/billing"); show.Captured != before+3 {
				t.Errorf("%d messages captured, want %d", show.Captured, before+3)
			}
		})
	}
}

// A timeout on a subscription that does not live for ever: it goes when that has passed after the event it is to be counted from.
func TestExpiry(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	for _, test := range []struct {
		policy amqp.ExpiryPolicy
		end    func(*raw, *endpoint.Receiver)
	}{
		{amqp.ExpireLinkDetach, func(c *raw, l *endpoint.Receiver) { c.detach(l, false, nil) }},
		{amqp.ExpireSessionEnd, func(c *raw, l *endpoint.Receiver) { c.detach(l, false, nil); c.session.End(nil) }},
		{amqp.ExpireConnectionClose, func(c *raw, l *endpoint.Receiver) {
			c.session.End(nil)
			within(t, c.detached, "end")
			c.conn.Close(nil)
		}},
	} {
		t.Run(string(test.policy), func(t *testing.T) {
			container := s.Name("client " + string(test.policy))
			c := dialRaw(t, nodes[0], container)
			l := c.durable("billing", s.Name("orders"), 10, func(src *amqp.Source) { src.ExpiryPolicy, src.Timeout = test.policy, 1 })
			if src := c.wantAttached().Source; src.ExpiryPolicy != test.policy || src.Timeout != 1 {
				t.Errorf("attached with %+v", src)
			}
			s.MustShow(nodes[1], container+"/billing")
			test.end(c, l)
			wantGone(s, container+"/billing")
		})
	}
}

// A second link takes over at once, wherever it is: the first is told amqp:link:stolen. What the first held comes first, in
// order, and says that it is seen again.
func TestTakeover(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, Hold: 50, Credit: 100})
	sub.Page.MayRepeat()
	pub := s.Publish("shop", nodes[1], orders, actor.Load{Window: 100, Every: 200 * time.Microsecond})
	for i := range 6 {
		sub.More(100)
		s.Step("taken over by node %s", nodes[(i+1)%3].Name)
		sub.Attach(nodes[(i+1)%3])
	}
	sub.More(100)
	pub.Stop()
	sub.CatchUp()
	s.End()
}

// Another user with the same names gets neither the subscription nor its backlog.
func TestOwner(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	alice, bob := actor.User{Name: "alice", Password: "secret-a"}, actor.User{Name: "bob", Password: "secret-b"}
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, User: alice})
	if show := s.MustShow(nodes[1], sub.Name()); show.Owner != "alice" {
		t.Errorf("owner %q", show.Owner)
	}
	for _, u := range []actor.User{bob, {}} {
		wantAttachError(t, nodes[2], u, sub.Name(), orders, goamqp.ErrCondUnauthorizedAccess)
	}
	if _, err := actor.Dial(nodes[0], "", actor.User{Name: "alice", Password: "secret-b"}); err == nil {
		t.Error("logged in with another's password")
	}
	s.Publish("shop", nodes[1], orders, actor.Load{Count: 10}).Wait()
	sub.CatchUp() // its link was not touched
	s.End()
}

func wantAttachError(t *testing.T, n *proc.Node, u actor.User, name, address string, condition goamqp.ErrCond) {
	t.Helper()
	conn, err := actor.Dial(n, "", u)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), actor.Patience)
	defer cancel()
	_, err = client.Subscribe(ctx, conn, client.Subscription{Address: address, Durable: name})
	var e *goamqp.Error
	var l *goamqp.LinkError
	if errors.As(err, &l) {
		e = l.RemoteErr
	} else {
		errors.As(err, &e)
	}
	if e == nil || e.Condition != condition {
		t.Errorf("user %q attaches: %v, want %s", u.Name, err, condition)
	}
}

func wantSource(t *testing.T, src *amqp.Source, address string) {
	t.Helper()
	if src == nil || src.Address != address || src.Durable != amqp.DurabilityUnsettledState || src.ExpiryPolicy != amqp.ExpireNever {
		t.Errorf("attached with source %+v", src)
	}
}

// wantGone waits until all nodes say that there is no such subscription.
func wantGone(s *actor.Story, name string) {
	s.T.Helper()
	for _, n := range s.Cluster.Nodes {
		s.Eventually(func() bool {
			_, err := s.Show(n, name)
			var e *api.Error
			return errors.As(err, &e) && e.Condition == string(goamqp.ErrCondNotFound)
		}, func() string { return "subscription " + name + " is still there" })
	}
}
