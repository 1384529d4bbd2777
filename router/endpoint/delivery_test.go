package endpoint

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/posthouse/posthouse/router/amqp"
)

func TestSettleMergesIntoRanges(t *testing.T) {
	h := &recorder{credit: 100}
	converse(t, Config{}, false, h, func(tk *talk) {
		r := tk.receiver()
		for i := range uint32(10) {
			tk.say(0, transfer(i), 'x')
		}
		tk.h.forget()
		var b Batch
		rejected := amqp.Rejected{Error: amqp.Errorf(amqp.ErrCondNotAllowed, "no")}
		for _, i := range []int{5, 3, 4, 0, 9, 8, 1} {
			if !r.Settle(h.refs[i], amqp.Accepted{}, &b) {
				t.Errorf("delivery %d", i)
			}
		}
		r.Settle(h.refs[6], rejected, &b)
		r.Settle(h.refs[7], rejected, &b)
		if r.Settle(h.refs[5], amqp.Released{}, &b) {
			t.Error("settled twice")
		}
		b.Flush()
		accepted := func(first, last uint32) *amqp.Disposition {
			return &amqp.Disposition{Role: amqp.RoleReceiver, First: first, Last: last, Settled: true, State: amqp.Accepted{}}
		}
		tk.want(0, accepted(0, 1))
		tk.want(0, accepted(3, 5))
		tk.want(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 6, Last: 7, Settled: true, State: rejected})
		tk.want(0, accepted(8, 9))
		tk.wantIdle()
		r.Settle(h.refs[2], nil, nil)
		tk.want(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 2, Last: 2, Settled: true})
		if in, _ := h.sessions[0].Unsettled(); in != 0 {
			t.Errorf("%d unsettled", in)
		}
	})
}

func TestReceiverSettlesSecond(t *testing.T) {
	h := &recorder{credit: 100}
	h.onAttached = func(l Link) {
		a := l.Answer()
		a.RcvSettleMode = amqp.ReceiverSecond
		l.(*Receiver).Accept(a, 100)
	}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		if a := tk.attachAs(amqp.RoleSender, 0, "l"); a.RcvSettleMode != amqp.ReceiverSecond {
			t.Fatalf("got %s", show(a))
		}
		next[*amqp.Flow](tk)
		tk.say(0, transfer(0), 'x')
		tk.say(0, transfer(1), 'y')
		h.forget()
		for _, ref := range h.refs {
			if !h.rcv[0].Settle(ref, amqp.Accepted{}, nil) {
				t.Error("not there")
			}
			tk.want(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: ref.d.id, Last: ref.d.id, State: amqp.Accepted{}})
		}
		if h.rcv[0].Settle(h.refs[0], amqp.Released{}, nil) {
			t.Error("answered twice")
		}
		if in, _ := h.sessions[0].Unsettled(); in != 2 {
			t.Errorf("%d unsettled", in)
		}
		tk.say(0, &amqp.Disposition{Role: amqp.RoleSender, First: 0, Last: 1, Settled: true, State: amqp.Accepted{}})
		h.wantCalls("sender state amqp.Accepted settled true", "sender state amqp.Accepted settled true")
		if in, _ := h.sessions[0].Unsettled(); in != 0 {
			t.Errorf("%d unsettled", in)
		}
		tk.wantIdle()
	})
}

func TestSenderSettlesWhenTheReceiverOnlyTells(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		s := tk.sender()
		tk.say(0, credits(0, 0, 100))
		h.forget()
		for i := range 3 {
			tk.send(s, fmt.Sprint(i), false)
			tk.wantTransfer(uint32(i), fmt.Sprint(i))
		}
		ref, err := s.Send(&Outgoing{Prefix: []byte("held"), HoldSettle: true, Cookie: "held"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		tk.wantTransfer(3, "held")
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 3, State: amqp.Released{}})
		h.wantCalls(
			"outcome 0 amqp.Released final true lost false sent true",
			"outcome 1 amqp.Released final true lost false sent true",
			"outcome 2 amqp.Released final true lost false sent true",
			"outcome held amqp.Released final false lost false sent true",
		)
		if h.outcomes[3].Ref != ref || h.outcomes[0].Ref != (SendRef{}) {
			t.Errorf("refs %v", h.outcomes)
		}
		tk.want(0, &amqp.Disposition{Role: amqp.RoleSender, First: 0, Last: 2, Settled: true, State: amqp.Released{}})
		tk.wantIdle()
		if !s.Settle(ref, amqp.Released{}, nil) {
			t.Error("not there")
		}
		tk.want(0, &amqp.Disposition{Role: amqp.RoleSender, First: 3, Last: 3, Settled: true, State: amqp.Released{}})
		if s.Settle(ref, amqp.Released{}, nil) {
			t.Error("settled twice")
		}
		h.wantCalls()
	})
}

