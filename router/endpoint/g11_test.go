package endpoint

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// scope is how far a mistake reaches.
type scope int

const (
	fine scope = iota
	ofLink
	ofSession
	ofConnection
)

// TestG11BadInput is the table of what a peer must not do, and the condition and scope that the specification names for it. After each, what is
// outside the scope must work on: a second link of the session, a second session of the connection, a second connection.
//
// Each case begins with: session 0 with link 0 (the peer sends, credit 2, max-message-size 100), link 1 (the peer receives) and
// link 2 (the peer sends, mode settled); session 1 with link 0 (the peer receives).
func TestG11BadInput(t *testing.T) {
	raw := func(channel uint16, body ...byte) []byte {
		b := amqp.BeginFrame(nil, amqp.FrameAMQP, channel)
		return amqp.EndFrame(append(b, body...), 0, 0)
	}
	size := func(n uint32, rest ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), rest...) }
	more := func(tr *amqp.Transfer) *amqp.Transfer { tr.More = true; return tr }
	say := func(frames ...any) func(tk *talk) {
		return func(tk *talk) {
			tk.t.Helper()
			for _, f := range frames {
				switch f := f.(type) {
				case []byte:
					tk.bytes(f)
				case amqp.Performative:
					tk.say(0, f, 'x')
				case frame:
					tk.say(f.channel, f.body, f.payload...)
				}
			}
		}
	}
	bare := func(p amqp.Performative) frame { return frame{body: p} }
	on := func(channel uint16, p amqp.Performative) frame { return frame{channel: channel, body: p} }
	tag33 := transfer(0)
	tag33.DeliveryTag = make([]byte, 33)
	second := transfer(0)
	second.RcvSettleMode = amqp.Some(amqp.ReceiverSecond)

	cases := []struct {
		name string
		do   func(tk *talk)
		want scope
		cond amqp.Symbol
	}{
		// Framing (2.3): nothing can be told apart any more.
		{"frame size below 8", say(size(7, 2, 0, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"frame size 0", say(size(0, 2, 0, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"data offset below 2", say(size(8, 1, 0, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"data offset behind the frame", say(size(8, 3, 0, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"frame type unknown", say(size(8, 2, 9, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"SASL frame after SASL", say(size(8, 2, 1, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"frame above max-frame-size", say(size(1<<20, 2, 0, 0, 0)), ofConnection, amqp.ErrCondFramingError},
		{"HTTP in the middle", say([]byte("GET / HTTP/1.1\r\n\r\n")), ofConnection, amqp.ErrCondFramingError},

		// Bodies.
		{"body that is no described type", say(raw(0, 0x40)), ofConnection, amqp.ErrCondDecodeError},
		{"unknown performative", say(raw(0, 0x00, 0x53, 0x77, 0x45)), ofConnection, amqp.ErrCondNotImplemented},
		{"transfer cut short", say(raw(0, 0x00, 0x53, 0x14, 0xc0, 0x20, 0x05, 0x43)), ofSession, amqp.ErrCondDecodeError},
		{"flow that is no list", say(raw(0, 0x00, 0x53, 0x13, 0x43)), ofSession, amqp.ErrCondDecodeError},
		{"transfer without handle", say(raw(0, 0x00, 0x53, 0x14, 0x45)), ofSession, amqp.ErrCondInvalidField},
		{"attach without name", say(raw(0, 0x00, 0x53, 0x12, 0xc0, 0x04, 0x03, 0x40, 0x43, 0x41)), ofSession, amqp.ErrCondInvalidField},
		{"begin that is empty", say(raw(5, 0x00, 0x53, 0x11, 0x45)), ofConnection, amqp.ErrCondInvalidField},
		{"attach with role of a wrong type", say(raw(0, 0x00, 0x53, 0x12, 0xc0, 0x07, 0x03, 0xa1, 0x01, 'n', 0x52, 0x09, 0x43)), ofSession, amqp.ErrCondInvalidField},

		// Connection (2.4).
		{"second open", say(&amqp.Open{ContainerID: "again"}), ofConnection, amqp.ErrCondNotAllowed},
		{"channel above channel-max", say(on(8, &amqp.Begin{HandleMax: 1})), ofConnection, amqp.ErrCondFramingError},
		{"frame above channel-max", say(on(8, &amqp.Flow{})), ofConnection, amqp.ErrCondFramingError},
		{"frame on a channel without session", say(on(5, &amqp.Flow{})), ofConnection, amqp.ErrCondNotAllowed},
		{"end on a channel without session", say(on(5, &amqp.End{})), ofConnection, amqp.ErrCondNotAllowed},
		{"begin answers nothing", say(on(5, &amqp.Begin{RemoteChannel: amqp.Some(uint16(3)), HandleMax: 1})), ofConnection, amqp.ErrCondInvalidField},
		{"begin answers a session of its own", say(on(5, &amqp.Begin{RemoteChannel: amqp.Some(uint16(0)), HandleMax: 1})), ofConnection, amqp.ErrCondInvalidField},

		// Session (2.5).
		{"begin on a channel in use", say(&amqp.Begin{HandleMax: 1}), ofSession, amqp.ErrCondIllegalState},
		{"transfers beyond the window", func(tk *talk) {
			// 4 of 8 renew it; so the renewal must not go out before: one write.
			var b []byte
			tr := more(transfer(0))
			for range 9 {
				b = append(b, frameBytes(0, tr, []byte("x"))...)
				tr = &amqp.Transfer{More: true}
			}
			tk.bytes(b)
		}, ofSession, amqp.ErrCondWindowViolation},
		{"attach with a handle in use", say(bare(attach(amqp.RoleSender, 0, "other"))), ofConnection, amqp.ErrCondHandleInUse}, // 2.7.3: close
		{"attach above handle-max", say(bare(attach(amqp.RoleSender, 21, "other"))), ofConnection, amqp.ErrCondFramingError},   // 2.7.2: close
		{"transfer on an unattached handle", say(&amqp.Transfer{Handle: 9}), ofSession, amqp.ErrCondUnattachedHandle},
		{"transfer on a handle far out", say(&amqp.Transfer{Handle: 1<<32 - 1}), ofSession, amqp.ErrCondUnattachedHandle},
		{"flow on an unattached handle", say(bare(&amqp.Flow{NextIncomingID: some(0), Handle: some(9)})), ofSession, amqp.ErrCondUnattachedHandle},
		{"detach of an unattached handle", say(bare(&amqp.Detach{Handle: 9})), ofSession, amqp.ErrCondUnattachedHandle},
		{"detach twice", func(tk *talk) {
			tk.say(0, &amqp.Detach{Handle: 0})
			next[*amqp.Detach](tk)
			tk.say(0, &amqp.Detach{Handle: 0})
		}, ofSession, amqp.ErrCondUnattachedHandle},
		{"disposition from behind to before", say(bare(&amqp.Disposition{First: 5, Last: 4})), ofSession, amqp.ErrCondInvalidField},
		{"delivery-id used again", say(transfer(0), transfer(0)), ofSession, amqp.ErrCondInvalidField},
		{"delivery-id from before", say(transfer(7), transfer(6)), ofSession, amqp.ErrCondInvalidField},
		{"more links than we bear", func(tk *talk) {
			for i := range uint32(5) {
				tk.say(0, attach(amqp.RoleReceiver, 10+i, string(rune('A'+i))))
				tk.skipAttaches()
			}
		}, ofSession, amqp.ErrCondResourceLimitExceeded},
		{"transfer on a link that we detached with an error, after reading that", func(tk *talk) {
			tk.h.rcv[0].Detach(true, amqp.Errorf(amqp.ErrCondDetachForced, ""))
			next[*amqp.Detach](tk)
			// The window of 8 that it had before may have been under way, whatever its credit. The ninth needed a flow of ours.
			for i := range uint32(8) {
				tk.say(0, transfer(i), 'x')
				tk.skipFlows()
			}
			tk.wantIdle()
			tk.say(0, transfer(8), 'x')
		}, ofSession, amqp.ErrCondErrantLink},
		{"transfers on a link that is detached for exceeding its credit", func(tk *talk) {
			var b []byte
			for i := range uint32(7) {
				b = append(b, frameBytes(0, transfer(i), []byte("x"))...)
			}
			tk.bytes(b)
		}, ofLink, amqp.ErrCondTransferLimitExceeded},
		{"attach without unsettled map of a link that we detached with an error", func(tk *talk) {
			tk.h.rcv[0].Detach(true, amqp.Errorf(amqp.ErrCondDetachForced, ""))
			next[*amqp.Detach](tk)
			tk.say(0, attach(amqp.RoleSender, 9, "in"))
		}, ofSession, amqp.ErrCondErrantLink},

		// Link (2.6).
		{"transfer without credit", say(transfer(0), transfer(1), transfer(2)), ofLink, amqp.ErrCondTransferLimitExceeded},
		{"transfer without delivery-id", say(&amqp.Transfer{DeliveryTag: []byte{1}}), ofLink, amqp.ErrCondInvalidField},
		{"transfer without delivery-tag", say(&amqp.Transfer{DeliveryID: some(0)}), ofLink, amqp.ErrCondInvalidField},
		{"continuation with another delivery-id", say(more(transfer(0)), &amqp.Transfer{DeliveryID: some(1)}), ofLink, amqp.ErrCondInvalidField},
		{"continuation with another delivery-tag", say(more(transfer(0)), &amqp.Transfer{DeliveryTag: []byte{9}}), ofLink, amqp.ErrCondInvalidField},
		{"message above max-message-size", say(frame{0, transfer(0), make([]byte, 101)}), ofLink, amqp.ErrCondMessageSizeExceeded},
		{"message above max-message-size in parts", say(frame{0, more(transfer(0)), make([]byte, 60)}, frame{0, &amqp.Transfer{More: true}, make([]byte, 41)}), ofLink, amqp.ErrCondMessageSizeExceeded},
		{"mode second on a link of mode first", say(second), ofLink, amqp.ErrCondInvalidField},
		{"unsettled on a link of mode settled", say(&amqp.Transfer{Handle: 2, DeliveryID: some(0), DeliveryTag: []byte{0}}), ofLink, amqp.ErrCondNotAllowed},
		{"transfer from a receiver", say(&amqp.Transfer{Handle: 1, DeliveryID: some(0), DeliveryTag: []byte{0}}), ofLink, amqp.ErrCondNotAllowed},

		// What looks wrong and is not.
		{"empty frames", say(raw(0), raw(3)), fine, ""},
		{"extended header", say(size(12, 3, 0, 0, 0, 1, 2, 3, 4)), fine, ""},
		{"disposition of deliveries that are not there", say(bare(&amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 1<<31 - 1, Settled: true})), fine, ""},
		{"disposition of the sender of deliveries that are not there", say(bare(&amqp.Disposition{First: 0, Last: 1<<31 - 1, Settled: true})), fine, ""},
		{"delivery-ids with gaps", say(transfer(7), transfer(1000)), fine, ""},
		{"delivery-ids that wrap around", say(transfer(1<<32-1), transfer(0)), fine, ""},
		{"aborted delivery", say(more(transfer(0)), &amqp.Transfer{Aborted: true}), fine, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { badInput(t, c.do, c.want, c.cond) })
	}
	t.Run("tag of 33 bytes", func(t *testing.T) {
		// The codec or the link may find it: at either scope the field is what is wrong.
		badInput(t, func(tk *talk) {
			b := amqp.BeginFrame(nil, amqp.FrameAMQP, 0)
			b = append(b, 0x00, 0x53, 0x14, 0xc0, 38, 3, 0x43, 0x43, 0xa0, 33)
			b = append(b, tag33.DeliveryTag...)
			tk.bytes(amqp.EndFrame(b, 0, 0))
		}, ofSession, amqp.ErrCondInvalidField)
	})
}

func badInput(t *testing.T, do func(tk *talk), want scope, cond amqp.Symbol) {
	h := &recorder{credit: 2}
	cfg := Config{ChannelMax: 7, HandleMax: 20, MaxLinks: 8, MaxMessageSize: 100, SessionWindow: 8}
	b := NewBudget(1 << 30)
	cfg.Budget = b
	converse(t, cfg, false, h, func(tk *talk) {
		tk.helloSession()
		tk.attachAs(amqp.RoleSender, 0, "in")
		next[*amqp.Flow](tk)
		tk.attachAs(amqp.RoleReceiver, 1, "out")
		a := attach(amqp.RoleSender, 2, "settled")
		a.SndSettleMode = amqp.SenderSettled
		tk.say(0, a)
		next[*amqp.Attach](tk)
		next[*amqp.Flow](tk)
		tk.begin(1)
		tk.say(1, attach(amqp.RoleReceiver, 0, "out2"))
		next[*amqp.Attach](tk)

		do(tk)
		tk.skipFlows()
		switch want {
		case ofLink:
			d := next[*amqp.Detach](tk)
			if d.Error == nil || d.Error.Condition != cond || !d.Closed {
				t.Fatalf("got %s %v", show(d), d.Error)
			}
			tk.skipFlows() // the window is renewed for swallowed transfers too
		case ofSession:
			f := tk.next()
			e, ok := f.body.(*amqp.End)
			if !ok || f.channel != 0 || condition(e.Error) != string(cond) {
				t.Fatalf("got %s %v", show(f.body), f.body)
			}
			tk.say(0, &amqp.Flow{NextIncomingID: some(0), Echo: true}) // 2.5.5: discarded
			tk.wantIdle()
			tk.say(0, &amqp.End{})
		case ofConnection:
			cl := next[*amqp.Close](tk)
			if condition(cl.Error) != string(cond) {
				t.Fatalf("got %v", cl.Error)
			}
			tk.say(0, &amqp.Flow{NextIncomingID: some(0), Echo: true}) // 2.4.6: discarded
			tk.wantIdle()
			tk.say(0, &amqp.Close{})
			time.Sleep(defaultCloseTimeout)
			tk.wantEOF()
			return
		}
		if want < ofSession {
			handle := uint32(1)
			if h.rcv[len(h.rcv)-1].Credit() > 0 {
				handle = 2
			}
			tk.say(0, &amqp.Flow{NextIncomingID: some(0), IncomingWindow: 10, Handle: some(handle), LinkCredit: some(2), Echo: true})
			if f := next[*amqp.Flow](tk); f.LinkCredit != some(2) {
				t.Errorf("got %s", show(f))
			}
		}
		tk.say(1, &amqp.Flow{NextIncomingID: some(0), IncomingWindow: 10, Handle: some(0), LinkCredit: some(5), Echo: true})
		if f := next[*amqp.Flow](tk); f.LinkCredit != some(5) {
			t.Errorf("got %s", show(f))
		}
		tk.wantIdle()
	})
	if b.Used() != 0 {
		t.Errorf("%d bytes left in the budget", b.Used())
	}
}

// skipFlows forgets flows at the head of what has come.
func (tk *talk) skipFlows() {
	tk.skipWhile(func(p amqp.Performative) bool { _, ok := p.(*amqp.Flow); return ok })
}

func (tk *talk) skipAttaches() {
	tk.skipWhile(func(p amqp.Performative) bool { _, ok := p.(*amqp.Attach); return ok })
}

func (tk *talk) skipWhile(skip func(p amqp.Performative) bool) {
	tk.t.Helper()
	for {
		synctest.Wait()
		tk.mu.Lock()
		before := tk.in
		tk.mu.Unlock()
		f, ok := tk.poll()
		if ok && f.body != nil && skip(f.body) {
			continue
		}
		if ok {
			tk.mu.Lock()
			tk.in = before
			tk.mu.Unlock()
		}
		return
	}
}

// TestG11BadOpening is what a peer must not do before it has opened.
func TestG11BadOpening(t *testing.T) {
	header := amqp.HeaderAMQP.Append(nil)
	opened := func(o *amqp.Open) []byte { return append(header[:8:8], frameBytes(0, o, nil)...) }
	onChannel3 := append(header[:8:8], frameBytes(3, &amqp.Open{ContainerID: "x"}, nil)...)
	for _, c := range []struct {
		name string
		said []byte
		cond amqp.Symbol
	}{
		{"begin before open", append(header[:8:8], frameBytes(0, &amqp.Begin{HandleMax: 1}, nil)...), amqp.ErrCondNotAllowed},
		{"close before open", append(header[:8:8], frameBytes(0, &amqp.Close{}, nil)...), amqp.ErrCondNotAllowed},
		{"open on channel 3", onChannel3, amqp.ErrCondNotAllowed},
		{"open without container-id", append(header[:8:8], 0, 0, 0, 12, 2, 0, 0, 0, 0x00, 0x53, 0x10, 0x45), amqp.ErrCondInvalidField},
		{"max-frame-size below 512", opened(&amqp.Open{ContainerID: "x", MaxFrameSize: 511}), amqp.ErrCondInvalidField},
		{"idle-time-out that nobody can keep", opened(&amqp.Open{ContainerID: "x", IdleTimeOut: 1}), amqp.ErrCondInvalidField},
		{"garbage behind the header", append(header[:8:8], "hello, world"...), amqp.ErrCondFramingError},
	} {
		t.Run(c.name, func(t *testing.T) {
			converse(t, Config{}, false, &recorder{}, func(tk *talk) {
				tk.bytes(c.said)
				tk.wantHeader(amqp.HeaderAMQP)
				next[*amqp.Open](tk) // 2.4.7: no close without it
				cl := next[*amqp.Close](tk)
				if condition(cl.Error) != string(c.cond) {
					t.Fatalf("got %v", cl.Error)
				}
				_ = tk.nc.Close()
				tk.wantRun()
			})
		})
	}
}

// TestG11BadHeader: 2.2, a header that can't be served is answered by one that can, and the socket is closed.
func TestG11BadHeader(t *testing.T) {
	sasl := &Authentication{Anonymous: true}
	for _, c := range []struct {
		name string
		auth *Authentication
		said string
		want amqp.ProtocolHeader
	}{
		{"HTTP", nil, "GET / HTTP/1.1\r\n", amqp.HeaderAMQP},
		{"0-9-1", nil, "AMQP\x00\x00\x09\x01", amqp.HeaderAMQP},
		{"1.1", nil, "AMQP\x00\x01\x01\x00", amqp.HeaderAMQP},
		{"TLS", nil, "AMQP\x02\x01\x00\x00", amqp.HeaderAMQP},
		{"bare where SASL is needed", sasl, "AMQP\x00\x01\x00\x00", amqp.HeaderSASL},
		{"HTTP where SASL is needed", sasl, "GET / HTTP/1.1\r\n", amqp.HeaderSASL},
	} {
		t.Run(c.name, func(t *testing.T) {
			converse(t, Config{Authenticate: c.auth}, false, &recorder{}, func(tk *talk) {
				tk.bytes([]byte(c.said))
				tk.wantHeader(c.want)
				tk.wantEOF()
				tk.wantRun()
			})
		})
	}
}
