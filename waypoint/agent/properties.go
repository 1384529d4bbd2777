package agent

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Link properties of an attach. The limits are repeated in the answer's properties, as they are in force.
const (
	propertyPrefix       = "posthouse:"
	PropertySubscription = amqp.Symbol("posthouse:subscription") // the subscription's name, for clients with random container-ids
	PropertyMaxMessages  = amqp.Symbol("posthouse:max-messages") // a number
	PropertyMaxBytes     = amqp.Symbol("posthouse:max-bytes")    // a number, or a string with a unit: "64MiB"
	PropertyMaxAge       = amqp.Symbol("posthouse:max-age")      // milliseconds, or a string with a unit: "36h"
	PropertyMaxInFlight  = amqp.Symbol("posthouse:max-in-flight")
	PropertyOverflow     = amqp.Symbol("posthouse:overflow") // "drop-oldest" or "reject"
	PropertyOnClose      = amqp.Symbol("posthouse:on-close") // "keep" or "remove"
)

// Properties of a flow, and of the attach's answer.
const (
	PropertyBacklogMessages = amqp.Symbol("posthouse:backlog-messages")
	PropertyBacklogBytes    = amqp.Symbol("posthouse:backlog-bytes")
	PropertyBacklogAge      = amqp.Symbol("posthouse:backlog-age") // milliseconds, of the oldest
	PropertyGapMessages     = amqp.Symbol("posthouse:gap-messages")
	PropertyGapTotal        = amqp.Symbol("posthouse:gap-total")
	// Of gap-total: what routers that were cut off when the subscription was made have let past it, at most; and how many of
	// them have not said yet how much.
	PropertyGapIsolated        = amqp.Symbol("posthouse:gap-isolated")
	PropertyGapIsolatedUnknown = amqp.Symbol("posthouse:gap-isolated-unknown")
)

// laterProperties are spoken for, and not there yet: a subscriber who relies on one must not believe that it has it.
var laterProperties = map[amqp.Symbol]bool{
	"posthouse:max-deliveries": true, "posthouse:ack-timeout": true, "posthouse:expires-after": true,
}

// asked is what a subscriber asks for by link properties.
type asked struct {
	name   string
	limits peer.Limits
}

// parseProperties reads the link properties that are ours. Errors are *amqp.Error, and name the property.
func parseProperties(props map[amqp.Symbol]any) (asked, error) {
	var a asked
	for key, value := range props {
		if !strings.HasPrefix(string(key), propertyPrefix) {
			continue
		}
		var err error
		switch key {
		case PropertySubscription:
			a.name, err = textOf(value)
			if err == nil && a.name == "" {
				err = fmt.Errorf("is empty")
			}
		case PropertyMaxMessages:
			a.limits.MaxMessages, err = countOf(value)
		case PropertyMaxBytes:
			a.limits.MaxBytes, err = bytesOf(value)
		case PropertyMaxAge:
			a.limits.MaxAgeMS, err = millisOf(value)
		case PropertyMaxInFlight:
			a.limits.MaxInFlight, err = countOf(value)
		case PropertyOverflow:
			var s string
			if s, err = textOf(value); err == nil {
				a.limits.Overflow, err = peer.ParseOverflow(s)
			}
		case PropertyOnClose:
			var s string
			if s, err = textOf(value); err == nil && s != "keep" && s != "remove" {
				err = fmt.Errorf("%q: must be keep or remove", s)
			}
		default:
			if laterProperties[key] {
				return asked{}, propertyError(amqp.ErrCondNotImplemented, key, "is not implemented yet")
			}
			err = fmt.Errorf("is not known; known are subscription, max-messages, max-bytes, max-age, max-in-flight, overflow and on-close")
		}
		if err != nil {
			return asked{}, propertyError(amqp.ErrCondInvalidField, key, err.Error())
		}
	}
	return a, nil
}

func propertyError(condition amqp.Symbol, key amqp.Symbol, text string) *amqp.Error {
	e := amqp.Errorf(condition, "link property %s: %s", key, text)
	e.Info = map[amqp.Symbol]any{"property": string(key)}
	return e
}

