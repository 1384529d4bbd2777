package endpoint

import (
	"errors"
	"testing"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

func TestOpenBeginAttachDetachEndClose(t *testing.T) {
	h := &recorder{credit: 10}
	converse(t, Config{ContainerID: "us", IdleTimeout: time.Minute, Properties: map[amqp.Symbol]any{"product": "posthouse"}}, false, h, func(tk *talk) {
		tk.bytes(amqp.HeaderAMQP.Append(nil))
		tk.wantHeader(amqp.HeaderAMQP)
		tk.wantIdle() // the accepting side's open waits for the peer's
		tk.say(0, &amqp.Open{ContainerID: "them", MaxFrameSize: 4096, ChannelMax: 7})
		tk.want(0, &amqp.Open{
			ContainerID: "us", MaxFrameSize: defaultMaxFrameSize, ChannelMax: defaultChannelMax, IdleTimeOut: 30000,
			Properties: map[amqp.Symbol]any{"product": "posthouse"},
		})
		tk.say(5, &amqp.Begin{NextOutgoingID: 17, IncomingWindow: 1, OutgoingWindow: 1, HandleMax: amqp.DefaultHandleMax})
		tk.want(0, &amqp.Begin{RemoteChannel: amqp.Some(uint16(5)), IncomingWindow: defaultSessionWindow, OutgoingWindow: outgoingWindow, HandleMax: defaultHandleMax})
		tk.say(5, attach(amqp.RoleSender, 3, "l"))
		tk.want(0, &amqp.Attach{
			Name: "l", Handle: 0, Role: amqp.RoleReceiver, SndSettleMode: amqp.SenderMixed, MaxMessageSize: defaultMaxMessageSize,
			Source: &amqp.Source{Address: "a"}, Target: &amqp.Target{Address: "a"},
		})
		tk.want(0, &amqp.Flow{
			NextIncomingID: amqp.Some(uint32(17)), IncomingWindow: defaultSessionWindow, OutgoingWindow: outgoingWindow,
			Handle: amqp.Some(uint32(0)), DeliveryCount: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(10)), Available: amqp.Some(uint32(0)),
		})
		tk.say(5, &amqp.Detach{Handle: 3, Closed: true})
		tk.want(0, &amqp.Detach{Handle: 0, Closed: true})
		tk.say(5, &amqp.End{})
		tk.want(0, &amqp.End{})
		tk.say(0, &amqp.Close{})
		tk.want(0, &amqp.Close{})
		tk.wantEOF()
		if err := tk.wantRun(); err != nil {
			t.Errorf("Run: %v", err)
		}
		h.wantCalls("opened them", "begun", "attached l", "detached l closed true err - answer false lost false", "ended -", "closed -")
	})
}

