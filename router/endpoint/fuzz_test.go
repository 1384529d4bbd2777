package endpoint

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// fuzzHandler does a little of everything with what it is shown, so that owed frames of all kinds meet the peer's nonsense.
type fuzzHandler struct {
	t        *testing.T
	n        int
	snd      []*Sender
	attached map[Link]bool
	due      map[int]bool // cookies without a final outcome
	closed   bool
}

func (h *fuzzHandler) Opened(*Conn, *amqp.Open) {}
func (h *fuzzHandler) Begun(*Session)           {}

func (h *fuzzHandler) Attached(l Link) {
	if h.attached[l] {
		h.t.Error("attached twice")
	}
	h.attached[l] = true
	h.n++
	switch l := l.(type) {
	case *Sender:
		h.snd = append(h.snd, l)
		if h.n%5 == 0 {
			l.Refuse(amqp.Errorf(amqp.ErrCondNotFound, "no"))
		} else {
			l.Accept(l.Answer())
		}
	case *Receiver:
		l.Accept(l.Answer(), 10)
	}
}

func (h *fuzzHandler) Delivered(r *Receiver, d *Delivery) {
	h.n++
	if h.n%3 > 0 {
		r.Settle(d.Ref, amqp.Accepted{}, r.Conn().Batch())
	}
	r.Grant(1, r.Conn().Batch())
	for _, s := range h.snd {
		if _, err := s.Send(&Outgoing{Message: d.Message, Tail: d.Message.Bytes(), Cookie: h.n, Settled: h.n%2 == 0}, nil); err == nil && s.local.SndSettleMode != amqp.SenderSettled && (h.n%2 != 0 || s.local.SndSettleMode == amqp.SenderUnsettled) {
			h.due[h.n] = true
		}
		h.n++
	}
}

func (h *fuzzHandler) SenderState(*Receiver, DeliveryRef, amqp.DeliveryState, bool) {}

func (h *fuzzHandler) Outcome(s *Sender, o *Outcome) {
	if o.Final {
		if !h.due[o.Cookie.(int)] {
			h.t.Error("outcome that is not due")
		}
		delete(h.due, o.Cookie.(int))
	}
}

func (h *fuzzHandler) Credit(s *Sender) {
	h.n++
	if _, err := s.Send(&Outgoing{Prefix: make([]byte, h.n%2000), Cookie: h.n}, nil); err == nil && s.local.SndSettleMode != amqp.SenderSettled {
		h.due[h.n] = true
	}
	if s.Draining() {
		s.Drained(nil)
	}
}

func (h *fuzzHandler) Flowed(*Receiver, map[amqp.Symbol]any) {}
func (h *fuzzHandler) Drained(*Receiver)                     {}

func (h *fuzzHandler) Detached(l Link, d Detached) {
	if !h.attached[l] {
		h.t.Error("detached and not attached")
	}
	delete(h.attached, l)
	h.n++
	if h.n%4 == 0 {
		l.HoldDetach()
	}
}

func (h *fuzzHandler) Ended(*Session, *amqp.Error) {}
func (h *fuzzHandler) Closed(*Conn, error)         { h.closed = true }

// script makes frames of all kinds from bytes, so that the fuzzer gets behind the decoder: each byte chooses a performative and
// its fields from small ranges.
func script(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	seed := uint64(0)
	more := false // a delivery is begun on handle 0
	var b []byte
	for i, c := range data {
		seed = seed*31 + uint64(c)
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		n := func(most int) uint32 { return uint32(rng.IntN(most)) }
		opt := func(most int) amqp.Optional[uint32] {
			if rng.IntN(5) == 0 {
				return amqp.Optional[uint32]{}
			}
			return amqp.Some(n(most))
		}
		yes := func(of int) bool { return rng.IntN(of) == 0 }
		channel := uint16(0)
		if yes(6) {
			channel = uint16(n(3))
		}
		var p amqp.Performative
		var payload []byte
		switch c % 16 {
		case 0, 1, 2:
			a := attach(amqp.Role(yes(2)), n(5), string(rune('a'+n(6))))
			a.SndSettleMode, a.RcvSettleMode = amqp.SenderSettleMode(n(3)), amqp.ReceiverSettleMode(n(2))
			if yes(9) {
				a.Unsettled = []amqp.UnsettledDelivery{}
			}
			p = a
		case 3, 4, 5:
			p = &amqp.Flow{
				NextIncomingID: opt(20), IncomingWindow: n(50), NextOutgoingID: n(20), Handle: opt(3), DeliveryCount: opt(20),
				LinkCredit: opt(30), Available: opt(3), Drain: yes(4), Echo: yes(3),
			}
		case 6, 7, 8, 9, 10:
			t := &amqp.Transfer{
				DeliveryID: amqp.Some(uint32(i)), DeliveryTag: []byte{byte(i)}, MessageFormat: amqp.Some(n(2)),
				More: yes(4), Aborted: yes(12), Resume: yes(20), State: amqp.DeliveryState(nil),
			}
			if yes(3) {
				t.Settled = amqp.Some(yes(2))
			}
			if more != yes(9) {
				t.DeliveryID, t.DeliveryTag = amqp.Optional[uint32]{}, nil
			}
			if yes(9) {
				t.Handle = n(4)
			}
			more = t.More && !t.Aborted
			p, payload = t, make([]byte, n(700))
		case 11, 12, 13:
			states := []amqp.DeliveryState{nil, amqp.Accepted{}, amqp.Released{}, amqp.Modified{DeliveryFailed: true}, amqp.Rejected{}, amqp.Received{}}
			first := n(40)
			p = &amqp.Disposition{Role: amqp.Role(yes(2)), First: first, Last: first + n(50), Settled: yes(2), State: states[rng.IntN(len(states))]}
		case 14:
			p = &amqp.Detach{Handle: n(3), Closed: yes(2)}
		default:
			switch {
			case yes(2):
				b = append(b, frameBytes(channel, &amqp.End{}, nil)...)
				p = &amqp.Begin{IncomingWindow: n(100), OutgoingWindow: n(100), HandleMax: n(20)}
			case yes(10):
				p = &amqp.Close{}
			default:
				b = amqp.AppendHeartbeat(b)
				continue
			}
		}
		b = append(b, frameBytes(channel, p, payload)...)
	}
	return b
}

