package shard

import (
	"cmp"
	"slices"

	"github.com/posthouse/posthouse/storage"
)

// start makes a cursor. A second start of a subscription finds the first one's.
func (t *turn) start(i int, x *Start) {
	m := t.m
	if c := m.cursors[x.Sub]; c != nil {
		t.result.Started = append(t.result.Started, Started{Sub: x.Sub, Topic: c.topic.id, Found: true, Start: c.start,
			Refused: c.topic.address != x.Address})
		return
	}
	if x.Sub == 0 || x.Address == "" {
		t.fault("Start", i, x.Sub, "a subscription has no id or no address")
		t.result.Started = append(t.result.Started, Started{Sub: x.Sub, Refused: true})
		return
	}
	topic := t.needTopic(x.Address)
	c := &cursor{sub: x.Sub, topic: topic, owner: x.Owner, name: x.Name, limits: x.Limits, start: topic.head,
		floor: topic.head, done: topic.head.Totals}
	m.cursors[x.Sub] = c
	topic.addCursor(c)
	m.rankAge(c, m.time)
	t.touch(c, dirtyCursor|dirtyPlace)
	t.result.Started = append(t.result.Started, Started{Sub: x.Sub, Topic: topic.id, Start: c.start})
}

// needTopic finds the topic, or begins it at the shard's last seq.
func (t *turn) needTopic(address string) *topic {
	m := t.m
	if topic := m.topics[address]; topic != nil {
		return topic
	}
	m.header.LastTopic++
	topic := newTopic(m.header.LastTopic, address, Position{Seq: m.header.LastSeq})
	topic.tailChanged = true
	m.topics[address] = topic
	m.topicIDs[topic.id] = topic
	t.topics = append(t.topics, topic)
	return topic
}

// endCursor removes a cursor, and its topic with all messages if it was the last.
func (t *turn) endCursor(sub uint64) {
	m := t.m
	c := m.cursors[sub]
	if c == nil {
		return
	}
	delete(m.cursors, sub)
	c.topic.removeCursor(c)
	m.unrankAge(c)
	t.delete(storage.KeyCursor, sub)
	t.delete(storage.KeyPlace, sub)
	if len(c.gap) > 0 {
		t.delete(storage.KeyGap, sub)
	}
	if len(c.ranges) > 0 {
		t.deleteAll(storage.KeyRange, sub)
	}
	if len(c.failed) > 0 {
		t.deleteAll(storage.KeyDeliveries, sub)
	}
	if len(c.topic.cursors) == 0 {
		t.removeTopic(c.topic)
	}
}

func (t *turn) removeTopic(topic *topic) {
	delete(t.m.topics, topic.address)
	delete(t.m.topicIDs, topic.id)
	t.delete(storage.KeyTopic, topic.id)
	if len(topic.holes) > 0 {
		t.deleteAll(storage.KeyHole, topic.id)
	}
	if topic.head.Seq > topic.tail.Seq {
		t.deleteAll(storage.KeyMessage, topic.id)
	}
}

func (t *turn) limits(x *SetLimits) {
	c := t.m.cursors[x.Sub]
	if c == nil || c.limits == x.Limits {
		return
	}
	since := t.m.since(c)
	c.limits = x.Limits
	c.topic.rank(c)
	t.m.rankAge(c, since)
	t.touch(c, dirtyCursor)
}

// attach makes the link the only holder: what an earlier link holds is not its own any more.
func (t *turn) attach(x *Attach) {
	c := t.m.cursors[x.Sub]
	taken := c != nil && x.Gen > c.gen
	t.result.Attached = append(t.result.Attached, taken)
	if !taken {
		return
	}
	c.gen = x.Gen
	c.holders = append(c.holders[:0], Holder{Router: x.Router, Boot: x.Boot, Gen: x.Gen})
	t.touch(c, dirtyCursor)
	t.mark(x.Sub, x.Mark)
}

func (t *turn) leave(x *Leave) {
	c := t.m.cursors[x.Sub]
	if c == nil {
		return
	}
	i := slices.IndexFunc(c.holders, func(h Holder) bool { return h.Gen == x.Gen })
	if i < 0 {
		return
	}
	c.holders = slices.Delete(c.holders, i, i+1)
	t.touch(c, dirtyCursor)
	if mark := max(x.Mark, c.floor.Seq); x.Mark != 0 && len(c.holders) == 0 && mark < c.mark {
		c.mark = mark
		t.touch(c, dirtyPlace)
	}
}

func (t *turn) mark(sub, mark uint64) {
	if c := t.m.cursors[sub]; c != nil && mark > c.mark {
		c.mark = mark
		t.touch(c, dirtyPlace)
	}
}

