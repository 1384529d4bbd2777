package endpoint

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// exhausted is a budget with nothing left; the returned function gives it all back.
func exhausted() (*Budget, func()) {
	b := NewBudget(10_000)
	b.Take(10_000)
	return b, func() { b.Give(10_000) }
}

func TestReaderWaitsForMemoryAtTransfers(t *testing.T) {
	b, give := exhausted()
	h := &recorder{credit: 100}
	converse(t, Config{Budget: b, IdleTimeout: time.Second}, false, h, func(tk *talk) {
		tk.receiver()
		tk.attachAs(amqp.RoleReceiver, 1, "out")
		h.forget()
		// What is before the transfer comes in, what is behind it waits with it.
		said := append(frameBytes(0, credits(1, 0, 5), nil), frameBytes(0, transfer(0), []byte("x"))...)
		tk.bytes(append(said, frameBytes(0, credits(1, 0, 6), nil)...))
		h.wantCalls("credit 5 drain false")
		time.Sleep(time.Minute) // and nobody is blamed for a silence that is ours
		h.wantCalls()
		tk.wantIdle()
		// We still write meanwhile.
		tk.send(h.snd[0], "y", true)
		tk.wantTransfer(0, "y")
		give()
		h.wantCalls(`delivered "x"`, "credit 5 drain false") // 6, with one under way
	})
}

func TestConsumersAndNodesDontWaitForMemory(t *testing.T) {
	b, give := exhausted()
	defer give()
	h := &recorder{credit: 100}
	converse(t, Config{Budget: b}, false, h, func(tk *talk) {
		s := tk.sender()
		tk.say(0, credits(0, 0, 5))
		h.wantCalls("credit 5 drain false")
		tk.send(s, "y", false)
		tk.wantTransfer(0, "y")
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, Settled: true, State: amqp.Accepted{}})
		h.wantCalls("outcome y amqp.Accepted final true lost false sent true")
	})
	h = &recorder{credit: 100}
	converse(t, Config{Budget: b, Internal: true}, false, h, func(tk *talk) {
		tk.receiver()
		tk.say(0, transfer(0), 'x')
		h.wantCalls(`delivered "x"`)
	})
}

func TestReaderDoesNotWaitForeverForItsOwnQueue(t *testing.T) {
	for _, mode := range []amqp.ReceiverSettleMode{amqp.ReceiverFirst, amqp.ReceiverSecond} {
		// All memory is queued for a peer whose flow, which would free it, is behind a transfer that needs memory.
		b := NewBudget(10_000)
		h := &recorder{credit: 4}
		converse(t, Config{Budget: b}, false, h, func(tk *talk) {
			tk.helloSession()
			tk.attachAs(amqp.RoleReceiver, 0, "out")
			a := attach(amqp.RoleSender, 1, "in")
			a.RcvSettleMode = mode
			tk.say(0, a)
			next[*amqp.Attach](tk)
			next[*amqp.Flow](tk)
			f := credits(0, 0, 5)
			f.IncomingWindow = 0
			tk.say(0, f)
			h.forget()
			m := NewMessage(make([]byte, 10_000), b)
			if _, err := h.snd[0].Send(&Outgoing{Message: m, Tail: m.Bytes(), Settled: true}, nil); err != nil {
				t.Fatal(err)
			}
			m.Release()
			one, two, three := transfer(0), transfer(1), transfer(2)
			one.Handle, two.Handle, three.Handle = 1, 1, 1
			two.More = true
			three.Settled = amqp.Some(true)
			said := frameBytes(0, one, []byte("x"))
			said = append(said, frameBytes(0, two, []byte("y"))...)
			said = append(said, frameBytes(0, &amqp.Transfer{Handle: 1}, []byte("z"))...)
			said = append(said, frameBytes(0, three, []byte("!"))...)
			said = append(said, frameBytes(0, &amqp.Flow{NextIncomingID: some(0), IncomingWindow: 9, NextOutgoingID: 4}, nil)...)
			tk.bytes(said)
			time.Sleep(budgetPatience - time.Millisecond)
			tk.wantIdle()
			time.Sleep(2 * time.Millisecond)
			d := next[*amqp.Disposition](tk)
			if r, ok := d.State.(amqp.Rejected); !ok || r.Error.Condition != amqp.ErrCondResourceLimitExceeded || d.First != 0 || d.Last != 1 || d.Settled != (mode == amqp.ReceiverFirst) {
				t.Errorf("got %s", show(d))
			}
			tk.skipFlows()
			if payload, _ := tk.fragments(); len(payload) != 10_000 {
				t.Errorf("%d bytes", len(payload))
			}
			if mode == amqp.ReceiverSecond {
				tk.say(0, &amqp.Disposition{First: 0, Last: 1, Settled: true})
			}
			h.wantCalls()
			// There is memory again, and the same credit as before.
			four := transfer(3)
			four.Handle = 1
			tk.say(0, four, 'w')
			h.wantCalls(`delivered "w"`)
			if r := h.rcv[0]; r.Credit() != 3 {
				t.Errorf("credit %d", r.Credit())
			}
			if in, _ := h.sessions[0].Unsettled(); in != 1 {
				t.Errorf("%d unsettled", in)
			}
			if n := tk.c.Stats().Refused; n != 3 {
				t.Errorf("%d refused", n)
			}
		})
		if b.Used() != 0 {
			t.Errorf("%d bytes left", b.Used())
		}
	}
}

