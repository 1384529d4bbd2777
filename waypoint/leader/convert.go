package leader

import (
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// What travels between waypoints and what is kept are formats of their own; here one becomes the other.

func toPeerRefusal(f shard.Refusal) peer.Refusal {
	return peer.Refusal{
		Condition: f.Condition, Subscription: f.Subscription, Reason: peer.Reason(f.Reason),
		Limit: f.Limit, Used: f.Used, RetryAfterMS: f.RetryAfterMS,
	}
}

func toShardRefusal(f peer.Refusal) *shard.Refusal {
	return &shard.Refusal{
		Condition: f.Condition, Subscription: f.Subscription, Reason: shard.Reason(f.Reason),
		Limit: f.Limit, Used: f.Used, RetryAfterMS: f.RetryAfterMS,
	}
}

// toPeerGap tells of the newest ranges as many as may travel.
func toPeerGap(g shard.Gap) *peer.Gap {
	out := &peer.Gap{Version: g.Version, Messages: g.Messages}
	for cause, n := range g.Causes {
		if n > 0 {
			out.Causes = append(out.Causes, peer.GapCause{Cause: peer.Cause(cause), Messages: n})
		}
	}
	ranges := g.Ranges
	if len(ranges) > peer.MaxGapRanges {
		ranges = ranges[len(ranges)-peer.MaxGapRanges:]
	}
	for _, x := range ranges {
		out.Ranges = append(out.Ranges, peer.GapRange{From: x.From, Through: x.Through, Messages: x.Messages, Cause: peer.Cause(x.Cause)})
	}
	return out
}

// toPeerLimits names all limits: where there is no bound it says so.
func toPeerLimits(l shard.Limits) peer.Limits {
	out := peer.Limits{
		MaxMessages: l.MaxMessages, MaxBytes: l.MaxBytes, MaxAgeMS: uint64(l.MaxAge.Milliseconds()),
		MaxInFlight: uint64(maxInFlight(l)), Overflow: peer.OverflowDropOldest,
	}
	for _, v := range []*uint64{&out.MaxMessages, &out.MaxBytes, &out.MaxAgeMS} {
		if *v == 0 {
			*v = peer.Unlimited
		}
	}
	if l.Overflow == shard.Reject {
		out.Overflow = peer.OverflowReject
	}
	return out
}

func toShardLimits(l peer.Limits) shard.Limits {
	bound := func(v uint64) uint64 {
		if v == peer.Unlimited {
			return 0
		}
		return v
	}
	out := shard.Limits{
		MaxMessages: bound(l.MaxMessages), MaxBytes: bound(l.MaxBytes),
		// Ages beyond what a duration holds are no bound to anyone.
		MaxAge:      time.Duration(min(bound(l.MaxAgeMS), uint64(never/time.Millisecond))) * time.Millisecond,
		MaxInFlight: uint32(min(bound(l.MaxInFlight), 1<<31)),
		Overflow:    shard.DropOldest,
	}
	if l.Overflow == peer.OverflowReject {
		out.Overflow = shard.Reject
	}
	return out
}

// DefaultInFlight is max-in-flight where nobody said otherwise and max-messages leaves room for it.
const DefaultInFlight = 1000

// maxInFlight is how many deliveries of a subscription may be unsettled: as its limits say, else the lesser of
// DefaultInFlight and half of max-messages, so that a limit always finds something that is not in flight.
func maxInFlight(l shard.Limits) int {
	switch {
	case l.MaxInFlight > 0:
		return int(l.MaxInFlight)
	case l.MaxMessages > 0:
		return int(min(DefaultInFlight, max(1, l.MaxMessages/2)))
	}
	return DefaultInFlight
}

// lowMark is how far a backlog that has reached its limit must go down before a topic takes publishes again: 90 %.
func lowMark(limit uint64) uint64 { return limit/10*9 + limit%10*9/10 }
