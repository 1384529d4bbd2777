package endpoint

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/posthouse/posthouse/router/amqp"
)

// Sender is a link that takes deliveries from us to the peer.
type Sender struct {
	link

	count      uint32 // delivery-count (2.6.7): counts deliveries that are written to their end
	credit     uint32 // what the peer allows beyond count
	draining   bool   // the peer asked to drain
	drained    bool   // Drained was called: answer when the queue is empty
	drainReply bool   // the next flow is that answer
	available  uint32
	properties map[amqp.Symbol]any // go out with the next flow

	queue       fifo[*outDelivery] // not written to their end, in order; the first may be begun
	queuedBytes int64
	unsettled   list[outDelivery, *outDelivery]
	nextTag     uint32
	ready       bool // on conn.ready
	blocked     bool // on session.blocked

	creditTold atomic.Bool // a Credit event waits
}

// Accept answers the peer's attach: the link is there (see Link.Answer). False: there was nothing to answer any more. The peer may have given
// credit already, so look at Credit after it.
func (s *Sender) Accept(answer amqp.Attach) bool {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.acceptLocked(answer)
}

// Credit is the number of deliveries that Send takes now. Zero while the peer wants none, and when the link is gone.
func (s *Sender) Credit() uint32 {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.creditLocked()
}

func (s *Sender) creditLocked() uint32 {
	if q := uint32(s.queue.len()); q < s.credit && s.mayLocked() && s.usableLocked() {
		return s.credit - q
	}
	return 0
}

// mayLocked tells whether the attaches allow new deliveries at all. 2.7.3: not so when the receiver's unsettled map is incomplete.
func (s *Sender) mayLocked() bool {
	return s.remote != nil && !s.pending && !s.remote.IncompleteUnsettled
}

// Draining tells that the peer wants its credit used at once or given back: send what there is, then call Drained.
func (s *Sender) Draining() bool {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.draining
}

// Drained gives back the credit that is left when what was sent is written, if the peer asked to drain. To be called when
// there is nothing more to send; without it the peer's drain is never answered.
func (s *Sender) Drained(b *Batch) {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.draining || !s.usableLocked() {
		return
	}
	s.drained = true
	s.dirtyLocked()
	c.owedLocked(b)
}

// SetAvailable tells the peer, with the next flow, how many deliveries wait for credit; if tell is set there will be a flow soon.
func (s *Sender) SetAvailable(n uint32, tell bool, b *Batch) {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.available = n
	if tell && s.usableLocked() {
		s.flowOwed = true
		s.dirtyLocked()
		c.owedLocked(b)
	}
}

// SetFlowProperties sends the peer a flow with properties (2.7.4). Several calls before it is written collapse into the last. The map must
// not be changed afterwards. What does not fit in a frame of the peer's is not sent.
func (s *Sender) SetFlowProperties(properties map[amqp.Symbol]any, b *Batch) {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.usableLocked() {
		return
	}
	s.properties = properties
	s.flowOwed = true
	s.dirtyLocked()
	c.owedLocked(b)
}

// Queued is the number of deliveries that wait to be written, and the bytes of their payload. They wait for the session window, for
// credit that the peer took back, or for the socket.
func (s *Sender) Queued() (deliveries int, bytes int64) {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.queue.len(), s.queuedBytes
}

// MaxMessageSize is the largest message that the peer takes; 0 is no limit.
func (s *Sender) MaxMessageSize() uint64 {
	c := s.Conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.remote == nil {
		return 0
	}
	return s.remote.MaxMessageSize
}

// settlesLocked tells whether a delivery goes out settled: as the caller wishes, where the link's mode leaves it to him.
func (s *Sender) settlesLocked(wish bool) bool {
	switch s.local.SndSettleMode {
	case amqp.SenderSettled:
		return true
	case amqp.SenderUnsettled:
		return false
	}
	return wish
}

