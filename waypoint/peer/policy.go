package peer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Policy says how addresses are treated, cluster-wide: it is meta's state, and travels in Lease as JSON. Fields that a
// reader does not know are skipped.
type Policy struct {
	// Addresses are looked through in order; the first whose pattern matches counts.
	Addresses []AddressPolicy `json:"addresses,omitempty"`
	// Default is for addresses that no pattern matches. Its Pattern is empty.
	Default AddressPolicy `json:"default"`
}

// AddressPolicy is the policy of the addresses that match Pattern.
type AddressPolicy struct {
	// Pattern is an address whose segments, separated by '/' or '.', may be '*' (any one segment), the last one '#' (any number of segments, also none).
	Pattern string `json:"pattern,omitempty"`
	// Isolated says what a router that has lost its lease does with publishes to addresses that it does not know as captured.
	Isolated Isolated `json:"isolated,omitempty"`
	// Unrouted says how a publish is answered that nobody wants: accept or release.
	Unrouted Unrouted `json:"unrouted,omitempty"`
	// Defaults are the limits of a subscription that does not name its own; Caps are the highest ones it may name. Unlimited: no cap.
	Defaults Limits `json:"defaults"`
	Caps     Limits `json:"caps"`
	// AllowReject: subscriptions may ask for overflow `reject`.
	AllowReject bool `json:"allow_reject,omitempty"`
}

// Isolated is what a router without a lease does with publishes that may be captured unbeknown to it.
type Isolated string

const (
	IsolatedDirect Isolated = "direct" // let them through, count and report them. The default.
	IsolatedRefuse Isolated = "refuse"
)

// Unrouted is how a publish is answered that nobody wants.
type Unrouted string

const (
	UnroutedAccept  Unrouted = "accept" // the default
	UnroutedRelease Unrouted = "release"
)

// ParsePolicy reads a Policy from JSON and checks it.
func ParsePolicy(b []byte) (*Policy, error) {
	p := new(Policy)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// Validate says what is wrong with a Policy.
func (p *Policy) Validate() error {
	for i := range p.Addresses {
		if err := p.Addresses[i].validate(); err != nil {
			return fmt.Errorf("policy of %q: %w", p.Addresses[i].Pattern, err)
		}
		if p.Addresses[i].Pattern == "" {
			return fmt.Errorf("policy: address %d has no pattern", i+1)
		}
	}
	if err := p.Default.validate(); err != nil {
		return fmt.Errorf("default policy: %w", err)
	}
	return nil
}

func (a *AddressPolicy) validate() error {
	switch a.Isolated {
	case "", IsolatedDirect, IsolatedRefuse:
	default:
		return fmt.Errorf("isolated %q: must be direct or refuse", a.Isolated)
	}
	switch a.Unrouted {
	case "", UnroutedAccept, UnroutedRelease:
	default:
		return fmt.Errorf("unrouted %q: must be accept or release", a.Unrouted)
	}
	if i := strings.Index(a.Pattern, "#"); i >= 0 && i != len(a.Pattern)-1 {
		return fmt.Errorf("'#' may only be the last segment")
	}
	return nil
}

// For finds the policy of an address. It does not allocate.
func (p *Policy) For(address string) *AddressPolicy {
	for i := range p.Addresses {
		if Match(p.Addresses[i].Pattern, address) {
			return &p.Addresses[i]
		}
	}
	return &p.Default
}

// Match tells whether an address matches a pattern of AddressPolicy. Segments are separated by '/' or '.', and a pattern's separators
// are the address's.
func Match(pattern, address string) bool {
	for {
		if pattern == "#" {
			return true
		}
		p, psep, prest := cutSegment(pattern)
		a, asep, arest := cutSegment(address)
		if p != a && p != "*" {
			return false
		}
		if psep == 0 || asep == 0 {
			// "a/#" matches "a", too.
			return psep == asep || (psep != 0 && prest == "#")
		}
		if psep != asep {
			return false
		}
		pattern, address = prest, arest
	}
}

// cutSegment splits off the first segment; sep is 0 behind the last.
func cutSegment(s string) (segment string, sep byte, rest string) {
	if i := strings.IndexAny(s, "/."); i >= 0 {
		return s[:i], s[i], s[i+1:]
	}
	return s, 0, ""
}