func TestNonTerminalStateIsNoOutcome(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		s := tk.sender()
		tk.say(0, credits(0, 0, 100))
		h.forget()
		tk.send(s, "x", false)
		tk.wantTransfer(0, "x")
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 0, State: amqp.Received{SectionNumber: 1}})
		h.wantCalls("outcome x amqp.Received final false lost false sent true")
		tk.wantIdle()
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 0, Settled: true})
		h.wantCalls("outcome x <nil> final true lost false sent true")
	})
}

func TestMultiFrameIn(t *testing.T) {
	h := &recorder{credit: 100}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.receiver()
		first := transfer(0)
		first.More = true
		tk.say(0, first, []byte("one,")...)
		tk.say(0, &amqp.Transfer{More: true}, []byte("two,")...)
		h.wantCalls()
		tk.say(0, &amqp.Transfer{}, []byte("three")...)
		h.wantCalls(`delivered "one,two,three"`)

		// Settled on any frame is settled.
		first = transfer(1)
		first.More = true
		tk.say(0, first, 'a')
		tk.say(0, &amqp.Transfer{DeliveryID: some(1), DeliveryTag: []byte{1}, Settled: amqp.Some(true)}, 'b')
		h.wantCalls(`delivered "ab" settled`)

		// Aborted is as if it had not come, whatever more says.
		first = transfer(2)
		first.More = true
		tk.say(0, first, 'a')
		tk.say(0, &amqp.Transfer{Aborted: true, More: true}, 'b')
		tk.say(0, transfer(3), 'c')
		h.wantCalls(`delivered "c"`)
		if in, _ := h.sessions[0].Unsettled(); in != 2 {
			t.Errorf("%d unsettled", in)
		}
		if n := h.rcv[0].Credit(); n != 96 {
			t.Errorf("credit %d", n)
		}

		// The sender may settle what is not all there.
		first = transfer(4)
		first.More = true
		tk.say(0, first, 'a')
		tk.say(0, &amqp.Disposition{Role: amqp.RoleSender, First: 4, Last: 4, Settled: true})
		tk.say(0, &amqp.Transfer{}, 'b')
		h.wantCalls(`delivered "ab" settled`)
		tk.wantIdle()
	})
}

func TestEmptyAndResumedDeliveries(t *testing.T) {
	h := &recorder{credit: 100}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.receiver()
		tk.say(0, transfer(0))
		h.wantCalls(`delivered ""`)
		// 2.7.5: a resumed delivery that is not in our unsettled map is ignored.
		resumed := transfer(1)
		resumed.Resume, resumed.More = true, true
		tk.say(0, resumed, 'x')
		tk.say(0, &amqp.Transfer{}, 'y')
		tk.say(0, transfer(2), 'z')
		h.wantCalls(`delivered "z"`)
		if n := h.rcv[0].Credit(); n != 97 {
			t.Errorf("credit %d", n)
		}
	})
}

func TestLargeMessagesIn(t *testing.T) {
	for _, size := range []int{sliceFrom - 1, sliceFrom, 60000, 300000, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			h := &recorder{credit: 100, hold: true}
			b := NewBudget(1 << 30)
			payload := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			converse(t, Config{Budget: b}, false, h, func(tk *talk) {
				tk.receiver()
				for round := range uint32(3) {
					for at := 0; at < size; at += 60000 {
						tr := &amqp.Transfer{More: at+60000 < size}
						if at == 0 {
							tr = transfer(round)
							tr.More = size > 60000
						}
						tk.say(0, tr, payload[at:min(at+60000, size)]...)
						tk.skip()
					}
				}
				h.forget()
				if len(h.held) != 3 {
					t.Fatalf("%d deliveries", len(h.held))
				}
				for _, m := range h.held {
					if !bytes.Equal(m.Bytes(), payload) {
						t.Error("payload differs")
					}
				}
				if used := b.Used(); used < 3*int64(size) || used > 4*3*int64(size) {
					t.Errorf("%d bytes counted for 3 of %d", used, size)
				}
			})
			if used := b.Used(); used != 0 {
				t.Errorf("%d bytes left in the budget", used)
			}
		})
	}
}

