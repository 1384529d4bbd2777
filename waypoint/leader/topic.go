package leader

import (
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// topic is what a reign knows of a topic beyond its state. There is one for each topic that something happened to.
type topic struct {
	id      uint64
	address string
	head    uint64 // its last message that is applied
	recent  recent
	links   int  // attached here: payloads are worth remembering
	changed bool // its backlogs have changed since they were last told

	// tail are the cursors that have dispatched everything and have credit left: the next message wakes them, and only them.
	tail    []*cursor
	minMark uint64 // the lowest mark of tail

	refusing map[uint64]peer.Refusal // subscriptions that are at a limit with overflow `reject`
}

// topic returns the record of an address's topic, made from the state if need be; nil if it has none.
func (r *reign) topic(address string) *topic {
	if t := r.topics[address]; t != nil {
		return t
	}
	st, ok := r.m.Topic(address)
	if !ok {
		return nil
	}
	t := &topic{id: st.ID, address: address, head: st.Head.Seq, recent: recent{base: st.Head.Seq}}
	r.topics[address] = t
	return t
}

// dropTopic forgets a topic that is no more, if it is.
func (r *reign) dropTopic(address string) {
	t := r.topics[address]
	if t == nil {
		return
	}
	if st, ok := r.m.Topic(address); ok && st.ID == t.id {
		return
	}
	delete(r.topics, address)
	if len(t.refusing) > 0 {
		t.refusing = nil
		r.refusingChanged(t)
	}
}

// append takes a message that was kept and is applied now.
func (r *reign) append(t *topic, m message) {
	t.head = m.seq
	r.topicChanged(t)
	r.hot.push(&t.recent, m)
	if len(t.tail) == 0 {
		return
	}
	for _, c := range t.tail {
		c.atTail = false
		r.wake(c)
	}
	clear(t.tail)
	t.tail = t.tail[:0]
}

// waitAtTail has a cursor woken by the topic's next message.
func (r *reign) waitAtTail(c *cursor) {
	if c.atTail {
		return
	}
	c.atTail = true
	t := c.topic
	if len(t.tail) == 0 || c.mark < t.minMark {
		t.minMark = c.mark
	}
	t.tail = append(t.tail, c)
}

// markTail adds to the command higher marks for the cursors that will dispatch what it keeps in this topic, if there are
// any that have none high enough: so a live consumer's messages go out with the entry that keeps them.
func (r *reign) markTail(t *turn, p *topic, last uint64) {
	if len(p.tail) == 0 || last <= p.minMark {
		return
	}
	p.minMark = 1<<64 - 1
	for _, c := range p.tail {
		if c.mark < last && c.link != nil && c.link.state == attached {
			c.want = max(c.want, last+tailReserve)
			t.cmd.Mark = append(t.cmd.Mark, shard.Mark{Sub: c.sub, Mark: c.want})
			t.marks = append(t.marks, c)
		}
		p.minMark = min(p.minMark, max(c.mark, c.want))
	}
}
