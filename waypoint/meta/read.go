package meta

import (
	"cmp"
	"maps"
	"slices"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Subscription finds a subscription by its id.
func (m *Machine) Subscription(id uint64) (Subscription, bool) {
	if s := m.sub(id); s != nil {
		return *s, true
	}
	return Subscription{}, false
}

// sub is the subscription itself, which is never changed, only replaced; nil if there is none.
func (m *Machine) sub(id uint64) *Subscription {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.subs[id]
}

// Find finds the subscription that has these names, whoever owns it; one that is Removing has none any more.
func (m *Machine) Find(i peer.Identity) (Subscription, bool) {
	if s, _ := m.find(i); s != nil {
		return *s, true
	}
	return Subscription{}, false
}

// find also finds the one that will take these names over when it is active.
func (m *Machine) find(i peer.Identity) (has, coming *Subscription) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	k := keyOf(i)
	if id, ok := m.names[k]; ok {
		has = m.subs[id]
	}
	if id, ok := m.incoming[k]; ok {
		coming = m.subs[id]
	}
	return has, coming
}

// Subscriptions lists at most limit subscriptions with higher ids than after, by id.
func (m *Machine) Subscriptions(after uint64, limit int) []Subscription {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ids := make([]uint64, 0, len(m.subs))
	for id := range m.subs {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	list := make([]Subscription, 0, min(limit, len(ids)))
	for _, id := range ids[:min(limit, len(ids))] {
		list = append(list, *m.subs[id])
	}
	return list
}

// Counts says how many subscriptions there are in each state.
func (m *Machine) Counts() map[State]int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	counts := map[State]int{Creating: 0, Active: 0, Removing: 0}
	for _, s := range m.subs {
		counts[s.State]++
	}
	return counts
}

func (m *Machine) count() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.subs)
}

// Epoch is the index of the last entry that changed captures or policy.
func (m *Machine) Epoch() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.header.epoch
}

// Feature is the cluster's feature level: what all nodes understand. Seeded says whether there is a cluster at all.
func (m *Machine) Feature() (level uint32, seeded bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.header.feature, m.header.seeded
}

// Policy is the policy in force, and the same as JSON. Neither may be changed.
func (m *Machine) Policy() (*peer.Policy, []byte) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.policy, m.rawJSON
}

// Slots says which shard has which addresses. All are 0 until the cluster is seeded.
func (m *Machine) Slots() Slots {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.slots
}

// shard is the shard that has an address.
func (m *Machine) shard(address string) uint32 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.slots.Shard(address)
}

// Captures lists what is captured, by address.
func (m *Machine) Captures() []Capture {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Capture, 0, len(m.captures))
	for _, c := range m.captures {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Capture) int { return cmp.Compare(a.Address, b.Address) })
	return list
}

func (m *Machine) captureCount() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.captures)
}

// Routers lists all incarnations of routers that are known.
func (m *Machine) Routers() []Router {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Router, 0, len(m.routers))
	for _, r := range m.routers {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Router) int { return compareHolders(a.Holder(), b.Holder()) })
	return list
}

// superseded says whether a later incarnation of the same router is known.
func (m *Machine) superseded(h Holder) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.supersededLocked(h)
}

func (m *Machine) supersededLocked(h Holder) bool {
	for other := range m.routers {
		if other.Router == h.Router && other.Boot > h.Boot {
			return true
		}
	}
	return false
}

// Isolated is how many messages routers have reported to have let through without a lease, in how many reports.
func (m *Machine) Isolated() (messages, reports uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.header.isolated, m.header.reports
}

// captureDelta is what a router must learn to be at epoch.
type captureDelta struct {
	epoch    uint64
	full     bool
	add, del []string
	policy   []byte // nil: as before
}

// since says what has changed since an epoch; everything, if that is 0 or too long ago.
func (m *Machine) since(epoch uint64) captureDelta {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d := captureDelta{epoch: m.header.epoch}
	if epoch == 0 || epoch < m.forgotten {
		d.full, d.policy = true, m.rawJSON
		d.add = slices.Sorted(maps.Keys(m.captures))
		return d
	}
	if epoch < m.policyAt {
		d.policy = m.rawJSON
	}
	first, _ := slices.BinarySearchFunc(m.changes, epoch+1, func(c captureChange, e uint64) int { return cmp.Compare(c.epoch, e) })
	seen := map[string]bool{}
	for _, c := range m.changes[first:] {
		switch {
		case seen[c.address]:
		case m.captures[c.address] != nil:
			d.add = append(d.add, c.address)
		default:
			d.del = append(d.del, c.address)
		}
		seen[c.address] = true
	}
	return d
}

// ended lists those of ids that are over: made by an entry that is applied here, and not there any more. What a later entry
// may have made is not known to be over.
func (m *Machine) ended(ids []uint64) []uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []uint64
	for _, id := range ids {
		if m.subs[id] == nil && createdAt(id) <= m.applied {
			list = append(list, id)
		}
	}
	return list
}

func (m *Machine) listUnfinished() []uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.unfinished))
}

// expired lists the subscriptions whose time is over at now.
func (m *Machine) expired(now int64) []uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []uint64
	for id := range m.leaving {
		if at, ends := m.subs[id].expiresAt(); ends && at <= now {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// named lists the subscriptions that are called so, by id. Those named by a link need a look at all.
func (m *Machine) named(name string) []*Subscription {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if id, ok := m.names[key{name: name}]; ok {
		return []*Subscription{m.subs[id]}
	}
	var list []*Subscription
	for _, id := range m.names {
		if s := m.subs[id]; s.Name() == name {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
