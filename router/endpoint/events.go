package endpoint

import "github.com/posthouse/posthouse/router/amqp"

// event is a call to the Handler that waits for the lock to be dropped.
type event struct {
	kind    eventKind
	flag    bool // settled, final
	sent    bool
	lost    bool
	batch   bool
	format  uint32
	session *Session
	link    *link
	gen     uint32
	in      *inDelivery
	out     *outDelivery
	message *Message
	tag     []byte
	state   amqp.DeliveryState
	cookie  any
	rare    *rareEvent
}

// rareEvent keeps what hardly any event has out of all others.
type rareEvent struct {
	open       *amqp.Open
	err        *amqp.Error
	detached   Detached
	properties map[amqp.Symbol]any
}

type eventKind uint8

const (
	evOpened eventKind = iota
	evBegun
	evAttached
	evDelivered
	evSenderState
	evOutcome
	evCredit
	evFlowed
	evDrained
	evDetached
	evEnded
)

// takeEventsLocked gives the reader the events that were gathered. They are kept in two slices in turn, because another connection's
// goroutine may add one (Receiver.giveUpPartial) while the handler is busy with the others.
func (c *Conn) takeEventsLocked() {
	c.rd.handling, c.events = c.events, c.rd.handling
}

// handleEvents calls the Handler for all events taken. Called by the reader without the lock.
func (c *Conn) handleEvents() {
	for i := range c.rd.handling {
		e := &c.rd.handling[i]
		switch e.kind {
		case evDelivered:
			d := &c.rd.delivery
			*d = Delivery{Ref: DeliveryRef{e.in, e.gen}, Message: e.message, Tag: e.tag, Format: e.format, Settled: e.flag, State: e.state, Batchable: e.batch}
			c.h.Delivered(e.link.rcv, d)
			e.message.Release()
		case evOutcome:
			o := &c.rd.outcome
			*o = Outcome{Ref: SendRef{e.out, e.gen}, Cookie: e.cookie, State: e.state, Final: e.flag, Lost: e.lost, Sent: e.sent}
			c.h.Outcome(e.link.snd, o)
		default:
			c.handleRare(e)
		}
	}
	clear(c.rd.handling)
	c.rd.handling = c.rd.handling[:0]
	if cap(c.rd.handling) > 4096 {
		c.rd.handling = nil
	}
}

func (c *Conn) handleRare(e *event) {
	switch e.kind {
	case evOpened:
		c.h.Opened(c, e.rare.open)
		c.mu.Lock()
		c.openHeld = false
		c.owedLocked(&c.batch)
		c.mu.Unlock()
	case evBegun:
		c.h.Begun(e.session)
	case evAttached:
		c.h.Attached(e.link.self)
	case evSenderState:
		c.h.SenderState(e.link.rcv, DeliveryRef{e.in, e.gen}, e.state, e.flag)
	case evCredit:
		e.link.snd.creditTold.Store(false)
		c.h.Credit(e.link.snd)
	case evFlowed:
		c.h.Flowed(e.link.rcv, e.rare.properties)
	case evDrained:
		c.h.Drained(e.link.rcv)
	case evDetached:
		c.h.Detached(e.link.self, e.rare.detached)
		c.mu.Lock()
		e.link.answerDetachLocked()
		c.owedLocked(&c.batch)
		c.mu.Unlock()
	case evEnded:
		c.h.Ended(e.session, e.rare.err)
	}
}