// keepsOnClose tells whether a closing detach leaves the subscription.
func keepsOnClose(props map[amqp.Symbol]any) bool {
	s, err := textOf(props[PropertyOnClose])
	return err == nil && s == "keep"
}

func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case amqp.Symbol:
		return string(v), nil
	}
	return "", fmt.Errorf("must be a string")
}

// countOf reads a number of at least 1 from any of the integer types that clients choose, or from digits.
func countOf(v any) (uint64, error) {
	var n int64
	switch v := v.(type) {
	case uint8:
		n = int64(v)
	case uint16:
		n = int64(v)
	case uint32:
		n = int64(v)
	case uint64:
		if v >= peer.Unlimited>>1 {
			return 0, fmt.Errorf("%d is too much", v)
		}
		n = int64(v)
	case int8:
		n = int64(v)
	case int16:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	default:
		s, err := textOf(v)
		if err != nil {
			return 0, fmt.Errorf("must be an integer")
		}
		if n, err = strconv.ParseInt(s, 10, 64); err != nil {
			return 0, fmt.Errorf("%q is not an integer", s)
		}
	}
	if n < 1 {
		return 0, fmt.Errorf("%d: must be at least 1", n)
	}
	return uint64(n), nil
}

// bytesOf reads a size of at least 1 byte.
func bytesOf(v any) (uint64, error) {
	s, err := textOf(v)
	if err != nil {
		return countOf(v)
	}
	n, err := peer.ParseSize(s)
	if err != nil {
		return 0, err
	}
	return countOf(n)
}

// millisOf reads an age: milliseconds, or a duration of at least one.
func millisOf(v any) (uint64, error) {
	s, err := textOf(v)
	if err != nil {
		return countOf(v)
	}
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return countOf(s)
	}
	d, err := peer.ParseDuration(s)
	if err != nil {
		return 0, err
	}
	if d < time.Millisecond {
		return 0, fmt.Errorf("%q: must be at least 1ms", s)
	}
	return uint64(d.Milliseconds()), nil
}

func limitsOf(l *peer.Limits) Limits {
	bound := func(n uint64) uint64 {
		if n == peer.Unlimited {
			return 0
		}
		return n
	}
	age := bound(l.MaxAgeMS)
	const longest = uint64(1<<63-1) / uint64(time.Millisecond)
	return Limits{
		MaxMessages: bound(l.MaxMessages), MaxBytes: bound(l.MaxBytes), MaxAge: time.Duration(min(age, longest)) * time.Millisecond,
		MaxInFlight: bound(l.MaxInFlight), Overflow: l.Overflow.String(),
	}
}

func stateOf(s *peer.SubState) SubscriptionState {
	return SubscriptionState{
		Messages: s.Messages, Bytes: s.Bytes, Oldest: time.Duration(s.OldestMS) * time.Millisecond,
		GapMessages: s.GapMessages, GapTotal: s.GapTotal, Limits: limitsOf(&s.Limits),
	}
}

// attachProperties are for the attach's answer.
func attachProperties(name string, l Limits, s SubscriptionState) map[amqp.Symbol]any {
	p := s.FlowProperties()
	p[PropertySubscription] = name
	p[PropertyOverflow] = l.Overflow
	for key, n := range map[amqp.Symbol]uint64{
		PropertyMaxMessages: l.MaxMessages, PropertyMaxBytes: l.MaxBytes, PropertyMaxAge: uint64(l.MaxAge.Milliseconds()), PropertyMaxInFlight: l.MaxInFlight,
	} {
		if n != 0 {
			p[key] = n
		}
	}
	return p
}

// FlowProperties are for the flow's properties: some clients can't read anything else.
func (s SubscriptionState) FlowProperties() map[amqp.Symbol]any {
	return map[amqp.Symbol]any{
		PropertyBacklogMessages: s.Messages, PropertyBacklogBytes: s.Bytes, PropertyBacklogAge: uint64(s.Oldest.Milliseconds()),
		PropertyGapMessages: s.GapMessages, PropertyGapTotal: s.GapTotal,
		PropertyGapIsolated: s.Isolated, PropertyGapIsolatedUnknown: s.IsolatedUnknown,
	}
}
