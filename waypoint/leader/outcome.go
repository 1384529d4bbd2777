package leader

import (
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// outcome takes how deliveries ended.
func (r *reign) outcome(s *session, m *peer.Outcome) {
	k := s.links[linkKey{m.Sub, m.Gen}]
	if k == nil {
		k = r.silentLink(s, m.Sub, m.Gen)
	}
	switch k.state {
	case asked, loading:
		k.queue = append(k.queue, m)
	case attached, leaving:
		r.settle(k, m)
	}
}

// ignore answers outcomes that change nothing.
func (r *reign) ignore(s *session, m *peer.Outcome) {
	out := peer.Committed{Sub: m.Sub, Gen: m.Gen, Items: make([]peer.Settled, 0, len(m.Items))}
	for i := range m.Items {
		out.Items = append(out.Items, peer.Settled{Seq: m.Items[i].Seq, Count: m.Items[i].Count})
	}
	s.say(&out)
}

// ignoreSettling does so for those that wait for a turn.
func (r *reign) ignoreSettling(c *cursor) {
	out := peer.Committed{Sub: c.sub, Gen: c.link.gen}
	c.flight.each(func(it *item) {
		if it.stage == settling {
			out.Items = append(out.Items, peer.Settled{Seq: it.seq, Count: it.count})
		}
	})
	if len(out.Items) > 0 {
		c.link.s.say(&out)
	}
}

// settle takes outcomes of the link that the cursor has. Those that change no state are answered at once: a leader that
// does not know of a release sends the message again, as this one does.
func (r *reign) settle(k *link, m *peer.Outcome) {
	c := k.c
	now := peer.Committed{Sub: k.sub, Gen: k.gen}
	for i := range m.Items {
		o := &m.Items[i]
		r.l.metrics.outcome(o)
		it := c.flight.find(o.Seq)
		if it != nil && it.count == o.Count && (it.stage == settling || it.stage == proposed) {
			continue // told again, in a new session: the answer is on its way
		}
		if it == nil || it.stage != sent || it.count != o.Count {
			// Given up meanwhile, or of an attempt that is passed.
			now.Items = append(now.Items, peer.Settled{Seq: o.Seq, Count: o.Count})
			continue
		}
		it.told = max(it.told, o.GapVersion)
		switch {
		case o.State == peer.Accepted:
			r.settles(c, it, confirm)
		case o.State == peer.Rejected:
			r.settles(c, it, reject)
		case o.State == peer.Modified && o.Flags&peer.FlagFailed != 0 && o.Flags&peer.FlagUndeliverable != 0:
			r.settles(c, it, failPark)
		case o.State == peer.Modified && o.Flags&peer.FlagFailed != 0:
			r.settles(c, it, fail)
		default: // released, or modified without a failure: back in its place, the count unchanged
			r.back(c, it, o.State == peer.Modified && o.Flags&peer.FlagUndeliverable != 0)
			now.Items = append(now.Items, peer.Settled{Seq: o.Seq, Count: o.Count})
		}
	}
	if len(now.Items) > 0 {
		k.s.say(&now)
	}
	r.wake(c)
}

// settles has an outcome wait for the next turn.
func (r *reign) settles(c *cursor, it *item, v verdict) {
	it.verdict = v
	if v == fail {
		c.failed++
	}
	c.flight.move(it, settling)
	if !c.settling {
		c.settling = true
		r.settling = append(r.settling, c)
	}
}

// back puts a message back: it goes out again before anything new, or waits for another link.
func (r *reign) back(c *cursor, it *item, park bool) {
	it.again = true
	r.unheard(c, it)
	if park {
		c.flight.move(it, parked)
		return
	}
	c.flight.move(it, waiting)
}

// unheard has the gap told again that went with a message which was not confirmed.
func (r *reign) unheard(c *cursor, it *item) {
	if it.told != 0 && it.told == c.told {
		c.told = 0
	}
	it.told = 0
}

// takeOutcomes adds outcomes to the command, as ranges where they touch.
func (r *reign) takeOutcomes(t *turn) {
	n := 0
	for n < len(r.settling) && t.bytes < r.l.cfg.CommandBytes/2 {
		c := r.settling[n]
		n++
		c.settling = false
		if r.cursors[c.sub] == c && c.flight.in(settling) > 0 {
			r.takeOutcomesOf(t, c)
		}
	}
	left := copy(r.settling, r.settling[n:])
	clear(r.settling[left:])
	r.settling = r.settling[:left]
}

func (r *reign) takeOutcomesOf(t *turn, c *cursor) {
	var confirmed, rejected []shard.Range
	heard := uint64(0)
	p := t.plan(c.sub)
	c.flight.each(func(it *item) {
		if it.stage != settling {
			return
		}
		c.flight.move(it, proposed)
		switch it.verdict {
		case confirm:
			confirmed = appendRange(confirmed, it.rng())
			heard = max(heard, it.told)
			p.settled = p.settled.Add(it.rng().Totals())
		case reject:
			rejected = appendRange(rejected, it.rng())
			p.settled = p.settled.Add(it.rng().Totals())
		default:
			t.cmd.Fail = append(t.cmd.Fail, shard.Fail{Sub: c.sub, Seq: it.seq, Count: it.count + 1})
			t.bytes += 24
		}
	})
	if len(confirmed) > 0 {
		t.cmd.Confirm = append(t.cmd.Confirm, shard.Confirm{Sub: c.sub, Ranges: confirmed})
	}
	if len(rejected) > 0 {
		t.cmd.Rejected = append(t.cmd.Rejected, shard.Confirm{Sub: c.sub, Ranges: rejected})
	}
	if heard > 0 {
		t.cmd.Heard = append(t.cmd.Heard, shard.Heard{Sub: c.sub, Version: heard})
	}
	t.bytes += 16 + rangeBytes*(len(confirmed)+len(rejected))
	t.settles = append(t.settles, c)
}

// rangeBytes is about what a range takes in a command.
const rangeBytes = 32

// appendRange adds a range behind the others, joined to the last one if no message lies between.
func appendRange(list []shard.Range, x shard.Range) []shard.Range {
	if n := len(list); n > 0 && list[n-1].At == x.Before {
		list[n-1].Through, list[n-1].At = x.Through, x.At
		return list
	}
	return append(list, x)
}

// outcomesApplied settles what the command had of a cursor's outcomes.
func (r *reign) outcomesApplied(c *cursor) {
	var out peer.Committed
	c.flight.sweep(func(it *item) bool {
		if it.stage != proposed {
			return true
		}
		out.Items = append(out.Items, peer.Settled{Seq: it.seq, Count: it.count})
		switch it.verdict {
		case confirm:
			return false
		case reject:
			r.unheard(c, it)
			return false
		}
		if it.verdict == fail {
			c.failed--
		}
		it.count++
		r.back(c, it, it.verdict == failPark)
		return true
	})
	if k := c.link; k != nil && len(out.Items) > 0 {
		out.Sub, out.Gen = k.sub, k.gen
		k.s.say(&out)
	}
	r.changed(c)
}
