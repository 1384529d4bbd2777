package endpoint

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

func some(n uint32) amqp.Optional[uint32] { return amqp.Some(n) }

// credits is a flow of the peer's as receiver.
func credits(handle, count, credit uint32) *amqp.Flow {
	return &amqp.Flow{
		NextIncomingID: some(0), IncomingWindow: 1 << 20, OutgoingWindow: 1000,
		Handle: some(handle), DeliveryCount: some(count), LinkCredit: some(credit),
	}
}

// sender opens everything, with a link on which we send: the peer is the receiver on handle 0.
func (tk *talk) sender() *Sender {
	tk.t.Helper()
	tk.helloSession()
	tk.attachAs(amqp.RoleReceiver, 0, "l")
	tk.h.forget()
	return tk.h.snd[0]
}

// receiver opens everything, with a link on which we receive: the peer is the sender on handle 0.
func (tk *talk) receiver() *Receiver {
	tk.t.Helper()
	tk.helloSession()
	tk.attachAs(amqp.RoleSender, 0, "l")
	if tk.h.credit > 0 {
		if f := next[*amqp.Flow](tk); f.LinkCredit != some(tk.h.credit) {
			tk.t.Fatalf("got %s", show(f))
		}
	}
	tk.h.forget()
	return tk.h.rcv[0]
}

func (tk *talk) send(s *Sender, text string, settled bool) SendRef {
	tk.t.Helper()
	ref, err := s.Send(&Outgoing{Prefix: []byte(text), Settled: settled, Cookie: text}, nil)
	if err != nil {
		tk.t.Fatal(err)
	}
	return ref
}

// wantTransfer checks the next frame: the whole delivery id with this payload.
func (tk *talk) wantTransfer(id uint32, payload string) {
	tk.t.Helper()
	f := tk.next()
	tr, ok := f.body.(*amqp.Transfer)
	if !ok || tr.DeliveryID != some(id) || tr.More || string(f.payload) != payload || len(tr.DeliveryTag) == 0 {
		tk.t.Fatalf("got %s %q, want delivery %d %q", show(f.body), f.payload, id, payload)
	}
}

func TestSendWithinCredit(t *testing.T) {
	converse(t, Config{}, false, &recorder{}, func(tk *talk) {
		s := tk.sender()
		if _, err := s.Send(&Outgoing{Prefix: []byte("x")}, nil); err != ErrNoCredit {
			t.Fatalf("got %v", err)
		}
		tk.say(0, credits(0, 0, 2))
		tk.h.wantCalls("credit 2 drain false")
		tk.send(s, "one", false)
		if n := s.Credit(); n != 1 {
			t.Errorf("credit %d", n)
		}
		tk.send(s, "two", true)
		if _, err := s.Send(&Outgoing{Prefix: []byte("three")}, nil); err != ErrNoCredit {
			t.Fatalf("got %v", err)
		}
		tk.want(0, &amqp.Transfer{DeliveryID: some(0), DeliveryTag: []byte{0, 0, 0, 0}, MessageFormat: some(0)}, []byte("one")...)
		tk.want(0, &amqp.Transfer{DeliveryID: some(1), DeliveryTag: []byte{0, 0, 0, 1}, MessageFormat: some(0), Settled: amqp.Some(true)}, []byte("two")...)
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 1, Settled: true, State: amqp.Accepted{}})
		tk.h.wantCalls("outcome one amqp.Accepted final true lost false sent true")
		tk.say(0, &amqp.Disposition{Role: amqp.RoleReceiver, First: 0, Last: 1, Settled: true, State: amqp.Accepted{}})
		tk.h.wantCalls()
		tk.wantIdle()
	})
}

