package shard

import (
	"cmp"
	"slices"

	"github.com/posthouse/posthouse/storage"
)

// topic is what is kept in memory of a topic.
type topic struct {
	id      uint64
	address string
	head    Position
	tail    Position
	holes   spans     // beyond tail, all with cause zero
	cursors []*cursor // by sub
	heaps   [byAge]heap

	// Cursors that had no backlog when their age was last looked at; and when the first message since came, if one did.
	parked   []*cursor
	awakened int64
	awake    bool

	tailChanged bool
	holesBefore spans // as they are stored, while touched
	holesDirty  bool
}

func newTopic(id uint64, address string, begin Position) *topic {
	t := &topic{id: id, address: address, head: begin, tail: begin}
	for o := range t.heaps {
		t.heaps[o].order = order(o)
	}
	return t
}

func (t *topic) addCursor(c *cursor) {
	i, _ := t.find(c.sub)
	t.cursors = slices.Insert(t.cursors, i, c)
	t.rank(c)
}

func (t *topic) removeCursor(c *cursor) {
	if i, ok := t.find(c.sub); ok {
		t.cursors = slices.Delete(t.cursors, i, i+1)
	}
	for o := range t.heaps {
		t.heaps[o].remove(c)
	}
}

func (t *topic) find(sub uint64) (int, bool) {
	return slices.BinarySearchFunc(t.cursors, sub, func(c *cursor, sub uint64) int { return cmp.Compare(c.sub, sub) })
}

// rank puts c where it belongs in the heaps, after it moved or its limits changed.
func (t *topic) rank(c *cursor) {
	t.heaps[byFloor].set(c, c.floor.Seq)
	t.threshold(c, byMessages, c.limits.MaxMessages, c.done.Messages)
	t.threshold(c, byBytes, c.limits.MaxBytes, c.done.Bytes)
}

// threshold: a cursor that is done with done of the topic's total is over its limit when the total is above done + limit.
func (t *topic) threshold(c *cursor, o order, limit, done uint64) {
	if limit == 0 {
		t.heaps[o].remove(c)
		return
	}
	at := done + limit
	if at < done {
		at = ^uint64(0)
	}
	t.heaps[o].set(c, at)
}

// floor is the lowest floor of the topic's cursors. Apply may use its Seq alone: which of several cursors is at the
// heap's top depends on what was done to it.
func (t *topic) floor() Position {
	if c := t.heaps[byFloor].top(); c != nil {
		return c.floor
	}
	return t.head
}

// kept is what is on disk.
func (t *topic) kept() Totals { return t.head.Totals.Sub(t.tail.Totals).Sub(t.holes.totals()) }

func (t *topic) record() storage.TopicRecord {
	return storage.TopicRecord{Address: t.address, TailSeq: t.tail.Seq, Tail: t.tail.Totals}
}

// touchHoles remembers the holes as they are stored, before the first change by a command.
func (t *topic) touchHoles() {
	if !t.holesDirty {
		t.holesDirty = true
		t.holesBefore = append(t.holesBefore[:0], t.holes...)
	}
}
