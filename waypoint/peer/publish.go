package peer

import "strconv"

// Publish hands messages to a shard, in the order of their numbers (agent to leader). Numbers are those of the session's lane,
// without holes.
type Publish struct {
	Items []PublishItem
}

// PublishItem is one numbered message.
type PublishItem struct {
	N uint64
	// Void: its publisher has been told that the outcome is unknown. If N is not in the shard's state yet it counts as refused and is not
	// kept. Address and Payload are empty.
	Void    bool
	Address string
	Payload []byte // the encoded AMQP message
}

// Answers says what became of all publishes of the lane up to and including Through that were not answered yet: kept, but
// for the ones listed (leader to agent).
type Answers struct {
	Through uint64
	Except  []Exception
}

// Exception is the answer to a publish that was not kept. One without a Refusal was wanted by no subscription.
type Exception struct {
	N       uint64
	Refusal *Refusal
}

// NoView tells that no subscription wanted the message: the rule for direct messages applies.
func (e Exception) NoView() bool { return e.Refusal == nil }

// RefusedPublish is a refused number of a lane.
type RefusedPublish struct {
	N       uint64
	Refusal Refusal
}

// Reason says why a publish was refused.
type Reason uint8

// Reasons. Numbers are part of the format.
const (
	ReasonLimit      Reason = 1 // a subscription with overflow `reject` is at its limit
	ReasonNoMajority Reason = 2
	ReasonDisk       Reason = 3
	ReasonMemory     Reason = 4
	ReasonVoid       Reason = 5 // the router gave it up before it was in
	ReasonSize       Reason = 6
	ReasonRights     Reason = 7
	ReasonIsolated   Reason = 8
	ReasonTooLong    Reason = 9 // the router's queue to the shard is full
)

var reasonNames = [...]string{"", "limit", "no-majority", "disk", "memory", "void", "size", "rights", "isolated", "queue-full"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) && r != 0 {
		return reasonNames[r]
	}
	return "reason-" + strconv.Itoa(int(r))
}

// Refusal says why a publish was refused and who is to blame.
type Refusal struct {
	Condition    string // AMQP error condition
	Subscription string // the name of the subscription that is at its limit, if one is
	Reason       Reason
	Limit, Used  uint64
	RetryAfterMS uint32
}

// AckRefusals tells the shard that the router knows all refusals up to and including Through (agent to leader).
type AckRefusals struct {
	Through uint64
}

// Topics tells which addresses refuse publishes now, as a change to what was said before in this session; a session
// begins with none (leader to agent).
type Topics struct {
	Refusing []TopicRefusal
	Cleared  []string
	// Pressure is what all topics of the shard are under now: not a change, but how it is.
	Pressure Pressure
}

// TopicRefusal is an address at which a limit refuses.
type TopicRefusal struct {
	Address string
	Refusal Refusal
}

// Forgotten tells that the session's lane is no longer known: what is unanswered in it is unknown (leader to agent). It may
// come instead of Welcome. It ends the session; the agent opens the next one without a lane.
type Forgotten struct{}
