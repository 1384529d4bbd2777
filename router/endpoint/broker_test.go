package endpoint

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
)

// broker is the smallest handler that is of use: what comes in for an address is kept, and goes out to receivers of the address as they
// give credit. The outcome goes back to where the message came from.
type broker struct {
	Unhandled
	mu      sync.Mutex
	queues  map[string]*queue
	window  uint32
	refuse  func(l Link) *amqp.Error
	closed  []error
	detach  []Detached
	ended   []*amqp.Error
	opened  []*amqp.Open
	outcome []Outcome
	credit  chan struct{} // a sender has got some
}

type queue struct {
	waiting []waiting
	senders []*Sender
}

type waiting struct {
	m       *Message
	format  uint32
	from    *Receiver
	ref     DeliveryRef
	settled bool
}

func newBroker() *broker {
	return &broker{queues: make(map[string]*queue), window: 100, credit: make(chan struct{}, 1)}
}

func (b *broker) queue(address string) *queue {
	q := b.queues[address]
	if q == nil {
		q = new(queue)
		b.queues[address] = q
	}
	return q
}

func (b *broker) Opened(c *Conn, remote *amqp.Open) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, remote)
}

func (b *broker) Attached(l Link) {
	if b.refuse != nil {
		if err := b.refuse(l); err != nil {
			l.Refuse(err)
			return
		}
	}
	switch l := l.(type) {
	case *Sender:
		b.mu.Lock()
		defer b.mu.Unlock()
		a := l.Answer()
		l.SetData(a.Source.Address)
		q := b.queue(a.Source.Address)
		q.senders = append(q.senders, l)
		l.Accept(a)
		b.pump(q)
	case *Receiver:
		l.Accept(l.Answer(), b.window)
	}
}

func (b *broker) Delivered(r *Receiver, d *Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Remote().Target == nil {
		r.Settle(d.Ref, amqp.Released{}, nil)
		return
	}
	q := b.queue(r.Remote().Target.Address)
	q.waiting = append(q.waiting, waiting{d.Message.Retain(), d.Format, r, d.Ref, d.Settled})
	if d.Settled {
		r.Grant(1, nil)
	}
	b.pump(q)
}

// pump sends what waits to who has credit.
func (b *broker) pump(q *queue) {
	for len(q.waiting) > 0 {
		w := q.waiting[0]
		sent := false
		for _, s := range q.senders {
			o := Outgoing{Message: w.m, Tail: w.m.Bytes(), Format: w.format, Settled: w.settled, Cookie: w}
			if _, err := s.Send(&o, nil); err == nil {
				sent = true
				break
			}
		}
		if !sent {
			break
		}
		w.m.Release()
		q.waiting = q.waiting[1:]
	}
	for _, s := range q.senders {
		if s.Draining() && len(q.waiting) == 0 {
			s.Drained(nil)
		}
	}
}

func (b *broker) Credit(s *Sender) {
	select {
	case b.credit <- struct{}{}:
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if address, ok := s.Data().(string); ok {
		b.pump(b.queue(address))
	}
}

func (b *broker) Outcome(s *Sender, o *Outcome) {
	b.mu.Lock()
	b.outcome = append(b.outcome, *o)
	b.mu.Unlock()
	w, ok := o.Cookie.(waiting)
	if !ok || w.settled || !o.Final {
		return
	}
	state := o.State
	if o.Lost {
		state = amqp.Released{}
	}
	w.from.Settle(w.ref, state, s.Conn().Batch())
	w.from.Grant(1, s.Conn().Batch())
}

func (b *broker) Detached(l Link, d Detached) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detach = append(b.detach, d)
	for _, q := range b.queues {
		for i, s := range q.senders {
			if Link(s) == l {
				q.senders = append(q.senders[:i:i], q.senders[i+1:]...)
				break
			}
		}
	}
}

func (b *broker) Ended(s *Session, err *amqp.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = append(b.ended, err)
}

func (b *broker) Closed(c *Conn, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = append(b.closed, err)
}

// serve accepts connections on a loopback port for the broker until the test ends.
func serve(t testing.TB, cfg Config, h func() Handler) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				_ = Accept(nc, cfg, h()).Run(ctx)
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		wg.Wait()
	})
	return l.Addr().String()
}

func testConfig() Config { return Config{ContainerID: "test"} }
