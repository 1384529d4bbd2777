package endpoint

import (
	"slices"

	"github.com/posthouse/posthouse/router/amqp"
)

// Session is one session of a connection, begun by either side. All methods may be called from any goroutine and don't block.
type Session struct {
	conn      *Conn
	local     uint16 // our channel
	initiated bool   // by us
	data      any

	// All below is guarded by conn.mu.

	channel   uint16      // the peer's
	remote    *amqp.Begin // the peer's, nil until it came
	size      int64       // of it, as counted in conn.attachBytes
	beginOwed bool
	beginSent bool
	endOwed   bool
	endSent   bool
	endRcvd   bool
	endErr    *amqp.Error // goes out with the end
	told      bool        // Ended is told, or will be
	dirty     bool        // on conn.dirty
	flowOwed  bool

	// Incoming (2.5.6).
	nextIncoming uint32
	window       uint32 // transfers that the peer may still send by what our last flow said
	transfers    uint64 // that have come in
	received     bool   // lastID is valid
	lastID       uint32 // delivery-id of the last delivery begun

	// Outgoing.
	nextOutgoing uint32
	remoteWindow uint32
	nextID       uint32 // delivery-id of the next delivery
	blocked      []*Sender

	inUnsettled  idTable[inDelivery]
	outUnsettled idTable[outDelivery]
	settles      ranges // owed dispositions as receiver
	confirms     ranges // owed dispositions as sender

	handleMax  uint32  // of handles that we use
	byHandle   []*link // by our handle
	byRemote   []*link // by the peer's
	departed   []bool  // by the peer's: was attached, and the peer has detached it
	byName     map[linkKey]*link
	dirtyLinks fifo[*link]
}

type linkKey struct {
	name string
	role amqp.Role // ours
}

// Conn is the connection of the session.
func (s *Session) Conn() *Conn { return s.conn }

// Remote is the peer's begin; nil before it came. It must not be changed.
func (s *Session) Remote() *amqp.Begin {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.remote
}

// Initiated tells whether our side began the session.
func (s *Session) Initiated() bool { return s.initiated }

// Data is what SetData left here. The engine does not touch it, nor does it lock: set it in Handler.Begun, or before the session is
// shown to other goroutines.
func (s *Session) Data() any { return s.data }

// SetData leaves something for Data.
func (s *Session) SetData(v any) { s.data = v }

// End ends the session with all its links, for the given reason (nil: none). What was sent but not written is lost. Detached and Ended
// are told when the peer has answered.
func (s *Session) End(err *amqp.Error) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.endLocked(err)
}

func (s *Session) endLocked(err *amqp.Error) {
	if s.endOwed || s.endSent || s.conn.closedLocked() {
		return
	}
	s.endOwed, s.endErr = true, err
	for _, l := range s.byHandle {
		if l != nil {
			l.dropLocked()
		}
	}
	s.dirtyLocked()
	s.conn.owedLocked(nil)
}

// failLocked ends the session for a mistake of the peer's (2.5.4). Called by the reader.
func (s *Session) failLocked(err *amqp.Error) {
	s.endLocked(err)
	s.loseLocked(err)
}

// loseLocked tells the handler that the session and its links are gone, if it was not told. The session itself stays until both ends
// are through. Called by the reader.
func (s *Session) loseLocked(err *amqp.Error) {
	if s.told {
		return
	}
	s.told = true
	for _, l := range s.byHandle {
		if l != nil {
			l.goneLocked(Detached{Err: err, Lost: true})
		}
	}
	s.conn.events = append(s.conn.events, event{kind: evEnded, session: s, rare: &rareEvent{err: err}})
}

// closedLocked tells whether nothing but a close goes out any more.
func (c *Conn) closedLocked() bool { return c.closeOwed || c.closeSent || c.dead }

// liveLocked tells whether the session may still send.
func (s *Session) liveLocked() bool {
	return !s.endOwed && !s.endSent && !s.endRcvd && !s.conn.closedLocked()
}

// begunLocked takes in the peer's begin.
func (s *Session) begunLocked(channel uint16, b *amqp.Begin) {
	s.channel, s.remote = channel, b
	s.nextIncoming = b.NextOutgoingID
	// What we have sent before its begin came counts against its window.
	s.remoteWindow = windowLeft(0, b.IncomingWindow, s.nextOutgoing)
	s.handleMax = min(s.handleMax, b.HandleMax)
	s.beginOwed = !s.initiated
	s.dirtyLocked() // attaches have waited for this
	s.conn.events = append(s.conn.events, event{kind: evBegun, session: s})
	for _, l := range s.byHandle {
		if l != nil && l.handle > s.handleMax {
			l.vanishLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "the peer takes handles up to %d", s.handleMax))
		}
	}
	s.unblockLocked()
}

// windowLeft is how many transfers may go out if the peer takes window of them from transfer-id from on and next is our next one (2.5.6).
func windowLeft(from, window, next uint32) uint32 {
	underway := next - from
	if before(next, from) {
		underway = 0 // it has not been sent that far: the peer is mistaken
	}
	if underway >= window {
		return 0
	}
	return window - underway
}

