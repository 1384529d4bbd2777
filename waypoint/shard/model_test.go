package shard

import (
	"maps"
	"slices"
)

// model is a shard as simple as can be: for each cursor it knows of each message what became of it, one by one.
type model struct {
	seq     uint64
	topicID uint64
	laneID  uint64
	topics  map[string]*modelTopic
	cursors map[uint64]*modelCursor
	lanes   map[uint64]*modelLane
}

type modelTopic struct {
	id       uint64
	address  string
	begin    uint64 // the shard's seq when it was made
	messages []modelMessage
}

type modelMessage struct {
	seq     uint64
	time    int64
	size    int
	at      Totals
	deleted bool
}

type modelCursor struct {
	sub     uint64
	topic   *modelTopic
	limits  Limits
	gen     uint64
	holders []Holder
	mark    uint64
	start   int // messages of the topic before it
	settled map[uint64]Cause
	failed  map[uint64]uint32
	unheard []modelGiven
}

type modelGiven struct {
	version, seq uint64
	cause        Cause
	size         int
}

type modelLane struct {
	id      uint64
	owner   laneOwner
	last    uint64
	active  int64
	refused map[uint64]Refusal
}

func newModel() *model {
	return &model{topics: make(map[string]*modelTopic), cursors: make(map[uint64]*modelCursor), lanes: make(map[uint64]*modelLane)}
}

// apply does what a command says, for an entry at index and now. Ranges must be right; they may overlap what is settled.
func (m *model) apply(c *Command, index uint64, now int64) {
	for _, x := range c.LaneOpen {
		m.lane(laneOwner{x.Router, x.Boot}).active = now
	}
	for _, id := range c.LaneForget {
		delete(m.lanes, id)
	}
	for _, x := range c.Start {
		m.start(x)
	}
	for _, sub := range c.End {
		m.end(sub)
	}
	for _, x := range c.Limits {
		if k := m.cursors[x.Sub]; k != nil {
			k.limits = x.Limits
		}
	}
	for _, x := range c.Attach {
		if k := m.cursors[x.Sub]; k != nil && x.Gen > k.gen {
			k.gen, k.holders, k.mark = x.Gen, []Holder{{x.Router, x.Boot, x.Gen}}, max(k.mark, x.Mark)
		}
	}
	for _, x := range c.Leave {
		k := m.cursors[x.Sub]
		if k == nil || !slices.ContainsFunc(k.holders, func(h Holder) bool { return h.Gen == x.Gen }) {
			continue
		}
		k.holders = nil // there is one at most
		if x.Mark != 0 {
			k.mark = min(k.mark, x.Mark) // which is not below the floor
		}
	}
	for _, x := range c.AckRefusals {
		if l := m.lanes[x.Lane]; l != nil {
			l.active = now
			maps.DeleteFunc(l.refused, func(n uint64, _ Refusal) bool { return n <= x.Through })
		}
	}
	for _, x := range c.Confirm {
		m.settle(x.Sub, x.Ranges, 0, index)
	}
	for _, x := range c.Fail {
		if k := m.cursors[x.Sub]; k != nil && slices.Contains(k.pending(), x.Seq) {
			k.failed[x.Seq] = max(k.failed[x.Seq], x.Count)
		}
	}
	for _, x := range c.Rejected {
		m.settle(x.Sub, x.Ranges, CauseRejected, index)
	}
	for _, x := range c.GiveUp {
		m.settle(x.Sub, x.Ranges, x.Cause, index)
	}
	for _, x := range c.Heard {
		if k := m.cursors[x.Sub]; k != nil {
			k.unheard = slices.DeleteFunc(k.unheard, func(g modelGiven) bool { return g.version <= x.Version })
		}
	}
	for _, x := range c.Mark {
		if k := m.cursors[x.Sub]; k != nil {
			k.mark = max(k.mark, x.Mark)
		}
	}
	for _, x := range c.Trim {
		m.trim(x)
	}
	for _, p := range c.Publish {
		m.publish(p, now)
	}
	for _, x := range c.Evict {
		m.settle(x.Sub, x.Ranges, x.Cause, index)
	}
}

func (m *model) lane(owner laneOwner) *modelLane {
	for _, l := range m.lanes {
		if l.owner == owner {
			return l
		}
	}
	m.laneID++
	l := &modelLane{id: m.laneID, owner: owner, refused: make(map[uint64]Refusal)}
	m.lanes[l.id] = l
	return l
}

