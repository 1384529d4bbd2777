package endpoint

import (
	"fmt"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// workLocked tells whether the writer would find something to do.
func (c *Conn) workLocked() bool {
	return c.dirty.len() > 0 || c.ready.len() > 0 || c.closeOwed || c.dead || !c.openSent && !c.openHeld
}

// renderLocked appends frames for what is owed, as much as goes well into one write.
func (w *writer) renderLocked() {
	c := w.c
	if c.dead || c.closeSent {
		return
	}
	if !c.openSent {
		if c.openHeld {
			return
		}
		c.openSent = true
		if !w.frameLocked(0, c.open) {
			// 2.4.1: a dialling side knows of no more than 512 bytes.
			c.ioErr = fmt.Errorf("our open does not fit in %d bytes", c.frameMax)
			c.dieLocked(c.ioErr)
			return
		}
	}
	if c.remote == nil && !c.closeOwed {
		return // 2.4.2 allows more, but only of what needs no knowledge of the peer's limits
	}
	for c.dirty.len() > 0 && !w.full() {
		s := c.dirty.front()
		if w.sessionLocked(s) {
			s.dirty = false
			c.dirty.pop()
		}
	}
	if c.closeOwed {
		if c.dirty.len() == 0 {
			w.closeLocked()
		}
		return
	}
	for c.ready.len() > 0 && !w.full() {
		w.transferLocked(c.ready.pop())
	}
	if len(w.buf) == 0 && c.beatEvery > 0 && time.Since(w.lastWrite) >= c.beatEvery {
		w.buf = amqp.AppendHeartbeat(w.buf)
		c.stats.FramesOut++
	}
}

func (w *writer) full() bool { return len(w.buf) >= writeInline || w.pieced >= writePieced }

// frameLocked appends a frame; false, and nothing was appended, if it is larger than the peer takes.
func (w *writer) frameLocked(channel uint16, p amqp.Performative) bool {
	at := len(w.buf)
	w.buf = amqp.AppendFrame(w.buf, channel, p)
	if uint32(len(w.buf)-at) > w.c.frameMax {
		w.buf = w.buf[:at]
		return false
	}
	w.c.stats.FramesOut++
	return true
}

// closeLocked appends our close, the last frame of all.
func (w *writer) closeLocked() {
	c := w.c
	cl := &amqp.Close{Error: c.closeErr}
	for !w.frameLocked(0, cl) {
		cl.Error = shorten(cl.Error)
	}
	c.closeSent = true
}

// shorten takes something away from an error that is too large for a frame of the peer's.
func shorten(e *amqp.Error) *amqp.Error {
	short := &amqp.Error{Condition: e.Condition, Description: e.Description}
	if e.Info == nil {
		short.Description = e.Description[:min(len(e.Description)/2, 128)]
		if e.Description == "" {
			short.Condition = amqp.ErrCondInternalError
		}
	}
	return short
}

// sessionLocked appends what a session owes except transfers. It returns false if it stopped because the write is full.
func (w *writer) sessionLocked(s *Session) bool {
	if s.endSent {
		return true
	}
	closing := s.conn.closeOwed
	if s.beginOwed && !closing {
		s.beginOwed = false
		w.beginLocked(s)
	}
	if !s.beginSent || s.remote == nil && !s.endOwed {
		return true // attaches wait for the peer's handle-max
	}
	// Settlements first: some peers end the session when a disposition follows the detach of its link.
	if !w.dispositionsLocked(s, &s.settles, amqp.RoleReceiver) || !w.dispositionsLocked(s, &s.confirms, amqp.RoleSender) {
		return false
	}
	if closing {
		return true
	}
	for s.dirtyLinks.len() > 0 && !s.endOwed {
		if w.full() {
			return false
		}
		l := s.dirtyLinks.pop()
		l.dirty = false
		w.linkLocked(l)
	}
	if s.endOwed {
		s.endOwed, s.endSent = false, true
		e := &amqp.End{Error: s.endErr}
		for !w.frameLocked(s.local, e) {
			e.Error = shorten(e.Error)
		}
		s.releaseLocked()
		return true
	}
	if s.flowOwed {
		w.startFlowLocked(s)
		w.frameLocked(s.local, &w.flow)
	}
	return true
}

func (w *writer) beginLocked(s *Session) {
	cfg := &s.conn.cfg
	b := &amqp.Begin{
		NextOutgoingID: s.nextOutgoing,
		IncomingWindow: cfg.SessionWindow,
		OutgoingWindow: outgoingWindow,
		HandleMax:      cfg.HandleMax,
	}
	if !s.initiated {
		b.RemoteChannel = amqp.Some(s.channel)
	}
	s.window = cfg.SessionWindow
	s.beginSent = true
	w.frameLocked(s.local, b)
}

// outgoingWindow is what we tell of our own sending: no bound but the peer's.
const outgoingWindow = 1<<31 - 1

// dispositionsLocked appends dispositions; false if the write is full.
func (w *writer) dispositionsLocked(s *Session, owed *ranges, role amqp.Role) bool {
	for !owed.empty() {
		if w.full() {
			return false
		}
		e := owed.front()
		d := &w.disposition
		*d = amqp.Disposition{Role: role, First: e.first, Last: e.last, Settled: e.settled, State: e.state}
		for !w.frameLocked(s.local, d) {
			d.State = shortenState(d.State)
		}
		d.State = nil
		owed.drop()
	}
	return true
}

func shortenState(s amqp.DeliveryState) amqp.DeliveryState {
	switch s := s.(type) {
	case amqp.Rejected:
		if s.Error != nil && (s.Error.Info != nil || s.Error.Description != "") {
			return amqp.Rejected{Error: shorten(s.Error)}
		}
		return amqp.Rejected{}
	case amqp.Modified:
		return amqp.Modified{DeliveryFailed: s.DeliveryFailed, UndeliverableHere: s.UndeliverableHere}
	}
	return nil
}

// linkLocked appends what a link owes except transfers.
func (w *writer) linkLocked(l *link) {
	s := l.session
	if l.attachOwed {
		l.attachOwed = false
		l.attachSent = true
		if !w.frameLocked(s.local, &l.local) {
			// 2.8.15: what can't be said in a frame of the peer's.
			s.endLocked(amqp.Errorf(amqp.ErrCondFrameSizeTooSmall, "attach of link %.64q does not fit in %d bytes", l.name, s.conn.frameMax))
			return
		}
		if l.snd != nil {
			l.snd.kickLocked()
		}
	}
	if !l.attachSent || l.detachSent {
		return
	}
	if l.snd != nil {
		l.snd.drainedLocked()
	}
	if l.flowOwed && l.remote != nil && l.usableLocked() {
		w.linkFlowLocked(l)
	}
	if l.detachOwed {
		l.detachOwed, l.detachSent = false, true
		w.detach = amqp.Detach{Handle: l.handle, Closed: l.detachClosed, Error: l.detachErr}
		for !w.frameLocked(s.local, &w.detach) {
			w.detach.Error = shorten(w.detach.Error)
		}
		if l.rcv != nil {
			l.rcv.horizon = s.transfers + uint64(s.window)
		}
		l.releaseLocked()
	}
}

// startFlowLocked puts the session's part into w.flow. Any flow renews the peer's view of our window.
func (w *writer) startFlowLocked(s *Session) {
	s.flowOwed = false
	s.window = s.conn.cfg.SessionWindow
	w.flow = amqp.Flow{
		IncomingWindow: s.window,
		NextOutgoingID: s.nextOutgoing,
		OutgoingWindow: outgoingWindow,
	}
	if s.remote != nil {
		w.flow.NextIncomingID = amqp.Some(s.nextIncoming)
	}
}

func (w *writer) linkFlowLocked(l *link) {
	l.flowOwed = false
	s := l.session
	w.startFlowLocked(s)
	f := &w.flow
	f.Handle = amqp.Some(l.handle)
	if r := l.rcv; r != nil {
		r.announced = r.limit
		if before(r.top, r.limit) {
			r.top = r.limit
		}
		f.DeliveryCount = amqp.Some(r.count)
		f.LinkCredit = amqp.Some(ahead(r.count, r.limit))
		f.Available = amqp.Some(r.available)
		f.Drain = r.draining
		f.Properties, r.properties = r.properties, nil
	} else {
		snd := l.snd
		f.DeliveryCount = amqp.Some(snd.count)
		f.LinkCredit = amqp.Some(snd.credit)
		f.Available = amqp.Some(max(snd.available, uint32(snd.queue.len())))
		f.Drain = snd.draining || snd.drainReply
		f.Properties = snd.properties
		snd.drainReply, snd.properties = false, nil
	}
	if !w.frameLocked(s.local, f) {
		f.Properties = nil
		w.frameLocked(s.local, f)
	}
	f.Properties = nil
}

// drainedLocked gives the credit back that the peer wanted used up, when there is nothing more to send.
func (s *Sender) drainedLocked() {
	if !s.drained || s.queue.len() > 0 && (s.credit > 0 || s.queue.front().started) {
		return
	}
	// 2.6.7: advance the delivery-count, and say so.
	s.count += s.credit
	s.credit = 0
	s.drained, s.draining = false, false
	s.drainReply, s.flowOwed = true, true
}
