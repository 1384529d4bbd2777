package amqp

// Role is the role of a link endpoint (2.8.1).
type Role bool

const (
	RoleSender   Role = false
	RoleReceiver Role = true
)

func (r Role) String() string {
	if r == RoleReceiver {
		return "receiver"
	}
	return "sender"
}

// SenderSettleMode is the settlement policy of a sender (2.8.2).
type SenderSettleMode uint8

const (
	SenderUnsettled SenderSettleMode = 0
	SenderSettled   SenderSettleMode = 1
	SenderMixed     SenderSettleMode = 2 // the default
)

// ReceiverSettleMode is the settlement policy of a receiver (2.8.3).
type ReceiverSettleMode uint8

const (
	ReceiverFirst  ReceiverSettleMode = 0 // the default
	ReceiverSecond ReceiverSettleMode = 1
)

// Durability says which state of a terminus is retained durably (3.5.5). Values that the specification does not define are carried.
type Durability uint32

const (
	DurabilityNone           Durability = 0
	DurabilityConfiguration  Durability = 1
	DurabilityUnsettledState Durability = 2
)

// ExpiryPolicy says when the expiry timer of a terminus starts (3.5.6).
type ExpiryPolicy Symbol

const (
	ExpireLinkDetach      ExpiryPolicy = "link-detach"
	ExpireSessionEnd      ExpiryPolicy = "session-end" // the default
	ExpireConnectionClose ExpiryPolicy = "connection-close"
	ExpireNever           ExpiryPolicy = "never"
)

// Distribution modes of a source (3.5.7).
const (
	DistributionMove Symbol = "move"
	DistributionCopy Symbol = "copy"
)

// Defaults that decoding applies.
const (
	DefaultMaxFrameSize uint32 = 4294967295
	DefaultChannelMax   uint16 = 65535
	DefaultHandleMax    uint32 = 4294967295
	DefaultPriority     uint8  = 4
)

// MinMaxFrameSize is the lower bound of the agreed maximum frame size, and the maximum size of a SASL frame (2.8, 5.3.1).
const MinMaxFrameSize = 512

// Ports assigned by IANA.
const (
	Port       = 5672
	SecurePort = 5671
)

// MaxDepth bounds how deep values may nest: lists, maps, arrays and described values inside each other. Deeper input is a
// decode error. Nothing known comes near: a filter inside an attach is at 5.
const MaxDepth = 32

// MaxTagSize and MaxTxnIDSize are the bounds of delivery-tags (2.8.7) and transaction ids (4.5.4).
const (
	MaxTagSize   = 32
	MaxTxnIDSize = 32
)
