package shard

import "slices"

// Overflowing lists the subscriptions on an address that would be above their max-messages or max-bytes if the topic's
// totals were at, by id. It takes time only for those that it finds.
func (m *Machine) Overflowing(address string, at Totals) []uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.topics[address]
	if t == nil {
		return nil
	}
	var subs []uint64
	add := func(c *cursor) { subs = append(subs, c.sub) }
	t.heaps[byMessages].below(at.Messages, add)
	t.heaps[byBytes].below(at.Bytes, add)
	slices.Sort(subs)
	return slices.Compact(subs)
}

// Trimmable lists what may be deleted of a topic, in order: the messages that are on disk and that no cursor needs. It looks at
// all its cursors.
func (m *Machine) Trimmable(topic uint64) []Range {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.topicIDs[topic]
	if t == nil {
		return nil
	}
	all := Range{From: t.tail.Seq + 1, Through: t.head.Seq, Before: t.tail.Totals, At: t.head.Totals}
	var spare, pieces []Range
	pieces, ok := t.unneeded(all, nil, &spare)
	if !ok {
		return nil
	}
	var out []Range
	for _, r := range pieces {
		out, _ = t.holes.rest(r, out)
	}
	return join(out)
}

// join makes one of neighbours that touch.
func join(ranges []Range) []Range {
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out) - 1; n >= 0 && out[n].At.Messages == r.Before.Messages {
			out[n].Through, out[n].At = r.Through, r.At
			continue
		}
		out = append(out, r)
	}
	return out
}

// TrimmableFront is what may be deleted at a topic's old end; false if nothing. Its totals include what was deleted
// there already. It looks at no cursor but the last one.
func (m *Machine) TrimmableFront(topic uint64) (Range, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.topicIDs[topic]
	if t == nil {
		return Range{}, false
	}
	floor := t.floor()
	r := Range{From: t.tail.Seq + 1, Through: floor.Seq, Before: t.tail.Totals, At: floor.Totals}
	return r, r.At.Messages > r.Before.Messages
}
