package agent

import (
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// SubscribeRequest is the attach of a durable link, or of one that looks a subscription up.
type SubscribeRequest struct {
	Owner       string // the authenticated user
	ContainerID string
	LinkName    string
	Name        string // of the subscription; default: the link property posthouse:subscription, if there is one
	Address     string // of the source
	Lookup      bool   // a null source: find the subscription, take nothing from it
	Source      amqp.Source
	Properties  map[amqp.Symbol]any // of the attach

	SndSettleMode amqp.SenderSettleMode
	RcvSettleMode amqp.ReceiverSettleMode
}

// Consumer is a subscriber's link. Calls come one after the other, on a goroutine of the agent, under none of its locks, and must not
// block. None comes after Refused or Ended, and none after Subscription.Detach but one that was on its way.
type Consumer interface {
	// Attached is the first call if the attach succeeds.
	Attached(SubscriptionInfo)
	// Refused is the only one if it does not.
	Refused(*amqp.Error)
	// Deliver brings a message, within the credit that was set last; calls may be on their way while credit is taken back. Its Release must be
	// called.
	Deliver(Stored)
	// Settled tells that the outcomes of these deliveries are committed.
	Settled([]Handle)
	// Drained answers Credit with drain: the credit that is left is used up. It may cross with credit that is set just then without drain; that
	// one holds.
	Drained()
	// State tells that backlog, gaps or limits have changed.
	State(SubscriptionState)
	// Ended: the link is over. amqp:link:stolen if another took its place, amqp:resource-deleted if the subscription is gone.
	Ended(*amqp.Error)
}

// Handle names a delivery.
type Handle struct {
	Shard uint32
	Seq   uint64
	Count uint32
}

// Stored is a delivery from a subscription.
type Stored struct {
	Handle        Handle
	Address       string
	Payload       []byte // the encoded message, as it was published; the consumer's
	DeliveryCount uint32 // failed attempts before
	FirstAcquirer bool   // nobody can have seen it before
	Gap           *Gap   // given up before this delivery and not told yet
	Time          time.Time

	delivery *delivery
}

// Release tells that the payload is out of the router's memory. Until then it counts against what the subscription may have there; settling
// or detaching releases it, too. It may be called on any goroutine, again, and from inside Deliver.
func (s Stored) Release() {
	if s.delivery != nil {
		s.delivery.sub.release(s.delivery)
	}
}

// Gap is what a subscription has given up since it was told last. Of the cause `isolated` it is what routers that were cut off
// have let past it at most, and Unknown how many of them have not said yet how much.
type Gap struct {
	Messages uint64
	Causes   map[string]uint64
	Unknown  uint64
	Ranges   []GapRange // the newest, if there are many
	Address  string
	Shard    uint32
}

// GapRange is a range of positions.
type GapRange struct {
	From, Through uint64
	Messages      uint64
	Cause         string
}

// Limits of a subscription. 0: none (the operator took it away).
type Limits struct {
	MaxMessages uint64
	MaxBytes    uint64
	MaxAge      time.Duration
	MaxInFlight uint64
	Overflow    string
}

// SubscriptionInfo is what the attach's answer says.
type SubscriptionInfo struct {
	Name    string // what log, metrics and the CLI call it
	Source  amqp.Source
	Limits  Limits
	State   SubscriptionState
	Created bool
	// Properties are for the attach's answer: some clients can't read anything else.
	Properties map[amqp.Symbol]any
}

// SubscriptionState is a subscription's backlog.
type SubscriptionState struct {
	Messages, Bytes uint64        // the backlog
	Oldest          time.Duration // age of its oldest message
	GapMessages     uint64        // given up and not heard of yet
	GapTotal        uint64        // given up ever
	Isolated        uint64        // of GapTotal: let past it by routers that were cut off, at most
	IsolatedUnknown uint64        // routers that have not said yet how much
	Limits          Limits
}

// Ending says how a link ended, for Subscription.Detach.
type Ending struct {
	// Closed: the peer's detach had closed=true.
	Closed bool
	// Mistaken: it carried an error, or answered a detach of ours, or the link was lost. Then Closed doesn't count.
	Mistaken bool
	// Event is what ended it. Default: ConnectionClose.
	Event Event
}

// Event is what ended a link, in the order of the terminus expiry policies (3.5.6).
type Event uint8

const (
	LinkDetach Event = iota + 1
	SessionEnd
	ConnectionClose
)
