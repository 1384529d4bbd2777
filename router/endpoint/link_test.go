package endpoint

import (
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
)

func TestRefuse(t *testing.T) {
	for _, role := range []amqp.Role{amqp.RoleSender, amqp.RoleReceiver} {
		h := &recorder{}
		var refused Link
		h.onAttached = func(l Link) { refused = l }
		converse(t, Config{}, false, h, func(tk *talk) {
			tk.helloSession()
			a := attach(role, 4, "l")
			tk.say(0, a)
			tk.wantIdle() // until somebody answers
			if !refused.Pending() {
				t.Error("not pending")
			}
			if !refused.Refuse(amqp.Errorf(amqp.ErrCondNotFound, "no such address")) || refused.Refuse(nil) || refused.Pending() {
				t.Error("refuse")
			}
			answer := next[*amqp.Attach](tk)
			if (answer.Source != nil) != (role == amqp.RoleSender) || (answer.Target != nil) != (role == amqp.RoleReceiver) {
				t.Errorf("got %s", show(answer))
			}
			tk.want(0, &amqp.Detach{Closed: true, Error: amqp.Errorf(amqp.ErrCondNotFound, "no such address")})
			h.forget()
			tk.say(0, &amqp.Detach{Handle: 4, Closed: true})
			h.wantCalls("detached l closed true err - answer true lost false")
			// Handle and name are free again.
			h.onAttached = nil
			tk.attachAs(role, 4, "l")
			if n := tk.c.Stats().Links; n != 1 {
				t.Errorf("%d links", n)
			}
		})
	}
}

func TestWeAreRefused(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		h.forget()
		s := h.sessions[0]
		if _, err := s.NewReceiver(amqp.Attach{Name: "in", Source: &amqp.Source{Address: "x"}, Target: &amqp.Target{}}, 10, "data"); err != nil {
			t.Fatal(err)
		}
		next[*amqp.Attach](tk)
		answer := attach(amqp.RoleSender, 0, "in")
		answer.Source = nil
		tk.say(0, answer)
		h.wantCalls()
		tk.skipFlows()
		tk.say(0, &amqp.Detach{Closed: true, Error: amqp.Errorf(amqp.ErrCondNotFound, "")})
		h.wantCalls("detached in closed true err amqp:not-found answer false lost false")
		tk.want(0, &amqp.Detach{Closed: true})
		tk.wantIdle()
	})
}

func TestDetachIsAnsweredInKind(t *testing.T) {
	for _, closed := range []bool{false, true} {
		h := &recorder{}
		converse(t, Config{}, false, h, func(tk *talk) {
			tk.sender()
			tk.say(0, &amqp.Detach{Closed: closed})
			tk.want(0, &amqp.Detach{Closed: closed})
			tk.wantIdle()
		})
	}
}

// A link that the peer has detached leaves its name to the next one at once, also when its detach is not answered yet: the
// answer goes out before the attach.
func TestAttachAgainWhenDetached(t *testing.T) {
	h := &recorder{}
	in := amqp.Attach{Name: "in", Source: &amqp.Source{Address: "x"}, Target: &amqp.Target{}}
	h.onDetached = func(l Link, d Detached) {
		h.onDetached = nil
		if _, err := l.Session().NewReceiver(in, 1, nil); err != nil {
			t.Errorf("attach again: %v", err)
		}
	}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		h.forget()
		if _, err := h.sessions[0].NewReceiver(in, 1, nil); err != nil {
			t.Fatal(err)
		}
		next[*amqp.Attach](tk)
		tk.say(0, attach(amqp.RoleSender, 0, "in"))
		tk.skipFlows()
		tk.say(0, &amqp.Detach{Closed: true})
		tk.want(0, &amqp.Detach{Closed: true})
		if a := next[*amqp.Attach](tk); a.Name != "in" || a.Handle != 1 {
			t.Errorf("got %s", show(a))
		}
		tk.wantIdle()
	})
}

