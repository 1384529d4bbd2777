package durable

import (
	"strings"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
)

// Limits are changed by the command line and by the API while publishers and the subscriber go on: they act at once, downwards
// too, and the subscriber's link does not notice, but for what it is told.
func TestG06LimitsChangeAtOnce(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	sub := s.Subscribe("billing", nodes[0], actor.Subscription{Address: orders, Limits: roomy, Hold: 10, Credit: 10})
	s.Publish("first", nodes[1], orders, actor.Load{Count: 5000}).Wait()
	sub.Until(10)

	s.Step("fewer messages")
	if out, err := nodes[2].Command("subscription", "set", sub.Name(), "--max-messages", "2000"); err != nil || !strings.Contains(out, "max-messages 2_000") {
		t.Fatalf("%v: %s", err, out)
	}
	wantFigures(t, s.MustShow(nodes[1], sub.Name()), 5000, 0, 3000, 2000, map[string]uint64{"max-messages": 3000})
	s.Step("fewer bytes")
	show := s.Set(nodes[1], sub.Name(), api.Limits{MaxBytes: 100_000})
	if show.Bytes > 100_000 || show.Bytes < 99_000 || show.GivenUp+show.Messages != 5000 {
		t.Errorf("after max-bytes: %+v", show)
	}
	s.Step("a lower age, which all have reached")
	s.Set(nodes[1], sub.Name(), api.Limits{MaxAge: "10ms"})
	s.Eventually(func() bool { return s.MustShow(nodes[0], sub.Name()).Messages == 0 }, func() string { return "max-age does not act" })
	s.Step("limits that are raised hold what comes then")
	s.Set(nodes[2], sub.Name(), api.Limits{MaxAge: "1h", MaxBytes: 1 << 30, MaxMessages: 100_000})
	s.Publish("second", nodes[1], orders, actor.Load{Count: 5000}).Wait()
	show = s.MustShow(nodes[0], sub.Name())
	if show.Captured != 10000 || show.GivenUp != 5000 {
		t.Errorf("after raising: %+v", show)
	}
	sub.CatchUp()
	if v := s.End(); v.Told != 5000 {
		t.Errorf("told of %d lost messages, want 5000", v.Told)
	}
}

// Caps by address: a subscriber that asks for more gets the cap, and is told so in the attach's answer; so does the operator.
func TestG06Caps(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := "capped." + s.Name("orders")
	sub := s.Subscribe("greedy", nodes[0], actor.Subscription{Address: orders, Limits: map[string]any{
		client.PropMaxMessages: 1_000_000, client.PropMaxBytes: "10GiB", client.PropMaxAge: "1000h", client.PropMaxInFlight: 500, client.PropOverflow: "reject",
	}})
	for property, want := range map[string]any{
		client.PropMaxMessages: uint64(100), client.PropMaxBytes: uint64(1 << 20), client.PropMaxAge: uint64(3_600_000), client.PropMaxInFlight: uint64(20),
		client.PropOverflow: "drop-oldest", // reject is not allowed here
	} {
		if got := sub.Properties()[property]; got != want {
			t.Errorf("the attach was answered with %s %v, want %v", property, got, want)
		}
	}
	sub.Leave()
	s.Publish("shop", nodes[1], orders, actor.Load{Count: 500}).Wait()
	wantFigures(t, s.MustShow(nodes[2], sub.Name()), 500, 0, 400, 100, map[string]uint64{"max-messages": 400})

	for _, limits := range []api.Limits{{MaxMessages: 101}, {MaxBytes: 2 << 20}, {MaxAge: "2h"}, {MaxInFlight: 21}, {Overflow: "reject"}} {
		var out api.Subscription
		if err := s.TrySet(nodes[2], sub.Name(), limits, &out); err == nil {
			t.Errorf("the operator asks for more than the cap, %+v, and gets %+v", limits, out.Limits)
		} else if !strings.Contains(err.Error(), "capped.#") {
			t.Errorf("the operator asks for more than the cap, %+v, and is told %q, which does not name the policy", limits, err)
		}
	}
	if show := s.MustShow(nodes[0], sub.Name()); show.Limits.MaxMessages != 100 {
		t.Errorf("limits are now %+v", show.Limits)
	}
	sub.Attach(nodes[2])
	sub.CatchUp()
	s.End()
}
