package durable

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
)

// A subscriber with a limit on messages is away while five times as many are published: the newest are kept, to the message; what
// it lost is counted, shown to the operator and told with the first delivery. Another subscriber on the topic loses nothing.
func TestG06DropOldestByMessages(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	limited := s.Subscribe("limited", nodes[0], actor.Subscription{Address: orders, Limits: map[string]any{client.PropMaxMessages: 1000}})
	patient := s.Subscribe("patient", nodes[1], actor.Subscription{Address: orders, Limits: roomy})
	if got := limited.Properties()[client.PropMaxMessages]; got != uint64(1000) {
		t.Errorf("the attach was answered with max-messages %v", got)
	}
	limited.Leave()
	patient.Leave()
	fill(s, "shop", orders, limited.Name(), actor.Load{Count: 5000}, func(show api.Subscription) error {
		if show.Messages > 1000 {
			return fmt.Errorf("%d messages", show.Messages)
		}
		return nil
	})

	wantFigures(t, s.MustShow(nodes[2], limited.Name()), 5000, 0, 4000, 1000, map[string]uint64{"max-messages": 4000})
	wantFigures(t, s.MustShow(nodes[2], patient.Name()), 5000, 0, 0, 5000, nil)

	limited.Attach(nodes[1])
	limited.CatchUp()
	wantGaps(t, limited, 4000)
	wantFigures(t, s.MustShow(nodes[2], limited.Name()), 5000, 1000, 4000, 0, map[string]uint64{"max-messages": 4000})
	patient.Attach(nodes[2])
	patient.CatchUp()
	if v := s.End(); v.Missing != 4000 || v.Told != 4000 {
		t.Errorf("%d missing, %d told; want 4000 of each", v.Missing, v.Told)
	}
}

// The same by bytes, with messages of all sizes: as many of the newest are kept as fit.
func TestG06DropOldestByBytes(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	const limit = 500_000
	limited := s.Subscribe("limited", nodes[0], actor.Subscription{Address: orders, Limits: map[string]any{client.PropMaxBytes: limit}})
	limited.Leave()
	within := func(show api.Subscription) error {
		if show.Bytes > limit {
			return fmt.Errorf("%d bytes", show.Bytes)
		}
		return nil
	}
	for i, size := range []int{100, 90_000, 1000, 300, 20_000} {
		fill(s, fmt.Sprint("shop", i), orders, limited.Name(), actor.Load{Count: 100, Size: size}, within)
	}
	show := s.MustShow(nodes[1], limited.Name())
	// The last hundred have some 20,300 bytes each: 24 of them fit.
	wantFigures(t, show, 500, 0, 476, 24, map[string]uint64{"max-bytes": 476})
	if show.Bytes < limit-21_000 {
		t.Errorf("only %d bytes are kept of %d", show.Bytes, limit)
	}
	limited.Attach(nodes[2])
	limited.CatchUp()
	wantGaps(t, limited, 476)
	if v := s.End(); v.Missing != 476 {
		t.Errorf("%d missing, want 476", v.Missing)
	}
}

// What is in flight is given up last, and is then told so: it may have been processed. Its outcome is taken and changes nothing.
func TestG06DropOldestInFlightLast(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	limited := s.Subscribe("limited", nodes[0], actor.Subscription{
		Address: orders, Hold: 50, Credit: 50, Limits: map[string]any{client.PropMaxMessages: 100, client.PropMaxInFlight: 50},
	})
	first := s.Publish("first", nodes[1], orders, actor.Load{Count: 50})
	first.Wait()
	limited.Until(50)
	s.Publish("second", nodes[1], orders, actor.Load{Count: 1000}).Wait()
	wantFigures(t, s.MustShow(nodes[2], limited.Name()), 1050, 0, 950, 100, map[string]uint64{"max-messages": 950})

	s.Step("the limit is lowered: only what is in flight can go")
	show := s.Set(nodes[2], limited.Name(), api.Limits{MaxMessages: 20})
	wantFigures(t, show, 1050, 0, 1030, 20, map[string]uint64{"max-messages": 1000, "limit-in-flight": 30})

	limited.CatchUp() // settles all 50, 20 of which count
	wantFigures(t, s.MustShow(nodes[2], limited.Name()), 1050, 20, 1030, 0, map[string]uint64{"max-messages": 1000, "limit-in-flight": 30})
	s.Publish("third", nodes[1], orders, actor.Load{Count: 10}).Wait()
	limited.CatchUp()
	s.End()
}

