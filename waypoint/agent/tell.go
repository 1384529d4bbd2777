package agent

import (
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// tell makes the calls that are owed to the consumer. It is called by the shard's goroutine only.
func (s *Subscription) tell() {
	for s.tellNext() {
	}
}

// tellNext makes one call, without the lock.
func (s *Subscription) tellNext() bool {
	s.mu.Lock()
	o := &s.owed
	switch {
	case s.detached:
		s.mu.Unlock()
		return false
	case o.attached:
		o.attached = false
		s.greeted = true
		info := s.info
		s.mu.Unlock()
		s.consumer.Attached(info)
	case o.ended != nil:
		err := o.ended
		s.detached = true // no call after it
		greeted := s.greeted
		s.mu.Unlock()
		if !greeted {
			s.consumer.Refused(err)
		} else {
			s.consumer.Ended(err)
		}
	case s.phase != attached:
		s.mu.Unlock()
		return false
	case len(s.waiting) > 0 && s.begun < s.limit:
		d := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.begun++
		d.told = true
		stored := s.stored(d)
		s.mu.Unlock()
		s.consumer.Deliver(stored)
	case len(o.settled) > 0:
		handles := o.settled
		o.settled = nil
		s.mu.Unlock()
		s.consumer.Settled(handles)
	case o.state:
		state := s.stateNow()
		o.state = false
		s.mu.Unlock()
		s.consumer.State(state)
	case o.drained:
		o.drained = false
		s.mu.Unlock()
		s.consumer.Drained()
	default:
		s.mu.Unlock()
		return false
	}
	return true
}

func (s *Subscription) stored(d *delivery) Stored {
	m := d.msg
	st := Stored{
		Handle: s.handle(d), Address: m.Address, Payload: m.Payload, DeliveryCount: m.Count, FirstAcquirer: !m.Redelivered,
		Time: time.UnixMilli(m.Time), delivery: d,
	}
	if m.Gap != nil {
		st.Gap = gapOf(m, s.shard.id)
	}
	s.sayMissed(&st)
	// What is kept for the outcome needs no bytes: those are the consumer's now.
	d.msg = &peer.Deliver{Seq: m.Seq, Count: m.Count}
	return st
}

func gapOf(m *peer.Deliver, shard uint32) *Gap {
	g := &Gap{Messages: m.Gap.Messages, Causes: make(map[string]uint64, len(m.Gap.Causes)), Address: m.Address, Shard: shard}
	for _, c := range m.Gap.Causes {
		g.Causes[c.Cause.String()] += c.Messages
	}
	for _, r := range m.Gap.Ranges {
		g.Ranges = append(g.Ranges, GapRange{r.From, r.Through, r.Messages, r.Cause.String()})
	}
	return g
}
