package check

import (
	"strings"
	"testing"
)

// Each way of breaking a promise is seen, and what is allowed is not taken for one.
func TestVerify(t *testing.T) {
	for name, test := range map[string]struct {
		play func(l *Ledger, p *Publisher, s *Subscriber)
		want string // part of the only fault; empty for none
	}{
		"all there": {func(l *Ledger, p *Publisher, s *Subscriber) {
			send(p, Accepted, Accepted)
			receive(s, "p/0", "p/1")
		}, ""},
		"nothing owed from before": {func(l *Ledger, p *Publisher, s *Subscriber) {
			send(p, Accepted)
			l.Subscriber("late", "a")
			receive(s, "p/0")
		}, ""},
		"nothing owed after the end": {func(l *Ledger, p *Publisher, s *Subscriber) {
			l.End(s)
			send(p, Accepted)
		}, ""},
		"nothing owed by who came after the end": {func(l *Ledger, p *Publisher, s *Subscriber) {
			l.End(s)
			send(l.Publisher("late", "a"), Accepted)
		}, ""},
		"lost": {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Accepted, Accepted); receive(s, "p/0") }, "LOST 1 accepted"},
		"lost and told": {func(l *Ledger, p *Publisher, s *Subscriber) {
			send(p, Accepted, Accepted)
			receive(s, "p/1")
			s.Told(1)
		}, ""},
		"told too little": {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Accepted, Accepted); s.Told(1) }, "LOST 1 accepted"},
		"passed by and told": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayPassBy("p")
			send(p, Accepted, Accepted)
			s.ToldAtMost(5)
			l.Whole(s)
			send(p, Accepted)
			receive(s, "p/2")
		}, ""},
		"more passed by than was told": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayPassBy("p")
			send(p, Accepted, Accepted)
			s.ToldAtMost(1)
		}, "2 messages have passed it by, and it was told of at most 1"},
		"passed by when all was whole": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayPassBy("p")
			l.Whole(s)
			send(p, Accepted)
			s.ToldAtMost(5)
		}, "LOST 1 accepted"},
		"passed by at a node that was not cut off": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayPassBy("q")
			send(p, Accepted)
			s.ToldAtMost(5)
		}, "LOST 1 accepted"},
		"unknown may be missing": {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Unknown) }, ""},
		"unknown may be there":   {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Unknown); receive(s, "p/0") }, ""},
		"pending may be there":   {func(l *Ledger, p *Publisher, s *Subscriber) { p.Send(); receive(s, "p/0") }, ""},
		"refused must not":       {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Refused); receive(s, "p/0") }, "was refused"},
		"out of order":           {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Accepted, Accepted); receive(s, "p/1", "p/0") }, "out of order"},
		"doubled":                {func(l *Ledger, p *Publisher, s *Subscriber) { send(p, Accepted); receive(s, "p/0", "p/0") }, "delivered twice"},
		"invented":               {func(l *Ledger, p *Publisher, s *Subscriber) { receive(s, "p/0") }, "nobody sent"},
		"another address":        {func(l *Ledger, p *Publisher, s *Subscriber) { send(l.Publisher("q", "b"), Accepted); receive(s, "q/0") }, "not to a"},
		"silent repeat": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayRepeat()
			send(p, Accepted)
			receive(s, "p/0", "p/0")
		}, "without saying so"},
		"repeat that says so": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayRepeat()
			send(p, Accepted)
			receive(s, "p/0")
			s.Received(Delivery{ID: "p/0", Again: true})
		}, ""},
		"repeat after a failure": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayRepeat()
			send(p, Accepted)
			receive(s, "p/0")
			s.Received(Delivery{ID: "p/0", Count: 1})
		}, ""},
		"repeat after it was kept": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayRepeat()
			send(p, Accepted)
			receive(s, "p/0")
			s.Confirmed("p/0")
			s.Received(Delivery{ID: "p/0", Again: true})
		}, "after its acceptance was told"},
		"missing where it may be": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.MayMiss()
			send(p, Accepted, Accepted)
			receive(s, "p/1")
		}, ""},
		"said to be a repeat, and is not": {func(l *Ledger, p *Publisher, s *Subscriber) {
			s.Exact()
			send(p, Accepted)
			s.Received(Delivery{ID: "p/0", Again: true})
		}, "and is not"},
		"an earlier link read late": {func(l *Ledger, p *Publisher, s *Subscriber) {
			send(p, Accepted, Accepted)
			s.Received(Delivery{ID: "p/1", Link: 2})
			s.Received(Delivery{ID: "p/0", Link: 1})
		}, ""},
		"a later link out of order": {func(l *Ledger, p *Publisher, s *Subscriber) {
			send(p, Accepted, Accepted)
			s.Received(Delivery{ID: "p/1", Link: 1})
			s.Received(Delivery{ID: "p/0", Link: 2})
		}, "out of order"},
		"repeat where none may be": {func(l *Ledger, p *Publisher, s *Subscriber) {
			send(p, Accepted)
			receive(s, "p/0")
			s.Received(Delivery{ID: "p/0", Again: true})
		}, "delivered twice"},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			p, s := l.Publisher("p", "a"), l.Subscriber("s", "a")
			test.play(l, p, s)
			v := l.Verify()
			switch {
			case test.want == "" && !v.OK():
				t.Errorf("faults: %s", v)
			case test.want != "" && (len(v.Faults) != 1 || !strings.Contains(v.Faults[0], test.want)):
				t.Errorf("want one fault with %q, got %s", test.want, v)
			}
		})
	}
}

func TestOwed(t *testing.T) {
	l := New()
	p := l.Publisher("p", "a")
	send(p, Accepted) // before the subscription
	s := l.Subscriber("s", "a")
	send(l.Publisher("q", "b"), Accepted) // to another address
	send(p, Accepted, Refused, Unknown, Accepted)
	p.Send()
	want := func(missing, unanswered int) {
		t.Helper()
		if m, u := l.Owed(s); m != missing || u != unanswered {
			t.Errorf("owed %d missing and %d unanswered, want %d and %d", m, u, missing, unanswered)
		}
	}
	want(2, 1)
	receive(s, "p/4")
	want(1, 1)
	l.End(s)
	p.Answered(5, Accepted)
	send(p, Accepted) // after the end
	want(2, 0)
	receive(s, "p/1", "p/5")
	want(0, 0)
}

func TestAnsweredTwiceIsAFault(t *testing.T) {
	p := New().Publisher("p", "a")
	n, _ := p.Send()
	p.Answered(n, Accepted)
	defer func() {
		if recover() == nil {
			t.Error("a second answer was taken")
		}
	}()
	p.Answered(n, Refused)
}

func send(p *Publisher, outcomes ...Outcome) {
	for _, o := range outcomes {
		n, _ := p.Send()
		p.Answered(n, o)
	}
}

func receive(s *Subscriber, ids ...string) {
	for _, id := range ids {
		s.Received(Delivery{ID: id})
	}
}
