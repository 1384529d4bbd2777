package leader

import (
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// changed notes that a subscription's state may be worth telling.
func (r *reign) changed(c *cursor) {
	r.topicChanged(c.topic)
}

func (r *reign) topicChanged(t *topic) {
	if !t.changed && t.links > 0 {
		t.changed = true
		r.untold = append(r.untold, t)
	}
}

// subState is what a subscriber is told.
func (r *reign) subState(c *cursor, old oldest) peer.SubState {
	cur, _ := r.m.Cursor(c.sub)
	s := peer.SubState{
		Messages: cur.Backlog.Messages, Bytes: cur.Backlog.Bytes,
		GapVersion: cur.Gap.Version, GapMessages: cur.Gap.Messages, GapTotal: cur.GivenUp.Messages,
		Limits: toPeerLimits(cur.Limits),
	}
	if now := r.l.cfg.Raft.Now(); old.is && now > old.time {
		s.OldestMS = uint64(now - old.time)
	}
	return s
}

// tellStates tells the subscribers on topics where something happened what has become of their backlog, if that is something
// that they would want to know.
func (r *reign) tellStates() {
	untold := r.untold
	r.untold = nil
	for _, t := range untold {
		t.changed = false
		for _, sub := range r.m.Subscribers(t.address) {
			c := r.cursors[sub]
			if c == nil || c.link == nil || c.link.state != attached || c.link.silent || c.link.asking {
				continue
			}
			switch backlog, _ := r.m.Backlog(sub); {
			case !r.material(c, backlog):
			case r.now.Sub(c.link.toldAt) < r.l.cfg.StateEvery:
				r.topicChanged(t) // later
			default:
				r.tellState(c, c.link)
			}
		}
	}
}

// material says whether a backlog differs from the one told by more than a tenth, or in being there at all, or something
// was given up or heard of.
func (r *reign) material(c *cursor, b shard.Totals) bool {
	was := c.link.told
	differs := func(a, b uint64) bool {
		if a > b {
			a, b = b, a
		}
		return a == 0 && b > 0 || b-a > a/10
	}
	return differs(was.Messages, b.Messages) || differs(was.Bytes, b.Bytes) || was.GapVersion != c.gap ||
		was.Limits != toPeerLimits(c.limits)
}

// tellState reads the age of the oldest message and tells the state.
func (r *reign) tellState(c *cursor, k *link) {
	k.toldAt = r.now
	cur, _ := r.m.Cursor(c.sub)
	if recent := &c.topic.recent; cur.Backlog.Messages == 0 || recent.covers(cur.Floor.Seq) {
		old := oldest{}
		if m := recent.after(cur.Floor.Seq); m != nil && cur.Backlog.Messages > 0 {
			old = oldest{m.time, true} // behind a floor nothing is settled
		}
		r.sayState(c, k, old)
		return
	}
	k.asking = true
	sub := c.sub
	r.l.reader.do(func(m *shard.Machine) {
		old, err := readOldest(m, sub)
		r.post(func(r *reign) {
			k.asking = false
			if err == nil && k.state == attached {
				r.sayState(c, k, old)
			}
		})
	})
}

func (r *reign) sayState(c *cursor, k *link, old oldest) {
	k.told, k.toldAt = r.subState(c, old), r.now
	k.s.say(&peer.State{Sub: k.sub, Gen: k.gen, State: k.told})
}

// tickEvery is how often a reign looks after what nothing else wakes it for.
const tickEvery = 250 * time.Millisecond

// tick does so.
func (r *reign) tick() {
	r.nextTick = r.now.Add(tickEvery)
	r.lookAtPressure()
	r.l.metrics.tick(r.status())
	r.tellStates()
	r.lookForTrims()
	if !r.now.Before(r.nextLanes) {
		r.nextLanes = r.now.Add(min(10*time.Second, r.l.cfg.LaneIdle/4))
		r.lanesDue = true
	}
	if !r.now.Before(r.nextAudit) {
		r.nextAudit = r.now.Add(r.l.cfg.AuditEvery)
		r.audit()
	}
	for c := range r.starved {
		delete(r.starved, c)
		r.wake(c)
	}
}
