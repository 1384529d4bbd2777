package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// client is a connection of the load: one sending or receiving link.
type client struct {
	endpoint.Unhandled
	conn *endpoint.Conn
	done chan struct{}
	up   chan error // the link is attached, or was refused

	// of a publisher
	sender  *endpoint.Sender
	mu      sync.Mutex
	room    *sync.Cond
	flying  int
	window  int
	settled bool
	failed  error
	refused atomic.Int64

	// of a subscriber
	receiver *endpoint.Receiver
	asked    time.Time     // when the attach was sent
	answered time.Duration // how long its answer took
	credit   uint32
	received atomic.Int64
	seen     func(m *endpoint.Delivery)
}

func dial(address string, c *client, begin func(s *endpoint.Session) error) error {
	nc, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	c.room = sync.NewCond(&c.mu)
	c.done, c.up = make(chan struct{}), make(chan error, 2)
	c.conn = endpoint.Client(nc, endpoint.Config{ContainerID: fmt.Sprintf("bench-%p", c), SessionWindow: 1 << 16, MaxFrameSize: 64 << 10}, &opener{client: c, begin: begin})
	go func() { defer close(c.done); c.conn.Run(context.Background()) }()
	select {
	case err := <-c.up:
		return err
	case <-time.After(30 * time.Second):
		return fmt.Errorf("no answer to the attach at %s", address)
	}
}

// opener begins the session and link when the connection is open.
type opener struct {
	*client
	begin func(s *endpoint.Session) error
}

func (o *opener) Opened(c *endpoint.Conn, _ *amqp.Open) {
	s, err := c.Begin()
	if err == nil {
		err = o.begin(s)
	}
	if err != nil {
		o.up <- err
	}
}

func (c *client) Attached(l endpoint.Link) {
	switch l := l.(type) {
	case *endpoint.Sender:
		c.sender = l
	case *endpoint.Receiver:
		c.receiver, c.answered = l, time.Since(c.asked)
	}
	c.up <- nil
}

func (c *client) Detached(_ endpoint.Link, d endpoint.Detached) {
	err := fmt.Errorf("detached: %v", d.Err)
	select {
	case c.up <- err:
	default:
	}
	c.mu.Lock()
	c.failed = err
	c.room.Broadcast()
	c.mu.Unlock()
}

func (c *client) Credit(*endpoint.Sender) {
	c.mu.Lock()
	c.room.Broadcast()
	c.mu.Unlock()
}

func (c *client) Outcome(_ *endpoint.Sender, o *endpoint.Outcome) {
	if !o.Final {
		return
	}
	if _, ok := o.State.(amqp.Accepted); !ok {
		c.refused.Add(1)
	}
	c.mu.Lock()
	c.flying--
	c.room.Broadcast()
	c.mu.Unlock()
}

func (c *client) Delivered(r *endpoint.Receiver, d *endpoint.Delivery) {
	b := r.Conn().Batch()
	if c.seen != nil {
		c.seen(d)
	}
	if !d.Settled {
		r.Settle(d.Ref, amqp.Accepted{}, b)
	}
	r.Grant(1, b)
	c.received.Add(1)
}

func (c *client) close() {
	c.conn.Close(nil)
	<-c.done
}

// newPublisher attaches a link that sends to a topic with a window of messages unanswered.
func newPublisher(node, topic string, window int, settled bool) (*client, error) {
	c := &client{window: window, settled: settled}
	mode := amqp.SenderUnsettled
	if settled {
		mode = amqp.SenderSettled
	}
	err := dial(node, c, func(s *endpoint.Session) error {
		_, err := s.NewSender(amqp.Attach{Name: "bench", SndSettleMode: mode, Source: &amqp.Source{Address: "bench"}, Target: &amqp.Target{Address: topic}}, nil)
		return err
	})
	return c, err
}

// publish sends one message and returns when it is on its way.
func (c *client) publish(payload []byte) error {
	for {
		c.mu.Lock()
		for c.failed == nil && c.flying >= c.window && !c.settled {
			c.room.Wait()
		}
		if c.failed != nil {
			defer c.mu.Unlock()
			return c.failed
		}
		if !c.settled {
			c.flying++
		}
		c.mu.Unlock()
		_, err := c.sender.Send(&endpoint.Outgoing{Tail: payload, Settled: c.settled}, nil)
		if err == nil {
			return nil
		}
		c.mu.Lock()
		if !c.settled {
			c.flying--
		}
		if c.sender.Credit() == 0 && c.failed == nil {
			c.room.Wait()
		}
		c.mu.Unlock()
	}
}

// flush waits for all answers.
func (c *client) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.failed == nil && c.flying > 0 {
		c.room.Wait()
	}
}

// newSubscriber attaches a link that receives from a topic; a name makes it durable.
func newSubscriber(node, topic, name string, credit uint32) (*client, error) {
	c := &client{credit: credit}
	a := amqp.Attach{Name: "bench", Source: &amqp.Source{Address: topic}, Target: &amqp.Target{Address: "bench"}}
	if name != "" {
		a.Name = name
		a.Source.Durable, a.Source.ExpiryPolicy = amqp.DurabilityUnsettledState, amqp.ExpireNever
		a.Properties = map[amqp.Symbol]any{"posthouse:subscription": name, "posthouse:max-messages": int64(5_000_000), "posthouse:max-bytes": int64(20 << 30), "posthouse:max-in-flight": int64(5000)}
	}
	err := dial(node, c, func(s *endpoint.Session) error {
		c.asked = time.Now()
		_, err := s.NewReceiver(a, credit, nil)
		return err
	})
	return c, err
}

// message is an encoded message with a body of size bytes.
func message(size int) []byte {
	body := make([]byte, size)
	binary.LittleEndian.PutUint64(body, uint64(size))
	m := amqp.Message{Header: &amqp.Header{Durable: true, Priority: 4}, Data: [][]byte{body}}
	return m.Append(nil)
}
