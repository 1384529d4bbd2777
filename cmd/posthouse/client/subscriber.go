package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	goamqp "github.com/Azure/go-amqp"
)

// Subscription says what to subscribe to, and how.
type Subscription struct {
	Address string
	Durable string         // subscription name; empty: an ordinary receiver that keeps nothing
	Limits  map[string]any // link properties posthouse:max-messages, posthouse:max-bytes, ... of a durable one
	Credit  int32          // default 100
	// Changed is told of backlog and gap totals (flow properties), from a goroutine of go-amqp.
	Changed func(map[string]any)
}

// Names of the link properties that Posthouse reads and answers.
const (
	PropSubscription = "posthouse:subscription"
	PropMaxMessages  = "posthouse:max-messages"
	PropMaxBytes     = "posthouse:max-bytes"
	PropMaxAge       = "posthouse:max-age" // milliseconds
	PropMaxInFlight  = "posthouse:max-in-flight"
	PropOverflow     = "posthouse:overflow"
	PropOnClose      = "posthouse:on-close"
	AnnotationGap    = "x-opt-posthouse-gap"

	// Of the attach answer and of flows: what was given up ever; of that, what nodes that were cut off when the subscription was
	// made let past it at most; and how many of them have not said yet how much.
	PropGapTotal           = "posthouse:gap-total"
	PropGapIsolated        = "posthouse:gap-isolated"
	PropGapIsolatedUnknown = "posthouse:gap-isolated-unknown"

	// CauseIsolated is the cause of a gap that is an upper bound.
	CauseIsolated = "isolated"
)

// Subscriber is one receiving link on a session of its own.
type Subscriber struct {
	*goamqp.Receiver
	session *goamqp.Session
}

// Subscribe attaches the link. A durable subscription is named by the property posthouse:subscription, so that it
// can be continued from any client, with any container-id.
func Subscribe(ctx context.Context, conn *goamqp.Conn, s Subscription) (*Subscriber, error) {
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	o := &goamqp.ReceiverOptions{Credit: s.Credit, OnLinkStateProperties: s.Changed}
	if o.Credit == 0 {
		o.Credit = 100
	}
	if s.Durable != "" {
		o.Name = s.Durable
		o.SourceDurability = goamqp.DurabilityUnsettledState
		o.SourceExpiryPolicy = goamqp.ExpiryPolicyNever
		o.Properties = map[string]any{PropSubscription: s.Durable}
		for k, v := range s.Limits {
			o.Properties[k] = v
		}
	}
	receiver, err := session.NewReceiver(ctx, s.Address, o)
	if err != nil {
		session.Close(ctx)
		return nil, fmt.Errorf("attach to %s: %w", s.Address, err)
	}
	return &Subscriber{receiver, session}, nil
}

// Leave ends the link and keeps the subscription: go-amqp's Receiver.Close would detach with closed=true, which
// deletes it, so the session is ended instead.
func (s *Subscriber) Leave(ctx context.Context) error { return s.session.Close(ctx) }

// Unsubscribe ends the link and deletes the subscription.
func (s *Subscriber) Unsubscribe(ctx context.Context) error {
	err := s.Receiver.Close(ctx)
	if endErr := s.session.Close(ctx); err == nil {
		err = endErr
	}
	return err
}

// Gap is what a delivery tells of messages given up since the last one that was confirmed. Of the cause `isolated` the number
// is an upper bound.
type Gap struct {
	Messages        uint64
	Causes          map[string]uint64
	IsolatedUnknown uint64 `json:",omitempty"` // nodes that were cut off and have not said how much they let past the subscription
}

// GapOf reads the gap that a message carries, if any.
func GapOf(m *goamqp.Message) (Gap, bool) {
	annotation, ok := m.Annotations[AnnotationGap].(map[string]any)
	if !ok {
		return Gap{}, false
	}
	g := Gap{Messages: number(annotation["messages"]), Causes: map[string]uint64{}, IsolatedUnknown: number(annotation["isolated-unknown"])}
	causes, _ := annotation["causes"].(map[string]any)
	for cause, n := range causes {
		g.Causes[cause] = number(n)
	}
	return g, true
}

// Reasons lists the causes for people: "40 max-age, 2 rejected", or "max-age" if there is one only.
func (g Gap) Reasons() string {
	causes := slices.Sorted(maps.Keys(g.Causes))
	if len(causes) == 1 {
		return causes[0]
	}
	for i, c := range causes {
		causes[i] = fmt.Sprintf("%d %s", g.Causes[c], c)
	}
	return strings.Join(causes, ", ")
}

func number(v any) uint64 {
	switch v := v.(type) {
	case uint64:
		return v
	case uint32:
		return uint64(v)
	case int64:
		return uint64(v)
	}
	return 0
}