// awaitFlow reads until the connection has given credit.
func awaitFlow(r io.Reader) {
	var b []byte
	buf := make([]byte, 1024)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		b = append(b, buf[:n]...)
		for rest := b[min(8, len(b)):]; ; {
			var f amqp.Frame
			var ok bool
			if f, rest, ok, err = amqp.NextFrame(rest, 1<<20); err != nil || !ok {
				break
			}
			if code, _ := amqp.PerformativeCode(f.Body); code == amqp.CodeFlow {
				return
			}
		}
	}
}

// FuzzConnection feeds a whole connection, behind a valid opening, with bytes as they are (even mode) or with frames made from them (odd
// mode). Nothing may panic, hang, leak a goroutine or memory, or leave the handler without the end of anything.
func FuzzConnection(f *testing.F) {
	_, second := conversation()
	f.Add(byte(0), second)
	f.Add(byte(2), []byte("\x00\x00\x00\x08\x02\x00\x00\x00GET / HTTP/1.1"))
	f.Add(byte(1), []byte("the quick brown fox jumps over the lazy dog"))
	f.Add(byte(3), []byte{0, 1, 3, 6, 6, 6, 11, 14, 15, 0, 2, 4, 7, 12})
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(byte(1), b)
	}
	f.Fuzz(func(t *testing.T, mode byte, data []byte) {
		if len(data) > 4096 {
			return
		}
		if mode%2 == 1 {
			data = script(data)
		}
		ours, theirs := net.Pipe()
		h := &fuzzHandler{t: t, attached: map[Link]bool{}, due: map[int]bool{}}
		budget := NewBudget(1 << 30)
		c := Accept(ours, Config{ContainerID: "x", ChannelMax: 2, HandleMax: 10, SessionWindow: 16, Budget: budget, MaxMessageSize: 2000, CloseTimeout: time.Second}, h)
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			_ = c.Run(context.Background())
		}()
		drained, credit := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(drained)
			awaitFlow(theirs)
			close(credit)
			_, _ = io.Copy(io.Discard, theirs)
		}()
		b := amqp.HeaderAMQP.Append(nil)
		b = append(b, frameBytes(0, &amqp.Open{ContainerID: "y", MaxFrameSize: 512 + uint32(mode)*16, ChannelMax: 2}, nil)...)
		for channel := range uint16(3) {
			b = append(b, frameBytes(channel, &amqp.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 10}, nil)...)
		}
		b = append(b, frameBytes(0, attach(amqp.RoleSender, 0, "in"), nil)...)
		b = append(b, frameBytes(0, attach(amqp.RoleReceiver, 1, "out"), nil)...)
		b = append(b, frameBytes(0, credits(1, 0, 20), nil)...)
		_ = theirs.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := theirs.Write(b); err != nil {
			t.Fatalf("opening: %v", err)
		}
		<-credit
		_, _ = theirs.Write(data)
		_ = theirs.Close()
		select {
		case <-ran:
		case <-time.After(10 * time.Second):
			t.Fatal("Run does not return")
		}
		<-drained
		if !h.closed || len(h.attached) != 0 || len(h.due) != 0 {
			t.Errorf("closed %v, %d links not detached, %d outcomes due", h.closed, len(h.attached), len(h.due))
		}
		if budget.Used() != 0 {
			t.Errorf("%d bytes left in the budget", budget.Used())
		}
	})
}
