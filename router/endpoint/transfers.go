package endpoint

import "github.com/posthouse/posthouse/router/amqp"

// transferLocked appends one frame of the sender's next delivery.
func (w *writer) transferLocked(snd *Sender) {
	snd.ready = false
	if !snd.sendableLocked() || !snd.usableLocked() {
		return
	}
	s := snd.session
	if s.remoteWindow == 0 {
		snd.kickLocked() // which parks it with the session
		return
	}
	d := snd.queue.front()
	first := !d.started
	if first {
		d.started = true
		d.id = s.nextID
		s.nextID++
		if !d.settled {
			s.outUnsettled.put(d.id, d)
			snd.unsettled.pushBack(d)
		}
	}
	w.appendTransferLocked(snd, d, first)
	s.nextOutgoing++
	s.remoteWindow--
	if d.left() == 0 {
		w.finishLocked(snd, d)
	}
	snd.kickLocked()
}

// appendTransferLocked appends one frame with as much payload as goes into it.
func (w *writer) appendTransferLocked(snd *Sender, d *outDelivery, first bool) {
	c := w.c
	t := &w.transfer
	*t = amqp.Transfer{Handle: snd.handle, Aborted: d.aborted}
	if first {
		t.DeliveryID = amqp.Some(d.id)
		t.DeliveryTag = d.tag[:d.tagLen]
		t.MessageFormat = amqp.Some(d.format)
		t.State = d.state
		if d.settled {
			t.Settled = amqp.Some(true)
		}
	}
	at := len(w.buf)
	n := d.left()
	channel := snd.session.local
	w.buf = amqp.AppendTransferFrame(w.buf, channel, t, n)
	if most := int(c.frameMax); len(w.buf)-at+n > most {
		t.More = true
		w.buf = amqp.AppendTransferFrame(w.buf[:at], channel, t, 0)
		if len(w.buf)-at >= most {
			t.State = nil // a state that does not fit, with an error for instance, is not worth the delivery
			w.buf = amqp.AppendTransferFrame(w.buf[:at], channel, t, 0)
		}
		n = min(n, most-(len(w.buf)-at))
		w.buf = amqp.AppendTransferFrame(w.buf[:at], channel, t, n)
	}
	t.State = nil
	c.stats.FramesOut++
	w.payloadLocked(snd, d, n)
}

// payloadLocked appends the next n bytes of the payload.
func (w *writer) payloadLocked(snd *Sender, d *outDelivery, n int) {
	snd.queuedBytes -= int64(n)
	w.c.queuedBytes -= int64(n)
	if d.sent < len(d.prefix) {
		k := min(n, len(d.prefix)-d.sent)
		w.buf = append(w.buf, d.prefix[d.sent:d.sent+k]...)
		d.sent += k
		n -= k
	}
	if n > 0 {
		from := d.sent - len(d.prefix)
		b := d.tail[from : from+n]
		d.sent += n
		m := d.message
		if d.left() == 0 {
			d.message = nil // its reference is the writer's now
		} else {
			m.Retain() // the delivery may be given up while this frame is written
		}
		if n < copyBelow {
			w.copies = append(w.copies, copyLate{at: len(w.buf), b: b, message: m})
			w.buf = grow(w.buf, n)
		} else {
			w.pieces = append(w.pieces, piece{at: len(w.buf), b: b, message: m})
			w.pieced += n
		}
	}
	if d.left() == 0 && d.message != nil {
		d.message.Release() // its part of the payload was empty
		d.message = nil
	}
}

// grow makes b n bytes longer, without writing them.
func grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

// finishLocked is the end of writing a delivery.
func (w *writer) finishLocked(snd *Sender, d *outDelivery) {
	snd.queue.pop()
	w.c.queued--
	w.c.stats.DeliveriesOut++
	snd.count++
	if snd.credit > 0 {
		snd.credit--
	}
	if snd.drained {
		snd.dirtyLocked()
	}
	d.finished = true
	d.tail, d.state = nil, nil
	if d.settled {
		snd.freeLocked(d)
	}
}
