package meta

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// policyJSON is a policy as it is kept: the same bytes for the same policy.
func policyJSON(p *peer.Policy) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("meta: policy is not JSON: " + err.Error()) // it consists of strings and numbers
	}
	return b
}

// policyDifferences names the keys in which two policies differ, by pattern.
func policyDifferences(a, b *peer.Policy) []string {
	var list []string
	list = appendDifferences(list, "default", a.Default, b.Default)
	others := map[string]peer.AddressPolicy{}
	for _, p := range b.Addresses {
		others[p.Pattern] = p
	}
	var orderA, orderB []string
	for _, p := range a.Addresses {
		q, ok := others[p.Pattern]
		if !ok {
			list = append(list, fmt.Sprintf("%q is only here", p.Pattern))
			continue
		}
		delete(others, p.Pattern)
		orderA = append(orderA, p.Pattern)
		list = appendDifferences(list, fmt.Sprintf("%q", p.Pattern), p, q)
	}
	for _, p := range b.Addresses {
		if _, left := others[p.Pattern]; left {
			list = append(list, fmt.Sprintf("%q is only in the cluster", p.Pattern))
			continue
		}
		orderB = append(orderB, p.Pattern)
	}
	// The first pattern that matches counts, so the order is part of the policy.
	if len(list) == 0 && !slices.Equal(orderA, orderB) {
		list = append(list, "the order of patterns")
	}
	return list
}

func appendDifferences(list []string, where string, a, b peer.AddressPolicy) []string {
	key := func(name string, differ bool) {
		if differ {
			list = append(list, where+" "+name)
		}
	}
	key("isolated", a.Isolated != b.Isolated)
	key("unrouted", a.Unrouted != b.Unrouted)
	key("allow-reject", a.AllowReject != b.AllowReject)
	for _, l := range []struct {
		prefix string
		a, b   peer.Limits
	}{{"default ", a.Defaults, b.Defaults}, {"cap ", a.Caps, b.Caps}} {
		key(l.prefix+"max-messages", l.a.MaxMessages != l.b.MaxMessages)
		key(l.prefix+"max-bytes", l.a.MaxBytes != l.b.MaxBytes)
		key(l.prefix+"max-age", l.a.MaxAgeMS != l.b.MaxAgeMS)
		key(l.prefix+"max-in-flight", l.a.MaxInFlight != l.b.MaxInFlight)
		key(l.prefix+"overflow", l.a.Overflow != l.b.Overflow)
	}
	return list
}