// receiveLocked takes in a frame of the session. It returns false, and has done nothing, if the frame has to wait for memory.
func (s *Session) receiveLocked(code uint64, body []byte) bool {
	rd := &s.conn.rd
	if s.endOwed || s.endSent {
		// 2.5.5 DISCARDING: until its end. An end that we can't read is one as well.
		if code == amqp.CodeEnd {
			s.endedLocked(nil)
		}
		return true
	}
	var err error
	switch code {
	case amqp.CodeTransfer:
		var payload []byte
		if payload, err = rd.transfer.Decode(body); err == nil {
			return s.receiveTransferLocked(&rd.transfer, payload)
		}
	case amqp.CodeDisposition:
		if _, err = rd.disposition.Decode(body); err == nil {
			s.receiveDispositionLocked(&rd.disposition)
		}
	case amqp.CodeFlow:
		if _, err = rd.flow.Decode(body); err == nil {
			s.receiveFlowLocked(&rd.flow)
		}
	case amqp.CodeAttach:
		a := new(amqp.Attach)
		if _, err = a.Decode(body); err == nil {
			s.receiveAttachLocked(a, int64(len(body)))
		}
	case amqp.CodeDetach:
		var d amqp.Detach
		if _, err = d.Decode(body); err == nil {
			s.receiveDetachLocked(&d)
		}
	case amqp.CodeEnd:
		var e amqp.End
		if _, err = e.Decode(body); err == nil {
			s.endedLocked(e.Error)
		}
	}
	if err != nil {
		// 2.5.4: input that can't be processed. The frame was whole, so the connection can go on.
		s.failLocked(asError(err))
	}
	return true
}

// endedLocked takes in the peer's end.
func (s *Session) endedLocked(err *amqp.Error) {
	s.endRcvd = true
	s.conn.in[s.channel] = nil
	if s.told { // it was our error that counts
		err = nil
	}
	s.loseLocked(err)
	if !s.endOwed && !s.endSent {
		s.endOwed = true
		s.dirtyLocked()
	}
	s.releaseLocked()
}

// releaseLocked forgets the session when both ends are through.
func (s *Session) releaseLocked() {
	if !s.endSent || !s.endRcvd {
		return
	}
	c := s.conn
	if int(s.local) < len(c.out) && c.out[s.local] == s {
		c.out[s.local] = nil
		c.attachBytes -= s.size
		for _, l := range s.byHandle {
			if l != nil {
				c.links--
				c.attachBytes -= l.size
			}
		}
		s.byHandle, s.byRemote, s.departed, s.byName, s.blocked = nil, nil, nil, nil, nil
		s.dirtyLinks = fifo[*link]{}
	}
}

// vanishLocked is the end of a session of ours whose begin has not gone out, and must not.
func (s *Session) vanishLocked(err *amqp.Error) {
	s.loseLocked(err)
	s.beginOwed, s.endOwed, s.endSent, s.endRcvd = false, false, true, true
	s.releaseLocked()
}

func (s *Session) receiveFlowLocked(f *amqp.Flow) {
	// 2.5.6: what the peer says of our transfers counts from the first one, 0, if it had not seen our begin.
	s.remoteWindow = windowLeft(f.NextIncomingID.Or(0), f.IncomingWindow, s.nextOutgoing)
	s.nextIncoming = f.NextOutgoingID
	s.unblockLocked()
	if !f.Handle.Set {
		if f.Echo {
			s.flowOwed = true
			s.dirtyLocked()
		}
		return
	}
	if h := int64(f.Handle.Value); h < int64(len(s.departed)) && s.departed[h] {
		return // see the package comment, on 2.7.4
	}
	l := s.linkLocked(f.Handle.Value)
	if l == nil || l.detachOwed || l.detachSent {
		return // gone, or sent before the peer saw our detach
	}
	if f.Echo {
		l.flowOwed = true
		l.dirtyLocked()
	}
	if l.snd != nil {
		l.snd.receiveFlowLocked(f)
	} else {
		l.rcv.receiveFlowLocked(f)
	}
}

// linkLocked finds the link of a peer's handle. It fails the session if there is none.
func (s *Session) linkLocked(handle uint32) *link {
	if int64(handle) < int64(len(s.byRemote)) && s.byRemote[handle] != nil {
		return s.byRemote[handle]
	}
	s.failLocked(amqp.Errorf(amqp.ErrCondUnattachedHandle, "handle %d is not attached", handle))
	return nil
}

func (s *Session) receiveDispositionLocked(d *amqp.Disposition) {
	switch {
	case before(d.Last, d.First):
		s.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "disposition from %d to %d", d.First, d.Last))
	case d.Role == amqp.RoleReceiver:
		s.outUnsettled.each(d.First, d.Last, func(id uint32, o *outDelivery) {
			o.sender.outcomeLocked(o, d.State, d.Settled)
		})
	default:
		s.inUnsettled.each(d.First, d.Last, func(id uint32, i *inDelivery) {
			i.receiver.senderStateLocked(i, d.State, d.Settled)
		})
	}
}

// newHandleLocked finds the lowest free handle (2.7.3); false if there is none.
func (s *Session) newHandleLocked() (uint32, bool) {
	i := slices.Index(s.byHandle, nil)
	if i < 0 {
		i = len(s.byHandle)
		if int64(i) > int64(s.handleMax) {
			return 0, false
		}
		s.byHandle = append(s.byHandle, nil)
	}
	return uint32(i), true
}

// Unsettled is the number of deliveries of the session that came in and are not settled by us, and of those that went out and are not
// settled by the peer.
func (s *Session) Unsettled() (in, out int) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.inUnsettled.len(), s.outUnsettled.len()
}
