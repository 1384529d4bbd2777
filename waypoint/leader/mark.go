package leader

import "github.com/posthouse/posthouse/waypoint/shard"

// A mark is reserved ahead, so that it costs an entry of its own only now and then. It must not be reserved too far: what
// lies below it when the leader changes is flagged as redelivered though perhaps nobody has seen it. Above the last message
// there is then it is no lie, since a new leader knows that what comes later was not handed out before.
const (
	minReserve = 512
	maxReserve = 8192
	// tailReserve is for consumers that keep up: their marks go with the commands that publish, and what comes while they
	// are away lies below a mark reserved too far.
	tailReserve = 512
)

// firstMark is the mark that a link begins with: all of a small backlog, the beginning of a large one.
func (r *reign) firstMark(c *cursor) uint64 {
	if backlog, ok := r.m.Backlog(c.sub); ok && backlog.Messages <= minReserve {
		return max(c.mark, c.topic.head+minReserve)
	}
	cur, _ := r.m.Cursor(c.sub)
	return max(c.mark, cur.Floor.Seq+2*minReserve)
}

// wantMark asks for a mark at or beyond seq in the next turn.
func (r *reign) wantMark(c *cursor, seq uint64) {
	if c.want >= seq {
		return
	}
	// The more often it is asked for, the further: a replay must not stop for its marks.
	c.want = seq + c.reserve
	c.reserve = min(2*c.reserve, maxReserve)
	if !c.marking {
		c.marking = true
		r.marking = append(r.marking, c)
	}
}

// takeMarks adds the marks asked for to the command.
func (r *reign) takeMarks(t *turn) {
	for _, c := range r.marking {
		c.marking = false
		if c.link != nil && c.link.state == attached && c.want > c.mark {
			t.cmd.Mark = append(t.cmd.Mark, shard.Mark{Sub: c.sub, Mark: c.want})
			t.marks = append(t.marks, c)
			continue
		}
		c.want = 0
	}
	clear(r.marking)
	r.marking = r.marking[:0]
}

// marksApplied lets cursors dispatch up to their new marks.
func (r *reign) marksApplied(t *turn) {
	for i, c := range t.marks {
		c.mark = max(c.mark, t.cmd.Mark[i].Mark)
		if c.want <= c.mark {
			c.want = 0
		}
		r.wake(c)
	}
}
