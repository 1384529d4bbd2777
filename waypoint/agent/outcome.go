package agent

import (
	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Outcome tells how a delivery ended; the consumer hears of it again with Settled. A nil state is a delivery that was settled without an
// outcome: the source's default outcome applies (3.5.3). A state that is not terminal changes nothing; nor does an outcome of a delivery that is
// not held (any more).
func (s *Subscription) Outcome(h Handle, state amqp.DeliveryState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.held[h.Seq]
	if d == nil || d.msg.Count != h.Count || d.outcome != nil || !d.told {
		return
	}
	if state == nil {
		state = s.defaultOutcome()
	}
	if s.settle(d, state) {
		s.shard.markDirty(s)
	}
}

// settle notes the outcome of a delivery, to be sent. The payload is of no use any more.
func (s *Subscription) settle(d *delivery, state amqp.DeliveryState) bool {
	o := peer.OutcomeItem{Seq: d.seq, Count: d.msg.Count, GapVersion: d.gap}
	switch v := state.(type) {
	case amqp.Accepted:
		o.State = peer.Accepted
	case amqp.Released:
		o.State = peer.Released
	case amqp.Rejected:
		o.State = peer.Rejected
		if v.Error != nil {
			o.Extra = extra(v)
		}
	case amqp.Modified:
		o.State = peer.Modified
		if v.DeliveryFailed {
			o.Flags |= peer.FlagFailed
		}
		if v.UndeliverableHere {
			o.Flags |= peer.FlagUndeliverable
		}
		if len(v.MessageAnnotations) > 0 {
			o.Extra = extra(v)
		}
	default:
		return false
	}
	d.outcome = &o
	s.unsent = append(s.unsent, d)
	if n := d.size.Swap(0); n != 0 {
		s.free(n)
	}
	return true
}

// giveBack returns a delivery that the consumer was never called for.
func (s *Subscription) giveBack(d *delivery) {
	d.msg = &peer.Deliver{Seq: d.seq, Count: d.msg.Count}
	d.gap = 0 // nobody has heard of it
	s.settle(d, amqp.Released{})
}

// extra is the outcome as it came, unless that is too much to keep.
func extra(state amqp.DeliveryState) []byte {
	b := amqp.AppendState(nil, state)
	if len(b) > peer.MaxExtra {
		return nil
	}
	return b
}

// defaultOutcome is what happens to a delivery whose link goes away, or that is settled without an outcome. Released, if the source names
// none: nobody says that the attempt failed.
func (s *Subscription) defaultOutcome() amqp.DeliveryState {
	switch o := s.req.Source.DefaultOutcome.(type) {
	case amqp.Accepted, amqp.Rejected, amqp.Released, amqp.Modified:
		return o
	}
	return amqp.Released{}
}
