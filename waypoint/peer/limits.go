package peer

import (
	"fmt"
	"strconv"
)

// Overflow says what happens when a subscription reaches a limit.
type Overflow uint8

// Numbers are part of the format.
const (
	OverflowDefault    Overflow = 0 // not said
	OverflowDropOldest Overflow = 1
	OverflowReject     Overflow = 2
)

var overflowNames = [...]string{"", "drop-oldest", "reject"}

func (o Overflow) String() string {
	if int(o) < len(overflowNames) {
		return overflowNames[o]
	}
	return "overflow-" + strconv.Itoa(int(o))
}

// ParseOverflow reads the name of an overflow policy.
func ParseOverflow(s string) (Overflow, error) {
	for i, name := range overflowNames {
		if i > 0 && name == s {
			return Overflow(i), nil
		}
	}
	return 0, fmt.Errorf("overflow %q: must be drop-oldest or reject", s)
}

// MarshalText gives the name.
func (o Overflow) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads the name.
func (o *Overflow) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*o = OverflowDefault
		return nil
	}
	*o, err = ParseOverflow(string(b))
	return err
}

// Unlimited is a limit that the operator took away. A limit of 0 means: not said, the policy's default.
const Unlimited uint64 = 1<<64 - 1

// Limits bound a subscription's backlog. In a request, 0 means not said; where limits are told, all are set.
type Limits struct {
	MaxMessages uint64   `json:"max_messages,omitempty"`
	MaxBytes    uint64   `json:"max_bytes,omitempty"`
	MaxAgeMS    uint64   `json:"max_age_ms,omitempty"`
	MaxInFlight uint64   `json:"max_in_flight,omitempty"`
	Overflow    Overflow `json:"overflow,omitempty"`
}

func (l Limits) appendTo(b []byte) []byte {
	b = appendUint(b, l.MaxMessages)
	b = appendUint(b, l.MaxBytes)
	b = appendUint(b, l.MaxAgeMS)
	b = appendUint(b, l.MaxInFlight)
	return append(b, byte(l.Overflow))
}

func (l *Limits) decode(r *reader) {
	l.MaxMessages = r.uint()
	l.MaxBytes = r.uint()
	l.MaxAgeMS = r.uint()
	l.MaxInFlight = r.uint()
	l.Overflow = Overflow(r.byte())
}
