package router

import (
	"encoding/json"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// inbound is a connection that another node has dialled: what it tells, what it asks of the waypoint, and copies for
// the clients of this node.
type inbound struct {
	endpoint.Unhandled
	mesh *mesh
	from *neighbour
}

// inboundCredit is what each link from another node is given, and given again as soon as a message is in: what
// waits for slow clients waits in their windows and not in this link, so that no address holds up another.
const inboundCredit = 4096

// Opened finds out who it is.
func (in *inbound) Opened(c *endpoint.Conn, remote *amqp.Open) {
	n, err := in.mesh.identify(remote)
	if err != nil {
		in.mesh.router.cfg.Logger.Warn("refused a connection at the nodes' port", "remote", c.NetConn().RemoteAddr().String(), "error", err)
		c.Close(err)
		return
	}
	in.from = n
}

// Attached takes the links that there are between nodes.
func (in *inbound) Attached(l endpoint.Link) {
	r, ok := l.(*endpoint.Receiver)
	if !ok || in.from == nil || l.Remote().Target == nil {
		l.Refuse(amqp.Errorf(amqp.ErrCondNotAllowed, "there is no such link between nodes"))
		return
	}
	switch name := l.Remote().Target.Address; name {
	case linkControl:
		in.from.heardFrom(in)
		l.SetData(name)
	case linkWaypoint:
		l.SetData(name)
	case linkDirect:
		l.SetData(&directIn{router: in.mesh.router, link: r})
	default:
		l.Refuse(amqp.Errorf(amqp.ErrCondNotFound, "there is no link %q between nodes", name))
		return
	}
	answer := l.Answer()
	answer.MaxMessageSize = in.mesh.maxMessage()
	r.Accept(answer, inboundCredit)
}

// Delivered takes in what came.
func (in *inbound) Delivered(r *endpoint.Receiver, d *endpoint.Delivery) {
	b := r.Conn().Batch()
	switch x := r.Data().(type) {
	case *directIn:
		x.delivered(d, b)
	case string:
		in.message(x, d, r.Conn())
	}
	r.Grant(1, b)
}

func (in *inbound) message(link string, d *endpoint.Delivery, c *endpoint.Conn) {
	var s amqp.Sections
	err := s.Scan(d.Message.Bytes())
	if err == nil && s.BodyKind() != amqp.BodyData {
		err = amqp.Errorf(amqp.ErrCondInvalidField, "no data section")
	}
	if err == nil {
		body := s.AppendData(nil)
		if link == linkWaypoint {
			in.mesh.deliver(in.from.peer.Name, body)
			return
		}
		var msg control
		if err = json.Unmarshal(body, &msg); err == nil {
			in.from.heard(in, &msg)
			return
		}
	}
	in.mesh.router.cfg.Logger.Error("node sent what can't be read", "node", in.from.peer.Name, "link", link, "error", err)
	c.Close(amqp.Errorf(amqp.ErrCondInvalidField, "%s: %v", link, err))
}

// Closed forgets what the other node told.
func (in *inbound) Closed(*endpoint.Conn, error) {
	if in.from != nil {
		in.from.silent(in)
	}
}

// directIn is the link on which copies of direct messages come in from another node. They go to clients of this node
// only: each node gets its copy from the one where the message was published.
type directIn struct {
	router *Router
	link   *endpoint.Receiver
}

func (in *directIn) delivered(m *endpoint.Delivery, b *endpoint.Batch) {
	d := &delivery{from: in, ref: m.Ref, settled: m.Settled, format: m.Format, msg: m.Message.Retain(), open: 1}
	name, err := d.addressed()
	if err == nil {
		err = d.scan(nil)
	}
	if err != nil {
		d.done(rejected, amqp.Errorf(amqp.ErrCondDecodeError, "the message can't be read: %v", err), b)
		return
	}
	for _, o := range in.router.table.targets(name).all {
		if !o.remote() {
			d.begin()
			o.offer(d, b)
		}
	}
	d.distributed(b)
}

// answer tells the node that sent the copy. Nobody there is `released`: it was on its way when the last one left.
func (in *directIn) answer(d *delivery, v verdict, err *amqp.Error, b *endpoint.Batch) {
	if d.settled {
		return
	}
	if v == nothing {
		v = released
	}
	in.link.Settle(d.ref, stateOf(v, err), b)
}

func (in *directIn) outcomeUnknown(bool) { panic("a copy from another node is never captured") }

// addressed reads where a copy from another node goes.
func (d *delivery) addressed() (string, error) {
	var s amqp.Sections
	if _, err := s.ScanHead(d.msg.Bytes()); err != nil {
		return "", err
	}
	value, err := s.DeliveryAnnotation(annotationTo)
	if err != nil {
		return "", err
	}
	name, ok := value.Text()
	if !ok {
		return "", amqp.Errorf(amqp.ErrCondInvalidField, "%s is missing", annotationTo)
	}
	return string(name), nil
}
