package shard

import (
	"cmp"
	"slices"
	"strings"
)

// Index is the last index of Applied, Time that of the last command, Last the last seq that was given.
func (m *Machine) Index() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index
}

func (m *Machine) Time() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.time
}

func (m *Machine) Last() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.header.LastSeq
}

// Topic finds a topic by its address, Topics lists all, by address.
func (m *Machine) Topic(address string) (Topic, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.topics[address]
	if t == nil {
		return Topic{}, false
	}
	return t.describe(), true
}

func (m *Machine) Topics() []Topic {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Topic, 0, len(m.topics))
	for _, t := range m.topics {
		list = append(list, t.describe())
	}
	slices.SortFunc(list, func(a, b Topic) int { return strings.Compare(a.Address, b.Address) })
	return list
}

func (t *topic) describe() Topic {
	return Topic{ID: t.id, Address: t.address, Head: t.head, Tail: t.tail, Floor: t.floor(), Kept: t.kept(),
		Cursors: len(t.cursors)}
}

// Cursor finds a subscription's cursor, Cursors lists all, by id.
func (m *Machine) Cursor(sub uint64) (Cursor, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.cursors[sub]
	if c == nil {
		return Cursor{}, false
	}
	return c.describe(), true
}

func (m *Machine) Cursors() []Cursor {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Cursor, 0, len(m.cursors))
	for _, c := range m.cursors {
		list = append(list, c.describe())
	}
	slices.SortFunc(list, func(a, b Cursor) int { return cmp.Compare(a.Sub, b.Sub) })
	return list
}

func (c *cursor) describe() Cursor {
	d := Cursor{Sub: c.sub, Topic: c.topic.id, Address: c.topic.address, Owner: c.owner, Name: c.name, Limits: c.limits,
		Gen: c.gen, Holders: slices.Clone(c.holders), Mark: c.mark, Start: c.start, Floor: c.floor, Ranges: len(c.ranges),
		Backlog: c.backlog(), Confirmed: c.confirmed, ByCause: c.givenUp, Gap: c.gap.told()}
	for _, t := range c.givenUp {
		d.GivenUp = d.GivenUp.Add(t)
	}
	return d
}

// Backlog is what a subscription has neither confirmed nor given up.
func (m *Machine) Backlog(sub uint64) (Totals, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.cursors[sub]
	if c == nil {
		return Totals{}, false
	}
	return c.backlog(), true
}

// Subscribers lists the subscriptions with a cursor on an address, by id.
func (m *Machine) Subscribers(address string) []uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.topics[address]
	if t == nil {
		return nil
	}
	subs := make([]uint64, len(t.cursors))
	for i, c := range t.cursors {
		subs[i] = c.sub
	}
	return subs
}

// Ranges lists what is settled above a cursor's floor, in order.
func (m *Machine) Ranges(sub uint64) []Settled {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.cursors[sub]
	if c == nil {
		return nil
	}
	return slices.Clone(c.ranges)
}

// IsSettled says whether a position is confirmed or given up (true also if there is no such cursor).
func (m *Machine) IsSettled(sub, seq uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.cursors[sub]
	return c == nil || c.settled(seq)
}

// Failed is the number of failed deliveries of a message.
func (m *Machine) Failed(sub, seq uint64) uint32 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if c := m.cursors[sub]; c != nil {
		if i, ok := c.findFailed(seq); ok {
			return c.failed[i].count
		}
	}
	return 0
}

// Lane finds a lane by its id, FindLane by its router's incarnation; Lanes lists all, by id.
func (m *Machine) Lane(id uint64) (Lane, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return describeLane(m.lanes[id])
}

func (m *Machine) FindLane(router string, boot uint64) (Lane, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return describeLane(m.owners[laneOwner{router, boot}])
}

func describeLane(l *lane) (Lane, bool) {
	if l == nil {
		return Lane{}, false
	}
	return l.describe(), true
}

func (m *Machine) Lanes() []Lane {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Lane, 0, len(m.lanes))
	for _, l := range m.lanes {
		list = append(list, l.describe())
	}
	slices.SortFunc(list, func(a, b Lane) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Refusals lists the refused numbers of a lane that its router has not acknowledged, in order.
func (m *Machine) Refusals(lane uint64) []Refused {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l := m.lanes[lane]
	if l == nil {
		return nil
	}
	return slices.Clone(l.refused)
}