func TestDialledSideOpensBeginsAndAttaches(t *testing.T) {
	h := &recorder{}
	converse(t, Config{ContainerID: "us", Hostname: "there", IdleTimeout: -1}, true, h, func(tk *talk) {
		tk.wantHeader(amqp.HeaderAMQP)
		s, err := tk.c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		snd, err := s.NewSender(amqp.Attach{Name: "out", Target: &amqp.Target{Address: "x"}, Source: &amqp.Source{}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.NewSender(amqp.Attach{Name: "out"}, nil); !errors.Is(err, ErrNameInUse) {
			t.Errorf("second link of the name: %v", err)
		}
		tk.bytes(amqp.HeaderAMQP.Append(nil))
		tk.want(0, &amqp.Open{ContainerID: "us", Hostname: "there", MaxFrameSize: defaultMaxFrameSize, ChannelMax: defaultChannelMax})
		tk.wantIdle() // nothing that depends on the peer's limits
		tk.say(0, &amqp.Open{ContainerID: "them", MaxFrameSize: 512, ChannelMax: 0})
		tk.want(0, &amqp.Begin{IncomingWindow: defaultSessionWindow, OutgoingWindow: outgoingWindow, HandleMax: defaultHandleMax})
		tk.wantIdle()
		tk.say(0, &amqp.Begin{RemoteChannel: amqp.Some(uint16(0)), IncomingWindow: 10, HandleMax: 0})
		a := next[*amqp.Attach](tk)
		if a.Name != "out" || a.Role != amqp.RoleSender || !a.InitialDeliveryCount.Set {
			t.Errorf("got %s", show(a))
		}
		if _, err := s.NewReceiver(amqp.Attach{Name: "in"}, 1, nil); !errors.Is(err, ErrLimit) {
			t.Errorf("link beyond handle-max: %v", err)
		}
		if _, err := tk.c.Begin(); !errors.Is(err, ErrLimit) {
			t.Errorf("session beyond channel-max: %v", err)
		}
		if _, err := snd.Send(&Outgoing{}, nil); !errors.Is(err, ErrNoCredit) {
			t.Errorf("send without credit: %v", err)
		}
		tk.say(0, attach(amqp.RoleReceiver, 0, "out"))
		tk.say(0, &amqp.Flow{NextIncomingID: amqp.Some(uint32(0)), IncomingWindow: 10, Handle: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(2))})
		h.wantCalls("opened them", "begun", "attached out", "credit 2 drain false")
		tk.c.Close(nil)
		tk.want(0, &amqp.Close{})
		tk.say(0, &amqp.Close{})
		tk.wantEOF()
		h.wantCalls("detached out closed false err - answer false lost true", "ended -", "closed -")
	})
}

func TestPipelinedOpen(t *testing.T) {
	h := &recorder{credit: 10}
	converse(t, Config{}, false, h, func(tk *talk) {
		// 2.4.2: everything at once, before a word of the other side.
		b := amqp.HeaderAMQP.Append(nil)
		b = append(b, frameBytes(0, &amqp.Open{ContainerID: "them"}, nil)...)
		b = append(b, frameBytes(0, &amqp.Begin{IncomingWindow: 5, HandleMax: amqp.DefaultHandleMax}, nil)...)
		b = append(b, frameBytes(0, attach(amqp.RoleSender, 0, "l"), nil)...)
		b = append(b, frameBytes(0, &amqp.Close{}, nil)...)
		tk.bytes(b)
		tk.wantHeader(amqp.HeaderAMQP)
		next[*amqp.Open](tk)
		next[*amqp.Close](tk)
		tk.wantEOF()
		if err := tk.wantRun(); err != nil {
			t.Errorf("Run: %v", err)
		}
		h.wantCalls("opened them", "begun", "attached l", "detached l closed false err - answer false lost true", "ended -", "closed -")
	})
}

func TestShutdownIsForced(t *testing.T) {
	h := &recorder{credit: 1}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		tk.attachAs(amqp.RoleReceiver, 0, "l")
		tk.stop()
		if cl := next[*amqp.Close](tk); condition(cl.Error) != string(amqp.ErrCondConnectionForced) {
			t.Errorf("got %v", cl.Error)
		}
		tk.say(0, &amqp.Flow{IncomingWindow: 1, Echo: true}) // sent before our close was read
		tk.wantIdle()
		tk.say(0, &amqp.Close{})
		tk.wantEOF()
		var local *LocalError
		if err := tk.wantRun(); !errors.As(err, &local) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestPeerThatNeverAnswersOurClose(t *testing.T) {
	h := &recorder{}
	converse(t, Config{CloseTimeout: 3 * time.Second}, false, h, func(tk *talk) {
		tk.hello(nil)
		tk.c.Close(nil)
		next[*amqp.Close](tk)
		time.Sleep(2 * time.Second)
		tk.wantIdle()
		time.Sleep(2 * time.Second)
		tk.wantEOF()
		tk.wantRun()
	})
}

func TestSimultaneousClose(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.hello(nil)
		tk.c.Close(amqp.Errorf(amqp.ErrCondConnectionRedirect, "elsewhere"))
		tk.say(0, &amqp.Close{Error: amqp.Errorf(amqp.ErrCondInternalError, "mine")})
		if cl := next[*amqp.Close](tk); condition(cl.Error) != string(amqp.ErrCondConnectionRedirect) {
			t.Errorf("got %v", cl.Error)
		}
		tk.wantEOF()
		tk.wantRun()
	})
}

