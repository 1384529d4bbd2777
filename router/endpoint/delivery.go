package endpoint

import "github.com/posthouse/posthouse/router/amqp"

// Delivery is a message that came in on a Receiver, complete. It is valid only during Handler.Delivered: copy what must live on, and
// retain Message if its bytes must.
//
// (Deliveries are assembled before they are shown. Should parts be shown one day, that will be by a field here and a method of Receiver
// that asks for it; aborted deliveries, which are dropped unseen now, will then be told of too.)
type Delivery struct {
	// Ref stands for the delivery in Receiver.Settle. Void if Settled, and if the link is gone already.
	Ref DeliveryRef
	// Message is the payload. It belongs to the engine: the handler that keeps it calls Retain, and some time Release.
	Message *Message
	// Tag is the delivery-tag, a slice of memory that the engine will use again: copy it.
	Tag []byte
	// Format is the message-format.
	Format uint32
	// Settled tells that the sender wants no outcome.
	Settled bool
	// State is the sender's state of the delivery, usually nil.
	State amqp.DeliveryState
	// Batchable is the sender's hint that it is in no hurry.
	Batchable bool
}

// DeliveryRef stands for one unsettled incoming delivery. It is comparable; the zero value stands for none. One whose delivery is
// settled, or lost with its link, is void: using it does nothing.
type DeliveryRef struct {
	d   *inDelivery
	gen uint32
}

// SendRef stands for one outgoing delivery. It is comparable; the zero value stands for none. One whose delivery is finished is
// void: using it does nothing.
type SendRef struct {
	d   *outDelivery
	gen uint32
}

// Outgoing is a delivery to be sent. Its payload is Prefix followed by Tail.
type Outgoing struct {
	// Prefix comes first: sections that were written anew for this copy. It is copied; the caller may use it again at once.
	Prefix []byte
	// Tail is the rest. If Message is set, Tail is a slice of Message.Bytes, and Send retains the Message until the bytes are
	// written. If Message is nil, Tail is copied.
	Tail    []byte
	Message *Message
	// Tag is the delivery-tag: up to 32 bytes, copied, unique among the link's unsettled deliveries. nil: the engine makes one.
	Tag []byte
	// Format is the message-format.
	Format uint32
	// Settled sends it settled: there will be no Outcome. On a link that was attached in mode SenderSettled or SenderUnsettled,
	// the mode decides and not this field.
	Settled bool
	// HoldSettle leaves the settlement to the caller if the peer sends an outcome without settling (mode ReceiverSecond): the engine then
	// tells an Outcome that is not Final, and waits for Sender.Settle. Without it the engine settles at once.
	HoldSettle bool
	// State is the sender's state to go with the transfer; usually nil.
	State amqp.DeliveryState
	// Cookie comes back with each Outcome.
	Cookie any
}

// Outcome is news of a delivery that was sent unsettled. It is valid only during Handler.Outcome.
type Outcome struct {
	Ref    SendRef // void if Final
	Cookie any
	// State is what the peer says. nil with Final: the peer settled without saying, or the delivery was lost with its link (Lost).
	State amqp.DeliveryState
	// Final tells that the delivery is settled at both sides, or lost: there will be no more Outcomes of it.
	Final bool
	// Lost tells that link, session or connection went away before there was an outcome, or that Sender.Cancel took it back.
	Lost bool
	// Sent tells whether any part of the delivery was handed to the network. A lost delivery that was not Sent was never seen by
	// the peer.
	Sent bool
}
