package endpoint

import (
	"sync/atomic"

	"github.com/posthouse/posthouse/router/amqp"
)

// Receiver is a link that brings deliveries from the peer to us.
type Receiver struct {
	link

	count      uint32 // delivery-count (2.6.7)
	limit      uint32 // the delivery-limit that we want the peer to have: count + credit
	announced  uint32 // the one that our last flow gave it
	top        uint32 // the highest that any flow gave it
	withheld   uint32 // what is granted next is kept back until this is made up for
	draining   bool
	available  uint32
	properties map[amqp.Symbol]any // go out with the next flow
	horizon    uint64              // of session.transfers: up to here they may have been sent before the peer read our detach

	unsettled list[inDelivery, *inDelivery]
	cur       partial

	partialSize atomic.Int64 // of cur, for the Budget
}

// partial is a delivery that is coming in.
type partial struct {
	open     bool
	swallow  bool // nobody wants it
	refused  bool // there is no memory for it
	counted  bool // the sender has counted it already
	settled  bool
	disposed bool // by a disposition, not by a transfer
	batch    bool
	listed   bool // with the Budget
	id       uint32
	format   uint32
	in       *inDelivery // nil if it came settled
	message  *Message
	state    amqp.DeliveryState
	tag      [amqp.MaxTagSize]byte
	tagLen   int
}

// inDelivery is what the engine knows of an incoming delivery that is not settled.
type inDelivery struct {
	links[inDelivery]
	conn     *Conn
	receiver *Receiver
	gen      uint32
	id       uint32
	answered bool // mode second: our outcome is told, the sender's settlement is to come
	refused  bool // the handler does not know it
}

// Accept answers the peer's attach: the link is there (see Link.Answer), with credit for so many deliveries. False: there was nothing to
// answer any more. If answer.MaxMessageSize is 0, Config.MaxMessageSize is put there.
func (r *Receiver) Accept(answer amqp.Attach, credit uint32) bool {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.acceptLocked(answer) {
		return false
	}
	r.limit += r.keepBackLocked(credit)
	r.offerLocked(true)
	return true
}

// Grant allows the peer n more deliveries. It is told when that is worth a frame: when it can have twice of what it has.
func (r *Receiver) Grant(n uint32, b *Batch) {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if before(r.limit, r.count) {
		r.limit = r.count
	}
	r.limit += r.keepBackLocked(n)
	r.offerLocked(false)
	c.owedLocked(b)
}

// Withhold keeps back so much of what is granted from now on; granting it gives it back. So the peer's credit shrinks as it is used. What it has
// is not taken away: it may be using it at this moment, and there are peers that can't take less than they have used (go-amqp takes it for
// more than four billion).
func (r *Receiver) Withhold(n uint32) {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.withheld += n
}

// keepBackLocked returns what is left of a grant.
func (r *Receiver) keepBackLocked(n uint32) uint32 {
	kept := min(n, r.withheld)
	r.withheld -= kept
	return n - kept
}

// SetFlowProperties sends the peer a flow with properties (2.7.4). Several calls before it is written collapse into the last. The map must
// not be changed afterwards.
func (r *Receiver) SetFlowProperties(properties map[amqp.Symbol]any, b *Batch) {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.properties = properties
	if r.pending || !r.usableLocked() {
		return // Accept's flow has them
	}
	r.flowOwed = true
	r.dirtyLocked()
	c.owedLocked(b)
}

// SetCredit allows the peer n deliveries from now on, in place of what it was allowed before. Deliveries that are under way may still come
// in excess of a smaller n.
func (r *Receiver) SetCredit(n uint32, b *Batch) {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.limit = r.count + n
	r.offerLocked(true)
	c.owedLocked(b)
}

// Credit is the number of deliveries that the peer may still begin. Zero when the link is gone.
func (r *Receiver) Credit() uint32 {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.usableLocked() {
		return 0
	}
	return ahead(r.count, r.limit)
}

// Drain asks the peer to use its credit at once or to give it back; Handler.Drained tells when. False: it has none, or the link is gone.
func (r *Receiver) Drain(b *Batch) bool {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.usableLocked() || ahead(r.count, r.limit) == 0 {
		return false
	}
	r.draining = true
	r.flowOwed = true
	r.dirtyLocked()
	c.owedLocked(b)
	return true
}

// Available is what the sender last said it has waiting.
func (r *Receiver) Available() uint32 {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.available
}