func TestHeldDetach(t *testing.T) {
	h := &recorder{}
	h.onDetached = func(l Link, d Detached) { l.HoldDetach() }
	converse(t, Config{}, false, h, func(tk *talk) {
		s := tk.sender()
		tk.say(0, &amqp.Detach{Closed: true})
		tk.wantIdle()
		if s.Pending() || s.Credit() != 0 {
			t.Error("still alive")
		}
		// The peer may use the handle again, even the name.
		h.onDetached = nil
		tk.say(0, attach(amqp.RoleReceiver, 0, "l"))
		if a := next[*amqp.Attach](tk); a.Handle != 1 {
			t.Errorf("got %s", show(a))
		}
		if !s.Detach(true, amqp.Errorf(amqp.ErrCondInternalError, "could not delete")) || s.Detach(true, nil) {
			t.Error("detach")
		}
		tk.want(0, &amqp.Detach{Handle: 0, Closed: true, Error: amqp.Errorf(amqp.ErrCondInternalError, "could not delete")})
		h.forget()
		tk.say(0, &amqp.Detach{Closed: true})
		tk.want(0, &amqp.Detach{Handle: 1, Closed: true})
		h.wantCalls("detached l closed true err - answer false lost false")
		if n := tk.c.Stats().Links; n != 0 {
			t.Errorf("%d links", n)
		}
	})
}

// go-amqp may send a flow behind its detach: what it settled last gives it credit to tell of while it closes.
func TestFlowBehindDetach(t *testing.T) {
	h := &recorder{onDetached: func(l Link, _ Detached) { l.HoldDetach() }}
	converse(t, Config{}, false, h, func(tk *talk) {
		s := tk.sender()
		flow := credits(0, 0, 5)
		h.forget()
		tk.say(0, &amqp.Detach{Closed: true})
		tk.say(0, flow)
		tk.wantIdle()
		h.wantCalls("detached l closed true err - answer false lost false")
		s.Detach(true, nil)
		tk.want(0, &amqp.Detach{Closed: true})
		tk.say(0, flow)
		tk.wantIdle()
		// The handle can be used again.
		h.onDetached = nil
		tk.attachAs(amqp.RoleReceiver, 0, "other")
		tk.say(0, flow)
		tk.wantIdle()
		if n := h.snd[1].Credit(); n != 5 {
			t.Errorf("credit %d on the link that has the handle now", n)
		}
	})
}

func TestDetachesCross(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		s := tk.sender()
		s.Detach(true, amqp.Errorf(amqp.ErrCondDetachForced, "moved"))
		tk.say(0, &amqp.Detach{Closed: false})
		next[*amqp.Detach](tk)
		h.wantCalls("detached l closed false err - answer true lost false")
		tk.wantIdle()
		if n := tk.c.Stats().Links; n != 0 {
			t.Errorf("%d links", n)
		}
	})
}

func TestEndsCross(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.sender()
		h.sessions[0].End(nil)
		tk.say(0, &amqp.End{})
		tk.want(0, &amqp.End{})
		tk.wantIdle()
		h.wantCalls("detached l closed false err - answer false lost true", "ended -")
		if st := tk.c.Stats(); st.Links != 0 || st.Sessions != 0 {
			t.Errorf("%+v", st)
		}
		tk.begin(0)
	})
}

func TestDetachBeforeTheAttachIsAnswered(t *testing.T) {
	h := &recorder{}
	var l Link
	h.onAttached = func(x Link) { l = x }
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		tk.say(0, attach(amqp.RoleReceiver, 0, "l"))
		tk.say(0, &amqp.Detach{Closed: true})
		if a := next[*amqp.Attach](tk); a.Source != nil {
			t.Errorf("got %s", show(a))
		}
		tk.want(0, &amqp.Detach{Closed: true})
		if l.(*Sender).Accept(l.Answer()) {
			t.Error("accepted what is gone")
		}
		h.wantCalls("opened them", "begun", "attached l", "detached l closed true err - answer false lost false")
		tk.wantIdle()
	})
}

