package interop

import (
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/proc"
)

// drain asks for the credit back and waits until it is.
func (p *peer) drain(link string) {
	p.t.Helper()
	p.do("drain", "link="+link)
	if e := p.awaitLink("drained", link); e.Credit != 0 {
		p.t.Errorf("%s: after draining there is credit for %d", p.name, e.Credit)
	}
}

// TestDrain: a drain gives what there is, within the credit, and takes the rest of the credit back (2.6.7).
func TestDrain(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		t.Run("durable", func(t *testing.T) {
			container, address := unique("drain"), unique("drain.topic")
			p := l.start(t, container)
			drainAfter := func(from, through int) {
				if l.name != "go-amqp" {
					p.drain("news")
					p.new("news", from, through)
					return
				}
				p.new("news", from, through) // its drain names a credit of 0, which takes back what it issued before
				p.drain("news")
			}
			p.connect("pub", b)
			p.sender("pub", "to", address)
			p.connect("1", a)
			p.receiver("1", "news", address, "durable=1", "credit=0")
			p.credit("news", 3)
			p.drain("news") // nothing there
			p.publish("to", 1, 3)
			p.credit("news", 2)
			p.new("news", 1, 2)
			p.credit("news", 10)
			drainAfter(3, 3) // less there than credit; what follows must wait for new credit
			p.publish("to", 4, 8)
			until(t, c, container, "news", "5 waiting", func(s api.Subscription) bool { return s.Messages == 5 && s.Confirmed == 3 && s.InFlight == 0 })
			p.credit("news", 2)
			drainAfter(4, 5) // more there than credit
			p.credit("news", 10)
			p.new("news", 6, 8)
			p.drain("news")
			until(t, c, container, "news", "8 confirmed", confirmed(8))
			p.close("news")
			p.disconnect("1")
			p.disconnect("pub")
			p.finish()
		})
		t.Run("direct", func(t *testing.T) {
			address := unique("drain.direct")
			p := l.start(t, unique("drain"))
			p.connect("1", a)
			p.sender("1", "to", address)
			p.receiver("1", "news", address, "credit=0")
			p.credit("news", 3)
			p.drain("news")
			p.credit("news", 3)
			p.publish("to", 1, 2)
			p.direct("news", 1, 2)
			p.drain("news")
			p.credit("news", 1)
			p.publish("to", 3, 3)
			p.direct("news", 3, 3)
			p.disconnect("1")
			p.finish()
		})
	})
}

// TestPresettled: nobody waits for an answer, and in a quiet cluster everything arrives all the same, in order.
func TestPresettled(t *testing.T) {
	a, b, c := cluster(t)
	send := func(p *peer, link string, from, through int) {
		for i := from; i <= through; i++ {
			p.send(link, id(i), "size=100", "settled=1")
		}
	}
	settled := func(t *testing.T, l library, p *peer, from, through int) {
		t.Helper()
		for i, m := range p.messages("news", through-from+1) {
			if m.ID != id(from+i) || m.Count != 0 || !m.Settled && l.name != "go-amqp" { // go-amqp does not show it
				t.Errorf("got %s (settled %v), want %s, settled", m.ID, m.Settled, id(from+i))
			}
		}
	}
	each(t, func(t *testing.T, l library) {
		t.Run("durable", func(t *testing.T) {
			container, address := unique("presettled"), unique("presettled.topic")
			p := l.start(t, container)
			p.connect("pub", b)
			p.sender("pub", "to", address, "settled=1")
			p.connect("1", a)
			p.receiver("1", "news", address, "durable=1", "settled=1")
			send(p, "to", 1, 30)
			settled(t, l, p, 1, 30)
			until(t, c, container, "news", "30 confirmed", confirmed(30)) // by being sent
			p.detach("news")
			send(p, "to", 31, 40)
			until(t, c, container, "news", "10 waiting", func(s api.Subscription) bool { return s.Messages == 10 && s.Captured == 40 })
			p.connect("2", c)
			p.receiver("2", "news", address, "durable=1", "settled=1")
			settled(t, l, p, 31, 40)
			until(t, c, container, "news", "40 confirmed", confirmed(40))
			p.close("news")
			p.disconnect("1")
			p.disconnect("2")
			p.disconnect("pub")
			p.finish()
		})
		t.Run("direct", func(t *testing.T) {
			address := unique("presettled.direct")
			p := l.start(t, unique("presettled"))
			p.connect("pub", b)
			p.sender("pub", "ask", address)
			p.sender("pub", "to", address, "settled=1")
			p.connect("1", a)
			p.receiver("1", "news", address, "settled=1")
			p.probe("ask", p, "news")
			send(p, "to", 1, 40)
			settled(t, l, p, 1, 40)
			p.disconnect("1")
			p.disconnect("pub")
			p.finish()
		})
	})
}

