package leader

import (
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// opened takes a Hello: at a moment when everything that this reign has proposed before is still to be applied, so the
// answer waits for a turn in which nothing is in flight.
func (r *reign) opened(s *session, hello *peer.Hello) {
	switch other := r.byRouter[hello.Router]; {
	case hello.Term > r.term:
		s.Refuse("")
		s.over = true
		return
	case other != nil && other.boot > hello.Boot:
		s.Session.Close("a later incarnation of this router is here")
		s.over = true
		return
	case other != nil:
		// Its end of that session is gone, or it is another process now.
		r.reset(other, "another session has taken its place")
	}
	r.sessions[s] = struct{}{}
	r.byRouter[s.router] = s
	s.lane = 0
	r.opening = append(r.opening, opening{s, hello.Lane})
}

// opening is a session that waits to be welcomed.
type opening struct {
	s    *session
	lane uint64 // the one it asks for
}

// openLanes welcomes those whose lane is there and adds to the command a lane for those who have none.
func (r *reign) openLanes(t *turn) {
	for _, o := range r.opening {
		if o.s.over {
			continue
		}
		if o.lane != 0 {
			lane, ok := r.m.Lane(o.lane)
			if !ok || lane.Router != o.s.router || lane.Boot != o.s.boot {
				o.s.Send(&peer.Forgotten{})
				o.s.Flush()
				r.reset(o.s, "the lane is forgotten")
				continue
			}
			r.welcome(o.s, lane)
			continue
		}
		if lane, ok := r.m.FindLane(o.s.router, o.s.boot); ok {
			r.welcome(o.s, lane)
			continue
		}
		t.cmd.LaneOpen = append(t.cmd.LaneOpen, shard.LaneOpen{Router: o.s.router, Boot: o.s.boot})
		t.opens = append(t.opens, o.s)
	}
	clear(r.opening)
	r.opening = r.opening[:0]
}

// welcome opens the session: all at or below Last is answered.
func (r *reign) welcome(s *session, lane shard.Lane) {
	if s.over {
		return
	}
	w := &peer.Welcome{Term: r.term, Lane: lane.ID, Last: lane.Last, Pressure: r.pressure}
	for _, f := range r.m.Refusals(lane.ID) {
		w.Refused = append(w.Refused, peer.RefusedPublish{N: f.N, Refusal: toPeerRefusal(f.Refusal)})
	}
	s.lane = lane.ID
	s.next = lane.Last + 1
	delete(r.silent, lane.ID)
	s.say(w)
	r.tellRefusing(s)
}

// published queues publishes for a turn. Numbers are looked at there, when nothing is in flight.
func (r *reign) published(s *session, items []peer.PublishItem) {
	if len(s.inbox) == 0 {
		s.inbox = items
	} else {
		s.inbox = append(s.inbox, items...)
	}
	if !s.sending && len(items) > 0 {
		s.sending = true
		r.senders.push(s)
	}
}

// acked notes that a router knows its refusals up to through.
func (r *reign) acked(s *session, through uint64) {
	if through == 0 {
		return
	}
	if s.ack == 0 {
		r.acking = append(r.acking, s)
	}
	s.ack = max(s.ack, through)
}

func (r *reign) ackRefusals(t *turn) {
	for _, s := range r.acking {
		// Also of a session that has ended since: what its router knows it knows.
		if s.lane != 0 {
			t.cmd.AckRefusals = append(t.cmd.AckRefusals, shard.AckRefusals{Lane: s.lane, Through: s.ack})
		}
		s.ack = 0
	}
	clear(r.acking)
	r.acking = r.acking[:0]
}

// answerRepeated answers, from the state, numbers that are in already.
func (r *reign) answerRepeated(s *session, from uint64) {
	lane, ok := r.m.Lane(s.lane)
	if !ok || s.over {
		return
	}
	a := &peer.Answers{Through: lane.Last}
	for _, f := range r.m.Refusals(s.lane) {
		if f.N >= from {
			refusal := toPeerRefusal(f.Refusal)
			a.Except = append(a.Except, peer.Exception{N: f.N, Refusal: &refusal})
		}
	}
	s.say(a)
}

// forgetLanes adds to the command the lanes of routers that have been silent for too long.
func (r *reign) forgetLanes(t *turn) {
	if !r.lanesDue {
		return
	}
	r.lanesDue = false
	now, idle := r.l.cfg.Raft.Now(), r.l.cfg.LaneIdle.Milliseconds()
	inUse := make(map[uint64]bool, len(r.sessions))
	for s := range r.sessions {
		inUse[s.lane] = true
	}
	for _, o := range t.opens {
		// A Hello of the same incarnation is on its way: it finds the lane or makes it.
		if lane, ok := r.m.FindLane(o.router, o.boot); ok {
			inUse[lane.ID] = true
		}
	}
	for _, lane := range r.m.Lanes() {
		if inUse[lane.ID] {
			continue
		}
		// Sessions leave no trace in the state: what an earlier leader heard of it, this one can't know.
		if now-max(lane.Active, r.silent[lane.ID], r.born) >= idle {
			t.cmd.LaneForget = append(t.cmd.LaneForget, lane.ID)
			delete(r.silent, lane.ID)
			r.l.log.Info("lane forgotten", "lane", lane.ID, "router", lane.Router)
		}
	}
}
