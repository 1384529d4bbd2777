package agent

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Subscription is one link's end of a durable subscription. Its methods may be called on any goroutine, also inside the consumer's; they never
// block and never call the consumer.
type Subscription struct {
	agent    *Agent
	req      SubscribeRequest
	asked    asked
	consumer Consumer

	// Set once when it is opened, before it joins its shard.
	shard   *shard
	link    link
	info    SubscriptionInfo
	expires bool // meta must know when the link is gone

	// Guarded by shard.mu.
	isDirty, isReady bool

	mu      sync.Mutex
	phase   phase
	greeted bool // Attached was called

	// What the client allows, in deliveries since the link's beginning: the credit that is left is limit - came.
	limit uint64
	came  uint64 // deliveries that arrived
	begun uint64 // of these, how many the consumer was called for
	drain bool

	waiting []*delivery // arrived, the consumer not called yet
	held    map[uint64]*delivery
	bytes   int64 // payloads in the router's memory
	size    int64 // of a payload, on average
	capped  bool  // the client's credit was not passed on whole, because of them

	// In the session with the leader. Numbers are deliveries in this session.
	in        *peer.Session
	used      uint64
	allowed   uint64 // the limit that was sent
	draining  bool   // ... with drain
	leaveSent bool
	unsent    []*delivery // have an outcome that was not sent in this session

	owed  owed
	state SubscriptionState // by the shard

	// By meta: what was missed, what of it the subscriber has heard of, and what this link has told.
	missed, heard, said peer.Missed
	carriers            map[uint64]peer.Missed // by position: deliveries that tell it

	sent bool // an attach was sent to some leader

	// Of the detach.
	detached bool // the consumer is not called any more
	ending   Ending
	done     func(*amqp.Error) // nil when it was called
	timer    *time.Timer
}

// phase is how far a subscription's link is. It only goes forward.
type phase uint8

const (
	opening  phase = iota // meta is being asked
	joining               // the shard is being asked
	attached              // the consumer may be called
	removing              // meta is asked to remove it; what is settled is still sent
	leaving               // what is settled is still sent, and the leader asked when it is committed
	over
)

// owed is what the consumer is to be told, beside the deliveries that wait.
type owed struct {
	attached bool
	settled  []Handle
	state    bool
	drained  bool
	ended    *amqp.Error
}

// delivery is a message that this router holds.
type delivery struct {
	sub  *Subscription
	seq  uint64
	gap  uint64 // version of the gap that came with it
	msg  *peer.Deliver
	size atomic.Int64 // of the payload, while that is in the router's memory

	// Guarded by sub.mu.
	told    bool // the consumer was called
	outcome *peer.OutcomeItem
}

// deliver takes a delivery from the leader.
func (s *Subscription) deliver(session *peer.Session, m *peer.Deliver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in != session || s.phase == over {
		return
	}
	s.used++
	if d := s.held[m.Seq]; d != nil && d.msg.Count >= m.Count {
		s.agent.counters.repeated.Add(1)
		s.shard.markDirty(s) // it took of the leader's credit, and none of the client's
		return
	}
	d := &delivery{sub: s, seq: m.Seq, msg: m}
	if m.Gap != nil {
		d.gap = m.Gap.Version
	}
	s.held[m.Seq] = d
	if s.phase >= removing {
		s.giveBack(d)
		s.shard.markDirty(s)
		return
	}
	size := int64(len(m.Payload))
	d.size.Store(size)
	s.bytes += size
	s.agent.held.Add(size)
	s.size += (size - s.size) / 8
	s.came++
	s.waiting = append(s.waiting, d)
	s.shard.markReady(s)
	if s.drain && s.limit <= s.came {
		s.endDrain()
	}
	if s.bytes >= s.agent.cfg.HeldBytes {
		s.shard.markDirty(s) // so that the leader learns that there is no credit
	}
	s.refill()
}

// release takes a payload off the books.
func (s *Subscription) release(d *delivery) {
	n := d.size.Swap(0)
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(n)
}

func (s *Subscription) free(n int64) {
	s.agent.held.Add(-n)
	s.bytes -= n
	s.refill()
}

