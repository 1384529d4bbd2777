package meta

import "github.com/posthouse/posthouse/waypoint/peer"

// What routers that were cut off have let past new subscriptions is told to their subscribers: with the answer to the attach,
// and by a notice to the router that has the link whenever more is known. A notice that gets lost is made up for by the next
// session of that router.

// tellMissed tells the router that has, or had last, a subscription's link.
func (r *reign) tellMissed(s *Subscription) {
	t := r.seats[s.Holder]
	if t == nil || t.session == nil || len(s.Gaps) == 0 {
		return
	}
	t.session.Send(&peer.MissedNotice{Sub: s.ID, Missed: s.Missed(), Heard: s.Heard})
	t.session.Flush()
}

// hear notes what a subscriber has heard of.
func (r *reign) hear(q *request, in *peer.HeardRequest) {
	r.do(&heard{in.Sub, in.Missed}, func(Outcome) {
		r.answer(q, nil)
		if s := r.m.sub(in.Sub); s != nil {
			r.tellMissed(s)
		}
	})
}

// missedBy lists the subscriptions that a router may have let messages past.
func (m *Machine) missedBy(h Holder) (list []*Subscription) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for id := range m.gapsOf[h] {
		list = append(list, m.subs[id])
	}
	return list
}

// missedAt lists the subscriptions that have missed something, or may have, and have or had their link at a router.
func (m *Machine) missedAt(h Holder) (list []*Subscription) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for id := range m.held[h] {
		if s := m.subs[id]; len(s.Gaps) > 0 {
			list = append(list, s)
		}
	}
	return list
}

// missed sums up what subscriptions may have missed, and counts those for which that is not known yet.
func (m *Machine) missed() (atMost uint64, unknown int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range m.subs {
		sum := s.Missed()
		atMost += sum.AtMost
		if sum.Unknown > 0 {
			unknown++
		}
	}
	return atMost, unknown
}