// Age acts with no publish and no consumer: backlog and disk shrink by themselves.
func TestG06AgeActsAlone(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := s.Name("orders")
	limited := s.Subscribe("limited", nodes[0], actor.Subscription{Address: orders, Limits: map[string]any{client.PropMaxAge: 3000}})
	patient := s.Subscribe("patient", nodes[0], actor.Subscription{Address: s.Name("other"), Limits: roomy})
	limited.Leave()
	patient.Leave()
	s.Publish("shop", nodes[1], orders, actor.Load{Count: 2000, Size: 10_000}).Wait()
	full := s.MustShow(nodes[1], limited.Name())
	s.Step("published: %d messages are kept", full.Messages)
	s.Eventually(func() bool { return s.MustShow(nodes[2], limited.Name()).Messages == 0 }, func() string {
		return fmt.Sprintf("the backlog does not age: %+v", s.MustShow(nodes[2], limited.Name()))
	})
	wantFigures(t, s.MustShow(nodes[2], limited.Name()), 2000, 0, 2000, 0, map[string]uint64{"max-age": 2000})
	for _, n := range nodes {
		s.Eventually(func() bool { return s.MustShow(n, limited.Name()).Pinned == 0 }, func() string {
			return fmt.Sprintf("%d bytes are still pinned on disk", s.MustShow(n, limited.Name()).Pinned)
		})
	}
	s.Step("all is given up")

	limited.Attach(nodes[2])
	s.Publish("late", nodes[1], orders, actor.Load{Count: 1}).Wait()
	limited.CatchUp()
	wantGaps(t, limited, 2000)
	s.End()
}

// fill publishes at a node while it looks at a subscription's backlog again and again.
func fill(s *actor.Story, name, address, subscription string, l actor.Load, check func(api.Subscription) error) {
	s.T.Helper()
	p := s.Publish(name, s.Cluster.Nodes[0], address, l)
	for p.Accepted() < l.Count {
		if err := check(s.MustShow(s.Cluster.Nodes[1], subscription)); err != nil {
			s.T.Errorf("the backlog is above its limit: %v", err)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.Wait()
}

// wantFigures compares what the operator is shown.
func wantFigures(t *testing.T, got api.Subscription, captured, confirmed, givenUp, messages uint64, causes map[string]uint64) {
	t.Helper()
	if got.Captured != captured || got.Confirmed != confirmed || got.GivenUp != givenUp || got.Messages != messages {
		t.Errorf("%s: captured %d, confirmed %d, given up %d, backlog %d; want %d, %d, %d, %d", got.Name,
			got.Captured, got.Confirmed, got.GivenUp, got.Messages, captured, confirmed, givenUp, messages)
	}
	if fmt.Sprint(got.Causes) != fmt.Sprint(causes) {
		t.Errorf("%s: causes %v, want %v", got.Name, got.Causes, causes)
	}
}

// wantFiguresSoon is for after a link's end that does not wait for what was settled on it: the end of its session.
func wantFiguresSoon(t *testing.T, s *actor.Story, name string, captured, confirmed, givenUp, messages uint64, causes map[string]uint64) {
	t.Helper()
	var got api.Subscription
	s.Eventually(func() bool {
		got = s.MustShow(s.Cluster.Nodes[1], name)
		return got.Messages == messages
	}, func() string { return fmt.Sprintf("%s: backlog %d, want %d", name, got.Messages, messages) })
	wantFigures(t, got, captured, confirmed, givenUp, messages, causes)
}

// wantGaps wants that deliveries have told of one gap: that many messages.
func wantGaps(t *testing.T, b *actor.Subscriber, messages uint64) {
	t.Helper()
	gaps := b.Gaps()
	if len(gaps) == 0 || gaps[0].Messages != messages {
		t.Errorf("deliveries told of gaps %v, want one of %d messages", gaps, messages)
	}
}
