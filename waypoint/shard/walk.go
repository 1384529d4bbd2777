package shard

import (
	"errors"
	"fmt"
	"slices"

	"github.com/posthouse/posthouse/storage"
)

// Message reads one message with a payload of the caller's own, or storage.ErrNotFound.
func (m *Machine) Message(topic, seq uint64) (Message, error) {
	value, err := m.config.State.Get(storage.AppendKey(nil, storage.KeyMessage, topic, seq))
	if err != nil {
		return Message{}, err
	}
	return readMessage(seq, value)
}

func readMessage(seq uint64, value []byte) (Message, error) {
	var record storage.MessageRecord
	if err := record.Decode(value); err != nil {
		return Message{}, err
	}
	return Message{Seq: seq, Time: record.Time, Before: record.At.Sub(Size(len(record.Payload))), At: record.At,
		Payload: record.Payload}, nil
}

// Oldest is the oldest message that a subscription has neither confirmed nor given up, without its payload; false if it
// has none. It reads storage.
func (m *Machine) Oldest(sub uint64) (Message, bool, error) {
	m.mu.RLock()
	c := m.cursors[sub]
	if c == nil || c.backlog() == (Totals{}) {
		m.mu.RUnlock()
		return Message{}, false, nil
	}
	topic, floor := c.topic.id, c.floor.Seq
	m.mu.RUnlock()
	return m.after(topic, floor)
}

// after is the first message after seq, without its payload. Behind a floor it is never a settled one: the floor would
// have moved over it.
func (m *Machine) after(topic, seq uint64) (Message, bool, error) {
	w, err := m.Messages(topic, seq+1)
	if err != nil {
		return Message{}, false, err
	}
	found := w.Next()
	var first Message
	if found {
		first = w.Message()
		first.Payload = nil
	}
	return first, found, w.Close()
}

func (m *Machine) timeAfter(topic, seq uint64) (int64, bool, error) {
	first, found, err := m.after(topic, seq)
	return first.Time, found, err
}

// TotalsAt is a topic's totals up to and including seq. It is storage.ErrNotFound for a position below what is
// kept, or inside what was deleted. It reads storage.
func (m *Machine) TotalsAt(topic, seq uint64) (Totals, error) {
	m.mu.RLock()
	t := m.topicIDs[topic]
	if t == nil {
		m.mu.RUnlock()
		return Totals{}, storage.ErrNotFound
	}
	head, at := t.head, t.tail // at: the last position up to seq whose totals are known without reading
	i := t.holes.after(seq)
	inside := i < len(t.holes) && t.holes[i].From <= seq && seq < t.holes[i].Through
	switch {
	case i < len(t.holes) && t.holes[i].Through == seq:
		at = Position{Seq: seq, Totals: t.holes[i].At}
	case i > 0:
		at = Position{Seq: t.holes[i-1].Through, Totals: t.holes[i-1].At}
	}
	m.mu.RUnlock()
	switch {
	case seq >= head.Seq:
		return head.Totals, nil
	case seq < at.Seq || inside:
		return Totals{}, storage.ErrNotFound
	case seq == at.Seq:
		return at.Totals, nil
	}
	last, found, err := lastMessage(m.config.State, topic, seq)
	if err != nil {
		return Totals{}, err
	}
	if found && last.Seq > at.Seq {
		return last.At, nil
	}
	return at.Totals, nil
}

// lastMessage is the last message of a topic up to seq, without its payload.
func lastMessage(state storage.Reader, topic, seq uint64) (last Message, found bool, err error) {
	it, err := state.Iter(storage.AppendKey(nil, storage.KeyMessage, topic), storage.AppendKeyAfter(nil, storage.KeyMessage, topic, seq))
	if err != nil {
		return Message{}, false, err
	}
	if found = it.Last(); found {
		last, err = messageOf(it)
		last.Payload = nil
	}
	return last, found, errors.Join(err, it.Close())
}

func messageOf(it *storage.Iter) (Message, error) {
	_, _, seq, ok := storage.ParseKey(it.Key())
	if !ok {
		return Message{}, fmt.Errorf("%w: key %x", storage.ErrCorrupt, it.Key())
	}
	m, err := readMessage(seq, it.Value())
	if err != nil {
		return Message{}, fmt.Errorf("message %d: %w", seq, err)
	}
	return m, nil
}

// Messages walks the messages of a topic from seq on.
func (m *Machine) Messages(topic, from uint64) (*Walk, error) { return m.walk(topic, from, nil) }

// Pending walks the messages that a subscription has neither confirmed nor given up as of now, from seq on.
func (m *Machine) Pending(sub, from uint64) (*Walk, error) {
	m.mu.RLock()
	c := m.cursors[sub]
	if c == nil {
		m.mu.RUnlock()
		return nil, storage.ErrNotFound
	}
	topic, floor := c.topic.id, c.floor.Seq
	ranges := slices.Clone(c.ranges[c.ranges.after(from):])
	m.mu.RUnlock()
	return m.walk(topic, max(from, floor+1), ranges)
}

func (m *Machine) walk(topic, from uint64, skip spans) (*Walk, error) {
	it, err := m.config.State.Iter(storage.AppendKey(nil, storage.KeyMessage, topic, from), storage.AppendKeyAfter(nil, storage.KeyMessage, topic))
	if err != nil {
		return nil, err
	}
	return &Walk{it: it, topic: topic, skip: skip}, nil
}

// Walk moves over messages, as storage was at its start: what is deleted meanwhile still comes, what is published does
// not. It belongs to one goroutine and must be closed, soon: what it sees takes space until then.
type Walk struct {
	it      *storage.Iter
	topic   uint64
	skip    spans // still ahead
	started bool
	message Message
	err     error
}

// Next moves to the next message and says whether there is one. False means the end or an error: Close tells which.
func (w *Walk) Next() bool {
	if w.err != nil {
		return false
	}
	on := false
	if w.started {
		on = w.it.Next()
	} else {
		w.started = true
		on = w.it.First()
	}
	for on {
		if w.message, w.err = messageOf(w.it); w.err != nil {
			return false
		}
		for len(w.skip) > 0 && w.skip[0].Through < w.message.Seq {
			w.skip = w.skip[1:]
		}
		if len(w.skip) == 0 || w.skip[0].From > w.message.Seq {
			return true
		}
		on = w.it.SeekGE(storage.AppendKey(nil, storage.KeyMessage, w.topic, w.skip[0].Through+1))
	}
	return false
}

// Message is the message that the walk is on.
func (w *Walk) Message() Message { return w.message }

// Close releases the walk and returns why it stopped early, if it did.
func (w *Walk) Close() error { return errors.Join(w.err, w.it.Close()) }
