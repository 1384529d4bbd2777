package interop

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/proc"
)

// subscription asks the API about a subscription, by container-id and link name.
func subscription(n *proc.Node, container, link string) (api.Subscription, error) {
	var s api.Subscription
	err := n.Get(api.PathSubscriptions+"/"+url.PathEscape(container+"/"+link), &s)
	return s, err
}

// until waits until the API's figures of a subscription are as they must be.
func until(t *testing.T, n *proc.Node, container, link, what string, ok func(api.Subscription) bool) {
	t.Helper()
	var s api.Subscription
	var err error
	proc.Eventually(t, patience, func() bool {
		s, err = subscription(n, container, link)
		return err == nil && ok(s)
	}, func() string { return what + ": " + showSubscription(s, err) })
}

func showSubscription(s api.Subscription, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("captured %d, confirmed %d, given up %d %v, backlog %d, in flight %d, link at node %q", s.Captured, s.Confirmed, s.GivenUp, s.Causes, s.Messages, s.InFlight, s.Attached)
}

// gone tells whether there is no such subscription.
func gone(t *testing.T, n *proc.Node, container, link string) {
	t.Helper()
	s, err := subscription(n, container, link)
	var answer *api.Error
	if !errors.As(err, &answer) || answer.Condition != "amqp:not-found" {
		t.Errorf("subscription %s/%s is still there: %s", container, link, showSubscription(s, err))
	}
}

func confirmed(n uint64) func(api.Subscription) bool {
	return func(s api.Subscription) bool { return s.Messages == 0 && s.Confirmed == n && s.Captured == n }
}

// TestDurable: a durable subscription, made the standard way, is left, is there at another node, and ends when it is
// closed. Nothing is missing, and nothing comes twice.
func TestDurable(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("durable"), unique("durable.topic")
		p := l.start(t, container)
		p.connect("pub", b)
		p.sender("pub", "to", address)

		p.connect("1", a)
		e := p.receiver("1", "news", address, "durable=1")
		if s := e.Terminus; s.Address != address || l.name != "go-amqp" && (s.Durable != 2 || s.Expiry != "never") {
			t.Errorf("the node says that the source is %+v", s)
		}
		p.publish("to", 1, 5)
		p.new("news", 1, 5)
		p.detach("news")

		p.publish("to", 6, 40)
		p.connect("2", c)
		p.receiver("2", "news", address, "durable=1")
		p.new("news", 6, 40)
		until(t, a, container, "news", "40 messages confirmed", confirmed(40))

		p.disconnect("2") // leaves, too
		p.publish("to", 41, 45)
		p.receiver("1", "news", address, "durable=1")
		p.new("news", 41, 45)
		until(t, b, container, "news", "45 messages confirmed", confirmed(45))

		p.close("news") // unsubscribes
		gone(t, c, container, "news")
		p.publish("to", 46, 46)
		p.receiver("1", "news", address, "durable=1")
		p.publish("to", 47, 47)
		p.new("news", 47, 47)
		p.close("news")

		p.disconnect("1")
		p.disconnect("pub")
		p.finish()
	})
}

// TestDurableAcrossLibraries: a subscription belongs to container-id and link name, whatever client has them.
func TestDurableAcrossLibraries(t *testing.T) {
	a, b, c := cluster(t)
	nodes := []*proc.Node{a, b, c}
	container, address := unique("across"), unique("across.topic")
	publisher := startGo(t, unique("publisher"))
	publisher.connect("pub", a)
	publisher.sender("pub", "to", address)
	next, played := 1, 0
	for i, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			p := l.start(t, container)
			p.connect("1", nodes[i])
			p.receiver("1", "news", address, "durable=1")
			p.new("news", next-5*min(played, 1), next-1) // what was published after the one before had left
			publisher.publish("to", next, next+4)
			p.new("news", next, next+4)
			p.detach("news")
			p.disconnect("1")
			p.finish()
			publisher.publish("to", next+5, next+9)
			next, played = next+10, played+1
		})
	}
	until(t, a, container, "news", "the last 5 messages left", func(s api.Subscription) bool { return s.Messages == 5 && s.Captured == uint64(10*played) })
	publisher.finish()
}

// TestTakeOver: the same subscription attached elsewhere goes there at once. The first client is told so, and its answer
// to that does not delete anything.
func TestTakeOver(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("takeover"), unique("takeover.topic")
		first, second := l.start(t, container), l.start(t, container)
		first.connect("1", a)
		first.receiver("1", "news", address, "durable=1")
		second.connect("pub", c)
		second.sender("pub", "to", address)
		second.publish("to", 1, 3)
		first.new("news", 1, 3)
		until(t, a, container, "news", "3 messages confirmed", confirmed(3))

		second.connect("2", b)
		second.receiver("2", "news", address, "durable=1")
		if e := first.awaitLink("error", "news"); e.Condition != "amqp:link:stolen" {
			t.Errorf("the first client was told: %s", e)
		}
		second.publish("to", 4, 9)
		second.new("news", 4, 9)
		first.disconnect("1")
		second.publish("to", 10, 12)
		second.new("news", 10, 12)
		until(t, a, container, "news", "12 messages confirmed", confirmed(12))
		second.disconnect("2")
		second.disconnect("pub")
		first.finish()
		second.finish()
	})
}
