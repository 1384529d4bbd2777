package shard

import (
	"cmp"
	"slices"
)

// Ages. The time of a cursor's oldest message is on disk, and changes with every confirmation; so what is kept is only a
// time before which it can't have passed max-age, and that only needs a look when it has come: the oldest message gets
// younger with every confirmation, never older. A look is therefore needed about once in max-age for each cursor,
// whatever it confirms. A cursor without backlog is parked with its topic, whose next message wakes all that are parked there: at
// the next look at ages, not in Apply.
//
// All of this is the leader's own: it follows from the state, is not part of it, and nothing that Apply does depends on it.

// rankAge says that c has no message from before since.
func (m *Machine) rankAge(c *cursor, since int64) {
	m.unrankAge(c)
	if c.limits.MaxAge > 0 {
		m.ages.set(c, c.deadline(since))
	}
}

// since is a time before which c has no message, as far as is known.
func (m *Machine) since(c *cursor) int64 {
	switch {
	case c.parked && c.topic.awake:
		return c.topic.awakened
	case c.parked:
		return m.time
	case c.place[byAge] != 0:
		return int64(c.key[byAge] - c.deadline(0))
	}
	return 0
}

func (m *Machine) unrankAge(c *cursor) {
	m.ages.remove(c)
	if c.parked {
		c.parked = false
		i := slices.Index(c.topic.parked, c)
		c.topic.parked = slices.Delete(c.topic.parked, i, i+1)
	}
}

// deadline is when a message of that time has passed max-age.
func (c *cursor) deadline(time int64) uint64 {
	return uint64(max(time, 0)) + uint64(max(c.limits.MaxAge.Milliseconds(), 1))
}

func (m *Machine) park(c *cursor) {
	m.ages.remove(c)
	c.parked = true
	c.topic.parked = append(c.topic.parked, c)
}

// wake notes the time of the first message to a topic with parked cursors. It looks at none of them.
func (m *Machine) wake(t *topic) {
	if !t.awake {
		t.awake, t.awakened = true, m.time
		m.awake = append(m.awake, t)
	}
}

// unparkLocked puts the cursors of topics that were awakened back among the ages.
func (m *Machine) unparkLocked() {
	for i, t := range m.awake {
		m.awake[i] = nil
		t.awake = false
		for j, c := range t.parked {
			t.parked[j] = nil
			c.parked = false
			m.ages.set(c, c.deadline(t.awakened))
		}
		t.parked = t.parked[:0]
	}
	m.awake = m.awake[:0]
}

// NextAgeDeadline is the earliest time at which a message may have passed the max-age of a cursor, in Unix
// milliseconds; false if there is none that could. Too early is possible, too late is not.
func (m *Machine) NextAgeDeadline() (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unparkLocked()
	if c := m.ages.top(); c != nil {
		return int64(c.key[byAge]), true
	}
	return 0, false
}

// Expired lists the subscriptions whose oldest message has passed its max-age at now, by id, and moves the deadlines of the
// others on. It reads storage.
func (m *Machine) Expired(now int64) ([]uint64, error) {
	due := m.due(now)
	// Cursors at the same place have the same oldest message: it is read once.
	slices.SortFunc(due, func(a, b dueCursor) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.floor, b.floor), cmp.Compare(a.sub, b.sub))
	})
	var expired []uint64
	for i := range due {
		d := &due[i]
		if i > 0 && due[i-1].topic == d.topic && due[i-1].floor == d.floor {
			d.oldest, d.found = due[i-1].oldest, due[i-1].found
		} else {
			var err error
			if d.oldest, d.found, err = m.timeAfter(d.topic, d.floor); err != nil {
				return nil, err
			}
		}
		if m.moveOn(d, now) {
			expired = append(expired, d.sub)
		}
	}
	slices.Sort(expired)
	return expired, nil
}

// dueCursor is a cursor whose oldest message has to be looked at.
type dueCursor struct {
	sub    uint64
	topic  uint64
	floor  uint64
	oldest int64
	found  bool
}

// due lists the cursors whose deadline has come, and parks those without backlog.
func (m *Machine) due(now int64) []dueCursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unparkLocked()
	var idle []*cursor
	var due []dueCursor
	m.ages.below(uint64(max(now, 0))+1, func(c *cursor) {
		if c.backlog() == (Totals{}) {
			idle = append(idle, c)
			return
		}
		due = append(due, dueCursor{sub: c.sub, topic: c.topic.id, floor: c.floor.Seq})
	})
	for _, c := range idle {
		m.park(c)
	}
	return due
}

// moveOn sets a cursor's deadline by what its oldest message was, and says whether that message has passed max-age.
func (m *Machine) moveOn(d *dueCursor, now int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.cursors[d.sub]
	if c == nil || c.parked || c.limits.MaxAge == 0 || !d.found {
		return false // ended, changed, or its messages are not committed yet: another look will come
	}
	deadline := c.deadline(d.oldest)
	if deadline <= uint64(max(now, 0)) {
		return c.floor.Seq == d.floor
	}
	if deadline > c.key[byAge] {
		m.ages.set(c, deadline)
	}
	return false
}
