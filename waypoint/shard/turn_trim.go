package shard

import (
	"github.com/posthouse/posthouse/storage"
)

// trim deletes what no cursor needs of a range. At the topic's old end its tail moves; inside, a hole remains, so that
// totals at positions behind it stay right.
func (t *turn) trim(i int, x *Trim) {
	topic := t.m.topicIDs[x.Topic]
	if topic == nil {
		return
	}
	r, ok := topic.clamp(x.Range)
	if ok {
		t.pieces, ok = topic.unneeded(r, t.pieces[:0], &t.cut)
	}
	if !ok {
		t.fault("Trim", i, 0, "a range's totals don't fit the topic")
		return
	}
	for _, piece := range t.pieces {
		t.cut, ok = topic.holes.rest(piece, t.cut[:0])
		if !ok {
			t.fault("Trim", i, 0, "a range's totals don't fit the topic's holes")
			continue
		}
		for _, r := range t.cut {
			t.deleteMessages(topic, r)
		}
	}
}

func (t *turn) deleteMessages(topic *topic, r Range) {
	t.key = storage.AppendKey(t.key[:0], storage.KeyMessage, topic.id, r.From)
	t.upper = storage.AppendKeyAfter(t.upper[:0], storage.KeyMessage, topic.id, r.Through)
	t.batch.DeleteRange(t.key, t.upper)
	t.result.Trimmed = t.result.Trimmed.Add(r.Totals())
	if !topic.tailChanged && !topic.holesDirty {
		t.topics = append(t.topics, topic)
	}
	topic.remove(r)
}

func (t *turn) writeTopic(topic *topic) {
	tailChanged, holesDirty := topic.tailChanged, topic.holesDirty
	topic.tailChanged, topic.holesDirty = false, false
	if t.m.topicIDs[topic.id] != topic {
		return // removed
	}
	if tailChanged {
		record := topic.record()
		t.value = record.Append(t.value[:0])
		t.set(t.value, storage.KeyTopic, topic.id)
	}
	if holesDirty {
		t.writeSpans(storage.KeyHole, topic.id, topic.holesBefore, topic.holes)
	}
}

// clamp cuts a range to what the topic has, tail to head. The result may be empty (Through below From). False means that
// its totals can't be right.
func (t *topic) clamp(r Range) (Range, bool) {
	empty := Range{From: 1}
	if r.At == r.Before {
		return empty, true
	}
	if r.At == t.head.Totals {
		r.Through = t.head.Seq
	}
	if !t.head.behind(r.end()) {
		return r, false
	}
	if r.Through <= t.tail.Seq {
		return empty, true
	}
	if r.From <= t.tail.Seq {
		r.From, r.Before = t.tail.Seq+1, t.tail.Totals
	}
	return r, r.begin().behind(t.tail) && r.end().behind(r.begin())
}

// unneeded appends to buf the parts of r, a range that clamp gave out, that every cursor has settled, in order. What lies up to the
// lowest floor needs no look at the cursors. False means that the totals can't be right.
func (t *topic) unneeded(r Range, buf []Range, spare *[]Range) ([]Range, bool) {
	if r.Through < r.From {
		return buf, true
	}
	buf = append(buf, r)
	if r.Through <= t.floor().Seq {
		// Any cursor will do to compare with; the heap's top is not the same on all replicas if several are equal.
		return buf, t.cursors[0].floor.behind(r.end())
	}
	other := *spare
	for _, c := range t.cursors {
		if c.floor.Seq >= r.Through {
			continue
		}
		other = other[:0]
		for _, piece := range buf {
			var ok bool
			if other, ok = c.settledOf(piece, other); !ok {
				return nil, false // which of the two lists is which no longer matters
			}
		}
		buf, other = other, buf
		if len(buf) == 0 {
			break
		}
	}
	*spare = other
	return buf, true
}

// settledOf appends to buf the parts of r that are settled, in order. False means that the totals can't be right.
func (c *cursor) settledOf(r Range, buf []Range) ([]Range, bool) {
	if r.From <= c.floor.Seq {
		part := r
		if part.Through > c.floor.Seq {
			part.Through, part.At = c.floor.Seq, c.floor.Totals
		}
		if !c.floor.behind(part.begin()) || !r.end().behind(part.end()) {
			return buf, false
		}
		buf = appendPiece(buf, part)
	}
	for i := c.ranges.after(r.From); i < len(c.ranges) && c.ranges[i].From <= r.Through; i++ {
		e := &c.ranges[i].Range
		part := *e
		if part.From < r.From {
			part.From, part.Before = r.From, r.Before
		}
		if part.Through > r.Through {
			part.Through, part.At = r.Through, r.At
		}
		// The part lies in both.
		if !part.begin().behind(r.begin()) || !part.begin().behind(e.begin()) || !r.end().behind(part.end()) || !e.end().behind(part.end()) ||
			!part.end().behind(part.begin()) {
			return buf, false
		}
		buf = appendPiece(buf, part)
	}
	return buf, true
}

// remove takes r, which is on disk as a whole, as deleted.
func (t *topic) remove(r Range) {
	if r.Before.Messages != t.tail.Totals.Messages {
		t.touchHoles()
		t.holes = t.holes.add(r, 0)
		return
	}
	t.tailChanged = true
	t.tail = Position{Seq: r.Through, Totals: r.At}
	if len(t.holes) > 0 && t.holes[0].Before.Messages == r.At.Messages {
		t.touchHoles()
		t.holes, t.tail = t.holes.absorb(t.tail)
	}
}
