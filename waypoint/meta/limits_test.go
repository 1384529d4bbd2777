package meta

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

func TestResolve(t *testing.T) {
	hour := uint64(time.Hour / time.Millisecond)
	policy := &peer.Policy{
		Default: peer.AddressPolicy{Defaults: peer.Limits{MaxMessages: 5000}, Caps: peer.Limits{MaxMessages: 20_000, MaxAgeMS: hour}},
		Addresses: []peer.AddressPolicy{
			{Pattern: "orders/#", AllowReject: true, Caps: peer.Limits{MaxMessages: peer.Unlimited, MaxInFlight: peer.Unlimited}},
			{Pattern: "audit", Defaults: peer.Limits{MaxMessages: peer.Unlimited, Overflow: peer.OverflowReject}, Caps: peer.Limits{MaxMessages: peer.Unlimited}},
			{Pattern: "tiny", Caps: peer.Limits{MaxMessages: 10}},
		},
	}
	builtin := func(change func(*peer.Limits)) peer.Limits {
		l := peer.Limits{MaxMessages: 5000, MaxBytes: 1 << 30, MaxAgeMS: hour, MaxInFlight: 1000, Overflow: peer.OverflowDropOldest}
		change(&l)
		return l
	}
	for _, c := range []struct {
		name, address string
		asked         peer.Limits
		want          peer.Limits
		adjusted      string // the limits, with a space between
	}{
		{"nothing asked", "x", peer.Limits{}, builtin(func(*peer.Limits) {}), ""},
		{"in flight follows half of max-messages", "x", peer.Limits{MaxMessages: 100},
			builtin(func(l *peer.Limits) { l.MaxMessages, l.MaxInFlight = 100, 50 }), ""},
		{"one message, one in flight", "x", peer.Limits{MaxMessages: 1},
			builtin(func(l *peer.Limits) { l.MaxMessages, l.MaxInFlight = 1, 1 }), ""},
		{"in flight as asked", "x", peer.Limits{MaxMessages: 100, MaxInFlight: 100},
			builtin(func(l *peer.Limits) { l.MaxMessages, l.MaxInFlight = 100, 100 }), ""},
		{"above the caps", "x", peer.Limits{MaxMessages: 20_001, MaxBytes: 1 << 50, MaxAgeMS: 2 * hour, MaxInFlight: 1 << 40},
			builtin(func(l *peer.Limits) { l.MaxMessages, l.MaxBytes, l.MaxInFlight = 20_000, 100<<30, 10_000 }), "max-messages max-bytes max-age max-in-flight"},
		{"unlimited is above any cap", "x", peer.Limits{MaxMessages: peer.Unlimited}, builtin(func(l *peer.Limits) { l.MaxMessages = 20_000 }), "max-messages"},
		{"unlimited where the operator says so", "orders/eu/1", peer.Limits{MaxMessages: peer.Unlimited, Overflow: peer.OverflowReject},
			builtin(func(l *peer.Limits) { l.MaxMessages, l.Overflow = peer.Unlimited, peer.OverflowReject }), ""},
		{"in flight is bounded in any case", "orders", peer.Limits{MaxInFlight: peer.Unlimited},
			builtin(func(l *peer.Limits) { l.MaxInFlight = mostInFlight }), "max-in-flight"},
		{"reject is not for everybody", "x", peer.Limits{Overflow: peer.OverflowReject}, builtin(func(*peer.Limits) {}), "overflow"},
		{"reject by default", "audit", peer.Limits{}, builtin(func(l *peer.Limits) { l.MaxMessages, l.Overflow = peer.Unlimited, peer.OverflowReject }), ""},
		{"reject where it is the default", "audit", peer.Limits{MaxMessages: 7, Overflow: peer.OverflowReject},
			builtin(func(l *peer.Limits) { l.MaxMessages, l.MaxInFlight, l.Overflow = 7, 3, peer.OverflowReject }), ""},
		{"a default above the cap is the cap, and nobody's fault", "tiny", peer.Limits{}, builtin(func(l *peer.Limits) { l.MaxMessages, l.MaxInFlight = 10, 5 }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, adjusted := Resolve(policy, c.address, c.asked)
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			var names []string
			for _, a := range adjusted {
				names = append(names, a.Limit)
			}
			if !slices.Equal(names, strings.Fields(c.adjusted)) {
				t.Errorf("adjusted %v, want %v", adjusted, c.adjusted)
			}
		})
	}
}