func TestCreditThatIsUnderWay(t *testing.T) {
	converse(t, Config{}, false, &recorder{}, func(tk *talk) {
		s := tk.sender()
		tk.say(0, credits(0, 0, 5))
		tk.h.wantCalls("credit 5 drain false")
		for i := range 3 {
			tk.send(s, fmt.Sprint(i), true)
			tk.wantTransfer(uint32(i), fmt.Sprint(i))
		}
		// The receiver has seen one of three when it grants five: two are under way.
		tk.say(0, credits(0, 1, 5))
		tk.h.wantCalls("credit 3 drain false")
		// A receiver that does not know the delivery-count yet means the initial one.
		f := credits(0, 0, 4)
		f.DeliveryCount = amqp.Optional[uint32]{}
		tk.say(0, f)
		tk.h.wantCalls("credit 1 drain false")
		// Less than is under way is none, and all of 32 bits is a lot.
		tk.say(0, credits(0, 0, 2))
		tk.h.wantCalls("credit 0 drain false")
		tk.say(0, credits(0, 3, 1<<32-1))
		tk.h.wantCalls("credit 4294967295 drain false")
	})
}

func TestCreditTakenBackLeavesTheQueue(t *testing.T) {
	converse(t, Config{}, false, &recorder{}, func(tk *talk) {
		s := tk.sender()
		f := credits(0, 0, 3)
		f.IncomingWindow = 0 // no session window: what is sent waits
		tk.say(0, f)
		tk.send(s, "a", true)
		tk.send(s, "b", true)
		tk.wantIdle()
		if n, bytes := s.Queued(); n != 2 || bytes != 2 {
			t.Errorf("queued %d, %d bytes", n, bytes)
		}
		tk.say(0, credits(0, 0, 1)) // and now the window, but credit for one
		tk.wantTransfer(0, "a")
		tk.wantIdle()
		if n := s.Credit(); n != 0 {
			t.Errorf("credit %d", n)
		}
		tk.say(0, credits(0, 1, 2))
		tk.wantTransfer(1, "b")
		tk.wantIdle()
	})
}

func TestDrainIsAnswered(t *testing.T) {
	converse(t, Config{}, false, &recorder{}, func(tk *talk) {
		s := tk.sender()
		f := credits(0, 0, 10)
		f.Drain = true
		tk.say(0, f)
		tk.h.wantCalls("credit 10 drain true")
		tk.send(s, "last", true)
		s.Drained(nil)
		// First what there is, then the rest of the credit comes back.
		tk.wantTransfer(0, "last")
		answer := next[*amqp.Flow](tk)
		if answer.DeliveryCount != some(10) || answer.LinkCredit != some(0) || !answer.Drain || answer.NextOutgoingID != 1 {
			t.Fatalf("got %s", show(answer))
		}
		if s.Draining() || s.Credit() != 0 {
			t.Error("still draining")
		}
		// A drain without credit is answered too.
		f = credits(0, 10, 0)
		f.Drain = true
		tk.say(0, f)
		tk.h.wantCalls("credit 0 drain true")
		s.Drained(nil)
		if answer = next[*amqp.Flow](tk); answer.DeliveryCount != some(10) || !answer.Drain {
			t.Fatalf("got %s", show(answer))
		}
		tk.wantIdle()
		// And the next credit counts from there.
		tk.say(0, credits(0, 10, 1))
		tk.h.wantCalls("credit 1 drain false")
	})
}

func TestEcho(t *testing.T) {
	converse(t, Config{}, false, &recorder{credit: 4}, func(tk *talk) {
		tk.helloSession()
		tk.attachAs(amqp.RoleReceiver, 0, "out")
		tk.attachAs(amqp.RoleSender, 1, "in")
		next[*amqp.Flow](tk)
		// A flood of them is answered once for each link.
		var b []byte
		for range 1000 {
			for _, handle := range []uint32{0, 1} {
				b = append(b, frameBytes(0, &amqp.Flow{NextIncomingID: some(0), IncomingWindow: 5, Handle: some(handle), LinkCredit: some(3), Echo: true}, nil)...)
			}
			b = append(b, frameBytes(0, &amqp.Flow{NextIncomingID: some(0), IncomingWindow: 5, Echo: true}, nil)...)
		}
		tk.bytes(b)
		n := 0
		for {
			f, ok := tk.poll()
			if !ok {
				break
			}
			n++
			got := f.body.(*amqp.Flow)
			if got.Handle == some(0) && got.LinkCredit != some(3) || got.Handle == some(1) && got.LinkCredit != some(4) {
				t.Errorf("got %s", show(got))
			}
		}
		if n < 2 || n > 300 { // any flow of a link answers the session's too
			t.Errorf("%d flows", n)
		}
		if n, want := len(tk.h.calls), 300; n > want {
			t.Errorf("handler was called %d times", n)
		}
	})
}

