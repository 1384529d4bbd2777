package actor

import (
	"context"
	"slices"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/test/check"
	"github.com/posthouse/posthouse/test/proc"
)

// Handheld is a link on a subscriber's subscription that does only what it is told, message by message.
type Handheld struct {
	*goamqp.Receiver

	of      *Subscriber
	conn    *goamqp.Conn
	session *goamqp.Session
	number  int
}

// Attach1By1 attaches to a subscription whose subscriber has left. Credit is given as Next asks for messages.
func (s *Story) Attach1By1(b *Subscriber, n *proc.Node, options ...func(*goamqp.ReceiverOptions)) *Handheld {
	s.T.Helper()
	b.mu.Lock()
	b.links++
	l := &link{of: b, node: n, number: b.links}
	b.mu.Unlock()
	if err := l.open(append(slices.Clone(options), func(o *goamqp.ReceiverOptions) { o.Credit = -1 })...); err != nil {
		s.T.Fatalf("attach %s at node %s: %v", b.actor, n.Name, err)
	}
	b.toldBy(l.receiver.Properties())
	return &Handheld{Receiver: l.receiver, of: b, conn: l.conn, session: l.session, number: l.number}
}

// Next gives credit for one message and waits for it.
func (h *Handheld) Next() *goamqp.Message {
	h.of.story.T.Helper()
	if err := h.IssueCredit(1); err != nil {
		h.of.story.T.Fatalf("%s: credit: %v", h.of.actor, err)
	}
	ctx, cancel := soon()
	defer cancel()
	m, err := h.Receive(ctx, nil)
	if err != nil {
		h.of.story.T.Fatalf("%s: no message: %v", h.of.actor, err)
	}
	id, err := idOf(m)
	if err != nil {
		h.of.story.T.Errorf("%s: %v", h.of.actor, err)
	}
	h.of.Page.Received(check.Delivery{ID: id, Link: h.number, Count: m.Header.DeliveryCount, Again: !m.Header.FirstAcquirer})
	return m
}

// Take receives and accepts so many messages.
func (h *Handheld) Take(n int) {
	h.of.story.T.Helper()
	for range n {
		if err := h.AcceptMessage(context.Background(), h.Next()); err != nil {
			h.of.story.T.Fatalf("%s: accept: %v", h.of.actor, err)
		}
	}
}

// Leave ends the session and keeps the subscription.
func (h *Handheld) Leave() {
	ctx, cancel := soon()
	defer cancel()
	h.session.Close(ctx)
	h.conn.Close()
}