func TestWeDetachBeforeOurAttachIsAnswered(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		h.forget()
		s, err := h.sessions[0].NewSender(amqp.Attach{Name: "out", Target: &amqp.Target{}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		next[*amqp.Attach](tk)
		s.Detach(true, nil)
		tk.want(0, &amqp.Detach{Closed: true})
		tk.say(0, attach(amqp.RoleReceiver, 0, "out"))
		tk.say(0, &amqp.Detach{Closed: true})
		h.wantCalls("detached out closed true err - answer true lost false")
		tk.wantIdle()
	})
}

func TestUnsettledMapIsAnsweredByAnEmptyOne(t *testing.T) {
	h := &recorder{credit: 1}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		a := attach(amqp.RoleSender, 0, "l")
		a.Unsettled = []amqp.UnsettledDelivery{{Tag: []byte{1}, State: amqp.Accepted{}}}
		tk.say(0, a)
		if answer := next[*amqp.Attach](tk); answer.Unsettled == nil || len(answer.Unsettled) != 0 {
			t.Errorf("got %s", show(answer))
		}
		if got := h.rcv[0].Remote().Unsettled; len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestNothingNewForAnIncompleteUnsettledMap(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		a := attach(amqp.RoleReceiver, 0, "l")
		a.Unsettled, a.IncompleteUnsettled = []amqp.UnsettledDelivery{{Tag: []byte{1}}}, true
		tk.say(0, a)
		next[*amqp.Attach](tk)
		tk.say(0, credits(0, 0, 10))
		tk.wantIdle()
		if _, err := h.snd[0].Send(&Outgoing{}, nil); err != ErrNoCredit || h.snd[0].Credit() != 0 {
			t.Errorf("got %v, credit %d", err, h.snd[0].Credit())
		}
	})
}

func TestFramesThatAreKeptAreBounded(t *testing.T) {
	converse(t, Config{MaxAttachBytes: 10_000}, false, &recorder{}, func(tk *talk) {
		tk.helloSession()
		a := attach(amqp.RoleReceiver, 0, "l")
		a.Properties = map[amqp.Symbol]any{"x": make([]byte, 3000)}
		// One at a time is fine for ever, four at once are not.
		for range 5 {
			tk.say(0, a)
			next[*amqp.Attach](tk)
			tk.say(0, &amqp.Detach{Closed: true})
			next[*amqp.Detach](tk)
		}
		for i := range uint32(3) {
			a.Handle, a.Name = i, string(rune('a'+i))
			tk.say(0, a)
			next[*amqp.Attach](tk)
		}
		a.Handle, a.Name = 3, "d"
		tk.say(0, a)
		if e := next[*amqp.End](tk); condition(e.Error) != string(amqp.ErrCondResourceLimitExceeded) {
			t.Errorf("got %v", e.Error)
		}
		tk.say(0, &amqp.End{})
		b := &amqp.Begin{HandleMax: 1, Properties: map[amqp.Symbol]any{"x": make([]byte, 6000)}}
		tk.say(1, b)
		next[*amqp.Begin](tk)
		tk.say(1, &amqp.End{})
		next[*amqp.End](tk)
		tk.say(1, b)
		next[*amqp.Begin](tk)
		tk.say(2, b)
		if cl := next[*amqp.Close](tk); condition(cl.Error) != string(amqp.ErrCondResourceLimitExceeded) {
			t.Errorf("got %v", cl.Error)
		}
	})
}

func TestResumeOfALinkThatWeDetachedWithAnError(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		s := tk.sender()
		s.Detach(true, amqp.Errorf(amqp.ErrCondDetachForced, ""))
		next[*amqp.Detach](tk)
		a := attach(amqp.RoleReceiver, 1, "l")
		a.Unsettled = []amqp.UnsettledDelivery{}
		tk.say(0, a)
		next[*amqp.Attach](tk)
		tk.say(0, &amqp.Detach{Closed: true})
		tk.wantIdle()
		if n := tk.c.Stats().Links; n != 1 {
			t.Errorf("%d links", n)
		}
	})
}

