package router

import (
	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// Store is what the router needs of a memory: "take this message and tell me when it is kept", "deliver from this
// subscription within this credit". No method blocks, and none calls back before it has returned, except where said.
type Store interface {
	// Admit says what is to be done with a publish to address now. It is called for each message.
	Admit(address string) Admission
	// Publish hands over a message that Admit said is Captured. Messages of one goroutine to one address are kept
	// in order. The receipt may be answered before Publish returns.
	Publish(p Publish)
	// OnChange sets the function that is called, from any goroutine, when Admit may answer differently than
	// before for addresses that it said Withhold for. Called once, before all else.
	OnChange(func())
	// Pressure says whether publishers to address are to have less credit. It is asked when a publisher attaches and after
	// OnPressure, not for each message: Admit refuses what is to be refused.
	Pressure(address string) Pressure
	// OnPressure sets the function that is called, from any goroutine, when Pressure may answer differently. Called once,
	// before all else.
	OnPressure(func())
	// Subscribe finds or makes a durable subscription and attaches to it.
	Subscribe(r SubscribeRequest, c Consumer) Subscription
}

// AdmissionKind is what is to be done with a publish.
type AdmissionKind uint8

const (
	Direct   AdmissionKind = iota // no durable subscription needs it
	Captured                      // give it to Publish
	Withhold                      // not now: keep it waiting and give no credit until OnChange
	Refuse                        // refuse it to its publisher, and give it to nobody
)

// Admission is the answer of Store.Admit.
type Admission struct {
	Kind AdmissionKind
	Err  *amqp.Error // of Refuse
}

// Publish is a message for the store.
type Publish struct {
	Address string
	// Payload is the message as it came, without delivery annotations. It belongs to the store until the receipt is
	// answered, and must not be changed.
	Payload []byte
	Settled bool // the publisher wants no answer; the receipt is answered all the same
	Receipt Receipt
}

// Receipt is told once what became of a message, from any goroutine.
type Receipt interface{ Answered(Answer) }

// AnswerKind is what became of a message given to the store.
type AnswerKind uint8

const (
	Kept    AnswerKind = iota // on a majority of disks
	NoView                    // no subscription wants it: what direct subscribers say counts
	Refused                   // it is not kept, and never will be
	Unknown                   // it may be kept or not
)

// Answer is what became of a message given to the store.
type Answer struct {
	Kind AnswerKind
	Err  *amqp.Error // of Refused
}

// SubscribeRequest is what a link says about the durable subscription that it wants.
type SubscribeRequest struct {
	Owner       string // the authenticated user
	ContainerID string
	LinkName    string
	// Lookup: the source was null. Find the subscription, don't make one.
	Lookup     bool
	Source     *amqp.Source // nil with Lookup
	Properties map[amqp.Symbol]any
	// Capabilities are the source capabilities desired by a Lookup (`shared`, `global`).
	Capabilities []amqp.Symbol
}

// Handle stands for one delivery of a subscription.
type Handle struct {
	Shard uint32
	Seq   uint64
	Count uint32 // failed deliveries before
}

// Stored is a message from the store.
type Stored struct {
	Handle  Handle
	Address string
	Payload []byte // not to be changed
	// Lent is told when the payload is out of the router's memory.
	Lent endpoint.Releaser
	// Redelivered: it may have been delivered before (header.first-acquirer=false).
	Redelivered bool
	Gap         *Gap
}

// Gap is what a subscription gave up to its limits and its subscriber has not confirmed to know.
type Gap struct {
	Address  string
	Shard    uint32
	Messages uint64
	Causes   map[string]uint64 // messages by cause
	Unknown  uint64            // routers that were cut off and have not said how much they let past the subscription
	Ranges   []GapRange        // at most 16
}

// GapRange is a part of a gap.
type GapRange struct {
	From, Through uint64 // positions in the shard
	Messages      uint64
	Cause         string
}

// SubscriptionInfo is what is really in force.
type SubscriptionInfo struct {
	Name       string
	Source     amqp.Source         // for the attach answer
	Properties map[amqp.Symbol]any // limits, for the attach answer's properties
}

// SubscriptionState is told to clients in flow properties.
type SubscriptionState struct {
	Backlog    uint64 // messages
	Properties map[amqp.Symbol]any
}

// Consumer is the link of a durable subscription. Its methods are called one at a time and in order, never from
// within a call of the Subscription's, and must not block.
type Consumer interface {
	Attached(SubscriptionInfo)
	// Refused: there is no subscription, for this reason. Nothing more is called.
	Refused(*amqp.Error)
	Deliver(Stored)
	// Settled: the outcomes of these deliveries are committed.
	Settled([]Handle)
	// Drained: nothing more comes of the credit given with drain.
	Drained()
	State(SubscriptionState)
	// Ended: the subscription is somebody else's now, or gone. Nothing more is called.
	Ended(*amqp.Error)
}

// Subscription is a link's hold on a durable subscription.
type Subscription interface {
	// Credit says how many deliveries more the link took, when it had seen so many, and whether what can't be used
	// at once is to be given back (Drained).
	Credit(seen uint64, n uint32, drain bool)
	// Outcome says what the client made of a delivery. nil is its source's default outcome.
	Outcome(h Handle, state amqp.DeliveryState)
	// Detach ends the hold. done is called once, when the outcomes before it are committed (and the subscription is
	// removed, if that is what the ending means), or after a while; its error is why it could not be removed.
	Detach(e Ending, done func(*amqp.Error))
	// Later says that the session or connection of a detached link has ended, too.
	Later(e Event)
}

// Ending says how a link has ended.
type Ending struct {
	// Closed: the peer's detach had closed=true.
	Closed bool
	// Mistaken: it carried an error, or answered a detach of ours, or the link was lost. Then Closed doesn't count.
	Mistaken bool
	Event    Event
}

// Event is what ended a link, in the order of the terminus expiry policies (3.5.6).
type Event uint8

const (
	LinkDetach Event = iota + 1
	SessionEnd
	ConnectionClose
)

// NoStore is a Store for routers without one: everything is direct, and durable subscriptions are refused.
type NoStore struct{}

// Admit says Direct.
func (NoStore) Admit(string) Admission { return Admission{} }

// Publish is never called.
func (NoStore) Publish(p Publish) { p.Receipt.Answered(Answer{Kind: NoView}) }

// OnChange does nothing.
func (NoStore) OnChange(func()) {}

// Pressure is none.
func (NoStore) Pressure(string) Pressure { return Pressure{} }

// OnPressure does nothing.
func (NoStore) OnPressure(func()) {}

// Subscribe refuses.
func (NoStore) Subscribe(_ SubscribeRequest, c Consumer) Subscription {
	go c.Refused(amqp.Errorf(amqp.ErrCondNotImplemented, "no waypoint can be reached from this router: durable subscriptions need one"))
	return noSubscription{}
}

type noSubscription struct{}

func (noSubscription) Credit(uint64, uint32, bool)          {}
func (noSubscription) Outcome(Handle, amqp.DeliveryState)   {}
func (noSubscription) Detach(_ Ending, f func(*amqp.Error)) { f(nil) }
func (noSubscription) Later(Event)                          {}