// Settle answers a delivery. With an outcome it settles it too, in mode ReceiverFirst; in mode ReceiverSecond the sender settles and
// Handler.SenderState tells. nil settles without saying how. A state that is no outcome only informs. False: the
// delivery is not there any more, or was answered.
func (r *Receiver) Settle(ref DeliveryRef, state amqp.DeliveryState, b *Batch) bool {
	c := r.Conn()
	d := ref.d
	if d == nil || d.conn != c {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := r.session
	if d.gen != ref.gen || d.receiver != r || d.answered || r.detachSent || s.endOwed || s.endSent || c.closeSent {
		return false
	}
	switch {
	case state != nil && !amqp.IsOutcome(state):
		s.settles.add(d.id, false, state)
	case state != nil && r.local.RcvSettleMode == amqp.ReceiverSecond:
		d.answered = true
		s.settles.add(d.id, false, state)
	default:
		s.settles.add(d.id, true, state)
		r.forgetLocked(d)
	}
	s.dirtyLocked()
	c.owedLocked(b)
	return true
}

// attachedLocked takes the sender's delivery-count for ours.
func (r *Receiver) attachedLocked(count uint32) {
	credit := r.limit // granted before there was a count
	r.count, r.announced, r.top = count, count, count
	r.limit = count + credit
	r.offerLocked(true)
}

// offerLocked makes us owe a flow if there is credit to announce that is worth it.
func (r *Receiver) offerLocked(now bool) {
	if r.remote == nil || r.pending || r.limit == r.announced {
		return
	}
	if now || before(r.limit, r.announced) || r.limit-r.announced >= ahead(r.count, r.announced) {
		r.flowOwed = true
		r.dirtyLocked()
	}
}

// receiveFlowLocked takes in the sender's flow.
func (r *Receiver) receiveFlowLocked(f *amqp.Flow) {
	tell := f.Properties != nil || f.Available.Set && f.Available.Value != r.available
	r.available = f.Available.Or(r.available)
	if f.DeliveryCount.Set && before(r.count, f.DeliveryCount.Value) {
		// Some senders count a delivery when they begin it.
		r.cur.counted = r.cur.counted || r.cur.open
		r.count = f.DeliveryCount.Value
		if before(r.limit, r.count) {
			r.limit, r.announced = r.count, r.count
		}
		r.offerLocked(false)
	}
	c := r.session.conn
	if tell {
		c.events = append(c.events, event{kind: evFlowed, link: &r.link, rare: &rareEvent{properties: f.Properties}})
	}
	r.drainedLocked()
}

// drainedLocked notices the end of a drain.
func (r *Receiver) drainedLocked() {
	if r.draining && ahead(r.count, r.limit) == 0 {
		r.draining = false
		c := r.session.conn
		c.events = append(c.events, event{kind: evDrained, link: &r.link})
	}
}

// senderStateLocked takes in a disposition of the sender's.
func (r *Receiver) senderStateLocked(d *inDelivery, state amqp.DeliveryState, settled bool) {
	c := r.session.conn
	if r.cur.in == d {
		// Not all of it is in, so the handler does not know it yet.
		if state != nil {
			r.cur.state = state
		}
		if settled {
			r.cur.settled, r.cur.disposed, r.cur.in = true, true, nil
			r.forgetLocked(d)
		}
		return
	}
	if !d.refused {
		c.events = append(c.events, event{kind: evSenderState, link: &r.link, in: d, gen: d.gen, state: state, flag: settled})
	}
	if settled {
		r.forgetLocked(d)
	}
}

// rememberLocked makes an entry for an unsettled delivery.
func (r *Receiver) rememberLocked(id uint32) *inDelivery {
	c := r.session.conn
	var d *inDelivery
	if n := len(c.freeIn); n > 0 {
		d, c.freeIn = c.freeIn[n-1], c.freeIn[:n-1]
	} else {
		d = &inDelivery{conn: c, gen: 1}
	}
	d.receiver, d.id = r, id
	r.session.inUnsettled.put(id, d)
	r.unsettled.pushBack(d)
	return d
}

// forgetLocked is the end of an unsettled delivery: references to it are void from here on.
func (r *Receiver) forgetLocked(d *inDelivery) {
	c := r.session.conn
	r.session.inUnsettled.remove(d.id)
	r.unsettled.remove(d)
	d.gen++
	d.receiver, d.answered, d.refused = nil, false, false
	if len(c.freeIn) < freeMost {
		c.freeIn = append(c.freeIn, d)
	}
}

// freeMost bounds the delivery records that a connection keeps for use again.
const freeMost = 4096

// loseDeliveriesLocked forgets all unsettled deliveries of the link.
func (r *Receiver) loseDeliveriesLocked() {
	for r.unsettled.first != nil {
		r.forgetLocked(r.unsettled.first)
	}
}