func TestSenderMustSayItsDeliveryCount(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		h.forget()
		a := attach(amqp.RoleSender, 0, "l")
		a.InitialDeliveryCount = amqp.Optional[uint32]{}
		tk.say(0, a)
		if answer := next[*amqp.Attach](tk); answer.Target != nil {
			t.Errorf("got %s", show(answer))
		}
		if d := next[*amqp.Detach](tk); condition(d.Error) != string(amqp.ErrCondInvalidField) || !d.Closed {
			t.Errorf("got %s", show(d))
		}
		tk.say(0, &amqp.Detach{Closed: true})
		h.wantCalls()
		if n := tk.c.Stats().Links; n != 0 {
			t.Errorf("%d links", n)
		}
	})
}

func TestAttachThatDoesNotFit(t *testing.T) {
	h := &recorder{}
	big := make([]byte, 600)
	h.onAttached = func(l Link) {
		a := l.Answer()
		a.Properties = map[amqp.Symbol]any{"big": big}
		l.(*Sender).Accept(a)
	}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.hello(&amqp.Open{ContainerID: "them", MaxFrameSize: 512})
		tk.begin(0)
		tk.say(0, attach(amqp.RoleReceiver, 0, "l"))
		if e := next[*amqp.End](tk); condition(e.Error) != string(amqp.ErrCondFrameSizeTooSmall) {
			t.Errorf("got %v", e.Error)
		}
		tk.say(0, &amqp.End{})
		tk.wantIdle()
	})
}

func TestLongErrorsAreShortened(t *testing.T) {
	h := &recorder{credit: 10}
	long := amqp.Errorf(amqp.ErrCondNotAllowed, "%0600d", 1)
	long.Info = map[amqp.Symbol]any{"detail": make([]byte, 600)}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.hello(&amqp.Open{ContainerID: "them", MaxFrameSize: 512})
		tk.begin(0)
		tk.attachAs(amqp.RoleSender, 0, "l")
		next[*amqp.Flow](tk)
		tk.say(0, transfer(0), 'x')
		h.forget()
		r := h.rcv[0]
		r.Settle(h.refs[0], amqp.Rejected{Error: long}, nil)
		d := next[*amqp.Disposition](tk)
		if e := d.State.(amqp.Rejected).Error; e == nil || e.Condition != long.Condition || !d.Settled {
			t.Errorf("got %s", show(d))
		}
		r.Detach(true, long)
		if d := next[*amqp.Detach](tk); condition(d.Error) != string(long.Condition) {
			t.Errorf("got %s", show(d))
		}
		h.sessions[0].End(long)
		if e := next[*amqp.End](tk); condition(e.Error) != string(long.Condition) {
			t.Errorf("got %s", show(e))
		}
		tk.c.Close(long)
		if cl := next[*amqp.Close](tk); condition(cl.Error) != string(long.Condition) {
			t.Errorf("got %s", show(cl))
		}
		if len(long.Info) != 1 {
			t.Error("the caller's error was changed")
		}
	})
}

func TestManySessions(t *testing.T) {
	h := &recorder{}
	converse(t, Config{ChannelMax: 3}, false, h, func(tk *talk) {
		tk.hello(&amqp.Open{ContainerID: "them", ChannelMax: 3})
		for i := range uint16(4) {
			tk.begin(3 - i)
		}
		// The lowest free channel is used again.
		tk.say(2, &amqp.End{})
		if f := tk.next(); f.channel != 1 {
			t.Errorf("end on channel %d", f.channel)
		}
		tk.say(2, &amqp.Begin{HandleMax: 1})
		if f := tk.next(); f.channel != 1 {
			t.Errorf("begin on channel %d", f.channel)
		}
	})
}

