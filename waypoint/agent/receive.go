package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Hello names the lane that is to be gone on with.
func (s *shard) Hello() *peer.Hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &peer.Hello{Router: s.agent.cfg.Router, Boot: s.agent.cfg.Boot, Lane: s.lane.id}
}

// Opened begins a session: the lane is agreed on, and every subscription attaches again.
func (s *shard) Opened(session *peer.Session, w *peer.Welcome) {
	s.mu.Lock()
	lane, waiting := s.lane.id, s.lane.numbered
	err := s.lane.welcome(w)
	if err == nil {
		s.session = session
		s.window = window{}
		s.dirty = s.linkList()
		for _, sub := range s.dirty {
			sub.isDirty = true
		}
		// What an earlier generation has to tell goes before a later one's attach.
		slices.SortFunc(s.dirty, func(a, b *Subscription) int { return a.link.compare(b.link) })
		s.setRefusing(nil, w.Pressure)
		if s.leaderless.Swap(false) {
			s.changed = true
		}
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.log.Error("lane lost: its unanswered publishes are of unknown outcome", "node", session.Node(), "error", err)
		session.Close("the lane does not fit")
	case lane != 0 && w.Lane != lane:
		s.log.Warn("lane forgotten by the shard", "lane", lane, "unknown", waiting)
	default:
		s.log.Debug("session with the shard's leader", "node", session.Node(), "term", w.Term, "resent", waiting)
	}
	s.kick()
}

// Received takes the leader's messages.
func (s *shard) Received(session *peer.Session, list []peer.Message) {
	for _, m := range list {
		if err := s.receive(session, m); err != nil {
			s.log.Error("session with the shard's leader given up", "node", session.Node(), "error", err)
			session.Close(err.Error())
			s.Closed(session, err)
			return
		}
		if session.Ended() {
			return
		}
	}
	s.kick()
}

// Closed ends the session; the dialer looks for the next leader.
func (s *shard) Closed(session *peer.Session, err error) {
	s.mu.Lock()
	if s.session == session {
		s.session, s.lost = nil, time.Now()
	}
	s.mu.Unlock()
	s.kick()
}

// receive takes one message of the leader. An error gives the session up.
func (s *shard) receive(session *peer.Session, m peer.Message) error {
	switch m := m.(type) {
	case *peer.Answers:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.lane.answers(m)
	case *peer.Forgotten:
		s.forgotten(session)
	case *peer.Topics:
		s.topics(m)
	case *peer.Deliver:
		s.mu.Lock()
		s.window.received += uint64(len(m.Payload))
		s.mu.Unlock()
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.deliver(session, m) })
	case *peer.Attached:
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.attached(&m.State) })
	case *peer.State:
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.changed(&m.State) })
	case *peer.Drained:
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.drained(session, m.Limit) })
	case *peer.Committed:
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.committed(m.Items) })
	case *peer.Left:
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.left() })
	case *peer.Ended:
		s.with(m.Sub, m.Gen, func(sub *Subscription) { sub.ended(m.Condition, m.Text) })
	default:
		return fmt.Errorf("a shard's leader sends no %v", m.Kind())
	}
	return nil
}

// with finds the link that a message is for. What comes for one that is gone, or for another generation, is late.
func (s *shard) with(sub, gen uint64, f func(*Subscription)) {
	var found *Subscription
	s.mu.Lock()
	for _, o := range s.links[sub] {
		if o.link.gen == gen {
			found = o
		}
	}
	s.mu.Unlock()
	if found != nil {
		f(found)
	}
}

// forgotten: the lane is no more. The session ends with it.
func (s *shard) forgotten(session *peer.Session) {
	s.mu.Lock()
	lane, waiting := s.lane.id, s.lane.numbered
	s.lane.forget()
	s.mu.Unlock()
	s.log.Warn("lane forgotten by the shard", "lane", lane, "unknown", waiting)
	session.Close("the lane is forgotten")
	s.Closed(session, nil)
}
