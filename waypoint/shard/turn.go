package shard

import (
	"github.com/posthouse/posthouse/storage"
)

// turn is the application of one command: where it writes, what it has changed in memory and must still write, and what
// it tells. Records are written once, at its end, however often a command changes them.
type turn struct {
	m      *Machine
	batch  batch
	result *Result

	header  storage.HeaderRecord // as it was
	cursors []*cursor            // changed
	topics  []*topic             // changed
	lanes   []*lane              // changed
	kept    []keptMessage        // by seq

	// memory that is used again
	key, upper, value []byte
	pieces, cut       []Range
}

// maxFaults bounds what a Result lists: one is enough to know that something is wrong.
const maxFaults = 16

func (t *turn) begin(m *Machine, b batch, result *Result) {
	t.m, t.batch, t.result, t.header = m, b, result, m.header
}

func (t *turn) run(c *Command) {
	for i := range c.LaneOpen {
		t.openLane(i, &c.LaneOpen[i])
	}
	for _, id := range c.LaneForget {
		t.forgetLane(id)
	}
	for i := range c.Start {
		t.start(i, &c.Start[i])
	}
	for _, sub := range c.End {
		t.endCursor(sub)
	}
	for i := range c.Limits {
		t.limits(&c.Limits[i])
	}
	for i := range c.Attach {
		t.attach(&c.Attach[i])
	}
	for i := range c.Leave {
		t.leave(&c.Leave[i])
	}
	for i := range c.AckRefusals {
		t.ackRefusals(&c.AckRefusals[i])
	}
	for i := range c.Confirm {
		t.settle("Confirm", i, c.Confirm[i].Sub, c.Confirm[i].Ranges, 0)
	}
	for i := range c.Fail {
		t.fail(&c.Fail[i])
	}
	for i := range c.Rejected {
		t.settle("Rejected", i, c.Rejected[i].Sub, c.Rejected[i].Ranges, CauseRejected)
	}
	for i := range c.GiveUp {
		t.giveUp("GiveUp", i, &c.GiveUp[i])
	}
	for i := range c.Heard {
		t.heard(&c.Heard[i])
	}
	for i := range c.Mark {
		t.mark(c.Mark[i].Sub, c.Mark[i].Mark)
	}
	for i := range c.Trim {
		t.trim(i, &c.Trim[i])
	}
	if len(c.Publish) > 0 {
		t.result.Publish = make([]PublishResult, len(c.Publish))
	}
	for i := range c.Publish {
		t.result.Publish[i] = t.publish(&c.Publish[i])
	}
	for i := range c.Evict {
		t.evict(i, &c.Evict[i])
	}
}

// end writes what was changed.
func (t *turn) end() {
	for i, c := range t.cursors {
		t.writeCursor(c)
		t.cursors[i] = nil
	}
	for i, topic := range t.topics {
		t.writeTopic(topic)
		t.topics[i] = nil
	}
	for i, l := range t.lanes {
		t.writeLane(l)
		t.lanes[i] = nil
	}
	clear(t.kept)
	t.cursors, t.topics, t.lanes, t.kept = t.cursors[:0], t.topics[:0], t.lanes[:0], t.kept[:0]
	if t.m.header != t.header {
		t.m.header.Time = t.m.time
		t.value = t.m.header.Append(t.value[:0])
		t.set(t.value, storage.KeyHeader)
	}
	t.batch, t.result = nil, nil
}

func (t *turn) set(value []byte, kind storage.KeyKind, numbers ...uint64) {
	t.key = storage.AppendKey(t.key[:0], kind, numbers...)
	t.batch.Set(t.key, value)
}

func (t *turn) delete(kind storage.KeyKind, numbers ...uint64) {
	t.key = storage.AppendKey(t.key[:0], kind, numbers...)
	t.batch.Delete(t.key)
}

// deleteAll deletes all keys that begin with kind and first.
func (t *turn) deleteAll(kind storage.KeyKind, first uint64) {
	t.key = storage.AppendKey(t.key[:0], kind, first)
	t.upper = storage.AppendKeyAfter(t.upper[:0], kind, first)
	t.batch.DeleteRange(t.key, t.upper)
}

func (t *turn) fault(part string, item int, sub uint64, reason string) {
	if len(t.result.Faults) == 0 {
		t.m.config.Logger.Error("part of a command left out", "index", t.result.Index, "part", part, "item", item,
			"subscription", sub, "reason", reason)
	}
	if len(t.result.Faults) < maxFaults {
		t.result.Faults = append(t.result.Faults, Fault{Part: part, Item: item, Sub: sub, Reason: reason})
	}
}
