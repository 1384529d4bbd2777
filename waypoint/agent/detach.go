package agent

import (
	"context"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Detach ends the link. A peer's detach with closed=true removes the subscription, unless it was a mistake (Ending.Mistaken) or the link has
// the property posthouse:on-close=keep; every other ending leaves it. What the consumer did not settle gets the source's default
// outcome. done, which may be nil, is called once, when the detach may be answered: the outcomes before it are committed or have had
// their time, or the subscription is removed; the error is why it could not be removed. It may be called inside Detach.
func (s *Subscription) Detach(e Ending, done func(*amqp.Error)) {
	if done == nil {
		done = func(*amqp.Error) {}
	}
	s.mu.Lock()
	if s.done != nil || s.detached || s.phase >= leaving {
		s.mu.Unlock()
		done(nil)
		return
	}
	s.detached = true
	s.ending = e
	s.done = done
	removes := s.removes()
	switch {
	case s.phase == opening:
		// Meta's answer is waited for: the subscription is to be removed, or meta told that the link is gone. Only the former is worth
		// having the client wait.
		s.mu.Unlock()
		if !removes {
			s.finish(nil)
		}
		return
	case s.shard == nil: // a lookup
		s.mu.Unlock()
		s.leaveUnjoined()
		return
	case removes:
		s.settleAll(removing)
		s.mu.Unlock()
		if !s.agent.begin(s.remove) {
			s.finish(nil)
		}
	default:
		s.settleAll(leaving)
		s.mu.Unlock()
		s.tellMeta(e.Event)
		s.leave(nil)
	}
}

// Later tells that the session or connection of a detached link has ended, too: a timeout may begin with it.
func (s *Subscription) Later(e Event) {
	s.mu.Lock()
	gone := s.detached && s.shard != nil
	s.mu.Unlock()
	if gone {
		s.tellMeta(e)
	}
}

// removes tells whether the ending of the link removes the subscription.
func (s *Subscription) removes() bool {
	return s.ending.Closed && !s.ending.Mistaken && !keepsOnClose(s.req.Properties)
}

// settleAll gives everything that the consumer has not settled its outcome.
func (s *Subscription) settleAll(next phase) {
	for _, d := range s.waiting {
		if d != nil && d.outcome == nil {
			s.giveBack(d)
		}
	}
	s.waiting = nil
	state := s.defaultOutcome()
	for _, d := range s.held {
		if d.outcome == nil {
			s.settle(d, state)
		}
	}
	s.phase = next
	s.owed = owed{}
}

// leave waits until what was settled is committed, for a time. The outcomes are kept beyond that.
func (s *Subscription) leave(err *amqp.Error) {
	s.mu.Lock()
	if !s.sent { // no leader knows this link
		s.endLocked()
	}
	if s.phase == over {
		s.mu.Unlock()
		s.shard.drop(s)
		s.finish(err)
		return
	}
	s.phase = leaving
	s.timer = time.AfterFunc(s.agent.cfg.LeaveTimeout, func() { s.finish(err) })
	s.mu.Unlock()
	s.shard.markDirty(s)
}

// finish says that the detach may be answered.
func (s *Subscription) finish(err *amqp.Error) {
	s.mu.Lock()
	done := s.done
	s.done = nil
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	if done != nil {
		done(err)
	}
}

// left takes the leader's word that all outcomes before Leave are committed.
func (s *Subscription) left() {
	s.mu.Lock()
	ours := s.phase == leaving && s.leaveSent
	if ours {
		s.endLocked()
	}
	s.mu.Unlock()
	if ours {
		s.shard.drop(s)
		s.finish(nil)
	}
}

// ended takes the leader's or meta's word that the link is no more.
func (s *Subscription) ended(condition, text string) {
	s.mu.Lock()
	if s.phase == over {
		s.mu.Unlock()
		return
	}
	waits := s.phase != removing // otherwise meta's answer counts
	s.endLocked()
	s.owed.ended = &amqp.Error{Condition: amqp.Symbol(condition), Description: text}
	s.mu.Unlock()
	s.shard.drop(s)
	s.shard.markReady(s)
	if waits {
		s.finish(nil)
	}
}

// endLocked forgets everything that was held.
func (s *Subscription) endLocked() {
	s.phase = over
	for _, d := range s.held {
		if n := d.size.Swap(0); n != 0 {
			s.agent.held.Add(-n)
		}
	}
	s.bytes = 0
	clear(s.held)
	s.waiting, s.unsent = nil, nil
}

// noticed takes meta's word that the link is no more. The shard may not know yet, and outcomes that were given before are good until it does:
// they are still sent.
func (s *Subscription) noticed(condition, text string) {
	s.mu.Lock()
	if s.phase >= removing || s.phase == opening {
		s.mu.Unlock()
		return
	}
	if amqp.Symbol(condition) == amqp.ErrCondResourceDeleted {
		s.mu.Unlock()
		s.ended(condition, text)
		return
	}
	s.settleAll(leaving)
	s.owed.ended = &amqp.Error{Condition: amqp.Symbol(condition), Description: text}
	s.mu.Unlock()
	s.shard.markReady(s)
	s.shard.markDirty(s)
}

// remove has meta end the subscription. If that can't be had, the link leaves instead.
func (s *Subscription) remove() {
	if err := s.askRemove(); err != nil {
		s.leave(err)
		return
	}
	s.mu.Lock()
	s.endLocked()
	s.mu.Unlock()
	s.shard.drop(s)
	s.finish(nil)
}

func (s *Subscription) askRemove() *amqp.Error {
	ctx, cancel := context.WithTimeout(s.agent.ctx, s.agent.cfg.OpenTimeout)
	defer cancel()
	err := s.agent.askMeta(ctx, peer.OpRemove, &peer.RemoveRequest{Sub: s.link.sub, Owner: s.req.Owner, Gen: s.link.gen}, nil)
	if err == nil {
		return nil
	}
	if e, ok := err.(*amqp.Error); ok {
		return e
	}
	return amqp.Errorf(amqp.ErrCondInternalError, "%v", err)
}

// leaveUnjoined ends a link that no shard has heard of: one that went while it was opened, or a lookup.
func (s *Subscription) leaveUnjoined() {
	s.mu.Lock()
	s.phase = over
	removes := s.removes()
	s.mu.Unlock()
	if removes {
		s.agent.begin(func() { s.finish(s.askRemove()) })
		return
	}
	if s.link.gen != 0 {
		s.tellMeta(s.ending.Event)
	}
	s.finish(nil)
}

// tellMeta tells meta that the link is gone, if a timeout depends on it.
func (s *Subscription) tellMeta(e Event) {
	if !s.expires {
		return
	}
	event := peer.EventConnectionClose
	switch e {
	case LinkDetach:
		event = peer.EventLinkDetach
	case SessionEnd:
		event = peer.EventSessionEnd
	}
	s.agent.begin(func() {
		ctx, cancel := context.WithTimeout(s.agent.ctx, s.agent.cfg.OpenTimeout)
		defer cancel()
		if err := s.agent.askMeta(ctx, peer.OpLeave, &peer.LeaveRequest{Sub: s.link.sub, Gen: s.link.gen, Event: event}, nil); err != nil {
			s.agent.log.Warn("meta does not know that a link is gone", "subscription", s.info.Name, "error", err)
		}
	})
}
