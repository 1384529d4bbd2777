package leader

import "github.com/posthouse/posthouse/waypoint/peer"

// Quanta of dispatch: what one cursor sends before it is the next one's turn, and what all send before the mailbox is
// looked at again. So a long replay delays neither live consumers nor publishers.
const (
	cursorMessages = 64
	cursorBytes    = 128 << 10
	stepMessages   = 2048
	stepBytes      = 2 << 20
)

// wake puts a cursor in the row of those that may have something to send.
func (r *reign) wake(c *cursor) {
	if c.queued || c.link == nil || c.link.state != attached {
		return
	}
	c.queued = true
	r.ready.push(c)
}

// dispatch sends, in turns, what cursors may send now; true if some are left.
func (r *reign) dispatch() bool {
	messages, bytes := 0, 0
	for r.ready.len() > 0 && messages < stepMessages && bytes < stepBytes {
		c := r.ready.pop()
		c.queued = false
		n, b, again := r.serve(c)
		messages += n
		bytes += b
		switch {
		case again:
			r.wake(c)
		case c.buffered > 0 && r.reads.len() > 0:
			r.dropReads(c) // others wait for the memory that it can't use now
		}
	}
	r.nextReads()
	return r.ready.len() > 0
}

// why says what dispatch to a cursor waits for.
type why string

const (
	whyNot      why = ""
	whyNoLink   why = "no link"
	whyLimits   why = "a limit is acting"
	whyFailed   why = "a failure to be committed"
	whyCredit   why = "credit"
	whyInFlight why = "max-in-flight"
	whyFloor    why = "too many messages are out of order: the oldest is not settled"
	whyWindow   why = "the router's window"
	whyRead     why = "a read"
	whyMark     why = "its mark"
	whyEnd      why = "messages"
)

// serve sends up to a quantum to one cursor's link; again says that it could go on.
func (r *reign) serve(c *cursor) (messages, bytes int, again bool) {
	for messages < cursorMessages && bytes < cursorBytes {
		m, it, reason := r.pick(c)
		switch reason {
		case whyNot:
		case whyEnd:
			r.drained(c.link)
			r.waitAtTail(c)
			return messages, bytes, false
		case whyInFlight, whyFloor:
			r.drained(c.link) // nothing can be sent, whatever there is
			return messages, bytes, false
		case whyMark:
			r.wantMark(c, m.seq)
			return messages, bytes, false
		case whyRead:
			r.readAhead(c)
			return messages, bytes, false
		default:
			return messages, bytes, false
		}
		s := c.link.s
		if s.sent >= s.window {
			if !c.stalled {
				c.stalled = true
				s.stalled = append(s.stalled, c)
			}
			return messages, bytes, false
		}
		messages++
		bytes += len(m.payload)
		r.deliver(c, m, it)
	}
	return messages, bytes, true
}

// pick finds the next message to send to a cursor's link, and its item if it was sent before; or why there is none now.
func (r *reign) pick(c *cursor) (message, *item, why) {
	k := c.link
	switch {
	case k == nil || k.state != attached:
		return message{}, nil, whyNoLink
	case c.evicting:
		return message{}, nil, whyLimits
	case c.failed > 0:
		// What failed goes out again, and must not be overtaken by what is new.
		return message{}, nil, whyFailed
	case k.sent >= k.limit:
		k.drain = false // the credit is used up
		return message{}, nil, whyCredit
	case c.flight.in(sent) >= c.maxInFlight():
		return message{}, nil, whyInFlight
	}
	if it := c.flight.firstWaiting(); it != nil {
		if m := r.waitingMessage(c, it.seq); m != nil {
			return *m, it, whyNot
		}
		return message{}, nil, whyRead
	}
	return r.pickNew(c)
}

