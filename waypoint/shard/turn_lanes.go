package shard

import (
	"github.com/posthouse/posthouse/storage"
)

// openLane: a router that did not hear of its lane asks again and gets the same one.
func (t *turn) openLane(i int, x *LaneOpen) {
	m := t.m
	owner := laneOwner{x.Router, x.Boot}
	l := m.owners[owner]
	switch {
	case x.Router == "":
		t.fault("LaneOpen", i, 0, "a router has no name")
		t.result.Lanes = append(t.result.Lanes, Lane{})
		return
	case l == nil:
		m.header.LastLane++
		l = &lane{id: m.header.LastLane, owner: owner}
		m.lanes[l.id] = l
		m.owners[owner] = l
	}
	t.touchLane(l)
	t.result.Lanes = append(t.result.Lanes, l.describe())
}

func (t *turn) forgetLane(id uint64) {
	m := t.m
	l := m.lanes[id]
	if l == nil {
		return
	}
	delete(m.lanes, id)
	delete(m.owners, l.owner)
	t.delete(storage.KeyLane, id)
	if len(l.refused) > 0 {
		t.deleteAll(storage.KeyRefusal, id)
	}
}

func (t *turn) ackRefusals(x *AckRefusals) {
	l := t.m.lanes[x.Lane]
	if l == nil {
		return
	}
	t.touchLane(l)
	l.acknowledge(x.Through, func(n uint64) { t.delete(storage.KeyRefusal, x.Lane, n) })
}

// publish takes a publish whose number is its lane's next one. Any other is left out, so that one that was proposed twice is
// in once.
func (t *turn) publish(p *Publish) PublishResult {
	l := t.m.lanes[p.Lane]
	if l == nil {
		return PublishResult{Status: StatusNoLane}
	}
	t.touchLane(l)
	switch {
	case p.N <= l.last:
		return PublishResult{Status: StatusRepeated}
	case p.N != l.last+1:
		return PublishResult{Status: StatusJumped}
	}
	l.last = p.N
	switch p.Verdict {
	case Refuse:
		return t.refuse(l, p.N, *p.refusal())
	case Void:
		return t.refuse(l, p.N, Refusal{Reason: ReasonVoid})
	case Keep:
		if topic := t.m.topics[p.Address]; topic != nil {
			return t.keep(topic, p.Payload)
		}
	}
	return PublishResult{Status: StatusNoView}
}

func (t *turn) refuse(l *lane, n uint64, r Refusal) PublishResult {
	l.refused = append(l.refused, Refused{N: n, Refusal: r})
	t.value = r.AppendRecord(t.value[:0])
	t.set(t.value, storage.KeyRefusal, l.id, n)
	return PublishResult{Status: StatusRefused}
}

// keep writes the message and nothing else: no cursor, however many there are.
func (t *turn) keep(topic *topic, payload []byte) PublishResult {
	m := t.m
	m.header.LastSeq++
	topic.head = Position{Seq: m.header.LastSeq, Totals: topic.head.Totals.Add(Size(len(payload)))}
	record := storage.MessageRecord{Time: m.time, At: topic.head.Totals, Payload: payload}
	t.value = record.Append(t.value[:0])
	t.set(t.value, storage.KeyMessage, topic.id, topic.head.Seq)
	t.kept = append(t.kept, keptMessage{topic: topic, at: topic.head})
	if len(topic.parked) > 0 {
		m.wake(topic)
	}
	return PublishResult{Status: StatusKept, Topic: topic.id, At: topic.head}
}

// touchLane: whatever comes in of a lane says that its router lives.
func (t *turn) touchLane(l *lane) {
	l.active = t.m.time
	if !l.dirty {
		l.dirty = true
		t.lanes = append(t.lanes, l)
	}
}

func (t *turn) writeLane(l *lane) {
	l.dirty = false
	if t.m.lanes[l.id] != l {
		return
	}
	record := l.record()
	t.value = record.Append(t.value[:0])
	t.set(t.value, storage.KeyLane, l.id)
}