func TestCloseDoesNotWaitForMemory(t *testing.T) {
	b, give := exhausted()
	defer give()
	h := &recorder{credit: 100}
	converse(t, Config{Budget: b}, false, h, func(tk *talk) {
		tk.receiver()
		tk.say(0, transfer(0), 'x')
		tk.stop()
		next[*amqp.Close](tk)
		tk.say(0, &amqp.Close{})
		tk.wantRun()
		tk.wantEOF()
	})
}

func TestUnfinishedMessageIsGivenUpForMemory(t *testing.T) {
	// Two connections fill the budget with halves of messages. Neither could end, for ever.
	b := NewBudget(90_000)
	large, small := &recorder{credit: 10}, &recorder{credit: 10}
	begin := func(tk *talk, n int) {
		tr := transfer(0)
		tr.More = true
		tk.say(0, tr, make([]byte, n)...)
	}
	converse(t, Config{Budget: b, IdleTimeout: -1}, false, large, func(tk *talk) {
		tk.receiver()
		begin(tk, 60_000) // and then says nothing any more: its reader waits for the socket, not for memory
		ours, theirs := net.Pipe()
		other := &talk{t: t, nc: theirs, h: small, ran: make(chan error, 1), max: 1 << 20}
		other.c = Accept(ours, Config{ContainerID: "us", Budget: b, IdleTimeout: -1}, small)
		small.t, small.tk = tk.t, other
		other.t = tk.t
		go func() { other.ran <- other.c.Run(context.Background()) }()
		go other.read()
		other.receiver()
		begin(other, 30_000)
		synctest.Wait()
		if !b.Exhausted() {
			t.Fatalf("used %d", b.Used())
		}
		other.say(0, &amqp.Transfer{}, make([]byte, 1000)...)
		small.wantCalls()
		time.Sleep(budgetPatience + time.Millisecond)
		large.wantCalls("detached l closed false err amqp:resource-limit-exceeded answer false lost true")
		if d := next[*amqp.Detach](tk); condition(d.Error) != string(amqp.ErrCondResourceLimitExceeded) {
			t.Errorf("got %v", d.Error)
		}
		synctest.Wait()
		if len(small.delivered) != 1 || len(small.delivered[0]) != 31_000 {
			t.Errorf("%d deliveries", len(small.delivered))
		}
		// The rest of the message that was given up is swallowed.
		tk.say(0, &amqp.Transfer{}, 'x')
		tk.say(0, &amqp.Detach{Closed: true})
		large.wantCalls()
		_ = theirs.Close()
		<-other.ran
	})
	if b.Used() != 0 {
		t.Errorf("%d bytes left", b.Used())
	}
}

func TestBudgetWakesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, give := exhausted()
		done := make(chan int, 10)
		for i := range 10 {
			go func() {
				b.wait(nil, nil)
				done <- i
			}()
		}
		synctest.Wait()
		b.Give(100) // not enough to be worth it
		synctest.Wait()
		if len(done) != 0 {
			t.Errorf("%d went on", len(done))
		}
		b.Take(100)
		give()
		synctest.Wait()
		if len(done) != 10 {
			t.Errorf("%d went on", len(done))
		}
	})
	var none *Budget
	none.Take(1)
	none.Give(1)
	if none.Exhausted() || none.Used() != 0 || none.Limit() != 0 {
		t.Error("a nil budget has a limit")
	}
	if b := NewBudget(7); b.Limit() != 7 {
		t.Error("limit")
	}
}

func TestPeerThatDoesNotReadIsDropped(t *testing.T) {
	h := &recorder{}
	b := NewBudget(1 << 20)
	converse(t, Config{WriteTimeout: 5 * time.Second, IdleTimeout: -1, Budget: b}, false, h, func(tk *talk) {
		s := tk.sender()
		tk.say(0, credits(0, 0, 100))
		h.forget()
		tk.standStill() // after one more read
		for range 10 {
			m := NewMessage(make([]byte, 50_000), b)
			if _, err := s.Send(&Outgoing{Message: m, Tail: m.Bytes(), Cookie: "m"}, nil); err != nil {
				t.Fatal(err)
			}
			m.Release()
		}
		err := <-tk.ran
		if !errors.Is(err, ErrDropped) {
			t.Errorf("Run: %v", err)
		}
		if len(h.outcomes) != 10 || b.Used() != 0 {
			t.Errorf("%d outcomes, %d bytes", len(h.outcomes), b.Used())
		}
	})
}

func TestCloseOfAPeerThatDoesNotRead(t *testing.T) {
	h := &recorder{}
	converse(t, Config{WriteTimeout: time.Hour, CloseTimeout: 2 * time.Second, IdleTimeout: -1}, false, h, func(tk *talk) {
		s := tk.sender()
		tk.say(0, credits(0, 0, 100))
		h.forget()
		tk.standStill()
		for range 10 {
			tk.send(s, string(make([]byte, 50_000)), true)
		}
		start := time.Now()
		time.Sleep(time.Second)
		tk.stop()
		<-tk.ran
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