func (m *model) start(x Start) {
	if m.cursors[x.Sub] != nil {
		return
	}
	t := m.topics[x.Address]
	if t == nil {
		m.topicID++
		t = &modelTopic{id: m.topicID, address: x.Address, begin: m.seq}
		m.topics[x.Address] = t
	}
	m.cursors[x.Sub] = &modelCursor{sub: x.Sub, topic: t, limits: x.Limits, start: len(t.messages),
		settled: make(map[uint64]Cause), failed: make(map[uint64]uint32)}
}

func (m *model) end(sub uint64) {
	k := m.cursors[sub]
	if k == nil {
		return
	}
	delete(m.cursors, sub)
	if len(m.on(k.topic)) == 0 {
		delete(m.topics, k.topic.address)
	}
}

// on lists the cursors on a topic, by id.
func (m *model) on(t *modelTopic) []*modelCursor {
	var list []*modelCursor
	for _, sub := range slices.Sorted(maps.Keys(m.cursors)) {
		if m.cursors[sub].topic == t {
			list = append(list, m.cursors[sub])
		}
	}
	return list
}

func (m *model) settle(sub uint64, ranges []Range, cause Cause, index uint64) {
	k := m.cursors[sub]
	if k == nil {
		return
	}
	for _, r := range ranges {
		for _, x := range k.topic.messages[k.start:] {
			if _, done := k.settled[x.seq]; done || x.seq < r.From || x.seq > r.Through {
				continue
			}
			k.settled[x.seq] = cause
			delete(k.failed, x.seq)
			if cause != 0 && cause != CauseRejected {
				k.unheard = append(k.unheard, modelGiven{index, x.seq, cause, x.size})
			}
		}
	}
}

func (m *model) trim(x Trim) {
	for _, t := range m.topics {
		if t.id != x.Topic {
			continue
		}
		for i := range t.messages {
			y := &t.messages[i]
			if y.seq < x.Range.From || y.seq > x.Range.Through {
				continue
			}
			needed := slices.ContainsFunc(m.on(t), func(k *modelCursor) bool {
				_, done := k.settled[y.seq]
				return i >= k.start && !done
			})
			y.deleted = y.deleted || !needed
		}
	}
}

func (m *model) publish(p Publish, now int64) {
	l := m.lanes[p.Lane]
	if l == nil {
		return
	}
	l.active = now
	if p.N != l.last+1 {
		return
	}
	l.last++
	switch p.Verdict {
	case Refuse:
		l.refused[p.N] = *p.Refusal
	case Void:
		l.refused[p.N] = Refusal{Reason: ReasonVoid}
	case Keep:
		if t := m.topics[p.Address]; t != nil {
			m.seq++
			t.messages = append(t.messages, modelMessage{seq: m.seq, time: now, size: len(p.Payload), at: t.total().Add(Size(len(p.Payload)))})
		}
	}
}

func (t *modelTopic) total() Totals {
	if len(t.messages) == 0 {
		return Totals{}
	}
	return t.messages[len(t.messages)-1].at
}

// head is the seq of the last message, or where the topic began.
func (t *modelTopic) head() uint64 {
	if len(t.messages) == 0 {
		return t.begin
	}
	return t.messages[len(t.messages)-1].seq
}

// span is the range from message i through j, counted from zero.
func (t *modelTopic) span(i, j int) Range {
	r := Range{From: t.messages[i].seq, Through: t.messages[j].seq, At: t.messages[j].at}
	if i > 0 {
		r.Before = t.messages[i-1].at
	}
	return r
}

// pending lists what is not settled, in order.
func (k *modelCursor) pending() []uint64 {
	var seqs []uint64
	for _, x := range k.topic.messages[k.start:] {
		if _, done := k.settled[x.seq]; !done {
			seqs = append(seqs, x.seq)
		}
	}
	return seqs
}

// counts sums up what became of the messages: by cause, zero is confirmed.
func (k *modelCursor) counts() (by [Causes]Totals, backlog Totals) {
	for _, x := range k.topic.messages[k.start:] {
		if cause, done := k.settled[x.seq]; done {
			by[cause] = by[cause].Add(Size(x.size))
		} else {
			backlog = backlog.Add(Size(x.size))
		}
	}
	return by, backlog
}