// fragments collects one delivery that the connection sends.
func (tk *talk) fragments() (payload []byte, frames int) {
	tk.t.Helper()
	for {
		f := tk.next()
		tr, ok := f.body.(*amqp.Transfer)
		if !ok {
			tk.t.Fatalf("got %s", show(f.body))
		}
		frames++
		payload = append(payload, f.payload...)
		if !tr.More {
			return payload, frames
		}
	}
}

func TestMultiFrameOut(t *testing.T) {
	for _, maxFrame := range []uint32{512, 1000, 20000, amqp.DefaultMaxFrameSize} {
		t.Run(fmt.Sprint(maxFrame), func(t *testing.T) {
			h := &recorder{}
			b := NewBudget(1 << 30)
			converse(t, Config{Budget: b}, false, h, func(tk *talk) {
				tk.hello(&amqp.Open{ContainerID: "them", MaxFrameSize: maxFrame, ChannelMax: 65535})
				tk.begin(0)
				tk.attachAs(amqp.RoleReceiver, 0, "l")
				tk.say(0, credits(0, 0, 100))
				h.forget()
				tk.max = min(maxFrame, outFrameMax) // the test's decoder refuses larger ones
				for _, size := range []int{0, 1, 400, 470, 480, 490, 500, 512, 8191, 8192, 65536, 200000} {
					prefix := bytes.Repeat([]byte("p"), min(size, 30))
					tail := bytes.Repeat([]byte("0123456789"), size/10+1)[:size-len(prefix)]
					want := string(prefix) + string(tail)
					m := NewMessage(append([]byte("not sent"), tail...), b)
					if _, err := h.snd[0].Send(&Outgoing{Prefix: prefix, Message: m, Tail: m.Bytes()[8:], Settled: true}, nil); err != nil {
						t.Fatal(err)
					}
					m.Release()
					got, frames := tk.fragments()
					if string(got) != want {
						t.Errorf("%d bytes: payload differs (%d bytes in %d frames)", size, len(got), frames)
					}
					if least := size / int(tk.max); frames < least || frames > 2+size/(int(tk.max)-100) {
						t.Errorf("%d bytes in %d frames", size, frames)
					}
				}
			})
			if used := b.Used(); used != 0 {
				t.Errorf("%d bytes left in the budget", used)
			}
		})
	}
}

func TestLinksTakeTurns(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.hello(&amqp.Open{ContainerID: "them", MaxFrameSize: 1024, ChannelMax: 1})
		tk.begin(0)
		tk.attachAs(amqp.RoleReceiver, 0, "large")
		tk.attachAs(amqp.RoleReceiver, 1, "small")
		f := credits(0, 0, 10)
		f.IncomingWindow = 0
		tk.say(0, f)
		f = credits(1, 0, 10)
		f.IncomingWindow = 0
		tk.say(0, f)
		h.forget()
		large, small := h.snd[0], h.snd[1]
		tk.send(large, strings.Repeat("x", 100000), true)
		for range 3 {
			tk.send(small, "y", true)
		}
		tk.say(0, &amqp.Flow{NextIncomingID: some(0), IncomingWindow: 1000})
		var order string
		for len(order) < 6 {
			tr := next[*amqp.Transfer](tk)
			order += string("ls"[tr.Handle])
		}
		if order != "lslsls" {
			t.Errorf("frames came as %s", order)
		}
	})
}

