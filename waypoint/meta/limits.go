package meta

import (
	"fmt"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// What is in force where a policy says nothing. No subscription is without bounds unless the operator says so
// (peer.Unlimited in a policy).
var (
	builtinDefaults = peer.Limits{
		MaxMessages: 100_000, MaxBytes: 1 << 30, MaxAgeMS: days(7), MaxInFlight: 1000, Overflow: peer.OverflowDropOldest,
	}
	builtinCaps = peer.Limits{MaxMessages: 10_000_000, MaxBytes: 100 << 30, MaxAgeMS: days(90), MaxInFlight: 10_000}
)

// mostInFlight bounds max-in-flight whatever the policy says: a cursor has up to twice as many ranges, each of them
// a record.
const mostInFlight = 1_000_000

func days(n uint64) uint64 { return n * uint64(24*time.Hour/time.Millisecond) }

// Adjustment says that a limit is not in force as it was asked for.
type Adjustment struct {
	Limit string // max-messages, ...
	Asked string
	Given string
	Cap   string // what forbids it, in the policy's words
}

func (a Adjustment) String() string {
	return fmt.Sprintf("%s %s is not allowed: %s", a.Limit, a.Asked, a.Cap)
}

// Resolve turns what was asked for into limits that are in force for an address: what was not asked for is the policy's
// default, what is above the policy's caps becomes the cap and is listed. It depends on nothing but its arguments.
func Resolve(policy *peer.Policy, address string, asked peer.Limits) (peer.Limits, []Adjustment) {
	p := policy.For(address)
	def := overlay(overlay(builtinDefaults, policy.Default.Defaults), p.Defaults)
	caps := overlay(overlay(builtinCaps, policy.Default.Caps), p.Caps)
	caps.MaxInFlight = min(caps.MaxInFlight, mostInFlight)
	c := clamper{pattern: p.Pattern}
	var l peer.Limits
	l.MaxMessages = c.number("max-messages", asked.MaxMessages, def.MaxMessages, caps.MaxMessages, plain)
	l.MaxBytes = c.number("max-bytes", asked.MaxBytes, def.MaxBytes, caps.MaxBytes, plain)
	l.MaxAgeMS = c.number("max-age", asked.MaxAgeMS, def.MaxAgeMS, caps.MaxAgeMS, age)
	// Half of max-messages, so that a limit always finds something to give up that is not in flight.
	inFlight := min(def.MaxInFlight, max(1, l.MaxMessages/2))
	l.MaxInFlight = c.number("max-in-flight", asked.MaxInFlight, inFlight, caps.MaxInFlight, plain)
	l.Overflow = c.overflow(asked.Overflow, def.Overflow, p.AllowReject)
	return l, c.list
}

// overlay is below, except where above says something.
func overlay(below, above peer.Limits) peer.Limits {
	set := func(to *uint64, v uint64) {
		if v != 0 {
			*to = v
		}
	}
	set(&below.MaxMessages, above.MaxMessages)
	set(&below.MaxBytes, above.MaxBytes)
	set(&below.MaxAgeMS, above.MaxAgeMS)
	set(&below.MaxInFlight, above.MaxInFlight)
	if above.Overflow != peer.OverflowDefault {
		below.Overflow = above.Overflow
	}
	return below
}

// clamper holds limits against caps and remembers what it had to change.
type clamper struct {
	pattern string
	list    []Adjustment
}

func (c *clamper) number(name string, asked, def, most uint64, text func(uint64) string) uint64 {
	if asked == 0 {
		return min(def, most)
	}
	if asked > most {
		c.list = append(c.list, Adjustment{Limit: name, Asked: text(asked), Given: text(most), Cap: c.where() + " caps it at " + text(most)})
		return most
	}
	return asked
}

func (c *clamper) overflow(asked, def peer.Overflow, allowReject bool) peer.Overflow {
	if asked == peer.OverflowReject && !allowReject && def != peer.OverflowReject {
		c.list = append(c.list, Adjustment{Limit: "overflow", Asked: asked.String(), Given: def.String(), Cap: c.where() + " does not allow reject"})
		return def
	}
	if asked == peer.OverflowDefault {
		return def
	}
	return asked
}

func (c *clamper) where() string {
	if c.pattern == "" {
		return "the default policy"
	}
	return fmt.Sprintf("the policy of %q", c.pattern)
}

func plain(v uint64) string {
	if v == peer.Unlimited {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

func age(v uint64) string {
	if v == peer.Unlimited || v > uint64(1<<63-1)/uint64(time.Millisecond) {
		return "unlimited"
	}
	return (time.Duration(v) * time.Millisecond).String()
}
