package shard

import (
	"fmt"

	"github.com/posthouse/posthouse/storage"
)

// Check verifies what must hold at every index, of memory alone: confirmed + given up + backlog = captured, among others.
// The error is storage.ErrCorrupt.
func (m *Machine) Check() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.check()
}

func (m *Machine) check() error {
	for _, t := range m.topics {
		if err := t.check(m.header); err != nil {
			return fmt.Errorf("%w: topic %d: %w", storage.ErrCorrupt, t.id, err)
		}
	}
	for _, c := range m.cursors {
		if err := c.check(); err != nil {
			return fmt.Errorf("%w: cursor of subscription %d: %w", storage.ErrCorrupt, c.sub, err)
		}
	}
	for _, l := range m.lanes {
		if err := l.check(m.header); err != nil {
			return fmt.Errorf("%w: lane %d: %w", storage.ErrCorrupt, l.id, err)
		}
	}
	return nil
}

func (t *topic) check(h storage.HeaderRecord) error {
	switch {
	case len(t.cursors) == 0:
		return fmt.Errorf("it has no cursor")
	case t.id > h.LastTopic || t.head.Seq > h.LastSeq:
		return fmt.Errorf("id %d or head %d is beyond the shard's counters", t.id, t.head.Seq)
	case !t.head.behind(t.tail):
		return fmt.Errorf("head %v is before tail %v", t.head, t.tail)
	}
	if err := t.holes.check(t.tail, t.head); err != nil {
		return fmt.Errorf("holes: %w", err)
	}
	for _, c := range t.cursors {
		if c.floor.Seq < t.tail.Seq {
			return fmt.Errorf("tail %v is beyond the floor %v of subscription %d", t.tail, c.floor, c.sub)
		}
	}
	return nil
}

// check: spans lie behind begin and up to end, hold messages, are in order, and don't touch begin.
func (s spans) check(begin, end Position) error {
	for i := range s {
		e := &s[i]
		if !e.begin().behind(begin) || !e.end().behind(e.begin()) || !end.behind(e.end()) || e.At == e.Before {
			return fmt.Errorf("%d..%d, totals %v to %v, is not between %v and %v", e.From, e.Through, e.Before, e.At, begin, end)
		}
		if e.Before.Messages == begin.Totals.Messages && (i == 0 || s[i-1].Cause == e.Cause) {
			return fmt.Errorf("%d..%d touches what is before it", e.From, e.Through)
		}
		begin = e.end()
	}
	return nil
}

func (c *cursor) check() error {
	head := c.topic.head
	settled := c.confirmed
	for _, t := range c.givenUp {
		settled = settled.Add(t)
	}
	if !head.behind(c.floor) || !c.floor.behind(c.start) || !head.Totals.Holds(c.done) {
		return fmt.Errorf("start %v, floor %v, done %v and head %v are out of order", c.start, c.floor, c.done, head)
	}
	if err := c.ranges.check(c.floor, head); err != nil {
		return fmt.Errorf("ranges: %w", err)
	}
	// The backlog counted by places, against the captured less what was counted as settled.
	backlog := head.Totals.Sub(c.floor.Totals).Sub(c.ranges.totals())
	captured := head.Totals.Sub(c.start.Totals)
	if settled.Add(backlog) != captured || backlog != c.backlog() {
		return fmt.Errorf("confirmed and given up %v and backlog %v (%v) are not what was captured, %v",
			settled, backlog, c.backlog(), captured)
	}
	if c.floor.Totals == head.Totals && c.floor.Seq != head.Seq {
		return fmt.Errorf("floor %v has nothing behind it and is not at the head %v", c.floor, head)
	}
	for i, f := range c.failed {
		if c.settled(f.seq) || f.seq > head.Seq || i > 0 && c.failed[i-1].seq >= f.seq {
			return fmt.Errorf("failed deliveries of %d are counted, which is settled or out of order", f.seq)
		}
	}
	if len(c.gap) > MaxGapRanges {
		return fmt.Errorf("the gap has %d ranges", len(c.gap))
	}
	for i := range c.gap {
		p := &c.gap[i]
		if p.First > p.Version || p.From > p.Through || p.Messages == 0 || i > 0 && c.gap[i-1].Version > p.First {
			return fmt.Errorf("the gap's range %d, %+v, is out of order", i, *p)
		}
	}
	for _, h := range c.holders {
		if h.Gen > c.gen {
			return fmt.Errorf("generation %d of a holder is beyond %d", h.Gen, c.gen)
		}
	}
	return nil
}

func (l *lane) check(h storage.HeaderRecord) error {
	if l.id > h.LastLane {
		return fmt.Errorf("its id is beyond the shard's counter")
	}
	for i, r := range l.refused {
		if r.N > l.last || i > 0 && l.refused[i-1].N >= r.N {
			return fmt.Errorf("refused number %d is out of order or beyond %d", r.N, l.last)
		}
	}
	return nil
}
