package endpoint

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// checked is a payload that knows its number, size and checksum.
func checked(n uint32, size int) []byte {
	b := make([]byte, 12+size)
	for i := range size {
		b[12+i] = byte(uint32(i)*7 + n)
	}
	binary.BigEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], uint32(size))
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[12:]))
	return b
}

func verify(b []byte) (n uint32, err error) {
	if len(b) < 12 || int(binary.BigEndian.Uint32(b[4:])) != len(b)-12 || crc32.ChecksumIEEE(b[12:]) != binary.BigEndian.Uint32(b[8:]) {
		return 0, fmt.Errorf("payload of %d bytes is damaged", len(b))
	}
	return binary.BigEndian.Uint32(b), nil
}

// TestOurTwoEnds lets the dialling side send to the accepting side and back, through every size of frame and message.
func TestOurTwoEnds(t *testing.T) {
	for _, maxFrame := range []uint32{512, 4096, 64 << 10, 1 << 20} {
		for _, mode := range []amqp.ReceiverSettleMode{amqp.ReceiverFirst, amqp.ReceiverSecond} {
			t.Run(fmt.Sprintf("frames of %d, mode %d", maxFrame, mode), func(t *testing.T) {
				ourTwoEnds(t, Config{ContainerID: "x", MaxFrameSize: maxFrame, SessionWindow: 50, Budget: NewBudget(8 << 20)}, mode)
			})
		}
	}
}

// echoer sends back what comes in, and settles it with the outcome that the echo gets.
type echoer struct {
	Unhandled
	mode    amqp.ReceiverSettleMode
	mu      sync.Mutex
	back    *Sender
	waiting []echo
}

type echo struct {
	m   *Message
	ref DeliveryRef
	r   *Receiver
}

func (e *echoer) Attached(l Link) {
	switch l := l.(type) {
	case *Sender:
		e.mu.Lock()
		e.back = l
		e.mu.Unlock()
		l.Accept(l.Answer())
	case *Receiver:
		l.Accept(l.Answer(), 20)
	}
}

func (e *echoer) Delivered(r *Receiver, d *Delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, echo{d.Message.Retain(), d.Ref, r})
	e.sendLocked()
}

func (e *echoer) sendLocked() {
	for len(e.waiting) > 0 {
		w := e.waiting[0]
		b := w.m.Bytes()
		// A part of it as a prefix of its own, as the router does.
		if _, err := e.back.Send(&Outgoing{Prefix: b[:5], Message: w.m, Tail: b[5:], Cookie: w}, nil); err != nil {
			return
		}
		w.m.Release()
		e.waiting = e.waiting[1:]
	}
}

func (e *echoer) Credit(s *Sender) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.back != nil {
		e.sendLocked()
	}
}

func (e *echoer) Outcome(s *Sender, o *Outcome) {
	if w := o.Cookie.(echo); o.Final && !o.Lost {
		w.r.Settle(w.ref, o.State, s.Conn().Batch())
		w.r.Grant(1, s.Conn().Batch())
	}
}

// tester sends numbered messages and wants them back in order.
type tester struct {
	Unhandled
	t        *testing.T
	mode     amqp.ReceiverSettleMode
	sizes    []int
	snd      *Sender
	rcv      *Receiver
	next     int
	got      int
	accepted int
	settled  int
	done     chan struct{}
}

func (x *tester) Opened(c *Conn, _ *amqp.Open) {
	s, err := c.Begin()
	if err != nil {
		x.t.Error(err)
		return
	}
	x.rcv, _ = s.NewReceiver(amqp.Attach{Name: "in", RcvSettleMode: x.mode, SndSettleMode: amqp.SenderMixed, Source: &amqp.Source{}, Target: &amqp.Target{}}, 10, nil)
	x.snd, _ = s.NewSender(amqp.Attach{Name: "out", SndSettleMode: amqp.SenderMixed, RcvSettleMode: x.mode, Source: &amqp.Source{}, Target: &amqp.Target{}}, nil)
}

func (x *tester) Credit(s *Sender) {
	for x.next < len(x.sizes) {
		b := checked(uint32(x.next), x.sizes[x.next])
		if _, err := s.Send(&Outgoing{Prefix: b[:3], Tail: b[3:]}, s.Conn().Batch()); err != nil {
			return
		}
		x.next++
	}
}

func (x *tester) Delivered(r *Receiver, d *Delivery) {
	n, err := verify(d.Message.Bytes())
	if err != nil || int(n) != x.got {
		x.t.Errorf("delivery %d, want %d (%v)", n, x.got, err)
	}
	x.got++
	r.Settle(d.Ref, amqp.Accepted{}, r.Conn().Batch())
	r.Grant(1, r.Conn().Batch())
}

