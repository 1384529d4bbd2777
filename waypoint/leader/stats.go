package leader

import (
	"context"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// verifyFor bounds how long a reading request waits for a majority.
const verifyFor = 3 * time.Second

// answerStats answers from the applied state, once a majority has confirmed that this is the leader: an old one would tell old
// news. What is in flight is the reign's own and taken before.
func (r *reign) answerStats(q *request) {
	subs := q.stats.Subs
	if len(subs) == 0 {
		for _, cur := range r.m.Cursors() {
			subs = append(subs, cur.Sub)
		}
	}
	live := make([]peer.CursorStats, len(subs))
	for i, sub := range subs {
		live[i] = r.liveStats(sub)
	}
	raft, m := r.l.cfg.Raft, r.m
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, verifyFor)
		defer cancel()
		if err := raft.VerifyLeader(ctx); err != nil {
			q.reply(nil, &peer.UnavailableError{Text: "no majority confirms this leader: " + err.Error()})
			return
		}
		var out peer.StatsResponse
		for i := range live {
			ok, err := readStats(m, &live[i], raft.Now())
			if err != nil {
				q.reply(nil, &peer.UnavailableError{Text: err.Error()})
				return
			}
			if ok {
				out.Stats = append(out.Stats, live[i])
			}
		}
		answer(q.reply, out)
	})
}

// liveStats is what the reign knows beyond the state.
func (r *reign) liveStats(sub uint64) peer.CursorStats {
	s := peer.CursorStats{Sub: sub, Why: string(whyNoLink)}
	c := r.cursors[sub]
	if c == nil {
		return s
	}
	s.InFlight = uint64(c.flight.held())
	s.Parked = uint64(c.flight.in(parked))
	if k := c.link; k != nil && !k.silent {
		s.Router = k.s.router
		_, _, reason := r.pick(c)
		if c.stalled {
			reason = whyWindow
		}
		s.Why = string(reason)
	}
	return s
}

// readStats adds what the state says; false if there is no such cursor.
func readStats(m *shard.Machine, s *peer.CursorStats, now int64) (bool, error) {
	cur, ok := m.Cursor(s.Sub)
	if !ok {
		return false, nil
	}
	s.Messages, s.Bytes = cur.Backlog.Messages, cur.Backlog.Bytes
	s.Confirmed, s.GivenUp = cur.Confirmed.Messages, cur.GivenUp.Messages
	s.Captured = s.Confirmed + s.GivenUp + s.Messages
	s.Unheard = cur.Gap.Messages
	s.Floor = cur.Floor.Seq
	for cause, t := range cur.ByCause {
		if t.Messages > 0 {
			if s.Causes == nil {
				s.Causes = map[string]uint64{}
			}
			s.Causes[shard.Cause(cause).String()] = t.Messages
		}
	}
	if t, ok := m.Topic(cur.Address); ok {
		s.Head = t.Head.Seq
		if t.Head.Totals.Holds(cur.Floor.Totals) {
			s.Pinned = min(t.Head.Totals.Sub(cur.Floor.Totals).Bytes, t.Kept.Bytes)
		}
	}
	old, err := readOldest(m, s.Sub)
	if old.is && now > old.time {
		s.OldestMS = uint64(now - old.time)
	}
	return true, err
}
