package storage

import (
	"fmt"
	"time"
)

// Overhead is what a message counts beyond its payload: roughly what its key and record take. It is part of
// the meaning of every total that is kept, and never changes.
const Overhead = 64

// MessageBytes is what a message with a payload of that many bytes counts towards every total and limit.
func MessageBytes(payload int) uint64 { return uint64(payload) + Overhead }

// Totals counts messages, and their bytes as MessageBytes says. A topic's totals only grow, so what lies
// between two positions is the difference of their totals.
type Totals struct {
	Messages uint64
	Bytes    uint64
}

// Add returns t + u.
func (t Totals) Add(u Totals) Totals {
	return Totals{t.Messages + u.Messages, t.Bytes + u.Bytes}
}

// Sub returns t - u. The caller knows that u is not beyond t (Holds).
func (t Totals) Sub(u Totals) Totals {
	return Totals{t.Messages - u.Messages, t.Bytes - u.Bytes}
}

// Holds says whether u is not beyond t, and so may be subtracted.
func (t Totals) Holds(u Totals) bool { return u.Messages <= t.Messages && u.Bytes <= t.Bytes }

func (t Totals) String() string { return fmt.Sprintf("%d/%dB", t.Messages, t.Bytes) }

// Overflow says what happens to a cursor that is at its limits.
type Overflow uint8

// Overflows. Numbers are part of the format.
const (
	DropOldest Overflow = 0
	DropNewest Overflow = 1
	Reject     Overflow = 2
	Suspend    Overflow = 3
)

var overflowNames = [...]string{"drop-oldest", "drop-newest", "reject", "suspend"}

func (o Overflow) String() string {
	if int(o) < len(overflowNames) {
		return overflowNames[o]
	}
	return fmt.Sprintf("overflow-%d", uint8(o))
}

// Limits bounds a subscription's backlog. Zero means no bound.
type Limits struct {
	MaxMessages   uint64
	MaxBytes      uint64
	MaxAge        time.Duration
	MaxDeliveries uint32
	MaxInFlight   uint32
	AckTimeout    time.Duration
	ExpiresAfter  time.Duration // idle without a link
	Overflow      Overflow
}

// Cause says why messages were given up. Zero is not a cause: it marks what was confirmed.
type Cause uint8

// Causes. Numbers are part of the format.
const (
	CauseMessages   Cause = 1  // max-messages
	CauseBytes      Cause = 2  // max-bytes
	CauseAge        Cause = 3  // max-age
	CauseInFlight   Cause = 4  // a limit, while it was in flight: it may have been processed
	CauseRejected   Cause = 5  // by its subscriber, who therefore needs not be told
	CauseExpired    Cause = 6  // its own time to live
	CauseIsolated   Cause = 7  // let through by a router that was cut off
	CauseLost       Cause = 8  // storage no longer has it
	CauseDeliveries Cause = 9  // max-deliveries
	CauseSuspended  Cause = 10 // overflow `suspend`
	CauseBudget     Cause = 11 // this shard's part of a limit that spans shards
	CauseOperator   Cause = 12 // thrown away on request

	// Causes is one more than the highest cause.
	Causes = 13
)

var causeNames = [Causes]string{"confirmed", "max-messages", "max-bytes", "max-age", "limit-in-flight", "rejected",
	"expired", "isolated", "lost", "max-deliveries", "suspended", "budget", "operator"}

func (c Cause) String() string {
	if c < Causes {
		return causeNames[c]
	}
	return fmt.Sprintf("cause-%d", uint8(c))
}

// Told says whether what was given up for this cause is a gap that the subscriber must hear of.
func (c Cause) Told() bool { return c != CauseRejected }

// Reason says why a publish was refused. The state machine itself gives only ReasonVoid; the others are its
// user's.
type Reason uint8

// ReasonVoid refuses a number that its router gave up before it was in.
const ReasonVoid Reason = 5

// Refusal is the answer to a publish that was refused.
type Refusal struct {
	Condition    string // AMQP error condition
	Subscription string // the name of the subscription that is at its limit, if one is
	Reason       Reason
	Limit        uint64
	Used         uint64
	RetryAfterMS uint32
}
