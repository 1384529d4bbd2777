package agent

import (
	"fmt"
	"maps"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// table is what the router knows of addresses at an epoch. It is never changed, only exchanged.
//
// The captures are a base and the changes to it since, so that one subscription more does not cost a copy of all of them: a change copies the
// changes only, and these are merged into a new base when they have become many.
type table struct {
	epoch   uint64
	base    map[string]struct{}
	changes map[string]bool // captured, or no longer
	count   int
	policy  *peer.Policy
	shards  *[peer.Slots]*shard
}

func (t *table) captured(address string) bool {
	if len(t.changes) > 0 {
		if is, changed := t.changes[address]; changed {
			return is
		}
	}
	_, is := t.base[address]
	return is
}

func (t *table) shardOf(address string) *shard { return t.shards[peer.Slot(address)] }

// full makes a table of a whole set.
func (t *table) full(l *change) *table {
	n := *t
	n.epoch = l.epoch
	n.base = make(map[string]struct{}, len(l.add))
	for _, address := range l.add {
		n.base[address] = struct{}{}
	}
	for _, address := range l.del {
		delete(n.base, address)
	}
	n.changes, n.count = nil, len(n.base)
	return &n
}

// with makes a table that has a change more.
func (t *table) with(l *change) *table {
	n := *t
	n.epoch = l.epoch
	if len(l.add)+len(l.del) == 0 {
		return &n
	}
	n.changes = make(map[string]bool, len(t.changes)+len(l.add)+len(l.del))
	maps.Copy(n.changes, t.changes)
	set := func(address string, is bool) {
		if n.captured(address) == is {
			return
		}
		if is {
			n.count++
		} else {
			n.count--
		}
		if _, in := n.base[address]; in == is {
			delete(n.changes, address)
		} else {
			n.changes[address] = is
		}
	}
	for _, address := range l.del {
		set(address, false)
	}
	for _, address := range l.add {
		set(address, true)
	}
	if len(n.changes) > mergeAt+len(n.base)/16 {
		n.merge()
	}
	return &n
}

// mergeAt is how many changes are looked up beside the base before it is made anew, together with a part of the base's size.
const mergeAt = 64

func (n *table) merge() {
	base := make(map[string]struct{}, n.count)
	for address := range n.base {
		if is, changed := n.changes[address]; is || !changed {
			base[address] = struct{}{}
		}
	}
	for address, is := range n.changes {
		if is {
			base[address] = struct{}{}
		}
	}
	n.base, n.changes = base, nil
}

// change is a change of the table, put together from one or more Leases.
type change struct {
	epoch  uint64
	since  uint64
	full   bool
	add    []string
	del    []string
	policy []byte
	slots  []uint32
}

// gather adds a Lease to what the ones before it have begun. It tells whether the change is whole.
func (c *change) gather(begun bool, m *peer.Lease) (whole bool, err error) {
	if begun && (c.epoch != m.Epoch || c.full != m.Full || c.since != m.Since) {
		return false, fmt.Errorf("a change to epoch %d goes on as one to %d", c.epoch, m.Epoch)
	}
	c.epoch, c.full, c.since = m.Epoch, m.Full, m.Since
	c.add = append(c.add, m.Add...)
	c.del = append(c.del, m.Del...)
	if len(m.Policy) > 0 {
		c.policy = m.Policy
	}
	if len(m.Slots) > 0 {
		if len(m.Slots) != peer.Slots {
			return false, fmt.Errorf("%d slots", len(m.Slots))
		}
		c.slots = m.Slots
	}
	return !m.More, nil
}

// apply makes the table after a change.
func (c *change) apply(t *table, shardOf func(uint32) *shard) (*table, error) {
	var n *table
	switch {
	case c.epoch < t.epoch:
		return nil, fmt.Errorf("epoch %d after %d", c.epoch, t.epoch)
	case c.full:
		n = t.full(c)
	case c.since != t.epoch:
		return nil, fmt.Errorf("a change of epoch %d came at %d", c.since, t.epoch)
	default:
		n = t.with(c)
	}
	if len(c.policy) > 0 {
		p, err := peer.ParsePolicy(c.policy)
		if err != nil {
			return nil, err
		}
		n.policy = p
	}
	if len(c.slots) > 0 {
		shards := new([peer.Slots]*shard)
		for i, id := range c.slots {
			if id < 1 || id > peer.Slots {
				return nil, fmt.Errorf("slot %d is in shard %d", i, id)
			}
			shards[i] = shardOf(id)
		}
		n.shards = shards
	}
	return n, nil
}