func (x *tester) SenderState(*Receiver, DeliveryRef, amqp.DeliveryState, bool) { x.settled++ }

func (x *tester) Outcome(s *Sender, o *Outcome) {
	if _, ok := o.State.(amqp.Accepted); !ok || !o.Final {
		x.t.Errorf("outcome %+v", *o)
	}
	if x.accepted++; x.accepted == len(x.sizes) {
		close(x.done)
	}
}

func ourTwoEnds(t *testing.T, cfg Config, mode amqp.ReceiverSettleMode) {
	rng := rand.New(rand.NewPCG(uint64(cfg.MaxFrameSize), 1))
	x := &tester{t: t, mode: mode, done: make(chan struct{})}
	for range 300 {
		x.sizes = append(x.sizes, rng.IntN(1<<rng.IntN(19)))
	}
	address := serve(t, cfg, func() Handler { return &echoer{mode: mode} })
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := Client(nc, cfg, x)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	select {
	case <-x.done:
	case err := <-ran:
		t.Fatalf("Run: %v", err)
	}
	c.Close(nil)
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	if x.got != len(x.sizes) || mode == amqp.ReceiverSecond && x.settled != x.got {
		t.Errorf("%d came back, %d settled, of %d", x.got, x.settled, len(x.sizes))
	}
}

// chaos is a handler that counts what it owes and is owed, while others do to its links whatever they like.
type chaos struct {
	Unhandled
	mu       sync.Mutex
	senders  []*Sender
	links    []Link
	sessions []*Session
	refs     []DeliveryRef
	rcvs     []*Receiver
	sent     map[int]int // cookie -> final outcomes
	next     int
	attached map[Link]int
	dials    bool
	opened   chan struct{}
	errors   atomic.Int32
}

func (h *chaos) Opened(c *Conn, _ *amqp.Open) {
	defer close(h.opened)
	if h.dials {
		for range 3 {
			if s, err := c.Begin(); err == nil {
				h.mu.Lock()
				h.sessions = append(h.sessions, s)
				h.mu.Unlock()
			}
		}
	}
}

func (h *chaos) Attached(l Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links = append(h.links, l)
	switch l := l.(type) {
	case *Sender:
		h.senders = append(h.senders, l)
		if !l.initiated {
			h.attached[l]++
			l.Accept(l.Answer())
		}
	case *Receiver:
		h.rcvs = append(h.rcvs, l)
		if !l.initiated {
			h.attached[l]++
			l.Accept(l.Answer(), 50)
		}
	}
}

func (h *chaos) Delivered(r *Receiver, d *Delivery) {
	if _, err := verify(d.Message.Bytes()); err != nil {
		panic(err)
	}
	h.mu.Lock()
	h.refs = append(h.refs, d.Ref)
	h.mu.Unlock()
	r.Grant(1, r.Conn().Batch())
}

func (h *chaos) Outcome(s *Sender, o *Outcome) {
	if o.Final {
		h.mu.Lock()
		h.sent[o.Cookie.(int)]++
		h.mu.Unlock()
	}
}

func (h *chaos) Detached(l Link, d Detached) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attached[l]--
	h.links = slices.DeleteFunc(slices.Clone(h.links), func(x Link) bool { return x == l })
	h.senders = slices.DeleteFunc(slices.Clone(h.senders), func(x *Sender) bool { return x == l })
	h.rcvs = slices.DeleteFunc(slices.Clone(h.rcvs), func(x *Receiver) bool { return x == l })
}

