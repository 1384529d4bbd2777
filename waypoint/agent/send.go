package agent

import (
	"cmp"
	"slices"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// outcomeItems bounds the outcomes in one message.
const outcomeItems = 1000

// send sends what the link owes the leader. It is called by the shard's goroutine only.
func (s *Subscription) send(session *peer.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == opening || s.phase == over {
		return
	}
	if s.in != session {
		s.attachTo(session)
	}
	s.sendOutcomes(session)
	if s.phase == leaving && !s.leaveSent {
		s.leaveSent = true
		session.Send(&peer.Leave{Sub: s.link.sub, Gen: s.link.gen})
	}
	if s.phase == leaving {
		return
	}
	credit := s.credit()
	limit, drain := s.used+credit, s.drain && credit > 0
	if limit != s.allowed || drain != s.draining {
		s.allowed, s.draining = limit, drain
		session.Send(&peer.Credit{Sub: s.link.sub, Gen: s.link.gen, Limit: limit, Drain: drain})
	}
}

// attachTo says in a new session what this router holds and takes. Outcomes that may have been lost with the session before are
// sent again.
func (s *Subscription) attachTo(session *peer.Session) {
	s.in, s.sent = session, true
	s.used, s.leaveSent = 0, false
	credit := s.credit()
	s.allowed, s.draining = credit, s.drain && credit > 0
	held := make([]peer.Held, 0, len(s.held))
	s.unsent = s.unsent[:0]
	for _, d := range s.held {
		held = append(held, peer.Held{Seq: d.seq, Count: d.msg.Count, GapVersion: d.gap})
		if d.outcome != nil {
			s.unsent = append(s.unsent, d)
		}
	}
	slices.SortFunc(held, func(a, b peer.Held) int { return cmp.Compare(a.Seq, b.Seq) })
	slices.SortFunc(s.unsent, func(a, b *delivery) int { return cmp.Compare(a.seq, b.seq) })
	session.Send(&peer.Attach{Sub: s.link.sub, Gen: s.link.gen, Name: s.info.Name, Credit: credit, Drain: s.draining, Held: held})
}

func (s *Subscription) sendOutcomes(session *peer.Session) {
	for rest := s.unsent; len(rest) > 0; {
		n := min(len(rest), outcomeItems)
		m := &peer.Outcome{Sub: s.link.sub, Gen: s.link.gen, Items: make([]peer.OutcomeItem, n)}
		for i, d := range rest[:n] {
			m.Items[i] = *d.outcome
		}
		session.Send(m)
		rest = rest[n:]
	}
	clear(s.unsent)
	s.unsent = s.unsent[:0]
}
