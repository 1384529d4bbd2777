package router

import (
	"strings"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// clients handles the connections of clients. What a link is for is told by its data: a *publisher, a *consumer or
// a *durable.
type clients struct {
	endpoint.Unhandled
	router *Router
}

// Opened remembers the connection, so that it can be closed when the node stops.
func (h *clients) Opened(c *endpoint.Conn, _ *amqp.Open) { h.router.metrics.connections.Inc() }

// Closed forgets it.
func (h *clients) Closed(c *endpoint.Conn, err error) {
	if l, ok := c.Data().(*left); ok {
		l.later(ConnectionClose)
	}
	if c.Remote() != nil {
		h.router.metrics.connections.Dec()
	}
}

// Attached decides what a link is for.
func (h *clients) Attached(l endpoint.Link) {
	switch l := l.(type) {
	case *endpoint.Receiver:
		if err := h.attachPublisher(l); err != nil {
			l.Refuse(err)
		}
	case *endpoint.Sender:
		if err := h.attachSubscriber(l); err != nil {
			l.Refuse(err)
		}
	}
}

func (h *clients) attachPublisher(l *endpoint.Receiver) *amqp.Error {
	remote := l.Remote()
	switch {
	case remote.Coordinator != nil:
		return amqp.Errorf(amqp.ErrCondNotImplemented, "transactions are not supported")
	case remote.OtherTarget != nil:
		return amqp.Errorf(amqp.ErrCondNotImplemented, "targets of this type are not supported")
	case remote.Target == nil:
		return amqp.Errorf(amqp.ErrCondInvalidField, "the link has no target: name the address to publish to")
	case remote.Target.Dynamic:
		return amqp.Errorf(amqp.ErrCondNotImplemented, "dynamic targets are not supported")
	}
	name, err := checkAddress(remote.Target.Address)
	if err != nil {
		return err
	}
	p := &publisher{router: h.router, link: l, address: h.router.table.acquire(name)}
	l.SetData(p)
	answer := l.Answer()
	answer.OfferedCapabilities = offered(remote.DesiredCapabilities)
	h.router.publishers.add(p)
	p.resize() // before it has any credit
	if !l.Accept(answer, uint32(h.router.cfg.LinkCredit)) {
		h.router.publishers.remove(p)
		h.router.table.release(p.address)
		l.SetData(nil)
	}
	return nil
}

func (h *clients) attachSubscriber(l *endpoint.Sender) *amqp.Error {
	remote := l.Remote()
	source := remote.Source
	switch {
	case remote.OtherSource != nil:
		return amqp.Errorf(amqp.ErrCondNotImplemented, "sources of this type are not supported")
	case source == nil:
		newDurable(h.router, l, remote).begin() // look a subscription up, by the name of the link
		return nil
	case source.Dynamic:
		return amqp.Errorf(amqp.ErrCondNotImplemented, "dynamic sources are not supported")
	}
	if _, err := checkAddress(source.Address); err != nil {
		return err
	}
	if isDurable(remote) {
		newDurable(h.router, l, remote).begin()
		return nil
	}
	c := &consumer{outlet: outlet{router: h.router, sender: l, window: h.router.cfg.SubscriberWindow}, address: source.Address}
	c.mode = remote.SndSettleMode
	l.SetData(c)
	answer := l.Answer()
	answer.Source = directSource(source)
	answer.OfferedCapabilities = offered(remote.DesiredCapabilities)
	h.router.table.add(c.address, &c.outlet)
	if !l.Accept(answer) {
		h.router.table.remove(c.address, &c.outlet)
		l.SetData(nil)
		return nil
	}
	h.Credit(l) // a flow that came behind the attach was too early for us
	return nil
}

// isDurable tells whether the link asks for a subscription that outlives it. Clients say it in two ways, of which
// either counts: an expiry policy of never, or a durable terminus with a timeout; and by the name of one.
func isDurable(a *amqp.Attach) bool {
	s := a.Source
	if s.ExpiryPolicy == amqp.ExpireNever || s.Durable != amqp.DurabilityNone && s.Timeout > 0 {
		return true
	}
	_, named := a.Properties[PropSubscription]
	return named
}

// directSource is the source that a link really has that outlives nothing (2.6.3: the sending end says what is in
// force): no filters, since there are none yet, and no durability.
func directSource(wished *amqp.Source) *amqp.Source {
	s := *wished
	s.Filter, s.Durable = nil, amqp.DurabilityNone
	return &s
}

// checkAddress refuses names that can't be addresses.
func checkAddress(a string) (string, *amqp.Error) {
	switch {
	case a == "":
		return "", amqp.Errorf(amqp.ErrCondInvalidField, "the terminus has no address")
	case strings.HasPrefix(a, "$"):
		return "", amqp.Errorf(amqp.ErrCondNotFound, "%q: there is no such address for clients", a)
	case len(a) > maxAddress:
		return "", amqp.Errorf(amqp.ErrCondInvalidField, "the address has %d bytes; at most %d are taken", len(a), maxAddress)
	}
	return a, nil
}

const maxAddress = 1024

// offered is which of the desired capabilities of a link are there.
func offered(desired []amqp.Symbol) []amqp.Symbol {
	var have []amqp.Symbol
	for _, d := range desired {
		if d == "topic" {
			have = append(have, d)
		}
	}
	return have
}

// Delivered routes a message.
func (h *clients) Delivered(r *endpoint.Receiver, d *endpoint.Delivery) {
	if p, ok := r.Data().(*publisher); ok {
		h.router.metrics.published.Inc()
		p.delivered(d, r.Conn().Batch())
	}
}

// SenderState: a publisher that settles by itself, before we did, gets no answer; the message goes its way.
func (h *clients) SenderState(*endpoint.Receiver, endpoint.DeliveryRef, amqp.DeliveryState, bool) {}

// Outcome hands on what a subscriber made of a delivery.
func (h *clients) Outcome(s *endpoint.Sender, o *endpoint.Outcome) {
	switch l := s.Data().(type) {
	case *consumer:
		l.outcome(o, s.Conn().Batch())
	case *durable:
		l.outcome(o)
	}
}

// Credit sends what has waited for it.
func (h *clients) Credit(s *endpoint.Sender) {
	b := s.Conn().Batch()
	switch l := s.Data().(type) {
	case *consumer:
		l.credit(b)
		if s.Draining() {
			s.Drained(b)
		}
	case *durable:
		l.credit()
	}
}

// Detached cleans up after a link.
func (h *clients) Detached(l endpoint.Link, d endpoint.Detached) {
	b := l.Conn().Batch()
	switch x := l.Data().(type) {
	case *publisher:
		h.router.publishers.remove(x)
		x.detached(b)
	case *consumer:
		h.router.table.remove(x.address, &x.outlet)
		x.close(b)
	case *durable:
		x.detached(d)
	}
}

// Ended starts the time-outs of subscriptions that were left in the session.
func (h *clients) Ended(s *endpoint.Session, err *amqp.Error) {
	l, ok := s.Data().(*left)
	if !ok {
		return
	}
	l.later(SessionEnd)
	if all, ok := s.Conn().Data().(*left); ok {
		for key, sub := range l.subs {
			all.add(key, sub)
		}
	} else {
		s.Conn().SetData(l)
	}
}

// consumer is a client's link that receives direct messages.
type consumer struct {
	outlet
	address string
}