func (h *chaos) Ended(s *Session, err *amqp.Error) {
	if err != nil {
		h.errors.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions = slices.DeleteFunc(slices.Clone(h.sessions), func(x *Session) bool { return x == s })
	if h.dials {
		if s, err := s.Conn().Begin(); err == nil {
			h.sessions = append(h.sessions, s)
		}
	}
}

// act does one thing at random. It tells whether it sent something.
func (h *chaos) act(rng *rand.Rand, budget *Budget) bool {
	h.mu.Lock()
	pick := func(n int) int { return rng.IntN(max(n, 1)) }
	var snd *Sender
	var rcv *Receiver
	var l Link
	var s *Session
	var ref DeliveryRef
	if len(h.senders) > 0 {
		snd = h.senders[pick(len(h.senders))]
	}
	if len(h.rcvs) > 0 {
		rcv = h.rcvs[pick(len(h.rcvs))]
	}
	if len(h.links) > 0 {
		l = h.links[pick(len(h.links))]
	}
	if len(h.sessions) > 0 {
		s = h.sessions[pick(len(h.sessions))]
	}
	if n := len(h.refs); n > 0 {
		i := pick(n)
		ref = h.refs[i]
		h.refs[i] = h.refs[n-1]
		h.refs = h.refs[:n-1]
	}
	rcvs := h.rcvs
	cookie := h.next
	h.next++
	h.mu.Unlock()

	switch k := rng.IntN(100); {
	case k < 50 && snd != nil:
		m := NewMessage(checked(uint32(cookie), rng.IntN(1<<rng.IntN(14))), budget)
		h.mu.Lock() // the outcome may be faster than we are
		h.sent[cookie] = 0
		h.mu.Unlock()
		out, err := snd.Send(&Outgoing{Message: m, Tail: m.Bytes(), Cookie: cookie}, nil)
		m.Release()
		if err != nil || rng.IntN(10) == 0 && snd.Cancel(out) {
			h.mu.Lock()
			delete(h.sent, cookie)
			h.mu.Unlock()
		}
		return err == nil
	case k < 80 && rcv != nil && ref.d != nil:
		for _, r := range rcvs {
			if r.Settle(ref, amqp.Accepted{}, nil) {
				break
			}
		}
	case k < 85 && rcv != nil:
		rcv.SetCredit(uint32(rng.IntN(50)), nil)
	case k < 88 && rcv != nil:
		rcv.Drain(nil)
	case k < 90 && snd != nil:
		snd.Drained(nil)
	case k < 92 && snd != nil:
		snd.SetFlowProperties(map[amqp.Symbol]any{"n": uint32(cookie)}, nil)
	case k < 94 && l != nil && rng.IntN(20) == 0:
		l.Detach(rng.IntN(2) == 0, nil)
	case k == 94 && s != nil && rng.IntN(200) == 0:
		s.End(nil)
	case s != nil && h.dials:
		a := amqp.Attach{Name: fmt.Sprint(rng.IntN(30)), SndSettleMode: amqp.SenderUnsettled, Source: &amqp.Source{}, Target: &amqp.Target{}}
		var l Link
		if rng.IntN(2) == 0 {
			if snd, err := s.NewSender(a, nil); err == nil {
				l = snd
			}
		} else {
			if rcv, err := s.NewReceiver(a, 30, nil); err == nil {
				l = rcv
			}
		}
		if l != nil {
			h.mu.Lock()
			h.attached[l]++ // perhaps after it was detached
			h.mu.Unlock()
		}
	}
	return false
}

// TestChaos does all that may be done from any goroutine, at once, at both ends, and then lets one end drop.
func TestChaos(t *testing.T) {
	for round := range 5 {
		budget := NewBudget(16 << 20)
		cfg := Config{ContainerID: "x", Budget: budget, MaxFrameSize: 2048, SessionWindow: 20}
		out, in := tcpPair(t)
		handlers := [2]*chaos{}
		for i := range handlers {
			handlers[i] = &chaos{sent: map[int]int{}, attached: map[Link]int{}, dials: i == 0, opened: make(chan struct{})}
		}
		ctx, cancel := context.WithCancel(context.Background())
		conns := [2]*Conn{Client(out, cfg, handlers[0]), Accept(in, cfg, handlers[1])}
		var running, acting sync.WaitGroup
		for _, c := range conns {
			running.Add(1)
			go func() {
				defer running.Done()
				_ = c.Run(ctx)
			}()
		}
		for i, h := range handlers {
			for j := range 3 {
				acting.Add(1)
				go func() {
					defer acting.Done()
					<-h.opened
					rng := rand.New(rand.NewPCG(uint64(round), uint64(10*i+j)))
					for k, sent := 0, 0; sent < 600 && k < 100_000; k++ {
						if h.act(rng, budget) {
							sent++
						} else {
							runtime.Gosched()
						}
					}
				}()
			}
		}
		acting.Wait()
		switch round {
		case 0:
			conns[0].Close(nil)
		case 1:
			conns[1].Abort()
		case 2:
			conns[0].Close(nil)
			conns[1].Close(nil)
		default:
			cancel()
		}
		running.Wait()
		cancel()
		for _, h := range handlers {
			if n := h.errors.Load(); n != 0 {
				t.Errorf("round %d: %d sessions ended with an error", round, n)
			}
			for cookie, n := range h.sent {
				if n != 1 {
					t.Fatalf("round %d: delivery %d had %d final outcomes", round, cookie, n)
				}
			}
			for l, n := range h.attached {
				if n != 0 {
					t.Fatalf("round %d: link %s was detached %d times too few", round, l.Name(), n)
				}
			}
		}
		for _, c := range conns {
			if st := c.Stats(); st.Queued != 0 || st.QueuedBytes != 0 {
				t.Errorf("round %d: %+v", round, st)
			}
		}
		if budget.Used() != 0 {
			t.Errorf("round %d: %d bytes left in the budget", round, budget.Used())
		}
		t.Logf("round %d: %d and %d deliveries, %+v", round, len(handlers[0].sent), len(handlers[1].sent), conns[0].Stats())
	}
}