// Send queues one delivery. The caller keeps o and may use it again; of its contents, Message is retained and all else copied. The
// error is ErrNoCredit, ErrGone, ErrTooLarge or ErrTag; then nothing was done and there will be no Outcome.
func (s *Sender) Send(o *Outgoing, b *Batch) (SendRef, error) {
	if len(o.Tag) > amqp.MaxTagSize {
		return SendRef{}, ErrTag
	}
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !s.usableLocked():
		return SendRef{}, ErrGone
	case uint32(s.queue.len()) >= s.credit || !s.mayLocked():
		return SendRef{}, ErrNoCredit
	}
	size := len(o.Prefix) + len(o.Tail)
	if most := s.remote.MaxMessageSize; most != 0 && uint64(size) > most {
		return SendRef{}, ErrTooLarge
	}
	d := c.newOutLocked()
	d.sender, d.format, d.state, d.cookie, d.hold = s, o.Format, o.State, o.Cookie, o.HoldSettle
	d.settled = s.settlesLocked(o.Settled)
	d.takePayload(o)
	if o.Tag != nil {
		d.tagLen = copy(d.tag[:], o.Tag)
	} else {
		binary.BigEndian.PutUint32(d.tag[:], s.nextTag)
		d.tagLen = 4
		s.nextTag++
	}
	s.queue.push(d)
	s.queuedBytes += int64(size)
	c.queued++
	c.queuedBytes += int64(size)
	s.kickLocked()
	if s.ready {
		c.owedLocked(b)
	}
	return SendRef{d, d.gen}, nil
}

// Settle settles a delivery that was sent with HoldSettle, after an Outcome that was not Final. False: it is not there any more. No Outcome follows.
func (s *Sender) Settle(ref SendRef, state amqp.DeliveryState, b *Batch) bool {
	c := s.session.conn
	d := ref.d
	if d == nil || d.conn != c {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.gen != ref.gen || d.sender != s || !d.started || d.settled || s.detachSent || s.session.endOwed || s.session.endSent || c.closeSent {
		return false
	}
	s.confirmLocked(d, state)
	c.owedLocked(b)
	return true
}

// Cancel takes a delivery back that is not written to its end: if none of it is, the peer never hears of it; else it is aborted. True: taken back,
// no Outcome follows. False: too late.
func (s *Sender) Cancel(ref SendRef) bool {
	c := s.session.conn
	d := ref.d
	if d == nil || d.conn != c {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.gen != ref.gen || d.sender != s || d.finished || d.aborted || !s.usableLocked() {
		return false
	}
	if d.started {
		// 2.6.14: and an aborted delivery is settled.
		s.endOutcomeLocked(d)
		d.aborted = true
		s.dropPayloadLocked(d)
		s.kickLocked()
		c.owedLocked(nil)
		return true
	}
	for i, n := 0, s.queue.len(); i < n; i++ {
		if q := s.queue.pop(); q != d {
			s.queue.push(q)
		}
	}
	s.dropPayloadLocked(d)
	c.queued--
	s.freeLocked(d)
	if s.drained {
		s.dirtyLocked()
		c.owedLocked(nil)
	}
	return true
}

// receiveFlowLocked takes in the receiver's flow.
func (s *Sender) receiveFlowLocked(f *amqp.Flow) {
	if f.LinkCredit.Set {
		// 2.6.7: credit counts from the delivery-count that the receiver knows of. One that has not seen our attach knows of
		// the initial one, which is 0. In 64 bits, because some peers grant all 32.
		underway := ahead(f.DeliveryCount.Or(0), s.count)
		s.credit = uint32(max(0, int64(f.LinkCredit.Value)-int64(underway)))
	}
	s.draining = f.Drain
	if !f.Drain {
		s.drained = false
	}
	s.kickLocked()
	if s.creditTold.CompareAndSwap(false, true) {
		c := s.session.conn
		c.events = append(c.events, event{kind: evCredit, link: &s.link})
	}
}
