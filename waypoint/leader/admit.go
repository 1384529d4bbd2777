package leader

import (
	"slices"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// rejector is a subscription with overflow `reject` that may come to its limit in a turn.
type rejector struct {
	cur     shard.Cursor
	backlog shard.Totals // with what the command does to it so far
	refused bool         // it refused something, or has come to its limit exactly
}

func (r *reign) newRejector(cur shard.Cursor, p *plan) *rejector {
	j := &rejector{cur: cur, backlog: cur.Backlog}
	if p != nil && j.backlog.Holds(p.settled) {
		j.backlog = j.backlog.Sub(p.settled)
	}
	return j
}

// take counts a message that was kept.
func (j *rejector) take(size shard.Totals) {
	j.backlog = j.backlog.Add(size)
	if l := j.cur.Limits; l.MaxMessages > 0 && j.backlog.Messages >= l.MaxMessages || l.MaxBytes > 0 && j.backlog.Bytes >= l.MaxBytes {
		j.refused = true
	}
}

// refusal is why a message of that size is not taken, nil if it is.
func (j *rejector) refusal(size shard.Totals, retry uint32) *shard.Refusal {
	l, with := j.cur.Limits, j.backlog.Add(size)
	f := peer.Refusal{Condition: condLimit, Subscription: j.cur.Name, Reason: peer.ReasonLimit, RetryAfterMS: retry}
	switch {
	case l.MaxMessages > 0 && with.Messages > l.MaxMessages:
		f.Limit, f.Used = l.MaxMessages, j.backlog.Messages
	case l.MaxBytes > 0 && with.Bytes > l.MaxBytes:
		f.Limit, f.Used = l.MaxBytes, j.backlog.Bytes
	default:
		return nil
	}
	return toShardRefusal(f)
}

// refusedBy says why a topic does not take a message of that size, nil if it does.
func (r *reign) refusedBy(at *topicTurn, size shard.Totals) *shard.Refusal {
	if p := r.topics[at.address]; p != nil && len(p.refusing) > 0 {
		f := p.refusal()
		return toShardRefusal(f)
	}
	for _, j := range at.rejectors {
		if f := j.refusal(size, r.retryAfter()); f != nil {
			j.refused = true
			return f
		}
	}
	return nil
}

// refusal names one of those who refuse: always the same one, while it does.
func (p *topic) refusal() peer.Refusal {
	lowest := uint64(1<<64 - 1)
	for sub := range p.refusing {
		lowest = min(lowest, sub)
	}
	return p.refusing[lowest]
}

// checkRefusing brings up to date which topics refuse: from the limit on, until the backlog is down to the low mark.
func (r *reign) checkRefusing(t *turn) {
	for _, at := range t.topics {
		for _, j := range at.rejectors {
			if j.refused {
				r.mayRefuse(at.address, j.cur.Sub)
			}
		}
	}
	for _, p := range r.refusing {
		before := len(p.refusing)
		for sub := range p.refusing {
			if f, still := r.refusesYet(sub); still {
				p.refusing[sub] = f // what is used now
			} else {
				delete(p.refusing, sub)
			}
		}
		if before > 0 && len(p.refusing) == 0 {
			r.refusingChanged(p)
		}
	}
	r.refusing = slices.DeleteFunc(r.refusing, func(p *topic) bool { return len(p.refusing) == 0 })
}

// mayRefuse has a topic refuse for a subscription, if it is above its low mark.
func (r *reign) mayRefuse(address string, sub uint64) {
	p := r.topic(address)
	f, refuses := r.refusesYet(sub)
	if p == nil || !refuses || p.refusing[sub] != (peer.Refusal{}) {
		return
	}
	if len(p.refusing) == 0 {
		p.refusing = map[uint64]peer.Refusal{}
		r.refusing = append(r.refusing, p)
	}
	p.refusing[sub] = f
	if len(p.refusing) == 1 {
		r.refusingChanged(p)
	}
}

// refusesYet says whether a subscription that has refused still does, and why.
func (r *reign) refusesYet(sub uint64) (peer.Refusal, bool) {
	cur, ok := r.m.Cursor(sub)
	if !ok || cur.Limits.Overflow != shard.Reject {
		return peer.Refusal{}, false
	}
	f := peer.Refusal{Condition: condLimit, Subscription: cur.Name, Reason: peer.ReasonLimit, RetryAfterMS: r.retryAfter()}
	switch l, b := cur.Limits, cur.Backlog; {
	case l.MaxMessages > 0 && b.Messages > lowMark(l.MaxMessages):
		f.Limit, f.Used = l.MaxMessages, b.Messages
	case l.MaxBytes > 0 && b.Bytes > lowMark(l.MaxBytes):
		f.Limit, f.Used = l.MaxBytes, b.Bytes
	default:
		return f, false
	}
	return f, true
}

// refusingChanged tells all agents whether a topic refuses now.
func (r *reign) refusingChanged(p *topic) {
	m := &peer.Topics{}
	if len(p.refusing) > 0 {
		f := p.refusal()
		m.Refusing = []peer.TopicRefusal{{Address: p.address, Refusal: f}}
		r.l.log.Warn("topic refuses publishes", "address", p.address, "subscription", f.Subscription, "limit", f.Limit, "used", f.Used)
	} else {
		m.Cleared = []string{p.address}
		r.l.log.Info("topic takes publishes again", "address", p.address)
	}
	r.tellTopics(m)
}

// tellTopics tells all agents something about topics, and with it the pressure.
func (r *reign) tellTopics(m *peer.Topics) {
	m.Pressure = r.pressure
	for s := range r.sessions {
		if s.lane != 0 {
			s.say(m)
		}
	}
}

// tellRefusing tells a new session all topics that refuse.
func (r *reign) tellRefusing(s *session) {
	if len(r.refusing) == 0 {
		return
	}
	m := &peer.Topics{Pressure: r.pressure}
	for _, p := range r.refusing {
		m.Refusing = append(m.Refusing, peer.TopicRefusal{Address: p.address, Refusal: p.refusal()})
	}
	s.say(m)
}
