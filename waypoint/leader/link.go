package leader

import (
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// attach takes an Attach. Whether its generation is the newest is looked at between two commands.
func (r *reign) attach(s *session, m *peer.Attach) {
	key := linkKey{m.Sub, m.Gen}
	k := &link{s: s, sub: m.Sub, gen: m.Gen, name: m.Name, limit: m.Credit, drain: m.Drain, held: m.Held}
	if before := s.links[key]; before != nil {
		if !before.silent {
			r.reset(s, "a generation is attached twice")
			return
		}
		k.queue = before.queue
		r.unlink(before)
	}
	s.links[key] = k
	r.asking = append(r.asking, k)
}

// silentLink is for a generation that its router did not attach in this session: its link was gone before the leader
// changed, but what it left behind is not told yet.
func (r *reign) silentLink(s *session, sub, gen uint64) *link {
	k := &link{s: s, sub: sub, gen: gen, silent: true}
	s.links[linkKey{sub, gen}] = k
	r.asking = append(r.asking, k)
	return k
}

// credit sets how many deliveries may be made.
func (r *reign) credit(s *session, m *peer.Credit) {
	k := s.links[linkKey{m.Sub, m.Gen}]
	if k == nil || k.silent {
		return // it has ended; the agent will hear
	}
	k.limit, k.drain = m.Limit, m.Drain
	if k.c != nil {
		r.wake(k.c)
	}
}

// leave takes a Leave: it is answered when the outcomes before it are committed.
func (r *reign) leave(s *session, m *peer.Leave) {
	k := s.links[linkKey{m.Sub, m.Gen}]
	if k == nil {
		k = r.silentLink(s, m.Sub, m.Gen)
	}
	k.leaves = true
	if k.state == attached {
		r.depart(k)
	}
}

// depart queues a link to leave in the next turn.
func (r *reign) depart(k *link) {
	k.state = leaving
	r.departing = append(r.departing, k)
}

// takeAttaches decides on the links that wait: those of a newer generation go into the command.
func (r *reign) takeAttaches(t *turn) {
	later := r.asking[:0:0]
	for _, k := range r.asking {
		if k.state != asked || k.s.over {
			continue
		}
		c := r.cursor(k.sub)
		switch {
		case c != nil && c.link != nil && c.link.state == loading && k.gen > c.gen:
			// What the link before has to tell is good, and about to be known.
			later = append(later, k)
		case c == nil:
			r.turnAway(k, condDeleted, "the subscription is gone")
		case k.gen == c.gen && c.holder.Router == k.s.router && c.holder.Boot == k.s.boot:
			r.resume(c, k)
		case k.gen == c.gen && c.holder == (shard.Holder{}) && k.silent:
			r.turnAway(k, "", "") // it has left already
		case k.gen > c.gen && !k.silent:
			t.cmd.Attach = append(t.cmd.Attach, shard.Attach{
				Sub: k.sub, Gen: k.gen, Router: k.s.router, Boot: k.s.boot, Mark: r.firstMark(c)})
			t.attaches = append(t.attaches, k)
		default:
			r.turnAway(k, condStolen, "a newer link of the subscription has taken over")
		}
	}
	r.asking = later
}

// turnAway answers what a link said whose generation means nothing any more: outcomes are ignored, but answered.
func (r *reign) turnAway(k *link, condition, text string) {
	for _, o := range k.queue {
		r.ignore(k.s, o)
	}
	if k.silent {
		if k.leaves {
			k.s.say(&peer.Left{Sub: k.sub, Gen: k.gen})
		}
		r.unlink(k)
		return
	}
	r.finish(k, condition, text)
}

// attachApplied gives a cursor to a link whose generation is applied now.
func (r *reign) attachApplied(k *link, taken bool) {
	c := r.cursors[k.sub]
	cur, ok := r.m.Cursor(k.sub)
	if c == nil || !ok {
		r.turnAway(k, condDeleted, "the subscription is gone")
		return
	}
	if !taken && c.gen == cur.Gen {
		// A newer one is in, or this very one: an earlier session of its router had asked for it, too.
		r.asking = append(r.asking, k)
		return
	}
	if before := c.link; before != nil {
		// Its outcomes that came too late to be in a command are void: what it has not settled goes out again, flagged.
		r.ignoreSettling(c)
		for _, o := range before.queue {
			r.ignore(before.s, o)
		}
		r.finish(before, condStolen, "a newer link of the subscription has taken over")
	}
	c.seen = max(c.seen, c.high)
	r.load(c, cur)
	c.resumed = true // this generation holds nothing yet
	if !k.s.over {
		r.resume(c, k)
	}
}

// resume makes k the cursor's link. Its generation is the cursor's.
func (r *reign) resume(c *cursor, k *link) {
	if before := c.link; before != nil {
		r.unlink(before) // the same link, in a session of its router that is gone
	}
	k.c, c.link = c, k
	k.state = loading
	c.resumed = true
	c.topic.links++
	r.attachedNow++
	c.told = 0
	var missing []uint64
	missing = r.reconcile(c, k, missing)
	for _, o := range k.queue {
		for i := range o.Items {
			missing = r.unknown(c, o.Items[i].Seq, missing)
		}
	}
	r.readHeld(c, k, missing)
}

// reconcile compares what the router holds with what this reign knows to be in flight, and returns with missing what has to be read
// before it is.
func (r *reign) reconcile(c *cursor, k *link, missing []uint64) []uint64 {
	if k.silent {
		return missing
	}
	held := make(map[uint64]peer.Held, len(k.held))
	for _, h := range k.held {
		held[h.Seq] = h
	}
	c.flight.each(func(it *item) {
		h, is := held[it.seq]
		is = is && h.Count == it.count
		switch it.stage {
		case sent:
			if !is {
				// It was lost on the way: its router has not seen it.
				c.flight.move(it, waiting)
			}
		case waiting, parked:
			if is {
				c.flight.move(it, sent)
			}
		}
	})
	for _, h := range k.held {
		missing = r.unknown(c, h.Seq, missing)
	}
	return missing
}

// unknown adds seq to list if it belongs to the backlog and this reign does not know it as an item.
func (r *reign) unknown(c *cursor, seq uint64, list []uint64) []uint64 {
	if c.flight.find(seq) == nil && !r.m.IsSettled(c.sub, seq) {
		list = append(list, seq)
	}
	return list
}

// heldRead goes on with resume when what is held was read: from now on the link gets deliveries.
func (r *reign) heldRead(c *cursor, k *link, list []message, state oldest) {
	if k.state != loading || c.link != k {
		return
	}
	counts := make(map[uint64]peer.Held, len(k.held))
	for _, h := range k.held {
		counts[h.Seq] = h
	}
	for _, m := range list {
		// A read that began before its outcome is committed may end after it: it must ask before it sends.
		c.older = max(c.older, m.seq)
		if c.flight.find(m.seq) != nil || r.m.IsSettled(c.sub, m.seq) {
			continue
		}
		failed := r.m.Failed(c.sub, m.seq)
		h, is := counts[m.seq]
		if is && h.Count != failed {
			continue // an attempt that is passed: it goes out again
		}
		c.flight.add(item{seq: m.seq, before: m.before, at: m.at, time: m.time, count: failed, told: h.GapVersion, stage: sent, again: true})
	}
	k.held = nil
	k.state = attached
	if !k.silent {
		k.told, k.toldAt = r.subState(c, state), r.now
		k.s.say(&peer.Attached{Sub: k.sub, Gen: k.gen, State: k.told})
	}
	queue := k.queue
	k.queue = nil
	for _, o := range queue {
		r.settle(k, o)
	}
	if k.leaves {
		r.depart(k)
	}
	r.wake(c)
}

// takeLeaves adds the links that leave to the command, which has all their outcomes.
func (r *reign) takeLeaves(t *turn) {
	kept := r.departing[:0]
	for _, k := range r.departing {
		switch {
		case k.state != leaving:
		case k.c.flight.in(settling) > 0:
			kept = append(kept, k) // the command had no room for all of its outcomes
		default:
			// The mark comes down to what was really handed out, by this leader or perhaps one before: what comes while nobody is
			// attached was seen by nobody, whoever leads then.
			handed := max(k.c.seen, k.c.high, 1)
			t.cmd.Leave = append(t.cmd.Leave, shard.Leave{Sub: k.sub, Gen: k.gen, Mark: handed})
			t.leaves = append(t.leaves, k)
		}
	}
	clear(r.departing[len(kept):])
	r.departing = kept
}

// leaveApplied puts what the link had not settled back in its place.
func (r *reign) leaveApplied(k *link) {
	if k.state != leaving {
		return // taken over, or its session ended: nobody waits
	}
	k.s.say(&peer.Left{Sub: k.sub, Gen: k.gen})
	c := k.c
	r.unlink(k)
	cur, ok := r.m.Cursor(k.sub)
	if !ok {
		return
	}
	c.seen = max(c.seen, c.high)
	r.load(c, cur)
}
