package peer

import "strconv"

// Attach joins a subscription to this router's link (agent to leader). A generation is attached at most once in a session.
type Attach struct {
	Sub  uint64 // the subscription's id
	Gen  uint64 // the link's generation, given by meta; a shard takes only the highest it has seen
	Name string // for log and `show`: what the link belongs to
	// Credit is how many deliveries may be made in this session, as Credit.Limit. What is held does not count.
	Credit uint64
	Drain  bool
	Held   []Held // deliveries of this generation that are not settled: they count as in flight
}

// Held is a delivery that a router holds.
type Held struct {
	Seq        uint64
	Count      uint32
	GapVersion uint64
}

// Attached answers Attach (leader to agent). Deliveries follow it.
type Attached struct {
	Sub, Gen uint64
	State    SubState
}

// SubState is what a subscriber is told about its subscription.
type SubState struct {
	Messages, Bytes uint64 // the backlog
	OldestMS        uint64 // age of the oldest message of it
	GapVersion      uint64
	GapMessages     uint64 // given up and not heard of yet
	GapTotal        uint64 // given up ever
	Limits          Limits
}

// State tells a subscription's state when it has changed (leader to agent).
type State struct {
	Sub, Gen uint64
	State    SubState
}

// Credit sets how many deliveries may be made (agent to leader). Limit counts deliveries since the Attach of this session; it
// may go down, then what is under way is simply too much. Drain: use the credit up or tell Drained.
type Credit struct {
	Sub, Gen uint64
	Limit    uint64
	Drain    bool
}

// Drained tells that there is nothing more to deliver for a Credit with Drain: the credit up to Limit is used (leader to agent).
// The limit stays: no delivery follows before a Credit with a higher one.
type Drained struct {
	Sub, Gen uint64
	Limit    uint64
}

// Deliver is one delivery (leader to agent).
type Deliver struct {
	Sub, Gen    uint64
	Seq         uint64
	Count       uint32 // failed attempts before this one
	Redelivered bool   // it may have been seen before: first-acquirer=false
	Time        int64  // when it was kept, Unix milliseconds
	Gap         *Gap   // what was given up and not heard of yet, if that has grown since it was last told
	Address     string
	Payload     []byte
}

// Cause says why messages were given up.
type Cause uint8

// Causes. Numbers are part of the format.
const (
	CauseMessages Cause = 1 // max-messages
	CauseBytes    Cause = 2 // max-bytes
	CauseAge      Cause = 3 // max-age
	CauseInFlight Cause = 4 // a limit, while it was in flight
	CauseRejected Cause = 5 // by its subscriber
	CauseExpired  Cause = 6 // its own time to live
	CauseIsolated Cause = 7 // let through by a router that was cut off
	CauseLost     Cause = 8
)

var causeNames = [...]string{"", "max-messages", "max-bytes", "max-age", "limit-in-flight", "rejected", "expired", "isolated", "lost"}

func (c Cause) String() string {
	if int(c) < len(causeNames) && c != 0 {
		return causeNames[c]
	}
	return "cause-" + strconv.Itoa(int(c))
}

// MaxGapRanges bounds the ranges that a Gap lists.
const MaxGapRanges = 16

// Gap is what a subscription gave up and has not told yet.
type Gap struct {
	Version  uint64 // the entry that last grew it
	Messages uint64
	Causes   []GapCause
	Ranges   []GapRange // at most MaxGapRanges, the newest
}

// GapCause counts the messages given up for one cause.
type GapCause struct {
	Cause    Cause
	Messages uint64
}

// GapRange is a range of positions given up.
type GapRange struct {
	From, Through uint64
	Messages      uint64
	Cause         Cause
}

// OutcomeState is the state that a delivery ended in.
type OutcomeState uint8

// States. Numbers are part of the format.
const (
	Accepted OutcomeState = 1
	Released OutcomeState = 2
	Modified OutcomeState = 3
	Rejected OutcomeState = 4
)

func (s OutcomeState) String() string {
	switch s {
	case Accepted:
		return "accepted"
	case Released:
		return "released"
	case Modified:
		return "modified"
	case Rejected:
		return "rejected"
	}
	return "outcome-" + strconv.Itoa(int(s))
}

// Flags of a modified outcome.
const (
	FlagFailed        uint8 = 1 // delivery-failed: the attempt counts
	FlagUndeliverable uint8 = 2 // undeliverable-here: not to this link again
)

// Outcome tells how deliveries ended (agent to leader). It is answered by Committed, also if the delivery is no longer there.
type Outcome struct {
	Sub, Gen uint64
	Items    []OutcomeItem
}

// OutcomeItem is the outcome of one delivery.
type OutcomeItem struct {
	Seq        uint64
	Count      uint32 // as delivered: an outcome for a count already passed is answered and ignored
	GapVersion uint64 // of the gap that came with the delivery, 0 if none: confirming it confirms that gap as heard
	State      OutcomeState
	Flags      uint8
	Extra      []byte // the outcome as it came, encoded, if it says more than State and Flags; at most MaxExtra
}

// MaxExtra bounds OutcomeItem.Extra.
const MaxExtra = 4 << 10

// Committed tells that outcomes are in the shard's state (leader to agent).
type Committed struct {
	Sub, Gen uint64
	Items    []Settled
}

// Settled names a delivery.
type Settled struct {
	Seq   uint64
	Count uint32
}

// Leave ends the link, not the subscription (agent to leader). Left answers when the outcomes before it are committed; what is still unsettled
// goes back to its place.
type (
	Leave struct{ Sub, Gen uint64 }
	Left  struct{ Sub, Gen uint64 }
)

// Ended tells that this generation is over: another took its place, or the subscription is gone (leader to agent). It also answers
// an Attach that is refused.
type Ended struct {
	Sub, Gen  uint64
	Condition string // AMQP error condition: amqp:link:stolen, amqp:resource-deleted, ...
	Text      string
}

// Window sets how many bytes of delivered payloads this router takes in this session, counted from its beginning (agent to
// leader). A delivery may pass it once; none follows until it is raised. A session begins with none.
type Window struct {
	Bytes uint64
}