// refill passes on more of the client's credit, when half of what there is room for is used: each single one is not worth a message.
func (s *Subscription) refill() {
	if s.capped && s.phase < removing && s.room() >= 2*(s.allowed-min(s.used, s.allowed)) {
		s.shard.markDirty(s)
	}
}

// room is how many more deliveries fit into the memory that this link may take: at least one while it holds nothing.
func (s *Subscription) room() uint64 {
	cfg := &s.agent.cfg
	switch {
	case s.bytes >= cfg.HeldBytes:
		return 0
	case s.agent.held.Load() < cfg.HeldTotal:
		return uint64(max((cfg.HeldBytes-s.bytes)/max(s.size, leastSize), 1))
	case s.bytes > 0:
		return 0
	}
	return 1
}

// firstSize is what payloads are taken to have before any has come, leastSize the least that they are taken to have.
const (
	firstSize = 16 << 10
	leastSize = 64
)

// credit is how many more deliveries the leader may make.
func (s *Subscription) credit() uint64 {
	s.capped = false
	if s.phase >= removing || s.limit <= s.came {
		return 0
	}
	n, room := s.limit-s.came, s.room()
	s.capped = n > room
	return min(n, room)
}

// Credit sets how many deliveries the consumer takes from now on, all in all. With drain, Drained follows when there are no more or they
// are used up.
//
// Deliver may be running while it is called, so credit that counted the delivery of that call allows one more; CreditAt is exact.
func (s *Subscription) Credit(n uint32, drain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setCredit(s.begun, n, drain)
}

// CreditAt is Credit for a consumer that counts the calls of Deliver: n was right when it had seen so many.
func (s *Subscription) CreditAt(seen uint64, n uint32, drain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setCredit(seen, n, drain)
}

func (s *Subscription) setCredit(seen uint64, n uint32, drain bool) {
	if s.phase >= removing {
		return
	}
	s.limit = seen + uint64(n)
	s.drain = drain
	s.owed.drained = false
	if drain && s.limit <= s.came {
		// What has arrived uses it up; or there is none.
		s.drain = false
		s.owed.drained = true
	}
	if s.shard != nil && s.phase >= joining {
		s.shard.markReady(s)
		s.shard.markDirty(s)
	}
}

// attached takes the leader's answer to an attach: the first one is the consumer's.
func (s *Subscription) attached(st *peer.SubState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case joining:
		s.phase = attached
		s.state = stateOf(st)
		s.info.State = s.stateNow()
		if st.Limits != (peer.Limits{}) {
			s.info.Limits = s.info.State.Limits
		}
		s.info.Properties = attachProperties(s.info.Name, s.info.Limits, s.info.State)
		s.owed.attached = true
	case attached:
		s.state = stateOf(st)
		s.owed.state = true
	default:
		return
	}
	s.shard.markReady(s)
}

func (s *Subscription) changed(st *peer.SubState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != attached {
		return
	}
	s.state = stateOf(st)
	s.owed.state = true
	s.shard.markReady(s)
}

// drained takes the leader's word that there is nothing more for a limit: so much counts as used.
func (s *Subscription) drained(session *peer.Session, limit uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in != session || s.phase >= removing {
		return
	}
	idle := s.used < limit
	s.used = max(s.used, limit)
	if s.drain && s.draining && limit == s.allowed && idle {
		s.limit = s.came
		s.endDrain()
		return
	}
	// It was an earlier credit, or a part of what the client allows.
	s.shard.markDirty(s)
}

// endDrain: nothing is left of the client's credit.
func (s *Subscription) endDrain() {
	s.drain, s.draining = false, false
	s.owed.drained = true
	s.shard.markReady(s)
}

// committed takes the leader's word that outcomes are in its state.
func (s *Subscription) committed(items []peer.Settled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range items {
		d := s.held[i.Seq]
		if d == nil || d.outcome == nil || d.msg.Count != i.Count {
			continue
		}
		delete(s.held, i.Seq)
		s.carried(d)
		if s.phase == attached && d.told {
			s.owed.settled = append(s.owed.settled, s.handle(d))
		}
	}
	if len(s.owed.settled) > 0 || s.owed.state {
		s.shard.markReady(s)
	}
}

func (s *Subscription) handle(d *delivery) Handle {
	return Handle{Shard: s.shard.id, Seq: d.seq, Count: d.msg.Count}
}
