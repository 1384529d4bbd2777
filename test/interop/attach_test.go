package interop

import (
	"net/url"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
)

// refused waits until the node has refused a link, and returns its reason.
func (p *peer) refused(link string) event {
	p.t.Helper()
	if e := p.awaitLink("attached", link); e.Terminus != nil {
		p.t.Fatalf("%s: link %s was not refused but attached to %+v", p.name, link, *e.Terminus)
	}
	return p.awaitLink("error", link)
}

// TestLookup: an attach without a source finds the subscription of that link name, says what it is, and can close it.
// That is how JMS clients unsubscribe.
func TestLookup(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("lookup"), unique("lookup.topic")
		p := l.start(t, container)
		p.connect("1", a)
		p.receiver("1", "news", address, "durable=1")
		p.detach("news")

		p.connect("2", b)
		p.do("receiver", "conn=2", "link=news", "lookup=1", "credit=0")
		if s := p.attached("news").Terminus; s.Address != address || s.Durable != 2 || s.Expiry != "never" {
			t.Errorf("the subscription that was looked up is %+v", s)
		}
		p.detach("news") // looked, no more
		if _, err := subscription(c, container, "news"); err != nil {
			t.Errorf("after looking it up: %v", err)
		}

		p.do("receiver", "conn=2", "link=news", "lookup=1", "credit=0")
		p.attached("news")
		p.close("news")
		gone(t, c, container, "news")

		p.do("receiver", "conn=2", "link=news", "lookup=1", "credit=0")
		if e := p.refused("news"); e.Condition != "amqp:not-found" {
			t.Errorf("the lookup of what is not there: %s", e)
		}
		p.disconnect("1")
		p.disconnect("2")
		p.finish()
	}, "cpp", "go-amqp") // they always send a source
}

// TestLogin: with a password, as nobody, and without SASL at all, where the library can; and a subscription belongs to
// the user who made it.
func TestLogin(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("login"), unique("login.topic")
		p := l.start(t, container)
		p.connect("alice", a, "sasl=plain", "user=alice", "password=open sesame")
		p.receiver("alice", "news", address, "durable=1")
		var s api.Subscription
		if err := b.Get(api.PathSubscriptions+"/"+url.PathEscape(container+"/news")+"?owner=alice", &s); err != nil || s.Owner != "alice" {
			t.Errorf("the subscription's owner is %q: %v", s.Owner, err)
		}
		for i, sasl := range []string{"none", "anonymous"} {
			p.connect(sasl, c, "sasl="+sasl)
			p.sender(sasl, "to "+sasl, address)
			p.publish("to "+sasl, 1+i, 1+i)
			p.new("news", 1+i, 1+i)
			p.disconnect(sasl)
		}

		other := l.start(t, container) // the same names, another user
		other.connect("1", b)
		other.do("receiver", "conn=1", "link=news", "address="+address, "durable=1")
		if e := other.refused("news"); e.Condition != "amqp:unauthorized-access" {
			t.Errorf("another user's attach: %s", e)
		}
		other.disconnect("1")
		other.finish()

		p.sender("alice", "to", address) // alice's link has not suffered
		p.publish("to", 3, 3)
		p.new("news", 3, 3)
		p.close("news")
		p.disconnect("alice")
		p.finish()
	})
}

// TestWrongPassword: who has a wrong one learns just that.
func TestWrongPassword(t *testing.T) {
	a, _, _ := cluster(t)
	each(t, func(t *testing.T, l library) {
		p := l.start(t, unique("stranger"))
		p.do("connect", "conn=1", "url=amqp://"+a.AMQP, "sasl=plain", "user=alice", "password=sesame")
		e := p.await("an error", func(e event) bool { return e.Event == "error" && e.Conn == "1" || e.Event == "connected" })
		if l.name != "go-amqp" && e.Condition != "amqp:unauthorized-access" || e.Event != "error" {
			t.Errorf("with a wrong password: %s", e)
		}
	})
}

// TestLimits: limits that come as link properties are in force, are told back, and what they cost is told.
func TestLimits(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("limits"), unique("limits.topic")
		limits := []string{"durable=1", "prop:posthouse:max-messages=10", "prop:posthouse:max-age=36h", "prop:posthouse:overflow=drop-oldest"}
		p := l.start(t, container)
		p.connect("1", a)
		e := p.receiver("1", "news", address, limits...)
		for name, want := range map[string]string{"posthouse:max-messages": "10", "posthouse:max-age": "129600000", "posthouse:overflow": "drop-oldest"} {
			if got := text(e.Properties[name]); got != want {
				t.Errorf("the attach answer says %s=%q, want %q", name, got, want)
			}
		}
		p.detach("news")
		p.connect("pub", b)
		p.sender("pub", "to", address)
		p.publish("to", 1, 25)
		until(t, c, container, "news", "10 kept, 15 given up", func(s api.Subscription) bool { return s.Messages == 10 && s.GivenUp == 15 && s.Unheard == 15 })

		p.connect("2", c)
		p.receiver("2", "news", address, limits...)
		for i, m := range p.messages("news", 10) {
			if m.ID != id(16+i) || m.Count != 0 || !m.First {
				t.Errorf("got %s (delivery-count %d, first-acquirer %v), want %s, new", m.ID, m.Count, m.First, id(16+i))
			}
			switch {
			case i == 0 && (m.Gap == nil || m.Gap.Messages != 15 || m.Gap.Causes["max-messages"] != 15):
				t.Errorf("the first message says of the 15 lost ones: %+v", m.Gap)
			case i > 0 && m.Gap != nil:
				t.Errorf("message %s tells the gap again: %+v", m.ID, *m.Gap)
			}
		}
		if l.name == "go-amqp" { // Proton does not show what a flow says
			p.await("a flow that tells the loss", func(e event) bool {
				return e.Event == "state" && e.Link == "news" && text(e.Properties["posthouse:gap-total"]) == "15"
			})
		}
		until(t, b, container, "news", "the gap heard", func(s api.Subscription) bool { return s.Messages == 0 && s.Confirmed == 10 && s.Unheard == 0 })
		p.close("news")

		p.do("receiver", "conn=1", "link=bad", "address="+address, "durable=1", "prop:posthouse:max-messages=plenty")
		if e := p.refused("bad"); e.Condition != "amqp:invalid-field" {
			t.Errorf("limits that are none: %s", e)
		}
		gone(t, c, container, "bad")
		p.disconnect("1")
		p.disconnect("2")
		p.disconnect("pub")
		p.finish()
	})
}