// pickNew finds the next message that was not sent in this generation.
func (r *reign) pickNew(c *cursor) (message, *item, why) {
	for c.next < c.topic.head {
		m, known := r.nextMessage(c)
		if m == nil {
			if !known {
				return message{}, nil, whyRead
			}
			continue
		}
		// Held since before this reign, or settled before it.
		if c.flight.find(m.seq) != nil || m.seq <= c.older && r.m.IsSettled(c.sub, m.seq) {
			c.next = m.seq
			continue
		}
		switch {
		case c.flight.len() >= c.maxItems():
			return message{}, nil, whyFloor
		case m.seq > c.mark:
			return *m, nil, whyMark
		}
		return *m, nil, whyNot
	}
	return message{}, nil, whyEnd
}

// nextMessage is the first message above next, from memory. If there is none in memory it is nil: known says that next
// was moved over positions without one, else they have to be read.
func (r *reign) nextMessage(c *cursor) (m *message, known bool) {
	for len(c.ahead) > 0 && c.ahead[0].seq <= c.next {
		r.consumed(c, &c.ahead[0])
		c.ahead = c.ahead[1:]
	}
	if len(c.ahead) > 0 {
		return &c.ahead[0], true
	}
	if c.scanned > c.next {
		c.next = c.scanned
		return nil, true
	}
	if !c.topic.recent.covers(c.next) {
		return nil, false
	}
	m = c.topic.recent.after(c.next)
	switch {
	case m == nil:
		c.next = c.topic.head
		return nil, true
	case m.payload == nil:
		return nil, false
	}
	return m, true
}

// waitingMessage is a message that goes out again, if it is in memory.
func (r *reign) waitingMessage(c *cursor, seq uint64) *message {
	if m := c.topic.recent.at(seq); m != nil && m.payload != nil {
		return m
	}
	for len(c.back) > 0 && c.back[0].seq < seq {
		r.consumed(c, &c.back[0])
		c.back = c.back[1:]
	}
	if len(c.back) > 0 && c.back[0].seq == seq {
		return &c.back[0]
	}
	return nil
}

// deliver sends one message, the one that pick found.
func (r *reign) deliver(c *cursor, m message, it *item) {
	k := c.link
	if it == nil {
		add := item{seq: m.seq, before: m.before, at: m.at, time: m.time, stage: sent}
		if m.seq <= c.seen {
			add.again = true
			add.count = r.m.Failed(c.sub, m.seq)
		}
		c.flight.add(add)
		it = c.flight.find(m.seq)
		c.next = m.seq
		c.high = max(c.high, m.seq)
		if len(c.ahead) > 0 && c.ahead[0].seq == m.seq {
			r.consumed(c, &c.ahead[0])
			c.ahead = c.ahead[1:]
		}
	} else {
		c.flight.move(it, sent)
		if len(c.back) > 0 && c.back[0].seq == m.seq {
			r.consumed(c, &c.back[0])
			c.back = c.back[1:]
		}
	}
	d := &r.scratch
	*d = peer.Deliver{
		Sub: k.sub, Gen: k.gen, Seq: m.seq, Count: it.count, Redelivered: it.again,
		Time: m.time, Address: c.topic.address, Payload: m.payload,
	}
	if c.gap > c.told {
		if cur, ok := r.m.Cursor(c.sub); ok && cur.Gap.Version != 0 {
			d.Gap = toPeerGap(cur.Gap)
			c.told, it.told = cur.Gap.Version, cur.Gap.Version
		}
	}
	k.sent++
	k.s.sent += uint64(len(m.payload))
	k.s.say(d)
	r.l.metrics.delivered(it.again)
	r.prefetch(c)
	if half := c.reserve / 2; m.seq+half > c.mark && c.topic.head > c.mark && c.want <= c.mark {
		r.wantMark(c, m.seq+half) // before it stops for it
	}
}

// drained answers a drain when there is nothing to send: the rest of the credit is used up.
func (r *reign) drained(k *link) {
	if !k.drain {
		return
	}
	k.drain = false
	if k.limit > k.sent {
		k.sent = k.limit
		k.s.say(&peer.Drained{Sub: k.sub, Gen: k.gen, Limit: k.limit})
	}
}
