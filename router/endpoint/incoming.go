package endpoint

import (
	"bytes"

	"github.com/posthouse/posthouse/router/amqp"
)

// receiveTransferLocked takes in a transfer. It returns false, and has done nothing, if the transfer has to wait for memory.
func (s *Session) receiveTransferLocked(t *amqp.Transfer, payload []byte) bool {
	c := s.conn
	var l *link
	if int64(t.Handle) < int64(len(s.byRemote)) {
		l = s.byRemote[t.Handle]
	}
	wanted := l != nil && l.rcv != nil && !l.detachOwed && !l.detachSent
	short := wanted && !c.cfg.Internal && c.cfg.Budget.Exhausted()
	if short && !c.rd.refusing {
		return false
	}
	c.rd.refusing = short || c.rd.refusing && !wanted
	if s.window == 0 {
		s.failLocked(amqp.Errorf(amqp.ErrCondWindowViolation, "incoming-window of %d transfers is exceeded", c.cfg.SessionWindow))
		return true
	}
	s.window--
	s.nextIncoming++
	s.transfers++
	if s.window <= c.cfg.SessionWindow/2 && !s.flowOwed {
		s.flowOwed = true
		s.dirtyLocked()
	}
	switch {
	case l == nil:
		s.failLocked(amqp.Errorf(amqp.ErrCondUnattachedHandle, "handle %d is not attached", t.Handle))
	case l.rcv == nil:
		l.failLocked(amqp.Errorf(amqp.ErrCondNotAllowed, "transfer from the receiver of a link"))
	default:
		l.rcv.transferLocked(t, payload, short)
	}
	return true
}

// transferLocked takes in a frame of a delivery. short tells that there is no memory for it.
func (r *Receiver) transferLocked(t *amqp.Transfer, payload []byte, short bool) {
	gone := r.detachOwed || r.detachSent
	if r.failed && r.detachSent && r.session.transfers > r.horizon {
		// 2.6.5. Whoever sent it had read a flow of ours that came behind the detach.
		r.session.failLocked(amqp.Errorf(amqp.ErrCondErrantLink, "transfer on link %.64q, which was detached with an error", r.name))
		return
	}
	if !r.cur.open {
		if !r.beginLocked(t, gone) {
			return
		}
	} else if r.cur.contradicts(t) {
		r.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "transfer contradicts the first one of delivery %d", r.cur.id)) // 2.7.5
		gone = true
	}
	if gone {
		r.cur.swallow = true
	}
	if short && !r.cur.swallow {
		r.cur.refused = true
		r.dropPayloadLocked()
	}
	if t.Aborted {
		// 2.7.5: what came is void, and the delivery settled.
		r.abortLocked()
		return
	}
	if !r.cur.swallow {
		r.appendLocked(t, payload)
	} else if r.cur.refused {
		r.settledByFrameLocked(t)
	}
	if !t.More {
		r.completeLocked(t)
	}
}

// beginLocked takes in what the first transfer of a delivery says. It returns false if that went wrong.
func (r *Receiver) beginLocked(t *amqp.Transfer, gone bool) bool {
	s := r.session
	switch {
	case gone:
		r.cur.open = true
		return true
	case ahead(r.count, r.top) == 0:
		// More than any flow of ours allowed. (What a reduced credit met under way is welcome, 2.6.7.)
		r.failLocked(amqp.Errorf(amqp.ErrCondTransferLimitExceeded, "no credit for delivery on link %.64q", r.name))
		return false
	case !t.DeliveryID.Set || t.DeliveryTag == nil:
		r.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "first transfer of a delivery needs delivery-id and delivery-tag"))
		return false
	case len(t.DeliveryTag) > amqp.MaxTagSize:
		r.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "delivery-tag of %d bytes", len(t.DeliveryTag))) // 2.8.7
		return false
	case t.RcvSettleMode.Set && t.RcvSettleMode.Value == amqp.ReceiverSecond && r.local.RcvSettleMode == amqp.ReceiverFirst && !t.Settled.Or(false):
		r.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "rcv-settle-mode second on a link of mode first")) // 2.7.5
		return false
	}
	id := t.DeliveryID.Value
	if s.received && !before(s.lastID, id) {
		// 2.6.12: from a session scoped sequence.
		s.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "delivery-id %d after %d", id, s.lastID))
		return false
	}
	s.received, s.lastID = true, id

	cur := &r.cur
	cur.open, cur.id, cur.format, cur.state = true, id, t.MessageFormat.Or(0), t.State
	cur.tagLen = copy(cur.tag[:], t.DeliveryTag)
	cur.settled = t.Settled.Or(false)
	// 2.7.5: resumed deliveries that are not in our unsettled map, and none is, are ignored.
	cur.swallow = t.Resume
	if !cur.settled && !cur.swallow {
		cur.in = r.rememberLocked(id)
	}
	return true
}

// contradicts tells whether a later transfer of a delivery says something else than the first.
func (p *partial) contradicts(t *amqp.Transfer) bool {
	return t.DeliveryID.Set && t.DeliveryID.Value != p.id ||
		t.DeliveryTag != nil && !bytes.Equal(t.DeliveryTag, p.tag[:p.tagLen])
}

