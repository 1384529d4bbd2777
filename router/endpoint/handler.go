package endpoint

import "github.com/posthouse/posthouse/router/amqp"

// Handler is told what the peer does. Its methods are called on the reader goroutine of the connection, one at a time, in the order of
// the frames, with no lock held. While one runs, nothing more is read from this connection, so it must not wait for anything.
// It may call all methods of all connections, sessions and links.
//
// Embed [Unhandled] to implement only a part.
type Handler interface {
	// Opened: the peer's open is here. At an accepting side our open has not gone out yet: the handler may still change it with
	// Conn.Offer, or refuse with Conn.Close (open and close go out then). remote must not be changed.
	Opened(c *Conn, remote *amqp.Open)
	// Begun: the peer began a session (it is answered without asking), or answered Conn.Begin.
	Begun(s *Session)
	// Attached: the peer attached a link and waits for Accept or Refuse, which may come now or later from any goroutine
	// (Link.Pending tells); or the peer answered Session.NewSender or Session.NewReceiver with a terminus. An answer without terminus
	// is a refusal: there is no Attached then, but Detached with the peer's reason.
	Attached(l Link)
	// Delivered: a whole message came in. d is valid until the method returns; to keep the payload, retain d.Message. Unless
	// d.Settled, d.Ref must be given to Receiver.Settle some time, by whomever.
	Delivered(r *Receiver, d *Delivery)
	// SenderState: the sender of an incoming, unsettled delivery told its own state of it. If settled is true it has forgotten the
	// delivery and ref is void: that is the end of a delivery in mode ReceiverSecond, and in mode ReceiverFirst it means
	// that the sender gave it up before we settled it.
	SenderState(r *Receiver, ref DeliveryRef, state amqp.DeliveryState, settled bool)
	// Outcome: news of a delivery that went out unsettled. Each Send of an unsettled delivery that succeeded is followed by
	// exactly one Outcome with Final set, whatever happens to the link.
	Outcome(s *Sender, o *Outcome)
	// Credit: the peer's flow changed credit or asked to drain: Sender.Credit and Sender.Draining tell. Flows that came together
	// are told once.
	Credit(s *Sender)
	// Flowed: a sender's flow changed what it has available or carried properties: Receiver.Available, properties (nil if none).
	Flowed(r *Receiver, properties map[amqp.Symbol]any)
	// Drained: the peer has used up or given back all credit after Receiver.Drain.
	Drained(r *Receiver)
	// Detached: the link is gone for both sides of this session; exactly once for each link that was Attached, and for each that
	// Session.NewSender or NewReceiver made, whether the peer answered or not. Its methods do nothing any more, except that a peer's own detach is answered only after
	// this method returned, unless it called Link.HoldDetach. Final Outcomes have been told before.
	Detached(l Link, d Detached)
	// Ended: the session is gone; its links have been Detached before. err is the peer's reason, or ours if we ended it for a mistake of the
	// peer's; nil if there was none or the connection is gone (Closed has the reason then).
	Ended(s *Session, err *amqp.Error)
	// Closed: the last call. Sessions and links have been Ended and Detached before. err is what Run returns.
	Closed(c *Conn, err error)
}

// Detached says how a link came to its end.
type Detached struct {
	// Closed is the flag of the peer's detach.
	Closed bool
	// Err is the peer's reason; or ours, if Lost is set and a mistake of the peer's was the reason.
	Err *amqp.Error
	// Answer tells that the peer's detach followed one of ours: it is an echo, not a wish of the peer's.
	Answer bool
	// Lost tells that the peer never detached: its session or connection is gone, or we ended it for a mistake.
	Lost bool
}

// Unhandled is a Handler that refuses links, releases deliveries and otherwise does nothing.
type Unhandled struct{}

var _ Handler = Unhandled{}

// Opened does nothing.
func (Unhandled) Opened(*Conn, *amqp.Open) {}

// Begun does nothing.
func (Unhandled) Begun(*Session) {}

// Attached refuses the link if the peer asked for it.
func (Unhandled) Attached(l Link) {
	if l.Pending() {
		l.Refuse(amqp.Errorf(amqp.ErrCondNotImplemented, "no links here"))
	}
}

// Delivered releases the delivery.
func (Unhandled) Delivered(r *Receiver, d *Delivery) { r.Settle(d.Ref, amqp.Released{}, nil) }

// SenderState does nothing.
func (Unhandled) SenderState(*Receiver, DeliveryRef, amqp.DeliveryState, bool) {}

// Outcome does nothing.
func (Unhandled) Outcome(*Sender, *Outcome) {}

// Credit answers drain.
func (Unhandled) Credit(s *Sender) {
	if s.Draining() {
		s.Drained(nil)
	}
}

// Flowed does nothing.
func (Unhandled) Flowed(*Receiver, map[amqp.Symbol]any) {}

// Drained does nothing.
func (Unhandled) Drained(*Receiver) {}

// Detached does nothing.
func (Unhandled) Detached(Link, Detached) {}

// Ended does nothing.
func (Unhandled) Ended(*Session, *amqp.Error) {}

// Closed does nothing.
func (Unhandled) Closed(*Conn, error) {}
