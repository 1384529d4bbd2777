package endpoint

import (
	"bytes"

	"github.com/posthouse/posthouse/router/amqp"
)

// outDelivery is a delivery that is queued, or written and not settled.
type outDelivery struct {
	links[outDelivery]
	conn     *Conn
	sender   *Sender
	gen      uint32
	id       uint32 // valid once started
	started  bool   // its first frame is written
	finished bool   // its last frame is
	settled  bool   // no Outcome is due any more: sent settled, or the last one was told
	hold     bool
	aborted  bool // end it with an aborted transfer
	format   uint32
	sent     int // bytes of payload written
	prefix   []byte
	tail     []byte
	message  *Message
	state    amqp.DeliveryState
	cookie   any
	tag      [amqp.MaxTagSize]byte
	tagLen   int
}

func (d *outDelivery) left() int { return len(d.prefix) + len(d.tail) - d.sent }

// prefixMost is the largest payload without a Message that is kept in the delivery record itself.
const prefixMost = 4 << 10

// takePayload keeps what Send was given.
func (d *outDelivery) takePayload(o *Outgoing) {
	switch {
	case o.Message != nil:
		d.prefix = append(d.prefix, o.Prefix...)
		d.tail = o.Tail
		d.message = o.Message.Retain()
	case len(o.Prefix)+len(o.Tail) <= prefixMost:
		d.prefix = append(append(d.prefix, o.Prefix...), o.Tail...)
	default:
		d.prefix = append(d.prefix, o.Prefix...)
		d.message = NewMessage(bytes.Clone(o.Tail), d.conn.cfg.Budget)
		d.tail = d.message.data
	}
}

// outcomeLocked takes in what the receiver says of a delivery.
func (s *Sender) outcomeLocked(d *outDelivery, state amqp.DeliveryState, settled bool) {
	c := s.session.conn
	confirm := !settled && !d.hold && amqp.IsOutcome(state)
	e := event{kind: evOutcome, link: &s.link, cookie: d.cookie, state: state, flag: settled || confirm, sent: true}
	switch {
	case settled:
		s.endOutcomeLocked(d)
	case confirm:
		s.confirmLocked(d, state)
	default:
		e.out, e.gen = d, d.gen
	}
	c.events = append(c.events, e)
}

// confirmLocked settles a delivery and makes us owe the disposition that says so.
func (s *Sender) confirmLocked(d *outDelivery, state amqp.DeliveryState) {
	s.session.confirms.add(d.id, true, state)
	s.session.dirtyLocked()
	s.endOutcomeLocked(d)
}

// endOutcomeLocked is the end of a delivery that was begun and not settled. Frames of it may still have to go out.
func (s *Sender) endOutcomeLocked(d *outDelivery) {
	if !d.settled {
		s.session.outUnsettled.remove(d.id)
		s.unsettled.remove(d)
		d.settled = true
		d.gen++
	}
	if d.finished {
		s.freeLocked(d)
	}
}

// loseDeliveriesLocked tells the final Outcomes of all that is not settled.
func (s *Sender) loseDeliveriesLocked() {
	c := s.session.conn
	lost := func(d *outDelivery) {
		c.events = append(c.events, event{kind: evOutcome, link: &s.link, cookie: d.cookie, flag: true, lost: true, sent: d.started})
	}
	for d := s.unsettled.first; d != nil; d = s.unsettled.first {
		lost(d)
		s.endOutcomeLocked(d)
	}
	for s.queue.len() > 0 {
		d := s.queue.pop()
		if !d.settled && !d.started {
			lost(d)
		}
		c.queued--
		s.freeLocked(d)
	}
}

// dropQueueLocked gives up what is not written; the deliveries stay in the queue until their loss is told.
func (s *Sender) dropQueueLocked() {
	for _, d := range s.queue.items[s.queue.head:] {
		s.dropPayloadLocked(d)
	}
}

// dropPayloadLocked releases what is not written of a delivery.
func (s *Sender) dropPayloadLocked(d *outDelivery) {
	n := int64(d.left())
	s.queuedBytes -= n
	s.session.conn.queuedBytes -= n
	if d.message != nil {
		d.message.Release()
	}
	d.message, d.tail, d.prefix, d.sent = nil, nil, d.prefix[:0], 0
}

// newOutLocked takes a delivery record.
func (c *Conn) newOutLocked() *outDelivery {
	if n := len(c.freeOut); n > 0 {
		d := c.freeOut[n-1]
		c.freeOut = c.freeOut[:n-1]
		return d
	}
	return &outDelivery{conn: c, gen: 1}
}

// freeLocked is the end of a delivery record: references to it are void from here on.
func (s *Sender) freeLocked(d *outDelivery) {
	c := s.session.conn
	d.gen++
	d.sender, d.message, d.tail, d.state, d.cookie = nil, nil, nil, nil, nil
	d.started, d.finished, d.settled, d.hold, d.aborted = false, false, false, false, false
	d.sent, d.prefix = 0, d.prefix[:0]
	if cap(d.prefix) > prefixMost {
		d.prefix = nil
	}
	if len(c.freeOut) < freeMost {
		c.freeOut = append(c.freeOut, d)
	}
}
