package shard

import (
	"errors"
	"fmt"

	"github.com/posthouse/posthouse/storage"
)

// Restore reads everything but the messages from storage, and forgets what it knew. It takes a seek for each topic.
func (m *Machine) Restore() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	r := restorer{m: m}
	if err := r.run(); err != nil {
		m.forget()
		return fmt.Errorf("read the shard's state: %w", err)
	}
	m.index = m.config.State.Applied()
	m.time = m.header.Time
	return nil
}

// restorer rebuilds a Machine's memory. Each step needs those before it.
type restorer struct {
	m       *Machine
	cursors []*cursor // by sub
}

func (r *restorer) run() error {
	value, err := r.m.config.State.Get(storage.AppendKey(nil, storage.KeyHeader))
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	default:
		if err := r.m.header.Decode(value); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		kind storage.KeyKind
		one  func(first, second uint64, value []byte) error
	}{
		{storage.KeyTopic, r.topic},
		{storage.KeyHole, r.hole},
		{storage.KeyCursor, r.cursor},
		{storage.KeyPlace, r.place},
		{storage.KeyRange, r.span},
		{storage.KeyDeliveries, r.deliveries},
		{storage.KeyGap, r.gap},
		{storage.KeyLane, r.lane},
		{storage.KeyRefusal, r.refusal},
	} {
		if err := scan(r.m.config.State, step.kind, step.one); err != nil {
			return err
		}
		if step.kind == storage.KeyHole {
			if err := r.heads(); err != nil {
				return err
			}
		}
	}
	for _, c := range r.cursors {
		c.topic.addCursor(c)
		r.m.rankAge(c, 0)
	}
	return r.m.check()
}

// scan calls fn for each key of a kind, in order.
func scan(state storage.Reader, kind storage.KeyKind, fn func(first, second uint64, value []byte) error) error {
	var failed error
	err := state.Scan(storage.AppendKey(nil, kind), storage.AppendKeyAfter(nil, kind), func(key, value []byte) bool {
		_, first, second, ok := storage.ParseKey(key)
		if !ok {
			failed = fmt.Errorf("%w: key %x", storage.ErrCorrupt, key)
			return false
		}
		if failed = fn(first, second, value); failed != nil {
			failed = fmt.Errorf("key %c %d %d: %w", kind, first, second, failed)
			return false
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

var errOrphan = fmt.Errorf("%w: it belongs to nothing", storage.ErrCorrupt)

func (r *restorer) topic(id, _ uint64, value []byte) error {
	var record storage.TopicRecord
	if err := record.Decode(value); err != nil {
		return err
	}
	if r.m.topics[record.Address] != nil {
		return fmt.Errorf("%w: two topics have the same address", storage.ErrCorrupt)
	}
	t := newTopic(id, record.Address, Position{Seq: record.TailSeq, Totals: record.Tail})
	r.m.topics[t.address] = t
	r.m.topicIDs[id] = t
	return nil
}

func (r *restorer) hole(id, from uint64, value []byte) error {
	t := r.m.topicIDs[id]
	if t == nil {
		return errOrphan
	}
	s, err := readSpan(from, value)
	if err != nil {
		return err
	}
	t.holes = append(t.holes, s)
	t.head = Position{Seq: s.Through, Totals: s.At}
	return nil
}

func readSpan(from uint64, value []byte) (Settled, error) {
	var record storage.SpanRecord
	if err := record.Decode(value); err != nil {
		return Settled{}, err
	}
	return Settled{Range: Range{From: from, Through: record.Through, Before: record.Before, At: record.At}, Cause: record.Cause}, nil
}

// heads finds where topics end: a publish does not say so but in its message.
func (r *restorer) heads() error {
	for _, t := range r.m.topicIDs {
		last, ok, err := lastMessage(r.m.config.State, t.id, ^uint64(0))
		if err != nil {
			return err
		}
		if ok && last.Seq > t.head.Seq {
			t.head = Position{Seq: last.Seq, Totals: last.At}
		}
	}
	return nil
}

// cursor makes the cursor; how far it is comes with its place.
func (r *restorer) cursor(sub, _ uint64, value []byte) error {
	var record storage.CursorRecord
	if err := record.Decode(value); err != nil {
		return err
	}
	t := r.m.topicIDs[record.Topic]
	if t == nil {
		return errOrphan
	}
	c := &cursor{sub: sub, topic: t, owner: record.Owner, name: record.Name, limits: record.Limits,
		start: Position{Seq: record.StartSeq, Totals: record.Start}, gen: record.Gen}
	for _, h := range record.Holders {
		c.holders = append(c.holders, Holder(h))
	}
	r.m.cursors[sub] = c
	r.cursors = append(r.cursors, c)
	return nil
}

func (r *restorer) place(sub, _ uint64, value []byte) error {
	c := r.m.cursors[sub]
	if c == nil {
		return errOrphan
	}
	var record storage.PlaceRecord
	if err := record.Decode(value); err != nil {
		return err
	}
	c.floor = Position{Seq: record.FloorSeq, Totals: record.Floor}
	c.mark, c.confirmed, c.givenUp = record.Mark, record.Confirmed, record.GivenUp
	c.done = c.start.Totals.Add(c.confirmed)
	for _, t := range c.givenUp {
		c.done = c.done.Add(t)
	}
	return nil
}

func (r *restorer) span(sub, from uint64, value []byte) error {
	c := r.m.cursors[sub]
	if c == nil {
		return errOrphan
	}
	s, err := readSpan(from, value)
	if err != nil {
		return err
	}
	c.ranges = append(c.ranges, s)
	return nil
}

func (r *restorer) deliveries(sub, seq uint64, value []byte) error {
	c := r.m.cursors[sub]
	if c == nil {
		return errOrphan
	}
	count, err := storage.DecodeDeliveries(value)
	if err != nil {
		return err
	}
	c.failed = append(c.failed, failed{seq, count})
	return nil
}

func (r *restorer) gap(sub, _ uint64, value []byte) error {
	c := r.m.cursors[sub]
	if c == nil {
		return errOrphan
	}
	var record storage.GapRecord
	if err := record.Decode(value); err != nil {
		return err
	}
	c.gap = record.Pieces
	return nil
}

func (r *restorer) lane(id, _ uint64, value []byte) error {
	var record storage.LaneRecord
	if err := record.Decode(value); err != nil {
		return err
	}
	l := &lane{id: id, owner: laneOwner{record.Router, record.Boot}, last: record.Last, active: record.Active}
	r.m.lanes[id] = l
	r.m.owners[l.owner] = l
	return nil
}

func (r *restorer) refusal(id, n uint64, value []byte) error {
	l := r.m.lanes[id]
	if l == nil {
		return errOrphan
	}
	x := Refused{N: n}
	if err := x.Refusal.DecodeRecord(value); err != nil {
		return err
	}
	l.refused = append(l.refused, x)
	return nil
}