func TestSessionWindowHoldsBack(t *testing.T) {
	converse(t, Config{}, false, &recorder{}, func(tk *talk) {
		s := tk.sender()
		f := credits(0, 0, 100)
		f.IncomingWindow = 3
		tk.say(0, f)
		for i := range 5 {
			tk.send(s, fmt.Sprint(i), true)
		}
		for i := range 3 {
			tk.wantTransfer(uint32(i), fmt.Sprint(i))
		}
		tk.wantIdle()
		// It has seen one of three, and takes three from there.
		tk.say(0, &amqp.Flow{NextIncomingID: some(1), IncomingWindow: 3})
		tk.wantTransfer(3, "3")
		tk.wantIdle()
		tk.say(0, &amqp.Flow{NextIncomingID: some(4), IncomingWindow: 1})
		tk.wantTransfer(4, "4")
		tk.wantIdle()
	})
}

func TestTransferIDsWrapAround(t *testing.T) {
	for _, c := range []struct {
		from, window, next, want uint32
	}{
		{0, 10, 0, 10},
		{5, 10, 8, 7},
		{0xfffffffe, 10, 2, 6},
		{0xfffffffe, 3, 2, 0},
		{7, 10, 5, 10}, // the peer is ahead of us: mistaken
		{0, 0, 5, 0},
	} {
		if got := windowLeft(c.from, c.window, c.next); got != c.want {
			t.Errorf("windowLeft(%d, %d, %d) = %d, want %d", c.from, c.window, c.next, got, c.want)
		}
	}
	if !before(0xffffffff, 0) || before(0, 0xffffffff) || before(3, 3) || ahead(0xfffffff0, 0x10) != 0x20 || ahead(5, 4) != 0 {
		t.Error("serial number arithmetic")
	}
}

func TestWindowIsRenewed(t *testing.T) {
	converse(t, Config{SessionWindow: 10}, false, &recorder{credit: 1000}, func(tk *talk) {
		tk.receiver()
		for i := range uint32(4) {
			tk.say(0, settledTransfer(i), 'x')
			tk.wantIdle()
		}
		tk.say(0, settledTransfer(4), 'x')
		f := next[*amqp.Flow](tk)
		if f.Handle.Set || f.IncomingWindow != 10 || f.NextIncomingID != some(5) {
			t.Errorf("got %s", show(f))
		}
		tk.wantIdle()
	})
}

func settledTransfer(id uint32) *amqp.Transfer {
	tr := transfer(id)
	tr.Settled = amqp.Some(true)
	return tr
}

func TestGrantIsToldWhenItIsWorthIt(t *testing.T) {
	converse(t, Config{}, false, &recorder{credit: 10}, func(tk *talk) {
		r := tk.receiver()
		for i := range uint32(4) {
			tk.say(0, settledTransfer(i), 'x')
			r.Grant(1, nil)
			tk.wantIdle()
		}
		tk.say(0, settledTransfer(4), 'x')
		r.Grant(1, nil) // it has 5 left and may have 10
		f := next[*amqp.Flow](tk)
		if f.LinkCredit != some(10) || f.DeliveryCount != some(5) {
			t.Errorf("got %s", show(f))
		}
		r.SetCredit(0, nil)
		if f = next[*amqp.Flow](tk); f.LinkCredit != some(0) {
			t.Errorf("got %s", show(f))
		}
		// 2.6.7: what was under way when the credit was reduced is handled normally.
		tk.h.forget()
		tk.say(0, settledTransfer(5), 'y')
		tk.h.wantCalls(`delivered "y" settled`)
		r.Grant(1, nil)
		if f = next[*amqp.Flow](tk); f.LinkCredit != some(1) || f.DeliveryCount != some(6) {
			t.Errorf("got %s", show(f))
		}
		tk.wantIdle()
	})
}