func TestDispositionsReachAllLinksOfASession(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		for i := range uint32(3) {
			tk.attachAs(amqp.RoleReceiver, i, string(rune('a'+i)))
			tk.say(0, credits(i, 0, 10))
		}
		h.forget()
		for range 2 {
			for i, s := range h.snd {
				tk.send(s, string(rune('a'+i)), false)
			}
		}
		for range 6 {
			next[*amqp.Transfer](tk)
		}
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 1, Last: 4, Settled: true, State: amqp.Accepted{}})
		h.wantCalls(
			"outcome b amqp.Accepted final true lost false sent true", "outcome c amqp.Accepted final true lost false sent true",
			"outcome a amqp.Accepted final true lost false sent true", "outcome b amqp.Accepted final true lost false sent true",
		)
	})
}

func TestLimitsOfThePeerThatCameTooLate(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, true, h, func(tk *talk) {
		tk.wantHeader(amqp.HeaderAMQP)
		first, err := tk.c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		second, err := tk.c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := second.NewSender(amqp.Attach{Name: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			if _, err := first.NewReceiver(amqp.Attach{Name: name, Source: &amqp.Source{}}, 1, name); err != nil {
				t.Fatal(err)
			}
		}
		tk.bytes(amqp.HeaderAMQP.Append(nil))
		next[*amqp.Open](tk)
		tk.say(0, &amqp.Open{ContainerID: "them", ChannelMax: 0})
		h.wantCalls("opened them", "detached x closed false err amqp:resource-limit-exceeded answer false lost true", "ended amqp:resource-limit-exceeded")
		next[*amqp.Begin](tk)
		tk.say(0, &amqp.Begin{RemoteChannel: amqp.Some(uint16(0)), HandleMax: 0})
		h.wantCalls("begun", "detached b closed false err amqp:resource-limit-exceeded answer false lost true")
		if a := next[*amqp.Attach](tk); a.Name != "a" {
			t.Errorf("got %s", show(a))
		}
		tk.wantIdle()
		if st := tk.c.Stats(); st.Sessions != 1 || st.Links != 1 {
			t.Errorf("%+v", st)
		}
		if _, err := second.NewSender(amqp.Attach{Name: "y"}, nil); err != ErrGone {
			t.Errorf("got %v", err)
		}
		second.End(nil)
		tk.wantIdle()
	})
}

func TestUnhandled(t *testing.T) {
	// What a handler does that embeds Unhandled and overrides nothing, but takes links.
	synctestTalk(t, &takesLinks{}, func(tk *talk) {
		tk.helloSession()
		tk.attachAs(amqp.RoleSender, 0, "in")
		next[*amqp.Flow](tk)
		tk.say(0, transfer(0), 'x')
		tk.want(0, &amqp.Disposition{Role: amqp.RoleReceiver, Settled: true, State: amqp.Released{}})
		tk.attachAs(amqp.RoleReceiver, 1, "out")
		f := credits(1, 0, 3)
		f.Drain = true
		tk.say(0, f)
		if f := next[*amqp.Flow](tk); f.DeliveryCount != some(3) || !f.Drain {
			t.Errorf("got %s", show(f))
		}
		tk.say(0, &amqp.Detach{Handle: 0})
		next[*amqp.Detach](tk)
	})
	synctestTalk(t, Unhandled{}, func(tk *talk) {
		tk.helloSession()
		tk.attachAs(amqp.RoleSender, 0, "in")
		if d := next[*amqp.Detach](tk); condition(d.Error) != string(amqp.ErrCondNotImplemented) {
			t.Errorf("got %v", d.Error)
		}
	})
}

type takesLinks struct{ Unhandled }

func (*takesLinks) Attached(l Link) {
	switch l := l.(type) {
	case *Sender:
		l.Accept(l.Answer())
	case *Receiver:
		l.Accept(l.Answer(), 5)
	}
}
