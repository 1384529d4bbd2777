package endpoint

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
)

// flood is a handler that takes whatever comes and settles it.
type flood struct {
	Unhandled
	window uint32
	n      int
	want   int
	done   chan struct{}
}

func (f *flood) Attached(l Link) {
	if r, ok := l.(*Receiver); ok {
		r.Accept(r.Answer(), f.window)
	}
}

func (f *flood) Delivered(r *Receiver, d *Delivery) {
	b := r.Conn().Batch()
	if !d.Settled {
		r.Settle(d.Ref, amqp.Accepted{}, b)
	}
	r.Grant(1, b)
	if f.n++; f.n == f.want {
		close(f.done)
	}
}

// pump is a handler that sends as much as there is credit for.
type pump struct {
	Unhandled
	m       *Message
	left    int
	settled bool
	final   int
	want    int
	done    chan struct{}
	started bool
	start   chan struct{}
	run     chan struct{}
	snd     *Sender
}

func (p *pump) Opened(c *Conn, _ *amqp.Open) {
	s, err := c.Begin()
	if err != nil {
		panic(err)
	}
	p.snd, err = s.NewSender(amqp.Attach{Name: "b", SndSettleMode: amqp.SenderMixed, Source: &amqp.Source{}, Target: &amqp.Target{}}, nil)
	if err != nil {
		panic(err)
	}
}

func (p *pump) Credit(s *Sender) {
	if !p.started {
		p.started = true
		close(p.start)
		<-p.run // until the timer runs
	}
	p.send(s, s.Conn().Batch())
}

func (p *pump) send(s *Sender, b *Batch) {
	o := Outgoing{Message: p.m, Tail: p.m.Bytes(), Settled: p.settled}
	for p.left > 0 {
		if _, err := s.Send(&o, b); err != nil {
			return
		}
		p.left--
	}
}

func (p *pump) Outcome(s *Sender, o *Outcome) {
	if p.final++; p.final == p.want {
		close(p.done)
	}
}

func tcpPair(b testing.TB) (dialled, accepted net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ch := make(chan net.Conn, 1)
	go func() {
		nc, _ := l.Accept()
		ch <- nc
	}()
	if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	return dialled, <-ch
}

// BenchmarkTransfer sends messages from one engine to another over loopback TCP, both in this process.
func BenchmarkTransfer(b *testing.B) {
	for _, size := range []int{128, 1024, 32 << 10} {
		for _, settled := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/settled=%v", size, settled), func(b *testing.B) {
				benchTransfer(b, size, settled)
			})
		}
	}
}

func benchTransfer(b *testing.B, size int, settled bool) {
	out, in := tcpPair(b)
	f := &flood{window: 1000, want: b.N, done: make(chan struct{})}
	body := make([]byte, size)
	payload := append([]byte{0, 0x53, 0x75, 0xb0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, body...)
	p := &pump{m: NewMessage(payload, nil), left: b.N, settled: settled, want: b.N, done: make(chan struct{}), start: make(chan struct{}), run: make(chan struct{})}
	snd, rcv := Client(out, testConfig(), p), Accept(in, testConfig(), f)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 2)
	go func() { ran <- snd.Run(ctx) }()
	go func() { ran <- rcv.Run(ctx) }()
	<-p.start
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	close(p.run)
	<-f.done
	if !settled {
		<-p.done
	}
	b.StopTimer()
	st := snd.Stats()
	b.ReportMetric(float64(b.N)/float64(st.Writes), "msg/write")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	cancel()
	<-ran
	<-ran
}

// middle is the least that a router does: what comes in on one connection goes out on another, and the outcome comes back.
type middle struct {
	Unhandled
	out     *Sender
	ok      chan struct{}
	mu      sync.Mutex
	waiting []held
	room    [2000]held
}

type backRef struct {
	r   *Receiver
	ref DeliveryRef
}

func (m *middle) Attached(l Link) {
	switch l := l.(type) {
	case *Sender:
		m.out = l
		l.Accept(l.Answer())
		close(m.ok)
	case *Receiver:
		l.Accept(l.Answer(), 1000)
	}
}

func (m *middle) Delivered(r *Receiver, d *Delivery) {
	o := Outgoing{Message: d.Message.Retain(), Tail: d.Message.Bytes(), Settled: d.Settled}
	if !d.Settled {
		o.Cookie = &backRef{r, d.Ref}
	}
	m.mu.Lock()
	m.waiting = append(m.waiting, held{o, r})
	m.sendLocked(r.Conn().Batch())
	m.mu.Unlock()
}

type held struct {
	o Outgoing
	r *Receiver
}

func (m *middle) sendLocked(b *Batch) {
	for len(m.waiting) > 0 {
		h := &m.waiting[0]
		if _, err := m.out.Send(&h.o, b); err != nil {
			return
		}
		h.o.Message.Release()
		if h.o.Settled {
			h.r.Grant(1, b)
		}
		if m.waiting = m.waiting[1:]; len(m.waiting) == 0 {
			m.waiting = m.room[:0]
		}
	}
}

func (m *middle) Credit(s *Sender) {
	m.mu.Lock()
	m.sendLocked(s.Conn().Batch())
	m.mu.Unlock()
}

func (m *middle) Outcome(s *Sender, o *Outcome) {
	if w := o.Cookie.(*backRef); o.Final {
		b := s.Conn().Batch()
		w.r.Settle(w.ref, o.State, b)
		w.r.Grant(1, b)
	}
}

// taker is a client that receives and accepts.
type taker struct{ flood }

func (f *taker) Opened(c *Conn, _ *amqp.Open) {
	s, err := c.Begin()
	if err == nil {
		_, err = s.NewReceiver(amqp.Attach{Name: "t", SndSettleMode: amqp.SenderMixed, Source: &amqp.Source{}, Target: &amqp.Target{}}, 4000, nil)
	}
	if err != nil {
		panic(err)
	}
}

// BenchmarkForward sends messages through a middle: three ends of connections besides it in the same process.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{128, 1024} {
		for _, settled := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/settled=%v", size, settled), func(b *testing.B) {
				benchForward(b, size, settled)
			})
		}
	}
}

func benchForward(b *testing.B, size int, settled bool) {
	pubOut, pubIn := tcpPair(b)
	subOut, subIn := tcpPair(b)
	payload := append([]byte{0, 0x53, 0x75, 0xb0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, make([]byte, size)...)
	m := &middle{ok: make(chan struct{})}
	f := &taker{flood{want: b.N, done: make(chan struct{})}}
	p := &pump{m: NewMessage(payload, nil), left: b.N, settled: settled, want: b.N, done: make(chan struct{}), start: make(chan struct{}), run: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	run := func(c *Conn) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_ = c.Run(ctx)
		}()
	}
	run(Accept(subIn, testConfig(), m))
	run(Client(subOut, testConfig(), f))
	<-m.ok
	for m.out.Credit() == 0 {
		runtime.Gosched()
	}
	run(Accept(pubIn, testConfig(), m))
	run(Client(pubOut, testConfig(), p))
	<-p.start
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	close(p.run)
	<-f.done
	if !settled {
		<-p.done
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	cancel()
	wg.Wait()
}
