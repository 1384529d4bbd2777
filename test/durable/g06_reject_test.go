package durable

import (
	"fmt"
	"testing"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
)

// A subscription with overflow=reject comes to its limit: publishers at all nodes are rejected, and are told by whom and why; nothing
// rejected gets to anybody. Down to 90 % they are accepted again, and not before.
func TestG06Reject(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := "strict." + s.Name("orders")
	strict := s.Subscribe("strict", nodes[0], actor.Subscription{
		Address: orders, Limits: map[string]any{client.PropMaxMessages: 1000, client.PropOverflow: "reject"}, Credit: 20,
	})
	patient := s.Subscribe("patient", nodes[1], actor.Subscription{Address: orders, Limits: roomy})
	if got := strict.Properties()[client.PropOverflow]; got != "reject" {
		t.Errorf("the attach was answered with overflow %v", got)
	}
	strict.Leave()

	var publishers []*actor.Publisher
	for i, n := range nodes {
		publishers = append(publishers, s.Publish(fmt.Sprint("shop", i), n, orders, actor.Load{Count: 1000, Window: 100, MayBeRefused: true}))
	}
	accepted := 0
	for i, p := range publishers {
		p.Wait()
		accepted += p.Accepted()
		wantLimitRefusal(t, p.Refusal(), strict.Name(), 1000, fmt.Sprint("at node ", i))
	}
	if accepted != 1000 {
		t.Errorf("%d messages were accepted, want the 1000 that fit", accepted)
	}
	wantFigures(t, s.MustShow(nodes[2], strict.Name()), 1000, 0, 0, 1000, nil)

	s.Step("the subscriber takes some: the backlog goes down, not yet to 90 %%")
	limited := s.Attach1By1(strict, nodes[2])
	limited.Take(99)
	s.Eventually(func() bool { return s.MustShow(nodes[0], strict.Name()).Messages == 901 }, func() string { return "not 901 left" })
	probe := s.Publish("probe", nodes[1], orders, actor.Load{Count: 20, MayBeRefused: true})
	probe.Wait()
	if probe.Accepted() > 0 {
		t.Errorf("%d messages were accepted at a backlog of 901 of 1000", probe.Accepted())
	}
	s.Step("it takes one more")
	limited.Take(1)
	s.Eventually(func() bool {
		again := s.Publish("again", nodes[1], orders, actor.Load{Count: 1, MayBeRefused: true})
		again.Wait()
		return again.Accepted() == 1
	}, func() string { return "nothing is accepted at a backlog of 900 of 1000" })
	limited.Leave()

	strict.Attach(nodes[2])
	strict.CatchUp()
	patient.CatchUp()
	s.End()
}

// The limit by bytes refuses the message that does not fit. The operator raises it: publishers go on at once; another policy
// instead: they go on, and the oldest are dropped.
func TestG06RejectIsLiftedByTheOperator(t *testing.T) {
	s := begin(t)
	nodes := s.Cluster.Nodes
	orders := "strict." + s.Name("orders")
	name := s.Create(nodes[0], s.Name("strict"), orders, api.Limits{MaxBytes: 100_000, Overflow: "reject"}).Name
	full := s.Publish("full", nodes[1], orders, actor.Load{Count: 200, Size: 1000, MayBeRefused: true})
	full.Wait()
	wantLimitRefusal(t, full.Refusal(), name, 100_000, "by bytes")
	if show := s.MustShow(nodes[2], name); show.Bytes > 100_000 || show.Messages < 80 {
		t.Errorf("the backlog is %d messages, %d bytes", show.Messages, show.Bytes)
	}

	if _, err := nodes[2].Command("subscription", "set", name, "--max-bytes", "1MB"); err != nil {
		t.Fatal(err)
	}
	more := s.Publish("more", nodes[1], orders, actor.Load{Count: 500, Size: 1000, MayBeRefused: true})
	more.Wait()
	if more.Accepted() != 500 {
		t.Errorf("%d of 500 messages were accepted after the limit was raised: %v", more.Accepted(), more.Refusal())
	}
	if _, err := nodes[0].Command("subscription", "set", name, "--max-bytes", "100000", "--overflow", "drop-oldest"); err != nil {
		t.Fatal(err)
	}
	show := s.MustShow(nodes[1], name)
	if show.Bytes > 100_000 || show.GivenUp == 0 || show.Messages+show.GivenUp != show.Captured {
		t.Errorf("after the change: %+v", show)
	}
	s.Publish("last", nodes[1], orders, actor.Load{Count: 500, Size: 1000}).Wait()
	s.End()
}

func wantLimitRefusal(t *testing.T, e *goamqp.Error, subscription string, limit uint64, where string) {
	t.Helper()
	if e == nil {
		t.Errorf("%s: nothing was rejected", where)
		return
	}
	used, _ := e.Info["used"].(uint64)
	if e.Condition != goamqp.ErrCondResourceLimitExceeded || e.Info["subscription"] != subscription || e.Info["reason"] != "limit" ||
		e.Info["limit"] != limit || used == 0 || used > limit || e.Info["retry-after-ms"] == nil {
		t.Errorf("%s: rejected with %v, info %v", where, e, e.Info)
	}
}