// TestLarge: messages of 10 MiB, from each library to each, directly and over two nodes.
func TestLarge(t *testing.T) {
	a, b, c := cluster(t)
	const size = 10 << 20
	address := unique("large.topic")
	at := map[string]*proc.Node{"python": b, "cpp": c, "go-amqp": b}
	var receivers []*peer
	var publishers []*peer
	for _, l := range present(t) {
		r := l.start(t, unique("large"))
		r.connect("1", at[l.name])
		r.receiver("1", "news", address)
		p := l.start(t, unique("large"))
		p.connect("pub", a)
		p.sender("pub", "to", address)
		p.probe("to", r, "news")
		receivers, publishers = append(receivers, r), append(publishers, p)
	}
	for i, p := range publishers {
		p.send("to", id(i), "size="+itoa(size))
		if o := p.outcome("to", id(i)); o.State != "accepted" {
			t.Errorf("%s: %s", p.name, o)
		}
		for _, r := range receivers {
			if m := r.messages("news", 1)[0]; m.ID != id(i) || m.Size != size {
				t.Errorf("%s: got %s with %d bytes from %s, want %s with %d", r.name, m.ID, m.Size, p.name, id(i), size)
			}
		}
	}
	for i := range receivers {
		receivers[i].disconnect("1")
		receivers[i].finish()
		publishers[i].disconnect("pub")
		publishers[i].finish()
	}
}

// TestLargestKept: a message of 1 MiB, counting its sections, is kept; one byte more is rejected with the condition that
// says why, and neither the link nor the subscription suffers.
func TestLargestKept(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		const most = 1 << 20
		container, address := unique("largest"), unique("largest.topic")
		p := l.start(t, container)
		p.connect("1", a)
		p.receiver("1", "news", address, "durable=1")
		p.detach("news")
		p.connect("pub", b)
		p.sender("pub", "to", address)
		for i, n := range []int{most, most + 1, most, 100 + most/2} {
			want := "accepted"
			if n > most {
				want = "rejected"
			}
			if sent := p.send("to", id(i), "total="+itoa(n)); sent.Size != n {
				t.Fatalf("the message has %d bytes, want %d", sent.Size, n)
			}
			o := p.outcome("to", id(i))
			if o.State != want {
				t.Errorf("%d bytes: %s", n, o)
			}
			// Proton C++ does not show the reason.
			if n > most && l.name != "cpp" && o.Condition != "amqp:link:message-size-exceeded" {
				t.Errorf("%d bytes: %s", n, o)
			}
		}
		p.connect("2", c)
		p.receiver("2", "news", address, "durable=1")
		for i, m := range p.messages("news", 3) {
			if want := []string{id(0), id(2), id(3)}[i]; m.ID != want || m.Count != 0 || !m.First || m.Gap != nil {
				t.Errorf("got %s (delivery-count %d, first-acquirer %v, gap %v), want %s, new", m.ID, m.Count, m.First, m.Gap, want)
			}
		}
		until(t, b, container, "news", "3 confirmed", confirmed(3))
		p.close("news")
		p.disconnect("1")
		p.disconnect("2")
		p.disconnect("pub")
		p.finish()
	})
}