// What a peer has is not taken back, only not given anew; and its credit is as before when what was withheld is granted.
func TestWithheldCreditIsNotGivenAnew(t *testing.T) {
	converse(t, Config{}, false, &recorder{credit: 4}, func(tk *talk) {
		r := tk.receiver()
		r.Withhold(3)
		r.SetFlowProperties(map[amqp.Symbol]any{"why": "disk"}, nil)
		if f := next[*amqp.Flow](tk); f.LinkCredit != some(4) || f.Properties["why"] != "disk" {
			t.Errorf("got %s", show(f))
		}
		for i := range uint32(4) {
			tk.say(0, settledTransfer(i), 'x')
			if i < 3 {
				r.Grant(1, nil)
				tk.wantIdle()
			}
		}
		r.Grant(1, nil)
		if f := next[*amqp.Flow](tk); f.LinkCredit != some(1) || f.DeliveryCount != some(4) || f.Properties != nil {
			t.Errorf("got %s", show(f))
		}
		r.Grant(3, nil)
		if f := next[*amqp.Flow](tk); f.LinkCredit != some(4) {
			t.Errorf("got %s", show(f))
		}
	})
}

func TestWeDrain(t *testing.T) {
	converse(t, Config{}, false, &recorder{credit: 10}, func(tk *talk) {
		r := tk.receiver()
		if !r.Drain(nil) {
			t.Fatal("nothing to drain")
		}
		if f := next[*amqp.Flow](tk); !f.Drain || f.LinkCredit != some(10) {
			t.Fatalf("got %s", show(f))
		}
		tk.say(0, settledTransfer(0), 'x')
		tk.h.wantCalls(`delivered "x" settled`)
		tk.say(0, &amqp.Flow{NextIncomingID: some(0), NextOutgoingID: 1, Handle: some(0), DeliveryCount: some(10), LinkCredit: some(0), Available: some(7), Drain: true})
		tk.h.wantCalls("flowed 7 map[]", "drained")
		if r.Drain(nil) {
			t.Error("drained twice")
		}
		r.Grant(3, nil)
		if f := next[*amqp.Flow](tk); f.Drain || f.LinkCredit != some(3) || f.DeliveryCount != some(10) {
			t.Fatalf("got %s", show(f))
		}
	})
}

func TestFlowPropertiesAndAvailable(t *testing.T) {
	converse(t, Config{}, false, &recorder{credit: 1}, func(tk *talk) {
		s := tk.sender()
		s.SetAvailable(42, false, nil)
		tk.wantIdle()
		var b Batch
		s.SetFlowProperties(map[amqp.Symbol]any{"backlog": uint64(1)}, &b)
		s.SetFlowProperties(map[amqp.Symbol]any{"backlog": uint64(2)}, &b)
		tk.wantIdle() // the batch holds the writer back
		b.Flush()
		f := next[*amqp.Flow](tk)
		if f.Available != some(42) || f.Properties["backlog"] != uint64(2) || f.DeliveryCount != some(0) {
			t.Errorf("got %s", show(f))
		}
		tk.wantIdle()
		s.SetAvailable(41, true, nil)
		if f = next[*amqp.Flow](tk); f.Available != some(41) || f.Properties != nil {
			t.Errorf("got %s", show(f))
		}
	})
}

func TestFloodWithoutReadingIsBounded(t *testing.T) {
	// The peer makes us owe far more than its socket takes, and does not read: nothing grows.
	h := &recorder{credit: 100}
	converse(t, Config{WriteTimeout: time.Minute}, false, h, func(tk *talk) {
		tk.receiver()
		gate := make(chan struct{})
		goOn := tk.standStill() // no write of the connection's is taken
		go func() {
			defer close(gate)
			for i := range uint32(20000) {
				f := &amqp.Flow{NextIncomingID: some(0), IncomingWindow: i, Handle: some(0), Echo: true}
				if _, err := tk.nc.Write(frameBytes(0, f, nil)); err != nil {
					return
				}
			}
		}()
		<-gate
		c := tk.c
		c.mu.Lock()
		dirty, events := len(c.dirty.items), cap(c.events)
		c.mu.Unlock()
		goOn()
		if dirty > 8 || events > 1000 {
			t.Errorf("%d sessions marked, room for %d events", dirty, events)
		}
		synctest.Wait()
		n := 0
		for {
			if _, ok := tk.poll(); !ok {
				break
			}
			n++
		}
		if n > 10 {
			t.Errorf("%d answers", n)
		}
	})
}
