package shard

import "github.com/posthouse/posthouse/storage"

// What commands and records have in common is declared where the records are.
type (
	Totals   = storage.Totals
	Limits   = storage.Limits
	Overflow = storage.Overflow
	Cause    = storage.Cause
	Reason   = storage.Reason
	Refusal  = storage.Refusal
)

// Overhead is what a message counts beyond its payload.
const Overhead = storage.Overhead

// Size is what one message with a payload of that many bytes adds to its topic's totals.
func Size(payload int) Totals { return Totals{Messages: 1, Bytes: storage.MessageBytes(payload)} }

const (
	DropOldest = storage.DropOldest
	DropNewest = storage.DropNewest
	Reject     = storage.Reject
	Suspend    = storage.Suspend

	CauseMessages   = storage.CauseMessages
	CauseBytes      = storage.CauseBytes
	CauseAge        = storage.CauseAge
	CauseInFlight   = storage.CauseInFlight
	CauseRejected   = storage.CauseRejected
	CauseExpired    = storage.CauseExpired
	CauseIsolated   = storage.CauseIsolated
	CauseLost       = storage.CauseLost
	CauseDeliveries = storage.CauseDeliveries
	CauseSuspended  = storage.CauseSuspended
	CauseBudget     = storage.CauseBudget
	CauseOperator   = storage.CauseOperator
	Causes          = storage.Causes

	ReasonVoid = storage.ReasonVoid
)

// Position is a place in a topic: after the message at Seq, with the totals up to and including it.
type Position struct {
	Seq    uint64
	Totals Totals
}

// behind says whether p can be a position of a topic at or behind q: a message between them has a seq of its own, and counts
// at least Overhead bytes. At the same number of messages everything is the same.
func (p Position) behind(q Position) bool {
	if p.Seq < q.Seq || !p.Totals.Holds(q.Totals) {
		return false
	}
	t := p.Totals.Sub(q.Totals)
	if t.Messages == 0 {
		return t.Bytes == 0
	}
	return t.Messages <= p.Seq-q.Seq && t.Bytes/Overhead >= t.Messages
}

// Range is the messages of a topic from From through Through, both included. Before are the topic's totals up to
// but not including From, At those up to and including Through: so the range says how many messages and bytes it
// holds, and two ranges touch if no message lies between them. From and Through need not be messages of the topic.
type Range struct {
	From    uint64
	Through uint64
	Before  Totals
	At      Totals
}

// begin and end are the positions before its first message and after its last. From is not zero.
func (r *Range) begin() Position { return Position{Seq: r.From - 1, Totals: r.Before} }
func (r *Range) end() Position   { return Position{Seq: r.Through, Totals: r.At} }

// Totals is what the range holds.
func (r Range) Totals() Totals { return r.At.Sub(r.Before) }

// Single is the range of one message: at seq, with the topic's totals up to and including it, and its payload's
// size.
func Single(seq uint64, at Totals, payload int) Range {
	return Range{From: seq, Through: seq, Before: at.Sub(Size(payload)), At: at}
}
