package agent

import (
	"fmt"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Keys of the info map of an error.
const (
	infoSubscription amqp.Symbol = "subscription"
	infoReason       amqp.Symbol = "reason"
	infoLimit        amqp.Symbol = "limit"
	infoUsed         amqp.Symbol = "used"
	infoRetryAfter   amqp.Symbol = "retry-after-ms"
	infoShard        amqp.Symbol = "shard"
)

// refusalError is what a publisher is told of a refusal.
func refusalError(shard uint32, r *peer.Refusal) *amqp.Error {
	e := &amqp.Error{Condition: amqp.Symbol(r.Condition), Info: map[amqp.Symbol]any{infoReason: r.Reason.String(), infoShard: shard}}
	if e.Condition == "" {
		e.Condition = amqp.ErrCondResourceLimitExceeded
	}
	if r.Subscription != "" {
		e.Info[infoSubscription] = r.Subscription
	}
	if r.Limit != 0 || r.Used != 0 {
		e.Info[infoLimit] = r.Limit
		e.Info[infoUsed] = r.Used
	}
	if r.RetryAfterMS != 0 {
		e.Info[infoRetryAfter] = r.RetryAfterMS
	}
	switch {
	case r.Reason == peer.ReasonLimit && r.Subscription != "":
		e.Description = fmt.Sprintf("subscription %s has %d of %d and refuses more", r.Subscription, r.Used, r.Limit)
	default:
		e.Description = "not kept: " + r.Reason.String()
	}
	return e
}

// localRefusal is a refusal that the agent itself decides on, for messages that never had a number.
//
// The condition is amqp:internal-error where the fault is the network's: "operator intervention might be necessary to
// resume normal operation" (2.8.15). amqp:resource-limit-exceeded would blame the publisher.
func localRefusal(shard uint32, reason peer.Reason, retryAfter time.Duration) *amqp.Error {
	condition, text := amqp.ErrCondInternalError, "not kept: "+reason.String()
	switch reason {
	case peer.ReasonNoMajority:
		text = "not kept: no leader answers that could keep it"
	case peer.ReasonTooLong:
		condition, text = amqp.ErrCondResourceLimitExceeded, "not kept: too much waits to be kept already"
	case peer.ReasonSize:
		condition, text = amqp.ErrCondMessageSizeExceeded, fmt.Sprintf("a message that is to be kept may have %d bytes", peer.MaxMessage)
	case peer.ReasonIsolated:
		text = "this router is cut off and can't tell whether the message must be kept"
	}
	e := &amqp.Error{Condition: condition, Description: text, Info: map[amqp.Symbol]any{infoReason: reason.String()}}
	if shard != 0 {
		e.Info[infoShard] = shard
	}
	if retryAfter > 0 {
		e.Info[infoRetryAfter] = uint32(retryAfter.Milliseconds())
	}
	return e
}

// unknownError goes with an answer of unknown outcome.
func unknownError(shard uint32) *amqp.Error {
	return &amqp.Error{Condition: amqp.ErrCondDetachForced, Description: "whether the message is kept is not known",
		Info: map[amqp.Symbol]any{infoReason: "outcome-unknown", infoShard: shard}}
}