// appendLocked takes in the payload of a frame.
func (r *Receiver) appendLocked(t *amqp.Transfer, payload []byte) {
	cur := &r.cur
	cur.batch = cur.batch || t.Batchable
	if t.State != nil {
		cur.state = t.State
	}
	r.settledByFrameLocked(t)
	have := 0
	if cur.message != nil {
		have = len(cur.message.data)
	}
	most := r.local.MaxMessageSize
	if uint64(have)+uint64(len(payload)) > most {
		r.failLocked(amqp.Errorf(amqp.ErrCondMessageSizeExceeded, "message is larger than %d bytes", most))
		cur.swallow = true
		return
	}
	c := r.session.conn
	switch {
	case cur.message != nil:
		cur.message = cur.message.extend(payload, most)
	case !t.More && len(payload) >= sliceFrom:
		cur.message = sliceMessage(payload, c.rd.chunk, c.cfg.Budget)
	default:
		cur.message = copyMessage(payload, c.cfg.Budget)
	}
	if t.More {
		r.partialSize.Store(cur.message.charge)
		if !cur.listed && c.cfg.Budget != nil {
			cur.listed = true
			c.cfg.Budget.begun(r)
		}
	}
}

// settledByFrameLocked notes that settled on any frame of a delivery is settled (2.7.5).
func (r *Receiver) settledByFrameLocked(t *amqp.Transfer) {
	cur := &r.cur
	if t.Settled.Or(false) && !cur.settled {
		cur.settled = true
		if cur.in != nil {
			r.forgetLocked(cur.in)
			cur.in = nil
		}
	}
}

// completeLocked is the end of a delivery that came in whole.
func (r *Receiver) completeLocked(t *amqp.Transfer) {
	cur := &r.cur
	if cur.refused {
		r.refuseLocked()
	}
	if cur.swallow {
		r.abortLocked()
		return
	}
	switch mode := r.remote.SndSettleMode; {
	case mode == amqp.SenderSettled && !cur.settled, mode == amqp.SenderUnsettled && cur.settled && !cur.disposed:
		// 2.7.5 settled: the modes of the attach bind.
		r.failLocked(amqp.Errorf(amqp.ErrCondNotAllowed, "delivery is not settled as the snd-settle-mode says"))
		r.abortLocked()
		return
	}
	c := r.session.conn
	tag := t.DeliveryTag // a slice of what was read, which stays until the handler is through
	if tag == nil {
		tag = bytes.Clone(cur.tag[:cur.tagLen])
	}
	e := event{kind: evDelivered, link: &r.link, message: cur.message, format: cur.format, flag: cur.settled, batch: cur.batch, state: cur.state, tag: tag}
	if cur.in != nil {
		e.in, e.gen = cur.in, cur.in.gen
	}
	c.events = append(c.events, e)
	c.stats.DeliveriesIn++
	cur.message, cur.in = nil, nil
	r.closePartialLocked()
}

// refuseLocked answers a delivery that there was no memory for. The handler never hears of it, so its credit is given anew.
func (r *Receiver) refuseLocked() {
	cur, s := &r.cur, r.session
	s.conn.stats.Refused++
	r.limit++
	d := cur.in
	if d == nil {
		return
	}
	cur.in = nil
	second := r.local.RcvSettleMode == amqp.ReceiverSecond
	s.settles.add(d.id, !second, amqp.Rejected{Error: errNoMemory})
	s.dirtyLocked()
	if second {
		d.answered, d.refused = true, true
	} else {
		r.forgetLocked(d)
	}
}

// errNoMemory says why in the words of every refusal (DURABLE section 2).
var errNoMemory = &amqp.Error{Condition: amqp.ErrCondResourceLimitExceeded, Description: "out of memory for messages; try again later",
	Info: map[amqp.Symbol]any{"reason": "memory", "retry-after-ms": uint32(1000)}}

// abortLocked is the end of a delivery that nobody gets.
func (r *Receiver) abortLocked() {
	r.dropPartialLocked()
	r.closePartialLocked()
}

// closePartialLocked counts the delivery and makes room for the next.
func (r *Receiver) closePartialLocked() {
	cur := &r.cur
	if !cur.counted {
		r.count++
		if before(r.limit, r.count) {
			r.limit, r.announced = r.count, r.count // it came in excess of a credit that we had reduced
		}
	}
	r.unlistLocked()
	*cur = partial{}
	if !r.detachOwed && !r.detachSent {
		r.offerLocked(false)
		r.drainedLocked()
	}
}

// dropPartialLocked gives up what has come in of a delivery. The rest of it will be swallowed.
func (r *Receiver) dropPartialLocked() {
	r.dropPayloadLocked()
	r.cur.refused = false
	if r.cur.in != nil {
		r.forgetLocked(r.cur.in)
		r.cur.in = nil
	}
}

func (r *Receiver) dropPayloadLocked() {
	cur := &r.cur
	cur.swallow = true
	if cur.message != nil {
		cur.message.Release()
		cur.message = nil
	}
	r.unlistLocked()
}

func (r *Receiver) unlistLocked() {
	if r.cur.listed {
		r.cur.listed = false
		r.session.conn.cfg.Budget.done(r)
	}
}

// giveUpPartial detaches the link because the memory of its unfinished message is needed. Called by the reader of another
// connection, without any lock.
func (r *Receiver) giveUpPartial() {
	c := r.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.cur.open && r.cur.message != nil {
		r.failLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "no memory for the rest of a message"))
		c.pokeLocked()
	}
}