func (t *turn) giveUp(part string, item int, x *GiveUp) {
	if x.Cause == 0 {
		t.fault(part, item, x.Sub, "giving up needs a cause")
		return
	}
	t.settle(part, item, x.Sub, x.Ranges, x.Cause)
}

// keptMessage is a message that this command brought.
type keptMessage struct {
	topic *topic
	at    Position
}

// evict gives up what may be of this very command. There, positions and totals are what the leader foresaw, not what it has
// read: one that is wrong would stay in the cursor for ever, so they are compared.
func (t *turn) evict(item int, x *GiveUp) {
	if c := t.m.cursors[x.Sub]; c != nil && len(t.kept) > 0 {
		for _, r := range x.Ranges {
			if !t.foreseen(c.topic, max(r.From, 1)-1, r.Before) || !t.foreseen(c.topic, r.Through, r.At) {
				t.fault("Evict", item, x.Sub, "positions of this command are not where they were foreseen")
				return
			}
		}
	}
	t.giveUp("Evict", item, x)
}

// foreseen says whether these are the topic's totals up to seq, if seq is not before what this command kept there.
func (t *turn) foreseen(topic *topic, seq uint64, at Totals) bool {
	i, found := slices.BinarySearchFunc(t.kept, seq, func(k keptMessage, seq uint64) int { return cmp.Compare(k.at.Seq, seq) })
	if !found {
		i--
	}
	for ; i >= 0; i-- {
		if t.kept[i].topic == topic {
			return t.kept[i].at.Totals == at
		}
	}
	return true
}

// settle takes what is not settled yet of the ranges as confirmed (cause zero) or given up.
func (t *turn) settle(part string, item int, sub uint64, ranges []Range, cause Cause) {
	c := t.m.cursors[sub]
	if c == nil {
		return
	}
	t.touch(c, 0)
	for _, r := range ranges {
		var ok bool
		if t.pieces, ok = c.rest(r, t.pieces[:0]); !ok {
			t.fault(part, item, sub, "a range's totals don't fit the cursor")
			continue
		}
		for _, piece := range t.pieces {
			c.settle(piece, cause, t.result.Index)
		}
	}
	if len(c.failed) > 0 {
		c.forgetFailed(func(seq uint64) { t.delete(storage.KeyDeliveries, sub, seq) })
	}
	c.topic.rank(c)
}

func (t *turn) fail(x *Fail) {
	c := t.m.cursors[x.Sub]
	if c == nil || x.Seq > c.topic.head.Seq || c.settled(x.Seq) {
		return
	}
	if c.fail(x.Seq, x.Count) {
		t.value = storage.AppendDeliveries(t.value[:0], x.Count)
		t.set(t.value, storage.KeyDeliveries, x.Sub, x.Seq)
	}
}

func (t *turn) heard(x *Heard) {
	c := t.m.cursors[x.Sub]
	if c == nil || len(c.gap) == 0 || c.gap[0].Version > x.Version {
		return
	}
	t.touch(c, dirtyGap)
	c.gap = c.gap.heard(x.Version)
}

// touch says that these records of c have to be written.
func (t *turn) touch(c *cursor, d dirty) {
	c.dirty |= d
	if !c.listed {
		c.listed = true
		t.cursors = append(t.cursors, c)
	}
}

func (t *turn) writeCursor(c *cursor) {
	d := c.dirty
	c.dirty, c.listed = 0, false
	if t.m.cursors[c.sub] != c {
		return // ended
	}
	if d&dirtyCursor != 0 {
		record := c.cursorRecord()
		t.value = record.Append(t.value[:0])
		t.set(t.value, storage.KeyCursor, c.sub)
	}
	if d&dirtyPlace != 0 {
		record := c.placeRecord()
		t.value = record.Append(t.value[:0])
		t.set(t.value, storage.KeyPlace, c.sub)
	}
	if d&dirtyGap != 0 {
		t.writeGap(c)
	}
	if d&dirtyRanges != 0 {
		t.writeSpans(storage.KeyRange, c.sub, c.rangesBefore, c.ranges)
	}
}

func (t *turn) writeGap(c *cursor) {
	if len(c.gap) == 0 {
		t.delete(storage.KeyGap, c.sub)
		return
	}
	record := storage.GapRecord{Pieces: c.gap}
	t.value = record.Append(t.value[:0])
	t.set(t.value, storage.KeyGap, c.sub)
}

// writeSpans writes what has changed.
func (t *turn) writeSpans(kind storage.KeyKind, owner uint64, before, after spans) {
	before.diff(after, func(from uint64) {
		t.delete(kind, owner, from)
	}, func(s *Settled) {
		record := storage.SpanRecord{Through: s.Through, Before: s.Before, At: s.At, Cause: s.Cause}
		t.value = record.Append(t.value[:0])
		t.set(t.value, kind, owner, s.From)
	})
}