func TestNoPolicyIsNoLicence(t *testing.T) {
	got, _ := Resolve(&peer.Policy{}, "x", peer.Limits{})
	if got != (peer.Limits{MaxMessages: 100_000, MaxBytes: 1 << 30, MaxAgeMS: days(7), MaxInFlight: 1000, Overflow: peer.OverflowDropOldest}) {
		t.Errorf("%+v", got)
	}
	got, _ = Resolve(&peer.Policy{}, "x", peer.Limits{MaxMessages: peer.Unlimited, MaxBytes: peer.Unlimited, MaxAgeMS: peer.Unlimited})
	if got.MaxMessages == peer.Unlimited || got.MaxBytes == peer.Unlimited || got.MaxAgeMS == peer.Unlimited {
		t.Errorf("unlimited without the operator's word: %+v", got)
	}
}

func TestAnErrorNamesTheCap(t *testing.T) {
	policy := &peer.Policy{Addresses: []peer.AddressPolicy{{Pattern: "a/*", Caps: peer.Limits{MaxMessages: 10, MaxAgeMS: 60_000}}}}
	_, adjusted := Resolve(policy, "a/b", peer.Limits{MaxMessages: 11, MaxAgeMS: 61_000, Overflow: peer.OverflowReject})
	err := overCap(adjusted)
	if err.Condition != string(amqp.ErrCondInvalidField) || err.Info["max-messages"] != "10" {
		t.Errorf("%+v", err)
	}
	for _, want := range []string{`max-messages 11 is not allowed: the policy of "a/*" caps it at 10`, "max-age 1m1s", "1m0s", "overflow reject", "does not allow reject"} {
		if !strings.Contains(err.Description, want) {
			t.Errorf("%q does not say %q", err.Description, want)
		}
	}
}

func TestPolicyDifferencesNameTheKeys(t *testing.T) {
	one := peer.AddressPolicy{Pattern: "a", Isolated: peer.IsolatedRefuse, Caps: peer.Limits{MaxBytes: 1}}
	other := peer.AddressPolicy{Pattern: "a", Caps: peer.Limits{MaxBytes: 2}, Defaults: peer.Limits{MaxAgeMS: 1}}
	for _, c := range []struct {
		name string
		a, b peer.Policy
		want []string
	}{
		{"same", peer.Policy{Addresses: []peer.AddressPolicy{one}}, peer.Policy{Addresses: []peer.AddressPolicy{one}}, nil},
		{"keys", peer.Policy{Addresses: []peer.AddressPolicy{one}}, peer.Policy{Addresses: []peer.AddressPolicy{other}},
			[]string{`"a" isolated`, `"a" default max-age`, `"a" cap max-bytes`}},
		{"patterns", peer.Policy{Addresses: []peer.AddressPolicy{{Pattern: "x"}}}, peer.Policy{Addresses: []peer.AddressPolicy{{Pattern: "y"}}},
			[]string{`"x" is only here`, `"y" is only in the cluster`}},
		{"order", peer.Policy{Addresses: []peer.AddressPolicy{{Pattern: "x"}, {Pattern: "y"}}}, peer.Policy{Addresses: []peer.AddressPolicy{{Pattern: "y"}, {Pattern: "x"}}},
			[]string{"the order of patterns"}},
		{"default", peer.Policy{Default: peer.AddressPolicy{Unrouted: peer.UnroutedRelease}}, peer.Policy{}, []string{"default unrouted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := policyDifferences(&c.a, &c.b); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAReportIsBounded(t *testing.T) {
	counts := []peer.IsolatedAddress{{Address: strings.Repeat("x", maxText+1), Messages: 7}}
	for i := range 1000 {
		counts = append(counts, peer.IsolatedAddress{Address: strings.Repeat("y", 1000), Messages: uint64(i)})
	}
	other := uint64(1)
	kept := boundReport(counts, &other)
	sum, bytes := other, 0
	for _, c := range kept {
		sum += c.Messages
		bytes += len(c.Address)
	}
	if sum != 1+7+999*1000/2 || bytes > maxReported || len(kept) < 100 || kept[0].Messages != 999 {
		t.Errorf("%d messages in all, %d addresses of %d bytes, the first with %d", sum, len(kept), bytes, kept[0].Messages)
	}
}