func TestCancel(t *testing.T) {
	h := &recorder{}
	b := NewBudget(1 << 30)
	converse(t, Config{Budget: b}, false, h, func(tk *talk) {
		tk.hello(&amqp.Open{ContainerID: "them", MaxFrameSize: 1024, ChannelMax: 1})
		tk.begin(0)
		tk.attachAs(amqp.RoleReceiver, 0, "l")
		f := credits(0, 0, 10)
		f.IncomingWindow = 2
		tk.say(0, f)
		h.forget()
		s := h.snd[0]
		begun := tk.send(s, strings.Repeat("x", 10000), false)
		waiting := tk.send(s, strings.Repeat("y", 10000), false)
		tk.send(s, "z", false)
		next[*amqp.Transfer](tk)
		next[*amqp.Transfer](tk)
		tk.wantIdle()
		if !s.Cancel(waiting) || s.Cancel(waiting) || !s.Cancel(begun) || s.Cancel(begun) {
			t.Error("cancel")
		}
		tk.say(0, &amqp.Flow{NextIncomingID: some(2), IncomingWindow: 10})
		tk.want(0, &amqp.Transfer{Aborted: true})
		tk.wantTransfer(1, "z")
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 5, Settled: true, State: amqp.Accepted{}})
		h.wantCalls("outcome z amqp.Accepted final true lost false sent true")
		if n := s.Credit(); n != 8 {
			t.Errorf("credit %d", n)
		}
		if n, bytes := tk.c.Queued(); n != 0 || bytes != 0 {
			t.Errorf("queued %d, %d bytes", n, bytes)
		}
	})
	if b.Used() != 0 {
		t.Errorf("%d bytes left", b.Used())
	}
}

func TestEveryUnsettledSendGetsOneFinalOutcome(t *testing.T) {
	ends := map[string]func(tk *talk){
		"peer detaches": func(tk *talk) { tk.say(0, &amqp.Detach{Handle: 0}) },
		"peer ends":     func(tk *talk) { tk.say(0, &amqp.End{}) },
		"peer closes":   func(tk *talk) { tk.say(0, &amqp.Close{}) },
		"socket drops":  func(tk *talk) { _ = tk.nc.Close() },
		"mistake":       func(tk *talk) { tk.say(0, &amqp.Transfer{Handle: 77}) },
		"we detach": func(tk *talk) {
			tk.h.snd[0].Detach(true, nil)
			tk.h.wantCalls()
			tk.say(0, &amqp.Detach{Handle: 0, Closed: true})
		},
		"we end": func(tk *talk) {
			tk.h.sessions[0].End(nil)
			tk.h.wantCalls()
			tk.say(0, &amqp.End{})
		},
		"we close": func(tk *talk) {
			tk.c.Close(nil)
			tk.say(0, &amqp.Close{})
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			h := &recorder{}
			b := NewBudget(1 << 30)
			converse(t, Config{Budget: b}, false, h, func(tk *talk) {
				tk.hello(&amqp.Open{ContainerID: "them", MaxFrameSize: 512, ChannelMax: 1})
				tk.begin(0)
				tk.attachAs(amqp.RoleReceiver, 0, "l")
				f := credits(0, 0, 10)
				f.IncomingWindow = 3
				tk.say(0, f)
				h.forget()
				s := h.snd[0]
				tk.send(s, "sent", false)
				tk.send(s, "settled", true)
				m := NewMessage(bytes.Repeat([]byte("x"), 5000), b)
				for _, name := range []string{"begun", "waiting"} {
					if _, err := s.Send(&Outgoing{Message: m, Tail: m.Bytes(), Cookie: name}, nil); err != nil {
						t.Fatal(err)
					}
				}
				tk.send(s, "waiting settled", true)
				m.Release()
				synctest.Wait()
				end(tk)
				synctest.Wait()
				tk.h.mu.Lock()
				calls := tk.h.calls
				tk.h.mu.Unlock()
				if len(calls) < 4 || !strings.HasPrefix(calls[3], "detached l") {
					t.Errorf("calls %q", calls)
				}
				tk.h.calls = calls[:min(3, len(calls))]
				tk.h.wantCalls(
					"outcome sent <nil> final true lost true sent true",
					"outcome begun <nil> final true lost true sent true",
					"outcome waiting <nil> final true lost true sent false",
				)
				if _, err := s.Send(&Outgoing{}, nil); err != ErrGone {
					t.Errorf("send: %v", err)
				}
				if b.Used() != 0 {
					t.Errorf("%d bytes in the budget", b.Used())
				}
			})
		})
	}
}