func TestRefusedInOpened(t *testing.T) {
	h := &recorder{}
	h.onOpened = func(c *Conn, o *amqp.Open) {
		c.Offer([]amqp.Symbol{"X"}, map[amqp.Symbol]any{"amqp:connection-establishment-failed": true})
		c.Close(amqp.Errorf(amqp.ErrCondInvalidField, "container-id"))
	}
	converse(t, Config{Properties: map[amqp.Symbol]any{"product": "p"}}, false, h, func(tk *talk) {
		o := tk.hello(nil)
		if len(o.Properties) != 2 || len(o.OfferedCapabilities) != 1 {
			t.Errorf("got %s", show(o))
		}
		if cl := next[*amqp.Close](tk); condition(cl.Error) != string(amqp.ErrCondInvalidField) {
			t.Errorf("got %v", cl.Error)
		}
	})
}

func TestHeartbeatsAtHalfThePeersTimeout(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		h := &recorder{}
		converse(t, Config{IdleTimeout: -1}, dialled, h, func(tk *talk) {
			if dialled {
				tk.wantHeader(amqp.HeaderAMQP)
				tk.bytes(amqp.HeaderAMQP.Append(nil))
				next[*amqp.Open](tk)
				tk.say(0, &amqp.Open{ContainerID: "them", IdleTimeOut: 1000})
			} else {
				tk.hello(&amqp.Open{ContainerID: "them", IdleTimeOut: 1000})
			}
			time.Sleep(499 * time.Millisecond)
			tk.wantIdle()
			for range 5 {
				time.Sleep(2 * time.Millisecond)
				if f := tk.next(); f.body != nil || f.channel != 0 {
					t.Fatalf("got %v", show(f.body))
				}
				time.Sleep(498 * time.Millisecond)
				tk.wantIdle()
			}
		})
	}
}

func TestSilentPeerIsClosed(t *testing.T) {
	h := &recorder{}
	converse(t, Config{IdleTimeout: 10 * time.Second}, false, h, func(tk *talk) {
		if o := tk.hello(nil); o.IdleTimeOut != 5000 {
			t.Errorf("idle-time-out %d", o.IdleTimeOut)
		}
		for range 3 {
			time.Sleep(9 * time.Second)
			tk.bytes(amqp.AppendHeartbeat(nil))
			tk.wantIdle()
		}
		time.Sleep(9 * time.Second)
		tk.bytes([]byte{0, 0, 0}) // a part of a frame is no frame
		time.Sleep(999 * time.Millisecond)
		tk.wantIdle()
		time.Sleep(2 * time.Millisecond)
		cl := next[*amqp.Close](tk)
		if condition(cl.Error) != string(amqp.ErrCondResourceLimitExceeded) {
			t.Errorf("got %v", cl.Error)
		}
		time.Sleep(defaultCloseTimeout + time.Second)
		tk.wantEOF()
		h.wantCalls("opened them", "closed amqp:resource-limit-exceeded")
	})
}

func TestHandshakeTimeout(t *testing.T) {
	for name, said := range map[string][]byte{
		"nothing":     nil,
		"half header": []byte("AMQ"),
		"header":      amqp.HeaderAMQP.Append(nil),
		"SASL header": amqp.HeaderSASL.Append(nil),
	} {
		t.Run(name, func(t *testing.T) {
			h := &recorder{}
			converse(t, Config{HandshakeTimeout: 3 * time.Second}, false, h, func(tk *talk) {
				if said != nil {
					tk.bytes(said)
				}
				time.Sleep(2 * time.Second)
				tk.skip()
				tk.wantIdle()
				time.Sleep(2 * time.Second)
				tk.skip()
				tk.wantEOF()
				if err := tk.wantRun(); !errors.Is(err, ErrHandshake) {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

func TestDroppedSocket(t *testing.T) {
	h := &recorder{credit: 5}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		tk.attachAs(amqp.RoleSender, 0, "l")
		_ = tk.nc.Close()
		if err := tk.wantRun(); !errors.Is(err, ErrDropped) {
			t.Errorf("Run: %v", err)
		}
		h.wantCalls("opened them", "begun", "attached l", "detached l closed false err - answer false lost true", "ended -", "closed -")
		if _, err := tk.c.Begin(); !errors.Is(err, ErrGone) {
			t.Errorf("Begin: %v", err)
		}
	})
}

func TestAbort(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.hello(nil)
		tk.c.Abort()
		tk.wantEOF()
		tk.wantRun()
	})
}
