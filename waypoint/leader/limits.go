package leader

import (
	"cmp"
	"slices"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// makeRoom gives up, after the command's publishes, what they push out of the subscriptions on their topic.
func (r *reign) makeRoom(t *turn, at *topicTurn) {
	end := shard.Position{Seq: at.kept[len(at.kept)-1].seq, Totals: at.head.Totals.Add(at.added)}
	for _, cur := range at.droppers {
		backlog := cur.Backlog.Add(at.added)
		if p := t.plans[cur.Sub]; p != nil && backlog.Holds(p.settled) {
			backlog = backlog.Sub(p.settled)
		}
		t.cmd.Evict = append(t.cmd.Evict, r.cutDown(t, cur, backlog, end, at.kept)...)
	}
}

// recheckLimits gives up what limits no longer allow that were changed, or that an earlier leader left above its limit.
func (r *reign) recheckLimits(t *turn) {
	for _, address := range r.recheck {
		st, ok := r.m.Topic(address)
		if !ok {
			continue
		}
		for _, sub := range r.m.Overflowing(address, st.Head.Totals) {
			cur, ok := r.m.Cursor(sub)
			if !ok {
				continue
			}
			if cur.Limits.Overflow == shard.Reject {
				r.mayRefuse(address, sub) // it holds what it has taken, and takes no more
				continue
			}
			backlog := cur.Backlog
			if p := t.plans[sub]; p != nil && backlog.Holds(p.settled) {
				backlog = backlog.Sub(p.settled)
			}
			t.cmd.GiveUp = append(t.cmd.GiveUp, r.cutDown(t, cur, backlog, st.Head, nil)...)
		}
	}
	clear(r.recheck)
	r.recheck = r.recheck[:0]
}

// cutDown brings a backlog down to its limits: the oldest goes first, what is in flight last.
func (r *reign) cutDown(t *turn, cur shard.Cursor, backlog shard.Totals, end shard.Position, kept []message) []shard.GiveUp {
	l := cur.Limits
	var need shard.Totals
	if l.MaxMessages > 0 && backlog.Messages > l.MaxMessages {
		need.Messages = backlog.Messages - l.MaxMessages
	}
	if l.MaxBytes > 0 && backlog.Bytes > l.MaxBytes {
		need.Bytes = backlog.Bytes - l.MaxBytes
	}
	if need == (shard.Totals{}) {
		return nil
	}
	e := r.newEviction(t, cur, end, kept)
	if need.Messages > 0 {
		taken := e.take(shard.CauseMessages, shard.Totals{Messages: need.Messages})
		need.Bytes -= min(need.Bytes, taken.Bytes)
	}
	if need.Bytes > 0 {
		e.take(shard.CauseBytes, shard.Totals{Bytes: need.Bytes})
	}
	return e.finish()
}

// expireEvery bounds how often expired messages are looked for: those of that time go in one command.
const expireEvery = 50 * time.Millisecond

// expireFor bounds how long a turn is spent on it, when very many subscriptions expire at once.
const expireFor = 20 * time.Millisecond

// expire gives up what has passed its subscription's max-age, by the group's clock.
func (r *reign) expire(t *turn) {
	deadline, ok := r.m.NextAgeDeadline()
	if !ok || r.now.Before(r.nextExpiry) {
		return
	}
	now := r.l.cfg.Raft.Now()
	if deadline > now {
		return
	}
	r.nextExpiry = r.now.Add(expireEvery)
	subs, err := r.m.Expired(now)
	if err != nil {
		r.l.log.Error("looking for expired messages failed", "error", err)
		return
	}
	for _, sub := range subs {
		cur, ok := r.m.Cursor(sub)
		if !ok || cur.Limits.MaxAge <= 0 {
			continue
		}
		if time.Since(r.now) > expireFor {
			break // the others are still due at the next look
		}
		if st, ok := r.m.Topic(cur.Address); ok {
			e := r.newEviction(t, cur, st.Head, nil)
			e.takeOlder(now - max(cur.Limits.MaxAge.Milliseconds(), 1))
			t.cmd.GiveUp = append(t.cmd.GiveUp, e.finish()...)
		}
	}
}

// plansApplied takes what was given up out of what is in flight and waits.
func (r *reign) plansApplied(t *turn) {
	for sub, p := range t.plans {
		if p.settled != (shard.Totals{}) {
			r.freed(sub)
		}
		c := r.cursors[sub]
		if c == nil {
			continue
		}
		c.evicting = false
		if len(p.given) > 0 {
			r.dropGiven(c, p)
		}
		if cur, ok := r.m.Cursor(sub); ok {
			c.gap = cur.Gap.Version // given up, or heard of
		}
		r.changed(c)
		r.wake(c)
	}
	for _, list := range [2][]shard.GiveUp{t.cmd.GiveUp, t.cmd.Evict} {
		for i := range list {
			r.l.metrics.gaveUp(&list[i])
		}
	}
}

// dropGiven takes items out that were given up. What is free is given up from the oldest on, so behind the last of it
// dispatch goes on.
func (r *reign) dropGiven(c *cursor, p *plan) {
	c.next = max(c.next, p.through)
	slices.SortFunc(p.given, func(a, b shard.Range) int { return cmp.Compare(a.From, b.From) })
	i := 0
	c.flight.sweep(func(it *item) bool {
		for i < len(p.given) && p.given[i].Through < it.seq {
			i++
		}
		if i == len(p.given) || it.seq < p.given[i].From {
			return true
		}
		if it.stage == settling && c.link != nil {
			// Its outcome came while the command was on its way.
			c.link.s.say(&peer.Committed{Sub: c.sub, Gen: c.link.gen, Items: []peer.Settled{{Seq: it.seq, Count: it.count}}})
		}
		if it.stage == settling && it.verdict == fail {
			c.failed--
		}
		return false
	})
}
