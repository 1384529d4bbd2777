package interop

import (
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
)

// again waits for one message that was delivered before, with its delivery-count.
func (p *peer) again(link string, i int, count uint32) {
	p.t.Helper()
	m := p.messages(link, 1)[0]
	if m.ID != id(i) || m.Count != count || m.First {
		p.t.Errorf("%s: got %s (delivery-count %d, first-acquirer %v), want %s (%d, false)", p.name, m.ID, m.Count, m.First, id(i), count)
	}
}

// TestOutcomes: what a client makes of a message decides what becomes of it (3.4), and the next delivery says so.
func TestOutcomes(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("outcomes"), unique("outcomes.topic")
		failed := uint32(1)
		if l.name == "cpp" {
			failed = 0 // Proton C++ says modified without delivery-failed, which does not count (3.4.5)
		}
		p := l.start(t, container)
		p.connect("pub", b)
		p.sender("pub", "to", address)
		p.connect("1", a)
		p.receiver("1", "news", address, "durable=1", "manual=1", "credit=20")
		p.publish("to", 1, 5)
		p.new("news", 1, 5)

		p.settle("news", id(1), "accepted")
		p.settle("news", id(2), "released")
		p.again("news", 2, 0) // on the same link, and not counted as a failure
		p.settle("news", id(3), "modified")
		p.again("news", 3, failed)
		p.settle("news", id(3), "modified")
		p.again("news", 3, 2*failed)
		p.settle("news", id(3), "released")
		p.again("news", 3, 2*failed)
		p.settle("news", id(4), "rejected") // never again
		p.settle("news", id(5), "accepted")
		p.settle("news", id(3), "accepted")
		p.settle("news", id(2), "accepted")
		until(t, c, container, "news", "4 confirmed, 1 rejected", func(s api.Subscription) bool {
			return s.Messages == 0 && s.Confirmed == 4 && s.GivenUp == 1 && s.Causes["rejected"] == 1
		})

		p.publish("to", 6, 8)
		got := p.messages("news", 3)
		for i, m := range got {
			if m.ID != id(6+i) || !m.First || m.Count != 0 {
				t.Errorf("after all that came %s (delivery-count %d, first-acquirer %v), want %s, new", m.ID, m.Count, m.First, id(6+i))
			}
		}
		for _, m := range got {
			p.settle("news", m.ID, "accepted")
		}
		until(t, c, container, "news", "7 confirmed", func(s api.Subscription) bool { return s.Messages == 0 && s.Confirmed == 7 })
		p.close("news")
		p.disconnect("1")
		p.disconnect("pub")
		p.finish()
	})
}

// TestUndeliverableHere: such a message does not come to the same link again, but to the next one.
func TestUndeliverableHere(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("undeliverable"), unique("undeliverable.topic")
		p := l.start(t, container)
		p.connect("pub", b)
		p.sender("pub", "to", address)
		p.connect("1", a)
		p.receiver("1", "news", address, "durable=1", "manual=1", "credit=20")
		p.publish("to", 1, 2)
		p.new("news", 1, 2)
		p.settle("news", id(1), "undeliverable")
		p.settle("news", id(2), "accepted")
		until(t, c, container, "news", "1 confirmed, 1 waiting", func(s api.Subscription) bool { return s.Messages == 1 && s.Confirmed == 1 && s.InFlight == 0 })
		p.publish("to", 3, 3)
		p.new("news", 3, 3)
		p.settle("news", id(3), "accepted")
		p.detach("news")

		p.connect("2", c)
		p.receiver("2", "news", address, "durable=1", "manual=1", "credit=20")
		p.again("news", 1, 1)
		p.settle("news", id(1), "accepted")
		until(t, c, container, "news", "3 confirmed", confirmed(3))
		p.disconnect("1")
		p.disconnect("2")
		p.disconnect("pub")
		p.finish()
	}, "cpp") // it can't say so
}

// TestUnsettledWhenLeaving: what a client has got and not answered comes again on its next link, at whatever node, before
// anything newer, and says that it was seen. What it has answered does not.
func TestUnsettledWhenLeaving(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("unsettled"), unique("unsettled.topic")
		p := l.start(t, container)
		p.connect("pub", b)
		p.sender("pub", "to", address)
		p.connect("1", a)
		p.receiver("1", "news", address, "durable=1", "manual=1", "credit=20")
		p.publish("to", 1, 5)
		p.new("news", 1, 5)
		p.settle("news", id(1), "accepted")
		p.settle("news", id(3), "accepted")
		p.detach("news")
		p.publish("to", 6, 6)

		p.connect("2", c)
		p.receiver("2", "news", address, "durable=1", "manual=1", "credit=20")
		for _, i := range []int{2, 4, 5} {
			p.again("news", i, 0)
		}
		p.new("news", 6, 6)
		p.settle("news", id(2), "accepted")
		p.disconnect("2")

		p.receiver("1", "news", address, "durable=1", "manual=1", "credit=20")
		for _, i := range []int{4, 5, 6} {
			p.again("news", i, 0)
			p.settle("news", id(i), "accepted")
		}
		until(t, b, container, "news", "6 confirmed", confirmed(6))
		p.close("news")
		p.disconnect("1")
		p.disconnect("pub")
		p.finish()
	})
}
