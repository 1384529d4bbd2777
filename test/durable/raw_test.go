package durable

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// raw is a client that can say what go-amqp can't: attaches with a null source, detaches that don't close, default
// outcomes.
type raw struct {
	endpoint.Unhandled
	t       *testing.T
	conn    *endpoint.Conn
	session *endpoint.Session
	run     chan error
	socket  *deafConn

	opened   chan struct{}
	attached chan endpoint.Link
	detached chan endpoint.Detached
	drained  chan struct{}
	messages chan rawMessage
}

type rawMessage struct {
	*amqp.Message
	ref endpoint.DeliveryRef
}

// dialRaw opens a connection and a session. It is closed with the test.
func dialRaw(t *testing.T, n *proc.Node, container string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", n.AMQP)
	if err != nil {
		t.Fatal(err)
	}
	socket := newDeafConn(nc)
	r := &raw{t: t, socket: socket, run: make(chan error, 1), opened: make(chan struct{}), attached: make(chan endpoint.Link, 10), detached: make(chan endpoint.Detached, 10), drained: make(chan struct{}, 10), messages: make(chan rawMessage, 10_000)}
	r.conn = endpoint.Client(socket, endpoint.Config{ContainerID: container, SASL: &endpoint.Credentials{}}, r)
	go func() { r.run <- r.conn.Run(context.Background()) }()
	t.Cleanup(func() {
		if socket.isDeaf() {
			socket.Close() // it would wait for ever for the answer to its close
		}
		r.conn.Close(nil)
		<-r.run
	})
	within(t, r.opened, "open")
	if r.session, err = r.conn.Begin(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *raw) Opened(*endpoint.Conn, *amqp.Open)             { close(r.opened) }
func (r *raw) Attached(l endpoint.Link)                      { r.attached <- l }
func (r *raw) Drained(*endpoint.Receiver)                    { r.drained <- struct{}{} }
func (r *raw) Detached(_ endpoint.Link, d endpoint.Detached) { r.detached <- d }
func (r *raw) Delivered(_ *endpoint.Receiver, d *endpoint.Delivery) {
	m, err := amqp.DecodeMessage(append([]byte(nil), d.Message.Bytes()...))
	if err != nil {
		r.t.Errorf("a delivery can't be read: %v", err)
		return
	}
	r.messages <- rawMessage{m, d.Ref}
}

// lookup attaches by name with a null source.
func (r *raw) lookup(name string) *endpoint.Receiver {
	r.t.Helper()
	return r.attach(amqp.Attach{Name: name, Target: &amqp.Target{}}, 0)
}

// durable attaches to a durable subscription.
func (r *raw) durable(name, address string, credit uint32, change func(*amqp.Source)) *endpoint.Receiver {
	r.t.Helper()
	source := &amqp.Source{Address: address, Durable: amqp.DurabilityUnsettledState, ExpiryPolicy: amqp.ExpireNever}
	if change != nil {
		change(source)
	}
	return r.attach(amqp.Attach{Name: name, Source: source, Target: &amqp.Target{}}, credit)
}

// named attaches to a durable subscription by its name, or to an address if that is empty.
func (r *raw) named(name, address string, credit uint32) *endpoint.Receiver {
	r.t.Helper()
	a := amqp.Attach{Name: "link " + name, Source: &amqp.Source{Address: address}, Target: &amqp.Target{}}
	if name != "" {
		a.Source.Durable, a.Source.ExpiryPolicy = amqp.DurabilityUnsettledState, amqp.ExpireNever
		a.Properties = map[amqp.Symbol]any{client.PropSubscription: name}
	}
	return r.attach(a, credit)
}

func (r *raw) attach(a amqp.Attach, credit uint32) *endpoint.Receiver {
	r.t.Helper()
	l, err := r.session.NewReceiver(a, credit, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// wantAttached waits for the answer and returns its source.
func (r *raw) wantAttached() *amqp.Attach {
	r.t.Helper()
	select {
	case l := <-r.attached:
		return l.Remote()
	case d := <-r.detached:
		r.t.Fatalf("refused: %v", d.Err)
	case <-time.After(actor.Patience):
		r.t.Fatal("the attach is not answered")
	}
	return nil
}

// wantRefused waits for a refusal with a condition.
func (r *raw) wantRefused(condition amqp.Symbol) {
	r.t.Helper()
	select {
	case l := <-r.attached:
		r.t.Fatalf("attached: %+v", l.Remote())
	case d := <-r.detached:
		if d.Err == nil || d.Err.Condition != condition || !d.Closed {
			r.t.Fatalf("refused with closed=%t, %v; want %s", d.Closed, d.Err, condition)
		}
	case <-time.After(actor.Patience):
		r.t.Fatal("the attach is not answered")
	}
}

// detach ends a link and waits for the answer.
func (r *raw) detach(l endpoint.Link, closed bool, reason *amqp.Error) endpoint.Detached {
	r.t.Helper()
	if !l.Detach(closed, reason) {
		r.t.Fatal("the link is gone")
	}
	d := within(r.t, r.detached, "answer to the detach")
	if d.Err != nil || d.Closed != closed {
		r.t.Errorf("the detach is answered with closed=%t, %v", d.Closed, d.Err)
	}
	return d
}

// take waits for messages and checks their ids.
func (r *raw) take(ids ...string) []rawMessage {
	r.t.Helper()
	var all []rawMessage
	for _, id := range ids {
		m := within(r.t, r.messages, "message "+id)
		if m.Properties == nil || m.Properties.MessageID != id {
			r.t.Fatalf("got message %v, want %s", m.Properties, id)
		}
		all = append(all, m)
	}
	return all
}

func within[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(actor.Patience):
		t.Fatalf("no %s", what)
	}
	return v
}
