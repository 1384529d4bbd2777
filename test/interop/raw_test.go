package interop

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
	"github.com/posthouse/posthouse/test/proc"
)

// raw is a receiver that looks at nothing: it hands on the bytes of each message as they came.
type raw struct {
	endpoint.Unhandled
	attach   amqp.Attach
	attached chan struct{}
	payloads chan []byte
}

// receiveRaw attaches a raw receiver.
func receiveRaw(t *testing.T, n *proc.Node, container, link string, source amqp.Source) *raw {
	t.Helper()
	socket, err := net.Dial("tcp", n.AMQP)
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{attach: amqp.Attach{Name: link, Source: &source, Target: &amqp.Target{}}, attached: make(chan struct{}), payloads: make(chan []byte, 1<<10)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- endpoint.Client(socket, endpoint.Config{ContainerID: container}, r).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-r.attached:
	case err := <-ended:
		ended <- err
		t.Fatalf("the raw receiver's connection: %v", err)
	case <-time.After(patience):
		t.Fatal("the raw receiver is not attached")
	}
	return r
}

func (r *raw) Opened(c *endpoint.Conn, _ *amqp.Open) {
	session, err := c.Begin()
	if err == nil {
		_, err = session.NewReceiver(r.attach, 100, nil)
	}
	if err != nil {
		c.Close(amqp.Errorf(amqp.ErrCondInternalError, "%v", err))
	}
}

func (r *raw) Attached(endpoint.Link) { close(r.attached) }

func (r *raw) Detached(l endpoint.Link, _ endpoint.Detached) { l.Conn().Abort() }

func (r *raw) Delivered(l *endpoint.Receiver, d *endpoint.Delivery) {
	r.payloads <- append([]byte(nil), d.Message.Bytes()...)
	l.Settle(d.Ref, amqp.Accepted{}, nil)
	l.Grant(1, nil)
}

// next waits for a message and finds its sections.
func (r *raw) next(t *testing.T) *amqp.Sections {
	t.Helper()
	select {
	case p := <-r.payloads:
		s := &amqp.Sections{}
		if err := s.Scan(p); err != nil {
			t.Fatalf("the raw receiver got no message: %v: %x", err, p)
		}
		return s
	case <-time.After(patience):
		t.Fatal("the raw receiver got nothing")
	}
	return nil
}