func TestSettlementsGoOutBeforeTheDetach(t *testing.T) {
	// go-amqp ends the session when a disposition follows the detach of its link.
	h := &recorder{credit: 10}
	converse(t, Config{}, false, h, func(tk *talk) {
		r := tk.receiver()
		tk.say(0, transfer(0), 'x')
		tk.say(0, transfer(1), 'x')
		h.forget()
		var b Batch
		r.Settle(h.refs[0], amqp.Accepted{}, &b)
		r.Detach(true, amqp.Errorf(amqp.ErrCondDetachForced, "moved"))
		b.Flush()
		tk.want(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 0, Settled: true, State: amqp.Accepted{}})
		tk.want(0, &amqp.Detach{Closed: true, Error: amqp.Errorf(amqp.ErrCondDetachForced, "moved")})
		if r.Settle(h.refs[1], amqp.Accepted{}, nil) {
			t.Error("settled after the detach")
		}
		tk.say(0, &amqp.Detach{Closed: true})
		h.wantCalls("detached l closed true err - answer true lost false")
		tk.wantIdle()
	})
}

func TestSettleModesBind(t *testing.T) {
	for mode, want := range map[amqp.SenderSettleMode][2]bool{
		amqp.SenderSettled:   {true, true},
		amqp.SenderUnsettled: {false, false},
		amqp.SenderMixed:     {false, true},
	} {
		h := &recorder{}
		converse(t, Config{}, false, h, func(tk *talk) {
			tk.helloSession()
			a := attach(amqp.RoleReceiver, 0, "l")
			a.SndSettleMode = mode
			tk.say(0, a)
			if a := next[*amqp.Attach](tk); a.SndSettleMode != mode {
				t.Errorf("got %s", show(a))
			}
			tk.say(0, credits(0, 0, 10))
			h.forget()
			for i, wish := range []bool{false, true} {
				tk.send(h.snd[0], "x", wish)
				if tr := next[*amqp.Transfer](tk); tr.Settled.Or(false) != want[i] {
					t.Errorf("mode %d, wish %v: %s", mode, wish, show(tr))
				}
			}
		})
	}
}

func TestTagsAndMaxMessageSize(t *testing.T) {
	h := &recorder{}
	converse(t, Config{}, false, h, func(tk *talk) {
		tk.helloSession()
		a := attach(amqp.RoleReceiver, 0, "l")
		a.MaxMessageSize = 10
		tk.say(0, a)
		next[*amqp.Attach](tk)
		tk.say(0, credits(0, 0, 10))
		h.forget()
		s := h.snd[0]
		if _, err := s.Send(&Outgoing{Prefix: make([]byte, 11)}, nil); err != ErrTooLarge {
			t.Errorf("got %v", err)
		}
		if _, err := s.Send(&Outgoing{Tag: make([]byte, 33)}, nil); err != ErrTag {
			t.Errorf("got %v", err)
		}
		tag := []byte("0123456789abcdef0123456789abcdef")
		if _, err := s.Send(&Outgoing{Prefix: make([]byte, 10), Tag: tag, Format: 7}, nil); err != nil {
			t.Errorf("got %v", err)
		}
		if tr := next[*amqp.Transfer](tk); string(tr.DeliveryTag) != string(tag) || tr.MessageFormat != some(7) {
			t.Errorf("got %s", show(tr))
		}
	})
}

func TestIdleConnectionHoldsLittle(t *testing.T) {
	h := &recorder{credit: 1000}
	converse(t, Config{}, false, h, func(tk *talk) {
		r := tk.receiver()
		var b []byte
		for i := range uint32(500) {
			b = append(b, frameBytes(0, transfer(i), make([]byte, 500))...)
		}
		tk.bytes(b)
		h.forget()
		for _, ref := range h.refs {
			r.Settle(ref, amqp.Accepted{}, nil)
		}
		synctest.Wait()
		if n := len(tk.c.rd.chunk.b); n != largeChunk {
			t.Errorf("busy: chunk of %d bytes", n)
		}
		for range 20 {
			tk.bytes(amqp.AppendHeartbeat(nil))
			synctest.Wait()
		}
		if n := len(tk.c.rd.chunk.b); n != smallChunk {
			t.Errorf("idle: chunk of %d bytes", n)
		}
		if n, m := cap(tk.c.events)+cap(tk.c.rd.handling), len(tk.c.freeIn); n > 64 || m > 0 {
			t.Errorf("idle: room for %d events, %d records", n, m)
		}
		tk.say(0, transfer(500), make([]byte, 10_000)...)
		synctest.Wait()
		if len(h.delivered) != 501 || len(h.delivered[500]) != 10_000 {
			t.Errorf("%d deliveries", len(h.delivered))
		}
	})
}
